"""The loop of a backtest: who is told what and when, requests on their way, limits, several strategies and tapes."""

from pathlib import Path

import numpy as np
import pytest

from bt_gym import EventKind, MarketEvent, OrderRequest, OrderUpdate, Side, StrategyContext, StrategyOutput
from bt_gym.core import enums
from bt_gym.core.execution import ExecutionEngine
from bt_gym.core.market import new_market
from bt_gym.core.position_manager import PositionManager
from bt_gym.data.tape import ingest
from bt_gym.errors import ConfigError
from bt_gym.strategy.base import OrderCancel
from tests.data.compiled import add, cancel, clear, fill, nothing, trade
from tests.runs import (
    MARKET,
    RESPONSE,
    TICK,
    Busy,
    Script,
    backtest,
    once,
    settings,
    synthetic,
    write,
)

TICK_NANOS = 250_000_000
SECOND = 1_000_000_000


# --- news


def test_news__arrives_once_and_in_order_at_its_owner(session_file: Path):
    """What the exchange reports is told at its time + response latency, and so is what was refused before it."""
    owners = {"first": Busy(3), "second": Busy(4)}
    run = backtest(session_file, {**owners, "deaf": Busy(5, MARKET)})
    kinds, reasons = enums.names("EXEC_"), enums.names("REASON_")
    for number, (name, strategy) in enumerate(owners.items()):
        expected = []
        for row in run.reports(number):
            refused = row["event"] < 0
            due = row["ts_exchange"] + RESPONSE if refused else row["ts_known"]
            told = (row["order_id"], kinds[row["exec_type"]], reasons[row["reason"]], row["size"], row["ts_exchange"])
            expected.append((due, refused, *told))
        end = max(ts for ts, _ in strategy.told)
        expected = sorted((row for row in expected if row[0] <= end), key=lambda row: row[:2])
        told = [(ts, r.order_id, r.kind, r.reason, r.size, r.ts_exchange) for ts, r in strategy.news]
        assert told == [(due, *rest) for due, _, *rest in expected]
        assert {row[2] for row in told} >= {"new", "trade", "canceled", "rejected", "cancel_rejected", "replaced"}
        assert {event.owner for _, event in strategy.told if event is not None} == {None, name}
    assert not run.backtester.accounts[2].wants_news
    assert len(run.reports(2)) > 50


# --- requests

BOOK = [clear(), add(1, "B", 100, 5), add(2, "A", 102, 5)]
LATER = [nothing()] * 30  # events that change nothing: time goes by
FAST = {"network_latency_us": 1, "processing_latency_us": 0}  # 1 us there, 1 us back


def limit(side: Side, size: float, ticks: float, **options: bool) -> StrategyOutput:
    return StrategyOutput([OrderRequest.limit(side, size, ticks * TICK, **options)])


def market(side: Side, size: int) -> StrategyOutput:
    return StrategyOutput([OrderRequest.market(side, size)])


def modify(order_id: int, size: int, ticks: float) -> StrategyOutput:
    return StrategyOutput(updates=[OrderUpdate(order_id, size, ticks * TICK)])


def answering(*outputs: StrategyOutput | None) -> Script:
    """Sends the first output once the book stands, the next ones with each news of own orders, one a call."""
    left = list(outputs)

    def act(context: StrategyContext, script: Script) -> StrategyOutput | None:
        is_news = script.event is not None and script.event.owner is not None
        ready = is_news or (len(left) == len(outputs) and context.market_state.best_ask() is not None)
        return left.pop(0) if left and ready else None

    return Script(act)


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        (
            [
                limit(Side.BUY, 2, 101),
                modify(1, 3, 100),
                StrategyOutput(cancellations=[1]),
            ],
            ["1 new none", "1 replaced user", "1 canceled user"],
        ),
        ([limit(Side.BUY, 9, 102)], ["1 new none", "1 trade none"]),
        ([limit(Side.BUY, 9, 102, ioc=True)], ["1 new none", "1 trade none", "1 canceled ioc"]),
        ([market(Side.SELL, 9)], ["1 new none", "1 trade none", "1 canceled protection"]),
        (
            [limit(Side.SELL, 1, 103), modify(1, 2, 100)],
            ["1 new none", "1 replaced user", "1 trade none"],
        ),
        (
            [market(Side.BUY, 1), StrategyOutput(cancellations=[1])],
            ["1 new none", "1 trade none", "1 cancel_rejected unknown_order"],
        ),
        (
            [limit(Side.BUY, 1, 90), StrategyOutput(cancellations=[1, 1])],
            ["1 new none", "1 canceled user", "1 cancel_rejected too_late"],
        ),
        (
            [StrategyOutput([*limit(Side.BUY, 1, 90).orders, *limit(Side.SELL, 2, 110).orders])],
            ["1 new none", "2 new none"],
        ),
    ],
)
def test_requests__do_what_they_say(tmp_path: Path, outputs: list, expected: list[str]):
    path = write(tmp_path / "a.dbn", *BOOK, *LATER)
    run = backtest(path, answering(*outputs), **FAST)
    assert run.in_words() == expected


