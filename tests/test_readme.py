"""What README and docs let a reader do is done here, on a synthetic session: their code blocks run as they stand."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bt_gym import BacktestConfig, Backtester, MarketReplayEngine
from bt_gym.data.sources import gather
from bt_gym.data.synthetic import generate
from bt_gym.data.tape import ingest_all
from tests.data.batches import write_batch
from tests.envs.make import tapes, vector

ROOT = Path(__file__).parent.parent


def python_blocks(name: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the example configurations and the session of a demo, but shorter."""
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    (tmp_path / "demo").mkdir()
    generate(7, 240).write(tmp_path / "demo" / "session.mbo.dbn.zst")
    monkeypatch.setenv("BT_GYM_TAPES", str(tmp_path / "tapes"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_readme__strategy_runs_as_printed(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    strategy, run = python_blocks("README.md")
    assert len(strategy.strip().splitlines()) <= 20
    names: dict[str, Any] = {}
    exec(strategy, names)
    exec(run, names)
    trades, profit, maker_share = capsys.readouterr().out.split()
    report = names["report"]
    assert int(trades) == report.total_trades > 0
    assert float(profit) == report.total_pnl
    assert 0 < float(maker_share) <= 1


def test_readme__strategy_runs_from_a_configuration(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (checkout / "my_file.py").write_text(python_blocks("README.md")[0], encoding="utf-8")
    monkeypatch.syspath_prepend(checkout)
    config = BacktestConfig.from_file(
        "configs/sma_crossover.yaml", {"strategy.type": "my_file:JoinTheQueue", "strategy.parameters": {}}
    )
    report = Backtester(config, files=["demo/session.mbo.dbn.zst"]).run()
    assert report.total_trades > 0


def test_outputs__a_fill_leads_to_its_messages(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = [
        "backtest.output.metrics_file=demo/metrics.parquet",
        "strategy.parameters.fast_period=5",
        "strategy.parameters.slow_period=10",
    ]
    config = BacktestConfig.from_file("configs/sma_crossover.yaml", settings)
    backtester = Backtester(config, files=["demo/session.mbo.dbn.zst"])
    backtester.write(backtester.run())
    names: dict[str, Any] = {}
    exec(python_blocks("docs/outputs.md")[0], names)
    fill, messages = names["fill"], names["messages"]
    event = messages[fill["source_record_first"] : fill["source_record_end"]]
    assert len(event)
    assert (event["ts_event"] <= fill["ts_event"]).all()
    assert capsys.readouterr().out.strip() == str(event)


def test_data__splits_and_windows_of_the_catalogue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BT_GYM_TAPES", str(tmp_path / "tapes"))
    sources = gather([write_batch(tmp_path / "batch")])
    options = {"statuses": sources.statuses, "by_day": True, "folder": tmp_path / "tapes"}
    ingest_all(sources.market, tick_size_nanos=250_000_000, **options)
    names: dict[str, Any] = {}
    windows, replay = python_blocks("docs/data.md")
    exec(windows, names)
    printed = capsys.readouterr().out.strip()
    assert printed == names["windows"].report()
    assert len(names["split"].train) == 1
    assert len(names["windows"].rows) > 0
    rule = "2 s every 2 s, 08:30-15:00 America/Chicago, at least 5 events in the 10 s before, by what came before"
    assert f"({rule}); refused" in printed
    exec(replay, names)
    assert sum(map(int, capsys.readouterr().out.split())) > 0
    again = MarketReplayEngine(names["markets"])
    again.resume(names["state"])
    assert again.run(lambda events: None) > 0


def test_training__examples_run(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorter, and on a short session instead of the default data."""
    monkeypatch.setattr("bt_gym.envs.markets.default_tapes", lambda split: tapes())
    learn, strategy, policy = python_blocks("docs/training.md")
    for length, shorter in (
        ("1024", "4"),
        ("n_steps=16, batch_size=4096", "n_steps=8, batch_size=32"),
        ("1_000_000", "32"),
    ):
        assert length in learn
        learn = learn.replace(length, shorter)
    names: dict[str, Any] = {}
    exec(learn, names)
    (checkout / "runs" / "ppo_1").mkdir(parents=True)
    names["PPO"]("MlpPolicy", names["venv"], seed=1, device="cpu").save("runs/ppo_1/model.zip")
    exec(strategy, names)
    assert names["rewards"].shape == (64,)
    exec(policy, names)
    assert names["report"].total_trades > 0


def test_environment__own_scheme_runs() -> None:
    names: dict[str, Any] = {}
    exec(next(block for block in python_blocks("docs/environment.md") if "class Lean" in block), names)
    env = vector(2, action=names["Lean"])
    env.reset(seed=1)
    assert env.step(np.array([0, 2]))[1].shape == (2,)
