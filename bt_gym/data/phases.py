"""How long the market was in each phase, and how many events it had there."""

from dataclasses import dataclass, field

import numpy as np

from bt_gym.core import enums
from bt_gym.data.compiler import Compiler, Piece, label_phases

_NAMES = enums.names("PHASE_")


@dataclass
class PhaseTable:
    """Adds up the events of a compiler. Keeps those whose phase is not settled yet: since the last trade or snapshot.

    Attributes:
        events: by phase.
        nanoseconds: by phase, from each event to the next one.
        first_continuous: ts_event of the first event after which the market matches; None before.
    """

    events: dict[int, int] = field(default_factory=dict)
    nanoseconds: dict[int, int] = field(default_factory=dict)
    first_continuous: int | None = None
    _kept: list[np.ndarray] = field(default_factory=list)
    _number: int = 0  # of the first event kept
    _settled: int = 0  # stretches counted
    _last: tuple[int, int] | None = None  # phase and time of the event before the first one kept

    def feed(self, compiler: Compiler, piece: Piece) -> None:
        """Takes a piece that the compiler has just yielded."""
        if len(piece.events):
            self._kept.append(piece.events.copy())
        self._settle(compiler, compiler.unsettled)

    def finish(self, compiler: Compiler) -> None:
        """Counts what is left."""
        self._settle(compiler, self._number + sum(map(len, self._kept)))

    def _settle(self, compiler: Compiler, end: int) -> None:
        """Counts the events before number `end`."""
        if end <= self._number:
            return
        events = np.concatenate(self._kept)
        stretches = [(a - self._number, b - self._number) for a, b in compiler.stretches[self._settled :]]
        self._settled = len(compiler.stretches)
        label_phases(events, stretches)
        settled, rest = events[: end - self._number], events[end - self._number :]
        self._kept, self._number = [rest], end
        phases = settled["flags"].astype(np.int64) & enums.PHASE_MASK
        times = settled["ts_event"]
        for phase, count in zip(*map(list, np.unique(phases, return_counts=True)), strict=True):
            self.events[int(phase)] = self.events.get(int(phase), 0) + int(count)
        if self._last is not None:
            phases, times = np.concatenate([[self._last[0]], phases]), np.concatenate([[self._last[1]], times])
        for phase in np.unique(phases[:-1]):
            spent = np.diff(times)[phases[:-1] == phase].sum()
            self.nanoseconds[int(phase)] = self.nanoseconds.get(int(phase), 0) + int(spent)
        matching = np.flatnonzero(phases == enums.PHASE_CONTINUOUS)
        if self.first_continuous is None and len(matching):
            self.first_continuous = int(times[matching[0]])
        self._last = int(phases[-1]), int(times[-1])

    def table(self) -> dict[str, dict[str, float]]:
        """Phase name -> events, seconds."""
        return {
            _NAMES[phase]: {"events": count, "seconds": self.nanoseconds.get(phase, 0) / 1e9}
            for phase, count in sorted(self.events.items())
        }
