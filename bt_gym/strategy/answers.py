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


def fault_of(output: StrategyOutput, strategy_id: str, now: int) -> ConfigError | None:
    """The first order, update or cancellation of an answer that isn't one, or whose numbers aren't."""
    for name, kinds in _KINDS.items():
        items = getattr(output, name)
        where = f"strategy {strategy_id}: {name} at {at(now)}"
        wanted = f"it takes a list of {' or '.join(kind.__name__ for kind in kinds if kind is not np.integer)}"
        if not isinstance(items, list | tuple):
            return ConfigError(f"{where}: {_shown(items)}: {wanted}")
        for item in items:
            if not isinstance(item, kinds):
                return ConfigError(f"{where}: {_shown(item)} in it: {wanted}")
            for field in _NUMBERS:
                value = getattr(item, field, 0)
                if not isinstance(value, Number) and not (value is None and field in _OPTIONAL):
                    return ConfigError(f"{where}: {field}: must be a number, got {_shown(value)}")
    return None


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else f'{text[:57]}...'}"
