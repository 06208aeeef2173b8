"""DBN files against the vendor's own client, and against damage."""

import datetime as dt
from collections import Counter
from types import SimpleNamespace

import databento
import databento_dbn
import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from bt_gym.data import dbn
from bt_gym.data.dbn import mbo_dtype, mbo_records, open_dbn, write_mbo
from bt_gym.data.symbology import NS_PER_DAY
from bt_gym.errors import (
    CorruptFileError,
    DataError,
    EmptyDataError,
    FormatError,
    SchemaError,
    SymbolError,
    TruncatedFileError,
)

DAY = dt.date(2024, 3, 14)
START = (DAY - dt.date(1970, 1, 1)).days * NS_PER_DAY


def session(count, seed=1, **columns):
    """Records with all fields filled at random, on one day."""
    rng = np.random.default_rng(seed)
    random = {
        name: rng.integers(0, 1 << 8 * min(mbo_dtype[name].itemsize, 3), count)
        for name in ("publisher_id", "ts_event", "order_id", "price", "size", "flags", "channel_id", "sequence")
    }
    random["price"] -= 1 << 23
    random |= {"action": rng.choice(list(b"ACMRTFN"), count), "side": rng.choice(list(b"BAN"), count)}
    random |= {"instrument_id": 7, "publisher_id": 1, "ts_recv": START + np.arange(count)}
    return mbo_records(count, **random | columns)


def header(schema="mbo", version=3, symbols=("ESH4",), ts_out=False, mapped=True):
    """Encoded metadata: symbols have the ids 7, 8, ... on the day."""
    interval = {"start_date": DAY, "end_date": DAY + dt.timedelta(days=1)}
    return databento_dbn.Metadata(
        dataset="GLBX.MDP3",
        start=START,
        stype_in=databento_dbn.SType("raw_symbol") if mapped else None,
        stype_out=databento_dbn.SType("instrument_id"),
        schema=schema and databento_dbn.Schema(schema),
        symbols=list(symbols),
        partial=[],
        not_found=[],
        mappings=[
            SimpleNamespace(raw_symbol=name, intervals=[SimpleNamespace(**interval, symbol=str(7 + number))])
            for number, name in enumerate(symbols)
            if mapped
        ],
        ts_out=ts_out,
        version=version,
    ).encode()


def other(rtype=23, words=10, fill=0):
    """A record of another schema (23: a message of the gateway)."""
    return bytes([words, rtype]) + bytes([fill]) * (4 * words - 2)


def saved(path, *parts):
    path.write_bytes(b"".join(part.tobytes() if isinstance(part, np.ndarray) else part for part in parts))
    return path


def records_of(path, **options):
    chunks = list(open_dbn(path).chunks(**options))
    assert all(chunk.dtype == mbo_dtype and len(chunk) for chunk in chunks)
    return np.concatenate(chunks)


# --- layout


def test_mbo_dtype__is_the_vendors_layout():
    vendor = np.dtype(databento_dbn.MBOMsg._dtypes)
    assert (mbo_dtype.itemsize, mbo_dtype.names) == (vendor.itemsize, vendor.names)
    assert [mbo_dtype.fields[name][1] for name in mbo_dtype.names] == [vendor.fields[name][1] for name in vendor.names]


def test_constants__are_the_vendors():
    for name in ("LAST", "TOB", "SNAPSHOT", "MBP", "BAD_TS_RECV", "MAYBE_BAD_BOOK"):
        assert getattr(dbn, f"FLAG_{name}") == getattr(databento_dbn, f"F_{name}")
    for name in ("ADD", "CANCEL", "MODIFY", "CLEAR", "TRADE", "FILL", "NONE"):
        assert chr(getattr(dbn, f"ACTION_{name}")) == getattr(databento_dbn.Action, name).value
    for name in ("BID", "ASK", "NONE"):
        assert chr(getattr(dbn, f"SIDE_{name}")) == getattr(databento_dbn.Side, name).value
    assert int(databento_dbn.RType.MBO) == dbn.RTYPE_MBO
    assert (dbn.UNDEF_PRICE, dbn.UNDEF_SIZE) == (databento_dbn.UNDEF_PRICE, databento_dbn.UNDEF_ORDER_SIZE)


# --- writing, and the vendor as second reader


