"""Parameters of executions: strategies that work off a parent order."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from bt_gym._section import Count, Number, Section
from bt_gym.config.market_makers import NotNegative, Positive


class ExecutionParameters(Section):
    """The parent order."""

    side: Literal["buy", "sell"] = "buy"
    """Whether to buy or to sell."""
    size: Count = 10
    """Lots in all."""
    duration_s: Positive = 60.0
    """Seconds from the start of continuous trading in which it is to be done."""


class TwapParameters(ExecutionParameters):
    """Equal parts over equal times."""

    slices: Count = 10
    """Parts."""


class VwapParameters(ExecutionParameters):
    """Parts in proportion to the volume of the past."""

    curve: Annotated[tuple[NotNegative, ...], Field(strict=False, min_length=1)] = (1.0,) * 10
    """Volume of each part of the duration on earlier days, in any unit."""

    @field_validator("curve")
    @classmethod
    def _some(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if sum(value) <= 0:
            raise ValueError("must hold a volume above 0, got none")
        return value


class PovParameters(ExecutionParameters):
    """A share of what the market trades."""

    rate: Annotated[Number, Field(gt=0, le=1)] = 0.1
    """Share of the volume."""
    duration_s: Positive = 3600.0
    """Deadline in seconds after the start of continuous trading: what is left then is taken at once."""


class AlmgrenChrissParameters(TwapParameters):
    """The schedule of Almgren and Chriss (2000)."""

    sigma: NotNegative = 10.0
    """Volatility, currency a lot per square root of a second."""
    eta: Positive = 10.0
    """Temporary impact, currency a lot for a lot a second."""
    gamma: NotNegative = 0.0
    """Permanent impact, currency a lot for a lot."""
    risk_aversion: NotNegative = 1e-3
    """1 / currency; 0 makes it a TWAP."""
