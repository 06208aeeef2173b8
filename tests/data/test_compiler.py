"""The rules of the compiler, each on a stream small enough to be worked by hand.

`@n` in a row is a placement: the number of the tape record that gave the order its place. Most streams begin with a
clear, which is record 0 and makes the book known. Sources of the rules: Databento, "State management of resting
orders" and "MBO snapshot"; CME Globex, "Order Functionalities" and "Matching Algorithm Steps".
"""

from typing import Any

import numpy as np
import pytest

from bt_gym.core import enums
from bt_gym.core.market import received_at
from bt_gym.core.tape import BLOCK_DRIFT_TICKS, LADDER_TICKS, MAX_TICK, receive_delays
from bt_gym.data.compiler import Compiler
from bt_gym.errors import CapacityError, CorruptFileError, SchemaError, TickError
from tests.data.compiled import (
    add,
    cancel,
    clear,
    compile_array,
    compiled,
    fill,
    modify,
    nothing,
    stream,
    trade,
)
from tests.reference.book import AGGREGATED, LAST, SNAPSHOT, TOP_OF_BOOK
from tests.reference.streams import START, TICK

pytestmark = pytest.mark.kernel

BAD_BOOK = 4
BOOK = (clear(), add(1, "B", 100, 5), add(2, "B", 100, 4), add(3, "A", 101, 6), add(4, "A", 102, 3))
"""Records 0 to 4: two bids at 100, an ask at 101, an ask at 102."""


# --- which records are one event


def test_group__ends_at_f_last() -> None:
    tape = compiled(clear(), [add(1, "B", 100, 5), add(2, "A", 102, 5), add(3, "A", 101, 5)], cancel(1, "B", 100, 5))
    assert tape.events["end"].tolist() == [1, 4, 5]
    assert tape.events["source"].tolist() == [1, 4, 5]
    assert tape.events["bid"].tolist() == [enums.NO_TICK, 100, enums.NO_TICK]
    assert tape.events["ask"].tolist() == [enums.NO_TICK, 101, 101]  # never the 102 that stood alone mid-event


def nasdaq(sequence: int = 0, later: int = 0) -> np.ndarray:
    """Book, then T, F and C of one execution, each with F_LAST; the C's sequence and time can be moved."""
    array = stream(*BOOK, [trade("B", 101, 2, flags=LAST), fill(3, "A", 101, 2, flags=LAST), cancel(3, "A", 101, 2)])
    array["sequence"][-1] += sequence
    array["ts_event"][-1] += later
    return array


@pytest.mark.parametrize("cuts", [(), (6,), (7,), (6, 7), tuple(range(1, 8))])
def test_group__joins_trade_fill_and_cancel_of_one_execution(cuts: tuple[int, ...]) -> None:
    tape = compile_array(nasdaq(), cuts=cuts)
    assert len(tape.events) == 6
    assert tape.rows(-1) == ["trade A 101 2", "fill A 101 -2 @3"]


@pytest.mark.parametrize("trade_id", [0, 3, 77])
def test_nasdaq__execution_whose_trade_has_the_id_of_the_order_it_hit(trade_id: int) -> None:
    """An `F` is the aggressor's own only on the aggressor's side."""
    array = nasdaq()
    array["order_id"][5] = trade_id
    assert compile_array(array).rows(-1) == ["trade A 101 2", "fill A 101 -2 @3"]


def test_nasdaq__sweep_is_one_event_an_execution_and_a_replace_is_one() -> None:
    executions = [
        [trade("B", tick, size, flags=LAST), fill(i, "A", tick, size, flags=LAST), cancel(i, "A", tick, size)]
        for i, tick, size in ((3, 101, 6), (4, 102, 1))
    ]
    tape = compiled(*BOOK, *executions, [cancel(4, "A", 102, 2), add(5, "A", 103, 2)])
    assert [tape.rows(event) for event in (5, 6, 7)] == [
        ["trade A 101 6", "fill A 101 -6 @3 gone"],
        ["trade A 102 1", "fill A 102 -1 @4"],
        ["del A 102 -2 @4 gone", "add A 103 2 @10"],  # a new order: it has no previous place
    ]
    assert tape.events["ask"][-3:].tolist() == [102, 102, 103]


@pytest.mark.parametrize("other", [{"sequence": 1}, {"later": 1}])
def test_group__does_not_join_another_execution(other: dict[str, int]) -> None:
    assert len(compile_array(nasdaq(**other)).events) == 7


def test_group__fill_at_the_very_end_is_whole() -> None:
    tape = compile_array(nasdaq()[:-1])
    assert len(tape.events) == 6
    assert tape.counters["unresolved_fills"] == 1


def test_group__without_f_last_at_the_end_is_not_published() -> None:
    tape = compiled(*BOOK, [cancel(1, "B", 100, 5), cancel(2, "B", 100, 4)], ends=False)
    assert len(tape.events) == 5
    assert tape.counters["unpublished_records"] == 2
    assert len(tape.records) == 5


