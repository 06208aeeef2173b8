"""A strategy drives an environment as it trades in the Backtester."""

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from bt_gym import BacktestConfig, Backtester, EventKind, OrderRequest, Side, Strategy, StrategyOutput
from bt_gym.core import enums
from bt_gym.core.tape import receive_delays
from bt_gym.envs.strategy_policy import StrategyPolicy, Task
from bt_gym.errors import ConfigError
from bt_gym.strategy.almgren_chriss import AlmgrenChriss
from bt_gym.strategy.avellaneda_stoikov import AvellanedaStoikov
from bt_gym.strategy.base import NOTHING
from bt_gym.strategy.grid import GridMarketMaker
from bt_gym.strategy.pov import Pov
from bt_gym.strategy.twap import Twap
from tests.envs.make import EXECUTION, SECOND, sections, single, tapes, vector

CLOCK = SECOND // 5
RAW = {"type": "raw", "rows": 8, "reach": 50, "max_size": 100}
LATENCY = {"latency_model": {"network_latency_us": 20_000, "compute_latency_us": 300}}


class From(Strategy):
    """A strategy that begins at a time."""

    def __init__(self, strategy: Strategy, start: int, end: int) -> None:
        self.strategy, self.start, self.end = strategy, start, end
        self.subscriptions = strategy.subscriptions
        self.timer_interval_ns = strategy.timer_interval_ns

    def on_market_event(self, event, context):
        return self.strategy.on_market_event(event, context) if self.start < event.ts_recv < self.end else NOTHING

    def on_timer(self, timestamp, context):
        return self.strategy.on_timer(timestamp, context) if self.start <= timestamp < self.end else NOTHING


class Watcher(Strategy):
    """Buys when the timer strikes, and notes all that it is told."""

    subscriptions = EventKind.TRADE | EventKind.OWN
    timer_interval_ns = 5 * CLOCK

    def __init__(self) -> None:
        self.told: list[tuple[int, str]] = []
        self.strikes: list[int] = []

    def on_market_event(self, event, context):
        assert event.ts_recv <= context.current_time
        names = [report.kind for report in event.reports] or [f"trades {len(event.trades)}"]
        self.told += [(event.ts_recv, name) for name in names]
        return NOTHING

    def on_timer(self, timestamp, context):
        self.strikes.append(timestamp)
        best = context.market_state.best_bid()
        return StrategyOutput([OrderRequest.limit(Side.BUY, 1, best.price), OrderRequest.market(Side.SELL, 1)])


STRATEGIES: Mapping[str, Any] = {
    "avellaneda_stoikov": lambda: AvellanedaStoikov(gamma=0.05, k=3.0, interval_ms=200),
    "grid": lambda: GridMarketMaker(levels=1, half_spread=0.5, skew=0.1, size=2, max_position=8, interval_ms=200),
}


