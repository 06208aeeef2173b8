"""Requests under way, at the exchange, and the news coming back: worked cases, then what must hold for any run."""

import copy
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bt_gym.core import enums
from bt_gym.core.arrival import displayed
from bt_gym.core.enums import BUY, SELL
from bt_gym.core.execution import ExecutionEngine
from bt_gym.core.market import count_received, move, new_market
from bt_gym.core.orders import MAX_ORDERS, MAX_REQUESTS, account_dtype
from bt_gym.core.tape import KIND_MASK, LADDER_TICKS, SIDE_BIT, TICK_SHIFT
from tests.data.compiled import Compiled
from tests.reference.scenario import Order, Scenario, engine, rows
from tests.reference.sessions import (
    JUMPS,
    TRADING,
    UNUSUAL,
    Pair,
    Step,
    act_on_engine,
    far_moving,
    scripts,
    sessions,
    walk,
)

US = 1_000
FOREVER = np.iinfo(np.int64).max
OUTCOME = ("exec_type", "reason", "price", "size", "leaves")
NEW, TRADE, CANCELED, REPLACED = enums.EXEC_NEW, enums.EXEC_TRADE, enums.EXEC_CANCELED, enums.EXEC_REPLACED
REJECTED, CANCEL_REJECTED = enums.EXEC_REJECTED, enums.EXEC_CANCEL_REJECTED


def a_market(*orders: tuple[str, int, int]) -> tuple[Scenario, list[int]]:
    """A scenario in continuous trading with the book given as (side, ticks, size); event 2 is the next."""
    market = Scenario()
    ids = market.snapshot(*orders)
    market.event(market.record("N"))
    return market, ids


def run(tape: Compiled, execution: ExecutionEngine, until: int = FOREVER) -> list[tuple[int, ...]]:
    execution.advance(tape, until)
    return rows(execution.reports, *OUTCOME)


# --- latency


def test_entry_latency__no_fill_before_it_has_passed():
    """50 us to the exchange: nothing at t0, one fill a microsecond after the order has arrived."""
    market, _ = a_market(("B", 100, 5), ("A", 102, 5))
    tape, t0 = market.tape(), market.now
    execution = engine(entry_latency=50 * US)
    execution.process_order_request(Order(BUY, 1, enums.ORDER_MARKET), t0)
    assert len(execution.process_market_update(tape, t0)) == 0
    reports = execution.process_market_update(tape, t0 + 51 * US)
    fills = reports[reports["exec_type"] == TRADE]
    assert rows(fills, "ts_exchange", "price", "size", "side") == [(t0 + 50 * US, 102, 1, BUY)]


def test_one_event_tape__fills_a_resting_order_only_after_its_latency():
    """The market update is one event, at the time of the decision: the order isn't there yet."""
    market, (bid, _) = a_market(("B", 100, 5), ("A", 102, 5))
    before, t0 = market.tape(), market.now
    market.trade("A", 100, {bid: 5}, more=1)
    after = market.tape()
    late, early = engine(entry_latency=50 * US), engine(entry_latency=0)
    for execution, sent in ((late, t0), (early, t0 - 1)):
        execution.advance(before, sent)
        execution.process_order_request(Order(BUY, 1), sent, 100)
        execution.advance(after, t0 + 51 * US)
    assert rows(late.reports, *OUTCOME) == [(NEW, 0, 100, 0, 1)]
    assert rows(early.reports, *OUTCOME) == [(NEW, 0, 100, 0, 1), (TRADE, 0, 100, 1, 0)]


def test_response_latency__reports_are_known_later_and_in_order():
    market, _ = a_market(("B", 100, 5), ("A", 102, 5))
    tape, t0 = market.tape(), market.now
    execution = engine(response_latency=30 * US)
    execution.process_order_request(Order(BUY, 2, enums.ORDER_MARKET), t0)
    assert len(execution.process_market_update(tape, t0 + 29 * US)) == 0
    reports = execution.process_market_update(tape, t0 + 30 * US)
    assert rows(reports, "exec_type", "ts_exchange", "ts_known") == [
        (NEW, t0, t0 + 30 * US),
        (TRADE, t0, t0 + 30 * US),
    ]


