"""Episode windows, against an obvious twin that looks at one window at a time, and by hand."""

import datetime as dt
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bt_gym.core import enums
from bt_gym.core.tape import event_dtype
from bt_gym.data.synthetic import generate
from bt_gym.data.windows import REASONS, SECOND, WindowRule, find_windows
from bt_gym.errors import ConfigError
from tests.data.compiled import compile_array
from tests.runs import THIN

CONTINUOUS, HALT, PRE_OPEN = enums.PHASE_CONTINUOUS, enums.PHASE_HALT, enums.PHASE_PRE_OPEN
MIDNIGHT = int(dt.datetime(2026, 1, 5, tzinfo=dt.UTC).timestamp()) * SECOND


def events_of(*rows: tuple[float, int, float, bool]) -> np.ndarray:
    """Events from (second of the day, phase, delay in s, trade)."""
    events = np.zeros(len(rows), event_dtype)
    for event, (second, phase, delay, trade) in zip(events, rows, strict=True):
        event["ts_event"] = MIDNIGHT + round(second * SECOND)
        event["delay"] = round(delay * SECOND)
        event["flags"] = phase | (enums.EVENT_TRADE if trade else 0)
    return events


def trading(*seconds: float, delay: float = 0.0) -> np.ndarray:
    return events_of(*[(second, CONTINUOUS, delay, False) for second in seconds])


def starts(events: np.ndarray, **rule: object) -> list[float]:
    """Seconds of the day at which windows begin."""
    found = find_windows([events], WindowRule(**rule))  # type: ignore[arg-type]
    return [(int(start) - MIDNIGHT) / SECOND for start in found.rows["start"]]


# --- by hand


def test_windows__lie_on_a_grid_from_the_first_continuous_event_to_the_last_one() -> None:
    events = events_of(
        (0, PRE_OPEN, 0, False), *[(s, CONTINUOUS, 0, False) for s in range(10, 41)], (50, HALT, 0, False)
    )
    assert starts(events, length_s=10) == [20.0, 30.0, 40.0]  # at 10 nothing continuous is known yet
    assert starts(events, length_s=10, stride_s=5) == [15.0, 20.0, 25.0, 30.0, 35.0, 40.0]
    rows = find_windows([events[:0], events], WindowRule(length_s=10)).rows
    assert rows["day"].tolist() == [1, 1, 1]
    assert (rows["end"] - rows["start"]).tolist() == [10 * SECOND] * 3
    assert events["ts_event"][rows["event"]].tolist() == rows["start"].tolist()


