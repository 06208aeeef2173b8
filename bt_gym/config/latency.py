"""Delays of our messages and of what we learn. `docs/models.md` says which model fits what."""

from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from bt_gym._section import File, Microseconds, Number, Section, to_nanoseconds


class _Latency(Section):
    """What all latency models have: the time to decide, and that of the feed beyond the data's own."""

    compute_latency_us: Microseconds = Decimal(0)
    """us between knowing something and sending the request that follows from it."""
    extra_feed_latency_us: Microseconds = Decimal(0)
    """us added to the receive times recorded in the data."""

    @property
    def compute_latency_ns(self) -> int:
        """ns between knowing and sending."""
        return to_nanoseconds(self.compute_latency_us)

    @property
    def extra_feed_latency_ns(self) -> int:
        """ns on top of the recorded receive times."""
        return to_nanoseconds(self.extra_feed_latency_us)

    @property
    def entry_latency_ns(self) -> int:
        """ns from sending a request to its arrival in the matching engine: the part that never varies."""
        return 0

    @property
    def response_latency_ns(self) -> int:
        """ns from what happens to an order to our knowing it: the part that never varies."""
        return 0


class FixedLatencyConfig(_Latency):
    """The same delay for every message."""

    type: Literal["fixed"] = "fixed"
    """Constant latencies."""
    network_latency_us: Microseconds = Decimal(50)
    """us, one way between us and the exchange."""
    processing_latency_us: Microseconds = Decimal(10)
    """us that the exchange's gateway needs for a request, after the network."""
    response_latency_us: Microseconds = Field(
        default_factory=lambda data: data.get("network_latency_us", Decimal(0)), validate_default=True
    )
    """us until we know what the exchange did with an order; network_latency_us unless given."""

    @property
    def entry_latency_ns(self) -> int:
        """ns from sending a request to its arrival in the matching engine: network + processing."""
        return to_nanoseconds(self.network_latency_us + self.processing_latency_us)

    @property
    def response_latency_ns(self) -> int:
        """ns from what happens to an order to our knowing it."""
        return to_nanoseconds(self.response_latency_us)


class LognormalLatencyConfig(_Latency):
    """A least delay plus a log-normal one, given by its median and its 99th percentile."""

    type: Literal["lognormal"]
    """Random latencies with a long tail."""
    entry_min_us: Microseconds = Decimal(0)
    """us that a request needs at least."""
    entry_median_us: Microseconds
    """us that half of the requests stay below; above entry_min_us."""
    entry_p99_us: Microseconds
    """us that 99 of 100 requests stay below."""
    response_min_us: Microseconds = Decimal(0)
    """us that a report needs at least."""
    response_median_us: Microseconds
    """us that half of the reports stay below; above response_min_us."""
    response_p99_us: Microseconds
    """us that 99 of 100 reports stay below."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        for leg in ("entry", "response"):
            low, median, p99 = (getattr(self, f"{leg}_{name}_us") for name in ("min", "median", "p99"))
            if not low < median <= p99:
                raise ValueError(f"{leg}: needs min < median <= p99, got {low}, {median}, {p99}")
        return self


class EmpiricalLatencyConfig(_Latency):
    """Drawn from measured delays, linear between them."""

    type: Literal["empirical"]
    """Random latencies from a sample or its quantiles."""
    entry_us: Annotated[tuple[Microseconds, ...], Field(strict=False, min_length=1, max_length=65_536)]
    """us of requests: a sample in any order, or quantiles at equal steps from the smallest to the largest."""
    response_us: Annotated[tuple[Microseconds, ...], Field(strict=False, min_length=1, max_length=65_536)]
    """us of reports, likewise."""


class InterpolatedLatencyConfig(_Latency):
    """Recorded round trips of real requests, linear in time between them, as hftbacktest has it."""

    type: Literal["interpolated"]
    """Latencies as they were at the time."""
    file: File
    """CSV, .npy or hftbacktest's .npz file: columns req_ts, exch_ts, resp_ts in ns UTC, one request a row in the
    order of time; an exch_ts of 0 or less is a request that the gateway refused."""


class LoadLatencyConfig(_Latency):
    """A base plus a delay for every message that the market sent in the last moment."""

    type: Literal["load_dependent"]
    """Latencies that grow when everybody is busy."""
    entry_base_us: Microseconds
    """us that a request needs in a quiet market."""
    entry_us_per_message: Annotated[Number, Field(ge=0, le=1e6)]
    """us more for each message of the window."""
    response_base_us: Microseconds
    """us that a report needs in a quiet market."""
    response_us_per_message: Annotated[Number, Field(ge=0, le=1e6)]
    """us more for each message of the window."""
    window_us: Annotated[Microseconds, Field(gt=0)] = Decimal(1000)
    """us before a request is sent, or an order traded, in which messages of the instrument count."""

    @property
    def entry_latency_ns(self) -> int:
        """ns that a request needs in a quiet market."""
        return to_nanoseconds(self.entry_base_us)

    @property
    def response_latency_ns(self) -> int:
        """ns that a report needs in a quiet market."""
        return to_nanoseconds(self.response_base_us)


class FeedLatencyConfig(_Latency):
    """A base plus a multiple of the delay with which the market data of that moment was received."""

    type: Literal["feed_based"]
    """Latencies that share the congestion of the feed."""
    entry_base_us: Microseconds
    """us that a request needs at least."""
    entry_factor: Annotated[Number, Field(ge=0, le=1000)]
    """Times the last event's recorded delay, on top."""
    response_base_us: Microseconds
    """us that a report needs at least."""
    response_factor: Annotated[Number, Field(ge=0, le=1000)]
    """Times the last event's recorded delay, on top."""

    @property
    def entry_latency_ns(self) -> int:
        """ns that a request needs at least."""
        return to_nanoseconds(self.entry_base_us)

    @property
    def response_latency_ns(self) -> int:
        """ns that a report needs at least."""
        return to_nanoseconds(self.response_base_us)


def _tag(value: Any) -> str | None:
    """Without a type it is the fixed model."""
    name = value.get("type", "fixed") if isinstance(value, dict) else getattr(value, "type", None)
    return name if isinstance(name, str) else None


LatencyModelConfig = Annotated[
    Annotated[FixedLatencyConfig, Tag("fixed")]
    | Annotated[LognormalLatencyConfig, Tag("lognormal")]
    | Annotated[EmpiricalLatencyConfig, Tag("empirical")]
    | Annotated[InterpolatedLatencyConfig, Tag("interpolated")]
    | Annotated[LoadLatencyConfig, Tag("load_dependent")]
    | Annotated[FeedLatencyConfig, Tag("feed_based")],
    Discriminator(_tag),
]
