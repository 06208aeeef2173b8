"""The catalogue: tapes by symbol and day, and what is wrong with those that can't be used."""

import datetime as dt
from pathlib import Path

import numpy as np
import pytest

from bt_gym.data import catalogue as catalogues
from bt_gym.data import tape as tapes
from bt_gym.data.catalogue import Catalogue, days_of, describe, details, remarks
from bt_gym.data.tape import Tape, ingest
from bt_gym.errors import TapeError
from tests.data.compiled import add, clear, stream, trade
from tests.data.test_tape import SESSION, day_file
from tests.reference.streams import START, TICK

FIRST = dt.date(1970, 1, 1) + dt.timedelta(days=START // 86_400_000_000_000)
DAYS = [FIRST + dt.timedelta(days=count) for count in range(5)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "tapes"


def made(folder: Path, *days: int, symbol: str = "ESH4", records: np.ndarray = SESSION) -> Path:
    """A tape of some days."""
    name = symbol.replace("/", "_")
    files = [day_file(folder.parent / f"{name}{day}-{len(days)}.dbn", records, days=day, symbol=symbol) for day in days]
    return ingest(files, tick_size_nanos=TICK, folder=folder)


def flip(path: Path, place: int = 0) -> None:
    """Damages a record of a tape."""
    data = bytearray(path.read_bytes())
    data[data.index(Tape.open(path).records.tobytes()) + place] ^= 1
    path.write_bytes(data)


def test_entries__are_sorted_and_complete(folder: Path) -> None:
    paths = [made(folder, 1), made(folder, 0), made(folder, 0, symbol="BRK/B")]
    (folder / "notes.txt").write_text("")
    entries = Catalogue(folder).entries(verify=True)
    assert [(entry.symbol, entry.days) for entry in entries] == [
        ("BRK/B", (DAYS[0],)),
        ("ESH4", (DAYS[0],)),
        ("ESH4", (DAYS[1],)),
    ]
    assert [entry.path for entry in entries] == [paths[2], paths[1], paths[0]]
    entry = entries[1]
    assert (entry.state, entry.repair, entry.events, entry.records) == ("ok", "", 5, len(SESSION))
    assert (entry.size, entry.sources) == (paths[1].stat().st_size, ("ESH40-1.dbn",))
    assert Catalogue(folder).days("ESH4") == DAYS[:2]
    assert Catalogue(folder / "none").entries() == []


def test_days_of__are_those_with_events(folder: Path) -> None:
    assert days_of(Tape.open(made(folder, 0, 2, 3))) == (DAYS[0], DAYS[2], DAYS[3])


def test_find__takes_the_tape_of_fewest_days(folder: Path) -> None:
    several, single = made(folder, 0, 1, 2), made(folder, 1)
    catalogue = Catalogue(folder)
    assert catalogue.find("ESH4", [DAYS[1]]) == [single]
    assert catalogue.find("ESH4", [DAYS[2], DAYS[0]]) == [several]
    later = made(folder, 4)
    assert catalogue.find("ESH4", [DAYS[4], DAYS[1]]) == [single, later]


def test_find__prefers_one_tape_of_just_these_days(folder: Path) -> None:
    joined, first, second = made(folder, 0, 1), made(folder, 0), made(folder, 1)
    catalogue = Catalogue(folder)
    assert catalogue.find("ESH4", [DAYS[1], DAYS[0]]) == [joined]
    assert catalogue.find("ESH4", [DAYS[1]]) == [second]
    joined.unlink()
    assert catalogue.find("ESH4", [DAYS[1], DAYS[0]]) == [first, second]


def test_find__says_what_there_is_instead(folder: Path) -> None:
    catalogue = Catalogue(folder)
    with pytest.raises(TapeError, match=r"no tape of ESH4 on 2023-11-14, the catalogue has no tape of it: make it"):
        catalogue.find("ESH4", [DAYS[0]])
    made(folder, 0)
    made(folder, 2)
    with pytest.raises(TapeError, match=r"on 2023-11-15, the catalogue has 2023-11-14 to 2023-11-16 \(2 days\)"):
        catalogue.find("ESH4", [DAYS[1]])


def test_damaged__is_shown_with_its_repair(folder: Path) -> None:
    path = made(folder, 0)
    flip(path)
    assert describe(path, verify=False).state == "ok"  # the checksums of the columns weren't asked for
    entry = Catalogue(folder).entries(verify=True)[0]
    assert (entry.state, entry.symbol) == ("damaged", "ESH4")
    assert entry.repair == f"{path}: its bytes contradict their checksum: delete it and ingest again"
    path.write_bytes(path.read_bytes()[:-100])
    assert Catalogue(folder).entries()[0].state == "damaged"
    with pytest.raises(TapeError, match=r"isn't a whole tape .* delete it and ingest again"):
        Catalogue(folder).find("ESH4", [DAYS[0]])
    path.write_bytes(b"")
    assert describe(path).state == "damaged"


@pytest.mark.parametrize("version", ["COMPILER_VERSION", "FORMAT_VERSION"])
def test_stale__is_shown_as_such_and_not_found(folder: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    path = made(folder, 0)
    for module in (tapes, catalogues):
        monkeypatch.setattr(module, version, getattr(module, version) + 1)
    entry = describe(path)
    assert (entry.state, entry.symbol, entry.sources) == ("stale", "ESH4", ("ESH40-1.dbn",))
    assert "another version of bt_gym: delete it and ingest again" in entry.repair
    with pytest.raises(TapeError, match="made by another version"):
        Catalogue(folder).find("ESH4", [DAYS[0]])


def test_matching__by_symbol_day_and_file(folder: Path, tmp_path: Path) -> None:
    first, second, other = made(folder, 0), made(folder, 1), made(folder, 0, symbol="NQH4")
    catalogue = Catalogue(folder)
    assert catalogue.matching(["ESH4"]) == [first, second]
    assert catalogue.matching(["ESH4", "NQH4"], [str(DAYS[0])]) == [first, other]
    assert catalogue.matching([second.name, str(first), "ESH4"]) == [second, first]
    for names, days in ((["YMH4"], None), (["ESH4"], ["2020-01-01"]), (["none.tape.arrow"], None)):
        with pytest.raises(TapeError, match="data ls"):
            catalogue.matching(names, days)
    with pytest.raises(TapeError, match=r"'2020-13-01' isn't a day: write it as 2026-01-05"):
        catalogue.matching(["ESH4"], ["2020-13-01"])


def test_details__tell_phases_sources_and_counters(folder: Path) -> None:
    shown = details(made(folder, 0))
    assert shown["phases"] == {"continuous": 5}
    assert shown["phases_from"] == "inferred"
    assert shown["tick_size"] == TICK / 1e9
    assert shown["counters"]["volume"] == 6
    assert shown["first_event"] == f"{np.datetime64(START, 'ns')}Z"
    assert shown["source_files"][0]["name"] == "ESH40-1.dbn"
    assert shown["remarks"] == []


# --- what to be wary of


def said(folder: Path, *events: object) -> str:
    return "; ".join(remarks(Tape.open(made(folder, 0, records=stream(*events)))))  # type: ignore[arg-type]


def test_remarks__mid_session_start(folder: Path) -> None:
    assert "never known for sure" in said(folder, add(1, "B", 100, 5), add(2, "A", 101, 5))
    usable = said(folder, add(1, "B", 100, 5), clear(), add(1, "B", 100, 5))
    assert "usable from 2023-11-14T22:13:20.000001000Z on, after 1 events" in usable


def test_remarks__doubt_later_and_a_crossed_end(folder: Path) -> None:
    book = (clear(), add(1, "B", 100, 5), add(2, "A", 101, 5), [trade("B", 101, 1)])
    assert "in doubt during 2 later events" in said(folder, *book, add(3, "B", 99, 1, flags=4), add(4, "B", 99, 1))
    assert "ends with a crossed book" in said(folder, *book, add(3, "B", 102, 1))


def test_remarks__unusual_records_and_no_trading(folder: Path) -> None:
    assert said(folder, clear(flags=32)) == "no continuous trading: no order is ever filled"
    assert "1 duplicate_adds" in said(folder, clear(), add(1, "B", 100, 5), add(1, "B", 100, 5))
