"""Hypothesis strategies for the simulator: market sessions that mostly trade, and what an account does in them.

Sessions are drawn like the streams of `tests.reference.streams`, but begin with a restored book and seldom cross it, so
that own orders can trade. Scripts are plain numbers: (pause in 0.5 us, action, pick, side, ticks, size).
"""

from collections.abc import Iterator

import numpy as np
from hypothesis import strategies as st

from bt_gym.core import enums
from bt_gym.core.execution import ExecutionEngine
from bt_gym.core.market import count_received, move
from bt_gym.core.orders import report_dtype
from tests.data.compiled import Compiled, compile_array
from tests.reference import streams
from tests.reference.book import OPPOSITE, Record
from tests.reference.scenario import Order, Scenario, engine, received
from tests.reference.simulator import Report, Simulator
from tests.reference.streams import TICK, Event, Scribe

HALF_US = 500


def beside(scribe: Scribe, side: str, ticks: int) -> int:
    """The price, or the nearest one that doesn't meet the other side."""
    best = scribe.book.depth(OPPOSITE[side], 1)
    if not best:
        return ticks
    other = best[0].price // TICK
    return min(ticks, other - 1) if side == "B" else max(ticks, other + 1)


def quote(scribe: Scribe, number: int, ticks: int, size: int, side: str) -> None:
    """An order joins the book without crossing it, inside the spread if there is one."""
    streams.add(scribe, number, beside(scribe, side, ticks), size, side)


def requote(scribe: Scribe, number: int, ticks: int, size: int, side: str) -> None:
    """An order moves, without crossing the book."""
    if order := scribe.pick(number):
        streams.reprice(scribe, number, beside(scribe, order[1], ticks), size, side)


