"""The built-in strategies: their rules, by hand and against slow twins."""

from statistics import fmean, pstdev
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bt_gym import EnhancedMomentum, EventKind, MarketEvent, Side, SimpleMovingAverageCrossover, Trade
from bt_gym.strategy.sma_crossover import MovingAverage

PRICES = st.lists(st.integers(-50, 50), min_size=1, max_size=60)


def told(strategy, prices, *, quantity=0, pending=0, phase="continuous"):
    """Signed lots that the strategy orders at each price, the position following at once."""
    orders = []
    for ticks in prices:
        context = SimpleNamespace(
            quantity=quantity, pending_quantity=pending, market_state=SimpleNamespace(phase=phase)
        )
        event = MarketEvent("TEST", 0, 0, EventKind.TRADE, (Trade(0, ticks / 4, ticks, 1, None),))
        output = strategy.on_market_event(event, context)
        change = sum(order.side.sign * order.size for order in output.orders)
        orders.append(change)
        quantity += change
    return orders


@given(PRICES, st.integers(1, 20))
def test_moving_average__is_the_mean_of_the_last_prices(prices, period):
    average = MovingAverage(period)
    for number, price in enumerate(prices, 1):
        average.update(price)
        window = prices[max(0, number - period) : number]
        assert average.total == sum(window)
        assert average.is_full == (len(window) == period)


def test_sma_crossover__orders_the_change_at_each_crossing_once_the_slow_average_is_full():
    # fast 2, slow 3: means at 10 10 10 13 13 13 7 -> slow full at the third; equal means are short
    strategy = SimpleMovingAverageCrossover(2, 3, position_size=2)
    assert told(strategy, [10, 10, 10, 13, 13, 13, 7]) == [0, 0, -2, 4, 0, -4, 0]


@given(PRICES, st.integers(1, 6), st.integers(1, 6), st.integers(1, 3))
def test_sma_crossover__holds_the_side_of_the_slow_twin(prices, fast, more, size):
    slow = fast + more
    position = 0
    for number, change in enumerate(told(SimpleMovingAverageCrossover(fast, slow, size), prices), 1):
        position += change
        if number >= slow:
            is_above = sum(prices[number - fast : number]) * slow > sum(prices[number - slow : number]) * fast
            assert position == (size if is_above else -size)
        else:
            assert position == 0


def test_sma_crossover__counts_orders_on_their_way():
    assert told(SimpleMovingAverageCrossover(1, 2), [1, 2], quantity=0, pending=1) == [0, 0]
    assert told(SimpleMovingAverageCrossover(1, 2), [1, 2], quantity=-1, pending=1) == [0, 1]


def test_sma_crossover__waits_for_continuous_trading():
    assert told(SimpleMovingAverageCrossover(1, 2), [1, 2, 3], phase="pre_open") == [0, 0, 0]


@pytest.mark.parametrize("values", [(0, 5, 1), (5, 5, 1), (5, 4, 1), (2, 3, 0)])
def test_sma_crossover__refuses_periods_that_make_no_sense(values):
    with pytest.raises(ValueError, match="0 < fast < slow"):
        SimpleMovingAverageCrossover(*values)


@given(st.lists(st.integers(-50, 50), min_size=5, max_size=5))
def test_z_score__is_that_of_the_textbook(prices):
    strategy = EnhancedMomentum(5)
    told(strategy, prices)
    deviation = pstdev(prices)
    expected = (prices[-1] - fmean(prices)) / deviation if deviation else 0.0
    assert strategy.z_score() == pytest.approx(expected, abs=1e-12)


def test_momentum__enters_with_the_move_leaves_when_calm_and_turns():
    strategy = EnhancedMomentum(4, entry_threshold=1.5, exit_threshold=0.6, position_size=3)
    # z of the window: 0 0 0 8 -> 1.73 in; 0 0 8 4 -> 0.30 out; 8 4 6 -8 -> -1.64 short; 4 6 -8 30 -> 1.60 turns long
    assert told(strategy, [0, 0, 0, 8, 4, 6, -8, 30]) == [0, 0, 0, 3, -3, 0, -3, 6]


@pytest.mark.parametrize("values", [(1, 2.0, 0.5, 1), (5, 0.5, 2.0, 1), (5, 2.0, -1.0, 1), (5, 2.0, 0.5, 0)])
def test_momentum__refuses_thresholds_that_make_no_sense(values):
    with pytest.raises(ValueError, match="exit <= entry"):
        EnhancedMomentum(*values)


def test_side__has_a_sign():
    assert (Side.BUY.sign, Side.SELL.sign) == (1, -1)
