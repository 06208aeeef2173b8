"""Loss limits of a whole run: the equity of all its accounts together, at the marks as received.

Accounts are rows of `holding_dtype`, marks those of the run's tapes merged by the time at which they are received.
Each account is valued by itself, so that the sum is the report's to the last 1e-6 of the currency.
"""

import numpy as np

from bt_gym._jit import njit
from bt_gym.core import enums
from bt_gym.core.market import mid2, received_at
from bt_gym.core.positions import worth2

holding_dtype = np.dtype(
    [
        ("lane", "<i8"),  # number of its tape in the run
        ("size", "<i8"),  # signed lots, as known
        ("cash", "<i8"),  # 1e-6 of the currency, less fees
        ("tick_value", "<i8"),  # see `orders.models_dtype`
    ],
    align=True,
)
mark_dtype = np.dtype([("ts", "<i8"), ("lane", "<i4"), ("mark2", "<i4")], align=True)
"""From `ts` (ns, receive clock) on twice the mid of a tape is `mark2` ticks."""

losses_dtype = np.dtype(
    [
        ("max_loss", "<i8"),  # 1e-6 of the currency; -1 no limit
        ("max_drawdown", "<i8"),
        ("peak", "<i8"),  # highest equity so far; 0 at the start
        ("next", "<i8"),  # mark to come
    ],
    align=True,
)


@njit
def find_marks(events, lane: int, extra_delay: int, out) -> int:
    """Writes the changes of a tape's valid mid into `out` (E,) of `mark_dtype`; returns how many."""
    count = 0
    last = np.int64(enums.NO_TICK)
    for number in range(events.shape[0]):
        mark2 = mid2(events[number])
        if mark2 != enums.NO_TICK and mark2 != last:
            last = mark2
            out[count]["ts"] = received_at(events[number], extra_delay)
            out[count]["lane"] = lane
            out[count]["mark2"] = mark2
            count += 1
    return count


@njit
def breach(losses, holdings, marks) -> int:
    """Which limit the run breaks now, `REASON_NONE` for none; notes a new highest equity.

    Args:
        losses: record of `losses_dtype`.
        holdings: (A,) of `holding_dtype`.
        marks: (lanes,) int64: twice the mark in ticks, `NO_TICK` before the first.
    """
    equity = np.int64(0)
    for i in range(holdings.shape[0]):
        holding = holdings[i]
        equity += holding["cash"]
        mark2 = marks[holding["lane"]]
        if holding["size"] != 0 and mark2 != enums.NO_TICK:
            equity += worth2(holding["size"], mark2, holding["tick_value"])
    losses["peak"] = max(losses["peak"], equity)
    if 0 <= losses["max_loss"] <= -equity:
        return enums.REASON_RUN_MAX_LOSS
    if 0 <= losses["max_drawdown"] <= losses["peak"] - equity:
        return enums.REASON_RUN_MAX_DRAWDOWN
    return enums.REASON_NONE


@njit
def follow(losses, holdings, marks, changes, until: int) -> tuple[int, int]:
    """Moves the marks on to `until` (ns) or the first breach; returns (its time, reason) or (until, `REASON_NONE`).

    Args:
        losses: (1,) of `losses_dtype`.
        holdings: (A,) of `holding_dtype`; they don't change until then.
        marks: (lanes,) int64.
        changes: (M,) of `mark_dtype`, in the order of time.
    """
    state = losses[0]
    while state["next"] < changes.shape[0] and changes[state["next"]]["ts"] <= until:
        change = changes[state["next"]]
        marks[change["lane"]] = change["mark2"]
        state["next"] += 1
        if state["next"] < changes.shape[0] and changes[state["next"]]["ts"] == change["ts"]:
            continue  # all that is received at one time counts at once
        reason = breach(state, holdings, marks)
        if reason != enums.REASON_NONE:
            return np.int64(change["ts"]), reason
    return until, enums.REASON_NONE


@njit
def check(losses, holdings, marks) -> int:
    """`breach` for Python."""
    return breach(losses[0], holdings, marks)
