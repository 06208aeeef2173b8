"""Files: read front to back with every check that their format allows, and written whole or not at all."""

import glob
import hashlib
import io
import os
import secrets
import shutil
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from threading import Semaphore, Thread
from types import TracebackType
from typing import IO, Any, Protocol, Self, TypeVar, cast

import zstandard

from bt_gym.errors import CorruptFileError, DataError, TruncatedFileError

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
ASIDE_MAGIC = b"\x2a\x4d\x18"
"""Bytes 1 to 3 of a skippable frame's magic number; byte 0 is 0x50 to 0x5f."""

READ_BYTES = 1 << 18

T = TypeVar("T")


class Digest(Protocol):
    """What `hashlib` makes."""

    def update(self, data: bytes | memoryview, /) -> None: ...


class ByteStream:
    """The bytes of a file, inflated if it is zstd, from first to last; in bounded memory, whatever the file claims.

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
        if self.compressed:
            self._frames = _Frames(self._file, digest)
            self._inflated = zstandard.ZstdDecompressor().stream_reader(
                cast(IO[bytes], self._frames), read_size=READ_BYTES, read_across_frames=True, closefd=False
            )

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
            count = self._read(buffer[filled:])
            if not count:
                break
            filled += count
        return filled

    def _read(self, buffer: memoryview) -> int:
        """Up to as many bytes as the buffer holds; 0 at the end."""
        if not self.compressed:
            count = self._file.readinto(buffer)
            if self._digest is not None:
                self._digest.update(buffer[:count])
            return count
        try:
            count = self._inflated.readinto(buffer)
        except zstandard.ZstdError as error:
            raise CorruptFileError(
                f"{self.path}: zstd frame {self._frames.number} is damaged before byte {self._frames.position:,} of "
                f"the compressed file ({error}): fetch the file again"
            ) from None
        if not count and self._frames.is_open:
            raise TruncatedFileError(
                f"{self.path}: ends at byte {self._frames.position:,} inside zstd frame {self._frames.number}: "
                "fetch the file again"
            )
        return count


class _Frames:
    """A zstd file as its decompressor reads it, which passes over an end inside a frame in silence: this notices."""

    def __init__(self, file: io.BufferedReader, digest: Digest | None) -> None:
        self.position = 0  # of the compressed file, read so far
        self.number = 0  # of the frame under way
        self.is_open = False  # whether some of it has been read
        self._file = file
        self._digest = digest
        self._block = memoryview(b"")  # read from the file, not yet handed out
        self._parts = _frame_parts()
        self._missing = next(self._parts)  # bytes of the part under way; 0: the frame has ended
        self._head = b""  # of that part

    def read(self, size: int) -> memoryview:
        """Bytes of one frame, `size` at most; none at the end of the file."""
        if not self._block:
            self._block = memoryview(self._file.read(size))
            if self._digest is not None:
                self._digest.update(self._block)
        count = self._pass_over(self._block[:size])
        data, self._block = self._block[:count], self._block[count:]
        self.position += count
        return data

    def _pass_over(self, data: memoryview) -> int:
        """Bytes up to the end of the frame, or all."""
        if not self._missing and data:
            self._parts, self.number = _frame_parts(), self.number + 1
            self._missing = next(self._parts)
        position = 0
        while position < len(data):
            self.is_open = True
            count = min(self._missing, len(data) - position)
            self._head += data[position : position + min(count, _HEAD_BYTES - len(self._head))]
            position, self._missing = position + count, self._missing - count
            while not self._missing:
                head, self._head = self._head, b""
                try:
                    self._missing = self._parts.send(head)
                except StopIteration:
                    self.is_open = False
                    return position
        return position


_HEAD_BYTES = 4


def _frame_parts() -> Generator[int, bytes, None]:
    """The parts of a frame one after the other (RFC 8878, 3.1): yields the size of each, is sent its first 4 bytes."""
    magic = yield 4
    if magic[1:] == ASIDE_MAGIC and magic[0] >> 4 == 5:
        yield int.from_bytes((yield 4), "little")
        return
    while magic != ZSTD_MAGIC:  # no frame: the decompressor says so
        yield 1
    descriptor = (yield 1)[0]
    single_segment = descriptor >> 5 & 1
    content_size = (single_segment, 2, 4, 8)[descriptor >> 6]
    yield 1 - single_segment + (0, 1, 2, 4)[descriptor & 3] + content_size
    is_last = 0
    while not is_last:
        block = int.from_bytes((yield 3), "little")
        is_last = block & 1
        yield 1 if block >> 1 & 3 == 1 else block >> 3  # of a run of one byte, that byte
    if descriptor & 4:
        yield 4  # checksum


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
    temporary = _temporary(path)
    try:
        with _new(temporary, path) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _new(temporary: Path, path: Path) -> io.BufferedWriter:
    try:
        return open(temporary, "xb")
    except OSError as error:
        error.filename = str(path)  # the one that somebody asked for
        raise


def nameless_file(folder: Path | str) -> IO[bytes]:
    """A new file in a folder, which vanishes when it is closed or its process ends, unless `name_file` names it."""
    try:
        return open(os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o666), "w+b")
    except (AttributeError, OSError):  # not on this system, or not in this folder
        return tempfile.TemporaryFile(dir=folder)


def name_file(file: IO[bytes], path: Path | str) -> None:
    """Gives a file of `nameless_file` in the folder of `path` this name: readers see the old file or the new one whole.

    It is not synced: a power cut in the next seconds may damage it. Where the system can't do that, its content is
    copied.
    """
    path = Path(path)
    file.flush()
    temporary = _temporary(path)
    try:
        # link() does not follow the link that /proc shows; linkat() does, and is called when a folder is given
        os.link(f"/proc/self/fd/{file.fileno()}", temporary, src_dir_fd=0)
    except (OSError, NotImplementedError):
        with replace_file(path) as copy:
            file.seek(0)
            shutil.copyfileobj(file, copy, READ_BYTES)
        return
    try:
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _temporary(path: Path) -> Path:
    """A new name beside `path`; what a process that is gone left under such a name is cleared away."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*-*.tmp"):
        if not _is_running(int(left.name.rsplit(".", 2)[1].partition("-")[0])):
            left.unlink(missing_ok=True)
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        pass
    return True
