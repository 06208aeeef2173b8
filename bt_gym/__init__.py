"""bt_gym replays real exchange order flow (Databento MBO), exact to the queue position.

    >>> from bt_gym import Backtester, BacktestConfig
    >>> report = Backtester(BacktestConfig.from_file("configs/sma_crossover.yaml")).run()  # doctest: +SKIP

Names below are loaded when they are first used, so that the import itself is quick.
"""

# ruff: noqa: F401  (the imports below are for type checkers)

import importlib
from typing import TYPE_CHECKING, Any

from bt_gym import envs as _envs

__version__ = "0.1.0"

_envs.register()

if TYPE_CHECKING:
    from bt_gym.backtest.backtester import Backtester
    from bt_gym.backtest.collector import MetricsCollector
    from bt_gym.backtest.replay import MarketReplayEngine, ReplaySpeed
    from bt_gym.backtest.report import BacktestReport
    from bt_gym.config import BacktestConfig, StrategyConfig
    from bt_gym.core.execution import ExecutionEngine
    from bt_gym.core.position_manager import PositionManager
    from bt_gym.data.instruments import Instrument
    from bt_gym.data.tape import Tape, ingest
    from bt_gym.data.validate import validate
    from bt_gym.envs.scaling import fit_scaling
    from bt_gym.errors import BtGymError
    from bt_gym.strategy.base import Kill, OrderCancel, OrderRequest, OrderUpdate, Strategy, StrategyOutput
    from bt_gym.strategy.context import MarketStateView, StrategyContext
    from bt_gym.strategy.events import EventKind, ExecutionReport, MarketEvent, Side, Trade
    from bt_gym.strategy.jitted import JittedStrategy
    from bt_gym.strategy.momentum import EnhancedMomentum
    from bt_gym.strategy.router import StrategyRouter
    from bt_gym.strategy.sma_crossover import JittedSmaCrossover, SimpleMovingAverageCrossover

_HOMES = {
    "bt_gym.backtest.backtester": ("Backtester",),
    "bt_gym.backtest.collector": ("MetricsCollector",),
    "bt_gym.backtest.replay": ("MarketReplayEngine", "ReplaySpeed"),
    "bt_gym.backtest.report": ("BacktestReport",),
    "bt_gym.config": ("BacktestConfig", "StrategyConfig"),
    "bt_gym.core.execution": ("ExecutionEngine",),
    "bt_gym.core.position_manager": ("PositionManager",),
    "bt_gym.data.instruments": ("Instrument",),
    "bt_gym.data.tape": ("Tape", "ingest"),
    "bt_gym.data.validate": ("validate",),
    "bt_gym.envs.scaling": ("fit_scaling",),
    "bt_gym.errors": ("BtGymError",),
    "bt_gym.strategy.base": ("Kill", "OrderCancel", "OrderRequest", "OrderUpdate", "Strategy", "StrategyOutput"),
    "bt_gym.strategy.context": ("MarketStateView", "StrategyContext"),
    "bt_gym.strategy.events": ("EventKind", "ExecutionReport", "MarketEvent", "Side", "Trade"),
    "bt_gym.strategy.jitted": ("JittedStrategy",),
    "bt_gym.strategy.momentum": ("EnhancedMomentum",),
    "bt_gym.strategy.router": ("StrategyRouter",),
    "bt_gym.strategy.sma_crossover": ("JittedSmaCrossover", "SimpleMovingAverageCrossover"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted([*_HOME_OF, "__version__"])


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'bt_gym' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
