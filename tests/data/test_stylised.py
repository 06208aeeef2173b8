"""Stylised facts: worked numbers on small books, known laws, and a synthetic market beside the table."""

import io

import numpy as np
import pytest
from rich.console import Console

from bt_gym.data import stylised
from bt_gym.data.stylised import SECOND, measure, observe, quote_dtype, render, trade_dtype
from bt_gym.data.synthetic import generate
from tests.reference.book import Record
from tests.reference.streams import TICK, to_array

START = 1_700_000_000 * SECOND
LAST = 128


def stream(*rows: tuple[float, str, str, int, int, int, int]) -> np.ndarray:
    """Records of (seconds, action, side, order id, ticks, size, flags)."""
    return to_array(
        [
            Record(START + int(at * SECOND), order, tick * TICK, size, flags, action, side, 0)
            for at, action, side, order, tick, size, flags in rows
        ]
    )


BOOK = stream(
    (0.0, "A", "B", 1, 100, 5, LAST),
    (0.0, "A", "B", 2, 99, 7, LAST),
    (0.0, "A", "A", 3, 102, 4, LAST),
    (1.0, "A", "A", 4, 101, 2, LAST),
    (2.0, "T", "B", 9, 101, 2, 0),
    (2.0, "F", "A", 4, 101, 2, 0),
    (2.0, "C", "A", 4, 101, 2, LAST),
    (2.5, "M", "B", 2, 101, 7, LAST),
    (4.0, "C", "B", 1, 100, 5, LAST),
)


def test_observe__notes_quotes_trades_fills_adds_and_depth() -> None:
    seen = observe(BOOK, TICK, START)
    assert [tuple(row)[1:] for row in seen.quotes.tolist()] == [
        (100, 102, 5, 4),
        (100, 101, 5, 2),
        (100, 102, 5, 4),
        (101, 102, 7, 4),
        (101, 102, 7, 4),
    ]
    assert seen.trades.tolist() == [(2, 0, 101, 2)]
    assert seen.fills.tolist() == [(2, 1, 101, 2)]
    assert seen.adds.tolist() == [(1, 2)]  # one tick above the bid; the first three met an empty side
    assert seen.lifetimes.tolist() == [4 * SECOND, SECOND]  # orders 1 and 4
    assert seen.depth[2, 0, :3].tolist() == [5, 7, 0]  # before the event at 2 s
    assert seen.depth[2, 1, :3].tolist() == [2, 4, 0]


def test_observe__partial_cancels_leave_the_rest() -> None:
    """As venues of the ITCH family report: executions and reductions are `C`s of a part, a replaced order a new one."""
    seen = observe(
        stream(
            (0.0, "A", "B", 1, 100, 5, LAST),
            (0.0, "A", "A", 2, 102, 4, LAST),
            (1.0, "C", "B", 1, 100, 2, LAST),
            (2.0, "C", "A", 2, 102, 1, LAST),
            (3.0, "C", "B", 1, 100, 3, 0),
            (3.0, "A", "B", 3, 99, 6, LAST),
            (4.0, "M", "B", 3, 99, 2, LAST),
            (6.0, "C", "B", 3, 99, 2, LAST),
            (6.0, "C", "B", 3, 99, 2, LAST),  # gone already
            (6.0, "C", "B", 8, 99, 2, LAST),  # never seen to come
        ),
        TICK,
        START,
    )
    assert [tuple(row)[1:] for row in seen.quotes.tolist()] == [
        (100, 102, 5, 4),
        (100, 102, 3, 4),
        (100, 102, 3, 3),
        (99, 102, 6, 3),
        (99, 102, 2, 3),
    ]
    assert seen.lifetimes.tolist() == [3 * SECOND, 3 * SECOND]  # orders 1 and 3


def test_observe__begins_where_asked() -> None:
    seen = observe(BOOK, TICK, START + 2 * SECOND)
    assert len(seen.quotes) == 3
    assert seen.trades.tolist() == [(0, 0, 101, 2)]


def test_markout__is_the_gain_of_the_resting_side_at_the_later_mid() -> None:
    quotes = np.array([(0, 100, 102, 1, 1), (SECOND, 99, 101, 1, 1), (9 * SECOND, 99, 101, 1, 1)], quote_dtype)
    fills = np.array([(0, 0, 100, 1), (0, 1, 102, 1)], trade_dtype)  # a bid at 100, an ask at 102; the mid falls to 100
    assert stylised.markout(quotes, fills[:1], SECOND) == 0.0
    assert stylised.markout(quotes, fills[1:], SECOND) == 2.0
    assert stylised.markout(quotes, fills, SECOND) == 1.0


