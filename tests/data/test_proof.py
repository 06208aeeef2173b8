"""Cold starts: which levels a book that nobody saw begin can be trusted at, and from when it is used."""

import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bt_gym.core import enums
from bt_gym.core.tape import event_dtype
from bt_gym.data import book as l3
from bt_gym.data import dbn
from bt_gym.data.compiler import Compiler
from bt_gym.data.proof import UNBOUNDED, Proof
from tests.data.compiled import add, cancel, clear, compile_array, compiled, fill, modify, nothing, stream, trade
from tests.reference.book import Book, Record, match_groups, to_records
from tests.reference.itch import itch_streams
from tests.reference.proof import TICKS, drifting_session, proven_levels
from tests.reference.streams import TICK, to_array

pytestmark = pytest.mark.kernel

GAP = 4
SEEDS = st.integers(0, 10**6)


def ladder(first_id: int, side: str, ticks: range) -> list[Record]:
    return [add(first_id + number, side, tick, 1) for number, tick in enumerate(ticks)]


def proof_of(array: np.ndarray) -> tuple[Proof, np.ndarray]:
    compiler = Compiler(TICK)
    pieces = [piece.events.copy() for feed in (compiler.feed(array), compiler.finish()) for piece in feed]
    return compiler.proof, np.concatenate([np.zeros(0, event_dtype), *pieces])


# --- worked by hand


def test_cold_start__is_used_once_five_levels_of_both_sides_are_proven() -> None:
    falls_and_rises = [add(1, "A", 101, 1), cancel(1, "A", 101, 1), add(2, "B", 109, 1), cancel(2, "B", 109, 1)]
    asks, bids = ladder(10, "A", range(105, 110)), ladder(20, "B", range(104, 99, -1))
    tape = compiled(*falls_and_rises, asks, bids)
    assert tape.phases() == ["suspect"] * 6  # the fifth bid, 100, was never below an ask
    tape = compiled(*falls_and_rises, asks, bids, cancel(24, "B", 100, 1), add(25, "B", 102, 1), add(26, "B", 101, 1))
    assert tape.phases() == ["suspect"] * 8 + ["suspect"]  # 104, 103, 102, 101: four
    tape = compiled(*falls_and_rises, asks, ladder(20, "B", range(105 - 1, 99, -1))[:4], add(30, "A", 104, 1))
    assert tape.phases()[-1] != "continuous"


def test_cold_start__worked_through() -> None:
    events = [
        add(1, "A", 100, 1),  # bids at 100 and above are known
        cancel(1, "A", 100, 1),
        add(2, "B", 110, 1),  # asks at 110 and below too
        cancel(2, "B", 110, 1),
        ladder(10, "A", range(106, 111)),
        ladder(20, "B", range(104, 100, -1)),  # four levels
        add(30, "B", 99, 1),  # a fifth, but unproven
        add(31, "B", 100, 1),
        nothing(),
    ]
    tape = compiled(*events)
    assert tape.phases() == ["suspect"] * 7 + ["continuous"] * 2
    proof, table = proof_of(stream(*events))
    assert [proof.is_proven(table, 8, enums.BID, tick) for tick in (99, 100, 104)] == [False, True, True]
    assert [proof.is_proven(table, 8, enums.ASK, tick) for tick in (104, 110, 111)] == [True, True, False]
    assert not proof.is_proven(table, 1, enums.ASK, 104)
    assert not proof.is_proven(table, -1, enums.ASK, 104)
    assert not proof.is_complete


@pytest.mark.parametrize(
    "no_matching",
    [
        [add(40, "B", 107, 1)],  # crossed: how long already?
        [trade("N", 105, 2), fill(20, "N", 105, 1), fill(10, "N", 105, 1)],
    ],
)
def test_cold_start__a_market_that_did_not_match_proves_nothing(no_matching: list[Record]) -> None:
    start = [add(1, "A", 100, 1), cancel(1, "A", 100, 1), add(2, "B", 110, 1), cancel(2, "B", 110, 1)]
    book = [ladder(10, "A", range(106, 110)), ladder(20, "B", range(104, 99, -1))]
    last_ask = add(15, "A", 110, 1)
    assert compiled(*start, *book, last_ask).phases()[-1] == "continuous"
    tape = compiled(*start, *book, no_matching, cancel(40, "B", 107, 1), last_ask)
    assert tape.phases()[-1] == "suspect"


