"""Fees beyond an amount per lot, which is a fact of the instrument."""

from decimal import Decimal
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from bt_gym._section import Count, Exact, Money, Section, to_micros

MAX_FEE_TIERS = 4  # what a record of the core holds

Rate = Annotated[Exact, Field(ge=-1, le=1, decimal_places=9)]


class FeeTierConfig(Section):
    """Fees that hold from a volume on, instead of the instrument's and the rates below the first tier."""

    volume: Count
    """Lots that the account has traded."""
    maker_fee: Money
    """Currency per lot for a fill of a resting order; negative: a rebate."""
    taker_fee: Money
    """Currency per lot for a fill that took liquidity."""
    maker_rate: Rate = Decimal(0)
    """Share of the notional for a fill of a resting order; negative: a rebate."""
    taker_rate: Rate = Decimal(0)
    """Share of the notional for a fill that took liquidity."""


class FeesConfig(Section):
    """Fees on top of the instrument's amounts per lot."""

    maker_rate: Rate = Decimal(0)
    """Share of the notional for a fill of a resting order; negative: a rebate."""
    taker_rate: Rate = Decimal(0)
    """Share of the notional for a fill that took liquidity."""
    order_fee: Annotated[Money, Field(ge=0)] = Decimal(0)
    """Currency per order that is filled, however often."""
    tiers: Annotated[tuple[FeeTierConfig, ...], Field(strict=False, max_length=MAX_FEE_TIERS)] = ()
    """Fees by volume traded, lowest volume first; at most four."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        volumes = [tier.volume for tier in self.tiers]
        if volumes != sorted(set(volumes)):
            raise ValueError(f"tiers: volumes {volumes} must grow")
        schedules: tuple[FeesConfig | FeeTierConfig, ...] = (self, *self.tiers)
        for fees in schedules:
            if fees.maker_rate + fees.taker_rate < 0:
                raise ValueError("maker_rate + taker_rate is negative, so trading with oneself would earn money")
        for tier in self.tiers:
            if tier.maker_fee + tier.taker_fee < 0:
                raise ValueError("tiers: maker_fee + taker_fee is negative: trading with oneself would earn money")
        return self

    @property
    def values(self) -> dict[str, Any]:
        """For `core.orders.new_models`: rates in 1e-9, amounts in 1e-6."""
        tiers = [
            (
                tier.volume,
                to_micros(tier.maker_fee),
                to_micros(tier.taker_fee),
                to_nanos(tier.maker_rate),
                to_nanos(tier.taker_rate),
            )
            for tier in self.tiers
        ]
        tiers += [(0, 0, 0, 0, 0)] * (MAX_FEE_TIERS - len(tiers))
        return {
            "maker_rate": to_nanos(self.maker_rate),
            "taker_rate": to_nanos(self.taker_rate),
            "order_fee": to_micros(self.order_fee),
            "tiers": tiers,
        }


def to_nanos(rate: Decimal) -> int:
    """A rate in 1e-9."""
    return int(rate.scaleb(9))
