"""PPO makes a market: Stable-Baselines3 on bt_gym's vector environment, from top to bottom in one file.

    python -m agents.ppo_market_making --total-steps 2000000 --seed 1
    python -m agents.ppo_market_making --resume runs/ppo_1 --total-steps 4000000
    python -m agents.evaluate runs/ppo_1

Few environments and small batches make SB3 thirty times slower than it need be, whatever the environment costs: the
defaults are 1,024 environments of 16 steps, batches of 4,096 and one torch thread.
"""

import argparse
import ast
import dataclasses
import inspect
import json
import pickle
import random
import sys
import time
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv, VecMonitor, VecNormalize

from bt_gym.sb3 import SB3VecEnv, make_sb3_vec_env

EPISODE_KEYS = ("pnl_liquidated", "trades")
MODEL, STATE, ARGS = "model.zip", "state.pkl", "args.json"


@dataclass
class Args:
    """What can be set on the command line."""

    id: str = "bt_gym/MarketMaking-v0"
    """id of the environment"""
    env: dict[str, Any] = field(default_factory=dict)
    """options of the environment, as JSON"""
    num_envs: int = 1024
    """number of environments"""
    n_steps: int = 16
    """steps of each environment in a rollout"""
    batch_size: int = 4096
    """steps in a gradient step"""
    n_epochs: int = 4
    """times that a rollout is gone through"""
    learning_rate: float = 1e-3
    """learning rate of Adam"""
    gamma: float = 0.95
    """discount a step; what a quote is worth shows within seconds, and what comes later is the market's noise"""
    gae_lambda: float = 0.9
    """lambda of the generalised advantage estimate"""
    ent_coef: float = 0.001
    """weight of the entropy bonus"""
    clip_range: float = 0.2
    """how far PPO's ratio may be from 1"""
    normalise_reward: bool = False
    """divide rewards by the running deviation of their discounted sum"""
    total_steps: int = 2_000_000
    """env-steps in all, those of a resumed run included"""
    seed: int = 1
    """seed of weights, actions and episodes"""
    save_every: int = 50
    """rollouts between checkpoints; the last one is always kept"""
    tensorboard: bool = False
    """write TensorBoard files into the folder"""
    folder: str = ""
    """folder of the run; runs/ppo_SEED if not given"""
    resume: str = ""
    """folder of a run to go on with, whose settings are kept"""


def main(args: Args) -> PPO:
    """Trains until `total_steps` and returns the model; checkpoints are in the folder."""
    torch.set_num_threads(1)  # with two, any other load slows PPO four to fifteen times
    folder = Path(args.resume or args.folder or f"runs/ppo_{args.seed}")
    if args.resume:
        saved = read_run(folder)
        args = Args(**saved | {"resume": args.resume, "total_steps": args.total_steps})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ARGS).write_text(json.dumps(dataclasses.asdict(args), indent=2) + "\n")

    venv = make_venv(args)
    model = load(folder, venv) if args.resume else make_model(args, venv, folder)
    steps = args.total_steps - model.num_timesteps
    if steps > 0:
        model.learn(steps, callback=Progress(args, folder), reset_num_timesteps=not args.resume)
    save(model, folder)
    venv.close()
    return model


def read_run(folder: Path) -> dict[str, Any]:
    """What a run was started with."""
    file = folder / ARGS
    if not file.is_file():
        raise SystemExit(f"{file}: there is none: name the folder of a run of agents.ppo_market_making")
    saved: dict[str, Any] = json.loads(file.read_text())
    return saved


def make_venv(args: Args) -> VecEnv:
    """The environments on the training days, with returns and lengths of episodes for SB3's log."""
    venv: VecEnv = make_sb3_vec_env(args.id, args.num_envs, seed=args.seed, monitor=False, **args.env)
    # First windows of different lengths: else all episodes begin and end together, and a rollout sees one time of them.
    window = venv.get_attr("config")[0].data.window_s
    lengths = np.random.default_rng(args.seed).uniform(0.01, 1, args.num_envs) * window
    venv.set_options([{"window_s": length} for length in lengths.tolist()])
    venv = VecMonitor(venv, info_keywords=EPISODE_KEYS)
    return VecNormalize(venv, norm_obs=False, gamma=args.gamma) if args.normalise_reward else venv


