"""`ml_enhanced_momentum` without its model: follows unusual moves of the trade price."""

from collections import deque
from collections.abc import Mapping
from math import sqrt
from typing import Any

from bt_gym.strategy.base import NOTHING, OrderRequest, Strategy, StrategyOutput
from bt_gym.strategy.context import StrategyContext
from bt_gym.strategy.events import EventKind, MarketEvent, Side


class EnhancedMomentum(Strategy):
    """Enters in the direction of the last price's z-score over a window of trades, and leaves when it calms down.

    z = (last - mean) / standard deviation (of the population) of the last `lookback_period` trade prices. Flat: enter
    at |z| >= entry_threshold. In a position: close at |z| <= exit_threshold, or turn at the opposite entry.

    Args:
        lookback_period: trades in the window, at least 2.
        entry_threshold: standard deviations.
        exit_threshold: standard deviations, at most `entry_threshold`.
        position_size: lots.

    Raises:
        ValueError: a parameter makes no sense.
    """

    subscriptions = EventKind.TRADE

    def __init__(
        self,
        lookback_period: int = 100,
        entry_threshold: float = 2.0,
        exit_threshold: float = 0.5,
        position_size: int = 1,
    ) -> None:
        if lookback_period < 2 or not 0 <= exit_threshold <= entry_threshold or position_size < 1:
            raise ValueError(
                f"lookback {lookback_period}, thresholds {entry_threshold} and {exit_threshold}, size {position_size}: "
                "need lookback >= 2, 0 <= exit <= entry and size >= 1"
            )
        self.lookback_period = lookback_period
        self.entry_threshold = entry_threshold
        self.exit_threshold = exit_threshold
        self.position_size = position_size
        self._window: deque[int] = deque(maxlen=lookback_period)
        self._target = 0

    def on_market_event(self, event: MarketEvent, context: StrategyContext) -> StrategyOutput:
        self._window.extend(trade.ticks for trade in event.trades)
        if len(self._window) < self.lookback_period or context.market_state.phase != "continuous":
            return NOTHING
        z = self.z_score()
        if abs(z) >= self.entry_threshold and z != 0:
            target = self.position_size if z > 0 else -self.position_size
        elif abs(z) <= self.exit_threshold:
            target = 0
        else:
            return NOTHING
        if target == self._target:
            return NOTHING
        self._target = target
        change = target - context.quantity - context.pending_quantity
        if change == 0:
            return NOTHING
        return StrategyOutput(
            [OrderRequest.market(Side.BUY if change > 0 else Side.SELL, abs(change))], metrics={"z_score": z}
        )

    def z_score(self) -> float:
        """How far the last price is from the window's mean, in standard deviations; 0 in a window of equal prices."""
        n = len(self._window)
        total = sum(self._window)
        variance = n * sum(ticks * ticks for ticks in self._window) - total * total  # x n^2, exact
        return (n * self._window[-1] - total) / sqrt(variance) if variance else 0.0

    @property
    def config(self) -> Mapping[str, Any]:
        return {
            "lookback_period": self.lookback_period,
            "entry_threshold": self.entry_threshold,
            "exit_threshold": self.exit_threshold,
            "position_size": self.position_size,
            "model": "none",
        }
