"""The state of the synthetic exchange: messages, orders, queues, price levels.

Prices are ticks, and a level's place in the ladder is `tick - base`. What the feed last said of an order is kept with
it, so that at the end of an event each touched order needs one A, M, C or nothing.
"""

import numpy as np

from bt_gym._jit import allocating, njit
from bt_gym.data.synthetic import feed as feeds

LEVELS = 1 << 14
ORDERS = 1 << 15
STOPS = 1 << 10
FILLS = 256
NOBODY = 0  # an owner without self-match prevention

NOTHING = -1  # no message
NEW = 0  # limit order; in continuous trading it may match on arrival, what is left rests
CANCEL = 1
MODIFY = 2  # new price and leaves; may match on arrival
STOP = 3  # becomes a limit order at `tick` once `trigger` trades
PHASE = 4  # `size` is the new phase (enums.PHASE_*); PHASE_AUCTION uncrosses the book and opens
CLEAR = 5  # all resting orders are gone (end of a day)
SNAPSHOT = 6  # publishes the book as it stands, and everything from here on
MUTE = 7  # publishes nothing from here on (a gap)
SUSPECT = 8  # publishes again, with F_MAYBE_BAD_BOOK, until a SNAPSHOT

message_dtype = np.dtype(
    [
        ("ts", "<i8"),  # ns, exchange time; strictly increasing
        ("order", "<i8"),  # number of the order: 0, 1, 2, ...
        ("kind", "<i8"),  # NEW ...
        ("side", "<i8"),
        ("tick", "<i8"),  # limit
        ("size", "<i8"),  # lots, hidden ones included; leaves for MODIFY
        ("show", "<i8"),  # most lots displayed at a time (iceberg), 0 for all
        ("trigger", "<i8"),  # ticks, of a STOP
        ("owner", "<i8"),  # NOBODY or who must not trade with itself
    ],
    align=True,
)
"""What one participant tells the exchange. Messages that name an order that has gone are ignored."""

order_dtype = np.dtype(
    [
        ("number", "<i8"),
        ("priority", "<i8"),  # grows with every place taken in any queue
        ("ts", "<i8"),  # ns, when it took its place
        ("side", "<i8"),
        ("tick", "<i8"),
        ("size", "<i8"),  # displayed lots; 0 when it has left the book
        ("hidden", "<i8"),
        ("show", "<i8"),
        ("owner", "<i8"),
        ("trigger", "<i8"),  # of a stop not yet elected
        ("waiting", "<i8"),  # 1: a stop not yet elected
        ("told_tick", "<i8"),  # what the feed last said; told_size 0: nothing
        ("told_size", "<i8"),
        ("stamp", "<i8"),  # last event that touched it ...
        ("touch", "<i8"),  # ... and its place in `touched`
        ("trade", "<i8"),  # last trade that filled it ...
        ("fill", "<i8"),  # ... and the place of its F record
        ("previous", "<i8"),  # slots; 0 none
        ("next", "<i8"),
    ]
)

level_dtype = np.dtype([("head", "<i8"), ("tail", "<i8"), ("size", "<i8"), ("count", "<i8")])

fill_dtype = np.dtype(
    [
        ("ts_event", "<i8"),
        ("tick", "<i8"),
        ("size", "<i8"),
        ("maker", "<i8"),
    ]
)
"""A fill of the watched order."""

exchange_dtype = np.dtype(
    [
        ("feed", feeds.feed_dtype),
        ("base", "<i8"),  # tick of the first level
        ("best", "<i8", (2,)),  # ladder places: highest bid (-1 none), lowest ask (LEVELS none)
        ("phase", "<i8"),  # enums.PHASE_*
        ("pro_rata", "<i8"),  # 1: pro-rata with a minimum of 2, rest by time; 0: price-time
        ("orders_live", "<i8"),
        ("slots_used", "<i8"),
        ("free", "<i8"),
        ("priority", "<i8"),
        ("event", "<i8"),  # count of messages
        ("trades", "<i8"),  # count of T records
        ("last_tick", "<i8"),  # of the last trade
        ("reach", "<i8", (2,)),  # in this event: highest price bought, lowest price sold
        ("touched_count", "<i8"),
        ("stops_live", "<i8"),
        ("full", "<i8"),  # 1: a table overflowed; the caller must raise
        ("watch", "<i8"),  # order whose fills are noted, -1 none
        ("fills_count", "<i8"),
        ("fills", fill_dtype, (FILLS,)),
        ("touched", "<i8", (2 * ORDERS,)),  # slots in the order of their last change, 0 for those that follow again
        ("stops", "<i8", (STOPS,)),
        ("levels", level_dtype, (2, LEVELS)),
        ("orders", order_dtype, (ORDERS,)),
    ]
)
"""The whole exchange; a copy of it is a fork of the market."""