def test_gap__lasts_until_the_next_snapshot_or_clear() -> None:
    """However much is proven: what the gap swallowed is unknown."""
    gap = nothing(flags=GAP)
    proven = [add(1, "A", 100, 1), cancel(1, "A", 100, 1), add(2, "B", 110, 1), cancel(2, "B", 110, 1)]
    book = [ladder(10, "A", range(106, 111)), ladder(20, "B", range(104, 99, -1))]
    tape = compiled(clear(), gap, *proven, *book, nothing(), clear(), nothing())
    assert tape.phases() == ["continuous"] + ["suspect"] * 8 + ["continuous"] * 2


def test_doubt__unknown_order_modified_in_a_known_book() -> None:
    events = [clear(), add(1, "B", 100, 5), add(2, "A", 102, 5), modify(77, "B", 101, 3), nothing()]
    proof, table = proof_of(stream(*events))
    assert proof.doubts == [(3, enums.BID, 101)]
    assert proof.is_proven(table, 2, enums.BID, 101)
    assert not proof.is_proven(table, 4, enums.BID, 101)
    assert proof.is_proven(table, 4, enums.BID, 100)
    assert proof.is_proven(table, 4, enums.ASK, 101)
    assert not proof.is_complete


@pytest.mark.parametrize(
    "ends", [[clear()], [cancel(77, "B", 101, 3), add(3, "A", 101, 1)], [cancel(77, "B", 101, 3), add(3, "A", 100, 1)]]
)
def test_doubt__ends_with_a_clear_or_when_the_other_side_stood_there(ends: list[Record]) -> None:
    proof, table = proof_of(stream(clear(), add(2, "A", 102, 5), modify(77, "B", 101, 3), *ends))
    assert not proof.is_proven(table, 2, enums.BID, 101)
    assert proof.is_proven(table, len(table) - 1, enums.BID, 101)


def test_doubt__thousands_at_once_make_the_book_suspect() -> None:
    tape = compiled(clear(), [modify(number, "B", 100, 1) for number in range(1, 1030)], nothing())
    assert tape.phases() == ["continuous", "suspect", "suspect"]


SNAP = [add(7, "B", 100, 2, flags=32), add(8, "B", 100, 3, flags=32), add(9, "A", 102, 1, flags=32)]


@pytest.mark.parametrize(
    ("book", "differs"),
    [
        ([add(7, "B", 100, 2), add(8, "B", 100, 3), add(9, "A", 102, 1)], []),
        ([add(8, "B", 100, 3), add(7, "B", 100, 2), add(9, "A", 102, 1)], [(0, 100)]),  # another order
        ([add(7, "B", 100, 2), add(8, "B", 100, 4), add(9, "A", 102, 1)], [(0, 100)]),
        ([add(7, "B", 100, 2), add(8, "B", 100, 3), add(10, "A", 102, 1)], [(1, 102)]),
        ([add(7, "B", 100, 2), add(8, "B", 100, 3), add(9, "A", 102, 1), add(5, "A", 104, 1)], [(1, 104)]),
        ([add(7, "B", 99, 2), add(8, "B", 100, 3), add(9, "A", 102, 1)], [(0, 99), (0, 100)]),
    ],
)
@pytest.mark.parametrize("explicit", [True, False])
def test_snapshot__over_a_carried_book_is_compared_with_it(
    book: list[Record], differs: list[tuple[int, int]], explicit: bool
) -> None:
    snapshot = [clear(flags=32)] * explicit + SNAP
    events = [clear(), book, snapshot, nothing(), snapshot]
    tape = compiled(*events)
    assert tape.counters.get("snapshot_differences", 0) == len(differs)
    assert tape.counters.get("implicit_clears", 0) == 2 * (not explicit)
    proof, table = proof_of(stream(*events))
    assert proof.doubts == [(2, side, tick) for side, tick in differs]
    for side, tick in differs:
        assert not proof.is_proven(table, 3, side, tick)
        assert proof.is_proven(table, 4, side, tick)  # the next one agrees


def test_snapshot__over_an_empty_book_clears_nothing() -> None:
    tape = compiled(SNAP, nothing())
    assert "implicit_clears" not in tape.counters
    proof, _ = proof_of(stream(SNAP, nothing()))
    assert proof.is_complete
    assert proof.ranges == [(0, -UNBOUNDED, UNBOUNDED)]


def test_proof__survives_json() -> None:
    proof = Proof([(0, 5, -UNBOUNDED), (3, -UNBOUNDED, UNBOUNDED)], [(4, 1, -7)])
    assert Proof.from_metadata(proof.to_metadata()) == proof


# --- against the rule taken literally, and against the truth