def test_group__is_cut_by_a_snapshot() -> None:
    array = stream(clear(), add(1, "B", 100, 5), add(2, "B", 99, 5, flags=SNAPSHOT), add(3, "A", 101, 5))
    array["flags"][1] = 0
    tape = compile_array(array)
    assert tape.events["source"].tolist() == [1, 2, 3, 4]
    assert tape.rows(2) == ["clear", "restore B 99 5 @3"]


def test_group__of_flags_alone_is_an_event_without_records() -> None:
    tape = compiled(*BOOK, nothing())
    assert tape.rows(-1) == []
    assert tape.events["flags"][-1] == enums.PHASE_CONTINUOUS


# --- the order of records within a trade event


def test_trade__comes_after_self_match_cancels_and_before_other_changes() -> None:
    tape = compiled(
        *BOOK,
        [
            trade("A", 100, 4, order_id=9),
            fill(2, "B", 100, 4),
            trade("A", 99, 1, order_id=10),
            add(11, "A", 100, 2),
            cancel(2, "B", 100, 4),
            cancel(1, "B", 100, 5),  # without an F: the exchange spared its owner a trade with himself
        ],
    )
    assert tape.rows(-1) == [
        "del B 100 -5 @1 gone",
        "trade B 100 4",
        "fill B 100 -4 @2 gone",
        "trade B 99 1",
        "add A 100 2 @9",
    ]
    assert tape.counters["self_match_cancels"] == 1


@pytest.mark.parametrize(
    "own",
    [
        [fill(1, "B", 100, 1), cancel(1, "B", 100, 5)],  # filled
        [modify(1, "B", 100, 4), cancel(1, "B", 100, 4)],  # changed before it was cancelled
        [add(8, "B", 99, 1), cancel(8, "B", 99, 1)],  # wasn't there before
    ],
)
def test_self_match__is_only_a_cancel_of_a_resting_order_and_nothing_else(own: list[Any]) -> None:
    tape = compiled(*BOOK, [trade("A", 100, 4, order_id=9), fill(2, "B", 100, 4), cancel(2, "B", 100, 4), *own])
    assert "self_match_cancels" not in tape.counters


def test_self_match__is_not_an_aggressor_that_rested_before() -> None:
    tape = compiled(
        *BOOK,
        [
            trade("B", 101, 5, order_id=1),
            fill(1, "B", 101, 5),  # the aggressor's own
            fill(3, "A", 101, 5),
            cancel(1, "B", 100, 5),
            modify(3, "A", 101, 1),
        ],
    )
    assert tape.rows(-1) == ["trade A 101 5", "fill A 101 -5 @3", "del B 100 -5 @1 gone"]
    assert "self_match_cancels" not in tape.counters
    assert tape.counters["fills"] == 2


def test_aggressor__that_rested_keeps_its_remainder_recognisable() -> None:
    tape = compiled(
        *BOOK,
        [
            trade("B", 101, 6, order_id=1),
            fill(1, "B", 101, 6),
            fill(3, "A", 101, 6),
            modify(1, "B", 101, 2),
            cancel(3, "A", 101, 6),
        ],
    )
    assert tape.rows(-1) == [
        "trade A 101 6",
        "fill A 101 -6 @3 gone",
        "del B 100 -5 @1 gone",
        "add B 101 2 @1",  # names its previous placement
    ]
    assert (tape.events["bid"][-1], tape.events["ask"][-1]) == (101, 102)


# --- fills are booked at the F, a C or M brings what is left


