"""The market of Avellaneda and Stoikov, whose optimum is known: the environment pays it, and PPO learns it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents import evaluate, ppo_market_making
from agents.baselines import FIRST_OFFSET, WITHDRAW, Policy, Quoter
from bt_gym.data.dataset import SyntheticSet
from bt_gym.data.synthetic import PROFILES, optimum

STEPS = 300  # of 100 ms, as the market's
MOST = 10
FEE = 0.16  # ticks: 2.00 of 12.50
DATA = SyntheticSet("as", seed=11, minutes=30, train=8, test=15)
OPTIMUM = optimum(PROFILES["as"], STEPS, MOST, fee=FEE, half_spread=1 + FEE)
VALUE = OPTIMUM.value[0, MOST]


def options(tapes: Any) -> dict[str, Any]:
    return {
        "data": {"files": [str(tape.path) for tape in tapes], "window_s": STEPS / 10},
        "decision": {"interval_ms": 100.0},
        "action": {"offsets": [0, 1, 2, 3]},
    }


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """All windows of the test days."""
    tapes = DATA.tapes("test", tmp_path_factory.mktemp("as"))
    return evaluate.make_env({"id": "bt_gym/MarketMaking-v0", "env": options(tapes)}, tapes, 256)


def best(quoter: Quoter) -> Policy:
    """The quotes of dynamic programming. The best prices are one tick from the mid: distance d is offset d - 1."""

    def policy(obs: np.ndarray) -> np.ndarray:
        left = np.rint(obs[:, quoter.columns["remaining_time"]] * STEPS).astype(int)
        step = np.clip(STEPS - left, 0, STEPS - 1)
        row = np.rint(obs[:, quoter.columns["inventory"]] * MOST).astype(int) + MOST
        distances = np.stack([OPTIMUM.bid[step, row], OPTIMUM.ask[step, row]], 1)
        return np.where(distances == 0, WITHDRAW, FIRST_OFFSET + np.minimum(distances - 1, 3))

    return policy


def test_environment__pays_the_optimum_that_dynamic_programming_computes(env: Any):
    earned = evaluate.play(env, best(Quoter(env)))["pnl_liquidated"] / 12.5
    error = earned.std() / np.sqrt(len(earned))
    assert error < 0.025 * VALUE
    assert earned.mean() == pytest.approx(VALUE, abs=4 * error)


@pytest.mark.soak
def test_ppo__learns_at_least_four_fifths_of_the_optimum(env: Any, tmp_path: Path):
    args = ppo_market_making.Args(
        env=options(DATA.tapes("train", tmp_path)),
        num_envs=256,
        n_steps=32,
        batch_size=2048,
        n_epochs=6,
        total_steps=600_000,
        folder=str(tmp_path / "run"),
    )
    model = ppo_market_making.main(args)
    greedy = evaluate.play(env, lambda obs: model.predict(obs, deterministic=True)[0])["pnl_liquidated"] / 12.5
    chance = evaluate.play(env, Quoter(env).at_random(0))["pnl_liquidated"] / 12.5
    assert greedy.mean() >= 0.8 * VALUE
    assert chance.mean() < 0.65 * VALUE