def test_output__sends_cancellations_then_updates_then_orders(tmp_path: Path):
    """The first order makes room for the one that replaces it."""
    path = write(tmp_path / "a.dbn", *BOOK, *LATER)
    both = StrategyOutput(limit(Side.BUY, 2, 101).orders, [1], [OrderUpdate(2, 3, 98 * TICK)])
    strategy = answering(StrategyOutput([*limit(Side.BUY, 1, 99).orders, *limit(Side.BUY, 1, 98).orders]), both)
    run = backtest(path, strategy, **FAST)
    assert run.in_words() == ["1 new none", "2 new none", "1 canceled user", "2 replaced user", "3 new none"]


def test_order__is_filled_at_the_book_of_its_arrival(tmp_path: Path):
    """Sent when 102 is best, it arrives after the seller has left: at equal times the market is first."""
    for gone_at, expected in ((4, [102]), (3, [104])):  # sent at START + 3 us, there at START + 4 us
        events = [*BOOK, add(3, "A", 104, 5), *[nothing()] * (gone_at - 3), cancel(2, "A", 102, 5), *LATER]
        path = write(tmp_path / f"{gone_at}.dbn", *events)
        run = backtest(path, answering(market(Side.BUY, 1)), **FAST)
        assert run.fills()["price"].tolist() == expected


REFUSED = [
    (limit(Side.BUY, 1, 100.5), {}, "rejected invalid"),
    (limit(Side.BUY, 0, 100), {}, "rejected invalid"),
    (limit(Side.SELL, -3, 100), {}, "rejected invalid"),
    (limit(Side.BUY, 1.5, 100), {}, "rejected invalid"),
    (limit(Side.BUY, float("nan"), 100), {}, "rejected invalid"),
    (limit(Side.BUY, 1 << 40, 100), {}, "rejected invalid"),
    (limit(Side.BUY, 1, float("nan")), {}, "rejected invalid"),
    (limit(Side.BUY, 1, float("inf")), {}, "rejected invalid"),
    (limit(Side.BUY, 1, 1e300), {}, "rejected invalid"),
    (limit(Side.BUY, 1, 1 << 26), {}, "rejected invalid"),
    (StrategyOutput([OrderRequest(Side.BUY, 1)]), {}, "rejected invalid"),
    (limit(Side.BUY, 3, 100), {"max_order_size": 2}, "rejected max_order_size"),
    (limit(Side.SELL, 3, 103), {"max_position": 2}, "rejected max_position"),
    (StrategyOutput(cancellations=[7]), {}, "cancel_rejected unknown_order"),
    (modify(7, 1, 100), {}, "cancel_rejected unknown_order"),
    (StrategyOutput(updates=[OrderUpdate(7, 1, 100.1)]), {}, "cancel_rejected unknown_order"),
]


