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

SILENCE = 1_800_000_000_000  # ns without an event, after which a session has ended
NEVER = 1 << 40  # ticks
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
    trigger: int = 0
    expires: int = 0
    post_only: int = 0
    filled: int = 0
    leaves: int = 0
    resting: bool = False
    waiting: bool = False  # for its trigger
    over: bool = False


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
    self_match: int = enums.SELF_MATCH_CANCEL_OLDEST
    stop_on_quote: bool = False
    auction: bool = False
    price_collar: int = -1
    maker_fee: int = 0
    taker_fee: int = 0
    orders: dict[int, Own] = field(default_factory=dict)
    reports: list[Report] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.events = events_of(self.records, self.received, self.tick_size)
        self.book = Book()
        self.happened = 0
        self.requests: list[tuple[int, str, Own, int, int, int]] = []
        self.stops: list[Own] = []
        self.sent = 0
        self.taken: dict[tuple[int, int], Taken] = {}

    # --- what a strategy sends

    def submit(
        self, ts: int, side: int, size: int, tick: int, order_type: int, time_in_force: int,
        trigger: int = 0, expires: int = 0, post_only: int = 0,
    ) -> int:  # fmt: skip
        self.sent += 1
        if order_type not in (enums.ORDER_LIMIT, enums.ORDER_STOP_LIMIT):
            tick = 0
        own = Own(self.sent, side, tick, size, order_type, time_in_force, trigger, expires, post_only, leaves=size)
        self.orders[self.sent] = own
        self._send(ts, "new", own)
        return self.sent

    def cancel(self, ts: int, order_id: int) -> None:
        self._send(ts, "cancel", self.orders[order_id])

    def modify(self, ts: int, order_id: int, size: int, tick: int, trigger: int) -> None:
        self._send(ts, "modify", self.orders[order_id], size, tick, trigger)

    def _send(self, ts: int, kind: str, own: Own, size: int = 0, tick: int = 0, trigger: int = 0) -> None:
        arrival = max([ts + self.entry_latency, *(request[0] for request in self.requests)])
        self.requests.append((arrival, kind, own, size, tick, trigger))

    def advance(self, until: int) -> None:
        """All market events, expiries and arrivals up to `until`, in this order on equal times."""
        while True:
            todo = [(self.events[self.happened].ts, 0)] if self.happened < len(self.events) else []
            todo += [(ts, 1) for ts in self._expiries().values()]
            todo += [(self.requests[0][0], 2)] if self.requests else []
            ts, kind = min(todo, default=(until + 1, 0))
            if ts > until:
                return
            if kind == 0:
                self._happen(self.events[self.happened])
            elif kind == 1:
                self._expire(ts)
            else:
                self._arrive(*self.requests.pop(0))

    def _expiries(self) -> dict[int, int]:
        """When orders at the exchange end by themselves, by order id."""
        times = {}
        for own in self._at_exchange():
            if own.time_in_force == enums.TIF_GTD:
                times[own.order_id] = own.expires
            if own.time_in_force == enums.TIF_DAY:
                times[own.order_id] = self.events[self.happened - 1].ts + SILENCE
        return times

    def _at_exchange(self) -> list[Own]:
        return self.book.own(enums.BID) + self.book.own(enums.ASK) + self.stops

    def _expire(self, ts: int) -> None:
        """Dated orders first, then day orders; bids, asks, stops."""
        expiries = self._expiries()
        for kind, reason in (
            (enums.TIF_GTD, enums.REASON_GOOD_TILL_DATE),
            (enums.TIF_DAY, enums.REASON_SESSION_END),
        ):
            for own in self._at_exchange():
                if own.time_in_force == kind and expires_by(expiries, own, ts):
                    self._finish(ts, own, enums.EXEC_EXPIRED, reason)

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
        taken = liquidity in (enums.LIQUIDITY_TAKER, enums.LIQUIDITY_AUCTION)
        fee = size * (self.taker_fee if taken else self.maker_fee if liquidity else 0)
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
        if own.waiting:
            self.stops.remove(own)
        own.resting, own.waiting, own.over, own.leaves = False, False, True, 0

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
            if self.auction and event.phase == enums.PHASE_AUCTION:
                self._uncross(event, number)
            updates = event.records
            if any(record.action in "TF" for record in event.records):
                updates = self._self_match_cancels(event)
                self._trades(event, number, matching)
            self._updates(event, updates, number)
            if matching and self.fill_on_cross:
                self._cross(event.ts, number)
            self._forget_taken()
        self.happened += 1
        if matching:
            prints = [r.price // self.tick_size for r in event.records if r.action == "T" and self._has_level(r)]
            self._elect(event.ts, [(tick, tick) for tick in prints])
            if self.stop_on_quote:
                self._elect_by_quotes(event.ts)

    def _uncross(self, event: Event, number: int) -> None:
        """Whatever of ours is strictly better than the price of the uncross trades at it, on both sides."""
        for trade in event.records:
            is_print = trade.action == "T" and trade.price != UNDEFINED_PRICE and trade.size < 2**31
            if not is_print or (trade.side in SIDES and not trade.price % self.tick_size):
                continue
            tick = trade.price // self.tick_size
            for side, sign in ((enums.BID, 1), (enums.ASK, -1)):
                volume = trade.size
                for own in self.book.own(side):
                    size = min(own.leaves, volume)
                    if sign * own.tick > sign * tick and size > 0:
                        volume -= size
                        self._fill(event.ts, own, tick, size, enums.LIQUIDITY_AUCTION, number)

    def _has_level(self, trade: Record) -> bool:
        """Whether a trade is at a price of the grid."""
        return trade.price != UNDEFINED_PRICE and not trade.price % self.tick_size and trade.size < 2**31

    def _elect_by_quotes(self, ts: int) -> None:
        bid, ask = self.book.best(enums.BID), self.book.best(enums.ASK)
        self._elect(ts, [(NEVER if bid is None else bid, -NEVER if ask is None else ask)])

    def _elect(self, ts: int, seen: list[tuple[int, int]]) -> None:
        """Stops that one of the (low, high) prices seen has reached act in the order of their arrival."""
        for own in list(self.stops):
            reached = [high >= own.trigger if own.side == enums.BUY else low <= own.trigger for low, high in seen]
            if any(reached) and own in self.stops:
                self.stops.remove(own)
                own.waiting = False
                if own.order_type == enums.ORDER_STOP:
                    own.tick = own.trigger + (1 - 2 * own.side) * self.protection
                self._report(ts, own, enums.EXEC_TRIGGERED, enums.REASON_NONE)
                self._enter(ts, own)

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
                for own in list(self.stops):
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

    def _collects(self, own: Own) -> bool:
        """Whether the exchange takes an order in a pre-open, to wait for the uncross."""
        return (
            self.auction
            and self.happened > 0
            and self.events[self.happened - 1].phase == enums.PHASE_PRE_OPEN
            and own.order_type == enums.ORDER_LIMIT
            and not own.post_only
            and own.time_in_force in (enums.TIF_GTC, enums.TIF_GTD, enums.TIF_DAY)
        )

    def _arrive(self, ts: int, kind: str, own: Own, size: int, tick: int, trigger: int) -> None:
        if kind == "new":
            self._arrive_new(ts, own)
        elif not own.resting and not own.waiting:
            self._report(ts, own, enums.EXEC_CANCEL_REJECTED, enums.REASON_TOO_LATE)
        elif kind == "cancel":
            self._finish(ts, own, enums.EXEC_CANCELED, enums.REASON_USER)
        else:
            self._modify(ts, own, size, tick, trigger)

    def _arrive_new(self, ts: int, own: Own) -> None:
        reason = self._refusal(own, own.tick, own.leaves, ts)
        if reason:
            self._finish(ts, own, enums.EXEC_REJECTED, reason)
        elif own.order_type in (enums.ORDER_STOP, enums.ORDER_STOP_LIMIT):
            own.waiting = True
            self.stops.append(own)
            self._report(ts, own, enums.EXEC_NEW, enums.REASON_NONE)
            if self.stop_on_quote:
                self._elect_by_quotes(ts)
        else:
            own.tick = self._limit(own, own.tick)
            self._report(ts, own, enums.EXEC_NEW, enums.REASON_NONE)
            self._enter(ts, own)

    def _limit(self, own: Own, tick: int) -> int:
        """The limit of an order as it arrives."""
        sign, other = 1 - 2 * own.side, 1 - own.side
        best = self.book.best(other)
        if own.order_type == enums.ORDER_MARKET:
            return best + sign * self.protection
        if own.order_type == enums.ORDER_MARKET_TO_LIMIT:
            return best
        if own.order_type == enums.ORDER_LIMIT and own.post_only == enums.POST_ONLY_SLIDE:
            there = [price for price, queue in self.book.levels[other].items() if queue]  # own orders, too
            tick = sign * min([sign * tick, *(sign * price - 1 for price in there)])
        return tick

    def _refusal(self, own: Own, tick: int, lots: int, ts: int) -> int:
        sign, other = 1 - 2 * own.side, 1 - own.side
        best = self.book.best(other)
        if not self._is_trading() and not self._collects(own):
            return enums.REASON_NOT_TRADING
        if own.time_in_force == enums.TIF_GTD and own.expires <= ts:
            return enums.REASON_GOOD_TILL_DATE
        if own.order_type in (enums.ORDER_MARKET, enums.ORDER_MARKET_TO_LIMIT):
            if best is None:
                return enums.REASON_NO_LIQUIDITY
        elif own.order_type != enums.ORDER_STOP and best is not None and sign * (tick - best) > self.price_collar >= 0:
            return enums.REASON_PRICE_COLLAR
        if own.order_type in (enums.ORDER_STOP, enums.ORDER_STOP_LIMIT):
            return enums.REASON_NONE
        limit = self._limit(own, tick)
        there = [
            entry for price, queue in self.book.levels[other].items() for entry in queue if sign * price <= sign * limit
        ]
        if own.order_type == enums.ORDER_LIMIT and own.post_only == enums.POST_ONLY_REJECT and there:
            return enums.REASON_POST_ONLY
        if self.self_match == enums.SELF_MATCH_REJECT:
            if not self._is_trading() and any(isinstance(entry, Own) for entry in there):
                return enums.REASON_SELF_MATCH
            for met in self.book.own(other):
                before = sum(
                    self._free(other, price) for price in self.book.levels[other] if sign * price < sign * met.tick
                )
                if met in there and lots > before + self._free_before(met):
                    return enums.REASON_SELF_MATCH
        return enums.REASON_NONE

    def _gone(self, side: int, tick: int) -> int:
        """Lots of a level that we took."""
        place = side, tick
        gone = self.taken[place].lots if place in self.taken else 0
        return gone + sum(entry.taken for entry in self.book.real(side, tick))

    def _free(self, side: int, tick: int) -> int:
        return max(self.book.displayed(side, tick) - self._gone(side, tick), 0)

    def _free_before(self, own: Own) -> int:
        return max(sum(entry.size for entry in self.book.ahead(own)) - self._gone(own.side, own.tick), 0)

    def _modify(self, ts: int, own: Own, size: int, tick: int, trigger: int) -> None:
        left = size - own.filled
        keeps = own.waiting or (tick == own.tick and left <= own.leaves)
        reason = enums.REASON_NONE if left <= 0 or keeps else self._refusal(own, tick, left, ts)
        if left <= 0:
            own.size = size
            self._finish(ts, own, enums.EXEC_CANCELED, enums.REASON_USER)
        elif reason:
            self._report(ts, own, enums.EXEC_CANCEL_REJECTED, reason)
        elif own.waiting:
            own.size, own.leaves, own.trigger = size, left, trigger
            own.tick = 0 if own.order_type == enums.ORDER_STOP else tick
            self._report(ts, own, enums.EXEC_REPLACED, enums.REASON_USER)
            if self.stop_on_quote and self._is_trading():
                self._elect_by_quotes(ts)
        elif keeps:
            own.size, own.leaves = size, left
            self._report(ts, own, enums.EXEC_REPLACED, enums.REASON_USER)
        else:
            self.book.detach(own)
            own.resting, own.size, own.leaves = False, size, left
            own.tick = self._limit(own, tick)
            self._report(ts, own, enums.EXEC_REPLACED, enums.REASON_USER)
            self._enter(ts, own)

    def _enter(self, ts: int, own: Own) -> None:
        other, sign = 1 - own.side, 1 - 2 * own.side
        reached = [
            tick
            for tick in sorted(self.book.levels[other], key=lambda tick: sign * tick)
            if sign * tick <= sign * own.tick
        ]
        if own.time_in_force == enums.TIF_FOK and own.leaves > sum(self._free(other, tick) for tick in reached):
            self._finish(ts, own, enums.EXEC_CANCELED, enums.REASON_FOK)
            return
        if self.auction and not self._is_trading():
            self._meet_waiting(ts, own, [met for met in self.book.own(other) if met.tick in reached])
            reached = []
        for tick in reached:
            if own.leaves:
                self._take_level(ts, own, other, tick)
        if own.over:
            return
        if own.time_in_force in (enums.TIF_IOC, enums.TIF_FOK):
            is_protected = own.order_type in (enums.ORDER_MARKET, enums.ORDER_STOP)
            reason = enums.REASON_PROTECTION if is_protected else enums.REASON_IOC
            self._finish(ts, own, enums.EXEC_CANCELED, reason)
        else:
            own.resting, own.order_type = True, enums.ORDER_LIMIT
            self.book.append(own)

    def _meet_waiting(self, ts: int, own: Own, others: list[Own]) -> None:
        """An order that is to wait for the uncross meets own ones that would trade with it there."""
        if self.self_match == enums.SELF_MATCH_ALLOW or not others:
            return
        ended = {
            enums.SELF_MATCH_CANCEL_OLDEST: others,
            enums.SELF_MATCH_CANCEL_NEWEST: [own],
            enums.SELF_MATCH_CANCEL_BOTH: [others[0], own],
        }[self.self_match]
        for order in ended:
            self._finish(ts, order, enums.EXEC_CANCELED, enums.REASON_SELF_MATCH)

    def _take_level(self, ts: int, own: Own, side: int, tick: int) -> None:
        """Real orders give what was not taken before, in their order; own ones meet the self-match policy."""
        gone = self._gone(side, tick)
        oldest = self.self_match == enums.SELF_MATCH_CANCEL_OLDEST
        had = 0
        for met in [entry for entry in list(self.book.queue(side, tick)) if isinstance(entry, Own)]:
            before = max(sum(entry.size for entry in self.book.ahead(met)) - gone, 0) - had
            if own.leaves <= before:
                continue
            if not oldest:
                had += self._take(ts, own, side, tick, before)
            if self.self_match == enums.SELF_MATCH_ALLOW:
                size = min(own.leaves, met.leaves)
                self._fill(ts, met, tick, size, enums.LIQUIDITY_MAKER)
                self._fill(ts, own, tick, size, enums.LIQUIDITY_TAKER)
            else:
                if oldest or self.self_match == enums.SELF_MATCH_CANCEL_BOTH:
                    self._finish(ts, met, enums.EXEC_CANCELED, enums.REASON_SELF_MATCH)
                if not oldest:
                    self._finish(ts, own, enums.EXEC_CANCELED, enums.REASON_SELF_MATCH)
            if own.over:
                return
        self._take(ts, own, side, tick, self.book.displayed(side, tick) - gone - had)

    def _take(self, ts: int, own: Own, side: int, tick: int, lots: int) -> int:
        place = side, tick
        size = min(own.leaves, lots)
        if size <= 0:
            return 0
        before = self.taken[place].lots if place in self.taken else 0
        self.taken[place] = Taken(before + size, self.book.real(side, tick))
        self._fill(ts, own, tick, size, enums.LIQUIDITY_TAKER)
        return size


def expires_by(expiries: dict[int, int], own: Own, ts: int) -> bool:
    return expiries.get(own.order_id, ts + 1) <= ts
