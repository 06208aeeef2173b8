"""The market as received: a cursor over the tape, the ladder around the touch and the session's statistics.

Only this view moves the ladder. Matching happens at exchange time, ahead of it (`bt_gym.core.execution`).
R records, E events, B blocks as in `bt_gym.core.tape`.
"""

import numpy as np

from bt_gym._jit import njit
from bt_gym.core import enums
from bt_gym.core.tape import COARSE_BITS, KIND_MASK, LADDER_TICKS, SIDE_BIT, TICK_SHIFT

session_dtype = np.dtype(
    [
        ("trades", "<i8"),
        ("volume", "<i8"),  # lots
        ("notional", "<i8"),  # ticks x lots, so that vwap = notional / volume
        ("open", "<i4"),  # ticks; NO_TICK before the first trade
        ("high", "<i4"),
        ("low", "<i4"),
        ("last", "<i4"),
    ],
    align=True,
)

market_dtype = np.dtype(
    [
        ("event", "<i8"),  # events received so far: the next one to come
        ("extra_delay", "<i8"),  # ns on top of the tape's receive delay
        ("block", "<i4"),  # block of the last received event
        ("base", "<i4"),  # tick of ladder[:, 0]
        ("mark2", "<i4"),  # twice the last valid mid in ticks; NO_TICK before the first
        ("mark_bid", "<i4"),  # its bid and ask, ticks, and what was displayed there
        ("mark_ask", "<i4"),
        ("mark_bid_size", "<i4"),
        ("mark_ask_size", "<i4"),
        ("mark_is_stale", "<i4"),  # the book is one-sided, crossed or not in continuous trading
        ("session", session_dtype),
        ("ladder", "<i4", (2, LADDER_TICKS)),  # displayed lots per side and tick
    ],
    align=True,
)


def new_market(extra_delay: int = 0) -> np.ndarray:
    """A market before the first event, shape (1,). `extra_delay`: ns of feed latency beyond what the data show."""
    market = np.zeros(1, market_dtype)
    market["extra_delay"] = extra_delay
    market["mark2"] = enums.NO_TICK
    market["block"] = -1
    for name in ("open", "high", "low", "last"):
        market["session"][name] = enums.NO_TICK
    return market


@njit
def receive_delay(event) -> int:
    """ns until the whole of the event was received."""
    return np.int64(event["delay"]) << (COARSE_BITS if event["flags"] & enums.EVENT_COARSE_DELAY else 0)


@njit
def received_at(event, extra_delay: int) -> int:
    """When a strategy may know of the event, ns."""
    return event["ts_event"] + receive_delay(event) + extra_delay


@njit
def mid2(event) -> int:
    """Twice the mid after the event in ticks, or `NO_TICK` when the event leaves no valid one."""
    bid = np.int64(event["bid"])
    ask = np.int64(event["ask"])
    if (
        event["flags"] & enums.PHASE_MASK != enums.PHASE_CONTINUOUS
        or bid == enums.NO_TICK
        or ask == enums.NO_TICK
        or bid >= ask
    ):
        return enums.NO_TICK
    return bid + ask


@njit
def best_price(event, side: int) -> int:
    """Best price of a side after the event, in ticks; `NO_TICK` when it is empty."""
    return np.int64(event["ask"]) if side == enums.ASK else np.int64(event["bid"])


@njit
def find_received(events, first: int, until: int, extra_delay: int, mask: int) -> int:
    """First event from `first` on that is received by `until` (ns) and has a bit of `mask`; -1 when there is none."""
    for number in range(first, events.shape[0]):
        if received_at(events[number], extra_delay) > until:
            return -1
        if events[number]["flags"] & mask:
            return number
    return -1


@njit
def count_received(events, first: int, until: int, extra_delay: int) -> int:
    """How many events are received by `until` (ns), counted on from `first`."""
    number = first
    while number < events.shape[0] and received_at(events[number], extra_delay) <= until:
        number += 1
    return number


@njit
def find_block(blocks, event: int) -> int:
    """Block that `event` belongs to."""
    low = 0
    high = blocks.shape[0]
    while high - low > 1:
        middle = (low + high) >> 1
        if blocks[middle]["event"] <= event:
            low = middle
        else:
            high = middle
    return low


@njit
def _apply(market, records, first: int, last: int) -> None:
    """Records `first:last` change the ladder and the session."""
    ladder = market["ladder"]
    session = market["session"]
    base = market["base"]
    for i in range(first, last):
        key = records[i]["key"]
        kind = key & KIND_MASK
        if kind <= enums.RECORD_RESTORE:
            offset = (key >> TICK_SHIFT) - base
            if 0 <= offset < LADDER_TICKS:
                ladder[1 if key & SIDE_BIT else 0, offset] += records[i]["size"]
        elif kind == enums.RECORD_TRADE or kind == enums.RECORD_TRADE_N:
            tick = np.int64(key >> TICK_SHIFT)
            size = np.int64(records[i]["size"])
            if session["trades"] == 0:
                session["open"] = tick
                session["high"] = tick
                session["low"] = tick
            session["high"] = max(session["high"], tick)
            session["low"] = min(session["low"], tick)
            session["last"] = tick
            session["trades"] += 1
            session["volume"] += size
            session["notional"] += size * tick
        elif kind == enums.RECORD_CLEAR:
            ladder[:] = 0


