"""What a strategy sees: the market as received, its position and orders as reported; both against slow twins."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from bt_gym import (
    EventKind,
    Instrument,
    MarketEvent,
    MarketStateView,
    OrderRequest,
    Side,
    StrategyContext,
    StrategyOutput,
)
from bt_gym.core import enums
from bt_gym.core.market import move, new_market
from bt_gym.core.orders import new_account, new_models
from bt_gym.core.positions import apply_fill
from bt_gym.data import dbn
from bt_gym.strategy.context import PositionView, SessionStatistics
from tests.data.compiled import add, cancel, clear, compiled, fill, trade
from tests.reference.as_received import Feed
from tests.runs import EVERYTHING, Busy, Script, backtest, synthetic

TICK_NANOS = 250_000_000
LETTERS = {"B": Side.BUY, "A": Side.SELL, "N": None}
SECOND = 1_000_000_000


def in_ticks(price: int) -> int:
    assert price % TICK_NANOS == 0
    return price // TICK_NANOS


# --- the market as received


def check_market(context: StrategyContext, feed: Feed, event: MarketEvent | None) -> None:
    """Everything the view tells equals the reference book over what was received."""
    if event is None or event.kind == EventKind.OWN:
        feed.receive_until(context.current_time)
    else:
        raw = feed.receive_event(event.ts_event)
        assert (raw.ts_event, raw.ts_recv) == (event.ts_event, event.ts_recv)
        assert context.current_time == event.ts_recv
        prints = [record for record in raw.records if record.action == "T"]
        assert [trade.ts_event for trade in event.trades] == [event.ts_event] * len(prints)
        assert [(t.ticks, t.price, t.size, t.aggressor) for t in event.trades] == [
            (in_ticks(t.price), t.price / 1e9, t.size, LETTERS[t.side]) for t in prints
        ]
    assert feed.received == len(feed.events) or feed.events[feed.received].ts_recv >= context.current_time
    if feed.received % 3:  # the reference is slow
        return
    market = context.market_state
    for letter, side, best in (("B", Side.BUY, market.best_bid()), ("A", Side.SELL, market.best_ask())):
        expected = [(level.price / 1e9, in_ticks(level.price), level.size) for level in feed.depth(letter, 10)]
        assert market.depth(side, 10) == expected
        assert best == (expected[0] if expected else None)
    newest = feed.trades[: -6 - 1 : -1][:6]
    assert [(t.ts_event, t.ticks, t.size, t.aggressor) for t in market.recent_trades(6)] == [
        (t.ts_event, in_ticks(t.price), t.size, LETTERS[t.aggressor]) for t in newest
    ]
    now = market.session
    prices = [None if x is None else x / 1e9 for x in (feed.statistics()[2:])]
    assert (now.trades, now.volume, now.open, now.high, now.low, now.last) == (*feed.statistics()[:2], *prices)
    if feed.trades:
        exact = sum(t.price * t.size for t in feed.trades) / 1e9 / now.volume
        assert now.vwap == pytest.approx(exact, rel=1e-14)


@pytest.mark.parametrize("kinds", [EVERYTHING, EventKind.TRADE, EventKind.QUOTE, EventKind.PHASE])
def test_view__is_the_reference_book_over_what_was_received(session_file: Path, kinds: EventKind):
    feed = Feed(synthetic().records)

    def act(context: StrategyContext, script: Script) -> StrategyOutput | None:
        check_market(context, feed, script.event)
        return StrategyOutput([OrderRequest.market(Side.BUY, 1)]) if len(script.told) % 50 == 0 else None

    script = Script(act, kinds | EventKind.OWN, timer_interval_ns=SECOND // 3)
    backtest(session_file, script, extra_feed_latency_us=0)
    market_events = [event for _, event in script.told if event is not None and event.kind != EventKind.OWN]
    assert len(market_events) > 2
    assert all(event.kind & kinds for event in market_events)
    if kinds == EVERYTHING:
        assert len(market_events) == feed.received == len(feed.events)
    if kinds == EventKind.TRADE:
        assert sum(len(event.trades) for event in market_events) == len(feed.trades)


def test_view__comes_later_by_the_extra_feed_latency(session_file: Path):
    """All that is told at all is told, and so late."""

    def times(extra_us: int) -> list[int]:
        script = Script(subscriptions=EventKind.QUOTE)
        backtest(session_file, script, extra_feed_latency_us=extra_us)
        assert all(ts == event.ts_recv for ts, event in script.told)
        return [ts for ts, _ in script.told]

    assert times(1500) == [ts + 1_500_000 for ts in times(0)]


@pytest.mark.real_data
def test_view__is_the_reference_book_on_real_data(real_data, tmp_path: Path):
    path = real_data("ESH4_2023-12-25.mbo.dbn.zst")
    file = dbn.open_dbn(path)
    feed = Feed(np.concatenate(list(file.chunks(file.select()))))
    script = Script(lambda context, script: check_market(context, feed, script.event), EventKind.TRADE)
    backtest(path, script, tapes=tmp_path)
    assert len(script.told) == 2834


# --- own orders as reported


@pytest.mark.parametrize("response_us", [0, 50, 3000])
def test_own_state__lags_by_the_response_latency(session_file: Path, response_us: int):
    """What a strategy has at a call is what the reports known by then amount to; at equal times the market is first."""
    seen = []

    class Watched(Busy):
        def on_market_event(self, event: MarketEvent, context: StrategyContext) -> StrategyOutput:
            strictly = event.owner is None
            seen.append((context.current_time, strictly, context.position, context.pending_orders, context.quantity))
            assert context.pending_quantity == sum(o.side.sign * o.leaves for o in context.pending_orders)
            return super().on_market_event(event, context)

    run = backtest(session_file, Watched(1), response_latency_us=response_us)
    reports = run.reports()
    reports = reports[reports["event"] >= 0]  # not what was refused on our side
    assert len(reports) > 200
    lag = np.maximum.accumulate(reports["ts_exchange"] + response_us * 1000)
    assert reports["ts_known"].tolist() == lag.tolist()
    to_come = [dict(zip(reports.dtype.names, row, strict=True)) for row in reports.tolist()][::-1]
    filled, bought, last, limits = Counter(), 0, {}, {}
    for now, strictly, position, pending, quantity in seen:
        while to_come and to_come[-1]["ts_known"] < now + (not strictly):
            row = to_come.pop()
            last[row["order_id"]] = row
            if row["exec_type"] == enums.EXEC_TRADE:
                filled[row["order_id"]] += row["size"]
                bought += row["size"] * (1 - 2 * row["side"])
            elif row["exec_type"] in (enums.EXEC_NEW, enums.EXEC_REPLACED):
                limits[row["order_id"]] = row["price"]
        assert position.quantity == quantity == bought
        assert position.total_volume == filled.total()
        assert position.fees == pytest.approx(2.05 * filled.total())
        assert {order.order_id for order in pending} >= {number for number, row in last.items() if row["leaves"] > 0}
        for order in pending:
            assert order.acknowledged == (order.order_id in last)
            if order.acknowledged:
                row = last[order.order_id]
                assert order.leaves == row["leaves"] > 0
                assert (order.price, order.side) == (limits[order.order_id] * 0.25, row["side"])
                assert order.size == order.leaves + filled[order.order_id]


# --- by hand

BOOK = [
    clear(),
    add(1, "B", 100, 5),
    add(2, "A", 102, 6),
    add(3, "B", 99, 7),
    add(4, "B", 100, 1),
    add(5, "A", 1000, 2),
]


def context_of(*events: object, received: int | None = None) -> StrategyContext:
    """A strategy's context on a tape of which so many events have been received; no orders yet."""
    tape = compiled(*events)
    market = new_market()
    move(market[0], tape.records, tape.events, tape.blocks, len(tape.events) if received is None else received)
    es = Instrument.from_values("ES", "0.25", 50)
    account = new_account(new_models(tick_value=es.tick_value_micros))
    contexts: dict[str, StrategyContext] = {}
    contexts["ES"] = StrategyContext("me", es, MarketStateView(tape, market, es), account, market, {}, contexts)
    return contexts["ES"]


