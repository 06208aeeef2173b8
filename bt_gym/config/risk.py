"""Limits on orders and positions."""

from typing import Annotated

from pydantic import Field

from bt_gym._section import Count, Money, Section, Whole, to_micros


class RiskLimitsConfig(Section):
    """Limits per strategy and instrument; an order that would break one is rejected. Left out: no limit."""

    max_position: Count | None = None
    """Lots, long or short, working orders counted as if filled."""
    max_order_size: Count | None = None
    """Lots of one order."""
    max_loss: Annotated[Money, Field(gt=0)] | None = None
    """Currency lost since the start, fees and open position included, at which all trading stops."""
    max_drawdown: Annotated[Money, Field(gt=0)] | None = None
    """Currency below the highest equity so far at which all trading stops."""
    capital: Annotated[Money, Field(ge=0)] | None = None
    """Currency that margin may come from, beside closed profit; read with initial_margin."""
    initial_margin: Annotated[Money, Field(gt=0)] | None = None
    """Currency per lot that may be held; an order for which capital doesn't suffice is rejected."""
    max_orders_per_second: Count | None = None
    """New orders and modifications in one second of the clock."""
    price_collar_ticks: Annotated[Whole, Field(ge=0)] | None = None
    """Ticks beyond the opposite best price that a limit may lie; the exchange rejects what lies beyond."""

    @property
    def max_loss_micros(self) -> int | None:
        """`max_loss` in 1e-6 of the currency."""
        return None if self.max_loss is None else to_micros(self.max_loss)

    @property
    def max_drawdown_micros(self) -> int | None:
        """`max_drawdown` in 1e-6 of the currency."""
        return None if self.max_drawdown is None else to_micros(self.max_drawdown)

    @property
    def values(self) -> dict[str, int]:
        """For `core.orders.new_models`: the limits that are given."""
        given = {
            "max_position": self.max_position,
            "max_order_size": self.max_order_size,
            "max_orders_per_second": self.max_orders_per_second,
            "max_loss": self.max_loss_micros,
            "max_drawdown": self.max_drawdown_micros,
            "capital": None if self.capital is None else to_micros(self.capital),
            "initial_margin": None if self.initial_margin is None else to_micros(self.initial_margin),
            "price_collar": self.price_collar_ticks,
        }
        return {name: value for name, value in given.items() if value is not None}
