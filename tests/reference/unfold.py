"""The package's L3 book as plain dictionaries, its structure checked on the way."""

from typing import Any

import numpy as np


def unfold(books: np.ndarray, tick_size: int = 1) -> dict[str, dict[int, dict[int, int]]]:
    """Side -> price -> order id -> size in priority order, as `tests.reference.book.Book.queues`.

    Asserts that the lists are linked both ways, levels are sorted with right sums, the table finds each order and
    nothing else, and that live and free slots are all that were ever used.
    """
    book = books[0]
    orders, levels, table = book["orders"], book["levels"], book["table"]
    queues: dict[str, dict[int, dict[int, int]]] = {"B": {}, "A": {}}
    slots: list[int] = []
    for side, name in enumerate("BA"):
        live = int(book["levels_live"][side])
        keys = levels["key"][side, :live].tolist()
        assert keys == sorted(set(keys))
        for level in levels[side, :live]:
            tick = int(level["key"]) * (1 - 2 * side)
            queue = _walk(orders, level, side, tick)
            assert len(queue) == level["count"] > 0
            assert sum(int(orders[slot]["size"]) for slot in queue) == level["size"] > 0
            queues[name][tick * tick_size] = {
                int(orders[slot]["order_id"]): int(orders[slot]["size"]) for slot in queue
            }
            slots += queue
    assert len(slots) == len(set(slots)) == book["orders_live"]
    assert sorted(slots) == sorted(table[table != 0].tolist())
    assert sorted(slots + _free(book)) == list(range(1, int(book["slots_used"]) + 1))
    return queues


def _walk(orders: np.ndarray, level: Any, side: int, tick: int) -> list[int]:
    """Slots of a level from front to back."""
    queue: list[int] = []
    slot = int(level["head"])
    while slot:
        order = orders[slot]
        assert (order["side"], order["tick"]) == (side, tick)
        assert order["previous"] == (queue[-1] if queue else 0)
        assert order["size"] > 0
        queue.append(slot)
        slot = int(order["next"])
    assert queue[-1] == level["tail"]
    return queue


def _free(book: Any) -> list[int]:
    """Slots of the chain of freed ones."""
    chain: list[int] = []
    slot = int(book["free"])
    while slot:
        chain.append(slot)
        slot = int(book["orders"][slot]["next"])
    return chain
