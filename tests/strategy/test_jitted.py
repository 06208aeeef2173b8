"""Compiled strategies: the same run as their twins in Python, what they see, and what becomes of what they ask for."""

from pathlib import Path

import numpy as np
import pytest

from bt_gym import (
    EventKind,
    JittedSmaCrossover,
    JittedStrategy,
    Side,
    SimpleMovingAverageCrossover,
    Strategy,
    StrategyOutput,
)
from bt_gym.core import enums
from bt_gym.core import jitted as loop
from bt_gym.core.orders import MAX_REQUESTS
from bt_gym.errors import CapacityError
from bt_gym.strategy.base import NOTHING
from bt_gym.strategy.jitted import cancel, decision, find
from tests.data.compiled import add, clear, fill, nothing, trade
from tests.data.compiled import modify as modify_
from tests.runs import EVERYTHING, Busy, ask, asked, backtest, settings, write

TENTH = 100_000_000


def test_jitted_sma__trades_as_its_twin_does_beside_others(session_file: Path):
    """The same reports to the byte, whoever else runs; the memory of a strategy is not used up by a run."""
    jitted = JittedSmaCrossover(2, 5, 2)
    strategies = {"plain": SimpleMovingAverageCrossover(2, 5, 2), "jitted": jitted, "busy": Busy(3), "again": jitted}
    run = backtest(session_file, strategies)
    plain, compiled, _, again = (run.reports(i) for i in range(4))
    assert len(run.fills(0)) > 10
    assert compiled.tobytes() == plain.tobytes() == again.tobytes()
    alone = backtest(session_file, jitted)
    assert alone.reports().tobytes() == plain.tobytes()
    pnl = [part.total_pnl for part in run.report.parts]
    assert pnl[0] == pnl[1] == pnl[3] == alone.report.total_pnl


# --- a strategy that does everything, in both ways

state_dtype = np.dtype([("seed", "<i8"), ("calls", "<i8")], align=True)
log_dtype = np.dtype(
    [(name, "<i8") for name in ("time", "why", "kinds", "phase", "bid", "ask", "size", "pending", "live")]
)

STATE = state_dtype.itemsize
REFUSED = {"invalid", "unknown_order", "capacity", "max_position", "max_order_size", "max_order_rate", "max_loss"}


def _draw(seed: int) -> int:
    return (seed * 1103515245 + 12345) % (1 << 31)


@decision
def _busy(memory, now, market, own, trades, requests):
    state = memory[:STATE].view(state_dtype)[0]
    log = memory[STATE:].view(log_dtype)
    row = log[state["calls"] % log.shape[0]]
    state["calls"] += 1
    row["time"] = now["time"]
    row["why"] = now["why"]
    row["kinds"] = now["kinds"]
    row["phase"] = now["phase"]
    row["bid"] = now["bid"]
    row["ask"] = now["ask"]
    row["size"] = own["position"]["size"]
    row["pending"] = own["pending"]
    row["live"] = own["live"]
    seed = (state["seed"] * 1103515245 + 12345) % (1 << 31)
    state["seed"] = seed
    if now["bid"] == enums.NO_TICK or now["ask"] == enums.NO_TICK:
        return
    side = (seed >> 8) % 2
    size = (seed >> 10) % 4
    action = (seed >> 16) % 8
    price = now["bid"] + (seed >> 12) % 6 - 3
    ask(requests, own, action, side, size, price)
    if action == 6:
        cancel(requests, seed % 50)


class PlainBusy(Strategy):
    """What `_busy` does, in Python."""

    def __init__(self, **clock: int) -> None:
        self.subscriptions = EVERYTHING
        self.seed = 7
        self.log: list[tuple[int, ...]] = []
        for name, value in clock.items():
            setattr(self, name, value)

    def on_timer(self, timestamp, context):
        return self._decide(enums.CALL_CLOCK, 0, context)

    def on_market_event(self, event, context):
        if event.reports and all(r.kind.endswith("rejected") and r.reason in REFUSED for r in event.reports):
            return NOTHING  # a compiled strategy isn't called for these
        why = enums.CALL_NEWS if event.owner else enums.CALL_EVENT
        return self._decide(why, int(event.kind), context)

    def _decide(self, why, kinds, context):
        market = context.market_state
        bid, ask = market.best_bid(), market.best_ask()
        ticks = [enums.NO_TICK if level is None else level.ticks for level in (bid, ask)]
        pending = context.pending_orders
        phase = {name: code for code, name in enums.names("PHASE_").items()}[market.phase]
        now = context.current_time
        self.log.append((now, why, kinds, phase, *ticks, context.quantity, context.pending_quantity, len(pending)))
        self.seed = seed = _draw(self.seed)
        if bid is None or ask is None:
            return NOTHING
        side, size, action = Side((seed >> 8) % 2), (seed >> 10) % 4, (seed >> 16) % 8
        price = market.price(bid.ticks + (seed >> 12) % 6 - 3)
        if action == 6:
            return StrategyOutput(cancellations=[seed % 50])
        return asked(pending, action, side, size, price)


