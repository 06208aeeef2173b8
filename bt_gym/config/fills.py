"""When a resting order fills. `docs/models.md` says which model fits what."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from bt_gym._section import Count, Number, Section, Whole

Percent = Annotated[Whole, Field(ge=0, le=100)]
Lots = Annotated[Whole, Field(ge=0, le=2**31 - 1)]


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
    fill_on_cross: bool = True
    """Whether an order added at or through our price fills us."""


class ProRataFillConfig(Section):
    """A trade is shared in proportion to displayed size; what rounding leaves goes by time."""

    type: Literal["pro_rata"]
    """CME algorithm C, with the minimum of one lot unless told otherwise."""
    pro_rata_min_lots: Count = 1
    """A smaller share is nothing."""
    fill_on_cross: bool = True
    """Whether an order added at or through our price fills us."""


class CmeFillConfig(Section):
    """A matching algorithm of CME Globex; its letter and parameters stand in the product's reference data."""

    type: Literal["cme"]
    """By the letter of `match_algorithm` in a definition record."""
    algorithm: Literal["A", "C", "F", "K", "O", "Q", "S", "T"]
    """A allocation, C pro rata, F price-time, K configurable, O threshold pro rata, Q the same with lead market makers,
    S lead market makers with TOP, T without."""
    top_min_lots: Count = 1
    """A smaller order that betters the market isn't TOP (A, K, O, Q, S)."""
    top_max_lots: Count | None = None
    """Most lots that TOP gets before the others; unlimited unless given (A, K, O, Q, S)."""
    lmm_percent: Annotated[Whole, Field(ge=0, le=50)] = 0
    """Percent of what TOP leaves that goes to all lead market makers together (K, Q, S, T); we are none of them."""
    fifo_percent: Percent = 40
    """Percent of the rest that goes by time before the pro-rata pass (K)."""
    pro_rata_min_lots: Count = 2
    """A smaller share is nothing (A, C, K, O, Q)."""
    threshold_lots: Lots = 0
    """A smaller order takes no part in the pro-rata pass (O, Q)."""
    levelling: bool = False
    """Whether orders whose share is below one lot get one, before the rest goes by time (K)."""
    fill_on_cross: bool = True
    """Whether an order added at or through our price fills us."""


class QueueModelFillConfig(Section):
    """An estimate of the queue position from level sizes, as hftbacktest has it: for data without order ids."""

    type: Literal["risk_averse", "risk_adverse", "power_prob", "power_prob2", "power_prob3", "log_prob", "log_prob2"]
    """Which: RiskAverse (hftbacktest spells it RiskAdverse), PowerProb, PowerProb2, PowerProb3, LogProb, LogProb2."""
    power: Annotated[Number, Field(gt=0, le=100)] | None = None
    """Exponent n of the power models; 3 unless given."""
    fill_on_cross: bool = True
    """Whether an order added at or through our price fills us."""

    @model_validator(mode="after")
    def _has_power(self) -> Self:
        if self.power is not None and not self.type.startswith("power"):
            raise ValueError(
                f"power belongs to power_prob, power_prob2 and power_prob3, not to {self.type}; leave it out"
            )
        return self


class NeverAtTouchFillConfig(Section):
    """A lower bound: only a trade through our price fills us."""

    type: Literal["never_at_touch"]
    """The least that an order can get."""
    fill_on_cross: bool = False
    """Whether an order added at or through our price fills us."""


class FrontOfQueueFillConfig(Section):
    """An upper bound: every trade at our price fills us first."""

    type: Literal["front_of_queue"]
    """The most that an order can get."""
    fill_on_cross: bool = True
    """Whether an order added at or through our price fills us."""


FillModelConfig = Annotated[
    FifoFillConfig
    | ProbabilisticFillConfig
    | ProRataFillConfig
    | CmeFillConfig
    | QueueModelFillConfig
    | NeverAtTouchFillConfig
    | FrontOfQueueFillConfig,
    Field(discriminator="type"),
]
