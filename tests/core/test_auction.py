"""Own orders at an uncross, on request: worked cases, a twin with real queues, the synthetic exchange, a real open."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bt_gym import BacktestConfig, EventKind, JittedStrategy, OrderRequest, Side, StrategyOutput
from bt_gym.core import enums
from bt_gym.core.enums import BUY, SELL
from bt_gym.core.tape import KIND_MASK, TICK_SHIFT
from bt_gym.data import dbn
from bt_gym.data.synthetic import OwnOrder, generate
from bt_gym.strategy.jitted import decision, limit
from tests.core.test_matching import Case
from tests.data.compiled import compile_array
from tests.reference import streams
from tests.reference.scenario import Order, engine, rows
from tests.reference.sessions import ALL_TYPES, LIMIT, TRADING, UNUSUAL, Pair, scripts, sessions
from tests.runs import Script, backtest

AUCTION_FILL = ("order_id", "price", "size", "leaves", "liquidity", "fee")
SESSIONS = settings(max_examples=settings().max_examples // 3, suppress_health_check=list(HealthCheck))


def before_an_uncross(**models: int) -> tuple[Case, int, int]:
    """A pre-open: event 2, the next, comes to a book with a bid of 4 lots at 103 and an ask of 7 at 102."""
    case = Case(auction=1, maker_fee=-3, taker_fee=5, **models)
    case.market.snapshot(("B", 100, 5), ("A", 106, 9))
    ask = case.market.add("A", 102, 7)
    return case, case.market.add("B", 103, 4), ask


def uncross(case: Case, bid: int, ask: int, ticks: int = 102, size: int = 4) -> None:
    """Both orders trade `size` lots at one price: T and F's without side."""
    market = case.market
    fills = [market.record("F", "N", ticks, size, order_id=order_id) for order_id in (bid, ask)]
    market.event(market.record("T", "N", ticks, size), *fills, *market.booked({bid: size, ask: size}))


def trades(case: Case) -> list[tuple[int, ...]]:
    reports = case.run().reports
    return rows(reports[reports["exec_type"] == enums.EXEC_TRADE], *AUCTION_FILL)


def test_uncross__fills_what_is_strictly_better_at_its_price_with_the_takers_fee():
    case, bid, ask = before_an_uncross()
    case.bid(104, 3)
    case.bid(102, 2)  # at the price
    case.bid(101, 2)
    uncross(case, bid, ask)
    assert trades(case) == [(1, 102, 3, 0, enums.LIQUIDITY_AUCTION, 15)]


def test_uncross__gives_no_more_than_it_traded_better_prices_first_then_by_arrival():
    case, bid, ask = before_an_uncross()
    case.bid(103, 2)
    case.bid(105, 3)
    case.bid(103, 5)
    uncross(case, bid, ask)
    assert [fill[:4] for fill in trades(case)] == [(2, 102, 3, 0), (1, 102, 1, 1)]


def test_uncross__has_its_volume_for_each_side():
    """Whoever allows own orders to trade with each other has both in the auction."""
    case, bid, ask = before_an_uncross(self_match=enums.SELF_MATCH_ALLOW)
    case.bid(104, 9)
    case.ask(101, 9)
    uncross(case, bid, ask)
    assert [fill[:4] for fill in trades(case)] == [(1, 102, 4, 5), (2, 102, 4, 5)]


@pytest.mark.parametrize(
    ("policy", "ended"),
    [
        (enums.SELF_MATCH_CANCEL_OLDEST, [1]),
        (enums.SELF_MATCH_CANCEL_NEWEST, [2]),
        (enums.SELF_MATCH_CANCEL_BOTH, [1, 2]),
        (enums.SELF_MATCH_REJECT, [2]),
    ],
)
def test_order_in_a_pre_open__meets_own_ones_by_the_policy(policy: int, ended: list[int]):
    case, bid, ask = before_an_uncross(self_match=policy)
    case.bid(104, 1)
    case.ask(101, 1)
    reports = case.run().reports
    assert reports["order_id"][reports["reason"] == enums.REASON_SELF_MATCH].tolist() == ended
    uncross(case, bid, ask)
    assert [fill[0] for fill in trades(case)] == [order_id for order_id in (1, 2) if order_id not in ended]


def test_uncross__is_met_by_orders_that_rest_from_continuous_trading_on():
    """An ask comes in through our bid while nothing matches: the uncross below our limit fills us."""
    case = Case(auction=1)
    case.market.snapshot(("B", 100, 5), ("A", 106, 9))
    case.market.event(case.market.record("N"))
    case.market.trade("A", 100, {}, more=1)  # what came before it was continuous trading
    case.bid(101, 2)
    ask = case.market.add("A", 99, 7)
    bid = next(iter(case.market.book.queue("B", 100 * streams.TICK)))
    uncross(case, bid, ask, ticks=99)
    assert [fill[:4] for fill in trades(case)] == [(1, 99, 2, 0)]


