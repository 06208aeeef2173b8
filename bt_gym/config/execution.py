"""How our orders meet the market."""

from typing import Annotated, Literal

from pydantic import Field

from bt_gym._section import Section, Whole
from bt_gym.config.fees import FeesConfig
from bt_gym.config.fills import FifoFillConfig, FillModelConfig
from bt_gym.config.impact import MarketImpactConfig, NoImpactConfig
from bt_gym.config.latency import FixedLatencyConfig, LatencyModelConfig

MAX_PROTECTION_TICKS = 128  # what a ladder window leaves on each side of the touch


class ExecutionConfig(Section):
    """How our orders meet the market."""

    latency_model: LatencyModelConfig = FixedLatencyConfig()
    """Delays of our requests and of what we learn."""
    fill_model: FillModelConfig = FifoFillConfig()
    """When a resting order fills."""
    market_impact: MarketImpactConfig = NoImpactConfig()
    """What our trading does to prices."""
    seed: Annotated[Whole, Field(ge=0, lt=2**32)] = 0
    """Of all draws of the latency and fill models: the same seed, the same run."""
    protection_ticks: Annotated[Whole, Field(ge=0, le=MAX_PROTECTION_TICKS)] = 20
    """Ticks beyond the opposite best price that a market order may pay."""
    fees: FeesConfig = FeesConfig()
    """Rates, an amount per order, tiers."""
    flatten_at_end: bool = False
    """Whether open positions are closed at the market when the data of an instrument ends."""
    self_match: Literal["cancel_oldest", "cancel_newest", "cancel_both", "reject", "allow"] = "cancel_oldest"
    """What happens when an order meets one of our own."""
    stop_trigger: Literal["trade", "quote"] = "trade"
    """What elects a stop: trades alone, or the opposite best price as well."""
    auction: Literal["none", "strictly_better"] = "none"
    """What fills at an uncross: nothing of ours, or limit orders strictly better than its price, at its price. They may
    then be sent in a pre-open, too."""
