"""Small tapes and execution reports, written by hand or drawn by hypothesis."""

import numpy as np
from hypothesis import strategies as st

from bt_gym.backtest.collector import MetricsCollector
from bt_gym.core import enums
from bt_gym.core.enums import (
    BUY,
    EXEC_NEW,
    EXEC_TRADE,
    LIQUIDITY_MAKER,
    LIQUIDITY_TAKER,
    NO_TICK,
    PHASE_CONTINUOUS,
    SELL,
)
from bt_gym.core.orders import REQUEST_CANCEL, report_dtype
from bt_gym.core.tape import event_dtype
from bt_gym.data.instruments import Instrument

SECOND = 1_000_000_000
FEE = 2_500_000  # per lot
ES = Instrument.from_values("ESH4", tick_size="0.25", multiplier=50)
ODD = Instrument("ODD", tick_size_nanos=1, tick_value_micros=333_333)


def events(*rows, sources=1):
    """Tape events from (ts, bid, ask) or (ts, bid, ask, phase); each has `sources` MBO records."""
    result = np.zeros(len(rows), dtype=event_dtype)
    for i, (ts, bid, ask, *phase) in enumerate(rows):
        result[i]["ts_event"], result[i]["bid"], result[i]["ask"] = ts, bid, ask
        result[i]["flags"] = (phase or [PHASE_CONTINUOUS])[0] | enums.EVENT_QUOTE
        result[i]["source"] = (i + 1) * sources
    return result


def report(ts, side=BUY, size=0, price=0, *, order_id=1, exec_type=None, **values):
    """One execution report: a taker's fill if it has a size, else an acknowledgement."""
    row = np.zeros((), dtype=report_dtype)
    row["exec_type"] = exec_type if exec_type is not None else EXEC_TRADE if size else EXEC_NEW
    if size:
        row["liquidity"] = LIQUIDITY_TAKER
    row["ts_exchange"], row["ts_known"], row["event"] = ts, ts + 10, -1
    row["side"], row["size"], row["price"], row["order_id"] = side, size, price, order_id
    for name, value in values.items():
        row[name] = value
    return row


def reports(*rows):
    return np.stack(rows) if rows else np.zeros(0, report_dtype)


@st.composite
def tapes(draw, max_events=12, span=5 * SECOND):
    """Events with gaps, one-sided and crossed books and phases other than continuous."""
    times = sorted(draw(st.lists(st.integers(0, span), min_size=1, max_size=max_events)))
    sides = st.one_of(st.just(NO_TICK), st.integers(-50, 50))
    phase = st.sampled_from([PHASE_CONTINUOUS] * 4 + [enums.PHASE_HALT, enums.PHASE_PRE_OPEN])
    return events(*((ts, draw(sides), draw(sides), draw(phase)) for ts in times))


@st.composite
def fills(draw, max_fills=12, span=5 * SECOND):
    """Fills in exchange order, at free prices."""
    times = sorted(draw(st.lists(st.integers(0, span), max_size=max_fills)))
    side, liquidity = st.sampled_from([0, 1]), st.sampled_from([LIQUIDITY_MAKER, LIQUIDITY_TAKER])
    rows = [
        report(
            ts,
            draw(side),
            draw(st.integers(1, 9)),
            draw(st.integers(-60, 60)),
            order_id=i + 1,
            liquidity=draw(liquidity),
            fee=draw(st.integers(-7, 50)),
        )
        for i, ts in enumerate(times)
    ]
    return reports(*rows)


def as_tuples(some_fills, tape):
    """The same for the slow twins of `tests.reference.accounting`."""
    rows = [
        (int(f["ts_exchange"]), 1 - 2 * int(f["side"]), int(f["size"]), int(f["price"]), int(f["fee"]))
        for f in some_fills
    ]
    marks = []
    for e in tape:
        continuous = int(e["flags"]) & enums.PHASE_MASK == PHASE_CONTINUOUS
        two_sided = NO_TICK not in (e["bid"], e["ask"]) and e["bid"] < e["ask"]
        marks.append((int(e["ts_event"]), int(e["bid"]) + int(e["ask"]) if two_sided else None, continuous))
    return rows, marks


def collect(tape, rows, name="test", instrument=ES, **values):
    collector = MetricsCollector(name, instrument, tape, **values)
    for row in rows:
        collector.record_reports(row)
    return collector


def hand_made():
    """A bid of 2 is hit at 0.5 s, sold by a taker in two parts at 1.5 s and 2.5 s; the mid walks 101, 103, 99, 101 half
    ticks up from 19,200."""
    tape = events(
        (0, 19200, 19201), (SECOND // 2, 19201, 19202), (2 * SECOND, 19199, 19200), (4 * SECOND, 19200, 19201)
    )
    rows = [
        report(0, BUY, price=19200, leaves=2, order_id=1, event=0),
        report(SECOND // 2, BUY, 2, 19200, order_id=1, event=1, liquidity=LIQUIDITY_MAKER, fee=2 * FEE),
        report(3 * SECOND // 2, SELL, price=19000, leaves=1, order_id=2, event=1),
        report(3 * SECOND // 2, SELL, 1, 19201, order_id=2, event=1, fee=FEE),
        report(5 * SECOND // 2, SELL, price=19000, leaves=1, order_id=3, event=2),
        report(5 * SECOND // 2, SELL, 1, 19199, order_id=3, event=2, fee=FEE),
        report(3 * SECOND, SELL, price=19300, leaves=3, order_id=4, event=2),
    ]
    collector = collect(tape, rows)
    collector.record_refusal(3 * SECOND, 5, enums.REASON_MAX_POSITION, side=BUY, price=19100)
    collector.record_refusal(3 * SECOND, 9, enums.REASON_UNKNOWN_ORDER, request=REQUEST_CANCEL)
    return collector