@pytest.mark.parametrize(
    ("filled", "change", "rows"),
    [
        (6, [cancel(3, "A", 101, 6)], ["fill A 101 -6 @3 gone"]),
        (2, [modify(3, "A", 101, 4)], ["fill A 101 -2 @3"]),
        (2, [cancel(3, "A", 101, 2)], ["fill A 101 -2 @3"]),  # ITCH: a C in part
        (2, [cancel(3, "A", 101, 6)], ["fill A 101 -2 @3", "del A 101 -4 @3 gone"]),  # and the remainder cancelled
        (2, [cancel(3, "A", 101, 3)], ["fill A 101 -2 @3", "del A 101 -1 @3"]),
        (2, [cancel(3, "A", 101, 2), cancel(3, "A", 101, 1)], ["fill A 101 -2 @3", "del A 101 -1 @3"]),
        (2, [modify(3, "A", 101, 3)], ["fill A 101 -2 @3", "del A 101 -1 @3"]),  # and reduced
        (2, [modify(3, "A", 101, 0)], ["fill A 101 -2 @3", "del A 101 -4 @3 gone"]),
        (2, [modify(3, "A", 103, 4)], ["fill A 101 -2 @3", "del A 101 -4 @3 gone", "add A 103 4 @3"]),  # and moved
        (6, [modify(3, "A", 101, 6)], ["fill A 101 -6 @3 gone", "add A 101 6 @3"]),  # iceberg: leaves and rejoins
        (2, [modify(3, "A", 101, 6)], ["fill A 101 -2 @3", "del A 101 -4 @3 gone", "add A 101 6 @3"]),
        (6, [modify(3, "A", 101, 2)], ["fill A 101 -6 @3 gone", "add A 101 2 @3"]),
        # beyond the display: hidden size, ahead of the same placement
        (8, [cancel(3, "A", 101, 6)], ["fill A 101 -6 @3 gone", "hidden A 101 2 @3"]),
        (8, [modify(3, "A", 101, 6)], ["fill A 101 -6 @3 gone", "hidden A 101 2 @3", "add A 101 6 @3"]),
        # nothing booked by a C or M: no displayed size was taken
        (2, [], ["hidden A 101 2 @3"]),
        (6, [cancel(3, "A", 101, 2)], ["fill A 101 -2 @3", "hidden A 101 4 @3"]),
        (6, [cancel(3, "A", 101, 2), cancel(3, "A", 101, 1)], ["fill A 101 -3 @3", "hidden A 101 3 @3"]),
        (2, [cancel(3, "A", 101, 0)], ["hidden A 101 2 @3"]),
        (2, [modify(3, "A", 101, 4)._replace(action="X")], ["hidden A 101 2 @3"]),
        # a new order under the same id ends the old one
        (2, [add(3, "A", 103, 1)], ["fill A 101 -2 @3", "del A 101 -4 @3 gone", "add A 103 1 @8"]),
        (2, [add(3, "A", 103, 0)], ["hidden A 101 2 @3"]),
    ],
)
def test_fill__and_what_follows(filled: int, change: list[Any], rows: list[str]) -> None:
    tape = compiled(*BOOK, [trade("B", 101, filled, order_id=9), fill(3, "A", 101, filled), *change])
    assert tape.rows(-1) == [f"trade A 101 {filled}", *rows]


def test_fill__several_of_one_order_share_its_displayed_size() -> None:
    tape = compiled(
        *BOOK,
        [
            trade("B", 101, 4, order_id=9),
            fill(3, "A", 101, 4),
            trade("B", 101, 3, order_id=10),
            fill(3, "A", 101, 3),
            modify(3, "A", 101, 5),
        ],
    )
    assert tape.rows(-1) == [
        "trade A 101 4",
        "fill A 101 -4 @3",
        "trade A 101 3",
        "fill A 101 -2 @3 gone",
        "hidden A 101 1 @3",
        "add A 101 5 @3",
    ]
    assert tape.counters["hidden_size"] == 1


def test_fill__is_forgotten_with_its_event() -> None:
    tape = compiled(
        *BOOK,
        [trade("B", 101, 2, order_id=9), fill(3, "A", 101, 2)],  # nothing books it
        modify(3, "A", 101, 4),
        cancel(3, "A", 101, 4),
    )
    assert tape.rows(-2) == ["del A 101 -2 @3"]
    assert tape.rows(-1) == ["del A 101 -4 @3 gone"]
    assert tape.counters["unresolved_fills"] == 1


def test_fill__of_an_unknown_order_is_hidden_ahead_of_everybody() -> None:
    tape = compiled(*BOOK, [trade("B", 101, 2, order_id=9), fill(77, "A", 101, 2)])
    assert tape.rows(-1) == ["trade A 101 2", "hidden A 101 2"]
    assert (tape.counters["unknown_fills"], tape.counters["hidden_size"]) == (1, 2)


# --- changes of orders without a trade


@pytest.mark.parametrize(
    ("change", "rows"),
    [
        (modify(1, "B", 100, 3), ["del B 100 -2 @1"]),  # a decrease keeps the place
        (modify(1, "B", 100, 7), ["del B 100 -5 @1 gone", "add B 100 7 @1"]),  # an increase loses it
        (modify(1, "B", 100, 5), ["del B 100 -5 @1 gone", "add B 100 5 @1"]),  # so does a change that can't be seen
        (modify(1, "B", 99, 5), ["del B 100 -5 @1 gone", "add B 99 5 @1"]),
        (modify(1, "A", 103, 5), ["del B 100 -5 @1 gone", "add A 103 5 @1"]),
        (modify(1, "B", 100, 0), ["del B 100 -5 @1 gone"]),
        (cancel(1, "B", 100, 2), ["del B 100 -2 @1"]),
        (cancel(1, "B", 100, 5), ["del B 100 -5 @1 gone"]),
        (cancel(1, "B", 100, 9), ["del B 100 -5 @1 gone"]),
        (cancel(1, "B", None, 2**32 - 1), ["del B 100 -5 @1 gone"]),
        (cancel(1, "B", 100, 0), []),
        (cancel(77, "B", 100, 5), []),
        (modify(77, "B", 100, 5), ["add B 100 5 @5"]),
        (modify(77, "B", 100, 0), []),
        (add(1, "B", 99, 1), ["del B 100 -5 @1 gone", "add B 99 1 @6"]),  # a new order: nothing before it
        (add(77, "B", 100, 0), []),
        (add(77, "N", 100, 1), []),
        (add(77, "B", None, 1), []),
        (add(77, "B", 100, 2**31), []),
        (modify(1, "N", 100, 1), ["del B 100 -5 @1 gone"]),  # where it stood it stands no more
        (modify(1, "B", None, 1), ["del B 100 -5 @1 gone"]),
        (clear(), ["clear"]),
    ],
)
def test_update__worked_by_hand(change: Any, rows: list[str]) -> None:
    tape = compiled(*BOOK, change)
    assert tape.rows(-1) == rows
    assert tape.has(enums.EVENT_BOOK)[-1] == bool(rows)


