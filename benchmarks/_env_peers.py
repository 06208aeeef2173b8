"""Peers of `benchmarks.vector_env`: environments of others, one each, stepped from Python with random actions.

    hftbacktest_n1       quotes on the same session through its own engine: an elapse and up to two orders a step
    anytrading_n1        gym-anytrading's `stocks-v0`: a row of prices a step, no orders
    gym_trading_env_n1   gym-trading-env's `TradingEnv`: a row of prices a step, no orders

They come with `pip install -e '.[bench]'`; what isn't installed is left out, by name.
"""

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import numpy as np

from bt_gym.data.tape import Tape

LATENCY = 60_000  # ns
ROWS = 20_000  # of prices
Step = Callable[[], Any]


def peers(tape: Tape, steps: int) -> Iterator[tuple[str, Step | None]]:
    """(name, what does `steps` steps, or None where the peer isn't installed)."""
    for name, make in (
        ("hftbacktest_n1", lambda: HftBacktest(tape)),
        ("anytrading_n1", _anytrading),
        ("gym_trading_env_n1", _trading_env),
    ):
        try:
            with warnings.catch_warnings():  # one of them turns warnings into errors for good
                warnings.simplefilter("ignore")
                env = make()
        except ImportError:
            yield name, None
        else:
            yield name, _stepper(env, steps)


def _stepper(env: Any, steps: int) -> Step:
    env.action_space.seed(1)
    actions = [env.action_space.sample() for _ in range(64)]
    env.reset(seed=1)

    def run() -> None:
        for number in range(steps):
            _, _, terminated, truncated, _ = env.step(actions[number % 64])
            if terminated or truncated:
                env.reset()

    return run


class HftBacktest:
    """One environment on hftbacktest as its users write them: two quotes of one lot, ten records a step."""

    action_space = gym.spaces.MultiDiscrete([6, 6])

    def __init__(self, tape: Tape) -> None:
        from benchmarks import _hftbacktest

        self.peer, self.tape = _hftbacktest, tape
        self.rows = _hftbacktest.l2_rows(tape)
        events = tape.events
        self.tick = tape.tick_size_nanos / 1e9
        trading = np.flatnonzero(events["flags"] & 7 == 3)
        self.start = int(events["ts_event"][trading[0]]) + 10**9
        span = int(events["ts_event"][-1]) - self.start
        self.interval = span * 10 // int(events["source"][-1] - events["source"][trading[0]])

    def reset(self, seed: int | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        self.hbt = self.peer.open_backtest(self.rows, self.tape, depth="roi_vector", l3=False, latency=LATENCY, fee=2.0)
        self.hbt.elapse(0)
        self.hbt.elapse(self.start - self.hbt.current_timestamp)
        self.last_id = 0
        self.quotes = [0, 0]
        return self._observe(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """As MarketMaking-v0's codes: 0 leaves the side, 1 withdraws it, from 2 on a quote so many ticks behind."""
        hbt, peer = self.hbt, self.peer
        depth = hbt.depth(0)
        hbt.clear_inactive_orders(0)
        for side, code in enumerate(action.tolist()):
            if code == 0:
                continue
            if self.quotes[side] in hbt.orders(0):
                hbt.cancel(0, self.quotes[side], False)
            if code > 1:
                self.last_id += 1
                self.quotes[side] = self.last_id
                if side == 0:
                    price = (depth.best_bid_tick - code + 2) * self.tick
                    hbt.submit_buy_order(0, self.last_id, price, 1.0, peer.GTX, peer.LIMIT, False)
                else:
                    price = (depth.best_ask_tick + code - 2) * self.tick
                    hbt.submit_sell_order(0, self.last_id, price, 1.0, peer.GTX, peer.LIMIT, False)
        before = self.equity
        is_over = hbt.elapse(self.interval) != 0
        observation = self._observe()
        return observation, self.equity - before, False, is_over, {}

    def _observe(self) -> np.ndarray:
        """Five levels of both sides, position and equity."""
        depth = self.hbt.depth(0)
        bid, ask = depth.best_bid_tick, depth.best_ask_tick
        position = self.hbt.position(0)
        self.equity = self.hbt.state_values(0).balance + position * (bid + ask) / 2 * self.tick * 50
        levels = [depth.bid_qty_at_tick(bid - level) for level in range(5)]
        levels += [depth.ask_qty_at_tick(ask + level) for level in range(5)]
        return np.array([*levels, ask - bid, position], np.float32)


def _prices() -> Any:
    import pandas as pd

    close = 100 + np.cumsum(np.random.default_rng(1).normal(size=ROWS)) / 100
    index = pd.date_range("2026-01-05", periods=ROWS, freq="min")
    columns = {name: close for name in ("open", "high", "low", "close")} | {"volume": np.ones(ROWS)}
    return pd.DataFrame(columns, index=index)


def _anytrading() -> Any:
    import gym_anytrading  # noqa: F401  (registers its ids)

    prices = _prices().rename(columns=str.capitalize)
    return gym.make("stocks-v0", df=prices, window_size=10, frame_bound=(10, ROWS)).unwrapped


def _trading_env() -> Any:
    import gym_trading_env  # noqa: F401  (registers its ids)

    prices = _prices()
    prices["feature_close"] = prices["close"].pct_change().fillna(0)
    return gym.make("TradingEnv", df=prices, positions=[-1, 0, 1], verbose=0).unwrapped
