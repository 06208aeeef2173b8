"""What a position is worth at the market: four marks, all from the last valid book as received.

Valid is a two-sided book that isn't crossed, in continuous trading; until there is another, the last one counts
(`market["mark_is_stale"]` says so). Own orders and own consumption are not in it.
"""

import numpy as np

from bt_gym._jit import njit
from bt_gym.core import enums
from bt_gym.core.positions import divide_half_even, worth, worth2


@njit
def value_of(market, size: int, tick_value: int, mark: int) -> int:
    """Value in 1e-6 of the currency of `size` signed lots; 0 when flat, or before the first valid book.

    Args:
        market: record of `market.market_dtype`.
        tick_value: see `orders.models_dtype`.
        mark: enums.MARK_*.
    """
    if size == 0 or market["mark2"] == enums.NO_TICK:
        return np.int64(0)
    bid = np.int64(market["mark_bid"])
    ask = np.int64(market["mark_ask"])
    if mark == enums.MARK_LIQUIDATION:
        return worth(size, bid if size > 0 else ask, tick_value)
    if mark == enums.MARK_LAST and market["session"]["trades"] > 0:
        return worth(size, np.int64(market["session"]["last"]), tick_value)
    bid_size = np.int64(market["mark_bid_size"])
    both = bid_size + market["mark_ask_size"]
    if mark == enums.MARK_MICROPRICE and both > 0:
        inside = (ask - bid) * bid_size
        if tick_value > 0:
            return worth(size, bid, tick_value) + divide_half_even(size * tick_value * inside, both)
        return divide_half_even(size * tick_value * both, both * bid + inside)
    return worth2(size, np.int64(market["mark2"]), tick_value)
