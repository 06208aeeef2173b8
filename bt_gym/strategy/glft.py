"""Gueant, Lehalle and Fernandez-Tapia (2013), "Dealing with the inventory risk": the asymptotic quotes, in the form of
Gueant's "Optimal market making" (arXiv 1605.01862), equations 4.6 and 4.7.

With arrivals A exp(-k delta), volatility sigma, risk aversion gamma, order size D, position q in units of D, and
xi = gamma (or 0, without aversion to the risk of not being filled):

    c1 = ln(1 + xi D / k) / (xi D)
    c2 = sqrt(gamma / (2 A D k) * (1 + xi D / k) ** (k / (xi D) + 1))
    delta_bid = c1 + D / 2 sigma c2 + q sigma c2
    delta_ask = c1 + D / 2 sigma c2 - q sigma c2
"""

from collections.abc import Mapping
from math import ceil, e, floor, log1p, sqrt
from typing import Any

from bt_gym.strategy.base import NOTHING, Strategy, StrategyOutput
from bt_gym.strategy.checks import above_zero, at_least
from bt_gym.strategy.context import StrategyContext
from bt_gym.strategy.events import EventKind, MarketEvent
from bt_gym.strategy.quoting import best_ticks, two_sided


def coefficients(gamma: float, arrivals: float, k: float, xi: float, lots: float = 1.0) -> tuple[float, float]:
    """c1 and c2; their limits for xi = 0.

    >>> [round(c, 6) for c in coefficients(gamma=0.1, arrivals=0.9, k=0.3, xi=0.1)]
    [2.876821, 0.765034]
    """
    if xi == 0:
        return 1 / k, sqrt(gamma * e / (2 * arrivals * lots * k))
    x = xi * lots
    return log1p(x / k) / x, sqrt(gamma / (2 * arrivals * lots * k) * (1 + x / k) ** (k / x + 1))


def distances(
    position: float,
    gamma: float,
    sigma: float,
    arrivals: float,
    k: float,
    xi: float,
    lots: float = 1.0,
) -> tuple[float, float]:
    """Of bid and ask from the mid. `position` is in orders of so many `lots`; sigma and arrivals share a unit of time.

    >>> [round(d, 6) for d in distances(2, gamma=0.1, sigma=0.3, arrivals=0.9, k=0.3, xi=0.1)]
    [3.450596, 2.532556]
    """
    c1, c2 = coefficients(gamma, arrivals, k, xi, lots)
    half = c1 + lots / 2 * sigma * c2
    return half + position * sigma * c2, half - position * sigma * c2


class Glft(Strategy):
    """One quote a side, re-quoted by the clock.

    Args:
        gamma: risk aversion, 1 / (ticks x lots).
        sigma: volatility, ticks per square root of a second.
        arrivals: A, a second at distance 0.
        k: their decay with the distance, 1 / ticks.
        xi: aversion to the risk of not being filled; gamma if None.
        size: lots a quote.
        max_position: lots at which a side is no longer quoted.
        interval_ms: of the clock.

    Raises:
        ValueError: a parameter makes no sense.
    """

    subscriptions = EventKind(0)
    is_stationary = True

    def __init__(
        self,
        gamma: float = 0.05,
        sigma: float = 0.5,
        arrivals: float = 1.0,
        k: float = 1.0,
        xi: float | None = None,
        size: int = 1,
        max_position: int = 10,
        interval_ms: int = 100,
    ) -> None:
        xi = gamma if xi is None else xi
        above_zero(gamma=gamma, arrivals=arrivals, k=k)
        at_least(0, sigma=sigma, xi=xi)
        at_least(1, size=size, max_position=max_position, interval_ms=interval_ms)
        self.gamma, self.sigma, self.arrivals, self.k, self.xi = gamma, sigma, arrivals, k, xi
        self.size, self.max_position, self.interval_ms = size, max_position, interval_ms
        self.timer_interval_ns = interval_ms * 1_000_000

    def on_timer(self, timestamp: int, context: StrategyContext) -> StrategyOutput:
        best = best_ticks(context)
        if best is None:
            return NOTHING
        position = context.quantity / self.size
        below, above = distances(position, self.gamma, self.sigma, self.arrivals, self.k, self.xi, self.size)
        mid = sum(best) / 2
        bid, ask = min(floor(mid - below), best[1] - 1), max(ceil(mid + above), best[0] + 1)
        return two_sided(context, bid, ask, self.size, self.max_position)

    def on_market_event(self, event: MarketEvent, context: StrategyContext) -> StrategyOutput:
        return NOTHING

    @property
    def config(self) -> Mapping[str, Any]:
        names = ("gamma", "sigma", "arrivals", "k", "xi", "size", "max_position", "interval_ms")
        return {name: getattr(self, name) for name in names}