def test_windows__hours_of_a_zone_follow_its_clock_changes() -> None:
    """Chicago goes over to summer time on 2026-03-08: 08:30 is 14:30 UTC before and 13:30 UTC after it."""
    for day, hour in (((2026, 3, 6), 14), ((2026, 3, 9), 13)):
        midnight = int(dt.datetime(*day, tzinfo=dt.UTC).timestamp())
        events = np.zeros(24 * 60, event_dtype)
        events["ts_event"] = (midnight + 60 * np.arange(24 * 60)) * SECOND
        events["flags"] = CONTINUOUS
        rule = WindowRule(length_s=1800, hours=("08:30", "15:00"), zone="America/Chicago")
        rows = find_windows([events], rule).rows
        assert len(rows) == 13
        assert rows["start"][0] == (midnight + hour * 3600 + 1800) * SECOND
        local = dt.datetime.fromtimestamp(rows["end"][-1] // SECOND, ZoneInfo("America/Chicago"))
        assert (local.hour, local.minute) == (15, 0)


def test_windows__hours_may_cross_midnight_and_days() -> None:
    events = trading(*range(0, 3 * 86_400, 600))
    found = starts(events, length_s=3600, hours=("22:00", "01:00"))
    assert [second / 3600 for second in found] == [22, 23, 24, 46, 47, 48, 70]  # 71: the data end


def test_windows__activity_is_what_was_received_before() -> None:
    events = trading(8.2, 8.6, 8.9, 9.4, 9.5, 20.0, delay=0.3)
    # at 9: received at 8.5 and 8.9, not the one of 8.9; at 10: those of 8.9, 9.4, 9.5
    rule = {"length_s": 1, "hours": ("00:00:09", "00:00:11"), "lookback_s": 1}
    assert starts(events, **rule, min_events=2) == [9.0, 10.0]
    assert starts(events, **rule, min_events=3) == [10.0]
    assert starts(events, **rule, min_events=4) == []
    assert starts(events, **rule, min_trades=1) == []


def test_windows__interruptions_are_kept_or_refused() -> None:
    rows = [(s, HALT if 25 <= s < 28 else CONTINUOUS, 0, False) for s in range(10, 60)]
    events = events_of(*rows)
    assert starts(events, length_s=5, stride_s=4) == [14.0, 18.0, 22.0, *range(30, 55, 4)]
    refuse = {"interruptions": "refuse"}
    assert starts(events, length_s=5, **refuse) == [15.0, 20.0, 30.0, 35.0, 40.0, 45.0, 50.0]
    assert starts(events, length_s=5, stride_s=4, **refuse) == [14.0, 18.0, *range(30, 55, 4)]
    found = find_windows([events], WindowRule(length_s=5, stride_s=4, interruptions="refuse"))
    assert found.refused == {
        "not continuous at the start": 2,  # the first, and the one in the halt
        "too quiet before the start": 0,
        "interrupted": 1,
        "beyond the data": 0,
    }
    assert found.report() == (
        "9 windows (5 s every 4 s, all hours, no interruption in them (by hindsight)); "
        "refused 25.0% of 12 (not continuous at the start: 2, interrupted: 1)"
    )


def test_windows__never_beyond_the_data() -> None:
    events = trading(*range(100))
    found = find_windows([events], WindowRule(length_s=30, hours=("00:00:10", "00:05")))
    assert [(int(start) - MIDNIGHT) // SECOND for start in found.rows["start"]] == [10, 40]  # the last event is at 99
    assert found.refused["beyond the data"] == 7


def test_report__of_nothing() -> None:
    found = find_windows([trading()], WindowRule(length_s=1, min_events=5, min_trades=2, lookback_s=10))
    assert found.report() == (
        "0 windows (1 s every 1 s, all hours, at least 5 events and 2 trades in the 10 s before, "
        "by what came before); refused none of 0"
    )


# --- twin and invariants

EVENT = st.tuples(
    st.integers(0, 2_000_000_000),
    st.sampled_from([CONTINUOUS, CONTINUOUS, CONTINUOUS, HALT, PRE_OPEN]),
    st.integers(0, 300_000_000),
    st.booleans(),
)
RULE = st.builds(
    WindowRule,
    length_s=st.sampled_from([0.1, 0.5]),
    stride_s=st.sampled_from([None, 0.05, 0.3]),
    hours=st.sampled_from([None, ("00:00", "00:00:02"), ("23:59:59", "00:00:01")]),
    min_events=st.integers(0, 3),
    min_trades=st.integers(0, 2),
    lookback_s=st.sampled_from([0.2, 1.0]),
    interruptions=st.sampled_from(["refuse", "keep"]),
)


def random_events(rows: list[tuple[int, int, int, bool]]) -> np.ndarray:
    rows = sorted(rows)
    events = np.zeros(len(rows), event_dtype)
    received = 0
    for event, (offset, phase, delay, trade) in zip(events, rows, strict=True):
        event["ts_event"] = MIDNIGHT + offset
        received = max(received, MIDNIGHT + offset + delay)
        event["delay"] = received - event["ts_event"]
        event["flags"] = phase | (enums.EVENT_TRADE if trade else 0)
    return events


def obvious(events: np.ndarray, start: int, end: int, rule: WindowRule) -> str | None:
    """Why a window is refused, read off event by event."""
    rows = [(int(e["ts_event"]), int(e["ts_event"]) + int(e["delay"]), int(e["flags"])) for e in events]
    known = [row for row in rows if row[1] < start]
    if not known or known[-1][2] & enums.PHASE_MASK != CONTINUOUS:
        return REASONS[0]
    recent = [row for row in known if row[1] >= start - round(rule.lookback_s * SECOND)]
    if len(recent) < rule.min_events or sum(bool(f & enums.EVENT_TRADE) for _, _, f in recent) < rule.min_trades:
        return REASONS[1]
    if rule.interruptions == "refuse":
        state = [row for row in rows if row[0] < start][-1:] + [row for row in rows if start <= row[0] < end]
        if any(flags & enums.PHASE_MASK != CONTINUOUS for _, _, flags in state):
            return REASONS[2]
    return REASONS[3] if end > rows[-1][0] + 1 else None


@given(st.lists(EVENT, min_size=1, max_size=30), RULE)
def test_find_windows__equals_the_obvious_twin(rows: list, rule: WindowRule) -> None:
    events = random_events(rows)
    found = find_windows([events], rule)
    accepted = set(found.rows["start"].tolist())
    length, stride = round(rule.length_s * SECOND), round((rule.stride_s or rule.length_s) * SECOND)
    refused = dict.fromkeys(REASONS, 0)
    if rule.hours is None:
        trading_ts = [int(e["ts_event"]) for e in events if e["flags"] & enums.PHASE_MASK == CONTINUOUS]
        spans = [(trading_ts[0], int(events["ts_event"][-1]) + 1)] if trading_ts else []
    else:
        first = MIDNIGHT if rule.hours[0] == "00:00" else MIDNIGHT - SECOND
        spans = [(first, first + 2 * SECOND)]
    for begin, end in spans:
        if begin > events["ts_event"][-1] or end <= events["ts_event"][0]:
            continue
        for start in range(begin, end - length + 1, stride):
            why = obvious(events, start, start + length, rule)
            assert (start in accepted) == (why is None)
            if why:
                refused[why] += 1
            accepted.discard(start)
    assert not accepted
    assert found.refused == refused


@given(st.lists(EVENT, min_size=5, max_size=30), RULE, st.integers(0, 29))
def test_find_windows__own_future_changes_nothing(rows: list, rule: WindowRule, pick: int) -> None:
    """Everything received from a window's start on is replaced: it is found as before."""
    rule = WindowRule(**vars(rule) | {"interruptions": "keep"})
    events = random_events(rows)
    found = find_windows([events], rule).rows
    if not len(found):
        return
    window = found[pick % len(found)]
    changed = events.copy()
    later = changed["ts_event"] + changed["delay"] >= window["start"]
    changed["flags"][later] = HALT
    last = np.zeros(1, event_dtype)
    last["ts_event"] = max(int(window["end"]), int(changed["ts_event"][-1]))
    again = find_windows([np.concatenate([changed, last])], rule).rows
    assert window["start"] in again["start"]


def test_find_windows__of_a_synthetic_session() -> None:
    session = generate(3, 60, THIN, pre_open_seconds=10, script=[(20, "halt"), (30, "auction")])
    events = compile_array(session.records).events
    found = find_windows([events], WindowRule(length_s=5, stride_s=2, min_trades=1, lookback_s=10))
    phases = events["flags"] & enums.PHASE_MASK
    assert len(found.rows) >= 4
    for window in found.rows:
        assert window["start"] >= session.opens
        assert phases[events["ts_event"] + events["delay"] < window["start"]][-1] == CONTINUOUS
    trading = find_windows([events], WindowRule(5, 2, min_trades=1, lookback_s=10, interruptions="refuse"))
    assert len(trading.rows) >= 4
    for window in trading.rows:
        inside = (events["ts_event"] >= window["start"]) & (events["ts_event"] < window["end"])
        assert (phases[inside] == CONTINUOUS).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"length_s": 0}, "length_s is 0"),
        ({"length_s": float("nan")}, "length_s is nan"),
        ({"stride_s": -1}, "stride_s is -1"),
        ({"lookback_s": 0}, "lookback_s is 0"),
        ({"min_events": -1}, "min_events is -1"),
        ({"zone": "Mars/Olympus"}, "zone is 'Mars/Olympus'"),
        ({"zone": "../etc/passwd"}, "zone is"),
        ({"hours": ("8.30", "15:00")}, r"hours has '8\.30'"),
        ({"hours": ("08:30", "15:00+01:00")}, "the zone stands in"),
        ({"interruptions": "maybe"}, "must be keep or refuse"),
    ],
)
def test_window_rule__refuses_what_makes_no_sense(options: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        WindowRule(**{"length_s": 1} | options)