def test_advance__stops_when_the_first_report_is_known():
    market, _ = a_market(("B", 100, 5), ("A", 102, 5))
    tape, t0 = market.tape(), market.now
    execution = engine(entry_latency=10 * US, response_latency=30 * US)
    execution.process_order_request(Order(BUY, 2, enums.ORDER_MARKET), t0)
    assert execution.advance(tape, t0 + US, stop_on_report=True) == t0 + US
    assert execution.advance(tape, t0 + 500 * US, stop_on_report=True) == t0 + 40 * US
    assert execution.advance(tape, t0 + 500 * US, stop_on_report=True) == t0 + 40 * US
    execution.deliver(t0 + 40 * US)
    assert execution.advance(tape, t0 + 500 * US, stop_on_report=True) == t0 + 500 * US


def test_advance__ends_at_the_last_event_when_asked_for_the_end_of_time():
    market, _ = a_market(("B", 100, 5), ("A", 102, 5))
    tape = market.tape()
    execution = engine()
    for until in (2**62, FOREVER):
        execution.advance(tape, until)
        assert execution.account["event"][0] == len(tape.events)


# --- orders on arrival


def test_market_order__walks_the_levels_and_stops_at_its_protection():
    market, _ = a_market(("B", 100, 5), ("A", 102, 3), ("A", 103, 2), ("A", 105, 9))
    execution = engine(protection=2, taker_fee=10)
    execution.process_order_request(Order(BUY, 7, enums.ORDER_MARKET), market.now)
    assert run(market.tape(), execution) == [
        (NEW, 0, 104, 0, 7),
        (TRADE, 0, 102, 3, 4),
        (TRADE, 0, 103, 2, 2),
        (CANCELED, enums.REASON_PROTECTION, 104, 0, 0),
    ]
    assert rows(execution.account["position"], "size", "cash", "fees") == [(5, -(3 * 102 + 2 * 103) * 1_000_000, 50)]


def test_ioc__remainder_is_cancelled_and_the_fill_is_booked():
    """hftbacktest: an IOC that takes 5 of 8 lots ends expired with position 0."""
    market, _ = a_market(("B", 100, 5), ("A", 102, 5), ("A", 103, 5))
    execution = engine()
    execution.process_order_request(Order(BUY, 8, time_in_force=enums.TIF_IOC), market.now, 102)
    assert run(market.tape(), execution) == [
        (NEW, 0, 102, 0, 8),
        (TRADE, 0, 102, 5, 3),
        (CANCELED, enums.REASON_IOC, 102, 0, 0),
    ]
    assert execution.account["position"]["size"][0] == 5


def test_marketable_limit_order__takes_at_the_prices_it_meets_and_rests_with_the_remainder():
    market, _ = a_market(("B", 100, 5), ("A", 102, 5), ("A", 103, 5))
    execution = engine()
    execution.process_order_request(Order(BUY, 8), market.now, 102)
    assert run(market.tape(), execution) == [(NEW, 0, 102, 0, 8), (TRADE, 0, 102, 5, 3)]
    assert rows(execution.account["orders"][0, :1], "status", "leaves", "ahead") == [(enums.STATUS_WORKING, 3, 0)]


def test_order_filled_exactly__is_over():
    """hftbacktest: filled == leaves left a zombie order behind. Its slot is free, a cancel comes too late."""
    market, _ = a_market(("B", 100, 5), ("A", 102, 5))
    tape, execution = market.tape(), engine()
    order_id, _ = execution.process_order_request(Order(BUY, 5), market.now, 102)
    execution.advance(tape, market.now)
    assert execution.process_cancel(order_id, market.now) == enums.REASON_NONE
    execution.process_market_update(tape, market.now)
    assert rows(execution.reports[1:], *OUTCOME) == [
        (TRADE, 0, 102, 5, 0),
        (CANCEL_REJECTED, enums.REASON_TOO_LATE, 102, 0, 0),
    ]
    assert execution.account["orders"]["status"][0, 0] == enums.STATUS_FREE
    assert execution.process_cancel(order_id, market.now) == enums.REASON_UNKNOWN_ORDER


