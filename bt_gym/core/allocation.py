"""How an exchange shares a trade among the orders at its price: the matching algorithms of CME Globex.

An algorithm is a sequence of passes, each over what the one before has left (CME, "Matching Algorithm Steps" and
"Supported Matching Algorithms"):

    TOP       the order that bettered the market, up to a number of lots
    LMM       lead market makers, a percentage
    split     a percentage by time, the rest in proportion to size
    pro rata  size * lots // total, rounded down; less than the minimum is nothing
    levelling one lot each for orders whose proportion came out below one (in which order isn't published: by time)
    FIFO      the rest, by time

A trade that takes everything is by time whatever the algorithm. All integers, as at the exchange.
"""

import numpy as np

from bt_gym._jit import allocating, njit

rules_dtype = np.dtype(
    [
        ("top_min", "<i4"),  # lots: an order below that isn't TOP
        ("top_max", "<i4"),  # lots that TOP gets first; 0 switches the pass off
        ("lmm_percent", "<i4"),  # of what TOP left, for all lead market makers together
        ("fifo_percent", "<i4"),  # of the rest by time, before the pro-rata pass; 100: no pro-rata pass
        ("pro_rata_min", "<i4"),  # lots: a smaller share is nothing
        ("threshold", "<i4"),  # lots: a smaller order takes no part in the pro-rata pass
        ("levelling", "<i4"),  # 1: the levelling pass follows
    ],
    align=True,
)


@njit
def _by_time(sizes, lots: int, out) -> int:
    """Gives up to `lots` in time order; returns what is left."""
    for i in range(sizes.shape[0]):
        part = min(sizes[i] - out[i], lots)
        out[i] += part
        lots -= part
    return lots


@njit
def _to_makers(is_maker, sizes, lots: int, out) -> int:
    """Gives up to `lots` to lead market makers; returns what is left."""
    for i in range(sizes.shape[0]):
        if is_maker[i]:
            part = min(sizes[i] - out[i], lots)
            out[i] += part
            lots -= part
    return lots


@allocating
def pro_rata(rules, sizes, lots: int, out) -> int:
    """The pro-rata pass over what `out` has left of `sizes`, with levelling; returns the lots that nobody got."""
    total = np.int64(0)
    for i in range(sizes.shape[0]):
        total += sizes[i] - out[i]
    if total == 0:
        return lots
    left = lots
    below = np.zeros(sizes.shape[0], np.bool_)
    for i in range(sizes.shape[0]):
        rest = sizes[i] - out[i]
        if sizes[i] < rules["threshold"]:
            continue
        part = rest * lots // total
        below[i] = part < 1 and rest > 0
        if part >= rules["pro_rata_min"]:
            out[i] += part
            left -= part
    if rules["levelling"]:
        for i in range(sizes.shape[0]):
            if below[i] and left > 0:
                out[i] += 1
                left -= 1
    return left


@njit
def allocate(rules, sizes, top: int, is_maker, lots: int, out) -> None:
    """Shares a trade of `lots` among the orders of a price level.

    Args:
        rules: a record of `rules_dtype`.
        sizes: (n,) int64, displayed lots in time order.
        top: index of the order that bettered the market; -1 without one.
        is_maker: (n,) bool, orders of lead market makers.
        lots: of the trade; what exceeds the level is nobody's.
        out: (n,) int64, written: lots of each order.
    """
    out[:] = 0
    total = sizes.sum()
    if lots >= total:
        for i in range(sizes.shape[0]):
            out[i] = sizes[i]
        return
    left = np.int64(lots)
    if top >= 0 and sizes[top] >= rules["top_min"]:
        part = min(sizes[top], left, np.int64(rules["top_max"]))
        out[top] += part
        left -= part
    makers = left * rules["lmm_percent"] // 100
    left -= makers - _to_makers(is_maker, sizes, makers, out)
    if rules["fifo_percent"] < 100:
        by_time = left * rules["fifo_percent"] // 100
        left -= by_time - _by_time(sizes, by_time, out)
        left = pro_rata(rules, sizes, left, out)
    _by_time(sizes, left, out)
