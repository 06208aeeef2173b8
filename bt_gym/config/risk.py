"""Limits on orders and positions, per strategy and for a whole run."""

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
    """Currency that margin may come from, beside profit; read with the margins."""
    initial_margin: Annotated[Money, Field(gt=0)] | None = None
    """Currency per lot that may be held; an order for which capital doesn't suffice is rejected."""
    maintenance_margin: Annotated[Money, Field(gt=0)] | None = None
    """Currency per lot that is held, out of capital and profit; when they don't suffice all trading stops."""
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
            "maintenance_margin": None if self.maintenance_margin is None else to_micros(self.maintenance_margin),
            "price_collar": self.price_collar_ticks,
        }
        return {name: value for name, value in given.items() if value is not None}


class RunLimitsConfig(Section):
    """Limits of a whole run, all its strategies and instruments together; left out: no limit.

    With this section, even an empty one, strategies also can stop the whole run (`Kill(whole_run=True)`).
    """

    max_position: Count | None = None
    """Lots of one instrument, long or short, all strategies together, working orders counted as if filled."""
    max_orders_per_second: Count | None = None
    """New orders and modifications of all strategies in one second of the clock."""
    max_loss: Annotated[Money, Field(gt=0)] | None = None
    """Currency lost by all together since the start, fees and open positions included, at which the run stops."""
    max_drawdown: Annotated[Money, Field(gt=0)] | None = None
    """Currency below the highest equity of all together at which the run stops."""

    @property
    def values(self) -> dict[str, int]:
        """For `core.orders.new_models`: the limits on orders that are given."""
        given = {
            "run_max_position": self.max_position,
            "run_max_orders_per_second": self.max_orders_per_second,
        }
        return {name: value for name, value in given.items() if value is not None}

    @property
    def losses(self) -> tuple[int, int]:
        """`max_loss` and `max_drawdown` in 1e-6 of the currency, -1 for no limit."""
        loss, fall = (-1 if limit is None else to_micros(limit) for limit in (self.max_loss, self.max_drawdown))
        return loss, fall

    @property
    def described(self) -> str:
        """The limits that are given, in words."""
        given = ((name, value) for name, value in self if value is not None)
        return ", ".join(f"{name} {value}" for name, value in given) or "kill switch"
