"""Order types, times in force, post-only and self-match policies: worked cases. `test_matching.py` has the twin."""

import numpy as np
import pytest

from bt_gym.core import enums
from bt_gym.core.enums import BUY, SELL
from bt_gym.core.execution import ExecutionEngine
from bt_gym.core.stops import SESSION_BREAK_NS
from bt_gym.data.status import CLOSED, change_dtype
from tests.data.compiled import Compiled, compile_array
from tests.reference.scenario import Order, Scenario, engine, rows

OUTCOME = ("order_id", "exec_type", "reason", "price", "size", "leaves")
NEW, TRADE, CANCELED, REPLACED = enums.EXEC_NEW, enums.EXEC_TRADE, enums.EXEC_CANCELED, enums.EXEC_REPLACED
REJECTED, CANCEL_REJECTED = enums.EXEC_REJECTED, enums.EXEC_CANCEL_REJECTED
EXPIRED, TRIGGERED = enums.EXEC_EXPIRED, enums.EXEC_TRIGGERED
BOOK = ("B", 100, 5), ("B", 99, 5), ("A", 102, 3), ("A", 103, 4)


class Desk:
    """An account on a growing market; orders arrive right after the last event written."""

    def __init__(self, *orders: tuple[str, int, int], **models: int) -> None:
        self.market = Scenario()
        self.ids = self.market.snapshot(*(orders or BOOK))
        self.market.event(self.market.record("N"))
        self.execution: ExecutionEngine = engine(**models)

    def send(self, order: Order, price: int = 0, trigger: int = 0) -> int:
        order_id, reason = self.execution.process_order_request(order, self.now, price, trigger)
        assert reason == enums.REASON_NONE
        self.run()
        return order_id

    @property
    def now(self) -> int:
        return self.market.now - 1

    def run(self, until: int | None = None) -> None:
        self.execution.process_market_update(self.market.tape(), self.now if until is None else until)

    def reports(self, first: int = 0) -> list[tuple[int, ...]]:
        return rows(self.execution.reports[first:], *OUTCOME)


# --- market orders that rest, market-to-limit


def test_market_order_that_may_rest__has_its_protection_price_as_limit():
    """CME: the remainder of a market order with protection rests at the protection limit."""
    desk = Desk(protection=1)
    desk.send(Order(BUY, 9, enums.ORDER_MARKET, enums.TIF_GTC))
    assert desk.reports() == [(1, NEW, 0, 103, 0, 9), (1, TRADE, 0, 102, 3, 6), (1, TRADE, 0, 103, 4, 2)]
    desk.market.add("A", 103, 2)
    desk.run()
    assert desk.reports(3) == [(1, TRADE, 0, 103, 2, 0)]


def test_market_to_limit__takes_the_best_price_only_and_rests_there():
    desk = Desk()
    desk.send(Order(BUY, 5, enums.ORDER_MARKET_TO_LIMIT))
    assert desk.reports() == [(1, NEW, 0, 102, 0, 5), (1, TRADE, 0, 102, 3, 2)]
    assert desk.execution.account["resting"][0] == 1


def test_market_to_limit__without_the_other_side_is_rejected():
    desk = Desk(("B", 100, 5))
    desk.send(Order(BUY, 5, enums.ORDER_MARKET_TO_LIMIT))
    assert desk.reports() == [(1, REJECTED, enums.REASON_NO_LIQUIDITY, 0, 0, 0)]


# --- fill or kill


@pytest.mark.parametrize(("size", "fills"), [(7, [3, 4]), (8, [])])
def test_fill_or_kill__is_filled_whole_or_not_at_all(size, fills):
    desk = Desk()
    desk.send(Order(BUY, size, time_in_force=enums.TIF_FOK), 103)
    assert [row[4] for row in desk.reports() if row[1] == TRADE] == fills
    assert desk.reports()[-1][1:3] == ((TRADE, 0) if fills else (CANCELED, enums.REASON_FOK))


