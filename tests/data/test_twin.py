"""The replay against the exchange's own answers: recorded fills of real orders, true fills of synthetic ones."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from bt_gym.core import enums
from bt_gym.core.enums import BUY
from bt_gym.data.dbn import open_dbn
from bt_gym.data.synthetic import OwnOrder, Session, generate
from bt_gym.data.twin import Twin, count, report
from tests.data.compiled import compile_array
from tests.reference import itch, streams
from tests.reference.proof import drifting_session
from tests.reference.scenario import Order, Scenario, engine
from tests.reference.sessions import beside, quote, requote, sessions
from tests.reference.streams import TICK, Scribe, to_array

SECOND = 1_000_000_000


@pytest.fixture(scope="module")
def session() -> Session:
    return generate(3, 600, pre_open_seconds=10)


@pytest.fixture(scope="module")
def twin(session: Session) -> Twin:
    return Twin(session.records, session.profile.tick_nanos)


# --- orders taken out of the stream


@pytest.mark.real_data
def test_real_orders__fill_as_recorded(real_data):
    """A sample of the orders of an hour that were filled; a run over all 5,335 finds no unexplained one either."""
    file = open_dbn(real_data("ESH4_2023-12-25.mbo.dbn.zst"))
    records = np.concatenate(list(file.chunks(file.select("ESH4"))))
    twin = Twin(records, 250_000_000)
    assert len(twin.filled_orders) == 5_335
    orders = np.random.default_rng(1).choice(twin.filled_orders, 100, replace=False)
    verdicts = twin.test(orders.tolist())
    counts = count(verdicts)
    assert counts["unexplained"] == 0
    assert counts["exact"] >= 0.98 * counts["segments"]
    assert sum(bool(verdict.simulated) for verdict in verdicts) >= 95


def test_synthetic_orders__fill_as_recorded(twin):
    """Filled orders and others: exact, those that met the uncross or an order of their own firm apart."""
    rng = np.random.default_rng(1)
    orders = [*rng.choice(twin.filled_orders, 40, replace=False), *rng.choice(list(twin.segments), 20, replace=False)]
    counts = count(twin.test(map(int, orders)))
    assert counts["unexplained"] == counts["iceberg"] == 0
    assert counts["exact"] > 40
    assert counts["self_match"] <= 2


def replace_beside(scribe: Scribe, number: int, ticks: int, size: int, side: str) -> None:
    """An order gives way to a new one that doesn't cross the book."""
    if order := scribe.pick(number):
        itch.replace(scribe, number, beside(scribe, order[1], ticks), size, side)


def fifo_trade(scribe: Scribe, number: int, ticks: int, size: int, side: str) -> None:
    """A trade that leaves no remainder of its aggressor behind."""
    streams.trade(scribe, number & 7, ticks, size, side)


