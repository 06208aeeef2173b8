"""A market whose drift can be read: while the best bid is larger than the best ask, the mid goes up, and the reverse.

Once a second the mid moves a tick with probability `MOVE`, in the direction of a state that turns with probability
`TURN`; the sizes of the best prices show the state, or, as a control, one that has nothing to do with it.
"""

from pathlib import Path

import numpy as np

from bt_gym.data import dbn
from bt_gym.data.synthetic import PROFILES
from bt_gym.data.tape import ingest

SECOND = 1_000_000_000
START = 1_767_623_400 * SECOND  # 2026-01-05 14:30 UTC
MOVE = 0.5
TURN = 0.1
LEVELS = 12
FEATURES = ["imbalance_1", "inventory"]


def states(rng: np.random.Generator, seconds: int) -> np.ndarray:
    """+1 or -1 a second."""
    return np.cumprod(np.where(rng.random(seconds) < TURN, -1, 1))


def book(bid: int, shown: int) -> dict[tuple[str, int], int]:
    """Lots by side and tick: ten at each level, but thirty at the best one that the state favours."""
    levels = {("B", bid - i): 10 for i in range(LEVELS)} | {("A", bid + 1 + i): 10 for i in range(LEVELS)}
    return levels | ({("B", bid): 30} if shown > 0 else {("A", bid + 1): 30})


def make(folder: Path, seed: int, seconds: int, is_shown: bool = True) -> Path:
    """The tape of one such day."""
    rng = np.random.default_rng(seed)
    state = states(rng, seconds)
    shown = state if is_shown else states(rng, seconds)
    moves = np.where(rng.random(seconds) < MOVE, state, 0)
    bids = 20_000 + np.r_[0, np.cumsum(moves)[:-1]]  # a second's size tells the move at its end
    profile = PROFILES["es"]
    rows: list[tuple[int, str, str, int, int, int, int]] = []  # ts, action, side, tick, size, order id, flags
    held: dict[tuple[str, int], tuple[int, int]] = {}
    last = 1
    for second in range(seconds):
        ts = START + seed * 7 * 86_400 * SECOND + second * SECOND + SECOND // 2
        wanted = book(int(bids[second]), int(shown[second]))
        flags = dbn.FLAG_SNAPSHOT if second == 0 else 0
        group = [(ts, "R", "N", 0, 0, 0, flags)] if second == 0 else []
        for place, (size, order_id) in list(held.items()):
            if wanted.get(place) != size:
                group.append((ts, "C", *place, size, order_id, flags))
                del held[place]
        for place, size in wanted.items():
            if place not in held:
                held[place] = (size, last)
                group.append((ts, "A", *place, size, last, flags))
                last += 1
        rows += group[:-1]
        if group:
            rows.append((*group[-1][:6], flags | dbn.FLAG_LAST))
    ts, action, side, ticks, size, order_id, flag = (np.array(column) for column in zip(*rows, strict=True))
    records = dbn.mbo_records(
        len(rows),
        ts_event=ts,
        ts_recv=ts + 1_000,
        action=[ord(letter) for letter in action],
        side=[ord(letter) for letter in side],
        price=np.where(action == "R", dbn.UNDEF_PRICE, ticks * profile.tick_nanos),
        size=size,
        order_id=order_id,
        flags=flag,
        instrument_id=profile.instrument_id,
        sequence=np.cumsum(np.r_[1, np.diff(ts) != 0]),
    )
    file = folder / f"{seed}-{is_shown}.mbo.dbn"
    dbn.write_mbo(file, records, symbol=profile.symbol, instrument_id=profile.instrument_id)
    return ingest([file], tick_size_nanos=profile.tick_nanos, folder=folder)
