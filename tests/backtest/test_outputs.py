"""Parquet files: documented columns, values that trace back, whole or absent, equal bytes."""

import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings

from bt_gym.backtest import outputs
from bt_gym.backtest.collector import generate_report
from bt_gym.backtest.outputs import SCHEMAS, write_outputs
from bt_gym.backtest.report import RunInfo
from bt_gym.core.enums import BUY, NO_TICK
from tests.backtest import make
from tests.backtest.make import ODD, SECOND, collect, hand_made, report

KINDS = list(SCHEMAS)


def write(folder, collectors, kinds=KINDS):
    files = {kind: folder / f"{kind}.parquet" for kind in kinds}
    total = generate_report(collectors, RunInfo("fifo", data_hash="d", notes=("model: none",)))
    return write_outputs(total, [collector.account for collector in collectors], files)


def read(folder, collectors):
    return {kind: pq.read_table(path).to_pylist() for kind, path in write(folder, collectors).items()}


def test_schemas__every_column_has_unit_and_meaning():
    for schema in SCHEMAS.values():
        assert len(set(schema.names)) == len(schema.names)
        for column in schema:
            assert column.metadata[b"meaning"]
            assert b"unit" in column.metadata


def test_write_outputs__files_carry_the_schemas(tmp_path):
    for kind, path in write(tmp_path / "new" / "folder", [hand_made()]).items():
        assert pq.read_schema(path).equals(SCHEMAS[kind], check_metadata=True)