def test_fill_or_kill__does_not_count_what_was_taken_before():
    desk = Desk()
    desk.send(Order(BUY, 1, enums.ORDER_MARKET))
    desk.send(Order(BUY, 7, time_in_force=enums.TIF_FOK), 103)
    assert desk.reports(2) == [(2, NEW, 0, 103, 0, 7), (2, CANCELED, enums.REASON_FOK, 103, 0, 0)]


# --- post-only


def test_post_only__is_rejected_when_it_would_take():
    desk = Desk()
    desk.send(Order(BUY, 1, post_only=enums.POST_ONLY_REJECT), 102)
    desk.send(Order(BUY, 1, post_only=enums.POST_ONLY_REJECT), 101)
    assert desk.reports() == [(1, REJECTED, enums.REASON_POST_ONLY, 102, 0, 0), (2, NEW, 0, 101, 0, 1)]


def test_post_only__that_slides_rests_one_tick_away():
    desk = Desk()
    desk.send(Order(BUY, 1, post_only=enums.POST_ONLY_SLIDE), 105)
    desk.send(Order(SELL, 1, post_only=enums.POST_ONLY_SLIDE), 99)  # away from the own bid, too
    assert desk.reports() == [(1, NEW, 0, 101, 0, 1), (2, NEW, 0, 102, 0, 1)]


def test_post_only__modified_to_a_price_that_takes_stays_as_it_was():
    desk = Desk()
    order_id = desk.send(Order(BUY, 1, post_only=enums.POST_ONLY_REJECT), 99)
    desk.execution.process_modify(order_id, 1, 103, desk.now)
    desk.run()
    assert desk.reports(1) == [(1, CANCEL_REJECTED, enums.REASON_POST_ONLY, 99, 0, 1)]
    assert rows(desk.execution.account["orders"][0, :1], "status", "ahead") == [(enums.STATUS_WORKING, 5)]


# --- stops


def test_stop__acts_at_the_end_of_the_event_that_reaches_it_on_the_remaining_book():
    """3 lots bought at 102 elect the buy stop at 102; what is left is 4 at 103."""
    desk = Desk()
    desk.send(Order(BUY, 2, enums.ORDER_STOP, enums.TIF_IOC), trigger=102)
    desk.market.trade("B", 102, {desk.ids[2]: 3})
    desk.run()
    assert desk.reports() == [(1, NEW, 0, 0, 0, 2), (1, TRIGGERED, 0, 122, 0, 2), (1, TRADE, 0, 103, 2, 0)]


def test_stop__is_not_elected_by_a_trade_short_of_it_nor_by_one_before_it_arrived():
    desk = Desk()
    desk.market.trade("B", 102, {desk.ids[2]: 1})
    desk.send(Order(BUY, 2, enums.ORDER_STOP), trigger=102)
    desk.market.trade("A", 100, {desk.ids[0]: 1})
    desk.run()
    assert desk.reports() == [(1, NEW, 0, 0, 0, 2)]
    assert desk.execution.account["orders"]["status"][0, 0] == enums.STATUS_UNTRIGGERED


def test_stop__takes_no_more_than_its_protection_reaches():
    desk = Desk(protection=1)
    desk.send(Order(SELL, 8, enums.ORDER_STOP, enums.TIF_IOC), trigger=100)
    desk.market.trade("A", 100, {desk.ids[0]: 5})
    desk.run()
    assert desk.reports(1) == [
        (1, TRIGGERED, 0, 99, 0, 8),
        (1, TRADE, 0, 99, 5, 3),
        (1, CANCELED, enums.REASON_PROTECTION, 99, 0, 0),
    ]


def test_stop_limit__becomes_a_limit_order():
    desk = Desk()
    desk.send(Order(SELL, 8, enums.ORDER_STOP_LIMIT), 100, trigger=100)
    desk.market.trade("A", 100, {desk.ids[0]: 2})
    desk.run()
    assert desk.reports() == [(1, NEW, 0, 100, 0, 8), (1, TRIGGERED, 0, 100, 0, 8), (1, TRADE, 0, 100, 3, 5)]
    assert rows(desk.execution.account["orders"][0, :1], "status", "price") == [(enums.STATUS_WORKING, 100)]


