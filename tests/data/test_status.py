"""Phases from status files: the vendor's records, the true phases of the synthetic exchange, and where they go."""

from pathlib import Path

import numpy as np
import pytest
from databento_dbn import StatusAction, StatusMsg, TradingEvent, TriState

from bt_gym import EventKind, OrderRequest, Side, StrategyOutput
from bt_gym.core import enums
from bt_gym.data import dbn
from bt_gym.data.compiler import Compiler
from bt_gym.data.dbn import open_dbn
from bt_gym.data.status import CLOSED, UNKNOWN, change_dtype, phase_of, read_changes, within, write_status
from bt_gym.data.symbology import NS_PER_DAY, Selection, unmapped
from bt_gym.data.tape import Tape, ingest
from bt_gym.errors import DataError, SchemaError
from tests.data.batches import HALT, REOPEN, metadata, session
from tests.data.compiled import PHASES, add, clear, compile_array, fill, stream, trade
from tests.reference.streams import START
from tests.runs import Script, backtest, settings

CONTINUOUS, HALTED, PRE_OPEN = enums.PHASE_CONTINUOUS, enums.PHASE_HALT, enums.PHASE_PRE_OPEN
DAY = START // NS_PER_DAY * NS_PER_DAY
ONE = Selection("ESH4", unmapped([7])["7"])


def message(
    ts: int,
    action: StatusAction,
    *,
    event: TradingEvent = TradingEvent.NONE,
    trading: TriState | None = None,
    quoting: TriState | None = None,
    ts_recv: int | None = None,
    instrument_id: int = 7,
) -> StatusMsg:
    return StatusMsg(
        publisher_id=1,
        instrument_id=instrument_id,
        ts_event=ts,
        ts_recv=ts + 1000 if ts_recv is None else ts_recv,
        action=action,
        trading_event=event,
        is_trading=trading,
        is_quoting=quoting,
    )


def status_file(path: Path, *messages: StatusMsg, start: int = DAY, end: int = DAY + NS_PER_DAY) -> Path:
    dbn.write_records(path, metadata("status", {}, start, end), b"".join(map(bytes, messages)))
    return path


def changed(path: Path, *messages: StatusMsg) -> list[tuple[int, ...]]:
    """(ts_event, ts_recv, phase, no_cancel), times in ns after the day's beginning."""
    (changes,) = read_changes([status_file(path, *messages)], [ONE])
    return [(ts - DAY, recv - DAY, phase, forbidden) for ts, recv, phase, forbidden in changes.tolist()]


# --- records


@pytest.mark.parametrize(
    ("action", "trading", "quoting", "phase"),
    [
        ("TRADING", None, None, "continuous"),
        ("PRE_OPEN", None, None, "pre_open"),
        ("PRE_CROSS", None, None, "pre_open"),
        ("QUOTING", None, None, "pre_open"),
        ("CROSS", None, None, "pre_open"),
        ("ROTATION", None, None, "pre_open"),
        ("HALT", None, None, "halt"),
        ("PAUSE", None, None, "halt"),
        ("SUSPEND", None, None, "halt"),
        ("CLOSE", None, None, "closed"),
        ("POST_CLOSE", None, None, "closed"),
        ("NOT_AVAILABLE_FOR_TRADING", None, None, "closed"),
        ("NEW_PRICE_INDICATION", "YES", "YES", "continuous"),  # as ES reopens on 2020-12-28
        ("NEW_PRICE_INDICATION", "NO", "YES", "pre_open"),
        ("NEW_PRICE_INDICATION", "NO", "NO", "halt"),
        ("NEW_PRICE_INDICATION", None, None, None),
        ("PRE_CLOSE", "YES", None, "continuous"),
        ("SSR_CHANGE", "YES", None, None),
        ("NONE", "YES", None, None),
    ],
)
def test_phase_of__every_action(action: str, trading: str | None, quoting: str | None, phase: str | None) -> None:
    states = [None if text is None else getattr(TriState, text) for text in (trading, quoting)]
    found = phase_of(message(0, getattr(StatusAction, action), trading=states[0], quoting=states[1]))
    assert (None if found is None else {**PHASES, CLOSED: "closed"}[found]) == phase