def test_modify_to_a_marketable_price__takes():
    """hftbacktest: a bid moved to the best ask just queued there."""
    market, _ = a_market(("B", 100, 5), ("A", 102, 3))
    tape, execution = market.tape(), engine()
    order_id, _ = execution.process_order_request(Order(BUY, 4), market.now, 100)
    execution.process_modify(order_id, 4, 102, market.now)
    assert run(tape, execution) == [(NEW, 0, 100, 0, 4), (REPLACED, 1, 102, 0, 4), (TRADE, 0, 102, 3, 1)]


def test_modify__smaller_at_the_same_price_keeps_the_place():
    market, (bid, _) = a_market(("B", 100, 3), ("A", 102, 3))
    execution = engine()
    order_id, _ = execution.process_order_request(Order(BUY, 4), market.now - 1, 100)
    execution.advance(market.tape(), market.now - 1)
    market.add("B", 100, 9)
    execution.process_modify(order_id, 2, 100, market.now - 1)
    execution.advance(market.tape(), market.now - 1)
    market.trade("A", 100, {bid: 3}, more=4)
    assert run(market.tape(), execution) == [(NEW, 0, 100, 0, 4), (REPLACED, 1, 100, 0, 2), (TRADE, 0, 100, 2, 0)]


@pytest.mark.parametrize(("size", "price"), [(5, 100), (4, 99)], ids=["larger", "other_price"])
def test_modify__larger_or_at_another_price_queues_again(size, price):
    market, _ = a_market(("B", 100, 3), ("B", 99, 7), ("A", 102, 3))
    execution = engine()
    order_id, _ = execution.process_order_request(Order(BUY, 4), market.now - 1, 100)
    market.add("B", 100, 9)
    execution.advance(market.tape(), market.now - 1)
    execution.process_modify(order_id, size, price, market.now - 1)
    execution.advance(market.tape(), market.now)
    assert rows(execution.account["orders"][0, :1], "leaves", "ahead") == [(size, 12 if price == 100 else 7)]


def test_modify__counts_filled_lots_in():
    """Order of 10, 3 filled, modified to 5: two lots are left; to 3: nothing is, the order ends."""
    market, (bid, _) = a_market(("B", 100, 3), ("A", 104, 3))
    execution = engine()
    order_id, _ = execution.process_order_request(Order(BUY, 10), market.now - 1, 101)
    market.trade("A", 100, {bid: 3})
    execution.advance(market.tape(), market.now - 1)
    execution.process_modify(order_id, 5, 101, market.now - 1)
    execution.process_modify(order_id, 3, 101, market.now - 1)
    assert run(market.tape(), execution)[1:] == [
        (TRADE, 0, 101, 3, 7),
        (REPLACED, 1, 101, 0, 2),
        (CANCELED, enums.REASON_USER, 101, 0, 0),
    ]


def test_cancel__may_come_too_late():
    """A cancel is under way while the order is filled: a rejected cancel, no error."""
    market, (bid, _) = a_market(("B", 100, 3), ("A", 104, 3))
    execution = engine(entry_latency=10 * US)
    order_id, _ = execution.process_order_request(Order(BUY, 2), market.now, 101)
    market.now += 15 * US
    market.trade("A", 100, {bid: 3})
    tape = market.tape()
    execution.advance(tape, market.now - 5 * US)
    assert execution.process_cancel(order_id, market.now - 5 * US) == enums.REASON_NONE
    assert run(tape, execution)[1:] == [(TRADE, 0, 101, 2, 0), (CANCEL_REJECTED, enums.REASON_TOO_LATE, 101, 0, 0)]


def test_requests__do_not_overtake_each_other():
    market, _ = a_market(("B", 100, 5), ("A", 102, 5))
    execution = engine(entry_latency=10 * US)
    order_id, _ = execution.process_order_request(Order(BUY, 2), market.now, 101)
    execution.account["models"]["entry_latency"] = 0
    execution.process_cancel(order_id, market.now)
    execution.advance(market.tape(), FOREVER)
    arrival = market.now + 10 * US
    assert rows(execution.reports, "exec_type", "ts_exchange") == [(NEW, arrival), (CANCELED, arrival)]


def test_order_outside_continuous_trading__is_rejected():
    market = Scenario()
    market.snapshot(("B", 100, 5), ("A", 102, 5))
    tape, execution = market.tape(), engine()
    execution.process_order_request(Order(BUY, 1), market.now, 100)
    assert run(tape, execution) == [(REJECTED, enums.REASON_NOT_TRADING, 100, 0, 0)]


