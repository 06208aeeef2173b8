"""What other engines get wrong, one scenario each, with the right answer worked by hand.

hftbacktest 2.4.4, found by running it, and NautilusTrader 1.x, by its issues. The names say whose fault it was.
Scenarios begin with a book in continuous trading; event 2 is the first one written here.
"""

import pytest

from bt_gym.core import enums
from bt_gym.core.enums import BUY, SELL
from bt_gym.core.market import move, new_market
from bt_gym.core.tape import event_dtype, record_dtype
from tests.core.test_matching import a_case
from tests.reference.book import SNAPSHOT
from tests.reference.scenario import Order, Scenario, engine, rows
from tests.reference.streams import last

LATER = 1_000_000_000
REPORT = ("exec_type", "reason", "price", "size", "leaves")


def reports_of(market: Scenario, execution, *names: str) -> list[tuple[int, ...]]:
    """Everything that the exchange reports when the whole tape has gone by."""
    execution.advance(market.tape(), market.now + LATER)
    return rows(execution.reports, *names)


def open_market(*orders: tuple[str, int, int]) -> tuple[Scenario, list[int]]:
    market = Scenario()
    ids = market.snapshot(*orders)
    market.event(market.record("N"))
    return market, ids


# --- hftbacktest


def test_hftbacktest_1__one_lot_behind_fills_fifty():
    """3 lots stand ahead, then leave; 1 lot trades behind our 50: we are filled 1, and 49 go on working."""
    case, (ahead, _) = a_case(("B", 100, 3), ("A", 102, 5))
    case.bid(100, 50)
    behind = case.market.add("B", 100, 4)
    case.market.cancel(ahead)
    case.market.trade("A", 100, {behind: 1})
    assert case.fills() == [(4, 100, 1, 49)]


def test_hftbacktest_2__a_cancel_in_part_deletes_the_whole_order():
    """5 ahead, `C` of 2, sale of 4: 3 go to the order ahead, 1 to us; and its next `C` stops nothing."""
    case, (ahead, _) = a_case(("B", 100, 5), ("A", 102, 5))
    case.bid(100, 2)
    case.market.cancel(ahead, 2)
    case.market.trade("A", 100, {ahead: 2}, more=0)
    case.market.cancel(ahead, 1)
    case.market.trade("A", 100, {}, more=1)
    assert case.fills() == [(5, 100, 1, 1)]


def test_hftbacktest_3__a_bid_inside_the_spread_misses_sales_at_the_old_best():
    """Our bid 101, best bid 100, 3 lots sold at 100: the seller would have met us first, at our price."""
    case, (first, _) = a_case(("B", 100, 5), ("A", 103, 5))
    case.bid(101, 4)
    case.market.trade("A", 100, {first: 3})
    assert case.fills() == [(2, 101, 3, 1)]


def test_hftbacktest_4__partial_fills_never_reach_the_position():
    """3 + 7 lots of 10: the position is 10, the cash what both cost, the fees those of ten lots."""
    case, (first, _) = a_case(("B", 100, 20), ("A", 103, 5), maker_fee=250_000)
    case.bid(101, 10)
    case.market.trade("A", 100, {first: 3})
    case.market.trade("A", 100, {first: 9})
    position = case.run().account["position"]
    assert rows(position, "size", "cash", "fees") == [(10, -10 * 101 * 1_000_000, 10 * 250_000)]


def test_hftbacktest_5__an_ioc_that_takes_five_of_eight_ends_with_position_zero():
    market, _ = open_market(("B", 100, 5), ("A", 102, 5), ("A", 103, 5))
    execution = engine()
    execution.process_order_request(Order(BUY, 8, time_in_force=enums.TIF_IOC), market.now, 102)
    assert reports_of(market, execution, *REPORT) == [
        (enums.EXEC_NEW, 0, 102, 0, 8),
        (enums.EXEC_TRADE, 0, 102, 5, 3),
        (enums.EXEC_CANCELED, enums.REASON_IOC, 102, 0, 0),
    ]
    assert execution.account["position"]["size"][0] == 5


def test_hftbacktest_6__a_half_filled_order_becomes_a_zombie():
    """Filled 5, leaves 5: the second five are filled as well, and then its slot is free again."""
    case, (first, _) = a_case(("B", 100, 20), ("A", 103, 5))
    case.bid(101, 10)
    case.market.trade("A", 100, {first: 5})
    case.market.trade("A", 100, {first: 5})
    execution = case.run()
    assert rows(execution.reports, "exec_type", "size", "leaves")[1:] == [
        (enums.EXEC_TRADE, 5, 5),
        (enums.EXEC_TRADE, 5, 0),
    ]
    execution.deliver(case.market.now + 2 * LATER)
    assert (execution.account["orders"]["status"] == enums.STATUS_FREE).all()


