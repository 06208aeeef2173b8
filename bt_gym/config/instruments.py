"""Facts of instruments."""

from fractions import Fraction
from typing import Annotated, Self

from pydantic import StringConstraints, model_validator

from bt_gym._section import Fact, Money, Section, to_micros


class InstrumentConfig(Section):
    """Facts of an instrument; what is left out must come from a definition file or the command line."""

    tick_size: Fact | None = None
    """Smallest price step, in units of the price."""
    multiplier: Fact | None = None
    """Currency per 1.0 of price and lot; of an inverse instrument what a lot is worth in the quote currency."""
    inverse: bool | None = None
    """Whether a lot is worth multiplier / price in `currency` (coin-margined futures) instead of multiplier x price."""
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z0-9]{3,8}$")] | None = None
    """Currency of price, fees and profit, such as USD."""
    fee_per_contract: Money | None = None
    """Currency per lot and side, whether the fill made or took liquidity."""
    maker_fee: Money | None = None
    """Currency per lot for a fill of a resting order; negative: a rebate. Instead of fee_per_contract."""
    taker_fee: Money | None = None
    """Currency per lot for a fill that took liquidity. Instead of fee_per_contract."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.fee_per_contract is not None and (self.maker_fee is not None or self.taker_fee is not None):
            raise ValueError("give fee_per_contract, or maker_fee and taker_fee, not both")
        if (self.maker_fee is None) != (self.taker_fee is None):
            raise ValueError("maker_fee and taker_fee go together; give both, or fee_per_contract")
        if self.maker_fee is not None and self.taker_fee is not None and self.maker_fee + self.taker_fee < 0:
            raise ValueError(
                "maker_fee + taker_fee is negative, so trading with oneself would earn money; check the signs"
            )
        if self.tick_size is not None and self.multiplier is not None:
            tick, multiplier = Fraction(self.tick_size), Fraction(self.multiplier)
            name, value = ("/", multiplier / tick) if self.inverse else ("x", multiplier * tick)
            if (value * 1_000_000).denominator != 1:
                raise ValueError(
                    f"multiplier {name} tick_size is {float(value)}, not exact in 0.000001 of the currency"
                )
        return self

    def fees_micros(self) -> tuple[int, int] | None:
        """(maker, taker) fee per lot in 1e-6 of the currency; None when no fee is given."""
        if self.maker_fee is not None and self.taker_fee is not None:
            return to_micros(self.maker_fee), to_micros(self.taker_fee)
        return None if self.fee_per_contract is None else (to_micros(self.fee_per_contract),) * 2
