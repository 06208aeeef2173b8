"""Episode windows: where on a tape an episode may begin, and until when it lasts.

A window is chosen by what is known when it begins: the clock, the phase, and how much has happened before. Its own
future plays no part, or an agent would be trained and judged on hours that were picked by hindsight: a window that an
interruption of trading cuts into is kept. Who wants it otherwise (`interruptions="refuse"`) is told so in the report.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from bt_gym.core import enums
from bt_gym.core.tape import receive_delays
from bt_gym.data.symbology import EPOCH, NS_PER_DAY
from bt_gym.errors import ConfigError

SECOND = 1_000_000_000

window_dtype = np.dtype(
    [
        ("day", "<i8"),  # number of the tape in the sequence that was given
        ("event", "<i8"),  # first event of that tape that happens at or after `start`
        ("start", "<i8"),  # ns UTC
        ("end", "<i8"),  # ns UTC, exclusive
    ]
)

REASONS = ("not continuous at the start", "too quiet before the start", "interrupted", "beyond the data")


@dataclass(frozen=True)
class WindowRule:
    """Which windows there are.

    >>> WindowRule(length_s=300, stride_s=60, hours=("08:30", "15:00"), zone="America/Chicago", min_events=100).words
    '300 s every 60 s, 08:30-15:00 America/Chicago, at least 100 events in the 60 s before, by what came before'
    """

    length_s: float  # of a window
    stride_s: float | None = None  # from start to start; None: `length_s`, one window after the other
    hours: tuple[str, str] | None = None
    """Local time of day, `("08:30", "15:00")`, in which a window must lie; an end before the beginning is on the next
    day. None: from the first continuous event to the last event."""
    zone: str = "UTC"  # of `hours`, IANA name
    min_events: int = 0  # received in the `lookback_s` before the start
    min_trades: int = 0  # events with trades, likewise
    lookback_s: float = 60
    interruptions: str = "keep"  # windows with a halt in them: "keep", or "refuse", which looks ahead

    def __post_init__(self) -> None:
        """Refuses what makes no sense."""
        for name in ("length_s", "stride_s", "lookback_s"):
            value = getattr(self, name)
            if not (value is None and name == "stride_s") and not 1e-9 <= value <= 1e6:
                raise ConfigError(f"{name} is {value!r}, but must be a number of seconds above 0, 1e6 at most")
        for name in ("min_events", "min_trades"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)!r}, but must be a whole number from 0")
        if self.interruptions not in ("keep", "refuse"):
            raise ConfigError(f"interruptions is {self.interruptions!r}, but must be keep or refuse")
        try:
            ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ConfigError(f"zone is {self.zone!r}, but must be an IANA name such as America/Chicago") from None
        for time in self.hours or ():
            _time_of_day(time)

    @property
    def words(self) -> str:
        """The rule, for reports."""
        parts = [f"{self.length_s:g} s every {self.stride_s or self.length_s:g} s"]
        parts.append(f"{'-'.join(self.hours)} {self.zone}" if self.hours else "all hours")
        least = [
            f"{count} {name}" for count, name in ((self.min_events, "events"), (self.min_trades, "trades")) if count
        ]
        if least:
            parts.append(f"at least {' and '.join(least)} in the {self.lookback_s:g} s before")
        looks_ahead = self.interruptions == "refuse"
        parts.append("no interruption in them (by hindsight)" if looks_ahead else "by what came before")
        return ", ".join(parts)


@dataclass(frozen=True)
class Windows:
    """The windows that a rule finds, and how many it refuses, for which reason (the first one in `REASONS`)."""

    rule: WindowRule
    rows: np.ndarray  # (W,) of window_dtype, by day and start
    refused: dict[str, int]

    @property
    def candidates(self) -> int:
        """How many windows the clock allows."""
        return len(self.rows) + sum(self.refused.values())

    def to_dict(self) -> dict[str, Any]:
        """The same as `report`, for `json.dumps`: how many, the rule, and how many were refused by reason."""
        return {
            "rule": self.rule.words,
            "windows": len(self.rows),
            "candidates": self.candidates,
            "refused": self.refused,
        }

    def report(self) -> str:
        """The rule and the share of refused windows, in one line."""
        count = sum(self.refused.values())
        share = f"{count / self.candidates:.1%}" if self.candidates else "none"
        why = ", ".join(f"{name}: {number:,}" for name, number in self.refused.items() if number)
        text = f"{len(self.rows):,} windows ({self.rule.words}); refused {share} of {self.candidates:,}"
        return text + (f" ({why})" if why else "")


def find_windows(tapes: Sequence[np.ndarray], rule: WindowRule) -> Windows:
    """Finds the windows of some tapes.

    Args:
        tapes: the events (E,) of each, `core.tape.event_dtype`; one or several days.
        rule: which windows.

    Returns:
        They are on a grid: starts lie whole strides after the beginning of the hours.
    """
    found, refused = [np.zeros(0, window_dtype)], np.zeros(len(REASONS), np.int64)
    for day, events in enumerate(tapes):
        if not len(events):
            continue
        length, stride = _ns(rule.length_s), _ns(rule.stride_s or rule.length_s)
        starts = [np.arange(begin, end - length + 1, stride) for begin, end in _spans(events, rule)]
        start = np.concatenate([np.zeros(0, np.int64), *starts])
        reason = _judge(events, start, start + length, rule)
        refused += np.bincount(reason[reason >= 0], minlength=len(REASONS))
        rows = np.zeros(np.count_nonzero(reason < 0), window_dtype)
        rows["day"] = day
        rows["start"] = start[reason < 0]
        rows["end"] = rows["start"] + length
        rows["event"] = np.searchsorted(events["ts_event"], rows["start"], "left")
        found.append(rows)
    counts = dict(zip(REASONS, map(int, refused), strict=True))
    return Windows(rule, np.concatenate(found), counts)


def _judge(events: np.ndarray, start: np.ndarray, end: np.ndarray, rule: WindowRule) -> np.ndarray:
    """(W,) number of the first reason against each window, -1: none. Times in ns, (W,)."""
    times = events["ts_event"]
    received = times + receive_delays(events)
    continuous = events["flags"] & enums.PHASE_MASK == enums.PHASE_CONTINUOUS
    reason = np.full(len(start), -1)
    reason[end > times[-1] + 1] = 3
    if rule.interruptions == "refuse":
        breaks = times[~continuous]
        happened = np.searchsorted(times, start, "left")
        reason[(happened > 0) & ~continuous[np.maximum(happened - 1, 0)]] = 2
        reason[np.searchsorted(breaks, start, "left") < np.searchsorted(breaks, end, "left")] = 2
    before = np.searchsorted(received, start, "left")  # events known at the start
    since = np.searchsorted(received, start - _ns(rule.lookback_s), "left")
    trades = received[events["flags"] & enums.EVENT_TRADE != 0]
    quiet = before - since < rule.min_events
    quiet |= (
        np.searchsorted(trades, start, "left") - np.searchsorted(trades, start - _ns(rule.lookback_s), "left")
        < rule.min_trades
    )
    reason[quiet] = 1
    reason[(before == 0) | ~continuous[np.maximum(before - 1, 0)]] = 0
    return reason


def _spans(events: np.ndarray, rule: WindowRule) -> list[tuple[int, int]]:
    """The hours [begin, end) ns on the days of a tape, in the order of time."""
    times = events["ts_event"]
    if rule.hours is None:
        trading = times[events["flags"] & enums.PHASE_MASK == enums.PHASE_CONTINUOUS]
        return [(int(trading[0]), int(times[-1]) + 1)] if len(trading) else []
    first, last = (EPOCH + dt.timedelta(days=int(ts) // NS_PER_DAY) for ts in (times[0], times[-1]))
    spans = []
    for number in range(-2, (last - first).days + 2):  # a local day may begin on the UTC day before or after
        day = first + dt.timedelta(days=number)
        begin, end = _local(day, rule.hours[0], rule.zone), _local(day, rule.hours[1], rule.zone)
        if end <= begin:
            end = _local(day + dt.timedelta(days=1), rule.hours[1], rule.zone)
        if begin <= times[-1] and times[0] < end:
            spans.append((begin, end))
    return spans


def _local(day: dt.date, time: str, zone: str) -> int:
    """ns UTC of a local time of day; of a time that a clock change skips or repeats, the first one."""
    moment = dt.datetime.combine(day, _time_of_day(time), ZoneInfo(zone)).astimezone(dt.UTC)
    whole = moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    return whole.days * NS_PER_DAY + whole.seconds * SECOND


def _time_of_day(text: str) -> dt.time:
    try:
        time = dt.time.fromisoformat(text)
    except (ValueError, TypeError):
        raise ConfigError(f"hours has {text!r}, but must be times of day such as 08:30") from None
    if time.tzinfo is not None or time.microsecond:
        raise ConfigError(f"hours has {text!r}, but must be times of day in whole seconds; the zone stands in `zone`")
    return time


def _ns(seconds: float) -> int:
    return round(seconds * SECOND)