@settings(max_examples=settings().max_examples // 10, suppress_health_check=list(HealthCheck))
@given(sessions([quote, quote, streams.cancel, streams.resize, requote, fifo_trade, fifo_trade]))
def test_orders_of_random_sessions__fill_as_recorded(records):
    """Price-time priority, partial cancels, refilled icebergs, self-match cancels, aggressors that rested before."""
    twin = Twin(to_array(records), TICK)
    verdicts = twin.test(list(twin.segments)[:10])
    assert count(verdicts)["unexplained"] == 0, verdicts


@settings(max_examples=settings().max_examples // 10, suppress_health_check=list(HealthCheck))
@given(sessions([quote, quote, streams.cancel, streams.execution, itch.sweep, replace_beside]))
def test_orders_of_itch_sessions__fill_as_recorded(records):
    """Executions of three F_LAST records, whose trades may have the id of the order that they hit; partial cancels."""
    twin = Twin(to_array(records), TICK)
    verdicts = twin.test(twin.sample(10, seed=1))
    assert {verdict.kind for verdict in verdicts} <= {"exact"}, verdicts


def test_sample__takes_filled_orders_and_others_that_are_known(twin):
    filled = set(twin.filled_orders)
    whole = twin.sample(10**6)
    assert whole == list(twin.segments)
    for number in (1, 10, len(filled) + 30):
        sample = twin.sample(number, seed=3)
        assert len(sample) == len(set(sample)) == number
        assert sum(i in filled for i in sample) == min(len(filled), -(-3 * number // 4))
    assert twin.sample(10, seed=3) == twin.sample(10, seed=3) != twin.sample(10, seed=4)


def test_sample__of_a_cold_start_leaves_out_what_the_file_does_not_tell():
    """Queues before the file is used, and those at levels never proven."""
    records = drifting_session(2, 500)[200:]
    twin = Twin(to_array(records), TICK)
    sample = twin.sample(10**6)
    used = int(np.argmax(twin.tape.events["flags"] & enums.PHASE_MASK == enums.PHASE_CONTINUOUS))
    assert used > 0
    assert all(twin.tape.event_of(s.row) > used for i in sample for s in twin.segments[i])
    assert 50 < len(sample) < len(twin.segments)
    counts = count(twin.test(sample))
    assert counts["exact"] == counts["segments"]


def test_report__names_what_is_unexplained():
    market = Scenario()
    first, second, _ = market.snapshot(("B", 100, 5), ("B", 100, 4), ("A", 102, 5))
    market.event(market.record("N"))
    market.trade("A", 100, {second: 2})
    market.event(market.record("N"))
    result = report(Twin(market.array(), TICK).test([first]))
    assert result["twin_orders"] == {
        "segments": 1,
        "exact": 0,
        "auction": 0,
        "iceberg": 0,
        "self_match": 0,
        "unexplained": 1,
    }
    (told,) = result["twin_unexplained"]
    assert told | {"source_record": 1} == {
        "order_id": first,
        "source_record": 1,
        "side": "bid",
        "tick": 100,
        "size": 5,
        "recorded": {},
        "simulated": {"2": 2},
    }


def test_report__tells_orders_that_a_trade_with_unknown_lots_passed_by():
    """An order at the front isn't filled by a trade at its price that lists no fill: who was, the file doesn't hold."""
    market = Scenario()
    first, _, _ = market.snapshot(("B", 100, 5), ("B", 100, 4), ("A", 102, 5))
    market.event(market.record("N"))
    market.trade("A", 100, {first: 1})
    market.event(market.record("T", "N", 100, 2))
    market.event(market.record("N"))
    result = report(Twin(market.array(), TICK).test([first]))
    assert (result["twin_orders"]["unexplained"], result["twin_implied"]) == (1, 1)


def test_segments__end_where_an_order_gets_a_new_place():
    market = Scenario()
    market.snapshot(("B", 100, 5), ("A", 102, 5))
    order_id = market.add("B", 100, 4)
    market.cancel(order_id, 1)
    market.modify(order_id, 100, 6)
    market.trade("A", 100, {order_id: 2})
    market.modify(order_id, 99, 4)
    market.cancel(order_id)
    found = Twin(market.array(), TICK).segments[order_id]
    assert [(s.tick, s.size, len(s.fills), s.reductions) for s in found] == [
        (100, 4, 0, [(4, 1)]),
        (100, 6, 1, []),
        (99, 4, 0, []),
    ]
    assert [s.end for s in found] == [5, 9, 10]


def test_wrong_fill__is_unexplained():
    """The exchange fills the second order of a queue before the first: no price-time rule gives that."""
    market = Scenario()
    first, second, _ = market.snapshot(("B", 100, 5), ("B", 100, 4), ("A", 102, 5))
    market.event(market.record("N"))
    market.trade("A", 100, {second: 2})
    market.event(market.record("N"))
    twin = Twin(market.array(), TICK)
    assert count(twin.test([first]))["unexplained"] == 1
    assert [(v.recorded, v.simulated) for v in twin.test([first])] == [({}, {2: 2})]


# --- orders put into the synthetic exchange


def passive_and_taking(session: Session, number: int) -> list[OwnOrder]:
    """One-lot orders around the touch at random times, cancelled after 10 s."""
    events = compile_array(session.records, tick_size=session.profile.tick_nanos).events
    rng = np.random.default_rng(0)
    trading = np.flatnonzero(events["flags"] & enums.PHASE_MASK == enums.PHASE_CONTINUOUS)
    orders = []
    for event in events[rng.choice(trading[: len(trading) * 2 // 3], number)]:
        side, away = int(rng.integers(2)), int(rng.integers(-1, 3))
        tick = int(event["bid"]) - away if side == BUY else int(event["ask"]) + away
        ts = int(event["ts_event"]) + 500
        orders.append(OwnOrder(ts, side, tick, 1, ts + 10 * SECOND))
    return orders


def test_orders_in_the_synthetic_exchange__fill_as_in_the_replay(session):
    """The same order in the market that made the stream and in the replay of the stream: same time, price, role."""
    tape = compile_array(session.records, tick_size=session.profile.tick_nanos)
    orders = passive_and_taking(session, 300)
    filled = {0: 0, 1: 0}
    for order, truth in zip(orders, session.replay_with(orders, 15), strict=True):
        execution = engine()
        execution.process_order_request(Order(order.side, order.size), order.ts, order.tick)
        execution.advance(tape, order.cancel_ts)
        execution.process_cancel(1, order.cancel_ts)
        execution.advance(tape, order.cancel_ts)
        fills = execution.reports[execution.reports["exec_type"] == enums.EXEC_TRADE]
        ours = [
            (int(f["ts_exchange"]), int(f["price"]), int(f["size"]), int(f["liquidity"] == enums.LIQUIDITY_MAKER))
            for f in fills
        ]
        assert ours == [(int(t["ts_event"]), int(t["tick"]), int(t["size"]), int(t["maker"])) for t in truth]
        for fill in ours:
            filled[fill[3]] += 1
    assert min(filled.values()) >= 10
