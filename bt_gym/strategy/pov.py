"""POV: a parent order as a share of what the market trades."""

from collections.abc import Mapping
from typing import Any

from bt_gym.strategy.base import NOTHING, Strategy, StrategyOutput
from bt_gym.strategy.context import StrategyContext
from bt_gym.strategy.events import EventKind, MarketEvent, Side
from bt_gym.strategy.schedule import side_of, take


class Pov(Strategy):
    """After every trade, does `rate` times the volume traded since the start, never more; the rest at the deadline.

    Own trades are not in the volume: nobody sees them in a replay.

    Args:
        side: buy or sell.
        size: lots.
        rate: share of the volume, above 0, at most 1.
        duration_s: deadline in seconds after the start of continuous trading; what is left then is taken at once.

    Raises:
        ValueError: a parameter makes no sense.
    """

    subscriptions = EventKind.TRADE | EventKind.PHASE
    timer_interval_ns = 1_000_000_000

    def __init__(self, side: str | Side = "buy", size: int = 10, rate: float = 0.1, duration_s: float = 3600.0) -> None:
        if size < 1 or not 0 < rate <= 1 or duration_s <= 0:
            raise ValueError(f"size {size}, rate {rate}, duration_s {duration_s}: need 1 lot, 0 < rate <= 1, some time")
        self.side = side_of(side)
        self.size, self.rate, self.duration_s = size, rate, duration_s
        self._start: int | None = None
        self.volume = 0  # lots traded by others since the start

    def on_market_event(self, event: MarketEvent, context: StrategyContext) -> StrategyOutput:
        if context.market_state.phase != "continuous":
            return NOTHING
        if self._start is None:
            self._start = context.current_time
            return NOTHING
        self.volume += sum(trade.size for trade in event.trades)
        return take(context, self.side, min(self.size, int(self.rate * self.volume)))

    def on_timer(self, timestamp: int, context: StrategyContext) -> StrategyOutput:
        is_over = self._start is not None and timestamp - self._start >= self.duration_s * 1e9
        if not is_over or context.market_state.phase != "continuous":
            return NOTHING
        return take(context, self.side, self.size)

    @property
    def config(self) -> Mapping[str, Any]:
        return {
            "side": self.side.name.lower(),
            "size": self.size,
            "rate": self.rate,
            "duration_s": self.duration_s,
        }
