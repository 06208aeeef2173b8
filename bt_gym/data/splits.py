"""Train, validation and test days: in the order of time, disjoint, the same for everybody who has the same days.

Neighbouring days share volatility, inventories and news; an embargo leaves some days out between two splits so that
what is learnt on one isn't tested on its own echo (López de Prado, Advances in Financial Machine Learning, 7.4).
"""

import datetime as dt
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from bt_gym.errors import ConfigError

Share = float | int


@dataclass(frozen=True)
class DaySplit:
    """Days to learn on, to choose by, and to judge by.

    >>> days = [dt.date(2026, 1, day) for day in range(5, 15)]
    >>> split = split_days(days, validation=2, test=2, embargo=1)
    >>> [len(part) for part in (split.train, split.validation, split.test)]
    [4, 2, 2]
    """

    train: tuple[dt.date, ...]
    validation: tuple[dt.date, ...]
    test: tuple[dt.date, ...]

    def __post_init__(self) -> None:
        """Refuses days that are out of order or in two splits."""
        everything = [*self.train, *self.validation, *self.test]
        for earlier, later in pairwise(everything):
            if earlier >= later:
                raise ConfigError(f"split: {later} comes after {earlier}: give each day once, in the order of time")

    def hashes(self) -> dict[str, str]:
        """sha256 of each split's days: what a result was trained or judged on, in one word."""
        return {name: _hash(getattr(self, name)) for name in ("train", "validation", "test")}


def split_days(days: Iterable[dt.date], *, validation: Share = 0.15, test: Share = 0.15, embargo: int = 0) -> DaySplit:
    """Splits days: the last ones to judge by, those before them to choose by, the first ones to learn on.

    Args:
        days: all there are; repeated ones count once, the order doesn't matter.
        validation: whole number of days, or a share of all (below 1; rounded down, 1 day at least); 0: none.
        test: the same.
        embargo: days left out before the validation days and before the test days.

    Raises:
        ConfigError: a number makes no sense, or no day is left to learn on.
    """
    ordered = sorted(set(days))
    if type(embargo) is not int or embargo < 0:
        raise ConfigError(f"embargo is {embargo!r}, but must be a whole number of days from 0")
    sizes = [_size("validation", validation, len(ordered)), _size("test", test, len(ordered))]
    gaps = [embargo if size else 0 for size in sizes]
    left = len(ordered) - sum(sizes) - sum(gaps)
    if left < 1:
        raise ConfigError(
            f"{len(ordered)} days can't be split: {sizes[0]} for validation, {sizes[1]} to test and {sum(gaps)} "
            "between them leave none to train on: ingest more days or ask for less"
        )
    middle = left + gaps[0]
    last = middle + sizes[0] + gaps[1]
    return DaySplit(tuple(ordered[:left]), tuple(ordered[middle : middle + sizes[0]]), tuple(ordered[last:]))


def _size(name: str, share: Share, count: int) -> int:
    """A number of days."""
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share < float("inf"):
        raise ConfigError(f"{name} is {share!r}, but must be a number of days, or a share of them below 1")
    if isinstance(share, int):
        return share
    if share >= 1:
        raise ConfigError(f"{name} is {share!r}, but a share must be below 1; a number of days is written {share:.0f}")
    return max(1, int(Fraction(str(share)) * count)) if share else 0


def _hash(days: tuple[dt.date, ...]) -> str:
    return hashlib.sha256("\n".join(day.isoformat() for day in days).encode()).hexdigest()
