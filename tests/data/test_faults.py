"""Faults: whatever stops an ingest or changes a byte, the tape is absent or whole, and the next run mends it."""

import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bt_gym.data.dbn import mbo_dtype, open_dbn, write_mbo
from bt_gym.data.tape import Tape, ingest
from bt_gym.errors import BtGymError, TapeError
from tests.data.compiled import compile_array
from tests.data.test_tape import SESSION, day_file, long_file
from tests.reference import dbn as reference
from tests.reference.streams import TICK

# --- killed


KILLER = """
import json, os, signal, sys, time
from pathlib import Path
from bt_gym.data.tape import Tape, ingest

source, folder, kills = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])

def work():
    ingest([source], tick_size_nanos=250_000_000, folder=folder)

def found():
    return sorted(path.name for path in folder.iterdir())

work()
whole = (folder / found()[0]).read_bytes()
(folder / found()[0]).unlink()
start = time.perf_counter()
work()
length = time.perf_counter() - start
(folder / found()[0]).unlink()
seen = []
for number in range(kills):
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    time.sleep(length * 1.5 * (number + 1) / kills)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    tapes = list(folder.glob("*.tape.arrow"))
    assert len(tapes) <= 1
    assert [path.read_bytes() for path in tapes] == [whole] * len(tapes)
    seen.append(bool(tapes))
    if number % 3 == 2:
        work()
        assert [(folder / name).read_bytes() for name in found()] == [whole], found()
    for path in folder.glob("*.tape.arrow"):
        path.unlink()
print(json.dumps(seen))
"""


def assert_one_line(error: BtGymError, *words: object) -> None:
    assert "\n" not in str(error)
    for word in words:
        assert str(word) in str(error)


def run_script(script: str, *arguments: object) -> str:
    result = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=300
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("kills", [12, pytest.param(400, marks=pytest.mark.soak)])
def test_ingest__killed_at_any_moment_leaves_a_whole_tape_or_none(tmp_path: Path, kills: int) -> None:
    """And the next run leaves nothing but the tape, whatever the one before left half done."""
    source = long_file(tmp_path / "long.dbn", 100_000)
    seen = json.loads(run_script(KILLER, source, tmp_path / "tapes", kills))
    assert not seen[0]  # killed early
    assert len(seen) == kills


def test_ingest__clears_up_after_a_process_that_is_gone(tmp_path: Path) -> None:
    source, folder = day_file(tmp_path / "day.dbn"), tmp_path / "tapes"
    path = ingest([source], tick_size_nanos=TICK, folder=folder)
    path.unlink()
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    left = path.with_name(f".{path.name}.{int(gone.stdout)}-00c0ffee.tmp")
    at_work = path.with_name(f".{path.name}.{os.getppid()}-00c0ffee.tmp")  # somebody else is writing the same tape
    for temporary in (left, at_work):
        temporary.write_bytes(b"half a tape")
    assert ingest([source], tick_size_nanos=TICK, folder=folder) == path
    assert sorted(folder.iterdir()) == sorted([path, at_work])


RACE = """
import os, sys
from bt_gym.data.tape import ingest

source, folder = sys.argv[1:]
ready, go = os.pipe(), os.pipe()
children = []
for _ in range(3):
    child = os.fork()
    if child == 0:
        os.write(ready[1], b".")
        os.read(go[0], 1)
        path = ingest([source], tick_size_nanos=250_000_000, folder=folder)
        os.write(1, str(path).encode() + bytes([10]))
        os._exit(0)
    children.append(child)
for _ in children:
    os.read(ready[0], 1)
os.write(go[1], b"...")
assert [os.waitpid(child, 0)[1] for child in children] == [0] * 3
"""


def test_ingest__processes_at_once_make_one_tape(tmp_path: Path) -> None:
    source, folder = long_file(tmp_path / "long.dbn", 50_000), tmp_path / "tapes"
    (path,) = set(run_script(RACE, source, folder).split())
    assert os.listdir(folder) == [Path(path).name]
    again = ingest([source], tick_size_nanos=TICK, folder=tmp_path / "again")
    assert Path(path).read_bytes() == again.read_bytes()


