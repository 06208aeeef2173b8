"""A bid and an ask, at most one order a side: by offsets, by spread and skew, or by Avellaneda and Stoikov.

Per side an action says *leave as is*, *no quote*, or a price. A quote whose price stays keeps its place in the queue; a
new price is one modify. While a cancel is unanswered, and while the book has no valid mid, a side can't be quoted anew.
"""

import math

import numpy as np

from bt_gym._jit import njit
from bt_gym.core import avellaneda_stoikov, enums
from bt_gym.core.intents import INTENT_CANCEL, INTENT_MODIFY, INTENT_NEW, find_live, write
from bt_gym.core.market import mid2

LEAVE = 0  # a side's order, or its absence, stays as it is
WITHDRAW = 1  # no quote: its order is cancelled
QUOTE = 2

FIRST_OFFSET = 2  # codes of a side from here on: a quote at `offsets[code - FIRST_OFFSET]`


@njit
def quote_price(event, side: int, offset: int) -> int:
    """Price of a quote so many ticks behind the own best one; one before it never reaches the other side."""
    bid, ask = np.int64(event["bid"]), np.int64(event["ask"])
    if offset < 0:
        offset = max(offset, 1 - (ask - bid))
    return bid - offset if side == enums.BUY else ask + offset


@njit
def _plan_side(sent, account, side: int, mode: int, price: int, size: int) -> tuple[int, int]:
    """(INTENT_* or -1, lots) of one side."""
    slot = find_live(account, sent["order_id"][side])
    if mode == LEAVE or (slot >= 0 and sent["cancelled"][side] == sent["order_id"][side]):
        return -1, 0
    if mode == WITHDRAW:
        return (INTENT_CANCEL, 0) if slot >= 0 else (-1, 0)
    if slot < 0:
        return INTENT_NEW, size
    order = account["orders"][slot]
    leaves = np.int64(order["known_leaves"])
    filled = np.int64(order["known_size"]) - leaves
    now_at = np.int64(sent["price"][side] if order["unanswered"] > 0 else order["known_price"])
    if price != now_at or (size < leaves and order["unanswered"] == 0):
        return INTENT_MODIFY, filled + size
    return -1, 0


@njit
def quote(sent, account, event, bid_mode: int, bid: int, ask_mode: int, ask: int, size: int, intents) -> int:
    """A bid and an ask of `size` lots. Returns how many intents it wrote.

    Args:
        event: the last one received.
        bid_mode: LEAVE, WITHDRAW or QUOTE.
        bid: ticks; read with QUOTE and a valid mid only.
        ask_mode: as `bid_mode`.
        ask: as `bid`.
    """
    if mid2(event) == enums.NO_TICK:
        bid_mode = LEAVE if bid_mode == QUOTE else bid_mode
        ask_mode = LEAVE if ask_mode == QUOTE else ask_mode
    bid_kind, bid_size = _plan_side(sent, account, enums.BUY, bid_mode, bid, size)
    ask_kind, ask_size = _plan_side(sent, account, enums.SELL, ask_mode, ask, size)
    count = 0
    new_id = account["orders_sent"]
    for kind in (INTENT_CANCEL, INTENT_MODIFY, INTENT_NEW):
        for side in range(2):
            if kind != (ask_kind if side else bid_kind):
                continue
            order_id = sent["order_id"][side]
            price = ask if side else bid
            if kind == INTENT_CANCEL:
                sent["cancelled"][side] = order_id
            else:
                sent["price"][side] = price
            if kind == INTENT_NEW:
                new_id += 1
                order_id = new_id
                sent["order_id"][side] = new_id
            count = write(intents, count, kind, side, order_id, price, ask_size if side else bid_size)
    return count


@njit
def _price_of(event, scheme, side: int, code: int) -> int:
    """Ticks of a code of a side; 0 where it has none."""
    return quote_price(event, side, np.int64(scheme["offsets"][code - FIRST_OFFSET])) if code >= FIRST_OFFSET else 0


