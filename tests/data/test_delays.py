"""Percentiles of receive delays against a sorted list."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bt_gym.data import dbn
from bt_gym.data.delays import TYPES, Delays

pytestmark = pytest.mark.kernel

NS = st.one_of(st.integers(-2_000, 3_000), st.integers(-(2**31), 2**31 - 1))


def records(delays: list[int], action: str = "A", **columns: int) -> np.ndarray:
    start = 1_700_000_000_000_000_000
    times = {"ts_event": start, "ts_recv": start + np.array(delays, np.int64), "ts_in_delta": delays}
    return dbn.mbo_records(len(delays), action=ord(action), **times | columns)


@given(st.lists(NS, min_size=1, max_size=60), st.lists(st.integers(0, 60), max_size=3))
@example([0], [])
@example([2**31 - 1, -(2**31)], [1])
def test_percentiles__are_those_of_a_sorted_list_to_one_in_a_thousand(delays: list[int], cuts: list[int]) -> None:
    collected = Delays()
    for chunk in np.split(records(delays), sorted(cuts)):
        collected.feed(chunk)
    for summary in collected.table()["add"].values():
        assert summary["count"] == len(delays)
        assert summary["negative"] == sum(delay < 0 for delay in delays)
        assert summary["largest"] == max(delays)
        for percentile in (50, 90, 99):
            exact = int(np.percentile(delays, percentile, method="inverted_cdf"))
            assert abs(summary[f"p{percentile}"] - exact) <= abs(exact) / 1000
            assert abs(exact) > 1023 or summary[f"p{percentile}"] == exact


def test_types__are_counted_apart() -> None:
    collected = Delays()
    for number, kind in enumerate(TYPES.values()):
        collected.feed(records([number] * (number + 1), chr(kind)))
    collected.feed(records([99], "N"))
    table = collected.table()
    assert [(row["receive"]["count"], row["publish"]["p99"]) for row in table.values()] == [
        (number + 1, number) for number in range(5)
    ]


@pytest.mark.parametrize("columns", [{"flags": 32}, {"flags": 8}, {"flags": 128 | 8}, {"ts_recv": -1}])
def test_records__that_tell_no_delay_are_left_out(columns: dict[str, int]) -> None:
    collected = Delays()
    collected.feed(records([5], **columns))
    assert collected.table() == {}


def test_records__without_ts_event_still_tell_when_they_were_sent() -> None:
    collected = Delays()
    collected.feed(records([5], ts_event=-1))
    assert collected.table()["add"]["receive"]["count"] == 0
    assert collected.table()["add"]["publish"]["p50"] == 5