def test_stops__act_in_the_order_of_their_arrival():
    desk = Desk()
    for trigger in (100, 101):
        desk.send(Order(SELL, 4, enums.ORDER_STOP, enums.TIF_IOC), trigger=trigger)
    desk.market.trade("A", 100, {desk.ids[0]: 1})
    desk.run()
    fills = [row for row in desk.reports() if row[1] == TRADE]
    assert [(row[0], row[3], row[4]) for row in fills] == [(1, 100, 4), (2, 99, 4)]


def test_stop__can_be_elected_by_the_opposite_best_price():
    for quoted, expected in ((0, [NEW]), (1, [NEW, TRIGGERED, TRADE])):
        desk = Desk(stop_on_quote=quoted)
        desk.send(Order(BUY, 2, enums.ORDER_STOP, enums.TIF_IOC), trigger=103)
        desk.market.cancel(desk.ids[2])
        desk.run()
        assert [row[1] for row in desk.reports()] == expected


def test_stop__can_be_cancelled_and_modified_while_it_waits():
    desk = Desk()
    for _ in range(2):
        desk.send(Order(BUY, 2, enums.ORDER_STOP), trigger=102)
    desk.execution.process_cancel(1, desk.now)
    desk.execution.process_modify(2, 3, 0, desk.now, 103)
    desk.market.trade("B", 102, {desk.ids[2]: 1})
    desk.market.trade("B", 103, {desk.ids[3]: 1})
    desk.run()
    assert [row[:3] for row in desk.reports(2)] == [
        (1, CANCELED, enums.REASON_USER),
        (2, REPLACED, enums.REASON_USER),
        (2, TRIGGERED, 0),
        (2, TRADE, 0),
        (2, TRADE, 0),
    ]
    assert desk.execution.account["stops_live"][0] == 0


# --- times in force


def test_good_till_date__ends_at_its_time_behind_the_market_of_that_time():
    desk = Desk()
    end = desk.market.now  # of the next event
    desk.send(Order(BUY, 2, time_in_force=enums.TIF_GTD, expires_at=end), 101)
    desk.market.trade("A", 100, {desk.ids[0]: 1})
    desk.run(end + 1)
    assert desk.reports(1) == [(1, TRADE, 0, 101, 1, 1), (1, EXPIRED, enums.REASON_GOOD_TILL_DATE, 101, 0, 0)]
    assert desk.execution.reports["ts_exchange"][-1] == end


def test_good_till_date__that_is_over_on_arrival_is_rejected():
    desk = Desk()
    desk.send(Order(BUY, 2, time_in_force=enums.TIF_GTD, expires_at=desk.now), 101)
    assert desk.reports() == [(1, REJECTED, enums.REASON_GOOD_TILL_DATE, 101, 0, 0)]


@pytest.mark.parametrize("order_type", [enums.ORDER_LIMIT, enums.ORDER_STOP_LIMIT])
def test_day_order__ends_when_the_market_has_been_silent_for_half_an_hour(order_type):
    """A good-till-cancelled one goes on, and is filled after the break."""
    desk = Desk()
    desk.send(Order(BUY, 2, order_type, enums.TIF_DAY), 101, trigger=120)
    desk.send(Order(BUY, 2), 101)
    last = desk.market.now - 1_000
    desk.market.now = last + SESSION_BREAK_NS + 1
    desk.market.trade("A", 100, {desk.ids[0]: 1})
    desk.run(desk.market.now)
    assert desk.reports(2) == [(1, EXPIRED, enums.REASON_SESSION_END, 101, 0, 0), (2, TRADE, 0, 101, 1, 1)]
    assert desk.execution.reports["ts_exchange"][2] == last + SESSION_BREAK_NS