# --- a full disk


class Disk:
    """Counts everything that needs room on a disk; operation number `full_at` and all after it find none."""

    def __init__(self, patch: pytest.MonkeyPatch, full_at: int) -> None:
        self.count = 0
        self.full_at = full_at
        disk = self

        class File(io.FileIO):
            def write(self, data: Any) -> int:
                disk.use()
                return super().write(data)

        def opened(path: Any, mode: str) -> Any:
            if "x" not in mode:
                return open(path, mode)
            self.use()
            return File(path, mode)

        def nameless(folder: Path) -> Any:
            self.use()
            return File(os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o666), "r+b")

        def checked(function: Any) -> Any:
            def run(*arguments: Any) -> Any:
                self.use()
                return function(*arguments)

            return run

        patch.setattr("bt_gym.data.files.open", opened, raising=False)
        patch.setattr("bt_gym.data.tape_file.nameless_file", nameless)
        patch.setattr("os.replace", checked(os.replace))
        patch.setattr("os.fsync", checked(os.fsync))

    def use(self) -> None:
        self.count += 1
        if self.count >= self.full_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_ingest__disk_full_at_any_operation(tmp_path: Path) -> None:
    """At the first, the second, ... until it succeeds: one line, nothing left behind, and then the tape."""
    source, folder = day_file(tmp_path / "day.dbn"), tmp_path / "tapes"
    for full_at in range(1, 100):
        with pytest.MonkeyPatch.context() as patch:
            disk = Disk(patch, full_at)
            try:
                path = ingest([source], tick_size_nanos=TICK, folder=folder)
                break
            except TapeError as error:
                assert_one_line(error, folder, "can't write a tape here (No space left on device)")
        assert not folder.exists() or os.listdir(folder) == []
    assert disk.count == full_at - 1 > 8
    assert os.listdir(folder) == [path.name]
    assert Tape.open(path).records.tobytes() == compile_array(SESSION).records.tobytes()


def test_ingest__disk_full_while_another_tape_is_there(tmp_path: Path) -> None:
    """A damaged tape stays as it is when there is no room for a new one."""
    source, folder = day_file(tmp_path / "day.dbn"), tmp_path / "tapes"
    path = ingest([source], tick_size_nanos=TICK, folder=folder)
    damaged = path.read_bytes()[:-9]
    path.write_bytes(damaged)
    with pytest.MonkeyPatch.context() as patch:
        Disk(patch, 5)
        with pytest.raises(TapeError, match="No space left"):
            ingest([source], tick_size_nanos=TICK, folder=folder)
    assert path.read_bytes() == damaged
    assert os.listdir(folder) == [path.name]


# --- changed bytes in the source


def small_session() -> np.ndarray:
    """The session of the tests, three times over with new ids: 24 records."""
    parts = []
    for number in range(3):
        part = SESSION.copy()
        part["order_id"][part["order_id"] > 0] += 10 * number
        part["instrument_id"] = 7
        for clock in ("ts_event", "ts_recv"):
            part[clock] += number * 1_000_000
        parts.append(part)
    return np.concatenate(parts)


