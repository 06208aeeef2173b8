"""The participants of the synthetic market: one event queue that decides who sends which message when.

A latent value of the instrument moves in jumps (news). Nobody sees it, but quotes that it has left behind are pulled
from the back of the queue and hit at the front, which is what makes resting orders suffer adverse selection. Everything
arrives as a Hawkes process in its cluster form: immigrants at given rates, each event with offspring after log-uniform
delays (a power-law kernel without any exponential to evaluate; Bacry and Muzy 2014). Limit prices keep a power-law
distance from the opposite best (Zovko and Farmer 2002). Each order carries its own lifetime, so that depth settles
where arrivals and departures balance: the book neither dries out nor explodes. Takers without information work through
metaorders of power-law length (Lillo, Mike and Farmer 2005), whose k-th child moves the value by sqrt(k) - sqrt(k-1).

Integers only: time in ns, the value in 1/`FINE` of a tick, probabilities and means over `rng.ONE`.
"""

import numpy as np

from bt_gym._jit import njit
from bt_gym.core.enums import PHASE_AUCTION, PHASE_CONTINUOUS, PHASE_HALT
from bt_gym.data.synthetic import exchange as exchanges
from bt_gym.data.synthetic import rng as random
from bt_gym.data.synthetic import venue
from bt_gym.data.synthetic.agenda import (
    BUILD,
    CHILDREN_SHOWN,
    CONTROL,
    FINE,
    IMMIGRANT,
    JOIN,
    KIND_BITS,
    LOUD,
    METAORDERS,
    NARROW,
    NEWS,
    PEAK,
    PULL,
    QUIET,
    QUOTE,
    REGIME,
    REGIMES,
    SNIPE,
    TAKE,
    TIMER,
    drop_first,
    later,
    schedule,
)

# --- messages: an action fills in one, or none


@njit
def _place(flow, rules, exchange, message, side: int, tick: int, size: int) -> None:
    """A new limit order."""
    if not _in_range(exchange, tick):
        return
    rng = flow["rng"]
    show = 0
    if rules["iceberg"] and exchange["phase"] == PHASE_CONTINUOUS and random.chance(rng, rules["iceberg"]):
        show = 1 + random.below(rng, 5)
        size = show * (3 + random.below(rng, 12))
    message["kind"] = venue.NEW
    message["order"] = flow["orders"]
    message["side"] = side
    message["tick"] = tick
    message["size"] = size
    message["show"] = show
    message["owner"] = 1 + random.below(rng, rules["owners"])
    flow["orders"] += 1
    flow["renew"] = 1


@njit
def _change(message, kind: int, order, tick: int, size: int) -> None:
    """A MODIFY or CANCEL of an order in the book."""
    message["kind"] = kind
    message["order"] = order["number"]
    message["side"] = order["side"]
    message["tick"] = tick
    message["size"] = size


@njit
def _in_range(exchange, tick: int) -> bool:
    return 8 <= tick - exchange["base"] < venue.LEVELS - 8


@njit
def _lifetime(flow, rules, exchange, side: int, tick: int) -> int:
    """ns until the owner reconsiders: fleeting, seconds at the touch, minutes behind it."""
    rng = flow["rng"]
    if venue.is_empty(exchange, side) or venue.best_tick(exchange, side) != tick:
        life = rules["life_deep"]
    elif random.chance(rng, rules["flash"]):
        life = rules["life_flash"]
    else:
        life = rules["life_touch"]
    return random.octaves(rng, life[0], life[1])


# --- prices


@njit
def _quote_tick(flow, rules, exchange, side: int, distance: int) -> int:
    """Limit price at a distance from the opposite best, but not beyond what the value allows."""
    value = flow["value"]
    if exchange["phase"] != PHASE_CONTINUOUS or venue.is_empty(exchange, 1 - side):
        middle = value >> 16
        return middle + 1 - distance if side == 0 else middle + distance
    other = venue.best_tick(exchange, 1 - side)
    if side == 0:
        return min(other - distance, (value + rules["quote_margin"]) >> 16)
    return max(other + distance, -((rules["quote_margin"] - value) >> 16))


@njit
def _is_stale(flow, exchange, side: int, margin: int) -> bool:
    """Whether the value has left the best price of the side behind by more than `margin`."""
    if venue.is_empty(exchange, side):
        return False
    price = venue.best_tick(exchange, side) * FINE
    return flow["value"] < price - margin if side == 0 else flow["value"] > price + margin


@njit
def _favoured(flow, exchange) -> int:
    """The side that gains when the middle of the market goes to the value; both have orders."""
    middle2 = venue.best_tick(exchange, 0) + venue.best_tick(exchange, 1)
    return 0 if 2 * flow["value"] > middle2 * FINE else 1


