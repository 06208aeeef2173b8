"""Scores: means by day, bootstrap intervals with a known answer, and the table."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from agents.scores import Interval, Scores, day_means, difference, interval, table


def scores(name: str, pnl: np.ndarray, days: np.ndarray, trades: float = 2.0) -> Scores:
    full = np.full(pnl.shape, trades)
    return Scores(name, pnl, full, full / 2, full, np.ones(pnl.shape), days)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(-99, 99)), min_size=1, max_size=40))
def test_day_means__equals_the_obvious_loop(windows: list[tuple[int, int]]):
    days, values = (np.array(column) for column in zip(*windows, strict=True))
    wanted = [np.mean([value for day, value in windows if day == d]) for d in sorted(set(days.tolist()))]
    np.testing.assert_allclose(day_means(values[None].astype(float), days), [wanted])


def test_interval__of_equal_days_has_no_width():
    assert interval(np.full((3, 7), 2.5)) == Interval(2.5, pytest.approx(2.5), pytest.approx(2.5))


def test_interval__of_days_is_that_of_the_mean():
    """Of D independent days with standard deviation s the mean has s / sqrt(D): +- 1.96 of it is 95 %."""
    by_day = np.random.default_rng(3).normal(1.0, 2.0, (1, 400))
    found = interval(by_day)
    error = by_day.std() / np.sqrt(400)
    assert found.mean == by_day.mean()
    assert found.low == pytest.approx(found.mean - 1.96 * error, abs=0.1 * error)
    assert found.high == pytest.approx(found.mean + 1.96 * error, abs=0.1 * error)


def test_interval__widens_where_seeds_differ_though_days_are_equal():
    """Five seeds of mean 0 and standard deviation s: the mean of five drawn ones has s / sqrt(5)."""
    by_seed = np.repeat([[-2.0], [-1.0], [0.0], [1.0], [2.0]], 50, axis=1)
    found = interval(by_seed)
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.sqrt(2) / np.sqrt(5), rel=0.05)


def test_interval__covers_the_truth_as_often_as_it_says():
    """Of 300 samples of 30 days about 95 % cover it; 30 days are few, so a little less: at least 91 %."""
    random = np.random.default_rng(5)
    hits = 0
    for sample in range(300):
        found = interval(random.normal(0.7, 1.0, (1, 30)), draws=1000, seed=sample)
        hits += found.low <= 0.7 <= found.high
    assert 0.91 <= hits / 300 <= 0.985


def test_interval__is_the_same_each_time():
    by_day = np.random.default_rng(1).normal(size=(2, 9))
    assert interval(by_day) == interval(by_day)


def test_difference__takes_the_days_luck_out():
    days = np.repeat(np.arange(20), 5)
    luck = np.random.default_rng(2).normal(0, 50, 20)[days]
    base = scores("base", luck[None], days)
    better = scores("better", luck[None] + 1.0, days)
    found = difference(better, base)
    assert found == Interval(pytest.approx(1.0), pytest.approx(1.0), pytest.approx(1.0))
    alone = interval(better.by_day)
    assert alone.high - alone.low > 10


def test_difference__refuses_other_windows():
    one = scores("a", np.zeros((1, 3)), np.array([0, 0, 1]))
    with pytest.raises(ValueError, match="a and b were scored on different windows"):
        difference(one, scores("b", np.zeros((1, 3)), np.array([0, 1, 1])))


def test_table__labels_what_does_not_trade():
    days = np.arange(4)
    rows = [
        scores("do nothing", np.zeros((1, 4)), days, trades=0),
        scores("timid", np.ones((1, 4)), days, trades=0.99),
        scores("busy", np.full((2, 4), -3.0), days, trades=1.0),
    ]
    console = Console(width=140)
    with console.capture() as capture:
        console.print(table(rows, "do nothing"))
    lines = [line for line in capture.get().splitlines() if any(row.name in line for row in rows)][1:]
    assert ["not trading" in line for line in lines] == [True, True, False]
    assert "-3.00 [-3.00, -3.00]" in lines[2]
    assert "+1.00 [+1.00, +1.00]" in lines[1]
    assert "50%" in lines[2]