@pytest.mark.parametrize("suffix", [".dbn", ".dbn.zst"])
@pytest.mark.parametrize("version", [1, 2, 3])
def test_write_mbo__is_read_back_by_us_and_by_the_vendor(tmp_path, monkeypatch, version, suffix):
    monkeypatch.setattr(dbn, "FRAME_RECORDS", 400)
    records = session(1000)
    path = tmp_path / f"day{suffix}"
    write_mbo(path, records, symbol="ESH4", instrument_id=7, version=version)
    store = databento.DBNStore.from_bytes(path.read_bytes())
    assert store.to_ndarray().tobytes() == records.tobytes()
    assert store.mappings == {"ESH4": [{"start_date": DAY, "end_date": DAY + dt.timedelta(days=1), "symbol": "7"}]}
    file = open_dbn(path)
    assert (file.version, file.dataset, file.schema, file.start) == (version, "GLBX.MDP3", "mbo", START)
    assert file.select().symbol == "ESH4"
    assert records_of(path, selection=file.select()).tobytes() == records.tobytes()


def test_write_mbo__puts_checksums_on_every_frame_and_the_same_bytes_every_time(tmp_path, monkeypatch):
    monkeypatch.setattr(dbn, "FRAME_RECORDS", 400)
    first, second = tmp_path / "a.dbn.zst", tmp_path / "b.dbn.zst"
    for path in (first, second):
        write_mbo(path, session(1000), symbol="ESH4", instrument_id=7)
    data = rest = first.read_bytes()
    assert data == second.read_bytes()
    sizes = []
    while rest:
        assert zstandard.get_frame_parameters(rest).has_checksum
        frame = zstandard.ZstdDecompressor().decompressobj()
        sizes.append(len(frame.decompress(rest)))
        rest = frame.unused_data
    assert sizes == [len(header()), 400 * 56, 400 * 56, 200 * 56]


def test_write_mbo__refuses_what_is_no_mbo_and_leaves_no_file(tmp_path):
    path = tmp_path / "day.dbn"
    for records in (np.zeros(3), mbo_records(4).reshape(2, 2), np.zeros(3, mbo_dtype)):
        with pytest.raises(ValueError, match="records must"):
            write_mbo(path, records, symbol="ESH4", instrument_id=7)
    with pytest.raises(ValueError, match="symbol"):
        write_mbo(path, mbo_records(1), symbol="A" * 100, instrument_id=7)
    assert not list(tmp_path.iterdir())


# --- reading


@pytest.mark.parametrize("max_records", [1, 2, 19, 333, 999, 1000, 5000])
@pytest.mark.parametrize("suffix", [".dbn", ".dbn.zst"])
def test_chunks__do_not_change_the_records(tmp_path, suffix, max_records):
    path = tmp_path / f"day{suffix}"
    write_mbo(path, session(1000), symbol="ESH4", instrument_id=7)
    chunks = list(open_dbn(path).chunks(max_records=max_records))
    assert max(map(len, chunks)) == min(max_records, 1000)
    assert np.concatenate(chunks).tobytes() == session(1000).tobytes()


def test_chunks__are_the_callers_to_keep(tmp_path):
    path = tmp_path / "day.dbn"
    write_mbo(path, session(100), symbol="ESH4", instrument_id=7)
    chunks = list(open_dbn(path).chunks(max_records=10))
    chunks[0]["price"] = 1
    assert np.concatenate(chunks[1:]).tobytes() == session(100)[10:].tobytes()


ITEMS = st.lists(st.sampled_from([0, 0, 0, 0, 18, 19, 22, 23, 24, 1, 10, 196]), max_size=60)


@given(ITEMS, st.booleans(), st.integers(1, 30), st.booleans(), st.randoms(use_true_random=False))
def test_chunks__skip_and_count_records_of_other_schemas(tmp_path_factory, items, ts_out, size, packed, random):
    mbo = session(items.count(0))
    body, expected, skipped = [header(schema=None, ts_out=ts_out)], iter(mbo), Counter()
    for rtype in items:
        if rtype:
            body.append(other(rtype, random.choice([4, 10, 130, 255]), fill=random.choice([0, 160, 255])))
            skipped[databento_dbn.RType.from_int(rtype).name.lower()] += 1
        else:
            record = bytearray(next(expected).tobytes()) + bytes(8 if ts_out else 0)
            record[0] = len(record) // 4
            body.append(bytes(record))
    path = tmp_path_factory.mktemp("mixed") / "live"
    saved(path, zstandard.compress(b"".join(body)) if packed else b"".join(body))
    file = open_dbn(path)
    if len(mbo):
        assert np.concatenate(list(file.chunks(max_records=size))).tobytes() == mbo.tobytes()
    else:
        with pytest.raises(EmptyDataError, match="no MBO record"):
            list(file.chunks(max_records=size))
    assert file.skipped == skipped


