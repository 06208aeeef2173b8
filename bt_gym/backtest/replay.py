"""Replays tapes in the order in which their events were received, at any speed."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bt_gym._jit import njit
from bt_gym.core import enums
from bt_gym.core.market import count_received, move, new_market, received_at
from bt_gym.core.tape import KIND_MASK, SIDE_BIT, TICK_SHIFT
from bt_gym.data.instruments import Instrument
from bt_gym.data.tape import Tape
from bt_gym.strategy.context import MarketStateView
from bt_gym.strategy.events import EVENT_KINDS, EventKind, MarketEvent, Side, Trade, kind_of

NEVER = 1 << 62  # ns: later than any event

_AGGRESSORS = (Side.BUY, Side.SELL, None)


@dataclass(frozen=True)
class ReplaySpeed:
    """How fast market time passes: `factor` times as fast as it did, or as fast as possible when None."""

    factor: float | None = None

    def __post_init__(self) -> None:
        if self.factor is not None and not 0 < self.factor < float("inf"):
            raise ValueError(f"replay factor {self.factor}: must be a number above 0")

    @classmethod
    def max_throughput(cls) -> "ReplaySpeed":
        return cls()

    @classmethod
    def realtime(cls) -> "ReplaySpeed":
        return cls(1.0)

    @classmethod
    def accelerated(cls, factor: float) -> "ReplaySpeed":
        return cls(factor)


# --- doors to the kernels: an array is recognised faster than a record


@njit
def _find(events, first: int, extra_delay: int, mask: int) -> tuple[int, int]:
    """Next event from `first` on with a bit of `mask`, and when it is received; (len(events), `NEVER`) if none is."""
    for number in range(first, events.shape[0]):
        if events[number]["flags"] & mask:
            return number, received_at(events[number], extra_delay)
    return events.shape[0], NEVER


@njit
def _receive(markets, records, events, blocks, end: int) -> int:
    """Receives all events before number `end`; returns how many have been received by now."""
    move(markets[0], records, events, blocks, end)
    return markets[0]["event"]


@njit
def _receive_until(markets, records, events, blocks, until: int) -> int:
    """Receives all events that are received by `until` (ns); returns how many have been received by now."""
    market = markets[0]
    end = count_received(events, market["event"], until, market["extra_delay"])
    move(market, records, events, blocks, end)
    return market["event"]


@njit
def _read(records, events, number: int, out) -> int:
    """Writes event `number` into `out` (n, 3) int64: ts_event and flags, then a row per trade, as many as fit.

    A trade is (tick, lots, side of the aggressor or -1). Returns how many trades there are.
    """
    out[0, 0] = events[number]["ts_event"]
    out[0, 1] = events[number]["flags"]
    if not events[number]["flags"] & enums.EVENT_TRADE:
        return 0
    found = 0
    first = np.int64(events[number - 1]["end"]) if number > 0 else np.int64(0)
    for i in range(first, np.int64(events[number]["end"])):
        key = records[i]["key"]
        kind = key & KIND_MASK
        if kind != enums.RECORD_TRADE and kind != enums.RECORD_TRADE_N:
            continue
        found += 1
        if found < out.shape[0]:
            out[found, 0] = key >> TICK_SHIFT
            out[found, 1] = records[i]["size"]
            out[found, 2] = -1 if kind == enums.RECORD_TRADE_N else enums.BUY if key & SIDE_BIT else enums.SELL
    return found


class Lane:
    """One tape of a replay and the market as received from it."""

    def __init__(self, tape: Tape, instrument: Instrument, extra_delay: int) -> None:
        self.tape = tape
        self.instrument = instrument
        self.extra_delay = extra_delay
        self.market = new_market(extra_delay)
        self.state = MarketStateView(tape, self.market, instrument)
        self.received = 0  # events so far
        self._kinds = -1
        self._next = (-1, NEVER)  # number and time of the next event of `_kinds`
        self._read = np.zeros((8, 3), np.int64)

    def time_of(self, number: int) -> int:
        """When event `number` is received, ns."""
        return int(received_at(self.tape.events[number], self.extra_delay))

    def find(self, kinds: int) -> tuple[int, int]:
        """Number of the next event of one of `kinds` still to be received, and when it is (`NEVER`: there is none)."""
        if self._next[0] < self.received or kinds != self._kinds:
            self._kinds = kinds
            self._next = _find(self.tape.events, self.received, self.extra_delay, int(kinds) & EVENT_KINDS)
        return self._next

    def receive(self, end: int) -> None:
        """Receives all events before number `end`."""
        self.received = _receive(self.market, self.tape.records, self.tape.events, self.tape.blocks, end)

    def receive_until(self, ts: int) -> None:
        """Receives all events that are received by `ts` (ns)."""
        self.received = _receive_until(self.market, self.tape.records, self.tape.events, self.tape.blocks, ts)

    def rewind(self) -> None:
        """Goes on from where its market is, which somebody has set back."""
        self.received = int(self.market["event"][0])
        self._next = (-1, NEVER)

    def event(self, number: int, ts: int) -> MarketEvent:
        """What a strategy is told about event `number`, received at `ts` (ns)."""
        count = _read(self.tape.records, self.tape.events, number, self._read)
        if count >= len(self._read):
            self._read = np.zeros((2 * count, 3), np.int64)
            _read(self.tape.records, self.tape.events, number, self._read)
        (ts_event, flags, _), *rows = self._read[: count + 1].tolist()
        price = self.state.price
        trades = tuple([Trade(ts_event, price(tick), tick, size, _AGGRESSORS[side]) for tick, size, side in rows])
        return MarketEvent(self.instrument.symbol, ts_event, ts, kind_of(flags), trades)


class Stop(NamedTuple):
    """An event that somebody waits for."""

    ts: int  # ns, when it is received
    lane: Lane
    number: int


class MarketReplayEngine:
    """Several tapes merged by receive time; on equal times the first tape comes first.

    Whatever the speed, the same events come in the same order: a speed below the maximum only waits before it hands
    the next ones out. A replay can be stopped, saved (`save`) and gone on with, at any speed (`resume`).

    Args:
        tapes: with their instruments.
        speed: of market time.
        extra_delay: ns of feed latency beyond what the data show.
        batch_size: most events that `run` hands out at once.

    Raises:
        ValueError: there is no tape, or `batch_size` is below 1.
    """

    def __init__(
        self,
        tapes: Sequence[tuple[Tape, Instrument]],
        *,
        speed: ReplaySpeed | None = None,
        extra_delay: int = 0,
        batch_size: int = 1024,
    ) -> None:
        if not tapes or batch_size < 1:
            raise ValueError(f"{len(tapes)} tapes, batch_size {batch_size}: a replay needs at least one of each")
        self.lanes = [Lane(tape, instrument, extra_delay) for tape, instrument in tapes]
        self.speed = speed or ReplaySpeed.max_throughput()
        self.batch_size = batch_size
        self._anchor: tuple[int, float] | None = None

    @property
    def start(self) -> int:
        """When the first event is received, ns."""
        return min(lane.time_of(0) for lane in self.lanes)

    @property
    def end(self) -> int:
        """When the last event is received, ns."""
        return max(lane.time_of(len(lane.tape.events) - 1) for lane in self.lanes)

    def peek(self, kinds: int, until: int) -> Stop | None:
        """The next event of one of `kinds` that is received by `until` (ns); nothing moves."""
        found: Stop | None = None
        for lane in self.lanes:
            number, ts = lane.find(kinds)
            if ts <= until and (found is None or ts < found.ts):
                found = Stop(ts, lane, number)
        return found

    def reach(self, stop: Stop) -> MarketEvent:
        """Receives everything up to an event from `peek`, this one included; returns what a strategy is told about it.

        What comes after it at the same time, in its own tape or a later one, is not received yet, whoever waits for it.
        """
        self.wait(stop.ts)
        until = stop.ts
        for lane in self.lanes:
            if lane is stop.lane:
                lane.receive(stop.number + 1)
                until -= 1
            else:
                lane.receive_until(until)
        return stop.lane.event(stop.number, stop.ts)

    def receive(self, until: int) -> None:
        """Receives everything up to `until` (ns)."""
        self.wait(until)
        for lane in self.lanes:
            lane.receive_until(until)

    def run(
        self,
        handler: Callable[[list[MarketEvent]], object],
        kinds: EventKind = EventKind.TRADE,
        until: int | None = None,
    ) -> int:
        """Replays up to `until` (ns; the end if None) and hands events of `kinds` to `handler` in batches.

        A batch holds what is due at one moment, up to `batch_size`; at maximum throughput everything is due at once.
        A later call goes on where this one stopped. Returns how many events were handed out.
        """
        until = self.end if until is None else until
        count = 0
        batch: list[MarketEvent] = []
        while (stop := self.peek(kinds, until)) is not None:
            if batch and (len(batch) >= self.batch_size or (self.speed.factor and stop.ts > batch[-1].ts_recv)):
                handler(batch)
                batch = []
            batch.append(self.reach(stop))
            count += 1
        if batch:
            handler(batch)
        self.receive(until)
        return count

    def save(self) -> np.ndarray:
        """Where the replay is: the market of each tape as received so far, (tapes,) of `core.market.market_dtype`."""
        return np.concatenate([lane.market for lane in self.lanes])

    def resume(self, saved: np.ndarray) -> None:
        """Goes on from where a replay of the same tapes was saved, at this one's own speed, which starts anew.

        Raises:
            ValueError: it was saved with other tapes or another feed latency.
        """
        held = np.concatenate([lane.market for lane in self.lanes])
        lengths = np.array([len(lane.tape.events) for lane in self.lanes])
        if (
            saved.dtype != held.dtype
            or saved.shape != held.shape
            or (saved["extra_delay"] != held["extra_delay"]).any()
            or (saved["event"] > lengths).any()
        ):
            raise ValueError("this state is of other tapes or of another feed latency: resume it with what it was of")
        for lane, market in zip(self.lanes, saved, strict=True):
            lane.market[0] = market
            lane.rewind()
        self._anchor = None

    def wait(self, ts: int) -> None:
        """Sleeps until market time `ts` has come; the first call sets the start."""
        if self.speed.factor is None:
            return
        now = time.monotonic()
        if self._anchor is None:
            self._anchor = (ts, now)
        due = self._anchor[1] + (ts - self._anchor[0]) / 1e9 / self.speed.factor
        if due > now:
            time.sleep(due - now)
