"""The full order book (L3): every order, its place in the queue, and the price levels.

One record holds all of it, so that a copy is a snapshot. Orders sit in slots that a hash table finds by order id; slot
0 means "none", and what is written there to save a branch nobody reads. The orders of a level form a doubly linked
list, front of the queue first; the levels of a side are sorted with the best one last, where nearly all changes happen.
Price is in ticks, size in lots.

Rules of the messages (Databento, "State management of resting orders"; CME, "Order Functionalities") are in
`keeps_place` and in the callers: the compiler and `validate` read the same book.
"""

from functools import cache

import numpy as np

from bt_gym._jit import allocating, inlined, njit, prefetch
from bt_gym.core.enums import NO_TICK

SMALL_BOOK = 15
"""log2 of the order slots to begin with: 32,768 orders, a table that stays in the cache."""

order_dtype = np.dtype(
    [
        ("order_id", "<i8"),
        ("tick", "<i4"),
        ("size", "<i4"),  # displayed lots
        ("priority", "<i4"),  # given by the caller: grows with every new place in a queue
        ("previous", "<u4"),  # slot of the order before it in the queue, 0 for the first
        ("next", "<u4"),  # slot of the order behind it, 0 for the last; chains the free slots
        ("side", "<i4"),
        ("filled", "<i4"),  # displayed lots executed in event `stamp`, which its later C or M will take off
        ("to_book", "<i4"),  # displayed lots that C's and M's of event `stamp` take off: no F may book more
        ("stamp", "<i4"),  # event in which the order was last touched (caller's count)
        ("marks", "<i4"),  # caller's notes about event `stamp`
    ],
    align=True,
)

level_dtype = np.dtype(
    [
        ("key", "<i4"),  # tick of a bid, -tick of an ask: larger is better
        ("count", "<i4"),  # orders
        ("size", "<i8"),  # lots
        ("head", "<u4"),  # slot of the first order in the queue
        ("tail", "<u4"),
    ],
    align=True,
)


_SLOT_BYTES = 4
_ORDER_BYTES = order_dtype.itemsize


@cache
def book_dtype(bits: int) -> np.dtype:
    """A book of 2**bits - 1 orders and 2**(bits - 2) levels a side. Kernels compile once for each size."""
    return np.dtype(
        [
            ("orders_live", "<i4"),
            ("slots_used", "<u4"),  # slots ever used; higher ones are untouched
            ("free", "<u4"),  # first slot of the chain of freed ones
            ("levels_live", "<i4", (2,)),
            ("table", "<u4", (2 << bits,)),  # slot by hash of the order id, 0 empty
            ("orders", order_dtype, (1 << bits,)),
            ("levels", level_dtype, (2, 1 << (bits - 2))),
        ],
        align=True,
    )


def empty(bits: int = SMALL_BOOK) -> np.ndarray:
    """A new book: an array of shape (1,), whose element 0 is handed to kernels."""
    return np.zeros(1, book_dtype(bits))


def grown(books: np.ndarray) -> np.ndarray:
    """The same book with eight times the room."""
    old = books[0]
    bits = old["orders"].shape[0].bit_length() - 1 + 3
    new = empty(bits)
    for name in ("orders_live", "slots_used", "free", "levels_live"):
        new[name][0] = old[name]
    new["orders"][0, : old["orders"].shape[0]] = old["orders"]
    new["levels"][0, :, : old["levels"].shape[1]] = old["levels"]
    rehash(new[0])
    return new


def queues(books: np.ndarray) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """All levels of a book: (side, tick) -> (order id, size) in queue order."""
    found: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for side, tick, order_id, size in _rows(books).tolist():
        found.setdefault((side, tick), []).append((order_id, size))
    return found


@allocating
def _rows(books):
    """(orders, 4): side, tick, order id and size of every order, level by level, front of the queue first."""
    book = books[0]
    rows = np.empty((book["orders_live"], 4), np.int64)
    number = 0
    for side in range(2):
        for i in range(book["levels_live"][side]):
            slot = book["levels"][side, i]["head"]
            while slot != 0:
                order = book["orders"][slot]
                rows[number, 0] = side
                rows[number, 1] = order["tick"]
                rows[number, 2] = order["order_id"]
                rows[number, 3] = order["size"]
                number += 1
                slot = order["next"]
    return rows