def test_chunks__drop_the_gateways_time(tmp_path):
    mbo = session(50)
    sent = np.zeros(50, np.dtype([("mbo", mbo_dtype), ("ts_out", "<u8")]))
    sent["mbo"], sent["ts_out"] = mbo, START
    sent["mbo"]["length"] = 16
    path = saved(tmp_path / "live.dbn", header(ts_out=True), sent)
    assert records_of(path).tobytes() == mbo.tobytes()
    decoder = databento_dbn.DBNDecoder()
    decoder.write(path.read_bytes())
    assert [message.order_id for message in decoder.decode()[1:]] == mbo["order_id"].tolist()


def test_chunks__count_skipped_records_anew_in_every_pass(tmp_path):
    file = open_dbn(saved(tmp_path / "live.dbn", header(), other(), session(3)))
    for _ in range(2):
        list(file.chunks())
        assert file.skipped == {"system": 1}


def test_chunks__close_the_file_when_left_early(tmp_path):
    path = tmp_path / "day.dbn"
    write_mbo(path, session(100), symbol="ESH4", instrument_id=7)
    chunks = open_dbn(path).chunks(max_records=10)
    next(chunks)
    chunks.close()  # an open file would be a ResourceWarning, which is an error here


# --- which instrument


def test_chunks__of_a_selection_are_those_of_its_id_and_day(tmp_path):
    records = session(300, instrument_id=np.tile([7, 8, 9], 100))
    records["ts_recv"][200:] += NS_PER_DAY
    file = open_dbn(saved(tmp_path / "day.dbn", header(symbols=["ESH4", "ESM4"]), records))
    expected = records[:200][records["instrument_id"][:200] == 8]
    assert np.concatenate(list(file.chunks(file.select("ESM4"), max_records=20))).tobytes() == expected.tobytes()


def test_select__must_be_told_which_of_several_symbols(tmp_path):
    file = open_dbn(saved(tmp_path / "day.dbn", header(symbols=["ESH4", "ESM4"]), session(3)))
    with pytest.raises(SymbolError, match="choose one of ESH4, ESM4"):
        file.select()
    with pytest.raises(SymbolError, match="did you mean ESH4"):
        file.select("ESH5")
    assert file.select("8").symbol == "ESM4"


def test_select__falls_back_to_the_ids_of_the_records(tmp_path):
    records = session(100, instrument_id=np.repeat([7, 12], 50))
    file = open_dbn(saved(tmp_path / "live.dbn", header(schema=None, mapped=False), records))
    with pytest.raises(SymbolError, match="choose one of 12, 7"):
        file.select()
    with pytest.raises(SymbolError, match="no symbol 'ESH4', it holds 12, 7"):
        file.select("ESH4")
    assert np.concatenate(list(file.chunks(file.select("12")))).tobytes() == records[50:].tobytes()
    single = open_dbn(saved(tmp_path / "one.dbn", header(mapped=False), records[:50]))
    assert single.select().instrument_ids == (7,)


def test_chunks__refuse_an_instrument_of_two_venues(tmp_path):
    records = session(10, publisher_id=np.repeat([2, 39], 5), instrument_id=np.repeat([7, 7, 8, 7, 8], 2))
    file = open_dbn(saved(tmp_path / "day.dbn", header(symbols=["A", "B"]), records))
    with pytest.raises(SymbolError, match=r"A comes from publishers \[2, 39\]"):
        list(file.chunks(file.select("A"), max_records=2))
    records["publisher_id"] = np.where(records["instrument_id"] == 7, 2, 39)  # a venue each
    file = open_dbn(saved(tmp_path / "day.dbn", header(symbols=["A", "B"]), records))
    assert sum(map(len, file.chunks(file.select("A")))) == 6


