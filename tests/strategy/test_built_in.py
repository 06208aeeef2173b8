"""The built-in strategies: their formulas by the papers' examples, and what they do in a run."""

from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bt_gym import BacktestConfig, EventKind, MarketEvent, Side, Strategy, StrategyConfig, Trade
from bt_gym.core import enums
from bt_gym.core.avellaneda_stoikov import quotes
from bt_gym.data.tape import ingest
from bt_gym.errors import ConfigError
from bt_gym.strategy import almgren_chriss, glft
from bt_gym.strategy.almgren_chriss import AlmgrenChriss
from bt_gym.strategy.avellaneda_stoikov import AvellanedaStoikov
from bt_gym.strategy.context import OrderView, PriceLevel
from bt_gym.strategy.do_nothing import DoNothing
from bt_gym.strategy.glft import Glft
from bt_gym.strategy.grid import GridMarketMaker, JittedGridMarketMaker
from bt_gym.strategy.pairs import Pairs
from bt_gym.strategy.pov import Pov
from bt_gym.strategy.random_orders import RandomOrders
from bt_gym.strategy.registry import BUILT_IN, make_strategy
from bt_gym.strategy.schedule import children
from bt_gym.strategy.twap import Twap
from bt_gym.strategy.vwap import Vwap
from tests.runs import backtest, synthetic

TICK = 0.25
SECOND = 1_000_000_000


def context_at(bid: int, ask: int, *, quantity: int = 0, orders: tuple[OrderView, ...] = (), phase="continuous"):
    """A context that shows best prices in ticks, a position and orders, and nothing else."""
    return SimpleNamespace(
        quantity=quantity,
        pending_orders=list(orders),
        pending_quantity=sum(order.side.sign * order.leaves for order in orders),
        current_time=0,
        market_state=SimpleNamespace(
            best_bid=lambda: PriceLevel(bid * TICK, bid, 10),
            best_ask=lambda: PriceLevel(ask * TICK, ask, 10),
            phase=phase,
            price=lambda ticks: ticks * TICK,
        ),
    )


def resting(order_id: int, side: Side, ticks: int, *, cancelling: bool = False) -> OrderView:
    return OrderView(order_id, side, ticks * TICK, 1, 1, True, ticks, cancelling)


def asked(output) -> tuple[list[tuple[Side, float, int]], list]:
    """Orders as (side, ticks, lots), and cancels."""
    return [(o.side, o.price / TICK, o.size) for o in output.orders], output.cancellations


# --- market makers


@pytest.mark.parametrize(("position", "bid", "ask"), [(0, 99.154615, 100.845385), (3, 97.954615, 99.645385)])
def test_avellaneda_stoikov__quotes_of_the_worked_example(position: int, bid: float, ask: float):
    """s = 100, gamma = 0.1, sigma = 2, k = 1.5, T - t = 1: reservation price 100 or 98.8, spread 1.690770."""
    found = quotes(100.0, float(position), 0.1, 2.0, 1.5, 1.0)
    assert found == pytest.approx((bid, ask), abs=1e-6)


def test_glft__coefficients_of_the_worked_example_and_their_limit():
    assert glft.coefficients(0.1, 0.9, 0.3, 0.1) == pytest.approx((2.876821, 0.765034), abs=1e-6)
    assert glft.distances(2, 0.1, 0.3, 0.9, 0.3, 0.1) == pytest.approx((3.450596, 2.532556), abs=1e-6)
    assert glft.coefficients(0.1, 0.9, 0.3, 1e-7) == pytest.approx(glft.coefficients(0.1, 0.9, 0.3, 0), rel=1e-5)