def test_phase_of__knows_every_action_of_the_vendor() -> None:
    for action in StatusAction.variants():
        phase_of(message(0, action))


def test_read_changes__keeps_what_changes_the_phase(tmp_path: Path) -> None:
    assert changed(
        tmp_path / "status.dbn",
        message(DAY + 10, StatusAction.PRE_OPEN),
        message(DAY + 20, StatusAction.PRE_OPEN),
        message(DAY + 30, StatusAction.TRADING, instrument_id=8),
        message(DAY + 40, StatusAction.NONE, event=TradingEvent.NO_CANCEL),
        message(DAY + 50, StatusAction.NONE, event=TradingEvent.IMPLIED_MATCHING_ON),
        message(DAY + 60, StatusAction.TRADING),
    ) == [
        (10, 1010, PRE_OPEN, 0),
        (40, 1040, PRE_OPEN, 1),
        (50, 1050, PRE_OPEN, 0),
        (60, 1060, CONTINUOUS, 0),
        (NS_PER_DAY, NS_PER_DAY, UNKNOWN, 0),
    ]


def test_read_changes__state_repeated_at_the_start_of_a_file_holds_from_there(tmp_path: Path) -> None:
    found = changed(tmp_path / "status.dbn", message(DAY - 3600 * 10**9, StatusAction.TRADING, ts_recv=DAY))
    assert found[0] == (0, 0, CONTINUOUS, 0)