@njit
def _last_at_touch(exchange, side: int):
    """The order at the back of the queue at the best price."""
    return exchange["orders"][exchange["levels"][side, exchange["best"][side]]["tail"]]


# --- what participants do


@njit
def _coin(rng) -> int:
    return random.next_word(rng) >> 31


@njit
def _quote(flow, rules, exchange, message) -> None:
    """A new limit order, more often on the side that the value favours, or one less on the other: queues tell a bit."""
    rng = flow["rng"]
    side = _coin(rng)
    if not venue.is_empty(exchange, 0) and not venue.is_empty(exchange, 1):
        if exchange["phase"] == PHASE_CONTINUOUS and random.chance(rng, rules["fade"]):
            order = _last_at_touch(exchange, 1 - _favoured(flow, exchange))
            _change(message, venue.CANCEL, order, order["tick"], order["size"])
            return
        if random.chance(rng, rules["lean"]):
            side = _favoured(flow, exchange)
    tick = _quote_tick(flow, rules, exchange, side, random.lookup(rng, rules["distance"]))
    _place(flow, rules, exchange, message, side, tick, random.lookup(rng, rules["quote_size"]))


@njit
def _take(flow, rules, exchange, message) -> None:
    """The next child of one of the metaorders, or a stop, or a resting order that loses patience."""
    rng = flow["rng"]
    i = random.below(rng, METAORDERS)
    if flow["left"][i] <= 0:
        flow["left"][i] = random.lookup(rng, rules["length"])
        flow["done"][i] = 0
        flow["sign"][i] = _coin(rng)
    side = flow["sign"][i]
    other = 1 - side
    sign = 1 - 2 * side
    size = random.lookup(rng, rules["take_size"])
    if exchange["phase"] != PHASE_CONTINUOUS:  # pre-open: a limit order that may cross others
        _place(flow, rules, exchange, message, side, (flow["value"] >> 16) + sign * random.below(rng, 6), size)
        return
    if venue.is_empty(exchange, other) or venue.is_empty(exchange, side):
        return
    touch = venue.best_tick(exchange, other)
    if random.chance(rng, rules["stop"]):
        trigger = touch + sign * (2 + random.below(rng, 12))
        _place(flow, rules, exchange, message, side, trigger + 8 * sign, size)
        message["kind"] = venue.STOP
        message["trigger"] = trigger
        message["show"] = 0
        message["owner"] = venue.NOBODY
        return
    flow["left"][i] -= 1
    flow["done"][i] += 1
    flow["value"] += sign * rules["impact"][min(flow["done"][i], CHILDREN_SHOWN) - 1]
    if random.chance(rng, rules["cross"]):
        order = _last_at_touch(exchange, side)
        if order["hidden"] == 0:
            _change(message, venue.MODIFY, order, touch, order["size"])
            return
    if random.chance(rng, rules["sweep"]):
        touch += 2 * sign
    else:
        size = min(size, venue.best_size(exchange, other))
    _place(flow, rules, exchange, message, side, touch, size)


@njit
def _snipe(flow, rules, exchange, message, other: int) -> None:
    """Hits a price that the value has left behind; every other time all of it and a little more, which then rests."""
    if not _is_stale(flow, exchange, other, rules["snipe_margin"]):
        return
    rng = flow["rng"]
    size = random.lookup(rng, rules["take_size"])
    if random.chance(rng, rules["snipe_all"]):
        size = venue.best_size(exchange, other) + random.below(rng, 4)
    _place(flow, rules, exchange, message, 1 - other, venue.best_tick(exchange, other), size)