def make_model(args: Args, venv: VecEnv, folder: Path) -> PPO:
    return PPO(
        "MlpPolicy",
        venv,
        n_steps=args.n_steps,
        batch_size=args.batch_size,
        n_epochs=args.n_epochs,
        learning_rate=args.learning_rate,
        gamma=args.gamma,
        gae_lambda=args.gae_lambda,
        ent_coef=args.ent_coef,
        clip_range=args.clip_range,
        tensorboard_log=str(folder) if args.tensorboard else None,
        seed=args.seed,
        device="cpu",
    )


class Progress(BaseCallback):
    """A line on stderr now and then, and checkpoints."""

    def __init__(self, args: Args, folder: Path) -> None:
        super().__init__()
        self.args, self.folder = args, folder
        self.started = time.monotonic()
        self.rollouts = 0

    def _on_training_start(self) -> None:
        self.first = self.num_timesteps

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        """Between two updates, where a checkpoint is whole."""
        if self.rollouts % self.args.save_every == 0 and self.rollouts:
            save(self.model, self.folder)
            self._say()
        self.rollouts += 1

    def _on_training_end(self) -> None:
        self._say()

    def _say(self) -> None:
        episodes = list(self.model.ep_info_buffer or ())
        rate = (self.num_timesteps - self.first) / (time.monotonic() - self.started)
        figures = [f"{self.num_timesteps:,} steps", f"{rate:,.0f} a second"]
        if episodes:
            figures.append(f"reward of an episode {np.mean([episode['r'] for episode in episodes]):+.2f}")
            figures.append(f"trades {np.mean([episode['trades'] for episode in episodes]):.1f}")
        print("ppo: " + ", ".join(figures), file=sys.stderr, flush=True)


# -- checkpoints: a resumed run learns the same weights, to the bit, as one that never stopped


def save(model: BaseAlgorithm, folder: Path) -> None:
    """Writes the model, the state of all randomness, of the environments and of the wrappers around them."""
    venv = model.get_env()
    monitor = _find(venv, VecMonitor)
    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
        "envs": _find(venv, SB3VecEnv).get_state(),
        "monitor": (monitor.episode_returns, monitor.episode_lengths),
    }
    normalise = _find(venv, VecNormalize)
    if normalise is not None:
        state["normalise"] = (normalise.ret_rms, normalise.returns)
    model.save(folder / f".{MODEL}")
    (folder / f".{STATE}").write_bytes(pickle.dumps(state))
    for name in (MODEL, STATE):
        (folder / f".{name}").replace(folder / name)


def load(folder: Path, venv: VecEnv) -> PPO:
    """The model as it was saved, and everything else put back into `venv` and the random generators.

    Both files hold pickled Python objects: load your own only.
    """
    model = PPO.load(folder / MODEL, env=venv, device="cpu", force_reset=False)
    state = pickle.loads((folder / STATE).read_bytes())  # noqa: S301 (a run of one's own)
    _find(venv, SB3VecEnv).set_state(state["envs"])
    monitor = _find(venv, VecMonitor)
    monitor.episode_returns, monitor.episode_lengths = state["monitor"]
    normalise = _find(venv, VecNormalize)
    if normalise is not None:
        normalise.ret_rms, normalise.returns = state["normalise"]
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    return model


def _find(venv: Any, kind: type) -> Any:
    """The wrapper of this kind around the environments, or None."""
    while venv is not None and not isinstance(venv, kind):
        venv = getattr(venv, "venv", None)
    return venv


def read_args(argv: list[str] | None = None) -> Args:
    """The command line: every field of `Args` is an option, and the line below it says what it means."""
    parser = argparse.ArgumentParser(prog="python -m agents.ppo_market_making", description=__doc__.splitlines()[0])
    body: Any = ast.parse(inspect.getsource(Args)).body[0]
    meanings = [line.value.value for line in body.body[2::2]]
    defaults = dataclasses.asdict(Args())
    for one, meaning in zip(fields(Args), meanings, strict=True):
        name, default = "--" + one.name.replace("_", "-"), defaults[one.name]
        if one.type is bool:
            parser.add_argument(name, action="store_true", help=meaning)
        else:
            kind: Any = json.loads if one.name == "env" else one.type
            meaning += f" (default {default})" if default else ""
            parser.add_argument(name, type=kind, default=argparse.SUPPRESS, metavar=one.name.upper(), help=meaning)
    return Args(**vars(parser.parse_args(argv)))


if __name__ == "__main__":
    main(read_args())