def test_measure__of_a_plain_random_walk_finds_no_facts() -> None:
    steps = np.random.default_rng(5).integers(0, 2, 40_000) * 2 - 1
    quotes = np.zeros(len(steps), quote_dtype)
    quotes["ts"] = np.arange(len(steps)) * SECOND
    quotes["bid"] = np.cumsum(steps)
    quotes["ask"] = quotes["bid"] + 1
    trades = np.zeros(1000, trade_dtype)
    trades["quote"] = np.arange(1000) * 30 + 5
    trades["side"] = np.random.default_rng(6).integers(0, 2, 1000)
    nothing = np.zeros(2, np.int64)
    adds = np.zeros(2, stylised.add_dtype)
    facts = measure(
        stylised.Observations(quotes, trades, trades, adds, np.zeros((0, 2, 10), np.int64), nothing, nothing)
    )
    assert facts["spread"]["1"] == 1.0
    assert facts["return_kurtosis"]["1"] == pytest.approx(1.0, abs=0.01)  # two-valued
    assert facts["return_kurtosis"]["60"] == pytest.approx(3.0, abs=0.4)
    assert facts["return_acf"][0] == pytest.approx(0.0, abs=0.02)
    assert facts["variance_ratio"]["10"] == pytest.approx(1.0, abs=0.06)
    assert facts["sign_acf"]["1"] == pytest.approx(0.0, abs=0.1)
    assert facts["response"]["10"] == pytest.approx(0.0, abs=0.4)


def test_hill__finds_the_exponent_of_a_power_law() -> None:
    values = np.random.default_rng(7).pareto(3.0, 200_000) + 1
    assert stylised._hill(values) == pytest.approx(3.0, rel=0.05)


def test_decay__finds_the_exponent_of_a_power_law() -> None:
    assert stylised._decay(np.arange(1, 51) ** -0.5) == pytest.approx(0.5)


@pytest.mark.parametrize("power", [0.5, 1.0])
def test_impact__finds_the_power_of_a_law(power: float) -> None:
    """Runs of one to 40 trades of one lot; the mid stands run ** power away at the end of each."""
    runs = np.random.default_rng(8).integers(1, 41, 2000)
    sides = np.repeat(np.arange(len(runs)) % 2, runs)
    steps = np.concatenate([np.diff(np.r_[0, np.arange(1, run + 1) ** power]) for run in runs])
    mids = np.round(np.cumsum(steps * (1 - 2 * sides)) * 1000).astype(np.int64)
    quotes = np.zeros(len(mids) + 1, quote_dtype)
    quotes["ts"] = np.arange(len(quotes)) * SECOND
    quotes["bid"][1:] = mids
    quotes["ask"] = quotes["bid"]
    trades = np.zeros(len(sides), trade_dtype)
    trades["quote"] = np.arange(len(sides)) + 1
    trades["side"], trades["size"] = sides, 1
    nothing = np.zeros(2, np.int64)
    depth = np.zeros((0, 2, 10), np.int64)
    adds = np.zeros(2, stylised.add_dtype)
    seen = stylised.Observations(quotes, trades, trades, adds, depth, nothing, nothing)
    sizes, moves, counts = stylised.impact_curve(seen)
    assert counts.sum() == np.sum(runs[1:] > 1) + (runs[0] > 1)
    assert stylised._exponent(sizes, moves, counts) == pytest.approx(power, abs=0.03)


def test_render__has_a_column_for_each_market() -> None:
    session = generate(26, 900)
    facts = measure(observe(session.records, session.profile.tick_nanos, session.opens + SECOND))
    console = Console(width=200, file=io.StringIO())
    console.print(render({"synthetic": facts, "again": facts}))
    lines = console.file.getvalue().splitlines()
    assert any("share of time at 1 tick" in line and line.count("0.9") >= 3 for line in lines)


@pytest.mark.real_data
def test_measure__es_is_as_described(real_data) -> None:
    zstandard = pytest.importorskip("zstandard")
    with open(real_data("ESH4_2023-12-25.mbo.dbn.zst"), "rb") as file:
        data = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read()
    records = np.frombuffer(data[8 + int.from_bytes(data[4:8], "little") :], stylised.dbn.mbo_dtype)
    facts = measure(observe(records, 250_000_000, 1_703_545_201 * SECOND))
    assert facts["trades"] == 2931
    assert facts["spread"]["1"] == pytest.approx(0.940, abs=0.001)
    assert facts["return_std"]["1"] == pytest.approx(0.313, abs=0.001)
    assert facts["sign_acf"]["1"] == pytest.approx(0.42, abs=0.005)
    assert facts["trade_size"]["mean"] == pytest.approx(3.338, abs=0.01)
