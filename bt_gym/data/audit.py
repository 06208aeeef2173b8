"""Replays MBO records through the L3 book, checks every trade on the way and digests every state.

A *state* is the book after a record with F_LAST; an *event* is a match group. The grouping is that of the compiler, the
priority rules are those of `bt_gym.data.book.keeps_place`, the checks those of `bt_gym.data.fifo`.
"""

import hashlib
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from bt_gym._jit import njit
from bt_gym.core import enums
from bt_gym.data import book as l3
from bt_gym.data import compiler, dbn, fifo
from bt_gym.errors import CorruptFileError, SchemaError

DIGEST_LEVELS = 10
"""Levels a side that the digest of a state covers."""

OPEN_EVENT_RECORDS = 1 << 22
"""No event of a market has this many records; an endless one would have to be kept in memory."""

ANOMALIES = (
    "unknown_cancels",  # ignored
    "unknown_modifies",  # taken as adds
    "unknown_fills",  # of orders never displayed
    "duplicate_adds",  # replace the older order
    "over_cancels",  # more than the order had
    "side_changes",
    "off_tick_orders",  # not on the price grid: left out of the book
    "invalid_records",  # unknown action, side, price or size
    "implicit_clears",  # a snapshot without R over a book
    "bad_book_flags",  # records flagged F_MAYBE_BAD_BOOK
    "unpublished_records",  # of a last event without F_LAST: left out
)

_level_dtype = np.dtype([("price", "<i8"), ("size", "<u4"), ("count", "<u4")])
state_dtype = np.dtype([("ts_event", "<i8"), ("levels", _level_dtype, (DIGEST_LEVELS, 2))])
"""What the digest covers of one state: the best levels, bid then ask; a missing one is (UNDEF_PRICE, 0, 0)."""

audit_dtype = np.dtype(
    [
        ("records", "<i8"),
        ("states", "<i8"),
        ("crossed", "<i8"),  # states with bid >= ask
        ("level1_changes", "<i8"),
        ("level1", "<i8", (6,)),  # bid price, size, count, ask price, size, count of the last state; zeros before
        ("in_snapshot", "<i8"),  # the last record was part of one
        ("tally", fifo.tally_dtype),
        ("anomalies", [(name, "<i8") for name in ANOMALIES]),
        ("out", "<i8"),  # states in the output buffer
    ],
    align=True,
)

# what the kernel tells the shell
_DONE = 0
_MORE = 1  # the last group is incomplete: bring more records
_BUFFER = 2  # the buffer of states is full
_GROW = 3  # the book is full
_AGGREGATED = 4  # a record is no order


@njit
def _clear(audit, book) -> None:
    l3.clear(book)
    audit["tally"]["stamp"] += 1  # slots get new orders


@njit
def _remove(book, notes, slot: int) -> None:
    l3.remove(book, slot)
    notes[slot]["stamp"] = 0  # the next order in this slot may come in the same event


@njit
def _apply(audit, book, notes, message, tick_size: int, is_own: bool) -> None:
    """Takes one record into the book. T and N change nothing; an F waits for the C or M that books it.

    Args:
        is_own: it is an F of its aggressor's own.
    """
    action = message["action"]
    if action == dbn.ACTION_CLEAR:
        _clear(audit, book)
        return
    if action == dbn.ACTION_TRADE or action == dbn.ACTION_NONE:
        return
    anomalies = audit["anomalies"]
    order_id = np.int64(message["order_id"])
    size = np.int64(message["size"])
    slot = l3.find(book, order_id)
    if action == dbn.ACTION_FILL:
        if is_own:
            return
        if slot == 0:
            anomalies["unknown_fills"] += 1
        else:
            note = fifo.note_of(audit["tally"], notes, slot)
            note["filled"] += size
    elif action == dbn.ACTION_CANCEL:
        if slot == 0:
            anomalies["unknown_cancels"] += 1
            return
        displayed = np.int64(book["orders"][slot]["size"])
        anomalies["over_cancels"] += size > displayed
        note = fifo.note_of(audit["tally"], notes, slot)
        note["filled"] -= min(note["filled"], size)
        if size >= displayed:
            _remove(book, notes, slot)
        else:
            l3.resize(book, slot, displayed - size)
    elif action == dbn.ACTION_ADD or action == dbn.ACTION_MODIFY:
        _place(audit, book, notes, message, slot, tick_size)
    else:
        anomalies["invalid_records"] += 1


