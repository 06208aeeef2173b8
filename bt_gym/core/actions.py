"""Action schemes: what the numbers of a policy want done, as intents that are then sent as orders.

A scheme reads only what the account knows. It writes cancels first, then modifies, then new orders, as a
`StrategyOutput` is sent, so that a policy that runs as a strategy gives the same requests in the same order.
"""

import math

import numpy as np

from bt_gym._jit import njit
from bt_gym.core import enums
from bt_gym.core.market import mid2
from bt_gym.core.requests import request_cancel, request_modify, submit

SCHEME_QUOTES = 0  # a bid and an ask: `quote`
SCHEME_TARGET = 1  # a position to hold: `hold`

MAX_OFFSETS = 16
MAX_TARGETS = 16
MAX_SIZES = 8
MAX_INTENTS = 8

LEAVE = 0  # a side's order, or its absence, stays as it is
WITHDRAW = 1  # no quote: its order is cancelled
FIRST_OFFSET = 2  # from here on: a quote at `offsets[code - FIRST_OFFSET]`

quotes_dtype = np.dtype(
    [
        ("order_id", "<i8", (2,)),  # of the side's last quote
        ("cancelled", "<i8", (2,)),  # id of the last one that a cancel was sent for
        ("price", "<i4", (2,)),  # ticks, as last sent
    ],
    align=True,
)
"""What a scheme has to remember beside the account: what it sent last, per side."""

scheme_dtype = np.dtype(
    [
        ("kind", "<i8"),  # SCHEME_*
        ("offset_count", "<i8"),
        ("offsets", "<i4", (MAX_OFFSETS,)),  # ticks behind the own side's best price; negative: before it
        ("size_count", "<i8"),
        ("sizes", "<i4", (MAX_SIZES,)),  # lots; the first is used where the action has no size
        ("target_count", "<i8"),
        ("targets", "<i4", (MAX_TARGETS,)),  # signed lots
    ],
    align=True,
)

INTENT_CANCEL = 0
INTENT_MODIFY = 1
INTENT_LIMIT = 2
INTENT_MARKET = 3

intent_dtype = np.dtype(
    [
        ("order_id", "<i8"),  # of a new order: the id that it will have
        ("kind", "<i4"),  # INTENT_*
        ("side", "<i4"),
        ("price", "<i4"),  # ticks
        ("size", "<i4"),  # lots; of a modify the new total
    ],
    align=True,
)


@njit
def _live(account, order_id: int) -> int:
    """Slot of an own order that isn't over as known; -1 when it is."""
    if order_id > 0 and account["orders_live"] > 0:
        for slot in range(account["orders"].shape[0]):
            order = account["orders"][slot]
            if order["order_id"] == order_id and order["status"] != enums.STATUS_FREE and order["known_leaves"] > 0:
                return slot
    return -1


@njit
def quote_price(event, side: int, offset: int) -> int:
    """Price of a quote so many ticks behind the own best one; one before it never reaches the other side."""
    bid, ask = np.int64(event["bid"]), np.int64(event["ask"])
    if offset < 0:
        offset = max(offset, 1 - (ask - bid))
    return bid - offset if side == enums.BUY else ask + offset


@njit
def _plan_side(quotes, account, event, scheme, side: int, code: int, size: int) -> tuple[int, int, int]:
    """(INTENT_* or -1, price, size) of one side."""
    slot = _live(account, quotes["order_id"][side])
    if code == LEAVE or (slot >= 0 and quotes["cancelled"][side] == quotes["order_id"][side]):
        return -1, 0, 0
    if code == WITHDRAW:
        return (INTENT_CANCEL, 0, 0) if slot >= 0 else (-1, 0, 0)
    if mid2(event) == enums.NO_TICK:
        return -1, 0, 0
    price = quote_price(event, side, np.int64(scheme["offsets"][code - FIRST_OFFSET]))
    if slot < 0:
        return INTENT_LIMIT, price, size
    order = account["orders"][slot]
    leaves = np.int64(order["known_leaves"])
    filled = np.int64(order["known_size"]) - leaves
    now_at = np.int64(quotes["price"][side] if order["unanswered"] > 0 else order["known_price"])
    if price != now_at or (size < leaves and order["unanswered"] == 0):
        return INTENT_MODIFY, price, filled + size
    return -1, 0, 0


@njit
def _write(intents, count: int, kind: int, side: int, order_id: int, price: int, size: int) -> int:
    intents[count]["kind"] = kind
    intents[count]["side"] = side
    intents[count]["order_id"] = order_id
    intents[count]["price"] = price
    intents[count]["size"] = size
    return count + 1


