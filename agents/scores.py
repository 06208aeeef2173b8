"""Scores of policies on the same windows: a day is the unit, differences are paired, intervals are bootstrapped.

Windows of one day share its market, so that a thousand of them on ten days are closer to ten observations than to a
thousand. A policy's score on a day is the mean of its windows; what is resampled is days, and where a policy was
trained with several seeds, seeds too (Agarwal et al. 2021, "Deep reinforcement learning at the edge of the statistical
precipice"). Comparing two policies on the same days takes the market's luck out of the difference.

Letters: S training seeds (1 for a policy that isn't trained), W windows, D days.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from rich.table import Table

DRAWS = 10_000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Scores:
    """What one policy did on W windows.

    Attributes:
        name: of the policy.
        pnl: (S, W) float64, ticks on one lot: liquidated, after fees.
        trades: (S, W) fills.
        maker_lots: (S, W) lots filled as maker.
        lots: (S, W) lots filled.
        max_inventory: (S, W) lots.
        days: (W,) int64: number of each window's day.
    """

    name: str
    pnl: np.ndarray
    trades: np.ndarray
    maker_lots: np.ndarray
    lots: np.ndarray
    max_inventory: np.ndarray
    days: np.ndarray

    @property
    def is_trading(self) -> bool:
        """Whether it trades at least once a window, on average."""
        return bool(self.trades.mean() >= 1)

    @property
    def by_day(self) -> np.ndarray:
        """(S, D) mean PnL of the windows of each day."""
        return day_means(self.pnl, self.days)


class Interval(NamedTuple):
    """A mean and where it lies with 95 % confidence."""

    mean: float
    low: float
    high: float


def day_means(values: np.ndarray, days: np.ndarray) -> np.ndarray:
    """Means of the windows of each day.

    >>> day_means(np.array([[1.0, 3.0, 10.0]]), np.array([4, 4, 7]))
    array([[ 2., 10.]])

    Args:
        values: (S, W).
        days: (W,) number of each window's day.

    Returns:
        (S, D) in the order of the days' numbers.
    """
    _, index = np.unique(days, return_inverse=True)
    is_of_day = index[:, None] == np.arange(index.max() + 1)
    return values @ is_of_day / is_of_day.sum(0)


def interval(by_day: np.ndarray, draws: int = DRAWS, seed: int = 0) -> Interval:
    """Percentile bootstrap interval of the mean over days and seeds.

    Args:
        by_day: (S, D) scores, or differences of two policies' scores on the same days.
        draws: resamples; each draws D days and S seeds with replacement.
        seed: of the draws, so that a table is the same each time.
    """
    seeds, days = by_day.shape
    random = np.random.default_rng(seed)
    day_counts = random.multinomial(days, np.full(days, 1 / days), draws)
    seed_counts = random.multinomial(seeds, np.full(seeds, 1 / seeds), draws)
    means = np.einsum("ks,sd,kd->k", seed_counts, by_day, day_counts, optimize=True) / (seeds * days)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(by_day.mean()), float(low), float(high))


def difference(scores: Scores, base: Scores, draws: int = DRAWS) -> Interval:
    """How much better `scores` is than `base`, day by day on the same windows.

    A base of one seed is compared with each seed; of two trained policies seeds are compared in the mean.

    Raises:
        ValueError: the windows aren't the same.
    """
    if not np.array_equal(scores.days, base.days):
        raise ValueError(f"{scores.name} and {base.name} were scored on different windows: compare on the same")
    return interval(scores.by_day - base.by_day.mean(0), draws)


def table(all_scores: Sequence[Scores], base: str) -> Table:
    """One row a policy: its PnL, its difference to `base`, and what it traded for it."""
    bases = {scores.name: scores for scores in all_scores}
    out = Table(
        title="PnL in ticks per window on one lot, liquidated, after fees; 95 % intervals over days",
        title_justify="left",
    )
    for column in ("policy", "pnl", f"less {base}", "trades", "maker", "max |q|", ""):
        out.add_column(column, justify="left" if column in ("policy", "") else "right")
    for scores in all_scores:
        lots = scores.lots.sum()
        out.add_row(
            scores.name,
            _in_words(interval(scores.by_day)),
            "" if scores.name == base else _in_words(difference(scores, bases[base])),
            f"{scores.trades.mean():.1f}",
            f"{scores.maker_lots.sum() / lots:.0%}" if lots else "",
            f"{scores.max_inventory.mean():.1f}",
            "" if scores.is_trading else "not trading",
        )
    return out


def row(scores: Scores, base: Scores) -> dict[str, Any]:
    """One policy's row of the table as plain numbers, and its score by seed."""
    lots = float(scores.lots.sum())
    return {
        "policy": scores.name,
        "pnl": interval(scores.by_day)._asdict(),
        f"less {base.name}": difference(scores, base)._asdict(),
        "pnl_by_seed": scores.pnl.mean(1).tolist(),
        "windows": scores.pnl.shape[1],
        "days": len(set(scores.days.tolist())),
        "trades": float(scores.trades.mean()),
        "maker_share": float(scores.maker_lots.sum()) / lots if lots else 0.0,
        "max_inventory": float(scores.max_inventory.mean()),
        "is_trading": scores.is_trading,
    }


def _in_words(value: Interval) -> str:
    return f"{value.mean:+.2f} [{value.low:+.2f}, {value.high:+.2f}]"
