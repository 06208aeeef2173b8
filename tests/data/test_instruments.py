"""Instrument facts: exact values, definition records, and the order of places that they come from."""

import datetime as dt
import json
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace

import databento_dbn
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bt_gym.config import InstrumentConfig
from bt_gym.data.instruments import Instrument
from bt_gym.errors import CorruptFileError, DataError, EmptyDataError, InstrumentError, TickError, TruncatedFileError

UNDEFINED = databento_dbn.UNDEF_PRICE
DAY = dt.date(2024, 5, 8)
NOON = ((DAY - dt.date(1970, 1, 1)).days * 24 + 12) * 3600 * 10**9


ES = {"increment": 250_000_000, "amount": 125_000_000, "factor": 10_000_000}  # E-mini S&P 500: 0.25, 0.125, 0.01


def definition(symbol="ESM4", number=5602, increment=UNDEFINED, amount=UNDEFINED, factor=UNDEFINED, ts_recv=NOON):
    """A definition record as the vendor encodes it."""
    return bytes(
        databento_dbn.InstrumentDefMsg(
            publisher_id=1,
            instrument_id=number,
            ts_event=0,
            ts_recv=ts_recv,
            min_price_increment=increment,
            display_factor=factor,
            min_price_increment_amount=amount,
            raw_symbol=symbol,
            asset="ES",
            security_type="FUT",
            currency="USD",
            instrument_class=databento_dbn.InstrumentClass.FUTURE,
            security_update_action=databento_dbn.SecurityUpdateAction.ADD,
        )
    )


def header(symbol="ESM4", number=5602, stype_in="raw_symbol"):
    interval = SimpleNamespace(start_date=DAY, end_date=DAY + dt.timedelta(days=1), symbol=str(number))
    return databento_dbn.Metadata(
        dataset="GLBX.MDP3",
        start=0,
        stype_in=databento_dbn.SType(stype_in),
        stype_out=databento_dbn.SType("instrument_id"),
        schema=databento_dbn.Schema("definition"),
        symbols=[symbol],
        partial=[],
        not_found=[],
        mappings=[SimpleNamespace(raw_symbol=symbol, intervals=[interval])],
    ).encode()


@pytest.fixture
def saved(tmp_path):
    def save(*parts):
        path = tmp_path / "es.definition.dbn"
        path.write_bytes(b"".join(parts))
        return path

    return save


def facts(instrument):
    return instrument.tick_size_nanos, instrument.tick_value_micros


# --- exact values


@pytest.mark.parametrize(
    ("tick_size", "multiplier", "expected"),
    [
        ("0.25", 50, (250_000_000, 12_500_000)),  # E-mini S&P 500
        (0.25, 50.0, (250_000_000, 12_500_000)),
        (Decimal("0.01"), Decimal("1000"), (10_000_000, 10_000_000)),  # WTI crude oil
        ("0.0078125", "1000", (7_812_500, 7_812_500)),  # 2-year note: a 128th of a point
        (0.1, 0.001, (100_000_000, 100)),
        ("0.0000005", "12500000", (500, 6_250_000)),  # Japanese yen
        (5, 5, (5_000_000_000, 25_000_000)),  # Nikkei
    ],
)
def test_from_values__is_exact(tick_size, multiplier, expected):
    assert facts(Instrument.from_values("X", tick_size, multiplier)) == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tick_size": 0}, "tick_size and multiplier must be above 0, got 0 and 50"),
        ({"multiplier": -50}, "must be above 0"),
        ({"tick_size": 1 / 3}, "tick_size = 0.333.* isn't exact in 1/1000000000"),
        ({"tick_size": "0.0000005", "multiplier": "0.5"}, "tick_size x multiplier = 2.5e-07 isn't exact in 1/1000000"),
        ({"maker_fee": "0.0000001"}, "maker_fee = 1e-07 isn't exact"),
        ({"tick_size": True}, "tick_size must be a number, got True"),
        ({"tick_size": "a quarter"}, "tick_size must be a number, got 'a quarter'"),
        ({"multiplier": float("nan")}, "multiplier must be a number, got nan"),
        ({"taker_fee": "inf"}, "taker_fee must be a number"),
        ({"multiplier": "1e999999999"}, "multiplier must be a number"),
        ({"tick_size": "1e-999999999"}, "tick_size must be a number"),
        ({"multiplier": "1e20"}, "tick_value_micros must be an integer from -4611686018427387904 below"),
    ],
)
def test_from_values__refuses_what_is_not_exact(values, message):
    with pytest.raises(InstrumentError, match=f"^ESH4: .*{message}"):
        Instrument.from_values("ESH4", **{"tick_size": "0.25", "multiplier": 50} | values)


