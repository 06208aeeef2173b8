"""Limits that are checked where a strategy sends: what it may not know yet can't refuse its order."""

from bt_gym._jit import njit
from bt_gym.core import enums
from bt_gym.core.market import mid2, received_at
from bt_gym.core.positions import equity

NS_PER_SECOND = 1_000_000_000


@njit
def refuse(account, ts: int, side: int, size: int, more: int) -> int:
    """Reason to refuse an order of `size` lots in total, or a modify to that, or `REASON_NONE`.

    `max_position` holds for the worst case: all working orders of the side fill, as large as any modify under way may
    have made them.

    Args:
        more: lots on top of the worst case so far; 0 is never too much.
    """
    limits = account["models"]
    if account["killed"]:
        return account["killed"]
    if limits["max_order_size"] >= 0 and size > limits["max_order_size"]:
        return enums.REASON_MAX_ORDER_SIZE
    if limits["max_position"] >= 0 and more > 0:
        worst = (1 - 2 * side) * account["known_position"]["size"] + account["most_open"][side] + more
        if worst > limits["max_position"]:
            return enums.REASON_MAX_POSITION
    if limits["max_orders_per_second"] >= 0:
        second = ts // NS_PER_SECOND
        if second != account["rate_second"]:
            account["rate_second"] = second
            account["rate_count"] = 0
        if account["rate_count"] >= limits["max_orders_per_second"]:
            return enums.REASON_MAX_ORDER_RATE
        account["rate_count"] += 1
    return enums.REASON_NONE


@njit
def loss_reached(account, mark2: int) -> bool:
    """Whether the account, as known and at the mark (twice the tick), has lost `max_loss` or more."""
    limits = account["models"]
    if limits["max_loss"] < 0 or account["killed"] or mark2 == enums.NO_TICK:
        return False
    return equity(account["known_position"], mark2, limits["tick_value"]) <= -limits["max_loss"]


@njit
def find_loss(account, events, first: int, until: int, extra_delay: int) -> int:
    """First event from `first` on, received by `until` (ns), whose mid makes `loss_reached` true; -1 if none does."""
    if account["models"]["max_loss"] < 0 or account["killed"] or account["known_position"]["size"] == 0:
        return -1
    for number in range(first, events.shape[0]):
        if received_at(events[number], extra_delay) > until:
            return -1
        if loss_reached(account, mid2(events[number])):
            return number
    return -1
