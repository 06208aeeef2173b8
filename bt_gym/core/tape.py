"""The layout of a tape: a market session compiled into records that no longer need order ids.

Letters used below: R records, E events, B blocks. A tape is three arrays in one file:
`records (R,)`, `events (E,)`, `blocks (B,)`. Event e owns records `events[e-1]["end"] : events[e]["end"]`
(from 0 for the first). Block b starts at event `blocks[b]["event"]` with the book as that event finds it.
"""

import numpy as np

from bt_gym.core.enums import EVENT_COARSE_DELAY

LADDER_TICKS = 512
"""Width of a ladder window in ticks, per side."""

BLOCK_EVENTS = 1 << 13
"""Most events between two checkpoints; a block ends earlier when the price has moved too far."""

BLOCK_DRIFT_TICKS = 120
"""A block ends when its middle has moved this far, so that >= 128 ticks beside the touch stay in the window."""

MAX_TICK = 1 << 26
"""Prices at or beyond this many ticks from zero stay off the tape and are counted."""

COARSE_BITS = 10
"""The unit of a delay that is flagged EVENT_COARSE_DELAY is 2**10 ns: 73 minutes at most, never less than it was."""

TICK_SHIFT = 5
GONE_BIT = 16
SIDE_BIT = 8
KIND_MASK = 7

record_dtype = np.dtype(
    [
        ("key", "<i4"),  # tick << 5 | gone << 4 | side << 3 | kind (enums.RECORD_*)
        ("size", "<i4"),  # lots: signed change of the level for ADD, DEL, FILL, RESTORE; volume for the others
        ("priority", "<i4"),  # index of the record that gave the order its place; -1 unknown
    ]
)
"""12 bytes. `gone`: this record takes the last displayed lot of its order away."""

event_dtype = np.dtype(
    [
        ("ts_event", "<i8"),  # ns UTC, matching engine clock, non-decreasing
        ("delay", "<u4"),  # ns until the whole event was received (`receive_delays`); ts_event + it is non-decreasing
        ("end", "<u4"),  # records up to and including this event
        ("source", "<u4"),  # MBO source records of the instrument up to and including this event
        ("bid", "<i4"),  # best bid after the event, ticks; NO_TICK when the side is empty
        ("ask", "<i4"),  # best ask after the event, ticks; NO_TICK when the side is empty
        ("flags", "<u4"),  # enums.PHASE_* in bits 0-2, enums.EVENT_* above
    ]
)
"""32 bytes, one match group."""

block_dtype = np.dtype(
    [
        ("event", "<i4"),  # first event of the block
        ("base", "<i4"),  # tick of ladder[:, 0]
        ("ladder", "<i4", (2, LADDER_TICKS)),  # displayed lots per side and tick, before the block's first event
    ]
)
"""4,104 bytes: a checkpoint, and where the ladder window moves."""


def receive_delays(events: np.ndarray) -> np.ndarray:
    """ns (E,) until each event of (E,) was received: ts_recv - ts_event."""
    coarse = events["flags"] & EVENT_COARSE_DELAY != 0
    return events["delay"].astype(np.int64) << (COARSE_BITS * coarse)
