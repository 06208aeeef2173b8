"""MarketReplayEngine: every event once, in the order of receive time, at any speed, in batches."""

from pathlib import Path

import numpy as np
import pytest

from bt_gym import EventKind, Instrument, MarketReplayEngine, ReplaySpeed, Side, Tape
from bt_gym.core import enums
from bt_gym.data import dbn
from bt_gym.data.tape import ingest
from tests.data.compiled import add, cancel, clear, fill, nothing, trade
from tests.runs import MARKET, THIN, synthetic, write

TICK_NANOS = 250_000_000
BOOK = [clear(), add(1, "B", 100, 5), add(2, "A", 102, 50)]


def instrument(symbol: str = "TEST") -> Instrument:
    return Instrument.from_values(symbol, "0.25", 50)


def engine_of(*paths: Path, **options) -> MarketReplayEngine:
    """A replay of hand-made files."""
    tapes = [Tape.open(ingest([path], tick_size_nanos=TICK_NANOS, folder=path.parent)) for path in paths]
    return MarketReplayEngine([(tape, instrument(tape.symbol)) for tape in tapes], **options)


def handed_out(engine: MarketReplayEngine, kinds: EventKind = MARKET, until: int | None = None) -> list[tuple]:
    """(symbol, receive time) of everything that `run` hands out."""
    found: list[tuple] = []
    engine.run(lambda batch: found.extend((event.symbol, event.ts_recv) for event in batch), kinds, until)
    return found


@pytest.fixture(scope="module")
def tape(session_file: Path) -> Tape:
    """The session in shared memory."""
    return Tape.open(ingest([session_file], tick_size_nanos=TICK_NANOS, folder=session_file.parent / "tapes"))


def replayed(tape: Tape, speed: ReplaySpeed, kinds: EventKind = MARKET, batch_size: int = 64) -> list[list]:
    engine = MarketReplayEngine([(tape, instrument("SYNH6"))], speed=speed, batch_size=batch_size)
    batches: list[list] = []
    middle = (engine.start + engine.end) // 2
    count = engine.run(batches.append, kinds, until=middle)
    count += engine.run(batches.append, kinds)  # stop, and go on
    assert count == sum(map(len, batches))
    return batches


