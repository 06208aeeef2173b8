"""The oracle itself: rules worked by hand, and the vendor's own books and counts of real files."""

import csv
from collections import Counter
from pathlib import Path

import databento
import numpy as np
import pytest
from hypothesis import given

from bt_gym.data import dbn
from tests.reference import book as reference
from tests.reference.book import LAST, SNAPSHOT, UNDEFINED_PRICE, Book, Level, Record
from tests.reference.itch import itch_streams
from tests.reference.streams import any_streams, to_array, valid_streams


def record(action: str, side: str = "B", price: int = 100, size: int = 1, order_id: int = 1, **other: int) -> Record:
    return Record(
        action=action, side=side, price=price, size=size, order_id=order_id, **{"ts_event": 1, "flags": 0} | other
    )


def book_of(*records: Record) -> Book:
    """The book after one event."""
    book = Book()
    book.begin_event()
    for message in records:
        book.apply(message)
    return book


def two_bids(first: int = 5) -> Book:
    """Order 1 of `first` lots before order 2 of 5, in an event of their own."""
    book = book_of(record("A", size=first, order_id=1), record("A", size=5, order_id=2))
    book.begin_event()
    return book


@pytest.mark.parametrize(
    ("modified", "fill", "queue"),
    [
        (3, 0, [(1, 3), (2, 5)]),  # decrease keeps the place
        (7, 0, [(2, 5), (1, 7)]),  # increase loses it
        (5, 0, [(2, 5), (1, 5)]),  # no visible change: account or the like, loses it
        (3, 2, [(1, 3), (2, 5)]),  # what the fill left
        (2, 2, [(1, 2), (2, 5)]),  # filled and decreased
        (4, 2, [(2, 5), (1, 4)]),  # refreshed iceberg
        (5, 7, [(2, 5), (1, 5)]),  # filled beyond what was displayed, refreshed
        (0, 0, [(2, 5)]),  # nothing left
    ],
)
def test_modify__priority_by_size_and_fills(modified: int, fill: int, queue: list[tuple[int, int]]) -> None:
    book = two_bids()
    if fill:
        book.apply(record("T", "A", size=fill, order_id=9))
        book.apply(record("F", size=fill))
    book.apply(record("M", size=modified))
    assert list(book.queue("B", 100).items()) == queue


def test_modify__new_price_goes_to_the_back_there() -> None:
    book = two_bids()
    book.apply(record("A", price=101, size=4, order_id=3))
    book.apply(record("M", price=101, size=2, order_id=1))
    assert book.depth("B", 5) == [Level(101, 6, 2), Level(100, 5, 1)]
    assert list(book.queue("B", 101)) == [3, 1]


def test_modify__own_fill_of_the_aggressor_is_no_fill() -> None:
    book = two_bids()
    for message in (record("T", "B", price=102, size=2, order_id=1), record("F", price=102, size=2)):
        book.apply(message)
    book.apply(record("M", size=4))  # a decrease from 5, not a refresh from 3
    assert list(book.queue("B", 100)) == [1, 2]


def test_modify__fill_of_an_earlier_event_does_not_count() -> None:
    book = two_bids()
    for message in (record("T", "A", size=2, order_id=9), record("F", size=2)):
        book.apply(message)
    book.begin_event()
    book.apply(record("M", size=4))
    assert list(book.queue("B", 100)) == [1, 2]


def test_cancel__takes_a_part_and_keeps_the_place() -> None:
    book = two_bids()
    book.apply(record("C", size=2))
    assert list(book.queue("B", 100).items()) == [(1, 3), (2, 5)]
    book.apply(record("C", size=3))
    assert list(book.queue("B", 100).items()) == [(2, 5)]


@pytest.mark.parametrize(
    ("message", "anomaly", "ids"),
    [
        (record("C", order_id=7), "unknown_cancels", [1, 2]),
        (record("M", order_id=7), "unknown_modifies", [1, 2, 7]),
        (record("F", order_id=7), "unknown_fills", [1, 2]),
        (record("A", order_id=1), "duplicate_adds", [2, 1]),
        (record("C", size=6), "over_cancels", [2]),
        (record("M", "A", price=103), "side_changes", [2]),
        (record("A", "N", order_id=7), "invalid_records", [1, 2]),
        (record("A", size=0, order_id=7), "invalid_records", [1, 2]),
        (record("A", price=UNDEFINED_PRICE, order_id=7), "invalid_records", [1, 2]),
        (record("M", price=UNDEFINED_PRICE), "invalid_records", [2]),
        (record("X"), "invalid_records", [1, 2]),
    ],
)
def test_apply__counts_what_no_venue_should_send(message: Record, anomaly: str, ids: list[int]) -> None:
    book = two_bids()
    book.apply(message)
    assert +book.anomalies == Counter({anomaly: 1})
    assert list(book.queue("B", 100)) == ids


