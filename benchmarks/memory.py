"""Whether memory stays flat: 10,000,000 env-steps of `bt_gym/MarketMaking-v0` with random actions, masks and resets.

Every tenth of them the process's own memory is read (RssAnon of Linux, without mapped tapes, which processes share).
The first two tenths are for warming up: allocators keep what they were given once. What the rest adds is the target.
"""

import argparse
import gc
import re
import time
from pathlib import Path

import gymnasium as gym
import numpy as np

import bt_gym  # noqa: F401  (registers the ids)
from benchmarks._harness import Result, Target, main, target

ID = "bt_gym/MarketMaking-v0"
NUM_ENVS = 1024
PARTS = 10
SEED = 1


def own_mib() -> float:
    """Anonymous memory of this process that is in use, MiB."""
    gc.collect()
    found = re.search(r"^RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None, "needs Linux"
    return int(found[1]) / 1024


def run(options: argparse.Namespace) -> tuple[list[Result], list[Target]]:
    env = gym.make_vec(ID, NUM_ENVS, autoreset_mode="SameStep")
    env.action_space.seed(SEED)
    actions = [env.action_space.sample() for _ in range(64)]
    env.reset(seed=SEED)
    calls = -(-options.steps // (NUM_ENVS * PARTS))
    rows: list[Result] = []
    ends = fills = number = 0
    started = time.perf_counter()
    for part in range(PARTS):
        for _ in range(calls):
            infos = env.step(actions[number % 64])[4]
            env.unwrapped.action_masks()  # type: ignore[attr-defined]
            number += 1
            if "final_info" in infos:
                ends += int(infos["_final_info"].sum())
                fills += int(infos["final_info"]["trades"].sum())
        mask = np.arange(NUM_ENVS) % PARTS == part
        env.reset(options={"reset_mask": mask})
        rows.append({"name": f"part_{part + 1}", "work": number * NUM_ENVS, "unit": "steps", "own_mib": own_mib()})
    seconds = time.perf_counter() - started
    rows.append({"name": "all", "work": number * NUM_ENVS, "unit": "steps", "seconds": seconds, "seed": SEED})
    rows[-1] |= {"episodes": ends, "fills": fills}
    grown = max(row["own_mib"] for row in rows[2:PARTS]) - rows[1]["own_mib"]
    return rows, [target("own_memory_growth", grown, 1.0, "MiB", at_least=False)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--steps", type=int, default=10_000_000, help="env-steps in all (default %(default)s)")


if __name__ == "__main__":
    main(__file__, __doc__, run, add_arguments, packages=["gymnasium"])
