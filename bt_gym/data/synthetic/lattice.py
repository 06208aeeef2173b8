"""The market of Avellaneda and Stoikov (2008) on the tick lattice: no queues, and its best quotes are known.

Time goes in steps, the first half a step after the open. In each a sell order comes with probability `take`, and so
does a buy order, independently; it takes whole price levels, the (j + 1)-th after the j-th with probability `decay`.
What it took is put back at once. Then the mid moves one tick up or down with probability `move / 2` each, and the book
moves with it: its best prices are the mid -1 and +1, and each of its levels holds one order.

An own order of one lot, `distance` ticks from the mid and behind the order that stands there, trades when a sweep goes
beyond its level: with probability `take * decay ** distance` a step, the exponential intensity of the paper. `optimum`
finds by dynamic programming what an agent that quotes anew each step can earn at most.
"""

from dataclasses import dataclass

import numpy as np

from bt_gym._jit import njit
from bt_gym.core.enums import PHASE_AUCTION
from bt_gym.data.synthetic import exchange as exchanges
from bt_gym.data.synthetic import rng as random
from bt_gym.data.synthetic import venue
from bt_gym.data.synthetic.product import Product

DEEPEST = 64
MICROSECOND = 1_000

rules_dtype = np.dtype(
    [
        ("step", "<i8"),  # ns
        ("take", "<i8"),  # probabilities over ONE
        ("decay", "<i8"),
        ("move", "<i8"),
        ("levels", "<i8"),  # per side, at most DEEPEST
        ("size", "<i8"),  # lots per level
    ]
)

state_dtype = np.dtype(
    [
        ("rng", random.rng_dtype),
        ("next", "<i8"),  # ns, next step
        ("middle", "<i8"),  # ticks
        ("orders", "<i8"),  # number of the next order
        ("messages", "<i8"),  # written to the current buffer
        ("full", "<i8"),
    ]
)


@dataclass(frozen=True)
class Lattice(Product):
    """An Avellaneda-Stoikov market; see the module."""

    step_seconds: float
    take: float
    decay: float
    move: float
    levels: int = 12
    size: int = 10


@njit
def _send(state, exchange, messages, records, slots, ts: int, kind: int, order: int, side: int, tick: int, size: int):
    """One message at `ts`, or 1 us after the last."""
    message = messages[state["messages"]]
    state["messages"] += 1
    message["ts"] = max(ts, exchange["feed"]["ts_event"] + MICROSECOND)
    message["kind"] = kind
    message["order"] = order
    message["side"] = side
    message["tick"] = tick
    message["size"] = size
    exchanges.process(exchange, message, records, slots)


@njit
def _add(state, exchange, messages, records, slots, ts: int, side: int, tick: int, size: int) -> None:
    number = state["orders"]
    state["orders"] += 1
    _send(state, exchange, messages, records, slots, ts, venue.NEW, number, side, tick, size)


@njit
def _cancel(state, exchange, messages, records, slots, ts: int, side: int, tick: int) -> None:
    """Takes the order of a level away."""
    order = exchange["orders"][exchange["levels"][side, tick - exchange["base"]]["head"]]
    _send(state, exchange, messages, records, slots, ts, venue.CANCEL, order["number"], side, tick, 0)


@njit
def build(state, rules, exchange, messages, records, slots, start: int, opens: int) -> None:
    """The book, its snapshot at `start` and an auction without trades at `opens`."""
    for level in range(rules["levels"]):
        ago = start - (rules["levels"] - level) * 60 * 10**9
        for side in range(2):
            tick = state["middle"] - (1 - 2 * side) * (1 + level)
            _add(state, exchange, messages, records, slots, ago, side, tick, rules["size"])
    _send(state, exchange, messages, records, slots, start, venue.SNAPSHOT, 0, 0, 0, 0)
    _send(state, exchange, messages, records, slots, opens, venue.PHASE, 0, 0, 0, PHASE_AUCTION)
    state["next"] = opens + rules["step"] // 2


