"""The file of a tape, filled while a session is compiled: Arrow IPC with one row and three list columns.

The events, two thirds of it, are the first column and are written where they stay; records and blocks follow when the
last event is known. Until then the file has no name: it vanishes with the process, however that ends.

It is not synced, which would take a sixth of the time: what a power cut may damage is noticed by the checksums, and
made again by the next ingest.
"""

import io
import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import pyarrow as pa

from bt_gym._jit import njit
from bt_gym.core.tape import block_dtype, event_dtype, record_dtype
from bt_gym.data.compiler import Piece, label_phases
from bt_gym.data.files import READ_BYTES, name_file, nameless_file
from bt_gym.errors import TapeError

COLUMNS = {"events": event_dtype, "records": record_dtype, "blocks": block_dtype}

BLOCK_WORDS = 1 << 14
"""Of a checksum."""


class TapeFile:
    """A tape under way. `append` its pieces, then `complete` it; or `close` it, and nothing is left."""

    def __init__(self, folder: Path) -> None:
        """
        Args:
            folder: that the tape is for; it is made if it isn't there.

        Raises:
            TapeError: it can't be written.
        """
        self._folder = folder
        self._files: dict[str, IO[bytes]] = {}
        self._sums = {column: Checksum() for column in COLUMNS}
        with writing(folder), ExitStack() as opened:
            folder.mkdir(parents=True, exist_ok=True)
            for column in COLUMNS:
                self._files[column] = opened.enter_context(nameless_file(folder))
            self._files["events"].seek(_head())
            opened.pop_all()  # all of them are there: `close` closes them

    def close(self) -> None:
        """Lets go of what isn't complete."""
        for file in self._files.values():
            with suppress(OSError):  # a full disk again, which has been told
                file.close()

    def append(self, piece: Piece) -> None:
        """Writes the next part of all columns."""
        with writing(self._folder):
            for column, file in self._files.items():
                words = getattr(piece, column).view(np.uint32)
                if len(words):
                    file.write(words)
                    self._sums[column].add(words)

    def columns(self, stretches: list[tuple[int, int]]) -> dict[str, np.ndarray]:
        """All that was appended, mapped into memory, with pre-open `stretches` labelled."""
        with writing(self._folder):
            for file in self._files.values():
                file.flush()
        columns = {}
        for column, file in self._files.items():
            first = _head() if column == "events" else 0
            count = (file.tell() - first) // COLUMNS[column].itemsize
            columns[column] = (
                np.memmap(file, COLUMNS[column], "r+", first, count) if count else np.zeros(0, COLUMNS[column])
            )
        label_phases(columns["events"], stretches)
        for first, end in stretches:
            self._sums["events"].revise(columns["events"], first, end + 1)
        return columns

    def complete(self, path: Path, columns: dict[str, np.ndarray], metadata: dict[str, Any]) -> None:
        """Gives the file its name once all is written; `checksums` are added to the metadata."""
        metadata = metadata | {"checksums": {column: sums.value for column, sums in self._sums.items()}}
        text = json.dumps(metadata, sort_keys=True).encode()
        with writing(self._folder):
            file = self._files["events"]
            file.seek(0)
            held = {column.ctypes.data: self._files[name] for name, column in columns.items() if len(column)}
            _write(_InPlace(file, held), columns, {"bt_gym": text, "bt_gym_crc32": str(zlib.crc32(text))})
            name_file(file, path)


class _InPlace(io.RawIOBase):
    """A file whose first column is written already: passes over it, and copies the others from their files.

    Args:
        file: to be completed.
        held: the file of what lies at an address. Reading it again takes half the time of mapping its pages.
    """

    def __init__(self, file: IO[bytes], held: Mapping[int, IO[bytes]]) -> None:
        self._file = file
        self._held = held

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._file.tell()

    def write(self, data: Any) -> int:
        bytes_ = np.frombuffer(data, np.uint8)
        source = self._held.get(bytes_.ctypes.data)
        if source is None:
            self._file.write(data)
        elif source is self._file:
            self._file.seek(len(bytes_), io.SEEK_CUR)
        else:
            source.seek(0)
            reader = cast(io.BufferedReader, source)
            buffer = bytearray(READ_BYTES)  # one for all: `shutil.copyfileobj` makes one a read
            while count := reader.readinto(buffer):
                self._file.write(memoryview(buffer)[:count])
        return len(bytes_)


@cache
def _head() -> int:
    """Bytes in front of the events: always the same, as only the lengths of the columns differ."""
    columns = {column: np.zeros(1, dtype) for column, dtype in COLUMNS.items()}
    columns["events"].view(np.uint8)[:] = 0xA5
    file = io.BytesIO()
    _write(file, columns, {})
    return file.getvalue().index(columns["events"].tobytes())


