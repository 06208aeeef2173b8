"""Threads that step a batch."""

import queue
import threading
from collections.abc import Callable
from functools import cache
from typing import Any

SHARE = 128
"""Fewest environments for which another thread is woken."""

SLICE = 16
"""Fewest environments that a thread steps at a time."""


class Workers:
    """Threads that step slices of a batch beside the caller's; the kernels release the GIL.

    Plain threads instead of a parallel kernel: numba's own threads abort when two Python threads use them at once, and
    can't be used in a forked child.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._results: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._jobs: list[queue.SimpleQueue[Any]] = []
        for _ in range(count):
            jobs: queue.SimpleQueue[Any] = queue.SimpleQueue()
            threading.Thread(target=self._work, args=(jobs, self._results), daemon=True).start()
            self._jobs.append(jobs)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Workers":
        return Workers(self.count)

    @staticmethod
    def _work(jobs: "queue.SimpleQueue[Any]", results: "queue.SimpleQueue[Any]") -> None:
        while (job := jobs.get()) is not None:
            results.put(_outcome(job))

    def run(self, total: int, step: Callable[[int, int], int]) -> int:
        """Calls `step(first, last)` for slices of `total`, each by whichever thread is free; returns the sum."""
        turns = iter(slices(total, len(self._jobs) + 1))  # `next` is atomic

        def job() -> int:
            return sum(step(first, last) for first, last in turns)

        for jobs in self._jobs:
            jobs.put(job)
        outcomes = [_outcome(job), *(self._results.get() for _ in self._jobs)]
        for _, error in outcomes:
            if error is not None:
                raise error
        return sum(count for count, _ in outcomes)

    def close(self) -> None:
        """Ends the threads."""
        for jobs in self._jobs:
            jobs.put(None)
        self._jobs = []


@cache
def slices(total: int, threads: int) -> list[tuple[int, int]]:
    """Large slices first, then smaller ones: few turns, and all threads end at about the same time."""
    turns, first = [], 0
    while first < total:
        last = min(first + max((total - first) // (2 * threads), SLICE), total)
        turns.append((first, last))
        first = last
    return turns


def _outcome(job: Callable[[], int]) -> tuple[int, BaseException | None]:
    """(result, None), or (0, what went wrong)."""
    try:
        return job(), None
    except BaseException as error:
        return 0, error
