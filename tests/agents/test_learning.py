"""PPO learns a planted rule, and learns nothing where there is nothing to read."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3 import PPO

import bt_gym  # noqa: F401  (registers the ids)
from agents import evaluate
from bt_gym.sb3 import make_sb3_vec_env
from tests.agents import planted

STEPS = 60_000
"""Env-steps, about nine seconds here."""


def options(files: list[Path]) -> dict[str, Any]:
    return {
        "data": {"files": [str(file) for file in files], "window_s": 60.0},
        "observation": {"features": planted.FEATURES},
    }


def rule(obs: np.ndarray) -> np.ndarray:
    """Long while the best bid is larger than the best ask, else short."""
    return np.where(obs[:, 0] > 0, 2, 0)


def earned(folder: Path, is_shown: bool) -> tuple[float, float]:
    """Ticks a window on days not trained on: (of the rule, of PPO)."""
    torch.set_num_threads(1)
    days = [planted.make(folder, seed, 1800, is_shown) for seed in range(4)]
    venv = make_sb3_vec_env("bt_gym/Trading-v0", 64, seed=1, **options(days[:3]))
    settings = {"n_steps": 32, "batch_size": 512, "n_epochs": 6, "learning_rate": 2e-3, "gamma": 0.9}
    model = PPO("MlpPolicy", venv, seed=1, device="cpu", ent_coef=0.001, **settings).learn(STEPS)
    held_out = options(days[3:])
    held_out["data"]["sampling"] = "ordered"
    env = gym.make_vec("bt_gym/Trading-v0", 32, autoreset_mode="Disabled", **held_out)
    return tuple(  # type: ignore[return-value]
        evaluate.play(env, policy)["pnl_liquidated"].mean() / 12.5
        for policy in (rule, lambda obs: model.predict(obs, deterministic=True)[0])
    )


def test_ppo__comes_to_four_fifths_of_the_rule_that_knows(tmp_path: Path):
    known, learnt = earned(tmp_path, is_shown=True)
    assert known > 8  # ticks a minute
    assert learnt >= 0.8 * known


def test_ppo__learns_nothing_where_sizes_tell_nothing(tmp_path: Path):
    known, learnt = earned(tmp_path, is_shown=False)
    assert known < 0
    assert learnt < 2
