"""Impact models: published values, exact money, and that nobody is paid by its own footprint."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bt_gym.core import enums
from bt_gym.core.enums import BUY, SELL
from bt_gym.core.impact import charge, footprint_dtype, impact_dtype, make_footprint_dtype, offset
from bt_gym.core.positions import apply_fill, equity, position_dtype

S = 1_000_000_000
DOLLAR = 1_000_000


def a_model(model: int, **values: float) -> np.void:
    record = np.zeros(1, impact_dtype)
    record["model"] = model
    for name, value in values.items():
        record[name] = value
    return record[0]


def a_footprint(room: int = 8) -> np.void:
    return np.zeros(1, make_footprint_dtype(room))[0]


# --- published values


def test_linear__basis_points_per_million():
    """0.5 bps per million: 2.4 million pay 1.2 bps, 288 of the currency."""
    model = a_model(enums.IMPACT_LINEAR, size=0.5)
    assert charge(model, a_footprint(), DOLLAR, 1, BUY, S, 24_000, 100) == 288 * DOLLAR


def test_linear__walking_the_book_costs_what_one_fill_costs():
    model, walk, once = a_model(enums.IMPACT_LINEAR, size=0.5), a_footprint(), a_footprint()
    parts = [charge(model, walk, DOLLAR, 1, SELL, S, 24_000, lots) for lots in (10, 1, 89)]
    assert sum(parts) == charge(model, once, DOLLAR, 1, SELL, S, 24_000, 100) == walk["paid"]
    assert parts[0] < parts[2]


def test_inverse_lot__is_charged_on_what_it_is_worth():
    """100 dollars a lot at 50,000 ticks of a dollar: 1,000 lots are worth 2 coins, of which 10 bps are 0.002."""
    lot = -100 * DOLLAR  # 1e-6 coins times ticks
    model = a_model(enums.IMPACT_SQUARE_ROOT, size=0.01, exponent=0.5, volume=100_000)
    assert charge(model, a_footprint(), lot, 1, BUY, S, 50_000, 1_000) == 2_000
    model = a_model(enums.IMPACT_ALMGREN_CHRISS, fixed=10.0)  # a tick moves the value of a lot by 100 / 50,000 ** 2
    assert charge(model, a_footprint(), lot, 1, BUY, S, 50_000, 1_000) == round(10 * 1_000 * 100e6 / 50_000**2)


def test_square_root__one_per_cent_of_the_volume():
    """Y = 1, 1 % a day, 1 % of the volume: 10 bps."""
    model = a_model(enums.IMPACT_SQUARE_ROOT, size=0.01, exponent=0.5, volume=100_000)
    assert charge(model, a_footprint(), DOLLAR, 1, BUY, S, 5_000, 1_000) == 5_000 * 1_000 * DOLLAR // 1_000


def test_almgren_chriss__expected_cost_of_equal_slices():
    """Almgren and Chriss 2000, section 3.4: a million shares in five days by equal slices cost 662,500."""
    model = a_model(enums.IMPACT_ALMGREN_CHRISS, size=2.5e-7, slope=2.5e-6, fixed=0.0625)
    footprint = a_footprint()
    costs = [charge(model, footprint, DOLLAR, 1 + i, SELL, i * S, 50, 200_000) for i in range(5)]
    assert sum(costs) == footprint["paid"] == 662_500 * DOLLAR


def test_almgren_chriss__expected_cost_of_the_optimal_schedule():
    """The same with the trades of their optimum for lambda = 1e-6 (rounded to shares): 911,227."""
    model = a_model(enums.IMPACT_ALMGREN_CHRISS, size=2.5e-7, slope=2.5e-6, fixed=0.0625)
    footprint = a_footprint()
    for i, lots in enumerate((458_044, 252_101, 141_957, 85_756, 62_142)):
        charge(model, footprint, DOLLAR, 1 + i, SELL, i * S, 50, lots)
    assert footprint["paid"] / DOLLAR == pytest.approx(911_226.99, abs=2)


@pytest.mark.parametrize(("duration", "bps"), [(0.1, 32.2), (0.2, 24.6), (0.5, 18.4)])
def test_almgren_2005__the_example_of_the_paper(duration, bps):
    """IBM: a tenth of the volume, 1.57 % a day, 263 days of volume outstanding; I = 19.9 bps, J = 32.2, 24.6, 18.4."""
    permanent = 0.314 * 0.0157 * 263**0.25 / 1e6
    assert permanent * 1e5 * 1e4 == pytest.approx(19.9, abs=0.05)
    values = {"size": permanent, "slope": 0.142 * 0.0157, "exponent": 0.6, "volume": 1e6 * duration}
    cost = charge(a_model(enums.IMPACT_ALMGREN_2005, **values), a_footprint(), DOLLAR, 1, BUY, S, 100, 100_000)
    assert cost / (100 * 100_000 * DOLLAR) * 1e4 == pytest.approx(bps, abs=0.05)


def test_propagator__rises_while_buying_and_decays():
    """Gamma0 = l0 = 1, beta = 0.4, f = 1, buys at 0, 1 and 2 s: the offset just before 1, 2, ... 6 s."""
    model = a_model(enums.IMPACT_PROPAGATOR, size=1.0, time=1.0, decay=0.4, exponent=0.0)
    footprint = a_footprint()
    seen = []
    for second in range(7):
        if second:
            seen.append(offset(model, footprint, second * S, 100))
        if second < 3:
            charge(model, footprint, DOLLAR, second + 1, BUY, second * S, 100, 1)
    assert seen == pytest.approx([0.870551, 1.595330, 2.226288, 1.923164, 1.719586, 1.574319], abs=5e-7)


def test_propagator__a_full_history_joins_the_two_oldest():
    model = a_model(enums.IMPACT_PROPAGATOR, size=1.0, time=1.0, decay=0.4, exponent=1.0)
    short, long = a_footprint(4), a_footprint(64)
    for i in range(20):
        for footprint in (short, long):
            charge(model, footprint, DOLLAR, i + 1, BUY, i * S, 100, 1)
    assert short["count"] == 4
    near, far = offset(model, short, 20 * S, 100), offset(model, long, 20 * S, 100)
    assert 0 < near < far  # what is joined counts as older than it is


# --- any schedule

MODELS = {
    "linear": {"model": enums.IMPACT_LINEAR, "size": 3.0},
    "square_root": {"model": enums.IMPACT_SQUARE_ROOT, "size": 0.02, "exponent": 0.5, "volume": 5000},
    "almgren_chriss": {"model": enums.IMPACT_ALMGREN_CHRISS, "size": 0.02, "slope": 0.011, "fixed": 0.1},
    "almgren_chriss_edge": {"model": enums.IMPACT_ALMGREN_CHRISS, "size": 0.02, "slope": 0.01},
    "almgren_2005": {
        "model": enums.IMPACT_ALMGREN_2005, "size": 1e-6, "slope": 0.002, "exponent": 0.6, "volume": 1e4,
    },
    "propagator": {"model": enums.IMPACT_PROPAGATOR, "size": 0.1, "time": 0.5, "decay": 0.4, "exponent": 0.5},
    "propagator_sign": {"model": enums.IMPACT_PROPAGATOR, "size": 0.1, "time": 0.5, "decay": 0.2, "exponent": 0.0},
    "propagator_linear": {"model": enums.IMPACT_PROPAGATOR, "size": 0.1, "time": 0.5, "decay": 0.4, "exponent": 1.0},
}  # fmt: skip
SCHEDULES = st.lists(
    st.tuples(st.integers(0, 3000), st.sampled_from([BUY, SELL]), st.integers(1, 40)), min_size=1, max_size=15
)
TICK_VALUE, PRICE = 12_500_000, 19_200


def _round_trip(schedule: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """The schedule, and one order that goes home."""
    position = sum(lots if side == BUY else -lots for _, side, lots in schedule)
    home = [(100, SELL if position > 0 else BUY, abs(position))] if position else []
    return schedule + home


def _play(values: dict[str, float], schedule: list[tuple[int, int, int]], room: int = 8) -> tuple[np.void, list[int]]:
    """A market that never moves, without a spread: profit is impact alone."""
    model, footprint = a_model(**values), a_footprint(room)
    position = np.zeros(1, position_dtype)[0]
    now, costs = 0, []
    for number, (pause_ms, side, lots) in enumerate(schedule):
        now += pause_ms * 1_000_000
        cost = charge(model, footprint, TICK_VALUE, number + 1, side, now, PRICE, lots)
        costs.append(int(cost))
        apply_fill(position, side, lots, PRICE, TICK_VALUE, 0, cost)
        assert footprint["paid"] == sum(costs) >= 0
        assert equity(position, 2 * PRICE, TICK_VALUE) == -sum(costs)
    return position, costs


@pytest.mark.parametrize("name", MODELS)
@given(SCHEDULES)
def test_round_trip__never_profits(name, schedule):
    position, costs = _play(MODELS[name], _round_trip(schedule))
    assert position["size"] == position["cost"] == 0
    assert position["realised"] == position["cash"] == -sum(costs) <= 0


@pytest.mark.parametrize("name", ["linear", "square_root", "almgren_chriss", "almgren_chriss_edge"])
@given(SCHEDULES)
def test_round_trip__costs_are_those_of_the_formula_where_it_is_safe_by_itself(name, schedule):
    """The floor under what is received doesn't touch models that need none."""
    values = MODELS[name]
    _, costs = _play(values, schedule)
    net, expected = 0, []
    for _, side, lots in schedule:
        signed = lots if side == BUY else -lots
        notional = lots * PRICE * TICK_VALUE
        if name == "linear":
            expected.append(notional * values["size"] * 1e-4 * notional / 1e12)
        elif name == "square_root":
            expected.append(notional * values["size"] * (lots / values["volume"]) ** 0.5)
        else:
            own = (values.get("fixed", 0) + values["slope"] * lots) * lots
            expected.append((own + values["size"] * net * signed) * TICK_VALUE)
        net += signed
    assert costs == pytest.approx(expected, abs=1.0)


