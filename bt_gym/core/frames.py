"""Frames: what an observation keeps of the decisions before, as a stack of features or as a picture of the book.

A stack holds the features (F,) of the last K decisions, the newest last. A picture is uint8 (CHANNELS, H, K): rows are
prices, the highest first, the mid of the newest decision between the two middle ones; columns are the last K decisions.
When the mid moves, what was drawn moves with it; what leaves it is gone. A pixel is 25.5 log(1 + lots), so that
it is 255 where a feature would be cut at its bound. A new episode begins with its first frame in all K places.
"""

import numpy as np

from bt_gym._jit import allocating, njit
from bt_gym.core import enums
from bt_gym.core.features import LIMIT, log1p_of
from bt_gym.core.tape import KIND_MASK, LADDER_TICKS, TICK_SHIFT

CHANNEL_BID = 0  # displayed lots
CHANNEL_ASK = 1
CHANNEL_OWN = 2  # lots of own orders that work or are on their way, as known
CHANNEL_TRADES = 3  # lots traded since the decision before
CHANNELS = 4

view_dtype = np.dtype(
    [
        ("base", "<i8"),  # tick of the picture's lowest row
        ("event", "<i8"),  # events received by the newest column
    ],
    align=True,
)
"""Where an environment's picture stands."""


@njit
def scale(scaling, row) -> None:
    """(x - mean) / scale of a row (F,) of features, cut at their bounds. `scaling` (F, 2): means, then 1 / scale."""
    for index in range(row.shape[0]):
        value = (np.float64(row[index]) - scaling[index, 0]) * scaling[index, 1]
        row[index] = min(max(value, -LIMIT), LIMIT)


@njit
def push(frames, row, is_first: bool) -> None:
    """A row (F,) becomes the newest of `frames` (K * F,); all of them in the first step of an episode."""
    width = row.shape[0]
    newest = frames.shape[0] - width
    if not is_first:
        for index in range(newest):
            frames[index] = frames[index + width]
    for start in range(0 if is_first else newest, frames.shape[0], width):
        for index in range(width):
            frames[start + index] = row[index]


@njit
def pixel(lots: int) -> int:
    """Brightness of so many lots."""
    return np.uint8(min(255.0, 25.5 * log1p_of(max(lots, 0)) + 0.5))


@njit
def paint(picture, view, account, market, records, events, is_first: bool) -> None:
    """Draws the newest column of `picture` (CHANNELS, H, K); all of them in the first step of an episode."""
    height, width = picture.shape[1], picture.shape[2]
    base = (np.int64(market["mark2"]) >> 1) - height // 2 + 1
    if is_first:
        picture[:] = 0
        view["event"] = market["event"]
    else:
        _scroll(picture, base - view["base"])
    view["base"] = base
    newest = width - 1
    if market["mark2"] != enums.NO_TICK:
        for row in range(height):
            offset = base + height - 1 - row - market["base"]
            if 0 <= offset < LADDER_TICKS:
                picture[CHANNEL_BID, row, newest] = pixel(np.int64(market["ladder"][enums.BID, offset]))
                picture[CHANNEL_ASK, row, newest] = pixel(np.int64(market["ladder"][enums.ASK, offset]))
        _draw_own(picture, base, account, newest)
        _draw_trades(picture, base, records, events, view["event"], np.int64(market["event"]), newest)
    view["event"] = market["event"]
    if is_first:
        for channel in range(CHANNELS):
            for row in range(height):
                picture[channel, row, :] = picture[channel, row, newest]


@njit
def _scroll(picture, up: int) -> None:
    """One column to the left, and down by as many rows as the mid went up; the newest column becomes empty."""
    height, width = picture.shape[1], picture.shape[2]
    for channel in range(CHANNELS):
        for number in range(height):
            row = height - 1 - number if up > 0 else number  # from the side that the picture moves to
            source = row - up
            if 0 <= source < height:
                for column in range(width - 1):
                    picture[channel, row, column] = picture[channel, source, column + 1]
                picture[channel, row, width - 1] = 0
            else:
                picture[channel, row, :] = 0


@njit
def _draw_own(picture, base: int, account, column: int) -> None:
    """Own lots by price."""
    height = picture.shape[1]
    orders = account["orders"]
    if account["orders_live"] == 0:
        return
    for slot in range(orders.shape[0]):
        order = orders[slot]
        row = base + height - 1 - np.int64(order["known_price"])
        if order["status"] != enums.STATUS_FREE and order["known_leaves"] > 0 and 0 <= row < height:
            lots = np.int64(0)
            for other in range(orders.shape[0]):  # one pixel for all orders at a price
                is_here = orders[other]["known_price"] == order["known_price"]
                if orders[other]["status"] != enums.STATUS_FREE and is_here:
                    lots += max(np.int64(orders[other]["known_leaves"]), 0)
            picture[CHANNEL_OWN, row, column] = pixel(lots)


@allocating
def _draw_trades(picture, base: int, records, events, first: int, last: int, column: int) -> None:
    """Lots that events `first:last` traded, by price."""
    height = picture.shape[1]
    lots = np.zeros(height, np.int64)
    begin = np.int64(events[first - 1]["end"]) if first > 0 else np.int64(0)
    for i in range(begin, np.int64(events[last - 1]["end"]) if last > 0 else 0):
        key = records[i]["key"]
        kind = key & KIND_MASK
        if kind == enums.RECORD_TRADE or kind == enums.RECORD_TRADE_N:
            row = base + height - 1 - (key >> TICK_SHIFT)
            if 0 <= row < height:
                lots[row] += records[i]["size"]
    for row in range(height):
        picture[CHANNEL_TRADES, row, column] = pixel(lots[row])
