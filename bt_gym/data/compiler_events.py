"""Events of a tape under way: their records, phases, best prices, checkpoints, and what they prove of the book.

Kernels that the compilers of orders (`bt_gym.data.compiler`) and of levels (`bt_gym.data.l2`) share.
"""

import numpy as np

from bt_gym._jit import inlined, njit
from bt_gym.core import enums
from bt_gym.core.tape import (
    BLOCK_DRIFT_TICKS,
    BLOCK_EVENTS,
    COARSE_BITS,
    GONE_BIT,
    LADDER_TICKS,
    MAX_TICK,
    SIDE_BIT,
    TICK_SHIFT,
)
from bt_gym.data import book as l3
from bt_gym.data import dbn
from bt_gym.data.compiler_state import COLD, GAP, PROVEN_LEVELS
from bt_gym.data.proof import UNBOUNDED
from bt_gym.data.status import UNKNOWN


@inlined
def emit(state, kind: int, side: int, tick: int, size: int, priority: int, gone: bool) -> None:
    if not -MAX_TICK < tick < MAX_TICK:
        state["count"]["far_prices"] += 1
        return
    record = state["record_buffer"][state["out_records"]]
    record["key"] = (tick << TICK_SHIFT) | (GONE_BIT if gone else 0) | (side * SIDE_BIT) | kind
    record["size"] = size
    record["priority"] = priority
    state["out_records"] += 1
    state["records"] += 1
    if kind <= enums.RECORD_RESTORE or kind == enums.RECORD_CLEAR:
        state["event_flags"] |= enums.EVENT_BOOK


@inlined
def side_of(code: int) -> int:
    return enums.BID if code == dbn.SIDE_BID else enums.ASK if code == dbn.SIDE_ASK else -1


@njit
def prove(state, lowest_ask: int, highest_bid: int) -> None:
    """From this event on, bids at or above `lowest_ask` and asks at or below `highest_bid` are known completely."""
    state["lowest_ask"] = lowest_ask
    state["highest_bid"] = highest_bid
    out = state["out_ranges"]
    if out == 0 or state["range_buffer"][out - 1, 0] != state["events"]:  # one row an event
        state["out_ranges"] += 1
        out += 1
    row = state["range_buffer"][out - 1]
    row[0] = state["events"]
    row[1] = lowest_ask
    row[2] = highest_bid


@njit
def know(state) -> None:
    """A snapshot or clear tells the whole book."""
    state["suspect"] = 0
    prove(state, -UNBOUNDED, UNBOUNDED)


@njit
def doubt(state, message, tick_size: int) -> None:
    """An `M` of an unknown order: in a book that was known, its level can't be trusted.

    While the book is incomplete it is the order of an unproven level, or has come from one, to the back as any other.
    """
    side = side_of(message["side"])
    if state["lowest_ask"] != -UNBOUNDED or side < 0 or message["price"] == dbn.UNDEF_PRICE:
        return
    if state["out_doubts"] == state["doubt_buffer"].shape[0]:
        state["suspect"] = GAP  # a thousand in a moment: nothing can be trusted
        return
    row = state["doubt_buffer"][state["out_doubts"]]
    row[0] = state["events"]
    row[1] = side
    row[2] = message["price"] // tick_size
    state["out_doubts"] += 1


@njit
def _learn(state, book) -> None:
    """What the quotes of an event prove of a book that started cold or has a gap.

    Where the opposite best price stands, no order of this side does: whatever stands there later was seen to come. A
    market that doesn't match proves nothing, and an uncross or a crossed book tells too late that it didn't.
    """
    bid, ask = state["bid"], state["ask"]
    phase = state["event_flags"] & enums.PHASE_MASK
    if phase == enums.PHASE_AUCTION or (bid != enums.NO_TICK and ask != enums.NO_TICK and bid >= ask):
        if state["suspect"] and (state["lowest_ask"] != UNBOUNDED or state["highest_bid"] != -UNBOUNDED):
            prove(state, UNBOUNDED, -UNBOUNDED)
        return
    if state["given"] != UNKNOWN and state["given"] != enums.PHASE_CONTINUOUS:
        return
    lowest_ask, highest_bid = state["lowest_ask"], state["highest_bid"]
    if ask != enums.NO_TICK:
        lowest_ask = min(lowest_ask, ask)
    if bid != enums.NO_TICK:
        highest_bid = max(highest_bid, bid)
    if lowest_ask != state["lowest_ask"] or highest_bid != state["highest_bid"]:
        prove(state, lowest_ask, highest_bid)
    if state["suspect"] == COLD:
        bids, asks = book["levels_live"][0], book["levels_live"][1]
        if (
            bids >= PROVEN_LEVELS
            and asks >= PROVEN_LEVELS
            and book["levels"][0, bids - PROVEN_LEVELS]["key"] >= lowest_ask
            and -book["levels"][1, asks - PROVEN_LEVELS]["key"] <= highest_bid
        ):
            state["suspect"] = 0


