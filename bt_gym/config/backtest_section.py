"""The `backtest:` section of a file."""

from typing import Literal

from bt_gym._section import Section
from bt_gym.config.data import DataSourceConfig
from bt_gym.config.execution import ExecutionConfig
from bt_gym.config.output import OutputConfig
from bt_gym.config.risk import RiskLimitsConfig, RunLimitsConfig


class BacktestSection(Section):
    """The `backtest:` section."""

    data_source: DataSourceConfig = DataSourceConfig()
    """Market data."""
    execution: ExecutionConfig = ExecutionConfig()
    """Latency, fills and impact."""
    risk_limits: RiskLimitsConfig = RiskLimitsConfig()
    """Limits on orders and positions, of each strategy on each instrument."""
    run_limits: RunLimitsConfig | None = None
    """Limits of all strategies and instruments together."""
    mark: Literal["mid", "last", "liquidation", "microprice"] = "mid"
    """What open positions are valued at in equity and report; limits and rewards keep to the mid."""
    output: OutputConfig = OutputConfig()
    """Result files."""
