"""Files: read front to back with every check that their format allows, and written whole or not at all."""

import glob
import hashlib
import io
import os
import secrets
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from threading import Semaphore, Thread
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

import zstandard

from bt_gym.errors import CorruptFileError, DataError, TruncatedFileError

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
PIECE_BYTES = 1 << 11
"""Compressed bytes inflated at a time. One piece gives at most 64 MiB, whatever the file claims: a block takes 4 bytes
and inflates to 128 KiB (RFC 8878 3.1.1.2). Larger pieces are not faster."""

READ_BYTES = 1 << 20

T = TypeVar("T")


class Digest(Protocol):
    """What `hashlib` makes."""

    def update(self, data: bytes, /) -> None: ...


class ByteStream:
    """The bytes of a file, inflated if it is zstd, from first to last.

    >>> with ByteStream("ESH4.mbo.dbn.zst") as stream:  # doctest: +SKIP
    ...     count = stream.fill(memoryview(bytearray(8)))
    """

    def __init__(self, path: Path | str, digest: Digest | None = None) -> None:
        """Open the file.

        Args:
            path: of the file.
            digest: is given the file's own bytes as they are read: all of them once `fill` has reached the end.

        Raises:
            DataError: it doesn't exist or can't be read.
        """
        self.path = Path(path)
        self._digest = digest
        self._file = _open(self.path)
        self.magic = self._file.read(16)
        self._file.seek(0)
        self.compressed = self.magic.startswith(ZSTD_MAGIC)
        self._pieces = self._inflated() if self.compressed else self._blocks()
        self._rest = memoryview(b"")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def fill(self, buffer: memoryview) -> int:
        """Fill `buffer` (bytes) and return how many bytes it took: fewer than it holds at the end of the file only.

        Raises:
            TruncatedFileError: the file ends inside a zstd frame.
            CorruptFileError: a zstd frame contradicts its checksum or the format.
        """
        filled = 0
        while filled < len(buffer):
            if not self._rest:
                piece = next(self._pieces, None)
                if piece is None:
                    break
                self._rest = memoryview(piece)
            count = min(len(buffer) - filled, len(self._rest))
            buffer[filled : filled + count] = self._rest[:count]
            self._rest = self._rest[count:]
            filled += count
        return filled

    def _blocks(self) -> Iterator[bytes]:
        """The file as it is."""
        while block := self._file.read(READ_BYTES):
            if self._digest is not None:
                self._digest.update(block)
            yield block

    def _inflated(self) -> Iterator[bytes]:
        """Inflate frame after frame; an end of file is an end of data only when its frame says so."""
        decompressor = zstandard.ZstdDecompressor()
        frame = None
        position = frames = 0
        for block in self._blocks():
            for first in range(0, len(block), PIECE_BYTES):
                piece = block[first : first + PIECE_BYTES]
                position += len(piece)
                while piece:
                    frame = frame or decompressor.decompressobj()
                    try:
                        data = frame.decompress(piece)
                    except zstandard.ZstdError as error:
                        raise CorruptFileError(
                            f"{self.path}: zstd frame {frames} is damaged before byte {position:,} of the compressed "
                            f"file ({error}): fetch the file again"
                        ) from None
                    piece = frame.unused_data if frame.eof else b""
                    if frame.eof:
                        frame, frames = None, frames + 1
                    if data:
                        yield data
        if frame is not None:
            raise TruncatedFileError(
                f"{self.path}: ends at byte {position:,} inside zstd frame {frames}: fetch the file again"
            )


def ahead(items: Generator[T, None, None], depth: int = 4) -> Generator[T, None, None]:
    """The same items in the same order, made by a thread that is at most `depth` ahead of whoever takes them.

    It pays where the making lets other threads run, as inflating and compiled kernels do. What the thread raises is
    raised here; when the taker leaves early (`close`), the thread ends before `close` returns.

    >>> list(ahead(number * number for number in range(3)))
    [0, 1, 4]
    """
    room = Semaphore(depth)
    made: SimpleQueue[tuple[bool, Any]] = SimpleQueue()
    wanted = True

    def make() -> None:
        try:
            for item in items:
                room.acquire()
                if not wanted:
                    break
                made.put((True, item))
            made.put((False, None))
        except BaseException as error:  # whatever it is, the taker shall know
            made.put((False, error))

    thread = Thread(target=make, daemon=True)
    thread.start()
    try:
        while True:
            is_item, value = made.get()
            if not is_item:
                if value is not None:
                    raise value
                return
            yield value
            room.release()
    finally:
        wanted = False
        room.release()
        thread.join()
        items.close()


def sha256(path: Path | str) -> str:
    """SHA-256 of a file's bytes, in hexadecimal; a file of any size takes little memory.

    Raises:
        DataError: it doesn't exist or can't be read.
    """
    with _open(Path(path)) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _open(path: Path) -> io.BufferedReader:
    try:
        return open(path, "rb")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}: name a file that can be read") from None


@contextmanager
def replace_file(path: Path | str) -> Iterator[io.BufferedWriter]:
    """A new binary file that takes the place of `path` when the block ends, and vanishes when the block fails.

    It is written beside `path` under another name, synced and renamed: a reader sees the old file or the new one whole.
    What a process that was killed left of the same file is cleared away.
    """
    path = Path(path)
    for left in path.parent.glob(f".{glob.escape(path.name)}.*-*.tmp"):
        if not _is_running(int(left.name.rsplit(".", 2)[1].partition("-")[0])):
            left.unlink(missing_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        pass
    return True
