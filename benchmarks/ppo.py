"""How much of SB3's own speed PPO keeps on bt_gym's environment: env-steps per second of `learn`, in turns.

    environment   PPO on MarketMaking-v0 as registered, through `make_sb3_vec_env`
    ceiling       the same PPO on an environment that does nothing: the same number, spaces and keys of infos, and
                  episodes that terminate and are truncated as often
    bare          each of both stepped with actions drawn beforehand

1,024 environments of 16 steps, batches of 4,096, 4 epochs, one torch thread.
"""

import argparse
from typing import Any

import numpy as np
import torch
from gymnasium.vector.utils import batch_space
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecEnv, VecMonitor

from benchmarks._harness import Case, Result, Target, main, measure, ratio, target
from bt_gym.sb3 import make_sb3_vec_env

ID = "bt_gym/MarketMaking-v0"
N_STEPS = 16
BATCH = 4096
EPOCHS = 4
SEED = 1


class Ceiling(VecEnv):
    """Does nothing as fast as Python can: what it returns was drawn beforehand and is copied.

    Args:
        like: the environment whose number and spaces it takes.
        terminated: share of env-steps that end with a terminal state.
        truncated: share that end with a time limit.
        final_info: what stands in the info of an episode's end.
    """

    ROUNDS = 64

    def __init__(self, like: VecEnv, terminated: float, truncated: float, final_info: dict[str, Any]) -> None:
        super().__init__(like.num_envs, like.observation_space, like.action_space)
        space = batch_space(like.observation_space, self.num_envs)
        space.seed(SEED)
        self.observations = [space.sample() for _ in range(self.ROUNDS)]
        random = np.random.default_rng(SEED)
        ends = random.random((self.ROUNDS, self.num_envs))
        self.terminated = ends < terminated
        self.truncated = (ends >= terminated) & (ends < terminated + truncated)
        self.rewards = random.normal(size=(self.ROUNDS, self.num_envs)).astype(np.float32)
        self.final_info = final_info
        self.round = 0

    def reset(self) -> np.ndarray:
        self.round = 0
        return self.observations[0].copy()

    def step_async(self, actions: np.ndarray) -> None:
        pass

    def step_wait(self) -> Any:
        self.round = (self.round + 1) % self.ROUNDS
        terminated, truncated = self.terminated[self.round], self.truncated[self.round]
        dones = terminated | truncated
        obs = self.observations[self.round]
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for i in np.flatnonzero(dones).tolist():
            infos[i] = dict(self.final_info)
            infos[i]["terminal_observation"] = obs[i]
            infos[i]["TimeLimit.truncated"] = bool(truncated[i])
        return obs.copy(), self.rewards[self.round].copy(), dones, infos

    def close(self) -> None:
        pass

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        if attr_name not in ("render_mode", "spec"):
            raise AttributeError(attr_name)
        return [None for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        raise AttributeError(attr_name)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        raise AttributeError(method_name)

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> list[bool]:
        return [False for _ in self._get_indices(indices)]


def watch(venv: VecEnv, steps: int) -> tuple[float, float, dict[str, Any]]:
    """(share terminated, share truncated, an info of an episode's end) over so many random steps."""
    spread_ends(venv)
    venv.reset()
    terminated = truncated = 0
    final_info: dict[str, Any] = {}
    for actions in draw(venv, steps):
        _, _, dones, infos = venv.step(actions)
        for i in np.flatnonzero(dones):
            cut = infos[i]["TimeLimit.truncated"]
            terminated, truncated = terminated + (not cut), truncated + cut
            final_info = infos[i]
    total = steps * venv.num_envs
    return terminated / total, truncated / total, final_info


def spread_ends(venv: VecEnv) -> None:
    """The next reset begins windows of different lengths: else all episodes would end in the same step."""
    window = venv.get_attr("config")[0].data.window_s
    lengths = np.random.default_rng(SEED).uniform(0.01, 1, venv.num_envs) * window
    venv.set_options([{"window_s": length} for length in lengths.tolist()])


def draw(venv: VecEnv, steps: int) -> list[np.ndarray]:
    """Random actions."""
    space = batch_space(venv.action_space, venv.num_envs)
    space.seed(SEED)
    return [space.sample() for _ in range(steps)]


def learner(venv: VecEnv) -> PPO:
    return PPO(
        "MlpPolicy", VecMonitor(venv), n_steps=N_STEPS, batch_size=BATCH, n_epochs=EPOCHS, seed=SEED, device="cpu"
    )


def run(options: argparse.Namespace) -> tuple[list[Result], list[Target]]:
    torch.set_num_threads(1)
    n = 64 if options.quick else 1024
    venv = make_sb3_vec_env(ID, n, seed=SEED, monitor=False)
    terminated, truncated, final_info = watch(venv, options.watch)
    ceiling = Ceiling(venv, terminated, truncated, final_info)
    spread_ends(venv)  # for the reset with which `learn` begins
    steps = n * N_STEPS * options.iterations
    cases = []
    for name, env in (("environment", venv), ("ceiling", ceiling)):
        model = learner(env)
        cases.append(Case(name, lambda model=model: model.learn(steps, reset_num_timesteps=False), steps, "env-steps"))
    actions = draw(venv, N_STEPS * options.iterations)
    for name, env in (("environment_bare", venv), ("ceiling_bare", ceiling)):
        cases.append(Case(name, lambda env=env: [env.step(action) for action in actions], steps, "env-steps"))
    timings = measure(cases, options.runs)
    share = ratio(timings["environment"], timings["ceiling"])
    rates = {"num_envs": n, "terminated_share": terminated, "truncated_share": truncated}
    return [timing.result(**rates) for timing in timings.values()], [target("ppo_vs_ceiling", share, 0.9)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="64 environments: only shows that it runs")
    parser.add_argument("--iterations", type=int, default=4, help="rollouts of a timed run (default %(default)s)")
    parser.add_argument("--watch", type=int, default=2000, help="steps to count episode ends (default %(default)s)")


if __name__ == "__main__":
    main(__file__, __doc__, run, add_arguments, packages=["gymnasium", "stable-baselines3", "torch"])