@pytest.mark.parametrize(("output", "limits", "expected"), REFUSED)
def test_refusal__is_data_and_reaches_its_sender(tmp_path: Path, output, limits, expected: str):
    path = write(tmp_path / "a.dbn", *BOOK, *LATER)
    script = answering(output)
    run = backtest(path, script, config=settings(limits, **FAST))
    [(ts, report)] = script.news
    assert (f"{report.kind} {report.reason}", report.size, report.leaves) == (expected, 0, 0)
    assert ts == report.ts_exchange + 1_000 == script.told[2][0] + 1_000
    number = 1 if output.orders else 7
    assert report.order_id == number
    assert run.in_words() == [f"{number} {expected}"]
    assert report.side == (output.orders[0].side if output.orders else None)
    assert run.report.rejects == {expected.split()[1]: 1}


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("side", "buy", "known: 0 buy, 1 sell"),
        ("side", 2, "known: 0 buy, 1 sell"),
        ("order_type", 99, "known: 0 limit, 1 market"),
        ("time_in_force", -1, "known: 0 gtc, 1 ioc"),
        ("post_only", 3, "known: 0 off, 1 reject, 2 slide"),
    ],
)
def test_order__with_a_choice_that_does_not_exist_is_an_error(tmp_path: Path, name: str, value, told: str):
    path = write(tmp_path / "a.dbn", *BOOK, *LATER)
    order = OrderRequest(**{"side": Side.BUY, "size": 1, "price": 100 * TICK} | {name: value})
    with pytest.raises(ConfigError, match=f"order of strategy test: {name}: unknown value {value!r}; {told}"):
        backtest(path, answering(StrategyOutput([order])), **FAST)


def test_refusal__of_a_change_leaves_the_order_as_it_was(tmp_path: Path):
    path = write(tmp_path / "a.dbn", *BOOK, *LATER)
    changes = StrategyOutput(
        updates=[OrderUpdate(1, size, ticks * TICK) for size, ticks in ((3, 101), (2, 100.5), (2, 105))]
    )
    pending = []

    script = answering(limit(Side.SELL, 2, 104), changes)
    ask = script.act
    script.act = lambda context, script: pending.append(context.pending_orders) or ask(context, script)
    run = backtest(path, script, config=settings({"max_order_size": 2}, **FAST))
    first, second = (report for _, report in script.news if report.kind == "cancel_rejected")
    assert (first.reason, first.side, first.leaves, first.price) == ("max_order_size", Side.SELL, 2, 104 * TICK)
    assert (second.reason, second.side, second.leaves) == ("invalid", Side.SELL, 2)
    assert run.in_words()[-1] == "1 replaced user"
    assert [(o.price, o.size, o.leaves) for o in pending[-2]] == [(104 * TICK, 2, 2)]
    assert [(o.price, o.size, o.leaves) for o in pending[-1]] == [(105 * TICK, 2, 2)]


def test_refusal__by_rate_ends_with_the_second(tmp_path: Path):
    path = write(tmp_path / "a.dbn", *BOOK, *LATER)
    orders = StrategyOutput([OrderRequest.limit(Side.BUY, 1, price * TICK) for price in (97, 98, 99)])
    run = backtest(path, answering(orders), config=settings({"max_orders_per_second": 2}, **FAST))
    assert run.in_words() == ["3 rejected max_order_rate", "1 new none", "2 new none"]


def test_output__names_an_unknown_symbol(tmp_path: Path):
    path = write(tmp_path / "a.dbn", *BOOK, *LATER)
    order = StrategyOutput([OrderRequest.market(Side.BUY, 1, symbol="ESZ9")])
    with pytest.raises(ConfigError, match="test named symbol 'ESZ9': the run holds TEST"):
        backtest(path, answering(order))


