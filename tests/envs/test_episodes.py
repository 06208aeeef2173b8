"""What an episode is: rewards, ends and statistics, the same fills as the Backtester, and nothing from the future."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from bt_gym import BacktestConfig, Backtester, OrderCancel, OrderRequest, OrderUpdate, Side, Strategy, StrategyOutput
from bt_gym._jit import njit
from bt_gym.core import actions as schemes
from bt_gym.core import enums, intents
from bt_gym.core.features import DEFAULT_FEATURES, memory_dtype
from bt_gym.core.positions import equity
from bt_gym.strategy.base import NOTHING
from bt_gym.strategy.events import EventKind
from tests.envs.make import BRISK, PRESETS, SECOND, TRADING, actions, session, single, tape_of, tapes, vector

CLOCK = 200_000_000


def play(env, acts, **reset):
    """(observations, rewards, final info) of one episode of a single environment."""
    observations = [env.reset(**reset)[0]]
    rewards = []
    for act in acts:
        observation, reward, terminated, truncated, info = env.step(act)
        observations.append(observation)
        rewards.append(reward)
        if terminated or truncated:
            return np.array(observations), np.array(rewards), info | {"terminated": terminated}
    return np.array(observations), np.array(rewards), {}


@pytest.mark.parametrize("risk", [{}, {"max_loss": 60}, {"max_drawdown": 60}])
def test_rewards__add_up_to_the_profit_told(risk):
    """In ticks on one lot; one tick of SYNH6 is 12.50."""
    env = single(window_s=20.0, risk=risk)
    ended = set()
    for seed in range(8):
        _, rewards, info = play(env, actions(seed, 100, 1)[:, 0], seed=seed)
        assert abs(rewards.sum() * 12.5 - info["pnl"]) < 0.005
        assert info["trades"] > 0
        ended.add(info["end_reason"])
        if info["terminated"]:
            assert info["pnl"] == info["pnl_liquidated"]
            assert next(iter(risk)) == info["end_reason"]
    assert ended == {"window", *risk}


@pytest.mark.parametrize(("task", "nothing"), [("market_making", np.zeros((8, 2), int)), ("trading", np.ones(8, int))])
def test_doing_nothing__is_worth_exactly_nothing(task, nothing):
    env = vector(8, task=task, window_s=2.0, reward={"inventory_penalty": 1.0, "dampening": 0.5})
    env.reset(seed=1)
    for _ in range(25):
        _, rewards, _, _, infos = env.step(nothing)
        assert (rewards == 0).all()
        for name in ("pnl", "pnl_liquidated", "fees", "messages"):
            assert (infos.get(name, np.zeros(1)) == 0).all()


def test_shaping__is_told_apart():
    plain = single(window_s=20.0)
    shaped = single(window_s=20.0, reward={"inventory_penalty": 0.25, "dampening": 0.3})
    acts = actions(1, 100, 1)[:, 0]
    observations, rewards, info = play(plain, acts, seed=1)
    _, others, told = play(shaped, acts, seed=1)
    assert told["shaping"] < 0
    assert told["pnl"] == info["pnl"]
    assert others.sum() == pytest.approx(rewards.sum() + told["shaping"])
    held = observations[1:, plain.feature_names.index("inventory")] * 10
    assert others[0] - rewards[0] == pytest.approx(-0.25 * held[0] ** 2 * 0.2)


def test_end_of_the_data__truncates_and_a_closed_session_terminates():
    env = single(window_s=5.0)
    last = int(env._batch.markets.spans["close"][0])
    options = {"start_ns": last - 2 * SECOND, "window_s": 5.0}
    _, _, info = play(env, actions(1, 30, 1)[:, 0], seed=1, options=options)
    assert (info["end_reason"], info["end_of_data"], info["terminated"]) == ("end_of_data", True, False)

    env = single(
        window_s=3600.0, days=1, decision={"interval_ms": 5000}
    )  # longer than the data: one episode, all of it
    starts = {env.reset(seed=seed)[1]["start_ns"] for seed in range(3)}
    _, rewards, info = play(env, np.zeros((20, 2), int), seed=1)
    assert starts == {int(env._batch.markets.spans["first"][0])}
    assert (info["end_reason"], len(rewards)) == ("end_of_data", 12)

    tape = tapes()[0]
    events = tape.events.copy()
    events["flags"][len(events) // 2 :] ^= enums.PHASE_CONTINUOUS ^ enums.PHASE_HALT
    closed = replace(tape, events=events, path=tape.path.with_name("closed.tape.arrow"))
    env = single(data={"tapes": (closed,)}, window_s=5.0)
    close = int(env._batch.markets.spans["close"][0])
    _, rewards, info = play(
        env, actions(2, 30, 1)[:, 0], seed=1, options={"start_ns": close - 3 * SECOND, "window_s": 5.0}
    )
    assert (info["end_reason"], info["terminated"]) == ("session_close", True)
    assert abs(rewards.sum() * 12.5 - info["pnl"]) < 0.005
    assert len(rewards) == 15


def eager(seed, steps):
    """Random actions that mostly join the best price."""
    return np.random.default_rng(seed).choice([0, 1, 2, 3, 3, 3, 4], (steps, 2))


@njit
def _plan(sents, accounts, memories, events, number, schemes_, action, wanted):
    return schemes.plan(sents[0], accounts[0], memories[0], events[number], schemes_[0], action, wanted)


@dataclass
class Quoter(Strategy):
    """Sends on its timer what the environment's scheme makes of given actions."""

    start: int
    acts: np.ndarray
    events: np.ndarray
    scheme: np.ndarray
    subscriptions: EventKind = EventKind.OWN
    timer_interval_ns: int | None = CLOCK
    sent: np.ndarray = field(default_factory=lambda: np.zeros(1, intents.sent_dtype))
    seen: list = field(default_factory=list)

    def on_market_event(self, event, context):
        return NOTHING

    def on_timer(self, timestamp, context):
        number = (timestamp - self.start) // CLOCK
        if not 0 <= number < len(self.acts):
            return NOTHING
        self.seen.append(context.features(DEFAULT_FEATURES[:-1]))
        wanted = np.zeros(intents.MAX_INTENTS, intents.intent_dtype)
        last = int(context._market["event"][0]) - 1
        memory, action = np.zeros(1, memory_dtype), self.acts[number].astype(float)
        count = _plan(self.sent, context._account, memory, self.events, last, self.scheme, action, wanted)
        output = StrategyOutput()
        for intent in wanted[:count]:
            price = context.market_state.price(intent["price"])
            order_id, size, side = int(intent["order_id"]), int(intent["size"]), Side(int(intent["side"]))
            if intent["kind"] == intents.INTENT_CANCEL:
                output.cancellations.append(OrderCancel(order_id, context.symbol))
            elif intent["kind"] == intents.INTENT_MODIFY:
                output.updates.append(OrderUpdate(order_id, size, price))
            else:
                output.orders.append(OrderRequest.limit(side, size, price))
        return output


