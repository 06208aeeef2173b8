"""From a configuration to a strategy: built-in ones by name, one's own by `module:Name`."""

from pathlib import Path

import pytest

from bt_gym import EnhancedMomentum, SimpleMovingAverageCrossover, StrategyConfig
from bt_gym.errors import ConfigError
from bt_gym.strategy.registry import make_strategy


def config(kind: str, **parameters) -> StrategyConfig:
    return StrategyConfig.from_dict({"strategy": {"type": kind, "parameters": parameters}})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory that Python doesn't look into by itself."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [path for path in __import__("sys").path if path not in ("", str(tmp_path))])
    return tmp_path


def test_make_strategy__gives_a_built_in_strategy_its_parameters():
    sma = make_strategy(config("sma_crossover", fast_period=3, slow_period=7, position_size=2))
    assert isinstance(sma, SimpleMovingAverageCrossover)
    assert dict(sma.config) == {"fast_period": 3, "slow_period": 7, "position_size": 2}
    rule = {"lookback_period": 9, "entry_threshold": 1.5, "exit_threshold": 0.25, "position_size": 3}
    momentum = make_strategy(config("ml_enhanced_momentum", **rule))
    assert isinstance(momentum, EnhancedMomentum)
    assert dict(momentum.config) == rule | {"model": "none"}


def test_make_strategy__gives_each_run_a_fresh_one():
    settings = config("sma_crossover")
    assert make_strategy(settings) is not make_strategy(settings)


def test_make_strategy__imports_ones_own_from_the_working_directory(folder: Path):
    (folder / "own_strategies.py").write_text(
        "from bt_gym import SimpleMovingAverageCrossover\n\n"
        "class Mine(SimpleMovingAverageCrossover):\n"
        "    def __init__(self, threshold, names=()):\n"
        "        super().__init__()\n"
        "        self.given = threshold, names\n\n"
        "class NoStrategy:\n    pass\n"
    )
    strategy = make_strategy(config("own_strategies:Mine", threshold=0.5, names=["a", 1]))
    assert type(strategy).__name__ == "Mine"
    assert strategy.given == (0.5, ["a", 1])
    for kind, words in (
        ("own_strategies:NoStrategy", "isn't a subclass of bt_gym.Strategy"),
        ("own_strategies:Missing", "has no attribute 'Missing'.*importable from"),
        ("no_such_module:Mine", "No module named 'no_such_module'.*importable from"),
    ):
        with pytest.raises(ConfigError, match=f"strategy.type: {kind}: .*{words}"):
            make_strategy(config(kind))
    with pytest.raises(ConfigError, match=r"strategy.parameters: own_strategies:Mine refuses .*limit.*: .*unexpected"):
        make_strategy(config("own_strategies:Mine", limit=1))
