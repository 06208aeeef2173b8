"""Own resting orders: faults of other engines as worked cases, then random sessions against a twin with real queues."""

import numpy as np
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bt_gym.core import enums
from bt_gym.core.enums import BUY, SELL
from bt_gym.core.execution import ExecutionEngine
from bt_gym.core.positions import equity
from bt_gym.core.tape import LADDER_TICKS
from tests.data.compiled import Compiled
from tests.reference.scenario import Order, Scenario, engine, rows
from tests.reference.sessions import (
    ALL_TYPES,
    JUMPS,
    LIMIT,
    TRADING,
    UNUSUAL,
    Pair,
    act_on_engine,
    far_moving,
    scripts,
    sessions,
    walk,
)

LONG_AFTER = 1_000_000_000
FILL = ("event", "price", "size", "leaves")


class Case:
    """A scenario with own orders that arrive between its events, without latency unless given."""

    def __init__(self, **models: int) -> None:
        self.models = models
        self.market = Scenario()
        self.own: list[tuple[int, int, int, int, int]] = []

    def bid(self, ticks: int, size: int) -> None:
        """An own buy order reaches the exchange right after the last event written."""
        self.own.append((self.market.now - 1, BUY, size, ticks, 0))

    def ask(self, ticks: int, size: int) -> None:
        self.own.append((self.market.now - 1, SELL, size, ticks, 0))

    def cancel(self, order_id: int) -> None:
        self.own.append((self.market.now - 1, -1, order_id, 0, 0))

    def modify(self, order_id: int, size: int, ticks: int) -> None:
        self.own.append((self.market.now - 1, -2, order_id, size, ticks))

    def run(self) -> ExecutionEngine:
        tape = self.market.tape()
        execution = engine(**self.models)
        for now, side, size, ticks, more in self.own:
            execution.advance(tape, now)
            if side == -1:
                execution.process_cancel(size, now)
            elif side == -2:
                execution.process_modify(size, ticks, more, now)
            else:
                execution.process_order_request(Order(side, size), now, ticks)
        execution.advance(tape, LONG_AFTER + self.market.now)
        return execution

    def fills(self) -> list[tuple[int, ...]]:
        """(event, price, size, leaves) of each own fill."""
        reports = self.run().reports
        return rows(reports[reports["exec_type"] == enums.EXEC_TRADE], *FILL)


def a_case(*orders: tuple[str, int, int], **models: int) -> tuple[Case, list[int]]:
    """A case in continuous trading with the book given as (side, ticks, size); event 2 is the next."""
    case = Case(**models)
    ids = case.market.snapshot(*orders)
    case.market.event(case.market.record("N"))
    return case, ids


# --- faults of other engines (hftbacktest, NautilusTrader), each with the right answer


def test_fill_behind__gives_no_more_than_was_traded():
    """One lot trades behind a 50-lot order: one lot is filled, not fifty."""
    case, _ = a_case(("A", 102, 5))
    case.market.add("B", 100, 1)
    case.bid(100, 50)
    behind = case.market.add("B", 100, 4)
    ahead = next(iter(case.market.book.queue("B", 100 * 250_000_000)))
    case.market.cancel(ahead)
    case.market.trade("A", 100, {behind: 1})
    assert case.fills() == [(5, 100, 1, 49)]


def test_fill_behind__proves_that_the_order_was_due():
    """Somebody behind was filled although an order ahead still stands: the volume was ours."""
    case, (_, _) = a_case(("B", 100, 3), ("A", 102, 5))
    case.bid(100, 2)
    behind = case.market.add("B", 100, 4)
    case.market.trade("A", 100, {behind: 3})
    assert case.fills() == [(3, 100, 2, 0)]


def test_partial_cancel__takes_only_its_size_off_the_queue():
    """A `C` of 2 of 5 lots ahead: three still stand ahead."""
    case, (first, _) = a_case(("B", 100, 5), ("A", 102, 5))
    case.bid(100, 2)
    case.market.cancel(first, 2)
    case.market.trade("A", 100, {first: 3}, more=1)
    assert case.fills() == [(3, 100, 1, 1)]


