"""Own orders in line: after anything that may happen, what is kept beside the orders is what they themselves say."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bt_gym._jit import njit
from bt_gym.core import enums
from bt_gym.core.execution import book_fill, deliver, run
from bt_gym.core.market import new_market
from bt_gym.core.orders import FAR_LEVEL, NO_REACH, make_account_dtype, new_account, new_models, report_dtype
from bt_gym.core.requests import submit
from bt_gym.core.resting import find_level, height_of, is_own_level
from tests.reference.scenario import Order, Scenario, engine
from tests.reference.sessions import TRADING, UNUSUAL, Pair, act_on_engine, scripts, sessions, walk

SESSIONS = settings(max_examples=settings().max_examples // 4, suppress_health_check=list(HealthCheck))


def check_bookkeeping(account: np.void) -> None:
    """Lines, masks, counts and sums against a plain look at all order slots."""
    orders = account["orders"]
    live = orders[orders["status"] != enums.STATUS_FREE]
    assert account["orders_live"] == len(live)
    working = orders["status"] == enums.STATUS_WORKING
    assert account["resting"] == working.sum()
    assert account["unseen"] == (working & (orders["ahead_known"] == 0)).sum()
    for side in (enums.BID, enums.ASK):
        assert account["most_open"][side] == live["most_leaves"][live["side"] == side].sum()
        slots = np.flatnonzero(working & (orders["side"] == side))
        heights = {int(slot): int(height_of(side, orders["price"][slot])) for slot in slots}
        expected = sorted(heights, key=lambda slot: (-heights[slot], orders["rank"][slot]))
        assert account["line"][side][: account["line_length"][side]].tolist() == expected
        assert account["reach"][side] == max(heights.values(), default=NO_REACH)
        distances = {min(int(account["reach"][side]) - height, FAR_LEVEL) for height in heights.values()}
        assert int(account["levels"][side]) == sum(1 << distance for distance in distances)
        for place, slot in enumerate(expected):
            tick = int(orders["price"][slot])
            assert is_own_level(account, side, tick)
            if not place or orders["price"][expected[place - 1]] != tick:
                assert find_level(account, side, tick) == place


@SESSIONS
@given(sessions(TRADING + UNUSUAL), scripts(), st.sampled_from([0, 700]), st.sampled_from([1, 50]))
def test_bookkeeping__is_what_the_orders_say(records, script, latency, spread):
    """Also with orders so far apart (prices times 50) that they share the mask's last bit."""
    pair = Pair(records, entry_latency=latency, response_latency=latency, protection=2)
    for now, (pause, action, pick, side, ticks, size) in walk(script, pair.start):
        pair.engine.process_market_update(pair.tape, now)
        act_on_engine(pair.engine, now, (pause, action, pick, side, ticks * spread, size))
        check_bookkeeping(pair.engine.account[0])
    pair.engine.process_market_update(pair.tape, pair.end)
    check_bookkeeping(pair.engine.account[0])


SMALL = make_account_dtype(16, 32, 16)


@SESSIONS
@given(sessions(TRADING + UNUSUAL), scripts(max_size=14), st.sampled_from([0, 700]))
def test_small_account__does_what_a_large_one_does(records, script, latency):
    reports = []
    for dtype in (None, SMALL):
        pair = Pair(records, entry_latency=latency, protection=2)
        if dtype is not None:
            pair.engine.account = new_account(new_models(entry_latency=latency, protection=2), dtype)
        for now, step in walk(script, pair.start):
            pair.engine.process_market_update(pair.tape, now)
            act_on_engine(pair.engine, now, step)
        pair.engine.process_market_update(pair.tape, pair.end)
        reports.append(pair.engine.reports.tobytes())
    assert reports[0] == reports[1]


@njit
def _step(accounts, log, markets, records, events, blocks, now, side, ticks):
    """An environment's step: run, learn, forget, order. Returns lots learned of, or -1 when the ring was too short."""
    account = accounts[0]
    _, is_full = run(account, log, markets[0], records, events, blocks, now, False)
    if is_full:
        return -1
    start = account["reports_known"]
    lots = 0
    for i in range(start, start + deliver(account, log, now)):
        row = log[i & (log.shape[0] - 1)]
        if row["exec_type"] == enums.EXEC_TRADE:
            book_fill(account, row)
            lots += row["size"]
    account["reports_kept"] = account["reports_known"]
    submit(account, now, side, 1, enums.ORDER_LIMIT, enums.TIF_GTC, ticks)
    return lots


@SESSIONS
@given(sessions(TRADING + UNUSUAL), scripts(max_size=25))
def test_ring_of_64_reports__serves_small_accounts_with_orders_of_one_lot(records, script):
    """Whatever an event brings: a sweep of a thousand lots fills sixteen orders of one lot at most."""
    pair = Pair(records)
    accounts, market, ring = new_account(new_models(), SMALL), new_market(), np.zeros(64, report_dtype)
    learned = 0
    for now, (_, _, _, side, ticks, _) in walk(script, pair.start):
        tape = pair.tape
        lots = _step(accounts, ring, market, tape.records, tape.events, tape.blocks, now, side, ticks)
        assert lots >= 0
        learned += lots
        assert accounts["known_position"]["volume"][0] == learned


def test_ring__that_is_too_short_loses_nothing():
    """Run says so, and goes on after more was kept free."""
    market = Scenario()
    market.snapshot(("B", 100, 5), ("A", 104, 5))
    market.event(market.record("N"))
    accounts, ring = new_account(new_models(), SMALL), np.zeros(2, report_dtype)
    tape = market.tape()
    execution = engine()
    execution.account, execution.log = accounts, ring
    for _ in range(3):
        execution.process_order_request(Order(enums.BUY, 1), market.now, 90)
    execution.advance(tape, market.now)
    assert len(execution.log) > 2
    assert execution.reports["order_id"].tolist() == [1, 2, 3]


@pytest.mark.parametrize("sizes", [(0, 8, 8), (8, 3, 8), (8, 8, 0), (1 << 15, 8, 8)])
def test_account__refuses_sizes_that_its_kernels_cannot_count(sizes):
    with pytest.raises(ValueError, match="at least 1, 4 and 1"):
        make_account_dtype(*sizes)


def test_accounts__come_as_a_batch():
    accounts = new_account(np.repeat(new_models(max_loss=5), 3), SMALL, count=3)
    assert accounts.shape == (3,)
    assert accounts["models"]["max_loss"].tolist() == [5, 5, 5]
    assert accounts.tobytes() == new_account(new_models(max_loss=5), SMALL, count=3).tobytes()
