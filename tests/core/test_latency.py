"""Latencies that vary: distributions, recorded round trips, the tape's own traffic, and that nothing overtakes."""

import math
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bt_gym.core import enums
from bt_gym.core.enums import BUY
from bt_gym.core.execution import ExecutionEngine
from bt_gym.core.requests import kill
from tests.data.compiled import Compiled
from tests.reference.scenario import Order, Scenario, engine, rows
from tests.reference.sessions import LIMIT, TRADING, Pair, scripts, sessions, walk

US = 1_000
SESSIONS = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], max_examples=40)
LOGNORMAL = {
    "model": enums.LATENCY_LOGNORMAL,
    "entry": {"minimum": 5 * US, "scale": 20.0 * US, "sigma": 0.5},
    "response": {"minimum": 2 * US, "scale": 10.0 * US, "sigma": 0.3},
}


def a_market() -> Scenario:
    market = Scenario()
    market.snapshot(("B", 100, 5), ("A", 102, 5))
    market.event(market.record("N"))
    return market


def journeys(tape: Compiled, sent: list[int], **models: Any) -> list[tuple[int, int]]:
    """(arrival, answer known) of the first report of a bid sent at each of these times, one by one."""
    execution = engine(**models)
    for ts in sent:
        execution.advance(tape, ts)
        execution.process_order_request(Order(BUY, 1), ts, 50)
    execution.advance(tape, 2**62)
    new = execution.reports[execution.reports["exec_type"] == enums.EXEC_NEW]
    return rows(new, "ts_exchange", "ts_known")


# --- models


def test_lognormal__has_its_median_and_tail():
    """Half of 60 requests, far enough apart not to queue, below the median; none below the least."""
    market = a_market()
    sent = [market.now + i * 10_000 * US for i in range(60)]
    found = journeys(market.tape(), sent, entry_latency=1 * US, latency=LOGNORMAL)
    entry = np.array([arrival - ts for (arrival, _), ts in zip(found, sent, strict=True)])
    answer = np.array([known - arrival for arrival, known in found])
    assert entry.min() > 6 * US
    assert answer.min() > 2 * US
    assert 18 <= np.count_nonzero(entry < 26 * US) <= 42
    assert 18 <= np.count_nonzero(answer < 12 * US) <= 42
    z = np.log((entry - 6 * US) / (20.0 * US)) / 0.5
    assert abs(z.mean()) < 3 / math.sqrt(60)
    assert len(set(entry.tolist())) == 60


def test_lognormal__draws_belong_to_seed_and_account():
    market = a_market()
    sent = [market.now + i * 10_000 * US for i in range(5)]
    tape = market.tape()
    first, again, other_seed, other_account = (
        journeys(tape, sent, latency=LOGNORMAL, seed=seed, account=account)
        for seed, account in [(1, 1), (1, 1), (2, 1), (1, 2)]
    )
    assert first == again
    assert first != other_seed
    assert first != other_account
    assert other_seed != other_account


def test_empirical__stays_within_the_sample_and_reaches_over_it():
    market = a_market()
    sent = [market.now + i * 10_000 * US for i in range(60)]
    table = [(10 * US, 1 * US), (20 * US, 2 * US), (90 * US, 3 * US)]
    latency = {"model": enums.LATENCY_EMPIRICAL, "count": 3, "rows": table}
    found = journeys(market.tape(), sent, latency=latency)
    entry = np.array([arrival - ts for (arrival, _), ts in zip(found, sent, strict=True)])
    assert entry.min() >= 10 * US
    assert entry.max() <= 90 * US
    assert 18 <= np.count_nonzero(entry < 20 * US) <= 42
    assert all(US <= known - arrival <= 3 * US for arrival, known in found)


def test_empirical__one_value_is_constant():
    market = a_market()
    latency = {"model": enums.LATENCY_EMPIRICAL, "count": 1, "rows": [(10 * US, 4 * US)]}
    assert journeys(market.tape(), [market.now], latency=latency) == [(market.now + 10 * US, market.now + 14 * US)]


