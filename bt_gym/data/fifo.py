"""Trades against price-time priority: do the reported fills go to the front of the rebuilt queue?

* **FIFO**: at each trade the fills are compared, order by order, with what strict price-time priority gives from the
  queue that the trade met: `exact`, `iceberg` (an order was filled beyond its displayed size) or `mismatch`.
* **Fill rule**: the fill that each order of that queue would be given if it were an own order; see `_judge`.
* **Conservation**: the trades of an event add up to the fills of its resting orders. Events with a trade that has no
  aggressor side (auctions, implied) are left out.

All three look at the book as the event found it. An order that leaves in the event without a fill was cancelled before
it could trade (self-match prevention), and is not in the queue; neither is what earlier trades of the event took.
"""

import numpy as np

from bt_gym._jit import njit
from bt_gym.core import enums
from bt_gym.data import book as l3
from bt_gym.data import dbn
from bt_gym.data.compiler import is_own_fill

AUCTION_SETTLE_NS = 1_000_000_000
"""After an auction orders that were never displayed still trade: the fill rule leaves this time out."""

tally_dtype = np.dtype(
    [
        ("trades", "<i8"),
        ("volume", "<i8", (3,)),  # lots bought, sold, and without aggressor
        ("fifo", [(name, "<i8") for name in ("trades", "exact", "iceberg", "mismatch")]),
        ("fill_rule", [(name, "<i8") for name in ("fills", "predicted", "non_fills", "non_fills_predicted")]),
        ("conservation", [(name, "<i8") for name in ("events", "equal")]),
        ("stamp", "<i8"),  # number of the event under way; notes of other numbers are void
        ("settled_ns", "<i8"),  # ts_event from which the fill rule counts
    ],
    align=True,
)
"""Counts of the checks."""

note_dtype = np.dtype(
    [
        ("stamp", "<i8"),  # the event that the rest belongs to
        ("filled", "<i8"),  # reported by an F, not yet booked by a C or M
        ("taken", "<i8"),  # filled by earlier trades of the event
        ("now", "<i8"),  # filled by the trade under way
        ("marks", "<i8"),  # HAS_FILL, HAS_CANCEL
    ],
    align=True,
)
"""Notes on an order during one event, by its slot in the book."""

HAS_FILL = 1
HAS_CANCEL = 2


@njit
def note_of(tally, notes, slot: int):
    """The notes of an order, blank at its first appearance in the event."""
    note = notes[slot]
    if note["stamp"] != tally["stamp"]:
        note["stamp"] = tally["stamp"]
        note["filled"] = 0
        note["taken"] = 0
        note["now"] = 0
        note["marks"] = 0
    return note


@njit
def is_sided(message) -> bool:
    return message["side"] == dbn.SIDE_BID or message["side"] == dbn.SIDE_ASK


@njit
def check_event(tally, book, notes, chunk, first: int, end: int, tick_size: int) -> None:
    """FIFO, fill rule and conservation of the event `chunk[first:end]`; the book is as the event found it."""
    trades = 0
    traded = np.int64(0)
    sided = True
    for i in range(first, end):
        if chunk[i]["action"] == dbn.ACTION_TRADE:
            trades += 1
            traded += chunk[i]["size"]
            sided &= is_sided(chunk[i])
    if trades == 0:
        return
    sideless_fill = False
    for i in range(first, end):
        action = chunk[i]["action"]
        if action == dbn.ACTION_FILL or action == dbn.ACTION_CANCEL:
            sideless_fill |= action == dbn.ACTION_FILL and not is_sided(chunk[i])
            slot = l3.find(book, np.int64(chunk[i]["order_id"]))
            if slot != 0:
                note = note_of(tally, notes, slot)
                note["marks"] |= HAS_FILL if action == dbn.ACTION_FILL else HAS_CANCEL
    if not sided and sideless_fill:
        tally["settled_ns"] = chunk[first]["ts_event"] + AUCTION_SETTLE_NS
    filled = np.int64(0)
    reported = False  # a T
    for i in range(first, end):
        if chunk[i]["action"] == dbn.ACTION_TRADE:
            reported = True
            filled += _check_trade(tally, book, notes, chunk, i, end, tick_size)
        elif chunk[i]["action"] == dbn.ACTION_FILL and not reported:
            filled += chunk[i]["size"]
    tally["trades"] += trades
    if sided:
        tally["conservation"]["events"] += 1
        tally["conservation"]["equal"] += traded == filled


