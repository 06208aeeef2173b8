"""A matching engine that publishes MBO records of CME's shapes.

Messages (`venue.message_dtype`) go in, one event at most comes out of each. A change of price, an increase of size or a
refreshed iceberg goes to the back of the queue, a decrease keeps its place (CME, "Order Functionalities"). In the
pre-open orders accumulate and the book may cross, until the uncross at the price of most volume.
"""

import numpy as np

from bt_gym._jit import allocating, njit
from bt_gym.core.enums import PHASE_AUCTION, PHASE_CONTINUOUS, PHASE_PRE_OPEN
from bt_gym.data import dbn
from bt_gym.data.synthetic import feed as feeds
from bt_gym.data.synthetic.auction import uncross
from bt_gym.data.synthetic.matching import elect_stops, match_and_rest
from bt_gym.data.synthetic.venue import (
    CANCEL,
    CLEAR,
    LEVELS,
    MODIFY,
    MUTE,
    NEW,
    PHASE,
    SNAPSHOT,
    STOP,
    STOPS,
    SUSPECT,
    exchange_dtype,
    free_slot,
    live_orders,
    new_slot,
    touch,
    unlink,
)


@njit
def process(exchange, message, records, slots) -> None:
    """Takes one message; appends the records of its event to `records` (at `feed["count"]`).

    `slots[number]` is the slot of an order, 0 when it isn't there; the caller provides room in both (`room_needed`).
    """
    feed = exchange["feed"]
    feeds.begin_event(feed, message["ts"])
    exchange["event"] += 1
    exchange["touched_count"] = 0
    exchange["reach"][0] = -(1 << 40)
    exchange["reach"][1] = 1 << 40
    trades = exchange["trades"]
    kind = message["kind"]
    flags = dbn.FLAG_LAST | feeds.PUBLISHER_SPECIFIC
    if kind in (NEW, STOP):
        _enter(exchange, message, records, slots)
    elif kind in (CANCEL, MODIFY):
        slot = slots[message["order"]]
        if slot != 0 and exchange["orders"][slot]["waiting"]:
            if kind == CANCEL:
                _forget_stop(exchange, slot, slots)
        elif slot != 0 and kind == CANCEL:
            unlink(exchange, slot)
            exchange["orders"][slot]["size"] = 0
            touch(exchange, slot)
        elif slot != 0:
            _modify(exchange, slot, message, records)
    elif kind == PHASE:
        if message["size"] == PHASE_AUCTION:
            uncross(exchange, records)
            flags = dbn.FLAG_LAST
            exchange["phase"] = PHASE_CONTINUOUS
        else:
            exchange["phase"] = message["size"]
    elif kind == CLEAR:
        _clear(exchange, records, slots)
    elif kind == SNAPSHOT:
        _publish_book(exchange, records)
        return
    elif kind == MUTE:
        feed["muted"] = 1
    elif kind == SUSPECT:
        feed["muted"] = 0
        feed["suspect"] = dbn.FLAG_MAYBE_BAD_BOOK
    elect_stops(exchange, records)
    _publish_updates(exchange, records, slots, exchange["trades"] > trades)
    feeds.end_event(feed, records, flags)


@njit
def _enter(exchange, message, records, slots) -> None:
    """A new order: matches what it can in continuous trading, then rests; or waits as a stop."""
    place = message["tick"] - exchange["base"]
    if place < 0 or place >= LEVELS:
        exchange["full"] = 1
        return
    slot = new_slot(exchange)
    if slot == 0:
        return
    slots[message["order"]] = slot
    order = exchange["orders"][slot]
    order["number"] = message["order"]
    order["side"] = message["side"]
    order["tick"] = message["tick"]
    order["show"] = message["show"]
    order["owner"] = message["owner"]
    order["trigger"] = message["trigger"]
    order["waiting"] = 1 if message["kind"] == STOP else 0
    order["told_size"] = 0
    order["stamp"] = -1
    order["trade"] = -1
    if order["waiting"]:
        order["size"] = message["size"]
        if exchange["stops_live"] == STOPS:
            exchange["full"] = 1
            return
        exchange["stops"][exchange["stops_live"]] = slot
        exchange["stops_live"] += 1
    else:
        match_and_rest(exchange, slot, message["size"], records)


@njit
def _modify(exchange, slot: int, message, records) -> None:
    """New price or leaves of a resting order; hidden lots of an iceberg stay what they are."""
    order = exchange["orders"][slot]
    size = message["size"]
    if message["tick"] == order["tick"] and size < order["size"]:
        exchange["levels"][order["side"], order["tick"] - exchange["base"]]["size"] += size - order["size"]
        order["size"] = size
        touch(exchange, slot)
        return
    hidden = order["hidden"]
    unlink(exchange, slot)
    order["tick"] = message["tick"]
    match_and_rest(exchange, slot, size + hidden, records)


