"""Features of the market as received and of an account as known: what a policy or a model looks at.

Flows over a time are differences of running sums: what each event brings is added up once for a tape (`build_sums`, a
row before every eighth event, kept beside the tape), so that a window of any length costs two look-ups and is warm at
once wherever a run begins. Between two rows the few events are added up on the ladder, by the same code.

A window of `lag` begins at a row: it holds the events received in the last `lag` ns and up to seven before them, and is
zero when nothing was received in it. Quantities without bounds are squashed, sign(x) log(1 + |x|), so that
they need no scaling: a feature leaves [-10, 10] only beyond 22,025 lots, ticks or events, and is cut there.
"""

import math
import re

import numpy as np

from bt_gym._jit import inlined, njit
from bt_gym.core import enums
from bt_gym.core.market import best_price, mid2, move, receive_one, received_at
from bt_gym.core.positions import unrealised
from bt_gym.core.tape import KIND_MASK, LADDER_TICKS, SIDE_BIT, TICK_SHIFT

VERSION = 2
"""Of the sums' meaning: rows of another version are built anew."""

STRIDE = 8
"""Events between two rows of sums."""

DEEP_LEVELS = 5
MAX_LAGS = 6
MAX_LEVELS = 10
LIMIT = 10.0
"""Bound of every feature."""

SUM_OFI = 0  # lots: order flow imbalance at the best prices (Cont, Kukanov, Stoikov 2014)
SUM_DEEP = 1  # lots: the same one to four ticks behind them, added up (Xu, Gould, Howison 2018)
SUM_BOUGHT = 2  # lots that aggressors bought
SUM_SOLD = 3
SUM_SQUARES = 4  # changes of the mid in half ticks, squared
SUM_ADDS = 5  # orders that took a place in a queue
SUM_CANCELS = 6  # that left one without a fill, in whole or in part
SUM_TRADES = 7
SUMS = 8

sums_dtype = np.dtype(
    [
        ("ts", "<i8"),  # ns: when the event before the row was received, without extra latency
        ("sums", "<i4", (SUMS,)),  # over all events before the row, modulo 2**32
        ("mark2", "<i4"),  # twice the last valid mid in ticks; NO_TICK before the first
    ],
    align=True,
)
"""48 bytes: row k stands before event k * STRIDE. All that a window's far edge has to tell lies here, in one place."""

memory_dtype = np.dtype(
    [
        ("edges", "<i8", (MAX_LAGS,)),  # rows at the windows' far edges
        ("silent", "<i8", (MAX_LAGS,)),  # 1: nothing was received in the window
        ("squares", "<i8", (MAX_LAGS,)),  # SUM_SQUARES of the window
        ("sums", "<i4", (SUMS,)),  # over all events received, modulo 2**32
        ("levels", "<i4", (2, MAX_LEVELS, 2)),  # nonempty levels from the best on: tick, lots (0: none)
        ("own", "<i8", (2,)),  # slots of the own quotes, -1 without one
        ("parent", "<i8"),  # signed lots of the order to be executed; 0 without one
    ],
    align=True,
)

# What a feature is; its argument is a level from 1, a lag's index, or a side.
BID_PRICE = 0
ASK_PRICE = 1
BID_SIZE = 2
ASK_SIZE = 3
SPREAD = 4
IMBALANCE = 5
MICROPRICE = 6
OFI = 7
DEEP_OFI = 8
TRADE_FLOW = 9
RETURNS = 10
VOLATILITY = 11
EVENTS = 12
ADDS = 13
CANCELS = 14
TRADES = 15
TIME_SIN = 16
TIME_COS = 17
INVENTORY = 18
UNREALISED = 19
OWN_QUOTE = 20
OWN_DISTANCE = 21
OWN_QUEUE = 22
OWN_IN_FLIGHT = 23
REMAINING = 24
REMAINING_QUANTITY = 25
PARENT_SIDE = 26

