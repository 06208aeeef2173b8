"""Limits: each refuses what breaks it and nothing less; the loss limit cancels, goes home and stays there."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bt_gym._jit import njit
from bt_gym.core import enums
from bt_gym.core.enums import BUY, SELL
from bt_gym.core.execution import ExecutionEngine
from bt_gym.core.market import count_received, move, new_market
from bt_gym.core.orders import MAX_ORDERS, MAX_REQUESTS
from bt_gym.core.position_manager import PositionManager
from bt_gym.core.requests import kill
from tests.data.compiled import Compiled
from tests.reference.scenario import Order, Scenario, engine, rows
from tests.reference.sessions import LIMIT, MARKET, MODIFY, TRADING, Pair, scripts, sessions, walk
from tests.reference.streams import TICK

US = 1_000
SECOND = 1_000_000_000
NONE = enums.REASON_NONE
OUTCOME = ("order_id", "exec_type", "reason", "size", "leaves")


def a_market() -> Scenario:
    market = Scenario()
    market.snapshot(("B", 100, 5), ("B", 99, 50), ("A", 102, 5), ("A", 103, 50))
    market.event(market.record("N"))
    return market


def submit(execution: ExecutionEngine, now: int, side: int, size: int, price: int = 0) -> int:
    """Sends a limit order, or a market order if it has no price; returns the reason."""
    order_type = enums.ORDER_LIMIT if price else enums.ORDER_MARKET
    return execution.process_order_request(Order(side, size, order_type), now, price)[1]


def test_max_order_size__refuses_one_lot_more():
    now, execution = a_market().now, engine(max_order_size=5)
    assert submit(execution, now, BUY, 5, 100) == NONE
    assert submit(execution, now, BUY, 6, 100) == enums.REASON_MAX_ORDER_SIZE
    assert execution.process_modify(1, 5, 99, now) == NONE
    assert execution.process_modify(1, 6, 99, now) == enums.REASON_MAX_ORDER_SIZE


def test_max_position__counts_position_and_working_orders_of_the_side():
    market = a_market()
    execution = engine(max_position=10)
    positions = PositionManager(execution.account, execution.market)
    submit(execution, market.now, BUY, 4)
    reports = execution.process_market_update(market.tape(), market.now)
    for row in np.flatnonzero(reports["exec_type"] == enums.EXEC_TRADE):
        positions.process_fill(reports, row)
    assert positions.position["size"] == 4
    assert submit(execution, market.now, BUY, 6, 100) == NONE
    assert submit(execution, market.now, BUY, 1, 100) == enums.REASON_MAX_POSITION
    assert submit(execution, market.now, SELL, 14, 103) == NONE
    assert submit(execution, market.now, SELL, 1, 103) == enums.REASON_MAX_POSITION


def test_max_position__counts_a_fill_once_while_it_is_not_yet_known():
    market = a_market()
    execution = engine(max_position=10, response_latency=50 * US)
    submit(execution, market.now, BUY, 6)
    execution.process_market_update(market.tape(), market.now)
    assert execution.account["position"]["size"] == 6
    assert submit(execution, market.now, BUY, 4, 100) == NONE
    assert submit(execution, market.now, BUY, 1, 100) == enums.REASON_MAX_POSITION


def test_max_position__counts_modifies_under_way():
    """1 lot modified to 10 with a limit of 10: until it is answered, no lot more; a modify down changes nothing yet."""
    market = a_market()
    tape, execution = market.tape(), engine(max_position=10, entry_latency=10 * US, response_latency=10 * US)
    now = market.now
    assert submit(execution, now, BUY, 1, 90) == NONE
    assert execution.process_modify(1, 10, 90, now) == NONE
    assert submit(execution, now, BUY, 1, 90) == enums.REASON_MAX_POSITION
    assert execution.process_modify(1, 2, 90, now) == NONE
    assert submit(execution, now, BUY, 1, 90) == enums.REASON_MAX_POSITION
    execution.process_market_update(tape, now + 19 * US)
    assert submit(execution, now + 19 * US, BUY, 1, 90) == enums.REASON_MAX_POSITION
    execution.process_market_update(tape, now + 20 * US)
    assert submit(execution, now + 20 * US, BUY, 8, 90) == NONE
    assert submit(execution, now + 20 * US, BUY, 1, 90) == enums.REASON_MAX_POSITION


def test_max_position__counts_a_modify_under_way_when_older_news_comes():
    """The order of 1 is acknowledged while its modify to 10 still travels: that acknowledgement isn't the answer."""
    market = a_market()
    tape, execution = market.tape(), engine(max_position=10, entry_latency=10 * US, response_latency=10 * US)
    submit(execution, market.now, BUY, 1, 90)
    assert execution.process_modify(1, 10, 90, market.now + 5 * US) == NONE
    assert len(execution.process_market_update(tape, market.now + 20 * US)) == 1
    assert submit(execution, market.now + 20 * US, BUY, 1, 90) == enums.REASON_MAX_POSITION