@njit
def _forget_stop(exchange, slot: int, slots) -> None:
    """A stop leaves without a trace in the feed."""
    stops = exchange["stops"]
    last = exchange["stops_live"] - 1
    for i in range(last + 1):
        if stops[i] == slot:
            stops[i] = stops[last]
            break
    exchange["stops_live"] = last
    exchange["orders"][slot]["waiting"] = 0
    free_slot(exchange, slot, slots)


@njit
def _publish_updates(exchange, records, slots, after_trades: bool) -> None:
    """The book updates of an event, bids before asks, in the order in which the orders were touched."""
    feed, orders = exchange["feed"], exchange["orders"]
    first = True
    for side in range(2):
        for i in range(exchange["touched_count"]):
            slot = exchange["touched"][i]
            order = orders[slot]
            if slot == 0 or order["side"] != side:
                continue
            if order["size"] > 0 or order["told_size"] > 0:
                if first:
                    feeds.begin_packet(feed, feeds.update_delay(feed) if after_trades else feeds.quote_delay(feed))
                    first = False
                if order["size"] > 0:
                    action = dbn.ACTION_ADD if order["told_size"] == 0 else dbn.ACTION_MODIFY
                    order["told_tick"] = order["tick"]
                    order["told_size"] = order["size"]
                else:
                    action = dbn.ACTION_CANCEL
                feeds.write(feed, records, action, side, order["number"], order["told_tick"], order["told_size"])
            if order["size"] == 0:
                free_slot(exchange, slot, slots)


@allocating
def _clear(exchange, records, slots) -> None:
    """Drops all resting orders, with one R."""
    feed = exchange["feed"]
    for slot in live_orders(exchange):
        order = exchange["orders"][slot]
        level = exchange["levels"][order["side"], order["tick"] - exchange["base"]]
        level["head"] = 0
        level["tail"] = 0
        level["size"] = 0
        level["count"] = 0
        order["size"] = 0
        free_slot(exchange, slot, slots)
    exchange["best"][0] = -1
    exchange["best"][1] = LEVELS
    feeds.begin_packet(feed, feeds.quote_delay(feed))
    clear = feeds.write(feed, records, dbn.ACTION_CLEAR, 2, -1, 0, 0)
    records[clear]["price"] = dbn.UNDEF_PRICE


@njit
def _publish_book(exchange, records) -> None:
    """R, then all orders by age with the time they took their place: Databento's snapshots since 2024."""
    feed, orders = exchange["feed"], exchange["orders"]
    feed["muted"] = 0
    feed["suspect"] = 0
    now = feed["ts_event"]
    feed["ts_recv"] = max(feed["ts_recv"], now)
    feed["in_delta"] = 0
    flags = dbn.FLAG_SNAPSHOT | dbn.FLAG_BAD_TS_RECV
    by_age = live_orders(exchange)
    sequence = feed["sequence"]
    clear = feeds.write(feed, records, dbn.ACTION_CLEAR, 2, -1, 0, 0)
    records[clear]["price"] = dbn.UNDEF_PRICE
    records[clear]["flags"] = flags
    records[clear]["sequence"] = 0
    if len(by_age) > 0:
        records[clear]["ts_event"] = orders[by_age[0]]["ts"]
    for slot in by_age:
        order = orders[slot]
        i = feeds.write(feed, records, dbn.ACTION_ADD, order["side"], order["number"], order["tick"], order["size"])
        records[i]["ts_event"] = order["ts"]
        records[i]["flags"] = flags
        order["told_tick"] = order["tick"]
        order["told_size"] = order["size"]
    feed["sequence"] = sequence
    records[feed["count"] - 1]["flags"] |= dbn.FLAG_LAST


def new_exchange(
    *, base: int, tick_nanos: int, instrument_id: int, first_id: int, last_tick: int, pro_rata: bool = False
) -> np.ndarray:
    """An empty exchange in its pre-open, publishing nothing yet: an array of shape (1,)."""
    exchanges = np.zeros(1, exchange_dtype)
    exchange = exchanges[0]
    exchange["base"] = base
    exchange["best"] = (-1, LEVELS)
    exchange["phase"] = PHASE_PRE_OPEN
    exchange["pro_rata"] = pro_rata
    exchange["last_tick"] = last_tick
    exchange["watch"] = -1
    feed = exchange["feed"]
    feed["tick_nanos"] = tick_nanos
    feed["first_id"] = first_id
    feed["instrument_id"] = instrument_id
    feed["muted"] = 1
    return exchanges
