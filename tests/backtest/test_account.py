"""Accounts: equity curve and round trips against slow twins, marks, invariances."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bt_gym.backtest.account import NO_MARK, Account
from bt_gym.backtest.report import RunInfo
from bt_gym.backtest.summary import summarise
from bt_gym.core import positions
from bt_gym.core.enums import ASK, BUY, NO_TICK, PHASE_HALT, PHASE_PRE_OPEN, SELL
from bt_gym.errors import CapacityError
from tests.backtest import make
from tests.backtest.make import ES, ODD, SECOND
from tests.reference import accounting

INTERVALS = st.sampled_from([SECOND, SECOND // 3, 250_000_001])


def account(tape, reports, instrument=ES, **values):
    return Account("test", instrument, tape, reports, **values)


@settings(max_examples=50)
@given(make.tapes(), make.fills(), INTERVALS)
def test_curve__equals_a_python_loop_over_samples(tape, fills, interval):
    some = account(tape, fills, ODD, interval_ns=interval)
    rows, marks = make.as_tuples(fills, tape)
    starts = [ts for ts, _, continuous in marks if continuous][:1] + [row[0] for row in rows][:1]
    if not starts:
        assert len(some.curve) == 0
        return
    end = max([marks[-1][0]] + [row[0] for row in rows])
    ts = min(starts) // interval * interval
    samples = [ts]
    while ts < end or len(samples) < 2:
        ts += interval
        samples.append(ts)
    assert some.curve["ts"].tolist() == samples
    for sample in some.curve:
        equity, size, cash, fees, mark, stale = accounting.state_at(
            rows, marks, int(sample["ts"]), ODD.tick_value_micros
        )
        assert sample["equity"] == round(equity - cash + fees) + cash - fees  # the value of the position, half to even
        assert (sample["position"], sample["cash"], sample["fees"]) == (size, cash, fees)
        assert sample["mark2"] == (NO_MARK if mark is None else mark)
        assert sample["mark_is_stale"] == stale
        assert sample["equity"] == some.equity_at(int(sample["ts"]))


@pytest.mark.kernel
@settings(max_examples=50)
@given(make.tapes(), make.fills())
def test_ledger__identity_is_exact_and_is_the_end_of_the_curve(tape, fills):
    some = account(tape, fills, ODD)
    ledger = summarise("test", [some], RunInfo()).ledger
    assert ledger.realised + ledger.unrealised - ledger.fees == ledger.cash + ledger.position_value - ledger.fees
    last = some.positions[-1]
    assert (ledger.realised, ledger.cash, ledger.fees) == (last["realised"], last["cash"], last["fees"])
    if last["size"]:
        mark2, tick_value = int(some.curve["mark2"][-1]), ODD.tick_value_micros
        assert ledger.unrealised == positions.unrealised(last, mark2, tick_value)
        assert ledger.equity == positions.equity(last, mark2, tick_value)
    if len(some.curve):
        assert some.curve["equity"][-1] == ledger.equity
        returns_end = summarise("test", [some], RunInfo()).total_pnl
        assert returns_end == ledger.equity / 1_000_000


@pytest.mark.kernel
@given(make.fills(), make.tapes())
def test_trips__equal_lot_by_lot_matching(fills, tape):
    fills["fee"] = fills["size"] * 3  # so that each lot bears 3
    some = account(tape, fills)
    rows, _ = make.as_tuples(fills, tape)
    expected, still_open = accounting.fifo_lots(rows, ES.tick_value_micros)
    got = []
    for trip in some.trips:
        lots = int(trip["size"])
        opened, closed = int(trip["open_fill"]), int(trip["close_fill"])
        assert trip["duration"] == rows[closed][0] - rows[opened][0]
        assert trip["pnl"] % lots == 0
        got += [(opened, closed, trip["pnl"] // lots + 6)] * lots
    assert got == expected
    assert some.trips["size"].sum() * 2 + len(still_open) == fills["size"].sum()


@pytest.mark.kernel
@settings(max_examples=50)
@given(make.fills(), make.tapes())
def test_trips__share_out_every_fee_to_the_last_micro(fills, tape):
    flat = int(((1 - 2 * fills["side"].astype(int)) * fills["size"]).sum())
    if flat:
        closing = make.report(5 * SECOND, int(flat > 0), abs(flat), 7, fee=11)
        fills = np.append(fills, closing)
    some = account(tape, fills)
    last = some.positions[-1]
    assert some.trips["pnl"].sum() == last["cash"] - last["fees"] == last["realised"] - last["fees"]


@settings(max_examples=50)
@given(make.tapes(), make.fills(), st.data())
def test_report__splitting_fills_changes_nothing(tape, fills, data):
    fills["fee"] = fills["size"] * 5
    split = []
    for fill in fills:
        part = data.draw(st.integers(0, int(fill["size"]) - 1))
        for size in (part, int(fill["size"]) - part):
            if size:
                piece = fill.copy()
                piece["size"], piece["fee"] = size, size * 5
                split.append(piece)
    split = make.reports(*split)
    whole, parts = (summarise("test", [account(tape, some)], RunInfo()) for some in (fills, split))
    for name in (
        *("total_pnl", "fees", "max_drawdown", "sharpe_ratio", "sortino_ratio", "contracts", "turnover"),
        *("round_trips", "wins", "losses", "ties", "win_rate", "profit_factor", "avg_win", "avg_loss"),
        *("avg_trade_duration", "maker_share", "avg_position", "max_abs_position", "time_in_market"),
        *("markouts", "markout_contracts", "spread_paid_maker", "spread_paid_taker"),
    ):
        assert getattr(whole, name) == getattr(parts, name), name
    assert (account(tape, fills).curve == account(tape, split).curve).all()


@settings(max_examples=50)
@given(make.tapes(), make.fills(), st.integers(-100, 100))
def test_report__mirrored_market_and_sides_give_the_same_profit(tape, fills, centre):
    mirror_tape, mirror_fills = tape.copy(), fills.copy()
    for here, there in (("bid", "ask"), ("ask", "bid")):
        empty = tape[there] == NO_TICK
        mirror_tape[here] = np.where(empty, NO_TICK, 2 * centre - np.where(empty, 0, tape[there]))
    mirror_fills["side"] = 1 - fills["side"]
    mirror_fills["price"] = 2 * centre - fills["price"]
    here, there = (
        summarise("test", [account(*some)], RunInfo()) for some in ((tape, fills), (mirror_tape, mirror_fills))
    )
    for name in ("total_pnl", "max_drawdown", "sharpe_ratio", "win_rate", "avg_trade_duration", "markouts"):
        assert getattr(here, name) == getattr(there, name), name
    assert here.final_position in (None, -(there.final_position or 0))


def test_curve__starts_with_continuous_trading_and_ends_with_the_data():
    tape = make.events((5 * SECOND, 90, 110, PHASE_PRE_OPEN), (10 * SECOND + 7, 100, 101), (12 * SECOND + 1, 100, 103))
    curve = account(tape, make.reports()).curve
    assert (curve["ts"] // SECOND).tolist() == [10, 11, 12, 13]
    assert curve["mark2"].tolist() == [NO_MARK, 201, 201, 203]
    assert curve["mark_is_stale"].tolist() == [True, False, False, False]
    assert curve["trading"].tolist() == [False, True, True, True]


def test_curve__is_empty_without_trading():
    some = account(make.events((5, 90, 110, PHASE_PRE_OPEN)), make.reports())
    assert some.span is None
    assert len(some.curve) == 0


@pytest.mark.parametrize(
    "doubtful",
    [(NO_TICK, 101), (99, NO_TICK), (101, 101), (102, 101), (104, 105, PHASE_HALT)],
    ids=["no_bid", "no_ask", "locked", "crossed", "halt"],
)
def test_mark__keeps_the_last_valid_mid_and_says_so(doubtful):
    bid, ask, *phase = doubtful
    tape = make.events((0, 99, 101), (SECOND, bid, ask, *phase), (2 * SECOND, 100, 103))
    curve = account(tape, make.reports(make.report(0, BUY, 1, 100))).curve
    assert curve["mark2"].tolist() == [200, 200, 203]
    assert curve["mark_is_stale"].tolist() == [False, True, False]
    assert curve["equity"].tolist() == [0, 0, 1.5 * ES.tick_value_micros]


def test_mark__is_an_own_fill_before_there_is_any_mid():
    tape = make.events((0, NO_TICK, 101), (2 * SECOND, 100, 102))
    curve = account(tape, make.reports(make.report(5, BUY, 1, 101))).curve
    assert curve["mark2"].tolist() == [NO_MARK, 202, 202]
    assert curve["mark_is_stale"].tolist() == [True, True, False]
    assert curve["equity"].tolist() == [0, 0, 0]


def test_curve__counts_an_event_and_a_fill_at_the_very_time_of_the_sample():
    tape = make.events((0, 99, 101), (SECOND, 103, 105), (2 * SECOND, 99, 101))
    fill = make.report(SECOND, BUY, 1, 105)
    curve = account(tape, make.reports(fill)).curve
    assert curve["equity"].tolist() == [0, -ES.tick_value_micros, -5 * ES.tick_value_micros]


def test_fills__are_put_into_exchange_order():
    tape = make.events((0, 99, 101), (9, 99, 101))
    first, second = make.report(5, BUY, 1, 101, order_id=2), make.report(7, SELL, 1, 99, order_id=1)
    assert account(tape, make.reports(second, first)).fills["order_id"].tolist() == [2, 1]


def test_fills__at_one_time_stay_as_recorded():
    tape = make.events((0, 99, 101), (9, 99, 101))
    fills = make.reports(*(make.report(5 - i % 2, BUY, 1, 101, order_id=i) for i in range(100)))
    assert account(tape, fills).fills["order_id"].tolist() == [*range(1, 100, 2), *range(0, 100, 2)]


def test_positions__refuse_amounts_beyond_64_bits():
    tape = make.events((0, 99, 101))
    fills = make.reports(*(make.report(0, ASK, 2**31 - 1, 60_000_000) for _ in range(3)))
    with pytest.raises(CapacityError, match="lower max_position"):
        _ = account(tape, fills).positions


@pytest.mark.kernel
@settings(max_examples=20)
@given(make.tapes(), make.fills())
def test_positions__average_cost_is_the_twin_s_within_roundings(tape, fills):
    twin = accounting.AverageCost(ODD.tick_value_micros)
    states = account(tape, fills, ODD).positions
    for (_, sign, size, price, fee), state in zip(make.as_tuples(fills, tape)[0], states[1:], strict=True):
        twin.fill(sign, size, price, fee)
        assert state["size"] == twin.size
        assert abs(int(state["realised"]) - twin.realised) <= Fraction(len(fills), 2)