def test_day_order__survives_half_an_hour_that_an_event_ends():
    desk = Desk()
    desk.send(Order(BUY, 2, time_in_force=enums.TIF_DAY), 101)
    desk.market.now += SESSION_BREAK_NS - 1_000
    desk.market.trade("A", 100, {desk.ids[0]: 1})
    desk.run(desk.market.now)
    assert desk.reports(1) == [(1, TRADE, 0, 101, 1, 1)]


def with_status(desk: Desk, *changes: tuple[int, int, int]) -> Compiled:
    """The market with changes of status: (ns, phase, whether cancels are forbidden)."""
    given = np.array([(ts, ts, phase, forbidden) for ts, phase, forbidden in changes], change_dtype)
    return compile_array(desk.market.array(), changes=given)


@pytest.mark.parametrize("order_type", [enums.ORDER_LIMIT, enums.ORDER_STOP_LIMIT])
@pytest.mark.parametrize(("phase", "ends"), [(CLOSED, True), (enums.PHASE_HALT, False)])
def test_day_order__ends_when_the_venue_closes_the_session_and_not_in_a_halt(order_type, phase, ends):
    """The market is quiet for a minute only; a good-till-cancelled order goes on."""
    desk = Desk()
    start, end = desk.market.now, desk.market.now + 10_000
    desk.market.now += 60_000_000_000
    desk.market.add("B", 99, 1)
    tape = with_status(desk, (0, enums.PHASE_CONTINUOUS, 0), (end, phase, 0))
    for tif in (enums.TIF_DAY, enums.TIF_GTC):
        desk.execution.process_order_request(Order(BUY, 2, order_type, tif), start, 101, 120)
    desk.execution.process_market_update(tape, desk.market.now)
    assert desk.reports(2) == ([(1, EXPIRED, enums.REASON_SESSION_END, 101, 0, 0)] if ends else [])
    assert not ends or desk.execution.reports["ts_exchange"][2] == end


def test_cancel_and_modify__are_refused_while_the_venue_takes_none():
    """Of two orders in a pre-open that allows no cancels (CME, no-cancel period); before and after it, they go."""
    desk = Desk()
    start = desk.market.now
    desk.market.now += 10_000
    desk.market.add("B", 99, 1)
    continuous = enums.PHASE_CONTINUOUS
    tape = with_status(
        desk, (0, continuous, 0), (start + 1_000, enums.PHASE_PRE_OPEN, 1), (start + 5_000, continuous, 0)
    )
    for _ in range(2):
        desk.execution.process_order_request(Order(BUY, 2), start, 101)
    for ts in (start + 2_000, start + 6_000):
        desk.execution.process_market_update(tape, ts)
        desk.execution.process_cancel(1, ts)
        desk.execution.process_modify(2, 1, 101, ts)
    desk.execution.process_market_update(tape, desk.market.now)
    refused = enums.REASON_NOT_TRADING
    assert desk.reports(2) == [
        (1, CANCEL_REJECTED, refused, 101, 0, 2),
        (2, CANCEL_REJECTED, refused, 101, 0, 2),
        (1, CANCELED, enums.REASON_USER, 101, 0, 0),
        (2, REPLACED, enums.REASON_USER, 101, 0, 1),
    ]


def test_stop__whose_trigger_is_moved_into_the_market_in_a_halt_waits_for_its_end():
    """From 120 to 102, the best ask, where quotes elect: the book of a halt can't be taken from."""
    desk = Desk(stop_on_quote=1)
    start, continuous = desk.market.now, enums.PHASE_CONTINUOUS
    desk.market.now += 10_000
    for tick in (99, 98):
        desk.market.add("B", tick, 1)
    changes = (0, continuous, 0), (start + 1_000, enums.PHASE_HALT, 0), (start + 5_000, continuous, 0)
    tape = with_status(desk, *changes)
    desk.execution.process_order_request(Order(BUY, 2, enums.ORDER_STOP, enums.TIF_IOC), start, trigger=120)
    desk.execution.process_market_update(tape, start + 2_000)
    desk.execution.process_modify(1, 2, 0, start + 2_000, 102)
    desk.execution.process_market_update(tape, start + 4_000)
    assert [row[1] for row in desk.reports()] == [NEW, REPLACED]
    desk.execution.process_market_update(tape, desk.market.now)
    assert [row[1] for row in desk.reports(2)] == [TRIGGERED, TRADE]


