"""Orders folded from reports: life cycles by hand, sums by hypothesis."""

import numpy as np
import pytest
from hypothesis import given

from bt_gym.backtest.order_history import fold_orders, queues_proven
from bt_gym.core import enums
from bt_gym.core.enums import BUY, NO_TICK, SELL
from bt_gym.data.proof import UNBOUNDED, Proof
from tests.backtest import make

NEW, TRADE, CANCELED, REPLACED = enums.EXEC_NEW, enums.EXEC_TRADE, enums.EXEC_CANCELED, enums.EXEC_REPLACED
REJECTED, EXPIRED, TOO_LATE = enums.EXEC_REJECTED, enums.EXEC_EXPIRED, enums.EXEC_CANCEL_REJECTED

# name: (reports as (exec_type, size, price, leaves, reason), status, reason, limit, submitted, filled)
LIVES = {
    "rests": ([(NEW, 0, 99, 5, 0)], "working", "NONE", 99, 5, 0),
    "fills_in_parts": ([(NEW, 0, 99, 5, 0), (TRADE, 2, 99, 3, 0), (TRADE, 3, 99, 0, 0)], "filled", "NONE", 99, 5, 5),
    "is_cut_off": ([(NEW, 0, 99, 5, 0), (TRADE, 2, 98, 3, 0), (CANCELED, 0, 99, 0, 2)], "canceled", "IOC", 99, 5, 2),
    "grows": ([(NEW, 0, 99, 2, 0), (TRADE, 1, 99, 1, 0), (REPLACED, 0, 97, 6, 1)], "working", "NONE", 97, 7, 1),
    "is_refused": ([(REJECTED, 0, 99, 0, 6)], "rejected", "MAX_POSITION", 99, 0, 0),
    "expires": ([(NEW, 0, 99, 2, 0), (EXPIRED, 0, 99, 0, 13)], "expired", "BOOK_CLEARED", 99, 2, 0),
    "outlives_a_late_cancel": (
        [(NEW, 0, 9, 1, 0), (TRADE, 1, 9, 0, 0), (TOO_LATE, 0, 9, 0, 9)],
        "filled",
        "NONE",
        9,
        1,
        1,
    ),
    "tells_no_limit": ([(TRADE, 1, 9, 0, 0)], "filled", "NONE", NO_TICK, 1, 1),
}


def life(rows, order_id=1):
    return [
        make.report(
            ts, SELL, size, price, order_id=order_id, exec_type=exec_type, leaves=leaves, reason=reason, fee=size
        )
        for ts, (exec_type, size, price, leaves, reason) in enumerate(rows)
    ]


@pytest.mark.parametrize("name", LIVES)
def test_fold_orders__order(name):
    rows, status, reason, limit, submitted, filled = LIVES[name]
    (order,) = fold_orders(make.reports(*life(rows)))
    assert order["status"] == status
    assert order["reason"] == getattr(enums, f"REASON_{reason}")
    assert (order["limit"], order["submitted"], order["filled"], order["side"]) == (limit, submitted, filled, SELL)
    assert order["fills"] == sum(row[0] == TRADE for row in rows)
    assert order["value"] == sum(row[1] * row[2] for row in rows)
    assert order["fees"] == filled
    assert order["ts_first"] == 0
    assert order["ts_last"] == len([row for row in rows if row[0] != TOO_LATE]) - 1


def test_fold_orders__interleaved_lives_don_t_mix():
    lives = [life(rows, order_id=i + 1) for i, (rows, *_) in enumerate(LIVES.values())]
    rounds = [one[step] for step in range(3) for one in lives if step < len(one)]
    together = fold_orders(make.reports(*rounds))
    alone = np.concatenate([fold_orders(make.reports(*one)) for one in lives])
    assert (together == alone).all()


def test_fold_orders__a_refused_cancel_of_an_unknown_order_is_no_order():
    assert len(fold_orders(make.reports(make.report(1, order_id=7, exec_type=TOO_LATE, reason=10)))) == 0
    assert len(fold_orders(make.reports())) == 0


@given(make.fills())
def test_fold_orders__loses_no_lot(fills):
    fills["order_id"] = fills["order_id"] // 3 + 1
    orders = fold_orders(fills)
    assert orders["filled"].sum() == fills["size"].sum()
    assert orders["fees"].sum() == fills["fee"].sum()
    assert orders["value"].sum() == (fills["size"].astype(int) * fills["price"]).sum()
    assert (fills["side"] == BUY).all() or orders["fills"].sum() == len(fills)


def test_queues_proven__where_the_order_took_its_places():
    proof = Proof([(0, 100, 110), (3, 90, 110)])  # bids at 100 and above, asks at 110 and below; later bids from 90
    placed = {"exec_type": NEW, "leaves": 1}
    rows = [
        make.report(1, BUY, price=100, order_id=1, event=1, **placed),
        make.report(1, BUY, price=99, order_id=2, event=1, **placed),
        make.report(1, SELL, price=111, order_id=3, event=1, **placed),
        make.report(3, BUY, price=99, order_id=4, event=3, **placed),
        make.report(1, BUY, price=100, order_id=5, event=1, **placed),
        make.report(2, BUY, price=99, order_id=5, event=2, exec_type=REPLACED, leaves=1),
        make.report(4, BUY, price=100, order_id=5, event=3, exec_type=REPLACED, leaves=1),
        make.report(1, BUY, price=99, order_id=6, event=1, **placed),  # takes, and does not rest
        make.report(1, BUY, 1, 101, order_id=6, event=1, liquidity=enums.LIQUIDITY_TAKER),
        make.report(1, BUY, price=99, order_id=7, event=1, **placed),
        make.report(1, BUY, price=99, order_id=7, event=1, exec_type=CANCELED, reason=enums.REASON_IOC),
        make.report(1, BUY, price=99, order_id=8, event=-1, exec_type=REJECTED),
    ]
    tape = make.events(*((n, 99, 101) for n in range(5)))
    account = make.collect(tape, rows, proof=proof).account
    assert queues_proven(account) == {1: True, 2: False, 3: False, 4: True, 5: False}
    report = make.collect(tape, rows, proof=proof).generate_report()
    assert "test ESH4: 3 orders took a place in a queue that the data don't tell in full" in report.notes
    for complete in (None, Proof([(0, -UNBOUNDED, UNBOUNDED)])):
        account = make.collect(tape, rows, proof=complete).account
        assert all(queues_proven(account).values())
