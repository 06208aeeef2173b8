"""Compiles MBO records into a tape: everything venue-specific is resolved here, once.

A match group becomes one event, whose records are put into a fixed order: self-match cancels, then each trade with its
fills, then the other changes of the book. So a replay needs no order ids and no special cases. Rules and their sources:
`docs/compiler.md`; layout of the result: `bt_gym.core.tape`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bt_gym._jit import array_at, inlined, njit, prefetch
from bt_gym.core import enums
from bt_gym.core.tape import BLOCK_EVENTS, MAX_TICK
from bt_gym.data import book as l3
from bt_gym.data import dbn
from bt_gym.data.compiler_events import (
    change_status,
    doubt,
    emit,
    emit_trade,
    end_listing,
    end_snapshot,
    know,
    prove,
    publish,
    side_of,
)
from bt_gym.data.compiler_state import (
    AGGREGATED,
    BUFFERS,
    CARRIED,
    COLD,
    COUNTERS,
    DONE,
    ENDED,
    FIELDS,
    GAP,
    GROW,
    MORE,
    NEVER,
    RESTORED,
    STATUS,
    state_dtype,
)
from bt_gym.data.proof import UNBOUNDED, Proof
from bt_gym.data.status import NO_CHANGES, UNKNOWN
from bt_gym.data.symbology import NS_PER_DAY
from bt_gym.errors import CapacityError, CorruptFileError, SchemaError, TickError

COMPILER_VERSION = 5
"""Part of a tape's key: a change of any rule makes old tapes stale."""

SEAM_RECORDS = 64
"""Of a chunk that are put behind an event which the chunk before left open."""

OPEN_EVENT_RECORDS = 1 << 22
"""No event of a market has this many records; an endless one would have to be kept in memory."""

# records between the one that is compiled and the one whose data are asked for
_FAR = 40  # the record itself
_NEAR = 8  # its order's place in the table
_NEXT = 4  # the order

# marks on an order while its event is compiled
_FILLED = 1  # an F names it, as the resting order or as an aggressor that rested before
_MOVED = 2  # an M or A names it

_TAKEN = 0  # rtype of a C that has been done, while its event is compiled


@inlined
def _place(state, book, order_id: int, side: int, tick: int, size: int) -> None:
    """A new order at the back of its level."""
    number = state["records"]
    l3.add(book, order_id, side, tick, size, number)
    emit(state, enums.RECORD_ADD, side, tick, size, number, False)


@inlined
def _take_away(state, book, slot: int, size: int) -> None:
    """A `C` of `size` lots. What an `F` of this event already took is not taken from the tape again."""
    order = book["orders"][slot]
    size = min(size, order["size"])
    booked = min(size, order["filled"])
    order["filled"] -= booked
    last = size == order["size"]
    if size > booked:
        emit(state, enums.RECORD_DEL, order["side"], order["tick"], booked - size, order["priority"], last)
    if last:
        l3.remove(book, slot)
    else:
        l3.resize(book, slot, order["size"] - size)


@njit
def _drop(state, book, slot: int) -> None:
    """The whole order goes."""
    _take_away(state, book, slot, book["orders"][slot]["size"])


@njit
def _modify(state, book, slot: int, side: int, tick: int, size: int) -> None:
    """An `M` to `size` > 0 lots at `side` and `tick`."""
    order = book["orders"][slot]
    left = order["size"] - order["filled"]
    if l3.keeps_place(order, side, tick, size, order["filled"]):
        if size < left:
            emit(state, enums.RECORD_DEL, order["side"], order["tick"], size - left, order["priority"], False)
        l3.resize(book, slot, size)
    else:
        old_priority = order["priority"]
        if left > 0:
            emit(state, enums.RECORD_DEL, order["side"], order["tick"], -left, old_priority, True)
        number = state["records"]
        previous = old_priority if abs(order["tick"]) < MAX_TICK else number  # no record tells where a far one stood
        l3.requeue(book, slot, side, tick, size, number)
        emit(state, enums.RECORD_ADD, side, tick, size, previous, False)
    order["filled"] = 0


