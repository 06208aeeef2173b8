"""Episodes: what is counted of one, why it ends, and what it is worth then."""

import numpy as np

from bt_gym._jit import njit
from bt_gym.core import enums
from bt_gym.core.execution import book_fill, deliver
from bt_gym.core.fees import fee_of
from bt_gym.core.market import best_price
from bt_gym.core.matching import taken_at
from bt_gym.core.positions import worth, worth2
from bt_gym.core.rewards import value_of
from bt_gym.core.tape import LADDER_TICKS

END_NONE = 0
END_WINDOW = 1  # truncated: the window is over
END_STEPS = 2  # truncated: the limit of steps
END_DATA = 3  # truncated: the tape is over
END_CLOSE = 4  # terminated: the session is over
END_LOSS = 5  # terminated: max_loss
END_DRAWDOWN = 6  # terminated: max_drawdown
END_DEADLINE = 7  # terminated: the time of the order to be executed is over
END_COMPLETED = 8  # terminated: that order is done

episode_dtype = np.dtype(
    [
        ("source", "<i8"),
        ("start", "<i8"),  # ns
        ("end", "<i8"),  # ns: of its window, or of its session if that is earlier
        ("window", "<i8"),  # ns
        ("at_end", "<i8"),  # END_* when `end` is reached
        ("end_reason", "<i8"),  # END_*
        ("parent", "<i8"),  # signed lots of the order to be executed; 0 without one
        ("arrival2", "<i8"),  # twice the mid at the start, ticks
        ("executed", "<i8"),  # lots of it that were done when the episode ended, before the rest was sent
        ("steps", "<i8"),
        ("pnl", "<i8"),  # 1e-6: at the exchange's truth, fees included, marked; flattened when terminated
        ("pnl_liquidated", "<i8"),  # 1e-6: the same with the position sent home against the book
        ("fees", "<i8"),
        ("trades", "<i8"),  # fills
        ("lots", "<i8"),  # filled
        ("maker_lots", "<i8"),
        ("queued", "<i8"),  # sum over them of the lots that were ahead when their order joined its queue
        ("lots_sent", "<i8"),  # of new orders
        ("messages", "<i8"),  # requests sent
        ("invalid_actions", "<i8"),
        ("max_inventory", "<i8"),
        ("peak", "<i8"),  # 1e-6, of equity as known
        ("max_drawdown", "<i8"),
        ("shaping", "<f8"),  # ticks: of the reward, what is not change of equity
        ("rejects", "<i4", (enums.REASON_COUNT,)),  # by REASON_*
    ],
    align=True,
)
"""Statistics of an episode."""


@njit
def learn(env, until: int) -> bool:
    """Delivers all reports known by `until` (ns); returns whether a fill was among them."""
    account, episode, log = env["account"], env["episode"], env["log"]
    first = account["reports_known"]
    count = deliver(account, log, until)
    has_fill = False
    for number in range(first, first + count):
        row = log[number & (log.shape[0] - 1)]
        if row["exec_type"] == enums.EXEC_TRADE:
            has_fill = True
            book_fill(account, row)
            episode["trades"] += 1
            episode["lots"] += row["size"]
            if row["liquidity"] == enums.LIQUIDITY_MAKER:
                episode["maker_lots"] += row["size"]
        elif (
            row["exec_type"] == enums.EXEC_REJECTED
            or row["exec_type"] == enums.EXEC_CANCEL_REJECTED
            or row["reason"] == enums.REASON_CAPACITY
        ):
            episode["rejects"][row["reason"]] += 1
    account["reports_kept"] = account["reports_known"]
    return has_fill


@njit
def _completed(env, events) -> tuple[int, int]:
    """(value, fees on top) in 1e-6 at the exchange's truth if what is held, or owed, were sent against the book."""
    account, market, episode = env["account"], env["market"], env["episode"]
    position, models = account["position"], account["models"]
    tick_value = models["tick_value"]
    open_lots = np.int64(position["size"]) - episode["parent"]
    left = abs(open_lots)
    value = position["cash"] - position["fees"] + worth2(episode["parent"], episode["arrival2"], tick_value)
    fees = np.int64(0)
    if left == 0:
        return value, fees
    sign = 1 if open_lots > 0 else -1
    side = enums.BID if sign > 0 else enums.ASK
    number = market["event"] - 1
    tick = best_price(events[number], side)
    if tick == enums.NO_TICK:  # nobody there: the mark, rounded against us
        tick = np.int64(market["mark2"]) // 2 if sign > 0 else -(-np.int64(market["mark2"]) // 2)
    volume = position["volume"]
    for step in range(128):
        offset = tick - market["base"]
        is_last = step == 127 or not 0 <= offset < LADDER_TICKS  # what nobody shows is sold where the view ends
        lots = left
        if not is_last:
            lots = min(left, max(np.int64(market["ladder"][side, offset]) - taken_at(account, side, tick), 0))
        if lots > 0:
            value += worth(sign * lots, tick, tick_value)
            fees += fee_of(models, volume, lots, tick, enums.LIQUIDITY_TAKER, left == abs(open_lots))
            volume += lots
            left -= lots
        if left == 0:
            break
        tick -= sign
    return value - fees, fees


@njit
def finish(env, events, reason: int) -> int:
    """The episode is over: settles at the exchange's truth; returns the final value in 1e-6."""
    account, market, episode = env["account"], env["market"], env["episode"]
    env["is_done"] = 1
    episode["end_reason"] = reason
    learn(env, np.int64(2**62))
    tick_value = account["models"]["tick_value"]
    parent = episode["parent"]
    marked = value_of(account["position"], parent, episode["arrival2"], market["mark2"], tick_value)
    episode["fees"] = account["position"]["fees"]
    episode["max_inventory"] = account["position"]["max_size"]
    episode["queued"] = account["queued"]
    episode["executed"] = (1 if parent > 0 else -1) * account["position"]["size"]
    episode["pnl_liquidated"], fees = _completed(env, events)
    episode["pnl"] = marked
    if reason >= END_CLOSE:
        episode["pnl"] = episode["pnl_liquidated"]
        episode["fees"] += fees
    return episode["pnl"]