@njit
def _pull(flow, rules, exchange, message, side: int) -> None:
    """The last in the queue of a stale best price leaves, by cancelling or by moving away; the next one follows."""
    if not _is_stale(flow, exchange, side, rules["stale_margin"]):
        flow["pulling"][side] -= 1
        return
    rng = flow["rng"]
    order = _last_at_touch(exchange, side)
    tick = order["tick"] - (1 - 2 * side) * (1 + random.below(rng, 2))
    kind = venue.MODIFY if random.chance(rng, rules["reprice"]) and _in_range(exchange, tick) else venue.CANCEL
    _change(message, kind, order, tick, order["size"])
    ticks_behind = abs(flow["value"] // FINE - order["tick"])  # the further, the faster
    delay = random.octaves(rng, rules["pull_delay"][0], rules["pull_delay"][1]) >> min(2 * ticks_behind, 12)
    schedule(flow, flow["now"] + delay, PULL + side, 0)


@njit
def _narrow(flow, rules, exchange, message) -> None:
    """A wide market is improved on the side that the value favours; others join the new best price."""
    flow["narrowing"] = 0
    if venue.is_empty(exchange, 0) or venue.is_empty(exchange, 1):
        return
    rng = flow["rng"]
    bid, ask = venue.best_tick(exchange, 0), venue.best_tick(exchange, 1)
    room = ask - bid - rules["spread"]
    if room <= 0:
        return
    side = _favoured(flow, exchange)
    if side == 0:
        tick = min(bid + 1 + random.below(rng, room), (flow["value"] + rules["quote_margin"]) >> 16)
    else:
        tick = max(ask - 1 - random.below(rng, room), -((rules["quote_margin"] - flow["value"]) >> 16))
    if (side == 0 and tick <= bid) or (side == 1 and tick >= ask):
        return
    _place(flow, rules, exchange, message, side, tick, random.lookup(rng, rules["quote_size"]))
    for _ in range(random.count(rng, rules["joiners"])):
        schedule(flow, later(flow, rules["join_delay"]), JOIN + side, 0)


@njit
def _join(flow, rules, exchange, message, side: int) -> None:
    """One more order at the best price, unless the value has left it."""
    if venue.is_empty(exchange, side) or _is_stale(flow, exchange, side, rules["quote_margin"]):
        return
    size = random.lookup(flow["rng"], rules["quote_size"])
    _place(flow, rules, exchange, message, side, venue.best_tick(exchange, side), size)


@njit
def _reconsider(flow, rules, exchange, message, slot: int) -> None:
    """An order's time is up: most are cancelled, some move to a new price, shrink or grow."""
    rng = flow["rng"]
    order = exchange["orders"][slot]
    tick, size = order["tick"], order["size"]
    kind = venue.CANCEL
    if not order["waiting"] and order["hidden"] == 0:
        choice = random.next_word(rng) >> 16
        if choice < rules["reprice"]:
            new_tick = _quote_tick(flow, rules, exchange, order["side"], random.lookup(rng, rules["distance"]))
            if new_tick != tick and _in_range(exchange, new_tick):
                kind = venue.MODIFY
                tick = new_tick
        elif choice < rules["reprice"] + rules["grow"]:
            kind = venue.MODIFY
            size += 1 + random.below(rng, 3)
        elif choice < rules["reprice"] + rules["grow"] + rules["shrink"] and size > 1:
            kind = venue.MODIFY
            size = 1 + random.below(rng, size - 1)
    _change(message, kind, order, tick, size)
    flow["renew"] = 1


@njit
def _build(flow, rules, exchange, message) -> None:
    """An order of the book before the session, at a level drawn from the table."""
    rng = flow["rng"]
    side = _coin(rng)
    level = random.lookup(rng, rules["depth"])
    middle = flow["value"] >> 16
    tick = middle + 1 - level if side == 0 else middle + level
    _place(flow, rules, exchange, message, side, tick, random.lookup(rng, rules["quote_size"]))


@njit
def _change_regime(flow, rules, component: int) -> None:
    """The activity is a product of components that switch in seconds to minutes (Calvet and Fisher 2004)."""
    rng = flow["rng"]
    flow["regime"][component] = LOUD if _coin(rng) else QUIET
    product = random.ONE
    for k in range(REGIMES):
        product *= flow["regime"][k]
    flow["activity"] = product // PEAK
    gap = random.exponential(rng, rules["exponential"], rules["regime"][component])
    schedule(flow, flow["now"] + gap, REGIME, component)


@njit
def _react(flow, rules, exchange) -> None:
    """Whoever watches the market plans what it calls for."""
    if exchange["phase"] != PHASE_CONTINUOUS:
        return
    for side in range(2):
        if flow["pulling"][side] == 0 and _is_stale(flow, exchange, side, rules["stale_margin"]):
            flow["pulling"][side] = rules["pull_chains"]
            for _ in range(rules["pull_chains"]):
                schedule(flow, later(flow, rules["pull_delay"]), PULL + side, 0)
            for _ in range(random.count(flow["rng"], rules["snipes"])):
                schedule(flow, later(flow, rules["snipe_delay"]), SNIPE + side, 0)
    if not flow["narrowing"] and not venue.is_empty(exchange, 0) and not venue.is_empty(exchange, 1):
        spread = exchange["best"][1] - exchange["best"][0]
        if spread > rules["spread"]:
            flow["narrowing"] = 1
            schedule(flow, later(flow, rules["narrow_delay"]), NARROW, 0)


# --- the clock


@njit
def _act(flow, rules, exchange, message, slots, kind: int, number: int) -> None:
    """Does what is due: fills in the message, if it comes to one, and plans what follows."""
    rng = flow["rng"]
    continuous = exchange["phase"] == PHASE_CONTINUOUS
    if kind < TIMER:
        if kind >= IMMIGRANT:
            kind -= IMMIGRANT
            gap = random.exponential(rng, rules["exponential"], rules["gap"][kind])
            schedule(flow, flow["now"] + gap, kind + IMMIGRANT, 0)
            if kind != QUOTE and not random.chance(rng, flow["activity"]):
                return
        for child in range(3):
            delay = rules["news_delay"] if kind == NEWS and child == NEWS else rules["child_delay"]
            for _ in range(random.count(rng, rules["children"][kind, child])):
                schedule(flow, later(flow, delay), child, 0)
        if kind == NEWS:
            jump = random.lookup(rng, rules["jump"])
            flow["value"] += -jump if _coin(rng) else jump
        elif exchange["phase"] == PHASE_HALT:
            return
        elif kind == TAKE:
            _take(flow, rules, exchange, message)
        else:
            _quote(flow, rules, exchange, message)
    elif kind == TIMER:
        if exchange["phase"] == PHASE_HALT:
            schedule(flow, later(flow, rules["life_touch"]), TIMER, number)
        elif slots[number] != 0:
            _reconsider(flow, rules, exchange, message, slots[number])
    elif kind == CONTROL:
        message["kind"] = number >> 4
        message["size"] = number & 15
    elif kind == REGIME:
        _change_regime(flow, rules, number)
    elif kind == BUILD:
        _build(flow, rules, exchange, message)
    elif not continuous:
        flow["narrowing"] = 0
        flow["pulling"][:] = 0
    elif kind < SNIPE:
        _pull(flow, rules, exchange, message, kind - PULL)
    elif kind < NARROW:
        _snipe(flow, rules, exchange, message, kind - SNIPE)
    elif kind == NARROW:
        _narrow(flow, rules, exchange, message)
    else:
        _join(flow, rules, exchange, message, kind - JOIN)


@njit
def _forget(message) -> None:
    """Nothing to say yet; the buffer is used more than once."""
    message["kind"] = venue.NOTHING
    message["order"] = 0
    message["side"] = 0
    message["tick"] = 0
    message["size"] = 0
    message["show"] = 0
    message["trigger"] = 0
    message["owner"] = 0


@njit
def run(flow, rules, exchange, messages, records, slots, until: int) -> bool:
    """Lets the market live until `until`; False when a buffer has to be emptied or grown first."""
    feed = exchange["feed"]
    while flow["due_ts"][0] <= until:
        if (
            flow["messages"] == messages.shape[0]
            or flow["orders"] == slots.shape[0]
            or feed["count"] + venue.room_needed(exchange) > records.shape[0]
            or exchange["full"]
            or flow["full"]
        ):
            return False
        what = flow["due"][0]
        flow["now"] = max(flow["due_ts"][0], flow["now"])
        drop_first(flow)
        message = messages[flow["messages"]]
        _forget(message)
        flow["renew"] = 0
        _act(flow, rules, exchange, message, slots, what & ((1 << KIND_BITS) - 1), what >> KIND_BITS)
        if message["kind"] != venue.NOTHING:
            flow["now"] = max(flow["now"], feed["ts_event"] + 1)
            message["ts"] = flow["now"]
            flow["messages"] += 1
            exchanges.process(exchange, message, records, slots)
            if flow["renew"] and slots[message["order"]] != 0:
                life = _lifetime(flow, rules, exchange, message["side"], message["tick"])
                schedule(flow, max(flow["now"], flow["start"]) + life, TIMER, message["order"])
        _react(flow, rules, exchange)
    return True


def begin(flow: np.void, rules: np.void, *, start: int, opens: int, orders: int) -> None:
    """Plans the session: a book of `orders` placed in the hour before, the snapshot, the immigrants, the auction.

    Args:
        flow: with value and random stream set.
        rules: of the profile.
        start: ns, the snapshot.
        opens: ns, the auction.
        orders: in the book at the start.
    """
    flow["start"] = start
    for k in range(orders):
        schedule(flow, start - 3600 * 10**9 + k * (3600 * 10**9 // (orders + 1)), BUILD, 0)
    schedule(flow, start, CONTROL, venue.SNAPSHOT << 4)
    for kind in range(3):
        gap = random.exponential(flow["rng"], rules["exponential"], rules["gap"][kind])
        schedule(flow, start + gap, kind + IMMIGRANT, 0)
    for component in range(REGIMES):
        schedule(flow, start, REGIME, component)
    schedule(flow, opens, CONTROL, venue.PHASE << 4 | PHASE_AUCTION)
