"""Judges trained agents on days that they have never seen, beside baselines that were tuned on the training days only.

    python -m agents.evaluate runs/ppo_1 runs/ppo_2 runs/ppo_3 runs/ppo_4 runs/ppo_5

Every window of every test day is played exactly once by every policy. Runs of several seeds are one row: their spread
is in the interval. PnL is what is left after the position has been sent home and all fees are paid.
"""

import argparse
import importlib.metadata
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from rich.console import Console
from stable_baselines3 import PPO

import bt_gym  # noqa: F401  (registers the environments)
from agents.baselines import Policy, Quoter
from agents.ppo_market_making import read_run
from agents.scores import Scores, row, table
from bt_gym.data.dataset import DEFAULT, digest_of
from bt_gym.data.tape import Tape

RISKS = (0.0, 0.25, 0.5, 1.0, 2.0)  # ticks
HALF_SPREADS = (0.5, 1.0, 1.5, 2.0, 3.0)
CATALOGUED = ("symbol", "days", "catalogue", "split", "validation", "test", "embargo")
"""Keys of `data` that choose days of the catalogue."""


def play(env: Any, policy: Policy) -> dict[str, np.ndarray]:
    """Plays every window of the environment's data exactly once.

    Args:
        env: a vector environment of bt_gym with `autoreset_mode` DISABLED and `data.sampling` ordered.
        policy: from observations (N, F) to actions (N, D).

    Returns:
        Statistics of W episodes in the order of windows, an array (W,) each; the same W whatever N.
    """
    count = env.unwrapped._batch.markets.window_count
    n = env.num_envs
    window = np.where(np.arange(n) < count, np.arange(n), -1)  # that each environment plays; -1: one more, not counted
    given = min(n, count)
    obs, starts = env.reset(seed=0, options={"start_index": np.maximum(window, 0)})
    rows: dict[int, dict[str, Any]] = {}
    names = {key: starts[key].copy() for key in ("day", "tape")}
    while len(rows) < count:
        obs, _, terminated, truncated, infos = env.step(policy(obs))
        done = terminated | truncated
        if not done.any():
            continue
        for i in np.flatnonzero(done):
            if window[i] >= 0:
                assert window[i] not in rows, f"window {window[i]} was played twice"
                told = {key: value[i] for key, value in infos.items() if key[0] != "_"}
                rows[window[i]] = told | {key: value[i] for key, value in names.items()}
            window[i] = given if given < count else -1
            given += window[i] >= 0
        obs, starts = env.reset(options={"reset_mask": done, "start_index": np.maximum(window, 0)})
        for key, value in names.items():
            value[done] = starts[key][done]
    return {key: np.array([rows[number][key] for number in range(count)]) for key in rows[0]}


def score(name: str, env: Any, policies: Sequence[Policy]) -> Scores:
    """Scores of one policy, or of the same one trained with several seeds."""
    played = [play(env, policy) for policy in policies]
    values = np.array([instrument.tick_value_micros for instrument in env.unwrapped._batch.markets.instruments]) / 1e6

    def stack(key: str) -> np.ndarray:
        return np.stack([one[key] for one in played]).astype(float)

    lots = stack("volume")
    return Scores(
        name,
        pnl=stack("pnl_liquidated") / values[played[0]["tape"]],
        trades=stack("trades"),
        maker_lots=stack("maker_share") * lots,
        lots=lots,
        max_inventory=stack("max_inventory"),
        days=played[0]["day"],
    )


def tuned(env: Any, quick: bool = False) -> dict[str, Policy]:
    """The baselines, with the parameters that earn most on `env`, which has the training days."""
    quoter = Quoter(env)

    def best(choices: dict[str, Policy]) -> tuple[str, Policy]:
        earned = {name: play(env, policy)["pnl_liquidated"].mean() for name, policy in choices.items()}
        name = max(earned, key=earned.__getitem__)
        print(f"evaluate: of {len(choices)} on the training days best: {name}", file=sys.stderr, flush=True)
        return name, choices[name]

    step = 2 if quick else 1
    fixed = {f"fixed spread {offset:+d}": quoter.fixed_spread(offset) for offset in quoter.offsets}
    models = {
        f"Avellaneda-Stoikov {risk:g}/{half:g}": quoter.avellaneda_stoikov(risk, half)
        for risk in RISKS[::step]
        for half in HALF_SPREADS[::step]
    }
    return {
        "do nothing": quoter.do_nothing(),
        "random": quoter.at_random(seed=0),
        **dict([best(fixed), best(models)]),
    }


