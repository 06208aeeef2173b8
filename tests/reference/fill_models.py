"""The slow, obvious simulator with other fill models: the twin of `bt_gym.core.fills` and `bt_gym.core.queue_models`.

Real queues tell how many lots are displayed and how many of them stand before an own order; formulas are written as
hftbacktest and the exchange publish them. Positions are rounded to 1e-6 lots, as everywhere in bt_gym.
"""

import math
from dataclasses import dataclass, field

from bt_gym.core import enums, random
from tests.core.test_allocation import twin as allocate
from tests.reference.simulator import Event, Own, Simulator

MICRO = 1_000_000


@dataclass
class ModelSimulator(Simulator):
    """`model` is one of enums.FILL_*, the other fields its parameters."""

    model: int = enums.FILL_FIFO
    power: float = 3.0
    probability: float = 0.5
    by_queue: bool = False
    seed: int = 0
    rules: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.front: dict[int, int] = {}  # 1e-6 lots ahead by order id
        self.traded: dict[int, int] = {}
        self.top: dict[int, int] = {}

    def _see_level(self, side: int | None, tick: int) -> None:
        if side is not None:
            self.displayed = sum(entry.size - entry.filled for entry in self.book.real(side, tick))
            own = [order for order in self.book.queue(side, tick) if isinstance(order, Own)]
            self.before = {
                order.order_id: sum(entry.size - entry.filled for entry in self.book.ahead(order)) for order in own
            }

    def _enter(self, ts: int, own: Own) -> None:
        level = self.book.displayed(own.side, own.tick)
        super()._enter(ts, own)
        if own.resting:
            level = self.book.displayed(own.side, own.tick)
            best = self.book.best(own.side)
            betters = best is None or (own.tick > best if own.side == enums.BUY else own.tick < best)
            self.front[own.order_id], self.traded[own.order_id] = level * MICRO, 0
            self.top[own.order_id] = own.leaves if betters else 0

    def _share(self, ts: int, number: int, side: int, tick: int, volume: int, hits: list) -> None:
        own = [order for order in self.book.queue(side, tick) if isinstance(order, Own)]
        if not own:
            return
        due = self._due(own, number, volume)
        given = 0
        for order in own:
            part = due[order.order_id]
            if part is None:
                part = self._by_queue(order, side, tick, volume, given, hits)
            part = min(order.leaves, part, volume - given)
            if part > 0:
                given += part
                self._fill(ts, order, tick, part, enums.LIQUIDITY_MAKER, number)

    def _by_queue(self, own: Own, side: int, tick: int, volume: int, given: int, hits: list) -> int:
        before = self.book.ahead(own)
        at_level = [(entry, size) for entry, *place, size in hits if place == [side, tick]]
        took = sum(size for entry, size in at_level if entry is None or entry in before)
        exhausted = all(entry.size == entry.filled for entry in before)
        behind = any(entry is not None and entry not in before for entry, _ in at_level)
        return volume - took - given if exhausted or behind else 0

    def _due(self, own: list[Own], number: int, volume: int) -> dict[int, int | None]:
        """Lots that the trade entitles each own order to; None: those of the exact queue."""
        if self.model == enums.FILL_FIFO:
            return {order.order_id: None for order in own}
        if self.model == enums.FILL_NEVER_AT_TOUCH:
            return {order.order_id: 0 for order in own}
        if self.model == enums.FILL_FRONT_OF_QUEUE:
            return {order.order_id: order.leaves for order in own}
        if self.model == enums.FILL_PROBABILISTIC:
            total = self.displayed + sum(order.leaves for order in own)
            shares: dict[int, int | None] = {}
            for order in own:
                draw = random.uniform(self.seed, 0, random.FILL, order.order_id, number)
                share = None if self.by_queue else volume * order.leaves // total
                shares[order.order_id] = share if draw < self.probability else 0
            return shares
        if self.model == enums.FILL_PRO_RATA:
            sizes, seen = [], 0
            for order in own:
                sizes += [self.before[order.order_id] - seen, order.leaves]
                seen = self.before[order.order_id]
            sizes.append(self.displayed - seen)
            tops = [2 * i + 1 for i, order in enumerate(own) if self.top[order.order_id] == order.leaves]
            parts = allocate(self.rules, sizes, volume, tops[-1] if tops else -1, {len(sizes) - 1})
            return {order.order_id: parts[2 * i + 1] for i, order in enumerate(own)}
        estimates: dict[int, int | None] = {}
        left = volume
        for order in own:
            front = self.front[order.order_id] - left * MICRO
            self.traded[order.order_id] += volume
            past = math.floor(-front / MICRO + 0.5)
            self.front[order.order_id] = 0 if past > 0 else front
            estimates[order.order_id] = part = max(0, min(past, order.leaves, left))
            left -= part
        return estimates

    def _happen(self, event: Event) -> None:
        own = self.book.own(enums.BID) + self.book.own(enums.ASK)
        before = {order.order_id: self.book.displayed(order.side, order.tick) for order in own}
        super()._happen(event)
        for order in own:
            if order.resting:
                best = self.book.best(order.side)
                if best is not None and (best > order.tick if order.side == enums.BUY else best < order.tick):
                    self.top[order.order_id] = 0
        touched = self._touched(event)
        for order in own:
            if order.resting and (order.side, order.tick) in touched:
                self._change(order, before[order.order_id], self.book.displayed(order.side, order.tick))

    def _touched(self, event: Event) -> set[tuple[int, int]]:
        """Levels that a record of the tape changes, even if it is there and back."""
        first = int(self.tape.events["end"][self.happened - 2]) if self.happened > 1 else 0
        records = self.tape.records[first : int(self.tape.events["end"][self.happened - 1])]
        keys = [int(key) for key in records["key"]]
        return {(key >> 3 & 1, key >> 5) for key in keys if key & 7 <= enums.RECORD_RESTORE}

    def _change(self, order: Own, before: int, after: int) -> None:
        """hftbacktest's `depth`: what was not traded was cancelled, and the models say where."""
        if self.model < enums.FILL_RISK_AVERSE:
            return
        front = self.front[order.order_id] / MICRO
        change = before - after - self.traded[order.order_id]
        if self.model != enums.FILL_RISK_AVERSE and change >= 0:
            back = before - front
            share = 1.0 if front <= 0 else 0.0 if back <= 0 else self._behind(front, back)
            front = front - (1 - share) * change + min(back - share * change, 0)
        self.front[order.order_id] = round(min(front, after) * MICRO)
        self.traded[order.order_id] = 0

    def _behind(self, front: float, back: float) -> float:
        n = self.power
        return {
            enums.FILL_POWER_PROB: lambda: back**n / (back**n + front**n),
            enums.FILL_POWER_PROB2: lambda: back**n / (back + front) ** n,
            enums.FILL_POWER_PROB3: lambda: 1 - (front / (front + back)) ** n,
            enums.FILL_LOG_PROB: lambda: math.log(1 + back) / (math.log(1 + back) + math.log(1 + front)),
            enums.FILL_LOG_PROB2: lambda: math.log(1 + back) / math.log(1 + back + front),
        }[self.model]()
