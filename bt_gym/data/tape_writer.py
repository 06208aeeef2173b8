"""How a tape is made: one instrument's records through the compiler into the file of a tape.

Nothing is left behind when it fails, whenever that is. Memory stays bounded whatever the length of the input.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np

from bt_gym.data.compiler import Compiler
from bt_gym.data.dbn import DbnFile
from bt_gym.data.l2 import LevelCompiler
from bt_gym.data.symbology import Bounds
from bt_gym.data.tape_file import TapeFile
from bt_gym.errors import CapacityError, DataError, EmptyDataError, SymbolError


class TapeWriter:
    """Compiles the records of one instrument, file by file, and writes its tape.

    Args:
        symbol: of the instrument, for messages.
        tick_size: price grid in 1e-9.
        changes: of status, `status.change_dtype`.
        folder: that the tape is for.
        levels: a side that the records publish, 0 for trades alone; None for single orders.
    """

    def __init__(
        self, symbol: str, tick_size: int, changes: np.ndarray, folder: Path, *, levels: int | None = None
    ) -> None:
        self.symbol = symbol
        if levels is None:
            self.compiler = Compiler(tick_size, changes=changes)
        else:
            self.compiler = LevelCompiler(tick_size, levels, changes=changes)
        self._file = TapeFile(folder)
        self._path = Path()
        self._publisher = self._instrument_id = -1
        self._before = self._latest = 0  # latest ts_recv of the files before, and of all

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def begin_file(self, source: DbnFile) -> None:
        """The records that follow are of this file."""
        self._path = source.path
        self._before = self._latest
        self.compiler.begin_file()

    def feed(self, records: np.ndarray, bounds: Bounds) -> None:
        """Compiles records (R,) of one instrument id; R >= 1.

        Raises:
            DataError: they can't be used, or come before those of an earlier file.
        """
        self._check_order(bounds.first_known, bounds.last)
        self._check_publisher({bounds.lowest_publisher, bounds.highest_publisher})
        with _named(self._path):
            instrument_id = int(records["instrument_id"][0])
            if self._instrument_id not in (-1, instrument_id):
                self._file.append(self.compiler.begin_instrument())
            self._instrument_id = instrument_id
            for piece in self.compiler.feed(records):
                self._file.append(piece)

    def finish(self) -> dict[str, np.ndarray]:
        """The columns of the tape, as long as this writer is open.

        Raises:
            EmptyDataError: nothing in them.
            DataError: what was fed doesn't make a tape.
        """
        with _named(self._path):
            for piece in self.compiler.finish():
                self._file.append(piece)
        columns = self._file.columns(self.compiler.stretches)
        if not len(columns["events"]):
            raise EmptyDataError(f"{self._path}: no complete event of {self.symbol}: request the data again")
        return columns

    def complete(self, path: Path, columns: dict[str, np.ndarray], metadata: dict[str, Any]) -> None:
        """The tape appears at `path`, whole."""
        self._file.complete(path, columns, metadata)

    def _check_order(self, first: int, last: int) -> None:
        if first < 0:
            return
        if first < self._before:
            raise DataError(
                f"{self._path}: has a record of {_time(first)}, the file before it one of {_time(self._before)}: "
                "give each file once, in the order of time"
            )
        self._latest = max(self._latest, last)

    def _check_publisher(self, seen: set[int]) -> None:
        """An order book is of one venue."""
        publishers = {*seen, self._publisher} if self._publisher >= 0 else seen
        if len(publishers) > 1:
            raise SymbolError(
                f"{self._path}: {self.symbol} comes from publishers {sorted(publishers)}, each with its "
                "own book: use a file of one venue's dataset"
            )
        (self._publisher,) = publishers


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Puts the file's name before what the compiler says about a record."""
    try:
        yield
    except (DataError, CapacityError) as error:
        raise type(error)(f"{path}: {error}") from None


def _time(ts: int) -> str:
    return f"{np.datetime64(int(ts), 'ns')}Z"
