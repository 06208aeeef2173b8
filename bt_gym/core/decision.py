"""One strategy on one instrument: on to the next moment at which it has something to decide.

`next_call` lets the exchange work up to that moment, books the reports known by then, receives the market and keeps the
loss limit: everything but the decision itself, in one call. At equal times a market event comes first, then news of own
orders (those known before that very time come right behind the event), then the decision clock.

A strategy may be stationary: its answer to the clock depends on what it is shown alone. What it has answered with
nothing is then not asked again before something has been received: an event, whether it wants events or not, a report,
news from elsewhere. The strokes up to there are passed over, at no cost. Not so while it is watched: limits of the run
may then stop it from outside, in the order of all strategies' strokes.
"""

import numpy as np

from bt_gym._jit import njit
from bt_gym.core import enums
from bt_gym.core.execution import FOREVER, book_fill, deliver
from bt_gym.core.execution import run as run_exchange
from bt_gym.core.market import count_received, move, received_at
from bt_gym.core.position_manager import enforce, next_action
from bt_gym.core.risk import watch
from bt_gym.core.tape import KIND_MASK, SIDE_BIT, TICK_SHIFT

desk_dtype = np.dtype(
    [
        ("kinds", "<i8"),  # enums.EVENT_* that the strategy is called for
        ("wants_news", "<i8"),  # 1: reports about its orders call it
        ("limits_loss", "<i8"),  # 1: the account has a loss limit, which acts between calls
        ("is_watched", "<i8"),  # 1: limits of the run watch it: it stops at everything that becomes known
        ("call_due", "<i8"),  # and, compiled, before each call: enums.CALL_*, which comes next
        ("every_ns", "<i8"),  # decision clock: each multiple of so many ns since 1970; 0 none
        ("every_records", "<i8"),  # each so many source records; 0 none
        ("every_trades", "<i8"),  # each so many trades; 0 none
        ("is_stationary", "<i8"),  # 1: a stroke that would show it nothing new need not call it
        ("is_answered", "<i8"),  # 1: the last call was its clock's, asked for nothing, and nothing has happened since
        ("end", "<i8"),  # ns, when the last event is received
        ("wake", "<i8"),  # ns: news from elsewhere; `FOREVER` for none
        ("now", "<i8"),  # ns, time of the last call
        ("strikes_at", "<i8"),  # ns, when the clock strikes next
        ("records_due", "<i8"),  # source records at which it strikes next
        ("trades_due", "<i8"),  # trades likewise
        ("trades", "<i8"),  # up to and including event `stop`
        ("stop", "<i8"),  # next event that calls: the number of events when there is none, -1 before the first look
        ("stop_time", "<i8"),  # ns, when it is received
        ("stop_strikes", "<i8"),  # 1: the clock strikes with it
        ("event_calls", "<i8"),  # 1: what is due at `now` and has not been handed out yet
        ("news_calls", "<i8"),
        ("clock_calls", "<i8"),
        ("first_report", "<i8"),  # reports known before the moment
        ("flattened", "<i8"),  # events received when the position was last sent home; -1 never
    ],
    align=True,
)
"""Where a strategy stands in its run."""

trade_dtype = np.dtype(
    [
        ("price", "<i4"),  # ticks
        ("size", "<i4"),  # lots
        ("aggressor", "<i4"),  # enums.BUY, SELL; -1: auction, or not told
    ],
    align=True,
)
"""A trade as printed."""


