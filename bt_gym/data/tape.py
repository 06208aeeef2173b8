"""Tapes on disk: one Arrow IPC file a session, memory-mapped, written whole or not at all and named by its content.

The file has one row and three list columns, `records`, `events` and `blocks`, whose buffers are the arrays of
`bt_gym.core.tape` byte for byte; what the tape was made of stands in its schema metadata under `bt_gym`, as JSON with
a checksum.
"""

import hashlib
import json
import os
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
import pyarrow as pa

from bt_gym.core import enums
from bt_gym.core.tape import KIND_MASK, SIDE_BIT, TICK_SHIFT, block_dtype, event_dtype, record_dtype
from bt_gym.data.compiler import COMPILER_VERSION, Compiler, Piece, label_phases
from bt_gym.data.dbn import DbnFile, open_market
from bt_gym.data.files import replace_file, sha256
from bt_gym.data.l2 import SCHEMAS, LevelCompiler
from bt_gym.data.proof import Proof
from bt_gym.data.symbology import Selection
from bt_gym.errors import CapacityError, DataError, EmptyDataError, SchemaError, SymbolError, TapeError

FORMAT_VERSION = 2
SUFFIX = ".tape.arrow"
_COLUMNS = {"records": record_dtype, "events": event_dtype, "blocks": block_dtype}


@dataclass(frozen=True)
class Tape:
    """A compiled session: R records, E events, B blocks, read-only and shared between processes.

    Attributes:
        records: (R,) of `core.tape.record_dtype`.
        events: (E,) of `core.tape.event_dtype`.
        blocks: (B,) of `core.tape.block_dtype`.
        metadata: symbol, tick_size_nanos, sources (name, sha256), counters, proof, compiler and format version; `book`
            is l3 (single orders), l2 (the best `levels` a side) or none (trades alone).
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
            verify: compare the checksums of all columns (about 1 s for 1 GB).

        Raises:
            TapeError: the file is missing, of another version, or damaged.
        """
        path = Path(path)
        try:
            table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
            table.validate()  # that no buffer ends beyond the file
            text = table.schema.metadata[b"bt_gym"]
            metadata = json.loads(text)
            if (metadata["format"], metadata["compiler"]) != (FORMAT_VERSION, COMPILER_VERSION):
                raise TapeError(f"{path}: was made by another version of bt_gym: delete it and ingest again")
            intact = int(table.schema.metadata[b"bt_gym_crc32"]) == zlib.crc32(text)
            columns = {name: _view(table.column(name), dtype) for name, dtype in _COLUMNS.items()}
        except FileNotFoundError:
            raise TapeError(f"{path}: no such tape: make it with `bt-gym ingest`") from None
        except (OSError, pa.ArrowException, LookupError, TypeError, ValueError, AttributeError) as error:
            raise TapeError(f"{path}: isn't a whole tape ({_one_line(error)}): delete it and ingest again") from None
        if verify:
            intact = intact and {name: _crc(column) for name, column in columns.items()} == metadata["crc32"]
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
                "receive_delay_ns": self.events["delay"],
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


