"""Estimated queue positions: the published formulas and their values, then what any estimate has to keep."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bt_gym.core import enums
from bt_gym.core.queue_models import behind, front_after

ESTIMATES = range(enums.FILL_RISK_AVERSE, enums.FILL_LOG_PROB2 + 1)

SHARES = {
    enums.FILL_POWER_PROB: lambda f, b, n: b**n / (b**n + f**n),
    enums.FILL_POWER_PROB2: lambda f, b, n: b**n / (b + f) ** n,
    enums.FILL_POWER_PROB3: lambda f, b, n: 1 - (f / (f + b)) ** n,
    enums.FILL_LOG_PROB: lambda f, b, n: math.log1p(b) / (math.log1p(b) + math.log1p(f)),
    enums.FILL_LOG_PROB2: lambda f, b, n: math.log1p(b) / math.log1p(b + f),
}
"""P(front, back) of hftbacktest 2.4.4, `models/queue.rs`."""


@pytest.mark.parametrize(
    ("model", "power", "at_40", "at_95"),
    [
        (enums.FILL_POWER_PROB, 1, 36.0, 85.5),
        (enums.FILL_POWER_PROB, 2, 36.923077, 85.027624),
        (enums.FILL_POWER_PROB, 3, 37.714286, 85.001458),
        (enums.FILL_LOG_PROB, 0, 35.253885, 87.818957),
        (enums.FILL_LOG_PROB2, 0, 38.907403, 88.882368),
        (enums.FILL_POWER_PROB3, 3, 39.36, 86.42625),
        (enums.FILL_RISK_AVERSE, 0, 40.0, 90.0),
    ],
)
def test_front_after__values_of_the_formulas(model, power, at_40, at_95):
    """The level goes from 100 to 90 lots without a trade, with 40 and with 95 lots ahead."""
    assert front_after(model, float(power), 40.0, 100.0, 90.0, 0.0) == pytest.approx(at_40, abs=5e-7)
    assert front_after(model, float(power), 95.0, 100.0, 90.0, 0.0) == pytest.approx(at_95, abs=5e-7)


def test_front_after__what_was_traded_was_not_cancelled():
    """Of ten lots less, ten were traded and are off the front already."""
    for model in ESTIMATES:
        assert front_after(model, 3.0, 30.0, 100.0, 90.0, 10.0) == 30.0


def test_front_after__a_level_that_grows_changes_nothing():
    for model in ESTIMATES:
        assert front_after(model, 3.0, 30.0, 100.0, 120.0, 0.0) == 30.0


@given(st.sampled_from(sorted(SHARES)), st.floats(0.5, 5), st.floats(0.01, 1e6), st.floats(0.01, 1e6))
def test_behind__is_the_published_formula(model, power, front, back):
    assert behind(model, power, front, back) == pytest.approx(SHARES[model](front, back, power), rel=1e-12, abs=1e-12)


@given(st.sampled_from(sorted(SHARES)), st.floats(0.5, 5), st.floats(0.5, 1e4))
def test_behind__all_of_it_at_the_head_and_none_at_the_tail(model, power, size):
    assert behind(model, power, 0.0, size) == 1
    assert behind(model, power, size, 0.0) == 0
    assert behind(model, power, 0.0, 0.0) == 1


@given(st.sampled_from(ESTIMATES), st.integers(0, 200), st.integers(0, 200), st.integers(0, 300), st.integers(0, 50))
def test_front_after__never_goes_back_nor_beyond_the_level(model, front, behind_us, after, traded):
    before = front + behind_us
    result = front_after(model, 3.0, float(front), float(before), float(after), float(traded))
    assert result <= front + 1e-9
    assert result <= after
