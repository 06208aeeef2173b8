"""Pairs: two instruments in one run, traded against each other when their spread strays."""

from collections import deque
from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Any

from bt_gym.strategy.base import NOTHING, OrderRequest, Strategy, StrategyOutput
from bt_gym.strategy.checks import at_least
from bt_gym.strategy.context import StrategyContext
from bt_gym.strategy.events import EventKind, MarketEvent, Side


class Pairs(Strategy):
    """Sells the spread `mid(first) - ratio * mid(second)` when it is high for its last values, buys it when it is low.

    At each stroke of the clock z = (spread - mean) / standard deviation over the last `lookback` strokes. A position is
    opened at |z| >= entry_threshold, closed at |z| <= exit_threshold: market orders in both legs.

    Args:
        symbols: first and second leg, both in the run.
        ratio: price of the second leg in the spread.
        lookback: strokes of the clock, at least 2.
        entry_threshold: standard deviations.
        exit_threshold: standard deviations, at most `entry_threshold`.
        size: lots of each leg.
        interval_ms: of the clock.

    Raises:
        ValueError: a parameter makes no sense.
    """

    subscriptions = EventKind(0)

    def __init__(
        self,
        symbols: Sequence[str],
        ratio: float = 1.0,
        lookback: int = 60,
        entry_threshold: float = 2.0,
        exit_threshold: float = 0.5,
        size: int = 1,
        interval_ms: int = 1000,
    ) -> None:
        if len(symbols) != 2 or not 0 <= exit_threshold <= entry_threshold:
            raise ValueError(
                f"symbols {list(symbols)}, thresholds {entry_threshold} and {exit_threshold}: need two symbols and "
                "0 <= exit <= entry"
            )
        at_least(2, lookback=lookback)
        at_least(1, size=size, interval_ms=interval_ms)
        self.symbols = tuple(symbols)
        self.ratio, self.lookback, self.size, self.interval_ms = ratio, lookback, size, interval_ms
        self.entry_threshold, self.exit_threshold = entry_threshold, exit_threshold
        self.timer_interval_ns = interval_ms * 1_000_000
        self._spreads: deque[float] = deque(maxlen=lookback)
        self._target = 0  # lots of the first leg

    def on_timer(self, timestamp: int, context: StrategyContext) -> StrategyOutput:
        legs = [context.of(symbol) for symbol in self.symbols]
        mids = [leg.market_state.mid() for leg in legs]
        if any(leg.market_state.phase != "continuous" for leg in legs) or mids[0] is None or mids[1] is None:
            return NOTHING
        self._spreads.append(mids[0] - self.ratio * mids[1])
        if len(self._spreads) < self.lookback:
            return NOTHING
        z = self.z_score()
        if abs(z) >= self.entry_threshold and z != 0:
            self._target = -self.size if z > 0 else self.size
        elif abs(z) <= self.exit_threshold:
            self._target = 0
        orders = []
        for leg, target in zip(legs, (self._target, -self._target), strict=True):
            change = target - leg.quantity - leg.pending_quantity
            if change:
                side = Side.BUY if change > 0 else Side.SELL
                orders.append(OrderRequest.market(side, abs(change), symbol=leg.symbol))
        return StrategyOutput(orders, metrics={"z_score": z}) if orders else NOTHING

    def z_score(self) -> float:
        """How far the last spread is from the mean of its window, in standard deviations; 0 in a window without any."""
        mean = sum(self._spreads) / len(self._spreads)
        variance = sum((spread - mean) ** 2 for spread in self._spreads) / len(self._spreads)
        return (self._spreads[-1] - mean) / sqrt(variance) if variance > 0 else 0.0

    def on_market_event(self, event: MarketEvent, context: StrategyContext) -> StrategyOutput:
        return NOTHING

    @property
    def config(self) -> Mapping[str, Any]:
        names = ("symbols", "ratio", "lookback", "entry_threshold", "exit_threshold", "size", "interval_ms")
        return {name: getattr(self, name) for name in names}
