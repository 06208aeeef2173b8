"""BacktestReport: as a table, as a dict, as something that can't be wrong."""

import json
from dataclasses import FrozenInstanceError, fields

import pytest

from bt_gym.backtest.collector import generate_report
from bt_gym.backtest.report import BacktestReport, Ledger, RunInfo
from tests.backtest import make
from tests.backtest.make import SECOND, collect, hand_made

RUN = RunInfo("fifo", "fixed 60 us", "2.50 per lot", "a" * 64, "b" * 64, ("model: none",))


@pytest.fixture(scope="module")
def report():
    return hand_made().generate_report(RUN)


@pytest.fixture(scope="module")
def total():
    idle = collect(make.events((0, 99, 101), (SECOND, 99, 101)), [], "idle")
    return generate_report([hand_made(), idle], RUN)


def test_report__is_frozen(report):
    with pytest.raises(FrozenInstanceError):
        report.total_pnl = 1


def test_report__every_field_says_what_it_is():
    assert all(item.metadata["meaning"] for item in fields(BacktestReport))


def test_ledger__refuses_books_that_don_t_balance():
    with pytest.raises(ValueError, match="don't balance"):
        Ledger(realised=1, unrealised=2, fees=0, cash=3, position_value=1)


def test_to_dict__survives_json(total):
    again = json.loads(json.dumps(total.to_dict(), allow_nan=False))
    assert again == total.to_dict()
    assert again["total_pnl"] == total.total_pnl
    assert again["run"]["fill_model"] == "fifo"
    assert [part["strategy"] for part in again["parts"]] == ["test", "idle"]


def test_str__names_result_models_hashes_and_notes(report):
    text = str(report)
    for told in ("-10.00 after fees, 3 fills", "fill model: fifo", "latency: fixed 60 us", "fees: 2.50 per lot"):
        assert told in text
    assert "time: 1970-01-01T00:00:00 to 1970-01-01T00:00:04 UTC, 4 s of trading" in text
    for told in ("data: aaaaaaaaaaaa", "config: bbbbbbbbbbbb", "note: model: none", "note: ratios: per-day"):
        assert told in text
    assert "nan" not in text
    assert max(map(len, text.splitlines())) <= 100


def test_str__has_a_line_for_every_metric(report):
    lines = [line.strip().split("  ")[0] for line in str(report).splitlines()]
    for item in fields(BacktestReport):
        if item.metadata["group"] and not isinstance(getattr(report, item.name), dict):
            assert item.name.replace("_", " ") in lines
    assert "rejects max position" in lines
    assert "markouts maker 100ms" in lines
    assert "markouts maker 60s" not in lines  # no fill that early: nothing to show


def test_table__has_a_column_per_account_and_the_total(report, total):
    assert [column.header for column in report.table().columns] == ["metric", "test ESH4", "unit"]
    assert [column.header for column in total.table().columns] == ["metric", "test ESH4", "idle ESH4", "total", "unit"]
    assert [column.header for column in generate_report([hand_made()]).table().columns] == [
        "metric",
        "test ESH4",
        "unit",
    ]


def test_str__is_the_same_each_time(total):
    assert str(total) == str(total)
