"""A slow, obvious order book over raw MBO records, and the checks a right book must pass.

The twin of `bt_gym.data.book` and `bt_gym.data.validate`: plain dictionaries, prices in 1e-9 units, one record at a
time. An order's place in its queue is its place in a dictionary, which keeps the order of insertion.

Rules: Databento, "State management of resting orders" and "MBO snapshot"; CME Globex, "Order Functionalities"
(what loses priority). T, F and N never change the book, because fills come with a cancel or a modify.
"""

import hashlib
import struct
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

LAST, TOP_OF_BOOK, SNAPSHOT, AGGREGATED = 128, 64, 32, 16
UNDEFINED_PRICE = 2**63 - 1
NO_LEVEL = (UNDEFINED_PRICE, 0, 0)
OPPOSITE = {"B": "A", "A": "B"}


class Record(NamedTuple):
    """The fields of one MBO record that a book needs, as Python values."""

    ts_event: int
    order_id: int
    price: int
    size: int
    flags: int
    action: str
    side: str
    sequence: int = 0


class Level(NamedTuple):
    """One price of one side, as seen from outside."""

    price: int
    size: int
    count: int


def to_records(array: np.ndarray) -> list[Record]:
    """Turn a structured array of MBO records into Python records; letters may be bytes or character codes."""

    def letters(name: str) -> list[str]:
        return [code.decode() if isinstance(code, bytes) else chr(code) for code in array[name].tolist()]

    numbers = [array[name].tolist() for name in ("ts_event", "order_id", "price", "size", "flags")]
    rows = zip(*numbers, letters("action"), letters("side"), array["sequence"].tolist(), strict=True)
    return [Record(*row) for row in rows]


def match_groups(records: Iterable[Record]) -> Iterator[list[Record]]:
    """Cut a stream into events: what the exchange did at one go.

    An event ends at F_LAST, unless a fill of the same (ts_event, sequence) is still being reported: Nasdaq's T, F
    and C of one execution are three F_LAST records. Every snapshot record is an event of its own.
    """
    group: list[Record] = []
    for record in records:
        if group and _ends_event(group[-1], record):
            yield group
            group = []
        group.append(record)
    if group:
        yield group


def _ends_event(last: Record, record: Record) -> bool:
    if (last.flags | record.flags) & SNAPSHOT:
        return True
    same_execution = (last.ts_event, last.sequence) == (record.ts_event, record.sequence)
    reports_fill = last.action in "TF" and record.action in "FC" and same_execution
    return bool(last.flags & LAST) and not reports_fill


def is_own_fill(fill: Record, trade: Record | None) -> bool:
    """Whether an F is of the order that was modified into the market: id and side of its T."""
    return trade is not None and fill.order_id == trade.order_id and fill.side != OPPOSITE.get(trade.side)