def test_trades__worked_by_hand(tmp_path):
    collector = hand_made()
    collector.account.events["source"][:] = [5, 9, 10, 12]
    first, *_, last = read(tmp_path, [collector])["trades"]
    assert first == {
        **{"strategy": "test", "symbol": "ESH4", "order_id": 1, "side": "buy", "liquidity": "maker"},
        **{"ts_event": SECOND // 2, "ts_known": SECOND // 2 + 10, "price_ticks": 19200, "price": 4800.0, "size": 2},
        **{"fee_micros": 5_000_000, "impact_micros": 0, "event": 1, "source_record_first": 5, "source_record_end": 9},
        "reason": "none",
    }
    assert (last["side"], last["liquidity"], last["price"]) == ("sell", "taker", 4799.75)
    assert (last["source_record_first"], last["source_record_end"]) == (9, 10)


def test_trades__of_the_first_event_and_before_it(tmp_path):
    tape = make.events((5, 99, 101), sources=3)
    rows = [report(1, BUY, 1, 101, event=-1), report(6, BUY, 1, 101, event=0)]
    before, first = read(tmp_path, [collect(tape, rows)])["trades"]
    assert (before["event"], before["source_record_first"], before["source_record_end"]) == (None, None, None)
    assert (first["event"], first["source_record_first"], first["source_record_end"]) == (0, 0, 3)


def test_orders__worked_by_hand(tmp_path):
    rows = read(tmp_path, [hand_made()])["orders"]
    assert [row["status"] for row in rows] == ["filled", "filled", "filled", "working", "rejected"]
    assert [row["filled"] for row in rows] == [2, 1, 1, 0, 0]
    assert [row["avg_price"] for row in rows] == [4800.0, 4800.25, 4799.75, None, None]
    assert [row["limit"] for row in rows] == [4800.0, 4750.0, 4750.0, 4825.0, 4775.0]
    assert rows[4]["reason"] == "max_position"


def test_equity__worked_by_hand(tmp_path):
    rows = read(tmp_path, [hand_made()])["equity"]
    assert [row["ts"] for row in rows] == [n * SECOND for n in range(5)]
    assert [row["equity"] for row in rows] == [0, 32.5, -1.25, -10, -10]
    assert [row["position"] for row in rows] == [0, 2, 1, 0, 0]
    assert [row["mark"] for row in rows] == [4800.125, 4800.375, 4799.875, 4799.875, 4800.125]
    assert rows[1]["mark_half_ticks"] == 2 * 19200 + 3


def test_equity__mark_is_null_before_the_first(tmp_path):
    tape = make.events((0, NO_TICK, 101), (SECOND, 99, 101))
    first, second = read(tmp_path, [collect(tape, [])])["equity"]
    assert (first["mark"], first["mark_half_ticks"], first["mark_is_stale"]) == (None, None, True)
    assert second["mark_is_stale"] is False


def test_metrics__has_a_row_per_account_and_the_total(tmp_path):
    other = collect(make.events((0, 99, 101), (SECOND, 99, 101)), [], "idle", ODD)
    other.record_metrics(0, {"signal": 0.5})
    rows = read(tmp_path, [hand_made(), other])["metrics"]
    assert [row["strategy"] for row in rows] == ["test", "idle", "total"]
    row = rows[0]
    assert (row["total_pnl"], row["sharpe_flag"][:10], row["notes"]) == (-10.0, "per-day eq", ["model: none"])
    assert (row["fill_model"], row["data_hash"], row["config_hash"]) == ("fifo", "d", "")
    assert (row["reports_new"], row["reports_expired"], row["rejects_max_position"]) == (4, 0, 1)
    assert (row["markouts_maker_1s"], row["markouts_maker_60s"]) == (18.75, None)
    assert row["realised_micros"] + row["unrealised_micros"] == row["cash_micros"] + row["position_value_micros"]
    assert rows[1]["sharpe_ratio"] is None
    assert [row["strategy_metrics"] for row in rows] == ["{}", '{"signal": 0.5}', "{}"]


def test_strategy__keeps_every_value_with_its_time(tmp_path):
    collector = hand_made()
    collector.record_metrics(5, {"signal": 0.5, "spread": math.inf})
    collector.record_metrics(7, {"signal": -1})
    rows = read(tmp_path, [collector])["signals"]
    assert [(row["ts"], row["name"], row["value"]) for row in rows] == [
        *((5, "signal", 0.5), (5, "spread", None)),
        (7, "signal", -1.0),
    ]
    assert {(row["strategy"], row["symbol"]) for row in rows} == {("test", "ESH4")}


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(make.tapes(), make.fills())
def test_files__add_up_to_the_report(tmp_path, tape, fills):
    collector = collect(tape, [fills], instrument=ODD)
    tables = read(tmp_path, [collector])
    metrics, trades = tables["metrics"][0], tables["trades"]
    assert len(trades) == metrics["total_trades"]
    assert sum(row["fee_micros"] for row in trades) == metrics["fees_micros"]
    cash = -sum((1, -1)[row["side"] == "sell"] * row["size"] * row["price_ticks"] for row in trades)
    assert cash * ODD.tick_value_micros == metrics["cash_micros"]
    assert sum(row["filled"] for row in tables["orders"]) == metrics["contracts"]
    if tables["equity"]:
        end = tables["equity"][-1]
        assert (
            end["equity_micros"] == metrics["cash_micros"] + metrics["position_value_micros"] - metrics["fees_micros"]
        )
        assert math.isclose(end["equity"], metrics["total_pnl"])


def test_write_outputs__same_run_same_bytes(tmp_path):
    one, two = (write(tmp_path / name, [hand_made()]) for name in "ab")
    for kind in KINDS:
        assert one[kind].read_bytes() == two[kind].read_bytes()


def test_write_outputs__a_run_without_orders_still_has_its_files(tmp_path):
    tables = read(tmp_path, [collect(make.events((0, 99, 101)), [])])
    assert (tables["trades"], tables["orders"], len(tables["equity"])) == ([], [], 2)


def test_write_outputs__a_failure_leaves_nothing_new_and_the_old_files(tmp_path, monkeypatch):
    write(tmp_path, [hand_made()])
    old = {path: path.read_bytes() for path in tmp_path.iterdir()}
    calls = []

    def disk_full(table, file, **options):
        calls.append(file)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        file.write(b"new")

    monkeypatch.setattr(outputs.pq, "write_table", disk_full)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path, [hand_made()])
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == old


def test_write_outputs__writes_only_what_is_asked_for(tmp_path):
    write(tmp_path, [hand_made()], ["trades"])
    assert [path.name for path in tmp_path.iterdir()] == ["trades.parquet"]


def test_write_outputs__refuses_an_unknown_kind(tmp_path):
    with pytest.raises(ValueError, match="unknown output 'fills': choose from metrics, trades, orders, equity"):
        write_outputs(generate_report([hand_made()]), [], {"fills": tmp_path / "x.parquet"})


def test_schemas__prices_are_exact_in_ticks_and_readable_as_numbers():
    assert SCHEMAS["trades"].field("price_ticks").type == pa.int64()
    assert SCHEMAS["trades"].field("price").type == pa.float64()