def assert_proof(records: list[Record]) -> None:
    tape = compile_array(to_array(records))
    proof, table = proof_of(to_array(records))
    expected = list(proven_levels(records))[: len(tape.events)]
    assert [phase == "suspect" for phase in tape.phases()] == [suspect for suspect, _ in expected]
    assert len(table) == len(expected)
    doubtful = {(side, tick) for _, side, tick in proof.doubts}
    for event in range(0, len(expected), max(1, len(expected) // 20)):
        for side, name in enumerate("BA"):
            told = {tick for tick in TICKS if proof.is_proven(table, event, side, tick)}
            assert told == expected[event][1][name] - {tick for s, tick in doubtful if s == side and tick not in told}


@settings(max_examples=settings.default.max_examples // 10)
@given(SEEDS, st.integers(0, 400))
def test_cold_start__follows_the_rule(seed: int, cut: int) -> None:
    assert_proof(drifting_session(seed, 300)[cut:])


@settings(max_examples=settings.default.max_examples // 2)
@given(itch_streams, st.floats(0, 0.7))
def test_cold_start__follows_the_rule_on_any_stream(records: list[Record], share: float) -> None:
    assert_proof(records[int(len(records) * share) :])


def assert_sound(records: list[Record], cut: int, ends: list[int]) -> int:
    """Asserts that proven levels of the book from record `cut` on equal those of the whole; returns how many."""
    array, whole, compiler = to_array(records), Book(), Compiler(TICK)
    groups, events, checked, done = match_groups(records), [], 0, 0
    for first, last in pairwise([cut, *ends]):
        events += [piece.events.copy() for piece in compiler.feed(array[first:last])]
        while done < last:
            group = next(groups)
            done += len(group)
            whole.begin_event()
            for record in group:
                whole.apply(record)
        table = np.concatenate(events)
        known = l3.queues(compiler.book)
        for side, name in enumerate("BA"):
            levels = {tick for level_side, tick in known if level_side == side}
            for tick in levels | {price // TICK for price in whole.prices[name]}:
                if compiler.proof.is_proven(table, len(table) - 1, side, tick):
                    assert known.get((side, tick), []) == list(whole.queue(name, tick * TICK).items())
                    checked += 1
    return checked


def group_ends(records: list[Record]) -> np.ndarray:
    return np.cumsum([len(group) for group in match_groups(records)])


def test_cold_start__proven_levels_are_those_of_the_whole_book() -> None:
    """Of sessions that were trading all the time, cut anywhere."""
    usable = 0
    for seed in range(4):
        records = drifting_session(seed, 500)
        cut = random.Random(seed).randrange(len(records) // 3)
        tape = compile_array(to_array(records[cut:]))
        usable += "continuous" in tape.phases()
        ends = group_ends(records)[:-1]  # a T or F at the end waits for what follows
        assert assert_sound(records, cut, [int(end) for end in ends[ends > cut][9::40]]) > 50
    assert usable == 4


@pytest.mark.real_data
@pytest.mark.parametrize("cut", [9_000, 16_000, 30_001])
def test_cold_start__of_a_real_session(real_data, cut: int) -> None:  # type: ignore[no-untyped-def]
    """The first cut lies in the pre-open: nothing that was seen before the uncross proves anything."""
    array = np.concatenate(list(dbn.open_dbn(real_data("ESH4_2023-12-25.mbo.dbn.zst")).chunks()))
    records = to_records(array)
    tape = compile_array(array[cut:])
    used = tape.phases().index("continuous")
    assert set(tape.phases()[:used]) == {"suspect"}
    assert set(tape.phases()[used:]) == {"continuous"}
    ends = group_ends(records)
    later = ends[ends > cut + int(tape.events["source"][used])]
    assert assert_sound(records, cut, later[:: len(later) // 4].tolist()) > 60


@pytest.mark.real_data
def test_snapshot__of_the_next_day_is_the_carried_book(real_data) -> None:  # type: ignore[no-untyped-def]
    """The evening's file is the snapshot that the day's file begins with, 8,725 orders in the same queues."""
    compiler = Compiler(TICK)
    for name in ("ESH4_2023-12-24_snapshot.mbo.dbn.zst", "ESH4_2023-12-25.mbo.dbn.zst"):
        compiler.begin_file()
        for chunk in dbn.open_dbn(real_data(name)).chunks():
            list(compiler.feed(chunk))
    list(compiler.finish())
    counters = compiler.counters
    assert (counters["snapshots"], counters["implicit_clears"], counters["snapshot_differences"]) == (2, 1, 0)
    assert compiler.proof.is_complete
