"""What a strategy may know of a market: the reference book over the raw records received so far.

Slow and obvious; the twin of `bt_gym.strategy.context.MarketStateView`. Prices in 1e-9 units, letters as in the file.
"""

from typing import NamedTuple

import numpy as np

from tests.reference.book import SNAPSHOT, Book, Level, Record, match_groups, to_records


class Print(NamedTuple):
    """A trade as the file has it."""

    ts_event: int
    price: int
    size: int
    aggressor: str


class Event(NamedTuple):
    """A match group and when all of it had been received; a snapshot is one event, at the time it was received."""

    ts_event: int
    ts_recv: int
    first: int  # number of its first record
    records: list[Record]


def events_of(array: np.ndarray) -> list[Event]:
    """The events of a file, whole ones only, with receive times that never go back."""
    events: list[Event] = []
    first, clock = 0, 0
    for group in match_groups(to_records(array)):
        last = first + len(group)
        recv = int(array["ts_recv"][first:last].max())
        in_snapshot = bool(group[0].flags & SNAPSHOT)
        clock = max(clock, recv)
        if in_snapshot and events and events[-1].records[-1].flags & SNAPSHOT:
            before = events.pop()
            events.append(Event(clock, clock, before.first, before.records + group))
        else:
            events.append(Event(clock if in_snapshot else group[0].ts_event, clock, first, group))
        first = last
    return events


class Feed:
    """A file read up to some moment."""

    def __init__(self, array: np.ndarray) -> None:
        self.events = events_of(array)
        self.received = 0  # events so far
        self.book = Book()
        self.trades: list[Print] = []

    def receive(self) -> Event:
        """Takes the next event in."""
        event = self.events[self.received]
        self.received += 1
        self.book.begin_event()
        for record in event.records:
            if record.action == "T":
                self.trades.append(Print(event.ts_event, record.price, record.size, record.side))
            self.book.apply(record)
        return event

    def receive_until(self, ts: int) -> None:
        """Takes in everything received by `ts` (ns)."""
        while self.received < len(self.events) and self.events[self.received].ts_recv <= ts:
            self.receive()

    def receive_event(self, ts_event: int) -> Event:
        """Takes in everything up to the next event that happened at `ts_event` (ns)."""
        while (event := self.receive()).ts_event != ts_event:
            pass
        return event

    def depth(self, side: str, levels: int) -> list[Level]:
        return self.book.depth(side, levels)

    def statistics(self) -> tuple:
        """(trades, volume, open, high, low, last) so far."""
        prices = [trade.price for trade in self.trades]
        volume = sum(trade.size for trade in self.trades)
        if not prices:
            return 0, 0, None, None, None, None
        return len(prices), volume, prices[0], max(prices), min(prices), prices[-1]