def test_market_order__without_the_other_side_is_rejected():
    market, _ = a_market(("B", 100, 5))
    execution = engine()
    execution.process_order_request(Order(BUY, 1, enums.ORDER_MARKET), market.now)
    assert run(market.tape(), execution) == [(REJECTED, enums.REASON_NO_LIQUIDITY, 0, 0, 0)]


@pytest.mark.parametrize(("size", "price"), [(0, 100), (-1, 100), (1, 1 << 26), (1, -(1 << 26)), (1 << 30, 100)])
def test_impossible_order_or_modify__is_refused(size, price):
    market, _ = a_market(("B", 100, 5), ("A", 102, 5))
    execution = engine()
    assert execution.process_order_request(Order(BUY, size), market.now, price) == (1, enums.REASON_INVALID)
    order_id, _ = execution.process_order_request(Order(BUY, 1), market.now, 100)
    assert execution.process_modify(order_id, size, price, market.now) == enums.REASON_INVALID


# --- own liquidity


def test_what_was_taken__is_not_there_for_the_next_order():
    """5 lots at 102 feed one order of 3 and 2 of the next 4, not 3 and 4."""
    market, _ = a_market(("B", 100, 5), ("A", 102, 5))
    execution = engine(protection=0)
    for size in (3, 4):
        execution.process_order_request(Order(BUY, size, enums.ORDER_MARKET), market.now)
    assert [row[2:4] for row in run(market.tape(), execution) if row[0] == TRADE] == [(102, 3), (102, 2)]


def test_what_was_taken__comes_back_with_new_orders_only():
    market, (_, ask) = a_market(("B", 100, 5), ("A", 102, 5))
    execution = engine(protection=0)
    execution.process_order_request(Order(BUY, 5, enums.ORDER_MARKET), market.now - 1)
    market.add("A", 102, 2)
    market.cancel(ask)
    execution.advance(market.tape(), market.now)
    execution.process_order_request(Order(BUY, 5, enums.ORDER_MARKET), market.now)
    assert [row[2:4] for row in run(market.tape(), execution) if row[0] == TRADE] == [(102, 5), (102, 2)]


# --- self-match


def test_self_match__cancels_the_own_order_that_a_taker_gets_to():
    """Own ask at 102 behind 3 lots; a buy of 4 meets it: cancelled, and only 3 lots are bought there."""
    market, _ = a_market(("B", 100, 5), ("A", 102, 3))
    execution = engine()
    execution.process_order_request(Order(SELL, 2), market.now, 102)
    execution.process_order_request(Order(BUY, 4, time_in_force=enums.TIF_IOC), market.now, 102)
    assert run(market.tape(), execution) == [
        (NEW, 0, 102, 0, 2),
        (NEW, 0, 102, 0, 4),
        (CANCELED, enums.REASON_SELF_MATCH, 102, 0, 0),
        (TRADE, 0, 102, 3, 1),
        (CANCELED, enums.REASON_IOC, 102, 0, 0),
    ]


def test_self_match__spares_own_orders_that_a_taker_does_not_get_to():
    """A buy of 1 lot with 20 ticks of protection: my asks at 102 and 104 are behind 3 lots, and stay."""
    market, _ = a_market(("B", 100, 5), ("A", 102, 3))
    execution = engine(protection=20)
    for price in (102, 104):
        execution.process_order_request(Order(SELL, 2), market.now, price)
    execution.process_order_request(Order(BUY, 1, enums.ORDER_MARKET), market.now)
    assert run(market.tape(), execution)[2:] == [(NEW, 0, 122, 0, 1), (TRADE, 0, 102, 1, 0)]
    assert execution.account["resting"][0] == 2


def test_self_match__comes_first_inside_the_spread():
    """My ask at 101 is the best offer: a buy meets it before the three lots at 102."""
    market, _ = a_market(("B", 100, 5), ("A", 102, 3))
    execution = engine()
    execution.process_order_request(Order(SELL, 2), market.now, 101)
    execution.process_order_request(Order(BUY, 1), market.now, 102)
    assert run(market.tape(), execution)[2:] == [
        (CANCELED, enums.REASON_SELF_MATCH, 101, 0, 0),
        (TRADE, 0, 102, 1, 0),
    ]


# --- capacities