@njit
def run(state, rules, exchange, messages, records, slots, until: int) -> bool:
    """Steps until `until`; False when a buffer has to be emptied or grown first."""
    rng = state["rng"]
    levels, size = rules["levels"], rules["size"]
    most = 2 * levels + 6  # messages and orders of a step
    while state["next"] <= until:
        if (
            state["messages"] + most > messages.shape[0]
            or state["orders"] + most > slots.shape[0]
            or exchange["feed"]["count"] + 8 * most + venue.room_needed(exchange) > records.shape[0]
            or exchange["full"]
        ):
            return False
        ts = state["next"]
        state["next"] = ts + rules["step"]
        middle = state["middle"]
        for side in range(2):  # a seller takes bids, a buyer asks
            sign = 1 - 2 * side
            if not random.chance(rng, rules["take"]):
                continue
            depth = 1
            while depth < levels and random.chance(rng, rules["decay"]):
                depth += 1
            _add(state, exchange, messages, records, slots, ts, 1 - side, middle - sign * depth, depth * size)
            for level in range(1, depth + 1):
                _add(state, exchange, messages, records, slots, ts, side, middle - sign * level, size)
        if random.chance(rng, rules["move"]):
            side = random.next_word(rng) >> 31  # 0: up, the best ask gives way to a new best bid
            sign = 1 - 2 * side
            _cancel(state, exchange, messages, records, slots, ts, 1 - side, middle + sign)
            _add(state, exchange, messages, records, slots, ts, side, middle, size)
            _add(state, exchange, messages, records, slots, ts, 1 - side, middle + sign * (levels + 1), size)
            _cancel(state, exchange, messages, records, slots, ts, side, middle - sign * levels)
            state["middle"] = middle + sign
    return True


def to_rules(lattice: Lattice) -> np.ndarray:
    """The market as the record that the kernel reads, shape (1,)."""
    rules = np.zeros(1, rules_dtype)
    rules["step"] = round(lattice.step_seconds * 10**9)
    for name in ("take", "decay", "move"):
        rules[name] = round(getattr(lattice, name) * random.ONE)
    rules["levels"], rules["size"] = min(lattice.levels, DEEPEST), lattice.size
    return rules


@dataclass(frozen=True)
class Optimum:
    """Value and quotes of the best strategy. Letters: K steps, I = 2 * most + 1 inventories from -most to most."""

    value: np.ndarray  # (K + 1, I) float64: expected ticks from here to the end
    bid: np.ndarray  # (K, I) int64: distance of the bid from the mid in ticks, 0 for no bid
    ask: np.ndarray  # (K, I) int64


def optimum(
    lattice: Lattice, steps: int, most: int, *, penalty: float = 0.0, fee: float = 0.0, half_spread: float = 0.0
) -> Optimum:
    """The best one-lot quotes by dynamic programming, quoting anew before each step.

    Maximises the expected gain in ticks less `penalty * inventory ** 2` a step. The mid is a martingale, so that only
    fills matter: one at `distance` earns `distance - fee` against the mid.

    Args:
        lattice: the market.
        steps: to the end.
        most: largest inventory on either side; the order that would exceed it isn't sent.
        penalty: ticks per lot squared and step, on the inventory after the step's fills.
        fee: ticks per lot.
        half_spread: ticks per lot that liquidating at the end costs.
    """
    inventory = np.arange(-most, most + 1)
    distance = np.arange(1, lattice.levels)
    chance = lattice.take * lattice.decay ** distance.astype(float)
    value = np.zeros((steps + 1, len(inventory)))
    value[-1] = -half_spread * np.abs(inventory)
    bid, ask = np.zeros((steps, len(inventory)), np.int64), np.zeros((steps, len(inventory)), np.int64)
    choices = [(0, 0.0), *zip(distance.tolist(), chance.tolist(), strict=True)]
    for k in range(steps - 1, -1, -1):
        after = value[k + 1] - penalty * inventory**2
        for i in range(len(inventory)):
            up, down = min(i + 1, len(inventory) - 1), max(i - 1, 0)
            best = -np.inf
            for b, chance_b in choices if i < len(inventory) - 1 else choices[:1]:
                for a, chance_a in choices if i > 0 else choices[:1]:
                    gain = chance_b * (b - fee) + chance_a * (a - fee)
                    stay = chance_b * chance_a + (1 - chance_b) * (1 - chance_a)
                    moved = chance_b * (1 - chance_a) * after[up] + (1 - chance_b) * chance_a * after[down]
                    total = gain + stay * after[i] + moved
                    if total > best + 1e-12:
                        best, bid[k, i], ask[k, i] = total, b, a
            value[k, i] = best
    return Optimum(value, bid, ask)
