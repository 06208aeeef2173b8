"""Marks of a position: worked books, one-sided and crossed ones, and inverse instruments."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bt_gym._jit import njit
from bt_gym.core import enums
from bt_gym.core.enums import BUY, SELL
from bt_gym.core.market import count_received, move, new_market
from bt_gym.core.marks import value_of
from bt_gym.core.positions import apply_fill, equity, position_dtype, unrealised
from tests.reference.scenario import Scenario

MID, LAST, LIQUIDATION = enums.MARK_MID, enums.MARK_LAST, enums.MARK_LIQUIDATION
MICROPRICE = enums.MARK_MICROPRICE
ALL = (MID, LAST, LIQUIDATION, MICROPRICE)


@njit
def _value(markets, size, tick_value, mark):
    return value_of(markets[0], size, tick_value, mark)


def values(market: np.ndarray, size: int, tick_value: int = 1_000_000) -> list[int]:
    return [int(_value(market, size, tick_value, mark)) for mark in ALL]


def received(scenario: Scenario, step: int = 1 << 30) -> np.ndarray:
    tape, market = scenario.tape(), new_market()
    for end in [*range(step, len(tape.events), step), len(tape.events)]:
        move(market[0], tape.records, tape.events, tape.blocks, end)
    assert count_received(tape.events, 0, 1 << 62, 0) == len(tape.events)
    return market


def a_market() -> tuple[Scenario, list[int]]:
    """100 x 15 / 101 x 5, last trade at 101: the microprice is (100 * 5 + 101 * 15) / 20 = 100.75."""
    market = Scenario()
    ids = market.snapshot(("B", 100, 15), ("A", 101, 6))
    market.event(market.record("N"))
    market.trade("B", 101, {ids[1]: 1})
    return market, ids


def test_marks__of_a_long_and_a_short_position():
    market = received(a_market()[0])
    assert values(market, 2) == [201_000_000, 202_000_000, 200_000_000, 201_500_000]
    assert values(market, -2) == [-201_000_000, -202_000_000, -202_000_000, -201_500_000]
    assert values(market, 0) == [0, 0, 0, 0]


@pytest.mark.parametrize("step", [1, 1 << 30])
def test_marks__stay_the_last_valid_ones_while_the_book_is_one_sided(step):
    scenario, ids = a_market()
    scenario.cancel(ids[1])
    scenario.add("B", 100, 50)
    market = received(scenario, step)
    assert market["mark_is_stale"]
    assert values(market, 2) == [201_000_000, 202_000_000, 200_000_000, 201_500_000]


def test_marks__are_nothing_before_the_first_valid_book():
    scenario = Scenario()
    scenario.snapshot(("B", 100, 15))
    assert values(received(scenario), 2) == [0, 0, 0, 0]


# --- inverse instruments: a lot is V / price of the account's currency; here V = 50_000_000 x 1e-6 x ticks

VALUE = 50_000_000


def book(fills, tick_value=-VALUE):
    position = np.zeros(1, position_dtype)
    for side, size, price in fills:
        apply_fill(position[0], side, size, price, tick_value, 0)
    return position[0]


def test_inverse__round_trip_earns_the_difference_of_the_reciprocals():
    """2 lots of 50 bought at 100, sold at 125: 2 * 50 * (1/100 - 1/125) = 0.2 of the currency."""
    position = book([(BUY, 2, 100), (SELL, 2, 125)])
    assert (position["size"], position["realised"], position["cost"]) == (0, 200_000, 0)
    assert equity(position, 2 * 999, -VALUE) == 200_000


def test_inverse__marks_at_the_reciprocal():
    position = book([(BUY, 2, 100)])
    assert unrealised(position, 2 * 125, -VALUE) == 200_000
    assert unrealised(book([(SELL, 2, 100)]), 2 * 125, -VALUE) == -200_000


@given(
    st.lists(st.tuples(st.sampled_from([BUY, SELL]), st.integers(1, 50), st.integers(1, 30_000)), max_size=20),
    st.integers(2, 60_000),
)
def test_inverse__identity_is_exact_and_fractions_agree_within_roundings(fills, mark2):
    position = book(fills)
    assert int(position["realised"]) + int(unrealised(position, mark2, -VALUE)) == int(equity(position, mark2, -VALUE))
    exact = sum(Fraction(VALUE * size * (1 - 2 * side), price) for side, size, price in fills)
    exact -= Fraction(2 * VALUE * int(position["size"]), mark2)
    assert abs(int(equity(position, mark2, -VALUE)) - exact) <= Fraction(len(fills) + 1, 2)
    assert position["size"] or not position["cost"]
