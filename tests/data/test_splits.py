"""Day splits: in order, disjoint, and the same for the same days."""

import datetime as dt
import hashlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bt_gym.data.splits import DaySplit, split_days
from bt_gym.errors import ConfigError

MONDAY = dt.date(2026, 1, 5)
DAYS = [MONDAY + dt.timedelta(days=count) for count in range(20)]


def numbers(split: DaySplit) -> list[list[int]]:
    """Days as their number in DAYS."""
    return [[DAYS.index(day) for day in part] for part in (split.train, split.validation, split.test)]


def test_split_days__worked_by_hand() -> None:
    assert numbers(split_days(DAYS)) == [list(range(14)), [14, 15, 16], [17, 18, 19]]
    assert numbers(split_days(DAYS, validation=2, test=5, embargo=1)) == [
        list(range(11)),
        [12, 13],
        [15, 16, 17, 18, 19],
    ]
    assert numbers(split_days(DAYS, validation=0, test=1, embargo=3)) == [list(range(16)), [], [19]]
    assert numbers(split_days(DAYS[:3], validation=0.01, test=0.01)) == [[0], [1], [2]]
    assert numbers(split_days(DAYS, validation=0, test=0)) == [list(range(20)), [], []]


@given(st.permutations(DAYS), st.integers(0, 6), st.integers(0, 6), st.integers(0, 3), st.integers(1, 20))
def test_split_days__is_chronological_disjoint_and_keeps_its_distance(
    days: list[dt.date], validation: int, test: int, embargo: int, count: int
) -> None:
    days = days[:count]
    gaps = embargo * ((validation > 0) + (test > 0))
    if validation + test + gaps >= len(days):
        with pytest.raises(ConfigError, match="can't be split"):
            split_days(days, validation=validation, test=test, embargo=embargo)
        return
    split = split_days(days + days[:2], validation=validation, test=test, embargo=embargo)
    ordered = sorted(days)
    parts = [[ordered.index(day) for day in part] for part in (split.train, split.validation, split.test)]
    assert [len(parts[1]), len(parts[2])] == [validation, test]
    used = [part for part in parts if part]
    for part in used:
        assert part == list(range(part[0], part[-1] + 1))
    for before, after in pairwise(used):
        assert after[0] - before[-1] == embargo + 1
    assert used[0][0] == 0
    assert used[-1][-1] == len(ordered) - 1 or not test
    assert split == split_days(ordered, validation=validation, test=test, embargo=embargo)


def test_hashes__say_which_days() -> None:
    split = split_days(DAYS)
    assert split.hashes()["test"] == hashlib.sha256(b"2026-01-22\n2026-01-23\n2026-01-24").hexdigest()
    assert split_days(reversed(DAYS)).hashes() == split.hashes()
    assert split_days(DAYS, test=4).hashes()["test"] != split.hashes()["test"]


def test_day_split__refuses_a_day_in_two_splits() -> None:
    with pytest.raises(ConfigError, match="2026-01-05 comes after 2026-01-05"):
        DaySplit((MONDAY,), (), (MONDAY,))
    with pytest.raises(ConfigError, match="in the order of time"):
        DaySplit((DAYS[1],), (DAYS[0],), ())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"test": -1}, "test is -1"),
        ({"test": 1.5}, "a number of days is written 2"),
        ({"validation": True}, "validation is True"),
        ({"validation": float("nan")}, "validation is nan"),
        ({"test": float("inf")}, "test is inf"),
        ({"embargo": -1}, "embargo is -1"),
        ({"embargo": 0.5}, r"embargo is 0\.5"),
        ({"test": 20}, "20 days can't be split"),
    ],
)
def test_split_days__refuses_what_makes_no_sense(options: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        split_days(DAYS, **options)
