"""What a strategy in Python may ask for beside plain orders: stops, dates, post-only; its orders' states; the end."""

from pathlib import Path

import pytest

from bt_gym import BacktestConfig, EventKind, OrderRequest, OrderUpdate, Side, StrategyContext, StrategyOutput
from bt_gym.core import enums
from tests.data.compiled import add, clear, nothing, trade
from tests.runs import TICK, Run, Script, backtest, once, settings, write

BOOK = [clear(), add(1, "B", 100, 5), add(2, "A", 102, 5), add(3, "A", 103, 50)]
LATER = [nothing()] * 12
FAST = {"network_latency_us": 1, "processing_latency_us": 0}


def run(tmp_path: Path, *events, strategy: Script, config: BacktestConfig | None = None) -> Run:
    path = write(tmp_path / "a.dbn", *BOOK, trade("B", 102, 1), *LATER, *events, *LATER)
    return backtest(path, strategy, config=config or settings(**FAST))


def with_execution(**execution) -> BacktestConfig:
    return BacktestConfig.from_dict(
        {
            "backtest": {"execution": {"latency_model": {"type": "fixed", **FAST}} | execution},
            "instruments": {"*": {"tick_size": 0.25, "multiplier": 50, "fee_per_contract": 2}},
        }
    )


def test_stop__is_seen_waiting_moved_and_elected(tmp_path: Path):
    states: list[tuple[str, float | None]] = []

    def act(context: StrategyContext, script: Script) -> StrategyOutput | None:
        states.extend((view.state, view.stop_price) for view in context.pending_orders)
        if context.market_state.phase != "continuous":
            return None
        if not states:
            return StrategyOutput([OrderRequest.stop(Side.BUY, 2, 110 * TICK)])
        if states[-1][0] == "untriggered" and len(set(states)) == 2:
            return StrategyOutput(updates=[OrderUpdate(1, 3, 0.0, stop_price=103 * TICK)])
        return None

    events = [trade("B", 103, 1)]
    result = run(tmp_path, *events, strategy=Script(act))
    assert result.in_words() == ["1 new none", "1 replaced user", "1 triggered none", "1 trade none"]
    assert result.fills()["price"].tolist() == [102]  # a print changes no level: the best offer still stands
    assert list(dict.fromkeys(states)) == [
        ("pending_new", 110 * TICK),
        ("untriggered", 110 * TICK),
        ("pending_change", 110 * TICK),
        ("untriggered", 103 * TICK),
    ]


def test_orders__of_all_kinds_reach_the_exchange(tmp_path: Path):
    buy = Side.BUY
    orders = [
        OrderRequest.limit(buy, 9, 102 * TICK, time_in_force=enums.TIF_FOK),
        OrderRequest.limit(buy, 1, 103 * TICK, post_only=enums.POST_ONLY_REJECT),
        OrderRequest.limit(buy, 1, 103 * TICK, post_only=enums.POST_ONLY_SLIDE),
        OrderRequest.limit(buy, 1, 99 * TICK, expires_at=1),
        OrderRequest.market_to_limit(buy, 6),
        OrderRequest.stop(Side.SELL, 1, 90 * TICK, limit=89 * TICK),
        OrderRequest.stop(Side.SELL, 1, 90.1),
    ]
    result = run(tmp_path, strategy=Script(once(StrategyOutput(orders)), EventKind.TRADE))
    assert sorted(result.in_words()) == [
        "1 canceled fok",
        "1 new none",
        "2 rejected post_only",
        "3 new none",
        "4 rejected good_till_date",
        "5 new none",
        "5 trade none",
        "6 new none",
        "7 rejected invalid",
    ]
    assert [int(row["price"]) for row in result.reports() if row["order_id"] == 3] == [101]


@pytest.mark.parametrize("flatten", [False, True])
def test_end_of_data__closes_the_position_when_asked(tmp_path: Path, flatten: bool):
    """Bought 2 at 102, sold at 100: two ticks of 12.50 a lot and four fees of 2."""
    orders = [OrderRequest.market(Side.BUY, 2), OrderRequest.limit(Side.BUY, 1, 90 * TICK)]
    config = with_execution(flatten_at_end=flatten)
    result = run(tmp_path, strategy=Script(once(StrategyOutput(orders)), EventKind.TRADE), config=config)
    assert result.report.final_position == (0 if flatten else 2)
    assert result.fills()["price"].tolist() == ([102, 100] if flatten else [102])
    assert ("2 canceled end_of_data" in result.in_words()) == flatten
    assert result.report.total_pnl == (-2 * 2 * 12.50 - 4 * 2 if flatten else -2 * 12.50 - 2 * 2)


def test_fees__by_rate_order_and_tier_come_from_the_configuration(tmp_path: Path):
    """2 lots at 25.50 x 50 = 2550.00: 0.01 % is 0.255, 1 an order; from 2 lots on 0.50 a lot and nothing else."""
    fees = {
        "taker_rate": 0.0001,
        "order_fee": 1,
        "tiers": [{"volume": 2, "maker_fee": 0, "taker_fee": 0.5}],
    }
    outputs = [StrategyOutput([OrderRequest.market(Side.BUY, 2)])] * 2
    strategy = Script(once(*outputs), EventKind.TRADE | EventKind.OWN)
    result = run(tmp_path, strategy=strategy, config=with_execution(fees=fees))
    assert result.fills()["fee"].tolist() == [4_000_000 + 255_000 + 1_000_000, 1_000_000 + 1_000_000]