def book_fills(context: StrategyContext, *fills: tuple[int, float]) -> None:
    """Fills of (signed lots, price), 2.50 a lot in fees."""
    for lots, price in fills:
        side, ticks = (0, round(price * 4)) if lots > 0 else (1, round(price * 4))
        apply_fill(context._account["known_position"][0], side, abs(lots), ticks, 12_500_000, abs(lots) * 2_500_000)


def test_view__before_the_first_event_knows_nothing():
    context = context_of(*BOOK, received=0)
    view = context.market_state
    assert (view.best_bid(), view.best_ask(), view.mid(), view.phase) == (None, None, None, "suspect")
    assert (view.depth(Side.BUY), view.depth(Side.SELL), view.recent_trades(3)) == ([], [], [])
    assert view.session == SessionStatistics(0, 0, None, None, None, None, None)
    assert context.position == PositionView(0, None, 0.0, 0.0, 0.0, 0, 0)
    assert context.pending_orders == []


def test_view__of_a_book():
    view = context_of(*BOOK).market_state
    assert view.best_bid() == (25.0, 100, 6)
    assert view.depth(Side.BUY) == [(25.0, 100, 6), (24.75, 99, 7)]
    assert view.depth(Side.BUY, 1) == [(25.0, 100, 6)]
    assert view.depth(Side.SELL) == [(25.5, 102, 6)]  # the other one lies beyond the ladder
    assert (view.mid(), view.phase) == (25.25, "continuous")