@pytest.mark.parametrize("name", STRATEGIES)
def test_strategy__fills_as_in_the_backtester(name):
    env = single(window_s=50.0, days=1, action=RAW, execution=LATENCY)
    start = (int(env._batch.markets.spans["first"][0]) // CLOCK + 2) * CLOCK
    end = start + 50 * SECOND
    policy = StrategyPolicy(STRATEGIES[name](), env)
    observation, _ = env.reset(seed=1, options={"start_ns": start})
    log, known, ended = [], 0, False
    while not ended:
        observation, _, _, ended, info = env.step(policy(observation))
        row = env._batch.envs[0]
        written = int(row["account"]["reports_written"])
        log += [row["log"][number % len(row["log"])].copy() for number in range(known, written)]
        known = written
    config = BacktestConfig.from_dict(
        {
            "backtest": {"risk_limits": {"max_position": 10}, "execution": LATENCY},
            "instruments": {"*": {"tick_size": 0.25, "multiplier": 50, "fee_per_contract": 2}},
        }
    )
    run = Backtester(config, files=[tapes()[0].path]).add_strategy("one", From(STRATEGIES[name](), start, end))
    run.run()
    fills = run.accounts[0].metrics.account.fills
    fills = fills[fills["ts_exchange"] <= end]
    wanted = np.array([row for row in log if row["exec_type"] == enums.EXEC_TRADE])
    assert len(wanted) >= 30
    assert fills.tobytes() == wanted.tobytes()
    assert info["invalid_actions"] == info["rejects_capacity"] == 0


def test_strategy__in_a_vector_is_that_in_single_ones():
    def play(n, seeds):
        env = vector(n, window_s=3.0, action=RAW)
        policy = StrategyPolicy(STRATEGIES["grid"](), env)
        observations, _ = env.reset(seed=seeds)
        out = []
        for _ in range(35):
            observations, rewards, *_ = env.step(policy(observations))
            out.append(rewards)
        return np.array(out)

    every = play(3, [4, 5, 6])
    assert np.any(every)
    assert np.array_equal(every[:, 1:2], play(1, [5]))


def test_strategy__is_told_what_has_happened_in_order_and_when_its_clock_strikes():
    env = single(window_s=5.0, action=RAW)
    policy = StrategyPolicy(Watcher(), env)
    observation, _ = env.reset(seed=1)
    start, ended = int(env._batch.envs["now"][0]), False
    while not ended:
        action = policy(observation)
        observation, _, _, ended, info = env.step(action)
    watcher = policy._seats[0].strategy
    times = [ts for ts, _ in watcher.told]
    assert times == sorted(times)
    assert start < times[0]
    assert {"new", "trade"} <= {name for _, name in watcher.told}
    assert sum(name == "trade" for _, name in watcher.told) in range(info["trades"] - 2, info["trades"] + 1)
    row, last = env._batch.envs[0], policy._seats[0].decided
    events = tapes()[row["episode"]["source"]].events
    received = events["ts_event"] + receive_delays(events)
    trading = (events["flags"] & enums.EVENT_TRADE != 0) & (start < received) & (received <= last)
    assert sum(name.startswith("trades") for _, name in watcher.told) == trading.sum() > 0
    assert watcher.strikes[0] == start
    assert len(watcher.strikes) in (5, 6)
    assert all(now % (5 * CLOCK) < CLOCK for now in watcher.strikes[1:])


@pytest.mark.parametrize(
    "make",
    [
        lambda task: Twap(task.side, task.quantity, task.window_s, 10),
        lambda task: Pov(task.side, task.quantity, 0.2, task.window_s),
        lambda task: AlmgrenChriss(task.side, task.quantity, task.window_s, 10),
    ],
    ids=["twap", "pov", "almgren_chriss"],
)
def test_executions__do_the_order_of_their_episode(make):
    made: list[Task] = []
    env = gym.make_vec(EXECUTION, 3, action=RAW, **sections(window_s=10.0, decision={"interval_ms": 1000}))
    policy = StrategyPolicy(lambda task: made.append(task) or make(task), env)
    observations, infos = env.reset(seed=3)
    done = np.zeros(3)
    for _ in range(12):
        observations, _, terminated, _, ends = env.step(policy(observations))
        if terminated.any():
            done = np.maximum(done, ends["completed"])
    assert [task.side.sign * task.quantity for task in made[:3]] == (infos["side"] * infos["quantity"]).tolist()
    assert (done > 0.7).all()


def test_policy__refuses_what_an_action_cant_say():
    with pytest.raises(ConfigError, match=r"action\.type is quotes: make the environment"):
        StrategyPolicy(Watcher(), single())

    class Wants(Watcher):
        def __init__(self, *orders: OrderRequest) -> None:
            super().__init__()
            self.orders = list(orders)

        def on_timer(self, timestamp, context):
            return StrategyOutput(list(self.orders))

    for orders, text in (
        ([OrderRequest.stop(Side.BUY, 1, 6000.0)], "raw actions have market orders"),
        ([OrderRequest.market(Side.BUY, 3)], "1 to action.max_size 2"),
        ([OrderRequest.limit(Side.BUY, 1, 4000.0)], "raise action.reach, now 5"),
        ([OrderRequest.market(Side.BUY, 1)] * 2, "raise action.rows"),
    ):
        env = single(action={"type": "raw", "rows": 1, "max_size": 2})
        policy = StrategyPolicy(Wants(*orders), env)
        env.reset(seed=1)
        with pytest.raises(ValueError, match=text):
            policy()