def test_orders__one_more_than_the_table_holds_is_refused_until_one_ends():
    market, _ = a_market(("B", 100, 5), ("A", 102, 5))
    tape, execution = market.tape(), engine()
    for _ in range(MAX_ORDERS):
        assert execution.process_order_request(Order(BUY, 1), market.now, 90)[1] == enums.REASON_NONE
    assert execution.process_order_request(Order(BUY, 1), market.now, 90) == (MAX_ORDERS + 1, enums.REASON_CAPACITY)
    execution.process_cancel(7, market.now)
    execution.process_market_update(tape, market.now)
    assert execution.process_order_request(Order(BUY, 1), market.now, 90) == (MAX_ORDERS + 2, enums.REASON_NONE)


def test_requests__one_more_than_can_travel_is_refused_with_two_places_kept():
    market, _ = a_market(("B", 100, 5), ("A", 102, 5))
    tape, execution = market.tape(), engine(entry_latency=US)
    order_id, _ = execution.process_order_request(Order(BUY, 1), market.now, 90)
    sent = 1
    while execution.process_modify(order_id, 1 + sent % 2, 90, market.now) == enums.REASON_NONE:
        sent += 1
    assert sent == MAX_REQUESTS - 2
    assert execution.process_cancel(order_id, market.now) == enums.REASON_CAPACITY
    assert execution.process_order_request(Order(BUY, 1), market.now, 90)[1] == enums.REASON_CAPACITY
    execution.advance(tape, market.now + US)
    assert execution.process_cancel(order_id, market.now + US) == enums.REASON_NONE