@inlined
def _tick_of(state, message, tick_size: int) -> int:
    """Where an A or M stands in the book; `NO_TICK` when it can't, which is counted."""
    price = message["price"]
    if message["size"] > 0x7FFFFFFF or side_of(message["side"]) < 0 or price == dbn.UNDEF_PRICE:
        state["count"]["invalid_records"] += 1
        return enums.NO_TICK
    tick = price // tick_size
    if tick * tick_size != price:
        if state["first_off_tick"] == 0:
            state["first_off_tick"] = state["source"] + 1
            state["off_tick_price"] = price
        state["count"]["off_tick_orders"] += 1
        return enums.NO_TICK
    if not -(1 << 31) < tick < 1 << 31:
        state["count"]["invalid_records"] += 1
        return enums.NO_TICK
    return tick


@inlined
def _update(state, book, message, tick_size: int) -> None:
    """One A, C, M or R changes the book and the tape."""
    action = message["action"]
    if action == dbn.ACTION_CLEAR:
        state["count"]["clears"] += 1
        know(state)
        l3.clear(book)
        emit(state, enums.RECORD_CLEAR, 0, 0, 0, -1, False)
        return
    order_id = np.int64(message["order_id"])
    slot = l3.find(book, order_id)
    size = np.int64(message["size"])
    if action == dbn.ACTION_CANCEL:
        state["count"]["cancels"] += 1
        if slot == 0:
            state["count"]["unknown_cancels"] += 1
            return
        if size > book["orders"][slot]["size"]:
            state["count"]["over_cancels"] += 1
        _take_away(state, book, slot, size)
        return
    if action == dbn.ACTION_ADD:
        state["count"]["adds"] += 1
    else:
        state["count"]["modifies"] += 1
        if slot == 0:
            state["count"]["unknown_modifies"] += 1
            doubt(state, message, tick_size)
    if size == 0:
        if slot != 0 and action == dbn.ACTION_MODIFY:
            _drop(state, book, slot)
        else:
            state["count"]["invalid_records"] += 1
        return
    tick = _tick_of(state, message, tick_size)
    if tick == enums.NO_TICK:
        if slot != 0:  # where it stood it stands no more
            _drop(state, book, slot)
        return
    side = side_of(message["side"])
    if slot != 0 and action == dbn.ACTION_ADD:
        state["count"]["duplicate_adds"] += 1
        _drop(state, book, slot)
        slot = 0
    if slot == 0:
        _place(state, book, order_id, side, tick, size)
    else:
        if side != book["orders"][slot]["side"]:
            state["count"]["side_changes"] += 1
        _modify(state, book, slot, side, tick, size)


@njit
def _restore(state, book, message, tick_size: int) -> None:
    """One record of a snapshot."""
    if not state["in_snapshot"]:
        state["in_snapshot"] = 1
        state["count"]["snapshots"] += 1
        state["group_recv"] = 0
        state["event_flags"] = 0
        know(state)
        if message["action"] != dbn.ACTION_CLEAR:  # older files start a snapshot without R
            state["count"]["implicit_clears"] += book["orders_live"] > 0
            l3.clear(book)
            emit(state, enums.RECORD_CLEAR, 0, 0, 0, -1, False)
    state["group_recv"] = max(state["group_recv"], message["ts_recv"])
    if message["action"] == dbn.ACTION_CLEAR:
        l3.clear(book)
        emit(state, enums.RECORD_CLEAR, 0, 0, 0, -1, False)
    elif message["action"] == dbn.ACTION_ADD and message["size"] > 0:
        tick = _tick_of(state, message, tick_size)
        if tick == enums.NO_TICK:
            return
        order_id = np.int64(message["order_id"])
        slot = l3.find(book, order_id)
        if slot != 0:
            state["count"]["duplicate_adds"] += 1
            _drop(state, book, slot)
        side = side_of(message["side"])
        number = state["records"]
        l3.add(book, order_id, side, tick, np.int64(message["size"]), number)
        emit(state, enums.RECORD_RESTORE, side, tick, np.int64(message["size"]), number, False)


@inlined
def group_end(chunk, first: int, final: bool) -> int:
    """One past the last record of the match group that starts at `first`; -1 when the chunk ends inside it.

    A group ends at F_LAST, and where a snapshot begins. Nasdaq's T, F and C of one execution carry F_LAST each: a group
    goes on when a T or F is followed by an F or C of the same ts_event and sequence.
    """
    n = chunk.shape[0]
    for i in range(first, n):
        if chunk[i]["flags"] & dbn.FLAG_SNAPSHOT:
            return i
        if not chunk[i]["flags"] & dbn.FLAG_LAST:
            continue
        action = chunk[i]["action"]
        if action != dbn.ACTION_TRADE and action != dbn.ACTION_FILL:
            return i + 1
        if i + 1 == n:
            return n if final else -1
        following = chunk[i + 1]["action"]
        if (
            (following != dbn.ACTION_FILL and following != dbn.ACTION_CANCEL)
            or chunk[i + 1]["ts_event"] != chunk[i]["ts_event"]
            or chunk[i + 1]["sequence"] != chunk[i]["sequence"]
            or chunk[i + 1]["flags"] & dbn.FLAG_SNAPSHOT
        ):
            return i + 1
    return -1


