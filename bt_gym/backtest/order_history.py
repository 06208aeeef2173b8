"""One row per order, folded from its execution reports."""

import numpy as np

from bt_gym.backtest.account import Account
from bt_gym.core.enums import (
    EXEC_CANCEL_REJECTED,
    EXEC_CANCELED,
    EXEC_EXPIRED,
    EXEC_NEW,
    EXEC_REJECTED,
    EXEC_REPLACED,
    EXEC_TRADE,
    LIQUIDITY_TAKER,
    NO_TICK,
    REASON_IOC,
    REASON_PROTECTION,
)

order_dtype = np.dtype(
    [
        ("order_id", "<i8"),
        ("side", "i1"),  # enums.BUY, SELL
        ("status", "U8"),  # working, filled, canceled, rejected or expired, after the last report
        ("reason", "i1"),  # enums.REASON_* of a canceled, rejected or expired order, else REASON_NONE
        ("ts_first", "<i8"),  # ns, first report at the exchange
        ("ts_last", "<i8"),  # ns, last report at the exchange
        ("limit", "<i4"),  # ticks, last accepted or refused limit; NO_TICK when no report told it
        ("submitted", "<i8"),  # lots asked for, most over its life; 0 for an order refused at once
        ("filled", "<i8"),  # lots
        ("fills", "<i8"),  # number of fills
        ("value", "<i8"),  # sum of lots * ticks of the fills: / filled = average price
        ("fees", "<i8"),  # 1e-6 of the currency
    ]
)

_PLACED = (EXEC_NEW, EXEC_REPLACED)
_NEVER_RESTED = (REASON_IOC, REASON_PROTECTION)

_STATUS = {EXEC_CANCELED: "canceled", EXEC_EXPIRED: "expired", EXEC_REJECTED: "rejected"}


def queues_proven(account: Account) -> dict[int, bool]:
    """By id of each order that rested: whether all of its queue was known wherever it took its place.

    After a cold start or a gap of the data it may not be: its queue position is a guess there.
    """
    reports, proof = account.reports, account.proof
    taker = (reports["liquidity"] == LIQUIDITY_TAKER) & (reports["leaves"] == 0)
    never = reports["order_id"][taker | np.isin(reports["reason"], _NEVER_RESTED)]
    rested = reports[np.isin(reports["exec_type"], _PLACED) & ~np.isin(reports["order_id"], never)]
    proven = dict.fromkeys(rested["order_id"].tolist(), True)
    if proof is not None and not proof.is_complete:
        for report in rested:
            place = int(report["event"]), int(report["side"]), int(report["price"])
            proven[int(report["order_id"])] &= proof.is_proven(account.events, *place)
    return proven


def fold_orders(reports: np.ndarray) -> np.ndarray:
    """Folds reports (report_dtype, each order's own in order) to one row per order, by order id.

    A refused cancel says nothing about an order's life and is left out: an id without any other report is no order.
    """
    life = reports[reports["exec_type"] != EXEC_CANCEL_REJECTED]
    life = life[np.argsort(life["order_id"], kind="stable")]
    ids, first = np.unique(life["order_id"], return_index=True)
    orders = np.zeros(len(ids), dtype=order_dtype)
    if not len(ids):
        return orders
    last = np.append(first[1:], len(life)) - 1
    trade = life["exec_type"] == EXEC_TRADE
    traded = np.where(trade, life["size"], 0).astype(np.int64)
    filled_so_far = np.cumsum(traded)
    filled_so_far -= np.repeat(filled_so_far[first] - traded[first], last - first + 1)
    told = np.isin(life["exec_type"], (EXEC_NEW, EXEC_REPLACED, EXEC_REJECTED))
    limit_row = np.maximum.reduceat(np.where(told, np.arange(len(life)), -1), first)

    orders["order_id"], orders["side"] = ids, life["side"][first]
    orders["ts_first"], orders["ts_last"] = life["ts_exchange"][first], life["ts_exchange"][last]
    orders["limit"] = np.where(limit_row < 0, NO_TICK, life["price"][limit_row])
    orders["submitted"] = np.maximum.reduceat(filled_so_far + life["leaves"], first)
    orders["filled"] = filled_so_far[last]
    orders["fills"] = np.add.reduceat(trade.astype(np.int64), first)
    orders["value"] = np.add.reduceat(traded * life["price"], first)
    orders["fees"] = np.add.reduceat(life["fee"], first)
    final = life["exec_type"][last]
    orders["status"] = np.where((final == EXEC_TRADE) & (life["leaves"][last] == 0), "filled", "working")
    for exec_type, status in _STATUS.items():
        ended = final == exec_type
        orders["status"][ended] = status
        orders["reason"][ended] = life["reason"][last][ended]
    return orders