@pytest.mark.parametrize(
    ("change", "counter"),
    [
        (cancel(77, "B", 100, 5), "unknown_cancels"),
        (cancel(1, "B", 100, 6), "over_cancels"),
        (modify(77, "B", 100, 5), "unknown_modifies"),
        (modify(1, "A", 103, 5), "side_changes"),
        (add(1, "B", 99, 1), "duplicate_adds"),
        (add(77, "B", 100, 0), "invalid_records"),
        (add(77, "N", 100, 1), "invalid_records"),
        (add(77, "B", None, 1), "invalid_records"),
        (add(77, "B", 100, 2**31), "invalid_records"),
        (trade("B", None, 1), "invalid_records"),
        (trade("B", 100, 2**31), "invalid_records"),
        (fill(1, "B", 100, 2**31), "invalid_records"),
        (nothing()._replace(action="X"), "invalid_records"),
    ],
)
def test_anomaly__is_counted(change: Any, counter: str) -> None:
    before = compiled(*BOOK)
    after = compiled(*BOOK, change)
    assert counter not in before.counters
    assert after.counters[counter] == 1
    assert len(after.events) == len(before.events) + 1


# --- snapshots and clears


SNAP = [
    add(7, "B", 100, 2, flags=SNAPSHOT),
    add(8, "B", 100, 3, flags=SNAPSHOT),
    add(9, "A", 102, 1, flags=SNAPSHOT),
]
RESTORED = ["restore B 100 2 @{}", "restore B 100 3 @{}", "restore A 102 1 @{}"]


@pytest.mark.parametrize("leading_clear", [True, False])
@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("midway", [True, False])
def test_snapshot__replaces_the_book(leading_clear: bool, closed: bool, midway: bool) -> None:
    records = [clear(flags=SNAPSHOT)] * leading_clear + SNAP
    records[-1] = records[-1]._replace(flags=SNAPSHOT | LAST if closed else SNAPSHOT)
    tape = compiled(*(BOOK if midway else ()), records, cancel(7, "B", 100, 2))
    first = len(BOOK) * midway
    assert tape.rows(-2) == ["clear", *(row.format(first + i) for i, row in enumerate(RESTORED, start=1))]
    assert tape.rows(-1) == [f"del B 100 -2 @{first + 1} gone"]
    assert tape.phases() == ["continuous"] * first + ["snapshot", "continuous"]
    assert (tape.events["bid"][-1], tape.events["ask"][-1]) == (100, 102)
    assert tape.counters["snapshots"] == 1
    assert tape.counters.get("adds", 0) == 4 * midway
    assert "duplicate_adds" not in tape.counters


def test_snapshot__at_the_end_is_published() -> None:
    tape = compiled(SNAP)
    assert tape.phases() == ["snapshot"]
    assert "unpublished_records" not in tape.counters


def test_snapshot__happens_when_it_is_received() -> None:
    """Its records carry the times of the orders, which lie before the session."""
    array = stream(*BOOK, SNAP, cancel(7, "B", 100, 2))
    array["ts_event"][5:8] -= 10**15
    array["ts_recv"][5:8] = START + 5_500
    array["ts_event"][8] = START + 6_000
    tape = compile_array(array)
    assert tape.events["ts_event"][-2:].tolist() == [START + 5_500, START + 6_000]
    assert tape.events["delay"][-2] == 0
    assert "clock_steps_back" not in tape.counters


def test_clear__ends_doubt_about_the_book() -> None:
    assert compiled(add(1, "B", 100, 1), clear(), add(1, "B", 100, 1)).phases() == [
        "suspect",
        "continuous",
        "continuous",
    ]


# --- two files in a row


def test_files__a_snapshot_in_a_new_file_is_a_new_one() -> None:
    """The evening's file is a snapshot alone, the day's begins with one: neither has an R."""
    compiler = Compiler(TICK)
    snapshot = stream(SNAP)
    pieces = []
    for file in (snapshot, np.concatenate([snapshot, stream(cancel(7, "B", 100, 2))])):
        compiler.begin_file()
        pieces += [(piece.records.copy(), piece.events.copy()) for piece in compiler.feed(file)]
    pieces += [(piece.records.copy(), piece.events.copy()) for piece in compiler.finish()]
    records = np.concatenate([records for records, _ in pieces])
    events = np.concatenate([events for _, events in pieces])
    assert events["end"].tolist() == [4, 8, 9]
    assert events["source"].tolist() == [3, 6, 7]
    assert records["priority"].tolist() == [-1, 1, 2, 3, -1, 5, 6, 7, 5]
    assert compiler.counters["snapshots"] == 2
    assert compiler.counters["duplicate_adds"] == 0


