"""Strategies that are compiled themselves: called in the loop of the core, without Python in between.

A decision is a function of the signature

    @decision
    def decide(memory, now, market, own, trades, requests): ...

    memory    (n,) uint8: the strategy's own, whatever it keeps there; `memory.view(dtype)[0]` reads it as a record
    now       record of `core.jitted.now_dtype`: time, why it is called, best prices and their sizes, phase
    market    record of `core.market.market_dtype`: the ladder and the session as received
    own       record of `core.jitted.own_dtype`: position and orders as reported, oldest order first
    trades    (m,) of `core.decision.trade_dtype`: trades received since the last call, oldest first
    requests  where `limit`, `quote` (post-only), `market_order`, `cancel`, `modify` and `kill_switch` write what is
              wanted; sent in that order

Prices are ticks, sizes lots, times ns, all integers. A request that a limit refuses is in the report; the strategy sees
that it is not among its orders. Helpers are functions under `numba.njit`, or `bt_gym`'s own.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from bt_gym._jit import Callback, callback
from bt_gym.core.jitted import DECIDE, cancel, find, kill_switch, limit, market_order, modify, quote
from bt_gym.strategy.base import Strategy, StrategyOutput
from bt_gym.strategy.context import StrategyContext
from bt_gym.strategy.events import EventKind, MarketEvent

__all__ = ["JittedStrategy", "cancel", "decision", "find", "kill_switch", "limit", "market_order", "modify", "quote"]

decision = callback(DECIDE)
"""Decorator of a decision function: compiled for the published signature when it is first run, and kept on disk."""


class JittedStrategy(Strategy):
    """A strategy whose decisions are compiled. It subscribes, and sets its clock, as any other one.

    In a run over several instruments it trades each one by itself, with a memory of its own.

    Attributes:
        decide: the decision function.
        memory: (n,) structured or plain: what a run starts from; a run works on a copy.
        memories: by symbol, what the last run has made of it.
        wants_trades: whether it is shown trades; costs little, but not nothing.
    """

    wants_trades: bool = True

    def __init__(
        self,
        decide: Callback,
        memory: np.ndarray,
        *,
        subscriptions: EventKind | None = None,
        timer_interval_ns: int | None = None,
        wants_trades: bool | None = None,
        is_stationary: bool | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        """What isn't given is as the class has it.

        Raises:
            TypeError: `decide` was not made by `decision`.
        """
        if not isinstance(decide, Callback):
            raise TypeError(f"decide {decide!r}: decorate the function with bt_gym.strategy.jitted.decision")
        self.decide = decide
        self.memory = np.ascontiguousarray(memory)
        self.memories: dict[str, np.ndarray] = {}
        if subscriptions is not None:
            self.subscriptions = subscriptions
        if timer_interval_ns is not None:
            self.timer_interval_ns = timer_interval_ns
        if wants_trades is not None:
            self.wants_trades = wants_trades
        if is_stationary is not None:
            self.is_stationary = is_stationary
        self._config = dict(config or {})

    def start(self, symbol: str) -> np.ndarray:
        """The memory of a run on an instrument as bytes: a copy, to be found in `memories` afterwards."""
        self.memories[symbol] = memory = self.memory.copy()
        return memory.view(np.uint8)

    def on_market_event(self, event: MarketEvent, context: StrategyContext) -> StrategyOutput:
        raise TypeError("a jitted strategy is called by the loop of the core, not from Python")

    @property
    def config(self) -> Mapping[str, Any]:
        return self._config
