"""The compiled audit against the slow reference: books, queues, digests and every check, on any stream."""

from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bt_gym.data import audit as audit_module
from bt_gym.data import dbn
from bt_gym.data.audit import Audit
from bt_gym.errors import CorruptFileError, SchemaError
from tests.reference import book as reference
from tests.reference.book import LAST, SNAPSHOT, Record
from tests.reference.itch import hostile
from tests.reference.streams import RARE, TICK, VALID, any_streams, streams, to_array
from tests.reference.unfold import unfold

HOSTILE = hostile(any_streams)

pytestmark = pytest.mark.kernel


def audited(records: list[Record], cuts: tuple[int, ...] = (), **sizes: int) -> Audit:
    """The audit of a stream that arrives in pieces."""
    audit = Audit(TICK, **{"buffer_states": 64} | sizes)
    for chunk in np.split(to_array(records), cuts):
        audit.feed(chunk)
    audit.finish()
    return audit


def comparable(counts: dict[str, Any]) -> dict[str, Any]:
    """Counts without zeros among the anomalies and in one notation of an empty side."""
    best = {side: tuple(counts[side] or reference.NO_LEVEL) for side in ("best_bid", "best_ask")}
    anomalies = {name: number for name, number in counts["anomalies"].items() if number}
    return counts | best | {"anomalies": anomalies}


def final_book(records: list[Record]) -> reference.Book:
    """The reference book after the last complete event."""
    book = reference.Book()
    for group in reference.match_groups(records):
        if group[-1].flags & (LAST | SNAPSHOT) or group[-1] is not records[-1]:
            book.begin_event()
            for message in group:
                book.apply(message)
    return book


@given(HOSTILE)
def test_audit__counts_what_the_reference_counts(records: list[Record]) -> None:
    audit = audited(records)
    counts = audit.counts()
    aggressors = counts.pop("volume_by_aggressor")
    assert comparable(counts) == comparable(reference.validate(records))
    assert sum(aggressors.values()) == counts["volume"]
    assert unfold(audit.book, TICK) == final_book(records).queues


@given(streams(VALID + RARE))
@settings(max_examples=25)
def test_audit__has_the_reference_book_after_every_event(records: list[Record]) -> None:
    groups, end = list(reference.match_groups(records)), 0
    for group in groups[:20]:
        end += len(group)
        assert unfold(audited(records[:end]).book, TICK) == final_book(records[:end]).queues


@given(HOSTILE, st.lists(st.integers(0, 300), max_size=5))
@settings(max_examples=50)
def test_audit__does_not_depend_on_where_chunks_are_cut(records: list[Record], cuts: list[int]) -> None:
    whole = audited(records, buffer_states=1 << 10)
    for places in (sorted(cuts), range(len(records))):
        pieces = audited(records, tuple(places), buffer_states=1)
        assert pieces.counts() == whole.counts()
        assert unfold(pieces.book) == unfold(whole.book)


@pytest.mark.skipif(not numba.config.DISABLE_JIT, reason="would compile the audit once for each size of book")
@given(HOSTILE)
@example([Record(1, tick, TICK * tick, 1, LAST, "A", "A") for tick in (1, 2, 3)])
@example([Record(1, tick, TICK * tick, 1, LAST, "A", "B") for tick in (1, 2, 3)])
@example([Record(1, number, TICK, 1, LAST, "A", "B") for number in range(8)])
def test_audit__book_grows_with_its_orders(records: list[Record]) -> None:
    audit = audited(records, book_bits=3)  # 7 orders, 2 levels a side
    assert audit.counts() == audited(records).counts()
    assert unfold(audit.book, TICK) == final_book(records).queues


def test_audit__refuses_price_levels_instead_of_orders() -> None:
    levels = [Record(1, 0, TICK, 1, LAST | reference.AGGREGATED, "A", "B")]
    with pytest.raises(SchemaError, match="flags 144 mark a price level"):
        audited(levels)


def test_audit__refuses_a_stream_without_event_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_module, "OPEN_EVENT_RECORDS", 3)
    with pytest.raises(CorruptFileError, match="4 records without F_LAST"):
        audited([Record(1, number, TICK, 1, 0, "A", "B") for number in range(1, 5)])


