"""What a strategy sends: new orders, cancels, modifies, and the ways home when trading stops.

A request travels for the entry latency; requests of an account never overtake each other. What becomes of it is decided
when it arrives (`bt_gym.core.arrival`).
"""

import numpy as np

from bt_gym._jit import njit
from bt_gym.core import enums, risk
from bt_gym.core.orders import REQUEST_CANCEL, REQUEST_CANCEL_ALL, REQUEST_MODIFY, REQUEST_NEW
from bt_gym.core.stops import is_stop
from bt_gym.core.tape import MAX_TICK


@njit
def _send(account, ts, kind: int, slot: int, order_id: int, price: int, size: int, trigger: int) -> None:
    position = (account["first_request"] + account["requests_live"]) % account["requests"].shape[0]
    request = account["requests"][position]
    arrival = max(ts + account["models"]["entry_latency"], account["last_arrival"])
    account["last_arrival"] = arrival
    request["ts_exchange"] = arrival
    request["ts_sent"] = ts
    request["refused"] = 0
    request["order_id"] = order_id
    request["slot"] = slot
    request["kind"] = kind
    request["price"] = price
    request["size"] = size
    request["trigger"] = trigger
    account["requests_live"] += 1
    account["requests_sent"] += 1
    if slot >= 0:
        account["orders"][slot]["requests"] += 1
        account["orders"][slot]["unanswered"] += kind != REQUEST_NEW


@njit
def _has_room(account) -> bool:
    """Whether a strategy may send: the last two places are for `kill` and `flatten`."""
    return account["requests_live"] < account["requests"].shape[0] - 2


@njit
def find_order(account, order_id: int) -> int:
    """Slot of an order that isn't over for the strategy; -1 when there is none.

    Slots are searched, and given out, from the order's own on: ids follow each other, so that it is mostly the first.
    """
    count = account["orders"].shape[0]
    slot = (order_id - 1) % count
    for _ in range(count):
        order = account["orders"][slot]
        if order["order_id"] == order_id and order["status"] != enums.STATUS_FREE:
            return slot
        slot = slot + 1 if slot + 1 < count else 0
    return -1


@njit
def submit(
    account,
    ts: int,
    side: int,
    size: int,
    order_type: int,
    time_in_force: int,
    price: int,
    trigger: int = 0,
    expires: int = 0,
    post_only: int = 0,
) -> tuple[int, int]:
    """Sends a new order at `ts`; returns (order id, reason). It is on its way if the reason is `REASON_NONE`.

    A refused order has an id too; it never leaves the strategy's side, so no report is written for it.

    Args:
        price: limit in ticks; not read for market orders and stops without limit.
        trigger: ticks, of stops.
        expires: ns, of TIF_GTD.
        post_only: enums.POST_ONLY_*, of limit orders.
    """
    account["orders_sent"] += 1
    order_id = account["orders_sent"]
    if size < 1 or max(abs(price), abs(trigger)) >= MAX_TICK or size > 0x3FFFFFFF:
        return order_id, enums.REASON_INVALID
    slot = free_slot(account, order_id)
    if slot < 0 or not _has_room(account):
        return order_id, enums.REASON_CAPACITY
    reason = risk.refuse(account, ts, side, size, size)
    if reason == enums.REASON_NONE:
        order = account["orders"][slot]
        order["trigger"] = trigger
        order["expires"] = expires
        order["post_only"] = post_only
        if order_type != enums.ORDER_LIMIT and order_type != enums.ORDER_STOP_LIMIT:
            price = 0
        place_order(account, slot, order_id, ts, side, size, order_type, time_in_force, price)
    return order_id, reason


@njit
def free_slot(account, order_id: int) -> int:
    count = account["orders"].shape[0]
    slot = (order_id - 1) % count
    for _ in range(count):
        order = account["orders"][slot]
        if order["status"] == enums.STATUS_FREE and order["requests"] == 0:
            return slot
        slot = slot + 1 if slot + 1 < count else 0
    return -1


