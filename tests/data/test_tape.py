"""Tapes on disk: what goes in comes out, damage is noticed, and a failed ingest leaves nothing behind."""

import errno
import os
import random
import signal
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from bt_gym.core.tape import block_dtype, event_dtype, record_dtype
from bt_gym.data import dbn
from bt_gym.data import tape as tapes
from bt_gym.data.dbn import mbo_records, write_mbo
from bt_gym.data.symbology import NS_PER_DAY
from bt_gym.data.tape import Tape, default_folder, ingest
from bt_gym.errors import DataError, EmptyDataError, SchemaError, SymbolError, TapeError, TickError, TruncatedFileError
from tests.data.compiled import add, cancel, clear, compile_array, fill, nothing, stream, trade
from tests.reference.book import AGGREGATED
from tests.reference.streams import START, TICK

COLUMNS = {"records": record_dtype, "events": event_dtype, "blocks": block_dtype}
SESSION = stream(
    clear(),
    [add(1, "B", 100, 5), add(2, "B", 99, 4)],
    add(3, "A", 101, 6),
    [trade("B", 101, 6), fill(3, "A", 101, 6), cancel(3, "A", 101, 6)],
    add(4, "A", 102, 3),
)


def day_file(path: Path, records: np.ndarray = SESSION, *, days: int = 0, symbol: str = "ESH4", **options: Any) -> Path:
    """A DBN file of the records, moved by some days."""
    records = records.copy()
    records["instrument_id"] = 7
    for clock in ("ts_event", "ts_recv"):
        records[clock] += days * NS_PER_DAY
    write_mbo(path, records, symbol=symbol, instrument_id=7, **options)
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return day_file(tmp_path / "day.mbo.dbn.zst")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "tapes"


@pytest.fixture
def path(source: Path, folder: Path) -> Path:
    """A tape."""
    return ingest([source], tick_size_nanos=TICK, folder=folder)


def assert_same(tape: Tape, other: Tape) -> None:
    for name in COLUMNS:
        assert getattr(tape, name).tobytes() == getattr(other, name).tobytes()
    assert tape.metadata == other.metadata


# --- what goes in comes out


def test_ingest__writes_what_was_compiled(source: Path, path: Path) -> None:
    tape, expected = Tape.open(path), compile_array(SESSION)
    for name in COLUMNS:
        assert getattr(tape, name).tobytes() == getattr(expected, name).tobytes()
    assert (tape.symbol, tape.tick_size_nanos, tape.path) == ("ESH4", TICK, path)
    assert path.name == f"ESH4_2023-11-14_{tape.key[:12]}.tape.arrow"
    assert tape.metadata["dataset"] == "GLBX.MDP3"
    assert tape.metadata["sources"] == [{"name": source.name, "sha256": tapes.sha256(source)}]
    assert {name: count for name, count in tape.metadata["counters"].items() if count} == expected.counters


def test_ingest__keeps_a_session_without_book_changes(tmp_path: Path, folder: Path) -> None:
    tape = Tape.open(ingest([day_file(tmp_path / "quiet.dbn", stream(nothing()))], tick_size_nanos=TICK, folder=folder))
    assert (len(tape.records), len(tape.events), len(tape.blocks)) == (0, 1, 1)
    assert tape.records_table().num_rows == 0


def test_tape__maps_its_file_without_copies(path: Path) -> None:
    before = pa.total_allocated_bytes()
    tape = Tape.open(path)
    assert pa.total_allocated_bytes() - before < 4096  # of the schema
    for name, dtype in COLUMNS.items():
        column = getattr(tape, name)
        assert type(column) is np.ndarray
        assert column.dtype == dtype
        assert column.flags.aligned
        assert column.flags.c_contiguous
        assert not column.flags.owndata
        assert column.ctypes.data % 8 == 0
        with pytest.raises(ValueError, match="read-only"):
            column[:] = 0
    assert path.read_bytes().count(tape.records.tobytes()) == 1


def test_tape__survives_the_removal_of_its_file(path: Path) -> None:
    tape, expected = Tape.open(path), compile_array(SESSION)
    path.unlink()
    assert tape.events.tobytes() == expected.events.tobytes()


