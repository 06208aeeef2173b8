"""TWAP: a parent order in equal parts over equal times."""

from bt_gym.strategy.events import Side
from bt_gym.strategy.schedule import ScheduledExecution


class Twap(ScheduledExecution):
    """Equal children, whole lots with the rest carried on.

    >>> Twap("buy", 10, duration_s=60, slices=4).schedule
    [2, 3, 3, 2]
    """

    def __init__(self, side: str | Side = "buy", size: int = 10, duration_s: float = 60.0, slices: int = 10) -> None:
        super().__init__(side, size, duration_s, slices)

    def fraction(self, number: int) -> float:
        return number / self.slices
