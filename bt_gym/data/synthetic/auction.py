"""The opening auction: one price for all orders that cross."""

from bt_gym._jit import njit
from bt_gym.data import dbn
from bt_gym.data.synthetic import feed as feeds
from bt_gym.data.synthetic.matching import note_fill, reduce
from bt_gym.data.synthetic.venue import touch


@njit
def uncross_price(exchange) -> int:
    """Ladder place of the auction price: most volume, then least imbalance, then nearest the last price; -1 if none."""
    high, low = exchange["best"][0], exchange["best"][1]
    if high < low:
        return -1
    bids, asks = 0, 0
    for place in range(low, high + 1):
        bids += _total_size(exchange, 0, place)
    reference = exchange["last_tick"] - exchange["base"]
    chosen, most, least, nearest = -1, 0, 0, 0
    for place in range(low, high + 1):
        asks += _total_size(exchange, 1, place)
        volume = min(bids, asks)
        gap = abs(bids - asks)
        distance = abs(place - reference)
        better = volume > most or (volume == most and (gap < least or (gap == least and distance < nearest)))
        if chosen < 0 or better:
            chosen, most, least, nearest = place, volume, gap, distance
        bids -= _total_size(exchange, 0, place)
    return chosen


@njit
def _total_size(exchange, side: int, place: int) -> int:
    """Lots at a price, the hidden ones included."""
    total = 0
    slot = exchange["levels"][side, place]["head"]
    while slot != 0:
        order = exchange["orders"][slot]
        total += order["size"] + order["hidden"]
        slot = order["next"]
    return total


@njit
def uncross(exchange, records) -> None:
    """One T without side or id, an F without side for each order filled, bids and asks as they are paired."""
    place = uncross_price(exchange)
    if place < 0:
        return
    feed, best, levels, orders = exchange["feed"], exchange["best"], exchange["levels"], exchange["orders"]
    tick = exchange["base"] + place
    feeds.begin_packet(feed, feeds.AUCTION_DELAY + feeds.trade_delay(feed))
    exchange["trades"] += 1
    trade = feeds.write(feed, records, dbn.ACTION_TRADE, 2, -1, tick, 0)
    volume = 0
    while best[0] >= place and best[1] <= place:
        bid, ask = levels[0, best[0]]["head"], levels[1, best[1]]["head"]
        size = min(orders[bid]["size"], orders[ask]["size"])
        for slot in (bid, ask):
            order = orders[slot]
            if order["trade"] == exchange["trades"]:
                records[order["fill"]]["size"] += size
            else:
                order["trade"] = exchange["trades"]
                order["fill"] = feeds.write(feed, records, dbn.ACTION_FILL, 2, order["number"], tick, size)
            touch(exchange, slot)
            reduce(exchange, slot, size)
            if order["number"] == exchange["watch"]:
                note_fill(exchange, tick, size, 1)
        volume += size
    records[trade]["size"] = volume
    exchange["last_tick"] = tick
