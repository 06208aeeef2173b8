"""The catalogue: which tapes there are, found by symbol and day in a folder. There is no index that could be wrong.

A tape belongs to the UTC days of its events' `ts_event`.
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from bt_gym.core import enums
from bt_gym.data.compiler import COMPILER_VERSION
from bt_gym.data.symbology import EPOCH, NS_PER_DAY
from bt_gym.data.tape import FORMAT_VERSION, SUFFIX, Tape, default_folder, read_metadata
from bt_gym.errors import TapeError

ANOMALIES = (
    "unknown_cancels",
    "unknown_modifies",
    "duplicate_adds",
    "over_cancels",
    "off_tick_orders",
    "invalid_records",
    "bad_book_events",
    "clock_steps_back",
    "unpublished_records",
)
"""Counters of the compiler that are worth a warning."""


@dataclass(frozen=True)
class Entry:
    """A tape file, usable or not."""

    path: Path
    state: str  # "ok", "stale" (made by another version), "damaged"
    symbol: str = ""
    dataset: str = ""
    days: tuple[dt.date, ...] = ()  # UTC
    events: int = 0
    records: int = 0  # of the source files
    size: int = 0  # bytes
    sources: tuple[str, ...] = ()  # names of the files it was made of
    repair: str = ""  # what is wrong and what to do, unless "ok"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        days, sources = [str(day) for day in self.days], list(self.sources)
        return vars(self) | {"path": str(self.path), "days": days, "sources": sources}


class Catalogue:
    """The tapes of a folder.

    >>> Catalogue("tapes").find("ESH4", [datetime.date(2023, 12, 25)])  # doctest: +SKIP
    [PosixPath('tapes/ESH4_2023-12-25_0c1d2e3f4a5b.tape.arrow')]

    Args:
        folder: of tapes; `tape.default_folder()` if None.
    """

    def __init__(self, folder: Path | str | None = None) -> None:
        self.folder = Path(folder) if folder is not None else default_folder()

    def entries(self, *, verify: bool = False) -> list[Entry]:
        """All tapes by symbol and day; unusable ones too.

        Args:
            verify: compare the checksums of everything (about 1 s for 1 GB), else of the metadata only.
        """
        found = [describe(path, verify=verify) for path in self.folder.glob(f"*{SUFFIX}")]
        return sorted(found, key=lambda entry: (entry.symbol, entry.days, entry.path.name))

    def days(self, symbol: str) -> list[dt.date]:
        """Days of which there is a usable tape of the symbol."""
        entries = [entry for entry in self.entries() if (entry.symbol, entry.state) == (symbol, "ok")]
        return sorted({day for entry in entries for day in entry.days})

    def find(self, symbol: str, days: Sequence[dt.date]) -> list[Path]:
        """The tapes of a symbol that hold these days, in the order of time; each day in exactly one.

        A tape of just these days is taken if there is one, else for each day the tape of fewest days that holds it.

        Raises:
            TapeError: a day isn't there, or only in a tape that is stale or damaged.
        """
        entries = [entry for entry in self.entries() if entry.symbol == symbol]
        wanted = tuple(sorted(set(days)))
        if exact := [entry.path for entry in entries if (entry.state, entry.days) == ("ok", wanted)]:
            return exact[:1]
        chosen: dict[Path, Entry] = {}
        for day in wanted:
            holding = [entry for entry in entries if day in entry.days]
            usable = [entry for entry in holding if entry.state == "ok"]
            if not usable:
                raise TapeError(self._why_not(symbol, day, entries, holding))
            best = min(usable, key=lambda entry: (len(entry.days), entry.path.name))
            if not any(day in entry.days for entry in chosen.values()):
                chosen[best.path] = best
        return sorted(chosen, key=lambda path: chosen[path].days)

    def matching(self, names: Sequence[str], days: Sequence[str] | None = None) -> list[Path]:
        """Tape files by symbol or path; those of symbols may be limited to some days (ISO).

        Raises:
            TapeError: a name fits none, or a day is none.
        """
        wanted = {parse_day(day) for day in days or ()}
        entries = self.entries()
        found: list[Path] = []
        for name in names:
            if name.endswith(SUFFIX):
                path = next((p for p in (Path(name), self.folder / name) if p.is_file()), None)
                if path is None:
                    raise TapeError(f"{name}: no such tape: `bt-gym data ls` lists them")
                found.append(path)
                continue
            fitting = [
                entry.path for entry in entries if entry.symbol == name and (not wanted or wanted & {*entry.days})
            ]
            if not fitting:
                of = f" on {', '.join(map(str, sorted(wanted)))}" if wanted else ""
                raise TapeError(f"{self.folder}: no tape of {name}{of}: `bt-gym data ls` lists what there is")
            found += fitting
        return list(dict.fromkeys(found))

    def _why_not(self, symbol: str, day: dt.date, entries: list[Entry], holding: list[Entry]) -> str:
        if holding:
            return holding[0].repair
        unusable = [entry for entry in self.entries() if entry.state != "ok" and str(day) in entry.path.name]
        if unusable:
            return unusable[0].repair
        days = sorted({day for entry in entries for day in entry.days})
        there = f"has {days[0]} to {days[-1]} ({len(days)} days)" if days else "has no tape of it"
        return f"{self.folder}: no tape of {symbol} on {day}, the catalogue {there}: make it with `bt-gym ingest`"


def describe(path: Path | str, *, verify: bool = True) -> Entry:
    """What a tape file is, usable or not. Arguments as for `Tape.open`."""
    path = Path(path)
    known: dict[str, Any] = {"path": path, "size": path.stat().st_size if path.is_file() else 0}
    try:
        metadata = read_metadata(path)
        known |= {
            "symbol": metadata["symbol"],
            "dataset": metadata["dataset"],
            "sources": tuple(source["name"] for source in metadata["sources"]),
        }
        tape = Tape.open(path, verify=verify)
    except TapeError as error:
        stale = "sources" in known and (metadata["format"], metadata["compiler"]) != (FORMAT_VERSION, COMPILER_VERSION)
        return Entry(**known, state="stale" if stale else "damaged", repair=str(error))
    return Entry(
        **known, state="ok", days=days_of(tape), events=len(tape.events), records=int(tape.events["source"][-1])
    )


def parse_day(text: str) -> dt.date:
    """A UTC day as 2026-01-05.

    Raises:
        TapeError: it is none.
    """
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise TapeError(f"{text!r} isn't a day: write it as 2026-01-05") from None


def days_of(tape: Tape) -> tuple[dt.date, ...]:
    """UTC days on which a tape has events."""
    times = tape.events["ts_event"]
    days, position = [], 0
    while position < len(times):
        day = int(times[position]) // NS_PER_DAY
        days.append(EPOCH + dt.timedelta(days=day))
        position = int(np.searchsorted(times, (day + 1) * NS_PER_DAY))
    return tuple(days)


def remarks(tape: Tape) -> list[str]:
    """What a user should know of a tape before trusting it, one line each."""
    return list(_remarks(tape))


def _remarks(tape: Tape) -> Iterator[str]:
    phases = tape.events["flags"] & enums.PHASE_MASK
    suspect = phases == enums.PHASE_SUSPECT
    count = int(np.count_nonzero(suspect))
    if suspect.all():
        yield "the book is never known for sure: it starts in mid-session, without a snapshot; no order is filled on it"
    elif suspect[0]:
        first = int(np.argmin(suspect))
        at = _utc(tape.events["ts_event"][first])
        yield f"starts in mid-session, without a snapshot: usable from {at} on, after {first:,} events"
        count -= first
    if count and not suspect.all():
        yield f"the book is in doubt during {count:,} later events: no order is filled there"
    if not np.any(phases == enums.PHASE_CONTINUOUS):
        yield "no continuous trading: no order is ever filled"
    last = tape.events[-1]
    if enums.NO_TICK not in (last["bid"], last["ask"]) and last["bid"] >= last["ask"]:
        yield "ends with a crossed book"
    if tape.book != "l3":
        held = f"the best {tape.metadata['levels']} levels a side" if tape.book == "l2" else "trades alone"
        yield f"made of {held}: there are no queues to take a place in"
    counters = tape.metadata["counters"]
    unusual = [f"{counters[name]:,} {name}" for name in ANOMALIES if counters.get(name)]
    if unusual:
        yield f"unusual records: {', '.join(unusual)}"


def details(path: Path | str) -> dict[str, Any]:
    """All that is known of a tape, as plain values; of an unusable one only what `describe` says."""
    entry = describe(path)
    if entry.state != "ok":
        return entry.to_dict()
    tape = Tape.open(path, verify=False)
    events = tape.events
    names = enums.names("PHASE_")
    codes, counts = np.unique(events["flags"] & enums.PHASE_MASK, return_counts=True)
    return entry.to_dict() | {
        "tick_size": tape.tick_size_nanos / 1e9,
        "first_event": _utc(events["ts_event"][0]),
        "last_event": _utc(events["ts_event"][-1]),
        "phases": {names[int(code)]: int(count) for code, count in zip(codes, counts, strict=True)},
        "phases_from": "status" if tape.metadata.get("status_changes") else "inferred",
        "counters": {name: count for name, count in tape.metadata["counters"].items() if count},
        "source_files": tape.metadata["sources"],
        "key": tape.key,
        "remarks": remarks(tape),
    }


def table(entries: Sequence[Entry]) -> Table:
    """The catalogue for people."""
    result = Table("symbol", "days (UTC)", "state", "tape")
    for name in ("events", "records", "MB"):
        result.add_column(name, justify="right")
    for entry in entries:
        days = f"{entry.days[0]}" if entry.days else "?"
        days += f" to {entry.days[-1]} ({len(entry.days)})" if len(entry.days) > 1 else ""
        numbers = (f"{entry.events:,}", f"{entry.records:,}", f"{entry.size / 1e6:,.1f}")
        state = entry.state if entry.state == "ok" else f"[bold red]{entry.state}[/]"
        result.add_row(escape(entry.symbol or "?"), days, state, escape(entry.path.name), *numbers)
    return result


def render(shown: dict[str, Any]) -> Table:
    """The result of `details` for people."""
    result = Table(show_header=False, title=escape(Path(shown["path"]).name))
    for name, value in shown.items():
        if value in ("", [], {}) or name in ("path", "sources"):
            continue
        if name == "source_files":
            value = "\n".join(f"{source['name']}  sha256 {source['sha256'][:12]}..." for source in value)
        elif isinstance(value, dict):
            value = "\n".join(f"{key}: {count:,}" for key, count in value.items())
        elif isinstance(value, list):
            value = "\n".join(value)
        elif isinstance(value, int):
            value = f"{value:,}"
        result.add_row(name, escape(str(value)))
    return result


def _utc(ts: int) -> str:
    return f"{np.datetime64(int(ts), 'ns')}Z"
