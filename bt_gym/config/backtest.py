"""A whole run: the file that `bt-gym backtest` is given."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Self

from pydantic import Field

from bt_gym import _yaml
from bt_gym._section import Overrides, S, Section, validate
from bt_gym.config.backtest_section import BacktestSection
from bt_gym.config.instruments import InstrumentConfig
from bt_gym.config.strategy import AnyStrategyConfig


class BacktestConfig(Section):
    """A whole run: the file that `bt-gym backtest` is given."""

    backtest: BacktestSection
    """Data, execution, limits and outputs."""
    strategy: AnyStrategyConfig | None = None
    """The strategy; may be added in Python instead."""
    instruments: dict[str, InstrumentConfig] = Field(default_factory=dict)
    """Facts of instruments by symbol, or by a pattern such as "ES??" (`?` one character, `*` any)."""

    @classmethod
    def from_file(cls, path: str | Path, overrides: Overrides = ()) -> Self:
        """Reads a YAML file; `overrides` are the `a.b=value` of `--set`.

        Raises:
            ConfigError: the file can't be read, or something in it is wrong: every problem, one per line.
        """
        return validate(cls, _yaml.read(path), overrides)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], overrides: Overrides = ()) -> Self:
        """The same from plain data: `BacktestConfig.from_dict({"backtest": {...}})`."""
        return validate(cls, data, overrides)

    def instrument(self, symbol: str) -> InstrumentConfig | None:
        """Facts given for a symbol: under its own name, else under the first pattern that fits."""
        if symbol in self.instruments:
            return self.instruments[symbol]
        return next((facts for name, facts in self.instruments.items() if fnmatchcase(symbol, name)), None)


def with_overrides(config: S, overrides: Overrides) -> S:
    """A copy with some keys set anew and everything validated again; a new `type` starts its section afresh.

    >>> config = BacktestConfig.from_dict({"backtest": {}})
    >>> with_overrides(config, ["backtest.risk_limits.max_position=5"]).backtest.risk_limits.max_position
    5
    """
    return validate(type(config), config.model_dump(exclude_unset=True), overrides)