def test_order_that_arrives_with_the_uncross__has_no_part_in_it():
    case, bid, ask = before_an_uncross()
    case.bid(101, 2)
    uncross(case, bid, ask)
    case.bid(104, 2)
    case.modify(1, 2, 104)
    reports = case.run().reports
    assert not (reports["exec_type"] == enums.EXEC_TRADE).any()
    assert rows(reports, "order_id", "exec_type", "reason")[1:] == [
        (2, enums.EXEC_REJECTED, enums.REASON_NOT_TRADING),
        (1, enums.EXEC_CANCEL_REJECTED, enums.REASON_NOT_TRADING),
    ]


def test_modify_in_a_pre_open__takes_part_at_its_new_limit():
    case, bid, ask = before_an_uncross()
    case.bid(101, 2)
    case.modify(1, 3, 104)
    uncross(case, bid, ask)
    assert [fill[:4] for fill in trades(case)] == [(1, 102, 3, 0)]


@pytest.mark.parametrize(
    "order",
    [
        Order(BUY, 1, enums.ORDER_MARKET),
        Order(BUY, 1, enums.ORDER_STOP),
        Order(BUY, 1, enums.ORDER_LIMIT, enums.TIF_IOC),
        Order(BUY, 1, enums.ORDER_LIMIT, enums.TIF_FOK),
        Order(BUY, 1, post_only=enums.POST_ONLY_REJECT),
    ],
)
def test_pre_open__takes_limit_orders_that_rest_and_no_others(order: Order):
    case, bid, ask = before_an_uncross()
    uncross(case, bid, ask)
    tape, execution = case.market.tape(), engine(auction=1)
    now = int(tape.events["ts_event"][2])
    execution.advance(tape, now)
    execution.process_order_request(order, now, 104, 104)
    execution.advance(tape, now)
    assert rows(execution.reports, "exec_type", "reason") == [(enums.EXEC_REJECTED, enums.REASON_NOT_TRADING)]


def test_without_the_setting__orders_in_a_pre_open_are_rejected_and_an_uncross_fills_nothing():
    case, bid, ask = before_an_uncross()
    case.models["auction"] = 0
    case.bid(104, 3)
    uncross(case, bid, ask)
    assert rows(case.run().reports, "exec_type", "reason") == [(enums.EXEC_REJECTED, enums.REASON_NOT_TRADING)]


# --- against the twin with real queues, and what must hold in any session

AUCTIONS = [*TRADING, *UNUSUAL, *[streams.auction] * 4, *[streams.add] * 4]


@SESSIONS
@given(sessions(AUCTIONS), scripts((*ALL_TYPES, *[LIMIT] * 8)), st.sampled_from([0, 700]), st.sampled_from(range(5)))
def test_uncross__equals_the_twin_with_real_queues(records, script, latency, self_match):
    Pair(records, auction=1, entry_latency=latency, protection=2, self_match=self_match, taker_fee=7).run(script)


@SESSIONS
@given(sessions(AUCTIONS), scripts((LIMIT,)))
def test_uncross__conserves_its_volume_and_keeps_every_limit(records, script):
    pair = Pair(records, auction=1, self_match=enums.SELF_MATCH_ALLOW)
    pair.run(script)
    reports, tape = pair.engine.reports, pair.tape
    limits = dict(rows(reports[reports["exec_type"] == enums.EXEC_NEW], "order_id", "price"))
    fills = reports[reports["liquidity"] == enums.LIQUIDITY_AUCTION]
    for event in np.unique(fills["event"]):
        assert tape.events["flags"][event] & enums.PHASE_MASK == enums.PHASE_AUCTION
        records_ = tape.records[int(tape.events["end"][event - 1]) : int(tape.events["end"][event])]
        printed = records_[records_["key"] & KIND_MASK == enums.RECORD_TRADE_N]
        for side, sign in ((BUY, 1), (SELL, -1)):
            mine = fills[(fills["event"] == event) & (fills["side"] == side)]
            assert mine["size"].sum() <= printed["size"].sum()
            assert np.isin(mine["price"], printed["key"] >> TICK_SHIFT).all()
            assert all(sign * limits[int(row["order_id"])] > sign * row["price"] for row in mine)


# --- the synthetic exchange knows what it would have done with our order


