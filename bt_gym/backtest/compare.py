"""One strategy under every fill model and several latencies, side by side: how much of a result is the model's.

The bounds come first: `never_at_touch` is the least that resting orders can get, `front_of_queue` the most. A strategy
that earns under one of them and loses under the other has not been shown to earn; its rows are flagged.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from bt_gym.backtest.backtester import Backtester
from bt_gym.backtest.report import BacktestReport
from bt_gym.config import BacktestConfig, with_overrides
from bt_gym.errors import BtGymError, ConfigError
from bt_gym.strategy.base import Strategy

BOUNDS = ("never_at_touch", "fifo", "front_of_queue")

FILL_MODELS: dict[str, Mapping[str, Any]] = {
    "never_at_touch": {"type": "never_at_touch"},
    "fifo": {"type": "fifo"},
    "front_of_queue": {"type": "front_of_queue"},
    "risk_averse": {"type": "risk_averse"},
    "power_prob": {"type": "power_prob"},
    "power_prob2": {"type": "power_prob2"},
    "power_prob3": {"type": "power_prob3"},
    "log_prob": {"type": "log_prob"},
    "log_prob2": {"type": "log_prob2"},
    "pro_rata": {"type": "pro_rata"},
    "cme": {"type": "cme", "algorithm": "K"},
    "probabilistic": {"type": "probabilistic"},
    "probabilistic exact": {"type": "probabilistic", "queue_position_model": "exact"},
}
"""Settings of each model compared; the configuration's own model replaces the one of its type."""


@dataclass(frozen=True)
class Row:
    """One run."""

    latency: str  # network latency one way in us, or "configured"
    fill_model: str
    pnl: float | None = None  # currency, after fees
    fees: float | None = None  # currency
    fills: int | None = None
    contracts: int | None = None  # lots
    maker_share: float | None = None
    markout_maker_1s: float | None = None  # currency per lot, > 0: the market went our way
    markout_maker_10s: float | None = None
    problem: str | None = None  # why it could not run


@dataclass(frozen=True)
class Comparison:
    """All runs. A latency is flagged where the profit changes its sign between the bounds."""

    strategy: str
    symbol: str
    rows: tuple[Row, ...]

    @property
    def flagged(self) -> tuple[str, ...]:
        """Latencies at which the bounds disagree whether the strategy earns."""
        latencies = dict.fromkeys(row.latency for row in self.rows)
        return tuple(latency for latency in latencies if self._changes_sign(latency))

    def _changes_sign(self, latency: str) -> bool:
        bounds = [row.pnl for row in self.rows if row.latency == latency and row.fill_model in BOUNDS]
        signs = {pnl > 0 for pnl in bounds if pnl is not None}
        return len(signs) > 1

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, numbers and strings, ready for JSON."""
        rows = [asdict(row) for row in self.rows]
        return {"strategy": self.strategy, "symbol": self.symbol, "flagged": list(self.flagged), "rows": rows}

    def table(self) -> Table:
        """One row per run, latency by latency."""
        told = [f"profit changes its sign between the bounds at latency: {latency}" for latency in self.flagged]
        told = told or ["profit has the same sign under all bounds"]
        told += dict.fromkeys(f"can't run: {row.problem}" for row in self.rows if row.problem)
        caption = "\n".join(told)
        table = Table(title=f"{self.strategy} on {self.symbol}", caption=caption, box=SIMPLE_HEAD, padding=0)
        table.title_justify = table.caption_justify = "left"
        for name in ("latency", "fill model"):
            table.add_column(name, no_wrap=True)
        for name in ("pnl", "fills", "maker", "markout 1s", "10s"):
            table.add_column(name, justify="right", no_wrap=True)
        latency = ""
        for row in self.rows:
            label = row.latency if row.latency != latency else ""
            if label and latency:
                table.add_section()
            latency = row.latency
            if row.problem:
                table.add_row(label, row.fill_model, "can't run")
                continue
            table.add_row(
                label,
                row.fill_model,
                f"{row.pnl:,.2f}",
                f"{row.fills:,}",
                _text(row.maker_share, ".0%"),
                _text(row.markout_maker_1s, ",.2f"),
                _text(row.markout_maker_10s, ",.2f"),
            )
        return table


def compare_fills(
    config: BacktestConfig,
    *,
    latencies_us: Sequence[float] = (0, 1000),
    strategy: Callable[[], Strategy] | None = None,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Comparison:
    """Runs a strategy under every fill model, at the configured latency and at fixed ones.

    Args:
        config: what is run; its latency and fill model are replaced in turn.
        latencies_us: network latencies, us one way, besides the configured latency model.
        strategy: makes a fresh strategy for each run, instead of the configuration's.
        progress: called with (runs done, runs in all).
        options: of `Backtester`: files, symbol, definition, instrument, tape_folder.

    Raises:
        ConfigError: the configuration can't run under any model, or a latency is none.
    """
    for us in latencies_us:
        if not 0 <= us < float("inf"):
            raise ConfigError(f"--latency {us:g}: must be 0 us or more, such as 1000")
    own = config.backtest.execution.fill_model
    models = {
        name: own.model_dump(exclude_unset=True) if settings["type"] == own.type and " " not in name else settings
        for name, settings in FILL_MODELS.items()
    }
    runs = [(latency, name) for latency in (None, *latencies_us) for name in models]
    rows: list[Row] = []
    problems: list[BtGymError] = []
    about: BacktestReport | None = None
    for latency, name in runs:
        overrides: dict[str, Any] = {"backtest.execution.fill_model": models[name]}
        if latency is not None:
            overrides["backtest.execution.latency_model"] = {"type": "fixed", "network_latency_us": latency}
        label = "configured" if latency is None else f"{latency:g} us"
        backtester = Backtester(with_overrides(config, overrides), **options)
        if strategy is not None:
            backtester.add_strategy("strategy", strategy())
        try:
            report = backtester.run()
        except ConfigError as problem:
            problems.append(problem)
            rows.append(Row(label, name, problem=str(problem).partition(": ")[2] or str(problem)))
        else:
            about = report
            rows.append(_row(label, name, report))
        if progress is not None:
            progress(len(rows), len(runs))
    if about is None:
        raise problems[0]
    return Comparison(about.parts[0].strategy, about.symbol, tuple(rows))


def _row(latency: str, name: str, report: BacktestReport) -> Row:
    return Row(
        latency,
        name,
        pnl=report.total_pnl,
        fees=report.fees,
        fills=report.total_trades,
        contracts=report.contracts,
        maker_share=report.maker_share,
        markout_maker_1s=report.markouts["maker_1s"],
        markout_maker_10s=report.markouts["maker_10s"],
    )


def _text(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
