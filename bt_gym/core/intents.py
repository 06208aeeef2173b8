"""Intents: what an action scheme wants sent, and what it remembers of what it has sent.

A scheme reads only what the account knows. It writes cancels first, then modifies, then new orders, as a
`StrategyOutput` is sent, so that a policy that runs as a strategy gives the same requests in the same order. All
intents are to be sent: schemes count on it, whether they are refused or not.
"""

import numpy as np

from bt_gym._jit import njit
from bt_gym.core import enums
from bt_gym.core.requests import find_order, request_cancel, request_modify, submit

MAX_INTENTS = 8

INTENT_CANCEL = 0
INTENT_MODIFY = 1
INTENT_NEW = 2

intent_dtype = np.dtype(
    [
        ("order_id", "<i8"),  # of a new order: the id that it will have
        ("kind", "<i4"),  # INTENT_*
        ("side", "<i4"),
        ("price", "<i4"),  # ticks; of a stop its trigger
        ("size", "<i4"),  # lots; of a modify the new total
        ("order_type", "<i4"),  # enums.ORDER_*, of a modify of a stop that waits too
        ("time_in_force", "<i4"),  # enums.TIF_*
        ("post_only", "<i4"),  # enums.POST_ONLY_*
    ],
    align=True,
)

sent_dtype = np.dtype(
    [
        ("order_id", "<i8", (2,)),  # of the side's last quote
        ("cancelled", "<i8", (2,)),  # id of the last one that a cancel was sent for
        ("price", "<i4", (2,)),  # ticks, as last sent
        ("volume", "<i8"),  # lots traded, modulo 2**32, up to the last decision
        ("decisions", "<i8"),
        ("carry", "<f8"),  # part of a lot that has fallen due and not been sent
    ],
    align=True,
)
"""What a scheme has to remember beside the account."""


@njit
def find_live(account, order_id: int) -> int:
    """Slot of an own order that isn't over as known; -1 when it is."""
    if order_id <= 0 or account["orders_live"] == 0:
        return -1
    slot = find_order(account, order_id)
    return slot if slot >= 0 and account["orders"][slot]["known_leaves"] > 0 else -1


@njit
def write(
    intents,
    count: int,
    kind: int,
    side: int,
    order_id: int,
    price: int,
    size: int,
    order_type: int = enums.ORDER_LIMIT,
    time_in_force: int = enums.TIF_GTC,
    post_only: int = enums.POST_ONLY_OFF,
) -> int:
    """Writes intent number `count`; returns how many there are now."""
    intent = intents[count]
    intent["kind"] = kind
    intent["side"] = side
    intent["order_id"] = order_id
    intent["price"] = price
    intent["size"] = size
    intent["order_type"] = order_type
    intent["time_in_force"] = time_in_force
    intent["post_only"] = post_only
    return count + 1


@njit
def send(account, intent, ts: int) -> int:
    """Sends an intent at `ts` (ns); returns the reason why not, or `REASON_NONE`."""
    kind = intent["kind"]
    if kind == INTENT_CANCEL:
        return request_cancel(account, ts, intent["order_id"])
    size, price, side = np.int64(intent["size"]), np.int64(intent["price"]), np.int64(intent["side"])
    order_type, in_force = np.int64(intent["order_type"]), np.int64(intent["time_in_force"])
    is_stop = order_type == enums.ORDER_STOP
    if kind == INTENT_MODIFY:
        return request_modify(account, ts, intent["order_id"], size, price, price if is_stop else enums.NO_TICK)
    trigger = price if is_stop else 0
    return submit(account, ts, side, size, order_type, in_force, price, trigger, 0, np.int64(intent["post_only"]))[1]
