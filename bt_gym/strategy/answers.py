"""What a strategy answered that can't be used, or where it failed: in words, with its name and the time of the call."""

from numbers import Number
from typing import Any

import numpy as np

from bt_gym.errors import ConfigError
from bt_gym.strategy.base import OrderCancel, OrderRequest, OrderUpdate, StrategyOutput

_KINDS: dict[str, tuple[type, ...]] = {
    "cancellations": (int, np.integer, OrderCancel),
    "updates": (OrderUpdate,),
    "orders": (OrderRequest,),
}
_NUMBERS = ("size", "price", "stop_price", "expires_at", "order_id")
_OPTIONAL = ("price", "stop_price")


def at(now: int) -> str:
    """A time in ns UTC as text."""
    return f"{np.datetime64(now, 'ns')} UTC"


def note(error: Exception, strategy_id: str, method: str, now: int) -> None:
    """Adds to an error that a strategy has raised which one it was, and when in market time."""
    error.add_note(f"strategy {strategy_id}: raised in {method} at {at(now)}")


def check(output: Any, strategy_id: str, method: str, now: int) -> None:
    """Refuses what is no `StrategyOutput`.

    Raises:
        ConfigError: it isn't one.
    """
    if not isinstance(output, StrategyOutput):
        raise ConfigError(
            f"strategy {strategy_id}: {method} returned {_shown(output)} at {at(now)}: return a StrategyOutput, or "
            "None for nothing"
        )


def refuse_faults(output: StrategyOutput, strategy_id: str, now: int) -> None:
    """Says why an answer could not be sent, if it is the answer's fault; to be called where that has failed.

    Raises:
        ConfigError: an order, update or cancellation of it isn't one, or its numbers aren't; the first such one.
    """
    for name, kinds in _KINDS.items():
        items = getattr(output, name)
        where = f"strategy {strategy_id}: {name} at {at(now)}"
        wanted = f"it takes a list of {' or '.join(kind.__name__ for kind in kinds if kind is not np.integer)}"
        if not isinstance(items, list | tuple):
            raise ConfigError(f"{where}: {_shown(items)}: {wanted}") from None
        for item in items:
            if not isinstance(item, kinds):
                raise ConfigError(f"{where}: {_shown(item)} in it: {wanted}") from None
            for field in _NUMBERS:
                value = getattr(item, field, 0)
                if not isinstance(value, Number) and not (value is None and field in _OPTIONAL):
                    raise ConfigError(f"{where}: {field}: must be a number, got {_shown(value)}") from None


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else f'{text[:57]}...'}"
