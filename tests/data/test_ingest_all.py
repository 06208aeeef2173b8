"""Several instruments and days at once: each tape is what the instrument's own file would have given."""

import datetime as dt
from pathlib import Path

import numpy as np
import pytest

from bt_gym import OrderRequest, Side, StrategyContext, StrategyOutput
from bt_gym.core import enums
from bt_gym.data import dbn, tape
from bt_gym.data.dbn import open_dbn
from bt_gym.data.sources import gather
from bt_gym.data.symbology import NS_PER_DAY
from bt_gym.data.tape import Tape, ingest_all
from bt_gym.errors import CorruptFileError, EmptyDataError, InstrumentError, SymbolError
from tests.data.batches import date_of, day_ids, merged, metadata, renumbered, session, write_batch, write_file
from tests.data.compiled import Compiled, compile_array
from tests.runs import OTHER, THIN, Script, backtest, once

TICK = THIN.tick_nanos
DAYS = [session(day).records for day in range(3)]
STARTS = [int(records["ts_recv"][0]) // NS_PER_DAY * NS_PER_DAY for records in DAYS]
IDS = {"SYNH6": THIN.instrument_id, "SYNM6": OTHER.instrument_id}


def opened(paths: list[Path], folder: Path, **options: object) -> dict[tuple[str, str], Tape]:
    """Tapes by symbol and first day."""
    files = [open_dbn(path) for path in paths]
    made = [Tape.open(path) for path in ingest_all(files, tick_size_nanos=TICK, folder=folder, **options)]  # type: ignore[arg-type]
    found = {(each.symbol, str(date_of(each.events["ts_event"][0]))): each for each in made}
    assert len(found) == len(made)
    return found


def assert_is(found: Tape, expected: Compiled) -> None:
    for column in ("records", "events", "blocks"):
        assert getattr(found, column).tobytes() == getattr(expected, column).tobytes()


def both(day: int) -> np.ndarray:
    return merged(session(day).records, session(day, other=True).records)


def test_ingest_all__every_instrument_of_a_file(tmp_path: Path) -> None:
    path = write_file(tmp_path / "two.dbn", both(0), day_ids(STARTS[0], **IDS))
    tapes = opened([path], tmp_path / "tapes")
    assert [symbol for symbol, _ in tapes] == ["SYNH6", "SYNM6"]
    for symbol, other in (("SYNH6", False), ("SYNM6", True)):
        assert_is(tapes[symbol, "2026-01-05"], compile_array(session(0, other).records))


@pytest.mark.parametrize("size", [1, 7, 1 << 15])
def test_ingest_all__results_do_not_depend_on_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    path = write_file(tmp_path / "two.dbn", both(0)[:800], day_ids(STARTS[0], **IDS))
    chunks = dbn.DbnFile.chunks
    monkeypatch.setattr(dbn.DbnFile, "chunks", lambda self, *a, **k: chunks(self, *a, **k | {"max_records": size}))
    tapes = opened([path], tmp_path / "tapes")
    records = both(0)[:800]
    for symbol, number in IDS.items():
        assert_is(tapes[symbol, "2026-01-05"], compile_array(records[records["instrument_id"] == number]))


def test_ingest_all__reads_each_file_once_for_many_instruments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_file(tmp_path / "two.dbn", both(0), day_ids(STARTS[0], **IDS))
    reads: list[int] = []
    options = {"tick_size_nanos": TICK, "progress": reads.append}
    ingest_all([open_dbn(path)], folder=tmp_path / "a", **options)
    assert reads[-1] == len(both(0))
    monkeypatch.setattr(tape, "INSTRUMENTS_AT_ONCE", 1)
    ingest_all([open_dbn(path)], folder=tmp_path / "b", **options)
    assert reads[-1] == 2 * len(both(0))
    assert {p.name for p in (tmp_path / "a").iterdir()} == {p.name for p in (tmp_path / "b").iterdir()}


def test_ingest_all__a_tape_a_day_or_one_for_all(tmp_path: Path) -> None:
    paths = [write_file(tmp_path / f"{day}.dbn", both(day), day_ids(STARTS[day], **IDS)) for day in range(3)]
    daily = opened(paths, tmp_path / "daily", by_day=True)
    assert [day for symbol, day in daily if symbol == "SYNM6"] == ["2026-01-05", "2026-01-06", "2026-01-07"]
    assert_is(daily["SYNM6", "2026-01-06"], compile_array(session(1, other=True).records))
    joined = opened(paths, tmp_path / "joined", symbols=["SYNH6"])
    assert_is(joined["SYNH6", "2026-01-05"], compile_array(np.concatenate(DAYS), cuts=(len(DAYS[0]),)))


def test_ingest_all__adding_a_day_leaves_the_other_tapes_alone(tmp_path: Path) -> None:
    batch = write_batch(tmp_path / "batch")
    sources = gather([batch])
    options = {"tick_size_nanos": TICK, "statuses": sources.statuses, "by_day": True, "folder": tmp_path / "tapes"}
    two = ingest_all(sources.market[:2], **options)
    times = [path.stat().st_mtime_ns for path in two]
    three = ingest_all(sources.market, **options)
    assert three[:4] == two
    assert [path.stat().st_mtime_ns for path in two] == times


def test_ingest_all__files_split_by_symbol(tmp_path: Path) -> None:
    """A download with a file for each symbol and day: files of one time side by side."""
    paths = []
    for day in range(2):
        for symbol, other in (("SYNM6", True), ("SYNH6", False)):
            ids = day_ids(STARTS[day], **{symbol: IDS[symbol]})
            paths.append(write_file(tmp_path / f"{symbol}{day}.dbn", session(day, other).records, ids))
    tapes = opened(paths, tmp_path / "tapes")
    assert_is(tapes["SYNH6", "2026-01-05"], compile_array(np.concatenate(DAYS[:2]), cuts=(len(DAYS[0]),)))
    assert len(tapes["SYNM6", "2026-01-05"].metadata["sources"]) == 2


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("ts_out", [False, True])
def test_ingest_all__every_version_and_ts_out(tmp_path: Path, version: int, ts_out: bool) -> None:
    records = both(0)
    path = tmp_path / "file.dbn"
    header = metadata(
        "mbo", day_ids(STARTS[0], **IDS), STARTS[0], STARTS[0] + NS_PER_DAY, version=version, ts_out=ts_out
    )
    if ts_out:
        wide = np.zeros(len(records), [("record", records.dtype), ("ts_out", "<u8")])
        wide["record"] = records
        wide["record"]["length"] = 16
        dbn.write_records(path, header, wide.tobytes())
    else:
        dbn.write_records(path, header, records.tobytes())
    tapes = opened([path], tmp_path / "tapes", symbols=["SYNM6"])
    assert_is(tapes["SYNM6", "2026-01-05"], compile_array(session(0, other=True).records))


def test_ingest_all__parent_symbol_gives_the_contracts_that_traded(tmp_path: Path) -> None:
    """The metadata lists the raw symbols; one without records needs no tick size."""
    ids = day_ids(STARTS[0], **IDS, UNUSED=9)
    path = write_file(tmp_path / "parent.dbn", both(0), ids, stype="parent")
    asked = []

    def tick_size(symbol: str) -> int:
        asked.append(symbol)
        if symbol == "UNUSED":
            raise InstrumentError("UNUSED: tick_size unknown")
        return TICK

    made = ingest_all([open_dbn(path)], tick_size_nanos=tick_size, folder=tmp_path / "tapes")
    assert [Tape.open(each).symbol for each in made] == ["SYNH6", "SYNM6"]
    with pytest.raises(InstrumentError, match="UNUSED"):
        ingest_all([open_dbn(path)], symbols=["UNUSED"], tick_size_nanos=tick_size, folder=tmp_path / "tapes")
    with pytest.raises(EmptyDataError, match="holds no MBO record of UNUSED"):
        ingest_all([open_dbn(path)], symbols=["UNUSED"], tick_size_nanos=TICK, folder=tmp_path / "tapes")


def test_ingest_all__unknown_tick_size_of_a_contract_with_records_is_an_error(tmp_path: Path) -> None:
    path = write_file(tmp_path / "two.dbn", both(0), day_ids(STARTS[0], **IDS))

    def tick_size(symbol: str) -> int:
        if symbol == "SYNM6":
            raise InstrumentError("SYNM6: tick_size unknown")
        return TICK

    with pytest.raises(InstrumentError, match="SYNM6"):
        ingest_all([open_dbn(path)], tick_size_nanos=tick_size, folder=tmp_path / "tapes")
    assert not list((tmp_path / "tapes").iterdir())


@pytest.mark.parametrize("cut_in_one_file", [True, False])
def test_ingest_all__continuous_contract_rolls(tmp_path: Path, cut_in_one_file: bool) -> None:
    """ES.c.0 is one contract on the first days and another then: the book of the old one ends, own orders with it."""
    before, after = renumbered(DAYS[0], 11), renumbered(session(1, other=True).records, 22)
    noise = renumbered(session(1).records, 11)  # the old contract goes on trading, unmapped
    days = [date_of(start) for start in STARTS]
    ids = {"ES.c.0": [(days[0], days[1], 11), (days[1], days[2], 22)]}
    if cut_in_one_file:
        paths = [write_file(tmp_path / "both.dbn", merged(before, after, noise), ids, stype="continuous")]
    else:
        paths = [
            write_file(tmp_path / "0.dbn", before, ids, stype="continuous"),
            write_file(tmp_path / "1.dbn", merged(after, noise), ids, stype="continuous"),
        ]
    (rolled,) = opened(paths, tmp_path / "tapes").values()
    one, two = compile_array(DAYS[0]), compile_array(session(1, other=True).records)
    roll = len(one.events)
    assert len(rolled.events) == roll + 1 + len(two.events)
    kinds = rolled.records_table().filter((np.arange(len(rolled.records)) == len(one.records)).tolist())
    assert kinds["kind"].to_pylist() == ["clear"]
    phases = rolled.events["flags"] & enums.PHASE_MASK
    assert phases[roll] == enums.PHASE_SUSPECT
    np.testing.assert_array_equal(rolled.events["bid"][roll + 1 :], two.events["bid"])
    np.testing.assert_array_equal(phases[roll + 1 :], two.events["flags"] & enums.PHASE_MASK)
    assert rolled.metadata["counters"]["unknown_cancels"] == 0


def test_backtest__own_orders_end_with_the_contract(tmp_path: Path) -> None:
    days = [date_of(start) for start in STARTS]
    ids = {"ES.c.0": [(days[0], days[1], 11), (days[1], days[2], 22)]}
    records = merged(renumbered(DAYS[0], 11), renumbered(DAYS[1], 22))
    path = write_file(tmp_path / "both.dbn", records, ids, stype="continuous")
    (rolled,) = ingest_all([open_dbn(path)], tick_size_nanos=TICK, folder=tmp_path / "tapes")
    waits = Script(once(StrategyOutput([OrderRequest.limit(Side.BUY, 1, 100)])))
    run = backtest(rolled, waits)
    assert run.in_words() == ["1 new none", "1 expired book_cleared"]
    assert run.reports()["ts_exchange"][1] == DAYS[0]["ts_event"][-1]


def test_backtest__positions_end_with_the_contract(tmp_path: Path) -> None:
    """Bought on the first day, closed at the last bid of the old contract, at its end; then the new one is bought."""
    days = [date_of(start) for start in STARTS]
    ids = {"ES.c.0": [(days[0], days[1], 11), (days[1], days[2], 22)]}
    path = write_file(
        tmp_path / "both.dbn", merged(renumbered(DAYS[0], 11), renumbered(DAYS[1], 22)), ids, stype="continuous"
    )
    (rolled,) = ingest_all([open_dbn(path)], tick_size_nanos=TICK, folder=tmp_path / "tapes")
    roll = int(DAYS[0]["ts_event"][-1])

    def act(context: StrategyContext, script: Script) -> StrategyOutput | None:
        is_trading = context.market_state.phase == "continuous"
        sent = context.position.total_volume + len(context.pending_orders)
        wanted = 0 if context.current_time < roll else 6
        return StrategyOutput([OrderRequest.market(Side.BUY, 3)]) if is_trading and sent == wanted else None

    run = backtest(rolled, Script(act))
    account = run.backtester.accounts[0].metrics.account
    fills, events = account.fills, account.events
    valid = account.marks.valid & (events["ts_event"] <= roll)
    last_bid = int(events["bid"][np.flatnonzero(valid & (np.arange(len(events)) < fills["event"][1] + 1))[-1]])
    reasons = enums.names("REASON_")
    assert [reasons[reason] for reason in fills["reason"]] == ["none", "roll", "none"]
    assert fills[["size", "side", "price"]].tolist()[1] == (3, 1, last_bid)
    assert fills["ts_exchange"][1] == roll
    assert fills["fee"][1] == 3 * 2_050_000
    assert "3 lots were closed at the last valid bid or ask at the end of a contract" in " ".join(run.report.notes)
    assert run.report.final_position == 3


def test_ingest_all__id_of_a_raw_symbol_changes_by_day_and_is_reused(tmp_path: Path) -> None:
    """Each of two symbols has the other's id on the next day."""
    days = [date_of(start) for start in STARTS]
    ids = {
        "SYNH6": [(days[0], days[1], 1), (days[1], days[2], 2)],
        "SYNM6": [(days[0], days[1], 2), (days[1], days[2], 1)],
    }
    paths = []
    for day in range(2):
        one, two = session(day).records, session(day, other=True).records
        records = merged(renumbered(one, 1 + day), renumbered(two, 2 - day))
        paths.append(write_file(tmp_path / f"{day}.dbn", records, ids))
    tapes = opened(paths, tmp_path / "tapes", by_day=True)
    for symbol, other in (("SYNH6", False), ("SYNM6", True)):
        for day in range(2):
            assert_is(tapes[symbol, str(days[day])], compile_array(session(day, other).records))


def test_ingest_all__live_recording_without_mappings(tmp_path: Path) -> None:
    path = write_file(tmp_path / "live.dbn", both(0), {}, stype=None)
    tapes = opened([path], tmp_path / "tapes")
    assert [symbol for symbol, _ in tapes] == [str(THIN.instrument_id), str(OTHER.instrument_id)]
    one = opened([path], tmp_path / "one", symbols=[str(OTHER.instrument_id)])
    assert_is(one[str(OTHER.instrument_id), "2026-01-05"], compile_array(session(0, other=True).records))


def test_ingest_all__a_day_without_records_is_a_holiday(tmp_path: Path) -> None:
    paths = [write_file(tmp_path / "0.dbn", both(0), day_ids(STARTS[0], **IDS))]
    dbn.write_records(tmp_path / "1.dbn", metadata("mbo", day_ids(STARTS[1], **IDS), STARTS[1], STARTS[2]), b"")
    tapes = opened([*paths, tmp_path / "1.dbn"], tmp_path / "tapes", by_day=True)
    assert [day for _, day in tapes] == ["2026-01-05"] * 2
    with pytest.raises(EmptyDataError, match=r"1.dbn: holds no MBO record"):
        opened([tmp_path / "1.dbn"], tmp_path / "tapes")


def test_ingest_all__symbol_that_is_nowhere(tmp_path: Path) -> None:
    path = write_file(tmp_path / "two.dbn", both(0), day_ids(STARTS[0], **IDS))
    with pytest.raises(SymbolError, match=r"two.dbn: no symbol 'SYNH7' \(did you mean SYNH6\?\)"):
        opened([path], tmp_path / "tapes", symbols=["SYNM6", "SYNH7"])
    assert not (tmp_path / "tapes").exists()


def test_ingest_all__damage_found_late_leaves_whole_days_only(tmp_path: Path) -> None:
    paths = [write_file(tmp_path / f"{day}.dbn.zst", both(day), day_ids(STARTS[day], **IDS)) for day in range(2)]
    data = bytearray(paths[1].read_bytes())
    data[-20] ^= 1
    paths[1].write_bytes(data)
    with pytest.raises(CorruptFileError, match=r"1.dbn.zst"):
        opened(paths, tmp_path / "tapes", by_day=True)
    left = sorted(path.name[:16] for path in (tmp_path / "tapes").iterdir())
    assert left == ["SYNH6_2026-01-05", "SYNM6_2026-01-05"]


def test_ingest_all__overlapping_files_are_refused(tmp_path: Path) -> None:
    paths = [write_file(tmp_path / f"{name}.dbn", both(0), day_ids(STARTS[0], **IDS)) for name in "ab"]
    with pytest.raises(Exception, match=r"b.dbn: has a record of .*: give each file once"):
        opened(paths, tmp_path / "tapes", by_day=True)


def test_date_of__is_the_utc_day() -> None:
    assert date_of(STARTS[0]) == dt.date(2026, 1, 5)
