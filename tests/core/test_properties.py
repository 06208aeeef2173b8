"""What must hold for any session and any account, as one list; properties without a better place are in this file.

7   volume is conserved: `test_trade__is_what_own_and_other_orders_get`,
    `test_order_that_filled_us__is_gone_by_as_much`, `test_taker__gets_what_is_displayed_less_what_it_took`
8   limits and sizes are kept: `test_maker_fills__keep_limit_size_and_volume`,
    `test_takers__get_worse_prices_as_they_walk_and_never_more_than_is_displayed`
9   price, then time: `test_own_orders__keep_price_and_time_priority_among_themselves`
10  monotone in queue, size and latency: `test_smaller_queue__fills_no_later_and_no_less`,
    `test_larger_size__fills_no_smaller_a_part_in_lots_and_no_larger_a_share`,
    `test_larger_latency__arrives_no_earlier`
11  bounds of the fill models: `test_bounds__enclose_the_exact_queue_at_all_times`
12  no fill out of trading, too early or too late: `test_reports__tell_the_whole_life_of_every_order`,
    `test_every_model__auctions_clears_and_snapshots_are_no_trades`
13  real orders fill as recorded: `test_orders_of_random_sessions__fill_as_recorded`
14  the generator's truth: `test_orders_in_the_synthetic_exchange__fill_as_in_the_replay`
15  the books balance: `test_position__identity_is_exact`
16  a fill may be split: `test_position__splitting_a_fill_changes_nothing`
17  mirror, scale, shift: `test_position__mirror_has_the_same_profit`,
    `test_profit__scales_with_the_multiplier_and_knows_no_price_level`
18  nothing done is nothing won, changes add up: `test_do_nothing__has_no_equity_and_no_reports`,
    `test_changes_of_equity__add_up_to_the_profit`
19  a position keeps its limit: `test_max_position__holds_at_the_exchange_whatever_is_under_way`
20  time goes on: `test_reports__tell_the_whole_life_of_every_order`
21  no look ahead: `test_future_records__change_nothing_in_the_past`
22  nor at what is on its way: `test_view__depends_on_what_has_been_received_alone`
"""

import re
from fractions import Fraction
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bt_gym.core import enums
from bt_gym.core.enums import BUY, SELL
from bt_gym.core.market import count_received, mid2, move, new_market
from bt_gym.core.positions import apply_fill, equity, position_dtype
from tests.reference import streams
from tests.reference.scenario import Order, Scenario, engine
from tests.reference.sessions import (
    LIMIT,
    TRADING,
    UNUSUAL,
    Pair,
    act_on_engine,
    quote,
    requote,
    scripts,
    sessions,
    walk,
)
from tests.reference.simulator import SIDES, Own
from tests.reference.streams import TICK, Scribe

