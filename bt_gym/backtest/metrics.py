"""Formulas of performance, free of any state: arrays and numbers in, a number or None out.

A metric that its input can't define (no loss to divide by, one sample, nothing traded) is None, never inf, nan or 0.
Sums are exact (integers) or correctly rounded (`math.fsum`), so that no result depends on chunks or threads.
"""

import math
from collections.abc import Sequence
from operator import mul
from typing import Any

import numpy as np

TRADING_DAYS = 252
"""Trading days of a year, for everything that is annualised."""

MIN_DAYS = 20
"""With fewer days an annualised number is an illustration, not a record, and reports flag it."""

Numbers = Sequence[float] | np.ndarray[Any, Any]


def ratio(numerator: float, denominator: float) -> float | None:
    """`numerator / denominator`, None when the denominator is zero."""
    return numerator / denominator if denominator else None


def sharpe_ratio(returns: Numbers, samples_per_year: float) -> float | None:
    """Mean over standard deviation (ddof = 1) of `returns`, times sqrt(samples_per_year).

    Args:
        returns: changes of equity on a regular clock, in trading time, in any unit.
        samples_per_year: of that clock, counted in trading time too.

    >>> round(sharpe_ratio([100, -50, 30, -20, 60], 252), 5)
    6.32351
    >>> sharpe_ratio([5.0, 5.0], 252) is None
    True
    """
    values = np.asarray(returns, dtype=np.float64).tolist()
    count = len(values)
    if count < 2 or min(values) == max(values):
        return None
    mean = math.fsum(values) / count
    variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    return mean / math.sqrt(variance) * math.sqrt(samples_per_year)


def sortino_ratio(returns: Numbers, samples_per_year: float) -> float | None:
    """Mean of `returns` over their downside deviation, times sqrt(samples_per_year).

    The downside deviation is the root of the mean of min(r, 0)**2 over *all* samples, not over the losing ones.

    >>> round(sortino_ratio([100, -50, 30, -20, 60], 252), 5)
    15.81967
    """
    values = np.asarray(returns, dtype=np.float64).tolist()
    count = len(values)
    if count < 2 or min(values) >= 0:
        return None
    downside = math.fsum(min(value, 0.0) ** 2 for value in values) / count
    return math.fsum(values) / count / math.sqrt(downside) * math.sqrt(samples_per_year)


def max_drawdown(equity: Numbers) -> Any:
    """Largest fall from an earlier high, >= 0, in the unit and type of `equity`, whose first value is the start.

    >>> int(max_drawdown([0, 5, 3, 8, 2, 9]))
    6
    """
    values = np.asarray(equity)
    return (np.maximum.accumulate(values) - values).max() if len(values) else values.dtype.type(0)


def time_weighted(times: np.ndarray, values: np.ndarray, end: int) -> dict[str, float | None]:
    """Averages over time of a step function: `values[i]` (int64) holds from `times[i]` (ns) to the next, or to `end`.

    Returns:
        `mean`, `mean_abs` and `share_nonzero` (the part of the time, 0 to 1); all None when no time passes.
    """
    spans = np.diff(times, append=end).tolist()
    steps = values.tolist()
    total = sum(spans)
    return {  # Python integers: a year of ns times a few hundred lots is beyond int64
        "mean": ratio(sum(map(mul, spans, steps)), total),
        "mean_abs": ratio(sum(map(mul, spans, map(abs, steps))), total),
        "share_nonzero": ratio(sum(map(mul, spans, map(bool, steps))), total),
    }