def test_speeds__hand_out_the_same_events_in_the_same_order(tape: Tape, monkeypatch: pytest.MonkeyPatch):
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    monkeypatch.setattr("time.sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    fast = replayed(tape, ReplaySpeed.max_throughput())
    assert clock[0] == 0
    for speed in (ReplaySpeed.realtime(), ReplaySpeed.accelerated(8)):
        clock[0] = 0
        paced = replayed(tape, speed)
        assert [event for batch in paced for event in batch] == [event for batch in fast for event in batch]
        length = (fast[-1][-1].ts_recv - fast[0][0].ts_recv) / 1e9
        assert clock[0] >= 0.99 * length / speed.factor
    assert all(1 <= len(batch) <= 64 for batch in fast)


def test_replay__brings_the_trades_of_the_tape(tape: Tape):
    trades = [
        trade for batch in replayed(tape, ReplaySpeed(), EventKind.TRADE) for event in batch for trade in event.trades
    ]
    source = synthetic().records
    source = source[source["action"] == dbn.ACTION_TRADE]
    assert [trade.size for trade in trades] == source["size"].tolist()
    assert [trade.ticks for trade in trades] == (source["price"] // TICK_NANOS).tolist()
    sides = {dbn.SIDE_BID: enums.BUY, dbn.SIDE_ASK: enums.SELL, dbn.SIDE_NONE: None}
    assert [trade.aggressor for trade in trades] == [sides[side] for side in source["side"]]


@pytest.mark.parametrize("factor", [0, -1, float("nan"), float("inf")])
def test_replay_speed__must_be_positive(factor: float):
    with pytest.raises(ValueError, match="above 0"):
        ReplaySpeed.accelerated(factor)


# --- order


def test_event__is_what_the_tape_has(tape: Tape):
    """Each event of a subscribed kind, once: its kind, its clocks, its trades and no others."""
    events = [event for batch in replayed(tape, ReplaySpeed()) for event in batch]
    kinds = tape.events["flags"] & int(MARKET)
    rows = np.flatnonzero(kinds)
    assert [int(event.kind) for event in events] == kinds[rows].tolist()
    assert [event.ts_event for event in events] == tape.events["ts_event"][rows].tolist()
    assert [event.ts_recv for event in events] == (tape.events["ts_event"] + tape.events["delay"])[rows].tolist()
    assert all(bool(event.trades) == bool(event.kind & EventKind.TRADE) for event in events)
    assert {event.symbol for event in events} == {THIN.symbol}


def test_event__with_more_trades_than_the_buffer_holds(tmp_path: Path):
    sweep = [record for i in range(20) for record in (trade("B", 102 + i % 2, 1 + i), fill(2, "A", 102, 1))]
    path = write(tmp_path / "a.dbn", *BOOK, [*sweep, cancel(2, "A", 102, 20)], trade("A", 100, 3))
    engine, events = engine_of(path), []
    engine.run(events.extend)
    assert [trade.size for trade in events[0].trades] == list(range(1, 21))
    assert [(trade.ticks, trade.price) for trade in events[0].trades] == [(102, 25.5), (103, 25.75)] * 10
    assert [(trade.size, trade.aggressor) for trade in events[1].trades] == [(3, Side.SELL)]


def test_two_tapes__come_by_receive_time_then_in_their_order(tmp_path: Path):
    """Slow delivery of one tape moves its events behind those of the other, not behind its own."""
    changes = [add(10 + i, "B", 80 + i, 1) for i in range(12)]
    first = write(tmp_path / "1.dbn", *BOOK, *changes, symbol="ONE", delays=(3_000, 0, 5_000))
    second = write(tmp_path / "2.dbn", *BOOK, *changes, symbol="TWO", delays=(0, 1_000))
    engine = engine_of(first, second)
    numbered = [(lane.time_of(i), n, lane.instrument.symbol) for n, lane in enumerate(engine.lanes) for i in range(15)]
    assert handed_out(engine) == [(symbol, ts) for ts, _, symbol in sorted(numbered, key=lambda row: row[:2])]
    assert [symbol for symbol, _ in handed_out(engine_of(second, first))] != [symbol for *_, symbol in sorted(numbered)]


def test_reach__receives_up_to_the_event_and_nothing_behind_it(tmp_path: Path):
    """At equal times the tapes before it are received, those behind it are not; its own up to the event."""
    files = [write(tmp_path / f"{n}.dbn", *BOOK, nothing(), nothing(), symbol=n, delays=(0,)) for n in ("A", "B", "C")]
    engine = engine_of(*files)
    stop = engine.peek(int(MARKET), engine.end)
    assert (stop.number, stop.lane) == (0, engine.lanes[0])
    assert [lane.received for lane in engine.lanes] == [0, 0, 0]  # peeking moves nothing
    for lane in engine.lanes[1:]:
        lane.receive(1)
    engine.lanes[0].receive(2)
    stop = engine.peek(int(MARKET), engine.end)
    assert (stop.number, stop.lane) == (1, engine.lanes[1])
    assert engine.reach(stop).symbol == "B"
    assert [lane.received for lane in engine.lanes] == [2, 2, 1]
    engine.receive(engine.end)
    assert [lane.received for lane in engine.lanes] == [5, 5, 5]


def test_run__stops_at_any_time_and_goes_on(tmp_path: Path):
    path = write(tmp_path / "a.dbn", *BOOK, *[add(10 + i, "B", 80 + i, 1) for i in range(9)])
    whole = handed_out(engine_of(path))
    engine = engine_of(path)
    found = []
    for until in range(engine.start - 700, engine.end + 2_000, 700):
        found += handed_out(engine, until=until)
        assert all(ts <= until for _, ts in found)
        assert engine.lanes[0].received == len(found)
    assert found == whole


SPEEDS = {
    "max": ReplaySpeed.max_throughput(),
    "realtime": ReplaySpeed.realtime(),
    "accelerated": ReplaySpeed.accelerated(8),
}


@pytest.mark.parametrize("later", SPEEDS)
@pytest.mark.parametrize("earlier", SPEEDS)
def test_resume__from_a_saved_state_at_any_speed(
    tape: Tape, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, earlier: str, later: str
):
    """Stopped at several times, written to a file, and gone on with by a new engine: as if it had never stopped."""
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    monkeypatch.setattr("time.sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    tapes = [(tape, instrument("SYNH6"))]
    whole = MarketReplayEngine(tapes, extra_delay=500)
    events = [event for event in collected(whole)]
    for share in (0.0, 0.3, 0.31, 1.0):
        first = MarketReplayEngine(tapes, speed=SPEEDS[earlier], extra_delay=500)
        until = first.start + round(share * (first.end - first.start))
        found = collected(first, until)
        np.save(tmp_path / "state.npy", first.save())
        second = MarketReplayEngine(tapes, speed=SPEEDS[later], extra_delay=500, batch_size=7)
        clock[0] = 0.0
        second.resume(np.load(tmp_path / "state.npy"))
        assert second.lanes[0].received == first.lanes[0].received
        rest = collected(second)
        assert found + rest == events
        assert second.save().tobytes() == whole.save().tobytes()
        if rest and SPEEDS[later].factor:  # the pace starts with the first event after the stop
            assert clock[0] == pytest.approx((whole.end - rest[0].ts_recv) / 1e9 / SPEEDS[later].factor)


def collected(engine: MarketReplayEngine, until: int | None = None) -> list:
    found: list = []
    engine.run(found.extend, MARKET, until)
    return found


def test_resume__refuses_another_replays_state(tape: Tape, tmp_path: Path):
    short = engine_of(write(tmp_path / "a.dbn", *BOOK))
    long = MarketReplayEngine([(tape, instrument())])
    long.receive(long.end)
    late = MarketReplayEngine([(tape, instrument())], extra_delay=1)
    both = MarketReplayEngine([(tape, instrument())] * 2)
    for saved, engine in ((long.save(), short), (long.save(), late), (long.save(), both), (np.zeros(1), long)):
        with pytest.raises(ValueError, match="of other tapes or of another feed latency"):
            engine.resume(saved)
    assert short.lanes[0].received == 0


def test_run__leaves_the_market_as_received_at_its_end(tmp_path: Path):
    """Also what nobody waits for."""
    path = write(tmp_path / "a.dbn", *BOOK, trade("B", 102, 1), add(3, "B", 101, 7), nothing())
    engine = engine_of(path)
    assert engine.run(lambda batch: None, EventKind.TRADE) == 1
    assert engine.lanes[0].state.best_bid() == (25.25, 101, 7)


def test_batches__hold_what_is_due_at_one_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Two events received together are one batch at real time; at maximum throughput the size alone cuts."""
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    monkeypatch.setattr("time.sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    path = write(tmp_path / "a.dbn", *BOOK, *[add(10 + i, "B", 80 + i, 1) for i in range(5)], delays=(1_000, 0))

    def sizes(speed: ReplaySpeed, batch_size: int) -> list[tuple[int, float]]:
        found: list[tuple[int, float]] = []
        clock[0] = 100.0
        engine = engine_of(path, speed=speed, batch_size=batch_size)
        engine.run(lambda batch: found.append((len(batch), round((clock[0] - 100) * 1e6))), MARKET)
        return found

    assert sizes(ReplaySpeed.max_throughput(), 3) == [(3, 0), (3, 0), (2, 0)]
    assert sizes(ReplaySpeed.realtime(), 1024) == [(2, 0), (2, 2), (2, 4), (2, 6)]
    assert sizes(ReplaySpeed.accelerated(2), 1) == [(1, 0), (1, 0), (1, 1), (1, 1), (1, 2), (1, 2), (1, 3), (1, 3)]


def test_replay__needs_a_tape_and_a_batch(tape: Tape):
    with pytest.raises(ValueError, match="0 tapes"):
        MarketReplayEngine([])
    with pytest.raises(ValueError, match="batch_size 0"):
        MarketReplayEngine([(tape, instrument("SYNH6"))], batch_size=0)
