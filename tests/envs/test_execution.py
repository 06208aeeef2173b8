"""Execution: an order of a known size is done in time, and the rewards add up to what it cost."""

import numpy as np
import pytest

from bt_gym import BacktestConfig, Backtester
from bt_gym.config.env import MarketMakingConfig
from bt_gym.core import enums
from bt_gym.core.tape import KIND_MASK, receive_delays
from bt_gym.envs.single_env import BtEnv
from bt_gym.errors import ConfigError
from bt_gym.strategy.policy import PolicyStrategy
from tests.envs.make import SECOND, long_tape, sections, session, tape_of, tapes, vector
from tests.envs.test_episodes import cut

TICK_VALUE = 12.5


def execution(**more) -> BtEnv:
    return BtEnv(task="execution", **sections(**{"window_s": 10.0, **more}))


def play(env, policy, **reset):
    """(rewards, reset info, last info, reports) of one episode."""
    observation, start = env.reset(**reset)
    rewards, log, known = [], [], 0
    while True:
        observation, reward, terminated, truncated, info = env.step(policy(observation))
        rewards.append(reward)
        row = env._batch.envs[0]
        written = int(row["account"]["reports_written"])
        log += [row["log"][number % len(row["log"])].copy() for number in range(known, written)]
        known = written
        if terminated or truncated:
            return np.array(rewards), start, info, np.array(log)


def traded(tape, first: int, last: int) -> int:
    """Lots traded in events received after `first`, up to `last` (ns), by aggressors."""
    received = tape.events["ts_event"] + receive_delays(tape.events)
    ends = np.r_[0, tape.events["end"]]
    low, high = np.searchsorted(received, [first, last], "right")
    records = tape.records[ends[low] : ends[high]]
    return int(records["size"][records["key"] & KIND_MASK == enums.RECORD_TRADE].sum())


@pytest.mark.parametrize("reward", ["shortfall", "equity"])
def test_rewards__add_up_to_the_shortfall_told(reward):
    env = execution(reward={"type": reward})
    rng = np.random.default_rng(1)
    ended = set()
    for seed in range(12):
        rewards, start, info, log = play(
            env, lambda _, seed=seed: int(rng.integers(0, 10 if seed % 2 else 3)), seed=seed
        )
        lots, sign = start["quantity"], start["side"]
        fills = log[log["exec_type"] == enums.EXEC_TRADE] if len(log) else np.zeros(0, [("size", int)])
        assert rewards.sum() == pytest.approx(-info["shortfall"], abs=1e-9)
        assert info["pnl"] == pytest.approx(-info["shortfall"] * TICK_VALUE * lots)
        assert info["completed"] == fills["size"].sum() / lots <= 1
        ended.add(info["end_reason"])
        if info["end_reason"] == "completed":
            paid = (sign * fills["size"] * (fills["price"] * 0.25 - start["arrival_price"]) / 0.25).sum()
            assert info["shortfall"] == pytest.approx((paid + 2.0 * lots / TICK_VALUE) / lots)
            assert len(rewards) <= 10
        else:
            assert len(rewards) == 10
    assert ended == {"completed", "deadline"}


def test_doing_nothing__costs_nothing_until_the_deadline_sends_it_all():
    env = execution()
    rewards, start, info, _ = play(env, lambda _: 0, seed=3, options={"quantity": 1})
    assert (rewards[:-1] == 0).all()
    assert info["end_reason"] == "deadline"
    assert info["completed"] == 0
    row = env._batch.envs[0]
    event = tapes()[row["episode"]["source"]].events[row["market"]["event"] - 1]
    price = event["ask"] if start["side"] > 0 else event["bid"]
    paid = start["side"] * (price - start["arrival_price"] / 0.25) + 2.0 / TICK_VALUE
    assert info["shortfall"] == pytest.approx(paid)
    assert rewards[-1] == pytest.approx(-paid)


def test_orders__are_drawn_from_what_was_traded_before_the_start():
    env = vector(200, task="execution", window_s=10.0)
    _, infos = env.reset(seed=1)
    most = [
        0.05 * traded(tapes()[tape], start - 10 * SECOND, start)
        for tape, start in zip(infos["tape"], infos["start_ns"], strict=True)
    ]
    share = infos["quantity"] / np.maximum(most, 1)
    assert share.max() <= 1.2  # the window begins up to seven events early
    assert 0.35 < share.mean() < 0.65
    assert 0.35 < (infos["side"] > 0).mean() < 0.65
    assert (np.abs(infos["quantity"]) >= 1).all()
    assert set(env.step(np.zeros(200, int))[0][:, env.feature_names.index("remaining_quantity")]) == {1.0}


def test_orders__depend_on_nothing_behind_the_start():
    options = {"start_ns": int(session().records["ts_recv"][0]) + 60 * SECOND}
    one = execution(days=1).reset(seed=5, options=options)
    soon = options["start_ns"] + SECOND // 20  # an event later, so that there is a market at the start
    edited = tape_of(cut(session().records, soon, "ts_recv", False, np.random.default_rng(1)), "later")
    other = execution(data={"tapes": (edited,)}).reset(seed=5, options=options)
    assert one[1]["quantity"] == other[1]["quantity"] > 1
    assert {**one[1], "tape": 0} == {**other[1], "tape": 0}
    assert np.array_equal(one[0], other[0])


