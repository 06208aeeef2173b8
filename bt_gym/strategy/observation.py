"""From an observation section to what an agent sees: for environments and for policies as strategies.

N environments, F features, K decisions of a stack; pictures are (CHANNELS, H, K) uint8, see `bt_gym.core.frames`.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from bt_gym.config.env import EnvConfig
from bt_gym.core.features import FeatureSet
from bt_gym.core.frames import CHANNELS
from bt_gym.errors import ConfigError
from bt_gym.strategy.scheme import ORDER_FEATURES, default_features, make_scheme

IMAGE_STACK = 40
"""Columns of a picture unless told otherwise: enough for the smallest convolutional network of SB3."""


_TIME = ("time_sin", "time_cos")


class ObservationForm:
    """What an observation is made of, and how it is given.

    Attributes:
        scheme: what actions mean; it may need windows beside those of features.
        kind: `flat`, `dict` or `image`.
        features: names, units and codes; none of an image.
        stack: K.
        height: H of an image, else 0.
        scaling: (F, 2) float64 of `core.frames.scale`, or (0, 2).
        shapes: of one observation: by group, or under "" where it is one array.

    Raises:
        ConfigError: a feature is unknown, or the scaling isn't of these features.
    """

    def __init__(self, config: EnvConfig) -> None:
        section = config.observation
        self.kind = section.form
        self.height = 2 * section.levels if self.kind == "image" else 0
        self.stack = section.stack or (IMAGE_STACK if self.height else 1)
        self.scheme = make_scheme(config.action)
        if section.features is not None and not section.features:
            raise ConfigError("observation.features is empty: name one, or leave it out for the task's own")
        names = section.features or default_features(self.scheme.preset, config.order is not None)
        if section.use_time_features is not None:
            names = tuple(name for name in names if name not in _TIME or section.use_time_features)
            names += tuple(name for name in _TIME if name not in names and section.use_time_features)
        if config.order is None and (owed := [name for name in names if name in ORDER_FEATURES]):
            raise ConfigError(
                f"observation.features: '{owed[0]}' is of an order to be executed, and there is none: give `order`"
            )
        try:
            self.features = FeatureSet(() if self.height else names, self.scheme.lags)
        except ValueError as error:
            raise ConfigError(f"observation.features: {error}") from None
        self.scheme.follow(self.features.lags)
        self.scaling = np.zeros((0, 2))
        if section.scaling is not None:
            self.scaling = _read_scaling(section.scaling, self.features.names)
        if self.height:
            self.shapes: dict[str, tuple[int, ...]] = {"": (CHANNELS, self.height, self.stack)}
        elif self.kind == "dict":
            self.shapes = {name: (self.stack * len(index),) for name, index in self.features.groups.items()}
        else:
            self.shapes = {"": (self.stack * len(self.features.names),)}

    def new_frames(self, count: int) -> np.ndarray:
        """What `count` environments keep of the decisions before; (0,) where they keep nothing."""
        if self.height:
            return np.zeros((count, CHANNELS, self.height, self.stack), np.uint8)
        if self.stack > 1:
            return np.zeros((count, self.stack, len(self.features.names)), np.float32)
        return np.zeros(0, np.float32)

    def of(self, rows: np.ndarray, frames: np.ndarray) -> Any:
        """Observations of N environments; a stack is one row, the oldest decision first, as SB3's VecFrameStack has it.

        Args:
            rows: (N, F) float32, the newest features, which the result may share memory with.
            frames: as of `new_frames`, which it never does.
        """
        if self.kind == "dict":
            values = frames if len(frames) else rows
            groups = self.features.groups
            return {name: values[..., index].reshape(len(rows), -1) for name, index in groups.items()}
        if self.height:
            return frames.copy()
        return frames.copy().reshape(len(rows), -1) if len(frames) else rows


def _read_scaling(file: Path, names: tuple[str, ...]) -> np.ndarray:
    """Means and inverse scales (F, 2) of a file of `bt_gym.fit_scaling`."""
    try:
        found = json.loads(file.read_text())
        known = dict(zip(found["features"], zip(found["mean"], found["scale"], strict=True), strict=True))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"observation.scaling: {file} can't be read ({error}): make it with fit_scaling") from None
    if missing := [name for name in names if name not in known]:
        raise ConfigError(f"observation.scaling: {file} has nothing for {missing[0]}: fit it with these features")
    return np.array([(known[name][0], 1 / known[name][1]) for name in names])
