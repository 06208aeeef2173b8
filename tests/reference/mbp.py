"""MBP rows as a vendor makes them from single orders: each change of the published levels, each trade.

A T is a row with the book as it found it, an R always one; an A, C or M is one if it changes a published level. The
last row of an event carries F_LAST, a snapshot is one row.
"""

import datetime as dt
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import databento_dbn
import numpy as np

from bt_gym.data import dbn
from tests.reference.book import LAST, SNAPSHOT, UNDEFINED_PRICE, Book, Level, Record, match_groups


class Row(NamedTuple):
    """One row, and the number of the match group that it belongs to."""

    record: Record
    depth: dict[str, list[Level]]
    group: int


def published(records: list[Record], levels: int) -> list[Row]:
    """The rows of a stream, best `levels` a side."""
    book, rows = Book(), []
    last_snapshot: Row | None = None
    for number, group in enumerate(match_groups(records)):
        if not group[-1].flags & (LAST | SNAPSHOT) and group[-1] is records[-1]:
            break
        book.begin_event()
        if last_snapshot and not group[0].flags & SNAPSHOT:
            rows.append(last_snapshot)
            last_snapshot = None
        found = []
        for record in group:
            before = _depth(book, levels)
            book.apply(record)
            if record.flags & SNAPSHOT:
                last_snapshot = Row(record._replace(flags=SNAPSHOT | LAST | 8), _depth(book, levels), number)
            elif record.action in "TR" or _depth(book, levels) != before:
                found.append(Row(record._replace(flags=0), _depth(book, levels), number))
        if found:
            found[-1] = found[-1]._replace(record=found[-1].record._replace(flags=LAST))
        rows += found
    return [*rows, last_snapshot] if last_snapshot else rows


def _depth(book: Book, levels: int) -> dict[str, list[Level]]:
    return {side: book.depth(side, levels) for side in "BA"}


def to_array(rows: list[Row], levels: int) -> np.ndarray:
    """(R,) of `mbp_dtype`, received 1 us after they happened."""
    array = np.zeros(len(rows), dbn.mbp_dtype(levels))
    array["length"], array["rtype"] = array.dtype.itemsize // 4, levels
    for name in ("ts_event", "price", "size", "flags", "sequence"):
        array[name] = [getattr(row.record, name) for row in rows]
    for name in ("action", "side"):
        array[name] = [ord(getattr(row.record, name)) for row in rows]
    array["ts_recv"] = array["ts_event"] + 1_000
    array["levels"]["bid_px"] = array["levels"]["ask_px"] = UNDEFINED_PRICE
    for number, row in enumerate(rows):
        for side, name in (("B", "bid"), ("A", "ask")):
            for i, level in enumerate(row.depth[side][:levels]):
                out = array["levels"][number, i]
                out[f"{name}_px"], out[f"{name}_sz"], out[f"{name}_ct"] = level
    return array


def write(path: Path, array: np.ndarray, schema: str, symbol: str = "ESH4") -> Path:
    """A plain DBN file of the rows, all of instrument 7."""
    array = array.copy()
    array["instrument_id"] = 7
    first = dt.datetime.fromtimestamp(int(array["ts_recv"][0]) // 10**9, dt.UTC).date()
    interval = SimpleNamespace(start_date=first, end_date=first + dt.timedelta(days=2), symbol="7")
    metadata = databento_dbn.Metadata(
        dataset="GLBX.MDP3",
        start=int(array["ts_recv"][0]),
        stype_in=databento_dbn.SType.RAW_SYMBOL,
        stype_out=databento_dbn.SType.INSTRUMENT_ID,
        schema=databento_dbn.Schema(schema),
        symbols=[symbol],
        partial=[],
        not_found=[],
        mappings=[SimpleNamespace(raw_symbol=symbol, intervals=[interval])],
        version=3,
    )
    path.write_bytes(metadata.encode() + array.tobytes())
    return path