@njit
def is_full(book) -> bool:
    """Whether the next order might find no slot or no level."""
    levels = book["levels"].shape[1]
    return (
        book["orders_live"] + 1 >= book["orders"].shape[0]
        or book["levels_live"][0] >= levels
        or book["levels_live"][1] >= levels
    )


@inlined
def _home(book, order_id: int) -> int:
    mixed = ((order_id ^ (order_id >> 29)) & 0xFFFFFFFF) * 1540483477
    return (mixed >> 16) & (book["table"].shape[0] - 1)


@njit
def rehash(book) -> None:
    """Fills the table anew from the orders that stand in the levels."""
    table, orders, levels = book["table"], book["orders"], book["levels"]
    mask = table.shape[0] - 1
    table[:] = 0
    for side in range(2):
        for i in range(book["levels_live"][side]):
            slot = levels[side, i]["head"]
            while slot != 0:
                entry = _home(book, orders[slot]["order_id"])
                while table[entry] != 0:
                    entry = (entry + 1) & mask
                table[entry] = slot
                slot = orders[slot]["next"]


@inlined
def find(book, order_id: int) -> int:
    """Slot of the order, 0 when it isn't in the book."""
    table, orders = book["table"], book["orders"]
    mask = table.shape[0] - 1
    entry = _home(book, order_id)
    while True:
        slot = table[entry]
        if slot == 0 or orders[slot]["order_id"] == order_id:
            return slot
        entry = (entry + 1) & mask


@inlined
def expect(book, order_id: int) -> None:
    """Asks memory for the place in the table where `find` will look soon."""
    prefetch(book["table"].ctypes.data + _SLOT_BYTES * _home(book, order_id), 1)


@inlined
def expect_order(book, order_id: int) -> None:
    """Asks memory for the order itself, once its place in the table is here."""
    slot = np.int64(book["table"][_home(book, order_id)])
    prefetch(book["orders"].ctypes.data + _ORDER_BYTES * slot, 1)


@inlined
def _forget(book, order_id: int) -> None:
    """Takes the id out of the table; later entries of its run move up, so that no tombstones pile up."""
    table, orders = book["table"], book["orders"]
    mask = table.shape[0] - 1
    hole = _home(book, order_id)
    while orders[table[hole]]["order_id"] != order_id:
        hole = (hole + 1) & mask
    entry = hole
    while True:
        entry = (entry + 1) & mask
        slot = table[entry]
        if slot == 0:
            break
        home = _home(book, orders[slot]["order_id"])
        if ((entry - home) & mask) >= ((entry - hole) & mask):
            table[hole] = slot
            hole = entry
    table[hole] = 0


@inlined
def find_level(book, side: int, tick: int) -> int:
    """Index of the level in `book["levels"][side]`, or -1 - index where it would have to be inserted."""
    levels = book["levels"]
    key = tick if side == 0 else -tick
    high = book["levels_live"][side]
    if high > 0:  # without empty prices between it and the best one, this is where it stands
        guess = high - 1 - (levels[side, high - 1]["key"] - key)
        if 0 <= guess < high and levels[side, guess]["key"] == key:
            return guess
    low = max(0, high - 8)  # most changes are within eight levels of the touch
    if high > 0 and levels[side, low]["key"] <= key:
        for i in range(high - 1, low - 1, -1):
            found = levels[side, i]["key"]
            if found <= key:
                return i if found == key else -2 - i
    high = low
    low = 0
    while low < high:
        middle = (low + high) >> 1
        if levels[side, middle]["key"] < key:
            low = middle + 1
        else:
            high = middle
    if low < book["levels_live"][side] and levels[side, low]["key"] == key:
        return low
    return -1 - low


@inlined
def _link(book, slot: int) -> None:
    """Puts the order at the back of the queue of its level."""
    orders, levels = book["orders"], book["levels"]
    order = orders[slot]
    side = order["side"]
    index = find_level(book, side, order["tick"])
    if index < 0:
        index = -1 - index
        live = book["levels_live"][side]
        for i in range(live, index, -1):
            levels[side, i] = levels[side, i - 1]
        level = levels[side, index]
        level["key"] = order["tick"] if side == 0 else -order["tick"]
        level["count"] = 0
        level["size"] = 0
        level["head"] = 0
        level["tail"] = 0
        book["levels_live"][side] = live + 1
    level = levels[side, index]
    tail = level["tail"]
    order["previous"] = tail
    order["next"] = 0
    orders[tail]["next"] = slot
    level["head"] = level["head"] if tail else slot
    level["tail"] = slot
    level["count"] += 1
    level["size"] += order["size"]


