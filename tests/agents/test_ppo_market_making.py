"""The first agent: a run that is stopped and resumed learns what one that goes on learns."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO

from agents.ppo_market_making import Args, main, read_args

ROLLOUT = 8 * 16


def weights(folder: Path) -> np.ndarray:
    model = PPO.load(folder / "model.zip", device="cpu")
    return torch.nn.utils.parameters_to_vector(model.policy.parameters()).detach().numpy()


def test_resume__in_a_new_process_learns_the_same_weights_to_the_bit(
    run: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run = [*run, "--normalise-reward"]  # has a state of its own
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    main(read_args([*run, "--folder", str(whole), "--total-steps", str(8 * ROLLOUT)]))
    main(read_args([*run, "--folder", str(halves), "--total-steps", str(4 * ROLLOUT)]))
    half = weights(halves)
    command = [sys.executable, "-m", "agents.ppo_market_making", "--resume", str(halves)]
    done = subprocess.run([*command, "--total-steps", str(8 * ROLLOUT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (weights(halves) == weights(whole)).all()
    assert (half != weights(whole)).any()
    assert "steps" in capsys.readouterr().err


def test_seed__decides_the_weights(run: list[str], tmp_path: Path):
    for name, seed in (("a", "5"), ("b", "5"), ("c", "6")):
        main(read_args([*run, "--seed", seed, "--folder", str(tmp_path / name), "--total-steps", str(ROLLOUT)]))
    a, b, c = (weights(tmp_path / name) for name in "abc")
    assert (a == b).all()
    assert (a != c).any()


@pytest.mark.parametrize(
    ("module", "lines"),
    [
        ("ppo_market_making", ["--seed SEED seed of weights, actions and episodes (default 1)", "--tensorboard write"]),
        ("evaluate", ["--num-envs NUM_ENVS environments played at once (default 256)", "--quick tune baselines"]),
    ],
)
def test_help__says_what_every_option_means(module: str, lines: list[str]):
    command = [sys.executable, "-m", f"agents.{module}", "--help"]
    words = " ".join(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert all(line in words for line in lines)
    options = words.partition(" options: ")[2]
    assert not re.search(r"--[a-z-]+( [A-Z_]+)? --", options.replace("-h, --help", "")), "an option without a meaning"


def test_read_args__has_an_option_for_every_field():
    args = read_args(["--total-steps", "5", "--env", '{"data": {"window_s": 9}}', "--tensorboard", "--gamma", "0.5"])
    assert args == Args(total_steps=5, env={"data": {"window_s": 9}}, tensorboard=True, gamma=0.5)
