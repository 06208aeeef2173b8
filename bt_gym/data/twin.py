"""The twin test: a real order is taken out of its own market, sent in again as an own order, and must fill the same.

All records of the order but its trades (`T`) are removed, the rest is compiled again, and the order is put where it
stood: behind exactly the records that were before it. Its own reductions and its cancel come when they came. What it is
filled in each event, and nothing else, must be what the exchange recorded. The strongest end-to-end check of compiler
and replay rule there is: the answer is the exchange's own.

A *segment* is an order's life between two records that give it a place in a queue; each is one own order.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bt_gym._jit import njit
from bt_gym.core import enums
from bt_gym.core.execution import happen
from bt_gym.core.matching import match_event
from bt_gym.core.orders import new_account, new_models, report_dtype
from bt_gym.core.resting import rest
from bt_gym.core.tape import GONE_BIT, KIND_MASK, MAX_TICK, SIDE_BIT, TICK_SHIFT
from bt_gym.data import dbn
from bt_gym.data.compiler import Compiler, label_phases
from bt_gym.data.proof import Proof

FILLED_SHARE = 0.75
"""Of a sample: orders that were filled while they rested, as far as there are so many. The others must not fill."""

_MARKER_IDS = 1 << 62
_EVENTS_AT_A_TIME = 1 << 14
_NAMED = 20  # unexplained segments that a report lists
_SIDES = {dbn.SIDE_BID: enums.BID, dbn.SIDE_ASK: enums.ASK}
_OPPOSITE = {dbn.SIDE_BID: dbn.SIDE_ASK, dbn.SIDE_ASK: dbn.SIDE_BID}


@dataclass
class Segment:
    """One life of an order at one place. Rows are numbers of source records."""

    order_id: int
    row: int  # that gave it its place
    side: int
    tick: int
    size: int  # displayed lots at first
    fills: list[tuple[int, int, int]] = field(default_factory=list)  # row of the trade, lots, of these displayed
    reductions: list[tuple[int, int]] = field(default_factory=list)  # row, lots taken out without a fill
    end: int = -1  # row that ended it; -1 while it stands
    is_cancelled_in_trade: bool = False  # ended by a C without F in the event of a trade


@dataclass(frozen=True)
class Verdict:
    """How a segment came out: lots by event of the new tape, recorded and simulated."""

    segment: Segment
    kind: str  # exact, auction, iceberg, self_match or unexplained
    recorded: dict[int, int]
    simulated: dict[int, int]
    is_implied: bool = False  # unexplained, and they part at a trade with lots that the file doesn't hold


@dataclass(frozen=True)
class _Tape:
    records: np.ndarray
    events: np.ndarray
    blocks: np.ndarray
    proof: Proof

    def event_of(self, row: int) -> int:
        """Number of the event that a source record belongs to."""
        return int(np.searchsorted(self.events["source"], row, side="right"))


def _compile(records: np.ndarray, tick_size: int) -> _Tape:
    compiler = Compiler(tick_size)
    parts = [
        (piece.records.copy(), piece.events.copy(), piece.blocks.copy())
        for pieces in (compiler.feed(records), compiler.finish())
        for piece in pieces
    ]
    records, events, blocks = (np.concatenate([part[i] for part in parts]) for i in range(3))
    tape = _Tape(records, events, blocks, compiler.proof)
    label_phases(tape.events, compiler.stretches)
    return tape


class Twin:
    """Tests orders of one instrument's MBO records (n,) of `dbn.mbo_dtype`; `tick_size` in 1e-9 of the currency."""

    def __init__(self, records: np.ndarray, tick_size: int) -> None:
        self.records = records
        self.tick_size = tick_size
        self.tape = _compile(records, tick_size)
        self.segments = find_segments(records, self.tape.events["source"], tick_size)

    @property
    def filled_orders(self) -> list[int]:
        """Ids of the orders that were filled while they rested, in the order in which they came."""
        return [order_id for order_id, found in self.segments.items() if any(segment.fills for segment in found)]

    def sample(self, number: int, seed: int = 0) -> list[int]:
        """Ids of at most `number` orders at random, filled ones and others (`FILLED_SHARE`), as they came.

        Only orders whose queues the data tell in full: not before a cold start is over, nor around a gap.
        """
        rng = np.random.default_rng(seed)
        suspect = self.tape.events["flags"] & enums.PHASE_MASK == enums.PHASE_SUSPECT
        doubtful = np.concatenate([[0], np.cumsum(suspect)])
        known = [i for i, found in self.segments.items() if self._is_known(found, doubtful)]
        filled = set(self.filled_orders)
        others = [i for i in known if i not in filled]
        wanted = max(math.ceil(FILLED_SHARE * number), number - len(others))
        chosen = _choose(rng, [i for i in known if i in filled], wanted)
        chosen |= _choose(rng, others, number - len(chosen))
        return [i for i in known if i in chosen]

    def _is_known(self, found: Sequence[Segment], doubtful: np.ndarray) -> bool:
        """Whether the market was known all the time that an order lived, and the queue wherever it took a place.

        `doubtful`: (E + 1,) suspect events before each event.
        """
        events = self.tape.events
        first, last = self.tape.event_of(found[0].row), min(self._last_event(found) + 1, len(events))
        if first == len(events) or doubtful[last] != doubtful[max(first - 1, 0)]:
            return False
        proof = self.tape.proof
        if proof.is_complete:
            return True
        return all(proof.is_proven(events, self.tape.event_of(s.row), s.side, s.tick) for s in found)

    def test(self, orders: Iterable[int], progress: Callable[[int], None] = lambda done: None) -> list[Verdict]:
        """Verdicts on all segments of the orders (ids); `progress` is told how many orders are done."""
        verdicts: list[Verdict] = []
        for done, order_id in enumerate(orders, 1):
            verdicts += self._test(order_id)
            progress(done)
        return verdicts

    def _test(self, order_id: int) -> list[Verdict]:
        found = self.segments[order_id]
        last = min(self._last_event(found), len(self.tape.events) - 1)
        rest = self.records[: int(self.tape.events["source"][last])].copy()
        mine = (rest["order_id"] == order_id) & (rest["action"] != dbn.ACTION_TRADE)
        rest["action"][mine] = dbn.ACTION_NONE  # keeps F_LAST and the numbers of all other records
        # Where a segment began, a marker far from the market keeps the place on the tape.
        markers = [MAX_TICK - 1 - i for i in range(len(found))]
        for segment, marker in zip(found, markers, strict=True):
            rest["action"][segment.row] = dbn.ACTION_ADD
            rest["order_id"][segment.row] = _MARKER_IDS + marker
            rest["price"][segment.row] = (marker if segment.side == enums.ASK else -marker) * self.tick_size
        tape = _compile(rest, self.tick_size)
        places = {
            marker: int(np.flatnonzero(np.abs(tape.records["key"] >> TICK_SHIFT) == marker)[0]) for marker in markers
        }
        return [self._judge(segment, tape, places[marker]) for segment, marker in zip(found, markers, strict=True)]

    def _last_event(self, segments: Sequence[Segment]) -> int:
        return max(self.tape.event_of(s.end) if s.end >= 0 else len(self.tape.events) for s in segments)

    def _judge(self, segment: Segment, tape: _Tape, place: int) -> Verdict:
        recorded: Counter[int] = Counter()
        shown: Counter[int] = Counter()
        for row, lots, displayed in segment.fills:
            recorded[tape.event_of(row)] += lots
            shown[tape.event_of(row)] += displayed
        simulated = _simulate(segment, tape, place)
        if simulated == recorded:
            kind = "exact"
        elif _is_auction(tape, recorded):
            kind = "auction"
        elif recorded != shown and simulated == +shown:
            kind = "iceberg"
        elif _is_self_match(segment, tape):
            kind = "self_match"
        else:
            kind = "unexplained"
        implied = kind == "unexplained" and self._is_implied(tape, recorded, simulated)
        return Verdict(segment, kind, dict(recorded), dict(simulated), implied)

    def _is_implied(self, tape: _Tape, recorded: Counter[int], simulated: Counter[int]) -> bool:
        """Whether the fills part where a trade met lots that the file doesn't hold (implied, hidden).

        By the rule it fills whoever stands first; that it passed the order by, the exchange alone can know.
        """
        event = min(number for number in recorded | simulated if recorded[number] != simulated[number])
        first = int(tape.events["source"][event - 1]) if event else 0
        rows = self.records[first : int(tape.events["source"][event])]
        trades = rows[rows["action"] == dbn.ACTION_TRADE]
        fills = rows[(rows["action"] == dbn.ACTION_FILL) & ~np.isin(rows["order_id"], trades["order_id"])]
        return bool(simulated[event] > recorded[event] and trades["size"].sum() > fills["size"].sum())


