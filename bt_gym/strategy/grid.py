"""Grid market maker: so many bids and asks a tick or more apart, re-quoted by the clock, leaning against the position.

With mid `m` and signed position `q`, the grid stands around `r = m - skew * q`: best bid at `floor(r - half_spread)`,
best ask at `ceil(r + half_spread)`, in ticks, never through the market; the others `spacing` ticks behind each.
A quote whose price stays in the grid is left alone, with its place in the queue. A side is not quoted at the position
limit.
"""

from collections.abc import Mapping
from math import ceil, floor
from typing import Any

import numpy as np

from bt_gym.core import enums
from bt_gym.strategy.base import NOTHING, Strategy, StrategyOutput
from bt_gym.strategy.checks import at_least
from bt_gym.strategy.context import StrategyContext
from bt_gym.strategy.events import EventKind, MarketEvent, Side
from bt_gym.strategy.jitted import JittedStrategy, cancel, decision, find, quote
from bt_gym.strategy.quoting import best_ticks, requote

grid_dtype = np.dtype(
    [
        ("levels", "<i8"),  # quotes a side
        ("spacing", "<i8"),  # ticks between them
        ("half_spread", "<f8"),  # ticks
        ("skew", "<f8"),  # ticks a lot held
        ("size", "<i8"),  # lots a quote
        ("max_position", "<i8"),  # lots
    ],
    align=True,
)
"""The parameters, as the compiled strategy keeps them."""


class GridMarketMaker(Strategy):
    """The grid, in Python.

    Args:
        levels: quotes a side.
        half_spread: ticks from the centre to the best quote.
        spacing: ticks between quotes of a side.
        skew: ticks that the centre moves against each lot held.
        size: lots a quote.
        max_position: lots at which a side is no longer quoted.
        interval_ms: of the clock.

    Raises:
        ValueError: a parameter makes no sense.
    """

    subscriptions = EventKind(0)
    is_stationary = True

    def __init__(
        self,
        levels: int = 5,
        half_spread: float = 1.0,
        spacing: int = 1,
        skew: float = 0.05,
        size: int = 1,
        max_position: int = 50,
        interval_ms: int = 100,
    ) -> None:
        at_least(0, half_spread=half_spread, skew=skew)
        at_least(1, levels=levels, spacing=spacing, size=size, max_position=max_position, interval_ms=interval_ms)
        self._config = {
            "levels": levels,
            "half_spread": half_spread,
            "spacing": spacing,
            "skew": skew,
            "size": size,
            "max_position": max_position,
        }
        self.interval_ms = interval_ms
        self.timer_interval_ns = interval_ms * 1_000_000
        self.levels, self.spacing, self.size, self.max_position = levels, spacing, size, max_position
        self.half_spread, self.skew = float(half_spread), float(skew)

    def quotes(self, bid: int, ask: int, position: int) -> tuple[int, int]:
        """Ticks of the best own bid and ask when the best prices are `bid` and `ask` (ticks)."""
        centre = (bid + ask) / 2 - self.skew * position
        return min(floor(centre - self.half_spread), bid), max(ceil(centre + self.half_spread), ask)

    def on_timer(self, timestamp: int, context: StrategyContext) -> StrategyOutput:
        best = best_ticks(context)
        if best is None:
            return NOTHING
        position = context.quantity
        bid, ask = self.quotes(*best, position)
        steps = range(0, self.levels * self.spacing, self.spacing)
        wanted = [(Side.BUY, bid - step) for step in steps] if position < self.max_position else []
        wanted += [(Side.SELL, ask + step) for step in steps] if position > -self.max_position else []
        return requote(context, wanted, self.size)

    def on_market_event(self, event: MarketEvent, context: StrategyContext) -> StrategyOutput:
        return NOTHING

    @property
    def config(self) -> Mapping[str, Any]:
        return {**self._config, "interval_ms": self.interval_ms}


@decision
def _requote(memory, now, market, own, trades, requests):
    grid = memory.view(grid_dtype)[0]
    bid = now["bid"]
    ask = now["ask"]
    if now["phase"] != enums.PHASE_CONTINUOUS or bid == enums.NO_TICK or ask == enums.NO_TICK:
        return
    position = own["position"]["size"]
    centre = (bid + ask) / 2 - grid["skew"] * position
    best_bid = min(int(np.floor(centre - grid["half_spread"])), bid)
    best_ask = max(int(np.ceil(centre + grid["half_spread"])), ask)
    spacing = grid["spacing"]
    bids = grid["levels"] if position < grid["max_position"] else 0
    asks = grid["levels"] if position > -grid["max_position"] else 0
    kept = 0
    for row in range(own["live"]):
        order = own["orders"][row]
        is_buy = order["side"] == enums.BUY
        behind = best_bid - order["price"] if is_buy else order["price"] - best_ask
        if 0 <= behind < (bids if is_buy else asks) * spacing and behind % spacing == 0:
            kept += 1
        elif not order["cancelling"]:
            cancel(requests, order["order_id"])
    if kept == bids + asks:  # a price never has two
        return
    for level in range(bids):
        if find(own, enums.BUY, best_bid - level * spacing) < 0:
            quote(requests, enums.BUY, grid["size"], best_bid - level * spacing)
    for level in range(asks):
        if find(own, enums.SELL, best_ask + level * spacing) < 0:
            quote(requests, enums.SELL, grid["size"], best_ask + level * spacing)


class JittedGridMarketMaker(JittedStrategy):
    """`GridMarketMaker`, compiled: the same orders."""

    subscriptions = EventKind(0)
    is_stationary = True
    wants_trades = False

    def __init__(self, **parameters: Any) -> None:
        """Takes what `GridMarketMaker` takes."""
        rule = GridMarketMaker(**parameters)
        memory = np.zeros(1, grid_dtype)
        for name in grid_dtype.fields or ():
            memory[name] = rule.config[name]
        super().__init__(_requote, memory, timer_interval_ns=rule.timer_interval_ns, config=rule.config)
