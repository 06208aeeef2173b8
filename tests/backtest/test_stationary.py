"""Strategies that promise to answer what they are shown alone: asked less often, and the same run to the byte."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bt_gym import (
    BacktestConfig,
    EventKind,
    JittedStrategy,
    Kill,
    OrderRequest,
    Side,
    Strategy,
    StrategyContext,
    StrategyOutput,
)
from bt_gym.config import with_overrides
from bt_gym.core import enums
from bt_gym.data.synthetic import PROFILES, generate
from bt_gym.data.tape import ingest
from bt_gym.strategy.avellaneda_stoikov import AvellanedaStoikov
from bt_gym.strategy.base import NOTHING
from bt_gym.strategy.glft import Glft
from bt_gym.strategy.grid import GridMarketMaker, JittedGridMarketMaker
from bt_gym.strategy.jitted import cancel, decision, limit
from bt_gym.strategy.registry import BUILT_IN
from tests.data.compiled import add, clear, nothing
from tests.runs import TICK, Run, Script, ask, asked, backtest, settings, write

MS = 1_000_000
TICK_NANOS = 250_000_000
BUSY = replace(PROFILES["es_busy"], name="busy", depth_orders=200, depth_levels=30)


@pytest.fixture(scope="module")
def halted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tape of a session with a pre-open, an auction, a halt, and fills; quiet at most strokes of a few ms."""
    folder = tmp_path_factory.mktemp("halted")
    session = generate(8, 16, BUSY, pre_open_seconds=2, script=[(5, "halt"), (6, "auction")])
    market, status = folder / "a.dbn", folder / "a.status.dbn"
    session.write(market)
    session.write_status(status)
    return ingest(market, tick_size_nanos=TICK_NANOS, statuses=[status], folder=folder)


# --- a strategy that answers what it sees as if at random


def _mix(seed: int, value: int) -> int:
    return (seed * 31 + value * 1103515245 + 12345) % (1 << 31)


@decision
def _by_view(memory, now, market, own, trades, requests):
    state = memory.view(np.int64)  # calls, which it counts and does not look at
    state[0] += 1
    if now["why"] == enums.CALL_NEWS or now["bid"] == enums.NO_TICK or now["ask"] == enums.NO_TICK:
        return
    seed = (now["bid"] * 31 + now["ask"] * 1103515245 + 12345) % (1 << 31)
    seed = (seed * 31 + now["bid_size"] * 1103515245 + 12345) % (1 << 31)
    seed = (seed * 31 + own["position"]["size"] * 1103515245 + 12345) % (1 << 31)
    for row in range(own["live"]):
        seed = (seed * 31 + own["orders"][row]["leaves"] * 1103515245 + 12345) % (1 << 31)
        seed = (seed * 31 + own["orders"][row]["cancelling"] * 1103515245 + 12345) % (1 << 31)
    side = (seed >> 8) % 2
    size = 1 + (seed >> 10) % 3
    action = (seed >> 16) % 12
    price = now["bid"] + (seed >> 12) % 6 - 3
    ask(requests, own, action, side, size, price)


class ByView(Strategy):
    """What `_by_view` does, in Python."""

    def __init__(self) -> None:
        self.calls = 0

    def on_timer(self, timestamp: int, context: StrategyContext) -> StrategyOutput:
        self.calls += 1
        market = context.market_state
        bid, ask, pending = market.best_bid(), market.best_ask(), context.pending_orders
        if bid is None or ask is None:
            return NOTHING
        seed = 0
        seen = [bid.ticks, ask.ticks, bid.size, context.quantity]
        for value in seen[1:] + [n for order in pending for n in (order.leaves, order.cancelling)]:
            seed = _mix(seed or seen[0], value)
        side, size, action = Side((seed >> 8) % 2), 1 + (seed >> 10) % 3, (seed >> 16) % 12
        price = market.price(bid.ticks + (seed >> 12) % 6 - 3)
        return asked(pending, action, side, size, price)

    def on_market_event(self, event, context):
        return NOTHING if event.owner else self.on_timer(0, context)


def jitted(subscriptions: EventKind, interval: int, *, wants_trades: bool = False) -> JittedStrategy:
    memory = np.zeros(1, np.int64)
    clock = {"subscriptions": subscriptions, "timer_interval_ns": interval, "wants_trades": wants_trades}
    return JittedStrategy(_by_view, memory, **clock)


def plain(subscriptions: EventKind, interval: int) -> ByView:
    strategy = ByView()
    strategy.subscriptions, strategy.timer_interval_ns = subscriptions, interval
    return strategy


