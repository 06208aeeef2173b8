"""BacktestReport: the result of a run in numbers, for a person (a table), a program (a dict) and a file (metadata).

Each field carries its unit and meaning once, as metadata; the parquet schema and the table are made from it.
"""
# ruff: noqa: RUF009  (`_is` is dataclasses.field, which the rule knows only under its own name)

import io
from dataclasses import Field, asdict, astuple, dataclass, field, fields
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table


def _is(unit: str, meaning: str, group: str = "") -> Any:
    return field(metadata={"unit": unit, "meaning": meaning, "group": group})


@dataclass(frozen=True)
class RunInfo:
    """What a result depends on, so that it can be judged and repeated."""

    fill_model: str = ""
    latency_model: str = ""
    fee_model: str = ""
    data_hash: str = ""  # sha256 of the source data
    config_hash: str = ""  # sha256 of the configuration
    notes: tuple[str, ...] = ()  # what a reader must know, such as "model: none"
    impact_model: str = ""
    run_limits: str = ""  # of all accounts together
    mark: str = "mid"  # what open positions are valued at


@dataclass(frozen=True)
class Ledger:
    """The books at the end of the data, exact: int64 in 1e-6 of the currency.

    Raises:
        ValueError: the two sides of `realised + unrealised - fees == cash + position_value - fees` differ.
    """

    realised: int = 0
    unrealised: int = 0
    fees: int = 0
    cash: int = 0  # fees excluded
    position_value: int = 0  # position * mark * multiplier

    def __post_init__(self) -> None:
        if self.realised + self.unrealised != self.cash + self.position_value:
            raise ValueError(f"the books don't balance: {self}")

    def __add__(self, other: "Ledger") -> "Ledger":
        return Ledger(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))

    @property
    def equity(self) -> int:
        return self.cash + self.position_value - self.fees