# --- refusals


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        ([], FormatError, r"isn't DBN \(it is empty\)"),
        ([b"ts_recv,ts_event\n1,2\n"], FormatError, r"isn't DBN \(starts with b'ts_recv,'\)"),
        ([zstandard.compress(b"hello, hello")], FormatError, r"isn't DBN \(starts with b'hello, h'\)"),
        ([b"P*M\x18\x90\0\0\0DBZ\x01GLBX", bytes(200)], FormatError, r"legacy DBZ: convert it with .* `dbn day\.mbo"),
        ([b"DBN\x04", bytes(400)], FormatError, "DBN version 4, 1 to 3 can be read"),
        ([b"DBN\x00", bytes(400)], FormatError, "DBN version 0"),
        ([b"DBN"], TruncatedFileError, "ends at byte 3 in its metadata"),
        ([header()[:7]], TruncatedFileError, "ends at byte 7 in its metadata"),
        ([header()[:300]], TruncatedFileError, "ends at byte 300 in its metadata"),
        ([b"DBN\x03", bytes(4)], CorruptFileError, "metadata can't be decoded"),
        ([b"DBN\x03\xff\xff\xff\xff", bytes(400)], CorruptFileError, "claims 4,294,967,295 bytes of metadata"),
        ([header()[:116], b"\xff" * 40, header()[156:]], CorruptFileError, "metadata can't be decoded"),
        ([header("mbp-10"), bytes(368)], SchemaError, "holds schema mbp-10, mbo is needed"),
        ([header("definition")], SchemaError, "holds schema definition, mbo is needed"),
        ([header()], EmptyDataError, "holds no MBO record: request"),
        ([header(schema=None), other(), other(18)], EmptyDataError, "no MBO record, only 1 status, 1 system"),
        ([header(), session(5), b"\x0e\xa0\x01"], TruncatedFileError, r"inside record 5 \(byte 640, 3 bytes of it\)"),
        ([header(), session(5), b"abc"], CorruptFileError, r"record 5 \(byte 640\) has length 97 and rtype 98"),
        ([header(), other(), session(5)[:4], session(5)[4:].tobytes()[:-1]], TruncatedFileError, "inside record 5 "),
        ([header(), session(2), b"\0\xa0" + bytes(54)], CorruptFileError, r"record 2 \(byte 472\) has length 0"),
        ([header(), session(2), other(23, 3)], CorruptFileError, "record 2 .* has length 3"),
        ([header(), session(2), other(77)], CorruptFileError, "rtype 77"),
        ([header(), session(2, length=13)], CorruptFileError, "record 0 .* has length 13"),
        ([header(ts_out=True), session(2)], CorruptFileError, "has length 14 and rtype 160, an MBO record has 16"),
    ],
)
def test_read__names_what_is_wrong_in_one_line(tmp_path, parts, error, message):
    path = saved(tmp_path / "day.mbo.dbn", *parts)
    with pytest.raises(error, match=message) as caught:
        records_of(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_read__names_a_missing_file(tmp_path):
    with pytest.raises(DataError, match=r"absent\.dbn: No such file"):
        open_dbn(tmp_path / "absent.dbn")


def test_chunks__say_when_the_selected_instrument_has_no_record(tmp_path):
    file = open_dbn(saved(tmp_path / "day.dbn", header(symbols=["A", "B"]), session(3)))
    with pytest.raises(EmptyDataError, match=r"no MBO record of B \(id 8 from 2024-03-14 until 2024-03-15\)"):
        list(file.chunks(file.select("B")))


def test_open_dbn__takes_any_schema_when_asked(tmp_path):
    assert open_dbn(saved(tmp_path / "day.dbn", header("mbp-10")), schema=None).schema == "mbp-10"


# --- damage

SMALL = session(40)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The bytes of a small file of several frames, compressed, plain, and where frames end."""
    folder = tmp_path_factory.mktemp("damage")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dbn, "FRAME_RECORDS", 15)
        write_mbo(folder / "a.dbn.zst", SMALL, symbol="ESH4", instrument_id=7)
    write_mbo(folder / "a.dbn", SMALL, symbol="ESH4", instrument_id=7)
    packed = rest = (folder / "a.dbn.zst").read_bytes()
    ends = []
    while rest:
        frame = zstandard.ZstdDecompressor().decompressobj()
        frame.decompress(rest)
        rest = frame.unused_data
        ends.append(len(packed) - len(rest))
    return SimpleNamespace(path=folder / "damaged", packed=packed, plain=(folder / "a.dbn").read_bytes(), ends=ends)


def test_cut__inside_a_frame_is_always_noticed(written):
    assert len(written.ends) == 4
    for cut in range(len(written.packed)):
        saved(written.path, written.packed[:cut])
        if cut in written.ends[1:]:  # a file that could have been written so
            count = 15 * written.ends.index(cut)
            assert records_of(written.path).tobytes() == SMALL[:count].tobytes()
        else:
            with pytest.raises((TruncatedFileError, FormatError, EmptyDataError)):
                records_of(written.path)


def test_cut__of_a_plain_file_is_noticed_inside_a_record(written):
    for cut in range(0, len(written.plain), 5):  # 5 is prime to 56: every offset in a record
        saved(written.path, written.plain[:cut])
        count, loose = divmod(cut - len(header()), 56)
        if count > 0 and not loose:
            assert records_of(written.path).tobytes() == SMALL[:count].tobytes()
        else:
            with pytest.raises((TruncatedFileError, FormatError, EmptyDataError)):
                records_of(written.path)


# --- real files


REAL = {
    "ESH4_2023-12-24_snapshot.mbo.dbn.zst": ("ESH4", 8_725, 1),
    "ESH4_2023-12-25.mbo.dbn.zst": ("ESH4", 68_792, 1),
    "ESM4_2024-05-08_2s.mbo.dbn.zst": ("ESM4", 13_796, 1),
    "databento_samples/GLBX.MDP3.mbo.dbn.zst": ("ESH1", 4, 3),
    "databento_samples/IFEU.IMPACT.mbo.dbn.zst": ("BRN FMJ0024!", 4, 3),
    "databento_samples/NDEX.IMPACT.mbo.dbn.zst": ("TFM FMH0024!", 4, 3),
    "databento_samples/XNAS.ITCH.mbo.dbn.zst": ("NVDA", 4, 3),
    "databento_samples/mbo.v1.dbn.zst": ("ESH1", 2, 1),
    "databento_samples/mbo.v2.dbn.zst": ("ESH1", 2, 2),
    "databento_samples/mbo.v3.dbn.zst": ("ESH1", 2, 3),
}


@pytest.mark.real_data
@pytest.mark.parametrize("name", REAL)
def test_chunks__of_real_files_equal_the_vendors_reading(real_data, name):
    path = real_data(name)
    symbol, count, version = REAL[name]
    file = open_dbn(path)
    selection = file.select()
    assert (selection.symbol, file.version) == (symbol, version)
    read = records_of(path, selection=selection, max_records=5000)
    assert len(read) == count
    assert read.tobytes() == databento.DBNStore.from_bytes(path.read_bytes()).to_ndarray().tobytes()


@pytest.mark.real_data
@pytest.mark.parametrize("schema", ["mbp-1", "mbp-10", "definition", "ohlcv-1m", "status", "trades"])
def test_open_dbn__refuses_real_files_of_another_schema(real_data, schema):
    venue = "XNAS.ITCH" if schema == "mbp-1" else "GLBX.MDP3"
    with pytest.raises(SchemaError, match=f"holds schema {schema}, mbo is needed"):
        open_dbn(real_data(f"databento_samples/{venue}.{schema}.dbn.zst"))


@pytest.mark.real_data
def test_open_dbn__refuses_a_real_legacy_file(real_data):
    with pytest.raises(FormatError, match="legacy DBZ: convert it"):
        open_dbn(real_data("databento_samples/legacy.mbo.dbz"))


@pytest.mark.real_data
@pytest.mark.parametrize("share", [0.3, 0.5, 0.99])
def test_chunks__notice_the_cut_of_a_real_file(real_data, tmp_path, share):
    data = real_data("ESH4_2023-12-25.mbo.dbn.zst").read_bytes()
    with pytest.raises(TruncatedFileError, match="inside zstd frame 1"):
        records_of(saved(tmp_path / "cut.dbn.zst", data[: int(len(data) * share)]))
