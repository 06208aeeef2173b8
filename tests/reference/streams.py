"""Hypothesis strategies for MBO streams: events as real venues report them, and events that no venue should send.

A stream is drawn as a list of small numbers, one tuple an event, and written down by a `Scribe` that knows the book
so far. So examples shrink to few and simple events, and most cancels meet a live order.
"""

from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st

from bt_gym.data import dbn
from tests.reference.book import LAST, OPPOSITE, SNAPSHOT, UNDEFINED_PRICE, Book, Record, allocate

TICK = 250_000_000
START = 1_700_000_000_000_000_000


class Scribe:
    """Writes records and keeps the book that they make."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.book = Book()
        self.next_id = 1
        self.now = START
        self.sequence = 1_000

    def write(self, *event: Record) -> None:
        """Take the records of one event, in order."""
        self.book.begin_event()
        for record in event:
            self.records.append(record)
            self.book.apply(record)
        self.now += 1_000
        self.sequence += 1

    def hold_clock(self, number: int) -> None:
        """Some events share their time with the one before, some their sequence number."""
        self.now -= 1_000 * (number % 8 == 1)
        self.sequence -= number % 8 == 2

    def record(self, action: str, side: str = "N", ticks: int = 0, size: int = 0, **other: int) -> Record:
        """A record of the current moment, without F_LAST; `price` in `other` overrides `ticks`."""
        fields = {"order_id": 0, "flags": 0, "price": ticks * TICK} | other
        return Record(self.now, action=action, side=side, size=size, sequence=self.sequence, **fields)

    def new_id(self) -> int:
        self.next_id += 1
        return self.next_id

    def pick(self, number: int) -> tuple[int, str, int, int] | None:
        """Some live order: (id, side, ticks, size)."""
        if not self.book.place:
            return None
        order_id = sorted(self.book.place)[number % len(self.book.place)]
        side, price = self.book.place[order_id]
        return order_id, side, price // TICK, self.book.size(order_id)


def last(*records: Record) -> list[Record]:
    """The same records, F_LAST on the last one."""
    return [*records[:-1], records[-1]._replace(flags=records[-1].flags | LAST)]


Event = Callable[[Scribe, int, int, int, str], None]
"""Writes one event from (number to pick an order with, price in ticks, size, side)."""


def add(scribe: Scribe, number: int, ticks: int, size: int, side: str) -> None:
    scribe.write(*last(scribe.record("A", side, ticks, size, order_id=scribe.new_id())))


def cancel(scribe: Scribe, number: int, ticks: int, size: int, side: str) -> None:
    """Cancel an order, in part if `size` is less than what it shows."""
    if order := scribe.pick(number):
        order_id, side, ticks, displayed = order
        scribe.write(*last(scribe.record("C", side, ticks, min(size, displayed), order_id=order_id)))


def cancel_whole(scribe: Scribe, number: int, ticks: int, size: int, side: str) -> None:
    cancel(scribe, number, ticks, 2**31, side)


def resize(scribe: Scribe, number: int, ticks: int, size: int, side: str) -> None:
    """Modify the size: up, down, not at all, or to nothing."""
    if order := scribe.pick(number):
        order_id, side, ticks, displayed = order
        scribe.write(*last(scribe.record("M", side, ticks, max(displayed + size % 5 - 2, 0), order_id=order_id)))


def reprice(scribe: Scribe, number: int, ticks: int, size: int, side: str) -> None:
    if order := scribe.pick(number):
        scribe.write(*last(scribe.record("M", order[1], ticks, size, order_id=order[0])))


def trade(scribe: Scribe, number: int, ticks: int, size: int, side: str) -> None:
    """A CME trade event that walks up to two levels: T and its F's by level, then all changes of the book.

    Bits of `number` add: a self-match cancel of the first order, an iceberg that is filled beyond its display and
    refreshed, an aggressor that was itself resting, a remainder of the aggressor that joins the book first.
    """
    resting = OPPOSITE[side]
    aggressor = scribe.new_id()
    reports: list[Record] = []
    updates: list[Record] = []
    for level in scribe.book.depth(resting, 2):
        level_ticks = level.price // TICK
        queue = dict(scribe.book.queue(resting, level.price))
        if number & 1 and len(queue) > 1:
            skipped = next(iter(queue))
            updates.append(scribe.record("C", resting, level_ticks, queue.pop(skipped), order_id=skipped))
        fills = allocate(size, queue)
        size -= sum(fills.values())
        hidden = 3 if number & 2 and fills and size == 0 else 0
        if not fills:
            break
        reports.append(scribe.record("T", side, level_ticks, sum(fills.values()) + hidden, order_id=aggressor))
        if number & 4:
            reports.append(scribe.record("F", side, level_ticks, sum(fills.values()), order_id=aggressor))
        for order_id, filled in fills.items():
            extra, hidden = (hidden, 0) if order_id == list(fills)[-1] else (0, hidden)
            reports.append(scribe.record("F", resting, level_ticks, filled + extra, order_id=order_id))
            left = queue[order_id] - filled
            if extra or left:
                shown = queue[order_id] if extra else left
                updates.append(scribe.record("M", resting, level_ticks, shown, order_id=order_id))
            else:
                updates.append(scribe.record("C", resting, level_ticks, queue[order_id], order_id=order_id))
    if reports:
        remainder = [scribe.record("A", side, ticks, size, order_id=aggressor)] if size and number & 8 else []
        scribe.write(*last(*reports, *remainder, *updates))


def take_by_modify(scribe: Scribe, number: int, ticks: int, size: int, side: str) -> None:
    """A resting order is modified to a marketable price: the T has its id, and it gets an F of its own."""
    order = scribe.pick(number)
    if not order:
        return
    aggressor, side, ticks, displayed = order
    for level in scribe.book.depth(OPPOSITE[side], 1):
        level_ticks = level.price // TICK
        fills = allocate(displayed, scribe.book.queue(OPPOSITE[side], level.price))
        traded = sum(fills.values())
        resting = [(i, filled, scribe.book.size(i) - filled) for i, filled in fills.items()]
        reports = [
            scribe.record("T", side, level_ticks, traded, order_id=aggressor),
            scribe.record("F", side, level_ticks, traded, order_id=aggressor),
            *(scribe.record("F", OPPOSITE[side], level_ticks, filled, order_id=i) for i, filled, _ in resting),
        ]
        own = scribe.record("M", side, level_ticks, displayed - traded, order_id=aggressor)
        if traded == displayed:
            own = scribe.record("C", side, ticks, displayed, order_id=aggressor)
        updates = [
            scribe.record("M" if left else "C", OPPOSITE[side], level_ticks, left or filled, order_id=i)
            for i, filled, left in resting
        ]
        scribe.write(*last(*reports, own, *updates))


def unfair_trade(scribe: Scribe, number: int, ticks: int, size: int, side: str) -> None:
    """A trade that some order of the best level gets, whether or not it is its turn."""
    resting = OPPOSITE[side]
    for level in scribe.book.depth(resting, 1):
        queue, level_ticks = list(scribe.book.queue(resting, level.price).items()), level.price // TICK
        order_id, displayed = queue[number % len(queue)]
        scribe.write(
            *last(
                scribe.record("T", side, level_ticks, displayed, order_id=scribe.new_id()),
                scribe.record("F", resting, level_ticks, displayed, order_id=order_id),
                scribe.record("C", resting, level_ticks, displayed, order_id=order_id),
            )
        )


def execution(scribe: Scribe, number: int, ticks: int, size: int, side: str) -> None:
    """A Nasdaq execution: T, F and partial C, each with F_LAST, of one (ts_event, sequence)."""
    resting = OPPOSITE[side]
    for level in scribe.book.depth(resting, 1):
        order_id, displayed = next(iter(scribe.book.queue(resting, level.price).items()))
        filled, level_ticks = min(size, displayed), level.price // TICK
        scribe.write(
            scribe.record("T", side, level_ticks, filled, flags=LAST),
            scribe.record("F", resting, level_ticks, filled, flags=LAST, order_id=order_id),
            scribe.record("C", resting, level_ticks, filled, flags=LAST, order_id=order_id),
        )


def auction(scribe: Scribe, number: int, ticks: int, size: int, side: str) -> None:
    """A trade without side, F's of both sides at the uncross price, some of orders that were never shown."""
    orders = [(order_id, scribe.pick(i)) for i, order_id in enumerate(sorted(scribe.book.place)[:number])]
    scribe.write(
        *last(
            scribe.record("T", "N", ticks, size),
            scribe.record("F", "N", ticks, size, order_id=scribe.new_id()),
            *(scribe.record("F", "N", ticks, found[3], order_id=order_id) for order_id, found in orders if found),
            *(scribe.record("C", found[1], found[2], found[3], order_id=i) for i, found in orders if found),
        )
    )


