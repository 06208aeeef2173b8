"""What a strategy may look at: the market as received, its position and orders as reported. Nothing from the future."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from bt_gym._jit import bound, njit
from bt_gym.core import enums
from bt_gym.core.execution import Session
from bt_gym.core.impact import offset
from bt_gym.core.jitted import own_dtype, show_own
from bt_gym.core.market import recent_trades
from bt_gym.core.marks import value_of
from bt_gym.core.tape import LADDER_TICKS
from bt_gym.data.instruments import Instrument
from bt_gym.strategy.events import Side, Trade
from bt_gym.strategy.features import Features

_PHASES = enums.names("PHASE_")
_STATES = enums.names("STATE_")
_SIDES = (Side.BUY, Side.SELL)


@njit
def _worth(markets, size, tick_value, mark):
    return value_of(markets[0], size, tick_value, mark)


@njit
def _show(owns, accounts):
    own = owns[0]
    show_own(own, accounts[0])
    return own["live"], own["pending"]


class PriceLevel(NamedTuple):
    """A price with what is displayed there."""

    price: float  # currency
    ticks: int
    size: int  # lots


@dataclass(frozen=True, slots=True)
class SessionStatistics:
    """Trading since the start of the data, as received. Prices are None before the first trade."""

    trades: int
    volume: int  # lots
    vwap: float | None
    open: float | None
    high: float | None
    low: float | None
    last: float | None


@dataclass(frozen=True, slots=True)
class PositionView:
    """A position as reported: fills on their way back are not in it."""

    quantity: int  # signed lots
    avg_price: float | None  # currency; None when flat
    realized_pnl: float  # currency, before fees
    unrealized_pnl: float  # currency, at the last valid mid; 0 before the first
    fees: float  # currency
    max_position: int  # largest |quantity|
    total_volume: int  # lots


class OrderView(NamedTuple):
    """An own order as reported; also one that is still on its way."""

    order_id: int
    side: Side
    price: float  # limit; of a market order its protection price, 0 before that is known
    size: int  # lots ordered
    leaves: int  # lots still working, as known
    acknowledged: bool
    ticks: int  # the price in ticks
    cancelling: bool  # a cancel or modify of it is under way
    filled: int = 0  # lots, as known
    state: str = "working"  # enums.STATE_* in lower case
    stop_price: float | None = None  # trigger of a stop


class MarketStateView:
    """The market of one instrument as received."""

    def __init__(self, session: Session, market: np.ndarray, instrument: Instrument) -> None:
        self._session = session
        self._market = market
        self._instrument = instrument
        # a view of a field is read ten times faster than a field of a record
        self._received = market["event"]
        self._base = market["base"]
        self._ladder = market["ladder"][0]
        self._best_ticks = (session.events["bid"], session.events["ask"])
        self._flags = session.events["flags"]

    def price(self, ticks: int) -> float:
        """Ticks in currency."""
        return int(ticks) * self._instrument.tick_size_nanos / 1e9

    def _best(self, side: int) -> PriceLevel | None:
        received = self._received.item()
        tick = self._best_ticks[side].item(received - 1) if received else enums.NO_TICK
        if tick == enums.NO_TICK:
            return None
        offset = tick - self._base.item()
        size = self._ladder.item((side, offset)) if 0 <= offset < LADDER_TICKS else 0
        return PriceLevel(tick * self._instrument.tick_size_nanos / 1e9, tick, size)

    def best_bid(self) -> PriceLevel | None:
        """The highest bid, None when there is none."""
        return self._best(enums.BID)

    def best_ask(self) -> PriceLevel | None:
        """The lowest ask, None when there is none."""
        return self._best(enums.ASK)

    def depth(self, side: Side, levels: int = 10) -> list[PriceLevel]:
        """Non-empty levels from the best on, at most `levels`, as far as the ladder reaches (128 ticks or more)."""
        best = self._best(side)
        if best is None:
            return []
        ladder = self._market["ladder"][0, side]
        base = int(self._market["base"][0])
        offsets = np.flatnonzero(ladder)
        if side == enums.BID:
            offsets = offsets[::-1]
        return [PriceLevel(self.price(base + i), int(base + i), int(ladder[i])) for i in offsets[:levels]]

    def mid(self) -> float | None:
        """The last valid mid in currency: both sides, not crossed, in continuous trading. None before the first."""
        mark2 = int(self._market["mark2"][0])
        return None if mark2 == enums.NO_TICK else mark2 * self._instrument.tick_size_nanos / 2e9

    @property
    def phase(self) -> str:
        """snapshot, pre_open, auction, continuous, halt or suspect."""
        received = self._received.item()
        return _PHASES[self._flags.item(received - 1) & enums.PHASE_MASK if received else enums.PHASE_SUSPECT]

    def recent_trades(self, count: int) -> list[Trade]:
        """The last trades received, newest first, at most `count`."""
        out = np.empty((count, 5), np.int64)
        received = int(self._market["event"][0])
        found = recent_trades(self._session.records, self._session.events, received, out)
        return [
            Trade(int(ts), self.price(tick), int(tick), int(size), Side(side) if side >= 0 else None)
            for _, tick, size, side, ts in out[:found]
        ]

    @property
    def session(self) -> SessionStatistics:
        """Statistics of the session so far."""
        session = self._market["session"][0]
        volume = int(session["volume"])
        prices = {
            name: self.price(session[name]) if session["trades"] else None for name in ("open", "high", "low", "last")
        }
        vwap = int(session["notional"]) * self._instrument.tick_size_nanos / volume / 1e9 if volume else None
        return SessionStatistics(int(session["trades"]), volume, vwap, **prices)


class StrategyContext:
    """One strategy's view of one instrument at the current time.

    Attributes:
        strategy_id: name under which the strategy was added.
        symbol: the instrument.
        instrument: its facts.
        current_time: ns UTC, receive clock.
        market_state: the market as received.
        config: the strategy's parameters.
    """

    def __init__(
        self,
        strategy_id: str,
        instrument: Instrument,
        market_state: MarketStateView,
        account: np.ndarray,
        market: np.ndarray,
        config: Mapping[str, Any],
        contexts: "dict[str, StrategyContext]",
        features: Features | None = None,
        mark: int = enums.MARK_MID,
    ) -> None:
        self.strategy_id = strategy_id
        self.symbol = instrument.symbol
        self.instrument = instrument
        self.current_time = 0
        self.market_state = market_state
        self.config = config
        self._account = account
        self._market = market
        self._contexts = contexts
        self._quantity = account["known_position"]["size"]
        self._own = np.zeros(1, own_dtype)
        self._show = bound(_show, self._own, account)
        self._features = features
        self._mark = mark

    def of(self, symbol: str) -> "StrategyContext":
        """The same strategy's context of another instrument of the run.

        Raises:
            KeyError: the run doesn't hold it.
        """
        context = self._contexts[symbol]
        context.current_time = self.current_time
        return context

    def features(self, names: Sequence[str]) -> np.ndarray:
        """Features as environments have them (docs/environment.md), (F,) float32, at the current time.

        Raises:
            ValueError: a name is unknown.
        """
        return self.read_features(names)[0]

    def read_features(
        self, names: Sequence[str], lags: tuple[int, ...] = (), parent: int = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Features, and the memory that action schemes look at: see `strategy.features.Features.read`."""
        if self._features is None:
            raise ValueError("features: this context was made without a tape")
        return self._features.read(names, self.current_time, lags, parent)

    @property
    def position(self) -> PositionView:
        """The position as reported."""
        position = self._account["known_position"][0]
        size = int(position["size"])
        tick_value = self.instrument.tick_value_micros
        is_marked = size != 0 and int(self._market["mark2"][0]) != enums.NO_TICK
        worth = int(_worth(self._market, size, tick_value, self._mark)) if is_marked else 0
        cost = int(position["cost"])
        ticks = 0.0
        if size:
            ticks = cost / (size * tick_value) if tick_value > 0 else size * tick_value / cost
        return PositionView(
            quantity=size,
            avg_price=ticks * self.instrument.tick_size_nanos / 1e9 if size else None,
            realized_pnl=int(position["realised"]) / 1e6,
            unrealized_pnl=(worth - cost) / 1e6 if is_marked else 0.0,
            fees=int(position["fees"]) / 1e6,
            max_position=int(position["max_size"]),
            total_volume=int(position["volume"]),
        )

    @property
    def quantity(self) -> int:
        """Signed lots held, as reported: `position.quantity` without the rest."""
        return self._quantity.item()

    @property
    def impact_offset(self) -> float:
        """Ticks that own taking, as reported, has left in the price that the next taker pays; 0 without such a model.

        It moves neither the market nor the mark (`docs/models.md`).
        """
        account = self._account[0]
        mark2 = int(self._market["mark2"][0])
        price = 0 if mark2 == enums.NO_TICK else mark2 // 2
        return float(offset(account["models"]["impact"], account["known_footprint"], self.current_time, price))

    @property
    def pending_orders(self) -> list[OrderView]:
        """Own orders that are working or on their way, as reported, oldest first."""
        live, _ = self._show(self._own, self._account)
        tick = self.instrument.tick_size_nanos
        return [
            OrderView(
                order_id,
                _SIDES[side],
                ticks * tick / 1e9,
                size,
                leaves,
                state != enums.STATE_PENDING_NEW,
                ticks,
                changing == 1,
                size - leaves,
                _STATES[state],
                None if trigger == enums.NO_TICK else trigger * tick / 1e9,
            )
            for order_id, side, ticks, size, leaves, state, changing, trigger in self._own["orders"][0, :live].tolist()
        ]

    @property
    def pending_quantity(self) -> int:
        """Signed lots of all pending orders: what the position would change by if all of them filled."""
        return self._show(self._own, self._account)[1]