SESSIONS = settings(max_examples=settings().max_examples // 3, suppress_health_check=list(HealthCheck))
MICROS = 1_000_000


# --- 7: volume is conserved


def fair_trade(scribe: Scribe, number: int, ticks: int, size: int, side: str) -> None:
    """A trade of displayed orders in their turn, through up to two levels."""
    streams.trade(scribe, 0, ticks, size, side)


FAIR = [quote, quote, quote, streams.cancel, streams.resize, requote, fair_trade, fair_trade, fair_trade]


def shared_out(queue: list, volume: int, left: dict[int, int]) -> tuple[int, dict[int, int]]:
    """A trade's volume along a queue: (lots of own orders, lots by id of others); `left`: lots that own ones want."""
    own, others = 0, {}
    for entry in queue:
        wants = left[entry.order_id] if isinstance(entry, Own) else entry.size
        lots = min(wants, volume)
        volume -= lots
        if isinstance(entry, Own):
            left[entry.order_id] -= lots
            own += lots
        else:
            others[entry.order_id] = lots
    return own, others


@SESSIONS
@given(sessions(FAIR), scripts(actions=(LIMIT,), max_size=12))
def test_trade__is_what_own_and_other_orders_get(records, script):
    """T = own fills + what the others keep, to the lot; what each of them loses is what own orders get."""
    pair = Pair(records, fill_on_cross=0)
    steps = list(walk(script, pair.start))
    for number, event in enumerate(pair.twin.events):
        while steps and steps[0][0] < event.ts:
            now, (_, _, _, side, ticks, size) = steps.pop(0)
            pair.advance(now)
            last = pair.tape.events[max(pair.twin.happened - 1, 0)]
            passive = min(ticks, int(last["ask"]) - 1) if side == BUY else max(ticks, int(last["bid"]) + 1)
            if enums.NO_TICK < passive < 1000 and last["bid"] != enums.NO_TICK:
                pair.act(now, (0, LIMIT, 0, side, passive, size))
        pair.advance(event.ts - 1)
        reported = len(pair.engine.reports)
        trades = [record for record in event.records if record.action == "T"]
        left = {own.order_id: own.leaves for side in (BUY, SELL) for own in pair.twin.book.own(side)}
        traded, own_lots, kept = 0, 0, {}
        for trade in trades:
            side, tick = 1 - SIDES[trade.side], trade.price // TICK
            better = [own for own in pair.twin.book.own(side) if (own.tick > tick if side == BUY else own.tick < tick)]
            first, _ = shared_out(better, trade.size, left)
            then, others = shared_out(pair.twin.book.queue(side, tick), trade.size - first, left)
            traded, own_lots, kept = traded + trade.size, own_lots + first + then, kept | others
        matching = number > 0 and all(pair.twin.events[i].phase == enums.PHASE_CONTINUOUS for i in (number - 1, number))
        recorded = {record.order_id: record.size for record in event.records if record.action == "F"}
        pair.advance(event.ts)
        mine = int(pair.engine.reports["size"][reported:].sum())
        if trades and matching:
            assert mine == own_lots
            assert mine + sum(kept.values()) == traded == sum(recorded.values())
            assert sum(recorded.get(order_id, 0) - lots for order_id, lots in kept.items()) == mine
            assert all(lots <= recorded.get(order_id, 0) for order_id, lots in kept.items())


@SESSIONS
@given(sessions(TRADING), st.integers(0, 60), st.integers(0, 1), st.lists(st.integers(1, 9), min_size=1, max_size=9))
def test_taker__gets_what_is_displayed_less_what_it_took(records, pause, side, sizes):
    """Orders in a row take what they want or all there is, each lot once: by level, as one order of their sum would."""
    got = []
    for orders in (sizes, [sum(sizes)]):
        pair = Pair(records, protection=3)
        now = pair.start + 500 * pause
        pair.engine.advance(pair.tape, now)
        event = pair.tape.events[max(int(pair.engine.account["event"][0]) - 1, 0)]
        best = int(event["ask" if side == BUY else "bid"])
        limit = best + 3 * (1 - 2 * side)
        if best == enums.NO_TICK:
            return
        for size in orders:
            pair.engine.process_order_request(Order(side, size, time_in_force=enums.TIF_IOC), now, limit)
        pair.engine.advance(pair.tape, now)
        pair.twin.advance(now)
        fills = pair.engine.reports[pair.engine.reports["exec_type"] == enums.EXEC_TRADE]
        got.append({tick: int(fills["size"][fills["price"] == tick].sum()) for tick in np.unique(fills["price"])})
        matching = event["flags"] & enums.PHASE_MASK == enums.PHASE_CONTINUOUS
        ticks = range(best, limit + 1) if side == BUY else range(best, limit - 1, -1)
        shown = [(tick, pair.twin.book.displayed(1 - side, tick)) for tick in ticks]
        wanted, expected = sum(sizes) * bool(matching), {}
        for tick, lots in shown:
            taken = min(lots, wanted)
            wanted -= taken
            if taken:
                expected[tick] = taken
        assert got[-1] == expected
    assert got[0] == got[1]


@SESSIONS
@given(
    st.integers(1, 9),
    st.lists(st.integers(1, 9), min_size=1, max_size=4),
    st.integers(0, 9),
    st.integers(0, 1),
)
def test_order_that_filled_us__is_gone_by_as_much(own, arriving, beside, side):
    """Orders that come to our price fill us with all they bring, and are taken by as much: what is left of them and of
    those that stand beside them is what a taker of ours still gets."""
    market = Scenario()
    market.snapshot(("B", 90, 5), ("A", 110, 5))
    market.event(market.record("N"))
    execution = engine(self_match=enums.SELF_MATCH_CANCEL_OLDEST)
    execution.process_order_request(Order(side, own), market.now - 500, 100)
    opposite = "AB"[side]
    for size in arriving:
        market.add(opposite, 100, size)
    if beside:
        market.add(opposite, 101 if side == BUY else 99, beside)
    execution.process_market_update(market.tape(), market.now)
    filled = int(execution.account["position"]["size"][0]) * (1 - 2 * side)
    assert filled == min(own, sum(arriving))
    execution.process_cancel(1, market.now)
    execution.process_order_request(
        Order(side, 1000, time_in_force=enums.TIF_IOC), market.now, 101 if side == BUY else 99
    )
    execution.process_market_update(market.tape(), market.now + 1)
    in_all = int(execution.account["position"]["size"][0]) * (1 - 2 * side)
    assert in_all == sum(arriving) + beside


# --- 17, 18: profit


FILLS = st.lists(
    st.tuples(st.sampled_from([BUY, SELL]), st.integers(1, 9), st.integers(-500, 500)), min_size=1, max_size=20
)


def closed(fills: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """The fills, and one that closes what they leave open, at tick 7."""
    held = sum((1 - 2 * side) * size for side, size, _ in fills)
    return [*fills, (SELL if held > 0 else BUY, abs(held), 7)] if held else fills


def profit(fills: list[tuple[int, int, int]], tick_value: int) -> int:
    position = np.zeros(1, position_dtype)
    for side, size, price in fills:
        apply_fill(position[0], side, size, price, tick_value, 0)
    assert position["size"] == 0
    assert position["realised"] == position["cash"]
    return int(position["realised"][0])


@given(FILLS, st.integers(1, 50), st.integers(-1000, 1000))
def test_profit__scales_with_the_multiplier_and_knows_no_price_level(fills, factor, shift):
    fills = closed(fills)
    once = profit(fills, MICROS)
    assert profit(fills, factor * MICROS) == factor * once
    assert profit([(side, size, price + shift) for side, size, price in fills], MICROS) == once


@SESSIONS
@given(sessions(TRADING + UNUSUAL), st.lists(st.integers(0, 80_000), max_size=20))
def test_do_nothing__has_no_equity_and_no_reports(records, stops):
    pair = Pair(records, taker_fee=7)
    for stop in sorted(stops):
        pair.engine.process_market_update(pair.tape, pair.start + stop)
        pair.look(pair.start + stop)
        market = pair.engine.market[0]
        assert int(equity(pair.engine.account["position"][0], market["mark2"], MICROS)) == 0
    assert len(pair.engine.reports) == 0


@SESSIONS
@given(sessions(TRADING), scripts())
def test_changes_of_equity__add_up_to_the_profit(records, script):
    """Position times each move of the mid, edge and fee of each fill: their sum is the equity at the end, exactly.

    The twin goes event by event, the mark after each; fills of an event and those that follow it come before the next.
    """
    pair = Pair(records, protection=2, maker_fee=-3, taker_fee=8)
    for now, step in walk(script, pair.start):
        pair.engine.process_market_update(pair.tape, now)
        act_on_engine(pair.engine, now, step)
    pair.engine.process_market_update(pair.tape, pair.end)
    fills = pair.engine.reports[pair.engine.reports["exec_type"] == enums.EXEC_TRADE]
    mark: Fraction | None = None
    held, total = 0, Fraction(0)
    for number, event in enumerate(pair.tape.events):
        mark2 = int(mid2(event))
        if mark2 != enums.NO_TICK:
            total += held * (Fraction(mark2, 2) - mark) * MICROS if mark is not None else 0
            mark = Fraction(mark2, 2)
        for fill in fills[fills["event"] == number]:
            signed = (1 - 2 * int(fill["side"])) * int(fill["size"])
            assert mark is not None
            total += signed * (mark - int(fill["price"])) * MICROS - int(fill["fee"])
            held += signed
    position = pair.engine.account["position"][0]
    assert held == position["size"]
    if mark is not None:
        assert int(equity(position, int(2 * mark), MICROS)) == total


# --- 22: knowledge


@SESSIONS
@given(
    sessions(TRADING + UNUSUAL),
    st.sampled_from([(1_000,), (1_000, 50_000), (0, 300, 3_000)]),
    st.sampled_from([0, 2_000, 40_000]),
    st.integers(0, 200),
    st.integers(0, 2**31),
)
def test_view__depends_on_what_has_been_received_alone(records, delays, extra, pause, seed):
    """What is received after t, by the feed or its extra latency, may be anything, though it has happened by then."""
    tape = Pair(records, delays).tape
    now = int(tape.events["ts_event"][0]) + 500 * pause
    known = count_received(tape.events, 0, now, extra)
    garbled = tape.records.copy(), tape.events.copy()
    first = int(tape.events["end"][known - 1]) if known else 0
    random = np.random.default_rng(seed)
    garbled[0]["size"][first:] = random.integers(-50, 50, len(tape.records) - first)
    garbled[0]["key"][first:] = random.integers(-(2**10), 2**10, len(tape.records) - first)
    for name in ("bid", "ask"):
        garbled[1][name][known:] = random.integers(-9, 9, len(tape.events) - known)
    views = []
    for parts in ((tape.records, tape.events), garbled):
        market = new_market(extra)
        assert count_received(parts[1], 0, now, extra) == known
        move(market[0], *parts, tape.blocks, known)
        views.append(market.tobytes())
    assert views[0] == views[1]


def test_list__names_tests_that_exist():
    files = Path(__file__).parents[1].rglob("test_*.py")
    defined = {name for file in files for name in re.findall(r"^def (test_\w+)", file.read_text("utf-8"), re.MULTILINE)}
    named = re.findall(r"`(test_\w+)`", __doc__ or "")
    assert len(named) > 20
    assert set(named) <= defined
