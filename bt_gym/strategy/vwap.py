"""VWAP: a parent order along a volume curve of the past. The day's own volume would be a look into the future."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from bt_gym.strategy.events import Side
from bt_gym.strategy.schedule import ScheduledExecution


class Vwap(ScheduledExecution):
    """Children in proportion to a historical volume curve.

    >>> Vwap("sell", 10, duration_s=60, curve=[3, 1, 1, 5]).schedule
    [3, 1, 1, 5]

    Args:
        side: buy or sell.
        size: lots.
        duration_s: seconds that the curve covers.
        curve: volume of each slice on earlier days, in any unit.

    Raises:
        ValueError: the curve is empty, negative or all zero, or another parameter makes no sense.
    """

    def __init__(
        self,
        side: str | Side = "buy",
        size: int = 10,
        duration_s: float = 60.0,
        curve: Sequence[float] = (1.0,) * 10,
    ) -> None:
        if not curve or min(curve) < 0 or sum(curve) <= 0:
            raise ValueError(f"curve {list(curve)}: need the volume of each slice, 0 or more, not all 0")
        super().__init__(side, size, duration_s, len(curve))
        self.curve = tuple(curve)
        self._done = [part / sum(curve) for part in accumulate(curve)]

    def fraction(self, number: int) -> float:
        return self._done[number - 1]

    @property
    def config(self) -> Mapping[str, Any]:
        return {**{name: value for name, value in super().config.items() if name != "slices"}, "curve": self.curve}
