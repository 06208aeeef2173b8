"""`validate` on whole files: facts, price grid, symbols, findings, and what it refuses."""

import datetime as dt
import hashlib
import io
import json
from pathlib import Path
from types import SimpleNamespace

import databento_dbn
import numpy as np
import pytest
from rich.console import Console

from bt_gym.data import dbn
from bt_gym.data.facts import study
from bt_gym.data.files import sha256
from bt_gym.data.validate import render, twin_test, validate
from bt_gym.errors import DataError, EmptyDataError, SymbolError, TickError, TruncatedFileError
from tests.data.compiled import compile_array
from tests.reference import book as reference
from tests.reference.book import LAST, SNAPSHOT, UNDEFINED_PRICE, Record
from tests.reference.proof import drifting_session
from tests.reference.streams import START, TICK, Scribe, add, cancel, reprice, resize, snapshot, to_array, trade

ES = 17_077


def session() -> list[Record]:
    """A snapshot, then a few hundred events of every ordinary kind."""
    scribe, rng = Scribe(), np.random.default_rng(7)
    snapshot(scribe, 31, 0, 9, "B")
    for number in range(400):
        event = (add, add, cancel, reprice, resize, trade)[rng.integers(6)]
        event(scribe, number, int(rng.integers(-2, 3)), int(rng.integers(1, 9)), "BA"[rng.integers(2)])
    return scribe.records


def write(path: Path, records: list[Record], **facts: str) -> Path:
    array = to_array(records)
    array["instrument_id"], array["publisher_id"] = ES, 1
    dbn.write_mbo(path, array, symbol="ESH4", instrument_id=ES, **facts)
    return path