@inlined
def _unlink(book, slot: int) -> None:
    """Takes the order out of its queue, and its level out of the book when it was the last one."""
    orders, levels = book["orders"], book["levels"]
    order = orders[slot]
    side = order["side"]
    index = find_level(book, side, order["tick"])
    level = levels[side, index]
    previous, following = order["previous"], order["next"]
    orders[previous]["next"] = following
    orders[following]["previous"] = previous
    level["head"] = level["head"] if previous else following
    level["tail"] = level["tail"] if following else previous
    level["count"] -= 1
    level["size"] -= order["size"]
    if level["count"] == 0:
        live = book["levels_live"][side] - 1
        for i in range(index, live):
            levels[side, i] = levels[side, i + 1]
        book["levels_live"][side] = live


@inlined
def add(book, order_id: int, side: int, tick: int, size: int, priority: int) -> int:
    """Puts a new order at the back of its level; the id must not be in the book, which must not be full."""
    slot = book["free"]
    if slot != 0:
        book["free"] = book["orders"][slot]["next"]
    else:
        book["slots_used"] += 1
        slot = book["slots_used"]
    order = book["orders"][slot]
    order["order_id"] = order_id
    order["side"] = side
    order["tick"] = tick
    order["size"] = size
    order["priority"] = priority
    order["filled"] = 0
    order["stamp"] = -1
    order["marks"] = 0
    _link(book, slot)
    table = book["table"]
    mask = table.shape[0] - 1
    entry = _home(book, order_id)
    while table[entry] != 0:
        entry = (entry + 1) & mask
    table[entry] = slot
    book["orders_live"] += 1
    return slot


@inlined
def remove(book, slot: int) -> None:
    """Takes the order out of the book."""
    order = book["orders"][slot]
    _unlink(book, slot)
    _forget(book, order["order_id"])
    order["order_id"] = 0
    order["next"] = book["free"]
    book["free"] = slot
    book["orders_live"] -= 1


@njit
def resize(book, slot: int, size: int) -> None:
    """Sets the displayed size (> 0); the order keeps its place."""
    order = book["orders"][slot]
    index = find_level(book, order["side"], order["tick"])
    book["levels"][order["side"], index]["size"] += size - order["size"]
    order["size"] = size


@njit
def requeue(book, slot: int, side: int, tick: int, size: int, priority: int) -> None:
    """Moves the order to the back of the level at `side` and `tick` with a new size."""
    order = book["orders"][slot]
    _unlink(book, slot)
    order["side"] = side
    order["tick"] = tick
    order["size"] = size
    order["priority"] = priority
    _link(book, slot)


@inlined
def keeps_place(order, side: int, tick: int, size: int, filled: int) -> bool:
    """Whether an `M` to `size` at `side` and `tick` leaves the order its place in the queue.

    `filled` is what the order's `F` records of the same event took from its displayed size. What is left after them
    is no change; less keeps the place; more is a refreshed iceberg or an increase and goes to the back; the same size
    without a fill is a change that costs priority (account). CME, "Order Functionalities" and "Matching Algorithm
    Steps".
    """
    if side != order["side"] or tick != order["tick"]:
        return False
    left = order["size"] - filled
    return size < left or (size == left and filled > 0)


@njit
def clear(book) -> None:
    """Drops all orders."""
    book["orders_live"] = 0
    book["slots_used"] = 0
    book["free"] = 0
    book["levels_live"][0] = 0
    book["levels_live"][1] = 0
    book["table"][:] = 0


@njit
def best_tick(book, side: int) -> int:
    """Best price of the side, `NO_TICK` when it is empty."""
    live = book["levels_live"][side]
    if live == 0:
        return NO_TICK
    key = book["levels"][side, live - 1]["key"]
    return key if side == 0 else -key


@njit
def best_size(book, side: int) -> int:
    """Displayed lots at the best price of the side, 0 when it is empty."""
    live = book["levels_live"][side]
    return book["levels"][side, live - 1]["size"] if live > 0 else 0
