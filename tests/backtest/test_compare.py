"""One strategy under every fill model: the bounds enclose the exact queue, and a doubtful profit is flagged."""

import json
from pathlib import Path

import pytest

from bt_gym import BacktestConfig, Backtester, OrderRequest, Side, Strategy, StrategyOutput
from bt_gym.backtest.compare import BOUNDS, FILL_MODELS, Comparison, Row, compare_fills
from bt_gym.errors import ConfigError
from tests.runs import settings
from tests.test_cli import bt_gym


class BuyAtTheBid(Strategy):
    """Rests one lot at the best bid every second, until it has sent sixty; never sells."""

    timer_interval_ns = 1_000_000_000

    def __init__(self) -> None:
        self.sent = 0

    def on_market_event(self, event, context):
        return StrategyOutput()

    def on_timer(self, timestamp, context):
        bid = context.market_state.best_bid()
        if context.market_state.phase != "continuous" or bid is None or self.sent == 60:
            return StrategyOutput()
        self.sent += 1
        return StrategyOutput([OrderRequest.limit(Side.BUY, 1, bid.price)])


def test_compare_fills__bounds_enclose_the_exact_queue(session_file: Path):
    options = {"files": [session_file], "tape_folder": session_file.parent / "tapes"}
    done = []
    result = compare_fills(
        settings(), strategy=BuyAtTheBid, latencies_us=(0,), progress=lambda *at: done.append(at), **options
    )
    assert [row.fill_model for row in result.rows] == [*FILL_MODELS, *FILL_MODELS]
    assert [row.latency for row in result.rows][:: len(FILL_MODELS)] == ["configured", "0 us"]
    assert done[-1] == (len(result.rows), len(result.rows))
    for latency in ("configured", "0 us"):
        lots = {row.fill_model: row.contracts for row in result.rows if row.latency == latency}
        assert lots["never_at_touch"] <= lots["fifo"] <= lots["front_of_queue"]
        assert lots["never_at_touch"] < lots["front_of_queue"]
        assert max(lots.values()) == lots["front_of_queue"]
    backtester = Backtester(settings(), **options).add_strategy("strategy", BuyAtTheBid())
    report = backtester.run()
    exact = next(row for row in result.rows if row.fill_model == "fifo")
    assert (exact.pnl, exact.fills, exact.maker_share) == (report.total_pnl, report.total_trades, report.maker_share)


def test_comparison__flags_a_profit_that_changes_its_sign_between_the_bounds():
    def rows(latency: str, *pnl: float) -> list[Row]:
        return [
            Row(latency, name, value, 0.0, 1, 1, 1.0, None, None) for name, value in zip(FILL_MODELS, pnl, strict=False)
        ]

    result = Comparison("s", "ES", (*rows("0 us", -5, 1, 7, -3), *rows("1000 us", -5, -1, -2, 9)))
    assert result.flagged == ("0 us",)
    assert set(list(FILL_MODELS)[:3]) == set(BOUNDS)
    assert json.loads(json.dumps(result.to_dict()))["flagged"] == ["0 us"]
    told = result.table().caption
    assert told == "profit changes its sign between the bounds at latency: 0 us"


def test_compare_fills__names_what_can_not_run(session_file: Path, monkeypatch: pytest.MonkeyPatch):
    """Level data have no queue: models that need one are told so, the others run."""
    from bt_gym.data.tape import Tape

    open_tape = Tape.open.__func__

    def without_orders(cls, *arguments, **options):
        tape = open_tape(cls, *arguments, **options)
        tape.metadata["book"] = "l2"
        return tape

    monkeypatch.setattr(Tape, "open", classmethod(without_orders))
    options = {"files": [session_file], "tape_folder": session_file.parent / "tapes"}
    result = compare_fills(settings(), strategy=BuyAtTheBid, latencies_us=(), **options)
    problems = {row.fill_model for row in result.rows if row.problem}
    assert problems == {"fifo", "pro_rata", "cme", "probabilistic exact"}
    assert all("needs order by order data" in row.problem for row in result.rows if row.problem)
    assert result.table().row_count == len(FILL_MODELS)
    assert "can't run: pro_rata needs order by order data" in result.table().caption


def test_compare_fills__refuses_what_can_not_run_at_all(session_file: Path):
    with pytest.raises(ConfigError, match="strategy: missing"):
        compare_fills(BacktestConfig.from_dict({"backtest": {}}), files=[session_file])


def test_command__prints_a_table_or_json(session_file: Path, tmp_path: Path):
    config = tmp_path / "run.yaml"
    config.write_text(
        "backtest: {}\nstrategy: {type: sma_crossover, parameters: {fast_period: 5, slow_period: 20}}\n"
        'instruments: {"*": {tick_size: 0.25, multiplier: 50, fee_per_contract: 2}}\n'
    )
    run = ("compare-fills", config, "--data", session_file, "--latency", "250")
    result = bt_gym(*run, "--json", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert (told["strategy"], told["symbol"], len(told["rows"])) == ("sma_crossover", "SYNH6", 2 * len(FILL_MODELS))
    assert len({row["pnl"] for row in told["rows"] if row["latency"] == "250 us"}) == 1  # it only takes
    table = bt_gym(*run, folder=tmp_path)
    assert table.returncode == 0, table.stderr
    assert "front_of_queue" in table.stdout
    assert "profit has the same sign under all bounds" in table.stdout
    for wrong in ("-5", "nan", "inf"):
        refused = bt_gym("compare-fills", config, "--latency", wrong, folder=tmp_path)
        assert refused.returncode == 1
        assert refused.stderr == f"bt-gym: --latency {wrong}: must be 0 us or more, such as 1000\n"