def test_snapshot__without_clear_replaces_the_book() -> None:
    book = two_bids()
    for number in (3, 4):
        book.apply(record("A", order_id=number, flags=SNAPSHOT))
    assert list(book.place) == [3, 4]
    assert book.anomalies["implicit_clears"] == 1


def test_match_groups__end_at_last_flag_and_around_snapshots() -> None:
    stream = [
        record("A", flags=SNAPSHOT, order_id=1),
        record("A", flags=SNAPSHOT, order_id=2),
        record("T", "A", order_id=9),
        record("F", order_id=1),
        record("C", order_id=1, flags=LAST),
        record("A", order_id=3, flags=LAST),
    ]
    assert [len(group) for group in reference.match_groups(stream)] == [1, 1, 3, 1]


def test_match_groups__one_execution_in_three_flagged_records_is_one_event() -> None:
    execution = [record(action, flags=LAST, sequence=5) for action in "TFC"]
    cancel = record("C", order_id=2, flags=LAST, sequence=5)
    assert [len(group) for group in reference.match_groups([*execution, cancel])] == [3, 1]
    later = [execution[0], *(message._replace(sequence=6) for message in execution[1:])]
    assert [len(group) for group in reference.match_groups(later)] == [1, 2]


def test_fifo__allocates_past_orders_that_leave_without_a_fill() -> None:
    book = two_bids()
    group = [
        record("T", "A", size=3, order_id=9),
        record("F", size=3, order_id=2),
        record("C", size=5, order_id=1),
        record("M", size=2, order_id=2, flags=LAST),
    ]
    (trade,) = reference.trades_of(group, book)
    assert trade.queue == {2: 5}
    assert reference.fifo_verdict(trade) == "exact"
    assert reference.is_conserved(group)
    (unfair,) = reference.trades_of(group[:2], book)  # without the cancel order 1 should have been filled
    assert reference.fifo_verdict(unfair) == "mismatch"


def test_fill_rule__predicts_from_those_ahead_and_behind() -> None:
    trade = reference.Trade(record("T", "A", size=7), {1: 5, 2: 5, 3: 5}, Counter({1: 5, 2: 2}))
    assert list(reference.fill_rule(trade)) == [(5, 5), (2, 2), (0, 0)]
    skipped = reference.Trade(record("T", "A", size=2), {1: 5, 2: 5}, Counter({2: 2}))
    assert list(reference.fill_rule(skipped)) == [(2, 0), (0, 2)]


@given(valid_streams | itch_streams)
def test_streams__valid_ones_satisfy_every_check(records: list[Record]) -> None:
    result = reference.validate(records)
    assert result["fifo"]["mismatch"] == 0
    assert result["fill_rule"]["fills"] == result["fill_rule"]["predicted"]
    assert result["fill_rule"]["non_fills"] == result["fill_rule"]["non_fills_predicted"]
    assert result["conservation"]["events"] == result["conservation"]["equal"]


@given(any_streams)
def test_streams__survive_the_dbn_layout(records: list[Record]) -> None:
    assert reference.to_records(to_array(records)) == records


def read(path: Path) -> list[Record]:
    """The MBO records of a real file."""
    return reference.to_records(np.concatenate(list(dbn.open_dbn(path).chunks())))


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "ESH4_2023-12-25.mbo.dbn.zst",
            {
                "records": 68_792,
                "events": 47_022,
                "book_digest": "feb7ae2a0329ebe50f8a2dfc7037a07c74b7633c8f5007f7074f5934adcb0aea",
                "live_orders": 11_217,
                "live_orders_by_side": {"bid": 6_935, "ask": 4_282},
                "resting_size_by_side": {"bid": 22_050, "ask": 20_110},
                "trades": 2_973,
                "volume": 9_892,
                "crossed_events": 891,
                "level1_changes": 25_440,
                "fifo": {"trades": 2_972, "exact": 2_945, "iceberg": 27, "mismatch": 0},
                "fill_rule": {"fills": 6_026, "predicted": 6_026, "non_fills": 16_656, "non_fills_predicted": 16_656},
                "conservation": {"events": 2_833, "equal": 2_833},
                "anomalies": {"unknown_fills": 7},
            },
        ),
        (
            "ESM4_2024-05-08_2s.mbo.dbn.zst",
            {
                "events": 185,
                "book_digest": "0064945f0da5ab74d629cf148a0f58d0f0cae25911767ab7868a9d005f1e99db",
                "live_orders": 13_598,
                "trades": 5,
                "volume": 6,
                "anomalies": {},
            },
        ),
    ],
)
def test_validate__equals_the_known_numbers_of_real_files(real_data, name: str, expected: dict) -> None:
    result = reference.validate(read(real_data(name)))
    assert {field: result[field] for field in expected} == expected