def test_tape__tables_in_words(path: Path) -> None:
    tape = Tape.open(path)
    events = tape.events_table().to_pydict()
    assert [time.value for time in events["ts_event"]] == tape.events["ts_event"].tolist()
    assert str(tape.events_table().schema.field("ts_event").type) == "timestamp[ns, tz=UTC]"
    assert events["receive_delay_ns"] == [1_000] * 5
    assert events["source_records"] == [1, 3, 4, 7, 8]
    assert events["best_bid"] == [None, 100, 100, 100, 100]
    assert events["best_ask"] == [None, None, 101, None, 102]
    assert events["has_trade"] == [False, False, False, True, False]
    assert events["phase"] == ["continuous"] * 5
    assert tape.records_table().slice(2).to_pylist() == [
        {"event": 1, "kind": "add", "side": "bid", "price": 99, "size": 4, "priority": 2},
        {"event": 2, "kind": "add", "side": "ask", "price": 101, "size": 6, "priority": 3},
        {"event": 3, "kind": "trade", "side": "ask", "price": 101, "size": 6, "priority": -1},
        {"event": 3, "kind": "fill", "side": "ask", "price": 101, "size": -6, "priority": 3},
        {"event": 4, "kind": "add", "side": "ask", "price": 102, "size": 3, "priority": 6},
    ]


# --- keyed by content


def test_ingest__same_input_same_bytes(source: Path, path: Path, tmp_path: Path) -> None:
    again = ingest([source], tick_size_nanos=TICK, folder=tmp_path / "elsewhere")
    assert again.name == path.name
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("renamed", [False, True])
def test_ingest__does_nothing_when_the_tape_exists(source: Path, path: Path, folder: Path, renamed: bool) -> None:
    if renamed:
        source = source.rename(source.with_name("other.dbn.zst"))
    before = path.stat()
    heard: list[int] = []
    assert ingest([source], tick_size_nanos=TICK, folder=folder, progress=heard.append) == path
    assert ingest(str(source), tick_size_nanos=TICK, folder=folder, progress=heard.append) == path
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    assert heard == []


