"""A strategy drives an environment as it trades in the Backtester."""

from dataclasses import replace
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
from bt_gym.strategy.base import NOTHING, Kill, OrderUpdate
from bt_gym.strategy.grid import GridMarketMaker, JittedGridMarketMaker
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


class Mixed(Strategy):
    """Every kind of order that an action has, stops that follow the market among them."""

    timer_interval_ns = CLOCK

    def __init__(self) -> None:
        self.number = 0

    def on_market_event(self, event, context):
        return NOTHING

    def on_timer(self, timestamp, context):
        market, live = context.market_state, context.pending_orders
        bid, ask = market.best_bid(), market.best_ask()
        if bid is None or ask is None:
            return NOTHING
        self.number += 1
        turn, output = self.number % 8, StrategyOutput()
        side, best, other = (Side.BUY, bid, ask) if self.number % 16 < 8 else (Side.SELL, ask, bid)
        beyond = other.ticks + 2 * side.sign
        if len(live) > 5:
            output.cancellations.append(live[0].order_id)
        if turn == 0:
            output.orders.append(OrderRequest.limit(side, 2, other.price, time_in_force=enums.TIF_FOK))
        elif turn == 1:
            output.orders.append(OrderRequest.limit(side, 1, best.price, time_in_force=enums.TIF_DAY))
        elif turn == 2:
            output.orders.append(OrderRequest.limit(side, 1, other.price, post_only=enums.POST_ONLY_SLIDE))
        elif turn == 3:
            output.orders.append(OrderRequest.market_to_limit(side, 3))
        else:
            stops = [order for order in live if order.stop_price is not None and order.side == side]
            if not stops:
                output.orders.append(OrderRequest.stop(side, 2, market.price(beyond)))
            elif turn % 2:
                order = stops[0]
                price = market.price(beyond - side.sign)
                output.updates.append(OrderUpdate(order.order_id, order.size, order.price, stop_price=price))
        return output


STRATEGIES: dict[str, Any] = {
    "mixed": Mixed,
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


class Wants(Strategy):
    """Asks for the same whenever its timer strikes."""

    timer_interval_ns = CLOCK

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def on_market_event(self, event, context):
        return StrategyOutput(metrics={"mid": 1.0})

    def on_timer(self, timestamp, context):
        return self.answer


LIMIT = OrderRequest.limit(Side.BUY, 1, 4000.0)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ([LIMIT], "on_timer returned list .*return a StrategyOutput"),
        (StrategyOutput([4000.0]), "orders at .*float 4000.0 in it: it takes a list of OrderRequest"),
        (StrategyOutput([OrderRequest.limit(Side.BUY, 1, "4000")]), "price: must be a number, got str '4000'"),
        (
            StrategyOutput([OrderRequest.stop(Side.BUY, 1, 6000.0, limit=6001.0)]),
            "buy 1 stop_limit gtc price 6001.0 stop_price 6000.0 at .*: an action has no such order",
        ),
        (StrategyOutput([OrderRequest.limit(Side.BUY, 1, 6000.0, expires_at=1)]), "buy 1 limit gtd .*no such order"),
        (StrategyOutput([OrderRequest.stop(Side.BUY, 1, 9000.0)]), "ticks from the best price: raise action.reach"),
        (StrategyOutput([LIMIT]), "buy 1 limit gtc price 4000.0 at .*raise action.reach, now 5"),
        (StrategyOutput([OrderRequest.market(Side.SELL, 3)]), "sell 3 market ioc .*1 to action.max_size, 2, lots"),
        (StrategyOutput([OrderRequest.market(Side.BUY, 1)] * 2), "2 requests at .*an action has 1: raise action.rows"),
        (
            StrategyOutput([OrderRequest.market(Side.BUY, 1, symbol="ESH4")]),
            "symbol 'ESH4': the environment trades SYN",
        ),
        (StrategyOutput([replace(LIMIT, price=None)]), "it has no price"),
        (StrategyOutput(kill=Kill()), "an environment has no kill switch"),
    ],
)
def test_policy__refuses_what_an_action_cant_say_with_the_strategys_name(answer, text):
    env = single(action={"type": "raw", "rows": 1, "max_size": 2})
    policy = StrategyPolicy(Wants(answer), env)
    env.reset(seed=1)
    with pytest.raises(ConfigError, match=f"strategy Wants: .*{text}"):
        policy()


def test_policy__refuses_other_actions_compiled_strategies_and_prices_off_the_grid():
    with pytest.raises(ConfigError, match=r"action\.type is quotes: make the environment"):
        StrategyPolicy(Watcher(), single())
    env = single(action=RAW)
    env.reset(seed=1)
    with pytest.raises(ConfigError, match="strategy JittedGridMarketMaker: it is compiled for a backtest"):
        StrategyPolicy(JittedGridMarketMaker(), env)()
    best = float(env._batch.envs["market"]["mark2"][0] // 2) * 0.25
    with pytest.raises(ConfigError, match="off the grid of ticks"):
        StrategyPolicy(Wants(StrategyOutput([replace(LIMIT, price=best + 0.1)])), env)()


def test_policy__notes_which_strategy_failed_and_when():
    class Fails(Wants):
        def on_timer(self, timestamp, context):
            raise KeyError("mine")

    env = single(action=RAW)
    env.reset(seed=1)
    with pytest.raises(KeyError) as caught:
        StrategyPolicy(Fails(None), env)()
    assert "strategy Fails: raised in on_timer at 20" in caught.value.__notes__[0]


def test_strategy__that_only_tells_figures_does_not_take_back_what_it_asked_for():
    class Tells(Wants):
        subscriptions = EventKind.BOOK

        def on_market_event(self, event, context):
            return self.answer

        def on_timer(self, timestamp, context):
            return StrategyOutput(metrics={"mid": 1.0})

    env = single(action=RAW)
    policy = StrategyPolicy(Tells(StrategyOutput([OrderRequest.market(Side.BUY, 1)])), env)
    env.reset(seed=1)
    env.step(policy())
    assert policy()[0] == 6


def test_strategy__is_a_new_one_when_an_episode_begins_again():
    env = single(window_s=3.0, action=RAW)
    policy = StrategyPolicy(Mixed(), env)

    def play(steps):
        env.reset(seed=1)
        return [env.step(policy())[1] for _ in range(steps)]

    first = play(10)
    assert any(first)
    assert play(10) == first
    assert play(4) == first[:4]


def test_stops__are_no_quotes_in_the_features():
    env = single(action=RAW, observation={"features": ["own_bid", "own_ask", "own_ask_in_flight"]})
    env.reset(seed=1)
    stop, limit, nothing = [11, 0, 1, 0, 0], [3, 0, 1, 50, 0], [0] * 35
    assert env.step([*stop, *nothing])[0].tolist() == [0, 0, 0]
    assert env._batch.envs["account"]["orders_live"][0] == 1
    assert env.step([*limit, *nothing])[0].tolist() == [0, 1, 0]