@dataclass(frozen=True, kw_only=True)
class BacktestReport:
    """The metrics of one strategy on one instrument, or of a whole run (`parts` holds its accounts).

    None means that the data doesn't define the value. A round trip is one lot opened and later closed, matched first
    in first out, its profit net of both fees; lots still open are not counted.
    """

    strategy: str = _is("", "name of the strategy, or total")
    symbol: str = _is("", "instrument; several are joined by a comma")
    start_ns: int | None = _is("ns", "first event in continuous trading, UTC")
    end_ns: int | None = _is("ns", "end of the data, UTC")
    days: int = _is("days", "trading days covered")
    trading_seconds: float = _is("s", "time in continuous trading, on the clock of the equity curve")

    total_pnl: float = _is("currency", "profit after fees, open positions at the last valid mark", "profit")
    gross_pnl: float = _is("currency", "profit before fees", "profit")
    fees: float = _is("currency", "fees paid; negative = rebates", "profit")
    impact: float = _is("currency", "cost of the impact model, part of gross_pnl", "profit")
    realised_pnl: float = _is("currency", "gross profit of closed positions, by average cost", "profit")
    unrealised_pnl: float = _is("currency", "gross profit of the open position at the last valid mark", "profit")

    sharpe_ratio: float | None = _is("", "mean / std of the equity changes, annualised in trading time", "risk")
    sharpe_flag: str | None = _is("", "why an annualised ratio is no track record")
    sortino_ratio: float | None = _is("", "mean / downside deviation, annualised in trading time", "risk")
    max_drawdown: float = _is("currency", "largest fall of equity from its high, start included", "risk")
    return_over_max_drawdown: float | None = _is("", "total_pnl / max_drawdown", "risk")
    calmar_ratio: float | None = _is("", "total_pnl * 252 / days / max_drawdown", "risk")

    total_trades: int = _is("fills", "number of fills", "trading")
    contracts: int = _is("lots", "lots traded", "trading")
    turnover: float = _is("currency", "sum of |lots * price * multiplier|", "trading")
    return_over_trade: float | None = _is("", "total_pnl / turnover", "trading")
    maker_share: float | None = _is("", "share of the lots that were filled while resting", "trading")
    taker_share: float | None = _is("", "share of the lots that took liquidity", "trading")

    round_trips: int = _is("lots", "lots opened and closed, first in first out", "round trips")
    wins: int = _is("lots", "round trips with a net profit", "round trips")
    losses: int = _is("lots", "round trips with a net loss", "round trips")
    ties: int = _is("lots", "round trips with neither", "round trips")
    win_rate: float | None = _is("", "wins / (wins + losses)", "round trips")
    profit_factor: float | None = _is("", "net profit of the wins / net loss of the losses", "round trips")
    avg_win: float | None = _is("currency", "mean net profit of a win", "round trips")
    avg_loss: float | None = _is("currency", "mean net result of a loss, negative", "round trips")
    avg_trade_duration: float | None = _is("s", "mean time from opening to closing, per lot", "round trips")

    orders: int = _is("orders", "orders sent, refused ones included", "orders")
    filled_orders: int = _is("orders", "orders with at least one fill", "orders")
    fill_ratio: float | None = _is("", "lots filled / lots submitted", "orders")
    reports: dict[str, int] = _is("", "execution reports by type", "orders")
    rejects: dict[str, int] = _is("", "refused orders, cancels and modifies by reason", "orders")

    stopped_by: str | None = _is("", "limit or kill switch that stopped trading; of a total: that of the whole run")
    stopped_ns: int | None = _is("ns", "when it did, UTC, receive clock")

    final_position: int | None = _is("lots", "signed, at the end; None in a total of several accounts", "inventory")
    avg_position: float | None = _is("lots", "time-weighted mean; None in a total of several", "inventory")
    avg_abs_position: float | None = _is("lots", "time-weighted mean of |position|; likewise", "inventory")
    max_abs_position: int | None = _is("lots", "largest |position|; likewise", "inventory")
    time_in_market: float | None = _is("", "share of the time with a position; likewise", "inventory")

    spread_paid_maker: float | None = _is("currency", "sum of own side * (price - mid before); < 0 = earned", "quality")
    spread_paid_taker: float | None = _is("currency", "likewise for fills that took liquidity", "quality")
    markouts: dict[str, float | None] = _is(
        "currency/lot", "mean of own side * (mid later - price); > 0 = the market went our way", "quality"
    )
    markout_contracts: dict[str, int] = _is("lots", "lots behind each markout; fills too near the end left out", "")

    strategy_metrics: dict[str, float | None] = _is("", "the strategy's own metrics, last values", "own")

    ledger: Ledger = _is("1e-6 currency", "exact books at the end of the data")
    run: RunInfo = _is("", "models, hashes")
    notes: tuple[str, ...] = _is("", "what a reader must know")
    parts: "tuple[BacktestReport, ...]" = _is("", "reports of the accounts that a total sums up")

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, numbers and strings, ready for JSON."""
        result = asdict(self)
        result["notes"], result["run"]["notes"] = list(self.notes), list(self.run.notes)
        result["parts"] = [part.to_dict() for part in self.parts]
        return result

    def table(self) -> Table:
        """One row per metric, one column per account and, when there are several, one for the total."""
        columns = (*self.parts, self) if len(self.parts) > 1 else self.parts or (self,)
        table = Table(title=self._title(), caption=self._caption(), box=SIMPLE_HEAD, title_justify="left", min_width=96)
        table.caption_justify = "left"
        table.add_column("metric", no_wrap=True)
        for column in columns:
            name = column.strategy if column.parts else f"{column.strategy} {column.symbol}"
            table.add_column(name, justify="right")
        table.add_column("unit", style="dim")
        group = ""
        for item in fields(self):
            if not item.metadata["group"]:
                continue
            if group and item.metadata["group"] != group:
                table.add_section()
            group = item.metadata["group"]
            for label, values in _rows(item, columns):
                table.add_row(label, *map(_text, values), item.metadata["unit"])
        return table

    def _title(self) -> str:
        return f"Backtest of {self.symbol}: {self.total_pnl:,.2f} after fees, {self.total_trades:,} fills"

    def _caption(self) -> str:
        run = self.run
        models = {"fill model": run.fill_model, "latency": run.latency_model, "impact": run.impact_model}
        models["fees"] = run.fee_model
        models["limits of the run"] = run.run_limits
        models["mark"] = "" if run.mark == "mid" else run.mark
        hashes = {"data": run.data_hash[:12], "config": run.config_hash[:12]}
        told = [f"{name}: {value}" for name, value in (models | hashes).items() if value]
        notes = [*self.notes, *([f"ratios: {self.sharpe_flag}"] if self.sharpe_flag else [])]
        return "\n".join([*self._time(), *told, *(f"note: {note}" for note in notes)])

    def _time(self) -> list[str]:
        if self.start_ns is None or self.end_ns is None:
            return []
        start, end = (np.datetime64(ns // 1_000_000_000, "s") for ns in (self.start_ns, self.end_ns))
        return [f"time: {start} to {end} UTC, {self.trading_seconds:,.0f} s of trading"]

    def __str__(self) -> str:
        file = io.StringIO()
        Console(file=file, width=100, color_system=None, force_terminal=False).print(self.table())
        return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def _rows(item: Field, columns: tuple[BacktestReport, ...]) -> list[tuple[str, list[Any]]]:
    """Label and values per row: one row for a number, one per key for a dict (rows of only 0 or None left out)."""
    values = [getattr(column, item.name) for column in columns]
    label = item.name.replace("_", " ")
    if not any(isinstance(value, dict) for value in values):
        return [(label, values)]
    keys = dict.fromkeys(key for value in values for key in value)
    rows = [(f"{label} {key.replace('_', ' ')}", [value.get(key, 0) for value in values]) for key in keys]
    return [(name, row) for name, row in rows if any(row)]


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.2f}" if abs(value) >= 1 or value == 0 else f"{value:.4g}"
    return str(value)