def test_max_position__counts_a_known_fill_once_while_a_modify_is_under_way():
    """3 of 5 lots are filled and known, 2 are left at most whatever becomes of the modify: room for 5 more."""
    market = a_market()
    execution = engine(max_position=10)
    positions = PositionManager(execution.account, execution.market)
    submit(execution, market.now - 1, BUY, 5, 101)
    bid = next(iter(market.book.queue("B", 100 * TICK)))
    market.trade("A", 100, {bid: 3})
    tape = market.tape()
    execution.advance(tape, market.now - US - 1)
    execution.account["models"]["entry_latency"] = SECOND
    execution.process_modify(1, 4, 101, market.now - US - 1)
    reports = execution.process_market_update(tape, market.now)
    assert rows(reports, "size") == [(0,), (3,)]
    positions.process_fill(reports, 1)
    assert submit(execution, market.now, BUY, 5, 90) == NONE
    assert submit(execution, market.now, BUY, 1, 90) == enums.REASON_MAX_POSITION


def test_max_position__never_stops_an_order_from_getting_smaller():
    """The limit was lowered under an order's size: one can still modify it down."""
    market = a_market()
    execution = engine(max_position=10)
    submit(execution, market.now, BUY, 8, 90)
    execution.account["models"]["max_position"] = 5
    assert execution.process_modify(1, 7, 90, market.now) == NONE
    assert execution.process_modify(1, 9, 90, market.now) == enums.REASON_MAX_POSITION


def test_max_position__lets_a_refused_modify_go():
    """A modify that comes too late leaves nothing counted behind."""
    market = a_market()
    tape, execution = market.tape(), engine(max_position=10)
    submit(execution, market.now, BUY, 1, 100)
    execution.process_cancel(1, market.now)
    execution.process_modify(1, 9, 100, market.now)
    execution.process_market_update(tape, market.now)
    assert submit(execution, market.now, BUY, 10, 100) == NONE


def test_max_orders_per_second__counts_orders_and_modifies_of_a_clock_second():
    market = a_market()
    execution = engine(max_orders_per_second=2)
    now = market.now - market.now % SECOND + SECOND - 1
    assert submit(execution, now, BUY, 1, 90) == NONE
    assert execution.process_modify(1, 1, 91, now) == NONE
    assert submit(execution, now, BUY, 1, 90) == enums.REASON_MAX_ORDER_RATE
    assert execution.process_modify(1, 1, 92, now) == enums.REASON_MAX_ORDER_RATE
    assert execution.process_cancel(1, now) == NONE  # one can always get out
    assert submit(execution, now + 1, BUY, 1, 90) == NONE


@pytest.mark.parametrize("limit", ["max_order_size", "max_position", "max_orders_per_second"])
def test_zero__is_a_limit(limit):
    assert submit(engine(**{limit: 0}), a_market().now, BUY, 1, 90) != NONE


# --- the loss limit


class Desk:
    """An account and its position manager over a growing market."""

    def __init__(self, market: Scenario, **models: int) -> None:
        self.source = market
        self.market = new_market()
        self.execution = engine(self.market, **models)
        self.positions = PositionManager(self.execution.account, self.market)

    def until(self, now: int) -> None:
        """Runs to `now`, as a runner does: exchange, market as received, news, loss limit."""
        tape: Compiled = self.source.tape()
        self.execution.advance(tape, now)
        end = count_received(tape.events, int(self.market["event"][0]), now, 0)
        move(self.market[0], tape.records, tape.events, tape.blocks, end)
        self.positions.watch(tape.events)
        reports = self.execution.deliver(now)
        for row in np.flatnonzero(reports["exec_type"] == enums.EXEC_TRADE):
            self.positions.process_fill(reports, row)
        self.positions.enforce(now)


def falling(desk: Desk) -> None:
    """The market falls from 100/102 to 90/92."""
    market = desk.source
    for ticks, size in ((90, 100), (89, 100)):
        market.add("B", ticks, size)
    for level in market.book.depth("B", 9):
        if level.price // TICK > 90:
            for order_id in list(market.book.queue("B", level.price)):
                market.cancel(order_id)
    market.add("A", 92, 3)


