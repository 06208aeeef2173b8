"""A policy in the Backtester is the policy in the environment: observations, fills, profit."""

import copy
import json
import zlib
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from bt_gym import BacktestConfig, Backtester
from bt_gym.config.env import DecisionConfig, MarketMakingConfig
from bt_gym.core import enums
from bt_gym.core.features import DEFAULT_FEATURES
from bt_gym.data.tape import Tape
from bt_gym.errors import ConfigError
from bt_gym.strategy.policy import PolicyStrategy
from tests.envs.make import ID, PRESETS, SECOND, assert_same, long_tape, sections, session, tape_of, tapes

CLOCK = 200_000_000
EXECUTION = {"latency_model": {"network_latency_us": 20_000, "compute_latency_us": 300}}  # long: many races
LIMITS = {"max_position": 10, "max_orders_per_second": 4}


def backtester(strategy: PolicyStrategy, tape: Tape | None = None, execution: dict[str, Any] = EXECUTION) -> Backtester:
    config = BacktestConfig.from_dict(
        {
            "backtest": {"risk_limits": LIMITS, "execution": execution},
            "instruments": {"*": {"tick_size": 0.25, "multiplier": 50, "fee_per_contract": 2}},
        }
    )
    return Backtester(config, files=[(tape or tapes()[0]).path]).add_strategy("policy", strategy)


def hashed(observations: Any, preset: str, cancels: int = 9) -> np.ndarray:
    """An action that looks random and follows from every bit of the observation; it trades much.

    With many `cancels` among `raw` orders, few enough rest for an environment's account.
    """
    if isinstance(observations, dict):
        observations = np.concatenate(list(observations.values()), -1)
    rng = np.random.default_rng(zlib.crc32(observations.tobytes()))
    if preset == "quotes":
        return rng.choice([0, 0, 1, 2, 3, 3, 3, 3], (1, 2))
    if preset == "pairs":
        bid, ask = rng.choice([0, 0, 1, 2, 3, 3, 3, 3], 2)
        return np.array([6 * bid + ask])
    if preset == "target":
        return rng.integers(0, 3, 1)
    if preset == "raw":
        rows = np.stack([rng.integers(0, count, 3) for count in (12, 4, 2, 5, 2)], 1)
        rows[:, 0] = rng.choice([0, *[1] * cancels, 2, 2, *range(3, 12)], 3)
        return rows.reshape(1, -1)
    if preset == "participation":
        return rng.integers(0, 10, 1)
    skew = 0.4 if preset == "spread" else 1.0  # quotes near the market
    return rng.uniform([-1, -skew, -0.6, -0.6], [1, skew, 1, 1], (1, 4)).astype(np.float32)


def batch_of_one(observation: Any) -> Any:
    if isinstance(observation, dict):
        return {name: values[None] for name, values in observation.items()}
    return observation[None]