class Spy:
    """Writes down every call of an execution engine that changes it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: dict[int, list] = {}
        for name in ("process_order_request", "process_cancel", "process_modify", "deliver"):
            monkeypatch.setattr(ExecutionEngine, name, self._written(name, getattr(ExecutionEngine, name)))

    def _written(self, name, method):
        def call(engine, *args):
            self.calls.setdefault(id(engine), []).append((name, args))
            return method(engine, *args)

        return call


def when(name: str, args: tuple) -> int:
    return args[1] if name in ("process_order_request", "process_cancel") else args[-1]


@pytest.mark.parametrize("strategies", [1, 2])
def test_exchange__never_runs_ahead_of_a_request(session_file: Path, tmp_path: Path, monkeypatch, strategies: int):
    """Each account alone, driven from request to request over its tape, writes the same reports."""
    synthetic(6, 60, "other").write(other := tmp_path / "other.dbn")
    tapes = [ingest([path], tick_size_nanos=TICK_NANOS, folder=tmp_path) for path in (session_file, other)]
    spy = Spy(monkeypatch)
    named = {f"busy {i}": Busy(i, timer_ns=SECOND // 3) for i in range(strategies)}
    run = backtest(tapes, named, config=settings({"max_position": 5}))
    monkeypatch.undo()
    for account in run.backtester.accounts:
        tape = account.lane.tape
        alone = ExecutionEngine(account.execution.account["models"], new_market())
        positions = PositionManager(alone.account, alone.market)
        calls = spy.calls[id(account.execution)]
        for name, args in calls:
            alone.advance(tape, when(name, args))
            answer = getattr(alone, name)(*args)
            if name == "deliver":
                for row in np.flatnonzero(answer["exec_type"] == enums.EXEC_TRADE).tolist():
                    positions.process_fill(answer, row)
        alone.advance(tape, account.lane.time_of(len(tape.events) - 1))
        assert alone.reports.tolist() == account.execution.reports.tolist()
        assert len(alone.reports) > 100


# --- time


def test_equal_times__market_then_news_then_timer(tmp_path: Path):
    """Latencies of whole microseconds and a timer of one let everything happen at the same moments."""
    path = write(tmp_path / "a.dbn", *BOOK, *[add(10 + i, "B", 80 + i, 1) for i in range(8)], delays=(0,))
    send, held = once(None, None, None, market(Side.BUY, 1)), []

    def act(context: StrategyContext, script: Script) -> StrategyOutput | None:
        held.append(context.quantity)
        return send(context, script)

    script = Script(act, timer_interval_ns=1_000)
    backtest(path, script, **FAST)
    kinds = ["timer" if event is None else "news" if event.owner else "market" for _, event in script.told]
    times = [(ts - script.told[0][0]) // 1_000 for ts, _ in script.told]
    assert list(zip(times, kinds, held, strict=True))[3:12] == [
        *[(2, "market", 0), (2, "timer", 0), (3, "market", 0), (3, "timer", 0)],
        *[(4, "market", 0), (4, "news", 1), (4, "timer", 1), (5, "market", 1), (5, "timer", 1)],
    ]


@pytest.mark.parametrize("interval", [700, 1_000, 4_300])
def test_timer__comes_at_every_multiple_between_the_first_and_the_last_event(tmp_path: Path, interval: int):
    path = write(tmp_path / "a.dbn", *BOOK, *LATER)
    script = Script(subscriptions=EventKind.TRADE, timer_interval_ns=interval)
    run = backtest(path, script)
    lane = run.backtester.accounts[0].lane
    first, last = lane.time_of(0), lane.time_of(len(lane.tape.events) - 1)
    assert [ts for ts, _ in script.told] == list(range((first // interval + 1) * interval, last + 1, interval))


def test_timer__sees_all_that_was_received_and_may_trade(tmp_path: Path):
    path = write(tmp_path / "a.dbn", *BOOK, *LATER, trade("B", 102, 1), *LATER)
    seen = []

    def act(context: StrategyContext, script: Script) -> StrategyOutput | None:
        seen.append(context.market_state.session.trades)
        return market(Side.SELL, 1) if len(seen) == 3 else None

    run = backtest(path, Script(act, EventKind.OWN, timer_interval_ns=10_000), **FAST)
    assert seen[:6] == [0, 0, 0, 0, 1, 1]  # 10, 20, 30 us; the news; 40 us: the trade came at 34 us; 50 us
    assert run.fills()["ts_exchange"].tolist() == [run.backtester.accounts[0].lane.time_of(0) - 1_000 + 31_000]


# --- several strategies, several instruments


@pytest.fixture(scope="module")
def two_tapes(session_file: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two instruments at the same time."""
    folder = tmp_path_factory.mktemp("two")
    synthetic(6, 60, "other").write(other := folder / "other.dbn")
    return [ingest([path], tick_size_nanos=TICK_NANOS, folder=folder) for path in (session_file, other)]