def test_avellaneda_stoikov__rounds_away_from_the_market_and_never_crosses_it():
    """Around 100.5 the quotes are 99.65 and 101.35: 99 and 102. Long 60 they'd be far below: the ask stays at 101."""
    rule = AvellanedaStoikov(gamma=0.1, sigma=2, k=1.5, horizon_s=1, max_position=100)
    assert asked(rule.on_timer(0, context_at(100, 101))) == ([(Side.BUY, 99, 1), (Side.SELL, 102, 1)], [])
    orders, _ = asked(rule.on_timer(0, context_at(100, 101, quantity=60)))
    assert orders == [(Side.BUY, 75, 1), (Side.SELL, 101, 1)]
    orders, _ = asked(rule.on_timer(0, context_at(100, 101, quantity=-60)))
    assert orders[0] == (Side.BUY, 100, 1)


def test_avellaneda_stoikov__begins_its_horizon_anew():
    rule = AvellanedaStoikov(horizon_s=10)
    assert [rule.time_left(SECOND * s) for s in (5, 6, 14, 15, 16)] == [10, 9, 1, 10, 9]


def test_glft__quotes_in_ticks():
    """The worked example with its distances: long 2, the bid at 100.5 - 3.45 and the ask at 100.5 + 2.53."""
    rule = Glft(gamma=0.1, sigma=0.3, arrivals=0.9, k=0.3)
    assert asked(rule.on_timer(0, context_at(100, 101, quantity=2))) == ([(Side.BUY, 97, 1), (Side.SELL, 104, 1)], [])


@pytest.mark.parametrize(
    "rule", [AvellanedaStoikov(max_position=2), Glft(max_position=2), GridMarketMaker(max_position=2)]
)
def test_market_makers__stop_quoting_the_side_that_is_full(rule: Strategy):
    for quantity, sides in ((2, {Side.SELL}), (-2, {Side.BUY}), (1, {Side.BUY, Side.SELL})):
        orders, _ = asked(rule.on_timer(0, context_at(100, 101, quantity=quantity)))
        assert {side for side, _, _ in orders} == sides
    assert rule.on_timer(0, context_at(100, 101, phase="halt")).is_empty()


def test_grid__leaves_quotes_whose_price_stays_alone():
    """Around 100.5 with half a tick: bids 100, 99, asks 101, 102. Of the orders there two stay, two are not wanted,
    one of which is being cancelled already."""
    rule = GridMarketMaker(levels=2, half_spread=0.5)
    there = (
        resting(1, Side.BUY, 99),
        resting(2, Side.BUY, 98),
        resting(3, Side.SELL, 103, cancelling=True),
        resting(4, Side.SELL, 101),
    )
    output = rule.on_timer(0, context_at(100, 101, orders=there))
    assert {order.post_only for order in output.orders} == {enums.POST_ONLY_REJECT}
    assert asked(output) == ([(Side.BUY, 100, 1), (Side.SELL, 102, 1)], [2])


def test_grid__leans_against_the_position():
    """Long 40, 0.05 ticks each: the centre 100.5 moves to 98.5; the ask is kept at the market."""
    assert GridMarketMaker(skew=0.05).quotes(100, 101, 0) == (99, 102)
    assert GridMarketMaker(skew=0.05).quotes(100, 101, 40) == (97, 101)
    assert GridMarketMaker(skew=0.05).quotes(100, 101, -40) == (100, 104)


def test_jitted_grid__trades_as_its_twin_does(session_file: Path):
    parameters = {"levels": 3, "half_spread": 0.5, "spacing": 2, "skew": 0.3, "max_position": 6, "interval_ms": 50}
    twins = {"plain": GridMarketMaker(**parameters), "jitted": JittedGridMarketMaker(**parameters)}
    run = backtest(session_file, twins)
    assert run.reports(0).tobytes() == run.reports(1).tobytes()
    assert len(run.fills(0)) > 5


# --- executions

PAPER = {"sigma": 0.95, "eta": 2.5e-6, "gamma": 2.5e-7}


