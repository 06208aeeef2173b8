"""The market maker of Avellaneda and Stoikov (2008): quotes at the prices of `bt_gym.core.avellaneda_stoikov`, rounded
away from the market, and never through it."""

from collections.abc import Mapping
from math import ceil, floor
from typing import Any

from bt_gym.core.avellaneda_stoikov import quotes
from bt_gym.strategy.base import NOTHING, Strategy, StrategyOutput
from bt_gym.strategy.checks import above_zero, at_least
from bt_gym.strategy.context import StrategyContext
from bt_gym.strategy.events import EventKind, MarketEvent
from bt_gym.strategy.quoting import best_ticks, two_sided


class AvellanedaStoikov(Strategy):
    """One quote a side, re-quoted by the clock. The horizon begins anew when it is over.

    Args:
        gamma: risk aversion, 1 / (ticks x lots).
        sigma: volatility, ticks per square root of a second.
        k: decay of arrivals with the distance, 1 / ticks.
        horizon_s: T, seconds.
        size: lots a quote.
        max_position: lots at which a side is no longer quoted.
        interval_ms: of the clock.

    Raises:
        ValueError: a parameter makes no sense.
    """

    subscriptions = EventKind(0)

    def __init__(
        self,
        gamma: float = 0.01,
        sigma: float = 0.5,
        k: float = 1.5,
        horizon_s: float = 60.0,
        size: int = 1,
        max_position: int = 10,
        interval_ms: int = 100,
    ) -> None:
        above_zero(gamma=gamma, k=k, horizon_s=horizon_s)
        at_least(0, sigma=sigma)
        at_least(1, size=size, max_position=max_position, interval_ms=interval_ms)
        self.gamma, self.sigma, self.k, self.horizon_s = map(float, (gamma, sigma, k, horizon_s))
        self.size, self.max_position, self.interval_ms = size, max_position, interval_ms
        self.timer_interval_ns = interval_ms * 1_000_000
        self._start: int | None = None

    def time_left(self, now: int) -> float:
        """Seconds to the end of the horizon that runs at `now` (ns)."""
        self._start = now if self._start is None else self._start
        return self.horizon_s - (now - self._start) / 1e9 % self.horizon_s

    def on_timer(self, timestamp: int, context: StrategyContext) -> StrategyOutput:
        best = best_ticks(context)
        if best is None:
            return NOTHING
        left = self.time_left(timestamp)
        bid, ask = quotes(sum(best) / 2, float(context.quantity), self.gamma, self.sigma, self.k, left)
        return two_sided(
            context, min(floor(bid), best[1] - 1), max(ceil(ask), best[0] + 1), self.size, self.max_position
        )

    def on_market_event(self, event: MarketEvent, context: StrategyContext) -> StrategyOutput:
        return NOTHING

    @property
    def config(self) -> Mapping[str, Any]:
        names = ("gamma", "sigma", "k", "horizon_s", "size", "max_position", "interval_ms")
        return {name: getattr(self, name) for name in names}
