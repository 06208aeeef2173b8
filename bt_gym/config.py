"""What a backtest is made of: frozen models of the YAML files in `configs/`.

A file has up to three top-level keys, and every key below is documented at its field:

    backtest:      data_source, execution {latency_model, fill_model, market_impact}, risk_limits, output
    strategy:      type, parameters
    instruments:   a symbol or a pattern such as "ES??": tick_size, multiplier, currency, fees

Loading validates everything and names every problem at once, with its place and the nearest valid key. What is
documented but not built yet loads as well; `check_runnable` refuses it by name before a run.
Paths are relative to the working directory. The kernels never see these models, only integers made from them.
"""

from collections.abc import Mapping
from decimal import Decimal
from fnmatch import fnmatchcase
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, StringConstraints, Tag, ValidationInfo, field_validator, model_validator

from bt_gym import _yaml
from bt_gym._section import (
    Count,
    Fact,
    File,
    Free,
    Microseconds,
    Money,
    Number,
    Overrides,
    ParquetFile,
    S,
    Section,
    Several,
    Whole,
    Word,
    to_micros,
    to_nanoseconds,
    validate,
)
from bt_gym.errors import NotBuiltError

MAX_PROTECTION_TICKS = 128  # what a ladder window leaves on each side of the touch

# --- backtest


class DataSourceConfig(Section):
    """Which market data is replayed."""

    type: Literal["databento"] = "databento"
    """Databento DBN files, `.dbn` or `.dbn.zst`, MBO schema."""
    files: Several[File] = ()
    """The files, in the order of time; may be left to the command line."""
    symbols: Several[Word] = ()
    """Raw symbols to trade, as written in the files; empty: the only symbol that the files have."""


class FixedLatencyConfig(Section):
    """The same delay for every message."""

    type: Literal["fixed"] = "fixed"
    """Constant latencies."""
    network_latency_us: Microseconds = Decimal(50)
    """us, one way between us and the exchange."""
    processing_latency_us: Microseconds = Decimal(10)
    """us that the exchange's gateway needs for a request, after the network."""
    compute_latency_us: Microseconds = Decimal(0)
    """us between knowing something and sending the request that follows from it."""
    response_latency_us: Microseconds = Field(
        default_factory=lambda data: data.get("network_latency_us", Decimal(0)), validate_default=True
    )
    """us until we know what the exchange did with an order; network_latency_us unless given."""
    extra_feed_latency_us: Microseconds = Decimal(0)
    """us added to the receive times recorded in the data."""

    @property
    def compute_latency_ns(self) -> int:
        """ns between knowing and sending."""
        return to_nanoseconds(self.compute_latency_us)

    @property
    def entry_latency_ns(self) -> int:
        """ns from sending a request to its arrival in the matching engine: network + processing."""
        return to_nanoseconds(self.network_latency_us + self.processing_latency_us)

    @property
    def response_latency_ns(self) -> int:
        """ns from what happens to an order to our knowing it."""
        return to_nanoseconds(self.response_latency_us)

    @property
    def extra_feed_latency_ns(self) -> int:
        """ns on top of the recorded receive times."""
        return to_nanoseconds(self.extra_feed_latency_us)


class FifoFillConfig(Section):
    """Exact price-time queue: every order ahead is known from the order flow."""

    type: Literal["fifo"] = "fifo"
    """Exact queue position."""
    fill_on_cross: bool = True
    """Whether an order added at or through our price fills us: it would have met ours at the exchange."""


class ProbabilisticFillConfig(Section):
    """At every trade at our price a coin decides; a trade through our price always fills."""

    type: Literal["probabilistic"]
    """A draw per trade and order."""
    fill_probability_at_touch: Annotated[Number, Field(ge=0, le=1)] = 0.5
    """Probability that a trade at our price reaches us."""
    queue_position_model: Literal["pro_rata", "exact"] = "pro_rata"
    """Our share of a trade that reaches us: in proportion to displayed size, or by the exact queue."""


class NoImpactConfig(Section):
    """Liquidity that we took stays taken; nobody reacts to it."""

    type: Literal["none"] = "none"
    """The mechanical effect only."""