_LEVEL_FEATURES = {
    "bid_price": (BID_PRICE, "squashed ticks below the mid"),
    "ask_price": (ASK_PRICE, "squashed ticks above the mid"),
    "bid_size": (BID_SIZE, "log(1 + lots)"),
    "ask_size": (ASK_SIZE, "log(1 + lots)"),
    "imbalance": (IMBALANCE, "(bid - ask) / (bid + ask) lots of so many levels"),
}
_LEVEL_KINDS = [kind for kind, _ in _LEVEL_FEATURES.values()]
_LAG_FEATURES = {
    "ofi": (OFI, "squashed lots"),
    "deep_ofi": (DEEP_OFI, "squashed lots"),
    "trade_flow": (TRADE_FLOW, "(bought - sold) / (bought + sold) lots"),
    "returns": (RETURNS, "squashed ticks of the mid"),
    "volatility": (VOLATILITY, "log(1 + ticks), root of summed squares"),
    "events": (EVENTS, "log(1 + events)"),
    "adds": (ADDS, "log(1 + orders)"),
    "cancels": (CANCELS, "log(1 + orders)"),
    "trades": (TRADES, "log(1 + trades)"),
}
_PLAIN_FEATURES = {
    "spread": (SPREAD, 0, "log(1 + ticks)"),
    "microprice": (MICROPRICE, 0, "squashed ticks from the mid"),
    "time_sin": (TIME_SIN, 0, "sine of the UTC day"),
    "time_cos": (TIME_COS, 0, "cosine of the UTC day"),
    "inventory": (INVENTORY, 0, "lots held as known / max_position, else squashed lots"),
    "unrealised_pnl": (UNREALISED, 0, "squashed ticks on one lot"),
    "remaining_time": (REMAINING, 0, "part of the episode's window"),
    "remaining_quantity": (REMAINING_QUANTITY, 0, "part of the order to be executed, as known; 0 without one"),
    "side": (PARENT_SIDE, 0, "of the order to be executed: 1 buy, -1 sell; 0 without one"),
    **{
        f"own_{side}{name}": (kind, code, unit)
        for code, side in ((enums.BID, "bid"), (enums.ASK, "ask"))
        for name, kind, unit in (
            ("", OWN_QUOTE, "1: an own order of the side works or is on its way"),
            ("_distance", OWN_DISTANCE, "squashed ticks behind the best price"),
            ("_queue", OWN_QUEUE, "part of the level's lots that is ahead, as known; 1 until that is known"),
            ("_in_flight", OWN_IN_FLIGHT, "1: a request of it is unanswered"),
        )
    },
}
_ALIASES = {"book_imbalance": "imbalance_5", "trade_flow": "trade_flow_10s", "volatility": "volatility_1m"}
_UNITS_NS = {"ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}

MARKET_FEATURES = (
    *(f"{side}_price_{level}" for side in ("bid", "ask") for level in range(1, 4)),
    *(f"{side}_size_{level}" for side in ("bid", "ask") for level in range(1, 4)),
    "spread",
    "imbalance_1",
    "imbalance_5",
    "microprice",
    *(f"ofi_{lag}" for lag in ("100ms", "1s", "10s")),
    "deep_ofi_1s",
    *(f"trade_flow_{lag}" for lag in ("1s", "10s")),
    *(f"returns_{lag}" for lag in ("1s", "10s", "1m")),
    "volatility_1m",
    "trades_10s",
    "adds_1s",
    "cancels_1s",
    "time_sin",
    "time_cos",
)
"""Of the market alone."""

OWN_FEATURES = (*(name for name in _PLAIN_FEATURES if name.startswith("own_")), "inventory", "unrealised_pnl")
"""Of the account as known."""

EPISODE_FEATURES = ("remaining_time", "remaining_quantity", "side")
"""Of an episode of an environment."""

GROUPS = ("market", "own", "episode")
"""What features tell of."""

DEFAULT_FEATURES = (
    *MARKET_FEATURES,
    *(name for name in OWN_FEATURES if not name.endswith("in_flight")),  # constant where latency is below the clock
    "remaining_time",
)
"""What an environment's agent sees unless told otherwise."""


class FeatureSet:
    """Names of features as kernels read them.

    >>> FeatureSet(["spread", "returns_5m"]).units
    ('log(1 + ticks)', 'squashed ticks of the mid')

    Attributes:
        names: (F,) as given.
        units: (F,) what their values are.
        codes: (F, 2) int32, kind and argument.
        lags: (MAX_LAGS,) int64 ns, increasing; 0 where there are fewer.
        depth: levels that are needed, at least 1.
        groups: which of them tell of the market, of the own account, of the episode; those that there are.

    Raises:
        ValueError: a name is unknown, or there are more than `MAX_LAGS` different times.
    """

    def __init__(self, names: "tuple[str, ...] | list[str]", more_lags: tuple[int, ...] = ()) -> None:
        """`more_lags`: ns, of windows that are followed for others than features."""
        self.names = tuple(names)
        parsed = [_parse(name) for name in self.names]
        lags = sorted({*more_lags, *(lag for _, lag, _ in parsed if lag)})
        if len(lags) > MAX_LAGS:
            raise ValueError(f"features look back over {len(lags)} different times: at most {MAX_LAGS}")
        self.units = tuple(unit for _, _, unit in parsed)
        self.codes = np.array([(kind, lags.index(lag) if lag else arg) for (kind, arg), lag, unit in parsed], np.int32)
        self.codes = self.codes.reshape(len(parsed), 2)
        self.lags = np.array(lags + [0] * (MAX_LAGS - len(lags)), np.int64)
        self.depth = max([argument for kind, argument in self.codes.tolist() if kind in _LEVEL_KINDS], default=1)
        found = [_group_of(kind) for kind in self.codes[:, 0].tolist()]
        self.groups = {group: np.flatnonzero([group == one for one in found]) for group in GROUPS if group in found}


def _group_of(kind: int) -> str:
    if kind <= TIME_COS:
        return "market"
    return "own" if kind <= OWN_IN_FLIGHT else "episode"


def _parse(name: str) -> tuple[tuple[int, int], int, str]:
    """((kind, argument), lag in ns or 0, unit) of a feature's name."""
    full = _ALIASES.get(name, name)
    if full in _PLAIN_FEATURES:
        kind, argument, unit = _PLAIN_FEATURES[full]
        return (kind, argument), 0, unit
    if match := re.fullmatch(r"([a-z_]+)_([1-9][0-9]?)", full):
        level = int(match[2])
        if match[1] in _LEVEL_FEATURES and level <= MAX_LEVELS:
            kind, unit = _LEVEL_FEATURES[match[1]]
            return (kind, level), 0, unit
    if match := re.fullmatch(r"([a-z_]+)_([1-9][0-9]{0,5})(ms|s|m|h)", full):
        lag = int(match[2]) * _UNITS_NS[match[3]]
        if match[1] in _LAG_FEATURES and lag <= 24 * _UNITS_NS["h"]:
            kind, unit = _LAG_FEATURES[match[1]]
            return (kind, 0), lag, unit
    known = [*_PLAIN_FEATURES, *(f"{n}_<level>" for n in _LEVEL_FEATURES), *(f"{n}_<time>" for n in _LAG_FEATURES)]
    raise ValueError(f"unknown feature '{name}': there are {', '.join(known)}, such as bid_size_1 or ofi_10s")


# --- running sums


@njit
def _wrap(value: int) -> int:
    """Modulo 2**32, as a signed number: differences of sums stay right when a sum runs over."""
    return ((value + 0x80000000) & 0xFFFFFFFF) - 0x80000000


@njit
def _lots(market, blocks, side: int, tick: int) -> int:
    """Displayed lots; after a jump out of the ladder window those of the next window, which begins there."""
    offset = tick - market["base"]
    if 0 <= offset < LADDER_TICKS:
        return np.int64(market["ladder"][side, offset])
    block = market["block"] + 1
    if block < blocks.shape[0] and blocks[block]["event"] == market["event"]:
        offset = tick - blocks[block]["base"]
        if 0 <= offset < LADDER_TICKS:
            return np.int64(blocks[block]["ladder"][side, offset])
    return np.int64(0)


@njit
def _deep_lots(market, blocks, side: int, best: int) -> int:
    """Displayed lots of the levels behind the best one, up to `DEEP_LEVELS` with it."""
    step = -1 if side == enums.BID else 1
    offset = best - market["base"]
    lots = np.int64(0)
    if DEEP_LEVELS <= offset < LADDER_TICKS - DEEP_LEVELS:
        ladder = market["ladder"]
        for level in range(1, DEEP_LEVELS):
            lots += ladder[side, offset + step * level]
        return lots
    for level in range(1, DEEP_LEVELS):
        lots += _lots(market, blocks, side, best + step * level)
    return lots


@njit
def add_up(memory, market, records, events, blocks, end: int) -> None:
    """Receives all events before number `end`, one by one, and adds what they bring to the sums.

    Order flow and changes of the mid count between two events that both leave a valid mid.
    """
    sums = memory["sums"]
    for number in range(market["event"], end):
        after = mid2(events[number])
        before = mid2(events[number - 1]) if number > 0 else enums.NO_TICK
        flows = before != enums.NO_TICK and after != enums.NO_TICK
        top = np.int64(0)
        deep = np.int64(0)
        if flows:
            bid, old_bid = np.int64(events[number]["bid"]), np.int64(events[number - 1]["bid"])
            ask, old_ask = np.int64(events[number]["ask"]), np.int64(events[number - 1]["ask"])
            if bid <= old_bid:
                top -= _lots(market, blocks, enums.BID, old_bid)
                deep -= _deep_lots(market, blocks, enums.BID, old_bid)
            if ask >= old_ask:
                top += _lots(market, blocks, enums.ASK, old_ask)
                deep += _deep_lots(market, blocks, enums.ASK, old_ask)
        first = np.int64(events[number - 1]["end"]) if number > 0 else np.int64(0)
        last = np.int64(events[number]["end"])
        receive_one(market, records, events, blocks, number, first, last)
        if flows:
            if bid >= old_bid:
                top += _lots(market, blocks, enums.BID, bid)
                deep += _deep_lots(market, blocks, enums.BID, bid)
            if ask <= old_ask:
                top -= _lots(market, blocks, enums.ASK, ask)
                deep -= _deep_lots(market, blocks, enums.ASK, ask)
            sums[SUM_OFI] = _wrap(sums[SUM_OFI] + top)
            sums[SUM_DEEP] = _wrap(sums[SUM_DEEP] + deep)
            sums[SUM_SQUARES] = _wrap(sums[SUM_SQUARES] + (after - before) * (after - before))
        for i in range(first, last):
            key = records[i]["key"]
            kind = key & KIND_MASK
            if kind == enums.RECORD_ADD:
                sums[SUM_ADDS] = _wrap(np.int64(sums[SUM_ADDS]) + 1)
            elif kind == enums.RECORD_DEL:
                sums[SUM_CANCELS] = _wrap(np.int64(sums[SUM_CANCELS]) + 1)
            elif kind == enums.RECORD_TRADE or kind == enums.RECORD_TRADE_N:
                sums[SUM_TRADES] = _wrap(np.int64(sums[SUM_TRADES]) + 1)
                if kind == enums.RECORD_TRADE:
                    side = SUM_BOUGHT if key & SIDE_BIT else SUM_SOLD
                    sums[side] = _wrap(np.int64(sums[side]) + records[i]["size"])


@njit
def build_sums(memories, markets, records, events, blocks, rows) -> None:
    """Fills `rows` (E // STRIDE + 1,) of `sums_dtype`; `memories` and `markets` (1,) are new ones."""
    for number in range(rows.shape[0]):
        row = rows[number]
        end = number * STRIDE
        add_up(memories[0], markets[0], records, events, blocks, end)
        row["ts"] = received_at(events[end - 1], 0) if end > 0 else enums.NO_TICK
        row["mark2"] = markets[0]["mark2"]
        for column in range(SUMS):
            row["sums"][column] = memories[0]["sums"][column]


@njit
def follow(memory, market, records, events, blocks, rows, end: int) -> None:
    """Receives all events before number `end`, with the sums; most of them by the ladder alone."""
    edge = end - end % STRIDE
    if edge > market["event"]:
        move(market, records, events, blocks, edge)
        row = rows[edge // STRIDE]
        for column in range(SUMS):
            memory["sums"][column] = row["sums"][column]
    add_up(memory, market, records, events, blocks, end)


@njit
def received_by(events, first: int, last: int, until: int, extra_delay: int) -> int:
    """How many events are received by `until` (ns), between `first` and `last`: gallop, then bisect."""
    step = 1
    low = first
    while low + step < last and received_at(events[low + step], extra_delay) <= until:
        low += step
        step <<= 1
    high = min(low + step, last)
    while low < high:
        middle = (low + high) >> 1
        if received_at(events[middle], extra_delay) <= until:
            low = middle + 1
        else:
            high = middle
    return low


@njit
def find_row(rows, first: int, last: int, until: int) -> int:
    """Last row from `first` to `last` whose events were all received by `until` (ns): gallop, then bisect."""
    step = 1
    low = first
    while low + step <= last and rows[low + step]["ts"] <= until:
        low += step
        step <<= 1
    high = min(low + step, last + 1)
    while high - low > 1:
        middle = (low + high) >> 1
        if rows[middle]["ts"] <= until:
            low = middle
        else:
            high = middle
    return low


@njit
def restart(memory) -> None:
    """Windows begin to be followed anew: `look` finds their far edges from the first row on."""
    for index in range(MAX_LAGS):
        memory["edges"][index] = 0


@njit
def look(memory, market, events, rows, now: int, lags, depth: int) -> None:
    """Brings windows, and the first `depth` levels of both sides, up to `now` (ns)."""
    received = market["event"]
    delay = market["extra_delay"]
    latest = received_at(events[received - 1], 0) if received > 0 else np.int64(enums.NO_TICK)
    for index in range(MAX_LAGS):
        if lags[index] == 0:
            break
        until = now - lags[index] - delay
        memory["edges"][index] = find_row(rows, memory["edges"][index], received // STRIDE, until)
        memory["silent"][index] = latest <= until
        memory["squares"][index] = 0
        if latest > until:
            memory["squares"][index] = _since(memory, rows[memory["edges"][index]], SUM_SQUARES)
    for side in range(2):
        _find_levels(memory["levels"], market, events, side, depth)


@njit
def _find_levels(levels, market, events, side: int, depth: int) -> None:
    """The nonempty levels from the best on, within 128 ticks of it."""
    received = market["event"]
    found = 0
    tick = enums.NO_TICK
    if received > 0:
        tick = best_price(events[received - 1], side)
    if tick != enums.NO_TICK:
        step = -1 if side == enums.BID else 1
        offset = tick - market["base"]
        for _ in range(128):
            if found == depth or not 0 <= offset < LADDER_TICKS:
                break
            lots = market["ladder"][side, offset]
            if lots > 0:
                levels[side, found, 0] = offset + market["base"]
                levels[side, found, 1] = lots
                found += 1
            offset += step
    for level in range(found, depth):
        levels[side, level, 0] = 0
        levels[side, level, 1] = 0


# --- values

_COLUMNS = np.zeros(TRADES - OFI + 1, np.int64)  # of the flows that are one sum, by kind
for _kind, _column in ((OFI, SUM_OFI), (DEEP_OFI, SUM_DEEP), (ADDS, SUM_ADDS), (CANCELS, SUM_CANCELS)):
    _COLUMNS[_kind - OFI] = _column
_COLUMNS[TRADES - OFI] = SUM_TRADES

_LOG1P_HALVES = np.log1p(np.arange(1 << 11) / 2)  # of 0, 0.5, 1, ...: a look-up takes a tenth of the logarithm's time


@njit
def log1p_of_halves(halves: int) -> float:
    """log(1 + halves / 2) of an integer from 0 on."""
    return _LOG1P_HALVES[halves] if halves < _LOG1P_HALVES.shape[0] else math.log1p(halves / 2)


@njit
def log1p_of(count: int) -> float:
    """log(1 + count)."""
    return log1p_of_halves(2 * np.int64(count))


@njit
def squash_halves(halves: int) -> float:
    """sign(x) log(1 + |x|) of x = halves / 2."""
    return log1p_of_halves(halves) if halves >= 0 else -log1p_of_halves(-halves)


@njit
def squash_of(count: int) -> float:
    """sign(x) log(1 + |x|) of an integer."""
    return squash_halves(2 * np.int64(count))


@njit
def squash(value: float) -> float:
    """sign(x) log(1 + |x|)."""
    return math.log(1.0 + value) if value >= 0 else -math.log(1.0 - value)


@njit
def _share(plus: float, minus: float) -> float:
    return (plus - minus) / (plus + minus) if plus + minus > 0 else 0.0


@njit
def own_quote(account, side: int) -> int:
    """Slot of the own order of a side with the best price among those that have one and may still fill as known, of
    several the oldest; -1 without one."""
    found = -1
    best = np.int64(0)
    count = account["orders"].shape[0]
    left = np.int64(account["orders_live"])
    slot = account["orders_sent"] % count
    for _ in range(count):  # from the newest one's slot back: see `requests.free_slot`
        if left == 0:
            break
        slot = slot - 1 if slot > 0 else count - 1
        order = account["orders"][slot]
        if order["status"] == enums.STATUS_FREE:
            continue
        left -= 1
        if order["known_leaves"] <= 0 or order["side"] != side:
            continue
        waits = order["is_stop"] and not order["known_triggered"]
        if waits or (not order["acknowledged"] and order["known_price"] == 0):  # on its way to the market, at any price
            continue
        price = (1 - 2 * side) * np.int64(order["known_price"])
        if found < 0 or price > best or (price == best and order["order_id"] < account["orders"][found]["order_id"]):
            found = slot
            best = price
    return found


@njit
def queue_ahead(account, log, market, records, events, blocks, order) -> float:
    """Part of the displayed lots at an own order's price that is ahead of it, as can be known; 1 until it can.

    The exchange is ahead of what is received: what the records on their way to us take from the queue is put back, up
    to the end of the order's life where it ended and that isn't known yet. While a request is unanswered, and until the
    feed has come to the order's arrival, all that is displayed counts as ahead.
    """
    level = _lots(market, blocks, np.int64(order["side"]), np.int64(order["known_price"]))
    if not order["acknowledged"] or order["unanswered"] > 0 or not order["ahead_known"] or level <= 0:
        return 1.0
    received = market["event"]
    seen = np.int64(events[received - 1]["end"]) if received > 0 else np.int64(0)
    priority = np.int64(order["priority"])
    if priority > seen:
        return 1.0
    last = account["event"]
    if order["status"] == enums.STATUS_DONE:
        for number in range(account["reports_known"], account["reports_written"]):
            row = log[number & (log.shape[0] - 1)]
            if row["order_id"] == order["order_id"]:
                last = np.int64(row["event"]) + 1
    ahead = np.int64(order["ahead"])
    tick = np.int64(order["known_price"])
    side = np.int64(order["side"])
    for i in range(seen, np.int64(events[last - 1]["end"]) if last > 0 else 0):
        key = records[i]["key"]
        kind = key & KIND_MASK
        leaves = kind == enums.RECORD_DEL or kind == enums.RECORD_FILL
        here = key >> TICK_SHIFT == tick and (1 if key & SIDE_BIT else 0) == side
        if leaves and here and records[i]["priority"] < priority:
            ahead -= records[i]["size"]
    return min(max(ahead / level, 0.0), 1.0)


@inlined
def _book_feature(memory, market, kind: int, level: int) -> float:
    levels = memory["levels"]
    mark2 = market["mark2"]
    if kind <= ASK_PRICE:
        side = 0 if kind == BID_PRICE else 1
        if levels[side, level - 1, 1] == 0:
            return log1p_of(128)
        return squash_halves((1 - 2 * side) * (mark2 - 2 * np.int64(levels[side, level - 1, 0])))
    if kind <= ASK_SIZE:
        return log1p_of(levels[0 if kind == BID_SIZE else 1, level - 1, 1])
    has_both = levels[0, 0, 1] > 0 and levels[1, 0, 1] > 0
    if kind == IMBALANCE:
        bid, ask = np.int64(0), np.int64(0)
        for index in range(level):
            bid += levels[0, index, 1]
            ask += levels[1, index, 1]
        return _share(float(bid), float(ask))
    if not has_both:
        return 0.0
    bid_tick, ask_tick = np.int64(levels[0, 0, 0]), np.int64(levels[1, 0, 0])
    if kind == SPREAD:
        return log1p_of(max(ask_tick - bid_tick, 0))
    bid_lots, ask_lots = np.int64(levels[0, 0, 1]), np.int64(levels[1, 0, 1])
    return squash((bid_tick * ask_lots + ask_tick * bid_lots) / (bid_lots + ask_lots) - mark2 / 2)


@inlined
def _flow_feature(memory, market, rows, kind: int, index: int) -> float:
    if memory["silent"][index]:
        return 0.0
    edge = memory["edges"][index]
    then = rows[edge]
    if kind == RETURNS:
        if then["mark2"] == enums.NO_TICK or market["mark2"] == enums.NO_TICK:
            return 0.0
        return squash_halves(np.int64(market["mark2"]) - np.int64(then["mark2"]))
    if kind == EVENTS:
        return log1p_of(market["event"] - edge * STRIDE)
    if kind == TRADE_FLOW:
        return _share(float(_since(memory, then, SUM_BOUGHT)), float(_since(memory, then, SUM_SOLD)))
    if kind == VOLATILITY:
        return math.log(1.0 + math.sqrt(float(memory["squares"][index])) / 2)
    change = _since(memory, then, _COLUMNS[kind - OFI])
    return squash_of(change) if kind <= DEEP_OFI else log1p_of(change)


@njit
def _since(memory, row, column: int) -> int:
    """What a sum has grown by since a row."""
    return _wrap(np.int64(memory["sums"][column]) - np.int64(row["sums"][column]))


@inlined
def _own_feature(memory, account, market, events, kind: int, side: int) -> float:
    models = account["models"]
    if kind == INVENTORY:
        size = np.int64(account["known_position"]["size"])
        return size / models["max_position"] if models["max_position"] > 0 else squash_of(size)
    if kind >= REMAINING_QUANTITY:
        parent = np.int64(memory["parent"])
        if parent == 0:
            return 0.0
        if kind == PARENT_SIDE:
            return 1.0 if parent > 0 else -1.0
        return (parent - np.int64(account["known_position"]["size"])) / parent
    if kind == UNREALISED:
        if account["known_position"]["size"] == 0:
            return 0.0
        profit = unrealised(account["known_position"], market["mark2"], models["tick_value"])
        return squash(profit / models["tick_value"])
    slot = memory["own"][side]
    if slot < 0:
        return 0.0
    order = account["orders"][slot]
    if kind == OWN_QUOTE:
        return 1.0
    if kind == OWN_IN_FLIGHT:
        return 1.0 if not order["acknowledged"] or order["unanswered"] > 0 else 0.0
    best = best_price(events[market["event"] - 1], side)
    return 0.0 if best == enums.NO_TICK else squash_of((1 - 2 * side) * (best - np.int64(order["known_price"])))


DAY_NS = 86_400_000_000_000


@njit
def extract(
    memory, account, log, market, records, events, blocks, rows, codes, now: int, remaining: float, out
) -> None:
    """Writes the features `codes` (F, 2) into `out` (F,) float32; `look` has been called for `now` (ns).

    Args:
        remaining: part of the episode that is left.
    """
    for side in range(2):
        memory["own"][side] = own_quote(account, side)
    for index in range(codes.shape[0]):
        kind = np.int64(codes[index, 0])
        argument = np.int64(codes[index, 1])
        if kind <= MICROPRICE:
            value = _book_feature(memory, market, kind, argument)
        elif kind <= TRADES:
            value = _flow_feature(memory, market, rows, kind, argument)
        elif kind == TIME_SIN:
            value = math.sin(2 * math.pi * (now % DAY_NS) / DAY_NS)
        elif kind == TIME_COS:
            value = math.cos(2 * math.pi * (now % DAY_NS) / DAY_NS)
        elif kind == REMAINING:
            value = remaining
        elif kind == OWN_QUEUE:
            slot = memory["own"][argument]
            value = 0.0
            if slot >= 0:
                value = queue_ahead(account, log, market, records, events, blocks, account["orders"][slot])
        else:
            value = _own_feature(memory, account, market, events, kind, argument)
        out[index] = min(max(value, -LIMIT), LIMIT)
