"""Matching algorithms: the exchange's own examples to the lot, then a twin in fractions."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bt_gym.core.allocation import allocate, pro_rata, rules_dtype

NO_TOP = -1


def rules(**values: int) -> np.void:
    record = np.zeros(1, rules_dtype)
    for name, value in values.items():
        record[name] = value
    return record[0]


def shares(record: np.void, sizes: list[int], lots: int, top: int = NO_TOP, makers: tuple[int, ...] = ()) -> list[int]:
    out = np.full(len(sizes), -7, np.int64)
    is_maker = np.isin(np.arange(len(sizes)), makers)
    allocate(record, np.array(sizes, np.int64), top, is_maker, lots, out)
    return out.tolist()


# --- worked examples


def test_top_and_pro_rata__example_of_the_exchange():
    """CME notice 11985 (2005): TOP 10, minimum two lots; the 5 gets nothing by size and three by time."""
    algorithm = rules(top_min=1, top_max=100, pro_rata_min=2)
    assert shares(algorithm, [10, 5, 20, 50, 75], 60, top=0) == [10, 3, 6, 16, 25]


def test_pro_rata__example_of_the_exchange():
    """CME, complex match example, after TOP has got 100: 399 lots by size, two are left for the pass by time."""
    sizes = np.array([900, 200, 300, 400, 100], np.int64)
    out = np.zeros(5, np.int64)
    assert pro_rata(rules(pro_rata_min=2), sizes, 401, out) == 2
    assert out.tolist() == [189, 42, 63, 84, 21]
    assert shares(rules(pro_rata_min=2), sizes.tolist(), 401) == [191, 42, 63, 84, 21]


def test_pro_rata__rounding_goes_to_the_first():
    assert shares(rules(pro_rata_min=1), [10, 30, 60], 25) == [3, 7, 15]


def test_pro_rata__below_the_minimum_is_nothing():
    assert shares(rules(pro_rata_min=2), [1, 3, 6, 90], 10) == [1, 0, 0, 9]


def test_split__by_time_first_then_by_size():
    assert shares(rules(fifo_percent=40, pro_rata_min=2), [30, 10, 200, 60], 100) == [30, 10, 47, 13]


def test_lead_market_makers__get_their_percentage_first():
    """S and T: 40 % of 50 lots to the maker, although it stands last; the rest by time."""
    assert shares(rules(lmm_percent=40, fifo_percent=100), [20, 20, 30], 50, makers=(2,)) == [20, 10, 20]
    assert shares(rules(lmm_percent=40, fifo_percent=100), [20, 40, 5], 50, makers=(2,)) == [20, 25, 5]


def test_threshold__small_orders_wait_for_the_pass_by_time():
    """O: of 19 lots the order of 4 gets none by size; what rounding leaves goes by time."""
    # 10 * 19 // 40 = 4, 26 * 19 // 40 = 12, three left by time
    assert shares(rules(threshold=5, pro_rata_min=1), [4, 10, 26], 19) == [3, 4, 12]


def test_levelling__one_lot_for_those_below_one():
    """K: 1 * 10 // 100 = 0 twice; each gets one lot before the rest goes by time."""
    sizes = [1, 1, 38, 60]
    assert shares(rules(pro_rata_min=1), sizes, 10) == [1, 0, 3, 6]
    assert shares(rules(pro_rata_min=1, levelling=1), sizes, 10) == [1, 0, 3, 6]
    assert shares(rules(pro_rata_min=2, levelling=1), [1, 60, 1, 38], 12) == [1, 7, 0, 4]


def test_top__too_small_is_not_top():
    assert shares(rules(top_min=11, top_max=100, pro_rata_min=1), [10, 90], 50, top=0) == [5, 45]


# --- any


def twin(values: dict[str, int], sizes: list[int], lots: int, top: int, makers: set[int]) -> list[int]:
    """The same as the text of the rules has it, with fractions."""
    given_out = [0] * len(sizes)
    if lots >= sum(sizes):
        return sizes
    left = lots

    def give(i: int, most: int) -> int:
        part = min(most, sizes[i] - given_out[i])
        given_out[i] += part
        return part

    if top >= 0 and sizes[top] >= values["top_min"]:
        left -= give(top, min(left, values["top_max"]))
    for makers_left in [int(Fraction(left * values["lmm_percent"], 100))]:
        for i in sorted(makers):
            part = give(i, makers_left)
            makers_left -= part
            left -= part
    if values["fifo_percent"] < 100:
        by_time = int(Fraction(left * values["fifo_percent"], 100))
        for i in range(len(sizes)):
            part = give(i, by_time)
            by_time -= part
            left -= part
        rest = [size - got for size, got in zip(sizes, given_out, strict=True)]
        base, total = left, sum(rest)
        below = []
        for i, size in enumerate(rest):
            if total and sizes[i] >= values["threshold"]:
                part = int(Fraction(size, total) * base)
                below += [i] if part < 1 and size else []
                left -= give(i, part) if part >= values["pro_rata_min"] else 0
        for i in below if values["levelling"] else []:
            left -= give(i, min(1, left))
    for i in range(len(sizes)):
        left -= give(i, left)
    return given_out


PERCENT = st.integers(0, 100)
RULES = st.fixed_dictionaries(
    {
        "top_min": st.integers(1, 10),
        "top_max": st.integers(0, 20),
        "lmm_percent": st.integers(0, 50),
        "fifo_percent": st.one_of(st.just(0), st.just(100), PERCENT),
        "pro_rata_min": st.integers(1, 3),
        "threshold": st.integers(0, 8),
        "levelling": st.integers(0, 1),
    }
)


@given(RULES, st.lists(st.integers(0, 40), min_size=1, max_size=8), st.integers(1, 250), st.data())
def test_allocate__equals_the_twin_and_hands_out_every_lot(values, sizes, lots, data):
    top = data.draw(st.integers(-1, len(sizes) - 1))
    makers = data.draw(st.sets(st.integers(0, len(sizes) - 1), max_size=2))
    result = shares(rules(**values), sizes, lots, top, tuple(makers))
    assert result == twin(values, sizes, lots, top, makers)
    assert sum(result) == min(lots, sum(sizes))
    assert all(0 <= part <= size for part, size in zip(result, sizes, strict=True))


@given(st.lists(st.integers(1, 40), min_size=2, max_size=8), st.integers(1, 250), st.randoms())
def test_pro_rata_pass__does_not_depend_on_the_order_in_time(sizes, lots, random):
    order = list(range(len(sizes)))
    random.shuffle(order)
    lots = min(lots, sum(sizes))
    there, back = np.zeros(len(sizes), np.int64), np.zeros(len(sizes), np.int64)
    pro_rata(rules(pro_rata_min=1), np.array(sizes), lots, there)
    pro_rata(rules(pro_rata_min=1), np.array(sizes)[order], lots, back)
    assert there[order].tolist() == back.tolist()


def test_allocate__has_no_overflow_at_the_largest_sizes():
    largest = 2**31 - 1
    assert sum(shares(rules(pro_rata_min=1), [largest, largest, largest], largest)) == largest


def test_rules__unknown_name_is_an_error():
    with pytest.raises(ValueError, match="no field"):
        rules(fifo=1)
