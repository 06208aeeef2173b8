"""Limits of a whole run: worked numbers, a slow twin that adds up the equity, and runs that they leave as they are."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bt_gym import BacktestConfig, EventKind, JittedStrategy, Kill, OrderRequest, Side, StrategyContext, StrategyOutput
from bt_gym.config import with_overrides
from bt_gym.core import enums
from bt_gym.data.tape import ingest
from bt_gym.errors import ConfigError
from bt_gym.strategy.grid import JittedGridMarketMaker
from bt_gym.strategy.jitted import decision, kill_switch, limit
from tests.data.compiled import add, cancel, clear, nothing
from tests.runs import MARKET, TICK, Busy, Run, Script, backtest, settings, synthetic, write

TICK_NANOS = 250_000_000
SECOND = 1_000_000_000
WIDE = {"max_position": 10**6, "max_orders_per_second": 10**6, "max_loss": 10**9, "max_drawdown": 10**9}


def limited(limits: Mapping[str, Any], **latency: float) -> BacktestConfig:
    return with_overrides(settings(**latency), {"backtest.run_limits": dict(limits)})


@pytest.fixture(scope="module")
def two_tapes(session_file: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("two")
    synthetic(6, 60, "other").write(other := folder / "other.dbn")
    return [ingest([path], tick_size_nanos=TICK_NANOS, folder=folder) for path in (session_file, other)]


def everyone() -> dict[str, Any]:
    """Strategies of all kinds, all of which lose."""
    return {
        "trades": Busy(2, EventKind.TRADE | EventKind.OWN),
        "deaf": Busy(3, EventKind.TRADE, activity=0.8),
        "jitted": JittedGridMarketMaker(levels=2, interval_ms=400, half_spread=0.5),
        "clock": Busy(4, EventKind(0), timer_ns=SECOND // 9),
    }


@pytest.fixture(scope="module")
def free(two_tapes: list[Path]) -> Run:
    return backtest(two_tapes, everyone())


# --- they leave alone what they don't concern


def test_limits_out_of_reach__change_nothing(two_tapes: list[Path], free: Run):
    """Desks that take turns, compiled ones too, give the bytes of desks that run by themselves."""
    run = backtest(two_tapes, everyone(), config=limited(WIDE))
    assert [run.reports(i).tobytes() for i in range(8)] == [free.reports(i).tobytes() for i in range(8)]
    assert sum(len(run.fills(i)) for i in range(8)) > 100
    assert run.report.stopped_by is None
    assert run.report.total_pnl == free.report.total_pnl


# --- loss, drawdown


def equities(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """The slow twin: (times, equity in 1e-6) of all accounts together at every time at which anything became known.

    Each time stands there twice: with the marks received by then, then with the fills known then as well.
    """
    accounts = [account.metrics.account for account in run.backtester.accounts]
    lanes = [account.lane for account in run.backtester.accounts]
    received = [lane.tape.events["ts_event"] + lane.tape.events["delay"] for lane in lanes]
    known = [np.sort(account.fills["ts_known"]) for account in accounts]
    times = np.unique(np.concatenate([*received, *known]))
    total = np.zeros((len(times), 2), np.int64)
    for account, when, fills in zip(accounts, received, known, strict=True):
        mark2 = account.marks.after_event(np.searchsorted(when, times, "right") - 1)
        for column, side in enumerate(("left", "right")):
            state = account.positions[np.searchsorted(fills, times, side)]
            held = np.where(state["size"] == 0, 0, state["size"] * mark2 * account.tick_value)
            total[:, column] += state["cash"] + held // 2 - state["fees"]
    return np.repeat(times, 2), total.ravel()


@pytest.mark.parametrize("limit_", ["max_loss", "max_drawdown"])
@pytest.mark.parametrize("share", [0.2, 0.6])
def test_loss_of_all_together__stops_the_run_at_the_very_time(
    two_tapes: list[Path], free: Run, limit_: str, share: float
):
    times, equity = equities(free)
    fallen = -equity if limit_ == "max_loss" else np.maximum.accumulate(np.maximum(equity, 0)) - equity
    allowed = int(fallen.max() * share) // 10_000 * 10_000  # whole cents
    at = int(times[np.argmax(fallen >= allowed)])
    run = backtest(two_tapes, everyone(), config=limited({limit_: allowed / 1e6}))
    assert (run.report.stopped_by, run.report.stopped_ns) == (f"run_{limit_}", at)
    for number, account in enumerate(run.backtester.accounts):
        assert account.metrics.account.stopped == (at, getattr(enums, f"REASON_RUN_{limit_.upper()}"))
        before = [rows[rows["ts_exchange"] <= at].tobytes() for rows in (run.reports(number), free.reports(number))]
        assert before[0] == before[1]
        assert run.report.parts[number].final_position == 0
        later = run.reports(number)[run.reports(number)["ts_exchange"] > at + 10 * SECOND]
        assert set(later["exec_type"].tolist()) <= {enums.EXEC_REJECTED, enums.EXEC_CANCEL_REJECTED}
    assert run.report.rejects[f"run_{limit_}"] > 10
    assert any("trading was stopped by run_" in note for note in run.report.notes)


def falling() -> list:
    """Asks stay at 102, the bid falls from 100 by a tick each 10 us; enough is displayed to sell into."""
    book: list = [clear(), add(1, "B", 100, 50), add(2, "A", 102, 50)]
    for step in range(1, 8):
        lower = [add(10 + step, "B", 100 - step, 50), cancel(10 + step - 1 if step > 1 else 1, "B", 101 - step, 50)]
        book += [*[nothing()] * 8, *lower]
    return [*book, *[nothing()] * 30]


def buyer(size: int) -> Script:
    """Buys so many lots at the market, once."""

    def act(context: StrategyContext, script: Script) -> StrategyOutput | None:
        if len(script.told) != 3:  # the book stands
            return None
        return StrategyOutput([OrderRequest.market(Side.BUY, size)])

    return Script(act)


def test_max_loss__in_numbers(tmp_path: Path):
    """A buys 1, B buys 2, all at 102; a tick is 12.50, a fee 2.05. Mid 101: -3*12.50 - 6.15 = -43.65; a tick of the bid
    is half a tick of the mid, 18.75: -62.40, -81.15, -99.90. A limit of 99.90 is reached then, of 99.91 a tick later.
    """
    path = write(tmp_path / "a.dbn", *falling())
    fast = {"network_latency_us": 1, "processing_latency_us": 0}
    found = {}
    for allowed in (99.90, 99.91):
        run = backtest(path, {"a": buyer(1), "b": buyer(2)}, config=limited({"max_loss": allowed}, **fast))
        events = run.backtester.accounts[0].lane.tape.events
        assert run.report.stopped_ns is not None
        received = events["ts_event"] + events["delay"]
        found[allowed] = int(events["bid"][np.searchsorted(received, run.report.stopped_ns, "right") - 1])
        assert [part.final_position for part in run.report.parts] == [0, 0]
        assert [run.in_words(i) for i in range(2)] == [["1 new none", "1 trade none", "2 new none", "2 trade none"]] * 2
    assert found == {99.90: 97, 99.91: 96}


# --- orders


def test_max_position__counts_all_strategies_and_their_working_orders(tmp_path: Path):
    """At most 3 lots a side together: 2 bid by A, 1 by B; 3 offered by A; what either asks for more is refused."""

    def asks(*wanted: tuple[Side, int]) -> Script:
        left = list(wanted)

        def act(context: StrategyContext, script: Script) -> StrategyOutput | None:
            if not left:
                return None
            side, size = left.pop(0)
            return StrategyOutput([OrderRequest.limit(side, size, (90 if side == Side.BUY else 110) * TICK)])

        return Script(act, EventKind(0), timer_interval_ns=10_000)

    path = write(tmp_path / "a.dbn", clear(), add(1, "B", 100, 5), add(2, "A", 102, 5), *[nothing()] * 200)
    first = asks((Side.BUY, 2), (Side.SELL, 3), (Side.BUY, 1))
    second = asks((Side.BUY, 1), (Side.BUY, 1), (Side.SELL, 1))
    run = backtest(path, {"a": first, "b": second}, config=limited({"max_position": 3}))
    assert [row for row in run.in_words(0) if "run_" in row] == ["3 rejected run_max_position"]
    assert [row for row in run.in_words(1) if "run_" in row] == [
        "2 rejected run_max_position",
        "3 rejected run_max_position",
    ]
    assert run.report.rejects == {"run_max_position": 3}


def test_max_position__is_never_exceeded_by_all_together(two_tapes: list[Path]):
    """At the exchange, whatever is under way: B4.19 for a whole run."""
    run = backtest(two_tapes, everyone(), config=limited({"max_position": 5}))
    for lane in range(2):
        accounts = [account.metrics.account for account in run.backtester.accounts[lane::2]]
        fills = np.concatenate([account.fills for account in accounts])
        fills = fills[np.argsort(fills["ts_exchange"], kind="stable")]
        held = np.cumsum((1 - 2 * fills["side"].astype(np.int64)) * fills["size"])
        assert 2 <= np.abs(held).max() <= 5
    assert run.report.rejects["run_max_position"] > 10


def test_max_orders_per_second__counts_all_strategies(two_tapes: list[Path]):
    run = backtest(two_tapes, everyone(), config=limited({"max_orders_per_second": 4}))
    sent = np.concatenate([run.reports(i) for i in range(8)])
    new = sent[(sent["exec_type"] == enums.EXEC_NEW) | (sent["exec_type"] == enums.EXEC_REPLACED)]
    at_exchange = np.unique((new["ts_exchange"] - 60_000) // SECOND, return_counts=True)[1]
    assert at_exchange.max() == 4  # those that take at once and are refused later count too: no more than 4 ever
    assert run.report.rejects["run_max_order_rate"] > 50


# --- kill switch


def throws(kill: Kill, after: int = 300) -> Script:
    def act(context: StrategyContext, script: Script) -> StrategyOutput | None:
        return StrategyOutput(kill=kill) if len(script.told) == after else None

    return Script(act, MARKET)


def test_kill_of_the_run__stops_everybody_at_once(two_tapes: list[Path]):
    run = backtest(two_tapes, {**everyone(), "guard": throws(Kill(flatten=True, whole_run=True))}, config=limited({}))
    guard = [(ts, event) for ts, event in run.backtester._strategies["guard"].told]
    assert (run.report.stopped_by, run.report.stopped_ns) == ("run_kill_switch", guard[299][0])
    assert [part.final_position for part in run.report.parts] == [0] * 10
    assert all(not account.execution.account["orders_live"][0] for account in run.backtester.accounts)


def test_kill__leaves_others_and_the_position_unless_told(session_file: Path):
    def act(context: StrategyContext, script: Script) -> StrategyOutput | None:
        if context.market_state.phase != "continuous":
            return None
        calls.append(context.current_time)
        if len(calls) == 1:
            bid = context.market_state.best_bid()
            far = OrderRequest.limit(Side.BUY, 1, bid.price - 10 * TICK)
            return StrategyOutput([OrderRequest.market(Side.BUY, 2), far])
        if len(calls) == 200:
            return StrategyOutput([OrderRequest.market(Side.BUY, 1)], kill=Kill(flatten))
        return None

    for flatten, held in ((False, 2), (True, 0)):
        calls: list[int] = []
        run = backtest(session_file, {"one": Script(act, MARKET), "two": Busy(3)})
        one, two = run.report.parts
        assert (one.stopped_by, one.stopped_ns, one.final_position) == ("kill_switch", calls[199], held)
        assert run.in_words()[-2 - 2 * flatten :][:2] == ["3 rejected kill_switch", "2 canceled kill_switch"]
        assert (two.stopped_by, run.report.stopped_by) == (None, None)


def test_kill_of_the_run__takes_its_section(two_tapes: list[Path]):
    strategies = {"guard": throws(Kill(whole_run=True)), "other": Busy(2)}
    with pytest.raises(ConfigError, match=r"strategy guard stops the whole run.*backtest\.run_limits"):
        backtest(two_tapes[0], strategies)


@decision
def kill_after_a_while(memory, now, market, own, trades, requests):
    """Rests an order, then stops: memory holds (calls, flatten, whole run)."""
    state = memory.view(np.int64)
    state[0] += 1
    if state[0] == 40:
        limit(requests, enums.BUY, 1, now["bid"] - 5)
    if state[0] == 60:
        kill_switch(requests, state[1] != 0, state[2] != 0)


@pytest.mark.parametrize("whole_run", [0, 1])
def test_kill__of_a_compiled_strategy(session_file: Path, whole_run: int):
    strategy = JittedStrategy(
        kill_after_a_while, np.array([0, 1, whole_run]), subscriptions=EventKind(0), timer_interval_ns=SECOND
    )
    config = limited({}) if whole_run else settings()
    run = backtest(session_file, {"compiled": strategy, "other": Busy(3)}, config=config)
    reason = "run_kill_switch" if whole_run else "kill_switch"
    assert run.report.parts[0].stopped_by == reason
    assert run.in_words()[-1] == f"1 canceled {reason}"
    assert run.report.parts[1].stopped_by == (reason if whole_run else None)
    assert run.report.stopped_by == (reason if whole_run else None)
    if whole_run:
        assert run.report.parts[1].final_position == run.report.parts[0].final_position == 0
