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
    if more > 0:
        worst = (1 - 2 * side) * account["known_position"]["size"] + account["most_open"][side] + more
        if limits["max_position"] >= 0 and worst > limits["max_position"]:
            return enums.REASON_MAX_POSITION
        if limits["run_max_position"] >= 0 and worst + account["others"][side] > limits["run_max_position"]:
            return enums.REASON_RUN_MAX_POSITION
        if limits["initial_margin"] > 0:
            closed = account["known_position"]["realised"] - account["known_position"]["fees"]
            if worst * limits["initial_margin"] > limits["capital"] + closed:
                return enums.REASON_MARGIN
    own_rate, run_rate = limits["max_orders_per_second"], limits["run_max_orders_per_second"]
    if own_rate >= 0 or run_rate >= 0:
        second = ts // NS_PER_SECOND
        if second != account["rate_second"]:
            account["rate_second"] = second
            account["rate_count"] = 0
        if 0 <= own_rate <= account["rate_count"]:
            return enums.REASON_MAX_ORDER_RATE
        if 0 <= run_rate <= account["rate_count"] + account["others_sent"]:
            return enums.REASON_RUN_MAX_ORDER_RATE
        account["rate_count"] += 1
    return enums.REASON_NONE


@njit
def limits_loss(models) -> bool:
    """Whether a loss can stop trading."""
    return models["max_loss"] >= 0 or models["max_drawdown"] >= 0 or models["maintenance_margin"] > 0


@njit
def _breach(limits, worth: int, peak: int, size: int) -> int:
    """Which limit equity breaks, given its highest value so far and the lots held; `REASON_NONE`."""
    if 0 <= limits["max_loss"] <= -worth:
        return enums.REASON_MAX_LOSS
    if 0 <= limits["max_drawdown"] <= peak - worth:
        return enums.REASON_MAX_DRAWDOWN
    if (
        limits["maintenance_margin"] > 0
        and size != 0
        and limits["capital"] + worth < abs(size) * limits["maintenance_margin"]
    ):
        return enums.REASON_MARGIN
    return enums.REASON_NONE


@njit
def watch(account, market, events) -> None:
    """Follows the highest equity over the marks received since the last call, with the position known until now.

    To be called before news of fills changes that position.
    """
    if account["models"]["max_drawdown"] < 0:
        return
    for number in range(account["watched"], market["event"]):
        mark2 = mid2(events[number])
        if mark2 != enums.NO_TICK:
            worth = equity(account["known_position"], mark2, account["models"]["tick_value"])
            account["peak"] = max(account["peak"], worth)
    account["watched"] = market["event"]


@njit
def loss_reached(account, mark2: int) -> int:
    """The limit that the account, as known and at the mark (twice the tick), has reached by loss; `REASON_NONE`."""
    limits = account["models"]
    if account["killed"] or mark2 == enums.NO_TICK:
        return enums.REASON_NONE
    worth = equity(account["known_position"], mark2, limits["tick_value"])
    if limits["max_drawdown"] >= 0:
        account["peak"] = max(account["peak"], worth)
    return _breach(limits, worth, account["peak"], account["known_position"]["size"])


@njit
def find_loss(account, events, first: int, until: int, extra_delay: int) -> int:
    """First event from `first` on, received by `until` (ns), whose mid breaks a loss limit; -1 if none does."""
    limits = account["models"]
    if not limits_loss(limits) or account["killed"] or account["known_position"]["size"] == 0:
        return -1
    peak = account["peak"]
    for number in range(first, events.shape[0]):
        if received_at(events[number], extra_delay) > until:
            return -1
        mark2 = mid2(events[number])
        if mark2 != enums.NO_TICK:
            worth = equity(account["known_position"], mark2, limits["tick_value"])
            peak = max(peak, worth)
            if _breach(limits, worth, peak, account["known_position"]["size"]) != enums.REASON_NONE:
                return number
    return -1
