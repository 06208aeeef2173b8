"""Own orders in an auction, where the models ask for it (`models["auction"]`).

An uncross trades everything strictly better than its price on both sides, whatever its place in a queue. So a limit
order of ours that is strictly better fills at that price, for at most what the auction traded; better prices first,
then by arrival. At the price itself the venue's rule decides who gets what is left: there ours gets nothing.
"""

import numpy as np

from bt_gym._jit import njit
from bt_gym.core import enums
from bt_gym.core.matching import fill
from bt_gym.core.resting import height_of, order_at
from bt_gym.core.tape import KIND_MASK, TICK_SHIFT


@njit
def is_uncross(account, event) -> bool:
    """Whether the event is an uncross in which own orders take part."""
    return account["models"]["auction"] != 0 and event["flags"] & enums.PHASE_MASK == enums.PHASE_AUCTION


@njit
def collects(account, events, order) -> bool:
    """Whether the exchange takes an order to wait for the uncross: in a pre-open, a plain limit order that rests."""
    number = account["event"] - 1
    return (
        account["models"]["auction"] != 0
        and number >= 0
        and events[number]["flags"] & enums.PHASE_MASK == enums.PHASE_PRE_OPEN
        and order["order_type"] == enums.ORDER_LIMIT
        and order["post_only"] == enums.POST_ONLY_OFF
        and order["time_in_force"] != enums.TIF_IOC
        and order["time_in_force"] != enums.TIF_FOK
    )


@njit
def uncross(account, log, records, first: int, last: int, ts: int, event: int) -> None:
    """The uncross of event number `event`, records `first:last`, meets the own orders of both sides."""
    for i in range(first, last):
        if records[i]["key"] & KIND_MASK != enums.RECORD_TRADE_N:
            continue
        tick = np.int64(records[i]["key"] >> TICK_SHIFT)
        for side in range(2):
            left = np.int64(records[i]["size"])
            while left > 0 and account["line_length"][side] > 0:
                order = order_at(account, side, 0)
                if height_of(side, order["price"]) <= height_of(side, tick):
                    break
                size = min(np.int64(order["leaves"]), left)
                left -= size
                fill(account, log, order, ts, event, tick, size, enums.LIQUIDITY_AUCTION)