def test_hftbacktest_7__the_best_quantity_is_a_price():
    """Best bid 100 with 7 + 2 lots."""
    market, _ = open_market(("B", 100, 7), ("B", 100, 2), ("A", 103, 5))
    tape, view = market.tape(), new_market()
    move(view[0], tape.records, tape.events, tape.blocks, len(tape.events))
    best = int(tape.events["bid"][-1])
    assert (best, int(view["ladder"][0, enums.BID, best - int(view["base"][0])])) == (100, 9)


def test_hftbacktest_8__names_that_are_exported_do_not_exist():
    names: dict[str, object] = {}
    exec("from bt_gym import *", names)
    import bt_gym

    assert set(bt_gym.__all__) <= set(names)


def test_hftbacktest_9__two_own_orders_are_filled_by_the_same_volume():
    """5 ahead of our 5 + 5, 6 sold: one lot is left for us, for the elder order."""
    case, (first, _) = a_case(("B", 100, 5), ("A", 102, 5))
    case.bid(100, 5)
    case.bid(100, 5)
    case.market.trade("A", 100, {first: 5}, more=1)
    execution = case.run()
    fills = execution.reports[execution.reports["exec_type"] == enums.EXEC_TRADE]
    assert rows(fills, "order_id", "size", "leaves") == [(1, 1, 4)]
    assert execution.account["position"]["size"][0] == 1


def test_hftbacktest_10__the_next_snapshot_expires_own_orders():
    """A snapshot over the carried book: our bid keeps the 5 lots ahead, and is filled after them."""
    case, (first, second) = a_case(("B", 100, 5), ("A", 102, 5))
    case.bid(100, 2)
    market = case.market
    restored = [
        market.record("A", side, ticks, 5, flags=SNAPSHOT, order_id=order_id)
        for order_id, side, ticks in ((first, "B", 100), (second, "A", 102))
    ]
    market.write(market.record("R", flags=SNAPSHOT), *last(*restored))
    market.event(market.record("N"))
    market.trade("A", 100, {first: 4})
    market.trade("A", 100, {first: 1}, more=1)
    assert case.fills() == [(5, 100, 1, 1)]


def test_hftbacktest_10__a_modify_of_an_unknown_order_stops_the_run():
    """It is an add: behind our order, so that 1 of 2 lots sold is ours, and the other one its."""
    case, _ = a_case(("B", 99, 5), ("A", 102, 5))
    case.bid(100, 1)
    unknown = case.market.new_id()
    case.market.event(case.market.record("M", "B", 100, 3, order_id=unknown))
    case.market.trade("A", 100, {unknown: 1}, more=1)
    assert case.fills() == [(3, 100, 1, 0)]


def test_hftbacktest_11__an_iceberg_refill_keeps_its_place():
    """5 displayed ahead, sold and refilled: the refill stands behind us, and the next lot is ours."""
    case, (iceberg, _) = a_case(("B", 100, 5), ("A", 102, 5))
    case.bid(100, 2)
    market = case.market
    market.event(*market.traded("A", 100, {iceberg: 5}), market.modified(iceberg, 100, 5))
    market.trade("A", 100, {iceberg: 1})
    assert case.fills() == [(3, 100, 1, 1)]


def test_hftbacktest_11b__a_modify_to_a_marketable_price_only_queues_there():
    """Our bid 99 is moved to the best ask 102, where 5 lots are: they are ours at once, 3 lots rest."""
    market, _ = open_market(("B", 100, 5), ("A", 102, 5))
    execution = engine()
    execution.process_order_request(Order(BUY, 8), market.now, 99)
    execution.process_modify(1, 8, 102, market.now)
    assert reports_of(market, execution, *REPORT) == [
        (enums.EXEC_NEW, 0, 99, 0, 8),
        (enums.EXEC_REPLACED, enums.REASON_USER, 102, 0, 8),
        (enums.EXEC_TRADE, 0, 102, 5, 3),
    ]


def test_hftbacktest_12__the_queue_position_can_not_be_seen():
    """7 lots ahead, 3 of them cancelled: 4."""
    case, (first, _, _) = a_case(("B", 100, 3), ("B", 100, 4), ("A", 102, 5))
    case.bid(100, 1)
    case.market.cancel(first)
    assert case.run().account["orders"]["ahead"][0, 0] == 4


