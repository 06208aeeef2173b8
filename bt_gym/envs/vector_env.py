"""BtVectorEnv: N environments in one call, as `gymnasium.vector.VectorEnv`."""

import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Unpack

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from bt_gym.core import batch, env_state
from bt_gym.envs.batch import Batch, row_of
from bt_gym.envs.render import FPS, RENDER_MODES, Renderer
from bt_gym.envs.sections import Sections
from bt_gym.envs.workers import SHARE, Workers
from bt_gym.errors import ConfigError

_AUTORESETS = {
    AutoresetMode.NEXT_STEP: env_state.RESET_NEXT_STEP,
    AutoresetMode.SAME_STEP: env_state.RESET_SAME_STEP,
    AutoresetMode.DISABLED: env_state.RESET_NEVER,
}
_STATE = {"made_of", "envs", "frames", "last", "done", "is_reset", "is_seeded"}
"""Parts of a state."""


class BtVectorEnv(VectorEnv):
    """N environments on the same tapes; N, D, F as in `bt_gym.core.batch`.

    Every array that it returns is new. An action out of bounds, or NaN, does nothing and is counted
    (`invalid_actions`). An environment's course depends on its seed and actions alone: not on N, its index, its
    neighbours or threads.

    Args:
        num_envs: N.
        task: what the agent has to do; sets defaults.
        max_episode_steps: truncates an episode after so many steps.
        render_mode: `rgb_array`, `human` (a window of the first environment; needs pygame), or None.
        autoreset_mode: an `AutoresetMode`, or its value as text.
        threads: that step the batch; the processors of this process if None.
        sections: as of `bt_gym.envs.sections.Sections`.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012
        "render_modes": RENDER_MODES,
        "render_fps": FPS,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        num_envs: int = 1,
        *,
        task: str = "market_making",
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        threads: int | None = None,
        **sections: Unpack[Sections],
    ) -> None:
        if num_envs < 1:
            raise ConfigError(f"num_envs is {num_envs}: must be 1 or more")
        if threads is not None and threads < 1:
            raise ConfigError(f"threads is {threads}: must be 1 or more, or None for all processors")
        try:
            mode = AutoresetMode(autoreset_mode)
        except ValueError:
            known = ", ".join(mode.value for mode in AutoresetMode)
            raise ConfigError(f"autoreset_mode is {autoreset_mode!r}: must be one of {known}") from None
        self._batch = Batch(num_envs, task, sections, _AUTORESETS[mode], max_episode_steps)
        self.config = self._batch.config
        self.num_envs = num_envs
        self.metadata = {**type(self).metadata, "autoreset_mode": mode}
        self.render_mode = render_mode
        self._renderer = Renderer(self._batch, render_mode)
        self._is_shown = render_mode == "human"
        self.single_action_space = self._batch.action_space
        self.single_observation_space = self._batch.observation_space
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.feature_names = self._batch.features.names
        self.feature_units = self._batch.features.units
        self._mode = mode
        self._done = np.zeros(num_envs, bool)
        self._any_done = False
        self._is_reset = False
        self._is_seeded = False
        self._shape = (num_envs, len(self.feature_names))
        self._action_shape = self.action_space.shape
        self._finals = np.empty(self._shape if mode is AutoresetMode.SAME_STEP else (0, self._shape[1]), np.float32)
        self._last = np.zeros((0, self._shape[1]), np.float32)  # features that a user's own scheme is given
        self._threads = len(os.sched_getaffinity(0)) if threads is None else threads
        self._workers: Workers | None = None
        self._process = os.getpid()

    # --- Gymnasium

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begins episodes.

        Args:
            seed: of environment 0, the others' are seed + index; or one for each; None goes on with their streams.
            options: `reset_mask` (N,) bool: reset only these. `day` (YYYYMMDD), `instrument`, `start_ns`, `window_s`,
                `start_index` (of ordered windows; else the seed), `side` and `quantity` (of an order to be executed):
                one value, or (N,) of them; for this reset only. Never changed.

        Raises:
            TypeError, ValueError: `seed` or `reset_mask` has a wrong type or length.
            ConfigError: another option is wrong.
        """
        options = options or {}
        seeds = self._seeds(seed)
        wanted = self._mask(options["reset_mask"]) if "reset_mask" in options else np.ones(self.num_envs, bool)
        if not self._is_reset and not wanted.all():
            raise gym.error.ResetNeeded("reset all environments before some of them")
        self._batch.request(wanted, seeds, options)
        observations = np.empty(self._shape, np.float32)
        batch.reset(self._batch.context, 0, self.num_envs, observations)
        self._batch.forget_requests()
        self._keep(observations)
        self._is_reset = True
        self._done = self._done & ~wanted
        self._any_done = bool(self._done.any())
        infos: dict[str, Any] = {}
        self._put(infos, self._batch.reset_info(self._batch.envs["episode"][wanted]), wanted)
        if self._is_shown:
            self._renderer.render()
        return self._batch.form.of(observations, self._batch.frames), infos

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One decision of each environment: (observations, rewards, terminated, truncated, infos).

        Raises:
            ValueError, TypeError: the actions have a wrong shape or type.
            gymnasium.error.ResetNeeded: before `reset`, or (DISABLED) while an episode is over.
        """
        if not self._is_reset:
            raise gym.error.ResetNeeded("call reset before step")
        n = self.num_envs
        actions = self._numbers(actions)
        was_done = self._done if self._any_done else None
        if was_done is not None and self._mode is AutoresetMode.DISABLED:
            raise gym.error.ResetNeeded(
                f"the episodes of environments {np.flatnonzero(was_done)[:5].tolist()} are over: reset them "
                "(options={'reset_mask': ...})"
            )
        observations = np.empty(self._shape, np.float32)
        rewards = np.empty(n)
        terminated = np.empty(n, bool)
        truncated = np.empty(n, bool)
        context, finals = self._batch.context, self._finals
        ended = self._run(
            lambda first, last: batch.step(
                context, first, last, actions, observations, rewards, terminated, truncated, finals
            )
        )
        self._keep(observations)
        if self._batch.shaping is not None:
            self._batch.shape(rewards, terminated | truncated, self._mode is AutoresetMode.SAME_STEP)
        infos: dict[str, Any] = {}
        if was_done is not None:  # NEXT_STEP has begun their next episodes
            self._put(infos, self._batch.reset_info(self._batch.envs["episode"][was_done]), was_done)
            self._any_done = False
        if ended:
            self._end(infos, terminated | truncated)
        elif was_done is not None:
            self._done = np.zeros(n, bool)
        if self._is_shown:
            self._renderer.render()
        observed = self._batch.form.of(observations, self._batch.frames)
        return observed, rewards, terminated, truncated, infos

    def render(self) -> Any:
        """A frame (height, width, 3) uint8 of each environment; a window of `human` follows by itself.

        Raises:
            gymnasium.error.ResetNeeded: before `reset`.
        """
        if self.render_mode is None:
            gym.logger.warn("render without a render_mode: make the environments with render_mode='rgb_array'")
            return None
        return self._renderer.frames()

    def close_extras(self, **kwargs: Any) -> None:
        """Ends the threads and closes the window."""
        self._renderer.close()
        if self._workers is not None and self._process == os.getpid():
            self._workers.close()
        self._workers = None

    # --- beside it

    def action_masks(self) -> np.ndarray:
        """Which codes of an action do something now: (N, sum of the codes' numbers) bool; a Box has none."""
        return self._batch.action_masks(self._run)

    def get_state(self) -> dict[str, Any]:
        """Everything that the future depends on, as NumPy arrays and text: a snapshot for `set_state`."""
        return {
            "made_of": self._made_of(),
            "envs": self._batch.envs.view(np.uint8).copy(),
            "frames": self._batch.frames.copy(),
            "last": self._last.copy(),
            "done": self._done.copy(),
            "is_reset": self._is_reset,
            "is_seeded": self._is_seeded,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on from a snapshot of `get_state` of an environment made alike.

        Raises:
            ValueError: it is of another N, other data or sections, another autoreset mode or version.
        """
        if not isinstance(state, dict) or set(state) != _STATE:
            raise ValueError("state isn't one of get_state of this version")
        for name, text in self._made_of().items():
            if state["made_of"].get(name) != text:
                raise ValueError(f"state is of an environment with another {name}: make it alike")
        for name, own in (("envs", self._batch.envs.view(np.uint8)), ("frames", self._batch.frames)):
            if state[name].shape != own.shape:
                raise ValueError(
                    f"state has {name} of {state[name].shape}, this environment {own.shape}: make it alike"
                )
        self._batch.envs.view(np.uint8)[:] = state["envs"]
        self._batch.frames[...] = state["frames"]
        self._batch.forget_masks()
        self._last = state["last"].copy()
        self._done = state["done"].copy()
        self._any_done = bool(self._done.any())
        self._is_reset = state["is_reset"]
        self._is_seeded = state["is_seeded"]

    # --- parts

    def _made_of(self) -> dict[str, str]:
        """What must be alike in an environment for a state to be put into it."""
        return {**self._batch.made_of(), "autoreset_mode": self._mode.value}

    def _keep(self, observations: np.ndarray) -> None:
        """Keeps the last features (N, F) for a user's own scheme."""
        if self._batch.scheme.own is not None:
            self._last = observations.copy()

    def _end(self, infos: dict[str, Any], done: np.ndarray) -> None:
        """Adds what finished episodes leave behind."""
        envs = self._batch.envs
        self._batch.check_capacity(done)
        if self._mode is not AutoresetMode.SAME_STEP:
            self._put(infos, self._batch.end_info(envs["episode"][done]), done)
            self._done = done
            self._any_done = True
            return
        final_obs = np.full(self.num_envs, None, object)
        ended = np.flatnonzero(done)
        frames = self._batch.final_frames
        rows = self._batch.form.of(self._finals[ended], frames[ended] if len(frames) else frames)
        for place, index in enumerate(ended):
            final_obs[index] = row_of(rows, place)
        final_info: dict[str, Any] = {}
        self._put(final_info, self._batch.end_info(envs["ended"][done]), done)
        infos |= {
            "final_obs": final_obs,
            "_final_obs": done.copy(),
            "final_info": final_info,
            "_final_info": done.copy(),
        }
        self._put(infos, self._batch.reset_info(envs["episode"][done]), done)

    def _put(self, infos: dict[str, Any], values: dict[str, np.ndarray], where: np.ndarray) -> None:
        """Spreads arrays (m,) over the N places of the mask `where`; keys that come together share their mask."""
        places = np.flatnonzero(where)
        mask = where.copy()
        alike: dict[str, list[str]] = {}  # by type: all such keys are columns of one array, made and filled at once
        for key, some in values.items():
            if key in infos:  # others of this step have it too
                infos[key][places] = some
                infos[f"_{key}"] = infos[f"_{key}"] | where
            else:
                alike.setdefault(some.dtype.char, []).append(key)
                infos[f"_{key}"] = mask
        for kind, keys in alike.items():
            shape = (self.num_envs, len(keys))
            every = np.full(shape, None) if kind == "O" else np.zeros(shape, kind)
            every[places] = np.array([values[key] for key in keys]).T
            infos |= zip(keys, every.T, strict=True)

    def _seeds(self, seed: int | Sequence[int | None] | None) -> np.ndarray | None:
        """(N,) seeds of the streams, -1 for those that go on."""
        if seed is None or isinstance(seed, int | np.integer):
            if seed is not None:
                super().reset(seed=int(seed))
                return int(seed) % 2**62 + np.arange(self.num_envs)
            if self._is_seeded or self._is_reset:
                return None
            drawn = self.np_random.integers(0, 2**62, self.num_envs)
            self._is_seeded = True
            return drawn
        if isinstance(seed, float | str | bytes):
            raise TypeError(f"seed is {seed!r}: give an integer, or a list of one for each environment")
        if len(seed) != self.num_envs:
            raise ValueError(f"seed has {len(seed)} values for {self.num_envs} environments: give one each")
        if wrong := [one for one in seed if one is not None and not (isinstance(one, int | np.integer) and one >= 0)]:
            raise ValueError(f"seed has {wrong[0]!r}: must be an integer from 0 on, or None")
        fresh = None if self._is_reset or None not in seed else self.np_random.integers(0, 2**62, self.num_envs)
        return np.array(
            [
                int(one) % 2**62 if one is not None else -1 if fresh is None else fresh[index]
                for index, one in enumerate(seed)
            ],
            np.int64,
        )

    def _mask(self, mask: Any) -> np.ndarray:
        if not isinstance(mask, np.ndarray):
            raise TypeError(f"options['reset_mask'] is a {type(mask).__name__}: give a NumPy array")
        if mask.dtype != np.bool_:
            raise TypeError(f"options['reset_mask'] has dtype {mask.dtype}: give booleans")
        if mask.shape != (self.num_envs,):
            raise ValueError(f"options['reset_mask'] has shape {mask.shape}: must be ({self.num_envs},)")
        if not mask.any():
            raise ValueError("options['reset_mask'] has no True: name at least one environment")
        return mask.copy()

    def _numbers(self, actions: Any) -> np.ndarray:
        """Actions (N, D) float64."""
        actions = np.asarray(actions)
        if actions.shape != self._action_shape:
            raise ValueError(f"actions have shape {actions.shape}: must be {self._action_shape}")
        if actions.dtype.kind not in "iuf":
            raise TypeError(f"actions have dtype {actions.dtype}: give numbers")
        scheme = self._batch.scheme
        if scheme.own is not None:
            return scheme.own.rows(actions, self._last, len(scheme.do_nothing))
        return np.ascontiguousarray(actions.reshape(self.num_envs, -1), np.float64)

    def _run(self, step: Callable[[int, int], int]) -> int:
        """Calls `step(first, last)` for the whole batch, on all threads if it is large enough for them; the sum."""
        if self._threads == 1 or self.num_envs < 2 * SHARE:
            return step(0, self.num_envs)
        if self._process != os.getpid():
            warnings.warn("a vector environment in a forked process steps with one thread", stacklevel=3)
            self._process = os.getpid()
            self._workers = None
            self._threads = 1
            return step(0, self.num_envs)
        if self._workers is None:
            self._workers = Workers(min(self._threads, self.num_envs // SHARE) - 1)
        return self._workers.run(self.num_envs, step)