class Book:
    """All resting orders of one instrument, each level a queue in priority order."""

    def __init__(self) -> None:
        self.place: dict[int, tuple[str, int]] = {}  # order id -> (side, price)
        self.queues: dict[str, dict[int, dict[int, int]]] = {"B": {}, "A": {}}  # side -> price -> order id -> size
        self.prices: dict[str, list[int]] = {"B": [], "A": []}  # prices of the levels, ascending
        self.anomalies: Counter[str] = Counter()
        self._live = True  # the last record was not part of a snapshot
        self._trade: Record | None = None
        self._filled: Counter[int] = Counter()  # reported by an F of this event, not yet booked by a C or M

    def begin_file(self) -> None:
        """A snapshot that starts here is a new one, also right after another."""
        self._live = True

    def begin_event(self) -> None:
        """Forget the fills of the event before."""
        self._trade = None
        self._filled.clear()

    def apply(self, record: Record) -> None:
        """Take one record into the book."""
        if record.flags & SNAPSHOT and self._live and record.action != "R" and self.place:
            self.anomalies["implicit_clears"] += 1
            self.clear()
        self._live = not record.flags & SNAPSHOT
        if record.action == "R":
            self.clear()
        elif record.action in "AM":
            self._place(record)
        elif record.action == "C":
            self._cancel(record)
        elif record.action == "T":
            self._trade = record
        elif record.action == "F":
            self._fill(record)
        elif record.action != "N":
            self.anomalies["invalid_records"] += 1

    def clear(self) -> None:
        """Drop all orders."""
        self.place.clear()
        self._filled.clear()
        for side in "BA":
            self.queues[side].clear()
            self.prices[side].clear()

    def _fill(self, record: Record) -> None:
        if is_own_fill(record, self._trade):
            return
        if record.order_id in self.place:
            self._filled[record.order_id] += record.size
        else:
            self.anomalies["unknown_fills"] += 1

    def _cancel(self, record: Record) -> None:
        if record.order_id not in self.place:
            self.anomalies["unknown_cancels"] += 1
            return
        displayed = self.size(record.order_id)
        self._filled[record.order_id] -= min(self._filled[record.order_id], record.size)
        self.anomalies["over_cancels"] += record.size > displayed
        if record.size >= displayed:
            self._remove(record.order_id)
        else:
            self._resize(record.order_id, displayed - record.size)

    def _place(self, record: Record) -> None:
        """An A or M; where an order stood before it stands no more, even if the record itself is impossible."""
        known = record.order_id in self.place
        self.anomalies["unknown_modifies"] += record.action == "M" and not known
        possible = record.side in "BA" and record.price != UNDEFINED_PRICE and record.size < 2**31
        if record.size == 0 and not (known and record.action == "M"):
            self.anomalies["invalid_records"] += 1
        elif record.size == 0:
            self._remove(record.order_id)
        elif not possible:
            self.anomalies["invalid_records"] += 1
            if known:
                self._remove(record.order_id)
        elif not known:
            self._append(record)
        elif record.action == "A":
            self.anomalies["duplicate_adds"] += 1
            self._remove(record.order_id)
            self._append(record)
        else:
            self._modify(record)

    def _modify(self, record: Record) -> None:
        side, price = self.place[record.order_id]
        self.anomalies["side_changes"] += record.side != side
        filled = self._filled.pop(record.order_id, 0)
        expected = self.size(record.order_id) - filled
        same_level = (record.side, record.price) == (side, price)
        if same_level and (record.size < expected or (record.size == expected and filled)):
            self._resize(record.order_id, record.size)
        else:  # price, size increase, iceberg refresh, or a change that doesn't show: back of the queue
            self._remove(record.order_id)
            self._append(record)

    def _append(self, record: Record) -> None:
        levels = self.queues[record.side]
        if record.price not in levels:
            levels[record.price] = {}
            insort(self.prices[record.side], record.price)
        levels[record.price][record.order_id] = record.size
        self.place[record.order_id] = record.side, record.price

    def _resize(self, order_id: int, size: int) -> None:
        side, price = self.place[order_id]
        self.queues[side][price][order_id] = size

    def _remove(self, order_id: int) -> None:
        self._filled.pop(order_id, None)
        side, price = self.place.pop(order_id)
        queue = self.queues[side][price]
        del queue[order_id]
        if not queue:
            del self.queues[side][price]
            prices = self.prices[side]
            del prices[bisect_left(prices, price)]

    def size(self, order_id: int) -> int:
        """Displayed size of a resting order."""
        side, price = self.place[order_id]
        return self.queues[side][price][order_id]

    def queue(self, side: str, price: int) -> dict[int, int]:
        """Order id -> size in priority order; empty when there is no such level."""
        return self.queues[side].get(price, {})

    def depth(self, side: str, count: int) -> list[Level]:
        """The best `count` levels, best first."""
        prices = self.prices[side]
        best = prices[-count:][::-1] if side == "B" else prices[:count]
        return [Level(price, sum(self.queue(side, price).values()), len(self.queue(side, price))) for price in best]

    def best(self, side: str) -> Level:
        """The best level; an undefined price and zeros when the side is empty."""
        return (self.depth(side, 1) or [Level(*NO_LEVEL)])[0]

    def crossed(self) -> bool:
        """Whether the best prices lock or cross."""
        bids, asks = self.prices["B"], self.prices["A"]
        return bool(bids and asks) and bids[-1] >= asks[0]

    def packed_depth(self, count: int = 10) -> bytes:
        """The best levels as the digest packs them: bid, ask, bid, ask, ..."""
        sides = [self.depth(side, count) for side in "BA"]
        padded = [levels + [Level(*NO_LEVEL)] * (count - len(levels)) for levels in sides]
        return b"".join(struct.pack("<qII", *level) for pair in zip(*padded, strict=True) for level in pair)


class Trade(NamedTuple):
    """One T record with the queue it met and the fills reported under it."""

    record: Record
    queue: dict[int, int]  # order id -> displayed size left, priority order
    fills: Counter[int]  # order id -> size, the aggressor's own left out


def trades_of(group: list[Record], book: Book) -> list[Trade]:
    """The trades with an aggressor side of an event; `book` is as the event found it.

    The queue of a trade lacks the orders that leave in this event without a fill (self-match prevention cancels
    them before they trade) and what the trades before it in the event took.
    """
    with_fill = {record.order_id for record in group if record.action == "F"}
    without_fill = {record.order_id for record in group if record.action == "C"} - with_fill
    taken: Counter[int] = Counter()
    trades: list[Trade] = []
    current: Trade | None = None
    for record in group:
        if record.action == "T":
            current = None
            if record.side in "BA":
                queue = book.queue(OPPOSITE[record.side], record.price)
                left = {i: size - taken[i] for i, size in queue.items() if i not in without_fill}
                current = Trade(record, {i: size for i, size in left.items() if size > 0}, Counter())
                trades.append(current)
        elif record.action == "F" and current and not is_own_fill(record, current.record) and record.size:
            current.fills[record.order_id] += record.size
            taken[record.order_id] += record.size
    return trades


