"""Files that a run writes."""

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from bt_gym._section import ParquetFile, Section, Whole


def _beside_metrics(name: str) -> Any:
    """Default of an output file: in the folder of `metrics_file`."""

    def default(data: dict[str, Any]) -> Path:
        return data.get("metrics_file", Path()).parent / name

    return Field(default_factory=default)


class OutputConfig(Section):
    """Files that a run writes."""

    metrics_file: ParquetFile = Path("results/metrics.parquet")
    """A row per account and one for the total: every figure of the report."""
    trades_file: ParquetFile = _beside_metrics("trades.parquet")
    """A row per fill; trades.parquet beside metrics_file unless given."""
    orders_file: ParquetFile = _beside_metrics("orders.parquet")
    """A row per order; orders.parquet beside metrics_file unless given."""
    equity_file: ParquetFile = _beside_metrics("equity.parquet")
    """A row per step of the equity curve; equity.parquet beside metrics_file unless given."""
    signals_file: ParquetFile = _beside_metrics("signals.parquet")
    """A row per figure that a strategy sent, if one did; signals.parquet beside metrics_file unless given."""
    equity_interval_ms: Annotated[Whole, Field(ge=1, le=86_400_000)] = 1000
    """ms between two rows of the equity curve, from which Sharpe ratio and drawdown are taken."""
    detailed_log: bool = False
    """Whether every decision is logged too."""

    @model_validator(mode="after")
    def _files_differ(self) -> Self:
        files = [self.metrics_file, self.trades_file, self.orders_file, self.equity_file, self.signals_file]
        for index, file in enumerate(files):
            if file in files[:index]:
                raise ValueError(f"two outputs would be written to '{file}'; give each its own file")
        return self
