"""Action schemes: what the numbers of a policy want done, as intents that are then sent as orders.

The rules of each scheme stand in `core.quote_actions` and `core.order_actions`. What each shares: an action that leaves
everything as it is, and numbers that are none of its own do just that, and are told.
"""

import math

import numpy as np

from bt_gym._jit import njit
from bt_gym.core.intents import MAX_INTENTS
from bt_gym.core.order_actions import (
    CHILD_LEAVE,
    FIRST_RATE,
    RAW_KINDS,
    ROW,
    hold,
    mask_participation,
    mask_rows,
    participate,
    send_rows,
)
from bt_gym.core.quote_actions import FIRST_OFFSET, mask_quotes, quote_codes, quote_prices

SCHEME_QUOTES = 0  # a code for the bid, one for the ask, perhaps one for the size
SCHEME_PAIRS = 1  # the same as one code
SCHEME_SPREAD = 2  # half-spread, skew, and what is done at each side
SCHEME_AVELLANEDA_STOIKOV = 3  # gamma, kappa, likewise
SCHEME_TARGET = 4  # a position to hold
SCHEME_PARTICIPATION = 5  # a part of the market's volume
SCHEME_RAW = 6  # rows of plain orders

MAX_OFFSETS = 16
MAX_TARGETS = 16
MAX_SIZES = 8
MAX_RATES = 8
MAX_ROWS = MAX_INTENTS

scheme_dtype = np.dtype(
    [
        ("kind", "<i8"),  # SCHEME_*
        ("offset_count", "<i8"),
        ("offsets", "<i4", (MAX_OFFSETS,)),  # ticks behind the own side's best price; negative: before it
        ("size_count", "<i8"),
        ("sizes", "<i4", (MAX_SIZES,)),  # lots; the first is used where the action has no size
        ("target_count", "<i8"),
        ("targets", "<i4", (MAX_TARGETS,)),  # signed lots
        ("rate_count", "<i8"),
        ("rates", "<f8", (MAX_RATES,)),  # lots due for each lot traded
        ("low", "<f8", (2,)),  # of what an action's first two numbers mean at -1: ticks, or gamma and kappa
        ("high", "<f8", (2,)),  # at 1
        ("lag", "<i8"),  # number of the window that sigma is taken from
        ("lag_s", "<f8"),  # its length, seconds
        ("horizon_s", "<f8"),
        ("rows", "<i8"),
        ("reach", "<i8"),  # ticks
        ("max_size", "<i8"),  # lots
    ],
    align=True,
)


@njit
def code_of(number: float, count: int) -> int:
    """A number of an action as one of `count` codes; -1 when it is none of them: NaN, infinite, a fraction."""
    return int(number) if 0 <= number < count and number == math.floor(number) else -1


@njit
def _are_rows(action, scheme, orders: int) -> bool:
    """Whether an action is made of rows of codes."""
    for row in range(scheme["rows"]):
        at = ROW * row
        if (
            code_of(action[at], RAW_KINDS) < 0
            or code_of(action[at + 1], orders) < 0
            or code_of(action[at + 2], 2) < 0
            or code_of(action[at + 3], 2 * scheme["reach"] + 1) < 0
            or code_of(action[at + 4], scheme["max_size"]) < 0
        ):
            return False
    return True


@njit
def plan(sent, account, memory, event, scheme, action, intents) -> int:
    """What an action (D,) float64 wants done. Returns how many intents it wrote, -1 when it is none of the scheme's.

    Args:
        memory: sums and windows of what has been received, see `core.features`.
        event: the last one received.
    """
    kind = scheme["kind"]
    if kind == SCHEME_QUOTES:
        codes = FIRST_OFFSET + scheme["offset_count"]
        bid, ask = code_of(action[0], codes), code_of(action[1], codes)
        size = code_of(action[2], scheme["size_count"]) if scheme["size_count"] > 1 else 0
        return quote_codes(sent, account, event, scheme, bid, ask, size, intents) if min(bid, ask, size) >= 0 else -1
    if kind == SCHEME_PAIRS:
        codes = FIRST_OFFSET + scheme["offset_count"]
        sizes = scheme["size_count"]
        code = code_of(action[0], codes * codes * sizes)
        bid, ask, size = code // (codes * sizes), code // sizes % codes, code % sizes
        return quote_codes(sent, account, event, scheme, bid, ask, size, intents) if code >= 0 else -1
    if kind == SCHEME_TARGET:
        target = code_of(action[0], scheme["target_count"])
        return hold(account, event, np.int64(scheme["targets"][target]), intents) if target >= 0 else -1
    if kind == SCHEME_PARTICIPATION:
        code = code_of(action[0], FIRST_RATE + 2 * scheme["rate_count"])
        count = participate(sent, account, memory, event, scheme, max(code, CHILD_LEAVE), intents)
        return count if code >= 0 else -1
    if kind == SCHEME_RAW:
        if not _are_rows(action, scheme, account["orders"].shape[0]):
            return -1
        return send_rows(account, event, scheme, action, intents)
    for number in range(4):
        if not -1 <= action[number] <= 1:
            return -1
    by_model = kind == SCHEME_AVELLANEDA_STOIKOV
    return quote_prices(sent, account, memory, event, scheme, action, by_model, intents)


@njit
def mask(sent, account, memory, event, scheme, out) -> None:
    """Which codes of an action do something now, into `out` (bool), one number's codes behind the other's.

    All targets do; of the others see `mask_quotes`, `mask_participation` and `mask_rows`.
    """
    kind = scheme["kind"]
    if kind == SCHEME_TARGET:
        for index in range(scheme["target_count"]):
            out[index] = True
    elif kind == SCHEME_QUOTES:
        mask_quotes(sent, account, event, scheme, out)
    elif kind == SCHEME_PAIRS:
        codes = FIRST_OFFSET + scheme["offset_count"]
        sizes = scheme["size_count"]
        mask_quotes(sent, account, event, scheme, out)  # of both sides: shorter than what overwrites it
        bids, asks = np.int64(0), np.int64(0)
        for code in range(codes):
            bids |= np.int64(out[code]) << code
            asks |= np.int64(out[codes + code]) << code
        for code in range(codes * codes * sizes):
            out[code] = (bids >> code // (codes * sizes)) & (asks >> code // sizes % codes) & 1 == 1
    elif kind == SCHEME_PARTICIPATION:
        mask_participation(sent, account, memory, event, scheme, out)
    elif kind == SCHEME_RAW:
        mask_rows(account, event, scheme, out)
