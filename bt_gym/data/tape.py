"""Tapes on disk: one Arrow IPC file a session, memory-mapped, written whole or not at all and named by its content.

The file has one row and three list columns, `events`, `records` and `blocks`, whose buffers are the arrays of
`bt_gym.core.tape` byte for byte; what the tape was made of stands in its footer's metadata under `bt_gym`, as JSON with
a checksum.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import pyarrow as pa

from bt_gym.core import enums
from bt_gym.core.tape import KIND_MASK, SIDE_BIT, TICK_SHIFT, receive_delays
from bt_gym.data.compiler import COMPILER_VERSION
from bt_gym.data.dbn import DbnFile, open_market
from bt_gym.data.files import sha256
from bt_gym.data.l2 import SCHEMAS
from bt_gym.data.proof import Proof
from bt_gym.data.status import NO_CHANGES, read_changes, within
from bt_gym.data.symbology import NS_PER_DAY, Selection, Splitter
from bt_gym.data.tape_file import Checksum, one_line, read_columns
from bt_gym.data.tape_file import read_metadata as read_file_metadata
from bt_gym.data.tape_writer import TapeWriter
from bt_gym.errors import EmptyDataError, InstrumentError, SchemaError, SymbolError, TapeError

FORMAT_VERSION = 4
SUFFIX = ".tape.arrow"
INSTRUMENTS_AT_ONCE = 32
"""Compiled in one pass over a file: each takes about 6 MB, more when its book is large."""


@dataclass(frozen=True)
class Tape:
    """A compiled session: R records, E events, B blocks, read-only and shared between processes.

    Attributes:
        records: (R,) of `core.tape.record_dtype`.
        events: (E,) of `core.tape.event_dtype`.
        blocks: (B,) of `core.tape.block_dtype`.
        metadata: symbol, tick_size_nanos, sources (name, sha256), status_changes (number that status files gave),
            counters, proof, compiler and format version; `book` is l3 (single orders), l2 (the best `levels` a side) or
            none (trades alone).
        path: of the file.
    """

    records: np.ndarray
    events: np.ndarray
    blocks: np.ndarray
    metadata: dict[str, Any]
    path: Path

    @property
    def symbol(self) -> str:
        return self.metadata["symbol"]

    @property
    def tick_size_nanos(self) -> int:
        return self.metadata["tick_size_nanos"]

    @property
    def key(self) -> str:
        """sha256 of everything the tape depends on."""
        return self.metadata["key"]

    @property
    def book(self) -> str:
        """l3: made of single orders; l2: of the best levels; none: of trades alone."""
        return self.metadata["book"]

    @property
    def proof(self) -> Proof:
        """Which levels are known completely."""
        return Proof.from_metadata(self.metadata["proof"])

    @classmethod
    def open(cls, path: Path | str, *, verify: bool = True) -> "Tape":
        """Maps a tape file into memory.

        Args:
            path: a `*.tape.arrow` file.
            verify: compare the checksums of all columns (about 0.2 s for 1 GB).

        Raises:
            TapeError: the file is missing, of another version, or damaged.
        """
        path = Path(path)
        metadata, intact = _read_metadata(path)
        if (metadata["format"], metadata["compiler"]) != (FORMAT_VERSION, COMPILER_VERSION):
            raise TapeError(f"{path}: was made by another version of bt_gym: delete it and ingest again")
        with _whole(path):
            columns = read_columns(path)
        if verify and intact:
            intact = metadata["checksums"] == {name: Checksum.of(column) for name, column in columns.items()}
        if not intact:
            raise TapeError(f"{path}: its bytes contradict their checksum: delete it and ingest again")
        return cls(**columns, metadata=metadata, path=path)

    def events_table(self) -> pa.Table:
        """The events as an Arrow table, for Polars, DuckDB or pandas: prices in ticks, phases by name."""
        phases = enums.names("PHASE_")
        best = {side: pa.array(self.events[side], mask=self.events[side] == enums.NO_TICK) for side in ("bid", "ask")}
        return pa.table(
            {
                "ts_event": pa.array(self.events["ts_event"], pa.timestamp("ns", "UTC")),
                "receive_delay_ns": receive_delays(self.events),
                "source_records": self.events["source"],
                "best_bid": best["bid"],
                "best_ask": best["ask"],
                "has_trade": self.events["flags"] & enums.EVENT_TRADE != 0,
                "phase": pa.array([phases[code] for code in self.events["flags"] & enums.PHASE_MASK]),
            }
        )

    def records_table(self) -> pa.Table:
        """The records as an Arrow table: prices in ticks, kinds by name, and the number of their event."""
        kinds = np.array([enums.names("RECORD_")[code] for code in range(KIND_MASK + 1)])
        keys = self.records["key"]
        ends = self.events["end"].astype(np.int64)
        counts = ends - np.r_[0, ends[:-1]]
        return pa.table(
            {
                "event": np.repeat(np.arange(len(self.events)), counts),
                "kind": kinds[keys & KIND_MASK],
                "side": np.where(keys & SIDE_BIT, "ask", "bid"),
                "price": keys >> TICK_SHIFT,
                "size": self.records["size"],
                "priority": self.records["priority"],
            }
        )


def read_metadata(path: Path | str) -> dict[str, Any]:
    """What a tape file says of itself, whichever version made it.

    Raises:
        TapeError: the file is missing or isn't a tape.
    """
    return _read_metadata(Path(path))[0]


def _read_metadata(path: Path) -> tuple[dict[str, Any], bool]:
    """And whether it agrees with its checksum."""
    with _whole(path):
        metadata, intact = read_file_metadata(path)
        for key in ("format", "compiler", "symbol", "dataset", "sources"):
            metadata[key]
        return metadata, intact


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    """Says in one line why a file can't be read as a tape."""
    try:
        yield
    except FileNotFoundError:
        raise TapeError(f"{path}: no such tape: make it with `bt-gym ingest`") from None
    except (OSError, pa.ArrowException, LookupError, TypeError, ValueError, AttributeError) as error:
        raise TapeError(f"{path}: isn't a whole tape ({one_line(error)}): delete it and ingest again") from None


