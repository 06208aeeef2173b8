"""A small data set of the Avellaneda-Stoikov market, and options of environments on it."""

from pathlib import Path
from typing import Any

import pytest

from bt_gym.data.dataset import SyntheticSet


@pytest.fixture(scope="session")
def days(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Tapes by split: four training and three test days of two minutes."""
    folder = tmp_path_factory.mktemp("days")
    data = SyntheticSet("as", seed=11, minutes=2, train=4, test=3)
    return {split: [str(tape.path) for tape in data.tapes(split, folder)] for split in ("train", "test")}


@pytest.fixture
def env_options(days: dict[str, list[str]]) -> dict[str, Any]:
    """Ten decisions a second in windows of two seconds."""
    return {"data": {"files": days["train"], "window_s": 2.0}, "decision": {"interval_ms": 100.0}}


@pytest.fixture
def run(tmp_path: Path, env_options: dict[str, Any]) -> list[str]:
    """Command line of a short training run; its folder is the last word."""
    import json

    small = ["--num-envs", "8", "--n-steps", "16", "--batch-size", "64", "--seed", "3", "--save-every", "2"]
    return [*small, "--env", json.dumps(env_options), "--folder", str(tmp_path / "run")]