@njit
def quote_codes(sent, account, event, scheme, bid: int, ask: int, size: int, intents) -> int:
    """`quote` by codes: LEAVE, WITHDRAW, or FIRST_OFFSET + index of an offset; `size` is an index of the sizes."""
    if bid == LEAVE and ask == LEAVE:
        return 0
    bid_at, ask_at = _price_of(event, scheme, enums.BUY, bid), _price_of(event, scheme, enums.SELL, ask)
    lots = np.int64(scheme["sizes"][size])
    return quote(sent, account, event, min(bid, QUOTE), bid_at, min(ask, QUOTE), ask_at, lots, intents)


@njit
def mode_of(number: float) -> int:
    """What a number from -1 to 1 says of a side: QUOTE from 0 on, LEAVE from -0.5 on, else WITHDRAW."""
    return QUOTE if number >= 0 else LEAVE if number >= -0.5 else WITHDRAW


@njit
def _scaled(number: float, low: float, high: float) -> float:
    """From [-1, 1] to [low, high]."""
    return low + (number + 1) / 2 * (high - low)


@njit
def quote_prices(sent, account, memory, event, scheme, action, by_model: bool, intents) -> int:
    """`quote` by an action (4,) in [-1, 1]: two parameters, then a number for each side's `mode_of`.

    The parameters are the half-spread and the skew (up), linear between the scheme's bounds, or (`by_model`) gamma and
    kappa of `avellaneda_stoikov.quotes`, with logarithms that are linear between the bounds; sigma is that of the
    scheme's window as received. Prices are rounded away from the market, and never through it.
    """
    bid_mode, ask_mode = mode_of(action[2]), mode_of(action[3])
    bid, ask = np.int64(0), np.int64(0)
    if (bid_mode == QUOTE or ask_mode == QUOTE) and mid2(event) != enums.NO_TICK:
        mid = mid2(event) / 2
        low, high = scheme["low"], scheme["high"]
        if by_model:
            gamma = math.exp(_scaled(action[0], math.log(low[0]), math.log(high[0])))
            kappa = math.exp(_scaled(action[1], math.log(low[1]), math.log(high[1])))
            lag = scheme["lag"]
            ticks = math.sqrt(float(memory["squares"][lag])) / 2
            sigma = ticks / math.sqrt(scheme["lag_s"])
            position = np.float64(account["known_position"]["size"])
            left, right = avellaneda_stoikov.quotes(mid, position, gamma, sigma, kappa, scheme["horizon_s"])
        else:
            half = _scaled(action[0], low[0], high[0])
            centre = mid + _scaled(action[1], low[1], high[1])
            left, right = centre - half, centre + half
        bid = min(np.int64(math.floor(max(left, -1e9))), np.int64(event["ask"]) - 1)
        ask = max(np.int64(math.ceil(min(right, 1e9))), np.int64(event["bid"]) + 1)
    return quote(sent, account, event, bid_mode, bid, ask_mode, ask, np.int64(scheme["sizes"][0]), intents)


@njit
def mask_quotes(sent, account, event, scheme, out) -> None:
    """Which codes of a bid, then of an ask, then of sizes do something now, into `out`: LEAVE and WITHDRAW always, an
    offset before the best price only where the spread has room, and a new quote only where `max_position` would not
    refuse its first size."""
    has_market = mid2(event) != enums.NO_TICK
    limit = account["models"]["max_position"]
    spread = np.int64(event["ask"]) - np.int64(event["bid"])
    codes = FIRST_OFFSET + scheme["offset_count"]
    for side in range(2):
        out[side * codes + LEAVE] = True
        out[side * codes + WITHDRAW] = True
        open_lots = np.int64(scheme["sizes"][0]) + account["most_open"][side]
        allowed = limit < 0 or (1 - 2 * side) * account["known_position"]["size"] + open_lots <= limit
        allowed = has_market and (allowed or find_live(account, sent["order_id"][side]) >= 0)
        for index in range(scheme["offset_count"]):
            offset = np.int64(scheme["offsets"][index])
            out[side * codes + FIRST_OFFSET + index] = allowed and (offset >= 0 or spread + offset >= 1)
    if scheme["size_count"] > 1:
        for index in range(scheme["size_count"]):
            out[2 * codes + index] = True