@njit
def emit_trade(state, message, tick_size: int, auction: bool) -> None:
    """A `T`: volume that meets the resting side; it changes no level."""
    size = np.int64(message["size"])
    state["count"]["trades"] += 1
    tick = message["price"] // tick_size
    if size > 0x7FFFFFFF or message["price"] == dbn.UNDEF_PRICE or not -MAX_TICK < tick < MAX_TICK:
        state["count"]["invalid_records"] += 1
        return
    state["count"]["volume"] += size
    state["event_flags"] |= enums.EVENT_TRADE
    aggressor = side_of(message["side"])
    kind = enums.RECORD_TRADE
    resting = 1 - aggressor
    if tick * tick_size != message["price"]:  # a hidden trade inside the grid meets no displayed level
        state["count"]["off_tick_trades"] += 1
        kind = enums.RECORD_TRADE_N
        resting = max(0, resting) if aggressor >= 0 else 0
    elif aggressor < 0:
        resting = 0
        kind = enums.RECORD_TRADE_N
        if not auction:
            if state["bid"] != enums.NO_TICK and tick <= state["bid"]:
                kind = enums.RECORD_TRADE
            elif state["ask"] != enums.NO_TICK and tick >= state["ask"]:
                kind = enums.RECORD_TRADE
                resting = 1
            if kind == enums.RECORD_TRADE:
                state["count"]["inferred_sides"] += 1
                state["event_flags"] |= enums.EVENT_INFERRED_SIDE
    emit(state, kind, resting, tick, size, -1, False)


@inlined
def _best(book, side: int) -> tuple[int, int]:
    """Price and displayed lots of the best level that is on the tape; `NO_TICK` and 0 when there is none."""
    for i in range(book["levels_live"][side] - 1, -1, -1):
        level = book["levels"][side, i]
        key = np.int64(level["key"])
        if -MAX_TICK < key < MAX_TICK:
            return key if side == 0 else -key, np.int64(level["size"])
    return np.int64(enums.NO_TICK), np.int64(0)


@inlined
def publish(state, book, ts_event: int, snapshot: bool) -> None:
    """Closes the event under way: clocks, best prices, phase, and the next checkpoint when one is due."""
    ts_recv = state["group_recv"]
    if snapshot:
        ts_event = ts_recv  # the orders' own times lie before the session
    latest = state["ts_recv"] - state["rounded"]  # as it was
    held = ts_recv < latest and state["ts_recv"] != state["change_recv"]
    if ts_event < state["ts_event"] or held:
        state["count"]["clock_steps_back"] += 1
    ts_event = max(ts_event, state["ts_event"])
    latest = max(ts_recv, max(latest, ts_event))
    ts_recv = max(latest, state["ts_recv"])
    flags = state["event_flags"]
    delay = ts_recv - ts_event
    if delay > 0xFFFFFFFF:
        flags |= enums.EVENT_COARSE_DELAY
        state["count"]["late_events"] += 1
        delay = (delay + (1 << COARSE_BITS) - 1) >> COARSE_BITS
        if delay > 0xFFFFFFFF:
            delay = 0xFFFFFFFF
            state["count"]["delays_saturated"] += 1
        ts_recv = ts_event + (delay << COARSE_BITS)
    state["ts_event"] = ts_event
    state["ts_recv"] = ts_recv
    state["rounded"] = ts_recv - latest

    bid, bid_size = _best(book, 0)
    ask, ask_size = _best(book, 1)
    if bid != state["bid"] or ask != state["ask"] or bid_size != state["bid_size"] or ask_size != state["ask_size"]:
        flags |= enums.EVENT_QUOTE
    state["bid"] = bid
    state["ask"] = ask
    state["bid_size"] = bid_size
    state["ask_size"] = ask_size
    crossed = bid != enums.NO_TICK and ask != enums.NO_TICK and bid >= ask
    state["count"]["crossed_events"] += crossed

    if state["lowest_ask"] != -UNBOUNDED:
        _learn(state, book)
    number = state["events"]
    auction = flags & enums.PHASE_MASK == enums.PHASE_AUCTION
    if state["given"] != UNKNOWN:
        state["stretch"] = number + 1
        state["stretch_crossed"] = 0
    elif snapshot or flags & enums.EVENT_TRADE:
        # No exchange leaves a crossed book alone while it matches, and an auction ends a time without matching:
        # either way nothing could trade since the last trade or snapshot.
        if auction or state["stretch_crossed"]:
            stretch = state["stretch_buffer"][state["out_stretches"]]
            stretch[0] = state["stretch"]
            stretch[1] = number
            state["out_stretches"] += 1
        state["stretch"] = number if crossed else number + 1
        state["stretch_crossed"] = 0
    if crossed and state["given"] == UNKNOWN:
        state["stretch_crossed"] = 1
    if snapshot:
        flags |= enums.PHASE_SNAPSHOT
    elif state["suspect"]:
        flags = (flags & ~enums.PHASE_MASK) | enums.PHASE_SUSPECT
    elif not auction:
        flags |= enums.PHASE_CONTINUOUS if state["given"] == UNKNOWN else state["given"] & enums.PHASE_MASK
    if state["given"] != UNKNOWN:
        flags |= state["given"] & enums.EVENT_CLOSED
    if state["no_cancel"]:
        flags |= enums.EVENT_NO_CANCEL
    if flags & enums.PHASE_MASK != state["phase"]:
        flags |= enums.EVENT_PHASE
    state["phase"] = flags & enums.PHASE_MASK

    event = state["event_buffer"][state["out_events"]]
    event["ts_event"] = ts_event
    event["delay"] = delay
    event["end"] = state["records"]
    event["source"] = state["source"]
    event["bid"] = bid
    event["ask"] = ask
    event["flags"] = flags
    state["out_events"] += 1
    state["events"] += 1
    _checkpoint(state, book)