def test_require_fees__refuses_unknown_ones_and_takes_zero():
    with pytest.raises(InstrumentError, match=r"ESH4: fees unknown: set fee_per_contract \(0 for none\)"):
        Instrument.from_values("ESH4", "0.25", 50).require_fees()
    with pytest.raises(InstrumentError, match="fees unknown"):
        Instrument.from_values("ESH4", "0.25", 50, taker_fee=1).require_fees()
    assert Instrument.from_values("ESH4", "0.25", 50, maker_fee=0, taker_fee=0).require_fees() == (0, 0)
    rebate = Instrument.from_values("ESH4", "0.25", 50, maker_fee="-0.25", taker_fee=2.05)
    assert rebate.require_fees() == (-250_000, 2_050_000)


@given(st.integers(-(2**40), 2**40), st.integers(1, 10**12))
def test_price__and_ticks_are_inverse(ticks, tick_size_nanos):
    instrument = Instrument("X", tick_size_nanos, 1)
    price = instrument.price(ticks)
    assert Fraction(price) == Fraction(ticks * tick_size_nanos, 10**9)
    assert instrument.ticks(price) == ticks


def test_price__has_the_digits_of_the_tick():
    assert [str(Instrument.from_values("X", tick, 1000).price(3)) for tick in ("0.25", 5, "0.0078125", "0.5")] == [
        "0.75",
        "15.00",
        "0.0234375",
        "1.50",
    ]


def test_ticks__refuses_a_price_off_the_grid():
    with pytest.raises(TickError, match=r"ESH4: price 4799\.10 is not on the 0\.25 tick"):
        Instrument.from_values("ESH4", "0.25", 50).ticks("4799.10")


def test_to_dict__survives_json():
    instrument = Instrument.from_values("ESH4", "0.25", 50, maker_fee="2.05", taker_fee="2.05", source="test")
    assert Instrument.from_dict(json.loads(json.dumps(instrument.to_dict()))) == instrument


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tick": 1}, "must have the keys"),
        ({"tick_size_nanos": 0}, "tick_size_nanos must be an integer from 1"),
        ({"tick_value_micros": 12.5}, "tick_value_micros must be an integer"),
        ({"tick_value_micros": None}, "tick_value_micros must be an integer"),
        ({"maker_fee_micros": "2"}, "maker_fee_micros must be an integer"),
    ],
)
def test_from_dict__refuses_what_to_dict_does_not_write(change, message):
    with pytest.raises(InstrumentError, match=message):
        Instrument.from_dict(Instrument.from_values("ESH4", "0.25", 50).to_dict() | change)


# --- definition records


def test_from_definition__follows_the_vendors_contract_value(saved):
    path = saved(header(), definition("NQM4", 7, 250_000_000, 5), definition(**ES))
    instrument = Instrument.from_definition(path, "ESM4")
    # the vendor's formula with unit_of_measure_qty 50: scale = (0.125 / 0.01) / (0.25 * 50) = 1; 0.25 * 50 * 1 = 12.50
    assert facts(instrument) == (250_000_000, 12_500_000)
    assert (instrument.currency, instrument.maker_fee_micros) == ("USD", None)
    assert instrument.source == "es.definition.dbn: currency, tick_size, multiplier"


def test_from_definition__scales_products_quoted_in_cents(saved):
    # corn: 0.25 cents a bushel, 5,000 bushels, 12.50 dollars a tick: scale 0.01
    path = saved(header("ZCN4"), definition("ZCN4", increment=250_000_000, amount=12_500_000_000, factor=1_000_000_000))
    assert facts(Instrument.from_definition(path, "ZCN4")) == (250_000_000, 12_500_000)


def test_from_definition__finds_an_id_and_a_continuous_symbol(saved):
    reused = definition("ZCN4", increment=5, ts_recv=NOON + 24 * 3600 * 10**9)  # the same id a day later
    path = saved(header("ES.c.0", stype_in="continuous"), definition("NQM4", 7), definition(**ES), reused)
    assert facts(Instrument.from_definition(path, "ES.c.0")) == (250_000_000, 12_500_000)
    path = saved(header("ES.c.0", stype_in="continuous"), definition("NQM4", 7), definition(**ES))
    assert facts(Instrument.from_definition(path, "5602")) == facts(Instrument.from_definition(path, "ES.c.0"))


