"""Price-time and pro-rata matching, stops and self-match prevention: how an order takes from the other side.

Rules: CME Globex, "Matching Algorithm Steps"; an order meeting one of the same owner cancels it (resting side); a stop
is elected by a trade of its own direction at or beyond its trigger and acts inside the event.
"""

from bt_gym._jit import njit
from bt_gym.core.enums import PHASE_CONTINUOUS
from bt_gym.data import dbn
from bt_gym.data.synthetic import feed as feeds
from bt_gym.data.synthetic.venue import FILLS, NOBODY, is_empty, link, touch, touch_anew, unlink


@njit
def match_and_rest(exchange, slot: int, size: int, records) -> None:
    """Matches an order outside the book against the other side, then queues what is left."""
    order = exchange["orders"][slot]
    touch(exchange, slot)
    if exchange["phase"] == PHASE_CONTINUOUS:
        size = _take(exchange, slot, size, records)
    show = order["show"]
    order["size"] = min(size, show) if show > 0 else size
    order["hidden"] = size - order["size"]
    if size > 0:
        link(exchange, slot)
        touch_anew(exchange, slot)


@njit
def _take(exchange, slot: int, size: int, records) -> int:
    """The order takes from the other side up to its limit: one T and its F's per price. Returns what is left."""
    feed = exchange["feed"]
    order = exchange["orders"][slot]
    side = order["side"]
    other = 1 - side
    limit = order["tick"] - exchange["base"]
    best = exchange["best"]
    levels = exchange["levels"]
    first = True
    while size > 0 and not is_empty(exchange, other):
        place = best[other]
        if (side == 0 and place > limit) or (side == 1 and place < limit):
            break
        tick = exchange["base"] + place
        if first:
            feeds.begin_packet(feed, feeds.trade_delay(feed))
            first = False
        exchange["trades"] += 1
        trade = feeds.write(feed, records, dbn.ACTION_TRADE, side, order["number"], tick, 0)
        if order["told_size"] > 0:  # the aggressor is known to the feed: it gets an F of its own
            feeds.write(feed, records, dbn.ACTION_FILL, side, order["number"], tick, 0)
        if exchange["pro_rata"] and size < levels[other, place]["size"]:
            traded = _share_level(exchange, place, other, size, order["owner"], records)
        else:
            traded = _sweep_level(exchange, place, other, size, order["owner"], records)
        size -= traded
        if traded == 0:  # self-match cancels alone
            feed["count"] = trade
            exchange["trades"] -= 1
            continue
        records[trade]["size"] = traded
        if order["told_size"] > 0:
            records[trade + 1]["size"] = traded
        exchange["last_tick"] = tick
        exchange["reach"][side] = max(exchange["reach"][0], tick) if side == 0 else min(exchange["reach"][1], tick)
        if order["number"] == exchange["watch"]:
            note_fill(exchange, tick, traded, 0)
    return size


@njit
def _sweep_level(exchange, place: int, side: int, size: int, owner: int, records) -> int:
    """Fills the queue of a level from the front until `size` or the level is used up; returns the lots filled."""
    level = exchange["levels"][side, place]
    left = size
    while left > 0 and level["head"] != 0:
        slot = level["head"]
        if owner != NOBODY and exchange["orders"][slot]["owner"] == owner:
            _cancel_self_match(exchange, slot)
        else:
            left -= _fill(exchange, slot, min(left, exchange["orders"][slot]["size"]), records)
    return size - left


@njit
def _share_level(exchange, place: int, side: int, size: int, owner: int, records) -> int:
    """Pro-rata: each order its share of `size` rounded down, shares below 2 lots none; the rest by time."""
    orders = exchange["orders"]
    level = exchange["levels"][side, place]
    slot = level["head"]
    while slot != 0:
        following = orders[slot]["next"]
        if owner != NOBODY and orders[slot]["owner"] == owner:
            _cancel_self_match(exchange, slot)
        slot = following
    total = level["size"]
    if size >= total:
        return _sweep_level(exchange, place, side, size, owner, records)
    left = size
    last = level["tail"]
    slot = level["head"]
    while slot != 0:
        following = orders[slot]["next"] if slot != last else 0  # refreshed icebergs queue up behind `last`
        share = orders[slot]["size"] * size // total
        if share >= 2:
            left -= _fill(exchange, slot, share, records)
        slot = following
    return size - left + _sweep_level(exchange, place, side, left, owner, records)


@njit
def _cancel_self_match(exchange, slot: int) -> None:
    unlink(exchange, slot)
    exchange["orders"][slot]["size"] = 0
    exchange["orders"][slot]["hidden"] = 0
    touch(exchange, slot)


@njit
def _fill(exchange, slot: int, size: int, records) -> int:
    """Fills `size` lots, at most the displayed ones, of a resting order at its price: one F per order and trade."""
    order = exchange["orders"][slot]
    tick = order["tick"]
    if order["trade"] == exchange["trades"]:
        records[order["fill"]]["size"] += size
    else:
        order["trade"] = exchange["trades"]
        order["fill"] = feeds.write(
            exchange["feed"], records, dbn.ACTION_FILL, order["side"], order["number"], tick, size
        )
    touch(exchange, slot)
    reduce(exchange, slot, size)
    if order["number"] == exchange["watch"]:
        note_fill(exchange, tick, size, 1)
    return size


@njit
def reduce(exchange, slot: int, size: int) -> None:
    """Takes filled lots off the displayed size; an iceberg shows its next slice at the back of the queue."""
    order = exchange["orders"][slot]
    if size < order["size"]:
        exchange["levels"][order["side"], order["tick"] - exchange["base"]]["size"] -= size
        order["size"] -= size
        return
    unlink(exchange, slot)
    order["size"] = min(order["hidden"], order["show"])
    order["hidden"] -= order["size"]
    if order["size"] > 0:
        link(exchange, slot)
        touch_anew(exchange, slot)


@njit
def note_fill(exchange, tick: int, size: int, maker: int) -> None:
    i = exchange["fills_count"]
    if i == FILLS:
        exchange["full"] = 1
        return
    fill = exchange["fills"][i]
    fill["ts_event"] = exchange["feed"]["ts_event"]
    fill["tick"] = tick
    fill["size"] = size
    fill["maker"] = maker
    exchange["fills_count"] = i + 1


@njit
def elect_stops(exchange, records) -> None:
    """Stops whose trigger has traded act in the same event, oldest first, and may elect others."""
    stops, orders = exchange["stops"], exchange["orders"]
    while True:
        chosen = -1
        for i in range(exchange["stops_live"]):
            stop = orders[stops[i]]
            reach = exchange["reach"][stop["side"]]
            elected = stop["trigger"] <= reach if stop["side"] == 0 else stop["trigger"] >= reach
            if elected and (chosen < 0 or stop["number"] < orders[stops[chosen]]["number"]):
                chosen = i
        if chosen < 0:
            return
        slot = stops[chosen]
        exchange["stops_live"] -= 1
        stops[chosen] = stops[exchange["stops_live"]]
        orders[slot]["waiting"] = 0
        match_and_rest(exchange, slot, orders[slot]["size"], records)