def both(make: Callable[[], Strategy], file: Path, config: BacktestConfig) -> tuple[list[Strategy], list[Run]]:
    """The strategy without the promise and with it, each in a run of its own."""
    strategies, runs = [], []
    for promised in (False, True):
        strategy = make()
        strategy.is_stationary = promised
        runs.append(backtest(file, strategy, config=config))
        strategies.append(strategy)
    return strategies, runs


LOAD = {
    "type": "load_dependent",
    "entry_base_us": 40,
    "entry_us_per_message": 300,
    "response_base_us": 2500,
    "response_us_per_message": 500,
    "window_us": 1000,
}
LIMITS = {"max_position": 6, "max_order_size": 2, "max_orders_per_second": 30}
CASES: dict[str, Mapping[str, Any]] = {
    "limits": {"backtest.risk_limits": LIMITS},
    "loss": {"backtest.risk_limits": {**LIMITS, "max_drawdown": 700.0}},
    "load": {"backtest.execution.latency_model": LOAD},
    "run": {"backtest.run_limits": {"max_loss": 2000.0, "max_orders_per_second": 40}},
    "chance": {"backtest.execution.fill_model": {"type": "probabilistic"}},
}


@pytest.mark.parametrize("subscriptions", [EventKind(0), EventKind.TRADE | EventKind.OWN], ids=["clock", "events"])
@pytest.mark.parametrize("case", CASES)
def test_stationary__is_asked_less_and_does_the_same(halted: Path, case: str, subscriptions: EventKind):
    """Fills, refusals of all kinds, a halt, loss limits and latencies that depend on the load; in both forms."""
    config = with_overrides(settings(), CASES[case])
    reports = []
    for make in (plain, jitted):
        strategies, runs = both(lambda make=make: make(subscriptions, MS), halted, config)
        asked, less = (
            s.calls if isinstance(s, ByView) else int(next(iter(s.memories.values()))[0]) for s in strategies
        )
        assert runs[0].reports().tobytes() == runs[1].reports().tobytes()
        assert runs[0].report.parts == runs[1].report.parts
        assert less == asked if case == "run" else less < 0.8 * asked
        reports.append(runs[1].reports())
    assert (runs[0].report.parts[0].stopped_by or "") == {"loss": "max_drawdown", "run": "run_max_loss"}.get(case, "")
    kinds = {enums.EXEC_NEW, enums.EXEC_TRADE, enums.EXEC_CANCELED, enums.EXEC_REJECTED, enums.EXEC_REPLACED}
    assert kinds <= set(reports[0]["exec_type"].tolist())
    assert len(reports[0]) > 200
    if subscriptions == EventKind(0):
        assert reports[0].tobytes() == reports[1].tobytes()


# --- built in


GRID = {"levels": 3, "half_spread": 0.5, "max_position": 4}
PROMISING: dict[str, Callable[[int], Strategy]] = {
    "grid": lambda interval_ms: GridMarketMaker(**GRID, interval_ms=interval_ms),
    "jitted_grid": lambda interval_ms: JittedGridMarketMaker(**GRID, interval_ms=interval_ms),
    "glft": lambda interval_ms: Glft(gamma=0.01, k=10.0, max_position=4, interval_ms=interval_ms),
}


def test_promise__is_given_by_those_that_can_keep_it():
    """The others look at the time, at a window of their own or at a draw, or have no clock."""
    promising = [make(100) for make in PROMISING.values()]
    assert all(strategy.is_stationary for strategy in promising)
    classes = {type(strategy) for strategy in promising}
    assert {name for name, made in BUILT_IN.items() if made.is_stationary} == {"grid", "glft"}
    assert {made for made in BUILT_IN.values() if made.is_stationary} <= classes


@pytest.mark.parametrize("limits", [{}, {"max_orders_per_second": 1, "max_position": 3, "max_loss": 200.0}])
@pytest.mark.parametrize("name", PROMISING)
def test_built_in__gives_the_same_reports_with_its_promise(halted: Path, name: str, limits: dict):
    _, (without, promised) = both(lambda: PROMISING[name](1), halted, settings(limits))
    assert without.reports().tobytes() == promised.reports().tobytes()
    assert len(promised.fills()) > (0 if limits else 3)
    assert not limits or sum(promised.report.rejects.values()) > 5


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "interval_ms"), [("jitted_grid", 100), ("grid", 1000), ("glft", 1000)])
def test_built_in__gives_the_same_reports_on_a_real_session(real_data, tmp_path: Path, name: str, interval_ms: int):
    """A day closed but for its last hour: nearly all strokes show nothing new."""
    file = real_data("ESH4_2023-12-25.mbo.dbn.zst")
    tape = ingest(file, tick_size_nanos=TICK_NANOS, folder=tmp_path)
    _, (without, promised) = both(lambda: PROMISING[name](interval_ms), tape, settings())
    assert without.reports().tobytes() == promised.reports().tobytes()
    assert len(promised.fills()) > 20


