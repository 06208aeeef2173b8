"""Which price levels of a tape are known in full: after a cold start, a gap, a snapshot that contradicts the book.

A file that starts in mid-session holds orders that nobody has seen come. A level is *proven* once the opposite best
price has stood at or through it, since no order of this side can have rested there then; a snapshot or clear proves
all. Until the best five levels of both sides are proven the phase is `suspect` and nothing matches; after that an own
order may still rest at a deeper, unproven level, where its queue position is a guess: `Proof.is_proven` tells.
"""

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bt_gym.core import enums

UNBOUNDED = 1 << 40
"""Beyond any tick: no level of a side is proven, or, with the other sign, all are."""


@dataclass
class Proof:
    """What a compiler has learned of a book's levels.

    Attributes:
        ranges: (event, lowest ask, highest bid): after this event, until the next row, bids at or above the lowest ask
            seen and asks at or below the highest bid seen are proven. Empty: nothing is, no event was published.
        doubts: (event, side, tick) of levels that are not as the book had them: a snapshot showed another queue, or
            an unknown order was modified there. Until the opposite best price stands at or through the level.
    """

    ranges: list[tuple[int, int, int]] = field(default_factory=list)
    doubts: list[tuple[int, int, int]] = field(default_factory=list)

    def add(self, ranges: np.ndarray, doubts: np.ndarray) -> None:
        """Takes further rows (n, 3) of each."""
        for event, *bounds in ranges.tolist():
            if self.ranges and self.ranges[-1][0] == event:
                self.ranges.pop()
            self.ranges.append((event, *bounds))
        self.doubts += [tuple(row) for row in doubts.tolist()]

    def is_proven(self, events: np.ndarray, event: int, side: int, tick: int) -> bool:
        """Whether the queue at a level is known completely after an event.

        Args:
            events: (E,) of `core.tape.event_dtype`.
            event: number of the event; -1 before the first.
            side: enums.BID or ASK.
            tick: price.
        """
        row = bisect_right(self.ranges, event, key=lambda row: row[0]) - 1
        if row < 0:
            return False
        _, lowest_ask, highest_bid = self.ranges[row]
        if tick < lowest_ask if side == enums.BID else tick > highest_bid:
            return False
        told = max((first for first, low, _ in self.ranges[: row + 1] if low == -UNBOUNDED), default=-1)
        since = max((e for e, *level in self.doubts if told <= e <= event and level == [side, tick]), default=None)
        return since is None or _is_passed(events[since + 1 : event + 1], side, tick)

    @property
    def is_complete(self) -> bool:
        """Whether all levels are known at all times: the data begins with a snapshot or clear and has no gap."""
        return not self.doubts and all(low == -UNBOUNDED for _, low, _ in self.ranges)

    def to_metadata(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {"ranges": [list(row) for row in self.ranges], "doubts": [list(row) for row in self.doubts]}

    @classmethod
    def from_metadata(cls, saved: dict[str, Any]) -> "Proof":
        return cls([(a, b, c) for a, b, c in saved["ranges"]], [(a, b, c) for a, b, c in saved["doubts"]])


def _is_passed(events: np.ndarray, side: int, tick: int) -> bool:
    """Whether the opposite best price stood at or through a level in one of these events."""
    trading = events[events["flags"] & enums.PHASE_MASK == enums.PHASE_CONTINUOUS]
    quotes = trading["ask" if side == enums.BID else "bid"]
    quotes = quotes[quotes != enums.NO_TICK]
    return bool((quotes <= tick if side == enums.BID else quotes >= tick).any())