def clear(scribe: Scribe, number: int, ticks: int, size: int, side: str) -> None:
    scribe.write(*last(scribe.record("R", price=UNDEFINED_PRICE)))


def snapshot(scribe: Scribe, number: int, ticks: int, size: int, side: str) -> None:
    """A restored book, with or without a leading R and a closing F_LAST."""
    adds = [
        scribe.record("A", "BA"[i % 2], ticks - 2 + 5 * (i % 2), 1 + i % size, flags=SNAPSHOT, order_id=scribe.new_id())
        for i in range(1 + number % 7)
    ]
    first = [scribe.record("R", price=UNDEFINED_PRICE, flags=SNAPSHOT)] if number & 8 else []
    scribe.write(*first, *(last(*adds) if number & 16 else adds))


def nothing(scribe: Scribe, number: int, ticks: int, size: int, side: str) -> None:
    scribe.write(*last(scribe.record("N")))


def stray(scribe: Scribe, number: int, ticks: int, size: int, side: str) -> None:
    """One record that makes no sense: an unknown or reused id, an impossible size, side, price or action."""
    unknown = scribe.new_id() + 1_000_000
    order_id, order_side, order_ticks, displayed = scribe.pick(number) or (unknown, side, ticks, size)
    kinds = [
        scribe.record("C", side, ticks, size, order_id=unknown),
        scribe.record("M", side, ticks, size, order_id=unknown),
        scribe.record("M", side, ticks, 0, order_id=unknown),
        scribe.record("F", side, ticks, size, order_id=unknown),
        scribe.record("F", order_side, order_ticks, size, order_id=order_id),
        scribe.record("A", side, ticks, size, order_id=order_id),
        scribe.record("A", side, ticks, 0, order_id=scribe.new_id()),
        scribe.record("C", order_side, order_ticks, displayed + size, order_id=order_id),
        scribe.record("C", order_side, order_ticks, 0, order_id=order_id),
        scribe.record("M", OPPOSITE[order_side], ticks, size, order_id=order_id),
        scribe.record("M", order_side, order_ticks, 0, order_id=order_id),
        scribe.record("A", "N", ticks, size, order_id=scribe.new_id()),
        scribe.record("M", "N", ticks, size, order_id=order_id),
        scribe.record("A", side, size=size, price=UNDEFINED_PRICE, order_id=scribe.new_id()),
        scribe.record("M", side, size=size, price=UNDEFINED_PRICE, order_id=order_id),
        scribe.record("T", side, ticks, size, order_id=order_id),
        scribe.record("X", side, ticks, size, order_id=order_id),
    ]
    record = kinds[number % len(kinds)]
    scribe.write(*(last(record) if size % 4 else [record]))  # sometimes the event stays open