def _write(sink: Any, columns: dict[str, np.ndarray], metadata: dict[str, Any]) -> None:
    arrays = [_as_list(column) for column in columns.values()]
    fields = [pa.field(name, array.type, nullable=False) for name, array in zip(columns, arrays, strict=True)]
    schema = pa.schema(fields)
    with pa.ipc.new_file(sink, schema, metadata=metadata) as writer:
        writer.write_batch(pa.record_batch(arrays, schema=schema))


def _as_list(column: np.ndarray) -> pa.Array:
    """A whole array as one list of rows of int32, without a copy."""
    width = column.dtype.itemsize // 4
    values = pa.Array.from_buffers(pa.int32(), len(column) * width, [None, pa.py_buffer(column.view(np.uint8))])
    rows = pa.FixedSizeListArray.from_arrays(values, width)
    return pa.LargeListArray.from_arrays(pa.array([0, len(column)], pa.int64()), rows)


def read_columns(path: Path) -> dict[str, np.ndarray]:
    """The columns of a tape file, mapped into memory.

    Raises:
        OSError, pa.ArrowException, LookupError, TypeError, ValueError, AttributeError: it isn't one.
    """
    table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    table.validate()  # that no buffer ends beyond the file
    return {name: _view(table.column(name), dtype) for name, dtype in COLUMNS.items()}


def _view(column: pa.ChunkedArray, dtype: np.dtype) -> np.ndarray:
    rows = column.chunk(0).values
    values = rows.values.buffers()[1]  # its own `to_numpy` imports pandas, where that is installed
    return np.frombuffer(values, dtype, len(rows), rows.offset * dtype.itemsize)


def read_metadata(path: Path) -> tuple[dict[str, Any], bool]:
    """What a tape file says of itself, and whether it agrees with its checksum.

    Raises:
        OSError, pa.ArrowException, LookupError, TypeError, ValueError, AttributeError: it isn't one.
    """
    held = pa.ipc.open_file(pa.memory_map(str(path))).metadata
    return json.loads(held[b"bt_gym"]), int(held[b"bt_gym_crc32"]) == zlib.crc32(held[b"bt_gym"])


class Checksum:
    """Of a column: CRC-32 of the sums of its blocks of 64 KiB, each word weighted by its place in the block.

    A sum notices every change of a single word, as no weight is 0, and any other but one in 2**32 by its CRC; it is
    taken ten times as fast as a CRC of all bytes, piece by piece as they come.
    """

    def __init__(self) -> None:
        self._sums: list[int] = []
        self._filled = 0  # words of the last block

    @classmethod
    def of(cls, rows: np.ndarray) -> int:
        """That of a whole column."""
        checksum = cls()
        checksum.add(rows)
        return checksum.value

    @property
    def value(self) -> int:
        """Of all that was added."""
        return zlib.crc32(np.array(self._sums, "<u8").tobytes())

    def add(self, rows: np.ndarray) -> None:
        """Takes further rows (R,), whose size is a multiple of 4 bytes."""
        words = rows.view(np.uint32)
        sums = np.zeros(-(-(self._filled + len(words)) // BLOCK_WORDS), np.int64)
        if self._filled:
            sums[0] = self._sums.pop()
        _add_up(words, self._filled, _WEIGHTS, sums)
        self._sums += sums.tolist()
        self._filled = (self._filled + len(words)) % BLOCK_WORDS

    def revise(self, rows: np.ndarray, first: int, end: int) -> None:
        """Rows `first:end` of all that was added (R,) have been changed."""
        words = rows.view(np.uint32)
        width = rows.dtype.itemsize // 4
        first, end = first * width // BLOCK_WORDS, min(-(-end * width // BLOCK_WORDS), len(self._sums))
        sums = np.zeros(end - first, np.int64)
        _add_up(words[first * BLOCK_WORDS : end * BLOCK_WORDS], 0, _WEIGHTS, sums)
        self._sums[first:end] = sums.tolist()


def _weights(count: int) -> np.ndarray:
    """(count,) int64, pseudo-random in [1, 2**17]: a block's sum stays below 2**63."""
    mixed = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(29)
    return (mixed * np.uint64(0xBF58476D1CE4E5B9) >> np.uint64(47)).astype(np.int64) + 1


_WEIGHTS = _weights(BLOCK_WORDS)


@njit
def _add_up(words, filled: int, weights, sums) -> None:
    """Adds words (n,), of which `filled` came before in the first block, to the sums of blocks."""
    first = 0
    for block in range(sums.shape[0]):
        part = words[first : first + weights.shape[0] - filled]  # slices, or the loop isn't vectorised
        part_weights = weights[filled:]
        total = np.int64(0)
        for i in range(part.shape[0]):
            total += np.int64(part[i]) * part_weights[i]
        sums[block] += total
        first += part.shape[0]
        filled = 0


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Says in one line that a folder can't take a tape."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or one_line(error)
        raise TapeError(f"{folder}: can't write a tape here ({reason}): name another folder or make room") from None


def one_line(error: Exception) -> str:
    """What an error says first."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__
