"""Parameters of the market makers: strategies that quote both sides by the clock."""

from typing import Annotated

from pydantic import Field

from bt_gym._section import Count, Number, Section

Positive = Annotated[Number, Field(gt=0)]
NotNegative = Annotated[Number, Field(ge=0)]


class MarketMakerParameters(Section):
    """What all market makers are told."""

    size: Count = 1
    """Lots a quote."""
    max_position: Count = 10
    """Lots, long or short, at which the side that would add to them is no longer quoted."""
    interval_ms: Count = 100
    """Time between two looks at the quotes, ms."""


class GridParameters(MarketMakerParameters):
    """Several quotes a side, leaning against the position."""

    levels: Count = 5
    """Quotes a side."""
    half_spread: NotNegative = 1.0
    """Ticks from the centre to the best quote."""
    spacing: Count = 1
    """Ticks between quotes of a side."""
    skew: NotNegative = 0.05
    """Ticks that the centre moves against each lot held."""
    max_position: Count = 50
    """Lots, long or short, at which the side that would add to them is no longer quoted."""


class AvellanedaStoikovParameters(MarketMakerParameters):
    """The quotes of Avellaneda and Stoikov (2008); prices in ticks, time in seconds."""

    gamma: Positive = 0.01
    """Risk aversion, 1 / (ticks x lots)."""
    sigma: NotNegative = 0.5
    """Volatility, ticks per square root of a second."""
    k: Positive = 1.5
    """Decay of arrivals with the distance from the mid, 1 / ticks."""
    horizon_s: Positive = 60.0
    """Horizon, seconds; it begins anew when it is over."""


class GlftParameters(MarketMakerParameters):
    """The asymptotic quotes of Gueant, Lehalle and Fernandez-Tapia; prices in ticks, time in seconds."""

    gamma: Positive = 0.05
    """Risk aversion, 1 / (ticks x lots)."""
    sigma: NotNegative = 0.5
    """Volatility, ticks per square root of a second."""
    arrivals: Positive = 1.0
    """Arrivals a second at distance 0."""
    k: Positive = 1.0
    """Their decay with the distance from the mid, 1 / ticks."""
    xi: NotNegative | None = None
    """Aversion to the risk of not being filled; gamma if not given."""
