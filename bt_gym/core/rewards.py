"""What an agent is paid for: the change of what it is worth, and rules made of it.

An order to be executed (`parent`, signed lots; 0 without one) counts as a position of the opposite sign that is held
from the start, at the mid of that moment: what is not done yet is still owed. All is then worth 0 at the start, and
minus the implementation shortfall (Perold 1988), fees included, when the order is done.
"""

import math

import numpy as np

from bt_gym._jit import njit
from bt_gym.core.positions import equity, worth2

REWARD_EQUITY = 0  # change of value, marked at the mid
REWARD_SHORTFALL = 1  # likewise, but what is owed stays marked at the arrival mid until the end
REWARD_SHARPE = 2  # differential Sharpe ratio of the changes of value

step_dtype = np.dtype(
    [
        ("gain", "<f8"),  # change of value in ticks on one lot, or a lot of the parent order
        ("inventory_before", "<f8"),  # lots held as known at the decision before
        ("inventory", "<f8"),  # and at this one
        ("mid_change", "<f8"),  # ticks between the two
        ("elapsed_s", "<f8"),  # seconds between the two; 0 where nothing was stepped
        ("fees", "<f8"),  # ticks on one lot, of fills that became known
        ("filled", "<f8"),  # lots that became known as filled
    ],
    align=True,
)
"""What a step brought: all that a user's own reward is given."""


@njit
def value_of(position, parent: int, arrival2: int, mark2: int, tick_value: int) -> int:
    """Value in 1e-6 of a position, with what is left of a parent order owed, marked at `mark2`."""
    if parent == 0:
        return equity(position, mark2, tick_value)
    owed = worth2(position["size"] - parent, mark2, tick_value) + worth2(parent, arrival2, tick_value)
    return position["cash"] + owed - position["fees"]


@njit
def differential_sharpe(moments, gain: float, rate: float) -> float:
    """Differential Sharpe ratio of a gain (Moody and Saffell 2001, equation 10), 0 while the gains have no variance.

        D = (B dA - A dB / 2) / (B - A^2)^(3/2),  dA = gain - A,  dB = gain^2 - B

    Args:
        moments: (2,) float64, A and B: averages of gains and their squares before this one; updated.
        gain: of this step.
        rate: part of the averages that a step replaces.
    """
    first, second = moments[0], moments[1]
    to_first, to_second = gain - first, gain * gain - second
    variance = second - first * first
    moments[0] = first + rate * to_first
    moments[1] = second + rate * to_second
    if variance <= 1e-12 * max(second, 1e-12):
        return 0.0
    return (second * to_first - first * to_second / 2) / (variance * math.sqrt(variance))