def test_options__give_side_and_quantity():
    env = vector(3, task="execution")
    _, infos = env.reset(seed=1, options={"side": ["buy", "sell", "buy"], "quantity": [1, 2, 30]})
    assert (infos["side"] * infos["quantity"]).tolist() == [1, -2, 30]
    for wrong in ({"side": "long"}, {"quantity": 0}, {"quantity": 1.5}):
        with pytest.raises(ConfigError, match="options"):
            env.reset(options=wrong)
    with pytest.raises(ConfigError, match="there is none"):
        vector(1).reset(options={"side": "buy"})
    for more in ({"action": {"type": "participation"}}, {"reward": {"type": "shortfall"}}):
        with pytest.raises(ConfigError, match="no order is to be executed"):
            vector(1, **more)


def test_participation__takes_its_part_of_the_volume_and_never_more_than_is_left():
    env = execution(days=1, window_s=30.0)
    options = {"quantity": 10_000, "side": "buy"}
    _, start, info, log = play(env, lambda _: 4, seed=1, options=options)  # a rate of 0.2 that takes
    lots = log["size"][log["exec_type"] == enums.EXEC_TRADE].sum()
    most = 0.2 * traded(tapes()[0], start["start_ns"], start["start_ns"] + 29 * SECOND)
    assert most - 1 <= lots <= most
    assert info["maker_share"] == 0
    _, _, info, log = play(env, lambda _: 5, seed=1, options={"quantity": 7, "side": "sell"})
    assert log["size"][log["exec_type"] == enums.EXEC_TRADE].sum() == 7
    assert info["end_reason"] == "completed"
    _, _, info, log = play(env, lambda _: 9, seed=1, options={"quantity": 10_000, "side": "sell"})  # waits
    assert info["maker_share"] > 0.9
    assert info["completed"] > 0
    assert info["queue_at_fill"] > 0
    assert (log["leaves"] <= 32).all()


def test_participation__is_the_same_in_the_backtester():
    execution_section = {"latency_model": {"network_latency_us": 20_000, "compute_latency_us": 300}}
    more = {
        "data": {"tapes": (long_tape(),)},
        "window_s": 100.0,
        "decision": {"interval_ms": 200},
        "execution": execution_section,
    }
    env = execution(**more)
    first = int(env._batch.markets.spans["first"][0])
    start = (first // (SECOND // 5) + 2) * (SECOND // 5)
    seen = []

    def policy(observation):
        seen.append(np.array(observation))
        return np.random.default_rng(int(abs(observation.astype(float)).sum() * 1e6)).integers(0, 10, 1)

    _, _, info, log = play(
        env, lambda o: policy(o)[0], seed=1, options={"start_ns": start, "side": "sell", "quantity": 800}
    )
    ours, theirs = seen.copy(), []
    seen.clear()
    config = BacktestConfig.from_dict(
        {
            "backtest": {"execution": execution_section},
            "instruments": {"*": {"tick_size": 0.25, "multiplier": 50, "fee_per_contract": 2}},
        }
    )
    strategy = PolicyStrategy(lambda o: policy(o[0]), env.config, start_ns=start, windows=1, parent=-800)
    run = Backtester(config, files=[long_tape().path]).add_strategy("policy", strategy)
    run.run()
    theirs = seen[: len(ours)]
    assert np.array_equal(np.array(ours), np.array(theirs))
    fills = run.accounts[0].metrics.account.fills
    wanted = log[log["exec_type"] == enums.EXEC_TRADE]
    fills = fills[fills["ts_exchange"] <= wanted["ts_exchange"][-1]]
    assert len(wanted) >= 100
    assert fills.tobytes() == wanted.tobytes()
    assert 0 < info["maker_share"] < 1


def test_differential_sharpe__leaves_the_profit_told_apart():
    plain, other = (
        vector(2, window_s=5.0),
        vector(2, window_s=5.0, reward={"type": "differential_sharpe", "rate": 0.05}),
    )
    sums = []
    for env in (plain, other):
        env.reset(seed=1)
        rng = np.random.default_rng(1)
        total = np.zeros(2)
        for _ in range(25):
            _, rewards, _, _, infos = env.step(rng.integers(2, 5, (2, 2)))
            total += rewards
        sums.append((total, infos))
    (gains, one), (ratios, two) = sums
    assert np.array_equal(one["pnl"], two["pnl"])
    assert (one["trades"] > 0).all()
    assert np.allclose(ratios - two["shaping"], gains)
    assert (ratios != gains).all()


def test_order__makes_any_task_one_of_execution():
    config = MarketMakingConfig.from_sections(order={"quantity": 3})
    assert config.order.quantity == 3
    env = BtEnv(**sections(order={"quantity": 3, "side": "buy"}))
    assert env.reset(seed=1)[1]["quantity"] == 3