def test_files__an_event_may_straddle_them() -> None:
    """Files are cut by ts_recv, and the records of an event are received one after another."""
    array = stream(*BOOK, [cancel(1, "B", 100, 5), cancel(2, "B", 100, 4)])
    compiler = Compiler(TICK)
    events = 0
    for file in (array[:6], array[6:]):
        compiler.begin_file()
        events += sum(len(piece.events) for piece in compiler.feed(file))
    assert events == 6


# --- trades


def test_auction__is_a_trade_without_side_that_fills_both() -> None:
    tape = compiled(
        clear(),
        add(1, "B", 103, 5),
        add(2, "A", 100, 4),  # crossed: nothing matches yet
        add(3, "A", 101, 3),
        [
            trade("N", 101, 5),
            fill(1, "N", 101, 5),
            fill(2, "N", 101, 4),
            fill(3, "N", 101, 1),
            fill(99, "N", 101, 1),  # of an order that was never shown
            cancel(1, "B", 103, 5),
            cancel(2, "A", 100, 4),
            modify(3, "A", 101, 2),
        ],
        add(4, "B", 100, 1),
    )
    assert tape.rows(4) == [
        "trade_n B 101 5",
        "fill B 103 -5 @1 gone",  # each at its own limit
        "fill A 100 -4 @2 gone",
        "fill A 101 -1 @3",
    ]
    assert tape.phases() == ["pre_open"] * 4 + ["auction", "continuous"]
    assert tape.has(enums.EVENT_PHASE) == [True, False, False, False, True, True]
    assert tape.counters["auctions"] == 1
    assert tape.counters["crossed_events"] == 2
    assert "self_match_cancels" not in tape.counters


def test_auction__cancels_without_fill_are_cancels() -> None:
    tape = compiled(
        clear(),
        add(1, "B", 103, 5),
        add(2, "A", 100, 4),
        [
            trade("N", 101, 4),
            fill(1, "N", 101, 4),
            fill(2, "N", 101, 4),
            cancel(1, "B", 103, 5),  # the rest was good for the auction only
            cancel(2, "A", 100, 4),
        ],
    )
    assert tape.rows(-1)[-1] == "del B 103 -1 @1 gone"


@pytest.mark.parametrize(
    ("tick", "row"),
    [
        (99, "trade B 99 2"),
        (100, "trade B 100 2"),
        (102, "trade A 102 2"),
        (103, "trade A 103 2"),
        (101, "trade_n B 101 2"),  # inside the spread: nothing tells
    ],
)
def test_trade__without_side_is_inferred_from_the_quotes(tick: int, row: str) -> None:
    tape = compiled(clear(), add(1, "B", 100, 5), add(2, "A", 102, 4), trade("N", tick, 2))
    assert tape.rows(-1) == [row]
    assert tape.phases()[-1] == "continuous"
    inferred = "_n" not in row
    assert tape.has(enums.EVENT_INFERRED_SIDE)[-1] == inferred
    assert tape.counters.get("inferred_sides", 0) == inferred


@pytest.mark.parametrize(
    ("book", "row"),
    [
        ([], "trade_n B 101 2"),
        ([add(1, "B", 100, 5)], "trade_n B 101 2"),
        ([add(1, "B", 101, 5)], "trade B 101 2"),
        ([add(1, "A", 101, 5)], "trade A 101 2"),
    ],
)
def test_trade__without_side_on_a_one_sided_book(book: list[Any], row: str) -> None:
    assert compiled(clear(), *book, trade("N", 101, 2)).rows(-1) == [row]


def test_trade__without_side_that_fills_one_side_is_no_auction() -> None:
    """Implied: the other leg rests in another book."""
    tape = compiled(*BOOK, [trade("N", 101, 2), fill(3, "A", 101, 2), modify(3, "A", 101, 4)])
    assert tape.rows(-1) == ["trade A 101 2", "fill A 101 -2 @3"]
    assert tape.phases()[-1] == "continuous"


@pytest.mark.parametrize(
    ("fills", "implied"),
    [([], 5), ([fill(3, "A", 101, 2)], 3), ([fill(3, "A", 101, 5)], 0), ([fill(3, "A", 101, 6)], 0)],
)
def test_trade__larger_than_its_fills_met_implied_orders(fills: list[Any], implied: int) -> None:
    """Its whole size is on the tape: an own order behind what was filled meets it as the implied ones did."""
    tape = compiled(*BOOK, [trade("B", 101, 5, order_id=9), *fills, trade("B", 102, 1, order_id=9)])
    assert tape.rows(-1)[0] == "trade A 101 5"
    assert tape.counters["implied_size"] == implied + 1


def test_trade__of_an_auction_has_no_implied_size() -> None:
    tape = compiled(*BOOK, [trade("N", 101, 9), fill(3, "N", 101, 2), fill(1, "N", 101, 2)])
    assert "implied_size" not in tape.counters


