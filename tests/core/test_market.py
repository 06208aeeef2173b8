"""The market as received: its ladder is the book's, its times, statistics and mark are the events'."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bt_gym._jit import njit
from bt_gym.core import enums
from bt_gym.core.market import count_received, find_block, find_received, mid2, move, new_market, recent_trades
from bt_gym.core.tape import BLOCK_DRIFT_TICKS, LADDER_TICKS, block_dtype, event_dtype
from tests.data.compiled import Compiled, compile_array
from tests.reference.book import Book, Record
from tests.reference.scenario import Scenario
from tests.reference.sessions import JUMPS, TRADING, UNUSUAL, far_moving, sessions
from tests.reference.simulator import events_of
from tests.reference.streams import START, TICK, to_array

US = 1_000
FEW = settings(max_examples=settings().max_examples // 3, suppress_health_check=list(HealthCheck))


@njit
def _move(markets, records, events, blocks, end):
    move(markets[0], records, events, blocks, end)


def receive(market: np.ndarray, tape: Compiled, end: int) -> None:
    _move(market, tape.records, tape.events, tape.blocks, end)


def books(records: list[Record]) -> list[dict[tuple[int, int], int]]:
    """Displayed lots by (side, ticks) after each event."""
    book = Book()
    states = []
    for event in events_of(records, [record.ts_event + US for record in records], TICK):
        book.begin_event()
        for record in event.records:
            book.apply(record)
        levels = [(side, price) for side in "BA" for price in book.prices[side]]
        states.append({("BA".index(s), p // TICK): sum(book.queue(s, p).values()) for s, p in levels})
    return states


def assert_ladder_is_the_book(market: np.ndarray, book: dict[tuple[int, int], int]) -> None:
    base = int(market["base"][0])
    seen = {place: lots for place, lots in book.items() if 0 <= place[1] - base < LADDER_TICKS}
    side, offset = np.nonzero(market["ladder"][0])
    ladder = {(int(s), base + int(i)): int(market["ladder"][0, s, i]) for s, i in zip(side, offset, strict=True)}
    assert ladder == seen


@FEW
@given(JUMPS, st.data())
def test_ladder__is_the_book_across_windows(steps, data):
    """Received in random steps while the touch jumps up to 600 ticks."""
    records = far_moving(steps).records
    tape, states = compile_array(to_array(records)), books(records)
    assert len(tape.events) == len(states)
    ends = sorted(data.draw(st.lists(st.integers(1, len(states)), max_size=30), label="receive until"))
    market = new_market()
    for end in [*ends, len(states)]:
        receive(market, tape, end)
        assert market["event"][0] == end
        assert_ladder_is_the_book(market, states[end - 1])


@FEW
@given(sessions(TRADING + UNUSUAL))
def test_ladder__is_the_book_after_every_event(records):
    tape, states = compile_array(to_array(records)), books(records)
    assert len(tape.events) == len(states)
    market = new_market()
    for end in range(1, len(states) + 1):
        receive(market, tape, end)
        assert_ladder_is_the_book(market, states[end - 1])


@FEW
@given(JUMPS)
def test_window__holds_the_touch_with_room_on_both_sides(steps):
    """At least 128 ticks beside the middle of the book stay in the window whenever a block could have begun."""
    tape = compile_array(to_array(far_moving(steps).records))
    market = new_market()
    for end in range(1, len(tape.events)):  # the event under way may jump: the next block sees it
        receive(market, tape, end)
        bid, ask = (int(tape.events[name][end - 2]) for name in ("bid", "ask")) if end > 1 else (0, 0)
        if enums.NO_TICK not in (bid, ask):
            offset = ((bid + ask) >> 1) - int(market["base"][0])
            assert LADDER_TICKS // 2 - BLOCK_DRIFT_TICKS <= offset <= LADDER_TICKS // 2 + BLOCK_DRIFT_TICKS


@FEW
@given(sessions(TRADING + UNUSUAL), st.lists(st.integers(1, 60), max_size=20))
def test_receiving_in_many_steps__equals_one(records, ends):
    tape = compile_array(to_array(records))
    one, many = new_market(), new_market()
    receive(one, tape, len(tape.events))
    for end in sorted(ends):
        receive(many, tape, min(end, len(tape.events)))
    receive(many, tape, len(tape.events))
    assert one.tobytes() == many.tobytes()


@FEW
@given(sessions(TRADING + UNUSUAL))
def test_session__adds_up_all_trades(records):
    tape = compile_array(to_array(records))
    market = new_market()
    receive(market, tape, len(tape.events))
    groups = events_of(records, [record.ts_event + US for record in records], TICK)
    trades = [(r.price // TICK, r.size) for group in groups for r in group.records if r.action == "T"]
    session = market["session"][0]
    prices = [price for price, _ in trades]
    assert session["trades"] == len(trades)
    assert session["volume"] == sum(size for _, size in trades)
    assert session["notional"] == sum(price * size for price, size in trades)
    if trades:
        expected = (prices[0], max(prices), min(prices), prices[-1])
        assert tuple(int(session[name]) for name in ("open", "high", "low", "last")) == expected


@FEW
@given(sessions(TRADING + UNUSUAL), st.integers(1, 8), st.data())
def test_recent_trades__are_the_last_ones_newest_first(records, count, data):
    tape = compile_array(to_array(records))
    end = data.draw(st.integers(0, len(tape.events)))
    groups = events_of(records, [record.ts_event + US for record in records], TICK)[:end]
    trades = [(i, r.price // TICK, r.size) for i, group in enumerate(groups) for r in group.records if r.action == "T"]
    out = np.zeros((count, 5), np.int64)
    found = recent_trades(tape.records, tape.events, end, out)
    assert [tuple(row) for row in out[:found, :3].tolist()] == trades[::-1][:count]
    assert (out[:found, 4] == tape.events["ts_event"][out[:found, 0]]).all()


def test_mark__is_the_last_valid_mid():
    """Twice the mid; one-sided, crossed and restored books keep the old one and say that it is stale."""
    source = Scenario()
    source.snapshot(("B", 100, 5), ("A", 103, 5))
    source.event(source.record("N"))
    ask = next(iter(source.book.queue("A", 103 * TICK)))
    source.cancel(ask)
    source.add("A", 102, 1)
    source.snapshot(("B", 90, 5), ("A", 94, 5))
    source.event(source.record("N"))
    tape = source.tape()
    seen = []
    market = new_market()
    for end in range(1, len(tape.events) + 1):
        receive(market, tape, end)
        seen.append((int(market["mark2"][0]), bool(market["mark_is_stale"][0])))
    none = enums.NO_TICK
    assert seen == [(none, True), (203, False), (203, True), (202, False), (202, True), (184, False)]


def test_mid2__of_prices_beyond_int32_halves_does_not_overflow():
    event = np.zeros(1, event_dtype)
    event["bid"], event["ask"], event["flags"] = (1 << 30) + 5, (1 << 30) + 7, enums.PHASE_CONTINUOUS
    assert mid2(event[0]) == (1 << 31) + 12


@pytest.mark.parametrize(
    ("bid", "ask", "phase"),
    [
        (100, 100, enums.PHASE_CONTINUOUS),
        (101, 100, enums.PHASE_CONTINUOUS),
        (enums.NO_TICK, 100, enums.PHASE_CONTINUOUS),
        (100, enums.NO_TICK, enums.PHASE_CONTINUOUS),
        (100, 101, enums.PHASE_PRE_OPEN),
        (100, 101, enums.PHASE_HALT),
    ],
    ids=["locked", "crossed", "no bid", "no ask", "pre-open", "halt"],
)
def test_mid2__is_none_of_a_book_without_one(bid, ask, phase):
    event = np.zeros(1, event_dtype)
    event["bid"], event["ask"], event["flags"] = bid, ask, phase
    assert mid2(event[0]) == enums.NO_TICK


@pytest.fixture
def delayed() -> np.ndarray:
    """Events at 0, 1, 2, 3 us, received after 5, 1, 4 and 0 us: in order, so at 5, 5, 6 and 6 us."""
    source = Scenario()
    for side in "BABA":
        source.add(side, 100 if side == "B" else 102, 1)
    return source.tape([5 * US, US, 4 * US, 0]).events


def test_count_received__goes_by_receive_time_and_extra_delay(delayed):
    counts = [count_received(delayed, 0, START + us * US, 0) for us in (4, 5, 6)]
    assert counts == [0, 2, 4]
    assert count_received(delayed, 0, START + 5 * US + 9, 10) == 0
    assert count_received(delayed, 0, START + 5 * US + 10, 10) == 2
    assert count_received(delayed, 3, START, 0) == 3


def test_find_received__needs_the_time_and_the_mask(delayed):
    assert find_received(delayed, 0, START + 4 * US, 0, enums.EVENT_BOOK) == -1
    assert find_received(delayed, 0, START + 5 * US, 0, enums.EVENT_BOOK) == 0
    assert find_received(delayed, 2, START + 6 * US, 0, enums.EVENT_BOOK) == 2
    assert find_received(delayed, 0, START + 9 * US, 0, enums.EVENT_TRADE) == -1


@given(st.lists(st.integers(0, 50), min_size=1, max_size=12, unique=True), st.integers(0, 60))
def test_find_block__is_the_last_that_begins_at_or_before(starts, event):
    blocks = np.zeros(len(starts), block_dtype)
    blocks["event"] = sorted(starts)
    expected = max(0, int(np.searchsorted(blocks["event"], event, side="right")) - 1)
    assert find_block(blocks, event) == expected