def default_folder() -> Path:
    """Where tapes go unless told otherwise: `$BT_GYM_TAPES`, else `bt_gym/tapes` in the user's cache folder."""
    if folder := os.environ.get("BT_GYM_TAPES"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bt_gym" / "tapes"


def ingest(
    files: Sequence[Path | str] | Path | str,
    *,
    symbol: str | None = None,
    tick_size_nanos: int | Callable[[str], int],
    statuses: Sequence[Path | str] = (),
    folder: Path | str | None = None,
    progress: Callable[[int], None] = lambda records: None,
) -> Path:
    """Compiles the MBO records of one instrument into a tape; does nothing when that tape exists already.

    Args:
        files: DBN files in the order of time, or one.
        symbol: the instrument; None when the files hold only one.
        tick_size_nanos: price grid in 1e-9, or a function that tells it for a symbol.
        statuses: files of schema `status`: phases as the venue gives them; without them they are inferred.
        folder: where the tape goes; `default_folder()` if None.
        progress: is told how many records have been read.

    Returns:
        The tape's path: `SYMBOL_DAY_KEY.tape.arrow`. Memory stays bounded whatever the files' size.

    Raises:
        DataError: a file can't be used, or the files don't follow each other. Nothing is left behind.
        TapeError: the folder can't be written.
    """
    sources = [open_market(file) for file in ([files] if isinstance(files, Path | str) else files)]
    share = _Share.of([(source, source.select(symbol)) for source in sources])
    _Ingest(tick_size_nanos, statuses, folder, progress).run([share])
    return share.made()


def ingest_all(
    files: Sequence[DbnFile],
    *,
    symbols: Sequence[str] = (),
    tick_size_nanos: int | Callable[[str], int],
    statuses: Sequence[Path | str] = (),
    by_day: bool = False,
    folder: Path | str | None = None,
    progress: Callable[[int], None] = lambda records: None,
    hashes: Mapping[Path, str] | None = None,
) -> list[Path]:
    """The same for several instruments: each file is read once for every `INSTRUMENTS_AT_ONCE` of them.

    Args:
        files: in the order of time; several may be of one time when they hold different instruments.
        symbols: the instruments; all that have records if empty.
        tick_size_nanos: as in `ingest`; an instrument that wasn't named is asked about when it has records.
        statuses: as in `ingest`.
        by_day: a tape for each UTC day on which files start, each written when it is done; else one for all files.
        folder: as in `ingest`.
        progress: as in `ingest`.
        hashes: sha256 of files, as far as they are known.

    Returns:
        Paths of the tapes, by day and symbol.

    Raises:
        DataError, TapeError: as in `ingest`. Tapes of earlier days stay, so that the next run goes on from there.
        SymbolError: a symbol isn't in the files.
        EmptyDataError: there is no record, or none of a symbol that was named.
    """
    for symbol in symbols:
        if not any(file.has(symbol) for file in files):
            files[0].select(symbol)  # says what there is instead
    days: dict[int, list[DbnFile]] = {}
    for file in files:
        days.setdefault(file.start // NS_PER_DAY if by_day else 0, []).append(file)
    groups = [_shares(group, symbols) for group in days.values()]
    work = _Ingest(tick_size_nanos, statuses, folder, progress, hashes or {})
    for shares in groups:
        work.run(shares)
    everything = [share for shares in groups for share in shares]
    with_records = {name for share in everything if share.path for name in share.names}
    for share in everything:
        if not with_records or not set(symbols) & share.names <= with_records:
            share.made()  # says that there is no record
    return [share.path for share in everything if share.path]


@dataclass
class _Share:
    """What one tape is made of: the records of one instrument in some files."""

    symbol: str
    files: list[tuple[DbnFile, Selection]]
    names: set[str]  # by which it was asked for
    needed: bool = True  # False: nobody named it, it may have no records
    tick_size: int = 0
    no_tick_size: InstrumentError | None = None
    changes: np.ndarray = field(default_factory=lambda: NO_CHANGES)
    path: Path | None = None  # of the tape, once it is there

    @classmethod
    def of(cls, files: list[tuple[DbnFile, Selection]], names: Iterable[str] = (), *, needed: bool = True) -> Self:
        """Of files that hold one instrument at one venue.

        Raises:
            SchemaError, SymbolError: they don't.
            EmptyDataError: there is no file.
        """
        if not files:
            raise EmptyDataError("no files given: name at least one")
        first_file, first = files[0]
        for file, selection in files:
            if file.schema != first_file.schema:
                raise SchemaError(
                    f"{file.path}: holds schema {file.schema}, {first_file.path} {first_file.schema}: "
                    "ingest files of one schema at a time"
                )
            here, there = (selection.symbol, file.dataset), (first.symbol, first_file.dataset)
            if here != there:
                raise SymbolError(
                    f"{file.path}: holds {' of '.join(here)}, {first_file.path} {' of '.join(there)}: "
                    "ingest one instrument at a time"
                )
        return cls(first.symbol, files, {first.symbol, *names}, needed)

    @property
    def selection(self) -> Selection:
        """Its ids and days in all files."""
        return Selection(self.symbol, tuple({span for _, selection in self.files for span in selection.intervals}))

    @property
    def levels(self) -> int | None:
        """Levels a side that the files publish, 0 for trades alone; None for single orders."""
        return SCHEMAS.get(self.files[0][0].schema or "mbo")

    def made(self) -> Path:
        """The tape's path.

        Raises:
            EmptyDataError: the files had no record for it.
        """
        if self.path is None:
            file, selection = self.files[0]
            next(file.chunks(selection))  # says so
        assert self.path is not None
        return self.path


def _shares(files: Sequence[DbnFile], symbols: Sequence[str]) -> list[_Share]:
    """The instruments in files of one tape's time, by symbol."""
    held: dict[str, list[tuple[DbnFile, Selection]]] = {}
    names: dict[str, set[str]] = {}
    for file in files:
        for name in symbols or file.listed:
            if file.has(name):
                selection = file.select(name)
                held.setdefault(selection.symbol, []).append((file, selection))
                names.setdefault(selection.symbol, set()).add(name)
    needed = bool(symbols) or len(held) == 1
    return [_Share.of(held[symbol], names[symbol], needed=needed) for symbol in sorted(held)]


class _Ingest:
    """Makes tapes that aren't there yet."""

    def __init__(
        self,
        tick_size_nanos: int | Callable[[str], int],
        statuses: Sequence[Path | str],
        folder: Path | str | None,
        progress: Callable[[int], None],
        hashes: Mapping[Path, str] | None = None,
    ) -> None:
        self._tick_size = (
            cache(tick_size_nanos) if callable(tick_size_nanos) else lambda symbol: cast(int, tick_size_nanos)
        )
        self._statuses = statuses
        self._folder = Path(folder) if folder is not None else default_folder()
        self._progress = progress
        self._hashes = dict(hashes or {})
        self._read = 0

    def run(self, shares: Sequence[_Share]) -> None:
        """The tapes of some instruments in the same time; `path` stays None for those without records."""
        changes = read_changes(self._statuses, [share.selection for share in shares])
        for share, found in zip(shares, changes, strict=True):
            self._prepare(share, found)
        left = [share for share in shares if share.path is None]
        for first in range(0, len(left), INSTRUMENTS_AT_ONCE):
            self._compile(left[first : first + INSTRUMENTS_AT_ONCE])

    def _prepare(self, share: _Share, changes: np.ndarray) -> None:
        """What the tape depends on; its path if it exists.

        Whether it does is asked only where there are tapes of the symbol: the answer takes a reading of the files.
        """
        share.changes = within(changes, share.files[0][0].start, share.files[-1][0].end)
        try:
            share.tick_size = self._tick_size(share.symbol)
        except InstrumentError as error:
            if share.needed:
                raise
            share.no_tick_size = error
            return
        if not any(self._folder.glob(f"{_file_name(share.symbol)}_*{SUFFIX}")):
            return
        for file, _ in share.files:
            if file.path not in self._hashes:
                self._hashes[file.path] = sha256(file.path)
        for path in sorted(self._folder.glob(f"*_{self._key(share)[:12]}{SUFFIX}")):
            with suppress(TapeError):  # damaged: made again
                share.path = Tape.open(path).path

    def _key(self, share: _Share) -> str:
        """sha256 of all that the tape depends on."""
        key_of: list[Any] = [FORMAT_VERSION, COMPILER_VERSION, share.symbol, share.tick_size]
        key_of += [self._hashes[file.path] for file, _ in share.files]
        if len(share.changes):
            key_of.append(share.changes.tolist())
        return hashlib.sha256(json.dumps(key_of).encode()).hexdigest()

    def _compile(self, shares: Sequence[_Share]) -> None:
        """One pass over the files for all these instruments."""
        with ExitStack() as stack:
            writers: dict[str, TapeWriter] = {}
            for file in {id(file): file for share in shares for file, _ in share.files}.values():
                members = [(share, chosen) for share in shares for held, chosen in share.files if held is file]
                for share, _ in members:
                    if share.symbol in writers:
                        writers[share.symbol].begin_file(file)
                splitter = Splitter([chosen for _, chosen in members])
                digest = None if file.path in self._hashes else hashlib.sha256()
                with closing(file.read(digest=digest)) as chunks:
                    for chunk, whole in chunks:
                        for number, records, bounds in splitter.split(chunk, whole):
                            share = members[number][0]
                            if share.symbol not in writers:
                                writers[share.symbol] = stack.enter_context(self._writer(share))
                                writers[share.symbol].begin_file(file)
                            writers[share.symbol].feed(records, bounds)
                        self._read += len(chunk)
                        self._progress(self._read)
                if digest is not None:
                    self._hashes[file.path] = digest.hexdigest()
            for share in shares:
                if share.symbol in writers:
                    self._write(share, writers[share.symbol])

    def _writer(self, share: _Share) -> TapeWriter:
        if share.no_tick_size:
            raise share.no_tick_size
        return TapeWriter(share.symbol, share.tick_size, share.changes, self._folder, levels=share.levels)

    def _write(self, share: _Share, writer: TapeWriter) -> None:
        columns = writer.finish()
        day = datetime.fromtimestamp(int(columns["events"]["ts_event"][0]) // 10**9, UTC).date()
        key = self._key(share)
        metadata = {
            "format": FORMAT_VERSION,
            "compiler": COMPILER_VERSION,
            "key": key,
            "symbol": share.symbol,
            "tick_size_nanos": share.tick_size,
            "dataset": share.files[0][0].dataset,
            "book": "l3" if share.levels is None else "l2" if share.levels else "none",
            "levels": share.levels,
            "sources": [{"name": file.path.name, "sha256": self._hashes[file.path]} for file, _ in share.files],
            "status_changes": len(share.changes),
            "counters": writer.compiler.counters,
            "proof": writer.compiler.proof.to_metadata(),
        }
        share.path = self._folder / f"{_file_name(share.symbol)}_{day}_{key[:12]}{SUFFIX}"
        writer.complete(share.path, columns, metadata)


def _file_name(symbol: str) -> str:
    return "".join(character if character.isalnum() or character in "-." else "_" for character in symbol)