@njit
def _check_trade(tally, book, notes, chunk, first: int, end: int, tick_size: int) -> np.int64:
    """The T at `first` and the F's up to the next T; returns the lots of resting orders filled."""
    trade = chunk[first]
    size = np.int64(trade["size"])
    total = np.int64(0)
    after = first + 1
    while after < end and chunk[after]["action"] != dbn.ACTION_TRADE:
        if _is_passive_fill(chunk[after], trade):
            total += chunk[after]["size"]
            slot = l3.find(book, np.int64(chunk[after]["order_id"]))
            if slot != 0:
                note = note_of(tally, notes, slot)
                note["now"] += chunk[after]["size"]
        after += 1
    if not is_sided(trade):
        tally["volume"][2] += size
    else:
        buyer = trade["side"] == dbn.SIDE_BID
        tally["volume"][0 if buyer else 1] += size
        tick = trade["price"] // tick_size
        head = 0
        if tick * tick_size == trade["price"]:
            resting = enums.ASK if buyer else enums.BID
            index = l3.find_level(book, resting, tick)
            if index >= 0:
                head = book["levels"][resting, index]["head"]
        _judge(tally, book, notes, head, size, total, trade["ts_event"] >= tally["settled_ns"])
    for i in range(first + 1, after):
        if _is_passive_fill(chunk[i], trade):
            slot = l3.find(book, np.int64(chunk[i]["order_id"]))
            if slot != 0:
                note = note_of(tally, notes, slot)
                note["taken"] += note["now"]
                note["now"] = 0
    return total


@njit
def _is_passive_fill(message, trade) -> bool:
    """An F of a resting order; a modified order that takes is reported with an F of its own."""
    return message["action"] == dbn.ACTION_FILL and not is_own_fill(message, trade)


@njit
def _judge(tally, book, notes, head: int, size: np.int64, total: np.int64, settled: bool) -> None:
    """Walks the queue that a trade of `size` lots met, and compares the `total` lots of its fills order by order.

    Orders that leave in this event without a fill were cancelled before they could trade (self-match prevention).
    The fill rule gives an order what the trade left over from those ahead, provided that these are exhausted or that
    somebody behind was filled.
    """
    allocatable = size  # what strict price-time priority has left
    ahead = np.int64(0)  # filled in front of the order at hand
    exhausted = exact = True
    iceberg = False
    fills = predicted_fills = non_fills = predicted_non_fills = 0
    slot = head
    while slot != 0:
        displayed = np.int64(book["orders"][slot]["size"])
        recorded = np.int64(0)
        note = notes[slot]
        following = book["orders"][slot]["next"]
        if note["stamp"] == tally["stamp"]:
            displayed -= note["taken"]
            recorded = note["now"]
            if note["marks"] == HAS_CANCEL or displayed <= 0:
                slot = following
                continue
        fair = min(displayed, allocatable)
        allocatable -= fair
        if recorded != fair:
            exact = False
        if recorded > displayed:
            iceberg = True
        predicted = np.int64(0)
        if exhausted or total > ahead + recorded:
            predicted = min(displayed, max(size - ahead, np.int64(0)))
        if predicted != 0 or recorded != 0:
            fills += 1
            predicted_fills += predicted == recorded
        else:
            non_fills += 1
            predicted_non_fills += 1
        ahead += recorded
        if recorded < displayed:
            exhausted = False
        slot = following
    if ahead != total:  # an order that was not displayed in this queue
        exact = False
        iceberg = True
    tally["fifo"]["trades"] += 1
    tally["fifo"]["exact"] += exact
    tally["fifo"]["iceberg"] += iceberg and not exact
    tally["fifo"]["mismatch"] += not iceberg and not exact
    if settled and not iceberg:
        tally["fill_rule"]["fills"] += fills
        tally["fill_rule"]["predicted"] += predicted_fills
        tally["fill_rule"]["non_fills"] += non_fills
        tally["fill_rule"]["non_fills_predicted"] += predicted_non_fills
