"""Models of what a trade at an own order's price gives it, other than the exact queue of `bt_gym.core.matching`.

Each needs one register per own order (`queue_models.queue_dtype`): the displayed size of its level before and after an
event, and at a trade. At a trade `entitle` says what each own order at the price is due; when the trade is settled,
`share` caps it by what is left of the volume, so that own orders share one volume under every model. A trade through
the price fills whatever the model. `docs/models.md` has the formulas and their sources.
"""

import numpy as np

from bt_gym._jit import allocating, njit
from bt_gym.core import enums, random
from bt_gym.core.allocation import allocate
from bt_gym.core.queue_models import LOT, front_after
from bt_gym.core.resting import find_level, height_of, order_at
from bt_gym.core.tape import KIND_MASK, LADDER_TICKS, SIDE_BIT, TICK_SHIFT

_BY_QUEUE = -1


@njit
def join(order, level: int, best: int) -> None:
    """An own order takes its place behind `level` displayed lots (-1: no window shows them).

    Args:
        best: of its own side, ticks.
    """
    queue = order["queue"]
    queue["level"] = max(level, 0)
    queue["front"] = max(level, 0) * LOT
    queue["traded"] = 0
    side = np.int64(order["side"])
    betters = best == enums.NO_TICK or height_of(side, order["price"]) > height_of(side, best)
    queue["top"] = order["leaves"] if betters else 0


@njit
def _level_end(account, side: int, tick: int, place: int) -> int:
    """One past the last place in line at the price, from `place` on."""
    while place < account["line_length"][side] and order_at(account, side, place)["price"] == tick:
        place += 1
    return place


@njit
def entitle(account, records, first: int, i: int, event: int) -> None:
    """Record `i`, a trade, has come to the own orders at its price: writes what each of them is due.

    The trade is `account["trade_*"]`: own orders at better prices have been served.

    Args:
        first: first record of the event, whose number is `event`.
    """
    model = account["models"]["fills"]["model"]
    side, tick = np.int64(account["trade_side"]), np.int64(account["trade_tick"])
    volume = np.int64(account["trade_volume"])
    place = find_level(account, side, tick)
    end = _level_end(account, side, tick, place)
    if place == end:
        return
    change = _change(records, first, i, side, tick)
    if model >= enums.FILL_RISK_AVERSE:
        _by_estimate(account, side, place, end, volume)
    elif model == enums.FILL_PRO_RATA:
        _by_size(account, side, place, end, volume, change)
    else:
        own = np.int64(0)
        for at in range(place, end):
            own += order_at(account, side, at)["leaves"]
        for at in range(place, end):
            order = order_at(account, side, at)
            due = np.int64(0)  # FILL_NEVER_AT_TOUCH
            if model == enums.FILL_FRONT_OF_QUEUE:
                due = np.int64(order["leaves"])
            elif model == enums.FILL_PROBABILISTIC and order["ahead_known"]:
                displayed = max(np.int64(order["queue"]["level"]) + change, 0) + own
                due = _by_chance(account, order, volume, displayed, event)
            order["queue"]["share"] = due