def test_order_inside_the_spread__is_filled_by_sells_at_the_old_best():
    """My bid 101, best bid 100, 3 lots sold at 100: the seller would have met me first, at my price."""
    case, (first, _) = a_case(("B", 100, 5), ("A", 103, 5))
    case.bid(101, 4)
    case.market.trade("A", 100, {first: 3})
    assert case.fills() == [(2, 101, 3, 1)]


def test_partial_fills__reach_position_and_fees():
    """3 + 7 lots: the position is 10, not 7."""
    case, (first, _) = a_case(("B", 100, 20), ("A", 103, 5), maker_fee=250_000)
    case.bid(101, 10)
    case.market.trade("A", 100, {first: 3})
    case.market.trade("A", 100, {first: 9})
    account = case.run().account
    assert case.fills() == [(2, 101, 3, 7), (3, 101, 7, 0)]
    assert account["position"]["size"] == 10
    assert account["position"]["fees"] == 2_500_000


def test_two_own_orders__share_one_traded_volume():
    """6 lots trade, 5 are ahead: one lot is left for two own orders of 5 together, and the earlier one gets it."""
    case, (first, _) = a_case(("B", 100, 5), ("A", 103, 5))
    case.bid(100, 5)
    case.bid(100, 5)
    case.market.trade("A", 100, {first: 5}, more=1)
    reports = case.run().reports
    assert rows(reports[reports["exec_type"] == enums.EXEC_TRADE], "order_id", "size") == [(1, 1)]


def test_two_own_orders__with_a_real_one_between_them():
    """Queue: own 2, real 3, own 5. 8 lots trade, of which the real order reports 3: 2 for the first, 3 for the last."""
    case, _ = a_case(("B", 99, 1), ("A", 103, 5))
    case.bid(100, 2)
    between = case.market.add("B", 100, 3)
    case.bid(100, 5)
    case.market.trade("A", 100, {between: 3}, more=5)
    reports = case.run().reports
    assert rows(reports[reports["exec_type"] == enums.EXEC_TRADE], "order_id", "size") == [(1, 2), (2, 3)]


def test_two_own_orders__at_two_prices_share_one_traded_volume():
    """5 lots sold at 100: 3 for my bid at 101, 2 for my bid at 100, none left for the real order behind it."""
    case, (_, _) = a_case(("B", 99, 1), ("A", 103, 5))
    case.bid(100, 4)
    case.bid(101, 3)
    real = case.market.add("B", 100, 9)
    case.market.trade("A", 100, {real: 5})
    reports = case.run().reports
    assert rows(reports[reports["exec_type"] == enums.EXEC_TRADE], "order_id", "price", "size") == [
        (2, 101, 3),
        (1, 100, 2),
    ]


def test_clear_without_snapshot__expires_own_orders():
    case, _ = a_case(("B", 100, 3), ("A", 102, 5))
    case.bid(100, 2)
    case.market.clear()
    reports = case.run().reports
    assert rows(reports[1:], "event", "exec_type", "reason", "leaves") == [
        (2, enums.EXEC_EXPIRED, enums.REASON_BOOK_CLEARED, 0)
    ]


def test_clear_of_a_snapshot__keeps_own_orders_and_what_is_ahead():
    """A new day's snapshot: 5 lots stay ahead, in front of the first restored order beyond them."""
    case, _ = a_case(("B", 100, 3), ("B", 100, 2), ("A", 102, 5))
    case.bid(100, 2)
    case.market.add("B", 100, 4)
    first, second, third, _ = case.market.snapshot(("B", 100, 3), ("B", 100, 2), ("B", 100, 4), ("A", 102, 5))
    case.market.event(case.market.record("N"))
    case.market.trade("A", 100, {first: 3, second: 2})
    case.market.trade("A", 100, {third: 1})
    assert case.fills() == [(6, 100, 1, 1)]


