"""What events bring, added up over the reference book: the slow twin of the sums in `bt_gym.core.features`."""

from collections.abc import Sequence

import numpy as np

from bt_gym.core import enums
from bt_gym.core.tape import KIND_MASK, SIDE_BIT

Book = dict[tuple[int, int], int]
"""Displayed lots by (side, tick)."""


def _best(book: Book) -> tuple[int, int] | None:
    """Best bid and ask of a book that isn't crossed."""
    bids = [tick for (side, tick), lots in book.items() if side == 0 and lots]
    asks = [tick for (side, tick), lots in book.items() if side == 1 and lots]
    return (max(bids), min(asks)) if bids and asks and max(bids) < min(asks) else None


def contribution(before: Book, after: Book, level: int) -> int:
    """The order flow of one event `level` ticks behind the best prices, by the letter of Cont, Kukanov, Stoikov."""
    old, new = _best(before), _best(after)
    assert old is not None
    assert new is not None
    b_, a_ = old[0] - level, old[1] + level
    b, a = new[0] - level, new[1] + level
    size = {"B": after.get((0, b), 0), "B_": before.get((0, b_), 0), "A": after.get((1, a), 0)}
    size["A_"] = before.get((1, a_), 0)
    return (b >= b_) * size["B"] - (b <= b_) * size["B_"] - (a <= a_) * size["A"] + (a >= a_) * size["A_"]


def sums_of(states: Sequence[Book], records: np.ndarray, events: np.ndarray) -> np.ndarray:
    """(E + 1, 8): the sums before each event and at the end. `states`: the book after each event."""
    rows = [np.zeros(8, np.int64)]
    before: Book = {}
    was_trading = False
    first = 0
    for after, event in zip(states, events, strict=True):
        row = rows[-1].copy()
        trades = int(event["flags"]) & enums.PHASE_MASK == enums.PHASE_CONTINUOUS
        if was_trading and trades and _best(before) and _best(after):
            old, new = _best(before), _best(after)
            row[0] += contribution(before, after, 0)
            row[1] += sum(contribution(before, after, level) for level in range(1, 5))
            row[4] += (sum(new) - sum(old)) ** 2
        for record in records[first : int(event["end"])]:
            kind = int(record["key"]) & KIND_MASK
            row[5] += kind == enums.RECORD_ADD
            row[6] += kind == enums.RECORD_DEL
            row[7] += kind in (enums.RECORD_TRADE, enums.RECORD_TRADE_N)
            if kind == enums.RECORD_TRADE:
                row[2 if int(record["key"]) & SIDE_BIT else 3] += int(record["size"])
        rows.append(row)
        before, was_trading, first = after, trades, int(event["end"])
    return np.array(rows)