def fills_of_both(
    preset: str,
    tape: Tape,
    window: int,
    observation: dict[str, Any],
    execution: dict[str, Any] = EXECUTION,
    cancels: int = 9,
) -> tuple[np.ndarray, dict[str, Any]]:
    """Fills of an episode from the beginning of trading on, and its last info: the Backtester's are the same.

    So is all that the policy sees.
    """
    data = {"tapes": (tape,)}
    more = sections(
        float(window),
        data=data,
        execution=execution,
        risk=LIMITS,
        decision={"interval_ms": CLOCK / 1e6},
        observation=observation,
    )
    env = gym.make(ID, disable_env_checker=True, action=PRESETS[preset], **more).unwrapped
    start = (int(env._batch.markets.spans["first"][0]) // CLOCK + 2) * CLOCK
    seen, _ = env.reset(seed=1, options={"start_ns": start})
    theirs, log, known, truncated = [], [], 0, False
    while not truncated:
        theirs.append(seen)
        seen, _, _, truncated, info = env.step(hashed(batch_of_one(seen), preset, cancels)[0])
        row = env._batch.envs[0]
        written = int(row["account"]["reports_written"])
        log += [row["log"][number % len(row["log"])].copy() for number in range(known, written)]
        known = written

    ours = []

    def watched(observations: Any) -> np.ndarray:
        ours.append(copy.deepcopy(observations))
        return hashed(observations, preset, cancels)

    run = backtester(PolicyStrategy(watched, env.config, start_ns=start, windows=1), tape, execution)
    run.run()
    assert_same(tuple(ours), tuple(map(batch_of_one, theirs)))
    fills = run.accounts[0].metrics.account.fills
    fills = fills[fills["ts_exchange"] <= start + window * SECOND]
    wanted = np.array([row for row in log if row["exec_type"] == enums.EXEC_TRADE])
    assert fills.tobytes() == wanted.tobytes()
    assert info["trades"] == len(wanted)
    return fills, info


@pytest.mark.parametrize(
    ("preset", "observation"),
    [
        *((preset, {}) for preset in PRESETS),
        ("quotes", {"stack": 3}),
        ("quotes", {"form": "dict"}),
        ("quotes", {"form": "dict", "stack": 2, "scaling": "x.json"}),
    ],
)
def test_policy_strategy__sees_and_trades_what_the_environment_does(
    preset: str, observation: dict[str, Any], tmp_path: Path
):
    if "scaling" in observation:
        count = len(DEFAULT_FEATURES)
        scaling = {"features": DEFAULT_FEATURES, "mean": [0.3] * count, "scale": [0.7] * count}
        observation = observation | {"scaling": str(tmp_path / "scaling.json")}
        (tmp_path / "scaling.json").write_text(json.dumps(scaling))
    tape, window = (long_tape(), 230) if preset in ("spread", "avellaneda_stoikov") else (tapes()[0], 50)
    fills, info = fills_of_both(preset, tape, window, observation)
    assert len(fills) >= 100
    assert info["rejects_max_order_rate"] > 0


def test_uncross_in_an_episode__fills_as_in_the_backtester():
    """Trading stops for fifteen seconds and opens with an auction, in the middle of the window."""
    tape = tape_of(session(script=((20, "pre_open"), (35, "auction"))).records, "uncross")
    for auction, least in (("strictly_better", 1), ("none", 0)):
        fills, info = fills_of_both("raw", tape, 50, {}, EXECUTION | {"auction": auction}, cancels=2)
        crossed = (fills["liquidity"] == enums.LIQUIDITY_AUCTION).sum()
        assert crossed >= least
        assert crossed == 0 or least
        assert len(fills) >= 50
        assert info["rejects_capacity"] == 0


def test_policy_strategy__starts_with_trading_and_goes_on_from_window_to_window():
    remaining = []
    observation = {"features": ["remaining_time"], "stack": 2}
    config = MarketMakingConfig.from_sections(data={"window_s": 10.0}, observation=observation)

    def policy(observations: np.ndarray) -> np.ndarray:
        before, now = observations[0].tolist()
        remaining.append(now)
        assert before == (now if len(remaining) % 50 == 1 else remaining[-2])
        return np.zeros((1, 2), np.int64)

    report = backtester(PolicyStrategy(policy, config)).run()
    assert report.total_trades == 0
    assert remaining[0] == 1.0
    assert remaining[50] == 1.0
    assert remaining[49] == pytest.approx(0.02)
    assert len(remaining) in range(290, 301)  # a minute


def test_policy_strategy__takes_models_with_predict():
    class Model:
        def predict(self, observations: np.ndarray, deterministic: bool) -> tuple[np.ndarray, None]:
            assert deterministic
            return np.full((1, 2), 3), None

    report = backtester(PolicyStrategy(Model(), MarketMakingConfig())).run()
    assert report.total_trades > 0


def test_policy_strategy__withdraws_after_its_windows():
    strategy = PolicyStrategy(
        lambda obs: np.full((1, 2), 3), MarketMakingConfig.from_sections(data={"window_s": 5.0}), windows=2
    )
    run = backtester(strategy)
    run.run()
    fills = run.accounts[0].metrics.account.fills
    assert strategy.start_ns is not None
    assert len(fills)
    assert fills["ts_exchange"].max() < strategy.start_ns + 10.1 * SECOND


def test_policy_strategy__refuses_actions_out_of_bounds():
    strategy = PolicyStrategy(lambda obs: np.array([[3, 8]]), MarketMakingConfig())
    with pytest.raises(ValueError, match=r"must be 2 integers below \[8, 8\]"):
        backtester(strategy).run()


def test_policy_strategy__refuses_what_it_cant_do():
    with pytest.raises(ConfigError, match=r"decision.on_fill: a PolicyStrategy decides on its clock only"):
        PolicyStrategy(np.zeros, MarketMakingConfig(decision=DecisionConfig(on_fill=True)))
    with pytest.raises(TypeError, match="give a model with `predict`"):
        PolicyStrategy("model.zip", MarketMakingConfig())
