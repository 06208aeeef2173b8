"""Random orders: the baseline that a strategy has to beat, and a way to stir an engine."""

from collections.abc import Mapping
from random import Random
from typing import Any

from bt_gym.strategy.base import NOTHING, OrderRequest, Strategy, StrategyOutput
from bt_gym.strategy.checks import at_least
from bt_gym.strategy.context import StrategyContext
from bt_gym.strategy.events import EventKind, MarketEvent, Side
from bt_gym.strategy.quoting import best_ticks


class RandomOrders(Strategy):
    """At each stroke of the clock a market order, a limit order near the best price, a cancel, or nothing.

    The same seed gives the same decisions.

    Args:
        seed: of the decisions.
        size: most lots of an order.
        max_position: lots; an order that could lead beyond is not sent.
        reach: ticks behind the best price of its side, at most, of a limit order.
        interval_ms: of the clock.

    Raises:
        ValueError: a parameter makes no sense.
    """

    subscriptions = EventKind(0)

    def __init__(
        self, seed: int = 0, size: int = 1, max_position: int = 10, reach: int = 3, interval_ms: int = 1000
    ) -> None:
        at_least(1, size=size, max_position=max_position, interval_ms=interval_ms)
        at_least(0, reach=reach)
        self.seed, self.size, self.max_position, self.reach, self.interval_ms = (
            seed,
            size,
            max_position,
            reach,
            interval_ms,
        )
        self.timer_interval_ns = interval_ms * 1_000_000
        self._random = Random(seed)  # noqa: S311  (nothing here is secret)

    def on_timer(self, timestamp: int, context: StrategyContext) -> StrategyOutput:
        draw = self._random
        action, side = draw.choice(("market", "limit", "limit", "cancel", "wait")), draw.choice((Side.BUY, Side.SELL))
        size, depth = draw.randint(1, self.size), draw.randint(0, self.reach)
        best = best_ticks(context)
        if best is None or action == "wait":
            return NOTHING
        pending = context.pending_orders
        if action == "cancel":
            return StrategyOutput(cancellations=[pending[0].order_id]) if pending else NOTHING
        working = sum(order.leaves for order in pending if order.side == side)
        if side.sign * context.quantity + working + size > self.max_position:
            return NOTHING
        if action == "market":
            return StrategyOutput([OrderRequest.market(side, size)])
        price = context.market_state.price(best[side] - side.sign * depth)
        return StrategyOutput([OrderRequest.limit(side, size, price)])

    def on_market_event(self, event: MarketEvent, context: StrategyContext) -> StrategyOutput:
        return NOTHING

    @property
    def config(self) -> Mapping[str, Any]:
        names = ("seed", "size", "max_position", "reach", "interval_ms")
        return {name: getattr(self, name) for name in names}
