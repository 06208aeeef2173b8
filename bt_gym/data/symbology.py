"""Which records of a file belong to a symbol: instrument ids are unique within one UTC day only.

Rules: https://databento.com/docs/standards-and-conventions/symbology. The metadata of a file maps each symbol to ids by
intervals of days of ts_recv. The name that maps depends on the request: raw symbols (`ESH4`, also when a parent as
`ES.FUT` was asked for), a continuous contract (`ES.c.0`, whose id changes when it rolls), or an id itself.
"""

import datetime as dt
import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import databento_dbn
import numpy as np

from bt_gym._jit import njit
from bt_gym.errors import CorruptFileError, SymbolError

NS_PER_DAY = 86_400_000_000_000
EPOCH = dt.date(1970, 1, 1)
FEW_IDS = 4
LISTED_SYMBOLS = 10
"""Most symbols that an error message lists."""


class Interval(NamedTuple):
    """Days on which a symbol has an id."""

    start: dt.date
    end: dt.date  # exclusive
    instrument_id: int

    def bounds(self) -> tuple[int, int]:
        """First ns of the interval and first ns after it, as far as int64 reaches."""
        limit = np.iinfo(np.int64)
        start, end = ((day - EPOCH).days * NS_PER_DAY for day in (self.start, self.end))
        return max(start, int(limit.min)), min(end, int(limit.max))

    def covers(self, instrument_id: int, ts_recv: int) -> bool:
        """Whether a record with this id and time (ns) belongs to the interval."""
        start, end = self.bounds()
        return instrument_id == self.instrument_id and start <= ts_recv < end


@dataclass(frozen=True)
class Selection:
    """The instrument to take from a file."""

    symbol: str
    intervals: tuple[Interval, ...]

    @property
    def instrument_ids(self) -> tuple[int, ...]:
        """Its ids, in the order of their first day; more than one for a contract that rolls."""
        return tuple(dict.fromkeys(interval.instrument_id for interval in sorted(self.intervals)))

    def mask(self, records: np.ndarray) -> np.ndarray:
        """(R,) bool: which of the MBO records (R,) are of this instrument."""
        ids, ts_recv = records["instrument_id"], records["ts_recv"]
        mask = np.zeros(len(records), np.bool_)
        if not len(records):
            return mask
        first, last = int(ts_recv.min()), int(ts_recv.max())
        for interval in self.intervals:
            start, end = interval.bounds()
            if start <= last and first < end:
                mask |= (ids == interval.instrument_id) & (ts_recv >= start) & (ts_recv < end)
        return mask


class Bounds(NamedTuple):
    """Of some records: smallest and largest values, and the first ts_recv that is known (-1: none)."""

    lowest_id: int
    highest_id: int
    first: int  # ts_recv
    last: int
    first_known: int
    lowest_publisher: int
    highest_publisher: int


Part = tuple[int, np.ndarray, Bounds]
"""Of some records: number of the selection that they belong to, they, and their bounds."""


class Splitter:
    """Deals the records of a file out to several instruments, in one pass.

    >>> Splitter([Selection("ESH4", (Interval(EPOCH, EPOCH, 7),))]).instrument_ids
    (7,)
    """

    def __init__(self, selections: Sequence[Selection]) -> None:
        self._spans: dict[int, list[tuple[int, int, int]]] = {}  # id -> first ns, first ns after, number of selection
        for number, selection in enumerate(selections):
            for interval in selection.intervals:
                self._spans.setdefault(interval.instrument_id, []).append((*interval.bounds(), number))

    @property
    def instrument_ids(self) -> tuple[int, ...]:
        """All ids that it knows."""
        return tuple(self._spans)

    def split(self, records: np.ndarray, bounds: Bounds) -> list[Part]:
        """The parts of records (R,), R >= 1, with their bounds, that belong to a selection.

        Records of one instrument stay in their order; each part is of one instrument id.
        """
        ids = records["instrument_id"]
        parts = []
        if bounds.lowest_id == bounds.highest_id:
            by_id = [records]
        elif len(self._spans) <= FEW_IDS:  # a comparison each is cheaper than to sort
            masks = [ids == number for number in self._spans]
            by_id = [records if mask.all() else records[mask] for mask in masks]
        else:
            records = records[np.argsort(ids, kind="stable")]
            by_id = np.split(records, np.flatnonzero(np.diff(records["instrument_id"])) + 1)
        for same in by_id:
            if not len(same):
                continue
            if same is not records:
                bounds = bounds_of(same)
            first, last, ts_recv = bounds.first, bounds.last, same["ts_recv"]
            for start, end, number in self._spans.get(int(same["instrument_id"][0]), ()):
                if start <= first and last < end:
                    parts.append((start, number, same, bounds))
                elif start <= last and first < end and len(some := same[(ts_recv >= start) & (ts_recv < end)]):
                    parts.append((start, number, some, bounds_of(some)))
        return [part[1:] for part in sorted(parts, key=lambda part: part[0])]