@njit
def quote(quotes, account, event, scheme, bid: int, ask: int, size_code: int, intents) -> int:
    """A bid and an ask, at most one order a side. Returns how many intents it wrote.

    A quote whose price stays keeps its place; a new price is one modify. While a cancel is unanswered, and while the
    book has no valid mid, a side can't be quoted anew. All intents are to be sent: `quotes` counts on it, whether they
    are refused or not.

    Args:
        event: the last one received.
        bid: LEAVE, WITHDRAW, or FIRST_OFFSET + index of an offset.
        ask: likewise.
        size_code: index of `scheme["sizes"]`.
    """
    size = np.int64(scheme["sizes"][size_code])
    bid_kind, bid_price, bid_size = _plan_side(quotes, account, event, scheme, enums.BUY, bid, size)
    ask_kind, ask_price, ask_size = _plan_side(quotes, account, event, scheme, enums.SELL, ask, size)
    count = 0
    new_id = account["orders_sent"]
    for kind in (INTENT_CANCEL, INTENT_MODIFY, INTENT_LIMIT):
        for side in range(2):
            if kind != (ask_kind if side else bid_kind):
                continue
            order_id = quotes["order_id"][side]
            price = ask_price if side else bid_price
            if kind == INTENT_CANCEL:
                quotes["cancelled"][side] = order_id
            else:
                quotes["price"][side] = price
            if kind == INTENT_LIMIT:
                new_id += 1
                order_id = new_id
                quotes["order_id"][side] = new_id
            count = _write(intents, count, kind, side, order_id, price, ask_size if side else bid_size)
    return count


@njit
def hold(account, event, target: int, intents) -> int:
    """A market order that takes the position, orders under way included, to `target` signed lots.

    Returns how many intents it wrote: none where the book has no valid mid.
    """
    change = target - np.int64(account["known_position"]["size"])
    if account["orders_live"] > 0:
        for slot in range(account["orders"].shape[0]):
            order = account["orders"][slot]
            if order["status"] != enums.STATUS_FREE:
                change -= (1 - 2 * np.int64(order["side"])) * order["known_leaves"]
    if change == 0 or mid2(event) == enums.NO_TICK:
        return 0
    side = enums.BUY if change > 0 else enums.SELL
    return _write(intents, 0, INTENT_MARKET, side, account["orders_sent"] + 1, 0, abs(change))


@njit
def code_of(number: float, count: int) -> int:
    """A number of an action as one of `count` codes; -1 when it is none of them: NaN, infinite, a fraction."""
    return int(number) if 0 <= number < count and number == math.floor(number) else -1


@njit
def plan(quotes, account, event, scheme, action, intents) -> int:
    """What an action (D,) float64 wants done. Returns how many intents it wrote, -1 when it is none of the scheme's.

    Args:
        event: the last one received.
    """
    if scheme["kind"] == SCHEME_TARGET:
        target = code_of(action[0], scheme["target_count"])
        return hold(account, event, np.int64(scheme["targets"][target]), intents) if target >= 0 else -1
    codes = FIRST_OFFSET + scheme["offset_count"]
    first, ask = code_of(action[0], codes), code_of(action[1], codes)
    size = code_of(action[2], scheme["size_count"]) if scheme["size_count"] > 1 else 0
    if min(first, ask, size) < 0:
        return -1
    if first == LEAVE and ask == LEAVE:
        return 0
    return quote(quotes, account, event, scheme, first, ask, size, intents)


@njit
def send(account, intent, ts: int) -> int:
    """Sends an intent at `ts` (ns); returns the reason why not, or `REASON_NONE`."""
    kind = intent["kind"]
    if kind == INTENT_CANCEL:
        return request_cancel(account, ts, intent["order_id"])
    size, price, side = np.int64(intent["size"]), np.int64(intent["price"]), np.int64(intent["side"])
    if kind == INTENT_MODIFY:
        return request_modify(account, ts, intent["order_id"], size, price)
    if kind == INTENT_LIMIT:
        return submit(account, ts, side, size, enums.ORDER_LIMIT, enums.TIF_GTC, price)[1]
    return submit(account, ts, side, size, enums.ORDER_MARKET, enums.TIF_IOC, 0)[1]


@njit
def mask(quotes, account, event, scheme, out) -> None:
    """Which codes of an action do something now, into `out` (bool).

    Of targets those within `max_position`. Of quotes bid codes, then ask codes, then sizes: LEAVE and WITHDRAW always,
    an offset before the best price only where the spread has room, and a new quote only where `max_position` would not
    refuse its first size.
    """
    has_market = mid2(event) != enums.NO_TICK
    limit = account["models"]["max_position"]
    if scheme["kind"] == SCHEME_TARGET:
        for index in range(scheme["target_count"]):
            out[index] = limit < 0 or abs(np.int64(scheme["targets"][index])) <= limit
        return
    spread = np.int64(event["ask"]) - np.int64(event["bid"])
    codes = FIRST_OFFSET + scheme["offset_count"]
    for side in range(2):
        out[side * codes + LEAVE] = True
        out[side * codes + WITHDRAW] = True
        open_lots = np.int64(scheme["sizes"][0]) + account["most_open"][side]
        allowed = limit < 0 or (1 - 2 * side) * account["known_position"]["size"] + open_lots <= limit
        allowed = has_market and (allowed or _live(account, quotes["order_id"][side]) >= 0)
        for index in range(scheme["offset_count"]):
            offset = np.int64(scheme["offsets"][index])
            out[side * codes + FIRST_OFFSET + index] = allowed and (offset >= 0 or spread + offset >= 1)
    if scheme["size_count"] > 1:
        for index in range(scheme["size_count"]):
            out[2 * codes + index] = True
