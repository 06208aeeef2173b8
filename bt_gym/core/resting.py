"""Own resting orders of a side in line, and which record of the tape concerns one.

`line[side]` holds their slots in the order in which they fill: better prices first, then by arrival. What every record
is asked, "does this concern an own order?", costs two compares and a bit:

* the *height* of a price is its tick for a bid and ~tick for an ask, so that higher is better on both sides;
* `reach` is the height of the own best price, `levels` a mask of own levels by their distance from it;
* an order of one side meets the other's own orders from height ~reach of that other side on.
"""

import numpy as np

from bt_gym._jit import njit
from bt_gym.core import enums
from bt_gym.core.orders import FAR_LEVEL, NO_REACH
from bt_gym.core.stops import watch
from bt_gym.core.tape import LADDER_TICKS


@njit
def height_of(side: int, tick: int) -> int:
    """A price counted so that higher is better: the tick of a bid, ~tick of an ask. Its own inverse."""
    return np.int64(tick) ^ -np.int64(side)


@njit
def rest(account, slot: int) -> None:
    """The order in `slot` joins the line, behind all own orders at its price or a better one."""
    orders = account["orders"]
    order = orders[slot]
    side = np.int64(order["side"])
    height = height_of(side, order["price"])
    line = account["line"]
    place = np.int64(account["line_length"][side])
    while place > 0 and height_of(side, orders[line[side, place - 1]]["price"]) < height:
        line[side, place] = line[side, place - 1]
        place -= 1
    line[side, place] = slot
    order["status"] = enums.STATUS_WORKING
    account["line_length"][side] += 1
    account["resting"] += 1
    account["unseen"] += 1 - order["ahead_known"]
    watch(account, order, 1)
    _index_levels(account, side)


@njit
def leave(account, order) -> None:
    """A resting order leaves the line."""
    side = np.int64(order["side"])
    line = account["line"]
    place = np.int64(0)
    while account["orders"][line[side, place]]["order_id"] != order["order_id"]:
        place += 1
    account["line_length"][side] -= 1
    account["resting"] -= 1
    account["unseen"] -= 1 - order["ahead_known"]
    watch(account, order, -1)
    for i in range(place, account["line_length"][side]):
        line[side, i] = line[side, i + 1]
    _index_levels(account, side)


@njit
def _index_levels(account, side: int) -> None:
    count = np.int64(account["line_length"][side])
    orders = account["orders"]
    line = account["line"]
    best = np.int64(NO_REACH)
    levels = np.int64(0)
    for place in range(count):
        height = height_of(side, orders[line[side, place]]["price"])
        best = height if place == 0 else best
        bit = np.int64(1) << min(best - height, FAR_LEVEL)
        if not levels & bit:
            levels |= bit
            account["first_in_level"][side, min(best - height, FAR_LEVEL)] = place
    account["reach"][side] = best
    account["levels"][side] = levels


@njit
def is_own_level(account, side: int, tick: int) -> bool:
    """Whether own orders may rest at the price: certain up to `FAR_LEVEL` ticks from the own best one."""
    distance = account["reach"][side] - height_of(side, tick)
    return distance >= 0 and account["levels"][side] >> min(distance, FAR_LEVEL) & 1 == 1


@njit
def find_level(account, side: int, tick: int) -> int:
    """Place in line of the first own order at the price or, without one, of any behind it or the end of the line."""
    height = height_of(side, tick)
    distance = account["reach"][side] - height
    if distance < 0:
        return np.int64(0)
    place = np.int64(0)
    if account["levels"][side] >> min(distance, FAR_LEVEL) & 1:
        place = np.int64(account["first_in_level"][side, min(distance, FAR_LEVEL)])
    line, orders = account["line"], account["orders"]
    count = account["line_length"][side]
    while place < count and height_of(side, orders[line[side, place]]["price"]) > height:
        place += 1
    return place


@njit
def order_at(account, side: int, place: int):
    """The own order at a place in line."""
    return account["orders"][account["line"][side, place]]


@njit
def see_levels(account, block) -> None:
    """A new ladder window: own orders whose level it shows learn what is ahead of them."""
    for side in range(2):
        for place in range(account["line_length"][side]):
            order = order_at(account, side, place)
            offset = order["price"] - block["base"]
            if not order["ahead_known"] and 0 <= offset < LADDER_TICKS:
                order["ahead"] += block["ladder"][side, offset]
                order["ahead_known"] = 1
                account["unseen"] -= 1