def test_ingest__other_input_other_tape(source: Path, path: Path, folder: Path, tmp_path: Path) -> None:
    later = day_file(tmp_path / "later.dbn", days=1)
    renamed = day_file(tmp_path / "renamed.dbn", symbol="ESM4")
    others = [
        ingest([source], tick_size_nanos=TICK // 2, folder=folder),
        ingest([later], tick_size_nanos=TICK, folder=folder),
        ingest([source, later], tick_size_nanos=TICK, folder=folder),
        ingest([renamed], tick_size_nanos=TICK, folder=folder),
    ]
    assert len({path, *others}) == 5
    assert len({Tape.open(other).key for other in others}) == 4


@pytest.mark.parametrize("version", ["COMPILER_VERSION", "FORMAT_VERSION"])
def test_tape__of_another_version_is_refused_and_made_again(
    source: Path, path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setattr(tapes, version, getattr(tapes, version) + 1)
    with pytest.raises(TapeError, match="made by another version of bt_gym: delete it and ingest again"):
        Tape.open(path)
    again = ingest([source], tick_size_nanos=TICK, folder=folder)
    assert again != path
    assert Tape.open(again).events.tobytes() == compile_array(SESSION).events.tobytes()


# --- damage


def flipped(data: bytes, place: int, bits: int = 1) -> bytes:
    return data[:place] + bytes([data[place] ^ bits]) + data[place + 1 :]


def arrow(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "one byte short": lambda data: data[:-1],
    "half": lambda data: data[: len(data) // 2],
    "only the head": lambda data: data[:8],
    "zeros": lambda data: bytes(len(data)),
    "no Arrow": lambda data: data[:-6] + b"PARROT",
    "a record": lambda data: flipped(data, data.index(compile_array(SESSION).records.tobytes()) + 17),
    "an event": lambda data: flipped(data, data.index(compile_array(SESSION).events.tobytes()) + 17),
    "a block": lambda data: flipped(data, data.index(compile_array(SESSION).blocks.tobytes()) + 17),
    "the tick size": lambda data: data.replace(b'"tick_size_nanos": 250', b'"tick_size_nanos": 251'),
    "a counter": lambda data: data.replace(b'"volume": 6', b'"volume": 7'),
    "no JSON": lambda data: data.replace(b'{"book"', b"{'book'"),
    "no metadata": lambda data: data.replace(b"bt_gym", b"bt_fym"),
    "another table": lambda data: arrow(pa.table({"a": [1, 2]})),
    "no rows": lambda data: arrow(pa.ipc.open_file(data).read_all().slice(0, 0)),
    "other columns": lambda data: arrow(pa.table({"records": [1]}, metadata=pa.ipc.open_file(data).schema.metadata)),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_tape__damaged_is_refused_and_made_again(source: Path, path: Path, folder: Path, kind: str) -> None:
    whole = path.read_bytes()
    damaged = DAMAGE[kind](whole)
    assert damaged != whole
    path.write_bytes(damaged)
    with pytest.raises(TapeError, match="delete it and ingest again") as caught:
        Tape.open(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert ingest([source], tick_size_nanos=TICK, folder=folder) == path
    assert path.read_bytes() == whole


def test_tape__any_flipped_bit_is_noticed_or_harmless(path: Path) -> None:
    """Harmless: padding, and what the format says twice. Ladders of zeros are skipped, they are nearly all."""
    whole, tape = path.read_bytes(), Tape.open(path)
    ladder = whole.index(tape.blocks.tobytes())
    places = [*range(ladder + 64), *range(ladder + block_dtype.itemsize, len(whole))]
    rng = random.Random(5)
    noticed = 0
    for place in rng.sample(places, 400):
        damaged = path.with_name("damaged.tape.arrow")
        damaged.write_bytes(flipped(whole, place, 1 << rng.randrange(8)))
        try:
            assert_same(Tape.open(damaged), tape)
        except TapeError:
            noticed += 1
    assert noticed > 100


def test_tape__unverified_trusts_the_columns_only(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(DAMAGE["a record"](whole))
    assert Tape.open(path, verify=False).metadata["counters"]["volume"] == 6
    path.write_bytes(DAMAGE["a counter"](whole))
    with pytest.raises(TapeError, match="contradict their checksum"):
        Tape.open(path, verify=False)


def test_tape__missing(tmp_path: Path) -> None:
    with pytest.raises(TapeError, match="no such tape: make it with `bt-gym ingest`"):
        Tape.open(tmp_path / "none.tape.arrow")
    with pytest.raises(TapeError, match="isn't a whole tape"):
        Tape.open(tmp_path)


# --- which records


def test_ingest__files_in_a_row_are_one_tape(source: Path, folder: Path, tmp_path: Path) -> None:
    later = day_file(tmp_path / "later.dbn", days=1)
    heard: list[int] = []
    tape = Tape.open(ingest([source, later], tick_size_nanos=TICK, folder=folder, progress=heard.append))
    assert len(tape.events) == 10
    assert tape.events["ts_event"][5] == START + NS_PER_DAY
    assert heard == [8, 16]
    assert [entry["name"] for entry in tape.metadata["sources"]] == [source.name, later.name]


@pytest.mark.parametrize("days", [0, -1])
def test_ingest__refuses_files_out_of_order_or_twice(source: Path, folder: Path, tmp_path: Path, days: int) -> None:
    other = day_file(tmp_path / "other.dbn", days=days)
    with pytest.raises(DataError, match=r"other.dbn: has a record of 2023-11-1.*Z, .* once, in the order of time"):
        ingest([source, other], tick_size_nanos=TICK, folder=folder)
    assert os.listdir(folder) == []


@pytest.mark.parametrize("other", [{"symbol": "ESM4"}, {"dataset": "XNAS.ITCH"}])
def test_ingest__refuses_to_mix_instruments_or_venues(
    source: Path, folder: Path, tmp_path: Path, other: dict[str, str]
) -> None:
    second = day_file(tmp_path / "second.dbn", days=1, **other)
    with pytest.raises(
        SymbolError, match=r"second.dbn: holds .* of .*, .*day.mbo.dbn.zst ESH4 of GLBX.MDP3: ingest one"
    ):
        ingest([source, second], tick_size_nanos=TICK, folder=folder)


def test_ingest__takes_the_chosen_instrument_alone(folder: Path, tmp_path: Path) -> None:
    """Records of another id between its own."""
    path = day_file(tmp_path / "mixed.dbn")
    header, own = path.read_bytes()[: -SESSION.nbytes], path.read_bytes()[-SESSION.nbytes :]
    other = stream(clear(), add(1, "B", 50, 1))
    other["instrument_id"] = 8
    records = np.concatenate([np.frombuffer(own, SESSION.dtype), other])
    path.write_bytes(header + records[np.argsort(records["ts_recv"], kind="stable")].tobytes())
    tape = Tape.open(ingest([path], symbol="ESH4", tick_size_nanos=TICK, folder=folder))
    assert tape.records.tobytes() == compile_array(SESSION).records.tobytes()
    with pytest.raises(SymbolError, match="NQH4"):
        ingest([path], symbol="NQH4", tick_size_nanos=TICK, folder=folder)


def test_ingest__asks_for_the_tick_size_of_the_symbol(source: Path, folder: Path) -> None:
    path = ingest([source], tick_size_nanos={"ESH4": TICK // 5}.__getitem__, folder=folder)
    assert Tape.open(path).events["bid"].tolist()[1:] == [500] * 4


def test_ingest__needs_a_file(folder: Path) -> None:
    with pytest.raises(EmptyDataError, match="no files given"):
        ingest([], tick_size_nanos=TICK, folder=folder)


@pytest.mark.parametrize("symbol", ["ES.c.0", "BRK/B", "../../../up", "ESH4-ESM4", "UD:1V: GN 1", ".", "*", "a" * 70])
def test_ingest__any_symbol_makes_a_file_name(symbol: str, folder: Path, tmp_path: Path) -> None:
    source = day_file(tmp_path / "day.dbn", symbol=symbol)
    path = ingest([source], tick_size_nanos=TICK, folder=folder)
    assert path.resolve().parent == folder.resolve()
    assert [path.name] == os.listdir(folder)
    assert Tape.open(path).symbol == symbol
    assert ingest([source], tick_size_nanos=TICK, folder=folder) == path


# --- failures


def aggregated() -> np.ndarray:
    records = SESSION.copy()
    records["flags"][4] |= AGGREGATED
    return records


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda path: day_file(path, SESSION[:0]), EmptyDataError, "holds no MBO record"),
        (lambda path: day_file(path, stream(clear(), ends=False)), EmptyDataError, "no complete event of ESH4"),
        (lambda path: day_file(path, aggregated()), SchemaError, "record 4 is flagged"),
        (lambda path: path.write_bytes(day_file(path).read_bytes()[:-5]), TruncatedFileError, "ends"),
        (lambda path: day_file(path), TickError, r"record 1: price 25 is not a multiple"),
    ],
)
def test_ingest__bad_file_is_one_line_that_names_it(
    tmp_path: Path, folder: Path, make: Any, error: type[DataError], message: str
) -> None:
    path = tmp_path / "bad.dbn.zst"
    make(path)
    with pytest.raises(error, match=message) as caught:
        ingest([path], tick_size_nanos=TICK if error is not TickError else 3 * TICK, folder=folder)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert not folder.exists() or os.listdir(folder) == []


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, MemoryError, ZeroDivisionError])
def test_ingest__interrupted_leaves_nothing(source: Path, folder: Path, interruption: type[BaseException]) -> None:
    def interrupt(read: int) -> None:
        raise interruption

    with pytest.raises(interruption):
        ingest([source], tick_size_nanos=TICK, folder=folder, progress=interrupt)
    assert os.listdir(folder) == []


KILLED = """
import os, signal, sys
from bt_gym.data.tape import ingest
ingest([sys.argv[1]], tick_size_nanos=250_000_000, folder=sys.argv[2],
       progress=lambda read: os.kill(os.getpid(), signal.SIGKILL))
"""


def test_ingest__killed_leaves_nothing(source: Path, folder: Path) -> None:
    result = subprocess.run([sys.executable, "-c", KILLED, source, folder], check=False)
    assert result.returncode == -signal.SIGKILL
    assert os.listdir(folder) == []


def fail(*args: Any, **options: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def open_full(folder: Path) -> Any:
    return open("/dev/full", "w+b")


@pytest.mark.parametrize(
    ("operation", "effect"),
    [
        ("pathlib.Path.mkdir", fail),
        ("bt_gym.data.tape_file.nameless_file", fail),
        ("bt_gym.data.tape_file.nameless_file", open_full),
        ("pyarrow.ipc.new_file", fail),
        ("os.replace", fail),
    ],
)
def test_ingest__full_disk_is_one_line_and_leaves_nothing(
    source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, operation: str, effect: Any
) -> None:
    monkeypatch.setattr(operation, effect)
    with pytest.raises(TapeError) as caught:
        ingest([source], tick_size_nanos=TICK, folder=folder)
    assert str(caught.value) == (
        f"{folder}: can't write a tape here (No space left on device): name another folder or make room"
    )
    assert not folder.exists() or os.listdir(folder) == []


def test_ingest__folder_that_is_a_file(source: Path) -> None:
    with pytest.raises(TapeError, match=r"day.mbo.dbn.zst: can't write a tape here \(File exists\)"):
        ingest([source], tick_size_nanos=TICK, folder=source)
    with pytest.raises(TapeError, match=r"tapes: can't write a tape here \(Not a directory\)"):
        ingest([source], tick_size_nanos=TICK, folder=source / "tapes")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_ingest__folder_without_permission(source: Path, path: Path, folder: Path, tmp_path: Path) -> None:
    folder.chmod(0o500)
    try:
        assert ingest([source], tick_size_nanos=TICK, folder=folder) == path
        with pytest.raises(TapeError, match="Permission denied"):
            ingest([day_file(tmp_path / "later.dbn", days=1)], tick_size_nanos=TICK, folder=folder)
    finally:
        folder.chmod(0o700)


def test_ingest__two_at_once_make_one_tape(source: Path, folder: Path) -> None:
    both = threading.Barrier(2, timeout=60)
    paths: list[Path] = []

    def run() -> None:
        paths.append(ingest([source], tick_size_nanos=TICK, folder=folder, progress=lambda read: both.wait() and None))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert paths == [paths[0]] * 2
    assert os.listdir(folder) == [paths[0].name]
    assert Tape.open(paths[0]).events.tobytes() == compile_array(SESSION).events.tobytes()


# --- where


def test_default_folder__by_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("BT_GYM_TAPES", raising=False)
    assert default_folder() == tmp_path / "cache" / "bt_gym" / "tapes"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_folder() == Path.home() / ".cache" / "bt_gym" / "tapes"
    monkeypatch.setenv("BT_GYM_TAPES", str(tmp_path / "chosen"))
    assert ingest([source], tick_size_nanos=TICK).parent == tmp_path / "chosen"


# --- memory


def long_file(path: Path, count: int) -> Path:
    """Orders that come and go, a thousand alive at a time."""
    number = np.arange(count)
    records = mbo_records(
        count,
        action=np.where(number // 1000 % 2, dbn.ACTION_CANCEL, dbn.ACTION_ADD),
        side=np.where(number % 2, dbn.SIDE_ASK, dbn.SIDE_BID),
        order_id=number % 1000 + 1,
        price=(100 + number % 2 * 20 + number % 10) * TICK,
        size=3,
        flags=dbn.FLAG_LAST,
        ts_event=START + number * 1_000,
        ts_recv=START + number * 1_000 + 500,
    )
    return day_file(path, records)


def test_ingest__memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """What Python, numpy and Arrow allocate; mapped pages of the files are the system's to drop."""
    peaks = []
    for count in (300_000, 300_000, 1_000_000):  # the first run loads the kernels
        source = long_file(tmp_path / f"{count}.dbn", count)
        before = pa.total_allocated_bytes()
        tracemalloc.start()
        path = ingest([source], tick_size_nanos=TICK, folder=tmp_path / f"tapes{len(peaks)}")
        peaks.append(tracemalloc.get_traced_memory()[1] + pa.default_memory_pool().max_memory() - before)
        tracemalloc.stop()
        assert len(Tape.open(path).events) == count
    assert peaks[2] < peaks[1] + 4 * dbn.CHUNK_RECORDS * dbn.MBO_BYTES  # of the reader's queue, which may not be full
    assert peaks[2] < 64 << 20