def test_almgren_chriss__schedule_and_cost_of_the_papers_example():
    """X = 1e6, T = 5 days, N = 5, eps = 0.0625, lambda = 1e-6."""
    kappa = almgren_chriss.urgency(5, 5, risk_aversion=1e-6, **PAPER)
    assert kappa == pytest.approx(0.607076, abs=1e-6)
    held = almgren_chriss.holdings(1e6, 5, 5, kappa)
    assert held == pytest.approx([1_000_000, 541_956, 289_854, 147_897, 62_142, 0], abs=0.6)
    sold = [before - after for before, after in pairwise(held)]
    assert sold == pytest.approx([458_044, 252_101, 141_957, 85_756, 62_142], abs=0.6)
    expected, variance = almgren_chriss.cost(held, 5, eps=0.0625, **PAPER)
    assert (expected, variance**0.5) == pytest.approx((911_226.99, 603_430.67), abs=0.01)


def test_almgren_chriss__without_risk_aversion_is_a_twap():
    held = almgren_chriss.holdings(1e6, 5, 5, almgren_chriss.urgency(5, 5, risk_aversion=0, **PAPER))
    assert held == pytest.approx([1e6, 8e5, 6e5, 4e5, 2e5, 0])
    expected, variance = almgren_chriss.cost(held, 5, eps=0.0625, **PAPER)
    assert (expected, variance**0.5) == pytest.approx((662_500, 1_040_672.86), abs=0.01)
    assert AlmgrenChriss("buy", 103, risk_aversion=0).schedule == Twap("buy", 103).schedule


def test_almgren_chriss__refuses_impact_that_pays():
    with pytest.raises(ValueError, match=r"eta 1.0, gamma 2.0, slices of 6: need eta > gamma \* slice / 2"):
        AlmgrenChriss(eta=1.0, gamma=2.0)
    config = {"strategy": {"type": "almgren_chriss", "parameters": {"eta": 1, "gamma": 2}}}
    with pytest.raises(ConfigError, match=r"strategy.parameters: almgren_chriss: eta 1.0, gamma 2.0"):
        make_strategy(StrategyConfig.from_dict(config))


@given(st.integers(1, 10_000), st.lists(st.floats(0, 1), max_size=30))
def test_children__add_up_to_the_parent(size: int, fractions: list[float]):
    parts = children(size, [*sorted(fractions), 1.0])
    assert sum(parts) == size
    assert min(parts) >= 0
    assert len(parts) == len(fractions) + 1


@pytest.mark.parametrize(
    "strategy",
    [
        Twap("buy", 17, duration_s=20, slices=8),
        Twap("sell", 3, duration_s=20, slices=8),
        Vwap("sell", 17, duration_s=20, curve=[5, 1, 0, 1, 5]),
        AlmgrenChriss("buy", 17, duration_s=20, slices=8),
        Pov("buy", 17, rate=0.2, duration_s=20),
    ],
    ids=["twap", "twap-sell", "vwap", "almgren_chriss", "pov"],
)
def test_execution__does_all_of_its_parent_and_no_more(session_file: Path, strategy):
    fills = backtest(session_file, strategy).fills()
    assert fills["size"].sum() == strategy.size
    assert set(fills["side"]) == {int(strategy.side)}
    done = fills["ts_exchange"][-1] - fills["ts_exchange"][0]
    assert done <= 22 * SECOND


def test_twap__makes_up_for_what_a_child_was_not_filled():
    """Four children of 25 lots. The second one sees 20 done and none under way: it sends 30."""
    rule = Twap("buy", 100, duration_s=40, slices=4)
    sent = []
    for quantity, pending in ((0, 0), (20, 0), (50, 0), (60, 15), (90, 0)):
        context = context_at(100, 101, quantity=quantity)
        context.pending_quantity = pending
        sent += [order.size for order in rule.on_timer(0, context).orders]
    assert sent == [25, 30, 25, 25, 10]


def test_vwap__takes_a_curve_of_the_past():
    assert Vwap("sell", 10, curve=[3, 1, 1, 5]).schedule == [3, 1, 1, 5]
    for curve in ([], [0, 0], [1, -1]):
        with pytest.raises(ValueError, match="need the volume of each slice"):
            Vwap(curve=curve)