def test_view__keeps_the_last_valid_mid_of_a_book_with_one_side():
    view = context_of(*BOOK, cancel(5, "A", 1000, 2), cancel(2, "A", 102, 6)).market_state
    assert (view.best_ask(), view.mid()) == (None, 25.25)


def test_view__tells_trades_newest_first_and_the_session():
    sweep = [trade("B", 102, 2), fill(2, "A", 102, 2), trade("B", 102, 1), fill(2, "A", 102, 1), cancel(2, "A", 102, 3)]
    view = context_of(*BOOK, sweep, trade("A", 100, 4)).market_state
    assert [(t.ticks, t.price, t.size, t.aggressor) for t in view.recent_trades(5)] == [
        (100, 25.0, 4, Side.SELL),
        (102, 25.5, 1, Side.BUY),
        (102, 25.5, 2, Side.BUY),
    ]
    assert [t.size for t in view.recent_trades(2)] == [4, 1]
    vwap = pytest.approx((25.5 * 3 + 25.0 * 4) / 7)
    assert view.session == SessionStatistics(3, 7, vwap, 25.5, 25.5, 25.0, 25.0)


def test_position__has_the_average_price_and_profit_of_the_worked_example():
    """Buy 2 at 4800, 1 at 4801, sell 1 at 4802: the average stays 4800.33, 83.33 is realised; then a turn."""
    context = context_of(*BOOK)
    context._market["mark2"] = 2 * 4 * 4798
    book_fills(context, (2, 4800), (1, 4801), (-1, 4802))
    position = context.position
    assert (position.quantity, position.max_position, position.total_volume) == (2, 3, 4)
    assert position.avg_price == pytest.approx(4800 + 1 / 3, abs=1e-6)
    assert position.realized_pnl == pytest.approx(83.333333, abs=1e-6)
    assert position.unrealized_pnl == pytest.approx((4798 - 4800 - 1 / 3) * 2 * 50, abs=1e-5)
    assert position.fees == 10.0
    book_fills(context, (-4, 4799.50))
    position = context.position
    assert (position.quantity, position.avg_price, position.realized_pnl) == (-2, 4799.5, 0.0)
    assert position.unrealized_pnl + position.realized_pnl - position.fees == 130.0


def test_position__without_a_mark_has_no_unrealised_profit():
    context = context_of(clear(), add(1, "B", 100, 5))
    book_fills(context, (1, 25.0))
    assert context.market_state.mid() is None
    assert context.position.unrealized_pnl == 0.0


def test_context__of_another_instrument_has_the_same_time():
    context = context_of(*BOOK)
    context.current_time = 17
    assert context.of("ES").current_time == 17
    with pytest.raises(KeyError, match="NQ"):
        context.of("NQ")
