"""L2 tapes: MBP-10, MBP-1 and trades files, compiled into the same records as orders are, without ids and queues.

A row of these schemas carries the best levels of both sides as they are after it. What an event changed is the
difference between its last row and the last row before: net changes of levels, ADD and DEL, without a place in a queue
(priority -1). A level that enters or leaves the published ones because others did is a change of view, not of the
market: RESTORE, with a negative size where it leaves. Its orders stand where they stood.

Each level is an order of the compiler's book, so that events, phases, quotes and checkpoints are made by the same code.
"""

from collections.abc import Iterator

import numpy as np

from bt_gym._jit import allocating, njit
from bt_gym.core import enums
from bt_gym.data import book as l3
from bt_gym.data import dbn
from bt_gym.data.compiler import Compiler, Piece, group_end
from bt_gym.data.compiler_events import emit, emit_trade, know, publish
from bt_gym.data.compiler_state import BUFFERS, COLD, DONE, GAP, GROW, MORE, STATUS
from bt_gym.data.status import NO_CHANGES

SCHEMAS = {"mbp-10": 10, "mbp-1": 1, "trades": 0}
"""Levels a side of each schema that becomes an L2 tape."""

_row_dtype = dbn.mbp_dtype(10)


class LevelCompiler(Compiler):
    """Compiles the rows of one instrument; used as `Compiler` is, with chunks of `dbn.mbp_dtype(levels)`.

    Args:
        tick_size: in 1e-9 of the currency.
        levels: published a side, at most ten; 0 for trades alone.
        changes: (S,) of `status.change_dtype`, as `Compiler` takes them.
    """

    def __init__(self, tick_size: int, levels: int, buffer_bits: int = 15, changes: np.ndarray = NO_CHANGES) -> None:
        super().__init__(tick_size, buffer_bits, changes)
        self.levels = levels
        self._rest = np.empty(0, _row_dtype)

    def feed(self, chunk: np.ndarray) -> Iterator[Piece]:
        """Compiles a chunk (n,) of `dbn.mbp_dtype(levels)`; an incomplete last event waits for the next one."""
        rows = np.zeros(len(chunk), _row_dtype)  # always of ten levels, so that the kernel compiles once
        for name in _row_dtype.names or ():
            if name != "levels":
                rows[name] = chunk[name]
        rows["levels"][:, : self.levels] = chunk["levels"]
        yield from super().feed(rows)

    def _compile(self, chunk: np.ndarray, position: int, final: bool) -> tuple[int, int]:
        return compile_levels(self.state[0], self.book[0], chunk, position, final, self.tick_size, self.levels)


@njit
def _group_end(rows, first: int, final: bool) -> int:
    """One past the last row of the event at `first`; -1 when the chunk ends inside it.

    As `compiler.group_end`; but a row with F_LAST may lie beyond the published levels, and trades carry none: a new
    ts_event is a new event, too.
    """
    n = rows.shape[0]
    if rows[first]["flags"] & dbn.FLAG_SNAPSHOT:
        return first + 1
    for i in range(first, n):
        if i + 1 == n:
            return n if final else group_end(rows, first, False)
        if rows[i + 1]["ts_event"] != rows[i]["ts_event"] or rows[i + 1]["flags"] & dbn.FLAG_SNAPSHOT:
            return i + 1
        if rows[i]["flags"] & dbn.FLAG_LAST and group_end(rows[: i + 2], i, False) == i + 1:
            return i + 1
    return -1


@njit
def _change(state, book, side: int, tick, size, is_view) -> None:
    """A level shows `size` lots from now on, 0 when it is gone."""
    level_id = (tick << 1) | side
    slot = l3.find(book, level_id)
    before = np.int64(book["orders"][slot]["size"]) if slot != 0 else np.int64(0)
    if size == before:
        return
    if not is_view and size > before:
        state["count"]["adds"] += 1
    elif not is_view:
        state["count"]["cancels"] += 1
    kind = enums.RECORD_RESTORE if is_view else enums.RECORD_ADD if size > before else enums.RECORD_DEL
    emit(state, kind, side, tick, size - before, -1, False)
    if slot == 0:
        l3.add(book, level_id, side, tick, size, 0)
    elif size == 0:
        l3.remove(book, slot)
    else:
        l3.resize(book, slot, size)


@njit
def _tick_of(state, price, size, tick_size: int) -> int:
    """Price of a published level in ticks; `NO_TICK` when there is none or it can't stand in the book."""
    if price == dbn.UNDEF_PRICE or size == 0:
        return enums.NO_TICK
    tick = price // tick_size
    if tick * tick_size != price:
        if state["first_off_tick"] == 0:
            state["first_off_tick"] = state["source"] + 1
            state["off_tick_price"] = price
        state["count"]["off_tick_orders"] += 1
        return enums.NO_TICK
    if size > 0x7FFFFFFF or not -(1 << 31) < tick < 1 << 31:
        state["count"]["invalid_records"] += 1
        return enums.NO_TICK
    return tick