def test_read_changes__over_days_without_a_file_nothing_is_known(tmp_path: Path) -> None:
    files = [
        status_file(
            tmp_path / f"{day}.dbn",
            message(DAY + day * NS_PER_DAY + 5, StatusAction.TRADING),
            start=DAY + day * NS_PER_DAY,
            end=DAY + (day + 1) * NS_PER_DAY,
        )
        for day in (0, 1, 3)
    ]
    (changes,) = read_changes([files[2], files[0], files[1]], [ONE])
    days = [
        (int(ts - DAY) // NS_PER_DAY, phase) for ts, phase in zip(changes["ts_event"], changes["phase"], strict=True)
    ]
    assert days == [(0, CONTINUOUS), (2, UNKNOWN), (3, CONTINUOUS), (4, UNKNOWN)]


def test_read_changes__refuses_another_schema(tmp_path: Path) -> None:
    session(0).write(tmp_path / "mbo.dbn")
    with pytest.raises(SchemaError, match="holds schema mbo, status is needed"):
        read_changes([tmp_path / "mbo.dbn"], [ONE])


def test_within__keeps_the_state_at_the_start(tmp_path: Path) -> None:
    changes = np.array([(10, 10, PRE_OPEN, 0), (20, 20, CONTINUOUS, 0), (30, 30, HALTED, 0)], change_dtype)
    assert within(changes, 20, None).tolist() == changes[1:].tolist()
    assert within(changes, 25, 30).tolist() == changes[1:2].tolist()
    assert within(changes, 0, 20).tolist() == changes[:1].tolist()
    assert within(changes, 40, 50).tolist() == changes[2:].tolist()
    assert len(within(changes, 0, 5)) == 0


# --- the compiler

BOOK = (clear(), add(1, "B", 100, 5), add(2, "A", 101, 6))


def compiled_with(*changes: tuple[int, int, int, int], cuts: tuple[int, ...] = (), events: tuple = BOOK):
    """A tape of events one microsecond apart, received 1 us later; changes in ns after the first."""
    given = np.array([(START + ts, START + recv, *rest) for ts, recv, *rest in changes], change_dtype)
    return compile_array(stream(*events), cuts=cuts, changes=given)


@pytest.mark.parametrize("cuts", [(), (1,), (1, 2), (2,)])
def test_change__is_an_event_without_records_before_what_is_not_earlier(cuts: tuple[int, ...]) -> None:
    tape = compiled_with((-5, 0, CONTINUOUS, 0), (1_000, 1_500, HALTED, 0), (1_800, 9_000, PRE_OPEN, 1), cuts=cuts)
    assert tape.phases() == ["continuous", "halt", "halt", "pre_open", "pre_open"]
    assert [len(tape.rows(number)) for number in range(5)] == [1, 0, 1, 0, 1]
    assert (tape.events["ts_event"] - START).tolist() == [0, 1_000, 1_000, 1_800, 2_000]
    assert tape.has(enums.EVENT_NO_CANCEL) == [False, False, False, True, True]
    assert tape.has(enums.EVENT_PHASE) == [True, True, False, True, False]
    received = tape.events["ts_event"] + tape.events["delay"] - START
    assert received.tolist() == [1_000, 1_500, 2_000, 9_000, 9_000]  # nothing is known before it was received
    assert "clock_steps_back" not in tape.counters
    assert tape.events["source"].tolist() == [1, 1, 2, 2, 3]


def test_change__to_closed_is_a_halt_that_says_so_until_the_next_one() -> None:
    tape = compiled_with(
        (-5, 0, CONTINUOUS, 0), (500, 500, HALTED, 0), (1_000, 1_500, CLOSED, 0), (1_800, 1_900, PRE_OPEN, 0)
    )
    assert tape.phases() == ["continuous", "halt", "halt", "halt", "pre_open", "pre_open"]
    assert tape.has(enums.EVENT_CLOSED) == [False, False, True, True, False, False]


def test_change__before_the_first_event_is_no_event() -> None:
    tape = compiled_with((-9, -9, HALTED, 0), (-5, -5, PRE_OPEN, 0))
    assert tape.phases() == ["pre_open"] * 3


def test_change__after_the_last_event_is_told_on_its_day_only() -> None:
    tape = compiled_with((5_000, 5_000, HALTED, 0), (2 * NS_PER_DAY, 2 * NS_PER_DAY, CONTINUOUS, 0))
    assert tape.phases() == ["continuous"] * 3 + ["halt"]
    assert tape.events["end"].tolist() == [1, 2, 3, 3]


def test_change__snapshot_auction_and_doubt_stay_what_they_are() -> None:
    uncross = [trade("N", 100, 3), fill(1, "N", 100, 3), fill(2, "N", 100, 3)]
    tape = compiled_with((0, 0, PRE_OPEN, 0), events=(clear(flags=32), *BOOK[1:], uncross))
    assert tape.phases() == ["snapshot", "pre_open", "pre_open", "auction"]
    tape = compiled_with((0, 0, CONTINUOUS, 0), events=BOOK[1:])
    assert tape.phases() == ["suspect"] * 2


def test_change__what_nobody_tells_is_inferred() -> None:
    """A crossed book is a pre-open by inference only, up to the change and again after it."""
    crossed = (clear(), add(1, "B", 105, 5), add(2, "A", 101, 6), add(3, "A", 101, 6), add(4, "A", 101, 6))
    tape = compiled_with((3_000, 3_000, CONTINUOUS, 0), (3_500, 3_500, UNKNOWN, 0), events=crossed)
    assert tape.phases() == ["pre_open"] * 3 + ["continuous"] * 2 + ["pre_open"] * 2


def test_compiler__without_changes_is_what_it_was() -> None:
    records = session(0).records
    one, two = compile_array(records), compile_array(records, changes=np.zeros(0, change_dtype))
    assert one.events.tobytes() == two.events.tobytes()
    assert Compiler(1).state["given"] == UNKNOWN


# --- files


@pytest.fixture(scope="module")
def tapes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tape, Tape]:
    """A session with a halt: phases inferred, and given."""
    folder = tmp_path_factory.mktemp("status")
    session(0).write(folder / "mbo.dbn.zst")
    session(0).write_status(folder / "status.dbn.zst")
    tick = session(0).profile.tick_nanos
    options = {"tick_size_nanos": tick, "folder": folder}
    return (
        Tape.open(ingest([folder / "mbo.dbn.zst"], **options)),
        Tape.open(ingest([folder / "mbo.dbn.zst"], statuses=[folder / "status.dbn.zst"], **options)),
    )