# --- self-match policies: own ask of 2 at 102 behind 3 lots, then a buy of 6 up to 103


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (
            enums.SELF_MATCH_CANCEL_OLDEST,
            [(1, CANCELED, enums.REASON_SELF_MATCH, 102, 0, 0), (2, TRADE, 0, 102, 3, 3), (2, TRADE, 0, 103, 3, 0)],
        ),
        (
            enums.SELF_MATCH_CANCEL_NEWEST,
            [(2, TRADE, 0, 102, 3, 3), (2, CANCELED, enums.REASON_SELF_MATCH, 103, 0, 0)],
        ),
        (
            enums.SELF_MATCH_CANCEL_BOTH,
            [
                (2, TRADE, 0, 102, 3, 3),
                (1, CANCELED, enums.REASON_SELF_MATCH, 102, 0, 0),
                (2, CANCELED, enums.REASON_SELF_MATCH, 103, 0, 0),
            ],
        ),
        (enums.SELF_MATCH_REJECT, [(2, REJECTED, enums.REASON_SELF_MATCH, 103, 0, 0)]),
        (
            enums.SELF_MATCH_ALLOW,
            [(2, TRADE, 0, 102, 3, 3), (1, TRADE, 0, 102, 2, 0), (2, TRADE, 0, 102, 2, 1), (2, TRADE, 0, 103, 1, 0)],
        ),
    ],
    ids=["cancel_oldest", "cancel_newest", "cancel_both", "reject", "allow"],
)
def test_self_match__follows_the_policy(policy, expected):
    desk = Desk(self_match=policy, maker_fee=1, taker_fee=10)
    desk.send(Order(SELL, 2), 102)
    desk.send(Order(BUY, 6), 103)
    assert [row for row in desk.reports(1) if row[1] != NEW] == expected
    position = desk.execution.account["position"][0]
    assert position["size"] == sum(row[4] * (1 if row[0] == 2 else -1) for row in expected)
    if policy == enums.SELF_MATCH_ALLOW:  # a wash trade changes no position and pays two fees
        assert position["fees"] == 6 * 10 + 2 * 1


@pytest.mark.parametrize("policy", [enums.SELF_MATCH_REJECT, enums.SELF_MATCH_CANCEL_NEWEST])
def test_self_match__spares_an_order_that_does_not_get_there(policy):
    desk = Desk(self_match=policy)
    desk.send(Order(SELL, 2), 102)
    desk.send(Order(BUY, 3), 103)
    assert desk.reports(2) == [(2, TRADE, 0, 102, 3, 0)]


# --- price collar


def test_price_collar__refuses_a_limit_too_far_beyond_the_other_side():
    desk = Desk(price_collar=3)
    desk.send(Order(BUY, 1), 105)
    desk.send(Order(BUY, 1), 106)
    desk.send(Order(SELL, 1), 97)
    desk.send(Order(SELL, 1), 96)
    ended = [row[:3] for row in desk.reports() if row[1] == REJECTED]
    assert ended == [(2, REJECTED, enums.REASON_PRICE_COLLAR), (4, REJECTED, enums.REASON_PRICE_COLLAR)]


def test_clear__ends_stops_too():
    desk = Desk()
    desk.send(Order(BUY, 2, enums.ORDER_STOP), trigger=102)
    desk.market.clear()
    desk.run()
    assert desk.reports(1) == [(1, EXPIRED, enums.REASON_BOOK_CLEARED, 0, 0, 0)]
