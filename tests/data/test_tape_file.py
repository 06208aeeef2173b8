"""The file of a tape: its checksum, and that it is filled in place."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bt_gym.core import enums
from bt_gym.core.tape import block_dtype, event_dtype, record_dtype
from bt_gym.data.compiler import Piece
from bt_gym.data.tape_file import COLUMNS, Checksum, TapeFile, read_columns, read_metadata

WORDS = np.random.default_rng(7).integers(0, 2**32, 40_000, dtype=np.uint32)  # three blocks


def of(words: np.ndarray) -> int:
    return Checksum.of(words)


@given(st.lists(st.integers(0, len(WORDS)), max_size=6))
def test_checksum__does_not_depend_on_the_pieces(cuts: list[int]) -> None:
    checksum = Checksum()
    for part in np.split(WORDS, sorted(cuts)):
        checksum.add(part)
    assert checksum.value == of(WORDS)


@given(st.integers(0, len(WORDS) - 1), st.integers(1, 2**32 - 1))
def test_checksum__notices_every_changed_word(place: int, change: int) -> None:
    changed = WORDS.copy()
    changed[place] ^= np.uint32(change)
    assert of(changed) != of(WORDS)
    checksum = Checksum()
    checksum.add(WORDS)
    checksum.revise(changed, place, place + 1)
    assert checksum.value == of(changed)


def test_checksum__notices_moved_and_missing_words() -> None:
    assert len({of(WORDS), of(WORDS[::-1].copy()), of(WORDS[:-1]), of(WORDS[1:]), of(np.r_[WORDS, [0]])}) == 5
    block = 1 << 14
    assert of(np.r_[WORDS[block:], WORDS[:block]]) != of(WORDS)
    zeros = np.zeros(3 * block, np.uint32)
    assert of(zeros) != of(zeros[:block])  # whole blocks of zeros
    assert of(np.full(2 * block, 2**32 - 1, np.uint32)) != of(np.full(block, 2**32 - 1, np.uint32))


def piece(rng: np.random.Generator, events: int, records: int, blocks: int) -> Piece:
    def rows(count: int, dtype: np.dtype) -> np.ndarray:
        return np.frombuffer(rng.bytes(count * dtype.itemsize), dtype).copy()

    return Piece(rows(records, record_dtype), rows(events, event_dtype), rows(blocks, block_dtype))


@pytest.mark.parametrize("sizes", [[(1, 0, 0)], [(3, 5, 1), (70_000, 9, 0), (1, 100_000, 40)], [(300_000, 3, 2)] * 2])
def test_tape_file__holds_what_was_appended(tmp_path: Path, sizes: list[tuple[int, int, int]]) -> None:
    rng = np.random.default_rng(1)
    pieces = [piece(rng, *size) for size in sizes]
    expected = {name: np.concatenate([getattr(part, name) for part in pieces]) for name in COLUMNS}
    file = TapeFile(tmp_path)
    for part in pieces:
        file.append(part)
    columns = file.columns([])
    file.complete(tmp_path / "a", columns, {"a": 1})
    file.close()
    metadata, intact = read_metadata(tmp_path / "a")
    assert intact
    assert metadata == {"a": 1, "checksums": {name: Checksum.of(rows) for name, rows in expected.items()}}
    read = read_columns(tmp_path / "a")
    assert {name: rows.tobytes() for name, rows in read.items()} == {n: r.tobytes() for n, r in expected.items()}


def test_tape_file__labels_what_it_has_written(tmp_path: Path) -> None:
    """A stretch may lie far behind what was appended last; phases and their marks are those of one pass over all."""
    rng = np.random.default_rng(2)
    part = piece(rng, 100_000, 10, 1)
    phases = np.repeat(
        [enums.PHASE_SNAPSHOT, enums.PHASE_CONTINUOUS, enums.PHASE_SUSPECT, enums.PHASE_CONTINUOUS], 25_000
    )
    changes = np.r_[True, np.diff(phases) != 0]
    part.events["flags"] = phases | changes * enums.EVENT_PHASE
    stretches = [(25_000, 25_010), (70_000, 80_000), (99_999, 100_000)]
    file = TapeFile(tmp_path)
    file.append(part)
    file.complete(tmp_path / "a", file.columns(stretches), {})
    file.close()
    for first, end in stretches:
        now = phases[first:end]
        now[now == enums.PHASE_CONTINUOUS] = enums.PHASE_PRE_OPEN
    events = read_columns(tmp_path / "a")["events"]
    assert np.array_equal(events["flags"], phases | np.r_[True, np.diff(phases) != 0] * enums.EVENT_PHASE)
    assert read_metadata(tmp_path / "a")[0]["checksums"]["events"] == Checksum.of(events)
