"""Level queues rebuilt from a tape alone: what its records promise, taken literally.

An order's place in a queue is the number of the record that gave it that place, so a queue in priority order is a
queue sorted by placement, and no order ids are needed (`bt_gym.core.tape`).
"""

import numpy as np

from bt_gym.core import enums
from bt_gym.core.tape import GONE_BIT, KIND_MASK, LADDER_TICKS, SIDE_BIT, TICK_SHIFT


class TapeQueues:
    """Walks a tape; asserts that no record contradicts those before it.

    Attributes:
        queues: side -> tick -> placement -> displayed size, in priority order.
        previous: placement -> the order's placement before it, of the records applied so far.
    """

    def __init__(self) -> None:
        self.queues: dict[str, dict[int, dict[int, int]]] = {"B": {}, "A": {}}
        self.previous: dict[int, int] = {}
        self._number = 0

    def apply(self, records: np.ndarray) -> None:
        """Takes the next records of the tape."""
        for key, size, priority in records.tolist():
            self._apply(key & KIND_MASK, "BA"[bool(key & SIDE_BIT)], key >> TICK_SHIFT, key & GONE_BIT, size, priority)
            self._number += 1

    def _apply(self, kind: int, side: str, tick: int, gone: int, size: int, priority: int) -> None:
        if kind in (enums.RECORD_ADD, enums.RECORD_RESTORE):
            assert size > 0
            assert not gone
            if priority != self._number:  # an order that stood elsewhere
                assert kind == enums.RECORD_ADD
                assert 0 <= priority < self._number
                assert not any(priority in queue for levels in self.queues.values() for queue in levels.values())
            self.previous[self._number] = priority
            self.queues[side].setdefault(tick, {})[self._number] = size
        elif kind in (enums.RECORD_DEL, enums.RECORD_FILL):
            assert size < 0
            queue = self.queues[side][tick]
            queue[priority] += size
            assert queue[priority] >= 0
            assert bool(gone) == (queue[priority] == 0)
            if gone:
                del queue[priority]
            if not queue:
                del self.queues[side][tick]
        elif kind == enums.RECORD_CLEAR:
            self.queues = {"B": {}, "A": {}}
        else:
            assert size >= 0
            assert not gone

    def sizes(self) -> dict[str, dict[int, list[int]]]:
        """Side -> tick -> sizes in priority order."""
        return {
            side: {tick: [queue[place] for place in sorted(queue)] for tick, queue in levels.items()}
            for side, levels in self.queues.items()
        }

    def best(self) -> tuple[int, int]:
        """Best bid and ask in ticks, `NO_TICK` for an empty side."""
        bids, asks = self.queues["B"], self.queues["A"]
        return max(bids, default=enums.NO_TICK), min(asks, default=enums.NO_TICK)

    def ladder(self, base: int) -> np.ndarray:
        """(2, LADDER_TICKS) displayed lots of the window that begins at tick `base`."""
        ladder = np.zeros((2, LADDER_TICKS), np.int64)
        for side, levels in enumerate(self.queues.values()):
            for tick, queue in levels.items():
                if 0 <= tick - base < LADDER_TICKS:
                    ladder[side, tick - base] = sum(queue.values())
        return ladder