class LinearImpactConfig(Section):
    """The price of a fill moves against us in proportion to its notional value."""

    type: Literal["linear"]
    """Impact proportional to notional value."""
    impact_bps_per_million: Annotated[Number, Field(ge=0, le=10_000)]
    """Basis points of the price per million of the currency traded."""


FillModelConfig = Annotated[FifoFillConfig | ProbabilisticFillConfig, Field(discriminator="type")]
MarketImpactConfig = Annotated[NoImpactConfig | LinearImpactConfig, Field(discriminator="type")]


class ExecutionConfig(Section):
    """How our orders meet the market."""

    latency_model: FixedLatencyConfig = FixedLatencyConfig()
    """Delays of our requests and of what we learn."""
    fill_model: FillModelConfig = FifoFillConfig()
    """When a resting order fills."""
    market_impact: MarketImpactConfig = NoImpactConfig()
    """What our trading does to prices."""
    protection_ticks: Annotated[Whole, Field(ge=0, le=MAX_PROTECTION_TICKS)] = 20
    """Ticks beyond the opposite best price that a market order may pay."""


class RiskLimitsConfig(Section):
    """Limits per strategy and instrument; an order that would break one is rejected. Left out: no limit."""

    max_position: Count | None = None
    """Lots, long or short, working orders counted as if filled."""
    max_order_size: Count | None = None
    """Lots of one order."""
    max_loss: Annotated[Money, Field(gt=0)] | None = None
    """Currency lost since the start, fees and open position included, at which all trading stops."""
    max_orders_per_second: Count | None = None
    """New orders and modifications in one second of the clock."""

    @property
    def max_loss_micros(self) -> int | None:
        """`max_loss` in 1e-6 of the currency."""
        return None if self.max_loss is None else to_micros(self.max_loss)


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


class BacktestSection(Section):
    """The `backtest:` section."""

    data_source: DataSourceConfig = DataSourceConfig()
    """Market data."""
    execution: ExecutionConfig = ExecutionConfig()
    """Latency, fills and impact."""
    risk_limits: RiskLimitsConfig = RiskLimitsConfig()
    """Limits on orders and positions."""
    output: OutputConfig = OutputConfig()
    """Result files."""


# --- instruments


class InstrumentConfig(Section):
    """Facts of an instrument; what is left out must come from a definition file or the command line."""

    tick_size: Fact | None = None
    """Smallest price step, in units of the price."""
    multiplier: Fact | None = None
    """Currency per 1.0 of price and lot."""
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z0-9]{3,8}$")] | None = None
    """Currency of price, fees and profit, such as USD."""
    fee_per_contract: Money | None = None
    """Currency per lot and side, whether the fill made or took liquidity."""
    maker_fee: Money | None = None
    """Currency per lot for a fill of a resting order; negative: a rebate. Instead of fee_per_contract."""
    taker_fee: Money | None = None
    """Currency per lot for a fill that took liquidity. Instead of fee_per_contract."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.fee_per_contract is not None and (self.maker_fee is not None or self.taker_fee is not None):
            raise ValueError("give fee_per_contract, or maker_fee and taker_fee, not both")
        if (self.maker_fee is None) != (self.taker_fee is None):
            raise ValueError("maker_fee and taker_fee go together; give both, or fee_per_contract")
        if self.maker_fee is not None and self.taker_fee is not None and self.maker_fee + self.taker_fee < 0:
            raise ValueError(
                "maker_fee + taker_fee is negative, so trading with oneself would earn money; check the signs"
            )
        if self.tick_size is not None and self.multiplier is not None:
            value = Fraction(self.tick_size) * Fraction(self.multiplier)
            if (value * 1_000_000).denominator != 1:
                raise ValueError(f"tick_size x multiplier is {float(value)}, not exact in 0.000001 of the currency")
        return self

    def fees_micros(self) -> tuple[int, int] | None:
        """(maker, taker) fee per lot in 1e-6 of the currency; None when no fee is given."""
        if self.maker_fee is not None and self.taker_fee is not None:
            return to_micros(self.maker_fee), to_micros(self.taker_fee)
        return None if self.fee_per_contract is None else (to_micros(self.fee_per_contract),) * 2


# --- strategy


class StrategyConfig(Section):
    """A strategy's type and parameters; `from_file` gives the class that belongs to the type."""

    type: str
    """Name of a built-in strategy, or `module:Name` of one's own class."""
    parameters: Any
    """What the strategy of this type is told."""

    @classmethod
    def from_file(cls, path: str | Path, overrides: Overrides = ()) -> "StrategyConfig":
        """Reads the `strategy` section of a YAML file; `overrides` are the `a.b=value` of `--set`.

        Raises:
            ConfigError: the file can't be read, or something in it is wrong: every problem, one per line.
        """
        return validate(_StrategyFile, _yaml.read(path), overrides).strategy

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], overrides: Overrides = ()) -> "StrategyConfig":
        """The same from `{"strategy": {...}}`."""
        return validate(_StrategyFile, data, overrides).strategy

    def to_dict(self) -> dict[str, Any]:
        """All settings, defaults included, under `strategy`, as `from_dict` takes them."""
        return {"strategy": super().to_dict()}


