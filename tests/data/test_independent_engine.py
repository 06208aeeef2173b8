"""The L3 book against mbo-queue, an order book written by others from the same message rules.

Compared are whole books: every order's price, rank and size. Not its `fifo_rank`, which takes orders that self-match
prevention cancels for skipped ones. It lets an unchanged `M` keep its place, where bt_gym sends it to the back: such
records are left out.
"""

import numpy as np
import pytest
from hypothesis import given, settings

from bt_gym.data import dbn
from bt_gym.data.audit import Audit
from tests.reference.book import LAST, Book, Record, match_groups
from tests.reference.itch import itch_streams
from tests.reference.streams import TICK, to_array, valid_streams
from tests.reference.unfold import unfold

mboq_fast = pytest.importorskip("mboq.fast")

COLUMNS = ("ts_event", "order_id", "price", "size", "flags", "action", "side")
Queues = dict[str, dict[int, dict[int, int]]]


def their_books(records: np.ndarray, times: list[int]) -> list[Queues]:
    """mbo-queue's book at the last event up to each time: side -> price -> order id -> size, in priority order."""
    columns = {name: records[name] for name in COLUMNS}
    rows = mboq_fast.run(columns, TICK, queue_times=times, queue_levels=1 << 20)["queue"]
    books: list[Queues] = [{"B": {}, "A": {}} for _ in times]
    for moment, order_id, side, price, _, rank, size, ahead, *_ in rows.tolist():
        queue = books[moment]["B" if side == 1 else "A"].setdefault(price, {})
        assert (rank, ahead) == (len(queue), sum(queue.values()))
        queue[order_id] = size
    return books


def in_order(queues: Queues) -> list[tuple[str, int, list[tuple[int, int]]]]:
    """Queues as lists, since dictionaries of another order are equal."""
    return [(side, price, list(queues[side][price].items())) for side in "BA" for price in sorted(queues[side])]


def without_unchanged(records: list[Record]) -> list[Record]:
    """The stream with an `N` in the place of each `M` that changes neither price nor size and books no fill."""
    book, kept = Book(), []
    for group in match_groups(records):
        book.begin_event()
        filled = {record.order_id for record in group if record.action == "F"}
        for record in group:
            place = book.place.get(record.order_id)
            same = record.action == "M" and place == (record.side, record.price)
            if same and book.size(record.order_id) == record.size and record.order_id not in filled:
                record = record._replace(action="N")
            book.apply(record)
            kept.append(record)
    return kept


@given(valid_streams | itch_streams)
@settings(max_examples=50)
def test_book__equals_mbo_queue_on_any_valid_stream(records: list[Record]) -> None:
    records = without_unchanged(records)
    ends = [i + 1 for i, record in enumerate(records) if record.flags & LAST and record.action not in "TF"][::10]
    for end in ends[-5:]:
        array = to_array(records[:end])
        audit = Audit(TICK)
        audit.feed(array)
        (theirs,) = their_books(array, [2**62])
        assert in_order(unfold(audit.book, TICK)) == in_order(theirs)
        audit.finish()


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["ESH4_2023-12-25.mbo.dbn.zst", "ESM4_2024-05-08_2s.mbo.dbn.zst"])
def test_book__equals_mbo_queue_at_random_times_of_real_sessions(real_data, name: str) -> None:
    records = np.concatenate(list(dbn.open_dbn(real_data(name)).chunks()))
    live = records["flags"] & (dbn.FLAG_LAST | dbn.FLAG_SNAPSHOT) == dbn.FLAG_LAST
    reports = np.isin(records["action"], [dbn.ACTION_TRADE, dbn.ACTION_FILL])
    ends = np.sort(np.random.default_rng(1).choice(np.flatnonzero(live & ~reports), 20, replace=False)) + 1
    theirs = their_books(records, records["ts_event"][ends - 1].tolist())
    audit = Audit(TICK)
    for first, end, book in zip([0, *ends[:-1]], ends, theirs, strict=True):
        audit.feed(records[first:end])
        assert in_order(unfold(audit.book, TICK)) == in_order(book)
    audit.finish()
    assert sum(len(queues) for queues in theirs[-1].values()) > 1_000
