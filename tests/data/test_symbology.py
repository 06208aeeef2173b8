"""Symbols, ids and days."""

import datetime as dt
from pathlib import Path
from types import SimpleNamespace

import databento_dbn
import numpy as np
import pytest
from databento.common.symbology import InstrumentMap
from hypothesis import given
from hypothesis import strategies as st

from bt_gym.data.dbn import mbo_records
from bt_gym.data.symbology import (
    NS_PER_DAY,
    Interval,
    Selection,
    Splitter,
    bounds_of,
    read_mappings,
    select,
    survey,
    unmapped,
)
from bt_gym.errors import CorruptFileError, SymbolError

PATH = Path("day.mbo.dbn.zst")
DAY = dt.date(2024, 3, 14)
DAYS = [DAY + dt.timedelta(days=count) for count in range(8)]
START = (DAY - dt.date(1970, 1, 1)).days * NS_PER_DAY


def metadata(mappings, stype_in="raw_symbol", stype_out="instrument_id"):
    """Metadata that maps {key: [(start, end, value), ...]}, encoded and decoded by the vendor's library."""
    encoded = databento_dbn.Metadata(
        dataset="GLBX.MDP3",
        start=START,
        stype_in=stype_in and databento_dbn.SType(stype_in),
        stype_out=databento_dbn.SType(stype_out),
        schema=databento_dbn.Schema("mbo"),
        symbols=list(mappings),
        partial=[],
        not_found=[],
        mappings=[
            SimpleNamespace(
                raw_symbol=key,
                intervals=[SimpleNamespace(start_date=a, end_date=b, symbol=value) for a, b, value in spans],
            )
            for key, spans in mappings.items()
        ],
    ).encode()
    return databento_dbn.Metadata.decode(encoded)


ROLL = {"ES.c.0": [(DAYS[0], DAYS[2], "11"), (DAYS[2], DAYS[4], "22")]}


@pytest.mark.parametrize(
    ("mappings", "stype_in", "stype_out", "expected"),
    [
        ({"ESH4": [(DAYS[0], DAYS[1], "7")]}, "raw_symbol", "instrument_id", {"ESH4": [(DAYS[0], DAYS[1], 7)]}),
        (ROLL, "continuous", "instrument_id", {"ES.c.0": [(DAYS[0], DAYS[2], 11), (DAYS[2], DAYS[4], 22)]}),
        ({"ESM4": [(DAYS[0], DAYS[1], "8")]}, "parent", "instrument_id", {"ESM4": [(DAYS[0], DAYS[1], 8)]}),
        ({"7": [(DAYS[0], DAYS[1], "ESH4")]}, "instrument_id", "raw_symbol", {"ESH4": [(DAYS[0], DAYS[1], 7)]}),
        ({"7": [(DAYS[0], DAYS[1], "7")]}, "instrument_id", "instrument_id", {"7": [(DAYS[0], DAYS[1], 7)]}),
        ({"ESH4": [(DAYS[0], DAYS[1], "")]}, "raw_symbol", "instrument_id", {}),
        ({"ES.c.0": [(DAYS[0], DAYS[1], "ESH4")]}, "continuous", "raw_symbol", {}),
        ({}, None, "instrument_id", {}),
    ],
    ids=["raw", "continuous", "parent", "from_id", "id_to_id", "not_listed", "no_ids", "live"],
)
def test_read_mappings__follows_the_symbol_types(mappings, stype_in, stype_out, expected):
    symbols = read_mappings(PATH, metadata(mappings, stype_in, stype_out))
    assert symbols == {name: tuple(Interval(*span) for span in spans) for name, spans in expected.items()}


def test_read_mappings__refuses_what_is_no_id():
    with pytest.raises(CorruptFileError, match="maps ESH4 to 'seven'"):
        read_mappings(PATH, metadata({"ESH4": [(DAYS[0], DAYS[1], "seven")]}))


@pytest.mark.parametrize(("times", "first_known"), [([-1, -1, 7, 5], 7), ([-1, -1], -1), ([3], 3), ([-1], -1)])
def test_bounds__of_records_some_without_a_time(times: list[int], first_known: int) -> None:
    bounds = bounds_of(mbo_records(len(times), ts_recv=times))
    assert (bounds.first, bounds.last, bounds.first_known) == (min(times), max(times), first_known)


@pytest.mark.parametrize("field", ["length", "rtype"])
def test_survey__notices_one_other_record(field: str) -> None:
    records = mbo_records(3)
    assert survey(records, 14, 160) == (True, bounds_of(records))
    records[field][1] += 1
    assert not survey(records, 14, 160)[0]