def new_desk(
    events: np.ndarray,
    extra_delay: int,
    *,
    kinds: int = 0,
    wants_news: bool = False,
    limits_loss: bool = False,
    every_ns: int = 0,
    every_records: int = 0,
    every_trades: int = 0,
    is_stationary: bool = False,
) -> np.ndarray:
    """A desk before the first event, shape (1,). `events`: (E,) of the tape, E > 0; the rest as in `desk_dtype`."""
    desk = np.zeros(1, desk_dtype)
    desk["kinds"], desk["wants_news"], desk["limits_loss"] = kinds, wants_news, limits_loss
    desk["every_ns"], desk["every_records"], desk["every_trades"] = every_ns, every_records, every_trades
    start, desk["end"] = (int(received_at(events[i], extra_delay)) for i in (0, -1))
    desk["strikes_at"] = (start // every_ns + 1) * every_ns if every_ns else FOREVER
    desk["is_stationary"] = is_stationary and every_ns > 0
    desk["records_due"], desk["trades_due"] = every_records, every_trades
    desk["wake"] = FOREVER
    desk["stop"] = desk["flattened"] = -1
    return desk


@njit
def _count_trades(records, events, number: int) -> int:
    count = 0
    first = np.int64(events[number - 1]["end"]) if number > 0 else np.int64(0)
    for i in range(first, np.int64(events[number]["end"])):
        kind = records[i]["key"] & KIND_MASK
        count += kind == enums.RECORD_TRADE or kind == enums.RECORD_TRADE_N
    return count


@njit
def _find_stop(desk, market, records, events) -> None:
    """The next event behind the last stop that the strategy subscribed to, or with which its clock strikes."""
    kinds = desk["kinds"]
    by_records = desk["every_records"] > 0
    by_trades = desk["every_trades"] > 0
    first = desk["stop"] + 1 if kinds or by_records or by_trades else events.shape[0]
    for number in range(first, events.shape[0]):
        strikes = by_records and events[number]["source"] >= desk["records_due"]
        if by_trades and events[number]["flags"] & enums.EVENT_TRADE:
            desk["trades"] += _count_trades(records, events, number)
            strikes = desk["trades"] >= desk["trades_due"]
        if strikes or events[number]["flags"] & kinds:
            desk["stop"] = number
            desk["stop_time"] = received_at(events[number], market["extra_delay"])
            desk["stop_strikes"] = strikes
            if strikes and by_records:
                source = np.int64(events[number]["source"])
                desk["records_due"] = (source // desk["every_records"] + 1) * desk["every_records"]
            if strikes and by_trades:
                desk["trades_due"] = (desk["trades"] // desk["every_trades"] + 1) * desk["every_trades"]
            return
    desk["stop"] = events.shape[0]
    desk["stop_time"] = FOREVER
    desk["stop_strikes"] = 0


@njit
def learn(account, log, now: int) -> None:
    """Books all reports known by `now` (ns)."""
    start = account["reports_known"]
    for number in range(start, start + deliver(account, log, now)):
        row = log[number & (log.shape[0] - 1)]
        if row["exec_type"] == enums.EXEC_TRADE:
            book_fill(account, row)


@njit
def _hand_out(desk) -> int:
    if desk["event_calls"]:
        desk["event_calls"] = 0
        return enums.CALL_EVENT
    if desk["news_calls"]:
        desk["news_calls"] = 0
        return enums.CALL_NEWS
    if desk["clock_calls"]:
        desk["clock_calls"] = 0
        # unless it asks for something, which whoever sends that takes back
        desk["is_answered"] = desk["is_stationary"] and not desk["is_watched"]
        return enums.CALL_CLOCK
    return enums.CALL_NONE


@njit
def _stroke_from(desk, time: int) -> int:
    """The first stroke at `time` (ns) or later that is still to come."""
    every = desk["every_ns"]
    return max(desk["strikes_at"], (time + every - 1) // every * every)


@njit
def _stroke_with_news(desk, market, events) -> int:
    """The stroke by which the next event has been received; `FOREVER` when there is none left."""
    number = market["event"]
    if number == events.shape[0]:
        return FOREVER
    return _stroke_from(desk, received_at(events[number], market["extra_delay"]))


@njit
def next_call(desk, account, log, market, records, events, blocks, until: int) -> int:
    """Goes on to the next call of the strategy, if it comes by `until` (ns); returns why it is called (enums.CALL_*).

    Its time is `desk["now"]`, its event `desk["stop"]`, its reports those from `desk["first_report"]` to
    `account["reports_known"]`. What the strategy wants has to be sent before the next call of this function.
    With `CALL_NONE` and `desk["now"] == desk["end"]` the data has ended. A desk that is watched also stops, with
    `CALL_BOOKED`, where reports become known that nobody is called for.
    """
    while True:
        why = _hand_out(desk)
        if why != enums.CALL_NONE:
            return why
        if desk["stop"] < market["event"] and desk["stop"] < events.shape[0]:
            _find_stop(desk, market, records, events)
        end = desk["end"]
        is_quiet = desk["is_answered"] != 0
        strikes_at = _stroke_with_news(desk, market, events) if is_quiet else desk["strikes_at"]
        now = min(min(desk["stop_time"], strikes_at), min(desk["wake"], end))
        acts = desk["limits_loss"] or account["goes_home"]
        if acts:
            now = next_action(account, market, events, now)
        if now > until:
            return enums.CALL_NONE
        # Where nothing happens kernels aren't called at all: handing them the arrays takes longer than they do.
        number = account["event"]
        if not (
            (number >= events.shape[0] or events[number]["ts_event"] > now)
            and account["requests_live"] == 0
            and account["reports_known"] == account["reports_written"]
            and account["dated"] == 0
            and account["daily"] == 0
        ):
            can_report = is_quiet or desk["wants_news"] or acts or desk["is_watched"]
            now, is_full = run_exchange(account, log, market, records, events, blocks, now, can_report != 0)
            if is_full:
                return enums.CALL_LOG_FULL
        if is_quiet:
            desk["strikes_at"] = strikes_at if now == strikes_at else _stroke_from(desk, now)
            desk["is_answered"] = 0
        desk["now"] = now
        desk["first_report"] = account["reports_known"]
        is_event = desk["stop_time"] <= now
        if is_event:  # what comes behind it at the same time is not received yet
            move(market, records, events, blocks, desk["stop"] + 1)
            watch(account, market, events)
            learn(account, log, now - 1)
            desk["event_calls"] = events[desk["stop"]]["flags"] & desk["kinds"] != 0
            desk["clock_calls"] = desk["stop_strikes"]
        else:
            number = market["event"]
            if number < events.shape[0] and received_at(events[number], market["extra_delay"]) <= now:
                move(market, records, events, blocks, count_received(events, number, now, market["extra_delay"]))
                watch(account, market, events)
            if account["reports_known"] < account["reports_written"]:
                learn(account, log, now)
        known = now - 1 if is_event else now
        is_booked = account["reports_known"] > desk["first_report"]
        desk["news_calls"] = (is_booked and desk["wants_news"]) or desk["wake"] <= known
        if acts and enforce(account, market, now, market["event"] > desk["flattened"]):
            desk["flattened"] = market["event"]
        if not is_event and desk["strikes_at"] <= now:
            desk["clock_calls"] = 1
            desk["strikes_at"] += desk["every_ns"]
        if not (desk["event_calls"] or desk["news_calls"] or desk["clock_calls"]):
            if is_booked and desk["is_watched"]:
                return enums.CALL_BOOKED
            if now >= end:
                return enums.CALL_NONE


@njit
def read_trades(records, first: int, last: int, out) -> int:
    """Writes the trades among records `first:last` into `out` (n,) of `trade_dtype`, as many as fit; returns how many.

    There may be more than fit: the caller looks at what is returned.
    """
    found = 0
    for i in range(first, last):
        key = records[i]["key"]
        kind = key & KIND_MASK
        if kind == enums.RECORD_TRADE or kind == enums.RECORD_TRADE_N:
            if found < out.shape[0]:
                out[found]["price"] = key >> TICK_SHIFT
                out[found]["size"] = records[i]["size"]
                out[found]["aggressor"] = (
                    -1 if kind == enums.RECORD_TRADE_N else enums.BUY if key & SIDE_BIT else enums.SELL
                )
            found += 1
    return found
