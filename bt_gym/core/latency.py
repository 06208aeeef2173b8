"""Latencies that vary: how long a request travels to the exchange, and how long the news of it travels back.

A request is sent with the constant part; when the exchange next works, `time_requests` adds what varies, from a draw or
from the tape, and keeps the order in which requests were sent. `respond` does the same for what is about to happen at
the exchange. A constant latency needs neither. Draws are keyed by the request or report, see `bt_gym.core.random`.
"""

import math

import numpy as np

from bt_gym._jit import njit
from bt_gym.core import enums, random
from bt_gym.core.market import receive_delay

REQUEST, EXCHANGE, RESPONSE = 0, 1, 2
"""Columns of `rows` of LATENCY_INTERPOLATED: ns, when a request was sent, when it arrived (0 or less: the gateway
refused it), when its answer was known."""

ANSWERED, ANSWER = 3, 4
"""Its columns of the requests that arrived, in the first `answered` rows: ns, when, and the latency of the answer."""

MAX_LATENCY = 3_600_000_000_000
"""ns: a latency drawn is at most an hour."""

FEW_ROWS = 4
"""Rows of data that every account has room for: a coarse sample."""

leg_dtype = np.dtype(
    [
        ("minimum", "<i8"),  # ns
        ("scale", "<f8"),  # LOGNORMAL: ns, median less minimum. LOAD: ns per message. FEED: times the delay
        ("sigma", "<f8"),  # LOGNORMAL: standard deviation of the logarithm
    ],
    align=True,
)
"""Parameters of one way."""


def make_latency_dtype(rows: int = FEW_ROWS) -> np.dtype:
    """The record of a latency model with room for so many rows of data."""
    return np.dtype(
        [
            ("model", "<i8"),  # enums.LATENCY_*
            ("entry", leg_dtype),
            ("response", leg_dtype),
            ("window", "<i8"),  # LOAD: ns in which messages count
            ("count", "<i8"),  # rows in use
            ("answered", "<i8"),
            ("rows", "<i8", (rows, 5)),  # EMPIRICAL: quantiles of entry and of response, ns. INTERPOLATED: see above
        ],
        align=True,
    )


latency_dtype = make_latency_dtype()


@njit
def _lognormal(leg, z: float) -> int:
    return np.int64(round(min(leg["scale"] * math.exp(leg["sigma"] * z), float(MAX_LATENCY))))


@njit
def _quantile(model, column: int, draw: float) -> int:
    """Between the two nearest of equally spaced quantiles."""
    place = draw * (model["count"] - 1)
    low = min(np.int64(place), max(model["count"] - 2, 0))
    high = min(low + 1, model["count"] - 1)
    a, b = model["rows"][low, column], model["rows"][high, column]
    return a + np.int64(round((place - low) * (b - a)))


@njit
def _drawn(model, leg, column: int, seed: int, account: int, purpose: int, number: int) -> int:
    if model["model"] == enums.LATENCY_LOGNORMAL:
        return _lognormal(leg, random.normal(seed, account, purpose, number, 0))
    return _quantile(model, column, random.uniform(seed, account, purpose, number, 0))


@njit
def _last_event(events, ts: int) -> int:
    """Number of the last event that had happened by `ts` (ns); -1 before the first."""
    low, high = 0, events.shape[0]
    while low < high:
        middle = (low + high) >> 1
        if events[middle]["ts_event"] <= ts:
            low = middle + 1
        else:
            high = middle
    return low - 1


@njit
def _of_tape(model, leg, events, ts: int) -> int:
    """What the market's own traffic up to `ts` (ns) adds."""
    last = _last_event(events, ts)
    if last < 0:
        return 0
    if model["model"] == enums.LATENCY_FEED:
        quantity = receive_delay(events[last])
    else:
        before = _last_event(events, ts - model["window"])
        quantity = np.int64(events[last]["source"]) - (np.int64(events[before]["source"]) if before >= 0 else 0)
    return np.int64(round(min(leg["scale"] * quantity, float(MAX_LATENCY))))


@njit
def _row(model, column: int, count: int, ts: int) -> int:
    """Last of `count` rows whose `column` isn't after `ts`; -1 before the first."""
    low, high = 0, count
    while low < high:
        middle = (low + high) >> 1
        if model["rows"][middle, column] <= ts:
            low = middle + 1
        else:
            high = middle
    return low - 1


@njit
def _between(ts: int, start: int, end: int, first: int, last: int) -> int:
    """Linear from `first` at `start` to `last` at `end`, in integers rounded to the nearest."""
    if end <= start:
        return first
    return first + np.int64(round((last - first) * ((ts - start) / (end - start))))


@njit
def _interpolated_entry(model, ts: int) -> tuple[int, bool]:
    """(latency, whether the gateway refuses): between two rows of which one was refused, it does."""
    rows, count = model["rows"], model["count"]
    row = _row(model, REQUEST, count, ts)
    low, high = max(row, 0), min(row + 1, count - 1)
    refused = rows[low, EXCHANGE] <= 0 or rows[high, EXCHANGE] <= 0
    column = RESPONSE if refused else EXCHANGE
    first, last = rows[low, column] - rows[low, REQUEST], rows[high, column] - rows[high, REQUEST]
    return _between(ts, rows[low, REQUEST], rows[high, REQUEST], first, last), refused


@njit
def _interpolated_response(model, ts: int) -> int:
    rows, count = model["rows"], model["answered"]
    if count == 0:
        return np.int64(0)
    row = _row(model, ANSWERED, count, ts)
    low, high = max(row, 0), min(row + 1, count - 1)
    return _between(ts, rows[low, ANSWERED], rows[high, ANSWERED], rows[low, ANSWER], rows[high, ANSWER])


@njit
def time_requests(account, events) -> None:
    """Gives requests sent since the last call their time of arrival."""
    models = account["models"]
    model = models["latency"]
    total = account["requests"].shape[0]
    waiting = account["requests_sent"] - account["requests_timed"]
    for i in range(account["requests_live"] - waiting, account["requests_live"]):
        request = account["requests"][(account["first_request"] + i) % total]
        number = account["requests_timed"]
        ts = request["ts_sent"] + models["entry_latency"]
        request["refused"] = 0
        more = model["entry"]["minimum"]
        if model["model"] == enums.LATENCY_INTERPOLATED:
            latency, refused = _interpolated_entry(model, ts)
            more += latency
            request["refused"] = refused and request["slot"] >= 0  # the kill switch gets through
        elif model["model"] >= enums.LATENCY_LOAD:
            more += _of_tape(model, model["entry"], events, request["ts_sent"])
        else:
            more += _drawn(model, model["entry"], 0, models["seed"], models["account"], random.ENTRY, number)
        arrival = max(ts + max(more, 0), account["last_timed"])
        request["ts_exchange"] = arrival
        account["last_timed"] = arrival
        account["requests_timed"] = number + 1


@njit
def respond(account, events, ts: int) -> None:
    """What happens at the exchange at `ts` (ns) is known so much later than the constant part."""
    models = account["models"]
    model = models["latency"]
    more = model["response"]["minimum"]
    if model["model"] == enums.LATENCY_INTERPOLATED:
        more += _interpolated_response(model, ts)
    elif model["model"] >= enums.LATENCY_LOAD:
        more += _of_tape(model, model["response"], events, ts)
    else:
        number = account["reports_written"]
        more += _drawn(model, model["response"], 1, models["seed"], models["account"], random.RESPONSE, number)
    account["response_extra"] = max(more, 0)
