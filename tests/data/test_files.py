"""Byte streams, digests and atomic writes."""

import hashlib
import threading
import tracemalloc

import pytest
import zstandard

from bt_gym.data.files import ByteStream, ahead, name_file, nameless_file, replace_file, sha256
from bt_gym.errors import CorruptFileError, DataError, TruncatedFileError

FRAMES = [b"first frame", b"", b"x" * 200_000, bytes(range(256)) * 30]
SKIPPABLE = b"\x53\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"aside"


def frame(data):
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


def read(path, size=1 << 16):
    data = b""
    with ByteStream(path) as stream:
        while True:
            buffer = bytearray(size)
            filled = stream.fill(memoryview(buffer))
            data += buffer[:filled]
            if filled < size:
                return data


@pytest.mark.parametrize("size", [1, 7, 4096, 1 << 20])
def test_byte_stream__gives_the_bytes_of_plain_and_compressed_files(tmp_path, size):
    data = FRAMES[3][: size * 100]
    (tmp_path / "plain").write_bytes(data)
    (tmp_path / "packed").write_bytes(frame(data[:1000]) + frame(data[1000:]))
    assert read(tmp_path / "plain", size) == read(tmp_path / "packed", size) == data


def test_byte_stream__joins_frames_and_passes_over_empty_and_skippable_ones(tmp_path):
    path = tmp_path / "many.zst"
    path.write_bytes(frame(FRAMES[0]) + SKIPPABLE + b"".join(map(frame, FRAMES[1:])) + SKIPPABLE)
    assert read(path) == b"".join(FRAMES)


def test_byte_stream__notices_every_cut_inside_a_frame(tmp_path):
    frames = [frame(FRAMES[0]), frame(FRAMES[3]), SKIPPABLE]
    whole = b"".join(frames)
    ends = {sum(map(len, frames[:count])) for count in range(len(frames) + 1)}
    path = tmp_path / "cut.zst"
    for cut in set(range(4, len(whole))) - ends:
        path.write_bytes(whole[:cut])
        with pytest.raises(TruncatedFileError, match=f"ends at byte {cut} inside zstd frame"):
            read(path)


def test_byte_stream__notices_a_changed_byte_by_the_checksum(tmp_path):
    data = bytearray(frame(FRAMES[0]))
    data[-8] ^= 1
    path = tmp_path / "flipped.zst"
    path.write_bytes(data)
    with pytest.raises(CorruptFileError, match="frame 0 is damaged"):
        read(path)


def test_byte_stream__refuses_loose_bytes_after_the_last_frame(tmp_path):
    path = tmp_path / "loose.zst"
    path.write_bytes(frame(b"data") + b"loose bytes")
    with pytest.raises(CorruptFileError, match="frame 1"):
        read(path)


def test_byte_stream__inflates_a_bomb_piece_by_piece(tmp_path):
    path = tmp_path / "bomb.zst"
    zeros = bytes(1 << 22)
    compressor = zstandard.ZstdCompressor().compressobj()
    path.write_bytes(b"".join(compressor.compress(zeros) for _ in range(100)) + compressor.flush())
    assert path.stat().st_size < 20_000  # 400 MiB of zeros
    tracemalloc.start()
    with ByteStream(path) as stream:
        buffer, total = memoryview(bytearray(1 << 20)), 0
        while filled := stream.fill(buffer):
            total += filled
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 100 << 22
    assert peak < 4 << 20


@pytest.mark.parametrize("size", [1, 4096, 1 << 20])
def test_byte_stream__digests_the_files_own_bytes_on_the_way(tmp_path, size):
    path = tmp_path / "file"
    for data in (b"plain" * 50_000, frame(FRAMES[3] * 99) + SKIPPABLE + frame(FRAMES[2]), b""):
        path.write_bytes(data)
        digest = hashlib.sha256()
        with ByteStream(path, digest) as stream:
            while stream.fill(memoryview(bytearray(size))) == size:
                pass
        assert digest.hexdigest() == sha256(path)


def test_ahead__gives_everything_in_order_and_stays_within_its_depth():
    made = []

    def numbers():
        for number in range(100):
            made.append(number)
            yield number

    for taken, number in enumerate(ahead(numbers(), depth=3)):
        assert number == taken
        assert len(made) <= taken + 5  # three waiting, one taken, one in the making
    assert made == list(range(100))


def test_ahead__raises_what_the_thread_raises_after_the_items_before_it():
    def numbers():
        yield 1
        raise TruncatedFileError("cut")

    items = ahead(numbers())
    assert next(items) == 1
    with pytest.raises(TruncatedFileError, match="cut"):
        next(items)


def test_ahead__ends_its_thread_and_the_maker_when_left_early():
    closed = []

    def endless():
        try:
            while True:
                yield 1
        finally:
            closed.append(threading.current_thread())

    before = threading.active_count()
    items = ahead(endless())
    assert next(items) == 1
    assert threading.active_count() == before + 1
    items.close()
    assert threading.active_count() == before
    assert len(closed) == 1


@pytest.mark.parametrize("reader", [ByteStream, sha256])
def test_files__that_cannot_be_read_are_named(tmp_path, reader):
    with pytest.raises(DataError, match=r"absent\.dbn: No such file"):
        reader(tmp_path / "absent.dbn")
    with pytest.raises(DataError, match="Is a directory"):
        reader(tmp_path)


def test_sha256__is_that_of_the_bytes(tmp_path):
    (tmp_path / "file").write_bytes(FRAMES[2])
    assert sha256(tmp_path / "file") == hashlib.sha256(FRAMES[2]).hexdigest()


def test_replace_file__shows_the_new_file_only_when_complete(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with replace_file(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


def test_replace_file__leaves_nothing_behind_when_writing_fails(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(TypeError), replace_file(path) as file:
        file.write("half")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("can_link", [True, False])
def test_name_file__appears_whole_or_not_at_all(tmp_path, monkeypatch, can_link):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    if not can_link:
        monkeypatch.setattr("os.link", fail)
    with nameless_file(tmp_path) as file:
        file.write(b"never shown")
    with nameless_file(tmp_path) as file:
        file.write(b"new")
        assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
        assert path.read_bytes() == b"old"
        name_file(file, path)
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert path.stat().st_mode == replaced(tmp_path / "other").stat().st_mode


@pytest.mark.parametrize(("can_link", "operation"), [(True, "os.replace"), (False, "os.replace"), (False, "os.fsync")])
def test_name_file__leaves_nothing_behind_when_it_fails(tmp_path, monkeypatch, can_link, operation):
    if not can_link:
        monkeypatch.setattr("os.link", fail)
    monkeypatch.setattr(operation, fail)
    with nameless_file(tmp_path) as file, pytest.raises(OSError, match="full"):
        name_file(file, tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def fail(*_, **__):
    raise OSError("full")


def replaced(path):
    with replace_file(path) as file:
        file.write(b"new")
    return path