def make_env(args: dict[str, Any], tapes: Sequence[Tape], n: int) -> Any:
    """The environment that an agent was trained on, over other days, in the order of windows."""
    data = {key: value for key, value in args["env"].get("data", {}).items() if key not in CATALOGUED}
    data |= {"files": [str(tape.path) for tape in tapes], "sampling": "ordered"}
    return gym.make_vec(args["id"], n, autoreset_mode="Disabled", **{**args["env"], "data": data})


def days_of(args: dict[str, Any], test: Sequence[str], test_days: int) -> tuple[list[Tape], list[Tape]]:
    """Tapes of the days that an agent was trained on, and of those to judge it by."""
    data = args["env"].get("data", {})
    if test_days < 1:
        raise SystemExit(f"evaluate: --test-days {test_days}: there must be one at least")
    if data.get("split", "train") != "train":
        raise SystemExit(f"evaluate: the agents were trained on the split {data['split']}: train them on train")
    if data.get("files") and not test:
        raise SystemExit("evaluate: the agents were trained on files: name the tapes to judge them by with --test")
    if "symbol" in data:
        parts: list[Any] = [
            gym.make_vec(args["id"], 1, **{**args["env"], "data": {**data, "split": split}})
            for split in ("train", "test")
        ]
        train, held_out = (list(part.unwrapped._batch.markets.tapes) for part in parts)
    elif data.get("files"):
        train, held_out = [Tape.open(file) for file in data["files"]], []
    else:
        train, held_out = list(DEFAULT.tapes("train")), list(DEFAULT.tapes("test")[:test_days])
        if test_days > DEFAULT.test:
            held_out += DEFAULT.more(test_days - DEFAULT.test).tapes("test")
    return train, [Tape.open(file) for file in test] or held_out


def describe(split: str, tapes: Sequence[Tape]) -> set[str]:
    """Prints which days a split has; returns their hashes."""
    print(f"{split}: {len(tapes)} days")
    for tape in tapes:
        print(
            f"  {np.datetime64(int(tape.events['ts_event'][-1]), 'ns').astype('M8[D]')} {tape.symbol} {tape.key[:16]}"
        )
    return {tape.key for tape in tapes}


def versions() -> dict[str, str]:
    """Of what a score depends on."""
    names = ("bt_gym", "numpy", "numba", "torch", "stable-baselines3")
    return {name: importlib.metadata.version(name) for name in names}


def main(
    runs: Sequence[str],
    test_days: int = 20,
    num_envs: int = 256,
    test: Sequence[str] = (),
    quick: bool = False,
    result: str = "",
) -> list[Scores]:
    """Prints the table of all policies; `runs` are folders of `agents.ppo_market_making`.

    `result` is a file that gets the table as JSON, with all that it takes to get it again.
    """
    torch.set_num_threads(1)
    trained = [read_run(Path(run)) for run in runs]
    args = trained[0]
    train, held_out = days_of(args, test, test_days)
    both = describe("train", train) & describe("test", held_out)
    assert not both, f"days are in both splits: {both}"

    baselines = tuned(make_env(args, train[::4] if quick else train, num_envs), quick)
    env = make_env(args, held_out, num_envs)
    models = [PPO.load(Path(run) / "model.zip", device="cpu") for run in runs]
    scores = [score(name, env, [policy]) for name, policy in baselines.items()]
    for name, greedy in (("PPO greedy", True), ("PPO sampled", False)):
        torch.manual_seed(0)
        policies = [lambda obs, m=model: m.predict(obs, deterministic=greedy)[0] for model in models]  # noqa: B023
        scores.append(score(name, env, policies))
    Console(width=140).print(table(scores, base=list(baselines)[-1]))
    print(f"{len(scores[0].days)} windows of {len(held_out)} days, {len(models)} training seeds")
    if result:
        about: dict[str, Any] = {
            "command": f"python -m agents.evaluate {' '.join(sys.argv[1:])}",
            "runs": trained,
            **versions(),
        }
        about["data"] = {"train": digest_of(train), "test": digest_of(held_out)}
        about["features"] = list(env.unwrapped.feature_names)
        rows = [row(one, scores[len(baselines) - 1]) for one in scores]
        Path(result).write_text(json.dumps({**about, "results": rows}, indent=2) + "\n")
    return scores


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m agents.evaluate", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", nargs="+", help="folders of trained agents, of the same settings and several seeds")
    parser.add_argument(
        "--test-days",
        type=int,
        default=20,
        help="test days of the synthetic data set to judge by (default %(default)s)",
    )
    parser.add_argument("--test", nargs="*", default=[], help="tapes to judge by, instead of the data's own test days")
    parser.add_argument("--num-envs", type=int, default=256, help="environments played at once (default %(default)s)")
    parser.add_argument("--result", default="", help="file that gets the table as JSON")
    parser.add_argument("--quick", action="store_true", help="tune baselines on every fourth day and a coarser grid")
    main(**vars(parser.parse_args()))