@njit
def place_order(account, slot, order_id, ts, side, size, order_type, time_in_force, price) -> None:
    order = account["orders"][slot]
    order["order_id"] = order_id
    order["rank"] = 0
    order["price"] = price
    order["size"] = size
    order["filled"] = 0
    order["leaves"] = size
    order["known_leaves"] = size
    order["known_size"] = size
    order["known_price"] = price
    order["most_leaves"] = size
    order["ahead"] = 0
    order["priority"] = 0
    order["side"] = side
    order["order_type"] = order_type
    order["time_in_force"] = time_in_force
    order["status"] = enums.STATUS_PENDING_NEW
    order["ahead_known"] = 0
    order["behind_hit"] = 0
    order["acknowledged"] = 0
    order["known_triggered"] = 0
    order["known_trigger"] = order["trigger"]
    order["is_stop"] = is_stop(order)
    order["unanswered"] = 0
    account["orders_live"] += 1
    account["most_open"][side] += size
    _send(account, ts, REQUEST_NEW, slot, order_id, price, size, 0)


@njit
def request_cancel(account, ts: int, order_id: int) -> int:
    """Sends a cancel at `ts`; returns a reason. Whether it comes in time is decided at the exchange."""
    slot = find_order(account, order_id)
    if slot < 0:
        return enums.REASON_UNKNOWN_ORDER
    if not _has_room(account):
        return enums.REASON_CAPACITY
    _send(account, ts, REQUEST_CANCEL, slot, order_id, 0, 0, 0)
    return enums.REASON_NONE


@njit
def request_modify(account, ts: int, order_id: int, size: int, price: int, trigger: int = enums.NO_TICK) -> int:
    """Sends a modify to `size` lots in total (filled ones included) at `price` ticks; returns a reason.

    `trigger` moves a stop that still waits when the modify arrives; `NO_TICK` leaves it where it is.
    """
    slot = find_order(account, order_id)
    if slot < 0:
        return enums.REASON_UNKNOWN_ORDER
    if (
        size < 1
        or abs(price) >= MAX_TICK
        or size > 0x3FFFFFFF
        or (abs(trigger) >= MAX_TICK) != (trigger == enums.NO_TICK)
    ):
        return enums.REASON_INVALID
    if not _has_room(account):
        return enums.REASON_CAPACITY
    order = account["orders"][slot]
    known_filled = np.int64(order["known_size"]) - np.int64(order["known_leaves"])
    more = max(size - known_filled - np.int64(order["most_leaves"]), 0)
    reason = risk.refuse(account, ts, np.int64(order["side"]), size, more)
    if reason == enums.REASON_NONE:
        order["most_leaves"] += more
        account["most_open"][order["side"]] += more
        _send(account, ts, REQUEST_MODIFY, slot, order_id, price, size, trigger)
    return reason


@njit
def kill(account, ts: int, reason: int = enums.REASON_KILL_SWITCH, goes_home: bool = False) -> None:
    """Cancels all orders, by one request, and refuses new ones from now on, both for `reason`. See `flatten`.

    With `goes_home` the position is to be sent home as well, also if an earlier kill left it.
    """
    account["goes_home"] |= goes_home
    if not account["killed"]:
        account["killed"] = reason
        account["killed_at"] = ts
        _send(account, ts, REQUEST_CANCEL_ALL, -1, 0, 0, 0, 0)


@njit
def flatten(account, ts: int) -> None:
    """Sends the known position home at the market, past all limits, once no own order is left that could change it."""
    size = account["known_position"]["size"]
    if account["orders_live"] == 0 and size != 0 and account["requests_live"] < account["requests"].shape[0]:
        account["orders_sent"] += 1
        slot = free_slot(account, account["orders_sent"])
        side = enums.SELL if size > 0 else enums.BUY
        place_order(account, slot, account["orders_sent"], ts, side, abs(size), enums.ORDER_MARKET, enums.TIF_IOC, 0)
