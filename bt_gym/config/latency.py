"""Delays of our messages and of what we learn."""

from decimal import Decimal
from typing import Literal

from pydantic import Field

from bt_gym._section import Microseconds, Section, to_nanoseconds


class FixedLatencyConfig(Section):
    """The same delay for every message."""

    type: Literal["fixed"] = "fixed"
    """Constant latencies."""
    network_latency_us: Microseconds = Decimal(50)
    """us, one way between us and the exchange."""
    processing_latency_us: Microseconds = Decimal(10)
    """us that the exchange's gateway needs for a request, after the network."""
    compute_latency_us: Microseconds = Decimal(0)
    """us between knowing something and sending the request that follows from it."""
    response_latency_us: Microseconds = Field(
        default_factory=lambda data: data.get("network_latency_us", Decimal(0)), validate_default=True
    )
    """us until we know what the exchange did with an order; network_latency_us unless given."""
    extra_feed_latency_us: Microseconds = Decimal(0)
    """us added to the receive times recorded in the data."""

    @property
    def compute_latency_ns(self) -> int:
        """ns between knowing and sending."""
        return to_nanoseconds(self.compute_latency_us)

    @property
    def entry_latency_ns(self) -> int:
        """ns from sending a request to its arrival in the matching engine: network + processing."""
        return to_nanoseconds(self.network_latency_us + self.processing_latency_us)

    @property
    def response_latency_ns(self) -> int:
        """ns from what happens to an order to our knowing it."""
        return to_nanoseconds(self.response_latency_us)

    @property
    def extra_feed_latency_ns(self) -> int:
        """ns on top of the recorded receive times."""
        return to_nanoseconds(self.extra_feed_latency_us)


LatencyModelConfig = FixedLatencyConfig