@given(SCHEDULES)
def test_propagator__linear_in_size_needs_no_floor(schedule):
    """Its cost is a positive form of the schedule: half of the double sum of G over all pairs."""
    values = MODELS["propagator_linear"]
    _, costs = _play(values, schedule, room=16)
    now, pushes, total = 0.0, [], 0.0
    for pause_ms, side, lots in schedule:
        now += pause_ms / 1000
        pushes.append((now, lots if side == BUY else -lots))
    for later, size in pushes:
        for earlier, other in pushes:
            total += 0.5 * size * other * 0.1 * (0.5**2 + (later - earlier) ** 2) ** -0.2 * TICK_VALUE
    assert sum(costs) == pytest.approx(total, abs=len(costs))
    assert total >= -1e-3


def test_footprint__without_history_is_small():
    assert footprint_dtype.itemsize < 100


def test_apply_fill__impact_of_a_turning_fill_is_shared():
    """Long 2 at 10; sells 6 at 11 with an impact of 9: a third of it belongs to the lots closed."""
    position = np.zeros(1, position_dtype)[0]
    apply_fill(position, BUY, 2, 10, 1, 0, 0)
    apply_fill(position, SELL, 6, 11, 1, 0, 9)
    assert (position["size"], position["realised"], position["cost"]) == (-4, 2 - 3, -44 + 6)
    assert position["cash"] == -20 + 66 - 9