@given(
    st.lists(st.tuples(st.sampled_from("ABC"), st.integers(0, 5), st.integers(1, 3), st.integers(1, 3)), max_size=6),
    st.lists(st.tuples(st.integers(1, 4), st.integers(0, 8 * 24 - 1)), max_size=30),
)
def test_mask__takes_what_the_vendor_maps_to_the_symbol(spans, stamps):
    mappings: dict = {}
    taken: set = set()
    for name, first, length, number in spans:
        days = {(number, first + day) for day in range(length)}
        if not days & taken:  # an id has one meaning a day
            taken |= days
            end = DAYS[0] + dt.timedelta(days=first + length)
            mappings.setdefault(name, []).append((DAYS[first], end, str(number)))
    described = metadata(mappings)
    vendor = InstrumentMap()
    vendor.insert_metadata(described)
    ids, hours = [number for number, _ in stamps], [hour for _, hour in stamps]
    ts_recv = START + np.array(hours, np.int64) * (NS_PER_DAY // 24)
    records = mbo_records(len(stamps), instrument_id=ids, ts_recv=ts_recv)
    for name, intervals in read_mappings(PATH, described).items():
        expected = [vendor.resolve(number, DAYS[hour // 24]) == name for number, hour in stamps]
        assert Selection(name, intervals).mask(records).tolist() == expected


def test_mask__includes_the_first_nanosecond_of_a_day_and_not_that_of_the_end():
    selection = Selection("ESH4", (Interval(DAYS[0], DAYS[1], 7),))
    edges = [START - 1, START, START + NS_PER_DAY - 1, START + NS_PER_DAY]
    assert selection.mask(mbo_records(4, instrument_id=7, ts_recv=edges)).tolist() == [False, True, True, False]


def test_unmapped__is_every_id_on_all_days():
    symbols = unmapped([7, 8])
    records = mbo_records(3, instrument_id=[7, 8, 7], ts_recv=[-1, 0, 2**63 - 2])
    assert select(PATH, symbols, "7").mask(records).tolist() == [True, False, True]


SYMBOLS = {
    "ESH4": (Interval(DAYS[0], DAYS[2], 11),),
    "ESM4": (Interval(DAYS[0], DAYS[2], 22), Interval(DAYS[2], DAYS[4], 33)),
    "NQM4": (Interval(DAYS[2], DAYS[4], 22),),
}


def test_select__takes_the_only_symbol_when_none_is_named():
    assert select(PATH, {"ESH4": SYMBOLS["ESH4"]}, None) == Selection("ESH4", SYMBOLS["ESH4"])


def test_select__takes_a_symbol_or_an_id():
    assert select(PATH, SYMBOLS, "ESM4").instrument_ids == (22, 33)
    assert select(PATH, SYMBOLS, "11") == Selection("ESH4", SYMBOLS["ESH4"])
    assert select(PATH, SYMBOLS, "33") == Selection("ESM4", SYMBOLS["ESM4"][1:])


@pytest.mark.parametrize(
    ("symbol", "message"),
    [
        (None, r"day\.mbo\.dbn\.zst: holds 3 symbols, choose one of ESH4, ESM4, NQM4"),
        ("ESH", r"no symbol 'ESH' \(did you mean ESH4\?\), it holds ESH4, ESM4, NQM4"),
        ("ZZZ", r"no symbol 'ZZZ', it holds ESH4, ESM4, NQM4"),
        ("22", r"id 22 stands for ESM4, NQM4 on different days: name the symbol"),
        ("44", r"no symbol '44'"),
        ("9" * 5000, r"no symbol"),
    ],
)
def test_select__says_what_there_is_to_choose_from(symbol, message):
    with pytest.raises(SymbolError, match=message) as caught:
        select(PATH, SYMBOLS, symbol)
    assert "\n" not in str(caught.value)


def test_select__lists_a_few_of_many_symbols():
    with pytest.raises(SymbolError, match="and 990 more"):
        select(PATH, unmapped(range(1000)), None)


@given(
    st.lists(
        st.lists(st.tuples(st.integers(1, 7), st.integers(0, 6), st.integers(1, 3)), min_size=1, max_size=3),
        min_size=1,
        max_size=5,
    ),
    st.lists(st.tuples(st.integers(1, 7), st.integers(0, 8 * 24 - 1)), max_size=40),
)
def test_split__deals_out_what_each_selection_takes(spans, stamps):
    """Whether compared or sorted, with the parts of an instrument in the order of time and of one id each."""
    taken: set = set()
    selections = []
    for name, parts in enumerate(spans):
        intervals = []
        for number, first, length in parts:
            days = {(number, day) for day in range(first, first + length)}
            if not days & taken:
                taken |= days
                intervals.append(
                    Interval(DAYS[0] + dt.timedelta(first), DAYS[0] + dt.timedelta(first + length), number)
                )
        selections.append(Selection(str(name), tuple(intervals)))
    stamps = sorted(stamps, key=lambda stamp: stamp[1])
    hours = np.array([hour for _, hour in stamps], np.int64)
    records = mbo_records(
        len(stamps),
        instrument_id=[number for number, _ in stamps],
        ts_recv=START + hours * (NS_PER_DAY // 24),
        order_id=np.arange(len(stamps)),
    )
    found: dict[int, list] = {}
    for number, part, bounds in Splitter(selections).split(records, bounds_of(records)):
        assert len(part)
        assert bounds == bounds_of(part)
        assert (bounds.first, bounds.last) == (part["ts_recv"].min(), part["ts_recv"].max())
        assert len(np.unique(part["instrument_id"])) == 1
        found.setdefault(number, []).append(part)
    for number, selection in enumerate(selections):
        expected = records[selection.mask(records)]
        assert sorted(np.concatenate(found.get(number, [records[:0]]))["order_id"]) == expected["order_id"].tolist()
        starts = [part["ts_recv"][0] for part in found.get(number, [])]
        assert starts == sorted(starts)