def test_modify_of_an_unknown_id__joins_the_queue_behind():
    case, (first, _) = a_case(("B", 100, 2), ("A", 102, 5))
    case.bid(100, 2)
    case.market.event(case.market.record("M", "B", 100, 7, order_id=999))
    case.market.trade("A", 100, {first: 2, 999: 3})
    assert case.fills() == [(3, 100, 2, 0)]


def test_iceberg_refill__goes_behind():
    """F 5 then M 5 on a 5-lot display: its refill queues behind me, so the next lots sold are mine."""
    case, (iceberg, _) = a_case(("B", 100, 5), ("A", 102, 5))
    case.bid(100, 2)
    refill = case.market.modified(iceberg, 100, 5)
    case.market.event(*case.market.traded("A", 100, {iceberg: 5}), refill)
    case.market.trade("A", 100, {iceberg: 1})
    assert case.fills() == [(3, 100, 1, 1)]


def test_iceberg__hidden_lots_filled_ahead_use_up_the_trade():
    """12 lots sold: the iceberg ahead shows 5 and gets 11. One lot is left."""
    case, (iceberg, _) = a_case(("B", 100, 5), ("A", 102, 5))
    case.bid(100, 4)
    trade = case.market.traded("A", 100, {iceberg: 11}, more=1)
    case.market.event(*trade, case.market.modified(iceberg, 100, 5))
    assert case.fills() == [(2, 100, 1, 3)]


def test_deletion_of_one_order__does_not_clear_the_queue():
    """NautilusTrader: any DELETE of a level cleared the whole quantity ahead."""
    case, (first, second, _) = a_case(("B", 100, 5), ("B", 100, 6), ("A", 102, 5))
    case.bid(100, 2)
    case.market.cancel(first)
    case.market.trade("A", 100, {second: 4})
    assert case.fills() == []


def test_aggressor_that_was_resting__is_no_passive_fill():
    """A resting ask is modified to 100 and sells to the bid: its own F (same id as T) takes nothing off the volume."""
    case, (first, other) = a_case(("B", 100, 3), ("A", 102, 5))
    case.bid(100, 2)
    market = case.market
    market.event(
        market.record("T", "A", 100, 5, order_id=other),
        market.record("F", "A", 100, 5, order_id=other),
        market.record("F", "B", 100, 3, order_id=first),
        market.cancelled(first),
        market.cancelled(other),
    )
    assert case.fills() == [(2, 100, 2, 0)]


def test_self_match_cancel__was_gone_before_the_trade():
    """The order ahead leaves by a C without F beside the trade: nobody is ahead any more."""
    case, (first, second, _) = a_case(("B", 100, 3), ("B", 100, 4), ("A", 102, 5))
    case.market.cancel(second)
    case.bid(100, 2)
    behind = case.market.add("B", 100, 6)
    case.market.trade("A", 100, {behind: 1}, also=(case.market.cancelled(first),))
    assert case.fills() == [(4, 100, 1, 1)]


# --- the rule, line by line


def test_trade_through__fills_at_the_own_limit():
    case, (first, second, _) = a_case(("B", 100, 2), ("B", 99, 7), ("A", 103, 5))
    case.bid(100, 5)
    market = case.market
    fills = {first: 2}
    market.event(
        *market.traded("A", 100, fills), *market.traded("A", 99, {second: 4}), *market.booked({**fills, second: 4})
    )
    assert case.fills() == [(2, 100, 4, 1)]


def test_opposite_add_through_the_price__fills_what_it_brings():
    """An ask of 3 comes in at 101, my bid is the best at 102: it would have met me, at my price."""
    case, _ = a_case(("B", 100, 2), ("A", 104, 5))
    case.bid(102, 5)
    case.market.add("A", 101, 3)
    assert case.fills() == [(2, 102, 3, 2)]


def test_opposite_add_through_the_price__can_be_left_out():
    case, _ = a_case(("B", 100, 2), ("A", 104, 5), fill_on_cross=0)
    case.bid(102, 5)
    case.market.add("A", 101, 3)
    assert case.fills() == []


