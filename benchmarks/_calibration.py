"""What the same machine does with the same stream when nothing is asked of it: yardsticks of the benchmarks.

All rates are in source MBO records, whatever a pass reads.
"""

from pathlib import Path
from typing import Any

import numpy as np
import zstandard

from bt_gym._jit import njit
from bt_gym.core import enums
from bt_gym.core.tape import KIND_MASK, SIDE_BIT, TICK_SHIFT
from bt_gym.data import book as l3
from bt_gym.data import dbn

LADDER_WIDTH = 1 << 13
"""Ticks: wide enough for a session, so that the bare ladder never has to move."""


@njit
def _ladder_pass(records, ladder, base):
    for i in range(records.shape[0]):
        key = records[i]["key"]
        kind = key & KIND_MASK
        if kind <= enums.RECORD_RESTORE:
            offset = (key >> TICK_SHIFT) - base
            if 0 <= offset < LADDER_WIDTH:
                ladder[1 if key & SIDE_BIT else 0, offset] += records[i]["size"]
        elif kind == enums.RECORD_CLEAR:
            ladder[:] = 0


def ladder_pass(records: np.ndarray, base: int) -> np.ndarray:
    """Adds the sizes of a tape's records up, level by level: the least that a replay has to do.

    Args:
        records: (R,) of `core.tape.record_dtype`.
        base: tick of `ladder[:, 0]`.

    Returns:
        (2, LADDER_WIDTH) displayed lots per side and tick.
    """
    ladder = np.zeros((2, LADDER_WIDTH), np.int32)
    _ladder_pass(records, ladder, base)
    return ladder


@njit
def _apply(book, messages, first, tick_size):
    """Returns the number of the first message that found no room, or of messages."""
    for i in range(first, messages.shape[0]):
        message = messages[i]
        action = message["action"]
        if action == dbn.ACTION_CLEAR:
            l3.clear(book)
        if action != dbn.ACTION_ADD and action != dbn.ACTION_CANCEL and action != dbn.ACTION_MODIFY:
            continue
        order_id = np.int64(message["order_id"])
        size = np.int64(message["size"])
        slot = l3.find(book, order_id)
        if action == dbn.ACTION_CANCEL:
            if slot != 0 and size < book["orders"][slot]["size"]:
                l3.resize(book, slot, book["orders"][slot]["size"] - size)
            elif slot != 0:
                l3.remove(book, slot)
            continue
        side = enums.BID if message["side"] == dbn.SIDE_BID else enums.ASK
        tick = message["price"] // tick_size
        if slot == 0:
            if l3.is_full(book):
                return i
            l3.add(book, order_id, side, tick, size, i)
        elif l3.keeps_place(book["orders"][slot], side, tick, size, 0):
            l3.resize(book, slot, size)
        else:
            l3.requeue(book, slot, side, tick, size, i)
    return messages.shape[0]


def bare_book(messages: np.ndarray, tick_size: int) -> np.void:
    """Applies A, C, M and R to an L3 book, message by message, and makes nothing of it.

    Args:
        messages: (n,) of `dbn.mbo_dtype`.
        tick_size: in 1e-9 of the currency.

    Returns:
        The book; an order's priority is the number of the message that gave it its place.
    """
    books = l3.empty()
    position = 0
    while (position := _apply(books[0], messages, position, tick_size)) < len(messages):
        books = l3.grown(books)
    return books[0]


def levels(book: np.void, side: int) -> dict[int, int]:
    """Displayed lots by tick."""
    rows = book["levels"][side][: book["levels_live"][side]]
    return {int(row["key"] if side == enums.BID else -row["key"]): int(row["size"]) for row in rows}


def queue(book: np.void, side: int, tick: int) -> list[tuple[int, int]]:
    """(priority, displayed lots) of the orders at a level, front first."""
    index = l3.find_level(book, side, tick)
    slot = int(book["levels"][side, index]["head"]) if index >= 0 else 0
    orders: list[tuple[int, int]] = []
    while slot:
        order: Any = book["orders"][slot]
        orders.append((int(order["priority"]), int(order["size"])))
        slot = int(order["next"])
    return orders


def inflate(path: Path) -> int:
    """Decompresses a zstd file into a buffer that is used again and again; returns its size in bytes."""
    buffer = bytearray(1 << 20)
    total = 0
    with open(path, "rb") as file, zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True) as stream:
        while count := stream.readinto(buffer):
            total += count
    return total