def test_pov__stays_below_its_share_until_the_deadline():
    """A fifth of 4, 10 and 17 lots traded since the start: 0, 2, 3 lots; at the deadline the rest of 9."""
    rule = Pov("sell", 9, rate=0.2, duration_s=60)
    done, sent = 0, []
    for now, size in ((0, 50), (1, 4), (2, 6), (3, 7), (60, 0)):
        context = context_at(100, 101, quantity=-done)
        context.current_time = now * SECOND
        trades = (Trade(0, 25.0, 100, size, Side.BUY),)
        event = MarketEvent("TEST", 0, now * SECOND, EventKind.TRADE, trades)
        output = rule.on_market_event(event, context) if size else rule.on_timer(now * SECOND, context)
        sent.append(sum(order.size for order in output.orders))
        done += sent[-1]
    assert sent == [0, 0, 2, 1, 6]


# --- the others


def test_do_nothing__has_exactly_nothing(session_file: Path):
    run = backtest(session_file, DoNothing())
    assert (run.report.total_pnl, run.report.total_trades, len(run.reports())) == (0, 0, 0)
    assert not run.backtester.accounts[0].metrics.account.curve["equity"].any()


def test_random_orders__depend_on_the_seed_alone_and_keep_the_limit(session_file: Path):
    rules = {name: RandomOrders(seed, 3, 4, interval_ms=100) for name, seed in (("a", 1), ("b", 1), ("c", 2))}
    run = backtest(session_file, rules)
    first, same, other = (run.reports(i).tobytes() for i in range(3))
    assert first == same != other
    assert len(run.fills(0)) > 10
    for number in (0, 2):
        fills = run.fills(number)
        position = np.cumsum(np.where(fills["side"] == enums.BUY, 1, -1) * fills["size"])
        assert np.abs(position).max() <= 4


def test_pairs__z_score_of_the_spread():
    """0, 0, 0, 4: mean 1, standard deviation sqrt(3)."""
    rule = Pairs(("A", "B"), lookback=4)
    rule._spreads.extend([0.0, 0.0, 0.0, 4.0])
    assert rule.z_score() == pytest.approx(3 / 3**0.5)
    rule._spreads.extend([1.0] * 4)
    assert rule.z_score() == 0


def test_pairs__trades_both_legs_against_each_other(session_file: Path, tmp_path: Path):
    synthetic(6, 60, "other").write(other := tmp_path / "other.dbn")
    tapes = [ingest([path], tick_size_nanos=250_000_000, folder=tmp_path) for path in (session_file, other)]
    rule = Pairs(("SYNH6", "SYNM6"), lookback=10, entry_threshold=1.0, exit_threshold=0.2, size=2, interval_ms=250)
    run = backtest(tapes, rule)
    first, second = (np.where(run.fills(i)["side"] == enums.BUY, 1, -1) * run.fills(i)["size"] for i in range(2))
    assert len(first) > 3
    assert np.abs(np.cumsum(first)).max() == 2
    assert first.sum() == -second.sum()


def test_registry__makes_every_type_with_its_defaults():
    """What a configuration says is what the strategy has, under the same names."""
    for name, make in BUILT_IN.items():
        given_ = {"symbols": ["A", "B"]} if name == "pairs" else {}
        strategy = make_strategy(StrategyConfig.from_dict({"strategy": {"type": name, "parameters": given_}}))
        assert strategy.config == make(**given_).config


@pytest.mark.parametrize("name", ["sma_crossover", "grid_market_maker", "twap", "pairs"])
def test_configs__of_the_repository_make_their_strategies(name: str):
    config = BacktestConfig.from_file(Path(__file__).parent.parent.parent / "configs" / f"{name}.yaml")
    assert config.strategy is not None
    strategy = make_strategy(config.strategy)
    told = config.strategy.parameters.to_dict()
    assert {key: value for key, value in strategy.config.items() if key in told and key != "symbols"} == {
        key: value for key, value in told.items() if key != "symbols"
    }