def test_promise_that_is_not_kept__changes_the_run(halted: Path):
    """So the tests above can fail: these quotes move with the time to the horizon."""

    def hasty() -> Strategy:
        return AvellanedaStoikov(gamma=0.2, sigma=1.5, k=10.0, horizon_s=3.0, interval_ms=1)

    assert not hasty().is_stationary
    _, (without, promised) = both(hasty, halted, settings())
    assert len(promised.fills()) > 3
    assert without.reports().tobytes() != promised.reports().tobytes()


# --- when it is asked


@decision
def _after_silence(memory, now, market, own, trades, requests):
    """Bids when no trade was shown since the last call, else withdraws."""
    if trades.shape[0] == 0 and own["live"] == 0:
        limit(requests, enums.BUY, 1, now["bid"])
    elif trades.shape[0] > 0 and own["live"] > 0 and not own["orders"][0]["cancelling"]:
        cancel(requests, own["orders"][0]["order_id"])


def test_trades__are_part_of_what_is_shown(halted: Path):
    """The stroke after one that showed trades shows none: something else, on an unchanged market."""

    def silent() -> JittedStrategy:
        return JittedStrategy(_after_silence, np.zeros(1), subscriptions=EventKind(0), timer_interval_ns=MS)

    _, (without, promised) = both(silent, halted, settings())
    assert len(promised.reports()) > 100
    assert without.reports().tobytes() == promised.reports().tobytes()


@pytest.mark.kernel
def test_strokes__by_hand(tmp_path: Path):
    """Events are received at 1, 2, 3, ... us, the clock strikes each 0.25 us. Asked at the first stroke, then with each
    event; what it asks for at 3 us is answered by a report at 3.6 us: asked at the stroke behind both."""
    path = write(tmp_path / "a.dbn", clear(), add(1, "B", 100, 5), add(2, "A", 102, 5), *[nothing()] * 5)
    asked = {}
    for promised in (False, True):

        def act(context: StrategyContext, script: Script) -> StrategyOutput | None:
            if context.market_state.best_ask() is None or context.pending_orders:
                return None
            return StrategyOutput([OrderRequest.limit(Side.BUY, 1, 90 * TICK)])

        script = Script(act, EventKind(0), timer_interval_ns=250)
        script.is_stationary = promised
        run = backtest(path, script, network_latency_us=0.3, processing_latency_us=0)
        assert run.in_words() == ["1 new none"]
        start = run.backtester.accounts[0].lane.time_of(0) - 1_000
        asked[promised] = [ts - start for ts, _ in script.told]
    assert asked[False] == list(range(1_250, 8_001, 250))
    assert asked[True] == [1_250, 2_000, 3_000, 3_250, 3_750, 4_000, 5_000, 6_000, 7_000, 8_000]


@pytest.mark.kernel
def test_limits_of_the_run__ask_at_every_stroke(tmp_path: Path):
    """One holds a lot and has nothing more to ask; at 5.25 us another one stops the run, after its turn: what is held
    goes home with the next stroke, at 5.5 us and not with the next event."""
    path = write(tmp_path / "a.dbn", clear(), add(1, "B", 100, 5), add(2, "A", 102, 5), *[nothing()] * 8)
    config = with_overrides(settings(network_latency_us=0.3, processing_latency_us=0), {"backtest.run_limits": {}})
    sold = {}
    for promised in (False, True):

        def hold(context: StrategyContext, script: Script) -> StrategyOutput | None:
            if context.market_state.best_ask() is None or context.quantity or context.pending_orders:
                return None
            return StrategyOutput([OrderRequest.market(Side.BUY, 1)])

        def stop(context: StrategyContext, script: Script) -> StrategyOutput | None:
            if len(script.told) != 17:
                return None
            return StrategyOutput(kill=Kill(flatten=True, whole_run=True))

        holder = Script(hold, EventKind(0), timer_interval_ns=250)
        holder.is_stationary = promised
        stopper = Script(stop, EventKind(0), timer_interval_ns=250)
        run = backtest(path, {"holder": holder, "stop": stopper}, config=config)
        start = run.backtester.accounts[0].lane.time_of(0) - 1_000
        sold[promised] = [(row["side"], row["ts_exchange"] - start) for row in run.fills()]
        assert run.report.stopped_ns == start + 5_250
    assert sold[False] == sold[True] == [(Side.BUY, 3_300), (Side.SELL, 5_800)]