VALID: list[Event] = [*[add] * 7, *[resize, trade] * 2, cancel, cancel_whole, reprice, take_by_modify, execution]
RARE: list[Event] = [auction, clear, snapshot, nothing]
INVALID: list[Event] = [stray, unfair_trade]


def _written(events: list[tuple[Event, int, int, int, str]]) -> list[Record]:
    scribe = Scribe()
    for event, number, ticks, size, side in events:
        scribe.hold_clock(number)
        event(scribe, number, ticks, size, side)
    return scribe.records


def streams(kinds: list[Event]) -> st.SearchStrategy[list[Record]]:
    """Lists of records, on few price levels so that queues grow, around zero so that prices are also negative."""
    number, ticks, size = st.integers(0, 31), st.sampled_from([0, 0, 0, 1, -1, 2, -3]), st.integers(1, 9)
    event = st.tuples(st.sampled_from(kinds), number, ticks, size, st.sampled_from("BA"))
    events = st.one_of(st.lists(event, max_size=10), st.lists(event, min_size=80, max_size=120))
    return events.map(_written)


valid_streams = streams(VALID)
any_streams = streams(VALID + RARE + INVALID)


def to_array(records: list[Record]) -> np.ndarray:
    """(R,) of `mbo_dtype`, received 1 us after they happened."""
    columns = {name: [getattr(record, name) for record in records] for name in Record._fields}
    columns |= {name: [ord(letter) for letter in columns[name]] for name in ("action", "side")}
    return dbn.mbo_records(len(records), ts_recv=[record.ts_event + 1_000 for record in records], **columns)