def true_phase(ts: np.ndarray) -> np.ndarray:
    """Phase of the synthetic exchange at times (E,): before the open, halted, or trading."""
    seconds = (ts - session(0).opens) / 1e9
    halted = (seconds >= HALT) & (seconds < REOPEN)
    return np.where(seconds < 0, PRE_OPEN, np.where(halted, HALTED, CONTINUOUS))


def test_ingest__given_phases_are_the_true_ones(tapes: tuple[Tape, Tape]) -> None:
    inferred, given = tapes
    assert given.key != inferred.key
    assert (inferred.metadata["status_changes"], given.metadata["status_changes"]) == (0, 4)
    phases = given.events["flags"] & enums.PHASE_MASK
    special = (phases == enums.PHASE_SNAPSHOT) | (phases == enums.PHASE_AUCTION)
    assert np.count_nonzero(phases == enums.PHASE_AUCTION) >= 1
    np.testing.assert_array_equal(phases[~special], true_phase(given.events["ts_event"])[~special])
    assert {PRE_OPEN, HALTED, CONTINUOUS} <= set(phases.tolist())


def test_ingest__inferred_phases_miss_a_quiet_halt_and_nothing_else(tapes: tuple[Tape, Tape]) -> None:
    """Inference takes all up to an uncross for a pre-open: the halt, and what came between the last trade and it."""
    inferred, given = tapes
    phases = given.events["flags"] & enums.PHASE_MASK
    lasting = np.diff(np.r_[0, given.events["end"].astype(np.int64)]) > 0  # not the changes of status themselves
    with_records = given.events[lasting]
    assert with_records["ts_event"].tolist() == inferred.events["ts_event"].tolist()
    found = inferred.events["flags"] & enums.PHASE_MASK
    differs = found != phases[lasting]
    assert set(found[differs].tolist()) <= {PRE_OPEN}
    assert set(phases[lasting][differs].tolist()) <= {HALTED, CONTINUOUS}


def test_ingest__status_changes_nothing_else(tapes: tuple[Tape, Tape]) -> None:
    inferred, given = tapes
    assert given.records.tobytes() == inferred.records.tobytes()
    assert len(given.events) == len(inferred.events) + 3  # open, halt, reopening
    assert given.metadata["counters"] == inferred.metadata["counters"]


def test_backtest__nothing_fills_in_a_halt(tapes: tuple[Tape, Tape]) -> None:
    """Market orders sent all the time: by the venue's word none is filled from the halt to the reopening."""
    filled = {}
    for name, tape in zip(("inferred", "given"), tapes, strict=True):
        buyer = Script(
            lambda context, script: StrategyOutput([OrderRequest.market(Side.BUY, 1)]), EventKind(0), 50_000_000
        )
        run = backtest(tape.path, buyer, config=settings())
        filled[name] = (run.fills()["ts_exchange"] - session(0).opens) / 1e9
    halted = (filled["given"] > HALT) & (filled["given"] < REOPEN)
    assert len(filled["given"]) > 100
    assert not halted.any()


def test_write_status__refuses_a_phase_that_no_venue_tells(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="phase suspect has no status"):
        write_status(
            tmp_path / "s.dbn", [(DAY, enums.PHASE_SUSPECT)], symbol="A", instrument_id=1, start=DAY, end=DAY + 1
        )
    assert not (tmp_path / "s.dbn").exists()


# --- real data


@pytest.mark.real_data
def test_read_changes__of_a_real_file(real_data) -> None:
    """ES on 2020-12-28: trading since the evening before, the break at 21:15 UTC, no cancels for its last 30 s."""
    path = real_data("databento_samples/GLBX.MDP3.status.dbn.zst")
    (changes,) = read_changes([path], [open_dbn(path, "status").select("ESH1")])
    start = 1_609_113_600 * 10**9
    rows = [
        ((int(row["ts_event"]) - start) / 60e9, PHASES.get(int(row["phase"])), int(row["no_cancel"])) for row in changes
    ]
    assert rows == [
        (0, "continuous", 0),
        (21 * 60 + 15, "pre_open", 0),
        (21 * 60 + 29.5, "pre_open", 1),
        (21 * 60 + 30, "continuous", 0),
        (24 * 60, None, 0),
    ]
