"""L2 tapes: levels as the vendor publishes them, changes of view apart, and what can't be done with them."""

from decimal import Decimal
from pathlib import Path

import databento
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bt_gym.backtest.backtester import Backtester
from bt_gym.config import BacktestConfig
from bt_gym.core import enums
from bt_gym.core.market import move, new_market
from bt_gym.core.tape import KIND_MASK, LADDER_TICKS, SIDE_BIT, TICK_SHIFT
from bt_gym.data import dbn
from bt_gym.data.catalogue import remarks
from bt_gym.data.compiler import Piece, label_phases
from bt_gym.data.l2 import SCHEMAS, LevelCompiler
from bt_gym.data.status import change_dtype
from bt_gym.data.tape import Tape, ingest
from bt_gym.data.validate import validate
from bt_gym.errors import ConfigError, SchemaError, TapeError
from tests.data.compiled import Compiled, add, cancel, clear, compile_array, modify, stream, trade
from tests.reference import mbp
from tests.reference.book import Book, Record, match_groups, to_records
from tests.reference.itch import itch_streams
from tests.reference.streams import RARE, TICK, VALID, streams

pytestmark = pytest.mark.kernel

CENT = 10_000_000
Levels = dict[str, dict[int, int]]


def level_tape(rows: np.ndarray, levels: int, cuts: tuple[int, ...] = (), tick_size: int = TICK) -> Compiled:
    compiler = LevelCompiler(tick_size, levels)
    pieces = [
        Piece(piece.records.copy(), piece.events.copy(), piece.blocks.copy())
        for feed in [compiler.feed(chunk) for chunk in np.split(rows, cuts)] + [compiler.finish()]
        for piece in feed
    ]
    empty = compile_array(np.zeros(0, dbn.mbo_dtype))
    columns = {
        name: np.concatenate([getattr(empty, name), *(getattr(piece, name) for piece in pieces)])
        for name in ("records", "events", "blocks")
    }
    label_phases(columns["events"], compiler.stretches)
    return Compiled(**columns, counters={name: count for name, count in compiler.counters.items() if count})


def published_tape(*events: Record | list[Record], levels: int = 2) -> Compiled:
    return level_tape(mbp.to_array(mbp.published(to_records(stream(*events)), levels), levels), levels)


def levels_after_events(tape: Compiled) -> list[Levels]:
    """The ladder after each event, from the records alone."""
    ladder: Levels = {"B": {}, "A": {}}
    found, first = [], 0
    for end in tape.events["end"].tolist():
        for key, size, priority in tape.records[first:end].tolist():
            kind, side, tick = key & KIND_MASK, "BA"[bool(key & SIDE_BIT)], key >> TICK_SHIFT
            if kind == enums.RECORD_CLEAR:
                ladder = {"B": {}, "A": {}}
            elif kind <= enums.RECORD_RESTORE:
                assert priority == -1
                assert size > 0 if kind == enums.RECORD_ADD else size != 0
                ladder[side][tick] = ladder[side].get(tick, 0) + size
                assert ladder[side][tick] >= 0
                if not ladder[side][tick]:
                    del ladder[side][tick]
        first = end
        found.append({side: dict(levels) for side, levels in ladder.items()})
    return found


# --- worked by hand

BOOK = (clear(), [add(1, "B", 100, 5), add(2, "B", 99, 4), add(3, "B", 98, 3), add(4, "A", 101, 6)])


@pytest.mark.parametrize(
    ("change", "rows"),
    [
        (add(5, "B", 100, 2), ["add B 100 2"]),
        (cancel(1, "B", 100, 2), ["del B 100 -2"]),
        (modify(1, "B", 100, 9), ["add B 100 4"]),
        (add(5, "A", 103, 2), ["add A 103 2"]),  # fewer than the published levels: a new one is new
        (cancel(4, "A", 101, 6), ["del A 101 -6"]),
        (cancel(3, "B", 98, 3), None),  # beyond what is published
        (add(5, "B", 101 - 1, 1), ["add B 100 1"]),
        # the second level leaves the view, and comes back
        ([cancel(4, "A", 101, 6), add(5, "B", 101, 7)], ["restore B 99 -4", "add B 101 7", "del A 101 -6"]),
        (cancel(1, "B", 100, 5), ["del B 100 -5", "restore B 98 3"]),
        (modify(1, "B", 97, 5), ["del B 100 -5", "restore B 98 3"]),
        (clear(), ["clear"]),
    ],
)
def test_change__of_a_level_and_of_the_view(change: Record | list[Record], rows: list[str] | None) -> None:
    tape = published_tape(*BOOK, change)
    assert len(tape.events) == 2 + (rows is not None)
    if rows is not None:
        assert sorted(tape.rows(2)) == sorted(rows)
        assert tape.phases()[2] == "continuous"