@njit
def move(market, records, events, blocks, end: int) -> None:
    """Receives all events up to (not including) number `end`."""
    start = market["event"]
    if end <= start:
        return
    valid = end - 1
    while valid >= start and mid2(events[valid]) == enums.NO_TICK:
        valid -= 1
    if valid >= start:
        _receive(market, records, events, blocks, valid + 1)
        _mark(market, events[valid])
    if valid < end - 1:
        _receive(market, records, events, blocks, end)
    market["mark_is_stale"] = valid < end - 1


@njit
def _mark(market, event) -> None:
    """The book just received is the last valid one."""
    market["mark2"] = mid2(event)
    market["mark_bid"] = event["bid"]
    market["mark_ask"] = event["ask"]
    market["mark_bid_size"] = _size_at(market, enums.BID, event["bid"])
    market["mark_ask_size"] = _size_at(market, enums.ASK, event["ask"])


@njit
def _size_at(market, side: int, tick: int) -> int:
    offset = np.int64(tick) - market["base"]
    return np.int64(market["ladder"][side, offset]) if 0 <= offset < LADDER_TICKS else np.int64(0)


@njit
def _receive(market, records, events, blocks, end: int) -> None:
    number = market["event"]
    block = market["block"]
    if block < 0:  # the first checkpoint lies behind the first event: its window is the one for that event, too
        market["base"] = blocks[0]["base"]
    while number < end:
        if block + 1 < blocks.shape[0] and blocks[block + 1]["event"] <= number:
            block += 1
            market["base"] = blocks[block]["base"]
            market["ladder"] = blocks[block]["ladder"]
        stop = end
        if block + 1 < blocks.shape[0] and blocks[block + 1]["event"] < end:
            stop = blocks[block + 1]["event"]
        first = np.int64(events[number - 1]["end"]) if number > 0 else 0
        _apply(market, records, first, np.int64(events[stop - 1]["end"]))
        number = stop
    market["block"] = block
    market["event"] = end


@njit
def receive_one(market, records, events, blocks, number: int, first: int, last: int) -> None:
    """Receives event `number`, the next one, with records `first:last`."""
    block = market["block"] + 1
    if number == 0 and block == 0:
        market["base"] = blocks[0]["base"]
    if block < blocks.shape[0] and blocks[block]["event"] <= number:
        market["block"] = block
        market["base"] = blocks[block]["base"]
        market["ladder"] = blocks[block]["ladder"]
    _apply(market, records, first, last)
    market["event"] = number + 1
    is_valid = mid2(events[number]) != enums.NO_TICK
    market["mark_is_stale"] = not is_valid
    if is_valid:
        _mark(market, events[number])


@njit
def seek(market, records, events, blocks, end: int) -> None:
    """The market after all events before number `end`, from the nearest checkpoint on.

    Equal to a run from the first event on, but for the session's statistics, which begin here.
    """
    session = market["session"]
    session["trades"] = 0
    session["volume"] = 0
    session["notional"] = 0
    session["open"] = session["high"] = session["low"] = session["last"] = enums.NO_TICK
    market["mark2"] = enums.NO_TICK
    market["mark_is_stale"] = 1
    market["event"] = 0
    market["block"] = -1
    market["ladder"][:] = 0
    if end > blocks[0]["event"]:
        block = find_block(blocks, end - 1)
        market["event"] = blocks[block]["event"]
        market["block"] = block
        market["base"] = blocks[block]["base"]
        market["ladder"] = blocks[block]["ladder"]
    move(market, records, events, blocks, end)
    for number in range(end - 1, -1, -1):
        if market["mark2"] != enums.NO_TICK:
            break
        if mid2(events[number]) != enums.NO_TICK:
            _mark(market, events[number])


@njit
def recent_trades(records, events, end: int, out) -> int:
    """Fills `out` (n, 5) int64 with the last trades of events before `end`, newest first; returns how many.

    Columns: event, tick, lots, side of the aggressor (-1 none), ts_event.
    """
    found = 0
    number = end - 1
    while number >= 0 and found < out.shape[0]:
        if events[number]["flags"] & enums.EVENT_TRADE:
            first = np.int64(events[number - 1]["end"]) if number > 0 else np.int64(0)
            i = np.int64(events[number]["end"]) - 1
            while i >= first and found < out.shape[0]:
                key = records[i]["key"]
                kind = key & KIND_MASK
                if kind == enums.RECORD_TRADE or kind == enums.RECORD_TRADE_N:
                    out[found, 0] = number
                    out[found, 1] = key >> TICK_SHIFT
                    out[found, 2] = records[i]["size"]
                    out[found, 3] = -1 if kind == enums.RECORD_TRADE_N else 0 if key & SIDE_BIT else 1
                    out[found, 4] = events[number]["ts_event"]
                    found += 1
                i -= 1
        number -= 1
    return found