def two_symbols(path: Path) -> Path:
    """Two instruments whose records alternate; the second is a tick higher."""
    first = to_array([Record(START + n, n + 1, 10 * TICK, 1, LAST, "A", "B") for n in range(4)])
    second = first.copy()
    second["price"] += TICK
    both = np.stack([first, second], axis=1).ravel()
    both["instrument_id"][0::2], both["instrument_id"][1::2] = 1, 2
    day = dt.datetime.fromtimestamp(START // 10**9, dt.UTC).date()
    metadata = databento_dbn.Metadata(
        dataset="GLBX.MDP3",
        start=START,
        stype_in=databento_dbn.SType.RAW_SYMBOL,
        stype_out=databento_dbn.SType.INSTRUMENT_ID,
        schema=databento_dbn.Schema.MBO,
        symbols=["ESH4", "ESM4"],
        partial=[],
        not_found=[],
        mappings=[
            SimpleNamespace(
                raw_symbol=symbol,
                intervals=[SimpleNamespace(start_date=day, end_date=day + dt.timedelta(days=1), symbol=number)],
            )
            for symbol, number in (("ESH4", "1"), ("ESM4", "2"))
        ],
        version=3,
    )
    path.write_bytes(metadata.encode() + both.tobytes())
    return path


def test_validate__counts_what_the_reference_counts_and_is_one_json_object(tmp_path: Path) -> None:
    records = session()
    path = write(tmp_path / "session.mbo.dbn.zst", records)
    result = json.loads(json.dumps(validate(path)))
    expected = reference.validate(records)
    for side in ("best_bid", "best_ask"):
        price, size, count = expected.pop(side)
        assert result[side] == {"price": price / 1e9, "size": size, "count": count}
    result["anomalies"] = {name: number for name, number in result["anomalies"].items() if number}
    assert {name: result[name] for name in expected} == expected
    assert result["fifo"]["trades"] > 30
    assert result["price_grid"] == {"tick_size": 0.25, "inferred": True}
    assert result["file"] == {
        "path": str(path),
        "sha256": sha256(path),
        "schema": "mbo",
        "version": 3,
        "dataset": "GLBX.MDP3",
        "symbols": ["ESH4"],
        "symbol": "ESH4",
        "instrument_ids": [ES],
        "first_ts_recv": records[0].ts_event + 1_000,
        "last_ts_recv": records[-1].ts_event + 1_000,
        "skipped": {},
        "starts_complete": True,
    }


def test_validate__same_result_for_plain_and_compressed_files(tmp_path: Path) -> None:
    records = session()
    plain = validate(write(tmp_path / "a.dbn", records, version=1))
    compressed = validate(write(tmp_path / "a.dbn.zst", records, version=2))
    assert plain.pop("file") != compressed.pop("file")
    assert plain == compressed


def test_validate__several_symbols_need_a_choice(tmp_path: Path) -> None:
    path = two_symbols(tmp_path / "two.dbn")
    with pytest.raises(SymbolError, match="ESH4, ESM4"):
        validate(path)
    with pytest.raises(SymbolError, match="ESZ4"):
        validate(path, symbol="ESZ4")
    result = validate(path, symbol="ESM4")
    assert result["records"] == result["live_orders"] == 4
    assert result["best_bid"] == {"price": 2.75, "size": 4, "count": 4}
    assert result["file"]["symbols"] == ["ESH4", "ESM4"]


@pytest.mark.parametrize(
    ("prices", "grid"),
    [
        ([500, 1250, -750], 250e-9),  # the largest step that reaches all, negative prices too
        ([4_800_250_000_000, 4_800_000_000_000], 0.25),
        ([2**53 + 1, 2**53 + 1 + 10**7], 1e-9),
        ([0, 0], None),
        ([], None),
    ],
)
def test_price_grid__is_the_greatest_common_step(tmp_path: Path, prices: list[int], grid: float | None) -> None:
    orders = [Record(START, n + 1, price, 1, LAST, "A", "B") for n, price in enumerate(prices)]
    orders += [Record(START, 0, UNDEFINED_PRICE, 0, LAST, "R", "N"), Record(START, 0, 333, 1, LAST, "T", "N")]
    path = write(tmp_path / "grid.dbn", orders)
    if grid == 1e-9:
        with pytest.raises(TickError, match="no common grid coarser than"):
            validate(path)
    else:
        assert validate(path)["price_grid"] == {"tick_size": grid, "inferred": True}


@pytest.mark.parametrize("tick_size", [0.25, "0.25", "2.5e-1"])
def test_tick_size__given_one_is_used(tmp_path: Path, tick_size: float | str) -> None:
    path = write(tmp_path / "session.dbn", session())
    result = validate(path, tick_size=tick_size)
    assert result["price_grid"] == {"tick_size": 0.25, "inferred": False}
    assert result["book_digest"] == validate(path)["book_digest"]


def test_tick_size__too_coarse_is_found_out(tmp_path: Path) -> None:
    result = validate(write(tmp_path / "session.dbn", session()), tick_size=0.5)
    off = result["anomalies"]["off_tick_orders"]
    assert off > 100
    assert f"{off:,} orders are off the grid of 0.5 and left out of the book" in result["findings"]


@pytest.mark.parametrize("tick_size", [0, -0.25, "a quarter", "nan", "1e-10", "inf", 1e300])
def test_tick_size__no_price_is_refused(tmp_path: Path, tick_size: float | str) -> None:
    path = write(tmp_path / "session.dbn", session())
    with pytest.raises(TickError, match="give it in price units, such as"):
        validate(path, tick_size=tick_size)


def unfair_session() -> list[Record]:
    """Forty trades that each go to the second order of the queue."""
    scribe = Scribe()
    for number in range(42):
        add(scribe, number, 0, 1, "B")
    for order_id in list(scribe.book.place)[2:]:
        report = {"order_id": order_id, "ticks": 0, "size": 1}
        scribe.write(
            scribe.record("T", "A", 0, 1, order_id=1),
            scribe.record("F", "B", **report),
            scribe.record("C", "B", flags=LAST, **report),
        )
    return scribe.records


@pytest.mark.parametrize(
    ("records", "finding"),
    [
        (session(), "matches by price and time (FIFO)"),
        (unfair_session(), "no price-time matching: only 0 of 40 trades follow it"),
        (session()[:20], "are too few to tell the matching algorithm"),
        (unfair_session()[:42], "starts without a snapshot or clear"),
        ([Record(START, 1, TICK, 1, SNAPSHOT, "A", "B")], "no record carries F_LAST"),
        (
            [Record(START, 1, TICK, 1, LAST, "A", "B"), Record(START, 2, TICK, 1, LAST, "A", "A")],
            "the book is crossed or locked at the end",
        ),
        ([*unfair_session(), Record(START, 1, TICK, 1, LAST, "X", "B")], "1 anomaly in 163 records"),
    ],
)
def test_findings__say_what_the_file_supports(tmp_path: Path, records: list[Record], finding: str) -> None:
    findings = validate(write(tmp_path / "file.dbn", records))["findings"]
    assert any(finding in line for line in findings), findings


def test_render__shows_the_numbers(tmp_path: Path) -> None:
    result = validate(write(tmp_path / "session.mbo.dbn.zst", session()))
    console = Console(width=160, file=io.StringIO())
    with console.capture() as shown:
        console.print(render(result))
    text = shown.get()
    for part in (result["book_digest"], f"{result['live_orders']:,} (bid", "0.25 (inferred from the orders)"):
        assert part in text


def cold_session() -> list[Record]:
    """A session whose beginning is missing, and where it becomes usable."""
    return drifting_session(1, 400)[100:]


def test_cold_start__is_told_with_the_time_from_which_it_is_usable(tmp_path: Path) -> None:
    records = cold_session()
    result = validate(write(tmp_path / "cold.dbn", records))
    tape = compile_array(to_array(records))
    first = tape.phases().index("continuous")
    until = int(tape.events["ts_event"][first])
    assert result["cold_start"] == {"until": until}
    assert result["phases"]["suspect"]["events"] == first
    assert result["phases"]["continuous"]["events"] == len(tape.events) - first
    assert any(f"its best levels are known from {np.datetime64(until, 'ns')}Z" in line for line in result["findings"])
    assert result["anomalies"]["unknown_cancels"] > 0


def test_cold_start__that_is_never_usable_says_so(tmp_path: Path) -> None:
    result = validate(write(tmp_path / "cold.dbn", cold_session()[:60]))
    assert result["cold_start"] == {"until": None}
    assert result["supports"]["queue"] is False
    assert "continuous" not in result["phases"]
    assert any("no part of it can be used" in line for line in result["findings"])
    assert "never in continuous trading: no order can fill" in result["findings"]


def test_matching__that_fills_more_than_is_displayed_is_unknown(tmp_path: Path) -> None:
    scribe = Scribe()
    scribe.write(scribe.record("R", flags=LAST, price=UNDEFINED_PRICE))
    add(scribe, 0, 0, 1, "B")
    (order_id,) = scribe.book.place
    for _ in range(40):
        scribe.write(
            scribe.record("T", "A", 0, 3, order_id=1),
            scribe.record("F", "B", 0, 3, order_id=order_id),
            scribe.record("M", "B", 0, 1, order_id=order_id, flags=LAST),
        )
    result = validate(write(tmp_path / "hidden.dbn", scribe.records))
    assert result["matching"] == "unknown"
    assert "40 of 40 trades filled hidden size: the matching can't be told" in result["findings"]


def test_supports__nothing_that_the_file_does_not_show(tmp_path: Path) -> None:
    unfair = validate(write(tmp_path / "unfair.dbn", unfair_session()))
    assert (unfair["matching"], unfair["supports"]) == ("other", {"queue": False, "latency": True})
    array = to_array(session())
    array["ts_recv"] = array["ts_event"]
    array["publisher_id"] = 1
    array["instrument_id"] = ES
    path = tmp_path / "instant.dbn"
    dbn.write_mbo(path, array, symbol="ESH4", instrument_id=ES)
    instant = validate(path)
    assert instant["supports"] == {"queue": True, "latency": False}
    assert "receive times tell no latency: give one" in instant["findings"]


def test_implied__volume_beyond_the_book_is_told(tmp_path: Path) -> None:
    scribe = Scribe()
    scribe.write(scribe.record("R", flags=LAST, price=UNDEFINED_PRICE))
    for number in range(5):
        add(scribe, number, 0, 2, "B")
    for order_id in list(scribe.book.place):
        scribe.write(
            scribe.record("T", "A", 0, 5, order_id=1),
            scribe.record("F", "B", 0, 2, order_id=order_id),
            scribe.record("C", "B", 0, 2, order_id=order_id, flags=LAST),
        )
    result = validate(write(tmp_path / "implied.dbn", scribe.records))
    assert result["compiled"]["implied_size"] == 15
    assert result["conservation"] == {"events": 5, "equal": 0}
    assert "15 of 25 lots met orders that the file doesn't hold" in result["findings"]


def test_twin_test__is_told_in_the_table(tmp_path: Path) -> None:
    path = write(tmp_path / "cold.dbn", cold_session())
    result = validate(path)
    seen: list[tuple[int, int]] = []
    result |= twin_test(path, result=result, orders=8, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 8) for done in range(1, 9)]
    counts = result["twin_orders"]
    assert counts["exact"] == counts["segments"] == 8
    console = Console(width=160, file=io.StringIO())
    with console.capture() as shown:
        console.print(render(result))
    assert "8 of 8 lives of orders exact; 0 auction, 0 iceberg, 0 self_match, 0 unexplained" in shown.get()
    with pytest.raises(TickError, match="no order tells the price grid"):
        twin_test(path, result=result | {"price_grid": {"tick_size": None}})