def allocate(size: int, queue: dict[int, int]) -> dict[int, int]:
    """What strict price-time priority gives each order of a queue."""
    fills = {}
    for order_id, displayed in queue.items():
        if size == 0:
            break
        fills[order_id] = min(displayed, size)
        size -= fills[order_id]
    return fills


def is_iceberg(trade: Trade) -> bool:
    """Whether an order was filled beyond its displayed size."""
    return any(size > trade.queue.get(order_id, 0) for order_id, size in trade.fills.items())


def fifo_verdict(trade: Trade) -> str:
    """`exact`, `iceberg` or `mismatch`: the recorded fills against strict price-time priority."""
    if allocate(trade.record.size, trade.queue) == dict(trade.fills):
        return "exact"
    return "iceberg" if is_iceberg(trade) else "mismatch"


def fill_rule(trade: Trade) -> Iterator[tuple[int, int]]:
    """(predicted, recorded) fill of each order of the queue, predicted as an own order in its place would be.

    An order gets what the trade left over from the orders ahead, provided that these are exhausted or that somebody
    behind was filled.
    """
    ahead_filled, ahead_exhausted = 0, True
    total = sum(trade.fills.values())
    for order_id, displayed in trade.queue.items():
        recorded = trade.fills[order_id]
        behind_filled = total - ahead_filled - recorded > 0
        entitled = ahead_exhausted or behind_filled
        yield (min(displayed, max(trade.record.size - ahead_filled, 0)) if entitled else 0), recorded
        ahead_filled += recorded
        ahead_exhausted = ahead_exhausted and recorded >= displayed


def is_conserved(group: list[Record]) -> bool | None:
    """Whether an event's trades and the fills of resting orders add up; None if a trade has no aggressor side."""
    traded = [record for record in group if record.action == "T"]
    if not traded or any(record.side not in "BA" for record in traded):
        return None
    filled, trade = 0, None
    for record in group:
        if record.action == "T":
            trade = record
        elif record.action == "F" and not is_own_fill(record, trade):
            filled += record.size
    return sum(record.size for record in traded) == filled


def is_auction(group: list[Record]) -> bool:
    """Whether an event is an uncross: a trade without aggressor that fills orders of both sides."""
    return {"T", "F"} <= {record.action for record in group if record.side not in "BA"}


def validate(records: list[Record]) -> dict[str, Any]:
    """All counts of `bt_gym.data.validate`, the slow way; prices in 1e-9 units.

    A last event without F_LAST is left out: what it did is not known in full. The fill rule leaves out the first
    second after an auction.
    """
    book = Book()
    digest = hashlib.sha256()
    count: Counter[str] = Counter()
    fifo = Counter(trades=0, exact=0, iceberg=0, mismatch=0)
    rule = Counter(fills=0, predicted=0, non_fills=0, non_fills_predicted=0)
    conservation = Counter(events=0, equal=0)
    level1: tuple[Level, Level] | None = None
    settled = 0
    for group in match_groups(records):
        if not group[-1].flags & (LAST | SNAPSHOT) and group[-1] is records[-1]:
            book.anomalies["unpublished_records"] += len(group)
            break
        book.begin_event()
        if not group[0].flags & SNAPSHOT:
            if is_auction(group):
                settled = group[0].ts_event + 1_000_000_000
            for trade in trades_of(group, book):
                fifo["trades"] += 1
                fifo[fifo_verdict(trade)] += 1
                if trade.record.ts_event >= settled and not is_iceberg(trade):
                    for predicted, recorded in fill_rule(trade):
                        outcome = "fills" if predicted or recorded else "non_fills"
                        rule[outcome] += 1
                        rule["predicted" if outcome == "fills" else "non_fills_predicted"] += predicted == recorded
            conserved = is_conserved(group)
            if conserved is not None:
                conservation["events"] += 1
                conservation["equal"] += conserved
            count["trades"] += sum(record.action == "T" for record in group)
            count["volume"] += sum(record.size for record in group if record.action == "T")
        for record in group:
            book.apply(record)
            if record.flags & LAST:
                count["events"] += 1
                count["crossed_events"] += book.crossed()
                now = book.best("B"), book.best("A")
                count["level1_changes"] += now != level1
                level1 = now
                digest.update(struct.pack("<Q", record.ts_event % 2**64) + book.packed_depth())
    names = ("events", "trades", "volume", "crossed_events", "level1_changes")
    sides = {side: [size for queue in book.queues[side].values() for size in queue.values()] for side in "BA"}
    return {
        "records": len(records),
        **{name: count[name] for name in names},
        "live_orders": len(book.place),
        "live_orders_by_side": {"bid": len(sides["B"]), "ask": len(sides["A"])},
        "resting_size_by_side": {"bid": sum(sides["B"]), "ask": sum(sides["A"])},
        "best_bid": book.best("B"),
        "best_ask": book.best("A"),
        "book_digest": digest.hexdigest(),
        "fifo": dict(fifo),
        "fill_rule": dict(rule),
        "conservation": dict(conservation),
        "anomalies": {name: number for name, number in book.anomalies.items() if number},
    }