def recorded(*table: tuple[int, int, int]) -> dict[str, Any]:
    """Rows of (sent, arrived, answered) as `bt_gym.execution_models` lays them out."""
    answered = [(exch, resp - exch) for _, exch, resp in table if exch > 0]
    answered += [(0, 0)] * (len(table) - len(answered))
    full = [(*row, *more) for row, more in zip(table, answered, strict=True)]
    count = sum(exch > 0 for _, exch, _ in table)
    return {"model": enums.LATENCY_INTERPOLATED, "count": len(table), "answered": count, "rows": full}


def test_interpolated__is_linear_between_rows_and_constant_beyond():
    """Entry 10 us at 0 and 30 us at 100 us: 20 us half-way. Answers 5 and 15 us, by exchange time."""
    market = a_market()
    t0 = market.now
    latency = recorded((t0, t0 + 10 * US, t0 + 15 * US), (t0 + 100 * US, t0 + 130 * US, t0 + 145 * US))
    tape = market.tape()
    half_way = t0 + 50 * US
    assert journeys(tape, [half_way], latency=latency) == [
        (half_way + 20 * US, half_way + 20 * US + 5 * US + 10 * US * 60 // 120)
    ]
    assert journeys(tape, [t0 - 500], latency=latency) == [(t0 - 500 + 10 * US, t0 - 500 + 15 * US)]
    late = t0 + 900 * US
    assert journeys(tape, [late], latency=latency) == [(late + 30 * US, late + 45 * US)]


def test_interpolated__a_row_without_arrival_is_a_refusal():
    """hftbacktest: the request never reaches the engine, and its sender knows after the round trip of the rows."""
    market = a_market()
    t0 = market.now
    latency = recorded(
        (t0, t0 + 10 * US, t0 + 20 * US),
        (t0 + 100 * US, 0, t0 + 140 * US),
        (t0 + 200 * US, t0 + 210 * US, t0 + 220 * US),
    )
    execution = engine(latency=latency)
    tape = market.tape()
    execution.process_order_request(Order(BUY, 1), t0 + 50 * US, 100)
    execution.advance(tape, t0 + 300 * US)
    order_id, _ = execution.process_order_request(Order(BUY, 1), t0 + 300 * US, 100)
    execution.advance(tape, t0 + 500 * US)
    assert rows(execution.reports, "order_id", "exec_type", "reason", "ts_known") == [
        (1, enums.EXEC_REJECTED, enums.REASON_GATEWAY, t0 + 80 * US),  # 20 us and 40 us: 30 us half-way
        (2, enums.EXEC_NEW, 0, t0 + 320 * US),
    ]
    assert order_id == 2


def test_interpolated__a_refused_cancel_leaves_the_order():
    market = a_market()
    t0 = market.now
    latency = recorded((t0, t0 + 1, t0 + 2), (t0 + 10, t0 + 11, t0 + 12), (t0 + 100 * US, 0, t0 + 140 * US))
    execution = engine(latency=latency)
    tape = market.tape()
    order_id, _ = execution.process_order_request(Order(BUY, 1), t0 - 100, 100)
    execution.advance(tape, t0 + 150 * US)
    execution.process_cancel(order_id, t0 + 150 * US)
    execution.advance(tape, t0 + 900 * US)
    assert rows(execution.reports, "exec_type", "reason", "ts_known") == [
        (enums.EXEC_NEW, 0, t0 - 98),
        (enums.EXEC_CANCEL_REJECTED, enums.REASON_GATEWAY, t0 + 190 * US),
    ]
    assert execution.account["orders"]["leaves"][0, 0] == 1


def test_load__counts_the_messages_of_the_window():
    """Three messages in the 3 us before it is sent: 5 us and 3 times 2 us. None before the answer."""
    market = a_market()
    for _ in range(5):
        market.add("B", 90, 1)  # one a microsecond
    t0 = market.now - 1_000
    latency = {
        "model": enums.LATENCY_LOAD, "window": 3 * US, "entry": {"scale": 2.0 * US}, "response": {"scale": 100.0},
    }  # fmt: skip
    tape = market.tape()
    arrival = t0 + (5 + 6) * US
    found = journeys(tape, [t0], entry_latency=5 * US, response_latency=7 * US, latency=latency)
    assert found == [(arrival, arrival + 7 * US)]  # quiet by then


def test_feed__is_a_multiple_of_the_recorded_delay():
    market = a_market()
    market.now += 50 * US  # the snapshot counts from when it was received
    market.add("B", 90, 1)
    latency = {"model": enums.LATENCY_FEED, "entry": {"scale": 2.0}, "response": {"scale": 0.5}}
    tape = market.tape([4_000])
    ts = market.now + 50 * US
    found = journeys(tape, [ts], entry_latency=1 * US, response_latency=2 * US, latency=latency)
    assert found == [(ts + 9 * US, ts + 13 * US)]


# --- any


WILD = LOGNORMAL | {
    "entry": {"minimum": 0, "scale": 3_000.0, "sigma": 2.0},
    "response": {"minimum": 0, "scale": 2_000.0, "sigma": 2.0},
}
EVERY = [
    WILD,
    {"model": enums.LATENCY_EMPIRICAL, "count": 3, "rows": [(0, 0), (500, 300), (9_000, 7_000)]},
    {"model": enums.LATENCY_LOAD, "window": 3_000, "entry": {"scale": 700.0}, "response": {"scale": 900.0}},
    {"model": enums.LATENCY_FEED, "entry": {"scale": 1.5}, "response": {"scale": 0.7}},
]


def play(records: list, script: list, latency: dict[str, Any], chunk: int | None = None) -> ExecutionEngine:
    """A script on the kernels; the exchange works in steps of `chunk` ns, or in one go."""
    pair = Pair(records, (300, 2_500), latency=latency, seed=9)
    execution = pair.engine
    for now, step in walk(script, pair.start):
        for until in range(now - 6_000, now, chunk) if chunk else []:
            execution.advance(pair.tape, until)
        execution.process_market_update(pair.tape, now)
        pair.act(now, step)
    execution.advance(pair.tape, pair.end + 1_000_000_000)
    return execution


@SESSIONS
@given(st.sampled_from(EVERY), sessions(TRADING), scripts())
def test_every_model__nothing_overtakes_and_chunks_change_nothing(latency, records, script):
    execution = play(records, script, latency)
    reports = execution.reports
    assert (np.diff(reports["ts_known"]) >= 0).all()
    assert (np.diff(reports["ts_exchange"]) >= 0).all()
    assert (reports["ts_known"] >= reports["ts_exchange"]).all()
    new = reports[reports["exec_type"] == enums.EXEC_NEW]
    assert (np.diff(new["order_id"]) > 0).all()  # requests arrive in the order in which they were sent
    assert play(records, script, latency, chunk=700).reports.tobytes() == reports.tobytes()


@SESSIONS
@given(sessions(TRADING), scripts())
def test_constant_sample__is_the_fixed_model(records, script):
    """The same run by the fast path and, event by event, by a sample that has one value."""
    fixed = Pair(records, entry_latency=1_300, response_latency=900)
    drawn = Pair(records, latency={"model": enums.LATENCY_EMPIRICAL, "count": 1, "rows": [(1_300, 900)]})
    for pair in (fixed, drawn):
        for now, step in walk(script, pair.start):
            pair.advance(now)
            pair.act(now, step)
        pair.engine.advance(pair.tape, pair.end)
    assert fixed.engine.reports.tobytes() == drawn.engine.reports.tobytes()


def test_kill_switch__gets_through_a_gateway_that_refuses():
    market = a_market()
    execution = engine(latency=recorded((1, 0, 5), (2**61, 0, 2**61 + 5)))
    tape = market.tape()
    kill(execution.account[0], market.now)
    execution.advance(tape, 2**62)
    assert execution.account["requests_live"][0] == 0
    assert not execution.account["requests"]["refused"].any()


@SESSIONS
@given(sessions(TRADING), st.integers(0, 40), st.integers(-3, 3), st.integers(0, 5_000), st.integers(0, 5_000))
def test_larger_latency__arrives_no_earlier(records, pause, ticks, less, more):
    """B4.10."""
    arrivals = []
    for latency in (less, less + more):
        pair = Pair(records, entry_latency=latency)
        for now, step in walk([(pause, LIMIT, 0, BUY, ticks, 1)], pair.start):
            pair.engine.advance(pair.tape, now)
            pair.act(now, step)
        pair.engine.advance(pair.tape, pair.end)
        arrivals.append(int(pair.engine.reports["ts_exchange"][0]))
    assert arrivals[0] <= arrivals[1]