def test_order_that_filled_us__does_not_fill_us_again():
    """The ask of 3 that met my bid moves to and fro: no money pump. What it adds on top is new."""
    case, _ = a_case(("B", 98, 2), ("A", 104, 5))
    case.bid(102, 9)
    ask = case.market.add("A", 101, 3)
    case.market.modify(ask, 103, 3)
    case.market.modify(ask, 101, 3)
    case.market.modify(ask, 102, 5)
    assert case.fills() == [(2, 102, 3, 6), (5, 102, 2, 4)]


def test_order_that_filled_us__brings_what_it_grows_by_after_it_shrank():
    """Of the ask of 3 that met my bid, one lot is left when it moves away; back with 5, four of them are new."""
    case, _ = a_case(("B", 98, 2), ("A", 104, 5))
    case.bid(102, 9)
    ask = case.market.add("A", 101, 3)
    case.market.modify(ask, 103, 1)
    case.market.modify(ask, 101, 5)
    assert case.fills() == [(2, 102, 3, 6), (4, 102, 4, 2)]


def test_order_that_filled_us__leaves_nothing_behind_when_it_goes():
    """The ask that met my bid is cancelled; the two lots that come to its price later can be taken."""
    case, _ = a_case(("B", 98, 2), ("A", 104, 5))
    case.bid(102, 3)
    ask = case.market.add("A", 101, 3)
    case.market.cancel(ask)
    case.market.add("A", 101, 2)
    case.bid(101, 2)
    assert case.fills() == [(2, 102, 3, 0), (4, 101, 2, 0)]


def test_two_trades_of_an_event__are_judged_apart():
    """The first fills somebody behind me, so one lot is mine; the second stops at the order ahead and fills nobody."""
    case, (first, _) = a_case(("B", 100, 9), ("A", 102, 5))
    case.bid(100, 3)
    behind = case.market.add("B", 100, 4)
    market = case.market
    trades = market.traded("A", 100, {behind: 1}) + market.traded("A", 100, {first: 3}, more=1)
    market.event(*trades, *market.booked({behind: 1, first: 3}))
    assert case.fills() == [(3, 100, 1, 2)]


def test_first_event_after_the_uncross__fills():
    """The auction itself does not, the continuous trading that it opens does."""
    case, (_, offer) = a_case(("B", 98, 3), ("A", 104, 5))
    case.bid(100, 2)
    market = case.market
    market.trade("B", 104, {offer: 1})  # what comes behind it is the pre-open
    bid, ask = market.add("B", 103, 3), market.add("A", 103, 3)
    market.event(
        market.record("T", "N", 103, 3),
        market.record("F", "N", 103, 3, order_id=bid),
        market.record("F", "N", 103, 3, order_id=ask),
        market.cancelled(bid),
        market.cancelled(ask),
    )
    market.event(market.record("T", "A", 100, 1, order_id=900))
    assert case.fills() == [(6, 100, 1, 1)]


def test_add_that_is_gone_by_the_end_of_its_event__fills_nobody():
    case, _ = a_case(("B", 100, 2), ("A", 104, 5))
    case.bid(102, 5)
    market = case.market
    order_id = market.new_id()
    market.event(market.record("A", "A", 101, 3, order_id=order_id), market.record("C", "A", 101, 3, order_id=order_id))
    assert case.fills() == []


def test_volume_of_an_order_never_shown__counts_as_ahead():
    """4 lots sold, an id that was never added reports 3 of them: one is left, the hidden order came first."""
    case, _ = a_case(("B", 99, 2), ("A", 104, 5))
    case.bid(100, 5)
    market = case.market
    market.event(market.record("T", "A", 100, 4, order_id=900), market.record("F", "B", 100, 3, order_id=901))
    assert case.fills() == [(2, 100, 1, 4)]