def count(verdicts: Iterable[Verdict]) -> dict[str, int]:
    """Segments in all, and by kind."""
    kinds = Counter(verdict.kind for verdict in verdicts)
    names = ("exact", "auction", "iceberg", "self_match", "unexplained")
    return {"segments": kinds.total()} | {name: kinds[name] for name in names}


def report(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """`twin_orders`, the counts of `count`; `twin_implied`: how many of the unexplained ones part at a trade with lots
    that the file doesn't hold; and the first unexplained segments, if any, as `twin_unexplained`.
    """
    unexplained = [verdict for verdict in verdicts if verdict.kind == "unexplained"]
    return {
        "twin_orders": count(verdicts),
        "twin_implied": sum(verdict.is_implied for verdict in unexplained),
        "twin_unexplained": [
            {
                "order_id": verdict.segment.order_id,
                "source_record": verdict.segment.row,
                "side": "ask" if verdict.segment.side == enums.ASK else "bid",
                "tick": verdict.segment.tick,
                "size": verdict.segment.size,
                "recorded": {str(event): lots for event, lots in verdict.recorded.items()},
                "simulated": {str(event): lots for event, lots in verdict.simulated.items()},
            }
            for verdict in unexplained[:_NAMED]
        ],
    }


def _choose(rng: np.random.Generator, ids: Sequence[int], number: int) -> set[int]:
    """At most `number` of the ids."""
    return {ids[i] for i in rng.choice(len(ids), min(number, len(ids)), replace=False)} if ids else set()


def find_segments(records: np.ndarray, sources: np.ndarray, tick_size: int) -> dict[int, list[Segment]]:
    """All segments by order id.

    Args:
        records: (n,) of `dbn.mbo_dtype`.
        sources: (E,) source records up to and including each event.
        tick_size: in 1e-9 of the currency.
    """
    finder = _Finder(tick_size)
    names = ("order_id", "action", "side", "price", "size", "flags")
    for start in range(0, len(sources), _EVENTS_AT_A_TIME):  # as Python's own numbers they take ten times the memory
        ends = sources[start : start + _EVENTS_AT_A_TIME].tolist()
        first = begin = int(sources[start - 1]) if start else 0
        rows = list(zip(*(records[name][begin : ends[-1]].tolist() for name in names), strict=True))
        for last in ends:
            finder.event(first, rows[first - begin : last - begin])
            first = last
    return finder.found


class _Finder:
    """Follows every order through the records, event by event."""

    def __init__(self, tick_size: int) -> None:
        self.found: dict[int, list[Segment]] = {}
        self._tick_size = tick_size
        self._live: dict[int, Segment] = {}
        self._size: dict[int, int] = {}  # displayed
        self._filled: dict[int, int] = {}  # displayed lots executed in the event under way

    def event(self, first: int, rows: Sequence[tuple[int, ...]]) -> None:
        """Takes the records of one event, the first of which is source record `first`."""
        self._filled.clear()
        filled = {row[0] for row in rows if row[1] == dbn.ACTION_FILL}
        has_trade = any(row[1] == dbn.ACTION_TRADE for row in rows)
        if rows[0][5] & dbn.FLAG_SNAPSHOT and rows[0][1] != dbn.ACTION_CLEAR:
            self._clear(first)
        trade, own = first, (0, -1)
        for row, (order_id, action, side, price, size, _) in enumerate(rows, first):
            if action == dbn.ACTION_TRADE:
                trade, own = row, (order_id, _OPPOSITE.get(side, -1))
            elif action == dbn.ACTION_CLEAR:
                self._clear(row)
            elif action == dbn.ACTION_FILL and (order_id != own[0] or side == own[1]):
                self._fill(trade, order_id, size)
            elif action == dbn.ACTION_CANCEL and order_id in self._live:
                segment = self._live[order_id]
                self._cancel(row, order_id, size)
                segment.is_cancelled_in_trade = has_trade and order_id not in filled
            elif action in (dbn.ACTION_ADD, dbn.ACTION_MODIFY):
                self._place(row, order_id, action, side, price, size)

    def _fill(self, trade: int, order_id: int, size: int) -> None:
        if order_id in self._live:
            shown = min(size, self._size[order_id] - self._filled.get(order_id, 0))
            self._live[order_id].fills.append((trade, size, shown))
            self._filled[order_id] = self._filled.get(order_id, 0) + shown

    def _cancel(self, row: int, order_id: int, size: int) -> None:
        size = min(size, self._size[order_id])
        booked = min(size, self._filled.get(order_id, 0))
        self._filled[order_id] = self._filled.get(order_id, 0) - booked
        self._size[order_id] -= size
        if self._size[order_id] == 0:
            self._end(row, order_id)
        elif size > booked:
            self._live[order_id].reductions.append((row, size - booked))

    def _place(self, row: int, order_id: int, action: int, side: int, price: int, size: int) -> None:
        segment = self._live.get(order_id)
        tick = price // self._tick_size
        usable = size > 0 and side in _SIDES and price != dbn.UNDEF_PRICE and tick * self._tick_size == price
        if segment is not None:
            left = self._size[order_id] - self._filled.get(order_id, 0)
            was_filled = self._filled.pop(order_id, 0) > 0
            same_level = usable and (segment.side, segment.tick) == (_SIDES[side], tick)
            keeps = same_level and (size < left or (size == left and was_filled))
            if action == dbn.ACTION_MODIFY and keeps:
                if size < left:
                    segment.reductions.append((row, left - size))
                self._size[order_id] = size
                return
            if size or action == dbn.ACTION_MODIFY:
                self._end(row, order_id)
        if usable:
            self._live[order_id] = Segment(order_id, row, _SIDES[side], tick, size)
            self._size[order_id] = size
            self.found.setdefault(order_id, []).append(self._live[order_id])

    def _end(self, row: int, order_id: int) -> None:
        self._live.pop(order_id).end = row

    def _clear(self, row: int) -> None:
        for order_id in list(self._live):
            self._end(row, order_id)


@njit
def _begin(accounts, log, records, events, place, event, side, tick, size, ahead):
    """Puts an own order where record `place` is, and moves its queue through the rest of that event."""
    account = accounts[0]
    order = account["orders"][0]
    order["order_id"] = 1
    order["rank"] = 1
    order["side"] = side
    order["price"] = tick
    order["size"] = size
    order["leaves"] = size
    order["priority"] = place
    order["ahead"] = ahead
    order["ahead_known"] = 1
    rest(account, 0)
    match_event(account, log, records, place, events[event]["end"], events[event]["ts_event"], event, False)
    account["event"] = event + 1


@njit
def _play(accounts, log, records, events, blocks, stop):
    """Runs the market up to event `stop` (not included)."""
    account = accounts[0]
    while account["event"] < stop and account["resting"] > 0:
        number = account["event"]
        happen(account, log, records, events, blocks, number, events[number]["ts_event"])


def _simulate(segment: Segment, tape: _Tape, place: int) -> Counter[int]:
    """Lots by event that an own order in the segment's place is filled."""
    account = new_account(new_models())
    log = np.zeros(1 << max(segment.size + 2, 8).bit_length(), report_dtype)
    event = int(np.searchsorted(tape.events["end"], place, side="right"))
    ahead = _displayed(tape.records[:place], segment.side, segment.tick)
    _begin(
        account, log, tape.records, tape.events, place, event, segment.side, segment.tick, segment.size, ahead
    )  # fmt: skip
    order = account["orders"][0, :1]
    for row, lots in segment.reductions:
        _play(account, log, *_columns(tape), tape.event_of(row) + 1)
        order["leaves"] = max(int(order["leaves"][0]) - lots, 0)
    if order["leaves"][0]:
        stop = tape.event_of(segment.end) + 1 if segment.end >= 0 else len(tape.events)
        _play(account, log, *_columns(tape), min(stop, len(tape.events)))
    fills: Counter[int] = Counter()
    for report in log[: int(account["reports_written"][0])]:
        if report["exec_type"] == enums.EXEC_TRADE:
            fills[int(report["event"])] += int(report["size"])
    return fills


def _columns(tape: _Tape) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return tape.records, tape.events, tape.blocks


def _displayed(records: np.ndarray, side: int, tick: int) -> int:
    """Displayed lots of a level after these records of a tape."""
    kinds = records["key"] & KIND_MASK
    clears = np.flatnonzero(kinds == enums.RECORD_CLEAR)
    first = clears[-1] + 1 if len(clears) else 0
    at_level = (records["key"][first:] | GONE_BIT | KIND_MASK) == _level_key(side, tick) | GONE_BIT | KIND_MASK
    return int(records["size"][first:][at_level & (kinds[first:] <= enums.RECORD_RESTORE)].sum())


def _level_key(side: int, tick: int) -> int:
    return tick << TICK_SHIFT | side * SIDE_BIT


def _is_auction(tape: _Tape, recorded: Counter[int]) -> bool:
    """Whether the order traded in an uncross."""
    phases = tape.events["flags"][sorted(recorded)] & enums.PHASE_MASK
    return bool((phases == enums.PHASE_AUCTION).any())


def _is_self_match(segment: Segment, tape: _Tape) -> bool:
    """Whether the exchange cancelled the order before it met an order of its own firm.

    It ended by a C without F beside a trade, or as an opposite order arrived at its price.
    """
    if segment.end < 0:
        return False
    if segment.is_cancelled_in_trade:
        return True
    event = tape.event_of(segment.end)
    first = int(tape.events["end"][event - 1]) if event else 0
    keys = tape.records["key"][first : int(tape.events["end"][event])]
    opposite = (keys & KIND_MASK == enums.RECORD_ADD) & ((keys & SIDE_BIT != 0) != segment.side)
    ticks = keys >> TICK_SHIFT
    return bool((opposite & (ticks <= segment.tick if segment.side == enums.BID else ticks >= segment.tick)).any())
