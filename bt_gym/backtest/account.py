"""What one strategy did on one instrument, from its execution reports: fills, positions, equity, round trips.

Everything here is an integer: ns, ticks, lots, and money in 1e-6 of the currency ("micros"). Two conventions matter:

* Time is exchange time. The state at `t` holds every fill and every event with a time <= `t`.
* Marks come from the tape's own book (`core.marks`). It is valid when the phase is continuous, both sides exist and
  bid < ask; otherwise the last valid one is kept and flagged as stale. Own orders never move it.

Letters: E events of the tape, F fills, S samples of the equity curve, T round trips.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from bt_gym._jit import allocating, njit
from bt_gym.backtest import valuation
from bt_gym.core.enums import (
    EXEC_TRADE,
    MARK_LAST,
    MARK_MICROPRICE,
    MARK_MID,
    NO_TICK,
    PHASE_CONTINUOUS,
    PHASE_MASK,
    SELL,
)
from bt_gym.core.execution import Session
from bt_gym.core.positions import apply_fill, position_dtype, worth
from bt_gym.data.proof import Proof
from bt_gym.errors import CapacityError

NO_MARK = -(1 << 62)
"""There has been no valid mark yet."""

SECOND_NS = 1_000_000_000


class InstrumentFacts(Protocol):
    """The facts of an instrument that accounting needs."""

    @property
    def symbol(self) -> str: ...
    @property
    def tick_value_micros(self) -> int: ...  # as `core.orders.models_dtype` has it
    @property
    def tick_size_nanos(self) -> int: ...  # 1e-9 of the price unit


curve_dtype = np.dtype(
    [
        ("ts", "<i8"),  # ns UTC, a multiple of the sampling interval
        ("equity", "<i8"),  # 1e-6 of the currency: cash + position at the mark - fees
        ("position", "<i8"),  # signed lots
        ("cash", "<i8"),  # 1e-6, fees excluded
        ("fees", "<i8"),  # 1e-6, paid so far
        ("mark", "<f8"),  # ticks; 0 before the first
        ("mark2", "<i8"),  # twice the mark in ticks, of a microprice twice the mid; NO_MARK before the first
        ("mark_is_stale", "?"),  # the book has no valid mid at this moment
        ("trading", "?"),  # the market is in continuous trading at this moment
    ]
)
"""One sample of the equity curve: the last value at or before `ts`."""

trip_dtype = np.dtype(
    [
        ("open_fill", "<i8"),  # row of the fill that opened the lots
        ("close_fill", "<i8"),  # row of the fill that closed them
        ("size", "<i8"),  # lots, > 0
        ("pnl", "<i8"),  # 1e-6, all lots, net of their share of both fills' fees
        ("duration", "<i8"),  # ns from opening to closing
    ]
)
"""Lots opened by one fill and closed by another, first in first out. Each lot is one round trip."""


class Marks:
    """The mid of a tape, and the book behind it, at any event or time."""

    def __init__(self, events: np.ndarray) -> None:
        self._times = np.ascontiguousarray(events["ts_event"])
        bid, ask = events["bid"], events["ask"]
        self.trading = (events["flags"] & PHASE_MASK) == PHASE_CONTINUOUS
        self.valid = self.trading & (bid != NO_TICK) & (ask != NO_TICK) & (bid < ask)
        self._rows = np.flatnonzero(self.valid)
        self._bid, self._ask = bid[self._rows].astype(np.int64), ask[self._rows].astype(np.int64)

    def event_at(self, ts: np.ndarray) -> np.ndarray:
        """Number of the last event at or before `ts` (ns), -1 when there is none."""
        return np.searchsorted(self._times, ts, side="right") - 1

    def after_event(self, event: np.ndarray) -> np.ndarray:
        """Last valid mid, doubled, once `event` has been applied; NO_MARK when there is none."""
        quotes = self.quotes_after(event)
        return np.where(quotes["mark2"] == NO_TICK, NO_MARK, quotes["mark2"])

    def quotes_after(self, event: np.ndarray) -> np.ndarray:
        """Last valid prices once `event` has been applied: (n,) of `valuation.quote_dtype` without sizes and trades."""
        row = np.searchsorted(self._rows, event, side="right") - 1
        known = row >= 0
        quotes = np.zeros(len(row), valuation.quote_dtype)
        quotes["mark2"] = NO_TICK
        quotes["mark_bid"][known], quotes["mark_ask"][known] = self._bid[row[known]], self._ask[row[known]]
        quotes["mark2"][known] = quotes["mark_bid"][known] + quotes["mark_ask"][known]
        return quotes


@dataclass(frozen=True)
class Account:
    """The history of one strategy on one instrument. `fills` are in exchange order."""

    strategy: str
    instrument: InstrumentFacts
    events: np.ndarray  # (E,) event_dtype, the tape; E > 0
    reports: np.ndarray  # report_dtype, in the order recorded
    interval_ns: int = SECOND_NS  # clock of the equity curve
    days: int = 1  # trading days that the tape covers
    strategy_metrics: Sequence[tuple[int, str, float | None]] = ()  # the strategy's own: (ns, name, value)
    proof: Proof | None = None  # which levels of the tape are known completely; None: all
    stopped: tuple[int, int] | None = None  # when (ns, receive clock) and why (enums.REASON_*) its trading was stopped
    mark: int = MARK_MID  # enums.MARK_*: what positions are valued at
    tape: Session | None = None  # needed for the marks last and microprice

    @property
    def symbol(self) -> str:
        return self.instrument.symbol

    @property
    def tick_value(self) -> int:
        """1e-6 of the currency per tick and lot; of an inverse instrument see `core.orders.models_dtype`."""
        return int(self.instrument.tick_value_micros)

    @cached_property
    def fills(self) -> np.ndarray:
        """(F,) report_dtype: the reports that are trades, by exchange time (equal times as recorded)."""
        fills = self.reports[self.reports["exec_type"] == EXEC_TRADE]
        return fills[np.argsort(fills["ts_exchange"], kind="stable")]

    @cached_property
    def marks(self) -> Marks:
        return Marks(self.events)

    @cached_property
    def positions(self) -> np.ndarray:
        """(F + 1,) position_dtype: before the first fill and after each one.

        Raises:
            CapacityError: an amount doesn't fit int64 micros.
        """
        fills = self.fills
        signed = _signed(fills)
        price = fills["price"].astype(np.int64)
        lots = max(int(np.abs(np.cumsum(signed)).max(initial=0)), int(np.abs(signed).max(initial=0)))
        value = lots * int(np.abs(price).max(initial=0)) * self.tick_value
        cash = int(np.abs(np.cumsum(signed * price)).max(initial=0)) * self.tick_value
        if self.tick_value < 0:  # an inverse lot is worth less than this at any price
            value = cash = lots * -self.tick_value
        if max(value * lots, 2 * value, cash) >= 1 << 62:  # `apply_fill` multiplies a cost by the lots closed
            raise CapacityError(
                f"{self.strategy} on {self.symbol}: {lots} lots worth {value / 1e6:.3g}, cash {cash / 1e6:.3g}: "
                f"too much for 64-bit integers of 1e-6; lower max_position"
            )
        positions = np.zeros(len(fills) + 1, dtype=position_dtype)
        _book_fills(fills, self.tick_value, positions)
        return positions

    @cached_property
    def trips(self) -> np.ndarray:
        """(T,) trip_dtype: closed lots, matched first in first out."""
        trips = np.zeros(2 * len(self.fills), dtype=trip_dtype)
        return trips[: _match_lots(self.fills, self.tick_value, trips)]

    @cached_property
    def span(self) -> tuple[int, int] | None:
        """(start, end) in ns: the first event in continuous trading or an earlier fill, the last event; or None."""
        times, fill_times = self.events["ts_event"], self.fills["ts_exchange"]
        starts = [*times[self.marks.trading][:1].tolist(), *fill_times[:1].tolist()]
        return (min(starts), max([int(times[-1]), *fill_times[-1:].tolist()])) if starts else None

    @cached_property
    def curve(self) -> np.ndarray:
        """(S,) curve_dtype: samples at whole multiples of the interval, from the one at or before the start of trading
        to the first at or after the end of the data, which therefore holds the final equity. Empty without trading."""
        if self.span is None:
            return np.zeros(0, dtype=curve_dtype)
        first = self.span[0] // self.interval_ns
        last = max(-(-self.span[1] // self.interval_ns), first + 1)
        ts = np.arange(first, last + 1, dtype=np.int64) * self.interval_ns
        fill_row = np.searchsorted(self.fills["ts_exchange"], ts, side="right")
        event = self.marks.event_at(ts)
        curve = np.zeros(len(ts), dtype=curve_dtype)
        curve["ts"] = ts
        for name, source in (("position", "size"), ("cash", "cash"), ("fees", "fees")):
            curve[name] = self.positions[source][fill_row]
        quotes, held = self._quotes(event, fill_row), curve["position"]
        curve["equity"] = curve["cash"] + valuation.values(quotes, held, self.tick_value, self.mark) - curve["fees"]
        none = quotes["mark2"] == NO_TICK
        curve["mark"] = np.where(none, 0, valuation.prices(quotes, held, self.mark))
        curve["mark2"] = quotes["mark2"] if self.mark == MARK_MICROPRICE else 2 * curve["mark"]
        curve["mark2"][none] = NO_MARK
        curve["mark_is_stale"] = (event < 0) | ~self.marks.valid[event]
        curve["trading"] = (event >= 0) & self.marks.trading[event]
        return curve

    def equity_at(self, ts: int) -> int:
        """Equity in 1e-6 of the currency at `ts` (ns), all fills and events up to then included."""
        when = np.array([ts], dtype=np.int64)
        fill_row = np.searchsorted(self.fills["ts_exchange"], when, side="right")
        state = self.positions[fill_row]
        quotes = self._quotes(self.marks.event_at(when), fill_row)
        value = valuation.values(quotes, state["size"], self.tick_value, self.mark)
        return int((state["cash"] + value - state["fees"])[0])

    @cached_property
    def final_value(self) -> int:
        """What the position is worth at the end of the data, 1e-6 of the currency."""
        quotes = self._quotes(np.array([len(self.events) - 1]), np.array([len(self.fills)]))
        return int(valuation.values(quotes, self.positions["size"][-1:], self.tick_value, self.mark)[0])

    def _quotes(self, event: np.ndarray, fill_row: np.ndarray) -> np.ndarray:
        """Quotes after these events, which ascend; before the first an own fill is the only price there is.

        Raises:
            ValueError: the mark needs a tape, and there is none.
        """
        quotes = self.marks.quotes_after(event)
        if self.mark in (MARK_LAST, MARK_MICROPRICE):
            if self.tape is None:
                raise ValueError(f"{self.symbol}: this mark needs the tape's records: give the tape")
            quotes = valuation.quotes_at(self.tape, event)
        missing = (quotes["mark2"] == NO_TICK) & (fill_row > 0)
        price = self.fills["price"][fill_row[missing] - 1].astype(np.int64)
        quotes["mark_bid"][missing] = quotes["mark_ask"][missing] = price
        quotes["mark2"][missing] = 2 * price
        return quotes


def _signed(fills: np.ndarray) -> np.ndarray:
    return (1 - 2 * fills["side"].astype(np.int64)) * fills["size"]


@njit
def _book_fills(fills, tick_value: int, positions) -> None:
    """Writes `positions[1:]`, the state after each fill, from `positions[0]`."""
    for i in range(len(fills)):
        positions[i + 1] = positions[i]
        fill = fills[i]
        size, price = int(fill["size"]), int(fill["price"])  # int32 would overflow with the JIT off
        apply_fill(positions[i + 1], fill["side"], size, price, tick_value, fill["fee"], fill["impact"])


@allocating
def _match_lots(fills, tick_value: int, trips) -> int:
    """Matches closing fills with the oldest open lots. Returns the number of rows written to `trips`.

    Fee and impact of a fill are spread over its lots in order: the lots from a to b bear `cost * b // size -
    cost * a // size`, so that the shares of all lots add up to the cost exactly.
    """
    queue = np.zeros(len(fills), dtype=np.int64)  # rows of fills with open lots, oldest at `head`
    taken = np.zeros(len(fills), dtype=np.int64)  # lots of a fill that are matched already
    head, tail, count = 0, 0, 0
    for i in range(len(fills)):
        size, side = int(fills[i]["size"]), fills[i]["side"]
        while taken[i] < size and head < tail and fills[queue[head]]["side"] != side:
            first = queue[head]
            first_size = int(fills[first]["size"])
            lots = min(size - taken[i], first_size - taken[first])
            entry, exit_ = int(fills[first]["price"]), int(fills[i]["price"])
            gain = worth(lots, exit_, tick_value) - worth(lots, entry, tick_value)
            trip = trips[count]
            trip["open_fill"], trip["close_fill"], trip["size"] = first, i, lots
            trip["duration"] = fills[i]["ts_exchange"] - fills[first]["ts_exchange"]
            trip["pnl"] = gain if side == SELL else -gain
            for row, of in ((first, first_size), (i, size)):
                cost = fills[row]["fee"] + fills[row]["impact"]
                trip["pnl"] -= cost * (taken[row] + lots) // of - cost * taken[row] // of
                taken[row] += lots
            count += 1
            if taken[first] == first_size:
                head += 1
        if taken[i] < size:
            queue[tail] = i
            tail += 1
    return count