@njit
def _place(audit, book, notes, message, slot: int, tick_size: int) -> None:
    """An A or M. Where the order stood before it stands no more, even if the record itself is impossible."""
    anomalies = audit["anomalies"]
    modify = message["action"] == dbn.ACTION_MODIFY
    size = np.int64(message["size"])
    side = enums.BID if message["side"] == dbn.SIDE_BID else enums.ASK
    tick = message["price"] // tick_size
    anomalies["unknown_modifies"] += modify and slot == 0
    if size == 0:
        if modify and slot != 0:
            _remove(book, notes, slot)
        else:
            anomalies["invalid_records"] += 1
        return
    possible = (
        fifo.is_sided(message) and message["price"] != dbn.UNDEF_PRICE and size <= 0x7FFFFFFF and abs(tick) < 1 << 31
    )
    on_grid = tick * tick_size == message["price"]
    if not possible or not on_grid:
        if possible:
            anomalies["off_tick_orders"] += 1
        else:
            anomalies["invalid_records"] += 1
        if slot != 0:
            _remove(book, notes, slot)
        return
    if slot == 0:
        l3.add(book, np.int64(message["order_id"]), side, tick, size, 0)
    elif not modify:
        anomalies["duplicate_adds"] += 1
        notes[slot]["stamp"] = 0
        l3.requeue(book, slot, side, tick, size, 0)
    else:
        order = book["orders"][slot]
        anomalies["side_changes"] += side != order["side"]
        note = fifo.note_of(audit["tally"], notes, slot)
        if l3.keeps_place(order, side, tick, size, note["filled"]):
            l3.resize(book, slot, size)
        else:
            l3.requeue(book, slot, side, tick, size, 0)
        note["filled"] = 0


@njit
def _publish(audit, book, states, ts_event: int, tick_size: int) -> None:
    """The state after a record with F_LAST."""
    state = states[audit["out"]]
    state["ts_event"] = ts_event
    changed = False
    for side in range(2):
        live = book["levels_live"][side]
        for i in range(DIGEST_LEVELS):
            out = state["levels"][i, side]
            if i < live:
                level = book["levels"][side, live - 1 - i]
                key = np.int64(level["key"])
                out["price"] = (key if side == enums.BID else -key) * tick_size
                out["size"] = level["size"]
                out["count"] = level["count"]
            else:
                out["price"] = dbn.UNDEF_PRICE
                out["size"] = 0
                out["count"] = 0
        best = state["levels"][0, side]
        level1 = audit["level1"][3 * side : 3 * side + 3]
        changed |= level1[0] != best["price"] or level1[1] != best["size"] or level1[2] != best["count"]
        level1[0] = best["price"]
        level1[1] = best["size"]
        level1[2] = best["count"]
    audit["level1_changes"] += changed
    bid, ask = l3.best_tick(book, enums.BID), l3.best_tick(book, enums.ASK)
    audit["crossed"] += bid != enums.NO_TICK and ask != enums.NO_TICK and bid >= ask
    audit["states"] += 1
    audit["out"] += 1


@njit
def audit_chunk(audit, book, notes, chunk, first: int, final: bool, tick_size: int, states):
    """Audits records `first:` of a chunk; returns (why it stopped, first record not read)."""
    n = chunk.shape[0]
    position = first
    while position < n:
        snapshot = chunk[position]["flags"] & dbn.FLAG_SNAPSHOT != 0
        end = position + 1 if snapshot else compiler.group_end(chunk, position, final)
        if end < 0:
            return _MORE, position
        size = end - position
        if size > states.shape[0] - audit["out"]:
            return _BUFFER, position
        levels = book["levels"].shape[1]
        if (
            book["orders_live"] + size >= book["orders"].shape[0]
            or book["levels_live"][0] + size > levels
            or book["levels_live"][1] + size > levels
        ):
            return _GROW, position
        audit["tally"]["stamp"] += 1
        if snapshot:
            if not audit["in_snapshot"] and chunk[position]["action"] != dbn.ACTION_CLEAR and book["orders_live"] > 0:
                audit["anomalies"]["implicit_clears"] += 1
                _clear(audit, book)
        else:
            fifo.check_event(audit["tally"], book, notes, chunk, position, end, tick_size)
        audit["in_snapshot"] = snapshot
        trade = -1
        for i in range(position, end):
            message = chunk[i]
            if message["flags"] & (dbn.FLAG_TOB | dbn.FLAG_MBP):
                return _AGGREGATED, i
            if message["flags"] & dbn.FLAG_MAYBE_BAD_BOOK:
                audit["anomalies"]["bad_book_flags"] += 1
            if message["action"] == dbn.ACTION_TRADE:
                trade = i
            is_own = trade >= 0 and compiler.is_own_fill(message, chunk[trade])
            _apply(audit, book, notes, message, tick_size, is_own)
            if message["flags"] & dbn.FLAG_LAST:
                _publish(audit, book, states, message["ts_event"], tick_size)
        audit["records"] += size
        position = end
    return _DONE, position


