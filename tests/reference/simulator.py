"""A slow, obvious simulator of own orders: real queues with the own orders standing in them.

The twin of `bt_gym.core.matching` and `bt_gym.core.execution`, on raw MBO records with order ids instead of a tape. A
level is a list of entries in priority order, some of them own; what is ahead of an own order stands before it in the
list. Rules: `docs/simulation.md`; the queue rules are those of `tests.reference.book`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from bt_gym.core import enums
from tests.reference.book import LAST, SNAPSHOT, UNDEFINED_PRICE, Record, is_own_fill, match_groups

SIDES = {"B": enums.BID, "A": enums.ASK}


class Report(NamedTuple):
    """The fields of an execution report that do not depend on how orders are numbered in memory."""

    ts_exchange: int
    ts_known: int
    order_id: int
    event: int
    exec_type: int
    reason: int
    price: int
    size: int
    leaves: int
    side: int
    liquidity: int
    fee: int
    impact: int = 0


@dataclass(eq=False)
class Entry:
    """An order of the market in its queue."""

    order_id: int
    side: int
    tick: int
    size: int
    filled: int = 0  # by F's of the event under way, displayed part
    placed: int = -1  # event in which it got its place
    taken: int = 0  # lots of it that filled an own resting order when it came in


@dataclass(eq=False)
class Own:
    """An own order; while it rests it stands in the queue of its level."""

    order_id: int
    side: int
    tick: int
    size: int
    order_type: int
    time_in_force: int
    filled: int = 0
    leaves: int = 0
    resting: bool = False
    over: bool = False
    acknowledged: bool = False


@dataclass
class Taken:
    """Liquidity of a level that a taker took: which orders stood there, and how many lots of them are gone for us."""

    lots: int
    stood: list[Entry]


class Book:
    """Queues of market and own orders. `levels[side][tick]` is a list in priority order."""

    def __init__(self) -> None:
        self.levels: tuple[dict[int, list[Entry | Own]], dict[int, list[Entry | Own]]] = ({}, {})
        self.orders: dict[int, Entry] = {}
        self.number = 0  # of the event under way
        self.placed: list[Entry] = []  # in this event, in order; one that moves again counts by its last place

    def queue(self, side: int, tick: int) -> list[Entry | Own]:
        return self.levels[side].get(tick, [])

    def real(self, side: int, tick: int) -> list[Entry]:
        return [entry for entry in self.queue(side, tick) if isinstance(entry, Entry)]

    def displayed(self, side: int, tick: int) -> int:
        return sum(entry.size for entry in self.real(side, tick))

    def ahead(self, own: Own) -> list[Entry]:
        queue = self.queue(own.side, own.tick)
        return [entry for entry in queue[: queue.index(own)] if isinstance(entry, Entry)]

    def own(self, side: int) -> list[Own]:
        """Own resting orders of a side, best first."""
        ticks = sorted(self.levels[side], reverse=side == enums.BID)
        return [entry for tick in ticks for entry in self.queue(side, tick) if isinstance(entry, Own)]

    def best(self, side: int) -> int | None:
        ticks = [tick for tick in self.levels[side] if self.real(side, tick)]
        return (max(ticks) if side == enums.BID else min(ticks)) if ticks else None

    def is_crossed(self) -> bool:
        bid, ask = self.best(enums.BID), self.best(enums.ASK)
        return bid is not None and ask is not None and bid >= ask

    def append(self, entry: Entry | Own) -> None:
        self.levels[entry.side].setdefault(entry.tick, []).append(entry)
        if isinstance(entry, Entry):
            entry.placed = self.number
            entry.filled = 0
            self.placed = [other for other in self.placed if other is not entry] + [entry]

    def detach(self, entry: Entry | Own) -> None:
        self.queue(entry.side, entry.tick).remove(entry)
        if not self.queue(entry.side, entry.tick):
            del self.levels[entry.side][entry.tick]

    def add(self, order_id: int, side: int, tick: int, size: int) -> Entry:
        self.orders[order_id] = entry = Entry(order_id, side, tick, size)
        self.append(entry)
        return entry

    def remove(self, entry: Entry) -> None:
        self.detach(entry)
        del self.orders[entry.order_id]
        entry.size = 0
        self.placed = [other for other in self.placed if other is not entry]

    def clear(self) -> None:
        for entry in list(self.orders.values()):
            self.remove(entry)

    def begin(self, number: int) -> None:
        self.number = number
        self.placed = []
        for entry in self.orders.values():
            entry.filled = 0

    def apply(self, record: Record, tick_size: int) -> Entry | None:
        """One A, C or M; returns the order if it lost its place."""
        entry = self.orders.get(record.order_id)
        if record.action == "C":
            if entry is not None:
                self._reduce(entry, record.size)
            return None
        if record.size == 0:
            if entry is not None and record.action == "M":
                self.remove(entry)
            return None
        if record.side not in SIDES or record.price == UNDEFINED_PRICE or record.size >= 2**31:
            if entry is not None:
                self.remove(entry)
            return None
        side, tick = SIDES[record.side], record.price // tick_size
        if entry is not None and record.action == "A":
            self.remove(entry)
            entry = None
        if entry is None:
            self.add(record.order_id, side, tick, record.size)
            return None
        left = entry.size - entry.filled
        same_level = (side, tick) == (entry.side, entry.tick)
        if same_level and (record.size < left or (record.size == left and entry.filled)):
            entry.size, entry.filled = record.size, 0
            return None
        self.detach(entry)
        entry.side, entry.tick, entry.size = side, tick, record.size
        self.append(entry)
        return entry

    def _reduce(self, entry: Entry, size: int) -> None:
        if size >= entry.size:
            self.remove(entry)
        else:
            entry.size -= size
            entry.filled = max(entry.filled - size, 0)


class Event(NamedTuple):
    """A match group and what is known of it as a whole."""

    ts: int
    records: list[Record]
    phase: int


def is_snapshot(group: list[Record]) -> bool:
    return bool(group[0].flags & SNAPSHOT)


def events_of(records: list[Record], received: list[int], tick_size: int) -> list[Event]:
    """Groups with their times and phases, as the whole file tells them.

    A stretch since the last trade or snapshot in which the book was crossed, or that an auction ends, is a pre-open:
    no exchange leaves a crossed book alone while it matches.
    """
    book = Book()
    groups = list(_merged(records))
    times, phases = [], []
    position = clock = 0
    suspect = True
    stretch: list[int] = []
    was_crossed = stretch_crossed = False
    for number, group in enumerate(groups):
        snapshot = is_snapshot(group)
        auction = not snapshot and _is_uncross(group, book.is_crossed())
        book.begin(number)
        if snapshot and group[0].action != "R":
            book.clear()
        for record in group:
            if record.action == "R":
                book.clear()
            elif record.action == "F" and record.order_id in book.orders:
                entry = book.orders[record.order_id]
                entry.filled += min(record.size, entry.size - entry.filled)
            elif record.action in "ACM":
                book.apply(record, tick_size)
        suspect = suspect and not snapshot and not any(record.action == "R" for record in group)
        clock = max(clock, max(received[position : position + len(group)]) if snapshot else group[0].ts_event)
        position += len(group)
        times.append(clock)
        was_crossed = book.is_crossed()
        if snapshot or any(record.action == "T" for record in group):
            if auction or stretch_crossed:
                for i in stretch:
                    if phases[i] == enums.PHASE_CONTINUOUS:
                        phases[i] = enums.PHASE_PRE_OPEN
            stretch, stretch_crossed = ([number] if was_crossed else []), was_crossed
        else:
            stretch.append(number)
            stretch_crossed = stretch_crossed or was_crossed
        if snapshot:
            phases.append(enums.PHASE_SNAPSHOT)
        elif suspect:
            phases.append(enums.PHASE_SUSPECT)
        else:
            phases.append(enums.PHASE_AUCTION if auction else enums.PHASE_CONTINUOUS)
    if stretch_crossed:
        for i in stretch:
            if phases[i] == enums.PHASE_CONTINUOUS:
                phases[i] = enums.PHASE_PRE_OPEN
    return [Event(*event) for event in zip(times, groups, phases, strict=True)]


def _merged(records: list[Record]) -> Iterator[list[Record]]:
    """Match groups; all records of a snapshot in one; without a last group that is not complete."""
    snapshot: list[Record] = []
    for group in match_groups(records):
        if is_snapshot(group):
            snapshot += group
            continue
        if snapshot:
            yield snapshot
            snapshot = []
        if group[-1].flags & LAST or group[-1] is not records[-1]:
            yield group
    if snapshot:
        yield snapshot


def _is_uncross(group: list[Record], crossed: bool) -> bool:
    """A trade without aggressor that fills both sides, or that ends a crossed book."""
    if not any(record.action == "T" and record.side not in SIDES for record in group):
        return False
    filled = {record.side for record in group if record.action == "F"}
    return crossed or filled >= set("BA") or bool(filled - set("BA"))


@dataclass
class Simulator:
    """Own orders of one account over MBO records; times in ns, prices in ticks, fees in 1e-6 per lot."""

    records: list[Record]
    received: list[int]
    tick_size: int
    entry_latency: int = 0
    response_latency: int = 0
    protection: int = 20
    fill_on_cross: bool = True
    maker_fee: int = 0
    taker_fee: int = 0
    orders: dict[int, Own] = field(default_factory=dict)
    reports: list[Report] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.events = events_of(self.records, self.received, self.tick_size)
        self.book = Book()
        self.happened = 0
        self.requests: list[tuple[int, str, Own, int, int]] = []
        self.sent = 0
        self.taken: dict[tuple[int, int], Taken] = {}

    # --- what a strategy sends

    def submit(self, ts: int, side: int, size: int, tick: int, order_type: int, time_in_force: int) -> int:
        self.sent += 1
        own = self.orders[self.sent] = Own(self.sent, side, tick, size, order_type, time_in_force, leaves=size)
        self._send(ts, "new", own)
        return self.sent

    def cancel(self, ts: int, order_id: int) -> None:
        self._send(ts, "cancel", self.orders[order_id])

    def modify(self, ts: int, order_id: int, size: int, tick: int) -> None:
        self._send(ts, "modify", self.orders[order_id], size, tick)

    def _send(self, ts: int, kind: str, own: Own, size: int = 0, tick: int = 0) -> None:
        arrival = max([ts + self.entry_latency, *(request[0] for request in self.requests)])
        self.requests.append((arrival, kind, own, size, tick))

    def advance(self, until: int) -> None:
        """All market events and arrivals up to `until`; the market first on equal times."""
        while True:
            market = self.events[self.happened].ts if self.happened < len(self.events) else None
            arrival = self.requests[0][0] if self.requests else None
            if market is not None and market <= until and (arrival is None or market <= arrival):
                self._happen(self.events[self.happened])
            elif arrival is not None and arrival <= until:
                self._arrive(*self.requests.pop(0))
            else:
                return

    def queue_positions(self) -> dict[int, int]:
        """Displayed lots ahead of each own resting order."""
        own = self.book.own(enums.BID) + self.book.own(enums.ASK)
        return {order.order_id: sum(entry.size for entry in self.book.ahead(order)) for order in own}

    # --- what comes of it

    def _report(
        self, ts: int, own: Own, exec_type: int, reason: int, *, price: int | None = None, size: int = 0,
        liquidity: int = enums.LIQUIDITY_NONE, event: int | None = None,
    ) -> None:  # fmt: skip
        known = max(ts + self.response_latency, self.reports[-1].ts_known if self.reports else 0)
        fee = {enums.LIQUIDITY_MAKER: self.maker_fee, enums.LIQUIDITY_TAKER: self.taker_fee}.get(liquidity, 0) * size
        self.reports.append(
            Report(
                ts, known, own.order_id, self.happened - 1 if event is None else event, exec_type, reason,
                own.tick if price is None else price, size, own.leaves, own.side, liquidity, fee,
            )
        )  # fmt: skip

    def _fill(self, ts: int, own: Own, price: int, size: int, liquidity: int, event: int | None = None) -> None:
        assert 0 < size <= own.leaves
        own.filled += size
        own.leaves -= size
        self._report(
            ts, own, enums.EXEC_TRADE, enums.REASON_NONE, price=price, size=size, liquidity=liquidity, event=event
        )
        if own.leaves == 0:
            self._end(own)

    def _end(self, own: Own) -> None:
        if own.resting:
            self.book.detach(own)
        own.resting, own.over, own.leaves = False, True, 0

    def _finish(self, ts: int, own: Own, exec_type: int, reason: int, event: int | None = None) -> None:
        self._end(own)
        self._report(ts, own, exec_type, reason, event=event)

    # --- the market

    def _happen(self, event: Event) -> None:
        number = self.happened
        before = self.events[number - 1].phase if number else enums.PHASE_SNAPSHOT
        opened = before in (enums.PHASE_CONTINUOUS, enums.PHASE_AUCTION)
        matching = opened and event.phase == enums.PHASE_CONTINUOUS
        self.best_before = self.book.best(enums.BID), self.book.best(enums.ASK)
        if event.phase == enums.PHASE_SNAPSHOT:
            self._restore(event, number)
        else:
            self.book.begin(number)
            updates = event.records
            if any(record.action in "TF" for record in event.records):
                updates = self._self_match_cancels(event)
                self._trades(event, number, matching)
            self._updates(event, updates, number)
            if matching and self.fill_on_cross:
                self._cross(event.ts, number)
            self._forget_taken()
        self.happened += 1

    def _self_match_cancels(self, event: Event) -> list[Record]:
        """A C without F beside a trade: the order was gone before the match. Returns the other records."""
        if event.phase == enums.PHASE_AUCTION or _is_uncross(event.records, self.book.is_crossed()):
            return event.records
        stays = {record.order_id for record in event.records if record.action in "FM"}
        there = set(self.book.orders)
        others = []
        for record in event.records:
            if record.action == "C" and record.order_id in there and record.order_id not in stays:
                self.book.apply(record, self.tick_size)
            else:
                others.append(record)
        return others

    def _trades(self, event: Event, number: int, matching: bool) -> None:
        """Each T with the F's that follow it: first all real orders, then what is left for own ones."""
        changed = {record.order_id for record in event.records if record.action in "CM"}
        reports = [record for record in event.records if record.action in "TF"]
        trades = [i for i, record in enumerate(reports) if record.action == "T"]
        first = trades[0] if trades else len(reports)
        for record in reports[:first]:
            self._fill_real(record, None, changed)
        for start, stop in zip(trades, [*trades[1:], len(reports)], strict=True):
            trade, fills = reports[start], reports[start + 1 : stop]
            side, tick = self._resting_side(trade), trade.price // self.tick_size
            volume = trade.size
            if matching and side is not None:
                for own in self.book.own(side):
                    better = own.tick > tick if side == enums.BID else own.tick < tick
                    if better and volume:
                        size = min(own.leaves, volume)
                        volume -= size
                        self._fill(event.ts, own, own.tick, size, enums.LIQUIDITY_MAKER, number)
            self._see_level(side, tick)
            hits = [hit for record in fills if (hit := self._fill_real(record, trade, changed))]
            if matching and side is not None:
                self._share(event.ts, number, side, tick, volume, hits)

    def _see_level(self, side: int | None, tick: int) -> None:
        """A trade comes to a level; for the fill models of `tests.reference.fill_models`."""

    def _resting_side(self, trade: Record) -> int | None:
        """Side of the book that a trade meets; None when it meets no displayed level."""
        if trade.price == UNDEFINED_PRICE or trade.price % self.tick_size or trade.size >= 2**31:
            return None
        if trade.side in SIDES:
            return 1 - SIDES[trade.side]
        tick = trade.price // self.tick_size
        if self.best_before[0] is not None and tick <= self.best_before[0]:
            return enums.BID
        if self.best_before[1] is not None and tick >= self.best_before[1]:
            return enums.ASK
        return None

    def _fill_real(
        self, record: Record, trade: Record | None, changed: set[int]
    ) -> tuple[Entry | None, int, int, int] | None:
        """Books the displayed part of an F; (order or None if never seen, side, tick, lots) if it is passive."""
        if is_own_fill(record, trade) or record.size >= 2**31 or not record.size:
            return None
        entry = self.book.orders.get(record.order_id)
        if entry is None:
            if record.side not in SIDES or record.price == UNDEFINED_PRICE:
                return None
            return None, SIDES[record.side], record.price // self.tick_size, record.size
        shown = min(record.size, entry.size - entry.filled) if record.order_id in changed else 0
        entry.filled += shown
        if entry.size > entry.filled:
            entry.taken = min(entry.taken, entry.size - entry.filled)
        return entry, entry.side, entry.tick, record.size

    def _share(self, ts: int, number: int, side: int, tick: int, volume: int, hits: list) -> None:
        """What of a trade is left for the own orders at its price, in their order in the queue."""
        given = 0
        for own in [entry for entry in list(self.book.queue(side, tick)) if isinstance(entry, Own)]:
            before = self.book.ahead(own)
            at_level = [(entry, size) for entry, *place, size in hits if place == [side, tick]]
            took = sum(size for entry, size in at_level if entry is None or entry in before)
            exhausted = all(entry.size == entry.filled for entry in before)
            behind = any(entry is not None and entry not in before for entry, _ in at_level)
            size = min(own.leaves, volume - took - given)
            if (exhausted or behind) and size > 0:
                given += size
                self._fill(ts, own, tick, size, enums.LIQUIDITY_MAKER, number)

    def _updates(self, event: Event, updates: list[Record], number: int) -> None:
        for record in updates:
            if record.action == "R":
                self.book.clear()
                self.taken.clear()
                for side in (enums.BID, enums.ASK):
                    for own in self.book.own(side):
                        self._finish(event.ts, own, enums.EXEC_EXPIRED, enums.REASON_BOOK_CLEARED, number)
            elif record.action in "ACM":
                moved = self.book.apply(record, self.tick_size)
                if moved is not None:  # it is no longer one of those that stood there
                    for taken in self.taken.values():
                        taken.stood = [entry for entry in taken.stood if entry is not moved]
                entry = self.book.orders.get(record.order_id)
                if entry is not None:
                    entry.taken = min(entry.taken, entry.size)

    def _cross(self, ts: int, number: int) -> None:
        """Orders that came in at or through an own price, as far as they are still there: they would have met it."""
        for entry in self.book.placed:
            for own in self.book.own(1 - entry.side):
                reached = own.tick >= entry.tick if own.side == enums.BID else own.tick <= entry.tick
                size = min(own.leaves, entry.size - entry.taken)
                if reached and size > 0:
                    entry.taken += size
                    self._fill(ts, own, own.tick, size, enums.LIQUIDITY_MAKER, number)

    def _restore(self, event: Event, number: int) -> None:
        """A snapshot: own orders stay behind as many lots as before, in front of the first order beyond them."""
        own = {side: self.book.own(side) for side in (enums.BID, enums.ASK)}
        ahead = {order.order_id: sum(e.size for e in self.book.ahead(order)) for side in own for order in own[side]}
        for side in own:
            for order in own[side]:
                self.book.detach(order)
        self.taken.clear()
        self.book.begin(number)
        if event.records[0].action != "R":
            self.book.clear()
        for record in event.records:
            if record.action == "R":
                self.book.clear()
            elif record.action == "A":
                self.book.apply(record, self.tick_size)
        for side in own:
            for order in own[side]:
                queue = self.book.levels[side].setdefault(order.tick, [])
                total = place = 0
                while place < len(queue):
                    entry = queue[place]
                    if isinstance(entry, Entry):
                        if total + entry.size > ahead[order.order_id]:
                            break
                        total += entry.size
                    place += 1
                queue.insert(place, order)

    def _forget_taken(self) -> None:
        for place, taken in list(self.taken.items()):
            taken.lots = min(taken.lots, sum(entry.size for entry in taken.stood))
            if taken.lots <= 0:
                del self.taken[place]

    # --- own requests

    def _is_trading(self) -> bool:
        return self.happened > 0 and self.events[self.happened - 1].phase == enums.PHASE_CONTINUOUS

    def _arrive(self, ts: int, kind: str, own: Own, size: int, tick: int) -> None:
        if kind == "new":
            self._enter(ts, own)
        elif not own.resting:
            self._report(ts, own, enums.EXEC_CANCEL_REJECTED, enums.REASON_TOO_LATE)
        elif kind == "cancel":
            self._finish(ts, own, enums.EXEC_CANCELED, enums.REASON_USER)
        else:
            self._modify(ts, own, size, tick)

    def _modify(self, ts: int, own: Own, size: int, tick: int) -> None:
        left = size - own.filled
        keeps = tick == own.tick and left <= own.leaves
        if left <= 0:
            own.size = size
            self._finish(ts, own, enums.EXEC_CANCELED, enums.REASON_USER)
        elif keeps:
            own.size, own.leaves = size, left
            self._report(ts, own, enums.EXEC_REPLACED, enums.REASON_USER)
        elif not self._is_trading():
            self._report(ts, own, enums.EXEC_CANCEL_REJECTED, enums.REASON_NOT_TRADING)
        else:
            self.book.detach(own)
            own.resting, own.size, own.leaves, own.tick = False, size, left, tick
            self._report(ts, own, enums.EXEC_REPLACED, enums.REASON_USER)
            self._enter(ts, own)

    def _enter(self, ts: int, own: Own) -> None:
        if not self._is_trading():
            self._finish(ts, own, enums.EXEC_REJECTED, enums.REASON_NOT_TRADING)
            return
        other, sign = 1 - own.side, 1 - 2 * own.side
        best = self.book.best(other)
        if own.order_type == enums.ORDER_MARKET:
            if best is None:
                self._finish(ts, own, enums.EXEC_REJECTED, enums.REASON_NO_LIQUIDITY)
                return
            own.tick = best + sign * self.protection
        if not own.acknowledged:
            own.acknowledged = True
            self._report(ts, own, enums.EXEC_NEW, enums.REASON_NONE)
        for tick in sorted(self.book.levels[other], key=lambda tick: sign * tick):
            if sign * tick > sign * own.tick or not own.leaves:
                break
            self._take_level(ts, own, other, tick)
        if own.over:
            return
        if own.order_type == enums.ORDER_MARKET:
            self._finish(ts, own, enums.EXEC_CANCELED, enums.REASON_PROTECTION)
        elif own.time_in_force == enums.TIF_IOC:
            self._finish(ts, own, enums.EXEC_CANCELED, enums.REASON_IOC)
        else:
            own.resting = True
            self.book.append(own)

    def _take_level(self, ts: int, own: Own, side: int, tick: int) -> None:
        """Real orders give what was not taken before; own orders that the taker gets to are cancelled."""
        place = side, tick
        gone = self.taken[place].lots if place in self.taken else 0
        gone += sum(entry.taken for entry in self.book.real(side, tick))
        for met in [entry for entry in list(self.book.queue(side, tick)) if isinstance(entry, Own)]:
            if own.leaves > sum(entry.size for entry in self.book.ahead(met)) - gone:
                self._finish(ts, met, enums.EXEC_CANCELED, enums.REASON_SELF_MATCH)
        size = min(own.leaves, self.book.displayed(side, tick) - gone)
        if size > 0:
            lots = self.taken[place].lots if place in self.taken else 0
            self.taken[place] = Taken(lots + size, self.book.real(side, tick))
            self._fill(ts, own, tick, size, enums.LIQUIDITY_TAKER)
