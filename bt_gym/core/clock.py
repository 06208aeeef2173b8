"""The decision clock: when an environment decides next."""

import numpy as np

from bt_gym._jit import njit
from bt_gym.core import enums
from bt_gym.core.market import received_at

CLOCK_TIME = 0  # a decision every `clock_step` ns
CLOCK_RECORDS = 1  # MBO records received
CLOCK_TRADES = 2  # events with a trade received


@njit
def _first_with_source(events, first: int, wanted: int) -> int:
    """First event from `first` on by which so many source records came: gallop, then bisect."""
    total = events.shape[0]
    step = 1
    low = first
    while low + step < total and np.int64(events[low + step]["source"]) < wanted:
        low += step
        step <<= 1
    high = min(low + step, total)
    while low < high:
        middle = (low + high) >> 1
        if np.int64(events[middle]["source"]) < wanted:
            low = middle + 1
        else:
            high = middle
    return low


@njit
def next_decision(env, events, settings) -> int:
    """When the next decision is due, own fills apart, ns; not beyond the end of the episode."""
    end = env["episode"]["end"]
    if settings["clock"] == CLOCK_TIME:
        return min(env["now"] + settings["clock_step"], end)
    received = env["market"]["event"]
    delay = env["market"]["extra_delay"]
    number = received
    if settings["clock"] == CLOCK_RECORDS:
        wanted = settings["clock_step"]
        if received > 0:
            wanted += np.int64(events[received - 1]["source"])
        number = _first_with_source(events, received, wanted)
    else:
        left = settings["clock_step"]
        while number < events.shape[0]:
            left -= events[number]["flags"] & enums.EVENT_TRADE != 0
            if left == 0 or received_at(events[number], delay) > end:
                break
            number += 1
    if number >= events.shape[0]:
        return end
    return min(max(received_at(events[number], delay), env["now"] + 1), end)
