"""Actions that aren't quotes: a position to hold, a part of the market's volume, plain orders."""

import math

import numpy as np

from bt_gym._jit import njit
from bt_gym.core import enums
from bt_gym.core.features import SUM_BOUGHT, SUM_SOLD
from bt_gym.core.intents import INTENT_CANCEL, INTENT_MODIFY, INTENT_NEW, find_live, write
from bt_gym.core.market import best_price, mid2

MAX_CHILD = 32
"""Lots of a child order that rests: each of them may need a row of an environment's log of reports."""

CHILD_LEAVE = 0  # everything stays as it is
CHILD_CANCEL = 1  # the child order is cancelled
FIRST_RATE = 2  # codes of participation from here on: rates that take, then rates that wait

# --- a row of plain orders: (kind, order, side, ticks, size), each a code
ROW = 5
RAW_NOTHING = 0
RAW_CANCEL = 1
RAW_MODIFY = 2
RAW_NEW = 3  # new orders from here on: kind RAW_NEW + i is an order of RAW_ORDERS[i]
RAW_ORDERS = np.array(
    [
        (enums.ORDER_LIMIT, enums.TIF_GTC, enums.POST_ONLY_OFF),
        (enums.ORDER_LIMIT, enums.TIF_GTC, enums.POST_ONLY_REJECT),
        (enums.ORDER_LIMIT, enums.TIF_IOC, enums.POST_ONLY_OFF),
        (enums.ORDER_MARKET, enums.TIF_IOC, enums.POST_ONLY_OFF),
        (enums.ORDER_LIMIT, enums.TIF_FOK, enums.POST_ONLY_OFF),
        (enums.ORDER_LIMIT, enums.TIF_DAY, enums.POST_ONLY_OFF),
        (enums.ORDER_LIMIT, enums.TIF_GTC, enums.POST_ONLY_SLIDE),
        (enums.ORDER_MARKET_TO_LIMIT, enums.TIF_GTC, enums.POST_ONLY_OFF),
        (enums.ORDER_STOP, enums.TIF_IOC, enums.POST_ONLY_OFF),
    ]
)
"""Type, time in force and post-only choice: all orders that one price, or none, says all of."""
RAW_KINDS = RAW_NEW + len(RAW_ORDERS)


@njit
def hold(account, event, target: int, intents) -> int:
    """A market order that takes the position, orders under way included, to `target` signed lots.

    Returns how many intents it wrote: none where the book has no valid mid.
    """
    change = target - np.int64(account["known_position"]["size"])
    if account["orders_live"] > 0:
        for slot in range(account["orders"].shape[0]):
            order = account["orders"][slot]
            if order["status"] != enums.STATUS_FREE:
                change -= (1 - 2 * np.int64(order["side"])) * order["known_leaves"]
    if change == 0 or mid2(event) == enums.NO_TICK:
        return 0
    side = enums.BUY if change > 0 else enums.SELL
    order_id = account["orders_sent"] + 1
    return write(intents, 0, INTENT_NEW, side, order_id, 0, abs(change), enums.ORDER_MARKET, enums.TIF_IOC)


@njit
def still_to_send(account, parent: int) -> int:
    """Lots of the parent order (signed) that are neither done nor in an order of ours, as known."""
    sign = 1 if parent > 0 else -1
    left = abs(parent) - sign * np.int64(account["known_position"]["size"])
    if account["orders_live"] > 0:
        for slot in range(account["orders"].shape[0]):
            order = account["orders"][slot]
            if order["status"] != enums.STATUS_FREE and order["known_leaves"] > 0:
                left -= np.int64(order["known_leaves"])
    return max(left, 0)


@njit
def participate(sent, account, memory, event, scheme, code: int, intents) -> int:
    """A part of the volume traded since the last decision, of the parent order `memory["parent"]`.

    A rate that takes sends what is due at the market (with protection); one that waits keeps a child of that size at
    the own best price, and while it works nothing new falls due. Parts of a lot are carried over; what is left of the
    parent is never exceeded. Returns how many intents it wrote.
    """
    volume = np.int64(memory["sums"][SUM_BOUGHT]) + np.int64(memory["sums"][SUM_SOLD])
    traded = (volume - sent["volume"]) & 0xFFFFFFFF if sent["decisions"] > 0 else 0
    sent["volume"] = volume
    sent["decisions"] += 1
    parent = np.int64(memory["parent"])
    side = enums.BUY if parent > 0 else enums.SELL
    order_id = sent["order_id"][side]
    slot = find_live(account, order_id)
    if code == CHILD_CANCEL:
        if slot < 0 or sent["cancelled"][side] == order_id:
            return 0
        sent["cancelled"][side] = order_id
        return write(intents, 0, INTENT_CANCEL, side, order_id, 0, 0)
    rates = scheme["rate_count"]
    waits = code >= FIRST_RATE + rates
    if code < FIRST_RATE or parent == 0 or mid2(event) == enums.NO_TICK:
        return 0
    price = np.int64(best_price(event, side))
    if waits and slot >= 0:
        order = account["orders"][slot]
        now_at = np.int64(sent["price"][side] if order["unanswered"] > 0 else order["known_price"])
        if sent["cancelled"][side] == order_id or price == now_at:
            return 0
        sent["price"][side] = price
        return write(intents, 0, INTENT_MODIFY, side, order_id, price, np.int64(order["known_size"]))
    due = sent["carry"] + scheme["rates"][(code - FIRST_RATE) % rates] * traded
    lots = np.int64(math.floor(due))
    sent["carry"] = due - lots
    lots = min(lots, still_to_send(account, parent))
    if lots < 1:
        return 0
    new_id = account["orders_sent"] + 1
    if not waits:
        return write(intents, 0, INTENT_NEW, side, new_id, 0, lots, enums.ORDER_MARKET, enums.TIF_IOC)
    sent["order_id"][side] = new_id
    sent["price"][side] = price
    return write(intents, 0, INTENT_NEW, side, new_id, price, min(lots, MAX_CHILD))