def test_uncross__fills_as_the_synthetic_exchange_does():
    """One lot, sent a second before the auctions of a session: in the exchange, and in replay of what it published."""
    session = generate(5, 60, "es", script=[(5, "pre_open"), (50, "auction")])
    tape = compile_array(session.records)
    opens = np.flatnonzero(tape.events["flags"] & enums.PHASE_MASK == enums.PHASE_AUCTION)
    assert len(opens) == 2
    for event in opens:
        first, last = int(tape.events["end"][event - 1]), int(tape.events["end"][event])
        printed = [row for row in tape.records[first:last] if row["key"] & KIND_MASK == enums.RECORD_TRADE_N]
        tick, ts = int(printed[0]["key"]) >> TICK_SHIFT, int(tape.events["ts_event"][event])
        orders = [OwnOrder(ts - 10**9, side, tick + better * (1 - 2 * side), 1) for side in (0, 1) for better in (1, 3)]
        for order, truth in zip(orders, session.replay_with(orders, 1.0), strict=True):
            execution = engine(auction=1)
            execution.process_order_request(Order(order.side, order.size), order.ts, order.tick)
            execution.advance(tape, ts)
            fills = execution.reports[execution.reports["exec_type"] == enums.EXEC_TRADE]
            assert rows(fills, "ts_exchange", "price", "size") == rows(truth, "ts_event", "tick", "size")
            assert fills["size"].sum() == 1


# --- every door to the core


@decision
def _once(memory, now, market, own, trades, requests):
    if memory[0] == 0 and now["phase"] == enums.PHASE_PRE_OPEN and now["ask"] != enums.NO_TICK:
        memory[0] = 1
        limit(requests, enums.BUY, 2, now["ask"] + 40)


def test_compiled_strategy__has_the_same_part_in_an_auction_as_one_in_python(session_file: Path):
    def act(context, script):
        market = context.market_state
        if script.sent or market.phase != "pre_open" or market.best_ask() is None:
            return None
        script.sent = [OrderRequest.limit(Side.BUY, 2, market.price(market.best_ask().ticks + 40))]
        return StrategyOutput(orders=script.sent)

    script = Script(act, EventKind.BOOK)
    script.sent = []
    compiled = JittedStrategy(_once, np.zeros(8, np.uint8), subscriptions=EventKind.BOOK)
    facts = {"tick_size": 0.25, "multiplier": 50, "fee_per_contract": 2.0}
    config = BacktestConfig.from_dict(
        {"backtest": {"execution": {"auction": "strictly_better"}}, "instruments": {"*": facts}}
    )
    run = backtest(session_file, {"python": script, "compiled": compiled}, config=config)
    assert run.reports(0).tobytes() == run.reports(1).tobytes()
    assert run.fills()["liquidity"].tolist() == [enums.LIQUIDITY_AUCTION]
    assert run.report.parts[0].maker_share == run.report.parts[0].taker_share == 0


# --- the real file: one uncross of 44 lots

OPEN = 1_703_545_200_000_000_000  # ns: 2023-12-25 23:00:00 UTC


@pytest.mark.real_data
@pytest.mark.parametrize(("side", "limit"), [(Side.BUY, 4_815.0), (Side.SELL, 4_790.0)])
def test_real_open__fills_no_more_than_the_44_lots_that_it_traded(real_data, tmp_path: Path, side: Side, limit: float):
    """50 lots through the uncross, one at its price, sent ten seconds before; the price is that of its only `T`."""
    file = real_data("ESH4_2023-12-25.mbo.dbn.zst")

    def act(context, script):
        if script.event.ts_event < OPEN - 10_000_000_000 or len(script.sent) > 1 or context.pending_orders:
            return None
        script.sent = [OrderRequest.limit(side, 50, limit), OrderRequest.limit(side, 1, price)]
        return StrategyOutput(orders=script.sent)

    trades = np.concatenate(list(dbn.open_dbn(file).chunks()))
    trade = trades[(trades["action"] == dbn.ACTION_TRADE) & (trades["ts_event"] == OPEN)]
    price = float(trade["price"][0]) / 1e9
    assert (len(trade), trade["size"][0]) == (1, 44)
    for auction, filled in (("none", []), ("strictly_better", [(1, trade["price"][0] // 250_000_000, 44, 88_000_000)])):
        facts = {"tick_size": 0.25, "multiplier": 50, "maker_fee": 1.0, "taker_fee": 2.0}
        config = BacktestConfig.from_dict(
            {"backtest": {"execution": {"auction": auction}}, "instruments": {"*": facts}}
        )
        script = Script(act, EventKind.BOOK)
        script.sent = []
        fills = backtest(file, script, config=config, tapes=tmp_path).fills()
        assert rows(fills[fills["ts_exchange"] == OPEN], "order_id", "price", "size", "fee") == filled
