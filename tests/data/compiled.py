"""Tapes made in tests: MBO events in a short notation, compiled, and tape records in words.

tape = compiled(clear(), add(1, "A", 101, 5), [trade("B", 101, 2), fill(1, "A", 101, 2), cancel(1, "A", 101, 5)])
tape.rows(2)  # ["trade A 101 2", "fill A 101 -2 @1", "del A 101 -3 @1 gone"]
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from bt_gym.core import enums
from bt_gym.core.tape import GONE_BIT, KIND_MASK, SIDE_BIT, TICK_SHIFT, block_dtype, event_dtype, record_dtype
from bt_gym.data.compiler import Compiler, label_phases
from tests.reference.book import LAST, SNAPSHOT, UNDEFINED_PRICE, Record
from tests.reference.streams import START, TICK, to_array

KINDS = enums.names("RECORD_")
PHASES = enums.names("PHASE_")


@dataclass
class Compiled:
    """A tape in memory: records (R,), events (E,), blocks (B,), counters that aren't zero."""

    records: np.ndarray
    events: np.ndarray
    blocks: np.ndarray
    counters: dict[str, int]

    def rows(self, event: int) -> list[str]:
        """The records of one event: kind, side, tick, size, @priority, whether the order is gone."""
        event %= len(self.events)
        first = int(self.events["end"][event - 1]) if event else 0
        return [_in_words(*record) for record in self.records[first : self.events["end"][event]].tolist()]

    def phases(self) -> list[str]:
        """Phase of each event."""
        return [PHASES[code] for code in (self.events["flags"] & enums.PHASE_MASK).tolist()]

    def has(self, flag: int) -> list[bool]:
        """Whether each event carries the flag."""
        return (self.events["flags"] & flag != 0).tolist()


def _in_words(key: int, size: int, priority: int) -> str:
    kind = key & KIND_MASK
    if kind == enums.RECORD_CLEAR:
        return "clear"
    words = f"{KINDS[kind]} {'BA'[bool(key & SIDE_BIT)]} {key >> TICK_SHIFT} {size}"
    return words + (f" @{priority}" if priority >= 0 else "") + (" gone" if key & GONE_BIT else "")


def compile_array(array: np.ndarray, *, cuts: tuple[int, ...] = (), tick_size: int = TICK, **sizes: Any) -> Compiled:
    """The tape of MBO records that arrive in chunks cut at `cuts`."""
    compiler = Compiler(tick_size, **sizes)
    parts: dict[str, list[np.ndarray]] = {
        "records": [np.zeros(0, record_dtype)],
        "events": [np.zeros(0, event_dtype)],
        "blocks": [np.zeros(0, block_dtype)],
    }

    def keep(pieces: Any) -> None:
        for piece in pieces:
            for name, arrays in parts.items():
                arrays.append(getattr(piece, name).copy())

    for chunk in np.split(array, cuts):
        keep(compiler.feed(chunk))
    keep(compiler.finish())
    columns = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    label_phases(columns["events"], compiler.stretches)
    return Compiled(**columns, counters={name: count for name, count in compiler.counters.items() if count})


def stream(*events: Record | list[Record], ends: bool = True) -> np.ndarray:
    """MBO records, one event a microsecond, received a microsecond later.

    A list is an event of several records. Its last one gets F_LAST, but for snapshots, and not at the very end unless
    the stream `ends`.
    """
    records: list[Record] = []
    for number, event in enumerate(events):
        group = event if isinstance(event, list) else [event]
        group = [record._replace(ts_event=START + number * 1_000, sequence=number) for record in group]
        if not group[-1].flags & SNAPSHOT and (ends or number < len(events) - 1):
            group[-1] = group[-1]._replace(flags=group[-1].flags | LAST)
        records += group
    return to_array(records)


def compiled(*events: Record | list[Record], ends: bool = True) -> Compiled:
    """The tape of a stream."""
    return compile_array(stream(*events, ends=ends))


def _record(action: str, order_id: int, side: str, tick: int | None, size: int, flags: int = 0) -> Record:
    price = UNDEFINED_PRICE if tick is None else tick * TICK
    return Record(0, order_id, price, size, flags, action, side)


def add(order_id: int, side: str, tick: int | None, size: int, flags: int = 0) -> Record:
    return _record("A", order_id, side, tick, size, flags)


def cancel(order_id: int, side: str, tick: int | None, size: int) -> Record:
    return _record("C", order_id, side, tick, size)


def modify(order_id: int, side: str, tick: int | None, size: int) -> Record:
    return _record("M", order_id, side, tick, size)


def trade(side: str, tick: int | None, size: int, order_id: int = 0, flags: int = 0) -> Record:
    """`side` of the aggressor."""
    return _record("T", order_id, side, tick, size, flags)


def fill(order_id: int, side: str, tick: int | None, size: int, flags: int = 0) -> Record:
    return _record("F", order_id, side, tick, size, flags)


def clear(flags: int = 0) -> Record:
    return _record("R", 0, "N", None, 0, flags)


def nothing(flags: int = 0) -> Record:
    return _record("N", 0, "N", None, 0, flags)
