"""BtEnv: one environment, as `gymnasium.Env`: a batch of one on the kernels of the vector environment."""

from typing import Any, Unpack

import gymnasium as gym
import numpy as np

from bt_gym.core import batch, env_state
from bt_gym.envs.batch import Batch, row_of
from bt_gym.envs.render import FPS, RENDER_MODES, Renderer
from bt_gym.envs.sections import Sections
from bt_gym.errors import ConfigError


class BtEnv(gym.Env):
    """One environment; equal to environment i of a `BtVectorEnv` that was seeded with the same number.

    Args:
        task, max_episode_steps, render_mode, sections: as of `BtVectorEnv`.
    """

    metadata: dict[str, Any] = {"render_modes": RENDER_MODES, "render_fps": FPS}  # noqa: RUF012

    def __init__(
        self,
        *,
        task: str = "market_making",
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
        **sections: Unpack[Sections],
    ) -> None:
        self._batch = Batch(1, task, sections, env_state.RESET_NEVER, max_episode_steps)
        self.config = self._batch.config
        self.render_mode = render_mode
        self._renderer = Renderer(self._batch, render_mode)
        self._is_shown = render_mode == "human"
        self.action_space = self._batch.action_space
        self.observation_space = self._batch.observation_space
        self.feature_names = self._batch.features.names
        self.feature_units = self._batch.features.units
        self._scheme = self._batch.scheme
        self._observations = np.empty((1, len(self.feature_names)), np.float32)
        self._finals = np.empty((0, len(self.feature_names)), np.float32)
        self._action = np.empty((1, len(self._scheme.do_nothing)))
        self._reward = np.empty(1)
        self._flags = np.empty((2, 1), bool)
        self._is_ready = False
        self._is_seeded = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begins an episode; `options` as of `BtVectorEnv.reset`, one value each, without `reset_mask`.

        Raises:
            ConfigError: an option is wrong.
        """
        super().reset(seed=seed)
        if options and "reset_mask" in options:
            raise ConfigError("options['reset_mask'] is of vectors: one environment is reset as a whole, leave it out")
        seeds = None
        if seed is not None or not self._is_seeded:
            seeds = np.array([self.np_random.integers(0, 2**62) if seed is None else seed % 2**62], np.int64)
            self._is_seeded = True
        self._batch.request(np.ones(1, bool), seeds, options or {})
        batch.reset(self._batch.context, 0, 1, self._observations)
        self._batch.forget_requests()
        self._is_ready = True
        if self._is_shown:
            self._renderer.render()
        return self._observation(), _first(self._batch.reset_info(self._batch.envs["episode"]))

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One decision: (observation, reward, terminated, truncated, info).

        Raises:
            ValueError: the action isn't in the space.
            gymnasium.error.ResetNeeded: before `reset`, or when the episode is over.
        """
        if not self._is_ready:
            raise gym.error.ResetNeeded("call reset before step, and when an episode is over")
        self._action[0] = self._scheme.row(action, self._observations)
        flags = self._flags
        ended = batch.step(
            self._batch.context, 0, 1, self._action, self._observations, self._reward, flags[0], flags[1], self._finals
        )
        if self._batch.shaping is not None:
            self._batch.shape(self._reward, flags[0] | flags[1], False)
        info: dict[str, Any] = {}
        terminated = truncated = False
        if ended:
            self._batch.check_capacity(np.ones(1, bool))
            terminated, truncated = bool(flags[0, 0]), bool(flags[1, 0])
            self._is_ready = False
            info = _first(self._batch.end_info(self._batch.envs["episode"]))
        if self._is_shown:
            self._renderer.render()
        return self._observation(), float(self._reward[0]), terminated, truncated, info

    def _observation(self) -> Any:
        """What was observed, in arrays of the caller's own."""
        return row_of(self._batch.form.of(self._observations.copy(), self._batch.frames), 0)

    def render(self) -> Any:
        """A frame (height, width, 3) uint8 of `rgb_array`; a window of `human` follows by itself.

        Raises:
            gymnasium.error.ResetNeeded: before `reset`.
        """
        if self.render_mode is None:
            gym.logger.warn("render without a render_mode: make the environment with render_mode='rgb_array'")
            return None
        return self._renderer.render()

    def close(self) -> None:
        """Closes the window."""
        self._renderer.close()

    def action_masks(self) -> np.ndarray:
        """Which codes of an action do something now: (sum of the codes' numbers,) bool; a Box has none."""
        return self._batch.action_masks(lambda step: step(0, 1))[0]


def _first(values: dict[str, np.ndarray]) -> dict[str, Any]:
    """The first of each array, as a plain Python value."""
    return {key: some[0] if some.dtype == object else some[0].item() for key, some in values.items()}
