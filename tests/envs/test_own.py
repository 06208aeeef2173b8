"""A user's own action scheme and reward, in single environments, vectors, SB3 and the Backtester."""

import json

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from bt_gym import BacktestConfig, Backtester
from bt_gym.errors import ConfigError
from bt_gym.sb3 import SB3VecEnv, check_sb3_vec_env
from bt_gym.strategy.policy import PolicyStrategy
from bt_gym.testing import check_vector_env
from tests.envs.make import ID, SECOND, assert_same, drawn, make_sync, sections, single, tapes, vector


class Lean:
    """Quotes at the touch, leaning by the action, and against an inventory that the features tell of."""

    base = {"type": "spread", "min_half_spread": 0.5, "max_half_spread": 1.5, "max_skew": 2.0}  # noqa: RUF012

    def __init__(self, strength: float = 1.0) -> None:
        self.strength = strength
        self.action_space = gym.spaces.Box(-1, 1, (), np.float32)

    def translate(self, actions: np.ndarray, observations: np.ndarray) -> np.ndarray:
        skew = np.clip(actions * self.strength + np.sin(observations.sum(1)) / 4, -1, 1)
        return np.stack([-np.ones(len(skew)), skew, np.ones(len(skew)), np.ones(len(skew))], 1)


class Sides:
    """Which sides to quote at the touch, as one number."""

    base = {"offsets": [0]}  # noqa: RUF012
    action_space = gym.spaces.Discrete(4)

    def translate(self, actions: np.ndarray, observations: np.ndarray) -> np.ndarray:
        return np.stack([1 + actions % 2, 1 + actions // 2], 1)


def hold_little(steps: np.ndarray) -> np.ndarray:
    return -0.25 * np.abs(steps["inventory"]) - 0.5 * steps["filled"]


SCHEMES = {"class": {"type": Lean}, "name": {"type": "tests.envs.test_own:Lean", "parameters": {"strength": 0.5}}}


@pytest.mark.parametrize("action", [*SCHEMES.values(), Sides], ids=[*SCHEMES, "discrete"])
def test_scheme__works_single_and_in_vectors(action):
    check_env(gym.make(ID, action=action, **sections()).unwrapped)
    check_vector_env(lambda: vector(3, action=action, autoreset_mode="SameStep", window_s=1.0), steps=40)
    check_sb3_vec_env(lambda: SB3VecEnv(vector(2, action=action, autoreset_mode="SameStep", window_s=1.0)), steps=30)
    native, sync = vector(3, action=action, window_s=2.0), make_sync(3, "NextStep", action=action, window_s=2.0)
    acts = drawn(native, 1, 30)
    for env in (native, sync):
        env.reset(seed=3)
    trades = 0
    for act in acts:
        ours = native.step(act)
        assert_same(tuple(ours), tuple(sync.step(act)))
        trades += ours[4].get("trades", np.zeros(1)).sum()
    assert trades > 0


def test_scheme__out_of_its_space_does_nothing_and_touches_no_neighbour():
    env, twin = (vector(3, action=Lean, window_s=1.0) for _ in range(2))
    env.reset(seed=1)
    twin.reset(seed=1)
    for bad in (np.nan, 1.5, np.inf, -2):
        act = np.array([0.1, bad, -0.1])
        ours, theirs = env.step(act), twin.step(np.array([0.1, 0.3, -0.1]))
        assert np.array_equal(ours[0][::2], theirs[0][::2])
    assert env.step(np.zeros(3))[4]["invalid_actions"].tolist() == [0, 4, 0]
    alone = single(action=Lean)
    alone.reset(seed=1)
    for wrong in (np.nan, 1.5, [0.0], None):
        with pytest.raises(ValueError, match="must be in"):
            alone.step(wrong)


def test_scheme__goes_on_from_a_saved_state():
    acts = drawn(vector(2, action=Lean), 5, 12)
    env, other = vector(2, action=Lean), vector(2, action=Lean)
    env.reset(seed=1)
    for act in acts[:6]:
        env.step(act)
    other.reset(seed=9)
    other.set_state(env.get_state())
    assert_same(tuple(env.step(act) for act in acts[6:]), tuple(other.step(act) for act in acts[6:]))


def test_scheme__that_lacks_something_is_refused():
    for wrong, text in (
        (type("A", (), {}), "has no `base`"),
        (type("B", (Sides,), {"action_space": gym.spaces.MultiBinary(2)}), "must be Box, Discrete or MultiDiscrete"),
        ("tests.envs.test_own:Nothing", "give module:Name"),
        ("nothing", "unknown value"),
        ({"type": Lean, "parameters": {"power": 1}}, "refuses"),
        (type("C", (Sides,), {"base": {"type": "spread", "size": 0}}), "base.size"),
    ):
        with pytest.raises(ConfigError, match=text):
            vector(1, action={"type": wrong} if isinstance(wrong, str) else wrong)
    env = vector(1, action=type("D", (Sides,), {"translate": lambda self, actions, _: actions}))
    env.reset(seed=1)
    with pytest.raises(ValueError, match="must be numbers"):
        env.step(np.zeros(1, int))


def test_scheme__is_the_same_in_the_backtester():
    clock = SECOND // 5
    env = single(action=Lean, window_s=20.0, days=1, observation={"features": ["inventory", "imbalance_1"]})
    start = (int(env._batch.markets.spans["first"][0]) // clock + 2) * clock
    observation, _ = env.reset(seed=1, options={"start_ns": start})
    theirs, ended = [], False
    while not ended:
        theirs.append(observation)
        observation, _, _, ended, info = env.step(np.float32(np.cos(observation[1] * 9)))
    ours = []

    def policy(observations: np.ndarray) -> np.ndarray:
        ours.append(observations[0])
        return np.cos(observations[:, 1] * 9)

    config = BacktestConfig.from_dict(
        {
            "backtest": {"risk_limits": {"max_position": 10}},
            "instruments": {"*": {"tick_size": 0.25, "multiplier": 50, "fee_per_contract": 2}},
        }
    )
    run = Backtester(config, files=[tapes()[0].path])
    run.add_strategy("own", PolicyStrategy(policy, env.config, start_ns=start, windows=1)).run()
    assert np.array_equal(np.array(ours), np.array(theirs))
    fills = run.accounts[0].metrics.account.fills
    assert info["trades"] == (fills["ts_exchange"] <= start + 20 * SECOND).sum() >= 20


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_reward__is_added_and_told_apart(mode):
    plain = vector(3, window_s=2.0, autoreset_mode=mode)
    shaped = vector(3, window_s=2.0, autoreset_mode=mode, reward={"shaping": "tests.envs.test_own:hold_little"})
    acts = np.random.default_rng(1).integers(2, 5, (24, 3, 2))
    sums = []
    for env in (plain, shaped):
        env.reset(seed=2)
        total, told = np.zeros(3), None
        for act in acts:
            _, rewards, _, truncated, infos = env.step(act)
            if told is None:
                total += rewards
            if truncated.all() and told is None:
                told = infos.get("final_info", infos)
        sums.append((total, told))
    (gains, one), (paid, two) = sums
    assert np.array_equal(one["pnl"], two["pnl"])
    assert (one["shaping"] == 0).all()
    assert (two["shaping"] < 0).sum() == 2  # one doesn't trade
    assert np.allclose(paid, gains + two["shaping"])
    alone = single(window_s=2.0, reward={"shaping": hold_little})
    alone.reset(seed=2)
    total = sum(alone.step(act[0])[1] for act in acts[:9])
    observed = alone.step(acts[9][0])
    assert total + observed[1] == pytest.approx(paid[0])
    assert observed[4]["shaping"] == pytest.approx(two["shaping"][0])


def test_reward__knows_what_a_step_brought():
    seen = []
    env = single(window_s=5.0, reward={"shaping": lambda steps: seen.append(steps) or np.zeros(1)})
    env.reset(seed=1)
    acts, rewards = np.random.default_rng(2).integers(2, 5, (25, 2)), []
    for act in acts:
        _, reward, _, ended, info = env.step(act)
        rewards.append(reward)
    steps = np.concatenate(seen)
    assert ended
    assert np.array_equal(steps["gain"], rewards)
    assert np.array_equal(steps["inventory_before"][1:], steps["inventory"][:-1])
    assert steps["filled"].sum() == info["volume"] > 0  # all of them known before the end
    assert steps["fees"].sum() * 12.5 == pytest.approx(info["fees"])
    assert (steps["elapsed_s"] == 0.2).all()
    assert (steps["mid_change"] != 0).any()
    quiet = (steps["filled"] == 0)[:-1]
    held = steps["inventory"][:-1] * steps["mid_change"][:-1]
    assert np.allclose(steps["gain"][:-1][quiet], held[quiet])


def test_reward__that_makes_no_sense_is_refused():
    env = single(reward={"shaping": lambda steps: np.full(1, np.nan)})
    env.reset(seed=1)
    with pytest.raises(ValueError, match="must be 1 finite numbers"):
        env.step([0, 0])
    with pytest.raises(ConfigError, match=r"reward.shaping: .*give module:Name"):
        single(reward={"shaping": "tests.envs.test_own:nothing"})


def test_own__names_stay_names_in_a_spec():
    env = gym.make(
        ID, action={"type": "tests.envs.test_own:Sides"}, reward={"shaping": "tests.envs.test_own:hold_little"}
    )
    assert "tests.envs.test_own:Sides" in env.spec.to_json()
    named = single(action=Sides, reward={"shaping": hold_little}).config.model_dump(mode="json")
    assert named["action"]["type"] == "tests.envs.test_own:Sides"
    assert json.loads(json.dumps(named))["reward"]["shaping"] == "tests.envs.test_own:hold_little"
