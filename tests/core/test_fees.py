"""Fees: worked amounts, and what the engine charges for the fills of an order."""

import numpy as np
import pytest

from bt_gym._jit import njit
from bt_gym.core import enums
from bt_gym.core.enums import BUY
from bt_gym.core.fees import fee_of
from bt_gym.core.orders import new_models
from tests.reference.scenario import Order, Scenario, engine

MAKER, TAKER = enums.LIQUIDITY_MAKER, enums.LIQUIDITY_TAKER
TIERS = [(10, 8, 80, 0, 0), (20, -3, 60, 0, 0), (0, 0, 0, 0, 0), (0, 0, 0, 0, 0)]


@njit
def _fee(models, volume, size, price, liquidity, is_first):
    return fee_of(models[0], volume, size, price, liquidity, is_first)


def fee(volume=0, size=2, price=400, liquidity=TAKER, is_first=False, **models):
    return _fee(new_models(**models), volume, size, price, liquidity, is_first)


def test_fee__per_lot_by_liquidity():
    assert (fee(maker_fee=-25, taker_fee=130), fee(maker_fee=-25, taker_fee=130, liquidity=MAKER)) == (260, -50)


def test_fee__per_order_with_its_first_fill():
    assert [fee(order_fee=1_000, taker_fee=5, is_first=first) for first in (True, False)] == [1_010, 10]


@pytest.mark.parametrize(("rate", "expected"), [(500_000, 400_000), (-100_000, -80_000), (1, 1), (-1, -1)])
def test_fee__rate_on_the_notional_rounds_once(rate, expected):
    """2 lots at 400 ticks of 1.00: 800.00, of which 0.05 % is 0.40; 1e-9 of it is 0.8e-6, rounded to 1e-6."""
    assert fee(taker_rate=rate) == expected


def test_fee__rate_does_not_overflow():
    """A thousand lots worth 1e9 each at 100 %: the product of 1e18 micros and 1e9 would not fit."""
    assert fee(size=1_000, price=1_000_000, tick_value=1_000_000_000, taker_rate=10**9) == 10**18


@pytest.mark.parametrize(("volume", "taker", "maker"), [(0, 200, 20), (9, 200, 20), (10, 160, 16), (20, 120, -6)])
def test_fee__tier_of_the_volume_traded_before(volume, taker, maker):
    models = {"maker_fee": 10, "taker_fee": 100, "tiers": TIERS}
    assert (fee(volume, **models), fee(volume, liquidity=MAKER, **models)) == (taker, maker)


def test_engine__charges_each_fill_of_an_order():
    """8 lots at 102 and 4 at 103 in one order: its fee once, and the second fill reaches the tier of 8 lots."""
    market = Scenario()
    market.snapshot(("B", 100, 5), ("A", 102, 8), ("A", 103, 9))
    market.event(market.record("N"))
    execution = engine(taker_fee=100, order_fee=7, tiers=[(8, 0, 10, 0, 0), *[TIERS[3]] * 3])
    execution.process_order_request(Order(BUY, 12, enums.ORDER_MARKET), market.now)
    execution.advance(market.tape(), market.now)
    fills = execution.reports[execution.reports["exec_type"] == enums.EXEC_TRADE]
    assert fills["fee"].tolist() == [807, 40]
    assert execution.account["position"]["fees"] == np.sum(fills["fee"])
