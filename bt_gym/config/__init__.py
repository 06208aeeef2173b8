"""What a backtest is made of: frozen models of the YAML files in `configs/`.

A file has up to three top-level keys, and every key below is documented at its field:

    backtest:      data_source, execution {latency_model, fill_model, market_impact}, risk_limits, run_limits, output
    strategy:      type, parameters
    instruments:   a symbol or a pattern such as "ES??": tick_size, multiplier, currency, fees

Loading validates everything and names every problem at once, with its place and the nearest valid key. What is
documented but not built yet loads as well; `check_runnable` refuses it by name before a run.
Paths are relative to the working directory. The kernels never see these models, only integers made from them.
"""

from bt_gym.config.backtest import BacktestConfig, with_overrides
from bt_gym.config.backtest_section import BacktestSection
from bt_gym.config.data import DataSourceConfig
from bt_gym.config.execution import MAX_PROTECTION_TICKS, ExecutionConfig
from bt_gym.config.fees import FeesConfig, FeeTierConfig
from bt_gym.config.fills import (
    CmeFillConfig,
    FifoFillConfig,
    FillModelConfig,
    FrontOfQueueFillConfig,
    NeverAtTouchFillConfig,
    ProbabilisticFillConfig,
    ProRataFillConfig,
    QueueModelFillConfig,
)
from bt_gym.config.impact import (
    Almgren2005ImpactConfig,
    AlmgrenChrissImpactConfig,
    LinearImpactConfig,
    MarketImpactConfig,
    NoImpactConfig,
    PropagatorImpactConfig,
    SquareRootImpactConfig,
)
from bt_gym.config.instruments import InstrumentConfig
from bt_gym.config.latency import (
    EmpiricalLatencyConfig,
    FeedLatencyConfig,
    FixedLatencyConfig,
    InterpolatedLatencyConfig,
    LatencyModelConfig,
    LoadLatencyConfig,
    LognormalLatencyConfig,
)
from bt_gym.config.output import OutputConfig
from bt_gym.config.risk import RiskLimitsConfig, RunLimitsConfig
from bt_gym.config.runnable import check_runnable, unbuilt
from bt_gym.config.strategy import (
    AnyStrategyConfig,
    FeatureConfig,
    MlEnhancedMomentumConfig,
    MlEnhancedMomentumParameters,
    OwnStrategyConfig,
    SmaCrossoverConfig,
    SmaCrossoverParameters,
    StrategyConfig,
)

__all__ = [
    "MAX_PROTECTION_TICKS",
    "Almgren2005ImpactConfig",
    "AlmgrenChrissImpactConfig",
    "AnyStrategyConfig",
    "BacktestConfig",
    "BacktestSection",
    "CmeFillConfig",
    "DataSourceConfig",
    "EmpiricalLatencyConfig",
    "ExecutionConfig",
    "FeatureConfig",
    "FeeTierConfig",
    "FeedLatencyConfig",
    "FeesConfig",
    "FifoFillConfig",
    "FillModelConfig",
    "FixedLatencyConfig",
    "FrontOfQueueFillConfig",
    "InstrumentConfig",
    "InterpolatedLatencyConfig",
    "LatencyModelConfig",
    "LinearImpactConfig",
    "LoadLatencyConfig",
    "LognormalLatencyConfig",
    "MarketImpactConfig",
    "MlEnhancedMomentumConfig",
    "MlEnhancedMomentumParameters",
    "NeverAtTouchFillConfig",
    "NoImpactConfig",
    "OutputConfig",
    "OwnStrategyConfig",
    "ProRataFillConfig",
    "ProbabilisticFillConfig",
    "PropagatorImpactConfig",
    "QueueModelFillConfig",
    "RiskLimitsConfig",
    "RunLimitsConfig",
    "SmaCrossoverConfig",
    "SmaCrossoverParameters",
    "SquareRootImpactConfig",
    "StrategyConfig",
    "check_runnable",
    "unbuilt",
    "with_overrides",
]
