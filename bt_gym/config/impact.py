"""What our trading does to prices."""

from typing import Annotated, Literal

from pydantic import Field

from bt_gym._section import Number, Section


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


MarketImpactConfig = Annotated[NoImpactConfig | LinearImpactConfig, Field(discriminator="type")]
