"""MBO streams written by hand, one method an event, and the tapes they compile to.

>>> scenario = Scenario()
>>> first, second = scenario.snapshot(("B", 100, 5), ("A", 102, 7))
>>> scenario.trade("A", 100, {first: 2})
>>> scenario.tape().events["bid"].tolist()
[100, 100]
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from bt_gym.core import enums
from bt_gym.core.execution import ExecutionEngine
from bt_gym.core.market import new_market
from bt_gym.core.orders import new_models
from tests.data.compiled import Compiled, compile_array
from tests.reference.book import OPPOSITE, SNAPSHOT, Record
from tests.reference.streams import TICK, Scribe, last, to_array


def received(array: np.ndarray, delays: list[int]) -> np.ndarray:
    """The same records received later: event by event, `delays` in turn (ns), in order."""
    array = array.copy()
    _, number = np.unique(array["ts_event"], return_inverse=True)
    array["ts_recv"] = np.maximum.accumulate(array["ts_event"] + np.resize(delays, number.max() + 1)[number])
    return array


class Scenario(Scribe):
    """Writes events of one record or one trade; sizes in lots, prices in ticks, sides "B" or "A".

    `now` is the time of the next event; it moves by 1 us after each. The book that the stream makes is in `book`.
    """

    def snapshot(self, *orders: tuple[str, int, int]) -> list[int]:
        """A restored book of (side, ticks, size), in queue order; returns the order ids."""
        ids = [self.new_id() for _ in orders]
        adds = [
            self.record("A", side, ticks, size, flags=SNAPSHOT, order_id=order_id)
            for order_id, (side, ticks, size) in zip(ids, orders, strict=True)
        ]
        self.write(self.record("R", flags=SNAPSHOT), *last(*adds))
        return ids

    def event(self, *records: Record) -> None:
        """Any records, F_LAST on the last one."""
        self.write(*last(*records))

    def add(self, side: str, ticks: int, size: int) -> int:
        order_id = self.new_id()
        self.event(self.record("A", side, ticks, size, order_id=order_id))
        return order_id

    def cancel(self, order_id: int, size: int | None = None) -> None:
        """Cancels an order, whole or in part."""
        self.event(self.cancelled(order_id, size))

    def modify(self, order_id: int, ticks: int, size: int) -> None:
        self.event(self.modified(order_id, ticks, size))

    def trade(
        self, side: str, ticks: int, fills: dict[int, int], *, more: int = 0, also: tuple[Record, ...] = ()
    ) -> None:
        """An aggressor of `side` fills resting orders (id: lots) at one price.

        Args:
            more: lots of the trade that no F names.
            also: records after the trade and its fills, before the changes that it makes to the book.
        """
        self.event(*self.traded(side, ticks, fills, more=more), *also, *self.booked(fills))

    def traded(self, side: str, ticks: int, fills: dict[int, int], *, more: int = 0) -> list[Record]:
        """T and its F's."""
        resting = OPPOSITE[side]
        return [
            self.record("T", side, ticks, sum(fills.values()) + more, order_id=self.new_id()),
            *(self.record("F", resting, ticks, size, order_id=order_id) for order_id, size in fills.items()),
        ]

    def booked(self, fills: dict[int, int]) -> list[Record]:
        """The M or C that books each fill."""
        changes = []
        for order_id, size in fills.items():
            if order_id in self.book.place:
                left = self.book.size(order_id) - size
                side, price = self.book.place[order_id]
                if left > 0:
                    changes.append(self.record("M", side, price // TICK, left, order_id=order_id))
                else:
                    changes.append(self.cancelled(order_id))
        return changes

    def cancelled(self, order_id: int, size: int | None = None) -> Record:
        side, price = self.book.place[order_id]
        size = self.book.size(order_id) if size is None else size
        return self.record("C", side, price // TICK, size, order_id=order_id)

    def modified(self, order_id: int, ticks: int, size: int) -> Record:
        return self.record("M", self.book.place[order_id][0], ticks, size, order_id=order_id)

    def clear(self) -> None:
        self.event(self.record("R"))

    def array(self, delays: list[int] | None = None) -> np.ndarray:
        """All records so far; `delays`: see `received`."""
        array = to_array(self.records)
        return array if delays is None else received(array, delays)

    def tape(self, delays: list[int] | None = None) -> Compiled:
        """Everything written so far, compiled."""
        return compile_array(self.array(delays))


def engine(market: np.ndarray | None = None, **models: int) -> ExecutionEngine:
    """An account without latency, fees and limits unless given, and a market that has received nothing."""
    return ExecutionEngine(new_models(**models), new_market() if market is None else market)


@dataclass
class Order:
    """What `ExecutionEngine.process_order_request` wants to know."""

    side: int
    size: int
    order_type: int = enums.ORDER_LIMIT
    time_in_force: int = -1
    expires_at: int = 0
    post_only: int = 0

    def __post_init__(self) -> None:
        if self.time_in_force < 0:
            self.time_in_force = enums.TIF_IOC if self.order_type == enums.ORDER_MARKET else enums.TIF_GTC


def rows(reports: np.ndarray, *names: str) -> list[tuple[Any, ...]]:
    """Columns of execution reports as plain tuples."""
    return [tuple(int(row[name]) for name in names) for row in reports]