@njit
def _by_chance(account, order, volume: int, displayed: int, event: int) -> int:
    """One draw per order and event decides whether its trades reach the order; `displayed` includes own lots."""
    models = account["models"]
    draw = random.uniform(models["seed"], models["account"], random.FILL, order["order_id"], event)
    if draw >= models["fills"]["probability"]:
        return np.int64(0)
    if models["fills"]["by_queue"]:
        return np.int64(_BY_QUEUE)
    return min(np.int64(order["leaves"]), volume * np.int64(order["leaves"]) // displayed)


@njit
def _by_estimate(account, side: int, place: int, end: int, volume: int) -> None:
    """The trade advances the estimated positions; what gets past an order by half a lot or more is a lot of its own.

    What an own order gets does not advance those behind it.
    """
    left = volume
    for at in range(place, end):
        order = order_at(account, side, at)
        queue = order["queue"]
        queue["share"] = 0
        queue["traded"] += volume
        if order["ahead_known"]:
            queue["front"] -= left * LOT
            past = (LOT // 2 - np.int64(queue["front"])) // LOT
            if past > 0:
                queue["front"] = 0
                queue["share"] = min(np.int64(order["leaves"]), past, left)
                left -= queue["share"]


@allocating
def _by_size(account, side: int, place: int, end: int, volume: int, change: int) -> None:
    """By a CME algorithm, over the own orders and the market's lots between them, as one order each.

    Lots that are one order round down less than many orders do, so what is left for the pass by time is the least that
    it can be, and the market's lots before ours come first. Lead market makers are assumed to stand behind us.
    """
    capacity = 2 * (end - place) + 1
    sizes, out = np.zeros(capacity, np.int64), np.zeros(capacity, np.int64)
    is_maker = np.zeros(capacity, np.bool_)
    is_maker[capacity - 1] = True
    top = -1
    seen = np.int64(0)
    level = max(np.int64(order_at(account, side, place)["queue"]["level"]) + change, 0)
    for at in range(place, end):
        order = order_at(account, side, at)
        own = 2 * (at - place) + 1
        if order["ahead_known"]:
            ahead = min(max(np.int64(order["ahead"]), seen), level)
            sizes[own - 1] = ahead - seen
            seen = ahead
            sizes[own] = order["leaves"]
            if order["queue"]["top"] == order["leaves"]:  # neither filled nor modified since
                top = own
    sizes[capacity - 1] = level - seen
    allocate(account["models"]["fills"]["rules"], sizes, top, is_maker, volume, out)
    for at in range(place, end):
        order_at(account, side, at)["queue"]["share"] = out[2 * (at - place) + 1]


@njit
def _change(records, first: int, last: int, side: int, tick: int) -> int:
    """Lots by which records `first:last` change a level."""
    change = np.int64(0)
    for i in range(first, last):
        key = records[i]["key"]
        if key >> TICK_SHIFT == tick and key & KIND_MASK <= enums.RECORD_RESTORE:
            change += records[i]["size"] if (1 if key & SIDE_BIT else 0) == side else 0
    return change


@njit
def share(order, by_queue: int, left: int) -> int:
    """Lots of the trade under way for an order; `by_queue`: what the exact queue gives, `left` of the volume."""
    due = np.int64(order["queue"]["share"])
    return by_queue if due == _BY_QUEUE else min(due, left)


@njit
def see(account, block) -> None:
    """A new ladder window, once `resting.see_levels` has seen it: the level of orders that were out of sight."""
    for side in range(2):
        for place in range(account["line_length"][side]):
            order = order_at(account, side, place)
            offset = order["price"] - block["base"]
            if 0 <= offset < LADDER_TICKS and order["queue"]["level"] != block["ladder"][side, offset]:
                order["queue"]["level"] = block["ladder"][side, offset]
                order["queue"]["front"] = max(np.int64(order["ahead"]), 0) * LOT


@njit
def change_levels(account, records, first: int, last: int, bid: int, ask: int) -> None:
    """An event, records `first:last`, is over: own levels have changed, and with them what is estimated.

    Args:
        bid: best after it, ticks.
        ask: likewise.
    """
    fills = account["models"]["fills"]
    for side in range(2):
        best = ask if side else bid
        for place in range(account["line_length"][side]):
            order = order_at(account, side, place)
            queue = order["queue"]
            tick = np.int64(order["price"])
            if best != enums.NO_TICK and height_of(side, best) > height_of(side, tick):
                queue["top"] = 0
            before = np.int64(queue["level"])
            after = before
            changes = False
            for i in range(first, last):
                key = records[i]["key"]
                kind = key & KIND_MASK
                if kind == enums.RECORD_CLEAR:
                    after = np.int64(0)
                    changes = True
                elif (
                    key >> TICK_SHIFT == tick and kind <= enums.RECORD_RESTORE and (1 if key & SIDE_BIT else 0) == side
                ):
                    after += records[i]["size"]
                    changes = True
            if changes:
                queue["level"] = after
                if fills["model"] >= enums.FILL_RISK_AVERSE and order["ahead_known"]:
                    front = queue["front"] / LOT
                    traded = float(queue["traded"])
                    front = front_after(fills["model"], fills["power"], front, float(before), float(after), traded)
                    queue["front"] = np.int64(round(front * LOT))
                queue["traded"] = 0