def test_max_loss__cancels_everything_goes_home_and_stays_out():
    """Bought 5 at 102, marked at 91: 55 ticks lost of 50 allowed."""
    desk = Desk(a_market(), max_loss=50_000_000, entry_latency=2 * US, response_latency=US)
    now = desk.source.now
    submit(desk.execution, now, BUY, 5)
    for price in (80, 81):
        submit(desk.execution, now, BUY, 1, price)
    submit(desk.execution, now, SELL, 3, 150)
    desk.source.now += 10 * US
    falling(desk)
    desk.until(now + 9 * US)
    assert not desk.positions.is_stopped
    for later in range(10, 60):
        desk.until(now + later * US)
    account = desk.execution.account[0]
    assert desk.positions.is_stopped
    assert account["position"]["size"] == account["known_position"]["size"] == 0
    ends = desk.execution.reports[desk.execution.reports["exec_type"] == enums.EXEC_CANCELED]
    assert rows(ends, "order_id", "reason") == [
        (3, enums.REASON_MAX_LOSS),
        (2, enums.REASON_MAX_LOSS),
        (4, enums.REASON_MAX_LOSS),
    ]
    home = desk.execution.reports[-1]
    assert (home["side"], home["size"], home["price"], home["leaves"]) == (SELL, 5, 90, 0)
    assert submit(desk.execution, now + SECOND, BUY, 1, 80) == enums.REASON_MAX_LOSS
    assert (account["orders"]["status"] == enums.STATUS_FREE).all()


def test_max_loss__is_not_reached_one_micro_earlier():
    desk = Desk(a_market(), max_loss=55_000_001)
    submit(desk.execution, desk.source.now, BUY, 5)
    desk.source.now += US
    falling(desk)
    desk.until(desk.source.now + SECOND)
    assert desk.execution.account["known_position"]["size"] == 5
    assert not desk.positions.is_stopped


@njit
def _kill(accounts, ts):
    kill(accounts[0], ts)


def test_kill__reaches_every_order_with_a_full_request_table():
    """64 orders, and as many requests under way as there is room for: one kill ends them all."""
    market = a_market()
    execution = engine(entry_latency=10 * US)
    for i in range(MAX_ORDERS):
        submit(execution, market.now, i % 2, 1, 90 if i % 2 == BUY else 110)
    while execution.process_modify(1, 2, 90, market.now) == NONE:
        pass
    assert execution.account["requests_live"][0] == MAX_REQUESTS - 2
    _kill(execution.account, market.now)
    _kill(execution.account, market.now)
    execution.process_market_update(market.tape(), market.now + SECOND)
    assert execution.account["resting"][0] == 0
    assert (execution.account["orders"]["status"] == enums.STATUS_FREE).all()
    ended = execution.reports[execution.reports["reason"] == enums.REASON_KILL_SWITCH]
    assert sorted(ended["order_id"].tolist()) == list(range(1, MAX_ORDERS + 1))


# --- for any run


