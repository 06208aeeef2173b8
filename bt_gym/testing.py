"""Checkers for vector environments, which Gymnasium doesn't have: `check_vector_env`.

    >>> import gymnasium as gym
    >>> check_vector_env(lambda: gym.make_vec("CartPole-v1", 3, vectorization_mode="sync"), allow=["4 reset_mask kept"])

Letters: T steps, N environments.
"""

import copy
import itertools
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, iterate

POINTS = {
    "1 metadata": "`metadata` names the autoreset mode as the enum, and the render modes",
    "2 spec": "`spec` can be copied, and written and read as JSON",
    "3 spaces": "the batched spaces are `batch_space` of the single ones",
    "4 reset": "`reset` returns a full batch, and `step` before it is an error",
    "4 seeding": "one seed, one trajectory; an int is the list of seed + i; a list of another length is an error",
    "4 reset_mask": "`options['reset_mask']` is checked, and resets the environments it names and no other",
    "4 reset_mask kept": "`reset` doesn't change the caller's options (SyncVectorEnv of Gymnasium 1.4 pops the mask)",
    "5 step": "`step` returns batches of the right shapes and types, and takes any integer type",
    "6 autoreset": "what follows an episode's end is as the mode says",
    "7 infos": "infos are arrays of N with a mask `_key` for each key",
    "8 fresh arrays": "what was returned is the caller's: never changed later, and free to be changed",
    "9 render": "with `rgb_array`, `render` gives N frames of one size",
    "10 close": "`close` can be called twice",
}
"""What is checked, by the name that stands at the beginning of a message."""


class _NotKeptError(AssertionError):
    """A point isn't kept; apart from the assertions of the environment itself."""


class _Step(NamedTuple):
    """What a step returned, copied."""

    obs: Any
    rewards: np.ndarray
    terminations: np.ndarray
    truncations: np.ndarray
    infos: dict[str, Any]

    @property
    def dones(self) -> np.ndarray:
        return self.terminations | self.truncations


def check_vector_env(
    env: VectorEnv | Callable[[], VectorEnv], *, steps: int = 200, seed: int = 0, allow: Collection[str] = ()
) -> None:
    """Checks that a vector environment keeps Gymnasium's contract, with random actions.

    Args:
        env: a function that makes it, or one that hasn't been reset yet; it is closed at the end.
        steps: T; some episodes must end in so many steps.
        seed: of actions and resets.
        allow: names in `POINTS` that it needn't keep.

    Raises:
        AssertionError: a point isn't kept; the message begins with its name.
    """
    unknown = set(allow) - set(POINTS)
    if unknown:
        raise ValueError(f"allow has {', '.join(sorted(unknown))}, but the points are {', '.join(POINTS)}")
    if not isinstance(env, VectorEnv):
        env = env()
    checker = _Checker(env, steps, seed, allow)
    for point, check in (
        ("3 spaces", checker.check_declarations),
        ("4 reset", checker.check_reset),
        ("4 seeding", checker.check_seeding),
        ("5 step", checker.check_step),
        ("6 autoreset", checker.check_autoreset),
        ("4 reset_mask", checker.check_reset_mask),
        ("8 fresh arrays", checker.check_fresh_arrays),
        ("9 render", checker.check_render),
        ("10 close", checker.check_close),
    ):
        try:
            check()
        except _NotKeptError:
            raise
        except Exception as error:
            checker.require(False, point, f"{type(error).__name__}: {error}")


