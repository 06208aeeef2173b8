"""From a configuration to a strategy."""

import importlib
import sys
from pathlib import Path

from bt_gym.config import MlEnhancedMomentumConfig, OwnStrategyConfig, SmaCrossoverConfig, StrategyConfig
from bt_gym.errors import ConfigError
from bt_gym.strategy.base import Strategy
from bt_gym.strategy.momentum import EnhancedMomentum
from bt_gym.strategy.sma_crossover import SimpleMovingAverageCrossover


def make_strategy(config: StrategyConfig) -> Strategy:
    """The strategy that a configuration describes.

    Raises:
        ConfigError: a user's own class can't be imported, isn't a Strategy, or refuses its parameters.
    """
    if isinstance(config, SmaCrossoverConfig):
        sma = config.parameters
        return SimpleMovingAverageCrossover(sma.fast_period, sma.slow_period, sma.position_size)
    if isinstance(config, MlEnhancedMomentumConfig):
        rule = config.parameters
        return EnhancedMomentum(rule.lookback_period, rule.entry_threshold, rule.exit_threshold, rule.position_size)
    if isinstance(config, OwnStrategyConfig):
        return _import(config)
    raise ConfigError(f"strategy.type: {config.type}: unknown strategy; use a built-in name or module:Name")


def _import(config: OwnStrategyConfig) -> Strategy:
    module_name, name = config.type.split(":")
    folder = str(Path.cwd())
    if folder not in sys.path:  # an installed command doesn't look into the working directory by itself
        sys.path.insert(0, folder)
    try:
        strategy_class = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"strategy.type: {config.type}: {error}: give module:Name importable from {folder}") from None
    if not (isinstance(strategy_class, type) and issubclass(strategy_class, Strategy)):
        raise ConfigError(f"strategy.type: {config.type}: isn't a subclass of bt_gym.Strategy")
    try:
        return strategy_class(**config.parameters)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"strategy.parameters: {config.type} refuses {config.parameters}: {error}") from None
