"""How fast `bt_gym/MarketMaking-v0` steps, through its public interface, against Gymnasium's own CartPole.

    ladder_pass    adds the sizes of the tapes' records up, on one core: the least that a replay has to do
    env_100rec     1,024 environments, a decision every 100 MBO records, all cores; random actions, masks asked for
    env_1rec       the same with a decision every record, and 64 of them
    env_10rec_n1   one environment of `gym.make`, unwrapped, a decision every 10 records
    cartpole       Gymnasium's native vector of 1,024 and of 64, and one of `gym.make`, unwrapped
    reset          1,024 environments at random times, by mask
    ..._n1         hftbacktest, gym-anytrading and gym-trading-env, where installed: one environment each (`_env_peers`)

Actions are drawn beforehand. Fills and ends per step are reported: an environment in which nothing happens would be
fast for the wrong reason. The data are the synthetic days that the id runs on by default.
"""

import argparse
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

import bt_gym  # noqa: F401  (registers the ids)
from benchmarks._calibration import LADDER_WIDTH, ladder_pass
from benchmarks._env_peers import peers
from benchmarks._harness import Case, Result, Target, main, measure, ratio, target
from bt_gym.core import features
from bt_gym.core.env_state import env_dtype
from bt_gym.data.dataset import default_tapes

ID = "bt_gym/MarketMaking-v0"
MANY, FEW = 1024, 64
DRAWN = 64  # action batches
SEED = 1


def records_clock(count: int) -> dict[str, Any]:
    """Keywords for a decision every `count` MBO records."""
    return {"decision": {"clock": "records", "count": count}}


class Stepper:
    """Steps a vector environment with actions drawn beforehand, and counts what happened."""

    def __init__(self, env: Any, steps: int, masks: bool) -> None:
        self.env, self.steps, self.masks = env, steps, masks
        env.action_space.seed(SEED)
        self.actions = [env.action_space.sample() for _ in range(DRAWN)]
        env.reset(seed=SEED)
        self.calls = self.ends = 0
        self.fills = 0

    def __call__(self) -> None:
        env = self.env
        for _ in range(self.steps):
            infos = env.step(self.actions[self.calls % DRAWN])[4]
            if self.masks:
                env.action_masks()
            self.calls += 1
            if "trades" in infos:
                self.ends += int(infos["_trades"].sum())
                self.fills += int(infos["trades"].sum())

    def happened(self) -> dict[str, float]:
        """Fills and ends per step of one environment; fills of episodes that are still running count too."""
        steps = self.calls * self.env.num_envs
        running = self.env._batch.envs["episode"]["trades"].sum() if self.masks else 0
        return {"fills_per_step": (self.fills + int(running)) / steps, "ends_per_step": self.ends / steps}


def single_stepper(env: gym.Env, steps: int) -> Callable[[], None]:
    """Steps one environment, with a reset where an episode ends."""
    env.action_space.seed(SEED)
    actions = [env.action_space.sample() for _ in range(DRAWN)]
    env.reset(seed=SEED)

    def run() -> None:
        for number in range(steps):
            _, _, terminated, truncated, _ = env.step(actions[number % DRAWN])
            if terminated or truncated:
                env.reset()

    return run


def check(env: Any) -> None:
    """Asserts that the batch gives what its first environments give alone."""
    one, few = gym.make_vec(ID, 1, **records_clock(100)), gym.make_vec(ID, FEW, **records_clock(100))
    everyone = env.reset(seed=SEED)[0]
    assert np.array_equal(everyone[:FEW], few.reset(seed=SEED)[0])
    assert np.array_equal(everyone[:1], one.reset(seed=SEED)[0])
    env.action_space.seed(SEED)
    for _ in range(20):
        actions = env.action_space.sample()
        steps = env.step(actions), few.step(actions[:FEW]), one.step(actions[:1])
        for number in range(4):
            assert np.array_equal(steps[0][number][:FEW], steps[1][number])
            assert np.array_equal(steps[0][number][:1], steps[2][number])


