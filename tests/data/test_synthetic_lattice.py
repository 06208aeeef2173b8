"""The Avellaneda-Stoikov market: fills with the exponential intensity, and an optimum that is one."""

import numpy as np
import pytest

from bt_gym.data import stylised
from bt_gym.data.stylised import SECOND
from bt_gym.data.synthetic import PROFILES, Lattice, OwnOrder, Session, generate, optimum
from bt_gym.errors import ConfigError


def test_lattice__own_orders_fill_with_the_exponential_intensity() -> None:
    session = generate(19, 1500, "as", pre_open_seconds=1)
    profile = session.profile
    assert isinstance(profile, Lattice)
    step = round(profile.step_seconds * SECOND)
    book = quotes_of(session)
    for distance in (1, 3):
        orders = []
        for k in range(1, 14_000, 8):
            ts = session.opens + k * step
            bid, ask = book[np.searchsorted(book["ts"], ts, side="right") - 1][["bid", "ask"]]
            assert ask - bid == 2
            side = k // 8 % 2
            middle = int(bid) + 1
            orders.append(OwnOrder(ts, side, middle - (1 - 2 * side) * distance, 1))
        filled = [len(fills) for fills in session.replay_with(orders, profile.step_seconds)]
        expected = profile.take * profile.decay**distance
        error = np.sqrt(expected * (1 - expected) / len(orders))
        assert abs(np.mean(filled) - expected) < 4 * error


def quotes_of(session: Session) -> np.ndarray:
    return stylised.observe(session.records, session.profile.tick_nanos, session.opens).quotes


def test_optimum__without_limits_quotes_where_intensity_times_distance_is_largest() -> None:
    market = PROFILES["as"]
    assert isinstance(market, Lattice)
    best = optimum(market, steps=20, most=30)
    gains = [distance * market.take * market.decay**distance for distance in range(1, market.levels)]
    assert best.value[0, 30] == pytest.approx(20 * 2 * max(gains))
    assert best.bid[0, 30] == best.ask[0, 30] == np.argmax(gains) + 1 == 2


def test_optimum__leans_against_inventory_and_is_symmetric() -> None:
    market = PROFILES["as"]
    assert isinstance(market, Lattice)
    best = optimum(market, steps=200, most=5, penalty=0.002)
    assert np.all(np.diff(best.ask[0, 1:]) <= 0)  # the more it owns, the nearer it sells
    assert np.all(np.diff(best.bid[0, :-1]) >= 0)
    assert best.bid[0, -1] == best.ask[0, 0] == 0
    assert np.array_equal(best.bid[0], best.ask[0][::-1])
    assert np.allclose(best.value, best.value[:, ::-1])


def test_optimum__value_is_what_its_quotes_earn() -> None:
    market = PROFILES["as"]
    assert isinstance(market, Lattice)
    steps, most, fee = 100, 2, 0.3
    best = optimum(market, steps=steps, most=most, fee=fee, half_spread=1.0)
    chance = np.random.default_rng(1)
    inventory, earned = np.zeros(20_000, int), np.zeros(20_000)
    for k in range(steps):
        bid, ask = best.bid[k, inventory + most], best.ask[k, inventory + most]
        for sign, distance in ((1, bid), (-1, ask)):
            hit = (distance > 0) & (chance.random(len(inventory)) < market.take * market.decay**distance)
            inventory += sign * hit
            earned += hit * (distance - fee)
    earned -= np.abs(inventory)
    assert abs(earned.mean() - best.value[0, most]) < 4 * earned.std() / np.sqrt(len(earned))


def test_lattice__takes_no_script() -> None:
    with pytest.raises(ConfigError, match="profile as takes no script"):
        generate(1, 1, "as", script=[(0.5, "halt")])