@njit
def room_needed(exchange) -> int:
    """Records that the next event can't exceed."""
    return 6 * (exchange["orders_live"] + 64)


@njit
def best_tick(exchange, side: int) -> int:
    """Best price of a side that isn't empty."""
    return exchange["base"] + exchange["best"][side]


@njit
def is_empty(exchange, side: int) -> bool:
    """Whether the side has no order."""
    return exchange["best"][0] < 0 if side == 0 else exchange["best"][1] >= LEVELS


@njit
def best_size(exchange, side: int) -> int:
    """Displayed lots at the best price of a side that isn't empty."""
    return exchange["levels"][side, exchange["best"][side]]["size"]


@njit
def link(exchange, slot: int) -> None:
    """Puts the order at the back of the queue of its price."""
    order = exchange["orders"][slot]
    side = order["side"]
    place = order["tick"] - exchange["base"]
    level = exchange["levels"][side, place]
    exchange["priority"] += 1
    order["priority"] = exchange["priority"]
    order["ts"] = exchange["feed"]["ts_event"]
    order["previous"] = level["tail"]
    order["next"] = 0
    if level["tail"] == 0:
        level["head"] = slot
    else:
        exchange["orders"][level["tail"]]["next"] = slot
    level["tail"] = slot
    level["size"] += order["size"]
    level["count"] += 1
    best = exchange["best"]
    if (side == 0 and place > best[0]) or (side == 1 and place < best[1]):
        best[side] = place


@njit
def unlink(exchange, slot: int) -> None:
    """Takes the order out of its queue; its size is that of the level's account."""
    orders = exchange["orders"]
    order = orders[slot]
    side = order["side"]
    place = order["tick"] - exchange["base"]
    level = exchange["levels"][side, place]
    if order["previous"] == 0:
        level["head"] = order["next"]
    else:
        orders[order["previous"]]["next"] = order["next"]
    if order["next"] == 0:
        level["tail"] = order["previous"]
    else:
        orders[order["next"]]["previous"] = order["previous"]
    level["size"] -= order["size"]
    level["count"] -= 1
    best = exchange["best"]
    if level["count"] == 0 and place == best[side]:
        step = -1 if side == 0 else 1
        while 0 <= place < LEVELS and exchange["levels"][side, place]["count"] == 0:
            place += step
        best[side] = place


@njit
def touch(exchange, slot: int) -> None:
    """Notes that the feed has to speak of the order at the end of the event."""
    order = exchange["orders"][slot]
    if order["stamp"] != exchange["event"]:
        order["stamp"] = exchange["event"]
        order["touch"] = exchange["touched_count"]
        exchange["touched"][exchange["touched_count"]] = slot
        exchange["touched_count"] += 1


@njit
def touch_anew(exchange, slot: int) -> None:
    """The same for an order that goes to the back of a queue: who went there first is spoken of first."""
    order = exchange["orders"][slot]
    if order["stamp"] == exchange["event"]:
        exchange["touched"][order["touch"]] = 0
        order["stamp"] = -1
    if exchange["touched_count"] == exchange["touched"].shape[0]:
        exchange["full"] = 1
        exchange["touched_count"] = 0
    touch(exchange, slot)


@njit
def new_slot(exchange) -> int:
    """A slot for a new order; 0 and `full` when there is none left."""
    slot = exchange["free"]
    if slot != 0:
        exchange["free"] = exchange["orders"][slot]["next"]
    elif exchange["slots_used"] + 1 < ORDERS:
        exchange["slots_used"] += 1
        slot = exchange["slots_used"]
    else:
        exchange["full"] = 1
        return 0
    exchange["orders_live"] += 1
    return slot


@njit
def free_slot(exchange, slot: int, slots) -> None:
    order = exchange["orders"][slot]
    slots[order["number"]] = 0
    order["next"] = exchange["free"]
    exchange["free"] = slot
    exchange["orders_live"] -= 1


@allocating
def live_orders(exchange):
    """Slots of the orders in the book, by the time they took their place (Shell's sort)."""
    orders = exchange["orders"]
    slots = np.empty(exchange["orders_live"], np.int64)
    n = 0
    for side in range(2):
        for place in range(LEVELS):
            slot = exchange["levels"][side, place]["head"]
            while slot != 0:
                slots[n] = slot
                n += 1
                slot = orders[slot]["next"]
    gap = n // 2
    while gap > 0:
        for i in range(gap, n):
            slot = slots[i]
            k = i
            while k >= gap and orders[slots[k - gap]]["priority"] > orders[slot]["priority"]:
                slots[k] = slots[k - gap]
                k -= gap
            slots[k] = slot
        gap //= 2
    return slots[:n]
