"""SB3's side: the adapter, its checker, masks, and that PPO trains on it as on SB3's own."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from sb3_contrib import MaskablePPO
from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor, VecNormalize

from bt_gym.sb3 import GymnasiumToSB3VecEnv, SB3VecEnv, check_sb3_vec_env, make_sb3_vec_env
from bt_gym.testing import equal
from tests.envs.make import ID, sections

N = 3
SAME, DISABLED = AutoresetMode.SAME_STEP, AutoresetMode.DISABLED


def cartpole(steps: int = 15) -> gym.Env:
    """Episodes that sometimes fall and sometimes are cut."""
    return gym.make("CartPole-v1", max_episode_steps=steps)


def adapted(mode: AutoresetMode = SAME, n: int = N) -> GymnasiumToSB3VecEnv:
    return GymnasiumToSB3VecEnv(SyncVectorEnv([cartpole] * n, autoreset_mode=mode))


def dummy(n: int = N) -> DummyVecEnv:
    return DummyVecEnv([cartpole] * n)


class Dicts(gym.Env):
    """Dict observations, infos, and masks: action 1 is possible in every second step only."""

    observation_space = gym.spaces.Dict({"book": gym.spaces.Box(-10, 10, (2,)), "own": gym.spaces.Box(0, 9, (1,))})
    action_space = gym.spaces.MultiDiscrete([2, 3])

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.t = 0
        return self._obs(), {"start": int(self.np_random.integers(100)), "asked": str(options or None)}

    def step(self, action: Any) -> Any:
        self.t += 1
        return self._obs(), float(action[0]), self.t == 4, False, {"half": self.t / 2} if self.t % 2 else {}

    def _obs(self) -> dict[str, np.ndarray]:
        own = np.array([self.t], np.float32)
        return {"book": self.np_random.uniform(-1, 1, 2).astype(np.float32), "own": own}

    def action_masks(self) -> np.ndarray:
        return np.array([True, self.t % 2 == 0, True, True, True])


def dicts(mode: AutoresetMode) -> GymnasiumToSB3VecEnv:
    return GymnasiumToSB3VecEnv(SyncVectorEnv([Dicts] * N, autoreset_mode=mode))


def test_adapter__refuses_next_step_and_says_why():
    with pytest.raises(ValueError, match=r"autoreset_mode is NEXT_STEP: make .* episode begins a step late"):
        GymnasiumToSB3VecEnv(gym.make_vec("CartPole-v1", 2))


@pytest.mark.parametrize("mode", [SAME, DISABLED])
def test_adapter__equals_sb3s_own_vector_environment(mode: AutoresetMode):
    ours, theirs = adapted(mode), dummy()
    for venv in (ours, theirs):
        assert venv.seed(5) == [5, 6, 7]
    np.testing.assert_array_equal(ours.reset(), theirs.reset())
    ends = cuts = 0
    for t in range(200):
        actions = np.array([(t + i) // 5 % 2 for i in range(N)])
        (obs, rewards, dones, infos), (their_obs, their_rewards, their_dones, their_infos) = (
            ours.step(actions),
            theirs.step(actions),
        )
        np.testing.assert_array_equal(obs, their_obs)
        np.testing.assert_array_equal(rewards, their_rewards)
        assert rewards.dtype == np.float32
        np.testing.assert_array_equal(dones, their_dones)
        for i in np.flatnonzero(dones):
            final, their_final = (info[i]["terminal_observation"] for info in (infos, their_infos))
            np.testing.assert_array_equal(final, their_final)
            assert infos[i]["TimeLimit.truncated"] == their_infos[i]["TimeLimit.truncated"]
            ends, cuts = ends + 1, cuts + infos[i]["TimeLimit.truncated"]
    assert 0 < cuts < ends


@pytest.mark.parametrize("mode", [SAME, DISABLED])
def test_adapter__gives_each_environment_its_own_infos(mode: AutoresetMode):
    ours, theirs = dicts(mode), DummyVecEnv([Dicts] * N)
    for venv in (ours, theirs):
        venv.seed(1)
        venv.set_options({"day": 3})
        venv.reset()
    assert ours.reset_infos == theirs.reset_infos
    assert ours.reset_infos[0]["asked"] == "{'day': 3}"
    for t in range(9):
        *_, dones, infos = ours.step(np.ones((N, 2), np.int64))
        *_, their_infos = theirs.step(np.ones((N, 2), np.int64))
        for info, their_info in zip(infos, their_infos, strict=True):
            if not dones[0]:
                their_info.pop("TimeLimit.truncated")  # which SB3's own has in each step
            assert equal(info, their_info), t
        assert ours.reset_infos == theirs.reset_infos


def test_adapter__passes_options_that_differ_as_arrays():
    venv = dicts(SAME)
    venv.set_options([{"day": i, "symbol": "ES"} for i in range(N)])
    venv.reset()
    assert venv.reset_infos[2]["asked"] == str({"day": np.array([0, 1, 2]), "symbol": "ES"})
    venv.set_options([{"day": 1}, {}, {}])
    with pytest.raises(ValueError, match="options must have the same keys"):
        venv.reset()


def test_adapter__answers_for_single_environments():
    venv = adapted()
    assert venv.get_attr("gravity") == [9.8] * N
    venv.set_attr("gravity", 1.6, indices=1)
    assert venv.env_method("get_wrapper_attr", "gravity", indices=[1]) == [1.6]
    with pytest.raises(AttributeError):
        venv.get_attr("levity")
    assert venv.env_is_wrapped(Monitor, indices=[0]) == [False]


@pytest.mark.parametrize("mode", [SAME, DISABLED])
def test_check_sb3_vec_env__passes_the_adapter(mode: AutoresetMode):
    check_sb3_vec_env(adapted(mode))
    check_sb3_vec_env(lambda: VecMonitor(adapted(mode)))
    check_sb3_vec_env(dicts(mode), steps=30)


def test_check_sb3_vec_env__passes_sb3s_own():
    check_sb3_vec_env(dummy())
    check_sb3_vec_env(DummyVecEnv([Dicts] * N), steps=30)


class Broken(GymnasiumToSB3VecEnv):
    """The adapter with one thing wrong."""

    def __init__(self, fault: str) -> None:
        self.fault = fault
        inner = Dicts if fault.startswith("mask") else cartpole
        super().__init__(SyncVectorEnv([inner] * N, autoreset_mode=SAME, copy=fault != "reused"))
        self.spoilt = np.zeros(N, np.float32)

    def seed(self, seed: int | None = None) -> Any:
        seeds = super().seed(seed)
        if self.fault == "unseeded":
            self._reset_seeds()
        return [] if self.fault == "no seeds told" else seeds

    def reset(self) -> Any:
        self.spoilt = np.zeros(N, np.float32)
        obs = super().reset()
        if self.fault == "no reset_infos":
            self.reset_infos = {}  # type: ignore[assignment]
        return (obs, {}) if self.fault == "reset with infos" else obs

    def step_wait(self) -> Any:
        obs, rewards, dones, infos = super().step_wait()
        match self.fault:
            case "float64":
                rewards = rewards.astype(np.float64)
            case "nan":
                rewards = rewards * np.nan
            case "one info":
                infos = [infos[0]] * N
            case "never done":
                dones = np.zeros(N, np.bool_)
                infos = [{} for _ in range(N)]
            case "no terminal_observation":
                infos = [{} for _ in range(N)]
            case "not truncated":
                [info.pop("TimeLimit.truncated", None) for info in infos]
            case "integer dones":
                dones = dones.astype(np.int8)
            case "old observation":
                for i in np.flatnonzero(dones):
                    obs[i] = infos[i]["terminal_observation"]
            case "keeps rewards":
                rewards += self.spoilt
                self.spoilt = rewards
        return obs, rewards, dones, infos

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        if self.fault == "any attribute" and attr_name == "no_such_attribute":
            return [None] * N
        values = super().get_attr(attr_name, indices)
        return values[:1] if self.fault == "one spec" and attr_name == "spec" else values

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        results = super().env_method(method_name, *args, indices=indices, **kwargs)
        match self.fault:
            case "mask too short":
                return [mask[:-1] for mask in results]
            case "mask of nothing":
                return [mask & False for mask in results]
        return results


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("unseeded", "the same seed and actions"),
        ("no seeds told", "seed"),
        ("no reset_infos", "reset_infos must be a list"),
        ("reset with infos", "nothing else"),
        ("float64", "rewards must be float32"),
        ("nan", "rewards are .nan"),
        ("one info", "a dict each"),
        ("never done", "no episode ended in 50 steps"),
        ("no terminal_observation", "terminal_observation where done is True"),
        ("not truncated", "TimeLimit.truncated is None"),
        ("integer dones", "dones must be bool"),
        ("old observation", "must be the next episode's first"),
        ("reused", "fresh arrays"),
        ("keeps rewards", "must not change the environment|fresh arrays"),
        ("any attribute", "AttributeError"),
        ("one spec", "get_attr.'spec'. must give 3"),
        ("mask too short", "action_masks must be 3 of bool"),
        ("mask of nothing", "something to do"),
    ],
)
def test_check_sb3_vec_env__names_a_breach(fault: str, message: str):
    with pytest.raises(AssertionError, match=message):
        check_sb3_vec_env(Broken(fault), steps=50)


def test_ppo__learns_the_same_weights_as_on_sb3s_own():
    torch.set_num_threads(1)
    weights = []
    for venv in (adapted(), adapted(DISABLED), dummy()):
        model = PPO("MlpPolicy", VecMonitor(venv), n_steps=32, batch_size=32, seed=3, device="cpu")
        model.learn(200)
        weights.append(torch.nn.utils.parameters_to_vector(model.policy.parameters()))
    assert torch.equal(weights[0], weights[1])
    assert torch.equal(weights[0], weights[2])


def test_maskable_ppo__never_takes_a_masked_action():
    taken = []

    class Watched(Dicts):
        def step(self, action: Any) -> Any:
            taken.append((self.t, int(action[0])))
            return super().step(action)

    venv = GymnasiumToSB3VecEnv(SyncVectorEnv([Watched] * N, autoreset_mode=SAME))
    model = MaskablePPO("MultiInputPolicy", VecMonitor(venv), n_steps=16, batch_size=16, seed=1, device="cpu")
    model.learn(100)
    assert {action for t, action in taken if t % 2 == 0} == {0, 1}
    assert {action for t, action in taken if t % 2 == 1} == {0}


def test_vec_normalize__works_around_the_adapter():
    venv = VecNormalize(VecMonitor(adapted()))
    check_sb3_vec_env(lambda: VecNormalize(adapted(), training=False))
    model = PPO("MlpPolicy", venv, n_steps=16, batch_size=16, seed=1, device="cpu")
    model.learn(64)
    assert venv.obs_rms.count > 60


class Counter(gym.vector.VectorEnv):
    """A native vector whose state is a count, as much as the SB3 side needs to know of one."""

    def __init__(self) -> None:
        self.num_envs = N
        self.metadata = {"autoreset_mode": SAME, "render_modes": [], "render_fps": 7}
        self.single_observation_space = gym.spaces.Box(0, 1e6, (1,))
        self.single_action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self.count = np.zeros((N, 1), np.float32)
        return self.count.copy(), {}

    def step(self, actions: Any) -> Any:
        self.count += 1
        infos = {"count": self.count[:, 0].copy(), "_count": np.ones(N, np.bool_)}
        return self.count.copy(), np.ones(N), np.zeros(N, np.bool_), np.zeros(N, np.bool_), infos

    def get_state(self) -> np.ndarray:
        return self.count.copy()

    def set_state(self, state: np.ndarray) -> None:
        self.count = state.copy()


def test_sb3_vec_env__keeps_state_and_leaves_infos_batched():
    venv = SB3VecEnv(Counter())
    venv.reset()
    venv.step(np.zeros(N, np.int64))
    state = venv.get_state()
    *_, infos = venv.step(np.zeros(N, np.int64))
    assert infos == [{}] * N
    np.testing.assert_array_equal(venv.step_infos["count"], [2, 2, 2])
    venv.set_state(state)
    np.testing.assert_array_equal(venv.step(np.zeros(N, np.int64))[0], np.full((N, 1), 2, np.float32))
    assert venv.metadata["render_fps"] == 7
    venv.set_attr("label", "x")
    assert venv.get_attr("label") == ["x"] * N
    with pytest.raises(ValueError, match="can't be set for some environments"):
        venv.set_attr("label", "y", indices=[0])


def native(n: int = N, **options: Any) -> Any:
    """Environments of bt_gym on short sessions, in windows of four seconds."""
    return make_sb3_vec_env(ID, n, **sections(window_s=4.0), **options)


@pytest.mark.parametrize("monitor", [True, False])
def test_native__passes_the_checker(monitor: bool):
    check_sb3_vec_env(native(monitor=monitor), steps=50)


def test_native__single_passes_sb3s_own_checker():
    check_env(gym.make(ID, **sections(window_s=4.0)).unwrapped)


def test_native__is_seeded_and_says_at_the_end_what_an_episode_was():
    one, other = native(seed=7), native(seed=7)
    np.testing.assert_array_equal(one.reset(), other.reset())
    for _ in range(20):
        _, _, dones, infos = one.step(np.full((N, 2), 3))
    assert dones.all()
    for i, info in enumerate(infos):
        assert info["TimeLimit.truncated"]
        assert info["end_reason"] == "window"
        assert info["episode"]["l"] == info["steps"] == 20
        assert info["episode"]["r"] * 12.5 == pytest.approx(info["pnl"], abs=1e-3)
        assert set(one.unwrapped.reset_infos[i]) == {"day", "tape", "start_ns"}


def test_native__goes_on_from_a_state_as_if_it_had_not_stopped():
    venv = native(seed=3, monitor=False)
    actions = np.random.default_rng(1).integers(0, 8, (60, N, 2))
    venv.reset()
    for action in actions[:17]:
        venv.step(action)
    state = venv.get_state()
    first = [venv.step(action) for action in actions[17:]]
    fresh = native(seed=99, monitor=False)
    fresh.reset()
    fresh.set_state(state)
    assert equal(first, [fresh.step(action) for action in actions[17:]])


def test_native__maskable_ppo_never_takes_a_masked_action(monkeypatch: pytest.MonkeyPatch):
    venv = native(n=8, seed=1, risk={"max_position": 1})
    inner = venv.unwrapped.env.unwrapped
    taken = []
    step = inner.step

    def watched(actions: np.ndarray) -> Any:
        bid, ask = inner.action_masks().reshape(8, 2, 8).transpose(1, 0, 2)
        rows = np.arange(8)
        taken.append(bid[rows, actions[:, 0]].all() and ask[rows, actions[:, 1]].all())
        masked.append((~bid).sum() + (~ask).sum())
        return step(actions)

    masked: list[int] = []
    monkeypatch.setattr(inner, "step", watched)
    MaskablePPO("MlpPolicy", venv, n_steps=16, batch_size=64, seed=1, device="cpu").learn(256)
    assert all(taken)
    assert sum(masked) > 0
