"""Features for strategies: those of the environments (`bt_gym.core.features`), at the moment of a call."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from bt_gym._jit import njit
from bt_gym.core import features
from bt_gym.core.execution import ExecutionEngine
from bt_gym.core.market import new_market
from bt_gym.data.sidecar import feature_sums
from bt_gym.data.tape import Tape


@njit
def _read(memories, markets, accounts, log, records, events, blocks, rows, lags, depth, codes, received, now, out):
    memory, market = memories[0], markets[0]
    features.follow(memory, market, records, events, blocks, rows, received)
    features.look(memory, market, events, rows, now, lags, depth)
    features.extract(memory, accounts[0], log, market, records, events, blocks, rows, codes, now, 1.0, out)


class Features:
    """Features of one account on one tape, forward in time.

    What is read first builds the tape's sums, if they aren't there, and its own copy of the market.

    Args:
        tape: the session.
        execution: the account and its reports.
        market: (1,) of `market.market_dtype`, as received: how far it has come.
    """

    def __init__(self, tape: Tape, execution: ExecutionEngine, market: np.ndarray) -> None:
        self._tape = tape
        self._execution = execution
        self._market = market
        self._sums = np.zeros(0, features.sums_dtype)
        self._sets: dict[tuple[Any, ...], tuple[features.FeatureSet, np.ndarray, np.ndarray]] = {}

    def read(
        self, names: Sequence[str], now: int, lags: tuple[int, ...] = (), parent: int = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Values (F,) float32 at `now` (ns), on all that has been received, and the memory (1,) that they were read of.

        Args:
            names: of features; `remaining_time` is 1.
            now: ns.
            lags: ns, of more windows to be followed.
            parent: signed lots of the order to be executed, 0 without one.

        Raises:
            ValueError: a name is unknown.
        """
        key = (*names, lags)
        if not len(self._sums):
            self._sums = feature_sums(self._tape)
        if key not in self._sets:
            market = new_market(int(self._market["extra_delay"][0]))
            self._sets[key] = features.FeatureSet(tuple(names), lags), np.zeros(1, features.memory_dtype), market
        found, memory, market = self._sets[key]
        memory["parent"] = parent
        tape, execution = self._tape, self._execution
        out = np.empty(len(names), np.float32)
        _read(
            memory,
            market,
            execution.account,
            execution.log,
            tape.records,
            tape.events,
            tape.blocks,
            self._sums,
            found.lags,
            found.depth,
            found.codes,
            int(self._market["event"][0]),
            now,
            out,
        )
        return out, memory
