"""The `action` section of an environment: what the numbers of an action mean."""

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Discriminator, Field, PlainSerializer, Tag, model_validator

from bt_gym._section import Count, Free, Number, Section, Whole


def _checked(value: Any) -> Any:
    if isinstance(value, str) and not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", value):
        raise ValueError(f"must be module:Name, got '{value}'")
    return value


def _named(value: Any) -> str:
    return value if isinstance(value, str) else f"{value.__module__}:{value.__qualname__}"


Own = Annotated[
    str | Callable[..., Any], AfterValidator(_checked), PlainSerializer(_named, return_type=str, when_used="json")
]
"""A user's own class or function, as `module:Name` or itself."""


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"{list(values)} has {value} more than once: each is a code of its own")
    return values


Distinct = AfterValidator(_distinct)
Positive = Annotated[Number, Field(gt=0, le=1e9)]
Offsets = Annotated[
    tuple[Annotated[Whole, Field(ge=-1, le=100)], ...], Field(strict=False, min_length=1, max_length=16), Distinct
]
Targets = Annotated[
    tuple[Annotated[Whole, Field(ge=-(10**6), le=10**6)], ...],
    Field(strict=False, min_length=1, max_length=16),
    Distinct,
]
Rates = Annotated[
    tuple[Annotated[Number, Field(gt=0, le=1)], ...], Field(strict=False, min_length=1, max_length=8), Distinct
]
Sizes = Annotated[tuple[Count, ...], Field(strict=False, min_length=1, max_length=8), Distinct]
Window = Annotated[Number, Field(ge=0.001, le=86_400)]


class QuotesActionConfig(Section):
    """A bid and an ask: per side leave as is, no quote, or a quote so many ticks behind the own best price."""

    type: Literal["quotes"] = "quotes"
    """At most one order a side."""
    space: Literal["multi_discrete", "discrete"] = "multi_discrete"
    """A code for each side (and the size), or one code for all combinations."""
    offsets: Offsets = (-1, 0, 1, 2, 3, 4)
    """Ticks behind the best price of the side; -1 is one before it, where the spread has room. At most 16."""
    sizes: Sizes = (1,)
    """Lots; with several the action chooses one for both sides."""


class SpreadActionConfig(Section):
    """A bid and an ask by half-spread and skew around the mid."""

    type: Literal["spread"]
    """Four numbers from -1 to 1: half-spread, skew, and what is done at the bid and at the ask."""
    min_half_spread: Positive = 0.5
    """Ticks from the centre, at -1."""
    max_half_spread: Positive = 5.5
    """Ticks from the centre, at 1."""
    max_skew: Annotated[Number, Field(ge=0, le=1000)] = 3.0
    """Ticks that the centre lies above the mid, at 1; below it at -1."""
    size: Count = 1
    """Lots of a quote."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_half_spread > self.max_half_spread:
            raise ValueError(f"min_half_spread {self.min_half_spread} is above max_half_spread {self.max_half_spread}")
        return self


class AvellanedaStoikovActionConfig(Section):
    """A bid and an ask by the formula of Avellaneda and Stoikov, whose parameters the agent sets."""

    type: Literal["avellaneda_stoikov"]
    """Four numbers from -1 to 1: gamma, kappa, and what is done at the bid and at the ask."""
    min_gamma: Positive = 0.001
    """Risk aversion at -1, 1 / (ticks x lots); logarithms are linear in the action."""
    max_gamma: Positive = 1.0
    """At 1."""
    min_kappa: Positive = 0.1
    """Decay of arrivals with the distance at -1, 1 / ticks."""
    max_kappa: Positive = 10.0
    """At 1."""
    horizon_s: Positive = 60.0
    """Time to go, always the same, seconds."""
    sigma_s: Window = 60.0
    """Length of the window before the decision that the volatility is taken from, seconds."""
    size: Count = 1
    """Lots of a quote."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for name in ("gamma", "kappa"):
            low, high = getattr(self, f"min_{name}"), getattr(self, f"max_{name}")
            if low > high:
                raise ValueError(f"min_{name} {low} is above max_{name} {high}")
        return self


class ParticipationActionConfig(Section):
    """A part of the market's volume, until the parent order is done; of the task `execution`."""

    type: Literal["participation"]
    """Leave as is, cancel the child order, a rate that takes, or a rate that waits at the own best price."""
    rates: Rates = (0.05, 0.1, 0.2, 0.4)
    """Lots that fall due for each lot traded, at most 8 rates."""


class TargetActionConfig(Section):
    """A position to hold; a market order takes it there."""

    type: Literal["target"]
    """One code for each position."""
    targets: Targets = (-1, 0, 1)
    """Lots by code, negative for short; 0 is among them. At most 16."""

    @model_validator(mode="after")
    def _can_be_flat(self) -> Self:
        if 0 not in self.targets:
            raise ValueError(f"targets {list(self.targets)} lack 0: to do nothing must be possible")
        return self


class RawActionConfig(Section):
    """Plain orders of every type and time in force that needs no second price and no date, modify and cancel."""

    type: Literal["raw"]
    """Rows of five codes: kind, order, side, ticks, size."""
    rows: Annotated[Whole, Field(ge=1, le=8)] = 2
    """Requests of an action at most."""
    reach: Annotated[Whole, Field(ge=0, le=10_000)] = 5
    """Ticks before and behind the best price of its side that an order may have."""
    max_size: Annotated[Whole, Field(ge=1, le=1000)] = 1
    """Lots of an order at most."""


class OwnActionConfig(Section):
    """A user's own scheme, in front of one of the others."""

    type: Own
    """`module:Name`, or the class itself."""
    parameters: Free = Field(default_factory=dict)
    """What the class is made with."""


def _tag(value: Any) -> str:
    kind = value.get("type", "quotes") if isinstance(value, dict) else getattr(value, "type", "quotes")
    return kind if isinstance(kind, str) and ":" not in kind else "module:Name"


_Presets = (
    Annotated[QuotesActionConfig, Tag("quotes")]
    | Annotated[SpreadActionConfig, Tag("spread")]
    | Annotated[AvellanedaStoikovActionConfig, Tag("avellaneda_stoikov")]
    | Annotated[ParticipationActionConfig, Tag("participation")]
    | Annotated[TargetActionConfig, Tag("target")]
    | Annotated[RawActionConfig, Tag("raw")]
)
PresetConfig = Annotated[_Presets, Discriminator(_tag)]
ActionConfig = Annotated[_Presets | Annotated[OwnActionConfig, Tag("module:Name")], Discriminator(_tag)]
