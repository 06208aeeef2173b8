"""What a strategy is told: market events as received, and news of its own orders."""

from collections.abc import Callable
from enum import IntEnum, IntFlag
from typing import NamedTuple

import numpy as np

from bt_gym.core import enums

_EXEC = enums.names("EXEC_")
_REASON = enums.names("REASON_")
_LIQUIDITY = enums.names("LIQUIDITY_")


class Side(IntEnum):
    """Side of an order, a trade's aggressor or the book."""

    BUY = enums.BUY
    SELL = enums.SELL

    @property
    def sign(self) -> int:
        """+1 for BUY, -1 for SELL."""
        return 1 - 2 * self


class EventKind(IntFlag):
    """What an event brought; a strategy subscribes to a union of kinds."""

    TRADE = enums.EVENT_TRADE  # at least one trade
    QUOTE = enums.EVENT_QUOTE  # price or size of the best bid or ask changed
    BOOK = enums.EVENT_BOOK  # some level changed
    PHASE = enums.EVENT_PHASE  # pre-open, auction, continuous trading, ... began
    OWN = enums.EVENT_OWN  # acknowledgement, fill, cancel or reject of an own order became known


EVENT_KINDS = int(EventKind.TRADE | EventKind.QUOTE | EventKind.BOOK | EventKind.PHASE)
"""Those of the market: bits of an event's flags on the tape."""
KIND_SHIFT = enums.EVENT_TRADE.bit_length() - 1
KINDS = tuple(EventKind(bits << KIND_SHIFT) for bits in range((EVENT_KINDS >> KIND_SHIFT) + 1))
"""The kinds of an event by these bits, shifted: made once, since an enum of flags is slow to make."""


def kind_of(flags: int) -> EventKind:
    """The kinds of an event by its flags on the tape."""
    return KINDS[(flags & EVENT_KINDS) >> KIND_SHIFT]


class Trade(NamedTuple):
    """A trade as printed."""

    ts_event: int  # ns UTC, exchange clock
    price: float  # currency
    ticks: int  # the same in ticks
    size: int  # lots
    aggressor: Side | None  # None: auction, or not told


class ExecutionReport(NamedTuple):
    """News of an own order (FIX execution report), known one response latency after it happened."""

    order_id: int
    kind: str  # new, trade, canceled, replaced, rejected, cancel_rejected, expired
    reason: str  # none, user, ioc, ...: enums.REASON_* in lower case
    side: Side | None  # None: a cancel or modify named an order that doesn't exist
    price: float  # fill price, else the order's limit (of a market order its protection price, 0 before it has one)
    size: int  # lots of this fill, else 0
    leaves: int  # lots still working
    liquidity: str  # maker, taker, auction, none
    ts_exchange: int  # ns UTC


def report_of(row: np.void, price: Callable[[int], float]) -> ExecutionReport:
    """A row of `core.orders.report_dtype` in words; `price` makes currency of ticks."""
    return ExecutionReport(
        order_id=int(row["order_id"]),
        kind=_EXEC[int(row["exec_type"])],
        reason=_REASON[int(row["reason"])],
        side=Side(int(row["side"])),
        price=price(row["price"]),
        size=int(row["size"]),
        leaves=int(row["leaves"]),
        liquidity=_LIQUIDITY[int(row["liquidity"])],
        ts_exchange=int(row["ts_exchange"]),
    )


class MarketEvent(NamedTuple):
    """One match group of the exchange as received, or (kind OWN) news of one strategy's orders."""

    symbol: str
    ts_event: int  # ns UTC, exchange clock
    ts_recv: int  # ns UTC, when the strategy may know it
    kind: EventKind
    trades: tuple[Trade, ...] = ()
    reports: tuple[ExecutionReport, ...] = ()
    owner: str | None = None
    """Strategy that an OWN event is for; None for market data, which is for everybody."""
