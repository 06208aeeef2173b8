"""When a resting order fills."""

from typing import Annotated, Literal

from pydantic import Field

from bt_gym._section import Number, Section


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


FillModelConfig = Annotated[FifoFillConfig | ProbabilisticFillConfig, Field(discriminator="type")]