def hidden_trade(scribe: Scribe, number: int, ticks: int, size: int, side: str) -> None:
    """A trade at any price, sometimes of an order that was never shown, sometimes without aggressor's side."""
    shown_side = side if number % 3 else "N"
    hidden = [scribe.record("F", OPPOSITE[side], ticks, 1 + size // 2, order_id=scribe.new_id())] if number % 2 else []
    scribe.write(*streams.last(scribe.record("T", shown_side, ticks, size, order_id=scribe.new_id()), *hidden))


def skipping_trade(scribe: Scribe, number: int, ticks: int, size: int, side: str) -> None:
    """A trade that fills an order in part though one before it still stands: pro-rata venues, errors, implied."""
    resting = OPPOSITE[side]
    for level in scribe.book.depth(resting, 1):
        queue = list(scribe.book.queue(resting, level.price).items())
        order_id, displayed = queue[number % len(queue)]
        filled, tick = min(size, displayed), level.price // TICK
        left = displayed - filled
        booked = scribe.record("M", resting, tick, left, order_id=order_id)
        if not left:
            booked = scribe.record("C", resting, tick, displayed, order_id=order_id)
        trade = scribe.record("T", side, tick, filled + number % 4, order_id=scribe.new_id())
        scribe.write(*streams.last(trade, scribe.record("F", resting, tick, filled, order_id=order_id), booked))


def night(scribe: Scribe, number: int, ticks: int, size: int, side: str) -> None:
    """The market is silent for longer than a session's break, or as long."""
    scribe.now += 1_800_000_000_000 + number % 3 - 2


def jump(scribe: Scribe, number: int, ticks: int, size: int, side: str) -> None:
    """The market is gone for a while."""
    scribe.now += 10_000 * number


TRADING: list[Event] = [
    quote,
    quote,
    quote,
    quote,
    streams.cancel,
    streams.cancel_whole,
    streams.resize,
    requote,
    requote,
    streams.trade,
    streams.trade,
    streams.trade,
    streams.execution,
    skipping_trade,
    hidden_trade,
    streams.add,
    jump,
]
UNUSUAL: list[Event] = [night, *streams.RARE, streams.reprice]


def _session(events: list[tuple[Event, int, int, int, str]]) -> list[Record]:
    scenario = Scenario()
    scenario.snapshot(("B", -1, 4), ("B", -1, 2), ("B", -2, 9), ("A", 1, 3), ("A", 2, 5), ("A", 2, 1))
    scenario.event(scenario.record("N"))
    for event, number, ticks, size, side in events:
        event(scenario, number, ticks, size, side)
    return scenario.records


def sessions(kinds: list[Event], max_size: int = 60) -> st.SearchStrategy[list[Record]]:
    """Records of a session that begins in continuous trading, prices within three ticks of zero."""
    event = st.tuples(
        st.sampled_from(kinds), st.integers(0, 31), st.integers(-3, 3), st.integers(1, 9), st.sampled_from("BA")
    )
    events = st.one_of(st.lists(event, min_size=1, max_size=12), st.lists(event, min_size=30, max_size=max_size))
    return events.map(_session)


JUMPS = st.lists(
    st.tuples(st.sampled_from([0, 1, -3, 60, -130, 250, -600]), st.integers(1, 9), st.integers(0, 6)),
    min_size=1,
    max_size=25,
)


def far_moving(steps: list[tuple[int, int, int]]) -> Scenario:
    """A book whose touch jumps out of ladder windows: (ticks to move, size, number of quotes beside it) a step."""
    market = Scenario()
    market.snapshot(("B", -1, 4), ("B", -40, 2), ("A", 1, 3), ("A", 40, 5))
    touch = 0
    for jump_ticks, size, quotes in steps:
        touch += jump_ticks
        for side in "BA":
            for level in market.book.depth(side, 50):
                ticks = level.price // TICK
                if ticks >= touch if side == "B" else ticks <= touch:
                    for order_id in list(market.book.queue(side, level.price)):
                        market.cancel(order_id)
        for i in range(quotes):
            market.add("BA"[i % 2], touch + (-1 - i if i % 2 == 0 else i), size)
        if size % 3 == 0 and market.book.place:
            side = "B" if market.book.depth("B", 1) else "A"
            price = market.book.depth(side, 1)[0].price
            order_id, displayed = next(iter(market.book.queue(side, price).items()))
            market.trade(OPPOSITE[side], price // TICK, {order_id: min(size, displayed)})
    return market


LIMIT, IOC, MARKET, CANCEL, MODIFY, LOOK = range(6)
FOK, GTD, DAY, MARKET_REST, MARKET_TO_LIMIT, STOP, STOP_LIMIT, POST_ONLY, SLIDE = range(6, 15)
ANYTHING = LIMIT, LIMIT, LIMIT, LIMIT, IOC, MARKET, CANCEL, MODIFY, LOOK
ALL_TYPES = *ANYTHING, FOK, GTD, DAY, MARKET_REST, MARKET_TO_LIMIT, STOP, STOP, STOP_LIMIT, POST_ONLY, SLIDE
KINDS = {  # order type, time in force, post-only
    LIMIT: (enums.ORDER_LIMIT, enums.TIF_GTC, 0),
    IOC: (enums.ORDER_LIMIT, enums.TIF_IOC, 0),
    MARKET: (enums.ORDER_MARKET, enums.TIF_IOC, 0),
    FOK: (enums.ORDER_LIMIT, enums.TIF_FOK, 0),
    GTD: (enums.ORDER_LIMIT, enums.TIF_GTD, 0),
    DAY: (enums.ORDER_LIMIT, enums.TIF_DAY, 0),
    MARKET_REST: (enums.ORDER_MARKET, enums.TIF_GTC, 0),
    MARKET_TO_LIMIT: (enums.ORDER_MARKET_TO_LIMIT, enums.TIF_GTC, 0),
    STOP: (enums.ORDER_STOP, enums.TIF_GTC, 0),
    STOP_LIMIT: (enums.ORDER_STOP_LIMIT, enums.TIF_DAY, 0),
    POST_ONLY: (enums.ORDER_LIMIT, enums.TIF_GTC, enums.POST_ONLY_REJECT),
    SLIDE: (enums.ORDER_LIMIT, enums.TIF_GTD, enums.POST_ONLY_SLIDE),
}
LIFE_NS = 9_000  # of a dated order, from when it is sent
Step = tuple[int, int, int, int, int, int]


def scripts(actions: tuple[int, ...] = ANYTHING, max_size: int = 25) -> st.SearchStrategy[list[Step]]:
    """What an account does: (pause in 0.5 us, action, pick of an order, side, ticks, size)."""
    step = st.tuples(
        st.integers(0, 12),
        st.sampled_from(actions),
        st.integers(0, 7),
        st.integers(0, 1),
        st.integers(-3, 3),
        st.integers(1, 12),
    )
    return st.one_of(st.lists(step, max_size=4), st.lists(step, min_size=8, max_size=max_size))


def walk(script: list[Step], start: int) -> Iterator[tuple[int, Step]]:
    """(time, step) of a script that begins at `start`."""
    now = start
    for step in script:
        now += step[0] * HALF_US
        yield now, step


def an_order(now: int, step: Step) -> Order:
    """The order that a step sends."""
    _, action, _, side, _, size = step
    order_type, time_in_force, post_only = KINDS[action]
    return Order(side, size, order_type, time_in_force, now + LIFE_NS, post_only)


def act_on_engine(execution: ExecutionEngine, now: int, step: Step) -> None:
    """One step of a script on the engine alone."""
    _, action, pick, _, ticks, size = step
    order_id = 1 + pick * int(execution.account["orders_sent"][0]) // 8
    if action in KINDS:
        execution.process_order_request(an_order(now, step), now, ticks, -ticks)
    elif action == CANCEL:
        execution.process_cancel(order_id, now)
    elif action == MODIFY:
        execution.process_modify(order_id, size, ticks, now)


class Pair:
    """One account twice: on the kernels and on the simulator of real queues."""

    def __init__(self, records: list[Record], delays: tuple[int, ...] = (1_000,), **models: int) -> None:
        array = received(streams.to_array(records), list(delays))
        self.tape: Compiled = compile_array(array)
        self.engine: ExecutionEngine = engine(**models)
        names = (
            *("entry_latency", "response_latency", "protection", "fill_on_cross", "maker_fee", "taker_fee"),
            *("self_match", "stop_on_quote", "price_collar", "auction"),
        )
        known = {name: int(self.engine.account["models"][name][0]) for name in names}
        self.twin = Simulator(records, array["ts_recv"].tolist(), TICK, **known)
        self.start = int(self.tape.events["ts_event"][0])
        self.end = int(self.tape.events["ts_event"][-1]) + 1_000_000

    def advance(self, now: int) -> None:
        """Both run to `now`."""
        self.engine.process_market_update(self.tape, now)
        self.twin.advance(now)

    def look(self, now: int) -> None:
        """The strategy receives the market: the ladder moves, which must not matter to the exchange."""
        market, tape = self.engine.market[0], self.tape
        end = count_received(tape.events, market["event"], now, 0)
        move(market, tape.records, tape.events, tape.blocks, end)

    def act(self, now: int, step: Step) -> None:
        """One step of a script on both."""
        _, action, pick, side, ticks, size = step
        order_id = 1 + pick * self.twin.sent // 8
        if action == LOOK:
            self.look(now)
        elif action in KINDS:
            order = an_order(now, step)
            self.engine.process_order_request(order, now, ticks, -ticks)
            self.twin.submit(
                now, side, size, ticks, order.order_type, order.time_in_force, -ticks, order.expires_at, order.post_only
            )
        elif self.twin.sent and action == CANCEL:
            if self.engine.process_cancel(order_id, now) == enums.REASON_NONE:
                self.twin.cancel(now, order_id)
        elif self.twin.sent and self.engine.process_modify(order_id, size, ticks, now, -ticks) == enums.REASON_NONE:
            self.twin.modify(now, order_id, size, ticks, -ticks)

    def run(self, script: list[Step]) -> None:
        """A whole script and the rest of the session, compared after each step."""
        for now, step in walk(script, self.start):
            self.advance(now)
            self.act(now, step)
            self.compare()
        self.advance(self.end)
        self.compare()

    def compare(self) -> None:
        """Same reports in the same order, same queue positions."""
        assert plain(self.engine.reports) == self.twin.reports
        assert queue_positions(self.engine.account) == self.twin.queue_positions()


def queue_positions(account: np.ndarray) -> dict[int, int]:
    """Order id -> displayed lots ahead, of the own orders that rest."""
    orders = account["orders"][0]
    resting = orders[orders["status"] == enums.STATUS_WORKING]
    assert resting["ahead_known"].all()
    return {int(order["order_id"]): int(order["ahead"]) for order in resting}


def plain(reports: np.ndarray) -> list[Report]:
    """Rows of `report_dtype` as the twin's reports."""
    assert set(report_dtype.names or ()) == set(Report._fields)
    return [Report(*(int(row[name]) for name in Report._fields)) for row in reports]