def test_audit__leaves_orders_off_the_grid_out_and_counts_them() -> None:
    stream = [
        Record(1, 1, TICK, 1, LAST, "A", "B"),
        Record(2, 2, TICK + 1, 1, LAST, "A", "B"),
        Record(3, 1, TICK // 2, 1, LAST, "M", "B"),  # leaves its level for a price that can't be
    ]
    counts = audited(stream).counts()
    assert counts["anomalies"]["off_tick_orders"] == 2
    assert counts["live_orders"] == 0


def test_audit__hidden_trade_between_ticks_meets_no_queue() -> None:
    stream = [
        Record(1, 1, TICK, 5, LAST, "A", "A"),
        Record(2, 9, TICK + 1, 3, 0, "T", "B"),
        Record(2, 1, TICK + 1, 3, LAST, "F", "A"),
    ]
    assert audited(stream).counts()["fifo"] == {"trades": 1, "exact": 0, "iceberg": 1, "mismatch": 0}


def message(action: str, order_id: int, size: int, side: str = "B") -> Record:
    return Record(2, order_id, TICK, size, 0, action, side)


@pytest.mark.parametrize(
    ("filled", "updates", "queue"),
    [
        (6, [message("C", 1, 5), message("A", 3, 4), message("A", 4, 4), message("M", 3, 3)], [2, 3, 4]),  # same slot
        (6, [message("A", 1, 4), message("A", 3, 4), message("M", 1, 3)], [2, 1, 3]),  # same id, another order
        (6, [message("R", 0, 0, "N"), message("A", 3, 4), message("A", 4, 4), message("M", 3, 3)], [3, 4]),
        (3, [message("C", 1, 3), message("M", 1, 1)], [1, 2]),  # the C booked the fill: the M is a decrease
        (2, [message("M", 1, 3), message("M", 1, 2)], [1, 2]),  # the first M booked it: the second is a decrease
    ],
)
def test_audit__fill_counts_until_a_cancel_or_modify_books_it(
    filled: int, updates: list[Record], queue: list[int]
) -> None:
    """Order 1 of 5 lots before order 2 of 5 is filled, then the changes of the event come."""
    stream = [message("A", 1, 5), message("A", 2, 5)._replace(flags=LAST)]
    stream += [message("T", 9, filled, "A"), message("F", 1, filled), *updates[:-1], updates[-1]._replace(flags=LAST)]
    assert list(unfold(audited(stream).book, TICK)["B"][TICK]) == queue
    assert list(final_book(stream).queue("B", TICK)) == queue


def test_audit__conservation_counts_fills_reported_before_the_trade() -> None:
    stream = [message("A", 1, 5)._replace(flags=LAST), message("F", 1, 3), message("T", 9, 3, "A")._replace(flags=LAST)]
    assert audited(stream).counts()["conservation"] == {"events": 1, "equal": 1}


def test_audit__level1_changes_with_price_size_or_count() -> None:
    stream = [
        message("A", 1, 2)._replace(flags=LAST),  # the first state counts
        message("N", 0, 0, "N")._replace(flags=LAST),
        message("C", 1, 2),
        message("A", 2, 1),
        message("A", 3, 1)._replace(flags=LAST),  # as many lots, in two orders
        message("M", 3, 1)._replace(flags=LAST),  # to the back: nothing to see
        message("A", 4, 1, "A")._replace(flags=LAST),
        message("A", 5, 1)._replace(price=0, flags=LAST),  # behind the best
    ]
    counts = audited(stream).counts()
    assert counts["level1_changes"] == 3
    assert counts["crossed_events"] == 2  # locked is crossed


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["ESH4_2023-12-25.mbo.dbn.zst", "ESM4_2024-05-08_2s.mbo.dbn.zst"])
def test_audit__has_every_queue_of_a_real_book(real_data, name: str) -> None:
    chunks = list(dbn.open_dbn(real_data(name)).chunks())
    audit = Audit(TICK)
    for chunk in chunks:
        audit.feed(chunk)
    audit.finish()
    assert unfold(audit.book, TICK) == final_book(reference.to_records(np.concatenate(chunks))).queues
