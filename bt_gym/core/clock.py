"""The decision clock: when an environment decides next."""

import numpy as np

from bt_gym._jit import njit
from bt_gym.core import enums
from bt_gym.core.market import received_at

CLOCK_TIME = 0  # a decision every `clock_step` ns
CLOCK_RECORDS = 1  # MBO records received
CLOCK_TRADES = 2  # events with a trade received


@njit
def _first_with_source(events, first: int, wanted: int, records: int) -> int:
    """First event from `first` on by which so many source records came, `records` more than by then.

    An event takes a record or more, as good as always: it lies among the next `records` events, and is found by halves.
    """
    total = events.shape[0]
    low = first
    high = min(first + records, total)
    while high < total and np.int64(events[high - 1]["source"]) < wanted:
        low = high
        high = min(high + records, total)
    while low < high:
        middle = (low + high) >> 1
        if np.int64(events[middle]["source"]) < wanted:
            low = middle + 1
        else:
            high = middle
    return low


@njit
def next_decision(env, events, settings) -> tuple[int, int]:
    """(when the next decision is due, own fills apart, ns; an event received by then, as far as known).

    Not beyond the end of the episode.
    """
    end = env["episode"]["end"]
    if settings["clock"] == CLOCK_TIME:
        return min(env["now"] + settings["clock_step"], end), env["market"]["event"] - 1
    received = env["market"]["event"]
    delay = env["market"]["extra_delay"]
    number = received
    if settings["clock"] == CLOCK_RECORDS:
        wanted = settings["clock_step"]
        if received > 0:
            wanted += np.int64(events[received - 1]["source"])
        number = _first_with_source(events, received, wanted, settings["clock_step"])
    else:
        left = settings["clock_step"]
        while number < events.shape[0]:
            left -= events[number]["flags"] & enums.EVENT_TRADE != 0
            if left == 0 or received_at(events[number], delay) > end:
                break
            number += 1
    if number >= events.shape[0]:
        return end, received - 1
    return min(max(received_at(events[number], delay), env["now"] + 1), end), number