def bounds_of(records: np.ndarray) -> Bounds:
    """The bounds of records (R,), R >= 1."""
    return survey(records, 0, 0)[1]


def survey(records: np.ndarray, words: int, rtype: int) -> tuple[bool, Bounds]:
    """Whether all records (R,), R >= 1, have this length and rtype, and their bounds, in one reading."""
    alike, *bounds = _survey(records, words, rtype)
    return alike, Bounds(*bounds)


@njit
def _survey(records, words: int, rtype: int):
    others = 0
    lowest_id = np.int64(records[0]["instrument_id"])
    highest_id = lowest_id
    first = np.int64(records[0]["ts_recv"])
    last = first
    known = 0
    while known + 1 < records.shape[0] and records[known]["ts_recv"] < 0:
        known += 1
    lowest_publisher = np.int64(records[0]["publisher_id"])
    highest_publisher = lowest_publisher
    for i in range(records.shape[0]):
        others |= (records[i]["length"] ^ words) | (records[i]["rtype"] ^ rtype)
        instrument_id = np.int64(records[i]["instrument_id"])
        lowest_id = min(lowest_id, instrument_id)
        highest_id = max(highest_id, instrument_id)
        ts_recv = records[i]["ts_recv"]
        first = min(first, ts_recv)
        last = max(last, ts_recv)
        publisher = np.int64(records[i]["publisher_id"])
        lowest_publisher = min(lowest_publisher, publisher)
        highest_publisher = max(highest_publisher, publisher)
    first_known = max(np.int64(-1), np.int64(records[known]["ts_recv"]))
    return others == 0, lowest_id, highest_id, first, last, first_known, lowest_publisher, highest_publisher


def read_mappings(path: Path, metadata: databento_dbn.Metadata) -> dict[str, tuple[Interval, ...]]:
    """Symbols of a file with their intervals; empty when its metadata has no mapping to ids (live recordings).

    Raises:
        CorruptFileError: a symbol maps to something that isn't an instrument id.
    """
    by_id = metadata.stype_in == databento_dbn.SType.INSTRUMENT_ID
    if not by_id and metadata.stype_out != databento_dbn.SType.INSTRUMENT_ID:
        return {}
    symbols: dict[str, list[Interval]] = {}
    for key, entries in metadata.mappings.items():
        for entry in entries:
            symbol, number = (entry["symbol"], key) if by_id else (key, entry["symbol"])
            if not entry["symbol"]:
                continue  # not listed on these days
            if not symbol.isprintable():
                raise CorruptFileError(f"{path}: the metadata has a symbol {symbol!r}: fetch the file again")
            if not _is_id(number):
                raise CorruptFileError(f"{path}: the metadata maps {symbol} to {number!r}, which is no instrument id")
            interval = Interval(entry["start_date"], entry["end_date"], int(number))
            symbols.setdefault(symbol, []).append(interval)
    return {symbol: tuple(sorted(intervals)) for symbol, intervals in symbols.items()}


def select(path: Path, symbols: Mapping[str, tuple[Interval, ...]], symbol: str | None) -> Selection:
    """Choose an instrument by its symbol or its id; a file with only one needs no choice.

    Args:
        path: of the file, for messages.
        symbols: what the file holds.
        symbol: a key of `symbols`, an instrument id in digits, or None for the only one there is.

    Raises:
        SymbolError: it isn't there, or there are several to choose from.
    """
    if symbol is None:
        if len(symbols) == 1:
            ((only, intervals),) = symbols.items()
            return Selection(only, intervals)
        raise SymbolError(f"{path}: holds {len(symbols)} symbols, choose one of {_listing(symbols)}")
    if symbol in symbols:
        return Selection(symbol, symbols[symbol])
    if _is_id(symbol):
        found = {name: spans for name, spans in symbols.items() if any(s.instrument_id == int(symbol) for s in spans)}
        if len(found) == 1:
            ((name, intervals),) = found.items()
            return Selection(name, tuple(span for span in intervals if span.instrument_id == int(symbol)))
        if found:
            raise SymbolError(f"{path}: id {symbol} stands for {_listing(found)} on different days: name the symbol")
    close = difflib.get_close_matches(symbol, symbols, 1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    raise SymbolError(f"{path}: no symbol {symbol!r}{hint}, it holds {_listing(symbols)}")


def unmapped(instrument_ids: Iterable[int]) -> dict[str, tuple[Interval, ...]]:
    """Symbols for a file without mappings: every id is its own name, on all days."""
    return {str(number): (Interval(dt.date.min, dt.date.max, number),) for number in instrument_ids}


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) < 2**32


def _listing(symbols: Iterable[str]) -> str:
    names = sorted(symbols)
    more = f" and {len(names) - LISTED_SYMBOLS} more" if len(names) > LISTED_SYMBOLS else ""
    return ", ".join(names[:LISTED_SYMBOLS]) + more if names else "none"