class SmaCrossoverParameters(Section):
    """Two simple moving averages of the trade price."""

    fast_period: Count = 10
    """Trades in the fast average; below slow_period."""
    slow_period: Count = 20
    """Trades in the slow average."""
    position_size: Count = 1
    """Lots held, long while the fast average is above the slow one, short while below."""

    @field_validator("slow_period")
    @classmethod
    def _slower(cls, value: int, info: ValidationInfo) -> int:
        if value <= info.data.get("fast_period", 0):
            raise ValueError(f"must be greater than fast_period ({info.data['fast_period']}), got {value}")
        return value


class SmaCrossoverConfig(StrategyConfig):
    """Long above, short below: always in the market after the first crossing."""

    type: Literal["sma_crossover"] = "sma_crossover"
    """Moving-average crossover."""
    parameters: SmaCrossoverParameters = SmaCrossoverParameters()
    """Periods and size."""


class FeatureConfig(Section):
    """Features that a model is given."""

    price_features: Several[
        Annotated[str, StringConstraints(pattern=r"^(returns_[1-9][0-9]*(ms|s|m|h)|volatility)$")]
    ] = ()
    """`returns_<time>`, such as returns_5m: log return of the mid over that time; `volatility`."""
    microstructure_features: Several[Literal["book_imbalance", "trade_flow"]] = ()
    """Features of the order book and of the trades."""
    use_time_features: bool = False
    """Whether the time of day is a feature."""


class MlEnhancedMomentumParameters(Section):
    """Momentum by z-score, which a model may refine."""

    lookback_period: Annotated[Count, Field(ge=2)] = 100
    """Trades in the window."""
    entry_threshold: Annotated[Number, Field(gt=0)] = 2.0
    """Standard deviations from the window's mean at which a position is opened."""
    exit_threshold: Annotated[Number, Field(ge=0)] = 0.5
    """Standard deviations at which it is closed; at most entry_threshold."""
    ml_model_path: File | None = None
    """File of a trained model that refines the rule."""
    model: Literal["none"] | None = None
    """`none`: run the rule alone, whatever ml_model_path says."""
    feature_config: FeatureConfig = FeatureConfig()
    """What the model sees; the rule alone needs none of it."""
    position_size: Count = 1
    """Lots of a position."""

    @property
    def runs_model(self) -> bool:
        """Whether a model takes part in the decisions."""
        return self.ml_model_path is not None and self.model is None

    @field_validator("exit_threshold")
    @classmethod
    def _below_entry(cls, value: float, info: ValidationInfo) -> float:
        if value > info.data.get("entry_threshold", value):
            raise ValueError(f"must be at most entry_threshold ({info.data['entry_threshold']}), got {value}")
        return value


class MlEnhancedMomentumConfig(StrategyConfig):
    """Follows moves that are large for the last `lookback_period` trades."""

    type: Literal["ml_enhanced_momentum"] = "ml_enhanced_momentum"
    """Momentum, with or without a model."""
    parameters: MlEnhancedMomentumParameters = MlEnhancedMomentumParameters()
    """Window, thresholds, size and model."""