@pytest.mark.real_data
def test_book__two_days_in_a_row_have_one_implicit_clear(real_data) -> None:
    names = ("ESH4_2023-12-24_snapshot.mbo.dbn.zst", "ESH4_2023-12-25.mbo.dbn.zst")
    book = Book()
    for name in names:
        book.begin_file()
        for message in read(real_data(name)):
            book.apply(message)
    assert +book.anomalies == Counter({"implicit_clears": 1, "unknown_fills": 7})


def agreement(records: list[Record], rows: list[tuple[tuple[int, int], dict[str, list[Level]]]]) -> tuple[int, int]:
    """(comparable states, equal ones): vendor's depth rows against the states of the same (ts_event, sequence)."""
    vendor: dict[tuple[int, int], dict[str, list[Level]]] = dict(rows)
    book, comparable, equal = Book(), 0, 0
    for message in records:
        book.apply(message)
        key = message.ts_event, message.sequence
        if message.flags & LAST and key in vendor:
            depth = vendor.pop(key)
            comparable += 1
            equal += all(
                [level for level in depth[side] if level.count] == book.depth(side, len(depth[side])) for side in "BA"
            )
    return comparable, equal


@pytest.mark.real_data
@pytest.mark.parametrize(("schema", "levels", "states"), [("mbp-10", 10, 4), ("mbp-1", 1, 3)])
def test_book__equals_the_vendors_depth_from_an_empty_book(real_data, schema: str, levels: int, states: int) -> None:
    rows = databento.DBNStore.from_bytes(
        real_data(f"databento_samples/XNAS.ITCH.{schema}.dbn.zst").read_bytes()
    ).to_ndarray()
    depths = [
        (
            (int(row["ts_event"]), int(row["sequence"])),
            {
                side: [
                    Level(*(int(row[f"{name}_{part}_{i:02d}"]) for part in ("px", "sz", "ct"))) for i in range(levels)
                ]
                for side, name in (("B", "bid"), ("A", "ask"))
            },
        )
        for row in rows
    ]
    records = read(real_data("databento_samples/XNAS.ITCH.mbo.dbn.zst"))
    assert agreement(records, depths) == (states, states)


def nanoseconds(text: str) -> int:
    return int(np.datetime64(text.removesuffix("Z"), "ns").astype(np.int64))


def price(text: str) -> int:
    """Nine decimals, read without a float."""
    return int(text.replace(".", "")) if text else UNDEFINED_PRICE


@pytest.mark.real_data
def test_book__equals_the_vendors_ten_levels(real_data) -> None:
    with open(real_data("ESZ2_2022-01-03.mbo.csv"), newline="") as file:
        records = [
            Record(
                nanoseconds(row["ts_event"]),
                int(row["order_id"]),
                price(row["price"]),
                int(row["size"]),
                int(row["flags"]),
                row["action"],
                row["side"],
                int(row["sequence"]),
            )
            for row in csv.DictReader(file)
        ]
    with open(real_data("ESZ2_2022-01-03.mbp-10.csv"), newline="") as file:
        depths = [
            (
                (nanoseconds(row["ts_event"]), int(row["sequence"])),
                {
                    side: [
                        Level(
                            price(row[f"{name}_px_{i:02d}"]),
                            int(row[f"{name}_sz_{i:02d}"]),
                            int(row[f"{name}_ct_{i:02d}"]),
                        )
                        for i in range(10)
                    ]
                    for side, name in (("B", "bid"), ("A", "ask"))
                },
            )
            for row in csv.DictReader(file)
        ]
    assert agreement(records, depths) == (16, 16)
