"""Simple moving-average crossover: long while the fast average of trade prices is above the slow one, else short."""

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from bt_gym.core import enums
from bt_gym.strategy.base import NOTHING, OrderRequest, Strategy, StrategyOutput
from bt_gym.strategy.context import StrategyContext
from bt_gym.strategy.events import EventKind, MarketEvent, Side
from bt_gym.strategy.jitted import JittedStrategy, decision, market_order


class MovingAverage:
    """Mean of the last `period` prices, exact: a sum of ticks."""

    def __init__(self, period: int) -> None:
        self.period = period
        self.total = 0
        self._window: deque[int] = deque(maxlen=period)

    def update(self, ticks: int) -> None:
        """Adds a price; the oldest one leaves a full window."""
        if self.is_full:
            self.total -= self._window[0]
        self._window.append(ticks)
        self.total += ticks

    @property
    def is_full(self) -> bool:
        return len(self._window) == self.period


class SimpleMovingAverageCrossover(Strategy):
    """Market orders at every change of the signal, from the time the slow average is full.

    One order takes the position to its new side. Orders still on their way are counted, so that a slow acknowledgement
    never doubles a position.

    Args:
        fast_period: trades in the fast average.
        slow_period: trades in the slow average, more than in the fast one.
        position_size: lots held, long or short.

    Raises:
        ValueError: the periods or the size make no sense.
    """

    subscriptions = EventKind.TRADE

    def __init__(self, fast_period: int = 10, slow_period: int = 20, position_size: int = 1) -> None:
        if not 0 < fast_period < slow_period or position_size < 1:
            raise ValueError(
                f"periods {fast_period} and {slow_period}, size {position_size}: need 0 < fast < slow and size >= 1"
            )
        self.fast = MovingAverage(fast_period)
        self.slow = MovingAverage(slow_period)
        self.position_size = position_size
        self._signal: Side | None = None

    def on_market_event(self, event: MarketEvent, context: StrategyContext) -> StrategyOutput:
        for trade in event.trades:
            self.fast.update(trade.ticks)
            self.slow.update(trade.ticks)
        if not self.slow.is_full or context.market_state.phase != "continuous":
            return NOTHING
        # fast mean > slow mean, without a division
        above = self.fast.total * self.slow.period > self.slow.total * self.fast.period
        signal = Side.BUY if above else Side.SELL
        if signal == self._signal:
            return NOTHING
        self._signal = signal
        change = signal.sign * self.position_size - context.quantity - context.pending_quantity
        if change == 0:
            return NOTHING
        return StrategyOutput([OrderRequest.market(Side.BUY if change > 0 else Side.SELL, abs(change))])

    @property
    def config(self) -> Mapping[str, Any]:
        return {
            "fast_period": self.fast.period,
            "slow_period": self.slow.period,
            "position_size": self.position_size,
        }


crossover_dtype = np.dtype(
    [
        ("fast_period", "<i8"),
        ("slow_period", "<i8"),
        ("position_size", "<i8"),
        ("seen", "<i8"),  # trades so far
        ("fast", "<i8"),  # sums of ticks
        ("slow", "<i8"),
        ("signal", "<i8"),  # +1 long, -1 short, 0 none yet
    ],
    align=True,
)
"""Memory of the compiled twin; the last `slow_period` prices follow it, int64 each."""

_STATE = crossover_dtype.itemsize


@decision
def _cross(memory, now, market, own, trades, requests):
    state = memory[:_STATE].view(crossover_dtype)[0]
    window = memory[_STATE:].view(np.int64)
    fast_period = state["fast_period"]
    slow_period = state["slow_period"]
    for i in range(trades.shape[0]):
        price = np.int64(trades[i]["price"])
        seen = state["seen"]
        state["fast"] += price
        state["slow"] += price
        if seen >= fast_period:
            state["fast"] -= window[(seen - fast_period) % slow_period]
        if seen >= slow_period:
            state["slow"] -= window[seen % slow_period]
        window[seen % slow_period] = price
        state["seen"] = seen + 1
    if state["seen"] < slow_period or now["phase"] != enums.PHASE_CONTINUOUS:
        return
    signal = 1 if state["fast"] * slow_period > state["slow"] * fast_period else -1
    if signal == state["signal"]:
        return
    state["signal"] = signal
    change = signal * state["position_size"] - own["position"]["size"] - own["pending"]
    if change != 0:
        market_order(requests, enums.BUY if change > 0 else enums.SELL, abs(change))


class JittedSmaCrossover(JittedStrategy):
    """`SimpleMovingAverageCrossover`, compiled: the same orders, and an example of how it is done."""

    subscriptions = EventKind.TRADE

    def __init__(self, fast_period: int = 10, slow_period: int = 20, position_size: int = 1) -> None:
        rule = SimpleMovingAverageCrossover(fast_period, slow_period, position_size)
        memory = np.zeros(_STATE + 8 * slow_period, np.uint8)
        state = memory[:_STATE].view(crossover_dtype)
        for name, value in rule.config.items():
            state[name] = value
        super().__init__(_cross, memory, config=rule.config)