@njit
def _show(state, book, row, ticks, tick_size: int, levels: int, is_new: bool) -> None:
    """Changes the levels to those of a row.

    Args:
        ticks: (levels,) int64, overwritten.
        is_new: all of them are a change of view, nothing was known before.
    """
    for side in range(2):
        sign = 1 - 2 * side
        live = book["levels_live"][side]
        was_full = live >= levels
        old_worst = np.int64(book["levels"][side, 0]["key"]) if live > 0 else np.int64(0)  # sorted, the best one last
        shown = 0
        new_worst = np.int64(0)
        for i in range(levels):
            level = row["levels"][i]
            price, size = (level["bid_px"], level["bid_sz"]) if side == 0 else (level["ask_px"], level["ask_sz"])
            ticks[i] = _tick_of(state, price, np.int64(size), tick_size)
            if ticks[i] != enums.NO_TICK:
                shown += 1
                new_worst = sign * ticks[i] if shown == 1 else min(new_worst, sign * ticks[i])
        for i in range(live - 1, -1, -1):  # what is no longer shown; the levels behind a removed one move up
            key = np.int64(book["levels"][side, i]["key"])
            kept = False
            for j in range(levels):
                kept |= ticks[j] == sign * key
            if not kept:
                _change(state, book, side, sign * key, 0, is_new or (shown >= levels and key < new_worst))
        for i in range(levels):
            if ticks[i] != enums.NO_TICK:
                level = row["levels"][i]
                size = np.int64(level["bid_sz"] if side == 0 else level["ask_sz"])
                is_known = l3.find(book, (ticks[i] << 1) | side) != 0
                entered = not is_known and was_full and sign * ticks[i] < old_worst
                _change(state, book, side, ticks[i], size, is_new or entered)


@allocating
def compile_levels(state, book, rows, first: int, final: bool, tick_size: int, levels: int) -> tuple[int, int]:
    """Compiles rows `first:` of a chunk into the buffers, as `compiler.compile_chunk` does."""
    n = rows.shape[0]
    position = first
    ticks = np.empty(levels, np.int64)
    while position < n:
        end = _group_end(rows, position, final)
        if end < 0:
            return MORE, position
        if (
            state["out_records"] + end - position + 4 * levels + 4 > state["record_buffer"].shape[0]
            or state["out_events"] + 2 > state["event_buffer"].shape[0]
            or state["out_blocks"] + 2 > state["block_buffer"].shape[0]
            or state["out_stretches"] + 2 > state["stretch_buffer"].shape[0]
            or state["out_ranges"] + 4 > state["range_buffer"].shape[0]
        ):
            return BUFFERS, position
        if l3.is_full(book) or book["orders_live"] + 4 * levels >= book["orders"].shape[0]:
            return GROW, position
        snapshot = rows[position]["flags"] & dbn.FLAG_SNAPSHOT != 0
        now = rows[position]["ts_recv"] if snapshot else rows[position]["ts_event"]
        if now >= state["next_change"]:
            return STATUS, position
        is_new = snapshot or state["suspect"] == COLD
        state["event_flags"] = 0
        state["group_recv"] = 0
        flags = 0
        crossed = state["bid"] != enums.NO_TICK and state["ask"] != enums.NO_TICK and state["bid"] >= state["ask"]
        auction = False
        cleared = snapshot
        for i in range(position, end):
            row = rows[i]
            state["group_recv"] = max(state["group_recv"], row["ts_recv"])
            flags |= row["flags"]
            cleared |= row["action"] == dbn.ACTION_CLEAR
            auction |= crossed and row["action"] == dbn.ACTION_TRADE and row["side"] == dbn.SIDE_NONE
        if flags & dbn.FLAG_MAYBE_BAD_BOOK:
            state["suspect"] = GAP
            state["count"]["bad_book_events"] += 1
        if is_new or cleared:
            know(state)
        for i in range(position, end):
            if rows[i]["action"] == dbn.ACTION_TRADE and not snapshot:
                emit_trade(state, rows[i], tick_size, auction)
        if cleared:
            state["count"]["snapshots"] += snapshot
            state["count"]["clears"] += not snapshot
            l3.clear(book)
            emit(state, enums.RECORD_CLEAR, 0, 0, 0, -1, False)
        if levels > 0:
            _show(state, book, rows[end - 1], ticks, tick_size, levels, is_new)
        if auction:
            state["count"]["auctions"] += 1
            state["event_flags"] |= enums.PHASE_AUCTION
        state["source"] += end - position
        publish(state, book, rows[position]["ts_event"], snapshot)
        position = end
    return DONE, position