def default_folder() -> Path:
    """Where tapes go unless told otherwise: `$BT_GYM_TAPES`, else `bt_gym/tapes` in the user's cache folder."""
    if folder := os.environ.get("BT_GYM_TAPES"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bt_gym" / "tapes"


def ingest(
    files: Sequence[Path | str],
    *,
    symbol: str | None = None,
    tick_size_nanos: int | Callable[[str], int],
    folder: Path | str | None = None,
    progress: Callable[[int], None] = lambda records: None,
) -> Path:
    """Compiles the MBO records of one instrument into a tape; does nothing when that tape exists already.

    Args:
        files: DBN files in the order of time.
        symbol: the instrument; None when the files hold only one.
        tick_size_nanos: price grid in 1e-9, or a function that tells it for a symbol.
        folder: where the tape goes; `default_folder()` if None.
        progress: is told how many records have been read.

    Returns:
        The tape's path: `SYMBOL_DAY_KEY.tape.arrow`. Memory stays bounded whatever the files' size.

    Raises:
        DataError: a file can't be used, or the files don't follow each other. Nothing is left behind.
        TapeError: the folder can't be written.
    """
    sources = [open_market(file) for file in files]
    selections = [source.select(symbol) for source in sources]
    name = _one_instrument(sources, selections)
    tick_size = tick_size_nanos(name) if callable(tick_size_nanos) else tick_size_nanos
    hashes = [sha256(source.path) for source in sources]
    key_of = [FORMAT_VERSION, COMPILER_VERSION, name, tick_size, *hashes]
    key = hashlib.sha256(json.dumps(key_of).encode()).hexdigest()
    folder = Path(folder) if folder is not None else default_folder()
    for path in sorted(folder.glob(f"*_{key[:12]}{SUFFIX}")):
        try:
            return Tape.open(path).path
        except TapeError:
            pass  # damaged: made again below

    levels = SCHEMAS.get(sources[0].schema or "mbo")
    compiler = Compiler(tick_size) if levels is None else LevelCompiler(tick_size, levels)
    with _Scratch(folder) as scratch:
        _compile(compiler, sources, selections, scratch, progress)
        columns = scratch.columns()
        if not len(columns["events"]):
            raise EmptyDataError(f"{sources[0].path}: no complete event of {name}: request the data again")
        label_phases(columns["events"], compiler.stretches)
        day = datetime.fromtimestamp(int(columns["events"]["ts_event"][0]) // 10**9, UTC).date()
        metadata = {
            "format": FORMAT_VERSION,
            "compiler": COMPILER_VERSION,
            "key": key,
            "symbol": name,
            "tick_size_nanos": tick_size,
            "dataset": sources[0].dataset,
            "book": "l3" if levels is None else "l2" if levels else "none",
            "levels": levels,
            "sources": [{"name": s.path.name, "sha256": h} for s, h in zip(sources, hashes, strict=True)],
            "counters": compiler.counters,
            "proof": compiler.proof.to_metadata(),
            "crc32": {column: _crc(array) for column, array in columns.items()},
        }
        path = folder / f"{_file_name(name)}_{day}_{key[:12]}{SUFFIX}"
        with _writing(folder):
            _write(path, columns, metadata)
    return path


def _one_instrument(sources: Sequence[DbnFile], selections: Sequence[Selection]) -> str:
    """The symbol of all files; a tape is the book of one instrument at one venue."""
    if not sources:
        raise EmptyDataError("no files given: name at least one")
    for source, selection in zip(sources, selections, strict=True):
        if source.schema != sources[0].schema:
            raise SchemaError(
                f"{source.path}: holds schema {source.schema}, {sources[0].path} {sources[0].schema}: "
                "ingest files of one schema at a time"
            )
        here, first = (selection.symbol, source.dataset), (selections[0].symbol, sources[0].dataset)
        if here != first:
            raise SymbolError(
                f"{source.path}: holds {' of '.join(here)}, {sources[0].path} {' of '.join(first)}: "
                "ingest one instrument at a time"
            )
    return selections[0].symbol


def _compile(
    compiler: Compiler,
    sources: Sequence[DbnFile],
    selections: Sequence[Selection],
    scratch: "_Scratch",
    progress: Callable[[int], None],
) -> None:
    """Compiles all files in turn."""
    read = 0
    received = 0  # latest ts_recv of the files before
    for source, selection in zip(sources, selections, strict=True):
        compiler.begin_file()
        before, latest = received, received
        for chunk in source.chunks(selection):
            times = chunk["ts_recv"][chunk["ts_recv"] >= 0]
            if len(times):
                if times[0] < before:
                    raise DataError(
                        f"{source.path}: has a record of {_time(times[0])}, the file before it one of {_time(before)}: "
                        "give each file once, in the order of time"
                    )
                latest = max(latest, int(times.max()))
            with _named(source.path):
                for piece in compiler.feed(chunk):
                    scratch.append(piece)
            read += len(chunk)
            progress(read)
        received = latest
    with _named(sources[-1].path):
        for piece in compiler.finish():
            scratch.append(piece)


class _Scratch:
    """The columns of a tape under way, in files without a name: they vanish with the process, however it ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, IO[bytes]] = {}
        with _writing(folder), ExitStack() as opened:
            folder.mkdir(parents=True, exist_ok=True)
            for column in _COLUMNS:
                self._files[column] = opened.enter_context(tempfile.TemporaryFile(dir=folder))
            opened.pop_all()  # all of them are there: closed by __exit__

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for file in self._files.values():
            with suppress(OSError):  # a full disk again, which has been told
                file.close()

    def append(self, piece: Piece) -> None:
        with _writing(self._folder):
            for column, file in self._files.items():
                file.write(getattr(piece, column).data)

    def columns(self) -> dict[str, np.ndarray]:
        """All that was appended, mapped into memory."""
        with _writing(self._folder):
            for file in self._files.values():
                file.flush()
        return {
            column: np.memmap(self._files[column], dtype, "r+") if self._files[column].tell() else np.zeros(0, dtype)
            for column, dtype in _COLUMNS.items()
        }


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Says in one line that a folder can't take a tape."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or _one_line(error)
        raise TapeError(f"{folder}: can't write a tape here ({reason}): name another folder or make room") from None


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Puts the file's name before what the compiler says about a record."""
    try:
        yield
    except (DataError, CapacityError) as error:
        raise type(error)(f"{path}: {error}") from None


def _time(ts: int) -> str:
    return f"{np.datetime64(int(ts), 'ns')}Z"


def _write(path: Path, columns: dict[str, np.ndarray], metadata: dict[str, Any]) -> None:
    arrays = [_as_list(column) for column in columns.values()]
    text = json.dumps(metadata, sort_keys=True).encode()
    schema = pa.schema(
        [pa.field(name, array.type, nullable=False) for name, array in zip(columns, arrays, strict=True)],
        metadata={"bt_gym": text, "bt_gym_crc32": str(zlib.crc32(text))},
    )
    with replace_file(path) as file, pa.ipc.new_file(file, schema) as writer:
        writer.write_batch(pa.record_batch(arrays, schema=schema))


def _as_list(column: np.ndarray) -> pa.Array:
    """A whole array as one list of rows of int32, without a copy."""
    width = column.dtype.itemsize // 4
    values = pa.Array.from_buffers(pa.int32(), len(column) * width, [None, pa.py_buffer(column.view(np.uint8))])
    rows = pa.FixedSizeListArray.from_arrays(values, width)
    return pa.LargeListArray.from_arrays(pa.array([0, len(column)], pa.int64()), rows)


def _view(column: pa.ChunkedArray, dtype: np.dtype) -> np.ndarray:
    rows = column.chunk(0).values
    values = rows.values.to_numpy(zero_copy_only=True)
    return values[rows.offset * rows.type.list_size :].view(dtype)[: len(rows)]


def _crc(column: np.ndarray) -> int:
    return zlib.crc32(column.view(np.uint8).data)


def _file_name(symbol: str) -> str:
    return "".join(character if character.isalnum() or character in "-." else "_" for character in symbol)


def _one_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