def test_hftbacktest_13__there_is_no_snapshot_to_go_back_to():
    """A copy of the account and its log is one: both go the same way from there."""
    case, (first, _) = a_case(("B", 100, 5), ("A", 102, 5))
    case.bid(100, 2)
    case.market.trade("A", 100, {first: 4})
    case.market.trade("A", 100, {first: 1}, more=1)
    tape, execution, copy = case.market.tape(), engine(), engine()
    now = case.own[0][0]
    execution.process_order_request(Order(BUY, 2), now, 100)
    execution.advance(tape, now + 1_000)
    copy.account[:] = execution.account
    copy.log[:] = execution.log
    for one in (execution, copy):
        one.advance(tape, now + LATER)
    assert execution.reports.tobytes() == copy.reports.tobytes()
    assert copy.account["position"]["size"][0] == 1


def test_hftbacktest_14__a_record_takes_64_bytes():
    """Ours takes 12, and an event, which is one record or more, 32."""
    assert (record_dtype.itemsize, event_dtype.itemsize) == (12, 32)


# --- NautilusTrader


def test_nautilus_4370__one_delete_clears_the_whole_queue_ahead():
    """10 x 10 lots ahead, one order of 10 is cancelled, 1 lot is sold: 89 are still ahead of us, no fill."""
    case, ids = a_case(*[("B", 100, 10)] * 10, ("A", 102, 5))
    case.bid(100, 1)
    case.market.cancel(ids[3])
    case.market.trade("A", 100, {ids[0]: 1})
    execution = case.run()
    assert execution.account["orders"]["ahead"][0, 0] == 89
    assert case.fills() == []


def test_nautilus_queue__worked_example_of_its_manual():
    """100 lots ahead of our 50. 80 sold: 20 ahead; 30 sold: 10 are ours; 50 sold: the other 40."""
    case, (first, _) = a_case(("B", 100, 100), ("A", 102, 5))
    case.bid(100, 50)
    case.market.trade("A", 100, {first: 80})
    case.market.trade("A", 100, {first: 20}, more=10)
    case.market.trade("A", 100, {}, more=50)
    assert case.fills() == [(3, 100, 10, 40), (4, 100, 40, 0)]


def test_nautilus_4445__fills_are_taken_for_changes_of_the_book():
    """A sale of 2 of 5: T, F and the M that books it take 2 lots off the level, once."""
    market, (first, _) = open_market(("B", 100, 5), ("A", 102, 5))
    market.trade("A", 100, {first: 2})
    tape, view = market.tape(), new_market()
    move(view[0], tape.records, tape.events, tape.blocks, len(tape.events))
    assert view["ladder"][0, enums.BID, 100 - int(view["base"][0])] == 3


def test_nautilus_2564__the_same_displayed_size_fills_twice():
    """3 lots offered; we buy 2, then 2 again: 2 and 1, the rest has nothing left to take."""
    market, _ = open_market(("B", 100, 5), ("A", 102, 3))
    execution = engine()
    for _ in range(2):
        execution.process_order_request(Order(BUY, 2, time_in_force=enums.TIF_IOC), market.now, 102)
    reports = reports_of(market, execution, "order_id", "exec_type", "size", "leaves")
    assert [row for row in reports if row[1] != enums.EXEC_NEW] == [
        (1, enums.EXEC_TRADE, 2, 0),
        (2, enums.EXEC_TRADE, 1, 1),
        (2, enums.EXEC_CANCELED, 0, 0),
    ]


@pytest.mark.parametrize("side", [BUY, SELL])
def test_nautilus_4942__a_snapshot_resets_the_queue_position(side: int):
    """As with hftbacktest 10, on both sides: 5 ahead before, 5 ahead after, of as many displayed."""
    case, (first, second) = a_case(("B", 100, 5), ("A", 102, 5))
    case.bid(100, 2) if side == BUY else case.ask(102, 2)
    market = case.market
    restored = [
        market.record("A", name, ticks, 5, flags=SNAPSHOT, order_id=order_id)
        for order_id, name, ticks in ((first, "B", 100), (second, "A", 102))
    ]
    market.write(market.record("R", flags=SNAPSHOT), *last(*restored))
    market.event(market.record("N"))
    assert case.run().account["orders"]["ahead"][0, 0] == 5


def test_nautilus_prob_fill__fills_do_not_depend_on_a_queue():
    """At the touch with 5 ahead, 5 sold: no fill, whatever a coin says; the next lot is ours."""
    case, (first, _) = a_case(("B", 100, 5), ("A", 102, 5))
    case.bid(100, 1)
    case.market.trade("A", 100, {first: 5})
    assert case.fills() == []
    case.market.trade("A", 100, {}, more=1)
    assert case.fills() == [(3, 100, 1, 0)]
