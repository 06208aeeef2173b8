"""On an hour of a real market: environment and Backtester write the same fills, and nothing comes from the future."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bt_gym import BacktestConfig, Backtester
from bt_gym.core import enums
from bt_gym.data import dbn
from bt_gym.data.tape import Tape, ingest
from bt_gym.envs.single_env import BtEnv
from bt_gym.strategy.policy import PolicyStrategy
from tests.envs.make import PRESETS, SECOND, tape_of
from tests.envs.test_episodes import CLOCK, cut, eager, play
from tests.strategy.test_policy import hashed

pytestmark = pytest.mark.real_data

FACTS = {"tick_size": 0.25, "multiplier": 50, "fee_per_contract": 2}
EXECUTION = {"latency_model": {"network_latency_us": 20_000, "compute_latency_us": 300}}  # long: many races
LIMITS = {"max_position": 10}
SEEN = {"features": ["imbalance_1", "ofi_1s", "inventory", "own_bid_queue", "own_ask_queue", "remaining_time"]}
"""What actions follow from."""


@pytest.fixture(scope="module")
def file(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue("real_data")("ESH4_2023-12-25.mbo.dbn.zst")


@pytest.fixture(scope="module")
def tape(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Tape:
    return Tape.open(ingest([file], tick_size_nanos=250_000_000, folder=tmp_path_factory.mktemp("real")))


def make(tape: Tape, window_s: float, **more: Any) -> BtEnv:
    data = {"tapes": tape, "window_s": window_s, "instruments": {"*": FACTS}}
    return BtEnv(**{"data": data, "risk": LIMITS, **more})


@pytest.mark.parametrize("preset", [*PRESETS, "participation"])
def test_env__and_backtester_write_the_same_fills(preset: str, tape: Tape):
    """A policy of actions that look random, an hour from the first second of trading on."""
    window, least = (200, 100) if preset == "raw" else (3500, 100)  # later it has more orders than the account holds
    more = {"execution": EXECUTION, "decision": {"interval_ms": 500.0}, "observation": SEEN}
    parent = 5_000 if preset == "participation" else 0  # more than there will be time for
    limits = {} if parent else LIMITS
    task = {"task": "execution"} if parent else {"action": PRESETS[preset]}
    env = make(tape, window, risk=limits, **more, **task)
    start = (int(env._batch.markets.spans["first"][0]) // CLOCK + 5) * CLOCK
    order = {"side": "buy", "quantity": parent} if parent else {}
    observation, _ = env.reset(seed=1, options={"start_ns": start, **order})
    log, known, is_over, paid = [], 0, False, 0.0
    while not is_over:
        observation, reward, terminated, truncated, info = env.step(hashed(observation[None], preset)[0])
        is_over = terminated or truncated
        paid += reward
        row = env._batch.envs[0]
        written = int(row["account"]["reports_written"])
        if terminated:
            break  # at the deadline the rest is sent against the book, which the Backtester doesn't do
        log += [row["log"][number % len(row["log"])].copy() for number in range(known, written)]
        known = written
    config = BacktestConfig.from_dict(
        {"backtest": {"risk_limits": limits, "execution": EXECUTION}, "instruments": {"*": FACTS}}
    )
    strategy = PolicyStrategy(lambda seen: hashed(seen, preset), env.config, start_ns=start, windows=1, parent=parent)
    run = Backtester(config, files=[tape.path]).add_strategy("policy", strategy)
    run.run()
    fills = run.accounts[0].metrics.account.fills
    wanted = np.array([row for row in log if row["exec_type"] == enums.EXEC_TRADE])
    fills = fills[fills["ts_exchange"] <= (wanted["ts_exchange"][-1] if parent else start + window * SECOND)]
    late = sum(row["exec_type"] == enums.EXEC_CANCEL_REJECTED for row in log)
    assert info["rejects_capacity"] == 0
    assert len(wanted) >= least
    assert late > 0 or preset in ("target", "participation")
    assert fills.tobytes() == wanted.tobytes()
    if parent:
        assert (info["end_reason"], info["quantity"]) == ("deadline", parent)
        assert paid * 12.5 * parent == pytest.approx(info["pnl"], abs=0.005 * parent)
        return
    assert info["trades"] == len(wanted)
    assert info["end_reason"] == "window"
    sign = 1 - 2 * fills["side"].astype(int)
    mark = env._batch.envs["market"]["mark2"][0] / 2
    profit = (sign * fills["size"] * (mark - fills["price"])).sum() * 12.5 - fills["fee"].sum() / 1e6
    assert info["pnl"] == pytest.approx(profit, abs=1e-6)
    assert paid * 12.5 == pytest.approx(info["pnl"], abs=0.005)


@pytest.mark.parametrize("scramble", [False, True])
@pytest.mark.parametrize("policy", ["random", "nothing"])
def test_outputs_up_to_t__depend_on_nothing_later(policy: str, scramble: bool, file: Path, tape: Tape):
    stream = dbn.open_dbn(file)
    records = np.concatenate(list(stream.chunks(stream.select())))
    acts = eager(3, 6000) * (policy == "random")
    env = make(tape, 1200.0)
    options = {"start_ns": int(env._batch.markets.spans["first"][0]) + SECOND}
    observations, rewards, info = play(env, acts, seed=1, options=options)
    assert policy == "nothing" or info["trades"] >= 100
    for number in (1000, 3017):
        now = options["start_ns"] + number * CLOCK
        column = "ts_event" if policy == "random" else "ts_recv"
        edited = cut(records, now, column, scramble, np.random.default_rng(number))
        other = make(tape_of(edited, f"real-{policy}-{scramble}-{number}", tape.symbol), 1200.0)
        seen, paid, ended = play(other, acts[:number], seed=1, options=options)
        reach = len(paid) - bool(ended)  # where the tape ends, or is no market any more, the last step settles it all
        assert reach >= number - 20
        assert np.array_equal(seen[: reach + 1], observations[: reach + 1])
        assert np.array_equal(paid[:reach], rewards[:reach])
        if scramble:
            after = play(other, acts, seed=1, options=options)[0]
            assert np.any(after[-1] != observations[-1]), "the edit changed nothing"