def test_validate__compares_a_file_with_the_manifest_beside_it(tmp_path: Path) -> None:
    """A plain file that is cut between two records looks whole."""
    path = write(tmp_path / "session.dbn", session())
    whole = path.read_bytes()
    listed = {"filename": path.name, "size": len(whole), "hash": f"sha256:{hashlib.sha256(whole).hexdigest()}"}
    (tmp_path / "manifest.json").write_text(json.dumps({"files": [listed]}))
    validate(path)
    path.write_bytes(whole[: -dbn.MBO_BYTES])
    for read in (validate, study):
        with pytest.raises(TruncatedFileError, match=r"manifest.json says"):
            read(path)


def test_validate__refuses_what_is_no_whole_mbo_file(tmp_path: Path) -> None:
    path = write(tmp_path / "session.mbo.dbn.zst", session())
    cut = tmp_path / "cut.mbo.dbn.zst"
    cut.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(TruncatedFileError):
        validate(cut)
    with pytest.raises(EmptyDataError):
        validate(write(tmp_path / "empty.dbn", []))
    with pytest.raises(DataError):
        validate(tmp_path / "missing.dbn")


def test_validate__files_in_a_row_are_one_session(tmp_path: Path) -> None:
    records = session()
    day = 86_400_000_000_000
    later = [record._replace(ts_event=record.ts_event + day) for record in records]
    whole = validate(write(tmp_path / "whole.dbn", records + later))
    paths = [write(tmp_path / "b.dbn.zst", later), write(tmp_path / "a.dbn", records)]
    parts = validate(*paths)  # by the time they start
    assert parts["file"]["path"] == str(paths[1])
    assert parts["further_files"] == [{"path": str(paths[0]), "sha256": sha256(paths[0])}]
    assert parts["file"]["last_ts_recv"] == later[-1].ts_event + 1_000
    for result in (whole, parts):
        del result["file"], result["further_files"]
    assert parts == whole
    with pytest.raises(DataError, match=r"a\.dbn: is named twice"):
        validate(paths[1], paths[1])
    with pytest.raises(EmptyDataError, match="no files given"):
        validate()
    two = two_symbols(tmp_path / "two.dbn")
    with pytest.raises(SymbolError):
        validate(paths[1], two, symbol="ESM4")


