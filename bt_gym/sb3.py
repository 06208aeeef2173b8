"""Vector environments for Stable-Baselines3, which takes its own `VecEnv` only.

    >>> venv = make_sb3_vec_env("bt_gym/MarketMaking-v0", 1024, seed=1)  # doctest: +SKIP
    >>> PPO("MlpPolicy", venv, n_steps=16, batch_size=4096).learn(1_000_000)  # doctest: +SKIP

`GymnasiumToSB3VecEnv` adapts any Gymnasium vector environment, `SB3VecEnv` those of bt_gym. N is the number of
environments throughout.
"""

import copy
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import iterate
from stable_baselines3.common.vec_env import VecEnv, VecMonitor

from bt_gym.testing import arrays, equal, spoil

Indices = None | int | Iterable[int]


class GymnasiumToSB3VecEnv(VecEnv):
    """A Gymnasium vector environment as SB3's `VecEnv`.

    SB3 wants the first observation of the next episode in the step that ends one. SAME_STEP gives just that; in
    DISABLED the adapter resets by mask. NEXT_STEP can't be adapted.

    Attributes:
        env: the vector environment.
    """

    def __init__(self, env: VectorEnv) -> None:
        """Adapt `env`, which belongs to the adapter from now on.

        Raises:
            ValueError: its autoreset mode is NEXT_STEP, or none.
        """
        self.mode = env.metadata.get("autoreset_mode")
        if self.mode not in (AutoresetMode.SAME_STEP, AutoresetMode.DISABLED):
            raise ValueError(
                f"autoreset_mode is {getattr(self.mode, 'name', self.mode)}: make the environment with SAME_STEP or "
                "DISABLED. In NEXT_STEP an episode begins a step late, in a step whose action and reward belong to no "
                "episode: SB3 would learn from it"
            )
        self.env = env
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)
        if "render_fps" in env.metadata:
            self.metadata["render_fps"] = env.metadata["render_fps"]
        self._actions: Any = None

    def reset(self) -> Any:
        """Starts new episodes, with the seeds and options set before; infos go to `reset_infos`."""
        obs, infos = self.env.reset(seed=_as_one_seed(self._seeds), options=_as_one_dict(self._options))
        self.reset_infos = split_infos(infos, self.num_envs)
        self._reset_seeds()
        self._reset_options()
        return obs

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = actions

    def step_wait(self) -> tuple[Any, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Observations, rewards (N,) float32, dones (N,) bool and N infos; all belong to the caller."""
        obs, rewards, terminations, truncations, infos = self.env.step(self._actions)
        dones = terminations | truncations
        out = self._split_step(infos)
        if dones.any():
            if self.mode == AutoresetMode.SAME_STEP:
                final_obs = infos["final_obs"]
                ended, begun = (
                    split_infos(infos.get("final_info", {}), self.num_envs),
                    split_infos(infos, self.num_envs),
                )
            else:
                final_obs, ended = list(iterate(self.env.observation_space, obs)), out
                obs, infos = self.env.reset(options={"reset_mask": dones.copy()})
                begun = split_infos(infos, self.num_envs)
            for i in np.flatnonzero(dones).tolist():
                out[i] = ended[i]
                out[i]["terminal_observation"] = final_obs[i]
                out[i]["TimeLimit.truncated"] = bool(truncations[i] and not terminations[i])
                self.reset_infos[i] = begun[i]
        return obs, np.array(rewards, np.float32), dones, out

    def _split_step(self, infos: dict[str, Any]) -> list[dict[str, Any]]:
        """The infos of a step, one dict for each environment."""
        return split_infos(infos, self.num_envs)

    def close(self) -> None:
        self.env.close()

    def get_images(self) -> Sequence[np.ndarray | None]:
        frames: Any = self.env.render()
        return [None] * self.num_envs if frames is None else list(frames)

    def get_attr(self, attr_name: str, indices: Indices = None) -> list[Any]:
        """The attribute for each environment: its own if the vector has single ones, else the vector's.

        Raises:
            AttributeError: there is no such attribute.
        """
        inner: Any = self.env.unwrapped
        if hasattr(inner, "get_attr") and not hasattr(self.env, attr_name):
            values = inner.get_attr(attr_name)
        else:
            values = [getattr(self.env, attr_name)] * self.num_envs
        return [values[i] for i in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Indices = None) -> None:
        """Sets an attribute of all environments, or of some if the vector has single ones.

        Raises:
            ValueError: the vector has no single environments, and some were named.
        """
        inner: Any = self.env.unwrapped
        chosen = set(self._get_indices(indices))
        if hasattr(inner, "set_attr"):
            old = inner.get_attr(attr_name) if len(chosen) < self.num_envs else [None] * self.num_envs
            inner.set_attr(attr_name, [value if i in chosen else old[i] for i in range(self.num_envs)])
        elif len(chosen) == self.num_envs:
            setattr(inner, attr_name, value)
        else:
            raise ValueError(f"{attr_name} can't be set for some environments of {inner}: leave `indices` out")

    def env_method(self, method_name: str, *args: Any, indices: Indices = None, **kwargs: Any) -> list[Any]:
        """Calls a method of each environment, or of the vector once; `action_masks` are the rows of one batch.

        Raises:
            AttributeError: there is no such method.
        """
        inner: Any = self.env.unwrapped
        if hasattr(inner, "call") and not hasattr(self.env, method_name):
            results = inner.call(method_name, *args, **kwargs)
        else:
            results = getattr(self.env, method_name)(*args, **kwargs)
            if not (isinstance(results, Sequence | np.ndarray) and len(results) == self.num_envs):
                results = [results] * self.num_envs
        return [results[i] for i in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: type, indices: Indices = None) -> list[bool]:
        return [False for _ in self._get_indices(indices)]


class SB3VecEnv(GymnasiumToSB3VecEnv):
    """A vector environment of bt_gym as SB3's `VecEnv`; see `make_sb3_vec_env`.

    Infos are given in the steps that end an episode, where SB3 reads them; those of other steps are in `step_infos`,
    batched as Gymnasium gives them, since to split a thousand dicts would take longer than the step.

    Attributes:
        step_infos: infos of the last step.
    """

    step_infos: dict[str, Any]

    def _split_step(self, infos: dict[str, Any]) -> list[dict[str, Any]]:
        self.step_infos = infos
        return [{} for _ in range(self.num_envs)]

    def get_state(self) -> Any:
        """Everything that the environments' future depends on; see the vector environment's own."""
        return self.env.unwrapped.get_state()  # type: ignore[attr-defined]

    def set_state(self, state: Any) -> None:
        """Goes on from a state that `get_state` gave; the next step must be one from that state's observations."""
        self.env.unwrapped.set_state(state)  # type: ignore[attr-defined]


def make_sb3_vec_env(id: str, n: int, seed: int | None = None, monitor: bool = True, **options: Any) -> VecEnv:
    """N environments of one id for SB3.

    Args:
        id: such as `bt_gym/MarketMaking-v0`.
        n: number of environments.
        seed: of the first reset; environment i gets seed + i. None: drawn at random.
        monitor: put a `VecMonitor` around it, which reports returns and lengths of episodes to SB3.
        options: of the environment.
    """
    env = gym.make_vec(id, n, autoreset_mode=AutoresetMode.SAME_STEP.value, **options)
    venv: VecEnv = SB3VecEnv(env)
    if seed is not None:
        venv.seed(seed)
    return VecMonitor(venv) if monitor else venv


def split_infos(infos: dict[str, Any], n: int) -> list[dict[str, Any]]:
    """Batched infos with their masks as one dict for each environment; `final_obs` and `final_info` are left out.

    >>> import numpy as np
    >>> split_infos({"pnl": np.array([1.5, 0.0]), "_pnl": np.array([True, False])}, 2)
    [{'pnl': 1.5}, {}]
    """
    out: list[dict[str, Any]] = [{} for _ in range(n)]
    for i, info in rows_of(infos, n).items():
        out[i] = info
    return out


def rows_of(infos: dict[str, Any], n: int) -> dict[int, dict[str, Any]]:
    """Likewise, of those environments only that have an info."""
    out: dict[int, dict[str, Any]] = defaultdict(dict)
    for key, value in infos.items():
        if key.startswith("_") or key in ("final_obs", "final_info"):
            continue
        index = np.flatnonzero(infos.get(f"_{key}", np.ones(n, np.bool_)))
        if isinstance(value, dict):
            inner = rows_of(value, n)
            rows: Any = [inner.get(i, {}) for i in index.tolist()]
        else:
            rows = value[index]
            rows = rows.tolist() if value.ndim == 1 else rows
        for i, row in zip(index.tolist(), rows, strict=True):
            out[i][key] = row
    return out


def _as_one_seed(seeds: Sequence[int | None]) -> Any:
    """SB3's seeds as Gymnasium takes them: as an int where it means the same, since not all take lists."""
    first = seeds[0]
    if first is None:
        return None if all(seed is None for seed in seeds) else list(seeds)
    return first if list(seeds) == list(range(first, first + len(seeds))) else list(seeds)


def _as_one_dict(options: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """SB3's options, one dict for each environment, as one dict: scalars where all agree, else arrays (N,)."""
    if any(option.keys() != options[0].keys() for option in options):
        raise ValueError("options must have the same keys for all environments")
    merged = {}
    for key in options[0]:
        values = [option[key] for option in options]
        merged[key] = values[0] if all(equal(value, values[0]) for value in values) else np.array(values)
    return merged or None


def check_sb3_vec_env(venv: VecEnv | Callable[[], VecEnv], *, steps: int = 200, seed: int = 0) -> None:
    """Checks what SB3's algorithms and wrappers rely on in a `VecEnv`, with random actions.

    Args:
        venv: a function that makes it, or one that is new; it is closed at the end.
        steps: some episodes must end in so many.
        seed: of actions and resets.

    Raises:
        AssertionError: what isn't as SB3 needs it.
    """
    venv = venv if isinstance(venv, VecEnv) else venv()
    n, space = venv.num_envs, venv.observation_space
    batch = gym.vector.utils.batch_space(space, n)
    venv.action_space.seed(seed)
    actions = [np.array([venv.action_space.sample() for _ in range(n)]) for _ in range(steps)]

    def start() -> Any:
        _need(list(venv.seed(seed)) == [seed + i for i in range(n)], "seed() must return seed + i for each environment")
        obs = venv.reset()
        infos = venv.reset_infos
        _need(isinstance(infos, list) and len(infos) == n, f"reset_infos must be a list of {n} dicts, is {infos}")
        _need(_in(batch, obs), f"reset() must return {n} observations of {space} and nothing else")
        return copy.deepcopy(obs)

    def roll(spoilt: bool) -> list[Any]:
        out = [start()]
        for action in actions:
            step = venv.step(action.copy())
            kept = copy.deepcopy(step)
            if spoilt:
                spoil(step)
            out.append((*kept[:3], [_without_times(info) for info in kept[3]]))
        return out

    for name, answer in (("render_mode", [venv.render_mode] * n), ("spec", None)):
        found = venv.get_attr(name)
        _need(len(found) == n and answer in (None, found), f"get_attr({name!r}) must give {n} items, gave {found}")
    _need(len(venv.get_attr("render_mode", indices=0)) == 1, "get_attr(..., indices=0) must give one item")
    _need(len(venv.get_attr("render_mode", indices=[0])) == 1, "get_attr(..., indices=[0]) must give one item")
    _need(not venv.has_attr("no_such_attribute"), "get_attr of an unknown name must raise AttributeError")
    _need(len(venv.env_is_wrapped(gym.Wrapper)) == n, f"env_is_wrapped() must give {n} items")

    ends = same = 0
    rolled = roll(spoilt=False)
    before = rolled[0]
    for obs, rewards, dones, infos in rolled[1:]:
        _need(_in(batch, obs), f"step() must return observations of {batch}")
        _need(_is_array(rewards, n, np.float32), f"rewards must be float32 ({n},), are {rewards!r}")
        _need(np.isfinite(rewards).all(), f"rewards are {rewards}")
        _need(_is_array(dones, n, np.bool_), f"dones must be bool ({n},), are {dones!r}")
        _need(isinstance(infos, list) and len(infos) == n, f"infos must be a list of {n} dicts")
        _need(len({id(info) for info in infos}) == n, "infos must be a dict each, not one for several environments")
        rows = list(iterate(batch, obs))
        for i, (done, info) in enumerate(zip(dones, infos, strict=True)):
            _need(done == ("terminal_observation" in info), f"terminal_observation where done is {done}")
            if done:
                final = info["terminal_observation"]
                _need(space.contains(final), f"terminal_observation isn't in {space}: {final!r}")
                cut = info.get("TimeLimit.truncated")
                _need(isinstance(cut, bool | np.bool_), f"TimeLimit.truncated is {cut!r} at an episode's end")
                ends, same = ends + 1, same + equal(final, rows[i])
        before = obs
    _need(ends, f"no episode ended in {steps} steps: shorten episodes or raise `steps`")
    _need(same < ends or equal(before, rolled[0]), "the observation after an end must be the next episode's first")

    last = venv.step(actions[0])
    kept = copy.deepcopy(last)
    for action in actions:
        step = venv.step(action)
        shared = [1 for one in arrays(last[:3]) for other in arrays(step[:3]) if np.shares_memory(one, other)]
        _need(not shared, "each step must return fresh arrays: SB3 keeps and changes them")
        _need(equal(kept[:3], last[:3]), "what a step returned must not change later: SB3 keeps it")
        last, kept = step, copy.deepcopy(step)
    _need(equal(rolled, roll(spoilt=False)), "the same seed and actions must give the same trajectory")
    _need(equal(rolled, roll(spoilt=True)), "changing returned arrays must not change the environment: SB3 does it")

    if venv.has_attr("action_masks"):
        masks = venv.env_method("action_masks")
        width = int(getattr(venv.action_space, "n", 0) or np.sum(getattr(venv.action_space, "nvec", 0)))
        wanted = np.shape(masks) == (n, width) and all(mask.dtype == np.bool_ for mask in masks)
        _need(wanted, f"action_masks must be {n} of bool ({width},), are {np.shape(masks)}")
        _need(
            not width or np.all([mask.any() for mask in masks]),
            "action_masks must leave each environment something to do",
        )
        _need(len(venv.env_method("action_masks", indices=[0])) == 1, "env_method(..., indices=[0]) must give one item")
    venv.close()


def _need(kept: Any, message: str) -> None:
    if not kept:
        raise AssertionError(message)


def _in(space: gym.Space, obs: Any) -> bool:
    return isinstance(obs, np.ndarray | dict) and space.contains(obs)


def _is_array(value: Any, n: int, kind: type) -> bool:
    return isinstance(value, np.ndarray) and value.shape == (n,) and value.dtype == kind


def _without_times(info: dict[str, Any]) -> dict[str, Any]:
    """An info without the seconds that Monitor puts into `episode`."""
    return info | {"episode": {"r": info["episode"]["r"], "l": info["episode"]["l"]}} if "episode" in info else info
