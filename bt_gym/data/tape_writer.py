"""How a tape is made: one instrument's records through the compiler, into scratch files, into one Arrow file.

Nothing is left behind when it fails, whenever that is: the scratch files have no name, and the tape gets its own when
it is whole. Memory stays bounded whatever the length of the input.
"""

import json
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
import pyarrow as pa

from bt_gym.core.tape import block_dtype, event_dtype, record_dtype
from bt_gym.data.compiler import Compiler, Piece, label_phases
from bt_gym.data.dbn import DbnFile
from bt_gym.data.files import replace_file
from bt_gym.data.l2 import LevelCompiler
from bt_gym.errors import CapacityError, DataError, EmptyDataError, SymbolError, TapeError

COLUMNS = {"records": record_dtype, "events": event_dtype, "blocks": block_dtype}


class TapeWriter:
    """Compiles the records of one instrument, file by file, and writes its tape.

    Args:
        symbol: of the instrument, for messages.
        tick_size: price grid in 1e-9.
        changes: of status, `status.change_dtype`.
        folder: that the tape is for; scratch files lie there.
        levels: a side that the records publish, 0 for trades alone; None for single orders.
    """

    def __init__(
        self, symbol: str, tick_size: int, changes: np.ndarray, folder: Path, *, levels: int | None = None
    ) -> None:
        self.symbol = symbol
        if levels is None:
            self.compiler = Compiler(tick_size, changes=changes)
        else:
            self.compiler = LevelCompiler(tick_size, levels, changes=changes)
        self._scratch = _Scratch(folder)
        self._path = Path()
        self._publisher = self._instrument_id = -1
        self._before = self._latest = 0  # latest ts_recv of the files before, and of all

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._scratch.close()

    def begin_file(self, source: DbnFile) -> None:
        """The records that follow are of this file."""
        self._path = source.path
        self._before = self._latest
        self.compiler.begin_file()

    def feed(self, records: np.ndarray) -> None:
        """Compiles records (R,) of one instrument id; R >= 1.

        Raises:
            DataError: they can't be used, or come before those of an earlier file.
        """
        self._check_order(records)
        self._check_publisher(records)
        with _named(self._path):
            instrument_id = int(records["instrument_id"][0])
            if self._instrument_id not in (-1, instrument_id):
                self._scratch.append(self.compiler.begin_instrument())
            self._instrument_id = instrument_id
            for piece in self.compiler.feed(records):
                self._scratch.append(piece)

    def finish(self) -> dict[str, np.ndarray]:
        """The columns of the tape, as long as this writer is open.

        Raises:
            EmptyDataError: nothing in them.
            DataError: what was fed doesn't make a tape.
        """
        with _named(self._path):
            for piece in self.compiler.finish():
                self._scratch.append(piece)
        columns = self._scratch.columns()
        if not len(columns["events"]):
            raise EmptyDataError(f"{self._path}: no complete event of {self.symbol}: request the data again")
        label_phases(columns["events"], self.compiler.stretches)
        return columns

    def _check_order(self, records: np.ndarray) -> None:
        times = records["ts_recv"][records["ts_recv"] >= 0]
        if not len(times):
            return
        if times[0] < self._before:
            raise DataError(
                f"{self._path}: has a record of {_time(times[0])}, the file before it one of {_time(self._before)}: "
                "give each file once, in the order of time"
            )
        self._latest = max(self._latest, int(times.max()))

    def _check_publisher(self, records: np.ndarray) -> None:
        """An order book is of one venue."""
        publishers = {int(records["publisher_id"].min()), int(records["publisher_id"].max())}
        if self._publisher >= 0:
            publishers.add(self._publisher)
        if len(publishers) > 1:
            raise SymbolError(
                f"{self._path}: {self.symbol} comes from publishers {sorted(publishers)}, each with its "
                "own book: use a file of one venue's dataset"
            )
        (self._publisher,) = publishers


class _Scratch:
    """The columns of a tape under way, in files without a name: they vanish with the process, however it ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, IO[bytes]] = {}
        with writing(folder), ExitStack() as opened:
            folder.mkdir(parents=True, exist_ok=True)
            for column in COLUMNS:
                self._files[column] = opened.enter_context(tempfile.TemporaryFile(dir=folder))
            opened.pop_all()  # all of them are there: `close` closes them

    def close(self) -> None:
        for file in self._files.values():
            with suppress(OSError):  # a full disk again, which has been told
                file.close()

    def append(self, piece: Piece) -> None:
        with writing(self._folder):
            for column, file in self._files.items():
                file.write(getattr(piece, column).data)

    def columns(self) -> dict[str, np.ndarray]:
        """All that was appended, mapped into memory."""
        with writing(self._folder):
            for file in self._files.values():
                file.flush()
        return {
            column: np.memmap(self._files[column], dtype, "r+") if self._files[column].tell() else np.zeros(0, dtype)
            for column, dtype in COLUMNS.items()
        }


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Says in one line that a folder can't take a tape."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or one_line(error)
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


def write_tape(path: Path, columns: dict[str, np.ndarray], metadata: dict[str, Any]) -> None:
    """Writes a tape file, whole or not at all; `Tape.open` reads it."""
    arrays = [_as_list(column) for column in columns.values()]
    text = json.dumps(metadata, sort_keys=True).encode()
    schema = pa.schema(
        [pa.field(name, array.type, nullable=False) for name, array in zip(columns, arrays, strict=True)],
        metadata={"bt_gym": text, "bt_gym_crc32": str(zlib.crc32(text))},
    )
    with writing(path.parent), replace_file(path) as file, pa.ipc.new_file(file, schema) as writer:
        writer.write_batch(pa.record_batch(arrays, schema=schema))


def _as_list(column: np.ndarray) -> pa.Array:
    """A whole array as one list of rows of int32, without a copy."""
    width = column.dtype.itemsize // 4
    values = pa.Array.from_buffers(pa.int32(), len(column) * width, [None, pa.py_buffer(column.view(np.uint8))])
    rows = pa.FixedSizeListArray.from_arrays(values, width)
    return pa.LargeListArray.from_arrays(pa.array([0, len(column)], pa.int64()), rows)


def crc(column: np.ndarray) -> int:
    """Checksum of a column."""
    return zlib.crc32(column.view(np.uint8).data)


def one_line(error: Exception) -> str:
    """What an error says first."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__