SMALL = small_session()
EXAMPLES = settings.default.max_examples * 5 // 2  # of each of two tests: 500 in all, 10,000 in a soak


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A small file, plain and compressed in several frames, and where to put damaged ones."""
    folder = tmp_path_factory.mktemp("fuzz")
    write_mbo(folder / "a.dbn", SMALL, symbol="ESH4", instrument_id=7)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bt_gym.data.dbn.FRAME_RECORDS", 9)
        write_mbo(folder / "a.dbn.zst", SMALL, symbol="ESH4", instrument_id=7)
    return {name: (folder / name).read_bytes() for name in ("a.dbn", "a.dbn.zst")} | {"folder": folder}


def damages(limit: int) -> st.SearchStrategy[list[tuple[int, int]]]:
    """Bytes that are overwritten: (place, value)."""
    return st.lists(st.tuples(st.integers(0, limit - 1), st.integers(0, 255)), min_size=1, max_size=4)


def damaged(data: bytes, changes: list[tuple[int, int]], cut: int | None) -> bytes:
    changed = bytearray(data)
    for place, value in changes:
        changed[place % len(changed)] = value
    return bytes(changed[:cut])


HEADER = 360  # bytes of metadata in front of the records of the plain file
CUTS = st.one_of(st.none(), st.none(), st.integers(0, HEADER + SMALL.nbytes))


@settings(max_examples=EXAMPLES)
@example([(199, 10), (282, 1)], None)  # symbols with a line feed in them
@example([(199, 10), (128, 10)], None)
@given(damages(HEADER + SMALL.nbytes), CUTS)
def test_fuzz__plain_file_is_refused_or_read_as_it_stands(
    files: dict[str, Any], changes: list[tuple[int, int]], cut: int | None
) -> None:
    """The records are those that a reader of a few lines finds, and the tape is made of them.

    That a tape of any records is right, however odd these are, is the claim of test_compiler_oracle.
    """
    data = damaged(files["a.dbn"], changes, cut)
    path, folder = files["folder"] / "damaged.dbn", files["folder"] / "tapes"
    path.write_bytes(data)
    try:
        file = open_dbn(path)
        read = np.concatenate(list(file.chunks(max_records=7)))
    except BtGymError as error:
        assert_one_line(error, path)
        in_header = any(place < HEADER for place, _ in changes)  # which may contradict itself in many ways
        assert in_header or reference.read(data) is None
        return
    expected = reference.read(data)
    assert expected is not None
    assert read.tobytes() == b"".join(expected)
    try:
        selection = file.select("ESH4")
        tape = Tape.open(ingest([path], symbol="ESH4", tick_size_nanos=TICK, folder=folder))
    except BtGymError as error:
        assert_one_line(error)
        return
    own = np.frombuffer(b"".join(expected), mbo_dtype)
    own = own[selection.mask(own)]
    made = compile_array(own)
    assert tape.records.tobytes() == made.records.tobytes()
    assert tape.events.tobytes() == made.events.tobytes()
    tape.path.unlink()


@settings(max_examples=EXAMPLES)
@given(damages(1 << 16), st.one_of(st.none(), st.none(), st.integers(0, 1 << 12)))
def test_fuzz__compressed_file_is_refused_or_read_whole(
    files: dict[str, Any], changes: list[tuple[int, int]], cut: int | None
) -> None:
    """Each frame has a checksum: no wrong record comes out of one."""
    data = damaged(files["a.dbn.zst"], changes, cut)
    path, folder = files["folder"] / "damaged.dbn.zst", files["folder"] / "tapes"
    path.write_bytes(data)
    try:
        read = np.concatenate(list(open_dbn(path).chunks(max_records=7)))
    except BtGymError as error:
        assert_one_line(error, path)
        with pytest.raises(BtGymError):
            ingest([path], tick_size_nanos=TICK, folder=folder)
        assert not folder.exists() or os.listdir(folder) == []
        return
    whole = SMALL.tobytes()
    assert read.tobytes() == whole or (cut is not None and whole.startswith(read.tobytes()))


def test_cut__inside_a_frame_leaves_no_tape(files: dict[str, Any]) -> None:
    """At every byte; where a frame ends, the file could have been written so."""
    packed = rest = files["a.dbn.zst"]
    ends = []
    while rest:
        frame = zstandard.ZstdDecompressor().decompressobj()
        frame.decompress(rest)
        rest = frame.unused_data
        ends.append(len(packed) - len(rest))
    path, folder = files["folder"] / "cut.dbn.zst", files["folder"] / "cut"
    for cut in range(len(packed)):
        path.write_bytes(packed[:cut])
        if cut in ends[1:]:
            continue
        with pytest.raises(BtGymError):
            ingest([path], tick_size_nanos=TICK, folder=folder)
        assert not folder.exists() or os.listdir(folder) == []
