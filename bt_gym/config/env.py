"""What a Gymnasium environment is made of: the sections that `gym.make` takes as keywords, as models or plain dicts."""

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from bt_gym import _yaml
from bt_gym._section import Count, Day, File, Number, Section, Several, Whole, Word, validate
from bt_gym.config.env_action import (
    ActionConfig,
    Own,
    ParticipationActionConfig,
    QuotesActionConfig,
    TargetActionConfig,
)
from bt_gym.config.execution import ExecutionConfig
from bt_gym.config.instruments import InstrumentConfig
from bt_gym.config.risk import RiskLimitsConfig
from bt_gym.errors import ConfigError


def _plain(value: Any) -> Any:
    """A whole number of days stays one."""
    if isinstance(value, Decimal):
        return int(value) if value % 1 == 0 else float(value)
    return value


Share = Annotated[int | float, BeforeValidator(_plain), Field(ge=0, allow_inf_nan=False)]


class EnvDataConfig(Section):
    """Which sessions episodes are drawn from."""

    files: Several[File] = ()
    """Tapes (`.tape.arrow`), or DBN files of one session each; empty: the synthetic data set."""
    symbol: Word | None = None
    """Instrument of the catalogue whose days are drawn from."""
    days: Several[Day] = ()
    """Of `symbol`, as 2026-01-05; all that the catalogue has unless given."""
    catalogue: File | None = None
    """Folder of the catalogue; the user's own unless given."""
    split: Literal["train", "validation", "test"] = "train"
    """Part of the synthetic data set, which has no validation days, or of the days of `symbol`; what files and tapes
    are, which are taken whole."""
    validation: Share = 0.15
    """Number of days, or a share of them below 1, before the test days (`bt_gym.data.splits`)."""
    test: Share = 0.15
    """The same, of the last days."""
    embargo: Annotated[Whole, Field(ge=0)] = 0
    """Days left out before the validation days and before the test days."""
    instruments: dict[str, InstrumentConfig] = Field(default_factory=dict)
    """Facts of the instruments in `files`, by symbol or by a pattern such as "ES??"."""
    window_s: Annotated[Number, Field(gt=0, le=86_400)] = 300.0
    """Seconds of an episode."""
    sampling: Literal["random", "ordered"] = "random"
    """`random`: starts anywhere in continuous trading; `ordered`: one window after the other."""

    @model_validator(mode="after")
    def _has_symbol(self) -> Self:
        if self.symbol is None and (self.days or self.catalogue is not None):
            raise ValueError("days and catalogue are of a symbol: give it")
        if self.symbol is None and self.split == "validation":
            raise ValueError("split is validation, which only days of the catalogue have, those of a symbol: give it")
        return self


class DecisionConfig(Section):
    """When the agent decides."""

    clock: Literal["time", "records", "trades"] = "time"
    """What is counted between two decisions."""
    interval_ms: Annotated[Number, Field(ge=0.001, le=3_600_000)] = 200.0
    """ms between decisions of the clock `time`."""
    count: Count = 100
    """MBO records, or events with a trade, between decisions of the other clocks."""
    on_fill: bool = False
    """Whether the agent also decides when it learns of an own fill."""


class ObservationConfig(Section):
    """What the agent sees."""

    form: Literal["flat", "dict", "image"] = "flat"
    """`flat`: one array; `dict`: one each of the market, the own account and the episode; `image`: a picture."""
    features: Several[Word] | None = None
    """Names of features in order; the task's own unless given."""
    use_time_features: bool | None = None
    """Whether the time of day is among the features: added, or left out, where it is given."""
    stack: Annotated[Count, Field(le=1024)] | None = None
    """Decisions in one observation, the newest last: 1, and 40 columns of an image, unless given."""
    levels: Annotated[Count, Field(le=64)] = 20
    """Ticks that an image shows on each side of the mid."""
    scaling: File | None = None
    """File of `bt_gym.fit_scaling`: its mean is taken from each feature, which is then divided by its scale."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        extras = (self.features, self.use_time_features, self.scaling)
        if self.form == "image" and any(extra is not None for extra in extras):
            raise ValueError("an image has no features, no use_time_features and no scaling: leave them out")
        return self


class OrderConfig(Section):
    """The order to be executed, of the task `execution`."""

    side: Literal["random", "buy", "sell"] = "random"
    """`random`: drawn anew in every episode."""
    quantity: Count | None = None
    """Lots; drawn unless given."""
    max_share: Annotated[Number, Field(gt=0, le=1)] = 0.05
    """Most lots that are drawn, as a part of those traded in a window's length before the start; 1 at least."""


