"""How late the records of each type were received: percentiles in bounded memory.

Two delays of a record: `receive` = ts_recv - ts_event, from the matching engine's clock to the capture server's;
`publish` = ts_in_delta, from the exchange's sending time to the capture server's. Snapshot records are no activity, and
a ts_recv flagged F_BAD_TS_RECV or undefined is none: they are left out.
"""

from typing import Any

import numpy as np

from bt_gym._jit import njit
from bt_gym.data import dbn

TYPES = {
    "add": dbn.ACTION_ADD,
    "cancel": dbn.ACTION_CANCEL,
    "modify": dbn.ACTION_MODIFY,
    "trade": dbn.ACTION_TRADE,
    "fill": dbn.ACTION_FILL,
}
PERCENTILES = (50, 90, 99)

_CODES = np.array(list(TYPES.values()), np.int64)
_DIGITS = 9  # bits kept behind the leading one: delays of 0 to 1,023 ns exactly, others to one in a thousand
_POWERS = 44  # longest: 2**44 ns, almost five hours
_BINS = (_POWERS - _DIGITS + 1) << _DIGITS

tally_dtype = np.dtype(
    [
        ("count", "<i8"),
        ("negative", "<i8"),  # of `count`: received before they happened, a clock is wrong; counted as that below 0
        ("largest", "<i8"),
        ("bins", "<i8", (2, _BINS)),  # of delays >= 0, and of those below by their size
    ],
    align=True,
)


@njit
def _bin(size: int) -> int:
    """Bin of a delay >= 0."""
    shift = 0
    while size >> shift >= 2 << _DIGITS:
        shift += 1
    return min((shift << _DIGITS) + (size >> shift), _BINS - 1)


def _middle(number: int) -> int:
    """Of a bin's delays."""
    shift = max((number >> _DIGITS) - 1, 0)
    low = (number - (shift << _DIGITS)) << shift
    return low + ((1 << shift) - 1) // 2


@njit
def _count(tally, delay) -> None:
    tally["largest"] = delay if tally["count"] == 0 else max(tally["largest"], delay)
    tally["count"] += 1
    if delay < 0:
        tally["negative"] += 1
        tally["bins"][1, _bin(-delay)] += 1
    else:
        tally["bins"][0, _bin(delay)] += 1


@njit
def _feed(tallies, records) -> None:
    """tallies: (types, 2) of `tally_dtype`."""
    for i in range(records.shape[0]):
        record = records[i]
        if record["flags"] & (dbn.FLAG_SNAPSHOT | dbn.FLAG_BAD_TS_RECV) or record["ts_recv"] < 0:
            continue
        for kind in range(_CODES.shape[0]):
            if record["action"] == _CODES[kind]:
                if record["ts_event"] >= 0:
                    _count(tallies[kind, 0], record["ts_recv"] - record["ts_event"])
                _count(tallies[kind, 1], np.int64(record["ts_in_delta"]))  # its negation must not wrap


class Delays:
    """Collects the delays of records chunk by chunk."""

    def __init__(self) -> None:
        self._tallies = np.zeros((len(TYPES), 2), tally_dtype)

    def feed(self, records: np.ndarray) -> None:
        """Takes a chunk (n,) of `dbn.mbo_dtype`."""
        _feed(self._tallies, records)

    def table(self) -> dict[str, dict[str, dict[str, int]]]:
        """Record type -> delay -> count, negative, p50, p90, p99, largest (ns); without types that have no record.

        A percentile is the smallest delay that so many records do not exceed, to one in a thousand.
        """
        return {
            kind: {name: _summary(tally) for name, tally in zip(("receive", "publish"), row, strict=True)}
            for kind, row in zip(TYPES, self._tallies, strict=True)
            if row["count"].any()
        }


def _summary(tally: Any) -> dict[str, int]:
    counts = np.concatenate([tally["bins"][1][::-1], tally["bins"][0]])
    totals = np.cumsum(counts)
    summary = {name: int(tally[name]) for name in ("count", "negative")}
    for percentile in PERCENTILES:
        number = int(np.searchsorted(totals, -(-tally["count"] * percentile // 100))) - _BINS
        summary[f"p{percentile}"] = _middle(number) if number >= 0 else -_middle(-1 - number)
    return summary | {"largest": int(tally["largest"])}
