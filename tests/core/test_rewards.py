"""Rewards: value with an order owed, and the differential Sharpe ratio by its definition."""

import numpy as np
import pytest

from bt_gym._jit import njit
from bt_gym.core.positions import apply_fill, equity, position_dtype
from bt_gym.core.rewards import differential_sharpe, value_of

pytestmark = pytest.mark.kernel
TICK_VALUE = 12_500_000


@njit
def _fills(positions, fills):
    for side, size, price in fills:
        apply_fill(positions[0], side, size, price, TICK_VALUE, 2_000_000 * size)


@njit
def _value(positions, parent, arrival2, mark2):
    return value_of(positions[0], parent, arrival2, mark2, TICK_VALUE)


def test_value__of_an_order_owed_is_zero_at_the_start_and_minus_the_shortfall_at_the_end():
    """10 lots to sell at an arrival mid of 4000.5 ticks: 6 at 4000, 4 at 3999."""
    positions = np.zeros(1, position_dtype)
    assert _value(positions, -10, 8001, 8001) == 0
    assert _value(positions, -10, 8001, 7999) == -10 * TICK_VALUE  # the mid falls a tick while all is owed
    _fills(positions, np.array([(1, 6, 4000), (1, 4, 3999)]))
    shortfall = (6 * 0.5 + 4 * 1.5) * TICK_VALUE + 10 * 2_000_000
    for mark2 in (7000, 8001, 9000):
        assert _value(positions, -10, 8001, mark2) == -shortfall
    assert _value(positions, 0, 8001, 7000) == equity(positions[0], 7000, TICK_VALUE)


def test_differential_sharpe__of_the_worked_example():
    """A = 0.5, B = 1 and a gain of 2, at a rate of 0.1: (1 * 1.5 - 0.5 * 3 / 2) / 0.75 ** 1.5; A = 0.65, B = 1.3."""
    moments = np.array([0.5, 1.0])
    assert differential_sharpe(moments, 2.0, 0.1) == pytest.approx(0.75 / 0.75**1.5)
    assert moments.tolist() == pytest.approx([0.65, 1.3])


def test_differential_sharpe__is_the_derivative_of_the_moving_sharpe_ratio_by_the_rate():
    gains = np.random.default_rng(1).normal(0.1, 1, 50)
    moments = np.zeros(2)
    for gain in gains:
        first, second = moments
        found = differential_sharpe(moments, gain, 0.05)
        if second - first**2 < 1e-3:
            continue

        def sharpe(rate, first=first, second=second, gain=gain):
            mean, square = first + rate * (gain - first), second + rate * (gain**2 - second)
            return mean / np.sqrt(square - mean**2)

        assert found == pytest.approx((sharpe(1e-6) - sharpe(-1e-6)) / 2e-6, rel=1e-4, abs=1e-6)


def test_differential_sharpe__of_nothing_is_exactly_nothing():
    moments = np.zeros(2)
    assert [differential_sharpe(moments, 0.0, 0.01) for _ in range(5)] == [0.0] * 5
    assert differential_sharpe(moments, 1.0, 0.01) == 0.0
