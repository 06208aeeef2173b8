"""From an action section to what kernels read: for environments and for policies as strategies."""

import numpy as np

from bt_gym.config.env import QuotesActionConfig, TargetActionConfig
from bt_gym.core.actions import FIRST_OFFSET, SCHEME_QUOTES, SCHEME_TARGET, scheme_dtype
from bt_gym.core.features import DEFAULT_FEATURES


def make_scheme(action: QuotesActionConfig | TargetActionConfig) -> np.ndarray:
    """(1,) of `core.actions.scheme_dtype`."""
    scheme = np.zeros(1, scheme_dtype)
    lists: dict[str, tuple[int, ...]]
    if isinstance(action, TargetActionConfig):
        scheme["kind"] = SCHEME_TARGET
        lists = {"target": action.targets}
    else:
        scheme["kind"] = SCHEME_QUOTES
        lists = {"offset": action.offsets, "size": action.sizes}
    for name, values in lists.items():
        scheme[f"{name}_count"] = len(values)
        scheme[f"{name}s"][0, : len(values)] = values
    return scheme


def action_sizes(action: QuotesActionConfig | TargetActionConfig) -> np.ndarray:
    """(D,) int64: how many codes each number of an action has."""
    if isinstance(action, TargetActionConfig):
        return np.array([len(action.targets)], np.int64)
    codes = FIRST_OFFSET + len(action.offsets)
    sizes = [len(action.sizes)] if len(action.sizes) > 1 else []
    return np.array([codes, codes, *sizes], np.int64)


def default_features(action: QuotesActionConfig | TargetActionConfig) -> tuple[str, ...]:
    """Names of what is observed unless told otherwise: who rests no orders sees none."""
    if isinstance(action, TargetActionConfig):
        return tuple(name for name in DEFAULT_FEATURES if not name.startswith("own_"))
    return DEFAULT_FEATURES
