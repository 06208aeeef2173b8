"""Execution of a parent order along a schedule: how much should be done by now decides what is sent now.

Targets are cumulative and rounded as such, so that children add up to the parent exactly, and what a child was not
filled is made up for by the next one. Each child is a market order (with protection).
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from bt_gym.strategy.base import NOTHING, OrderRequest, Strategy, StrategyOutput
from bt_gym.strategy.context import StrategyContext
from bt_gym.strategy.events import EventKind, MarketEvent, Side


def children(size: int, fractions: Sequence[float]) -> list[int]:
    """Lots of each child, by the fraction of the parent that should be done after it; the last one completes it.

    >>> children(10, [0.25, 0.5, 0.75, 1.0])
    [2, 3, 3, 2]
    """
    done = [0, *(round(size * fraction) for fraction in fractions[:-1]), size]
    return [after - before for before, after in pairwise(done)]


class ScheduledExecution(Strategy):
    """Base of executions in slices of equal time, from the first moment of continuous trading on.

    Attributes:
        side: of the parent order.
        size: lots of it.
        slices: children.
    """

    subscriptions = EventKind(0)

    def __init__(self, side: str | Side, size: int, duration_s: float, slices: int) -> None:
        """`side` is `buy` or `sell`.

        Raises:
            ValueError: a parameter makes no sense.
        """
        if size < 1 or slices < 1 or round(duration_s * 1e9 / slices) < 1:
            raise ValueError(
                f"size {size}, duration_s {duration_s}, slices {slices}: need a lot, a slice and some time"
            )
        self.side = side_of(side)
        self.size, self.duration_s, self.slices = size, duration_s, slices
        self.timer_interval_ns = round(duration_s * 1e9 / slices)
        self._slice = 0

    @abstractmethod
    def fraction(self, number: int) -> float:
        """Share of the parent that should be done after child `number` (1, 2, ... slices)."""

    @property
    def schedule(self) -> list[int]:
        """Lots of each child."""
        return children(self.size, [self.fraction(number) for number in range(1, self.slices + 1)])

    def on_timer(self, timestamp: int, context: StrategyContext) -> StrategyOutput:
        if context.market_state.phase != "continuous":
            return NOTHING
        self._slice = min(self._slice + 1, self.slices)
        target = self.size if self._slice == self.slices else round(self.size * self.fraction(self._slice))
        return take(context, self.side, target)

    def on_market_event(self, event: MarketEvent, context: StrategyContext) -> StrategyOutput:
        return NOTHING

    @property
    def config(self) -> Mapping[str, Any]:
        return {
            "side": self.side.name.lower(),
            "size": self.size,
            "duration_s": self.duration_s,
            "slices": self.slices,
        }


def side_of(side: str | Side) -> Side:
    """`buy` or `sell` as a side.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(side, Side):
        return side
    if side not in ("buy", "sell"):
        raise ValueError(f"side '{side}': buy or sell")
    return Side[side.upper()]


def take(context: StrategyContext, side: Side, target: int) -> StrategyOutput:
    """Sends what is missing to `target` lots done, orders on their way counted."""
    done = side.sign * (context.quantity + context.pending_quantity)
    return StrategyOutput([OrderRequest.market(side, target - done)]) if target > done else NOTHING