def test_log__keeps_every_report_of_one_long_advance():
    """3,000 trades of one lot after 500 reports were delivered already: nothing wraps, nothing is lost."""
    market, (bid, _) = a_market(("B", 100, 1_000_000), ("A", 104, 5))
    execution = engine()
    for _ in range(250):
        order_id, _ = execution.process_order_request(Order(BUY, 1), market.now, 90)
        execution.process_cancel(order_id, market.now)
        execution.process_market_update(market.tape(), market.now)
    assert len(execution.reports) == 500
    execution.process_order_request(Order(BUY, 5_000), market.now, 101)
    market.now += US
    for _ in range(1_000):
        market.event(*(market.traded("A", 100, {bid: 1}) * 3), *market.booked({bid: 3}))
    reports = execution.process_market_update(market.tape(), FOREVER)
    assert len(reports) == 3_001
    assert rows(execution.reports[:500], "order_id") == [(1 + i // 2,) for i in range(500)]
    assert rows(execution.reports[501:], "leaves") == [(5_000 - 1 - i,) for i in range(3_000)]


def test_log__holds_one_event_of_more_fills_than_it_has_rows():
    market, (bid, _) = a_market(("B", 100, 1_000_000), ("A", 104, 5))
    execution = engine()
    execution.process_order_request(Order(BUY, 5_000), market.now, 101)
    market.now += US
    market.event(*(market.traded("A", 100, {bid: 1}) * 2_000), *market.booked({bid: 2_000}))
    execution.advance(market.tape(), FOREVER)
    assert rows(execution.reports[1:], "leaves") == [(5_000 - 1 - i,) for i in range(2_000)]


# --- displayed size at the exchange, ahead of the view


def level_by_level(tape: Compiled, until: int) -> dict[tuple[int, int], int]:
    """Displayed lots of all levels before event `until`, added up record by record."""
    lots: dict[tuple[int, int], int] = {}
    for record in tape.records[: int(tape.events["end"][until - 1]) if until else 0]:
        key = int(record["key"])
        if key & KIND_MASK == enums.RECORD_CLEAR:
            lots.clear()
        elif key & KIND_MASK <= enums.RECORD_RESTORE:
            place = int(bool(key & SIDE_BIT)), key >> TICK_SHIFT
            lots[place] = lots.get(place, 0) + int(record["size"])
    return lots


@settings(max_examples=settings().max_examples // 3, suppress_health_check=list(HealthCheck))
@given(JUMPS, st.data())
def test_displayed__is_the_book_at_exchange_time_wherever_the_view_is(steps, data):
    """Also across ladder windows, and with a view that was moved too early."""
    tape = far_moving(steps).tape()
    total = len(tape.events)
    market = new_market()
    account = np.zeros(1, account_dtype)
    now = data.draw(st.integers(0, total), label="events at the exchange")
    move(market[0], tape.records, tape.events, tape.blocks, data.draw(st.integers(0, total), label="events received"))
    account["event"] = now
    lots = level_by_level(tape, now)
    block = max(int(np.searchsorted(tape.blocks["event"], now - 1, side="right")) - 1, 0)
    base = int(tape.blocks["base"][block])
    for side, tick in [*lots, (0, 0), (1, 0), (0, base), (1, base + LADDER_TICKS - 1)]:
        shown = displayed(account[0], market[0], tape.records, tape.events, tape.blocks, side, tick)
        in_window = 0 <= tick - base < LADDER_TICKS
        assert shown == lots.get((side, tick), 0) if in_window or not now else shown in (-1, lots.get((side, tick), 0))


# --- properties of whole runs

FAST = settings(max_examples=settings().max_examples // 4, suppress_health_check=list(HealthCheck))
LATENCIES = st.sampled_from([0, 700, 2_500])


def driven(pair: Pair, script: list[Step], stops: list[int]) -> ExecutionEngine:
    """The engine of a pair after its script, with more stops on the way."""
    moments: list[tuple[int, Step | None]] = [(pair.start + stop, None) for stop in stops]
    moments += walk(script, pair.start)
    for now, step in sorted(moments, key=lambda moment: moment[0]):
        pair.engine.process_market_update(pair.tape, now)
        if step is not None:
            act_on_engine(pair.engine, now, step)
    pair.engine.process_market_update(pair.tape, pair.end)
    return pair.engine


@FAST
@given(sessions(TRADING + UNUSUAL), scripts(), LATENCIES, st.lists(st.integers(0, 80_000), max_size=60))
def test_advance__in_many_steps_equals_one(records, script, latency, stops):
    models = {"entry_latency": latency, "response_latency": latency, "protection": 2, "maker_fee": 7, "taker_fee": 90}
    one = driven(Pair(records, **models), script, [])
    many = driven(Pair(records, **models), script, stops)
    assert one.reports.tobytes() == many.reports.tobytes()
    assert one.account.tobytes() == many.account.tobytes()


@FAST
@given(sessions(TRADING + UNUSUAL), scripts(), LATENCIES, st.integers(0, 25))
def test_copy_of_the_account__goes_on_as_the_original(records, script, latency, cut):
    models = {"entry_latency": latency, "protection": 2}
    whole = driven(Pair(records, **models), script, [])
    pair = Pair(records, **models)
    for number, (now, step) in enumerate(walk(script, pair.start)):
        pair.engine.process_market_update(pair.tape, now)
        if number == cut:
            pair.engine = copy.deepcopy(pair.engine)
        act_on_engine(pair.engine, now, step)
    pair.engine.process_market_update(pair.tape, pair.end)
    assert whole.reports.tobytes() == pair.engine.reports.tobytes()


@FAST
@given(sessions(TRADING + UNUSUAL), scripts(), LATENCIES, LATENCIES)
def test_reports__tell_the_whole_life_of_every_order(records, script, entry, response):
    """B4.12, 15, 19, 20: times in order, sizes conserved, terminal states absorb, positions are sums of fills."""
    pair = Pair(records, entry_latency=entry, response_latency=response, protection=2, maker_fee=-3, taker_fee=8)
    account = driven(pair, script, []).account
    reports = pair.engine.reports
    assert (np.diff(reports["ts_exchange"]) >= 0).all()
    assert (np.diff(reports["ts_known"]) >= 0).all()
    assert (reports["ts_known"] - reports["ts_exchange"] >= response).all()
    fills = reports[reports["exec_type"] == TRADE]
    signed = np.where(fills["side"] == BUY, 1, -1) * fills["size"].astype(np.int64)
    position = account["position"][0]
    assert position["size"] == signed.sum()
    assert position["cash"] == -(signed * fills["price"]).sum() * 1_000_000
    assert position["fees"] == fills["fee"].sum()
    for order_id in np.unique(reports["order_id"]):
        mine = reports[reports["order_id"] == order_id]
        over = np.flatnonzero(mine["leaves"] == 0)
        if len(over):  # after its end nothing but late requests
            assert (mine["exec_type"][over[0] + 1 :] == CANCEL_REJECTED).all()
            assert (mine["reason"][over[0] + 1 :] == enums.REASON_TOO_LATE).all()
        assert mine["exec_type"][0] in (NEW, REJECTED)
    continuous = pair.tape.events["flags"][fills["event"]] & enums.PHASE_MASK == enums.PHASE_CONTINUOUS
    assert continuous.all()


@FAST
@given(sessions(TRADING), st.lists(st.integers(1, 5), min_size=1, max_size=12), st.integers(0, 1), LATENCIES)
def test_takers__get_worse_prices_as_they_walk_and_never_more_than_is_displayed(records, sizes, side, latency):
    """B4.7-8: what several market orders in a row take of a level adds up to no more than it shows."""
    pair = Pair(records, entry_latency=latency, protection=9)
    now = pair.start + 1_000
    for size in sizes:
        pair.engine.process_order_request(Order(side, size, enums.ORDER_MARKET), now)
    pair.engine.advance(pair.tape, now + latency)
    fills = pair.engine.reports[pair.engine.reports["exec_type"] == TRADE]
    sign = 1 if side == BUY else -1
    assert (np.diff(sign * fills["price"]) >= 0).all()
    lots = level_by_level(pair.tape, int(pair.engine.account["event"][0]))
    for price in np.unique(fills["price"]):
        assert fills["size"][fills["price"] == price].sum() <= lots[1 - side, int(price)]


@FAST
@given(sessions(TRADING), st.integers(0, 60), st.integers(0, 1), st.integers(-3, 3), st.integers(1, 9))
def test_latency__larger_never_arrives_earlier(records, pause, side, ticks, size):
    """B4.10."""
    arrivals = []
    for latency in (0, 700, 5_000):
        pair = Pair(records, entry_latency=latency)
        pair.engine.advance(pair.tape, pair.start + 500 * pause)
        pair.engine.process_order_request(Order(side, size), pair.start + 500 * pause, ticks)
        pair.engine.advance(pair.tape, FOREVER)
        arrivals.append(int(pair.engine.reports["ts_exchange"][0]))
    assert arrivals == [pair.start + 500 * pause + latency for latency in (0, 700, 5_000)]


@FAST
@given(sessions(TRADING + UNUSUAL), scripts(), LATENCIES)
def test_future_records__change_nothing_in_the_past(records, script, latency):
    """B4.21: a session cut anywhere gives the same reports up to the cut."""
    whole = Pair(records, entry_latency=latency, protection=2)
    half = whole.tape.events["ts_event"][len(whole.tape.events) // 2]
    cut = Pair(records, entry_latency=latency, protection=2)
    events = cut.tape.events[: int(np.searchsorted(cut.tape.events["ts_event"], half, side="right"))]
    cut.tape = replace(cut.tape, records=cut.tape.records[: int(events["end"][-1])], events=events)
    steps = [step for now, step in walk(script, whole.start) if now <= half]
    reports = [driven(pair, steps, []).reports for pair in (whole, cut)]
    past = [rows(report[report["ts_exchange"] <= half], *OUTCOME, "ts_exchange") for report in reports]
    assert past[0] == past[1]


def test_view_moved_or_not__gives_the_same_reports():
    """Whether the strategy looks at the market must not matter to the exchange (differential with random looks)."""
    market, (bid, ask) = a_market(("B", 100, 5), ("A", 102, 5))
    for i in range(40):
        market.add("BA"[i % 2], 100 - i // 2 if i % 2 == 0 else 102 + i // 2, 1 + i % 4)
    market.trade("A", 100, {bid: 5})
    market.trade("B", 102, {ask: 5})
    tape = market.tape()
    results = []
    for look in (False, True):
        execution = engine(entry_latency=3 * US)
        for i, ts in enumerate(tape.events["ts_event"].tolist()):
            execution.advance(tape, ts)
            if look:
                end = count_received(tape.events, int(execution.market["event"][0]), ts, 0)
                move(execution.market[0], tape.records, tape.events, tape.blocks, end)
            execution.process_order_request(Order(i % 2, 1 + i % 3, i % 3 == 0), ts, 99 + i % 5)
        execution.advance(tape, FOREVER)
        results.append(execution.reports.tobytes())
    assert results[0] == results[1]
