"""Short synthetic sessions as tapes, environments on them, and deep equality of what environments return."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

import bt_gym  # noqa: F401  (registers the ids)
from bt_gym.data import dbn
from bt_gym.data.synthetic import PROFILES, Session, generate
from bt_gym.data.tape import Tape, ingest
from bt_gym.envs.single_env import BtEnv
from bt_gym.envs.vector_env import BtVectorEnv

ID = "bt_gym/MarketMaking-v0"
TRADING = "bt_gym/Trading-v0"
EXECUTION = "bt_gym/Execution-v0"
IDS = (ID, EXECUTION, TRADING)
PRESETS = {
    "quotes": {},
    "pairs": {"space": "discrete", "offsets": [-1, 0, 1, 2]},
    "spread": {"type": "spread", "max_half_spread": 0.75, "max_skew": 2.0},
    "avellaneda_stoikov": {"type": "avellaneda_stoikov", "max_gamma": 0.01, "min_kappa": 9.0},
    "target": {"type": "target"},
    "raw": {"type": "raw", "rows": 3, "reach": 2, "max_size": 2},
}
"""Action sections of all schemes that need no parent order."""
SECOND = 1_000_000_000
SECONDS = 60
_FOLDER = tempfile.TemporaryDirectory(prefix="bt_gym-tests-")


BRISK = replace(
    PROFILES["es"],
    name="brisk",
    depth_orders=300,
    depth_levels=30,
    news_per_second=3.0,
    takes_per_second=20.0,
    quotes_per_second=40.0,
)
"""Short queues and much trading, so that orders fill in a short test."""


@cache
def session(day: int = 0, script: Sequence[tuple[float, str]] = ()) -> Session:
    """A minute of trading."""
    return generate(5, SECONDS, BRISK, day=day, pre_open_seconds=30, script=script)


@cache
def tapes(days: int = 2) -> tuple[Tape, ...]:
    """Different sessions, one tape each."""
    return tuple(tape_of(session(day).records, f"day{day}") for day in range(days))


@cache
def long_tape() -> Tape:
    """Four minutes of such a market, for what trades seldom."""
    return tape_of(generate(6, 4 * SECONDS, BRISK, pre_open_seconds=30).records, "long")


def tape_of(records: np.ndarray, name: str, symbol: str = BRISK.symbol) -> Tape:
    """The tape of MBO records of `session`, or of another of the same tick, perhaps edited."""
    file = Path(_FOLDER.name) / f"{name}.mbo.dbn"
    dbn.write_mbo(file, records, symbol=symbol, instrument_id=int(records["instrument_id"][0]))
    return Tape.open(ingest([file], tick_size_nanos=BRISK.tick_nanos, folder=Path(_FOLDER.name) / name))


def sections(window_s: float = 5.0, days: int = 2, **more: Any) -> dict[str, Any]:
    """Keywords of an environment on `tapes`."""
    data = {"tapes": tapes(days), "window_s": window_s, **more.pop("data", {})}
    return {"data": data, **more}


def vector(n: int, **more: Any) -> BtVectorEnv:
    keywords = {name: more.pop(name) for name in ("autoreset_mode", "threads", "max_episode_steps") if name in more}
    return BtVectorEnv(n, **sections(**more), **keywords)


def single(**more: Any) -> BtEnv:
    return BtEnv(**sections(**more))


def actions(seed: int, steps: int, n: int, name: str = ID) -> np.ndarray:
    """Random ones, (steps, n, 2) of quotes or (steps, n) of targets or participation."""
    rng = np.random.default_rng(seed)
    if name == ID:
        return rng.integers(0, 8, (steps, n, 2))
    return rng.integers(0, 3 if name == TRADING else 10, (steps, n))


def drawn(env: Any, seed: int, steps: int) -> list[Any]:
    """Random actions of an environment, single or vector."""
    env.action_space.seed(seed)
    return [env.action_space.sample() for _ in range(steps)]


def assert_same(one: Any, two: Any, path: str = "") -> None:
    """Equal in type, shape and every value, dicts and tuples included."""
    assert type(one) is type(two), f"{path}: {type(one)} and {type(two)}"
    if isinstance(one, tuple):
        assert len(one) == len(two), path
        for index, (left, right) in enumerate(zip(one, two, strict=True)):
            assert_same(left, right, f"{path}[{index}]")
    elif isinstance(one, dict):
        assert one.keys() == two.keys(), f"{path}: {one.keys() ^ two.keys()}"
        for key in one:
            assert_same(one[key], two[key], f"{path}.{key}")
    elif isinstance(one, np.ndarray):
        assert (one.dtype, one.shape) == (two.dtype, two.shape), path
        if one.dtype == object:
            assert_same(tuple(one), tuple(two), path)
        else:
            assert np.array_equal(one, two), f"{path}: {one} and {two}"
    else:
        assert one == two, f"{path}: {one} and {two}"


def make_sync(n: int, mode: Any, name: str = ID, **more: Any) -> Any:
    """Gymnasium's own vector of single environments."""
    return gym.make_vec(name, n, vectorization_mode="sync", vector_kwargs={"autoreset_mode": mode}, **sections(**more))