def test_trade_without_side__fills_the_side_that_the_quotes_tell():
    case, _ = a_case(("B", 99, 2), ("A", 104, 5))
    case.market.add("B", 100, 2)
    case.bid(100, 5)
    case.market.cancel(next(iter(case.market.book.queue("B", 100 * 250_000_000))))
    case.market.event(case.market.record("T", "N", 99, 4))
    assert case.fills() == [(4, 100, 4, 1)]


def test_trade_that_meets_no_level__changes_no_queue():
    """A trade without side between the best prices, at my price: nobody knows whom it met."""
    case, _ = a_case(("B", 98, 2), ("A", 104, 5))
    case.bid(100, 5)
    case.market.event(case.market.record("T", "N", 100, 3))
    assert case.run().account["orders"]["ahead"][0, 0] == 0


def test_snapshot_that_differs_from_the_book__leaves_whole_orders_ahead():
    """6 lots were ahead, the snapshot brings 4 + 5: 4 are ahead, and once they are gone I am next."""
    case, _ = a_case(("B", 100, 6), ("A", 102, 5))
    case.bid(100, 2)
    first, *_ = case.market.snapshot(("B", 100, 4), ("B", 100, 5), ("A", 102, 5))
    case.market.event(case.market.record("N"))
    case.market.trade("A", 100, {first: 4}, more=1)
    assert case.fills() == [(4, 100, 1, 1)]


def test_snapshot_that_begins_again__counts_once():
    """R, 3 lots, R, the same 3 lots and 4 more: what the second R dropped isn't ahead."""
    case, _ = a_case(("B", 100, 6), ("A", 102, 5))
    case.bid(100, 2)
    case.market.snapshot(("B", 100, 3), ("A", 102, 5))
    case.market.now -= 1_000
    case.market.snapshot(("B", 100, 3), ("B", 100, 4), ("A", 102, 5))
    assert case.run().account["orders"]["ahead"][0, 0] == 3


def test_snapshot_and_auction__fill_nobody():
    """The crossed restored book, the crossed book before the uncross and the uncross itself."""
    case, _ = a_case(("B", 100, 3), ("A", 102, 5))
    case.bid(100, 2)
    market = case.market
    bid, ask = market.snapshot(("B", 103, 3), ("A", 99, 3))
    market.event(market.record("N"))
    market.event(
        market.record("T", "N", 100, 3),
        market.record("F", "N", 100, 3, order_id=bid),
        market.record("F", "N", 100, 3, order_id=ask),
        market.cancelled(bid),
        market.cancelled(ask),
    )
    assert case.fills() == []


def test_event_of_the_arrival__comes_before_the_order():
    """At equal times the market is first: an order sent at the very time of a trade takes no part in it."""
    case, (first, _) = a_case(("B", 99, 2), ("A", 104, 5))
    case.own.append((case.market.now, BUY, 5, 100, 0))
    case.market.trade("A", 99, {first: 2})
    case.market.event(case.market.record("T", "A", 100, 1, order_id=900))
    assert case.fills() == [(3, 100, 1, 4)]


def test_order_beyond_the_ladder_window__knows_what_is_ahead_once_it_comes_into_view():
    """Own bid 300 ticks below the touch: later the market falls to it, and three of seven lots stand ahead."""
    case, (_, far, _) = a_case(("B", 1000, 1), ("B", 700, 3), ("A", 1002, 1))
    case.bid(700, 2)
    behind = case.market.add("B", 700, 4)
    touch = next(iter(case.market.book.queue("B", 1000 * 250_000_000)))
    for ticks in range(900, 600, -100):
        case.market.cancel(next(iter(case.market.book.queue("A", case.market.book.best("A")[0]))))
        case.market.modify(touch, ticks + 100, 1)
        case.market.add("A", ticks + 103, 1)
    case.market.cancel(touch)
    before = case.run().account["orders"][0][0]
    assert before["ahead_known"]
    assert before["ahead"] == 3
    case.market.trade("A", 700, {far: 3, behind: 1}, more=1)
    assert [fill[1:] for fill in case.fills()] == [(700, 2, 0)]