@settings(max_examples=settings().max_examples // 3, suppress_health_check=list(HealthCheck))
@given(
    sessions(TRADING),
    scripts((LIMIT, LIMIT, MARKET, MODIFY, MODIFY)),
    st.sampled_from([0, 700, 2_500]),
    st.sampled_from([0, 700, 9_000]),
    st.integers(0, 15),
)
def test_max_position__holds_at_the_exchange_whatever_is_under_way(records, script, entry, response, limit):
    """B4.19: never more than the limit, long or short, at any time, at the exchange."""
    pair = Pair(records, entry_latency=entry, response_latency=response, protection=2, max_position=limit)
    positions = PositionManager(pair.engine.account, pair.engine.market)
    for now, (_, action, pick, side, ticks, size) in [*walk(script, pair.start), (pair.end, (0, LIMIT, 0, 0, 0, 0))]:
        reports = pair.engine.process_market_update(pair.tape, now)
        for row in np.flatnonzero(reports["exec_type"] == enums.EXEC_TRADE):
            positions.process_fill(reports, row)
        if action == MODIFY:
            sent = int(pair.engine.account["orders_sent"][0])
            pair.engine.process_modify(1 + pick * sent // 8, size, ticks, now)
        elif size:
            submit(pair.engine, now, side, size, 0 if action == MARKET else ticks)
    assert pair.engine.account["position"]["max_size"][0] <= limit


# --- drawdown, kill switch, margin


def test_max_drawdown__counts_from_the_highest_equity_also_between_calls():
    """Bought 2 at 102; the mid rises to 111, seen by nobody, then falls to 101: 20 ticks below the top, not a loss."""
    market = a_market()
    desk = Desk(market, max_drawdown=18_000_000)
    submit(desk.execution, market.now, BUY, 2)
    desk.until(market.now)
    market.now += US
    asks = [market.add("A", 112, 9)]
    for level in market.book.depth("A", 9):
        for order_id in list(market.book.queue("A", level.price)):
            if order_id not in asks:
                market.cancel(order_id)
    top = market.add("B", 110, 9)
    market.cancel(top)
    market.add("A", 102, 9)
    desk.until(market.now + SECOND)
    assert desk.positions.is_stopped
    assert desk.execution.account["killed"] == enums.REASON_MAX_DRAWDOWN
    assert submit(desk.execution, market.now + SECOND, BUY, 1, 80) == enums.REASON_MAX_DRAWDOWN


def test_max_drawdown__is_not_reached_one_micro_earlier():
    market = a_market()
    desk = Desk(market, max_drawdown=2_000_001)
    submit(desk.execution, market.now, BUY, 2)  # at 102, marked at 101: 2 ticks below the start
    desk.until(market.now + SECOND)
    assert not desk.positions.is_stopped
    desk = Desk(a_market(), max_drawdown=2_000_000)
    submit(desk.execution, desk.source.now, BUY, 2)
    desk.until(desk.source.now + SECOND)
    assert desk.positions.is_stopped


def test_kill_switch__cancels_and_refuses_but_leaves_the_position():
    desk = Desk(a_market())
    submit(desk.execution, desk.source.now, BUY, 2)
    submit(desk.execution, desk.source.now, BUY, 2, 90)
    desk.until(desk.source.now)
    desk.positions.kill(desk.source.now)
    desk.until(desk.source.now + US)
    last = desk.execution.reports[-1]
    assert (last["exec_type"], last["reason"]) == (enums.EXEC_CANCELED, enums.REASON_KILL_SWITCH)
    assert submit(desk.execution, desk.source.now, BUY, 1, 90) == enums.REASON_KILL_SWITCH
    assert desk.execution.account["position"]["size"] == 2


def test_initial_margin__comes_from_capital_and_closed_profit():
    execution = engine(initial_margin=10, capital=50)
    assert submit(execution, a_market().now, BUY, 5, 90) == NONE
    assert submit(execution, a_market().now, BUY, 1, 90) == enums.REASON_MARGIN
    assert submit(execution, a_market().now, SELL, 5, 110) == NONE
    execution.account["known_position"]["realised"] = 12
    execution.account["known_position"]["fees"] = 2
    assert submit(execution, a_market().now, BUY, 1, 90) == NONE
    assert submit(execution, a_market().now, BUY, 1, 90) == enums.REASON_MARGIN


def test_maintenance_margin__is_called_when_capital_and_equity_fall_below_it():
    """Bought 2 at 102, marked at 101: 2 ticks of 1 lost, so 50 - 2 are left: enough for 24 a lot, not for 24.000001."""
    for margin, stopped in ((24_000_000, False), (24_000_001, True)):
        desk = Desk(a_market(), maintenance_margin=margin, capital=50_000_000)
        submit(desk.execution, desk.source.now, BUY, 2)
        desk.until(desk.source.now + SECOND)
        assert desk.positions.is_stopped == stopped
        desk.until(desk.source.now + 2 * SECOND)
        assert desk.execution.account["killed"][0] == (enums.REASON_MARGIN if stopped else NONE)
        assert desk.execution.account["position"]["size"][0] == (0 if stopped else 2)


# --- closing out


@pytest.mark.parametrize(("protection", "left"), [(20, 0), (0, 2)])
def test_close_out__ends_orders_and_sells_what_the_book_takes(protection, left):
    """The rest, which the book doesn't take so near, is closed at its bid all the same, and says so; fees are paid."""
    market = a_market()
    tape, execution = market.tape(), engine(protection=protection, taker_fee=3)
    submit(execution, market.now - US, BUY, 5)
    submit(execution, market.now - US, BUY, 2, 103)
    submit(execution, market.now - US, SELL, 4, 120)
    execution.advance(tape, market.now)
    assert execution.account["position"]["size"] == 7
    execution.close_out(tape)
    assert execution.account["position"]["size"] == 0
    closed = execution.reports[execution.reports["reason"] == enums.REASON_END_OF_DATA]
    closed = closed[closed["exec_type"] == enums.EXEC_TRADE]
    bid = int(tape.events["bid"][-1])
    assert rows(closed, "price", "size", "fee") == ([(bid, left, 3 * left)] if left else [])
    assert execution.account["position"]["fees"] == 14 * 3
    assert execution.account["resting"] == 0
    reports = execution.reports
    assert (enums.EXEC_CANCELED, enums.REASON_END_OF_DATA) in rows(reports, "exec_type", "reason")
    assert reports["ts_exchange"][-1] == tape.events["ts_event"][-1]
