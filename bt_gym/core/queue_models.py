"""Estimates of a queue position from level sizes alone, as hftbacktest names and defines them (its `models/queue.rs`).

With `front` lots ahead, a trade of our price's level takes its size off the front. When the level itself changes, what
it lost beyond the trades was cancelled, a share of it behind us, and the models differ in that share. The idea is
E. Rigtorp's ("Estimating order queue position", 2013). Where orders are known one by one (`FILL_FIFO`) nothing has to
be estimated: the models are for level data (MBP), and to see what they would have said.
"""

import math

import numpy as np

from bt_gym._jit import njit
from bt_gym.core import enums
from bt_gym.core.allocation import rules_dtype

LOT = 1_000_000
"""Estimated positions are kept as integers of 1e-6 lots, rounded after each step."""

fills_dtype = np.dtype(
    [
        ("model", "<i8"),  # enums.FILL_*
        ("probability", "<f8"),  # FILL_PROBABILISTIC: that a trade at the price reaches an order
        ("by_queue", "<i8"),  # FILL_PROBABILISTIC, 1: the exact queue then decides how much; 0: proportion of size
        ("power", "<f8"),  # of FILL_POWER_PROB*
        ("rules", rules_dtype),  # of FILL_PRO_RATA
    ],
    align=True,
)
"""Which fill model, and its parameters."""

queue_dtype = np.dtype(
    [
        ("front", "<i8"),  # 1e-6 lots estimated to be ahead
        ("level", "<i4"),  # displayed lots of the level after the last event
        ("traded", "<i4"),  # lots traded at the level since its last change
        ("share", "<i4"),  # lots that the trade under way entitles to; -1: what the exact queue gives
        ("top", "<i4"),  # size with which the order bettered the market; 0: it did not, or others have since
    ],
    align=True,
)
"""The register of one own resting order."""


@njit
def behind(model: int, power: float, front: float, back: float) -> float:
    """Share of the lots cancelled at the level that is assumed to have stood behind us.

    Args:
        model: enums.FILL_POWER_PROB*, FILL_LOG_PROB*.
        power: exponent of the power models.
        front: lots ahead.
        back: lots behind.
    """
    if front <= 0.0:
        return 1.0
    if back <= 0.0:
        return 0.0
    if model == enums.FILL_POWER_PROB:
        return back**power / (back**power + front**power)
    if model == enums.FILL_POWER_PROB2:
        return back**power / (back + front) ** power
    if model == enums.FILL_POWER_PROB3:
        return 1.0 - (front / (front + back)) ** power
    if model == enums.FILL_LOG_PROB:
        return math.log(1.0 + back) / (math.log(1.0 + back) + math.log(1.0 + front))
    return math.log(1.0 + back) / math.log(1.0 + back + front)  # FILL_LOG_PROB2


@njit
def front_after(model: int, power: float, front: float, before: float, after: float, traded: float) -> float:
    """Lots estimated to be ahead once the level has gone from `before` to `after`, `traded` of them in trades.

    Args:
        model: enums.FILL_RISK_AVERSE, FILL_POWER_PROB*, FILL_LOG_PROB*.
        power: exponent of the power models.
        front: lots ahead, the trades taken off already.
    """
    cancelled = before - after - traded
    if model == enums.FILL_RISK_AVERSE or cancelled < 0.0:
        return min(front, after)
    back = before - front
    share = behind(model, power, front, back)
    moved = front - (1.0 - share) * cancelled + min(back - share * cancelled, 0.0)
    return min(moved, after)
