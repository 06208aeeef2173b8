"""Own orders in the synthetic exchange and the same orders in tape replay: the first fill is the same."""

from dataclasses import replace

import numpy as np
import pytest

from bt_gym.core import enums
from bt_gym.data.synthetic import PROFILES, OwnOrder, Session, generate
from bt_gym.data.synthetic.profiles import Profile
from tests.data.compiled import Compiled, compile_array
from tests.reference.scenario import Order, engine

HORIZON = 60.0  # seconds


def some_orders(session: Session, tape: Compiled, number: int) -> list[OwnOrder]:
    """From one tick through the touch to four behind it, at busy times."""
    rng = np.random.default_rng(3)
    rows = session.messages[(session.messages["kind"] == 0) & (session.messages["ts"] > session.opens + 10**9)]
    orders = []
    for row in rng.choice(rows, number):
        ts = int(row["ts"]) + int(rng.integers(1, 5_000_000))
        event = tape.events[np.searchsorted(tape.events["ts_event"], ts, side="right") - 1]
        side, behind = int(rng.integers(2)), int(rng.integers(-1, 5))
        tick = int(event["bid"]) - behind if side == enums.BUY else int(event["ask"]) + behind
        orders.append(OwnOrder(ts, side, tick, int(rng.integers(1, 6))))
    return orders


def replayed(tape: Compiled, order: OwnOrder) -> dict[int, int]:
    """{ts_event: lots} as the tape fills the order."""
    execution = engine()
    execution.process_order_request(Order(order.side, order.size), order.ts, order.tick)
    execution.advance(tape, order.ts + int(HORIZON * 1e9))
    fills = execution.reports[execution.reports["exec_type"] == enums.EXEC_TRADE]
    return by_event(fills["ts_exchange"], fills["size"])


def by_event(times: np.ndarray, sizes: np.ndarray) -> dict[int, int]:
    lots: dict[int, int] = {}
    for ts, size in zip(times.tolist(), sizes.tolist(), strict=True):
        lots[ts] = lots.get(ts, 0) + size
    return lots


SOAK = [
    pytest.param(name, seed, 4000, marks=pytest.mark.soak)
    for name in ("es", "es_busy", "stock", "as")
    for seed in (32, 33, 34)
]


@pytest.mark.parametrize(("name", "seed", "number"), [("es", 31, 1500), ("stock", 31, 1500), ("as", 31, 500), *SOAK])
def test_tape__first_fill_equals_the_truth(name: str, seed: int, number: int) -> None:
    """Without what the feed hides: icebergs, and stops that an own order would keep from being elected."""
    profile = PROFILES[name]
    if isinstance(profile, Profile):
        profile = replace(profile, iceberg=0.0, stop=0.0)
    session = generate(seed, 1200, profile)
    tape = compile_array(session.records, tick_size=profile.tick_nanos)
    orders = some_orders(session, tape, number)
    filled = 0
    for order, fills in zip(orders, session.replay_with(orders, HORIZON), strict=True):
        truth, replay = by_event(fills["ts_event"], fills["size"]), replayed(tape, order)
        assert list(replay.items())[:1] == list(truth.items())[:1], order
        filled += bool(truth)
    assert filled > number // 10
