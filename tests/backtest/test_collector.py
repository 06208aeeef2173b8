"""MetricsCollector: a session worked by hand, degenerate ones, several accounts, independence of chunks."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bt_gym.backtest.collector import MetricsCollector, generate_report
from bt_gym.backtest.report import RunInfo
from bt_gym.core import enums
from bt_gym.core.enums import BUY
from bt_gym.errors import BtGymError, EmptyDataError
from tests.backtest import make
from tests.backtest.make import ES, ODD, SECOND, collect, hand_made, report

MICROS = 1_000_000


def test_generate_report__session_worked_by_hand():
    report = hand_made().generate_report(RunInfo(notes=("model: none",)))
    # +1 tick on one lot, -1 on the other, four fees of 2.50
    assert (report.gross_pnl, report.fees, report.total_pnl) == (0, 10, -10)
    assert (report.realised_pnl, report.unrealised_pnl, report.final_position) == (0, 0, 0)
    # 1 s: 2 lots bought at 19200, mid 19201.5 -> +37.50 - 5; 2 s: one lot left at 19199.5 -> 12.50 - 6.25 - 7.50
    assert report.ledger.equity == -10 * MICROS
    assert report.trading_seconds == 4
    assert report.max_drawdown == pytest.approx(32.5 + 10)
    returns = [32.5, -1.25 - 32.5, -10 + 1.25, 0]
    mean = sum(returns) / 4
    deviation = math.sqrt(sum((value - mean) ** 2 for value in returns) / 3)
    assert report.sharpe_ratio == pytest.approx(mean / deviation * math.sqrt(4 * 252))
    downside = math.sqrt((33.75**2 + 8.75**2) / 4)
    assert report.sortino_ratio == pytest.approx(mean / downside * math.sqrt(4 * 252))
    assert report.return_over_max_drawdown == pytest.approx(-10 / 42.5)
    assert report.calmar_ratio == pytest.approx(-10 * 252 / 42.5)
    assert report.sharpe_flag == "per-day equivalent of 1 s equity; 1 of 20 days needed for a track record"

    assert (report.total_trades, report.contracts, report.maker_share, report.taker_share) == (3, 4, 0.5, 0.5)
    assert report.turnover == (2 * 19200 + 19201 + 19199) * 12.5
    assert report.return_over_trade == -10 / report.turnover
    # per lot: +12.50 - 5 and -12.50 - 5
    assert (report.round_trips, report.wins, report.losses, report.ties, report.win_rate) == (2, 1, 1, 0, 0.5)
    assert (report.avg_win, report.avg_loss) == (7.5, -17.5)
    assert report.profit_factor == pytest.approx(7.5 / 17.5)
    assert report.avg_trade_duration == 1.5
    assert (report.orders, report.filled_orders, report.fill_ratio) == (5, 3, 4 / 7)
    assert report.reports == {"new": 4, "trade": 3, "rejected": 1, "cancel_rejected": 1}
    assert report.rejects == {"max_position": 1, "unknown_order": 1}
    assert report.avg_position == report.avg_abs_position == (2 * 1 + 1 * 1) / 4
    assert (report.max_abs_position, report.time_in_market) == (2, 0.5)
    # maker: mid before 19200.5; takers: 19201.5 and 19199.5
    assert report.spread_paid_maker == -2 * 0.5 * 12.5
    assert report.spread_paid_taker == 2 * 0.5 * 12.5
    # maker at 0.6 s and 1.5 s: 19201.5; takers: -0.5 tick each at once, 1 s later +1.5 and +19199-19199.5 ticks
    assert report.markouts["maker_100ms"] == report.markouts["maker_1s"] == 1.5 * 12.5
    assert report.markouts["taker_100ms"] == -0.5 * 12.5
    assert report.markouts["taker_1s"] == (1.5 - 0.5) / 2 * 12.5
    assert report.markouts["maker_10s"] is None
    assert report.markout_contracts == {
        **{"maker_100ms": 2, "maker_1s": 2, "maker_10s": 0, "maker_60s": 0},
        **{"taker_100ms": 2, "taker_1s": 2, "taker_10s": 0, "taker_60s": 0},
    }
    assert report.notes == ("model: none",)


def test_generate_report__doing_nothing_is_zero_or_undefined():
    tape = make.events((0, 99, 101), (5 * SECOND, 120, 121))
    report = collect(tape, []).generate_report()
    zero = ("total_pnl", "gross_pnl", "fees", "max_drawdown", "total_trades", "contracts", "turnover", "round_trips")
    assert all(getattr(report, name) == 0 for name in (*zero, "orders", "final_position", "time_in_market"))
    undefined = ("sharpe_ratio", "sortino_ratio", "return_over_max_drawdown", "calmar_ratio", "return_over_trade")
    undefined += ("maker_share", "win_rate", "profit_factor", "avg_win", "avg_loss", "avg_trade_duration", "fill_ratio")
    undefined += ("spread_paid_maker", "spread_paid_taker")
    assert all(getattr(report, name) is None for name in undefined)
    assert set(report.markouts.values()) == {None}
    assert report.reports == report.rejects == {}


def test_generate_report__without_trading_has_no_span():
    tape = make.events((0, 99, 101, enums.PHASE_PRE_OPEN))
    report = collect(tape, []).generate_report()
    assert (report.start_ns, report.end_ns, report.trading_seconds) == (None, None, 0)
    assert (report.total_pnl, report.sharpe_ratio, report.avg_position) == (0, None, None)


@settings(max_examples=50)
@given(make.tapes(), make.fills())
def test_generate_report__has_no_nan_and_no_infinity(tape, fills):
    def numbers(value):
        if isinstance(value, dict):
            return [number for item in value.values() for number in numbers(item)]
        return [value] if isinstance(value, float) else []

    assert all(map(math.isfinite, numbers(collect(tape, [fills], instrument=ODD).generate_report().to_dict())))


@settings(max_examples=50)
@given(make.tapes(), make.fills(), st.lists(st.integers(0, 12), max_size=4))
def test_record_reports__chunks_don_t_matter(tape, fills, cuts):
    whole = collect(tape, [fills]).generate_report()
    assert collect(tape, np.split(fills, sorted(cuts))).generate_report() == whole
    collector = MetricsCollector("test", ES, tape)
    for fill in fills:
        collector.record_fill(fill)
        _ = collector.account.curve  # an early look doesn't freeze anything
    assert collector.generate_report() == whole


def test_record_reports__copies():
    tape, rows = make.events((0, 99, 101), (9, 99, 101)), make.reports(report(5, BUY, 1, 101))
    collector = collect(tape, [rows])
    rows["size"] = 0
    assert collector.generate_report().contracts == 1


def test_record_fill__refuses_what_is_no_fill():
    with pytest.raises(ValueError, match="exec_type 0 is not a fill"):
        MetricsCollector("test", ES, make.events((0, 99, 101))).record_fill(report(1))


def test_record_pnl__agrees_with_the_fills_or_raises():
    collector = hand_made()
    collector.record_pnl(SECOND, 32_500_000)
    collector.record_pnl(4 * SECOND, -10 * MICROS)
    collector.generate_report()
    collector.record_pnl(2 * SECOND, -1_250_001)
    with pytest.raises(BtGymError, match="equity at 2000000000 is -1250000 micros by its fills but -1250001"):
        collector.generate_report()


def test_record_metrics__last_finite_value_goes_into_the_report():
    collector = hand_made()
    for ts, values in enumerate([{"signal": 1, "speed": 2.0}, {"signal": -0.5, "loss": math.nan}]):
        collector.record_metrics(ts, values)
    assert collector.generate_report().strategy_metrics == {"signal": -0.5, "speed": 2.0, "loss": None}


def test_collector__needs_an_event():
    with pytest.raises(EmptyDataError, match="ESH4: the tape has no event"):
        MetricsCollector("test", ES, make.events())


def test_generate_report__halts_are_no_trading_time():
    halt = enums.PHASE_HALT
    tape = make.events((0, 99, 101), (2 * SECOND, 99, 101, halt), (7 * SECOND, 103, 105), (9 * SECOND, 103, 105))
    report_ = collect(tape, [report(1, BUY, 1, 101)]).generate_report()
    # samples at 1, 7, 8, 9 s are in trading time; what the halt moved belongs to 7 s
    returns = np.array([-12.5, 50, 0, 0])
    assert report_.trading_seconds == 4
    assert report_.sharpe_ratio == pytest.approx(returns.mean() / returns.std(ddof=1) * math.sqrt(4 * 252))


def test_generate_report__what_a_halt_at_the_end_leaves_unsampled_counts_as_well():
    tape = make.events((0, 99, 101), (2 * SECOND + 1, 103, 105), (2 * SECOND + 2, 103, 105, enums.PHASE_HALT))
    report_ = collect(tape, [report(1, BUY, 1, 101)]).generate_report()
    returns = np.array([-12.5, 0, 50])
    assert report_.trading_seconds == 3
    assert report_.sharpe_ratio == pytest.approx(returns.mean() / returns.std(ddof=1) * math.sqrt(3 * 252))


def test_generate_report__drawdown_counts_from_zero_even_when_the_first_sample_is_a_loss():
    report_ = collect(make.events((0, 99, 101), (SECOND, 99, 101)), [report(0, BUY, 1, 101)]).generate_report()
    assert report_.max_drawdown == 12.5


@pytest.mark.parametrize(("ts", "lots"), [(SECOND, 1), (SECOND + 1, 0)])
def test_generate_report__a_markout_may_end_with_the_data_but_not_after_it(ts, lots):
    tape = make.events((0, 99, 101), (2 * SECOND, 103, 105))
    report_ = collect(tape, [report(ts, BUY, 1, 101)]).generate_report()
    assert report_.markout_contracts["taker_1s"] == lots
    assert report_.markouts["taker_1s"] == (3 * 12.5 if lots else None)


@pytest.mark.parametrize(("days", "flagged"), [(19, True), (20, False)])
def test_generate_report__days_scale_the_year_and_lift_the_flag(days, flagged):
    tape = make.events((0, 99, 101), (3 * SECOND, 99, 105))
    one, many = (collect(tape, [report(1, BUY, 1, 101)], days=n).generate_report() for n in (1, days))
    assert many.sharpe_ratio == pytest.approx(one.sharpe_ratio / math.sqrt(days))
    assert (many.sharpe_flag is not None) is flagged


def test_generate_report__names_an_open_position_and_a_stale_mark():
    tape = make.events((0, 99, 101), (SECOND, 99, 101, enums.PHASE_HALT))
    notes = collect(tape, [report(0, BUY, 2, 101)]).generate_report().notes
    assert notes == (
        "test ESH4: the open position of 2 lots is marked, not liquidated",
        "test ESH4: the book has no valid mid at the end, the last valid one is the mark",
    )


@settings(max_examples=50)
@given(make.tapes(), make.fills(), make.fills(), make.tapes())
def test_generate_report__total_is_the_sum_of_its_parts(tape, some, others, other_tape):
    collectors = [collect(tape, [some], "a"), collect(other_tape, [others], "b", ODD)]
    total = generate_report(collectors)
    assert [part.strategy for part in total.parts] == ["a", "b"]
    assert (total.strategy, total.symbol) == ("total", "ESH4,ODD")
    assert total.ledger == total.parts[0].ledger + total.parts[1].ledger
    for name in ("total_trades", "contracts", "round_trips", "wins", "losses", "ties", "orders"):
        assert getattr(total, name) == sum(getattr(part, name) for part in total.parts)
    assert max(part.max_drawdown for part in total.parts) <= sum(part.max_drawdown for part in total.parts)
    assert total.max_drawdown <= sum(part.max_drawdown for part in total.parts) + 1e-6
    assert total.final_position is None


def test_generate_report__total_of_one_account_is_that_account():
    total = generate_report([hand_made()])
    (part,) = total.parts
    for name in ("ledger", "sharpe_ratio", "max_drawdown", "win_rate", "markouts", "avg_position", "orders", "notes"):
        assert getattr(total, name) == getattr(part, name)


def test_generate_report__total_curve_adds_equity_at_equal_times():
    early = make.events((0, 99, 101), (3 * SECOND, 109, 111))  # +10 ticks at 3 s, kept to the end
    late = make.events((2 * SECOND, 99, 101), (6 * SECOND, 79, 81))  # -20 ticks at 6 s
    fills = [[report(1, BUY, 1, 100)], [report(2 * SECOND, BUY, 1, 100)]]
    total = generate_report([collect(tape, rows) for tape, rows in zip((early, late), fills, strict=True)])
    assert total.total_pnl == (10 - 20) * 12.5
    assert total.max_drawdown == 20 * 12.5
    assert (total.start_ns, total.end_ns, total.trading_seconds) == (0, 6 * SECOND, 6)


def test_generate_report__refuses_nothing_and_unequal_clocks():
    with pytest.raises(ValueError, match="at least one collector"):
        generate_report([])
    tape = make.events((0, 99, 101))
    with pytest.raises(ValueError, match="one interval_ns"):
        generate_report([collect(tape, []), collect(tape, [], interval_ns=SECOND // 2)])