@pytest.mark.parametrize(("side", "resting"), [("B", "A"), ("A", "B"), ("N", "B")])
def test_trade__between_ticks_meets_no_level(side: str, resting: str) -> None:
    midpoint = trade(side, 100, 2)._replace(price=100 * TICK + TICK // 2)
    tape = compiled(*BOOK, midpoint)
    assert tape.rows(-1) == [f"trade_n {resting} 100 2"]
    assert tape.counters["off_tick_trades"] == 1
    assert tape.counters["volume"] == 2


def test_trade__flags_and_volume() -> None:
    tape = compiled(*BOOK, [trade("B", 101, 2), trade("B", 102, 1)], nothing())
    assert tape.has(enums.EVENT_TRADE)[-2:] == [True, False]
    assert tape.has(enums.EVENT_BOOK)[-2:] == [False, False]
    assert (tape.counters["trades"], tape.counters["volume"]) == (2, 3)


# --- prices


def test_tick__order_off_the_grid_is_an_error_of_the_tick_size() -> None:
    array = stream(clear(), add(1, "B", 100, 5), add(2, "B", 100, 5))
    array["price"][2] += 10_000_000
    with pytest.raises(TickError, match=r"record 2: price 25.01 .* tick size 0.25 \(1 orders are off\)"):
        compile_array(array)


def test_tick__a_single_order_off_the_grid_is_left_out() -> None:
    array = np.repeat(stream(nothing()), 10_001)
    array[:3] = stream(clear(), add(1, "B", 100, 5), modify(1, "B", 100, 4))
    array["price"][2] += 1
    tape = compile_array(array)
    assert tape.counters["off_tick_orders"] == 1
    assert tape.rows(2) == ["del B 100 -5 @1 gone"]


@pytest.mark.parametrize("tick_size", [0, -1])
def test_tick__must_be_positive(tick_size: int) -> None:
    with pytest.raises(TickError, match=f"tick size {tick_size}"):
        Compiler(tick_size)


def test_price__negative_and_zero_are_prices() -> None:
    tape = compiled(clear(), add(1, "B", -3, 5), add(2, "A", 0, 5), [trade("B", 0, 1), fill(2, "A", 0, 1), nothing()])
    assert tape.rows(1) == ["add B -3 5 @1"]
    assert tape.rows(3) == ["trade A 0 1", "hidden A 0 1 @2"]
    assert (tape.events["bid"][-1], tape.events["ask"][-1]) == (-3, 0)


def test_price__stub_quotes_far_from_the_touch_are_orders_like_others() -> None:
    """They lie outside the ladder of a checkpoint, never at another tick of it."""
    tape = compiled(*BOOK, add(8, "B", 100 - 20_000, 1), add(9, "A", 101 + 20_000, 1), cancel(3, "A", 101, 6))
    assert tape.rows(5) == ["add B -19900 1 @5"]
    assert tape.rows(6) == ["add A 20101 1 @6"]
    assert (tape.events["bid"][-1], tape.events["ask"][-1]) == (100, 102)
    for ring in (512, 1024, 20_480):
        tape = compiled(clear(), [*BOOK[1:], add(8, "B", 100 - ring, 9)], [modify(1, "A", 400, 1), add(9, "B", 399, 1)])
        assert tape.blocks["event"].tolist() == [1, 3]
        assert not (tape.blocks["ladder"] == 9).any()
        assert tape.blocks["ladder"].sum(axis=(1, 2)).tolist() == [0, 15]


@pytest.mark.parametrize("side", ["B", "A"])
@pytest.mark.parametrize("sign", [1, -1])
def test_far_price__stays_off_the_tape_and_of_its_best_prices(side: str, sign: int) -> None:
    far, near = sign * MAX_TICK, sign * (MAX_TICK - 1)
    tape = compiled(clear(), add(1, side, far, 5), add(2, side, near, 1), cancel(2, side, near, 1))
    best = "bid" if side == "B" else "ask"
    assert [tape.rows(event) for event in (1, 2, 3)] == [
        [],
        [f"add {side} {near} 1 @1"],
        [f"del {side} {near} -1 @1 gone"],
    ]
    assert tape.events[best].tolist() == [enums.NO_TICK, enums.NO_TICK, near, enums.NO_TICK]
    assert tape.counters["far_prices"] == 1


def test_far_price__order_that_comes_near_is_a_new_one() -> None:
    tape = compiled(clear(), add(1, "B", -MAX_TICK, 5), add(2, "B", 100, 1), modify(1, "B", 99, 5))
    assert tape.rows(-1) == ["add B 99 5 @2"]
    tape = compiled(clear(), add(1, "B", 99, 5), add(2, "B", 100, 1), modify(1, "B", -MAX_TICK, 5))
    assert tape.rows(-1) == ["del B 99 -5 @1 gone"]


@pytest.mark.parametrize("price", [2**31 * TICK, -(2**31) * TICK, 2**61, -(2**61), -(2**63)])
def test_far_price__beyond_what_a_book_holds_is_invalid(price: int) -> None:
    strange = add(1, "B", 0, 5)._replace(price=price)
    tape = compile_array(stream(clear(), strange), tick_size=TICK if price % TICK == 0 else 1)
    assert tape.counters["invalid_records"] == 1
    assert tape.rows(-1) == []


# --- what can't be compiled


@pytest.mark.parametrize("flag", [TOP_OF_BOOK, AGGREGATED])
@pytest.mark.parametrize("number", [0, 2])
def test_compiler__refuses_levels_instead_of_orders(flag: int, number: int) -> None:
    """Also inside an event."""
    array = stream(add(1, "B", 100, 5), [add(2, "B", 99, 5), add(3, "B", 98, 5)])
    array["flags"][number] |= flag
    message = rf"record {number} is flagged F_TOB or F_MBP \(flags {array['flags'][number]}\)"
    with pytest.raises(SchemaError, match=message):
        compile_array(array)


def test_compiler__refuses_a_stream_without_event_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bt_gym.data.compiler.OPEN_EVENT_RECORDS", 3)
    compile_array(stream(clear(), [add(i, "B", 100, 5) for i in (1, 2, 3)]), cuts=(3,))
    with pytest.raises(CorruptFileError, match="record 1: 4 records without F_LAST"):
        compile_array(stream(clear(), [add(i, "B", 100, 5) for i in (1, 2, 3, 4)], ends=False))


def test_compiler__refuses_more_records_than_a_tape_can_number() -> None:
    compiler = Compiler(TICK)
    compiler.state["records"] = 2**31 - 1000
    assert len(list(compiler.feed(stream(clear())))) == 1
    compiler.state["records"] = 2**31 - 10
    with pytest.raises(CapacityError, match="2\\*\\*31"):
        list(compiler.feed(stream(clear())))


# --- phases


def test_phase__cold_start_is_suspect_until_the_book_is_known() -> None:
    tape = compiled(add(1, "B", 100, 5), trade("A", 100, 1), clear(), add(2, "B", 100, 5))
    assert tape.phases() == ["suspect", "suspect", "continuous", "continuous"]


def test_phase__gap_makes_the_book_suspect_until_it_is_restored() -> None:
    tape = compiled(
        *BOOK,
        [cancel(1, "B", 100, 5)._replace(flags=BAD_BOOK), cancel(2, "B", 100, 4)._replace(flags=BAD_BOOK)],
        add(5, "B", 99, 1),
        SNAP,
        add(6, "B", 99, 1),
    )
    assert tape.phases()[4:] == ["continuous", "suspect", "suspect", "snapshot", "continuous"]
    assert tape.counters["bad_book_events"] == 1


def test_phase__crossed_book_means_nothing_matched_since_the_last_trade() -> None:
    tape = compiled(
        clear(),
        add(1, "B", 100, 5),
        trade("A", 100, 1),
        add(2, "A", 102, 1),
        add(3, "A", 99, 1),  # crossed
        cancel(3, "A", 99, 1),
        trade("A", 100, 1),
        add(4, "B", 99, 1),
    )
    assert tape.phases() == ["continuous"] * 3 + ["pre_open"] * 3 + ["continuous"] * 2


def test_phase__trade_that_leaves_the_book_crossed_is_no_matching() -> None:
    tape = compiled(
        clear(),
        add(1, "B", 100, 5),
        [trade("A", 100, 1), add(2, "A", 100, 5)],
        nothing(),
        [trade("A", 100, 1), cancel(2, "A", 100, 5)],
    )
    assert tape.phases() == ["continuous", "continuous", "pre_open", "pre_open", "continuous"]


def test_phase__auction_ends_a_time_without_matching_even_if_nothing_crossed() -> None:
    tape = compiled(
        clear(),
        add(1, "B", 100, 5),
        add(2, "A", 101, 5),
        [trade("N", 100, 1), fill(1, "N", 100, 1), fill(2, "N", 100, 1), cancel(1, "B", 100, 1)],
        add(3, "B", 99, 5),
    )
    assert tape.phases() == ["pre_open"] * 3 + ["auction", "continuous"]


def test_phase__crossed_at_the_end_of_the_data_never_opened() -> None:
    tape = compiled(*BOOK, trade("B", 101, 1), add(5, "B", 101, 1), nothing())
    assert tape.phases() == ["continuous"] * 6 + ["pre_open"] * 2


def test_phase__snapshot_ends_a_stretch() -> None:
    tape = compiled(clear(), add(1, "B", 100, 5), add(2, "A", 99, 1), SNAP, add(3, "B", 100, 5))
    assert tape.phases() == ["pre_open"] * 3 + ["snapshot", "continuous"]


def test_phase__change_is_flagged_on_the_first_event_of_the_new_one() -> None:
    tape = compiled(add(1, "B", 100, 5), nothing(), clear(), nothing())
    assert tape.has(enums.EVENT_PHASE) == [True, False, True, False]


def test_quote__is_flagged_when_price_or_size_of_the_best_changes() -> None:
    tape = compiled(*BOOK, cancel(1, "B", 100, 1), add(5, "B", 99, 1), cancel(4, "A", 102, 1), add(6, "A", 100, 1))
    assert tape.has(enums.EVENT_QUOTE)[1:] == [True, True, True, False, True, False, False, True]


# --- clocks


def test_clock__event_is_received_with_its_last_record() -> None:
    array = stream(*BOOK, [trade("B", 101, 1), fill(3, "A", 101, 1), modify(3, "A", 101, 5)])
    array["ts_recv"][5:] = START + 5_000 + np.array([300, 9_000, 7_000])
    tape = compile_array(array)
    assert tape.events["delay"][-1] == 9_000


def test_clock__is_held_monotone() -> None:
    array = stream(*[nothing()] * 4)
    array["ts_event"] = START + np.array([0, 10, 5, 20])
    array["ts_recv"] = START + np.array([100, 90, 95, 110])
    tape = compile_array(array)
    assert (tape.events["ts_event"] - START).tolist() == [0, 10, 10, 20]
    assert tape.events["delay"].tolist() == [100, 90, 90, 90]
    assert tape.counters["clock_steps_back"] == 2


def test_clock__nothing_is_received_before_it_happened() -> None:
    array = stream(nothing(), nothing())
    array["ts_recv"] = array["ts_event"] + np.array([0, -500])
    assert compile_array(array).events["delay"].tolist() == [0, 0]


def test_clock__undefined_times_are_held() -> None:
    array = stream(nothing(), nothing(), nothing())
    array["ts_event"][1] = array["ts_recv"][1] = -1
    tape = compile_array(array)
    assert (tape.events["ts_event"] - START).tolist() == [0, 0, 2_000]
    assert tape.events["delay"].tolist() == [1_000, 1_000, 1_000]


def test_clock__what_comes_late_is_known_a_microsecond_later_still() -> None:
    array = stream(*[nothing()] * 6)
    array["ts_event"] = START + np.array([0, 1, 2, 3, 9_000_000_000, 9_000_000_001])
    array["ts_recv"] = START + np.array([2**32 - 1, 2**32, 2**33, 2**33 + 1, 2**33 + 1, 60 * 10**9])
    tape = compile_array(array)
    received = tape.events["ts_event"] + receive_delays(tape.events)
    assert (received - array["ts_recv"]).tolist()[:3] == [0, 0, 2]  # 2**33 - 2 in units of 1,024 ns
    assert (received[3:] - START).tolist() == [2**33 + 3, 9_000_000_000, 9_000_000_001 + 51_000_000_512]
    assert [received_at(event, 7) for event in tape.events] == (received + 7).tolist()
    assert tape.has(enums.EVENT_COARSE_DELAY) == [False, False, True, True, False, True]
    assert tape.counters["late_events"] == 3
    assert "clock_steps_back" not in tape.counters  # what was rounded is no step


def test_clock__delays_beyond_an_hour_saturate() -> None:
    array = stream(*[nothing()] * 3)
    array["ts_event"] = START + np.arange(3)
    array["ts_recv"] = START + np.array([2**42 - 1024, 2**42, 2**42])
    tape = compile_array(array)
    assert receive_delays(tape.events).tolist() == [2**42 - 1024, 2**42 - 1024, 2**42 - 1024]
    assert tape.counters["delays_saturated"] == 2


# --- checkpoints


def test_block__begins_with_the_book_as_its_event_finds_it() -> None:
    drift = BLOCK_DRIFT_TICKS
    far = 1000 + LADDER_TICKS
    tape = compiled(
        clear(),
        [add(1, "B", 1000, 5), add(2, "A", far, 5)],
        cancel(2, "A", far, 5),
        add(3, "B", 1000 + drift, 5),
        add(4, "B", 1001 + drift, 7),  # one tick too far
        add(5, "B", 1002 + drift, 1),
    )
    assert tape.blocks["event"].tolist() == [1, 2, 3, 5]
    centers = [0, 1000 + LADDER_TICKS // 2, 1000, 1001 + drift]
    assert tape.blocks["base"].tolist() == [tick - LADDER_TICKS // 2 for tick in centers]
    window = {tick: tape.blocks["ladder"][3, 0, tick - tape.blocks["base"][3]] for tick in (1000, 1120, 1121)}
    assert window == {1000: 5, 1120: 5, 1121: 7}
    assert tape.blocks["ladder"][3].sum() == 17
    assert tape.blocks["ladder"][1].sum() == 5  # the ask is just outside
    assert tape.blocks["ladder"][1, 0, 0] == 5


def test_block__follows_the_side_that_is_there() -> None:
    tape = compiled(clear(), add(1, "A", 1000, 5), add(2, "B", 900, 5), cancel(1, "A", 1000, 5), cancel(2, "B", 900, 5))
    assert (tape.blocks["base"] + LADDER_TICKS // 2).tolist() == [0, 1000]
