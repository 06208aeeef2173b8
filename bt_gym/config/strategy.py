"""Strategies and their parameters."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, StringConstraints, Tag, ValidationInfo, field_validator

from bt_gym import _yaml
from bt_gym._section import Count, File, Free, Number, Overrides, Section, Several, Whole, validate
from bt_gym.config.backtest_section import BacktestSection
from bt_gym.config.executions import AlmgrenChrissParameters, PovParameters, TwapParameters, VwapParameters
from bt_gym.config.instruments import InstrumentConfig
from bt_gym.config.market_makers import (
    AvellanedaStoikovParameters,
    GlftParameters,
    GridParameters,
    NotNegative,
    Positive,
)


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


def _below_entry(value: float, info: ValidationInfo) -> float:
    if value > info.data.get("entry_threshold", value):
        raise ValueError(f"must be at most entry_threshold ({info.data['entry_threshold']}), got {value}")
    return value


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

    _check_exit = field_validator("exit_threshold")(_below_entry)


class MlEnhancedMomentumConfig(StrategyConfig):
    """Follows moves that are large for the last `lookback_period` trades."""

    type: Literal["ml_enhanced_momentum"] = "ml_enhanced_momentum"
    """Momentum, with or without a model."""
    parameters: MlEnhancedMomentumParameters = MlEnhancedMomentumParameters()
    """Window, thresholds, size and model."""


class GridConfig(StrategyConfig):
    """A grid of quotes around the mid."""

    type: Literal["grid"] = "grid"
    """Grid market maker."""
    parameters: GridParameters = GridParameters()
    """Quotes, skew and limits."""


class AvellanedaStoikovConfig(StrategyConfig):
    """Market making by reservation price and optimal spread."""

    type: Literal["avellaneda_stoikov"] = "avellaneda_stoikov"
    """Avellaneda and Stoikov (2008)."""
    parameters: AvellanedaStoikovParameters = AvellanedaStoikovParameters()
    """Model and limits."""


class GlftConfig(StrategyConfig):
    """Market making without a horizon."""

    type: Literal["glft"] = "glft"
    """Gueant, Lehalle and Fernandez-Tapia (2013)."""
    parameters: GlftParameters = GlftParameters()
    """Model and limits."""


class TwapConfig(StrategyConfig):
    """Works an order off in equal parts."""

    type: Literal["twap"] = "twap"
    """Time-weighted execution."""
    parameters: TwapParameters = TwapParameters()
    """Order and parts."""


class VwapConfig(StrategyConfig):
    """Works an order off along a volume curve of the past."""

    type: Literal["vwap"] = "vwap"
    """Volume-weighted execution."""
    parameters: VwapParameters = VwapParameters()
    """Order and curve."""


class PovConfig(StrategyConfig):
    """Works an order off as a share of the volume."""

    type: Literal["pov"] = "pov"
    """Percentage of volume."""
    parameters: PovParameters = PovParameters()
    """Order and share."""


class AlmgrenChrissConfig(StrategyConfig):
    """Works an order off between cost and risk."""

    type: Literal["almgren_chriss"] = "almgren_chriss"
    """Almgren and Chriss (2000)."""
    parameters: AlmgrenChrissParameters = AlmgrenChrissParameters()
    """Order, impact and aversion to risk."""


class PairsParameters(Section):
    """Two instruments of one run."""

    symbols: Annotated[tuple[str, ...], Field(strict=False, min_length=2, max_length=2)]
    """First and second leg."""
    ratio: Number = 1.0
    """The spread is the first mid less so many times the second."""
    lookback: Annotated[Count, Field(ge=2)] = 60
    """Looks at the spread in the window."""
    entry_threshold: Positive = 2.0
    """Standard deviations from the window's mean at which a position is opened."""
    exit_threshold: NotNegative = 0.5
    """Standard deviations at which it is closed; at most entry_threshold."""
    size: Count = 1
    """Lots of each leg."""
    interval_ms: Count = 1000
    """Time between two looks, ms."""

    _check_exit = field_validator("exit_threshold")(_below_entry)


class PairsConfig(StrategyConfig):
    """Trades two instruments against each other."""

    type: Literal["pairs"] = "pairs"
    """Pairs by z-score of their spread."""
    parameters: PairsParameters
    """Legs, window and thresholds."""


class DoNothingParameters(Section):
    """There are none."""


class DoNothingConfig(StrategyConfig):
    """Never trades: what every report must show as zero."""

    type: Literal["do_nothing"] = "do_nothing"
    """Does nothing."""
    parameters: DoNothingParameters = DoNothingParameters()
    """None."""


class RandomParameters(Section):
    """Random orders."""

    seed: Annotated[Whole, Field(ge=0)] = 0
    """The same seed gives the same decisions."""
    size: Count = 1
    """Most lots of an order."""
    max_position: Count = 10
    """Lots; an order that could lead beyond is not sent."""
    reach: Annotated[Whole, Field(ge=0)] = 3
    """Ticks behind the best price of its side, at most, of a limit order."""
    interval_ms: Count = 1000
    """Time between two decisions, ms."""


class RandomConfig(StrategyConfig):
    """Market orders, limit orders and cancels at random."""

    type: Literal["random"] = "random"
    """Random orders, a baseline."""
    parameters: RandomParameters = RandomParameters()
    """Seed and limits."""


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
    | Annotated[GridConfig, Tag("grid")]
    | Annotated[AvellanedaStoikovConfig, Tag("avellaneda_stoikov")]
    | Annotated[GlftConfig, Tag("glft")]
    | Annotated[TwapConfig, Tag("twap")]
    | Annotated[VwapConfig, Tag("vwap")]
    | Annotated[PovConfig, Tag("pov")]
    | Annotated[AlmgrenChrissConfig, Tag("almgren_chriss")]
    | Annotated[PairsConfig, Tag("pairs")]
    | Annotated[DoNothingConfig, Tag("do_nothing")]
    | Annotated[RandomConfig, Tag("random")]
    | Annotated[OwnStrategyConfig, Tag("module:Name")],
    Discriminator(_strategy_tag),
]


class _StrategyFile(Section):
    strategy: AnyStrategyConfig
    backtest: BacktestSection | None = None
    instruments: dict[str, InstrumentConfig] = Field(default_factory=dict)