@njit
def mask_participation(sent, account, memory, event, scheme, out) -> None:
    """LEAVE always, CANCEL with a child, rates while something is left to send or a child could be moved."""
    parent = np.int64(memory["parent"])
    has_child = find_live(account, sent["order_id"][enums.BUY if parent > 0 else enums.SELL]) >= 0
    has_market = mid2(event) != enums.NO_TICK
    left = still_to_send(account, parent)
    out[CHILD_LEAVE] = True
    out[CHILD_CANCEL] = has_child
    rates = scheme["rate_count"]
    for index in range(rates):
        out[FIRST_RATE + index] = has_market and left > 0
        out[FIRST_RATE + rates + index] = has_market and (left > 0 or has_child)


@njit
def nth_live(account, number: int) -> int:
    """Slot of the `number`-th own order that isn't over as known, the oldest first, from 0 on; -1 without one."""
    last = np.int64(0)
    found = -1
    for _ in range(number + 1):
        found = -1
        for slot in range(account["orders"].shape[0]):
            order = account["orders"][slot]
            if order["status"] == enums.STATUS_FREE or order["known_leaves"] <= 0 or order["order_id"] <= last:
                continue
            if found < 0 or order["order_id"] < account["orders"][found]["order_id"]:
                found = slot
        if found < 0:
            return -1
        last = np.int64(account["orders"][found]["order_id"])
    return found


@njit
def send_rows(account, event, scheme, action, intents) -> int:
    """Plain orders: rows of codes (kind, order, side, ticks, size) of kinds RAW_*, all checked before.

    `order` counts the own orders of the moment from the oldest on, `ticks` less the scheme's reach is how far the
    price is behind the best price of the order's side, and the lots are `size` + 1; those of a modify are what shall
    be left working. The price of a stop is its trigger, of a modify too while it waits as known. Cancels go first, then
    modifies, then new orders, each in the order of rows. A row that names an order that isn't there, or a price where
    its side is empty, is nothing. Returns how many intents it wrote.
    """
    rows, reach = scheme["rows"], scheme["reach"]
    count = 0
    new_id = account["orders_sent"]
    for turn in range(3):
        for row in range(rows):
            kind = int(action[ROW * row])
            if kind == RAW_NOTHING or min(kind - 1, 2) != turn:
                continue
            side = int(action[ROW * row + 2])
            lots = int(action[ROW * row + 4]) + 1
            order_id = np.int64(0)
            order_type = np.int64(RAW_ORDERS[max(kind - RAW_NEW, 0), 0])
            if kind <= RAW_MODIFY:
                slot = nth_live(account, int(action[ROW * row + 1])) if account["orders_live"] > 0 else -1
                if slot < 0:
                    continue
                order = account["orders"][slot]
                order_id = np.int64(order["order_id"])
                side = np.int64(order["side"])
                lots += np.int64(order["known_size"]) - np.int64(order["known_leaves"])
                if order["is_stop"] and not order["known_triggered"]:
                    order_type = np.int64(enums.ORDER_STOP)
            if kind == RAW_CANCEL:
                count = write(intents, count, INTENT_CANCEL, side, order_id, 0, 0)
                continue
            price = np.int64(0)
            if order_type == enums.ORDER_LIMIT or order_type == enums.ORDER_STOP:
                best = np.int64(best_price(event, side))
                if best == enums.NO_TICK:
                    continue
                price = best - (1 - 2 * side) * (int(action[ROW * row + 3]) - reach)
            if kind == RAW_MODIFY:
                count = write(intents, count, INTENT_MODIFY, side, order_id, price, lots, order_type)
                continue
            new_id += 1
            in_force, post_only = np.int64(RAW_ORDERS[kind - RAW_NEW, 1]), np.int64(RAW_ORDERS[kind - RAW_NEW, 2])
            count = write(intents, count, INTENT_NEW, side, new_id, price, lots, order_type, in_force, post_only)
    return count


@njit
def mask_rows(account, event, scheme, out) -> None:
    """Cancels and modifies, and the orders that they name, only as far as there are orders."""
    orders = account["orders"].shape[0]
    live = np.int64(0)
    for slot in range(orders):
        order = account["orders"][slot]
        live += order["status"] != enums.STATUS_FREE and order["known_leaves"] > 0
    width = RAW_KINDS + orders + 2 + 2 * scheme["reach"] + 1 + scheme["max_size"]
    for row in range(scheme["rows"]):
        first = row * width
        for code in range(width):
            out[first + code] = True
        out[first + RAW_CANCEL] = out[first + RAW_MODIFY] = live > 0
        for number in range(1, orders):
            out[first + RAW_KINDS + number] = number < live
