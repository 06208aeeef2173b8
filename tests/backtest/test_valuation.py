"""Marks and inverse instruments in whole backtests: worked numbers in report, equity, files and context."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bt_gym import BacktestConfig, Backtester, EventKind, OrderRequest, Side, StrategyContext, StrategyOutput
from bt_gym.backtest.valuation import edges2, quotes_at
from bt_gym.core import enums
from bt_gym.core.enums import BUY, SELL
from bt_gym.data import dbn
from bt_gym.data.tape import Tape, ingest
from tests.backtest import make
from tests.data.compiled import add, cancel, clear, fill, nothing, stream, trade
from tests.reference.book import Book, match_groups, to_records
from tests.runs import Run, Script, write

STEP = 20  # us between two orders
B, S = Side.BUY, Side.SELL


def configured(folder: Path, mark: str = "mid", **instrument: Any) -> BacktestConfig:
    latency = {"network_latency_us": 1, "processing_latency_us": 0}
    facts = {"tick_size": 0.25, "multiplier": 50, "fee_per_contract": 0, **instrument}
    return BacktestConfig.from_dict(
        {
            "backtest": {
                "execution": {"latency_model": latency},
                "output": {"metrics_file": str(folder / "metrics.parquet"), "equity_interval_ms": 1},
                "mark": mark,
            },
            "instruments": {"*": facts},
        }
    )


def traded(folder: Path, fills: Sequence[tuple[Side, int, int]], final: tuple[int, int], **facts: Any) -> Run:
    """A run in which market orders trade at these prices (ticks), then the book is (bid, ask)."""
    events: list = [clear()]
    for number, (side, _, price) in enumerate([*fills, (None, 0, 0)]):
        bid, ask = final if side is None else (price - 1, price) if side == B else (price, price + 1)
        first = 10 + 2 * number
        events += [add(first, "B", bid, 100), add(first + 1, "A", ask, 100), *[nothing()] * (STEP - 4)]
        if side is not None:
            events += [cancel(first, "B", bid, 100), cancel(first + 1, "A", ask, 100)]
    path = write(folder / "a.dbn", *events, *[nothing()] * STEP, delays=(0,))
    left = list(fills)

    def act(context: StrategyContext, script: Script) -> StrategyOutput | None:
        start = 1 + STEP * (len(fills) - len(left))
        if not left or context.market_state.best_bid() is None or context.current_time < first_time + start * 1_000:
            return None
        side, size, _ = left.pop(0)
        return StrategyOutput([OrderRequest.market(side, size)])

    script = Script(act, EventKind(0), timer_interval_ns=1_000)
    backtester = Backtester(configured(folder, **facts), files=[path], tape_folder=folder / "tapes")
    first_time = int(stream(*events)["ts_event"][0])
    backtester.add_strategy("test", script)
    run = Run(backtester, backtester.run())
    assert run.fills()["price"].tolist() == [price for _, _, price in fills]
    assert run.fills()["size"].tolist() == [size for _, size, _ in fills]
    return run


def in_quarters(price: float) -> int:
    return round(price * 4)


# --- the worked examples T1 to T8 of textbook accounting: (fills, mark, facts, realised, fees, total)

M50 = {"multiplier": 50, "fee_per_contract": 2.5}
FREE = {"multiplier": 50}
EXAMPLES = {
    "T1 long, add, reduce, flip": (
        [(B, 2, 4800.0), (B, 1, 4801.0), (S, 1, 4802.0), (S, 4, 4799.5)],
        4798.0,
        M50,
        (0.0, 20.0, 130.0),
    ),
    "T2 short, add, cover, flip": (
        [(S, 3, 4800.0), (S, 1, 4802.0), (B, 2, 4799.0), (B, 5, 4803.0)],
        4804.0,
        M50,
        (-100.0, 27.5, 22.5),
    ),
    "T3 flat and reopen": ([(B, 2, 4800.0), (S, 2, 4800.25), (S, 1, 4801.0)], 4800.0, FREE, (25.0, 0.0, 75.0)),
    "T4 negative prices": ([(B, 4, -1.25), (S, 2, -0.75), (S, 4, -2.0)], -1.5, FREE, (-25.0, 0.0, -75.0)),
    # oil at 0.01 x 1000 is worth 10 a tick, and so is 0.25 x 40: 1.00 and -37.63 are 100 and -3763 ticks
    "T5 through zero": ([(S, 1, 25.0), (B, 1, -940.75)], 0.0, {"multiplier": 40}, (38_630.0, 0.0, 38_630.0)),
    "T6 in three": (
        [(B, 1, 4800.25), (B, 2, 4800.25), (B, 3, 4800.5), (S, 6, 4800.5)],
        4800.0,
        FREE,
        (37.5, 0.0, 37.5),
    ),
    "T6 in two": ([(B, 3, 4800.25), (B, 3, 4800.5), (S, 6, 4800.5)], 4800.0, FREE, (37.5, 0.0, 37.5)),
    "T7 crossing the spread": ([(B, 1, 4800.25), (S, 1, 4800.0)], 4800.0, M50, (-12.5, 5.0, -17.5)),
    "T8 the naive bug": ([(B, 3, 100.0), (S, 1, 110.0)], 100.0, {"multiplier": 1}, (10.0, 0.0, 10.0)),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_backtest__gives_the_worked_example(tmp_path: Path, name: str):
    fills, mark, facts, (realised, fees, total) = EXAMPLES[name]
    in_ticks = [(side, size, in_quarters(price)) for side, size, price in fills]
    centre = in_quarters(mark)
    report = traded(tmp_path, in_ticks, (centre - 1, centre + 1), **facts).report
    assert (report.realised_pnl, report.fees, report.total_pnl) == (realised, fees, total)
    assert report.ledger.realised + report.ledger.unrealised - report.ledger.fees == report.ledger.equity


# --- marks


@pytest.mark.parametrize(
    ("mark", "price", "profit"),
    [("mid", 100.5, -12.5), ("last", 101.0, 0.0), ("liquidation", 100.0, -25.0), ("microprice", 100.75, -6.25)],
)
def test_mark__is_that_of_report_curve_files_and_context(tmp_path: Path, mark: str, price: float, profit: float):
    """Bought 2 at 101 of 12.50 a tick, then 100 x 15 / 101 x 5, last trade at 101."""
    hit = [trade("B", 101, 2), fill(2, "A", 101, 2), cancel(2, "A", 101, 2)]
    path = write(tmp_path / "a.dbn", clear(), add(1, "B", 100, 15), add(2, "A", 101, 7), hit, *[nothing()] * 40)
    seen: list[float] = []

    def act(context: StrategyContext, script: Script) -> StrategyOutput | None:
        seen.append(context.position.unrealized_pnl)
        return StrategyOutput([OrderRequest.market(B, 2)]) if len(script.told) == 1 else None

    backtester = Backtester(configured(tmp_path, mark), files=[path], tape_folder=tmp_path / "tapes")
    backtester.add_strategy("test", Script(act, EventKind(0), timer_interval_ns=5_000))
    report = backtester.run()
    files = backtester.write(report)
    assert (report.total_pnl, report.unrealised_pnl, seen[-1]) == (profit, profit, profit)
    last = pq.read_table(files["equity"]).to_pylist()[-1]
    assert (last["equity"], last["mark"], last["position"]) == (profit, price * 0.25, 2)
    assert last["mark_half_ticks"] == (None if mark == "microprice" else 2 * price)
    row = pq.read_table(files["metrics"]).to_pylist()[-1]
    assert (row["mark"], row["total_pnl"]) == (mark, profit)


def test_quotes__are_those_of_the_reference_book(session_file: Path):
    """Best prices, their sizes and the last trade after some events, by the slow book over the source records."""
    folder = session_file.parent / "tapes"
    tape = Tape.open(ingest([session_file], tick_size_nanos=250_000_000, folder=folder))
    continuous = np.flatnonzero(tape.events["flags"] & enums.PHASE_MASK == enums.PHASE_CONTINUOUS)
    chosen = continuous[:: len(continuous) // 60]
    ends = dict(zip(tape.events["source"][chosen].tolist(), chosen.tolist(), strict=True))
    file = dbn.open_dbn(session_file)
    source = np.concatenate(list(file.chunks(file.select(None))))
    quotes = dict(zip(chosen.tolist(), quotes_at(tape, chosen).tolist(), strict=True))
    book, count, last, checked = Book(), 0, None, 0
    for group in match_groups(to_records(source)):
        book.begin_event()
        for record in group:
            book.apply(record)
            last = record.price // 250_000_000 if record.action == "T" else last
        count += len(group)
        if count in ends:
            bid, ask = (book.depth(side, 1)[0] for side in "BA")
            mark2, *own, session = quotes[ends[count]]
            assert own == [bid.price // 250_000_000, ask.price // 250_000_000, bid.size, ask.size]
            assert (mark2, session[1]) == (own[0] + own[1], last)
            checked += 1
    assert checked > 50


@pytest.mark.parametrize(
    ("side", "price", "mark2", "expected"),
    [(BUY, 10, 21, 1), (SELL, 10, 21, -1), (BUY, 10, 20, 0), (SELL, 11, 21, 1), (BUY, -3, -8, -2)],
)
def test_edges2__are_positive_on_the_good_side_of_the_mark(side, price, mark2, expected):
    row = np.atleast_1d(make.report(0, side, 3, price))
    assert edges2(row, np.array([mark2]), 7).tolist() == [21 * expected]


# --- inverse

COIN = {"multiplier": 100, "inverse": True, "currency": "BTC"}  # 100 USD a lot, in bitcoin


@pytest.mark.parametrize("side", [B, S])
def test_inverse__in_numbers(tmp_path: Path, side: Side):
    """10 lots of 100 USD at 50,000, closed at 55,000: 0.02 BTC against 0.018182; 1,818 millionths, won or lost."""
    sign = side.sign
    other = S if side == B else B
    run = traded(tmp_path, [(side, 10, 200_000), (other, 10, 220_000)], (220_000, 220_001), **COIN)
    ledger = run.report.ledger
    assert (ledger.realised, ledger.cash, ledger.unrealised) == (1_818 * sign, 1_818 * sign, 0)
    assert run.report.turnover == 0.038182
    assert (run.report.wins, run.report.losses) == ((10, 0) if sign > 0 else (0, 10))
    assert run.report.avg_win == (pytest.approx(0.0001818) if sign > 0 else None)


def test_inverse__open_position_is_marked_in_coin(tmp_path: Path):
    """10 lots at 50,000 (0.02 BTC), mid 55,000.125: 1,000 USD are 0.01818178 BTC, 18,182 millionths."""
    run = traded(tmp_path, [(B, 10, 200_000)], (220_000, 220_001), **COIN)
    files = run.backtester.write(run.report)
    assert run.report.ledger.unrealised == 20_000 - 18_182
    assert run.report.total_pnl == 0.001818
    last = pq.read_table(files["equity"]).to_pylist()[-1]
    assert (last["equity_micros"], last["cash_micros"], last["mark"]) == (1_818, 20_000, 55_000.125)


def test_inverse__average_price_is_harmonic(tmp_path: Path):
    """1 lot at 100 and 1 at 200: 2 lots for 1/100 + 1/200 of the value, so at 133.33 each."""
    seen: list[Any] = []

    def act(context: StrategyContext, script: Script) -> StrategyOutput | None:
        seen.append(context.position)
        wanted = {1: 1, 60: 1}.get(len(script.told))
        return StrategyOutput([OrderRequest.market(B, wanted)]) if wanted else None

    low = [add(1, "B", 399, 5), add(2, "A", 400, 5), *[nothing()] * 40]
    high = [cancel(1, "B", 399, 5), cancel(2, "A", 400, 5), add(3, "B", 799, 5), add(4, "A", 800, 5)]
    path = write(tmp_path / "a.dbn", clear(), *low, *high, *[nothing()] * 60)
    backtester = Backtester(configured(tmp_path, **COIN), files=[path], tape_folder=tmp_path / "tapes")
    backtester.add_strategy("test", Script(act, EventKind(0), timer_interval_ns=1_000))
    backtester.run()
    assert seen[-1].quantity == 2
    assert seen[-1].avg_price == pytest.approx(400 / 3)
    assert seen[-1].unrealized_pnl == pytest.approx(100 / 100 + 100 / 200 - 2 * 100 / 199.875, abs=2e-6)


COINS = make.Instrument("COIN", tick_size_nanos=10**9, tick_value_micros=-(10**9))


@given(
    st.lists(st.tuples(st.sampled_from([BUY, SELL]), st.integers(1, 9), st.integers(50, 500)), max_size=12),
    st.integers(50, 500),
)
def test_inverse__equity_is_that_of_exact_fractions_within_roundings(fills, mark):
    """cash = -sum(V n / p) and value = q V / m, each amount rounded once: half a millionth apart at most."""
    rows = [make.report(i, side, size, price, fee=3) for i, (side, size, price) in enumerate(fills)]
    events = make.events((0, mark - 1, mark + 1))
    collector = make.MetricsCollector("a", COINS, events)
    if rows:
        collector.record_reports(make.reports(*rows))
    ledger = collector.generate_report().ledger
    value = -(10**9)
    cash = sum(-(1 - 2 * side) * size * Fraction(value, price) for side, size, price in fills)
    held = sum((1 - 2 * side) * size for side, size, _ in fills)
    equity = cash + held * Fraction(value, mark) - 3 * len(fills)
    assert abs(ledger.equity - equity) <= Fraction(len(fills) + 1, 2)
    assert ledger.realised + ledger.unrealised - ledger.fees == ledger.equity