def test_trade__is_on_the_tape_at_the_side_it_hit_and_its_fills_are_changes_of_the_level() -> None:
    tape = published_tape(*BOOK, [trade("A", 100, 2), cancel(1, "B", 100, 2)], trade("N", 101, 1))
    assert tape.rows(2) == ["trade B 100 2", "del B 100 -2"]
    assert tape.rows(3) == ["trade A 101 1"]
    assert tape.has(enums.EVENT_INFERRED_SIDE) == [False, False, False, True]
    assert (tape.counters["trades"], tape.counters["volume"]) == (2, 3)


def test_start__in_the_middle_is_a_view_that_opens() -> None:
    """What the first row shows was there before."""
    rows = mbp.to_array(mbp.published(to_records(stream(*BOOK, add(5, "B", 100, 1))), 2), 2)[-1:]
    tape = level_tape(rows, 2)
    assert tape.rows(0) == ["restore B 100 6", "restore B 99 4", "restore A 101 6"]
    assert tape.phases() == ["continuous"]


def test_snapshot__replaces_all_levels() -> None:
    snapshot = [add(7, "B", 100, 2, flags=32), add(8, "A", 103, 1, flags=32)]
    tape = published_tape(*BOOK, snapshot, add(9, "B", 100, 1))
    assert tape.rows(2) == ["clear", "restore B 100 2", "restore A 103 1"]
    assert tape.phases() == ["continuous", "continuous", "snapshot", "continuous"]
    assert tape.counters["snapshots"] == 1


def test_crossed__levels_are_a_pre_open_until_a_trade() -> None:
    tape = published_tape(clear(), add(1, "B", 101, 5), add(2, "A", 100, 5), [trade("N", 100, 5), clear()], clear())
    assert tape.phases()[:4] == ["pre_open", "pre_open", "pre_open", "auction"]


def test_trades__alone_have_no_book() -> None:
    rows = np.zeros(3, dbn.mbp_dtype(0))
    rows["side"] = dbn.SIDE_BID, dbn.SIDE_ASK, dbn.SIDE_NONE
    rows["action"], rows["size"] = dbn.ACTION_TRADE, [1, 2, 3]
    rows["price"], rows["ts_event"] = 100 * TICK, [1_000, 1_000, 2_000]
    rows["ts_recv"] = rows["ts_event"] + 5
    for cuts in ((), (1,), (1, 2)):
        tape = level_tape(rows, 0, cuts)
        assert [tape.rows(event) for event in range(2)] == [["trade A 100 1", "trade B 100 2"], ["trade_n B 100 3"]]
        assert tape.events["bid"].tolist() == [enums.NO_TICK] * 2
        assert tape.phases() == ["continuous"] * 2


# --- against the book of single orders


