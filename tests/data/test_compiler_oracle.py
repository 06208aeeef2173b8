"""Tapes against the reference book: queues rebuilt from a tape alone equal those of a book that knows all order ids."""

import itertools
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bt_gym.core import enums
from bt_gym.core.tape import BLOCK_DRIFT_TICKS, BLOCK_EVENTS, KIND_MASK, LADDER_TICKS, SIDE_BIT
from bt_gym.data import book as l3
from bt_gym.data import dbn
from bt_gym.data.compiler import Compiler
from tests.data.compiled import Compiled, compile_array, nothing, stream
from tests.reference.book import (
    LAST,
    SNAPSHOT,
    UNDEFINED_PRICE,
    Book,
    Record,
    is_auction,
    is_conserved,
    is_own_fill,
    match_groups,
    to_records,
)
from tests.reference.itch import hostile, itch_streams
from tests.reference.streams import RARE, TICK, VALID, Scribe, any_streams, streams, to_array
from tests.reference.tape_queues import TapeQueues

pytestmark = pytest.mark.kernel

JIT_IS_OFF = numba.config.DISABLE_JIT
TRADED = (enums.RECORD_TRADE, enums.RECORD_TRADE_N, enums.RECORD_FILL, enums.RECORD_HIDDEN)
HOSTILE = hostile(any_streams)
EXAMPLES = settings(max_examples=settings.default.max_examples // (4 if JIT_IS_OFF else 1))
ANOMALIES = ("unknown_cancels", "unknown_modifies", "duplicate_adds", "over_cancels", "side_changes")


def events_of(records: list[Record]) -> Iterator[list[list[Record]]]:
    """The match groups of each event of a tape: a whole snapshot is one event, an unfinished last group none."""
    groups = list(match_groups(records))
    if groups and not groups[-1][-1].flags & (LAST | SNAPSHOT):
        groups.pop()
    for is_snapshot, run in itertools.groupby(groups, key=lambda group: bool(group[0].flags & SNAPSHOT)):
        run_groups = list(run)
        yield from [run_groups] if is_snapshot else [[group] for group in run_groups]


def apply(book: Book, groups: list[list[Record]]) -> None:
    """An event as the compiler reads it: what traded first, whatever the order of the records."""
    for group in groups:
        book.begin_event()
        for record in sorted(group, key=lambda record: record.action not in "TF"):
            book.apply(record)


def reference_sizes(book: Book) -> dict[str, dict[int, list[int]]]:
    return {
        side: {price // TICK: list(queue.values()) for price, queue in levels.items()}
        for side, levels in book.queues.items()
    }


def reference_best(book: Book) -> tuple[int, int]:
    best = [book.best(side).price for side in "BA"]
    bid, ask = (enums.NO_TICK if price == UNDEFINED_PRICE else price // TICK for price in best)
    return bid, ask


def check(tape: Compiled, records: list[Record], sample: set[int] | None = None) -> Book:
    """Asserts that the tape tells the book: quotes at every event, queues at those of `sample` (all), all checkpoints.

    Returns:
        The reference book at the end.
    """
    book, queues = Book(), TapeQueues()
    owners: dict[int, int] = {}  # placement -> order id
    blocks = {int(block["event"]): block for block in tape.blocks}
    assert len(blocks) == len(tape.blocks)
    first = source = number = 0
    for number, groups in enumerate(events_of(records)):
        apply(book, groups)
        source += sum(map(len, groups))
        event = tape.events[number]
        assert event["source"] == source
        rows = tape.records[first : event["end"]]
        first = int(event["end"])
        queues.apply(rows)
        if len(rows) > 1:
            check_order(rows)
        if all(is_conserved(group) for group in groups) and all(r.side in "BA" for group in groups for r in group):
            check_sum(rows)
        assert (event["bid"], event["ask"]) == reference_best(book)
        if sample is None or number in sample:
            assert queues.sizes() == reference_sizes(book)
            assert queues.best() == reference_best(book)
            check_owners(queues, book, owners)
        if number + 1 in blocks:
            check_block(blocks.pop(number + 1), queues)
    assert len(tape.events) == (number + 1 if source else 0)
    assert first == len(tape.records)
    assert not blocks
    return book


def check_order(rows: np.ndarray) -> None:
    """Asserts that self-match cancels come first, then trades with their fills, then other changes."""
    runs = [list(run) for _, run in itertools.groupby(rows["key"] & KIND_MASK, key=TRADED.__contains__)]
    traded = [run[0] in TRADED for run in runs]
    assert traded in ([], [False], [True], [True, False], [False, True], [False, True, False])
    if traded[:2] == [False, True]:
        assert set(runs[0]) == {enums.RECORD_DEL}


def check_sum(rows: np.ndarray) -> None:
    """Asserts that what traded is what was filled, displayed or hidden."""
    size = {kind: int(rows["size"][rows["key"] & KIND_MASK == kind].sum()) for kind in TRADED}
    assert size[enums.RECORD_TRADE] == size[enums.RECORD_HIDDEN] - size[enums.RECORD_FILL]


def check_owners(queues: TapeQueues, book: Book, owners: dict[int, int]) -> None:
    """Asserts that a placement is one order's, and that an order is recognised by its previous placement."""
    for side, levels in queues.queues.items():
        for tick, queue in levels.items():
            for place, order_id in zip(queue, book.queue(side, tick * TICK), strict=True):
                assert owners.setdefault(place, order_id) == order_id
                assert owners.get(queues.previous[place], order_id) == order_id


def check_block(block: np.void, queues: TapeQueues) -> None:
    """Asserts that a checkpoint is the book before its first event, with the quotes well inside the window."""
    np.testing.assert_array_equal(block["ladder"], queues.ladder(int(block["base"])))
    best = [tick for tick in queues.best() if tick != enums.NO_TICK]
    if best and max(best) - min(best) < 10:
        offsets = np.array(best) - block["base"]
        assert np.all(np.abs(offsets - LADDER_TICKS // 2) <= BLOCK_DRIFT_TICKS + 10)


def scaled(records: list[Record], factor: int) -> list[Record]:
    """The same stream with wider gaps between its prices."""
    return [r if r.price == UNDEFINED_PRICE else r._replace(price=r.price * factor) for r in records]


def random_stream(seed: int, count: int) -> list[Record]:
    """Always the same events of all kinds that make sense."""
    rng, scribe = random.Random(seed), Scribe()
    for _ in range(count):
        event = rng.choice(VALID * 8 + RARE)
        event(scribe, rng.randrange(32), rng.randint(-3, 3), rng.randint(1, 9), rng.choice("BA"))
    return scribe.records


# --- any stream


@given(streams(VALID + RARE) | itch_streams, st.sampled_from([1, 60, 150]))
@EXAMPLES
def test_tape__tells_the_book_of_the_reference(records: list[Record], gap: int) -> None:
    """Also with so wide gaps between prices that checkpoints must follow them."""
    records = scaled(records, gap)
    tape = compile_array(to_array(records))
    check(tape, records)
    assert not tape.counters.keys() & {"unresolved_fills", "invalid_records", *ANOMALIES}


@given(HOSTILE)
@EXAMPLES
def test_tape__tells_the_book_of_the_reference_whatever_is_sent(records: list[Record]) -> None:
    tape = compile_array(to_array(records))
    book = check(tape, records)
    for name in (*ANOMALIES, "invalid_records"):
        assert tape.counters.get(name, 0) == book.anomalies[name], name


def assert_same(tape: Compiled, other: Compiled) -> None:
    for name in ("records", "events", "blocks"):
        assert getattr(tape, name).tobytes() == getattr(other, name).tobytes(), name
    assert tape.counters == other.counters


@given(HOSTILE, st.lists(st.integers(0, 400), max_size=5))
@EXAMPLES
def test_tape__does_not_depend_on_where_chunks_are_cut(records: list[Record], cuts: list[int]) -> None:
    array = to_array(scaled(records, 60))
    assert_same(compile_array(array, cuts=tuple(sorted(cuts))), compile_array(array))


def test_tape__does_not_change_with_chunks_of_one_record() -> None:
    array = to_array(scaled(random_stream(1, 300), 60))
    assert_same(compile_array(array, cuts=tuple(range(1, len(array)))), compile_array(array))


@pytest.mark.skipif(not JIT_IS_OFF, reason="would compile once for each size")
@given(HOSTILE, st.integers(2, 5), st.integers(3, 6))
@EXAMPLES
def test_tape__does_not_depend_on_the_size_of_buffers_and_book(
    records: list[Record], buffer_bits: int, book_bits: int
) -> None:
    array = to_array(scaled(records, 60))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(l3, "empty", lambda bits=book_bits, empty=l3.empty: empty(bits))
        tape = compile_array(array, buffer_bits=buffer_bits)
    assert_same(tape, compile_array(array))


def test_tape__of_more_events_than_a_buffer_holds() -> None:
    count = 3 * BLOCK_EVENTS
    array = np.repeat(stream(nothing()), count)
    array["ts_event"] += np.arange(count)
    tape = compile_array(array, buffer_bits=15 if not JIT_IS_OFF else 8)
    assert tape.events["source"].tolist() == list(range(1, count + 1))
    assert tape.blocks["event"].tolist() == [1, 1 + BLOCK_EVENTS, 1 + 2 * BLOCK_EVENTS]


@pytest.mark.soak
def test_tape__book_and_buffers_grow_while_compiled() -> None:
    """Compiles for other sizes, which takes a minute."""
    count = 200_000
    array = np.repeat(stream(nothing()), count)
    array["action"], array["side"], array["size"] = dbn.ACTION_ADD, dbn.SIDE_BID, 1
    array["order_id"] = np.arange(count)
    array["price"] = np.arange(count) % 10_000 * TICK
    array["flags"][: count // 2] = 0  # one event of 100,000 orders
    tape = compile_array(array)
    assert tape.events["end"][[0, -1]].tolist() == [count // 2 + 1, count]
    check(tape, to_records(array), sample={0, count // 2 - 1})


SAVE_TAPE = """
import sys
import numpy as np
from tests.data.compiled import compile_array
tape = compile_array(np.load(sys.argv[1]))
for name in ("records", "events", "blocks"):
    np.save(f"{sys.argv[2]}/{name}.npy", getattr(tape, name))
"""


def test_tape__is_the_same_with_and_without_the_compiler(tmp_path: Path) -> None:
    array = to_array(scaled(random_stream(2, 400), 60))
    np.save(tmp_path / "array.npy", array)
    other = os.environ | {"NUMBA_DISABLE_JIT": "0" if JIT_IS_OFF else "1"}
    subprocess.run([sys.executable, "-c", SAVE_TAPE, tmp_path / "array.npy", tmp_path], check=True, env=other)
    tape = compile_array(array)
    assert len(tape.blocks) > 5
    for name in ("records", "events", "blocks"):
        assert getattr(tape, name).tobytes() == np.load(tmp_path / f"{name}.npy").tobytes()


# --- real files


def expected_counts(records: list[Record]) -> Counter[str]:
    """Fills, hidden size, self-match cancels and auctions, from the raw records alone."""
    book, count = Book(), Counter()
    for groups in events_of(records):
        for group in groups:
            auction = is_auction(group)
            count["auctions"] += auction
            filled = {record.order_id for record in group if record.action == "F"}
            traded = any(record.action == "T" for record in group)
            last_trade, left = None, {}
            for record in group:
                if record.action == "T":
                    last_trade = record
                    count["trades"] += 1
                    count["volume"] += record.size
                elif record.action == "F" and not is_own_fill(record, last_trade):
                    if record.order_id in book.place:
                        shown = left.setdefault(record.order_id, book.size(record.order_id))
                        left[record.order_id] = max(shown - record.size, 0)
                        count["hidden_size"] += max(record.size - shown, 0)
                    else:
                        count["unknown_fills"] += 1
                        count["hidden_size"] += record.size if record.side in "BA" else 0
                elif record.action == "C" and traded and not auction and record.order_id not in filled:
                    count["self_match_cancels"] += 1
        apply(book, groups)
    return count


def real_tape(*files: Path) -> tuple[Compiled, list[Record]]:
    arrays = [np.concatenate(list(dbn.open_dbn(file).chunks())) for file in files]
    array = np.concatenate(arrays)
    return compile_array(array, cuts=tuple(range(1000, len(array), 30_011))), to_records(array)


@pytest.fixture(scope="module")
def christmas(real_data):  # type: ignore[no-untyped-def]
    return real_tape(real_data("ESH4_2023-12-25.mbo.dbn.zst"))


@pytest.mark.real_data
def test_real_tape__has_the_queues_of_the_reference(christmas) -> None:  # type: ignore[no-untyped-def]
    tape, records = christmas
    rng = random.Random(3)
    book = check(tape, records, sample={0, 925, 926, len(tape.events) - 1, *rng.sample(range(len(tape.events)), 20)})
    assert len(book.place) == 11_217
    assert [book.best(side)[:2] for side in "BA"] == [(4810_000_000_000, 22), (4810_250_000_000, 28)]
    assert len(tape.blocks) == 1 + (len(tape.events) - 1) // BLOCK_EVENTS  # the price stayed in one window


@pytest.mark.real_data
def test_real_tape__newer_snapshots_too(real_data) -> None:  # type: ignore[no-untyped-def]
    tape, records = real_tape(real_data("ESM4_2024-05-08_2s.mbo.dbn.zst"))
    assert len(check(tape, records, sample={0, 1, 100, 184}).place) == 13_598
    assert tape.phases() == ["snapshot"] + ["continuous"] * 184
    assert (tape.counters["trades"], tape.counters["volume"]) == (5, 6)


@pytest.mark.real_data
def test_real_tape__counts_what_is_known_of_the_file(christmas) -> None:  # type: ignore[no-untyped-def]
    tape, records = christmas
    expected = expected_counts(records)
    assert {name: tape.counters[name] for name in expected} == dict(expected)
    known = {
        "adds": 29_216 - 8_725,
        "cancels": 17_999,
        "modifies": 12_233,
        "snapshots": 1,
        "trades": 2_973,
        "volume": 9_892,
        "fills": 6_371,
        "auctions": 1,
        "self_match_cancels": 132,
        "crossed_events": 891,
        "unknown_fills": 7,
    }
    assert tape.counters == known | {"hidden_size": expected["hidden_size"]}
    assert len(tape.events) == 47_022 + 1  # the states of the file, and the snapshot, whose last record has no F_LAST


@pytest.mark.real_data
def test_real_tape__trades_at_the_side_they_hit(christmas) -> None:  # type: ignore[no-untyped-def]
    tape, _ = christmas
    kinds, sides = tape.records["key"] & KIND_MASK, tape.records["key"] & SIDE_BIT
    sizes = tape.records["size"]
    sided = kinds == enums.RECORD_TRADE
    assert sizes[sided & (sides != 0)].sum() == 5_322  # buyers hit the asks
    assert sizes[sided & (sides == 0)].sum() == 4_526
    assert sizes[kinds == enums.RECORD_TRADE_N].tolist() == [44]
    totals = np.add.reduceat(
        np.select([sided, kinds == enums.RECORD_FILL, kinds == enums.RECORD_HIDDEN], [sizes, sizes, -sizes]),
        np.concatenate([[0], tape.events["end"][:-1]]),
    )
    traded = tape.has(enums.EVENT_TRADE)
    unbalanced = [number for number in np.flatnonzero(traded) if totals[number]]
    assert sum(traded) == 2_833 + 1
    assert [tape.phases()[number] for number in unbalanced] == ["auction"]


@pytest.mark.real_data
def test_real_tape__phases_and_clocks(christmas) -> None:  # type: ignore[no-untyped-def]
    tape, _ = christmas
    opening = np.datetime64("2023-12-25T23:00:00").astype("M8[ns]").astype(np.int64)
    phases, times = np.array(tape.phases()), tape.events["ts_event"]
    assert phases[0] == "snapshot"
    assert set(phases[1:][times[1:] < opening]) == {"pre_open"}
    auction = np.flatnonzero(phases == "auction")
    assert times[auction].tolist() == [opening]
    assert phases[auction[0] - 1] == "pre_open"
    assert set(phases[auction[0] + 1 :]) == {"continuous"}
    assert np.flatnonzero(tape.has(enums.EVENT_PHASE)).tolist() == [0, 1, auction[0], auction[0] + 1]
    received = times + tape.events["delay"]
    assert np.all(np.diff(times) >= 0)
    assert np.all(np.diff(received) >= 0)


@pytest.mark.real_data
def test_real_tape__evening_and_day_restore_one_book_each(real_data) -> None:  # type: ignore[no-untyped-def]
    """The second file's snapshot is the first one's, order by order."""
    compiler = Compiler(TICK)
    pieces = []
    for name in ("ESH4_2023-12-24_snapshot.mbo.dbn.zst", "ESH4_2023-12-25.mbo.dbn.zst"):
        compiler.begin_file()
        for chunk in dbn.open_dbn(real_data(name)).chunks():
            pieces += [piece.records.copy() for piece in compiler.feed(chunk)]
    records = np.concatenate(pieces)
    assert np.flatnonzero(records["key"] & KIND_MASK == enums.RECORD_CLEAR).tolist() == [0, 8_726]
    first, second = records[1:8_726], records[8_727:17_452]
    for name in ("key", "size"):
        np.testing.assert_array_equal(first[name], second[name])
    assert compiler.counters["snapshots"] == 2
    assert compiler.counters["duplicate_adds"] == 0
