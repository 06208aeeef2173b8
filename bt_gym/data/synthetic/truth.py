"""What an own order would really have got: the other participants' messages frozen, the order put into the exchange."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bt_gym._jit import njit
from bt_gym.data import dbn
from bt_gym.data.synthetic import exchange as exchanges
from bt_gym.data.synthetic import venue
from bt_gym.errors import CapacityError

NEVER = (1 << 63) - 1


@dataclass(frozen=True)
class OwnOrder:
    """A limit order of ours, as it arrives at the exchange."""

    ts: int  # ns; behind all messages of that time
    side: int  # enums.BUY, SELL
    tick: int
    size: int  # lots
    cancel_ts: int = NEVER  # ns; behind all messages of that time


@njit
def advance(exchange, messages, records, slots, first: int, until: int) -> int:
    """Processes `messages[first:]` up to and including `until`, unpublished; returns the place of the first one left.

    Stops early when the watched order is gone.
    """
    while first < messages.shape[0] and messages[first]["ts"] <= until:
        watch = exchange["watch"]
        if (watch >= 0 and slots[watch] == 0) or exchange["full"]:
            break
        if messages[first]["kind"] < venue.SNAPSHOT:
            exchanges.process(exchange, messages[first], records, slots)
        first += 1
    return first


def replay(
    fresh: np.ndarray, messages: np.ndarray, orders: Sequence[OwnOrder], horizon: int = NEVER
) -> list[np.ndarray]:
    """Fills of each order, in a market of its own.

    Args:
        fresh: (1,) of exchange_dtype, as it was before the first message; isn't changed.
        messages: (M,) of message_dtype.
        orders: in any order of time.
        horizon: ns after an order's arrival at which its market ends.

    Returns:
        For each order an array of `fill_dtype`: maker fills, and taker fills as one per price.

    Raises:
        CapacityError: an order has more than `FILLS` fills.
    """
    own = int(messages["order"].max(initial=-1)) + 1
    records = np.zeros(6 * (venue.ORDERS + 64), dbn.mbo_dtype)
    base, slots, place = fresh.copy(), np.zeros(own + 1, np.int64), 0
    base["feed"]["muted"] = 1
    fork = np.zeros(1, venue.exchange_dtype)
    results: list[np.ndarray] = [np.zeros(0, venue.fill_dtype)] * len(orders)
    message = np.zeros(1, venue.message_dtype)
    for i in sorted(range(len(orders)), key=lambda i: orders[i].ts):
        order = orders[i]
        place = advance(base[0], messages, records, slots, place, order.ts)
        _copy(base, fork)
        fork_slots = slots.copy()
        fork["watch"] = own
        values = {"ts": order.ts, "order": own, "kind": venue.NEW, "side": order.side}
        for name, value in (values | {"tick": order.tick, "size": order.size}).items():
            message[name] = value
        exchanges.process(fork[0], message[0], records, fork_slots)
        end = min(order.cancel_ts, order.ts + min(horizon, NEVER - order.ts))
        advance(fork[0], messages, records, fork_slots, place, end)
        if fork["full"][0]:
            raise CapacityError(f"own order {i}: more than {venue.FILLS} fills: make it smaller, or its time shorter")
        results[i] = fork["fills"][0, : fork["fills_count"][0]].copy()
    return results


def _copy(exchange: np.ndarray, fork: np.ndarray) -> None:
    """Makes `fork` the same market; copies the order slots in use only."""
    used = int(exchange["slots_used"][0]) + 1
    for name in venue.exchange_dtype.names or ():
        if name == "orders":
            fork[name][0, :used] = exchange[name][0, :used]
        elif name not in ("touched", "fills"):
            fork[name] = exchange[name]