class _Checker:
    def __init__(self, env: VectorEnv, steps: int, seed: int, allow: Collection[str]) -> None:
        self.env, self.seed, self.allow = env, seed, allow
        self.require(isinstance(env, VectorEnv), "3 spaces", f"{type(env).__name__} isn't a gymnasium.vector.VectorEnv")
        self.n = env.num_envs
        self.mode = env.metadata.get("autoreset_mode")
        self.require(isinstance(self.mode, AutoresetMode), "1 metadata", f"autoreset_mode is {self.mode!r}")
        env.action_space.seed(seed)
        self.actions = [env.action_space.sample() for _ in range(steps)]

    def require(self, kept: Any, point: str, message: str) -> None:
        """Raises unless the point is kept or allowed not to be."""
        if not kept and point not in self.allow:
            raise _NotKeptError(f"{point}: {message} ({POINTS[point]})")

    def refuses(self, point: str, what: str, call: Callable[[], Any], errors: type[Exception] = Exception) -> None:
        """Requires that a call raises an error of this kind."""
        try:
            call()
        except errors:
            return
        except Exception as error:
            self.require(False, point, f"{what} raised {type(error).__name__} instead of {errors.__name__}")
        self.require(False, point, f"{what} wasn't refused")

    # -- the points ---------------------------------------------------------------------------------------------

    def check_declarations(self) -> None:
        env = self.env
        modes: Any = env.metadata.get("render_modes")
        self.require(isinstance(modes, Sequence), "1 metadata", f"render_modes is {modes!r}")
        self.require(
            env.render_mode is None or env.render_mode in modes, "1 metadata", f"render_mode is {env.render_mode!r}"
        )
        fps = env.metadata.get("render_fps")
        self.require(env.render_mode is None or fps, "1 metadata", f"render_fps is {fps!r}, which videos need")
        self.require(env.closed is False, "10 close", "`closed` must be False before `close()`")
        for name in ("observation", "action"):
            single, batched = getattr(env, f"single_{name}_space"), getattr(env, f"{name}_space")
            wanted = batch_space(single, self.n)
            self.require(batched == wanted, "3 spaces", f"{name}_space is {batched}, but must be {wanted}")
        if env.spec is None:
            return
        try:
            copied, read = copy.deepcopy(env.spec), gym.envs.registration.EnvSpec.from_json(env.spec.to_json())
        except Exception as error:
            self.require(False, "2 spec", f"can't be copied or written as JSON: {type(error).__name__}: {error}")
        else:
            self.require(copied == env.spec and read == env.spec, "2 spec", "changes when copied or written as JSON")

    def check_reset(self) -> None:
        self.refuses("4 reset", "step before reset", lambda: self.env.step(self.actions[0]))
        obs, infos = self._reset()
        self._check_batch("4 reset", obs)
        self._check_infos(infos)

    def check_step(self) -> None:
        self._reset()
        for action in self.actions:
            step = _Step(*self.env.step(action))
            self._check_batch("5 step", step.obs)
            rewards, flags = step.rewards, step[2:4]
            kind = rewards.dtype if isinstance(rewards, np.ndarray) else type(rewards).__name__
            fine = isinstance(rewards, np.ndarray) and rewards.shape == (self.n,) and rewards.dtype.kind == "f"
            self.require(fine, "5 step", f"rewards are {kind} of shape {np.shape(rewards)}, not floats ({self.n},)")
            self.require(np.isfinite(rewards).all(), "5 step", f"rewards are {rewards}")
            for name, flag in zip(("terminations", "truncations"), flags, strict=True):
                fine = isinstance(flag, np.ndarray) and flag.shape == (self.n,) and flag.dtype == np.bool_
                self.require(fine, "5 step", f"{name} are {flag!r}, not {self.n} of np.bool_")
            self._check_infos(step.infos)
            self._restart(step.dones)
        first = self.actions[0]
        if isinstance(first, np.ndarray):
            self.refuses("5 step", "an action for one environment too few", lambda: self.env.step(first[:-1]))
            if first.dtype.kind == "i":
                one, other = (self._roll(self.seed, [first.astype(kind)])[0] for kind in (np.int64, np.int32))
                self.require(equal(one, other), "5 step", "an action of int32 isn't the same as one of int64")

    def check_seeding(self) -> None:
        first, again = self._reset(self.seed)[0], self._reset([self.seed + i for i in range(self.n)])[0]
        self.require(equal(first, again), "4 seeding", "a list of seeds isn't the same as the int that it counts from")
        for wrong in ([self.seed] * (self.n + 1), [self.seed] * (self.n - 1)):
            self.refuses("4 seeding", f"a list of {len(wrong)} seeds", partial(self._reset, wrong))
        one, other = self._roll(self.seed, self.actions), self._roll(self.seed, self.actions)
        self.require(equal(one, other), "4 seeding", "the same seed and actions gave another trajectory")

    def check_autoreset(self) -> None:
        steps = self._roll(self.seed, self.actions)
        dones = np.array([step.dones for step in steps])
        ended = dones[:-1].any(0)
        self.require(
            ended.any(), "6 autoreset", f"no episode ended in {len(steps)} steps: shorten episodes or raise `steps`"
        )
        for step in steps:
            self._check_final(step)
        if self.mode == AutoresetMode.NEXT_STEP:
            self._check_next_step(steps, dones)
        elif self.mode == AutoresetMode.SAME_STEP:
            self._check_same_step(steps)
        else:
            self._reset(self.seed)
            for action in self.actions:
                if _Step(*self.env.step(action)).dones.any():
                    break
            self.refuses("6 autoreset", "step of an environment whose episode has ended", lambda: self.env.step(action))

    def _check_final(self, step: _Step) -> None:
        """`final_obs` and `final_info` stand in the steps that end an episode, in SAME_STEP only."""
        finals = ("final_obs", "final_info")
        wanted = self.mode == AutoresetMode.SAME_STEP and step.dones.any()
        if not wanted:
            found = [key for key in finals if step.infos.get(f"_{key}", np.zeros(1)).any()]
            self.require(not found, "6 autoreset", f"infos have {found} though no episode was reset in this step")
            return
        for key in finals:
            mask = step.infos.get(f"_{key}")
            self.require(
                mask is not None and np.array_equal(mask, step.dones),
                "6 autoreset",
                f"_{key} is {mask}, but the episodes that ended are {step.dones}",
            )
        self.require(isinstance(step.infos["final_info"], dict), "6 autoreset", "final_info isn't a dict of batches")
        final = step.infos["final_obs"]
        fine = isinstance(final, np.ndarray) and final.dtype == object and final.shape == (self.n,)
        self.require(fine, "6 autoreset", f"final_obs is {type(final).__name__}, not an object array of ({self.n},)")
        for done, obs in zip(step.dones, final, strict=True):
            fine = self.env.single_observation_space.contains(obs) if done else obs is None
            self.require(fine, "6 autoreset", f"final_obs holds {obs!r} for an environment with done={done}")

    def _check_next_step(self, steps: list[_Step], dones: np.ndarray) -> None:
        """The step after an end does nothing but reset, whatever the action."""
        for before, step in itertools.pairwise(steps):
            quiet = ~(step.dones | (step.rewards != 0))
            self.require(
                quiet[before.dones].all(), "6 autoreset", "the step that resets has a reward or ends an episode"
            )
        others = [copy.deepcopy(action) for action in self.actions]
        for t in range(len(steps) - 1):
            fresh = self.env.action_space.sample()
            others[t + 1] = _merge(self.env.single_action_space, others[t + 1], fresh, dones[t])
        again = self._roll(self.seed, others)
        self.require(equal(steps, again), "6 autoreset", "the action of the step that resets wasn't ignored")

    def _check_same_step(self, steps: list[_Step]) -> None:
        """The observation is the new episode's, not the old one's again."""
        same, ends = 0, 0
        for step in steps:
            rows = list(iterate(self.env.observation_space, step.obs))
            for i in np.flatnonzero(step.dones):
                ends += 1
                same += equal(rows[i], step.infos["final_obs"][i])
        changes = not equal(steps[0].obs, steps[1].obs)
        self.require(not changes or same < ends, "6 autoreset", "the observation is that of the episode that has ended")

    def check_reset_mask(self) -> None:
        n, point = self.n, "4 reset_mask"
        self._reset(self.seed)
        for what, mask, error in (
            ("a list", [True] * n, TypeError),
            ("numbers", np.ones(n, np.int64), TypeError),
            ("a wrong shape", np.ones(n + 1, np.bool_), ValueError),
            ("nothing True", np.zeros(n, np.bool_), ValueError),
        ):
            self.refuses(point, f"a reset_mask of {what}", partial(self._reset, None, {"reset_mask": mask}), error)
        obs = self._reset(self.seed)[0]
        mask = np.arange(n) == 0
        options = {"reset_mask": mask.copy()}
        after, infos = self.env.reset(seed=self.seed + 1000, options=options)
        kept = list(options) == ["reset_mask"] and np.array_equal(options["reset_mask"], mask)
        self.require(kept, "4 reset_mask kept", f"the caller's options are {options} after reset")
        self._check_batch(point, after)
        self._check_infos(infos)
        for key in infos:
            if key.startswith("_"):
                self.require(
                    not infos[key][~mask].any(), point, f"infos[{key!r}] names environments that weren't reset"
                )
        rows = [list(iterate(self.env.observation_space, batch)) for batch in (obs, after)]
        self.require(equal(rows[0][1:], rows[1][1:]), point, "observations of the environments not named changed")
        seeded = next(iter(iterate(self.env.observation_space, self._reset(self.seed + 1000)[0])))
        self.require(equal(rows[1][0], seeded), point, "the seed isn't used for the environment named")
        actions = self.actions[:20]
        alone = self._roll(self.seed, actions)
        self._reset(self.seed)
        self.env.reset(seed=self.seed + 1000, options={"reset_mask": mask.copy()})
        beside = self._steps(actions)
        for one, other in zip(alone, beside, strict=True):
            same = equal([array[1:] for array in one[1:4]], [array[1:] for array in other[1:4]])
            self.require(same, point, "the reset of one environment changed what its neighbours do")

    def check_fresh_arrays(self) -> None:
        point = "8 fresh arrays"
        returned: list[Any] = [self._reset(self.seed)]
        for action in self.actions[:20]:
            step = self.env.step(action)
            for array in arrays(step):
                for old in arrays(returned[-1]):
                    self.require(not np.shares_memory(array, old), point, "two calls returned the same memory")
            returned.append(step)
            self._restart(np.logical_or(*step[2:4]))
        actions = self.actions[:20]
        steps = self._roll(self.seed, actions)
        again = self._roll(self.seed, actions, spoilt=True)
        self.require(equal(steps, again), point, "changing returned arrays changes the environment")

    def check_render(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that there is no render mode
            self._reset(self.seed)
            try:
                frames: Any = self.env.render()
            except NotImplementedError:
                if self.env.metadata["render_modes"]:
                    raise
                return
        if self.env.render_mode != "rgb_array":
            return
        fine = isinstance(frames, Sequence) and len(frames) == self.n
        self.require(fine, "9 render", f"gave {type(frames).__name__}, not a sequence of {self.n} frames")
        shapes = {(np.shape(frame), getattr(frame, "dtype", None)) for frame in frames}
        shape, kind = next(iter(shapes))
        fine = len(shapes) == 1 and len(shape) == 3 and shape[2] == 3 and kind == np.uint8
        self.require(fine, "9 render", f"frames are {shapes}, not uint8 of one (height, width, 3)")

    def check_close(self) -> None:
        self.env.close()
        try:
            self.env.close()
        except Exception as error:
            self.require(False, "10 close", f"the second call raised {type(error).__name__}: {error}")
        self.require(self.env.closed is True, "10 close", "`closed` isn't True after it")

    # -- what the checks share ----------------------------------------------------------------------------------

    def _reset(self, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return self.env.reset(seed=seed, options=options)

    def _restart(self, dones: np.ndarray) -> None:
        """In DISABLED, starts the episodes that have ended anew."""
        if self.mode == AutoresetMode.DISABLED and dones.any():
            self.env.reset(options={"reset_mask": dones.copy()})

    def _roll(self, seed: int, actions: Sequence[Any], spoilt: bool = False) -> list[_Step]:
        """Steps from a seeded reset, copied."""
        obs, _ = self._reset(seed)
        if spoilt:
            spoil(obs)
        return self._steps(actions, spoilt)

    def _steps(self, actions: Sequence[Any], spoilt: bool = False) -> list[_Step]:
        steps = []
        for action in actions:
            step = _Step(*self.env.step(copy.deepcopy(action)))
            steps.append(copy.deepcopy(step))
            if spoilt:
                spoil(step)
            self._restart(steps[-1].dones)
        return steps

    def _check_batch(self, point: str, obs: Any) -> None:
        space = self.env.observation_space
        self.require(space.contains(obs), point, f"observations of {_about(obs)} aren't in {space}")

    def _check_infos(self, infos: Any, path: str = "infos") -> None:
        self.require(isinstance(infos, dict), "7 infos", f"{path} is {type(infos).__name__}, not a dict")
        for key, value in infos.items():
            if key.startswith("_"):
                self.require(key[1:] in infos, "7 infos", f"{path} has {key!r}, but no {key[1:]!r}")
                continue
            mask = infos.get(f"_{key}")
            fine = isinstance(mask, np.ndarray) and mask.shape == (self.n,) and mask.dtype == np.bool_
            self.require(fine, "7 infos", f"{path}['_{key}'] is {_about(mask)}, not {self.n} of np.bool_")
            if isinstance(value, dict):
                self._check_infos(value, f"{path}[{key!r}]")
                continue
            fine = isinstance(value, np.ndarray) and len(value) == self.n
            self.require(fine, "7 infos", f"{path}[{key!r}] is {_about(value)}, not an array of {self.n}")


def arrays(value: Any) -> Iterator[np.ndarray]:
    """All arrays in a structure of dicts, tuples and object arrays."""
    if isinstance(value, np.ndarray) and value.dtype != object:
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from arrays(item)
    elif isinstance(value, tuple | list | np.ndarray):
        for item in value:
            yield from arrays(item)


def spoil(value: Any) -> None:
    """Overwrites all arrays of a structure."""
    for array in arrays(value):
        array[...] = 1 if array.dtype == np.bool_ else 77


def equal(one: Any, other: Any) -> bool:
    """Whether two structures are equal to the bit; NaN equals NaN."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray) and object not in (one.dtype, other.dtype):
        return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    if isinstance(one, tuple | list | np.ndarray):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other) or (one != one and other != other)


def _merge(single: gym.Space, one: Any, other: Any, mask: np.ndarray) -> Any:
    """`one` with the environments in `mask` taken from `other`."""
    space = batch_space(single, len(mask))
    rows = zip(iterate(space, one), iterate(space, other), mask, strict=True)
    out: Any = gym.vector.utils.create_empty_array(single, len(mask))
    return gym.vector.utils.concatenate(single, [b if take else a for a, b, take in rows], out)


def _about(value: Any) -> str:
    """Type and shape, for messages."""
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
