"""A user's own action scheme: his space, in front of a built-in scheme that does the work.

    class Lean:
        base = {"type": "spread"}
        action_space = gymnasium.spaces.Discrete(3)

        def translate(self, actions, observations):
            skew = (actions - 1) / 2
            zeros = np.zeros_like(skew)
            return np.stack([zeros, skew, zeros, zeros], 1)

`translate` gets actions (N, ...) of N environments and their last features (N, F), and returns actions (N, D) of the
base.
"""

from typing import Any

import numpy as np

from bt_gym.errors import ConfigError


class OwnScheme:
    """A user's scheme at work.

    Attributes:
        scheme: the user's object.
        width: codes of its actions, 0 of a Box.

    Raises:
        ConfigError: it lacks something, or its space is neither Box, Discrete nor MultiDiscrete.
    """

    def __init__(self, scheme: Any) -> None:
        name = type(scheme).__name__
        for part in ("base", "action_space", "translate"):
            if not hasattr(scheme, part):
                raise ConfigError(f"action.type: {name} has no `{part}`: see docs/environment.md")
        self.scheme = scheme
        space = scheme.action_space
        self._space = space
        first = np.asarray(getattr(space, "start", 0))
        kind = type(space).__name__
        if kind == "Box":
            self._low, self._high, self.width = space.low, space.high, 0
        elif kind in ("Discrete", "MultiDiscrete"):
            counts = np.asarray(space.n if kind == "Discrete" else space.nvec)
            self._low, self._high, self.width = first, first + counts - 1, int(counts.sum())
        else:
            raise ConfigError(f"action.type: {name}.action_space is {kind}: must be Box, Discrete or MultiDiscrete")

    def inside(self, actions: np.ndarray) -> np.ndarray:
        """(N,) which actions (N, ...) are in the space."""
        fits = (self._low <= actions) & (actions <= self._high)
        if self.width:
            fits &= actions == np.floor(actions)
        return fits.reshape(len(actions), -1).all(1)

    def rows(self, actions: np.ndarray, observations: np.ndarray, width: int) -> np.ndarray:
        """Actions of the base scheme, (N, D) float64; NaN for those that aren't in the space.

        Args:
            actions: (N, ...).
            observations: (N, F) float32.
            width: D.

        Raises:
            ValueError: what `translate` gave has another shape.
        """
        inside = self.inside(actions)
        if not inside.all():
            actions = actions.copy()
            actions[~inside] = np.clip(np.zeros(self._low.shape), self._low, self._high)
        if self.width:
            actions = actions.astype(np.int64)
        found = np.asarray(self.scheme.translate(actions, observations.copy()))
        if found.shape not in ((len(actions), width), (len(actions),) if width == 1 else ()) or found.dtype == object:
            name = type(self.scheme).__name__
            raise ValueError(f"{name}.translate gave {found.shape}: must be numbers ({len(actions)}, {width})")
        rows = found.reshape(len(actions), width).astype(np.float64)
        rows[~inside] = np.nan
        return rows

    def row(self, action: Any, observation: np.ndarray, width: int) -> np.ndarray:
        """One action of the base scheme, (D,), from an action and the last features (1, F).

        Raises:
            ValueError: the action isn't in the space.
        """
        values = np.asarray(action)
        shape_fits = values.shape == self._space.shape and values.dtype.kind in "iuf"
        if not (shape_fits and self.inside(values[None])[0]):
            raise ValueError(f"action is {action!r}: must be in {self._space}")
        return self.rows(values[None], observation, width)[0]