class Audit:
    """An audit under way: feed it the records of one instrument in file order, then finish it.

    Attributes:
        book: (1,) the book after the last complete event; prices in ticks of `tick_size`.
    """

    def __init__(self, tick_size: int, *, buffer_states: int = 1 << 14, book_bits: int = l3.SMALL_BOOK) -> None:
        """Start with an empty book.

        Args:
            tick_size: of the price grid, in 1e-9 of the currency.
            buffer_states: states kept before they go into the digest.
            book_bits: log2 of the order slots to begin with; the book grows when they don't suffice.
        """
        self.tick_size = tick_size
        self.book = l3.empty(book_bits)
        self._audit = np.zeros(1, audit_dtype)
        self._notes = np.zeros(self.book["orders"].shape[1], fifo.note_dtype)
        self._states = np.empty(buffer_states, state_dtype)
        self._rest = np.empty(0, dbn.mbo_dtype)
        self._digest = hashlib.sha256()
        self._hasher = ThreadPoolExecutor(1)  # hashing takes longer than the rest: beside it, not after it
        self._hashing: Future[None] | None = None

    def begin_file(self) -> None:
        """The next chunk is the first of a file: a snapshot there is a new one, even right after another."""
        self._audit["in_snapshot"] = 0

    def feed(self, chunk: np.ndarray) -> None:
        """Audit a chunk (n,) of `dbn.mbo_dtype`; an incomplete last event waits for the next one.

        Raises:
            SchemaError: a record is flagged as a price level, not an order.
            CorruptFileError: an event doesn't end.
        """
        self._run(np.concatenate([self._rest, chunk]), final=False)
        if len(self._rest) > OPEN_EVENT_RECORDS:
            raise CorruptFileError(
                f"record {self._audit['records'][0]}: {len(self._rest)} records without F_LAST (flag 128) follow: "
                "not a market-by-order stream, fetch the file again"
            )

    def finish(self) -> None:
        """Audit what waits; a last event without F_LAST is counted and left out."""
        self._run(self._rest, final=True)
        self._audit["records"] += len(self._rest)
        self._audit["anomalies"]["unpublished_records"] += len(self._rest)
        self._rest = self._rest[:0]
        self._hasher.shutdown()

    def _run(self, chunk: np.ndarray, *, final: bool) -> None:
        position, why = 0, _BUFFER
        while why in (_BUFFER, _GROW):
            why, position = audit_chunk(
                self._audit[0], self.book[0], self._notes, chunk, position, final, self.tick_size, self._states
            )
            out = int(self._audit["out"][0])
            if why == _GROW:
                self.book = l3.grown(self.book)
                self._notes = np.zeros(self.book["orders"].shape[1], fifo.note_dtype)
            elif why == _BUFFER and not out:
                self._states = np.empty(4 * len(self._states), state_dtype)  # one event larger than the buffer
            self._hash(self._states[:out])
            self._audit["out"] = 0
        if why == _AGGREGATED:
            raise SchemaError(
                f"event at record {self._audit['records'][0]}: flags {chunk['flags'][position]} mark a price level "
                "(F_TOB or F_MBP), not an order: the file can't be read as market by order"
            )
        self._rest = chunk[position:].copy()

    def _hash(self, states: np.ndarray) -> None:
        if self._hashing:
            self._hashing.result()
        self._hashing = self._hasher.submit(self._digest.update, states.tobytes())

    def counts(self) -> dict[str, Any]:
        """What was counted by the end, named as in `bt_gym.data.validate`; prices in 1e-9 of the price unit."""
        audit, book = self._audit[0], self.book[0]
        tally = audit["tally"]
        sides = {}
        for side, name in enumerate(("bid", "ask")):
            levels = book["levels"][side, : book["levels_live"][side]]
            sides[name] = (int(levels["count"].sum()), int(levels["size"].sum()), self._best(side))
        return {
            "records": int(audit["records"]),
            "events": int(audit["states"]),
            "live_orders": int(book["orders_live"]),
            "live_orders_by_side": {name: orders for name, (orders, _, _) in sides.items()},
            "resting_size_by_side": {name: size for name, (_, size, _) in sides.items()},
            "best_bid": sides["bid"][2],
            "best_ask": sides["ask"][2],
            "trades": int(tally["trades"]),
            "volume": int(tally["volume"].sum()),
            "volume_by_aggressor": dict(zip(("buy", "sell", "none"), map(int, tally["volume"]), strict=True)),
            "book_digest": self._digest.hexdigest(),
            "crossed_events": int(audit["crossed"]),
            "level1_changes": int(audit["level1_changes"]),
            "fifo": _named(tally["fifo"]),
            "fill_rule": _named(tally["fill_rule"]),
            "conservation": _named(tally["conservation"]),
            "anomalies": _named(audit["anomalies"]),
        }

    def _best(self, side: int) -> tuple[int, int, int] | None:
        """(price, size, order count) of the best level; None when the side is empty."""
        book = self.book[0]
        live = book["levels_live"][side]
        if live == 0:
            return None
        level = book["levels"][side, live - 1]
        return int(l3.best_tick(book, side)) * self.tick_size, int(level["size"]), int(level["count"])


def _named(counters: np.void) -> dict[str, int]:
    return {name: int(counters[name]) for name in counters.dtype.names or ()}