CLOCKS = [
    {"subscriptions": EVERYTHING},
    {"subscriptions": EventKind.QUOTE | EventKind.OWN, "timer_interval_ns": TENTH},
    {"subscriptions": EventKind(0), "timer_interval_records": 7},
    {"subscriptions": EventKind.TRADE, "timer_interval_trades": 3},
]


@pytest.mark.parametrize("clock", CLOCKS, ids=["events", "timer", "records", "trades"])
def test_jitted__is_called_and_sees_and_sends_as_a_strategy_in_python(session_file: Path, clock: dict):
    """Call by call and report by report, refusals, limits and every kind of clock included."""
    limits = {"max_position": 6, "max_order_size": 2, "max_orders_per_second": 40, "max_loss": 400.0}
    plain = PlainBusy(**clock)
    memory = np.zeros(STATE + 20_000 * log_dtype.itemsize, np.uint8)
    memory[:STATE].view(state_dtype)["seed"] = 7
    jitted = JittedStrategy(_busy, memory, wants_trades=False)
    for name, value in clock.items():
        setattr(jitted, name, value)
    run = backtest(session_file, {"plain": plain, "jitted": jitted}, config=settings(limits))
    assert run.reports(0).tobytes() == run.reports(1).tobytes()
    assert len(run.reports(0)) > 40
    memory = jitted.memories[run.backtester.accounts[1].symbol]
    calls = int(memory[:STATE].view(state_dtype)["calls"][0])
    assert calls == len(plain.log) > 50
    assert memory[STATE:].view(log_dtype)[:calls].tolist() == plain.log


@decision
def _greedy(memory, now, market, own, trades, requests):
    for _ in range(memory[0]):
        cancel(requests, 1)


def test_jitted__that_asks_for_too_much_at_once_is_stopped(session_file: Path):
    greedy = JittedStrategy(_greedy, np.array([MAX_REQUESTS + 2], np.uint8))
    with pytest.raises(CapacityError, match=f"test asks for {MAX_REQUESTS + 2} requests in one call: at most"):
        backtest(session_file, greedy)


@decision
def _watch(memory, now, market, own, trades, requests):
    seen = memory.view(np.int64)
    seen[0] += 1
    seen[1] += trades.shape[0]
    for i in range(trades.shape[0]):
        seen[2] += trades[i]["size"]
        seen[3] += trades[i]["aggressor"] == enums.SELL
    seen[4] = market["session"]["trades"]
    seen[5] = market["session"]["volume"]
    seen[6] = find(own, enums.BUY, 0)


def test_jitted__is_shown_each_trade_once_however_seldom_it_is_called(session_file: Path):
    seldom = JittedStrategy(_watch, np.zeros(8, np.int64), subscriptions=EventKind(0), timer_interval_ns=20 * 10**9)
    often = JittedStrategy(_watch, np.zeros(8, np.int64))
    run = backtest(session_file, {"seldom": seldom, "often": often})
    events = run.backtester.accounts[0].lane.tape.events
    few, many = (next(iter(strategy.memories.values())).tolist() for strategy in (seldom, often))
    assert few[0] < 6 < many[0] == np.count_nonzero(events["flags"] & enums.EVENT_TRADE)
    for _calls, trades, volume, sold, session_trades, session_volume, row, _ in (few, many):
        assert (trades, volume, row) == (session_trades, session_volume, -1)
        assert 0 < sold < trades


def test_loop__compiles_once_for_all_strategies(session_file: Path):
    strategies = {
        "sma": JittedSmaCrossover(2, 5),
        "watch": JittedStrategy(_watch, np.zeros(8, np.int64)),
        "greedy": JittedStrategy(_greedy, np.array([1], np.uint8), wants_trades=False),
    }
    backtest(session_file, strategies)
    assert len(loop.run.signatures) == 1


def test_jitted__needs_a_decision():
    with pytest.raises(TypeError, match=r"decorate the function with bt_gym\.strategy\.jitted\.decision"):
        JittedStrategy(lambda *_: None, np.zeros(1))  # type: ignore[arg-type]


@pytest.mark.kernel
def test_jitted_sma__by_hand(tmp_path: Path):
    """Means of 1 and 2 trades at 100, 102, 100: long after the second, turned by the third; one lot, then two."""
    book = [clear(), add(1, "B", 100, 9), add(2, "A", 102, 9)]
    trades = [
        [trade("A", 100, 1), fill(1, "B", 100, 1), modify_(1, "B", 100, 8)],
        [trade("B", 102, 1), fill(2, "A", 102, 1), modify_(2, "A", 102, 8)],
        [trade("A", 100, 1), fill(1, "B", 100, 1), modify_(1, "B", 100, 7)],
    ]
    path = write(tmp_path / "a.dbn", *book, *trades, *[nothing()] * 9)
    twins = {"plain": SimpleMovingAverageCrossover(1, 2), "jitted": JittedSmaCrossover(1, 2)}
    run = backtest(path, twins, network_latency_us=1, processing_latency_us=0)
    assert run.in_words(0) == run.in_words(1) == ["1 new none", "1 trade none", "2 new none", "2 trade none"]
    assert [(row["side"], row["size"], row["price"]) for row in run.fills(1)] == [(0, 1, 102), (1, 2, 100)]
    assert run.reports(0).tobytes() == run.reports(1).tobytes()