def many() -> dict[str, Busy]:
    return {
        "trades": Busy(2, EventKind.TRADE | EventKind.OWN),
        "timer": Busy(3, EventKind(0), timer_ns=SECOND // 9),
        "quotes": Busy(4, EventKind.QUOTE, timer_ns=SECOND // 3, activity=0.1),
    }


def test_strategies__together_are_the_same_as_alone(two_tapes: list[Path]):
    limits = {"max_position": 6, "max_loss": 150, "max_orders_per_second": 50}
    together = many()
    run = backtest(two_tapes, {**together, "all": Busy(1, activity=0.1)}, config=settings(limits))
    for number, (name, strategy) in enumerate(many().items()):
        alone = backtest(two_tapes, {name: strategy}, config=settings(limits))
        assert strategy.log == together[name].log
        for lane in range(2):
            mine = alone.backtester.accounts[lane].metrics.account
            theirs = run.backtester.accounts[2 * number + lane].metrics.account
            assert mine.reports.tolist() == theirs.reports.tolist()
            assert mine.strategy_metrics == theirs.strategy_metrics
        assert alone.report.parts == run.report.parts[2 * number : 2 * number + 2]
    assert any(account.positions.is_stopped for account in run.backtester.accounts)


def test_equal_times__of_two_tapes_come_in_their_order_whoever_waits(tmp_path: Path):
    """Both tapes have an event each microsecond; what a strategy sees doesn't depend on what others wait for."""
    fillers = [add(10 + i, "B", 60 + i, 1) if i % 3 else nothing() for i in range(20)]
    trades = [[trade("B", 102, 1), fill(2, "A", 102, 1), cancel(2, "A", 102, 1)]] * 3
    first = write(tmp_path / "1.dbn", *BOOK, *fillers, *trades, *fillers[:0], symbol="ONE", delays=(0,))
    second = write(tmp_path / "2.dbn", *BOOK, *trades, *fillers, symbol="TWO", delays=(0,))
    tapes = [ingest([path], tick_size_nanos=TICK_NANOS, folder=tmp_path) for path in (first, second)]

    class Watch(Script):
        def on_market_event(self, event: MarketEvent, context: StrategyContext) -> StrategyOutput:
            both = [context.of(symbol).market_state.depth(Side.BUY, 30) for symbol in ("ONE", "TWO")]
            self.seen.append((context.current_time, event.symbol, *both))
            return super().on_market_event(event, context)

        on_timer = None

    def watch(kinds: EventKind) -> Watch:
        script = Watch(subscriptions=kinds)
        script.seen = []
        return script

    seen = []
    for others in ({}, {"all": Script()}, {"timer": Script(subscriptions=EventKind(0), timer_interval_ns=500)}):
        script = watch(EventKind.TRADE)
        backtest(tapes, {**others, "watch": script})
        seen.append(script.seen)
    assert seen[0] == seen[1] == seen[2]
    everything = watch(MARKET)
    backtest(tapes, everything)
    order = [(ts, symbol) for ts, symbol, *_ in everything.seen]
    assert order == sorted(order)
    assert {symbol for ts, symbol in order if ts == order[3][0]} == {"ONE", "TWO"}
    trades_seen = {(ts, symbol): rest for ts, symbol, *rest in everything.seen}
    assert all(trades_seen[ts, symbol] == rest for ts, symbol, *rest in seen[0])


def test_requests__go_to_the_instrument_they_name(two_tapes: list[Path]):
    """On a timer the first instrument is meant unless another one is named."""
    far, other = 4000.0, "SYNM6"
    script = Script(
        once(
            StrategyOutput([OrderRequest.limit(Side.BUY, 2, far, symbol=other), OrderRequest.limit(Side.BUY, 1, far)]),
            StrategyOutput(updates=[OrderUpdate(1, 1, far, symbol=other)]),
            StrategyOutput(cancellations=[OrderCancel(1, other)], metrics={"step": 3.0}),
        ),
        EventKind(0),
        timer_interval_ns=10 * SECOND,
    )
    run = backtest(two_tapes, script)
    assert [account.symbol for account in run.backtester.accounts] == ["SYNH6", "SYNM6"]
    assert run.in_words(0) == ["1 new none"]
    assert run.in_words(1) == ["1 new none", "1 replaced user", "1 canceled user"]
    assert [part.strategy_metrics for part in run.report.parts] == [{"step": 3.0}, {}]


@pytest.mark.parametrize(("reacts", "expected"), [(False, "1 trade none"), (True, "1 canceled user")])
def test_news_of_one_instrument__can_still_change_what_happens_on_another(tmp_path: Path, reacts: bool, expected: str):
    """The order on ONE would fill at 50 us; the next to happen is news of TWO at 8 us, on which it is cancelled."""
    hit = [trade("A", 100, 6), fill(1, "B", 100, 5), cancel(1, "B", 100, 5)]
    first = write(tmp_path / "1.dbn", *BOOK, trade("B", 102, 1), *LATER, *LATER[:16], hit, *LATER, symbol="ONE")
    second = write(tmp_path / "2.dbn", *BOOK, *LATER, *LATER, *LATER, symbol="TWO")
    tapes = [ingest([path], tick_size_nanos=TICK_NANOS, folder=tmp_path) for path in (first, second)]

    def act(context: StrategyContext, script: Script) -> StrategyOutput | None:
        if len(script.told) <= 2:
            symbol = ("ONE", "TWO")[len(script.told) - 1]
            return StrategyOutput([OrderRequest.limit(Side.BUY, 1, 100 * TICK, symbol=symbol)])
        return StrategyOutput(cancellations=[OrderCancel(1, "ONE")]) if reacts and len(script.told) == 3 else None

    script = Script(act, EventKind.TRADE | EventKind.OWN)
    assert backtest(tapes, script, **FAST).in_words() == ["1 new none", expected]
    assert [ts - script.told[0][0] for ts, _ in script.told[:3]] == [0, 2_000, 4_000]


# --- phases


def test_fills__happen_in_continuous_trading_only(session_file: Path):
    """Orders that would trade at once are sent in every phase: they are refused, and none fills in the auction."""

    def act(context: StrategyContext, script: Script) -> StrategyOutput:
        bid, ask = context.market_state.best_bid(), context.market_state.best_ask()
        phases.append(context.market_state.phase)
        side = Side(len(script.told) % 2)
        quotes = [OrderRequest.limit(side, 1, level.price) for level in (bid, ask) if level is not None]
        stale = [order.order_id for order in context.pending_orders[:40]]
        return StrategyOutput([OrderRequest.market(side, 1), *quotes], stale)

    phases: list[str] = []
    run = backtest(session_file, Script(act, MARKET), network_latency_us=0, processing_latency_us=0)
    assert set(phases) == {"snapshot", "pre_open", "auction", "continuous"}
    phase = run.backtester.accounts[0].lane.tape.events["flags"] & enums.PHASE_MASK
    fills = run.fills()
    assert set(fills["liquidity"]) == {enums.LIQUIDITY_MAKER, enums.LIQUIDITY_TAKER}
    assert set(phase[fills["event"]]) == {enums.PHASE_CONTINUOUS}
    maker = fills[fills["liquidity"] == enums.LIQUIDITY_MAKER]
    assert set(phase[maker["event"] - 1]) == {enums.PHASE_CONTINUOUS}
    refused = run.reports()[run.reports()["reason"] == enums.REASON_NOT_TRADING]
    assert {enums.PHASE_SNAPSHOT, enums.PHASE_PRE_OPEN} <= set(phase[refused["event"]])
    assert enums.PHASE_CONTINUOUS not in phase[refused["event"]]
    auction = np.flatnonzero(phase == enums.PHASE_AUCTION)
    assert not np.isin(fills["event"], auction).any()


# --- limits


def test_loss_limit__holds_for_each_strategy_by_itself(session_file: Path):
    both = {"loser": Busy(1, MARKET, activity=0.8), "idle": Script()}
    run = backtest(session_file, both, config=settings({"max_loss": 100}))
    assert [account.positions.is_stopped for account in run.backtester.accounts] == [True, False]
    assert run.report.parts[0].final_position == 0
    assert run.report.parts[0].total_pnl <= -100
    assert run.report.rejects["max_loss"] > 100


# --- metrics of strategies


def test_metrics__are_kept_with_their_time(tmp_path: Path):
    path = write(tmp_path / "a.dbn", *BOOK, *LATER)
    outputs = [StrategyOutput(metrics={"a": 1}), StrategyOutput(metrics={"a": float("nan"), "b": 2.5})]
    script = Script(once(*outputs))
    run = backtest(path, script)
    first, second = (ts for ts, _ in script.told[:2])
    kept = run.backtester.accounts[0].metrics.account.strategy_metrics
    assert list(kept) == [(first, "a", 1.0), (second, "a", None), (second, "b", 2.5)]
    assert run.report.parts[0].strategy_metrics == {"a": None, "b": 2.5}
