"""Does nothing: what every report must show as zero."""

from bt_gym.strategy.base import NOTHING, Strategy, StrategyOutput
from bt_gym.strategy.context import StrategyContext
from bt_gym.strategy.events import MarketEvent


class DoNothing(Strategy):
    """Is called with every trade, and asks for nothing."""

    def on_market_event(self, event: MarketEvent, context: StrategyContext) -> StrategyOutput:
        return NOTHING
