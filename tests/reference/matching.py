"""A slow, obvious matching engine: the twin of `bt_gym.data.synthetic.exchange`.

Orders are small objects in plain lists, prices are ticks, and an event is what has changed between a copy of the book
before the message and the book after it. Rules: price-time priority (CME, "Matching Algorithm Steps", algorithm F);
what loses priority (CME, "Order Functionalities"); the resting side is cancelled on self-match; stops are elected
inside the event.
"""

from dataclasses import dataclass, field

NEW, CANCEL, MODIFY, STOP, PHASE, CLEAR, SNAPSHOT = range(7)
PRE_OPEN, AUCTION, CONTINUOUS = 1, 2, 3
BUY, SELL = 0, 1


@dataclass
class Order:
    number: int
    side: int
    tick: int
    size: int = 0  # displayed
    hidden: int = 0
    show: int = 0
    owner: int = 0
    trigger: int = 0


@dataclass
class Event:
    """What one message did."""

    trades: list = field(default_factory=list)  # [aggressor or None, tick, size, [(order, size), ...], aggressor side]
    changes: set = field(default_factory=set)  # (action, side, order, tick, size)


class Exchange:
    """All orders, in one list per side sorted by the time they took their place."""

    def __init__(self, phase: int = PRE_OPEN, pro_rata: bool = False) -> None:
        self.sides: tuple[list[Order], list[Order]] = ([], [])
        self.stops: list[Order] = []
        self.phase = phase
        self.pro_rata = pro_rata
        self.last_tick = 0
        self.event = Event()

    def process(self, message) -> Event:
        """Takes one message (a mapping of `message_dtype`'s names)."""
        self.event = Event()
        before = self._displayed()
        kind = int(message["kind"])
        number = int(message["order"])
        resting = next((o for side in self.sides for o in side if o.number == number), None)
        if kind in (NEW, STOP):
            order = Order(number, *(int(message[name]) for name in ("side", "tick")))
            order.show, order.owner, order.trigger = (int(message[n]) for n in ("show", "owner", "trigger"))
            if kind == NEW:
                self._enter(order, int(message["size"]))
            else:
                order.size = int(message["size"])
                self.stops.append(order)
        elif kind == CANCEL:
            self.stops = [o for o in self.stops if o.number != number]
            if resting:
                self.sides[resting.side].remove(resting)
        elif kind == MODIFY and resting:
            tick, size = int(message["tick"]), int(message["size"])
            if tick == resting.tick and size < resting.size:
                resting.size = size
            else:
                self.sides[resting.side].remove(resting)
                resting.tick = tick
                self._enter(resting, size + resting.hidden)
        elif kind == PHASE:
            if int(message["size"]) == AUCTION:
                self._uncross()
                self.phase = CONTINUOUS
            else:
                self.phase = int(message["size"])
        elif kind == CLEAR:
            self.sides = ([], [])
        self._elect_stops()
        self._compare(before)
        return self.event

    def queue(self, side: int, tick: int) -> list[tuple[int, int]]:
        """(order, displayed) at a price, front first."""
        return [(o.number, o.size) for o in self.sides[side] if o.tick == tick]

    def _displayed(self) -> dict[int, tuple[int, int, int]]:
        return {o.number: (o.side, o.tick, o.size) for side in self.sides for o in side}

    def _compare(self, before: dict[int, tuple[int, int, int]]) -> None:
        """The changes that a feed has to report; a filled order that is still there is always reported."""
        after = self._displayed()
        filled = {number for trade in self.event.trades for number, _ in trade[3]}
        for number, was in before.items():
            if number not in after:
                self.event.changes.add(("C", was[0], number, *was[1:]))
            elif after[number] != was or number in filled:
                self.event.changes.add(("M", was[0], number, *after[number][1:]))
        for number in after.keys() - before.keys():
            side, tick, size = after[number]
            self.event.changes.add(("A", side, number, tick, size))

    def _enter(self, order: Order, size: int) -> None:
        if self.phase == CONTINUOUS:
            size = self._take(order, size)
        order.size = min(size, order.show) if order.show else size
        order.hidden = size - order.size
        if size:
            self.sides[order.side].append(order)

    def _take(self, order: Order, size: int) -> int:
        """Meets the best order of the other side, one after the other; a new price is a new trade."""
        sign = 1 if order.side == BUY else -1
        book = self.sides[1 - order.side]
        trade = None
        while size:
            prices = [o.tick for o in book if sign * o.tick <= sign * order.tick]
            if not prices:
                break
            tick = min(prices) if order.side == BUY else max(prices)
            if trade is None or trade[1] != tick:
                trade = [order.number, tick, 0, [], order.side]
                self.event.trades.append(trade)
                if self.pro_rata:
                    size -= self._share(trade, [o for o in book if o.tick == tick], size, order.owner)
                    continue
            best = next(o for o in book if o.tick == tick)
            if order.owner and best.owner == order.owner:
                book.remove(best)
                continue
            size -= self._fill(trade, best, min(size, best.size))
        self.event.trades = [t for t in self.event.trades if t[2]]
        if trade and trade[2]:
            self.last_tick = trade[1]
        return size

    def _share(self, trade: list, level: list[Order], size: int, owner: int) -> int:
        """The pro-rata part: each order's share rounded down, none below two lots."""
        book = self.sides[level[0].side]
        for order in level:
            if owner and order.owner == owner:
                book.remove(order)
        level = [o for o in level if o in book]
        total = sum(o.size for o in level)
        if size >= total:
            return 0
        shares = [o.size * size // total for o in level]
        return sum(self._fill(trade, o, share) for o, share in zip(level, shares, strict=True) if share >= 2)

    def _fill(self, trade: list, order: Order, size: int) -> int:
        trade[2] += size
        fills = dict(trade[3])
        fills[order.number] = fills.get(order.number, 0) + size
        trade[3] = list(fills.items())
        self._reduce(order, size)
        return size

    def _reduce(self, order: Order, size: int) -> None:
        order.size -= size
        if not order.size:
            book = self.sides[order.side]
            book.remove(order)
            order.size = min(order.hidden, order.show)
            order.hidden -= order.size
            if order.size:
                book.append(order)

    def _elect_stops(self) -> None:
        while True:
            elected = []
            for stop in self.stops:
                mine = [t[1] for t in self.event.trades if t[4] == stop.side]
                if any(t >= stop.trigger if stop.side == BUY else t <= stop.trigger for t in mine):
                    elected.append(stop)
            if not elected:
                return
            stop = min(elected, key=lambda o: o.number)
            self.stops.remove(stop)
            self._enter(stop, stop.size)

    def _uncross(self) -> None:
        bids, asks = self.sides
        if not bids or not asks or max(o.tick for o in bids) < min(o.tick for o in asks):
            return

        def rank(tick: int) -> tuple[int, int, int, int]:
            demand = sum(o.size + o.hidden for o in bids if o.tick >= tick)
            supply = sum(o.size + o.hidden for o in asks if o.tick <= tick)
            return -min(demand, supply), abs(demand - supply), abs(tick - self.last_tick), tick

        tick = min(range(min(o.tick for o in asks), max(o.tick for o in bids) + 1), key=rank)
        trade = [None, tick, 0, [], None]
        fills: dict[int, int] = {}
        while True:
            bid = max((o for o in bids if o.tick >= tick), key=lambda o: o.tick, default=None)
            ask = min((o for o in asks if o.tick <= tick), key=lambda o: o.tick, default=None)
            if bid is None or ask is None:
                break
            size = min(bid.size, ask.size)
            for order in (bid, ask):
                fills[order.number] = fills.get(order.number, 0) + size
                self._reduce(order, size)
            trade[2] += size
        trade[3] = list(fills.items())
        self.event.trades.append(trade)
        self.last_tick = tick
