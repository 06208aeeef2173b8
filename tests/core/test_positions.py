"""The average-cost kernel: worked examples, exact fractions, invariants."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bt_gym.core.enums import BUY, SELL
from bt_gym.core.positions import apply_fill, divide_half_even, equity, position_dtype, unrealised
from tests.reference.accounting import AverageCost

MICROS = 1_000_000

FILLS = st.lists(
    st.tuples(st.sampled_from([BUY, SELL]), st.integers(1, 50), st.integers(-30_000, 30_000), st.integers(-500, 5000)),
    max_size=30,
)
TICK_VALUES = st.integers(1, 50 * MICROS)
MARKS = st.integers(-60_000, 60_000)


def book(fills, tick_value):
    """Position after (side, size, price in ticks, fee) fills."""
    position = np.zeros(1, dtype=position_dtype)
    for side, size, price, fee in fills:
        apply_fill(position[0], side, size, price, tick_value, fee)
    return position[0]


def twin(fills, tick_value):
    account = AverageCost(tick_value)
    for side, size, price, fee in fills:
        account.fill(1 - 2 * side, size, price, fee)
    return account


# Worked examples: prices in hundredths, so that one tick is 0.01 and worth `multiplier` cents.
# (multiplier, fee per lot, fills as (side, size, price), mark, realised after each fill, size, total after fees)
WORKED = {
    "long_add_reduce_flip": (
        50,
        2.5,
        [(BUY, 2, 4800.00), (BUY, 1, 4801.00), (SELL, 1, 4802.00), (SELL, 4, 4799.50)],
        4798.00,
        [0, 0, 83.333333, 0],
        -2,
        130.00,
    ),
    "short_add_cover_flip": (
        50,
        2.5,
        [(SELL, 3, 4800), (SELL, 1, 4802), (BUY, 2, 4799), (BUY, 5, 4803)],
        4804,
        [0, 0, 150, -100],
        3,
        22.50,
    ),
    "flat_and_reopen": (50, 0, [(BUY, 2, 4800), (SELL, 2, 4800.25), (SELL, 1, 4801)], 4800, [0, 25, 25], -1, 75),
    "negative_prices": (50, 0, [(BUY, 4, -1.25), (SELL, 2, -0.75), (SELL, 4, -2.00)], -1.5, [0, 50, -25], -2, -75),
    "through_zero": (1000, 0, [(SELL, 1, 1.00), (BUY, 1, -37.63)], 0, [0, 38_630], 0, 38_630),
    "three_fills_at_two_prices": (
        50,
        0,
        [(BUY, 1, 4800.25), (BUY, 2, 4800.25), (BUY, 3, 4800.50), (SELL, 6, 4800.50)],
        0,
        [0, 0, 0, 37.5],
        0,
        37.5,
    ),
    "one_fill_for_the_first_two": (
        50,
        0,
        [(BUY, 3, 4800.25), (BUY, 3, 4800.50), (SELL, 6, 4800.50)],
        0,
        [0, 0, 37.5],
        0,
        37.5,
    ),
    "crossing_the_spread": (50, 2.5, [(BUY, 1, 4800.25), (SELL, 1, 4800.00)], 0, [0, -12.5], 0, -17.50),
    "partial_close_books_its_share": (1, 0, [(BUY, 3, 100), (SELL, 1, 110)], 110, [0, 10], 2, 30),
}


@pytest.mark.parametrize("name", WORKED)
def test_apply_fill__worked_example(name):
    multiplier, fee, fills, mark, realised, size, total = WORKED[name]
    tick_value = multiplier * MICROS // 100
    position = np.zeros(1, dtype=position_dtype)
    for (side, lots, price), booked in zip(fills, realised, strict=True):
        apply_fill(position[0], side, lots, round(price * 100), tick_value, round(lots * fee * MICROS))
        assert position[0]["realised"] == round(booked * MICROS)
    assert position[0]["size"] == size
    assert equity(position[0], round(mark * 200), tick_value) == round(total * MICROS)


def test_apply_fill__keeps_cash_after_every_fill_of_the_long_example():
    fills = [(BUY, 2, 480_000, 0), (BUY, 1, 480_100, 0), (SELL, 1, 480_200, 0), (SELL, 4, 479_950, 0)]
    cash = [int(book(fills[: n + 1], 500_000)["cash"]) // MICROS for n in range(4)]
    assert cash == [-480_000, -720_050, -479_950, 479_950]


@given(FILLS, TICK_VALUES, MARKS)
def test_position__identity_is_exact(fills, tick_value, mark2):
    position = book(fills, tick_value)
    assert int(position["realised"]) + int(unrealised(position, mark2, tick_value)) - int(position["fees"]) == int(
        equity(position, mark2, tick_value)
    )


@given(FILLS, TICK_VALUES, MARKS)
def test_position__equals_exact_fractions_within_one_rounding_a_reduction(fills, tick_value, mark2):
    position, exact = book(fills, tick_value), twin(fills, tick_value)
    assert (position["size"], position["cash"], position["fees"]) == (exact.size, exact.cash, exact.fees)
    assert abs(equity(position, mark2, tick_value) - exact.equity(mark2)) <= Fraction(1, 2)
    assert abs(int(position["realised"]) - exact.realised) <= Fraction(len(fills), 2)
    assert abs(int(position["cost"]) - exact.average * exact.size * tick_value) <= Fraction(len(fills), 2)
    if exact.size == 0:
        assert position["cost"] == 0


@given(FILLS)
def test_position__counts_lots(fills):
    sizes = [0]
    for side, size, _, _ in fills:
        sizes.append(sizes[-1] + (1 - 2 * side) * size)
    position = book(fills, MICROS)
    assert position["size"] == sizes[-1]
    assert position["max_size"] == max(map(abs, sizes))
    assert position["volume"] == sum(size for _, size, _, _ in fills)


@given(FILLS, TICK_VALUES, MARKS, st.data())
def test_position__splitting_a_fill_changes_nothing(fills, tick_value, mark2, data):
    split = []
    for side, size, price, fee in fills:
        part = data.draw(st.integers(0, size - 1))
        split += [(side, part, price, 0)] * (part > 0) + [(side, size - part, price, fee)]
    whole, parts = book(fills, tick_value), book(split, tick_value)
    for name in ("size", "cash", "fees", "volume", "max_size"):
        assert whole[name] == parts[name]
    assert equity(whole, mark2, tick_value) == equity(parts, mark2, tick_value)
    assert abs(int(whole["realised"]) - int(parts["realised"])) <= 2 * len(fills)  # one rounding per reduction


@given(FILLS, st.integers(1, 50 * MICROS).map(lambda value: 2 * value), MARKS, st.integers(-1000, 1000))
def test_position__mirror_has_the_same_profit(fills, tick_value, mark2, centre):
    mirror = [(1 - side, size, 2 * centre - price, fee) for side, size, price, fee in fills]
    here, there = book(fills, tick_value), book(mirror, tick_value)
    assert here["size"] == -there["size"]
    assert here["realised"] == there["realised"]
    assert equity(here, mark2, tick_value) == equity(there, 4 * centre - mark2, tick_value)


@given(st.integers(-(10**15), 10**15), st.integers(1, 10**6))
def test_divide_half_even__is_python_rounding(numerator, denominator):
    assert divide_half_even(numerator, denominator) == round(Fraction(numerator, denominator))


@pytest.mark.parametrize(("twice", "half"), [(1, 0), (3, 2), (5, 2), (-1, 0), (-3, -2), (-5, -2), (7, 4)])
def test_divide_half_even__ties_go_to_even(twice, half):
    assert divide_half_even(twice, 2) == half


@given(FILLS, TICK_VALUES)
def test_apply_fill__realises_the_rounded_share_of_the_cost_exactly(fills, tick_value):
    size = cost = realised = 0  # Python integers of any length; `round` of a fraction is half to even
    for side, lots, price, _ in fills:
        change = (1 - 2 * side) * lots
        if size * change < 0:
            closed = min(abs(size), lots)
            share = round(Fraction(cost * closed, abs(size)))
            proceeds = (closed if size > 0 else -closed) * price * tick_value
            realised, cost = realised + proceeds - share, cost - share
            lots -= closed
        cost += (1 - 2 * side) * lots * price * tick_value
        size += change
    position = book(fills, tick_value)
    assert (position["size"], position["cost"], position["realised"]) == (size, cost, realised)