@njit
def change_status(state, book, change) -> None:
    """The venue's status (`status.change_dtype`) as an event without records, or as what the first event finds."""
    if state["stretch_crossed"]:  # what could be inferred ends here
        stretch = state["stretch_buffer"][state["out_stretches"]]
        stretch[0] = state["stretch"]
        stretch[1] = state["events"]
        state["out_stretches"] += 1
        state["stretch_crossed"] = 0
    state["given"] = change["phase"]
    state["no_cancel"] = change["no_cancel"]
    if state["events"] == 0:
        return
    state["event_flags"] = 0
    state["group_recv"] = max(change["ts_recv"], state["ts_recv"])
    crossed = state["count"]["crossed_events"]
    publish(state, book, max(change["ts_event"], state["ts_event"]), False)
    state["count"]["crossed_events"] = crossed  # counts events of the market
    state["change_recv"] = state["ts_recv"]


@njit
def end_snapshot(state, book) -> None:
    """The snapshot under way is complete."""
    state["in_snapshot"] = 0
    publish(state, book, 0, True)


@njit
def end_listing(state, book) -> None:
    """Another instrument goes on under the symbol: an event that clears the book, which is unknown from here on."""
    if state["in_snapshot"]:
        end_snapshot(state, book)
    l3.clear(book)
    state["compare"] = 0
    state["suspect"] = COLD
    prove(state, UNBOUNDED, -UNBOUNDED)
    state["event_flags"] = enums.EVENT_ROLL
    state["group_recv"] = state["ts_recv"]
    emit(state, enums.RECORD_CLEAR, 0, 0, 0, -1, False)
    publish(state, book, state["ts_event"], False)


@njit
def _checkpoint(state, book) -> None:
    """Starts a new block before the next event when the old one is long or the price has left its middle."""
    bid, ask = state["bid"], state["ask"]
    center = state["block_center"]
    if bid != enums.NO_TICK and ask != enums.NO_TICK:
        center = (bid + ask) >> 1
    elif bid != enums.NO_TICK:
        center = bid
    elif ask != enums.NO_TICK:
        center = ask
    number = state["events"]
    if number - state["block_event"] < BLOCK_EVENTS and abs(center - state["block_center"]) <= BLOCK_DRIFT_TICKS:
        return
    base = center - LADDER_TICKS // 2
    block = state["block_buffer"][state["out_blocks"]]
    block["event"] = number
    block["base"] = base
    block["ladder"][:] = 0
    for side in range(2):
        for i in range(book["levels_live"][side] - 1, -1, -1):
            level = book["levels"][side, i]
            offset = (level["key"] if side == 0 else -level["key"]) - base
            if 0 <= offset < LADDER_TICKS:
                block["ladder"][side, offset] = level["size"]
    state["out_blocks"] += 1
    state["block_event"] = number
    state["block_center"] = center
