"""What our trading does to the prices that we pay. `docs/models.md` has the formulas."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from bt_gym._section import Number, Section

Factor = Annotated[Number, Field(ge=0, le=1_000_000)]
Positive = Annotated[Number, Field(gt=0, le=1e15)]


class NoImpactConfig(Section):
    """Liquidity that we took stays taken; nobody reacts to it."""

    type: Literal["none"] = "none"
    """The mechanical effect only."""


class LinearImpactConfig(Section):
    """The price of an order that takes moves against us in proportion to its notional value."""

    type: Literal["linear"]
    """Impact proportional to notional value."""
    impact_bps_per_million: Annotated[Number, Field(ge=0, le=10_000)]
    """Basis points of the price per million of the currency traded."""


class SquareRootImpactConfig(Section):
    """The price moves against an order that takes by Y * daily volatility * (lots / daily volume) ** exponent."""

    type: Literal["square_root"]
    """The square-root law."""
    daily_volatility: Annotated[Number, Field(gt=0, le=10)]
    """Of returns, as a fraction: 0.01 is one per cent a day."""
    daily_volume_lots: Positive
    """Lots traded in a day."""
    coefficient: Factor = 1.0
    """Y, about 0.5 to 1."""
    exponent: Annotated[Number, Field(ge=0, le=1)] = 0.5
    """Measured values are 0.4 to 0.7."""


class AlmgrenChrissImpactConfig(Section):
    """A permanent offset per lot taken and a temporary one of the order's own, linear (Almgren and Chriss 2000)."""

    type: Literal["almgren_chriss"]
    """Linear permanent and temporary impact."""
    permanent_ticks_per_lot: Factor
    """gamma: what each lot taken moves the price for good, in ticks."""
    temporary_ticks_per_lot: Factor
    """eta / tau: what an order pays more per lot of its own size, in ticks; at least half of the permanent one."""
    fixed_ticks: Factor = 0.0
    """epsilon: paid whatever the size, in ticks; the spread that is met comes from the book."""

    @model_validator(mode="after")
    def _no_pump(self) -> Self:
        if 2 * self.temporary_ticks_per_lot < self.permanent_ticks_per_lot:
            raise ValueError(
                f"temporary_ticks_per_lot {self.temporary_ticks_per_lot:g} is below half of permanent_ticks_per_lot "
                f"{self.permanent_ticks_per_lot:g}, so that round trips would earn money; raise it"
            )
        return self


class Almgren2005ImpactConfig(Section):
    """Permanent impact linear in size, temporary one concave, measured on US equities (Almgren et al. 2005)."""

    type: Literal["almgren_2005"]
    """Direct estimation of equity market impact."""
    daily_volatility: Annotated[Number, Field(gt=0, le=10)]
    """Of returns, as a fraction."""
    daily_volume_lots: Positive
    """Lots traded in a day."""
    outstanding_lots: Positive | None = None
    """Theta, lots in existence; without it the factor (theta / volume) ** 0.25 is left out, as for futures."""
    duration_days: Annotated[Number, Field(gt=0, le=10)]
    """T, the part of a day over which an order is thought to be worked."""
    gamma: Factor = 0.314
    """Permanent coefficient."""
    eta: Factor = 0.142
    """Temporary coefficient."""
    exponent: Annotated[Number, Field(ge=0, le=1)] = 0.6
    """Of the rate of trading."""


class PropagatorImpactConfig(Section):
    """What an order takes pushes the price by lots ** size_exponent, decaying as a power of time (Bouchaud 2004)."""

    type: Literal["propagator"]
    """Transient impact with long memory."""
    amplitude_ticks: Factor
    """Gamma0, in ticks: the push of one lot when timescale_s is 1."""
    size_exponent: Annotated[Number, Field(ge=0, le=1)] = 0.5
    """psi; 1 is linear."""
    timescale_s: Annotated[Number, Field(gt=0, le=1e6)] = 1.0
    """l0, seconds before the decay begins."""
    decay_exponent: Annotated[Number, Field(gt=0, le=5)] = 0.4
    """beta, about 0.15 to 0.4."""


MarketImpactConfig = Annotated[
    NoImpactConfig
    | LinearImpactConfig
    | SquareRootImpactConfig
    | AlmgrenChrissImpactConfig
    | Almgren2005ImpactConfig
    | PropagatorImpactConfig,
    Field(discriminator="type"),
]