@pytest.mark.parametrize("seed", [1, 2])
def test_env__and_backtester_write_the_same_fills_and_see_the_same_features(seed):
    execution = {"latency_model": {"network_latency_us": 20_000, "compute_latency_us": 300}}  # long: many races
    env = single(window_s=50.0, days=1, execution=execution)
    spans = env._batch.markets.spans
    start = (int(spans["first"][0]) // CLOCK + 2) * CLOCK
    acts = eager(seed, 250)
    observations = [env.reset(seed=1, options={"start_ns": start})[0]]
    log = []
    known = 0
    for act in acts:
        observations.append(env.step(act)[0])
        row = env._batch.envs[0]
        written = int(row["account"]["reports_written"])
        log += [row["log"][number % len(row["log"])].copy() for number in range(known, written)]
        known = written
    config = BacktestConfig.from_dict(
        {
            "backtest": {"risk_limits": {"max_position": 10}, "execution": execution},
            "instruments": {"*": {"tick_size": 0.25, "multiplier": 50, "fee_per_contract": 2}},
        }
    )
    quoter = Quoter(start, acts, tapes()[0].events, env._batch.settings["scheme"])
    backtester = Backtester(config, files=[tapes()[0].path]).add_strategy("policy", quoter)
    backtester.run()
    end = start + 50 * SECOND
    account = backtester.accounts[0].metrics.account
    theirs = account.fills[account.fills["ts_exchange"] <= end]
    ours = np.array([row for row in log if row["exec_type"] == enums.EXEC_TRADE])
    assert DEFAULT_FEATURES[-1] == "remaining_time"  # which a strategy has none of
    assert np.array_equal(np.array(observations)[:-1, :-1], np.array(quoter.seen))
    assert len(ours) >= 100
    assert ours.tobytes() == theirs.tobytes()
    cancels = sum(row["exec_type"] == enums.EXEC_CANCEL_REJECTED for row in log)
    assert cancels > 0, "no request was ever too late: the test shows less than it should"


class Holder(Strategy):
    """Takes the position to given targets, on its timer."""

    subscriptions = EventKind.OWN
    timer_interval_ns = CLOCK

    def __init__(self, start, targets):
        self.start, self.targets = start, targets

    def on_market_event(self, event, context):
        return NOTHING

    def on_timer(self, timestamp, context):
        number = (timestamp - self.start) // CLOCK
        if not 0 <= number < len(self.targets):
            return NOTHING
        change = int(self.targets[number]) - context.quantity - context.pending_quantity
        if change == 0:
            return NOTHING
        return StrategyOutput([OrderRequest.market(Side.BUY if change > 0 else Side.SELL, abs(change))])


def test_trading__is_what_a_strategy_with_the_same_targets_does():
    env = single(task="trading", window_s=50.0, days=1, decision={"interval_ms": 200})
    start = (int(env._batch.markets.spans["first"][0]) // CLOCK + 2) * CLOCK
    acts = actions(1, 250, 1, TRADING)[:, 0]
    observations, rewards, info = play(env, acts, seed=1, options={"start_ns": start})
    config = BacktestConfig.from_dict(
        {
            "backtest": {"risk_limits": {"max_position": 1}},
            "instruments": {"*": {"tick_size": 0.25, "multiplier": 50, "fee_per_contract": 2}},
        }
    )
    backtester = Backtester(config, files=[tapes()[0].path]).add_strategy("holder", Holder(start, acts - 1))
    backtester.run()
    theirs = backtester.accounts[0].metrics.account.fills
    theirs = theirs[theirs["ts_exchange"] <= start + 50 * SECOND]
    assert info["trades"] == len(theirs) >= 100
    assert info["volume"] == theirs["size"].sum()
    assert info["fees"] == theirs["fee"].sum() / 1e6
    sign = 1 - 2 * theirs["side"].astype(int)
    held = (sign * theirs["size"]).sum()
    mark = env._batch.envs["market"]["mark2"][0] / 2
    profit = (held * mark - (sign * theirs["size"] * theirs["price"]).sum()) * 12.5 - info["fees"]
    assert info["pnl"] == pytest.approx(profit, abs=1e-6)
    assert rewards.sum() * 12.5 == pytest.approx(info["pnl"], abs=0.005)
    inventory = observations[:, env.feature_names.index("inventory")]
    assert set(np.unique(inventory)) == {-1.0, 0.0, 1.0}


def cut(records, until, column, scramble, rng):
    """The records without whole events later than `until` by `column`, or with these in disorder."""
    last = records["flags"] & 128 != 0
    group = np.r_[0, np.cumsum(last)[:-1]]
    times = np.zeros(group[-1] + 1, np.int64)
    np.maximum.at(times, group, records[column].astype(np.int64))
    late = times[group] > until
    if not scramble:
        return records[~late]
    changed = records.copy()
    tail = np.flatnonzero(late)
    changed["price"][tail] += rng.integers(-4, 5, len(tail)) * BRISK.tick_nanos
    changed["size"][tail] = rng.integers(1, 50, len(tail))
    return changed


def orders(seed, steps):
    """Random orders of all kinds, many of which are cancelled."""
    rng = np.random.default_rng(seed)
    rows = np.stack([rng.integers(0, count, (steps, 3)) for count in (12, 4, 2, 5, 2)], -1)
    rows[..., 0] = rng.choice([0, *[1] * 6, 2, 2, *range(3, 12)], (steps, 3))
    return rows.reshape(steps, -1)


@pytest.mark.parametrize("scramble", [False, True])
@pytest.mark.parametrize("policy", ["random", "orders", "nothing"])
def test_outputs_up_to_t__depend_on_nothing_later(policy, scramble):
    """A random policy on what the exchange did later, one that does nothing on what was received later."""
    rng = np.random.default_rng(1)
    records = session().records
    slow = {"latency_model": {"network_latency_us": 150_000}}  # most orders are on their way at the next decision
    more = {"action": PRESETS["raw"], "execution": slow} if policy == "orders" else {}
    env = single(window_s=45.0, days=1, **more)
    start = int(env._batch.markets.spans["first"][0]) + SECOND
    options = {"start_ns": start}
    acts = orders(3, 225) if policy == "orders" else eager(3, 225) * (policy == "random")
    observations, rewards, info = play(env, acts, seed=1, options=options)
    assert policy == "nothing" or info["trades"] >= 100
    for number in (40, 111, 170):
        now = start + number * CLOCK
        column = "ts_recv" if policy == "nothing" else "ts_event"
        edited = tape_of(cut(records, now, column, scramble, rng), f"cut-{policy}-{scramble}-{number}")
        other = single(window_s=45.0, data={"tapes": (edited,)}, **more)
        seen, paid, ended = play(other, acts[:number], seed=1, options=options)
        reach = len(paid) - bool(ended)  # where the tape ends, or is no market any more, the last step settles it all
        assert reach >= number - 1
        assert np.array_equal(seen[: reach + 1], observations[: reach + 1])
        assert np.array_equal(paid[:reach], rewards[:reach])
        if scramble:
            after = play(other, acts, seed=1, options=options)[0]
            assert np.any(after[-1] != observations[-1]), "the edit changed nothing"


def test_final_profit__is_the_exchanges_truth():
    env = single(window_s=10.0)
    for seed in range(6):
        _, _, info = play(env, actions(seed, 60, 1)[:, 0], seed=seed)
        row = env._batch.envs[0]
        tick_value = 12_500_000
        assert info["pnl"] == equity(row["account"]["position"], row["market"]["mark2"], tick_value) / 1e6
        assert info["pnl_liquidated"] <= info["pnl"]
        fills = info["trades"]
        assert info["volume"] == fills
        assert 0 <= info["fill_ratio"] <= 1
        assert info["fees"] == 2.0 * fills
