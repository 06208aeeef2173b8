"""From a configuration to a strategy."""

from collections.abc import Callable

from bt_gym.config import MlEnhancedMomentumConfig, OwnStrategyConfig, StrategyConfig
from bt_gym.errors import ConfigError
from bt_gym.strategy.almgren_chriss import AlmgrenChriss
from bt_gym.strategy.avellaneda_stoikov import AvellanedaStoikov
from bt_gym.strategy.base import Strategy
from bt_gym.strategy.do_nothing import DoNothing
from bt_gym.strategy.glft import Glft
from bt_gym.strategy.grid import GridMarketMaker
from bt_gym.strategy.load import load
from bt_gym.strategy.momentum import EnhancedMomentum
from bt_gym.strategy.pairs import Pairs
from bt_gym.strategy.pov import Pov
from bt_gym.strategy.random_orders import RandomOrders
from bt_gym.strategy.sma_crossover import SimpleMovingAverageCrossover
from bt_gym.strategy.twap import Twap
from bt_gym.strategy.vwap import Vwap

BUILT_IN: dict[str, Callable[..., Strategy]] = {
    "sma_crossover": SimpleMovingAverageCrossover,
    "grid": GridMarketMaker,
    "avellaneda_stoikov": AvellanedaStoikov,
    "glft": Glft,
    "twap": Twap,
    "vwap": Vwap,
    "pov": Pov,
    "almgren_chriss": AlmgrenChriss,
    "pairs": Pairs,
    "do_nothing": DoNothing,
    "random": RandomOrders,
}
"""Built-in strategies by type; their parameters are those of the configuration."""


def make_strategy(config: StrategyConfig) -> Strategy:
    """The strategy that a configuration describes.

    Raises:
        ConfigError: a user's own class can't be imported, isn't a Strategy, or refuses its parameters.
    """
    if isinstance(config, MlEnhancedMomentumConfig):
        rule = config.parameters
        return EnhancedMomentum(rule.lookback_period, rule.entry_threshold, rule.exit_threshold, rule.position_size)
    if config.type in BUILT_IN:
        try:
            return BUILT_IN[config.type](**dict(config.parameters))
        except ValueError as error:  # what only the strategy itself can tell, such as two parameters that don't fit
            raise ConfigError(f"strategy.parameters: {config.type}: {error}") from None
    if isinstance(config, OwnStrategyConfig):
        return _import(config)
    raise ConfigError(f"strategy.type: {config.type}: unknown strategy; use a built-in name or module:Name")


def _import(config: OwnStrategyConfig) -> Strategy:
    strategy_class = load(config.type, "strategy.type")
    if not (isinstance(strategy_class, type) and issubclass(strategy_class, Strategy)):
        raise ConfigError(f"strategy.type: {config.type}: isn't a subclass of bt_gym.Strategy")
    try:
        return strategy_class(**config.parameters)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"strategy.parameters: {config.type} refuses {config.parameters}: {error}") from None