@njit
def is_own_fill(fill, trade) -> bool:
    """Whether an `F` is the aggressor's own: a resting order that was modified into the market is reported as filled.

    It has the id and the side of its `T`. Where a venue gives a `T` the id of the order that it hit, sides differ.
    """
    opposite = dbn.SIDE_BID if trade["side"] == dbn.SIDE_ASK else dbn.SIDE_ASK
    return fill["order_id"] == trade["order_id"] and (side_of(trade["side"]) < 0 or fill["side"] != opposite)


@njit
def _mark(state, book, chunk, first: int, end: int) -> bool:
    """First reading of a group with trades: notes on its orders, and whether it is an auction."""
    stamp = np.int32(state["events"] & 0x7FFFFFFF)
    unsided = False
    fill_sides = 0
    for i in range(first, end):
        message = chunk[i]
        action = message["action"]
        if action == dbn.ACTION_TRADE:
            unsided |= side_of(message["side"]) < 0
        elif action == dbn.ACTION_FILL:
            fill_sides |= 4 if side_of(message["side"]) < 0 else 1 << side_of(message["side"])
        if action == dbn.ACTION_TRADE or action == dbn.ACTION_NONE or action == dbn.ACTION_CLEAR:
            continue
        slot = l3.find(book, np.int64(message["order_id"]))
        if slot == 0:
            continue
        order = book["orders"][slot]
        if order["stamp"] != stamp:
            order["stamp"] = stamp
            order["marks"] = 0
            order["filled"] = 0
            order["to_book"] = 0
        if action == dbn.ACTION_FILL:
            order["marks"] |= _FILLED
        elif action == dbn.ACTION_CANCEL:
            order["to_book"] = min(np.int64(order["size"]), order["to_book"] + np.int64(message["size"]))
        elif action == dbn.ACTION_MODIFY or (action == dbn.ACTION_ADD and message["size"] > 0):
            # an A under a resting order's id ends the old order
            order["marks"] |= _MOVED
            order["to_book"] = order["size"]
    crossed = state["bid"] != enums.NO_TICK and state["ask"] != enums.NO_TICK and state["bid"] >= state["ask"]
    return unsided and (fill_sides >= 3 or crossed)


