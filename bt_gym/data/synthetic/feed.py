"""How the synthetic exchange publishes: packets, clocks, flags, MBO records.

Shapes measured on CME data: all records of an event share ts_event; each aggressor's T and F's travel in one packet,
the book updates in a later one (7-12 us), so that they differ in ts_recv and sequence; trades take longer to publish
than quotes; nothing is received before what was published earlier. Databento, "CME Globex MDP 3.0".
"""

import numpy as np

from bt_gym._jit import njit
from bt_gym.data import dbn
from bt_gym.data.synthetic import rng as random

PUBLISHER_SPECIFIC = 2  # the flag bit that CME's live events carry beside F_LAST

AUCTION_DELAY = 100_000_000  # ns until the uncross is published

feed_dtype = np.dtype(
    [
        ("tick_nanos", "<i8"),  # tick size in 1e-9 of the currency
        ("first_id", "<i8"),  # order_id of order number 0
        ("instrument_id", "<i8"),
        ("count", "<i8"),  # records written to the current buffer
        ("first", "<i8"),  # first record of the current event in it
        ("sequence", "<i8"),  # of the last packet
        ("ts_event", "<i8"),  # ns, current event
        ("ts_recv", "<i8"),  # ns, last packet
        ("in_delta", "<i8"),  # ns, last packet
        ("muted", "<i8"),  # 1: events are not published (the book before the session, a gap)
        ("suspect", "<i8"),  # F_MAYBE_BAD_BOOK after a gap, until the book is restored; else 0
        ("rng", random.rng_dtype),
    ]
)
"""Where the feed stands."""


@njit
def begin_event(feed, ts: int) -> None:
    """Starts an event at exchange time `ts`."""
    feed["ts_event"] = ts
    feed["first"] = feed["count"]


@njit
def begin_packet(feed, after: int) -> None:
    """A new packet, received `after` ns from ts_event, or with the last one when that is later."""
    feed["sequence"] += 1
    feed["ts_recv"] = max(feed["ts_recv"], feed["ts_event"] + after)
    feed["in_delta"] = 12_000 + random.octaves(feed["rng"], 500, 4)


@njit
def quote_delay(feed) -> int:
    """ns: median near 0.11 ms, one in a hundred beyond 1 ms."""
    return 45_000 + random.octaves(feed["rng"], 18_000, 4 if random.chance(feed["rng"], 62_000) else 6)


@njit
def trade_delay(feed) -> int:
    """ns: median near 0.4 ms, one in a hundred beyond 1.8 ms."""
    return 150_000 + random.octaves(feed["rng"], 100_000, 3 if random.chance(feed["rng"], 58_000) else 5)


@njit
def update_delay(feed) -> int:
    """ns from ts_event for the book updates that follow the trades of the event."""
    return feed["ts_recv"] - feed["ts_event"] + 7_000 + random.below(feed["rng"], 5_000)


@njit
def write(feed, records, action: int, side: int, number: int, tick: int, size: int) -> int:
    """Appends a record of the current event and packet; returns its place. Side 0, 1, 2: bid, ask, none."""
    place = feed["count"]
    record = records[place]
    record["length"] = 14
    record["rtype"] = dbn.RTYPE_MBO
    record["publisher_id"] = 1
    record["instrument_id"] = feed["instrument_id"]
    record["ts_event"] = feed["ts_event"]
    record["order_id"] = feed["first_id"] + number if number >= 0 else 0
    record["price"] = tick * feed["tick_nanos"]
    record["size"] = size
    record["flags"] = feed["suspect"]
    record["channel_id"] = 0
    record["action"] = action
    record["side"] = dbn.SIDE_BID if side == 0 else (dbn.SIDE_ASK if side == 1 else dbn.SIDE_NONE)
    record["ts_recv"] = feed["ts_recv"]
    record["ts_in_delta"] = feed["in_delta"]
    record["sequence"] = feed["sequence"]
    feed["count"] = place + 1
    return place


@njit
def end_event(feed, records, flags: int) -> None:
    """Marks the last record of the event, or takes the event back when nobody shall see it."""
    if feed["muted"]:
        feed["count"] = feed["first"]
    elif feed["count"] > feed["first"]:
        records[feed["count"] - 1]["flags"] |= flags