def test_from_definition__takes_repeated_records_that_agree(saved):
    path = saved(header(), definition(**ES), definition(**ES))
    assert facts(Instrument.from_definition(path, "ESM4")) == (250_000_000, 12_500_000)


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        ([definition(increment=50_000_000)], InstrumentError, r"multiplier unknown \(undefined for ESM4 in es\.def.*"),
        ([definition(increment=50_000_000, amount=5)], InstrumentError, "multiplier unknown"),
        ([definition(increment=50_000_000, amount=5, factor=0)], InstrumentError, "multiplier unknown"),
        ([definition(amount=5, factor=5)], InstrumentError, "tick_size and multiplier unknown"),
        ([definition("ESH4", 7), definition("NQH4", 8)], InstrumentError, "doesn't define ESM4, it has ESH4, NQH4"),
        (
            [definition(**ES), definition(**ES | {"increment": 10**8})],
            InstrumentError,
            r"definitions of ESM4 contradict each other \(tick_size 1/4 and 1/10, multiplier 50 and 125\)",
        ),
        ([], EmptyDataError, "holds no definition"),
        ([definition(**ES)[:-100]], TruncatedFileError, "inside the record after 0 others"),
        ([definition(**ES), bytes(100)], CorruptFileError, "fetch the file again"),
    ],
)
def test_from_definition__names_what_is_missing(saved, parts, error, message):
    with pytest.raises(error, match=message) as caught:
        Instrument.from_definition(saved(header(), *parts), "ESM4")
    assert "\n" not in str(caught.value)


def test_from_definition__needs_the_definition_schema(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        Instrument.from_definition(tmp_path / "absent.dbn", "ESM4")


# --- where facts come from


def test_resolve__prefers_flags_to_configuration_to_definition_fact_by_fact(saved):
    path = saved(header(), definition(**ES))
    config = InstrumentConfig(multiplier=20, currency="EUR", maker_fee=Decimal("-0.1"), taker_fee=Decimal("0.7"))
    flags = InstrumentConfig(fee_per_contract=Decimal("2.05"))
    instrument = Instrument.resolve("ESM4", definition=path, config=config, flags=flags)
    assert facts(instrument) == (250_000_000, 5_000_000)
    assert (instrument.currency, instrument.require_fees()) == ("EUR", (2_050_000, 2_050_000))
    assert instrument.source == (
        "configuration: currency, multiplier; es.definition.dbn: tick_size; command line: maker_fee, taker_fee"
    )


def test_resolve__completes_a_definition_without_a_value(saved):
    path = saved(header(), definition(increment=50_000_000))
    instrument = Instrument.resolve("ESM4", definition=path, config=InstrumentConfig(multiplier=50))
    assert facts(instrument) == (50_000_000, 2_500_000)


def test_resolve__needs_no_definition(saved):
    config = InstrumentConfig(tick_size=Decimal("0.25"), multiplier=50)
    assert facts(Instrument.resolve("ESH4", config=config)) == (250_000_000, 12_500_000)
    other = saved(header(), definition(**ES))
    assert facts(Instrument.resolve("ESH4", definition=other, config=config)) == (250_000_000, 12_500_000)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (None, r"^ESH4: tick_size and multiplier unknown: .* `instruments: ESH4:` .* use --tick-size --multiplier$"),
        (InstrumentConfig(multiplier=50), "^ESH4: tick_size unknown: give a definition file .* use --tick-size$"),
        (InstrumentConfig(tick_size=1), "^ESH4: multiplier unknown: .* use --multiplier$"),
    ],
)
def test_resolve__names_the_missing_fact_and_three_ways_to_give_it(flags, message):
    with pytest.raises(InstrumentError, match=message):
        Instrument.resolve("ESH4", flags=flags)


# --- real files


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "symbol"),
    [
        ("ESM4_2024-05-08.definition.dbn.zst", "ESM4"),
        ("ES_futures.definition.dbn.zst", "ESM3"),
        ("databento_samples/GLBX.MDP3.definition.dbn.zst", "ESH1"),
    ],
)
def test_from_definition__of_real_es_futures(real_data, name, symbol):
    assert facts(Instrument.from_definition(real_data(name), symbol)) == (250_000_000, 12_500_000)


@pytest.mark.real_data
def test_from_definition__of_a_real_spread_asks_for_the_multiplier(real_data):
    path = real_data("ES_spreads.definition.dbn.zst")
    with pytest.raises(InstrumentError, match=r"ESH5-ESM5: multiplier unknown .*use --multiplier"):
        Instrument.from_definition(path, "ESH5-ESM5")
    spread = Instrument.resolve("ESH5-ESM5", definition=path, flags=InstrumentConfig(multiplier=50))
    assert facts(spread) == (50_000_000, 2_500_000)
    with pytest.raises(InstrumentError, match=r"doesn't define ESH4, it has ESH5-ESM5, ESM4-ESU4"):
        Instrument.from_definition(path, "ESH4")