def assert_levels(records: list[Record], levels: int, cuts: tuple[int, ...] = ()) -> None:
    rows = mbp.published(records, levels)
    array = mbp.to_array(rows, levels)
    tape = level_tape(array, levels, cuts)
    after = levels_after_events(tape)
    book, groups, done = Book(), list(match_groups(records)), 0
    market = new_market()
    for number, source in enumerate(tape.events["source"].tolist()):
        row = rows[source - 1]
        while done <= row.group:
            book.begin_event()
            for record in groups[done]:
                book.apply(record)
            done += 1
        depth = {side: {level.price // TICK: level.size for level in book.depth(side, levels)} for side in "BA"}
        assert after[number] == depth
        event = tape.events[number]
        assert event["bid"] == max(depth["B"], default=enums.NO_TICK)
        assert event["ask"] == min(depth["A"], default=enums.NO_TICK)
        if len(tape.blocks):
            move_one(market, tape, number + 1)
            assert ladder_of(market) == depth
    assert tape.counters.get("volume", 0) == sum(row.record.size for row in rows if row.record.action == "T")
    assert len(tape.records) == (tape.events["end"][-1] if len(tape.events) else 0)


def move_one(market: np.ndarray, tape: Compiled, end: int) -> None:
    move(market[0], tape.records, tape.events, tape.blocks, end)


def ladder_of(market: np.ndarray) -> Levels:
    base = int(market["base"][0])
    return {
        side: {base + int(i): int(row[i]) for i in np.flatnonzero(row)}
        for side, row in zip("BA", market["ladder"][0].reshape(2, LADDER_TICKS), strict=True)
    }


@settings(max_examples=settings.default.max_examples // 2)
@given(streams(VALID + RARE) | itch_streams, st.sampled_from([1, 2, 10]), st.lists(st.integers(0, 200), max_size=3))
def test_ladder__equals_the_best_levels_of_the_orders(records: list[Record], levels: int, cuts: list[int]) -> None:
    assert_levels(records, levels, tuple(sorted(cuts)))


def test_session__equals_its_orders_at_every_event() -> None:
    """The synthetic exchange's own book, published as MBP-10."""
    from bt_gym.data.synthetic import generate

    session = generate(5, 20, pre_open_seconds=2)
    assert session.profile.tick_nanos == TICK
    assert_levels(to_records(session.records), 10)


def test_status__phases_of_levels_as_the_venue_gives_them() -> None:
    """A halt is an event without records, before the first event that is not earlier."""
    rows = mbp.to_array(mbp.published(to_records(stream(*BOOK, add(5, "B", 100, 1), add(6, "B", 100, 1))), 2), 2)
    changes = np.zeros(1, change_dtype)
    changes["ts_event"] = changes["ts_recv"] = rows["ts_event"][-1]
    changes["phase"] = enums.PHASE_HALT
    compiler = LevelCompiler(TICK, 2, changes=changes)
    pieces = [piece.events.copy() for feed in (compiler.feed(rows), compiler.finish()) for piece in feed]
    phases = [enums.names("PHASE_")[code] for code in (np.concatenate(pieces)["flags"] & enums.PHASE_MASK).tolist()]
    assert phases == ["continuous", "continuous", "continuous", "halt", "halt"]


# --- files and tapes


def level_files(folder: Path) -> dict[str, Path]:
    """One session as each schema has it."""
    records = to_records(stream(*BOOK, [trade("A", 100, 2), cancel(1, "B", 100, 2)], add(5, "A", 103, 1)))
    files = {}
    for schema, levels in SCHEMAS.items():
        rows = mbp.published(records, max(levels, 1))
        rows = [row for row in rows if levels or row.record.action == "T"]
        files[schema] = mbp.write(folder / f"day.{schema}.dbn", mbp.to_array(rows, levels), schema)
    return files


@pytest.mark.parametrize(
    ("schema", "book", "levels"), [("mbp-10", "l2", 10), ("mbp-1", "l2", 1), ("trades", "none", 0)]
)
def test_ingest__says_what_a_tape_is_made_of(tmp_path: Path, schema: str, book: str, levels: int) -> None:
    path = ingest([level_files(tmp_path)[schema]], tick_size_nanos=TICK, folder=tmp_path / "tapes")
    tape = Tape.open(path)
    assert (tape.book, tape.metadata["levels"]) == (book, levels)
    assert tape.metadata["counters"]["volume"] == 2
    bids = {100: 3} if levels else {}
    ladder = levels_after_events(Compiled(tape.records, tape.events, tape.blocks, {}))[-1]
    assert {tick: size for tick, size in ladder["B"].items() if tick == 100} == bids
    assert tape.proof.is_complete
    (remark,) = [line for line in remarks(tape) if line.startswith("made of")]
    assert remark.endswith("there are no queues to take a place in")


def test_ingest__refuses_files_of_several_schemas_and_schemas_that_make_no_tape(tmp_path: Path) -> None:
    files = level_files(tmp_path)
    with pytest.raises(SchemaError, match="ingest files of one schema at a time"):
        ingest([files["mbp-10"], files["mbp-1"]], tick_size_nanos=TICK, folder=tmp_path / "tapes")
    records = mbp.to_array(mbp.published(to_records(stream(*BOOK)), 1), 1)
    bars = mbp.write(tmp_path / "bars.dbn", records, "ohlcv-1m")
    with pytest.raises(SchemaError, match="holds schema ohlcv-1m, mbo is needed"):
        ingest([bars], tick_size_nanos=TICK, folder=tmp_path / "tapes")


def test_run__on_levels_is_refused_with_what_to_use(tmp_path: Path) -> None:
    facts = {"tick_size": Decimal("0.25"), "multiplier": 50, "fee_per_contract": Decimal(2)}
    config = BacktestConfig.from_dict(
        {"backtest": {}, "instruments": {"ESH4": facts}, "strategy": {"type": "sma_crossover"}}
    )
    files = level_files(tmp_path)
    for schema, error, words in (
        ("mbp-10", ConfigError, "fifo needs order by order data, .* holds level sizes only"),
        ("trades", TapeError, "trades alone"),
    ):
        tape = ingest([files[schema]], tick_size_nanos=TICK, folder=tmp_path / "tapes")
        for source in (files[schema], tape):
            with pytest.raises(error, match=words):
                Backtester(config, files=[source], tape_folder=tmp_path / "tapes").run()


@pytest.mark.parametrize("schema", SCHEMAS)
def test_validate__needs_single_orders(tmp_path: Path, schema: str) -> None:
    with pytest.raises(SchemaError, match=f"holds schema {schema}, mbo is needed"):
        validate(level_files(tmp_path)[schema])


# --- the vendor's own files


def read(path: Path, schema: str) -> np.ndarray:
    file = dbn.open_dbn(path, schema)
    return np.concatenate(list(file.chunks(file.select(), max_records=500)))


@pytest.mark.real_data
@pytest.mark.parametrize("schema", ["mbp-1", "mbp-10"])
def test_vendor__levels_from_an_empty_book_are_those_of_the_orders(real_data, schema: str) -> None:  # type: ignore[no-untyped-def]
    levels = SCHEMAS[schema]
    tape = level_tape(read(real_data(f"databento_samples/XNAS.ITCH.{schema}.dbn.zst"), schema), levels, tick_size=CENT)
    records = to_records(read(real_data("databento_samples/XNAS.ITCH.mbo.dbn.zst"), "mbo"))
    book, states = Book(), {}
    for record in records:
        book.apply(record)
        states[record.ts_event] = {
            side: {at.price // CENT: at.size for at in book.depth(side, levels)} for side in "BA"
        }
    after = levels_after_events(tape)
    times = tape.events["ts_event"].tolist()
    comparable = [time for time in times if time in states]  # the order of the last mbp-1 row is not in the sample
    assert (len(times), len(comparable)) == (4, {"mbp-1": 3, "mbp-10": 4}[schema])
    assert after[: len(comparable)] == [states[time] for time in comparable]


def trades_of(tape: Compiled) -> list[tuple[int, int, int, str]]:
    """(ts_event, tick, lots, aggressor) of each trade on a tape."""
    ends = tape.events["end"].astype(np.int64)
    times = np.repeat(tape.events["ts_event"], np.diff(ends, prepend=0))
    return [
        (time, key >> TICK_SHIFT, size, "BA"[not key & SIDE_BIT])
        for time, (key, size, _) in zip(times.tolist(), tape.records.tolist(), strict=True)
        if key & KIND_MASK == enums.RECORD_TRADE
    ]


@pytest.mark.real_data
def test_vendor__trades_are_the_same_in_every_schema_and_make_the_bars(real_data) -> None:  # type: ignore[no-untyped-def]
    rows = read(real_data("ESU4_2024-07-01.trades.dbn.zst"), "trades")
    alone = level_tape(rows, 0)
    quotes = read(real_data("ESU4_2024-07-01.mbp-1.dbn.zst"), "mbp-1")
    tape = level_tape(quotes, 1)
    expected = [
        (time, price // TICK, size, chr(side))
        for time, price, size, side in zip(
            *(rows[name].tolist() for name in ("ts_event", "price", "size", "side")), strict=True
        )
    ]
    assert trades_of(alone) == trades_of(tape) == expected
    assert len(expected) == 120
    best = levels_after_events(tape)[-1]
    end = quotes["levels"][-1, 0]
    assert best == {"B": {end["bid_px"] // TICK: end["bid_sz"]}, "A": {end["ask_px"] // TICK: end["ask_sz"]}}
    assert tape.phases().count("snapshot") == 1  # midnight

    bars = databento.DBNStore.from_bytes(real_data("ESU4_2024-07-01.ohlcv-1m.dbn.zst").read_bytes()).to_ndarray()
    minute = 60 * 10**9
    for start in range(expected[0][0] // minute, expected[-1][0] // minute + 1):
        found = [(tick * TICK, size) for time, tick, size, _ in trades_of(tape) if time // minute == start]
        (bar,) = bars[(bars["ts_event"] == start * minute) & (bars["instrument_id"] == rows["instrument_id"][0])]
        prices = [price for price, _ in found]
        told = [int(bar[name]) for name in ("open", "high", "low", "close", "volume")]
        assert told == [prices[0], max(prices), min(prices), prices[-1], sum(size for _, size in found)]


@pytest.mark.real_data
def test_vendor__rows_in_the_middle_of_a_session(real_data) -> None:  # type: ignore[no-untyped-def]
    rows = read(real_data("databento_samples/GLBX.MDP3.mbp-10.dbn.zst"), "mbp-10")
    tape = level_tape(rows, 10)
    assert [row.split()[0] for row in tape.rows(0)] == ["restore"] * 20
    last = rows["levels"][-1]
    assert levels_after_events(tape)[-1] == {
        side: {int(px) // TICK: int(sz) for px, sz in zip(last[f"{name}_px"], last[f"{name}_sz"], strict=True)}
        for side, name in (("B", "bid"), ("A", "ask"))
    }