class RewardConfig(Section):
    """Change of equity in ticks on one lot (of the order to be executed, if there is one), and what shapes it."""

    type: Literal["equity", "shortfall", "differential_sharpe"] = "equity"
    """`equity`: marked at the mid; `shortfall`: what isn't executed yet stays marked at the arrival mid, of the task
    `execution`; `differential_sharpe`: of the changes of equity (Moody and Saffell 2001)."""
    shaping: Own | None = None
    """A user's own function, added to the reward: from `core.rewards.step_dtype` (N,) to (N,)."""
    rate: Annotated[Number, Field(gt=0, lt=1)] = 0.01
    """Part of its averages that the differential Sharpe ratio replaces in a step."""
    inventory_penalty: Annotated[Number, Field(ge=0)] = 0.0
    """Ticks a second for one lot held, times the square of the lots."""
    dampening: Annotated[Number, Field(ge=0, le=1)] = 0.0
    """Part of the open position's gains that is not rewarded; losses count in full (Spooner et al. 2018)."""


class EnvConfig(Section):
    """All sections of an environment; each task has its own defaults."""

    data: EnvDataConfig = EnvDataConfig()
    """Sessions and episodes."""
    execution: ExecutionConfig = ExecutionConfig()
    """Latency, fills and impact, as in a backtest."""
    risk: RiskLimitsConfig = RiskLimitsConfig()
    """Limits: those on orders reject them, max_loss and max_drawdown end the episode."""
    decision: DecisionConfig = DecisionConfig()
    """The decision clock."""
    action: ActionConfig = QuotesActionConfig()
    """What the numbers of an action mean."""
    observation: ObservationConfig = ObservationConfig()
    """What the agent sees."""
    reward: RewardConfig = RewardConfig()
    """What it is paid for."""
    order: OrderConfig | None = None
    """What it has to execute."""

    @model_validator(mode="after")
    def _no_margin_calls(self) -> Self:
        if self.risk.maintenance_margin is not None:
            raise ValueError("risk.maintenance_margin: environments make no margin calls; use risk.max_loss")
        return self

    @classmethod
    def from_sections(cls, split: str | None = None, **sections: Any) -> Self:
        """From keywords: a section is a model, a dict, the path of a YAML file with its keys, or None for defaults.

        What a section leaves out is the task's own default; `split` is short for that key of `data`.

        Raises:
            ConfigError: something is wrong: every problem, one per line.
        """
        data = {}
        for name, section in sections.items():
            if isinstance(section, type):
                section = {"type": section}
            if isinstance(section, Section):
                section = section.model_dump(exclude_unset=True)
            elif isinstance(section, str | Path) and name in cls.model_fields:
                if not Path(section).is_file():
                    raise ConfigError(f"{name} is '{section}': give a dict, a model, or the path of a YAML file")
                section = _yaml.read(section).data
            if isinstance(section, Mapping) and name in cls.model_fields:
                default = cls.model_fields[name].default
                own = {} if default is None else default.model_dump(exclude_unset=True)
                is_same = section.get("type", own.get("type")) == own.get("type")
                section = {**own, **section} if is_same else section
            if section is not None:
                data[name] = section
        if split is not None:
            data["data"] = {**data.get("data", {}), "split": split}
        return validate(cls, data)


class MarketMakingConfig(EnvConfig):
    """`bt_gym/MarketMaking-v0`: quote both sides, at most 10 lots long or short."""

    risk: RiskLimitsConfig = RiskLimitsConfig(max_position=10)
    """Limits on orders, positions and losses."""


class TradingConfig(EnvConfig):
    """`bt_gym/Trading-v0`: hold one lot long, none, or one short, by market orders."""

    data: EnvDataConfig = EnvDataConfig(window_s=600.0)
    """Sessions and episodes."""
    risk: RiskLimitsConfig = RiskLimitsConfig(max_position=1)
    """Limits on orders, positions and losses."""
    decision: DecisionConfig = DecisionConfig(interval_ms=1000.0)
    """The decision clock."""
    action: ActionConfig = TargetActionConfig(type="target")
    """What the numbers of an action mean."""


class ExecutionTaskConfig(EnvConfig):
    """`bt_gym/Execution-v0`: sell or buy some lots within five minutes, as a part of the market's volume."""

    decision: DecisionConfig = DecisionConfig(interval_ms=1000.0)
    """The decision clock."""
    action: ActionConfig = ParticipationActionConfig(type="participation")
    """What the numbers of an action mean."""
    reward: RewardConfig = RewardConfig(type="shortfall")
    """What it is paid for."""
    order: OrderConfig = OrderConfig()
    """What it has to execute."""
