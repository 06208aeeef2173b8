"""From an action section to what kernels read: for environments and for policies as strategies."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bt_gym._section import Section, validate
from bt_gym.config.env_action import (
    ActionConfig,
    AvellanedaStoikovActionConfig,
    OwnActionConfig,
    ParticipationActionConfig,
    PresetConfig,
    QuotesActionConfig,
    RawActionConfig,
    SpreadActionConfig,
    TargetActionConfig,
)
from bt_gym.core import actions
from bt_gym.core.env_state import MAX_ORDERS
from bt_gym.core.features import DEFAULT_FEATURES
from bt_gym.core.order_actions import CHILD_CANCEL, FIRST_RATE, RAW_CANCEL, RAW_KINDS
from bt_gym.core.quote_actions import FIRST_OFFSET, WITHDRAW
from bt_gym.errors import ConfigError
from bt_gym.strategy.load import load
from bt_gym.strategy.own_scheme import OwnScheme

Preset = (
    QuotesActionConfig
    | SpreadActionConfig
    | AvellanedaStoikovActionConfig
    | ParticipationActionConfig
    | TargetActionConfig
    | RawActionConfig
)
ORDER_FEATURES = ("remaining_quantity", "side")
"""Features of an order to be executed."""
_QUIET = -0.25  # of a Box: what leaves a side as it is, see `quote_actions.mode_of`


@dataclass(frozen=True)
class ActionScheme:
    """An action section, made up.

    Attributes:
        preset: the section whose rules kernels follow.
        kernel: (1,) of `core.actions.scheme_dtype`.
        codes: (D,) how many codes each number of an action has; empty where it is any from -1 to 1.
        do_nothing: (D,) float64: the action that leaves everything as it is, from a flat start.
        withdraw: (D,) float64: the action that cancels what rests; None where nothing ever does.
        is_scalar: an action is one number, not an array of one.
        lags: ns, of the windows that it needs besides those of features.
        own: a user's scheme in front of it, to whose space actions belong; None without one.
    """

    preset: Preset
    kernel: np.ndarray
    codes: tuple[int, ...]
    do_nothing: np.ndarray
    withdraw: np.ndarray | None
    is_scalar: bool
    lags: tuple[int, ...] = ()
    own: OwnScheme | None = None

    def follow(self, lags: np.ndarray) -> None:
        """Notes which of the windows that are followed (`FeatureSet.lags`) is its own."""
        if self.lags:
            self.kernel["lag"] = lags.tolist().index(self.lags[0])

    def row(self, action: Any, observation: np.ndarray) -> np.ndarray:
        """An action as (D,) float64; `observation` (1, F) is what a user's own scheme is given.

        Raises:
            ValueError: it isn't one.
        """
        if self.own is not None:
            return self.own.row(action, observation, len(self.do_nothing))
        values = np.asarray(action)
        if not self.codes:
            fits = values.shape == self.do_nothing.shape and values.dtype.kind in "iuf"
            if not (fits and (np.abs(values) <= 1).all()):
                raise ValueError(f"action is {action!r}: must be {len(self.do_nothing)} numbers from -1 to 1")
            return values.astype(np.float64)
        numbers = values.tolist()
        numbers = [numbers] if self.is_scalar else numbers
        if (
            not isinstance(numbers, list)
            or len(numbers) != len(self.codes)
            or not all(type(one) is int and 0 <= one < count for one, count in zip(numbers, self.codes, strict=True))
        ):
            raise ValueError(f"action is {action!r}: must be {len(self.codes)} integers below {list(self.codes)}")
        return np.array(numbers, np.float64)


def make_scheme(action: ActionConfig) -> ActionScheme:
    """The scheme of an action section.

    Raises:
        ConfigError: a user's own scheme can't be imported or made.
    """
    if isinstance(action, OwnActionConfig):
        made = load(action.type, "action.type")
        try:
            own = OwnScheme(made(**action.parameters))
        except TypeError as error:
            raise ConfigError(f"action.parameters: {action.type} refuses {action.parameters}: {error}") from None
        base = validate(_Base, {"base": own.scheme.base}).base
        return replace(make_scheme(base), own=own)
    kernel = np.zeros(1, actions.scheme_dtype)
    codes: tuple[int, ...]
    if isinstance(action, QuotesActionConfig):
        _fill(kernel, offset=action.offsets, size=action.sizes)
        kernel["kind"] = actions.SCHEME_QUOTES
        count, sizes = FIRST_OFFSET + len(action.offsets), len(action.sizes)
        if action.space == "discrete":
            kernel["kind"] = actions.SCHEME_PAIRS
            withdraw = np.array([(WITHDRAW * count + WITHDRAW) * sizes * 1.0])
            return ActionScheme(action, kernel, (count * count * sizes,), np.zeros(1), withdraw, is_scalar=True)
        codes = (count, count, sizes) if sizes > 1 else (count, count)
        withdraw = np.array([WITHDRAW, WITHDRAW, 0.0])[: len(codes)]
        return ActionScheme(action, kernel, codes, np.zeros(len(codes)), withdraw, is_scalar=False)
    if isinstance(action, TargetActionConfig):
        kernel["kind"] = actions.SCHEME_TARGET
        _fill(kernel, target=action.targets)
        flat = np.array([float(action.targets.index(0))])
        return ActionScheme(action, kernel, (len(action.targets),), flat, None, is_scalar=True)
    if isinstance(action, ParticipationActionConfig):
        kernel["kind"] = actions.SCHEME_PARTICIPATION
        _fill(kernel, rate=action.rates)
        codes = (FIRST_RATE + 2 * len(action.rates),)
        return ActionScheme(action, kernel, codes, np.zeros(1), np.array([float(CHILD_CANCEL)]), is_scalar=True)
    if isinstance(action, RawActionConfig):
        kernel["kind"] = actions.SCHEME_RAW
        kernel["rows"], kernel["reach"], kernel["max_size"] = action.rows, action.reach, action.max_size
        codes = (RAW_KINDS, MAX_ORDERS, 2, 2 * action.reach + 1, action.max_size) * action.rows
        cancels = np.array([[RAW_CANCEL, number, 0.0, 0, 0] for number in range(action.rows)]).reshape(-1)
        return ActionScheme(action, kernel, codes, np.zeros(len(codes)), cancels, is_scalar=False)
    _fill(kernel, size=(action.size,))
    nothing, withdraw = np.array([0, 0, _QUIET, _QUIET]), np.array([0, 0, -1.0, -1.0])
    if isinstance(action, SpreadActionConfig):
        kernel["kind"] = actions.SCHEME_SPREAD
        kernel["low"] = action.min_half_spread, -action.max_skew
        kernel["high"] = action.max_half_spread, action.max_skew
        return ActionScheme(action, kernel, (), nothing, withdraw, is_scalar=False)
    lag = round(action.sigma_s * 1e9)
    kernel["kind"] = actions.SCHEME_AVELLANEDA_STOIKOV
    kernel["low"], kernel["high"] = (action.min_gamma, action.min_kappa), (action.max_gamma, action.max_kappa)
    kernel["lag_s"], kernel["horizon_s"] = lag / 1e9, action.horizon_s
    return ActionScheme(action, kernel, (), nothing, withdraw, is_scalar=False, lags=(lag,))


def _fill(kernel: np.ndarray, **lists: tuple[float, ...]) -> None:
    """Writes lists with their lengths."""
    for name, values in lists.items():
        kernel[f"{name}_count"] = len(values)
        kernel[f"{name}s"][0, : len(values)] = values


class _Base(Section):
    base: PresetConfig


def default_features(action: Preset, has_order: bool) -> tuple[str, ...]:
    """Names of what is observed unless told otherwise: who rests no orders sees none.

    Args:
        action: the section.
        has_order: an order is to be executed.
    """
    own = not isinstance(action, TargetActionConfig)
    names = DEFAULT_FEATURES if own else tuple(name for name in DEFAULT_FEATURES if not name.startswith("own_"))
    return (*names, *ORDER_FEATURES) if has_order else names