class OwnStrategyConfig(StrategyConfig):
    """A user's own class, imported as `module:Name`; its parameters are its own affair."""

    type: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]
    """`module:Name`, importable from the working directory."""
    parameters: Free = Field(default_factory=dict)
    """Anything; numbers arrive as int or float."""


def _strategy_tag(value: Any) -> str | None:
    name = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return None if not isinstance(name, str) else "module:Name" if ":" in name else name


AnyStrategyConfig = Annotated[
    Annotated[SmaCrossoverConfig, Tag("sma_crossover")]
    | Annotated[MlEnhancedMomentumConfig, Tag("ml_enhanced_momentum")]
    | Annotated[OwnStrategyConfig, Tag("module:Name")],
    Discriminator(_strategy_tag),
]


# --- files


class BacktestConfig(Section):
    """A whole run: the file that `bt-gym backtest` is given."""

    backtest: BacktestSection
    """Data, execution, limits and outputs."""
    strategy: AnyStrategyConfig | None = None
    """The strategy; may be added in Python instead."""
    instruments: dict[str, InstrumentConfig] = Field(default_factory=dict)
    """Facts of instruments by symbol, or by a pattern such as "ES??" (`?` one character, `*` any)."""

    @classmethod
    def from_file(cls, path: str | Path, overrides: Overrides = ()) -> Self:
        """Reads a YAML file; `overrides` are the `a.b=value` of `--set`.

        Raises:
            ConfigError: the file can't be read, or something in it is wrong: every problem, one per line.
        """
        return validate(cls, _yaml.read(path), overrides)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], overrides: Overrides = ()) -> Self:
        """The same from plain data: `BacktestConfig.from_dict({"backtest": {...}})`."""
        return validate(cls, data, overrides)

    def instrument(self, symbol: str) -> InstrumentConfig | None:
        """Facts given for a symbol: under its own name, else under the first pattern that fits."""
        if symbol in self.instruments:
            return self.instruments[symbol]
        return next((facts for name, facts in self.instruments.items() if fnmatchcase(symbol, name)), None)


class _StrategyFile(Section):
    strategy: AnyStrategyConfig
    backtest: BacktestSection | None = None
    instruments: dict[str, InstrumentConfig] = Field(default_factory=dict)


def with_overrides(config: S, overrides: Overrides) -> S:
    """A copy with some keys set anew and everything validated again; a new `type` starts its section afresh.

    >>> config = BacktestConfig.from_dict({"backtest": {}})
    >>> with_overrides(config, ["backtest.risk_limits.max_position=5"]).backtest.risk_limits.max_position
    5
    """
    return validate(type(config), config.model_dump(exclude_unset=True), overrides)


# --- what can't run yet


def unbuilt(config: BacktestConfig | StrategyConfig) -> list[str]:
    """The settings that load but can't run yet, one message each: its key, its value and what to use instead."""
    found: list[tuple[str, str, str]] = []
    if isinstance(config, BacktestConfig):
        execution = config.backtest.execution
        if execution.fill_model.type != "fifo":
            found.append(("backtest.execution.fill_model.type", execution.fill_model.type, "fifo"))
        if execution.market_impact.type != "none":
            found.append(("backtest.execution.market_impact.type", execution.market_impact.type, "none"))
        if config.backtest.output.detailed_log:
            found.append(("backtest.output.detailed_log", "true", "false"))
    problems = [
        f"{key}: {value} isn't built yet; use {instead} (--set {key}={instead})" for key, value, instead in found
    ]
    strategy = config.strategy if isinstance(config, BacktestConfig) else config
    if isinstance(strategy, MlEnhancedMomentumConfig) and strategy.parameters.runs_model:
        problems.append(
            f"strategy.parameters.ml_model_path: running {strategy.parameters.ml_model_path} isn't built yet; "
            "run the rule alone with model: none (--set strategy.parameters.model=none)"
        )
    return problems


def check_runnable(config: BacktestConfig | StrategyConfig) -> None:
    """Refuses what is documented but not built yet.

    Raises:
        NotBuiltError: one line for each such setting.
    """
    problems = unbuilt(config)
    if problems:
        raise NotBuiltError("\n".join(problems))
