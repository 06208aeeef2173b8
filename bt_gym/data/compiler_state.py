"""What a compiler knows besides the book, and what its kernels tell the shell."""

from functools import cache

import numpy as np

from bt_gym.core.tape import block_dtype, event_dtype, record_dtype

COUNTERS = (
    "adds",
    "cancels",
    "modifies",
    "clears",
    "snapshots",
    "trades",
    "volume",  # lots, all trades
    "fills",
    "hidden_size",  # lots executed beyond displayed size, or of orders never shown
    "auctions",
    "self_match_cancels",  # C without F in the event of a trade
    "inferred_sides",  # side-N trades in continuous trading whose resting side the quotes tell
    "implied_size",  # lots of trades beyond the fills reported with them, auctions left out
    "crossed_events",  # bid >= ask after the event
    "unpublished_records",  # of a last group without F_LAST
    "implicit_clears",  # snapshots without R over a book that holds orders
    # anomalies from here on
    "unknown_cancels",
    "unknown_modifies",  # taken as adds
    "unknown_fills",
    "duplicate_adds",  # replace the older order
    "over_cancels",  # more than the order had
    "side_changes",
    "unresolved_fills",  # F of displayed size that no C or M of its event books: counted as hidden
    "off_tick_orders",  # left out of the book
    "off_tick_trades",
    "far_prices",  # beyond MAX_TICK: in the book, not on the tape
    "invalid_records",  # unknown action, side or size
    "bad_book_events",  # flagged F_MAYBE_BAD_BOOK
    "snapshot_differences",  # levels of a carried book that a snapshot shows otherwise: ids, sizes or order
    "clock_steps_back",  # ts_event or ts_recv before the previous one: held
    "late_events",  # received more than 4.29 s after they happened
    "delays_saturated",  # more than 73 minutes
)

FIELDS = [
    ("count", [(name, "<i8") for name in COUNTERS]),
    ("source", "<i8"),  # records read
    ("events", "<i8"),  # published
    ("records", "<i8"),  # of the tape
    ("out_events", "<i8"),  # in the output buffers below
    ("out_records", "<i8"),
    ("out_blocks", "<i8"),
    ("out_stretches", "<i8"),
    ("out_ranges", "<i8"),
    ("out_doubts", "<i8"),
    ("ts_event", "<i8"),  # of the last event
    ("ts_recv", "<i8"),
    ("rounded", "<i8"),  # ns by which that is later than it was, as it is kept
    ("group_recv", "<i8"),  # largest ts_recv of the event under way
    ("bid", "<i8"),
    ("ask", "<i8"),
    ("bid_size", "<i8"),
    ("ask_size", "<i8"),
    ("block_event", "<i8"),  # first event of the block under way
    ("block_center", "<i8"),  # tick in the middle of its window
    ("stretch", "<i8"),  # first event since the last trade or snapshot
    ("stretch_crossed", "<i8"),
    ("in_snapshot", "<i8"),  # 0 no, 1 yes, ENDED
    ("suspect", "<i8"),  # 0 no, COLD, GAP
    ("lowest_ask", "<i8"),  # bid levels at or above this tick are proven
    ("highest_bid", "<i8"),  # ask levels at or below this tick are proven
    ("compare", "<i8"),  # a snapshot has just replaced a book that held orders
    ("given", "<i8"),  # phase that the venue's status gives, UNKNOWN: to be inferred
    ("no_cancel", "<i8"),  # 1 while the status forbids cancels
    ("next_change", "<i8"),  # ns: no event from here on before the next change of status; NEVER
    ("change_recv", "<i8"),  # ns, receive time of the last change: events received before it are held
    ("event_flags", "<i8"),  # of the event under way
    ("phase", "<i8"),  # of the last event, as it was published; -1 before the first
    ("first_off_tick", "<i8"),  # source number + 1
    ("off_tick_price", "<i8"),
]


@cache
def state_dtype(bits: int) -> np.dtype:
    """What a compiler knows besides the book, and room for 2**bits tape records to hand out.

    The buffers are part of the record: one argument for all helpers.
    """
    return np.dtype(
        [
            *FIELDS,
            ("record_buffer", record_dtype, (1 << bits,)),
            ("event_buffer", event_dtype, (1 << (bits - 1),)),
            ("block_buffer", block_dtype, (64,)),
            ("stretch_buffer", "<i8", (256, 2)),  # first event, one past the last
            ("range_buffer", "<i8", (256, 3)),  # event, lowest ask, highest bid: see `data.proof`
            ("doubt_buffer", "<i8", (1024, 3)),  # event, side, tick
        ],
        align=True,
    )


ENDED = 2  # a snapshot whose file has ended: what comes is another one

# why the book is suspect
COLD = 1  # a start without snapshot or clear: until enough levels are proven
GAP = 2  # F_MAYBE_BAD_BOOK: until the next snapshot or clear

PROVEN_LEVELS = 5
"""Best levels of each side that must be proven before a book that started cold is trusted."""

# what the kernel tells the shell
DONE = 0  # chunk read
MORE = 1  # the last group is incomplete: bring more records
BUFFERS = 2  # output buffers are full
GROW = 3  # the book is full
AGGREGATED = 4  # a record is no order (F_TOB or F_MBP)
CARRIED = 5  # a snapshot begins over a book that holds orders: keep that book
RESTORED = 6  # that snapshot is complete: compare
STATUS = 7  # a change of status comes first

NEVER = 2**63 - 1
