"""The checker of vector environments: passes what keeps the contract, and names what doesn't."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

from bt_gym.testing import POINTS, check_vector_env

NEXT, SAME, DISABLED = AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED
N = 3


class Sync(SyncVectorEnv):
    """CartPole three times, the options left as they are."""

    def __init__(self, mode: AutoresetMode = NEXT, **options: Any) -> None:
        made = [lambda: gym.make("CartPole-v1", render_mode=options.pop("render_mode", None))] * N
        super().__init__(made, autoreset_mode=mode, **options)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> Any:
        return super().reset(seed=seed, options=None if options is None else dict(options))


class StringMode(Sync):
    def __init__(self, mode: AutoresetMode) -> None:
        super().__init__(mode)
        self.metadata["autoreset_mode"] = mode.value


class CallableInSpec(Sync):
    spec = gym.envs.registration.EnvSpec("X-v0", entry_point="x:X", kwargs={"reward": print})


class SingleSpace(Sync):
    def __init__(self, mode: AutoresetMode) -> None:
        super().__init__(mode)
        self.observation_space = self.single_observation_space


class StepsBeforeReset(Sync):
    def step(self, actions: Any) -> Any:
        if self._env_obs[0] is None:
            self.reset()
        return super().step(actions)


class IgnoresSeeds(Sync):
    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        return super().reset(options=options)


class CutsSeeds(Sync):
    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        seeds = (seed + [0] * N)[:N] if isinstance(seed, list) else seed
        return super().reset(seed=seeds, options=options)


class SameSeedForAll(Sync):
    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        return super().reset(seed=[seed] * N if isinstance(seed, int) else seed, options=options)


class IgnoresMask(Sync):
    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        super().reset(seed=seed, options=options)  # with its checks
        return super().reset(seed=seed)


class MaskOfAnything(Sync):
    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        if options:
            options = {"reset_mask": np.resize(np.asarray(options["reset_mask"], np.bool_), N) | (np.arange(N) == 0)}
        return super().reset(seed=seed, options=options)


class MaskStepsNeighbours(Sync):
    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        out = super().reset(seed=seed, options=options)
        if options and len(np.flatnonzero(options["reset_mask"])) < N:
            self.envs[N - 1].unwrapped.steps_beyond_terminated = None
            self.envs[N - 1].unwrapped.state = np.full(4, 9.0)
        return out


class DoubleObservations(Sync):
    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        obs, infos = super().reset(seed=seed, options=options)
        return obs.astype(np.float64), infos


class Changed(Sync):
    """Changes what `step` returns."""

    change: Callable[..., Any]

    def step(self, actions: Any) -> Any:
        before = self._autoreset_envs.copy()
        return type(self).change(before, actions, *super().step(actions))


def changed(change: Callable[..., Any]) -> type[Sync]:
    return type(change.__name__, (Changed,), {"change": staticmethod(change)})


@changed
def list_of_rewards(before, actions, obs, rewards, ends, cuts, infos):
    return obs, list(rewards), ends, cuts, infos


@changed
def nan_reward(before, actions, obs, rewards, ends, cuts, infos):
    return obs, rewards * np.nan, ends, cuts, infos


@changed
def integer_flags(before, actions, obs, rewards, ends, cuts, infos):
    return obs, rewards, ends.astype(np.int8), cuts, infos


@changed
def reward_of_reset(before, actions, obs, rewards, ends, cuts, infos):
    return obs, np.where(before, 1.0, rewards), ends, cuts, infos


@changed
def action_of_reset(before, actions, obs, rewards, ends, cuts, infos):
    return (
        np.where(before[:, None], obs + np.float32(1e-3) * actions[:, None].astype(np.float32), obs),
        rewards,
        ends,
        cuts,
        infos,
    )


@changed
def final_obs_missing(before, actions, obs, rewards, ends, cuts, infos):
    return obs, rewards, ends, cuts, {key: value for key, value in infos.items() if "final_obs" not in key}


@changed
def final_obs_as_batch(before, actions, obs, rewards, ends, cuts, infos):
    if "final_obs" in infos:
        infos["final_obs"] = np.zeros_like(obs)
    return obs, rewards, ends, cuts, infos


@changed
def observation_is_final(before, actions, obs, rewards, ends, cuts, infos):
    for i in np.flatnonzero(ends | cuts):
        obs[i] = infos["final_obs"][i]
    return obs, rewards, ends, cuts, infos


@changed
def final_obs_in_wrong_mode(before, actions, obs, rewards, ends, cuts, infos):
    if (ends | cuts).any():
        infos = {"final_obs": np.array([*obs, None], object)[:N], "_final_obs": ends | cuts}
    return obs, rewards, ends, cuts, infos


@changed
def info_without_mask(before, actions, obs, rewards, ends, cuts, infos):
    return obs, rewards, ends, cuts, infos | {"pnl": np.zeros(N)}


@changed
def info_of_one(before, actions, obs, rewards, ends, cuts, infos):
    return obs, rewards, ends, cuts, infos | {"pnl": 1.0, "_pnl": np.ones(N, np.bool_)}


@changed
def infos_as_list(before, actions, obs, rewards, ends, cuts, infos):
    return obs, rewards, ends, cuts, [{}] * N


@changed
def never_ends(before, actions, obs, rewards, ends, cuts, infos):
    return obs, rewards, ends & False, cuts & False, {}


class TakesTooFewActions(Sync):
    def step(self, actions: Any) -> Any:
        return super().step(np.resize(actions, N))


class RefusesInt32(Sync):
    def step(self, actions: Any) -> Any:
        assert actions.dtype == np.int64
        return super().step(actions)


class StepsDone(Sync):
    def step(self, actions: Any) -> Any:
        if self._autoreset_envs.any():
            self.reset(options={"reset_mask": self._autoreset_envs.copy()})
        return super().step(actions)


class ReusesRewards(Sync):
    def step(self, actions: Any) -> Any:
        obs, _, *rest = super().step(actions)
        return obs, self._rewards, *rest


class KeepsObservations(Sync):
    """Goes on from the array that it returned."""

    last = None

    def step(self, actions: Any) -> Any:
        obs, rewards, *rest = super().step(actions)
        rewards = rewards * (1 if self.last is None else 1 + self.last.sum(1))
        self.last = obs
        return obs, rewards, *rest

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self.last = None
        return super().reset(seed=seed, options=options)


class OneFrame(Sync):
    def __init__(self, mode: AutoresetMode) -> None:
        super().__init__(mode)
        self.render_mode = "rgb_array"

    def render(self) -> Any:
        return (np.zeros((4, 4, 3), np.uint8),)


class FloatFrames(OneFrame):
    def render(self) -> Any:
        return (np.zeros((4, 4, 3)),) * N


class ClosesOnce(Sync):
    def close(self, **options: Any) -> None:
        assert not self.closed
        super().close(**options)


class NeverClosed(Sync):
    def close(self, **options: Any) -> None:
        pass


BREACHES = [
    (StringMode, NEXT, "1 metadata: autoreset_mode is 'NextStep'"),
    (CallableInSpec, NEXT, "2 spec"),
    (SingleSpace, NEXT, "3 spaces: observation_space"),
    (StepsBeforeReset, NEXT, "4 reset: step before reset wasn't refused"),
    (DoubleObservations, NEXT, "4 reset: observations of float64"),
    (IgnoresSeeds, NEXT, "4 seeding: a list of seeds"),
    (SameSeedForAll, NEXT, "4 seeding: a list of seeds"),
    (CutsSeeds, NEXT, "4 seeding: a list of 4 seeds wasn't refused"),
    (IgnoresMask, NEXT, "4 reset_mask: observations of the environments not named"),
    (MaskOfAnything, NEXT, "4 reset_mask: a reset_mask of a list wasn't refused"),
    (MaskStepsNeighbours, NEXT, "4 reset_mask: the reset of one environment changed"),
    (list_of_rewards, NEXT, "5 step: rewards are list"),
    (nan_reward, NEXT, "5 step: rewards are .nan"),
    (integer_flags, NEXT, "5 step: terminations are"),
    (TakesTooFewActions, NEXT, "5 step: an action for one environment too few wasn't refused"),
    (RefusesInt32, NEXT, "5 step: AssertionError"),
    (reward_of_reset, NEXT, "6 autoreset: the step that resets has a reward"),
    (action_of_reset, NEXT, "6 autoreset: the action of the step that resets wasn't ignored"),
    (final_obs_in_wrong_mode, NEXT, "6 autoreset: infos have"),
    (final_obs_missing, SAME, "6 autoreset: _final_obs is None"),
    (final_obs_as_batch, SAME, "6 autoreset: final_obs is"),
    (observation_is_final, SAME, "6 autoreset: the observation is that of the episode"),
    (StepsDone, DISABLED, "6 autoreset: step of an environment whose episode has ended wasn't refused"),
    (never_ends, NEXT, "6 autoreset: no episode ended in 100 steps"),
    (info_without_mask, NEXT, "7 infos: infos.'_pnl'. is NoneType"),
    (info_of_one, NEXT, "7 infos: infos.'pnl'. is float"),
    (infos_as_list, NEXT, "7 infos: infos is list"),
    (lambda mode: Sync(mode, copy=False), NEXT, "8 fresh arrays: two calls"),
    (ReusesRewards, NEXT, "8 fresh arrays: two calls"),
    (KeepsObservations, NEXT, "8 fresh arrays: changing returned arrays"),
    (OneFrame, NEXT, "9 render: gave tuple"),
    (FloatFrames, NEXT, "9 render: frames are"),
    (ClosesOnce, NEXT, "10 close: the second call raised AssertionError"),
    (NeverClosed, NEXT, "10 close: `closed` isn't True"),
]


@pytest.mark.parametrize("mode", AutoresetMode)
def test_check_vector_env__passes_gymnasiums_own(mode: AutoresetMode):
    env = Sync(mode)
    check_vector_env(env, steps=100)
    assert env.closed
    options = {"vectorization_mode": "sync", "vector_kwargs": {"autoreset_mode": mode.value}, "render_mode": None}
    check_vector_env(lambda: gym.make_vec("CartPole-v1", N, **options), steps=100, allow=["4 reset_mask kept"])


def test_check_vector_env__passes_other_spaces():
    def make() -> VectorEnv:
        return gym.make_vec("Pendulum-v1", 2, vectorization_mode="sync", max_episode_steps=9)

    check_vector_env(make, steps=30, allow=["4 reset_mask kept"])


@pytest.mark.parametrize(("breach", "mode", "message"), BREACHES)
def test_check_vector_env__names_a_breach(breach: Callable[..., VectorEnv], mode: AutoresetMode, message: str):
    with pytest.raises(AssertionError, match="^" + message):
        check_vector_env(breach(mode), steps=100)


def test_check_vector_env__finds_that_sync_vector_env_takes_the_mask_away():
    with pytest.raises(AssertionError, match=r"^4 reset_mask kept: the caller's options are {} after reset"):
        check_vector_env(lambda: gym.make_vec("CartPole-v1", N, vectorization_mode="sync"))


def test_check_vector_env__finds_that_the_native_cartpole_takes_no_list_of_seeds():
    with pytest.raises(AssertionError, match=r"^4 seeding: Error: Seed must be a python integer"):
        check_vector_env(lambda: gym.make_vec("CartPole-v1", N))


def test_check_vector_env__knows_what_it_is_told_to_allow():
    with pytest.raises(ValueError, match="allow has 4 mask, but the points are 1 metadata, "):
        check_vector_env(Sync, allow=["4 mask"])


def test_points__are_each_broken_by_a_test():
    broken = {message.split(":")[0] for _, _, message in BREACHES} | {"4 reset_mask kept"}
    assert broken == set(POINTS)
