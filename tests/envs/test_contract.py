"""Features warm after any reset; processes that share tapes, forks, and SB3's workers; the same numbers everywhere."""

import copy
import multiprocessing
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.vec_env import SubprocVecEnv

from bt_gym.core.features import MARKET_FEATURES, MAX_LEVELS
from bt_gym.core.market import count_received
from tests.core.test_features import Watch
from tests.envs.make import ID, actions, assert_same, sections, tapes, vector


def test_features__are_warm_after_any_reset_and_equal_to_the_bit_to_a_run_from_the_open():
    """200 starts x every feature of the market, against one that has followed the tape from its first event on."""
    names = (
        *(name.replace("_1m", "_20s") for name in MARKET_FEATURES),  # sessions here last a minute
        *(f"{kind}_{MAX_LEVELS}" for kind in ("bid_price", "ask_price", "bid_size", "ask_size", "imbalance")),
        *(f"{kind}_30s" for kind in ("ofi", "deep_ofi", "adds", "cancels", "trades", "events", "returns")),
    )
    env = vector(200, days=1, window_s=5.0, observation={"features": names})
    span = env._batch.markets.spans[0]
    starts = np.sort(np.random.default_rng(7).integers(span["first"], span["last"] + 1, 200))
    seen, _ = env.reset(seed=1, options={"start_ns": starts})
    tape = tapes()[0]
    whole = Watch(tape, names)
    for start, values in zip(starts.tolist(), seen, strict=True):
        whole.follow(count_received(tape.events, 0, start, 0))
        expected = np.clip(list(whole.values(start).values()), -10, 10).astype(np.float32)
        assert np.array_equal(values, expected), [n for n, a, b in zip(names, values, expected, strict=True) if a != b]
    assert (np.ptp(seen, axis=0) > 0).all()


def options() -> dict[str, Any]:
    """Keywords that any process can read."""
    data = {"files": [str(tape.path) for tape in tapes()], "window_s": 2.0}
    return sections(data=data) | {"data": data}


def native(steps: int) -> list[Any]:
    """What the native vector gives: it has stepped, with its threads, before there are workers."""
    many = vector(256, threads=2)
    many.reset(seed=1)
    many.step(np.zeros((256, 2), int))
    many.close()
    env = gym.make_vec(ID, 2, autoreset_mode="SameStep", **options())
    return [env.reset(seed=3), *(copy.deepcopy(env.step(act)) for act in actions(1, steps, 2))]


@pytest.mark.parametrize("method", ["fork", "spawn", pytest.param("forkserver", marks=pytest.mark.soak)])
def test_async_vector__works_after_the_native_one_has_run(method: str):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method}")
    expected = native(12)
    modes = {"autoreset_mode": "SameStep", "context": method}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forks beside threads
        env = gym.make_vec(ID, 2, vectorization_mode="async", vector_kwargs=modes, **options())
        try:
            results = [copy.deepcopy(env.reset(seed=3))]
            results += [copy.deepcopy(env.step(act)) for act in actions(1, 12, 2)]
        finally:
            env.close()
    assert_same(tuple(results), tuple(expected))


@pytest.mark.parametrize("method", ["fork", "forkserver", pytest.param("spawn", marks=pytest.mark.soak)])
def test_sb3s_processes__work_after_the_native_vector_has_run_and_share_one_mapped_tape(method: str):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method}")
    expected = native(12)
    keywords = options()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        venv = SubprocVecEnv([lambda: gym.make(f"bt_gym:{ID}", **keywords) for _ in range(2)], start_method=method)
        try:
            venv.seed(3)
            assert np.array_equal(venv.reset(), expected[0][0])
            for act, (obs, rewards, terminated, truncated, infos) in zip(actions(1, 12, 2), expected[1:], strict=True):
                ours = venv.step(act)
                assert np.array_equal(ours[0], obs)
                assert np.array_equal(ours[1], rewards)
                assert np.array_equal(ours[2], terminated | truncated)
                for index in np.flatnonzero(ours[2]):
                    assert np.array_equal(ours[3][index]["terminal_observation"], infos["final_obs"][index])
                    assert ours[3][index]["pnl"] == infos["final_info"]["pnl"][index]
            if sys.platform.startswith("linux"):
                for process in venv.processes:
                    for tape in tapes():
                        assert_mapped(process.pid, tape.path)
        finally:
            venv.close()


def assert_mapped(process: int | None, path: Path) -> None:
    """A file is in a process's memory as the system's one copy of it."""
    text = Path(f"/proc/{process}/smaps").read_text()
    parts = [part for part in re.split(r"\n(?=[0-9a-f]+-[0-9a-f]+ )", text) if path.name in part.split("\n")[0]]
    assert parts, f"{path} isn't mapped"
    for part in parts:
        fields = dict(re.findall(r"^(\w+):\s+(\d+) kB", part, re.MULTILINE))
        assert fields["Private_Dirty"] == "0"
        assert int(fields["Size"]) >= path.stat().st_size // 1024
