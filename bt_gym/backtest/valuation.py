"""What positions were worth: the marks of `bt_gym.core.marks` at many moments of a tape at once.

A quote is what the last valid book of a moment was, under the names that `core.market.market_dtype` has for it, so that
the core's own valuation reads it.
"""

import numpy as np

from bt_gym._jit import njit
from bt_gym.core import enums
from bt_gym.core.execution import Session
from bt_gym.core.market import move, new_market
from bt_gym.core.marks import value_of
from bt_gym.core.positions import worth, worth2

MARKS = {name: code for code, name in enums.names("MARK_").items()}
"""Codes of the marks by the names that a configuration has for them."""

quote_dtype = np.dtype(
    [
        ("mark2", "<i8"),  # twice the mid in ticks; NO_TICK before the first
        ("mark_bid", "<i8"),  # ticks
        ("mark_ask", "<i8"),
        ("mark_bid_size", "<i8"),  # lots
        ("mark_ask_size", "<i8"),
        ("session", [("trades", "<i8"), ("last", "<i8")]),  # trades so far, and the last one's tick
    ],
    align=True,
)


def quotes_at(tape: Session, events: np.ndarray) -> np.ndarray:
    """The quotes after these events of a tape, which ascend (-1: before the first): (n,) of `quote_dtype`."""
    out = np.zeros(len(events), quote_dtype)
    _sample(new_market(), tape.records, tape.events, tape.blocks, events.astype(np.int64), out)
    return out


def values(quotes: np.ndarray, sizes: np.ndarray, tick_value: int, mark: int) -> np.ndarray:
    """(n,) int64: value in 1e-6 of the currency of signed lots at a mark (enums.MARK_*) of each quote."""
    out = np.zeros(len(quotes), np.int64)
    _values(quotes, sizes.astype(np.int64), tick_value, mark, out)
    return out


def amounts(sizes: np.ndarray, prices: np.ndarray, tick_value: int) -> np.ndarray:
    """(n,) int64: value in 1e-6 of the currency of signed lots at prices in ticks."""
    out = np.zeros(len(sizes), np.int64)
    _amounts(sizes.astype(np.int64), prices.astype(np.int64), tick_value, out)
    return out


def edges2(fills: np.ndarray, marks2: np.ndarray, tick_value: int) -> np.ndarray:
    """By how much fills are better than doubled marks for their owner, 1e-6 of the currency, doubled: (n,) int64.

    With a later mark this is the markout (positive: the market went our way), with the mark before the fill it is minus
    the half-spread paid. `fills`: (n,) of `report_dtype`.
    """
    out = np.zeros(len(fills), np.int64)
    _edges2(fills, marks2, tick_value, out)
    return out


def prices(quotes: np.ndarray, sizes: np.ndarray, mark: int) -> np.ndarray:
    """(n,) float64: the mark itself in ticks, by which signed lots are valued; of no lots the mid, but for `last`."""
    bid, ask = quotes["mark_bid"], quotes["mark_ask"]
    mid = quotes["mark2"] / 2
    if mark == enums.MARK_LAST:
        return np.where(quotes["session"]["trades"] > 0, quotes["session"]["last"], mid)
    if mark == enums.MARK_LIQUIDATION:
        return np.where(sizes == 0, mid, np.where(sizes > 0, bid, ask))
    if mark == enums.MARK_MICROPRICE:
        both = quotes["mark_bid_size"] + quotes["mark_ask_size"]
        return np.where(both > 0, bid + (ask - bid) * quotes["mark_bid_size"] / np.maximum(both, 1), mid)
    return mid


@njit
def _sample(markets, records, events, blocks, numbers, out) -> None:
    market = markets[0]
    for i in range(numbers.shape[0]):
        move(market, records, events, blocks, numbers[i] + 1)
        quote = out[i]
        quote["mark2"] = market["mark2"]
        quote["mark_bid"] = market["mark_bid"]
        quote["mark_ask"] = market["mark_ask"]
        quote["mark_bid_size"] = market["mark_bid_size"]
        quote["mark_ask_size"] = market["mark_ask_size"]
        quote["session"]["trades"] = market["session"]["trades"]
        quote["session"]["last"] = market["session"]["last"]


@njit
def _values(quotes, sizes, tick_value: int, mark: int, out) -> None:
    for i in range(quotes.shape[0]):
        out[i] = value_of(quotes[i], sizes[i], tick_value, mark)


@njit
def _amounts(sizes, prices, tick_value: int, out) -> None:
    for i in range(sizes.shape[0]):
        out[i] = worth(sizes[i], prices[i], tick_value)


@njit
def _edges2(fills, marks2, tick_value: int, out) -> None:
    for i in range(fills.shape[0]):
        size, price = int(fills[i]["size"]), int(fills[i]["price"])
        lots = size if fills[i]["side"] == enums.BUY else -size
        if tick_value > 0:
            out[i] = lots * (marks2[i] - 2 * price) * tick_value  # exact: nothing to round
        else:
            out[i] = 2 * (worth2(lots, marks2[i], tick_value) - worth(lots, price, tick_value))