# --- against the twin with real queues

SESSIONS = settings(max_examples=settings().max_examples // 3, suppress_health_check=list(HealthCheck))
LATENCIES = st.sampled_from([0, 700, 2_500])
DELAYS = st.sampled_from([(1_000,), (1_000, 50_000), (0, 300, 3_000)])


@SESSIONS
@given(sessions(TRADING), scripts(actions=(LIMIT,)), st.booleans())
def test_resting_orders__equal_the_twin_with_real_queues(records, script, fill_on_cross):
    Pair(records, fill_on_cross=int(fill_on_cross)).run(script)


@SESSIONS
@given(sessions(TRADING), scripts(), DELAYS, LATENCIES, LATENCIES)
def test_all_requests__equal_the_twin_with_real_queues(records, script, delays, entry, response):
    Pair(
        records,
        delays,
        entry_latency=entry,
        response_latency=response,
        protection=2,
        maker_fee=-20,
        taker_fee=130,
    ).run(script)


@SESSIONS
@given(
    sessions(TRADING),
    scripts(ALL_TYPES),
    LATENCIES,
    st.sampled_from(range(5)),
    st.booleans(),
    st.sampled_from([-1, 0, 2]),
)
def test_all_order_types__equal_the_twin_with_real_queues(
    records, script, latency, self_match, stop_on_quote, price_collar
):
    """Every type, time in force, post-only and self-match policy."""
    models = {"self_match": self_match, "stop_on_quote": int(stop_on_quote), "price_collar": price_collar}
    Pair(records, entry_latency=latency, protection=2, **models).run(script)


@SESSIONS
@given(sessions(TRADING + UNUSUAL), scripts(ALL_TYPES), LATENCIES)
def test_auctions_clears_and_snapshots__equal_the_twin_with_real_queues(records, script, latency):
    Pair(records, entry_latency=latency, protection=2).run(script)


@SESSIONS
@given(JUMPS, st.lists(st.tuples(st.integers(0, 30), st.integers(0, 1), st.integers(0, 600)), max_size=12))
@example([(250, 1, 2)], [(1, 1, 216)])  # the event that begins a window is the first of a call
def test_queue_positions__equal_the_twin_as_soon_as_a_window_shows_the_level(steps, quotes):
    """The touch jumps up to 600 ticks; own orders rest up to 600 ticks away from it, a window is 512 ticks wide."""
    pair = Pair(far_moving(steps).records)
    pauses = [(pause, side, away) for pause, side, away in quotes] + [(3, None, 0)] * 40
    now = pair.start
    for pause, side, away in pauses:
        now += pause * 500
        pair.advance(now)
        best = None if side is None else pair.twin.book.best(side)
        if best is not None and not pair.twin.book.is_crossed():
            pair.act(now, (0, LIMIT, 0, side, best - away if side == BUY else best + away, 2))
            pair.advance(now)
        orders = pair.engine.account["orders"][0]
        orders = orders[orders["status"] == enums.STATUS_WORKING]
        true = pair.twin.queue_positions()
        assert set(orders["order_id"]) == set(true)
        block = np.searchsorted(pair.tape.blocks["event"], pair.engine.account["event"][0] - 1, side="right") - 1
        base = int(pair.tape.blocks["base"][max(block, 0)])
        for order in orders:
            assert order["ahead_known"] or not 0 <= order["price"] - base < LADDER_TICKS
            assert not order["ahead_known"] or order["ahead"] == true[int(order["order_id"])]


# --- properties


def _run(records: list, script: list, **models: int) -> Pair:
    pair = Pair(records, **models)
    for now, step in walk(script, pair.start):
        pair.engine.advance(pair.tape, now)
        _, action, _, side, ticks, size = step
        assert action == LIMIT
        pair.engine.process_order_request(Order(side, size), now, ticks)
    pair.engine.advance(pair.tape, pair.end)
    return pair


def _volume(tape: Compiled, event: int) -> int:
    """Lots of an event that could fill somebody: its trades and the orders that came in."""
    first = int(tape.events[event - 1]["end"])
    records = tape.records[first : int(tape.events[event]["end"])]
    kinds = records["key"] & 7
    return int(records["size"][(kinds == enums.RECORD_TRADE) | (kinds == enums.RECORD_ADD)].sum())


@SESSIONS
@given(sessions(TRADING), scripts(actions=(LIMIT,)))
def test_maker_fills__keep_limit_size_and_volume(records, script):
    """B4.7-8: at the limit, no more than ordered, no more in an event than was traded or came in."""
    pair = _run(records, script)
    reports = pair.engine.reports
    limits = dict(rows(reports[reports["exec_type"] == enums.EXEC_NEW], "order_id", "price"))
    sizes = dict(rows(reports[reports["exec_type"] == enums.EXEC_NEW], "order_id", "leaves"))
    fills = reports[reports["exec_type"] == enums.EXEC_TRADE]
    for order_id in limits:
        mine = fills[fills["order_id"] == order_id]
        assert mine["size"].sum() <= sizes[order_id]
        maker = mine[mine["liquidity"] == enums.LIQUIDITY_MAKER]
        assert (maker["price"] == limits[order_id]).all()
        sign = np.where(mine["side"] == BUY, 1, -1)
        assert (sign * mine["price"] <= sign * limits[order_id]).all()
    maker = fills[fills["liquidity"] == enums.LIQUIDITY_MAKER]
    for event in np.unique(maker["event"]):
        assert maker["size"][maker["event"] == event].sum() <= _volume(pair.tape, event)


@SESSIONS
@given(sessions(TRADING), scripts(actions=(LIMIT,)))
def test_own_orders__keep_price_and_time_priority_among_themselves(records, script):
    """B4.9: an order is never filled by a trade while an own one before it still wants lots."""
    pair = _run(records, script, fill_on_cross=0)
    reports = pair.engine.reports
    leaves: dict[int, tuple[int, int, int]] = {}  # resting, by order id: side, price, leaves
    for report in reports:
        order_id, side = int(report["order_id"]), int(report["side"])
        if report["liquidity"] == enums.LIQUIDITY_MAKER:
            sign = 1 if side == BUY else -1
            for other, (other_side, price, left) in leaves.items():
                if other_side == side and left and report["price"] == price and other < order_id:
                    raise AssertionError(f"order {order_id} was filled before {other}")
                better = sign * price > sign * report["price"]
                assert not (other_side == side and left and better and other != order_id)
        leaves[order_id] = side, int(report["price"]), int(report["leaves"])
        if report["liquidity"] == enums.LIQUIDITY_TAKER:
            leaves[order_id] = side, pair_limit(reports, order_id), int(report["leaves"])


def pair_limit(reports: np.ndarray, order_id: int) -> int:
    """Limit of an order."""
    return int(reports["price"][(reports["order_id"] == order_id) & (reports["exec_type"] == enums.EXEC_NEW)][0])


@SESSIONS
@given(sessions(TRADING), st.integers(0, 40), st.integers(0, 1), st.integers(-3, 3), st.integers(1, 9))
def test_larger_size__fills_no_smaller_a_part_in_lots_and_no_larger_a_share(records, pause, side, ticks, size):
    """B4.10: twice the size is filled at least as many lots, and at most twice as many."""
    filled = []
    for lots in (size, 2 * size):
        account = _run(records, [(pause, LIMIT, 0, side, ticks, lots)], fill_on_cross=0).engine.account
        filled.append(abs(int(account["position"]["size"][0])))
    assert filled[0] <= filled[1] <= 2 * filled[0]


@SESSIONS
@given(sessions(TRADING), st.integers(0, 60), st.integers(0, 1), st.integers(-3, 3), st.integers(1, 40))
def test_trades__conserve_their_volume(records, pause, side, ticks, size):
    """B4.7: what an order is filled and what recorded fills before it took add up to no more than was traded there; the
    rest of the trade is what recorded fills behind it keep, or lose to it."""
    pair = _run(records, [(pause, LIMIT, 0, side, ticks, size)], fill_on_cross=0)
    order = pair.engine.account["orders"][0, 0]
    fills = pair.engine.reports[pair.engine.reports["liquidity"] == enums.LIQUIDITY_MAKER]
    for event in np.unique(fills["event"]):
        first = int(pair.tape.events["end"][event - 1])
        rows_ = pair.tape.records[first : int(pair.tape.events["end"][event])]
        kinds, at = rows_["key"] & 7, (rows_["key"] >> 5, rows_["key"] >> 3 & 1)
        sign = 1 if side == BUY else -1
        reached = (at[1] == side) & (sign * at[0] <= sign * order["price"])
        traded = rows_["size"][(kinds == enums.RECORD_TRADE) & reached].astype(int).sum()
        taken = (kinds == enums.RECORD_FILL) | (kinds == enums.RECORD_HIDDEN)
        before = taken & reached & (at[0] == order["price"]) & (rows_["priority"] < order["priority"])
        mine = int(fills["size"][fills["event"] == event].sum())
        assert mine + np.abs(rows_["size"][before].astype(int)).sum() <= traded


@SESSIONS
@given(sessions(TRADING + UNUSUAL), scripts(ALL_TYPES), LATENCIES)
def test_public_market__knows_nothing_of_own_orders(records, script, latency):
    """Quotes, cancels, sweeps: marks and displayed sizes are those of a market without us."""
    alone, watched = Pair(records), Pair(records, entry_latency=latency, protection=9)
    for now, step in walk(script, watched.start):
        for pair in (alone, watched):
            pair.engine.process_market_update(pair.tape, now)
            pair.look(now)
        act_on_engine(watched.engine, now, step)
        assert alone.engine.market.tobytes() == watched.engine.market.tobytes()


@SESSIONS
@given(sessions(TRADING), st.integers(0, 60), st.integers(0, 1), st.integers(1, 40))
def test_sweep__loses_half_the_spread_and_the_fees_at_once(records, pause, side, lots):
    """Whatever it takes, and however many levels: held at the mid, it is worth no more than that."""
    pair = Pair(records, taker_fee=7, protection=50)
    now = pair.start + 500 * pause
    pair.engine.advance(pair.tape, now)
    pair.engine.process_order_request(Order(side, lots, enums.ORDER_MARKET), now)
    pair.engine.advance(pair.tape, now)
    pair.look(now)
    position, market = pair.engine.account["position"][0], pair.engine.market[0]
    if position["size"] and not market["mark_is_stale"]:
        spread = int(market["mark_ask"]) - int(market["mark_bid"])
        held = abs(int(position["size"]))
        assert 2 * int(equity(position, market["mark2"], 1_000_000)) <= -held * spread * 1_000_000 - 2 * held * 7


@SESSIONS
@given(
    sessions(TRADING),
    st.integers(0, 60),
    st.integers(0, 1),
    st.integers(-3, 3),
    st.integers(1, 9),
    st.integers(1, 9),
)
def test_smaller_queue__fills_no_later_and_no_less(records, pause, side, ticks, size, less):
    """B4.10: an order that has fewer lots ahead of it is at any time filled at least as much."""
    filled = []
    for gift in (0, less):
        pair = Pair(records, fill_on_cross=0)
        now = pair.start + 500 * pause
        pair.engine.advance(pair.tape, now)
        pair.engine.process_order_request(Order(side, size), now, ticks)
        pair.engine.advance(pair.tape, now)
        pair.engine.account["orders"]["ahead"][0, 0] -= gift
        pair.engine.advance(pair.tape, pair.end)
        lots = np.zeros(len(pair.tape.events) + 1, int)
        for report in pair.engine.reports:
            lots[report["event"]] += report["size"]
        filled.append(np.cumsum(lots))
    assert (filled[0] <= filled[1]).all()
