"""Slow, obvious twins of the accounting: exact fractions, one Python step at a time, no numpy.

A fill here is (ts, sign, size, price in ticks, fee); an event is (ts, mark2 or None, is continuous). Money is a
Fraction of 1e-6 of the currency.
"""

from collections import deque
from dataclasses import dataclass
from fractions import Fraction


@dataclass
class AverageCost:
    """The text-book state: signed size and average price (in ticks), realised, cash and fees."""

    tick_value: int
    size: int = 0
    average: Fraction = Fraction(0)
    realised: Fraction = Fraction(0)
    cash: int = 0
    fees: int = 0

    def fill(self, sign: int, size: int, price: int, fee: int = 0) -> None:
        self.cash -= sign * size * price * self.tick_value
        self.fees += fee
        if self.size == 0 or (self.size > 0) == (sign > 0):
            self.average = (abs(self.size) * self.average + size * price) / (abs(self.size) + size)
            self.size += sign * size
            return
        closed = min(abs(self.size), size)
        was_long = self.size > 0
        self.realised += closed * (price - self.average) * (1 if was_long else -1) * self.tick_value
        self.size += sign * size
        if self.size == 0:
            self.average = Fraction(0)
        elif (self.size > 0) != was_long:
            self.average = Fraction(price)

    def unrealised(self, mark2: int) -> Fraction:
        return self.size * (Fraction(mark2, 2) - self.average) * self.tick_value

    def equity(self, mark2: int) -> Fraction:
        return self.cash + self.size * Fraction(mark2, 2) * self.tick_value - self.fees


def fifo_lots(fills, tick_value):
    """Round trips lot by lot: list of (open row, close row, gross gain) and what is still open, as (row, sign)."""
    waiting = deque()
    trips = []
    for row, (_, sign, size, price, _) in enumerate(fills):
        for _ in range(size):
            if waiting and waiting[0][1] != sign:
                opened, opened_sign = waiting.popleft()
                trips.append((opened, row, (price - fills[opened][3]) * opened_sign * tick_value))
            else:
                waiting.append((row, sign))
    return trips, list(waiting)


def mark_at(events, ts):
    """(last valid doubled mark at or before ts or None, whether the book has none right then)."""
    mark, stale = None, True
    for when, mark2, continuous in events:
        if when <= ts:
            stale = mark2 is None or not continuous
            mark = mark if stale else mark2
    return mark, stale


def state_at(fills, events, ts, tick_value):
    """(equity, position, cash, fees, mark2 or None, is stale) at ts, everything up to and including ts counted."""
    account = AverageCost(tick_value)
    last_price = None
    for when, sign, size, price, fee in fills:
        if when <= ts:
            account.fill(sign, size, price, fee)
            last_price = price
    mark, stale = mark_at(events, ts)
    if mark is None and last_price is not None:
        mark = 2 * last_price
    equity = account.equity(mark) if account.size else Fraction(account.cash - account.fees)
    return equity, account.size, account.cash, account.fees, mark, stale


def drawdown(values):
    worst = 0
    for i, high in enumerate(values):
        for low in values[i:]:
            worst = max(worst, high - low)
    return worst
