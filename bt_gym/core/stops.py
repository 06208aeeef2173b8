"""Own orders that wait for something: stops for their trigger, dated and day orders for their end.

A trade elects a buy stop at or above its trigger and a sell stop at or below; with `stop_on_quote` the opposite best
price does so too. An elected stop acts at the end of that event, on the book that the event leaves (CME, stop orders
with protection and stop-limit orders). Own fills, which the tape does not know, elect nothing.
"""

import numpy as np

from bt_gym._jit import njit
from bt_gym.core import enums
from bt_gym.core.tape import MAX_TICK

SESSION_BREAK_NS = 1_800_000_000_000
"""A session has ended when the market has been silent for so long; day orders expire then."""

FOREVER = np.int64(2**62)


@njit
def is_stop(order) -> bool:
    """Whether it is a stop order of either kind, elected or not."""
    return order["order_type"] == enums.ORDER_STOP or order["order_type"] == enums.ORDER_STOP_LIMIT


@njit
def await_trigger(account, slot: int) -> None:
    """A stop that has arrived begins to wait."""
    account["orders"][slot]["status"] = enums.STATUS_UNTRIGGERED
    account["stops"][account["stops_live"]] = slot
    account["stops_live"] += 1
    watch(account, account["orders"][slot], 1)


@njit
def forget_stop(account, order) -> None:
    """A stop no longer waits: it has been cancelled, or is about to act."""
    stops = account["stops"]
    place = 0
    while account["orders"][stops[place]]["order_id"] != order["order_id"]:
        place += 1
    account["stops_live"] -= 1
    account["elected"] -= order["status"] == enums.STATUS_TRIGGERED
    for i in range(place, account["stops_live"]):
        stops[i] = stops[i + 1]
    watch(account, order, -1)


@njit
def watch(account, order, change: int) -> None:
    """Counts an order that now is (+1) or no longer is (-1) at the exchange by its time in force."""
    if order["time_in_force"] == enums.TIF_GTD:
        account["dated"] += change
    elif order["time_in_force"] == enums.TIF_DAY:
        account["daily"] += change


@njit
def elect(account, low: int, high: int) -> None:
    """Elects buy stops triggered at or below tick `high` and sell stops triggered at or above tick `low`."""
    for i in range(account["stops_live"]):
        order = account["orders"][account["stops"][i]]
        trigger = order["trigger"]
        if order["status"] == enums.STATUS_UNTRIGGERED and (
            trigger <= high if order["side"] == enums.BUY else trigger >= low
        ):
            order["status"] = enums.STATUS_TRIGGERED
            account["elected"] += 1


@njit
def elect_by_quotes(account, event) -> None:
    """Elects the stops that the best prices after an event reach."""
    elect(
        account,
        MAX_TICK if event["bid"] == enums.NO_TICK else np.int64(event["bid"]),
        np.int64(event["ask"]),  # NO_TICK lies below every trigger
    )


@njit
def nearest_triggers(account) -> tuple[int, int]:
    """Lowest trigger of the buy stops and highest of the sell stops; out of reach without one."""
    buy = np.int64(MAX_TICK)
    sell = np.int64(-MAX_TICK)
    for i in range(account["stops_live"]):
        order = account["orders"][account["stops"][i]]
        if order["side"] == enums.BUY:
            buy = min(buy, np.int64(order["trigger"]))
        else:
            sell = max(sell, np.int64(order["trigger"]))
    return buy, sell


@njit
def reached_by_quotes(event, buy: int, sell: int) -> bool:
    """Whether the best prices after an event reach `buy` (the ask) or `sell` (the bid)."""
    bid = event["bid"]
    return event["ask"] >= buy or (bid <= sell and bid != enums.NO_TICK)


@njit
def next_date(account) -> int:
    """When the next order with TIF_GTD expires, ns; `FOREVER` without one."""
    ts = FOREVER
    if account["dated"] > 0:
        for slot in range(account["orders"].shape[0]):
            order = account["orders"][slot]
            if order["time_in_force"] == enums.TIF_GTD and is_at_exchange(order):
                ts = min(ts, order["expires"])
    return ts


@njit
def is_at_exchange(order) -> bool:
    """Whether it rests or waits there."""
    status = order["status"]
    return status == enums.STATUS_WORKING or status == enums.STATUS_UNTRIGGERED or status == enums.STATUS_TRIGGERED
