"""The strategy a user writes, and what it may ask for.

A strategy sees a `MarketEvent` and a `StrategyContext`, and answers with a `StrategyOutput`. It is called for the kinds
of events it subscribes to and on its timer, never per record unless it asks. Prices are in currency, sizes in lots.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from bt_gym.core import enums
from bt_gym.strategy.events import EventKind, MarketEvent, Side

if TYPE_CHECKING:
    from bt_gym.strategy.context import StrategyContext


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """A new order. Use `market`, `limit`, `stop` and `market_to_limit`.

    >>> OrderRequest.limit(Side.BUY, 2, 4810.25).size
    2
    """

    side: Side
    size: int  # lots
    price: float | None = None  # limit in currency; None for a market order
    order_type: int = enums.ORDER_LIMIT
    time_in_force: int = enums.TIF_GTC
    symbol: str | None = None  # None: the instrument of the event
    stop_price: float | None = None  # trigger of a stop order, currency
    expires_at: int = 0  # ns UTC, of TIF_GTD
    post_only: int = enums.POST_ONLY_OFF

    @classmethod
    def market(cls, side: Side, size: int, *, symbol: str | None = None) -> "OrderRequest":
        """Takes liquidity up to the protection price; what is left then is cancelled."""
        return cls(side, size, None, enums.ORDER_MARKET, enums.TIF_IOC, symbol)

    @classmethod
    def limit(
        cls,
        side: Side,
        size: int,
        price: float,
        *,
        ioc: bool = False,
        time_in_force: int | None = None,
        expires_at: int = 0,
        post_only: int = enums.POST_ONLY_OFF,
        symbol: str | None = None,
    ) -> "OrderRequest":
        """Takes what the limit reaches, then rests.

        Args:
            side: Side.BUY, SELL.
            size: lots.
            price: limit in currency.
            ioc: short for `time_in_force=enums.TIF_IOC`: what is not filled at once is cancelled.
            time_in_force: enums.TIF_*, of which TIF_GTC is the default.
            expires_at: ns UTC, of TIF_GTD.
            post_only: enums.POST_ONLY_REJECT or POST_ONLY_SLIDE for an order that never takes.
            symbol: None for the instrument of the event.
        """
        if time_in_force is None:
            time_in_force = enums.TIF_IOC if ioc else enums.TIF_GTD if expires_at else enums.TIF_GTC
        return cls(side, size, price, enums.ORDER_LIMIT, time_in_force, symbol, None, expires_at, post_only)

    @classmethod
    def stop(
        cls, side: Side, size: int, stop_price: float, *, limit: float | None = None, symbol: str | None = None
    ) -> "OrderRequest":
        """Waits until a trade reaches `stop_price`, then takes up to its protection price or, with `limit`, becomes a
        limit order. What is left of one without limit is cancelled."""
        if limit is None:
            return cls(side, size, None, enums.ORDER_STOP, enums.TIF_IOC, symbol, stop_price)
        return cls(side, size, limit, enums.ORDER_STOP_LIMIT, enums.TIF_GTC, symbol, stop_price)

    @classmethod
    def market_to_limit(cls, side: Side, size: int, *, symbol: str | None = None) -> "OrderRequest":
        """Takes what the best opposite price offers and rests there with the remainder."""
        return cls(side, size, None, enums.ORDER_MARKET_TO_LIMIT, enums.TIF_GTC, symbol)


@dataclass(frozen=True, slots=True)
class OrderUpdate:
    """A modify. A new price or a larger size costs the place in the queue, a smaller size does not."""

    order_id: int
    size: int  # new total in lots, filled ones included
    price: float  # new limit, currency; not read for a stop without limit that still waits
    symbol: str | None = None
    stop_price: float | None = None  # new trigger of a stop that still waits


class OrderCancel(NamedTuple):
    """A cancel of an order of another instrument than the event's; for the event's own the order id is enough."""

    order_id: int
    symbol: str


class Kill(NamedTuple):
    """The kill switch: all orders of the strategy are cancelled, and new ones refused from then on.

    The position stays or, with `flatten`, goes home at the market. `whole_run` stops all strategies of the run, which
    takes a section `backtest.run_limits`, an empty one will do.
    """

    flatten: bool = False
    whole_run: bool = False


@dataclass(slots=True)
class StrategyOutput:
    """What a strategy wants done: the kill switch is thrown first, then come cancellations, updates, orders."""

    orders: list[OrderRequest] = field(default_factory=list)
    cancellations: list[int | OrderCancel] = field(default_factory=list)  # order ids
    updates: list[OrderUpdate] = field(default_factory=list)
    metrics: Mapping[str, float] | None = None  # the strategy's own figures, kept with the time
    kill: Kill | None = None

    def is_empty(self) -> bool:
        """Whether nothing is asked for."""
        return not (self.orders or self.cancellations or self.updates or self.metrics or self.kill)


NOTHING = StrategyOutput()
"""The answer of a strategy that does nothing; don't change it."""


class Strategy(ABC):
    """Base of strategies. Only `on_market_event` has to be written.

    Attributes:
        subscriptions: kinds of events that it is called for.
        timer_interval_ns: time between calls of `on_timer`, None for no timer. The first call is at the first multiple
            of the interval (since 1970) that follows the first event received.
        timer_interval_records: `on_timer` is called with each event that completes a multiple of so many source
            records, None for never. For runs of one instrument.
        timer_interval_trades: the same in trades.
        is_stationary: True is a promise that what it answers to its clock depends on nothing but what it is shown then:
            the market, its position and orders. Not on the time, a draw, or a memory of its own. A stroke that would
            show it what it has just answered with nothing then doesn't call it. The orders are the same, a quiet market
            costs less; a promise that isn't kept changes them. It holds for `timer_interval_ns` on one instrument.
    """

    subscriptions: EventKind = EventKind.TRADE
    timer_interval_ns: int | None = None
    timer_interval_records: int | None = None
    timer_interval_trades: int | None = None
    is_stationary: bool = False

    @abstractmethod
    def on_market_event(self, event: MarketEvent, context: "StrategyContext") -> StrategyOutput:
        """Called at the time `event` is received, with the market as received by then."""

    def on_timer(self, timestamp: int, context: "StrategyContext") -> StrategyOutput:
        """Called at `timestamp` (ns UTC), when its decision clock strikes."""
        return NOTHING

    @property
    def config(self) -> Mapping[str, Any]:
        """The strategy's parameters, for the report."""
        return {}
