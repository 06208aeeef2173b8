"""Whole backtests under every model: the original configuration as it stands, and what holds for any of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bt_gym import BacktestConfig, Backtester, OrderRequest, Side, StrategyOutput
from bt_gym.core import enums
from tests.runs import Busy, Run, Script, backtest, settings, synthetic

ROOT = Path(__file__).parent.parent.parent
FILLS = [
    {"type": "pro_rata"},
    {"type": "cme", "algorithm": "K", "lmm_percent": 20},
    {"type": "probabilistic", "fill_probability_at_touch": 0.7},
    {"type": "power_prob3"},
    {"type": "never_at_touch"},
    {"type": "front_of_queue"},
]
LATENCIES = [
    {"type": "lognormal", "entry_median_us": 60, "entry_p99_us": 900, "response_median_us": 50, "response_p99_us": 700},
    {
        "type": "load_dependent",
        **{"entry_base_us": 20, "entry_us_per_message": 3, "response_base_us": 9, "response_us_per_message": 1},
    },
    {"type": "feed_based", "entry_base_us": 9, "entry_factor": 2, "response_base_us": 9, "response_factor": 1},
]
IMPACTS = [
    {"type": "linear", "impact_bps_per_million": 2},
    {"type": "square_root", "daily_volatility": 0.01, "daily_volume_lots": 5000},
    {"type": "almgren_chriss", "permanent_ticks_per_lot": 0.2, "temporary_ticks_per_lot": 0.3},
    {"type": "almgren_2005", "daily_volatility": 0.01, "daily_volume_lots": 5000, "duration_days": 0.1},
]
ROOMY = {
    "latency_model": {"type": "empirical", "entry_us": [40, 60, 800], "response_us": [10, 50]},
    "market_impact": {"type": "propagator", "amplitude_ticks": 0.5},
}


def run(file: Path, seed: int = 1, **execution: Any) -> Run:
    data = settings().model_dump(exclude_unset=True)
    data["backtest"]["execution"] = execution
    return backtest(file, Busy(seed), config=BacktestConfig.from_dict(data), tapes=file.parent / "tapes")


@pytest.mark.parametrize(
    "execution",
    [
        *({"fill_model": fill} for fill in FILLS),
        *({"latency_model": latency} for latency in LATENCIES),
        *({"market_impact": impact} for impact in IMPACTS),
        {"fill_model": FILLS[2], "latency_model": LATENCIES[0], "market_impact": IMPACTS[2], "seed": 5},
        ROOMY,
    ],
    ids=lambda execution: "-".join(str(value.get("type")) for value in execution.values() if isinstance(value, dict)),
)
def test_every_model__runs_and_its_books_balance(execution, session_file):
    """The exchange's own equity at the end is that of the fills (the report refuses to be made otherwise)."""
    result = run(session_file, **execution)
    fills = result.fills()
    assert len(fills) > 20
    charged = "market_impact" in execution
    assert fills["impact"][fills["liquidity"] == enums.LIQUIDITY_TAKER].any() == charged
    assert not fills["impact"][fills["liquidity"] == enums.LIQUIDITY_MAKER].any()
    assert np.cumsum(fills["impact"]).min() >= 0
    ledger = result.report.ledger
    assert result.report.impact == pytest.approx(fills["impact"].sum() / 1e6)
    plain = -((1 - 2 * fills["side"].astype(np.int64)) * fills["price"] * fills["size"]).sum() * 12_500_000
    assert ledger.cash == plain - fills["impact"].sum()
    assert run(session_file, **execution).report == result.report


def test_seed__changes_draws_and_nothing_else(session_file):
    execution = {"fill_model": FILLS[2], "latency_model": LATENCIES[0]}
    first, again, other = (run(session_file, **execution, seed=seed).reports() for seed in (1, 1, 2))
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()
    fixed, same = (run(session_file, seed=seed, **{}).reports() for seed in (1, 1))
    assert fixed.tobytes() == same.tobytes()


def test_accounts__of_a_run_draw_apart(session_file):
    """Two strategies that do the same are filled by other draws; alone, the first one is as beside the second."""
    data = settings().model_dump(exclude_unset=True)
    data["backtest"]["execution"] = {"fill_model": FILLS[2]}
    config = BacktestConfig.from_dict(data)
    tapes = session_file.parent / "tapes"
    both = backtest(session_file, {"a": Busy(1), "b": Busy(1)}, config=config, tapes=tapes)
    alone = backtest(session_file, {"a": Busy(1)}, config=config, tapes=tapes)
    assert both.reports(0).tobytes() == alone.reports(0).tobytes()
    assert both.reports(0).tobytes() != both.reports(1).tobytes()


def test_impact_offset__is_what_a_strategy_knows_of_its_footprint(session_file):
    """Two lots taken under 0.2 ticks per lot: 0.4 ticks, once the fill is known and not before."""
    seen: list[tuple[int, float]] = []

    def act(context, script):
        seen.append((context.quantity, context.impact_offset))
        is_free = not context.quantity and not context.pending_orders
        if is_free and context.market_state.phase == "continuous" and len(seen) > 50:
            return StrategyOutput([OrderRequest.market(Side.BUY, 2)])
        return None

    data = settings().model_dump(exclude_unset=True)
    data["backtest"]["execution"] = {"market_impact": IMPACTS[2]}
    backtest(session_file, Script(act), config=BacktestConfig.from_dict(data), tapes=session_file.parent / "tapes")
    assert {offset for _, offset in seen} == {0.0, 0.4}
    assert {offset for lots, offset in seen if lots == 2} == {0.4}
    assert {offset for lots, offset in seen if lots == 0} == {0.0}


def test_original_file__runs_as_it_stands(tmp_path, monkeypatch):
    """configs/original_backtest.yaml on a session of its symbol, under its probabilistic fills and linear impact."""
    session = synthetic()
    file = tmp_path / "session.mbo.dbn.zst"
    session.write(file)
    monkeypatch.chdir(tmp_path)
    config = BacktestConfig.from_file(
        ROOT / "configs" / "original_backtest.yaml",
        {"instruments": {"SYN*": {"tick_size": 0.25, "multiplier": 50, "fee_per_contract": 2}}},
    )
    backtester = Backtester(config, files=[file], symbol=session.profile.symbol, tape_folder=tmp_path / "tapes")
    report = backtester.add_strategy("busy", Busy(3)).run()
    assert report.total_trades > 0
    assert report.impact > 0
    assert report.run.fill_model.startswith(
        "probabilistic (fill_probability_at_touch 0.5, queue_position_model pro_rata"
    )
    assert set(backtester.write(report)) >= {"metrics", "trades"}
    assert (tmp_path / "results" / "trades.parquet").is_file()