@pytest.mark.real_data
def test_validate__two_real_days_have_one_implicit_clear(real_data) -> None:
    days = [real_data(f"ESH4_2023-12-{name}.mbo.dbn.zst") for name in ("24_snapshot", "25")]
    result = validate(*days)
    assert result["anomalies"]["implicit_clears"] == 1
    assert result["anomalies"]["duplicate_adds"] == 0
    assert result["events"] == 47_022 + 1
    assert result["live_orders"] == 11_217
    assert result["fifo"] == {"trades": 2_972, "exact": 2_945, "iceberg": 27, "mismatch": 0}
    assert result["compiled"]["snapshot_differences"] == 0
    assert result["phases"]["snapshot"]["events"] == 2


@pytest.mark.real_data
def test_validate__reports_a_real_session(real_data) -> None:
    result = validate(real_data("ESH4_2023-12-25.mbo.dbn.zst"))
    assert result["events"] == 47_022
    assert result["book_digest"] == "feb7ae2a0329ebe50f8a2dfc7037a07c74b7633c8f5007f7074f5934adcb0aea"
    assert result["best_bid"] == {"price": 4810.0, "size": 22, "count": 22}
    assert result["best_ask"] == {"price": 4810.25, "size": 28, "count": 18}
    assert result["volume_by_aggressor"] == {"buy": 5_322, "sell": 4_526, "none": 44}
    assert result["fifo"] == {"trades": 2_972, "exact": 2_945, "iceberg": 27, "mismatch": 0}
    assert result["price_grid"] == {"tick_size": 0.25, "inferred": True}
    assert result["file"]["sha256"].startswith("04597c542c1f0a9d")
    assert result["matching"] == "fifo"
    assert result["supports"] == {"queue": True, "latency": True}
    assert {name: row["events"] for name, row in result["phases"].items()} == {
        "snapshot": 1,
        "pre_open": 925,
        "auction": 1,
        "continuous": 46_096,
    }
    assert result["cold_start"] is None
    for kind, count in {"add": 20_491, "cancel": 17_999, "modify": 12_233, "trade": 2_973, "fill": 6_371}.items():
        assert result["latency"][kind]["receive"]["count"] == count
    assert result["latency"]["trade"]["publish"]["p50"] == pytest.approx(15_700, rel=0.01)
    assert result["findings"] == ["matches by price and time (FIFO): 2,972 of 2,972 trades follow it"]
