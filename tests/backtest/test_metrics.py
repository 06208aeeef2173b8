"""Formulas: published vectors, twins in plain Python, degenerate inputs."""

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bt_gym.backtest import metrics
from tests.reference.accounting import drawdown

DAILY = [100, -50, 30, -20, 60]
MICROS = st.lists(st.integers(-(10**10), 10**10), min_size=2, max_size=40)


def test_sharpe_ratio__published_vector():
    assert metrics.sharpe_ratio(DAILY, 252) == pytest.approx(6.32351, abs=5e-6)
    assert metrics.sharpe_ratio(DAILY, 252) * math.sqrt(5 / 4) == pytest.approx(7.06990, abs=5e-6)  # with ddof 0


def test_sortino_ratio__published_vector():
    assert metrics.sortino_ratio(DAILY, 252) == pytest.approx(15.81967, abs=5e-6)


def test_max_drawdown__published_vector():
    assert metrics.max_drawdown([0, 5, 3, 8, 2, 9]) == 6


@pytest.mark.parametrize("returns", [[], [1.0], [0, 0, 0], [0.1, 0.1, 0.1]])
def test_sharpe_ratio__is_none_without_variation(returns):
    assert metrics.sharpe_ratio(returns, 252) is None


@pytest.mark.parametrize("returns", [[], [-1.0], [0, 0, 0], [1, 2, 3]])
def test_sortino_ratio__is_none_without_a_loss(returns):
    assert metrics.sortino_ratio(returns, 252) is None


def test_max_drawdown__of_a_rise_or_of_nothing_is_zero():
    assert metrics.max_drawdown([0, 1, 1, 5]) == 0
    assert metrics.max_drawdown([]) == 0


def test_ratio__is_none_by_zero():
    assert metrics.ratio(1, 0) is None
    assert metrics.ratio(0, 4) == 0


@given(MICROS)
def test_sharpe_ratio__equals_the_exact_statistics_module(returns):
    got = metrics.sharpe_ratio(np.array(returns), 252 * 3600)
    spread = statistics.stdev(returns)
    expected = statistics.mean(returns) / spread * math.sqrt(252 * 3600) if spread else None
    assert got == (None if expected is None else pytest.approx(expected, rel=1e-9, abs=1e-9))


@given(MICROS, st.integers(1, 1000))
def test_ratios__do_not_depend_on_the_unit_of_money(returns, factor):
    scaled = [value * factor for value in returns]
    for formula in (metrics.sharpe_ratio, metrics.sortino_ratio):
        one, many = formula(returns, 252), formula(scaled, 252)
        assert one is many is None or one == pytest.approx(many, rel=1e-9)


@given(MICROS, st.randoms(use_true_random=False))
def test_ratios__do_not_depend_on_the_order_of_summation(returns, rng):
    shuffled = list(returns)
    rng.shuffle(shuffled)
    assert metrics.sharpe_ratio(returns, 252) == metrics.sharpe_ratio(shuffled, 252)
    assert metrics.sortino_ratio(returns, 252) == metrics.sortino_ratio(shuffled, 252)


@given(st.lists(st.integers(-(10**15), 10**15), min_size=1, max_size=30))
def test_max_drawdown__equals_the_slow_twin(equity):
    assert metrics.max_drawdown(np.array(equity)) == drawdown(equity)


def test_time_weighted__worked_example():
    # flat 1 s, +2 for 3 s, -4 for 1 s
    average = metrics.time_weighted(np.array([0, 1, 4]) * 10**9, np.array([0, 2, -4]), 5 * 10**9)
    assert average == {"mean": 0.4, "mean_abs": 2.0, "share_nonzero": 0.8}


def test_time_weighted__is_none_when_no_time_passes():
    assert set(metrics.time_weighted(np.array([7]), np.array([3]), 7).values()) == {None}


def test_time_weighted__stays_exact_beyond_int64():
    year = 365 * 86_400 * 10**9
    assert metrics.time_weighted(np.array([0]), np.array([100_000]), year)["mean"] == 100_000