def run(options: argparse.Namespace) -> tuple[list[Result], list[Target]]:
    """Results and targets."""
    scale = 10 if options.quick else 1
    tapes = default_tapes("train")[: 2 if options.quick else None]
    records = sum(int(tape.events["source"][-1]) for tape in tapes)
    env = gym.make_vec(ID, MANY, **records_clock(100))
    check(env)
    env_100 = Stepper(env, 40 // scale, True)
    env_1 = Stepper(gym.make_vec(ID, MANY, **records_clock(1)), 80 // scale, True)
    env_64 = Stepper(gym.make_vec(ID, FEW, **records_clock(1)), 800 // scale, True)
    pole = Stepper(gym.make_vec("CartPole-v1", MANY), 200 // scale, False)
    pole_64 = Stepper(gym.make_vec("CartPole-v1", FEW), 800 // scale, False)
    env_n1 = single_stepper(gym.make(ID, **records_clock(10)).unwrapped, 4000 // scale)
    pole_n1 = single_stepper(gym.make("CartPole-v1").unwrapped, 4000 // scale)
    again = gym.make_vec(ID, MANY, autoreset_mode="Disabled", threads=1)
    again.reset(seed=SEED)
    everyone = {"reset_mask": np.ones(MANY, bool)}

    def ladders() -> None:
        for tape in tapes:
            ladder_pass(tape.records, int(tape.events["bid"][len(tape.events) // 2]) - LADDER_WIDTH // 2)

    calls = 2000 // scale
    others = dict(peers(tapes[0], calls))
    timings = measure(
        [
            Case("ladder_pass", ladders, records, "records"),
            Case("env_100rec", env_100, env_100.steps * MANY * 100, "records"),
            Case("env_1rec", env_1, env_1.steps * MANY, "steps"),
            Case("cartpole", pole, pole.steps * MANY, "steps"),
            Case("env_1rec_n64", env_64, env_64.steps, "calls"),
            Case("cartpole_n64", pole_64, pole_64.steps, "calls"),
            Case("env_10rec_n1", env_n1, 4000 // scale, "calls"),
            Case("cartpole_n1", pole_n1, 4000 // scale, "calls"),
            Case("reset", lambda: again.reset(options=everyone), MANY, "resets"),
            *(Case(name, step, calls, "calls") for name, step in others.items() if step is not None),
        ],
        options.runs,
    )
    happened = env_100.happened()
    assert happened["fills_per_step"] > 0.005, "too few fills for a fair figure"
    rows = [timing.result(**(happened if name == "env_100rec" else {})) for name, timing in timings.items()]
    rows.append({"name": "env_steps_100rec_all_cores", "per_second": timings["env_100rec"].rate / 100, "unit": "steps"})
    rows.append({"name": "features", "work": len(env.feature_names), "unit": "features"})
    rows += [{"name": name, "unit": "not installed"} for name, step in others.items() if step is None]
    sums = features.sums_dtype.itemsize * sum(len(tape.events) // features.STRIDE + 1 for tape in tapes)
    return rows, [
        target("env_vs_ladder_pass", ratio(timings["env_100rec"], timings["ladder_pass"]), 0.18),
        target("env_steps_1rec_vs_cartpole", ratio(timings["env_1rec"], timings["cartpole"]), 1.0),
        target(
            "us_per_call_n64_vs_cartpole",
            1 / ratio(timings["env_1rec_n64"], timings["cartpole_n64"]),
            1.5,
            at_least=False,
        ),
        target(
            "us_per_call_n1_vs_cartpole", 1 / ratio(timings["env_10rec_n1"], timings["cartpole_n1"]), 2, at_least=False
        ),
        target("reset_us", 1e6 / timings["reset"].rate, 40, "us", at_least=False),
        target("kib_per_env", env_dtype.itemsize / 1024, 16, "KiB", at_least=False),
        target("sidecar_bytes_per_record", sums / records, 8, "bytes", at_least=False),
    ]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options beside the harness's own."""
    parser.add_argument("--quick", action="store_true", help="few steps: whether it runs, not how fast")


if __name__ == "__main__":
    main(
        __file__,
        __doc__,
        run,
        add_arguments,
        packages=["gymnasium", "hftbacktest", "gym-anytrading", "gym-trading-env"],
    )