@njit
def _fill(state, book, message, tick_size: int) -> None:
    """An `F` of a resting order: its displayed part leaves the level here, the rest is hidden size."""
    size = np.int64(message["size"])
    slot = l3.find(book, np.int64(message["order_id"]))
    if size > 0x7FFFFFFF:
        state["count"]["invalid_records"] += 1
        return
    if slot == 0:
        state["count"]["unknown_fills"] += 1
        side = side_of(message["side"])
        if side >= 0 and message["price"] != dbn.UNDEF_PRICE:
            state["count"]["hidden_size"] += size
            emit(state, enums.RECORD_HIDDEN, side, message["price"] // tick_size, size, -1, False)
        return
    order = book["orders"][slot]
    shown = min(size, order["to_book"] - order["filled"])  # else the tape would lose size that the book keeps
    if shown < min(size, order["size"] - order["filled"]):
        state["count"]["unresolved_fills"] += 1
    if shown > 0:
        order["filled"] += shown
        gone = order["filled"] == order["size"]
        emit(state, enums.RECORD_FILL, order["side"], order["tick"], -shown, order["priority"], gone)
    if size > shown:
        state["count"]["hidden_size"] += size - shown
        emit(state, enums.RECORD_HIDDEN, order["side"], order["tick"], size - shown, order["priority"], False)


@inlined
def _compile_group(state, book, chunk, first: int, end: int, tick_size: int) -> bool:
    """The match group `chunk[first:end]`: book, tape records, flags. False, and nothing done, when one is no order.

    A slice for the group would cost more than the group: an array counts its references.
    """
    state["event_flags"] = 0
    ts_recv = np.int64(0)
    trades = False
    flags = 0
    for i in range(first, end):
        ts_recv = max(ts_recv, chunk[i]["ts_recv"])
        trades |= chunk[i]["action"] == dbn.ACTION_TRADE or chunk[i]["action"] == dbn.ACTION_FILL
        flags |= chunk[i]["flags"]
    state["group_recv"] = ts_recv
    if flags & (dbn.FLAG_TOB | dbn.FLAG_MBP):
        return False
    if flags & dbn.FLAG_MAYBE_BAD_BOOK:
        state["suspect"] = GAP
        state["count"]["bad_book_events"] += 1
        prove(state, UNBOUNDED, -UNBOUNDED)
    auction = False
    if trades:
        auction = _mark(state, book, chunk, first, end)
        if not auction:
            for i in range(first, end):
                if _is_self_match(book, chunk[i]):
                    state["count"]["self_match_cancels"] += 1
                    state["count"]["cancels"] += 1
                    size = np.int64(chunk[i]["size"])
                    slot = l3.find(book, np.int64(chunk[i]["order_id"]))
                    if size > book["orders"][slot]["size"]:
                        state["count"]["over_cancels"] += 1
                    _take_away(state, book, slot, size)
                    chunk[i]["rtype"] = _TAKEN
        trade = -1
        unfilled = np.int64(0)
        for i in range(first, end):
            if chunk[i]["action"] == dbn.ACTION_TRADE:
                state["count"]["implied_size"] += max(unfilled, 0)
                trade = i
                unfilled = np.int64(0) if auction else np.int64(chunk[i]["size"])
                emit_trade(state, chunk[i], tick_size, auction)
            elif chunk[i]["action"] == dbn.ACTION_FILL:
                state["count"]["fills"] += 1
                if trade < 0 or not is_own_fill(chunk[i], chunk[trade]):
                    unfilled -= np.int64(chunk[i]["size"])
                    _fill(state, book, chunk[i], tick_size)
        state["count"]["implied_size"] += max(unfilled, 0)
    for i in range(first, end):
        action = chunk[i]["action"]
        if chunk[i]["rtype"] == _TAKEN:
            chunk[i]["rtype"] = dbn.RTYPE_MBO
        elif (
            action == dbn.ACTION_ADD
            or action == dbn.ACTION_CANCEL
            or action == dbn.ACTION_MODIFY
            or action == dbn.ACTION_CLEAR
        ):
            _update(state, book, chunk[i], tick_size)
        elif action != dbn.ACTION_TRADE and action != dbn.ACTION_FILL and action != dbn.ACTION_NONE:
            state["count"]["invalid_records"] += 1
        state["source"] += 1
    if auction:
        state["count"]["auctions"] += 1
        state["event_flags"] |= enums.PHASE_AUCTION
    return True


@njit
def _is_self_match(book, message) -> bool:
    """A `C` without `F` beside a trade: the exchange cancelled the order before it matched (self-match prevention)."""
    if message["action"] != dbn.ACTION_CANCEL:
        return False
    slot = l3.find(book, np.int64(message["order_id"]))
    if slot == 0:
        return False
    order = book["orders"][slot]
    return order["marks"] & (_FILLED | _MOVED) == 0


@njit
def _fits(state, book, count: int) -> int:
    """DONE when the buffers and the book have room for an event of `count` records; BUFFERS or GROW.

    An A, C or M emits at most two records, an F two; each may bring one new order. A snapshot's first one emits three.
    """
    if (
        book["orders_live"] + count >= book["orders"].shape[0]
        or book["levels_live"][0] + count > book["levels"].shape[1]
        or book["levels_live"][1] + count > book["levels"].shape[1]
    ):
        return GROW
    if (
        state["out_records"] + 2 * count + 2 > state["record_buffer"].shape[0]
        or state["out_events"] + 2 > state["event_buffer"].shape[0]
        or state["out_blocks"] + 2 > state["block_buffer"].shape[0]
        or state["out_stretches"] + 2 > state["stretch_buffer"].shape[0]
        or state["out_ranges"] + 4 > state["range_buffer"].shape[0]
        or 2 * state["out_doubts"] > state["doubt_buffer"].shape[0]
    ):
        return BUFFERS
    return DONE


@njit
def _room(state, book) -> int:
    """Records, in whatever events, before `_fits` must be asked again: a twentieth of the time if it were each time."""
    levels = max(book["levels_live"][0], book["levels_live"][1])
    room = min(book["orders"].shape[0] - book["orders_live"] - 1, book["levels"].shape[1] - levels)
    room = min(room, (state["record_buffer"].shape[0] - state["out_records"]) // 4 - 1)
    room = min(room, state["event_buffer"].shape[0] - state["out_events"] - 2)
    room = min(room, state["block_buffer"].shape[0] - state["out_blocks"] - 2)
    room = min(room, state["stretch_buffer"].shape[0] - state["out_stretches"] - 2)
    room = min(room, state["range_buffer"].shape[0] - state["out_ranges"] - 4)
    return min(room, state["doubt_buffer"].shape[0] // 2 - state["out_doubts"])


_messages_at = array_at(dbn.mbo_dtype)
"""A chunk by its address: an array that owns its memory would count references in every helper, 40 ns an event."""


@njit
def compile_chunk(state, book, address: int, n: int, first: int, final: bool, tick_size: int) -> tuple[int, int]:
    """Compiles records `first:` of the `n` at an address into the buffers; returns (why it stopped, first not read).

    What later records will read is asked for early: waiting for memory took a sixth of the time.
    """
    chunk = _messages_at(address, n)
    position = first
    room = 0
    while position < n:
        if state["compare"] == 2:
            state["compare"] = 0
            return RESTORED, position
        message = chunk[position]
        prefetch(address + dbn.MBO_BYTES * (position + _FAR), 1)
        if position + _NEAR < n:
            l3.expect(book, np.int64(chunk[position + _NEAR]["order_id"]))
            l3.expect_order(book, np.int64(chunk[position + _NEXT]["order_id"]))
        snapshot = message["flags"] & dbn.FLAG_SNAPSHOT != 0 and state["in_snapshot"] != ENDED
        end = position + 1
        if not snapshot and not state["in_snapshot"]:
            end = group_end(chunk, position, final)
            if end < 0:
                return MORE, position
        if room < end - position:
            why = _fits(state, book, end - position)
            if why != DONE:
                return why, position
            room = _room(state, book)
        room -= end - position
        if snapshot:
            if message["flags"] & (dbn.FLAG_TOB | dbn.FLAG_MBP):
                return AGGREGATED, position
            if not state["in_snapshot"] and message["ts_recv"] >= state["next_change"]:
                return STATUS, position
            if not state["in_snapshot"] and book["orders_live"] > 0 and not state["compare"]:
                state["compare"] = 1
                return CARRIED, position
            _restore(state, book, message, tick_size)
            state["source"] += 1
            position += 1
            continue
        if state["in_snapshot"]:
            end_snapshot(state, book)
            state["compare"] *= 2
            continue
        if message["ts_event"] >= state["next_change"]:
            return STATUS, position
        if not _compile_group(state, book, chunk, position, end, tick_size):
            return AGGREGATED, position
        publish(state, book, chunk[position]["ts_event"], False)
        position = end
    if final and state["in_snapshot"]:
        end_snapshot(state, book)
        if state["compare"]:
            state["compare"] = 0
            return RESTORED, position
    return DONE, position


@dataclass(frozen=True)
class Piece:
    """A part of a tape, in order: what `Compiler.feed` has finished."""

    records: np.ndarray
    events: np.ndarray
    blocks: np.ndarray


class Compiler:
    """Compiles the MBO records of one instrument, chunk by chunk, in bounded memory.

    Call `begin_file` before each file, feed its chunks, and `finish` after the last one; `feed` and `finish` yield
    `Piece`s, whose arrays are valid until the next one.
    Afterwards `stretches` holds the pre-open stretches (first event, one past the last) whose phase the caller sets
    with `label_phases`: a stretch is only known when it ends, and may lie in pieces handed out long before. `proof`
    tells which levels can be trusted.

    Args:
        tick_size: in 1e-9 of the currency.
        changes: (S,) of `status.change_dtype` in the order of ts_event: phases as the venue gives them. Each comes
            before the first event that isn't earlier: own orders are not filled at the very time of a halt.

    Raises:
        CorruptFileError: an event doesn't end.
        SchemaError: a record is a top of book or an aggregated level instead of an order.
        TickError: the tick size isn't positive, or prices of orders don't lie on its grid (one in 10,000 is counted
            and left out).
        CapacityError: the tape would exceed 2**31 records.
    """

    def __init__(self, tick_size: int, buffer_bits: int = 16, changes: np.ndarray = NO_CHANGES) -> None:
        if tick_size <= 0:
            raise TickError(f"tick size {tick_size}: must be above 0, in 1e-9 of the currency (0.25 is 250000000)")
        self.tick_size = tick_size
        self.state = np.zeros(1, state_dtype(buffer_bits))
        self.state["block_event"] = -BLOCK_EVENTS
        self.state["phase"] = -1
        self.state["bid"] = self.state["ask"] = enums.NO_TICK
        self.state["suspect"] = COLD
        self.state["lowest_ask"], self.state["highest_bid"] = UNBOUNDED, -UNBOUNDED
        self.state["given"] = UNKNOWN
        self.state["change_recv"] = -1
        self._changes = changes
        self._await_change(0)
        self.book = l3.empty()
        self.stretches: list[tuple[int, int]] = []
        self.proof = Proof()
        self._carried = self.book
        self._rest = np.empty(0, dbn.mbo_dtype)

    def begin_file(self) -> None:
        """The next chunk is the first of a file: a snapshot there is a new one, even right after another."""
        if self.state["in_snapshot"][0]:
            self.state["in_snapshot"] = ENDED

    def begin_instrument(self) -> Piece:
        """What follows is another instrument under the same symbol: a continuous contract has rolled.

        The book ends here, and own orders with it. An event without its F_LAST is counted, not published.
        """
        self.state["source"] += len(self._rest)
        self.state["count"]["unpublished_records"] += len(self._rest)
        self._rest = self._rest[:0]
        end_listing(self.state[0], self.book[0])
        return self._flush()

    def feed(self, chunk: np.ndarray) -> Iterator[Piece]:
        """Compiles a chunk (n,) of `dbn.mbo_dtype`; an incomplete last group waits for the next one."""
        if not chunk.flags.c_contiguous or not chunk.flags.writeable:
            chunk = chunk.copy()
        start = 0
        while len(self._rest) and start < len(chunk):  # an event that goes on: only the seam is copied
            seam = chunk[start : start + max(SEAM_RECORDS, len(self._rest))]
            yield from self._run(np.concatenate([self._rest, seam]), final=False)
            start += len(seam)
            if len(self._rest) <= len(seam):  # it has ended, and what waits now can be read where it is
                start -= len(self._rest)
                self._rest = self._rest[:0]
        if start < len(chunk):
            yield from self._run(chunk[start:], final=False)
        if len(self._rest) > OPEN_EVENT_RECORDS:
            raise CorruptFileError(
                f"record {self.state['source'][0]}: {len(self._rest)} records without F_LAST (flag 128) follow: "
                "not a market-by-order stream, fetch the file again"
            )

    def finish(self) -> Iterator[Piece]:
        """Compiles what waits. A last group without F_LAST is counted, not published."""
        rest = self._rest
        yield from self._run(rest, final=True)
        tonight = (self.state["ts_recv"][0] // NS_PER_DAY + 1) * NS_PER_DAY  # later days have files of their own
        while self.state["next_change"][0] < tonight:
            change_status(self.state[0], self.book[0], self._changes[self._next])
            self._await_change(self._next + 1)
            yield self._flush()
        state = self.state[0]
        state["count"]["unpublished_records"] += len(self._rest)
        if state["stretch_crossed"]:
            self.stretches.append((int(state["stretch"]), int(state["events"])))
        if state["count"]["off_tick_orders"] * 10_000 > state["source"]:
            raise TickError(
                f"record {state['first_off_tick'] - 1}: price {state['off_tick_price'] / 1e9:.9g} is not a multiple of "
                f"the tick size {self.tick_size / 1e9:.9g} ({state['count']['off_tick_orders']} orders are off): "
                "give the instrument's right tick size"
            )

    def _compile(self, chunk: np.ndarray, position: int, final: bool) -> tuple[int, int]:
        address, count = chunk.ctypes.data, len(chunk)
        return compile_chunk(self.state[0], self.book[0], address, count, position, final, self.tick_size)

    def _run(self, chunk: np.ndarray, *, final: bool) -> Iterator[Piece]:
        position = 0
        while True:
            why, position = self._compile(chunk, position, final)
            if why == AGGREGATED:
                flags = chunk["flags"][position:]
                number = int(np.argmax(flags & (dbn.FLAG_TOB | dbn.FLAG_MBP) != 0))
                raise SchemaError(
                    f"record {self.state['source'][0] + number} is flagged F_TOB or F_MBP (flags {flags[number]}): "
                    "the file doesn't hold single orders; queue positions need market-by-order data"
                )
            piece = self._flush()
            if why == STATUS:
                if len(piece.records) or len(piece.events):
                    yield piece
                change_status(self.state[0], self.book[0], self._changes[self._next])
                self._await_change(self._next + 1)
                continue
            if why == GROW:
                self.book = l3.grown(self.book)
            elif why == CARRIED:
                self._carried = self.book.copy()
            elif why == RESTORED:
                self._compare()
            elif why == BUFFERS and not len(piece.events) and not len(piece.records):
                self._widen()  # one group is larger than the buffer
            if len(piece.records) or len(piece.events):
                yield piece
            if why in (DONE, MORE):
                self._rest = chunk[position:].copy()
                return

    def _await_change(self, number: int) -> None:
        self._next = number
        self.state["next_change"] = self._changes["ts_event"][number] if number < len(self._changes) else NEVER

    def _flush(self) -> Piece:
        state = self.state[0]
        if state["records"] > 0x7FFFFFF0:
            raise CapacityError("a tape holds at most 2**31 records: ingest fewer days or one instrument at a time")
        piece = Piece(
            state["record_buffer"][: state["out_records"]],
            state["event_buffer"][: state["out_events"]],
            state["block_buffer"][: state["out_blocks"]],
        )
        if state["out_stretches"]:
            self.stretches += [(int(a), int(b)) for a, b in state["stretch_buffer"][: state["out_stretches"]]]
        if state["out_ranges"] or state["out_doubts"]:
            self.proof.add(state["range_buffer"][: state["out_ranges"]], state["doubt_buffer"][: state["out_doubts"]])
        for name in ("out_records", "out_events", "out_blocks", "out_stretches", "out_ranges", "out_doubts"):
            state[name] = 0
        return piece

    def _compare(self) -> None:
        """Notes the levels that the snapshot just published shows otherwise than the book before it."""
        before, after = (l3.queues(book) for book in (self._carried, self.book))
        event = int(self.state["events"][0]) - 1
        levels = [level for level in before.keys() | after.keys() if before.get(level) != after.get(level)]
        self.state["count"]["snapshot_differences"] += len(levels)
        self.proof.doubts += [(event, side, tick) for side, tick in sorted(levels)]

    def _widen(self) -> None:
        """Eight times the buffer; only called when it is empty."""
        old = self.state
        bits = old["record_buffer"].shape[1].bit_length() - 1 + 3
        self.state = np.zeros(1, state_dtype(bits))
        for name, *_ in FIELDS:
            self.state[name] = old[name]

    @property
    def unsettled(self) -> int:
        """Number of the first event since the last trade or snapshot: it may yet become part of a stretch."""
        return int(self.state["stretch"][0])

    @property
    def counters(self) -> dict[str, int]:
        """Everything counted so far, by name (`COUNTERS`)."""
        return {name: int(self.state["count"][name][0]) for name in COUNTERS}


def label_phases(events: np.ndarray, stretches: list[tuple[int, int]]) -> None:
    """Makes the events (E,) of pre-open stretches such, in place; `EVENT_PHASE` stays where the phase changes."""
    _label(np.asarray(events), np.array(stretches, np.int64).reshape(-1, 2))


@njit
def _label(events, stretches) -> None:
    """The same with stretches (S, 2)."""
    for i in range(stretches.shape[0]):
        for number in range(stretches[i, 0], stretches[i, 1]):
            flags = np.int64(events[number]["flags"])
            if flags & enums.PHASE_MASK == enums.PHASE_CONTINUOUS:
                events[number]["flags"] = (flags & ~enums.PHASE_MASK) | enums.PHASE_PRE_OPEN
        for number in range(stretches[i, 0], min(stretches[i, 1] + 1, events.shape[0])):
            flags = np.int64(events[number]["flags"]) & ~enums.EVENT_PHASE
            before = np.int64(events[number - 1]["flags"]) if number > 0 else ~flags
            if (before ^ flags) & enums.PHASE_MASK:
                flags |= enums.EVENT_PHASE
            events[number]["flags"] = flags
