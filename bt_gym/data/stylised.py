"""Stylised facts of a market, measured from its MBO records: what a synthetic market has to share with a real one.

Definitions and the real values of one thin hour of ES follow the literature named at each fact. All from one pass over
the records that notes the best quotes after each event, the trades, the fills of resting orders and the depth.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.table import Table

from bt_gym._jit import njit
from bt_gym.core.enums import NO_TICK
from bt_gym.data import book as books
from bt_gym.data import dbn

SECOND = 1_000_000_000
DEPTH_LEVELS = 10
SHARES = (0.01, 0.1, 0.5, 0.9, 0.99)

quote_dtype = np.dtype([("ts", "<i8"), ("bid", "<i8"), ("ask", "<i8"), ("bid_size", "<i8"), ("ask_size", "<i8")])
"""Best prices (ticks) and sizes after an event."""

trade_dtype = np.dtype([("quote", "<i8"), ("side", "<i8"), ("tick", "<i8"), ("size", "<i8")])
"""A trade or fill and the quote of its event; side of the aggressor or of the resting order."""

add_dtype = np.dtype([("distance", "<i8"), ("size", "<i8")])
"""A new order: ticks from the opposite best before it."""


ROWS: tuple[tuple[str, str, tuple[Any, ...]], ...] = (
    ("mean spread, ticks", "", ("spread", "mean")),
    ("share of time at 1 tick", "large tick: > 0.9", ("spread", "1")),
    ("kurtosis of 1 s returns", "> 3", ("return_kurtosis", "1")),
    ("kurtosis of 60 s returns", "less, > 3", ("return_kurtosis", "60")),
    ("tail exponent of 10 s returns", "3 to 5", ("tail_exponent",)),
    ("autocorrelation of 1 s returns", "near 0", ("return_acf", 0)),
    ("of their size, lags 1 2 3 4 10 20 s", "> 0, slow", ("absolute_acf",)),
    ("variance per second, 1 s", "", ("variance_ratio", "1")),
    ("variance per second, 60 s", "not more", ("variance_ratio", "60")),
    ("autocorrelation of trade signs", "", ("sign_acf", "1")),
    ("exponent of its decay", "0.3 to 0.8", ("sign_memory",)),
    ("lots at levels 1 to 10", "hump", ("depth",)),
    ("order lifetime, 10 %, s", "heavy tails", ("lifetime", "p10")),
    ("order lifetime, 90 %, s", "", ("lifetime", "p90")),
    ("time between events, 1 %, s", "heavy tails", ("gap", "p1")),
    ("time between events, 90 %, s", "", ("gap", "p90")),
    ("markout of passive fills, 1 s, ticks", "about 0 or less", ("markout", "1")),
    ("markout of passive fills, 10 s, ticks", "about 0 or less", ("markout", "10")),
    ("mid 1 s after a trade, ticks", "> 0", ("response", "1")),
    ("exponent of impact by size", "0.4 to 0.7", ("impact_exponent",)),
    ("volume and |return|, by minute", "> 0", ("volume_volatility",)),
)


@dataclass(frozen=True)
class Observations:
    """What the pass over the records noted, from `since` on; see the dtypes."""

    quotes: np.ndarray  # one per event with both sides
    trades: np.ndarray
    fills: np.ndarray
    adds: np.ndarray
    depth: np.ndarray  # (seconds, 2, DEPTH_LEVELS): lots by ticks from the own best price
    lifetimes: np.ndarray  # ns, from A to the C that takes the last lots
    gaps: np.ndarray  # ns between events


@njit
def _apply(book, record, tick_nanos: int, index: int) -> None:
    """A, C, M and R on the book."""
    action = record["action"]
    if action == dbn.ACTION_CLEAR:
        books.clear(book)
        return
    order_id = int(record["order_id"])
    tick = record["price"] // tick_nanos
    side = 0 if record["side"] == dbn.SIDE_BID else 1
    slot = books.find(book, order_id)
    if slot == 0:
        if action != dbn.ACTION_CANCEL:
            books.add(book, order_id, side, tick, int(record["size"]), index)
    elif action == dbn.ACTION_CANCEL:
        left = int(book["orders"][slot]["size"]) - int(record["size"])
        if left > 0:
            books.resize(book, slot, left)
        else:
            books.remove(book, slot)
    else:
        books.requeue(book, slot, side, tick, int(record["size"]), index)


@njit
def _observe(book, records, tick_nanos: int, since: int, quotes, trades, fills, adds, depth, counts):
    """Fills the arrays; `counts` are their lengths. Stops in front of a book that is full and returns its place."""
    aggressor = 0
    clock = since
    for i in range(records.shape[0]):
        record = records[i]
        action = record["action"]
        live = record["ts_event"] >= since
        bid, ask = books.best_tick(book, 0), books.best_tick(book, 1)
        if action in (dbn.ACTION_TRADE, dbn.ACTION_FILL):
            order_id = int(record["order_id"])
            if action == dbn.ACTION_TRADE:
                aggressor = order_id
            if live and record["side"] != dbn.SIDE_NONE and (action == dbn.ACTION_TRADE or order_id != aggressor):
                if action == dbn.ACTION_TRADE:
                    trade = trades[counts[1]]
                    counts[1] += 1
                else:
                    trade = fills[counts[2]]
                    counts[2] += 1
                trade["quote"] = counts[0]
                trade["side"] = 0 if record["side"] == dbn.SIDE_BID else 1
                trade["tick"] = record["price"] // tick_nanos
                trade["size"] = record["size"]
            continue
        if action == dbn.ACTION_NONE:
            continue
        if live and action == dbn.ACTION_ADD and bid != NO_TICK and ask != NO_TICK:
            tick = record["price"] // tick_nanos
            adds[counts[3]]["distance"] = ask - tick if record["side"] == dbn.SIDE_BID else tick - bid
            adds[counts[3]]["size"] = record["size"]
            counts[3] += 1
        if books.is_full(book):
            return i
        while live and clock <= record["ts_event"] and counts[4] < depth.shape[0]:
            _note_depth(book, depth[counts[4]])
            counts[4] += 1
            clock += SECOND
        _apply(book, record, tick_nanos, i)
        if record["flags"] & dbn.FLAG_LAST and live:
            bid, ask = books.best_tick(book, 0), books.best_tick(book, 1)
            if bid != NO_TICK and ask != NO_TICK:
                quote = quotes[counts[0]]
                quote["ts"] = record["ts_event"]
                quote["bid"] = bid
                quote["ask"] = ask
                quote["bid_size"] = books.best_size(book, 0)
                quote["ask_size"] = books.best_size(book, 1)
                counts[0] += 1
    return records.shape[0]


@njit
def _note_depth(book, depth) -> None:
    for side in range(2):
        best = books.best_tick(book, side)
        for i in range(book["levels_live"][side] - 1, -1, -1):
            level = book["levels"][side, i]
            key = best if side == 0 else -best
            distance = key - level["key"]
            if distance >= DEPTH_LEVELS:
                break
            depth[side, distance] = level["size"]


def observe(records: np.ndarray, tick_nanos: int, since: int) -> Observations:
    """Passes once over the records of one instrument, noting what happens from `since` (ns UTC) on."""
    letters = {letter: int(np.sum(records["action"] == ord(letter))) for letter in "ATF"}
    quotes = np.zeros(int(np.sum((records["flags"] & dbn.FLAG_LAST) > 0)), quote_dtype)
    trades, fills = np.zeros(letters["T"], trade_dtype), np.zeros(letters["F"], trade_dtype)
    adds = np.zeros(letters["A"], add_dtype)
    seconds = max(0, int(records["ts_event"][-1]) - since) // SECOND
    depth = np.zeros((seconds, 2, DEPTH_LEVELS), np.int64)
    bits = books.SMALL_BOOK
    while True:
        counts = np.zeros(5, np.int64)
        book = books.empty(bits)[0]
        if _observe(book, records, tick_nanos, since, quotes, trades, fills, adds, depth, counts) == len(records):
            break
        bits += 3
    live = records[records["ts_event"] >= since]
    times = live["ts_event"][(live["flags"] & dbn.FLAG_LAST) > 0]
    return Observations(
        quotes[: counts[0]],
        trades[: counts[1]],
        fills[: counts[2]],
        adds[: counts[3]],
        depth[: counts[4]],
        _lifetimes(live),
        np.diff(times),
    )


def _lifetimes(records: np.ndarray) -> np.ndarray:
    """ns from each `A` to the `C` that takes the last lots, in the order of ids."""
    rows = records[np.isin(records["action"], [dbn.ACTION_ADD, dbn.ACTION_CANCEL, dbn.ACTION_MODIFY])]
    rows = rows[np.argsort(rows["order_id"], kind="stable")]
    number = np.arange(len(rows))
    is_cancel = rows["action"] == dbn.ACTION_CANCEL
    lots = rows["size"].astype(np.int64)
    cancelled = np.cumsum(np.where(is_cancel, lots, 0))
    sized = np.maximum.accumulate(np.where(is_cancel, 0, number))  # the last A or M, whose size is absolute
    born = np.maximum.accumulate(np.where(rows["action"] == dbn.ACTION_ADD, number, 0))
    before = lots[sized] - (cancelled - lots - cancelled[sized])
    same = (rows["order_id"][born] == rows["order_id"]) & (rows["action"][born] == dbn.ACTION_ADD) & (sized >= born)
    died = np.flatnonzero(is_cancel & same & (before > 0) & (before <= lots))
    return rows["ts_event"][died] - rows["ts_event"][born[died]]


def measure(seen: Observations) -> dict[str, Any]:
    """The facts, as plain numbers; prices in ticks, times in seconds.

    * `spread`: share of time at 1, 2, 3, ... ticks and beyond.
    * `return_std`, `return_kurtosis` by horizon; `return_acf` at 1 s (bounce: negative at lag 1), `absolute_acf` of
      absolute 1 s returns (clustering: positive, slow); `tail_exponent`, Hill on the largest 5 % of absolute 10 s
      returns (3-5 in the literature: Cont 2001).
    * `variance_ratio`: realised variance per second by sampling interval (signature plot: falls to a plateau).
    * `sign_acf` of trade signs and `sign_memory`, the exponent of its decay (0.3-0.7: Lillo and Farmer 2004).
    * `depth`: mean lots at 1, 2, ... ticks behind the best, both sides (hump: Bouchaud, Mezard and Potters 2002).
    * `add_distance`: share of new orders at 1, 2, ... ticks from the opposite best.
    * `lifetime`, `gap`: quantiles of order lifetimes and of times between events (heavy tails, mass below 1 ms).
    * `markout`: mean ticks that a resting order gains from its fill until `horizon` later, at the mid, per fill
      (adverse selection: at most 0 at the touch: Glosten and Milgrom 1985).
    * `response`: mean mid move in the direction of a trade `horizon` later.
    * `impact_exponent`: of the mid's move over a run of trades of one sign by its lots, see `impact_curve` (square root
      law: 0.4-0.7, Almgren et al. 2005).
    * `volume_volatility`: correlation of volume and absolute return, by minute.
    """
    quotes = seen.quotes
    start, end = int(quotes["ts"][0]), int(quotes["ts"][-1])
    held = np.diff(quotes["ts"])
    spread = (quotes["ask"] - quotes["bid"])[:-1]
    mids = _sampled(quotes, start, end, SECOND)
    returns = np.diff(mids) / 2
    signs = 1 - 2 * seen.trades["side"]
    sign_acf = _acf(signs, 50)
    facts: dict[str, Any] = {
        "seconds": (end - start) / SECOND,
        "events": len(quotes),
        "trades": len(seen.trades),
        "spread": {str(k): _share(held[spread == k], held) for k in (1, 2, 3, 4, 5)}
        | {"mean": float(np.average(spread, weights=held))},
        "return_std": {},
        "return_kurtosis": {},
        "variance_ratio": {},
        "return_acf": _rounded(_acf(returns, 5)),
        "absolute_acf": _rounded(_acf(np.abs(returns), 20)[[0, 1, 2, 3, 9, 19]]),
        "sign_acf": {str(k): float(sign_acf[k - 1]) for k in (1, 2, 5, 10, 20)},
        "sign_memory": _decay(sign_acf),
        "depth": _rounded(seen.depth.mean(axis=(0, 1))) if len(seen.depth) else [],
        "add_distance": _rounded(np.bincount(np.clip(seen.adds["distance"], 0, 11), minlength=12)[1:] / len(seen.adds)),
        "add_size": _quantiles(seen.adds["size"]) | {"mean": float(seen.adds["size"].mean())},
        "trade_size": _quantiles(seen.trades["size"]) | {"mean": float(seen.trades["size"].mean())},
        "lifetime": _quantiles(seen.lifetimes / SECOND),
        "gap": _quantiles(seen.gaps / SECOND),
        "markout": {},
        "response": {},
    }
    for horizon in (1, 10, 60):
        moves = np.diff(mids[::horizon]) / 2
        facts["return_std"][str(horizon)] = float(moves.std())
        facts["return_kurtosis"][str(horizon)] = _kurtosis(moves)
    for interval in (1, 2, 5, 10, 30, 60):
        facts["variance_ratio"][str(interval)] = float(np.mean((np.diff(mids[::interval]) / 2) ** 2) / interval)
    for delay in (0.1, 1, 10):
        facts["markout"][str(delay)] = markout(quotes, seen.fills, int(delay * SECOND))
        facts["response"][str(delay)] = _response(quotes, seen.trades, int(delay * SECOND))
    ten = np.abs(np.diff(mids[::10]) / 2)
    facts["tail_exponent"] = _hill(ten[ten > 0])
    minutes = (quotes["ts"][seen.trades["quote"].clip(max=len(quotes) - 1)] - start) // (60 * SECOND)
    volume = np.bincount(minutes, seen.trades["size"], minlength=len(mids) // 60 + 1)
    moved = np.abs(np.diff(mids[::60]))
    facts["volume_volatility"] = _correlation(volume[: len(moved)], moved)
    facts["impact_exponent"] = _exponent(*impact_curve(seen))
    return facts


def curves(seen: Observations) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What a report draws, as (x, y): x in the unit that the name says, y a share, a correlation, lots or ticks."""
    quotes = seen.quotes
    held = np.diff(quotes["ts"])
    spread = (quotes["ask"] - quotes["bid"])[:-1].clip(max=10)
    start, end = int(quotes["ts"][0]), int(quotes["ts"][-1])
    returns = np.diff(_sampled(quotes, start, end, SECOND)) / 2
    lags = np.arange(1, 51)
    sizes, moves, _ = impact_curve(seen)
    return {
        "spread, ticks": (np.arange(1, 11), np.array([_share(held[spread == k], held) for k in range(1, 11)])),
        "absolute 1 s return, ticks": _survival(np.abs(returns[returns != 0])),
        "lag of 1 s returns, s": (lags, _acf(returns, 50)),
        "lag of absolute 1 s returns, s": (lags, _acf(np.abs(returns), 50)),
        "lag of trade signs, trades": (lags, _acf(1 - 2 * seen.trades["side"], 50)),
        "ticks behind the best price": (np.arange(DEPTH_LEVELS), seen.depth.mean(axis=(0, 1))),
        "lots of a run of trades of one sign": (sizes, moves),
        "order lifetime, s": _survival(seen.lifetimes / SECOND),
    }


def impact_curve(seen: Observations, bins: int = 12) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean move of the mid in ticks over runs of trades of one sign, by the run's size.

    The feed doesn't tell which trades are children of one order; runs of two and more trades are what comes closest.
    The move is from before the first trade to after the last, in their direction.

    Returns:
        (mean lots, mean move, number of runs) of up to `bins` equally filled bins.
    """
    trades, quotes = seen.trades, seen.quotes
    if len(trades) < 2 * bins:
        return np.zeros(0), np.zeros(0), np.zeros(0, np.int64)
    first = np.flatnonzero(np.r_[True, np.diff(trades["side"]) != 0])
    last = np.r_[first[1:], len(trades)] - 1
    before, after = trades["quote"][first] - 1, trades["quote"][last].clip(max=len(quotes) - 1)
    kept = (last > first) & (before >= 0)
    size = np.add.reduceat(trades["size"], first)[kept]
    mid = (quotes["bid"] + quotes["ask"]) / 2
    move = ((mid[after] - mid[before]) * (1 - 2 * trades["side"][first]))[kept]
    edges = np.unique(np.quantile(size, np.linspace(0, 1, bins + 1)))
    place = np.clip(np.searchsorted(edges, size, side="right") - 1, 0, max(len(edges) - 2, 0))
    counts = np.bincount(place)
    used = counts > 0
    means = [np.bincount(place, values)[used] / counts[used] for values in (size, move)]
    return means[0], means[1], counts[used]


def _exponent(sizes: np.ndarray, moves: np.ndarray, counts: np.ndarray) -> float:
    """Log-log slope over the bins that moved, weighted by their runs."""
    used = moves > 0
    if used.sum() < 4:
        return float("nan")
    return float(np.polyfit(np.log(sizes[used]), np.log(moves[used]), 1, w=np.sqrt(counts[used]))[0])


def _survival(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of the values that are at least x, at up to 60 places spread over their logarithms."""
    values = np.sort(values[values > 0])
    if not len(values):
        return np.zeros(0), np.zeros(0)
    at = np.unique(np.geomspace(values[0], values[-1], 60))
    return at, 1 - np.searchsorted(values, at) / len(values)


def rows(markets: Mapping[str, dict[str, Any]]) -> list[tuple[str, ...]]:
    """The facts in words: (fact, what the literature expects, value for each market or `-` where there is none).

    Args:
        markets: {name: result of `measure`}.
    """
    found = []
    for title, expected, keys in ROWS:
        cells = []
        for facts in markets.values():
            values: Any = facts
            for key in keys:
                values = values[key]
            cells.append(", ".join(f"{value:.3g}" if np.isfinite(value) else "-" for value in np.ravel(values)))
        found.append((title, expected, *cells))
    return found


def render(markets: Mapping[str, dict[str, Any]]) -> Table:
    """The same as a table with a column for each market."""
    table = Table(title="Stylised facts")
    for title in ("fact", "expected", *markets):
        table.add_column(title)
    for row in rows(markets):
        table.add_row(*row)
    return table


def markout(quotes: np.ndarray, fills: np.ndarray, horizon: int) -> float:
    """Mean gain in ticks of the resting side from its fill price to the mid `horizon` ns later, per fill."""
    ts = quotes["ts"][fills["quote"].clip(max=len(quotes) - 1)]
    known = ts + horizon <= quotes["ts"][-1]
    later = np.searchsorted(quotes["ts"], ts[known] + horizon, side="right") - 1
    mid = (quotes["bid"][later] + quotes["ask"][later]) / 2
    sign = 1 - 2 * fills["side"][known]
    return float(np.mean((mid - fills["tick"][known]) * sign))


def _response(quotes: np.ndarray, trades: np.ndarray, horizon: int) -> float:
    place = trades["quote"].clip(max=len(quotes) - 1)
    ts = quotes["ts"][place]
    known = (ts + horizon <= quotes["ts"][-1]) & (place > 0)
    later = np.searchsorted(quotes["ts"], ts[known] + horizon, side="right") - 1
    mid = (quotes["bid"] + quotes["ask"]) / 2
    return float(np.mean((mid[later] - mid[place[known] - 1]) * (1 - 2 * trades["side"][known])))


def _sampled(quotes: np.ndarray, start: int, end: int, step: int) -> np.ndarray:
    """Twice the mid at regular times."""
    at = np.searchsorted(quotes["ts"], np.arange(start, end, step), side="right") - 1
    return quotes["bid"][at] + quotes["ask"][at]


def _acf(values: np.ndarray, lags: int) -> np.ndarray:
    centred = values - values.mean()
    power = np.dot(centred, centred) or 1.0
    return np.array([np.dot(centred[k:], centred[:-k]) / power for k in range(1, lags + 1)])


def _decay(acf: np.ndarray) -> float:
    """Minus the log-log slope over the lags from 1 to the first value that isn't positive."""
    ends = np.flatnonzero(acf <= 0)
    used = acf[: ends[0] if len(ends) else len(acf)]
    if len(used) < 5:
        return float("nan")
    return float(-np.polyfit(np.log(np.arange(1, len(used) + 1)), np.log(used), 1)[0])


def _kurtosis(values: np.ndarray) -> float:
    """Fourth moment over squared variance: 3 for a normal law."""
    variance = values.var()
    return float(np.mean((values - values.mean()) ** 4) / variance**2) if variance else float("nan")


def _hill(values: np.ndarray, share: float = 0.05) -> float:
    """Tail exponent from the largest `share` of the values (at least 30 of 100)."""
    largest = np.sort(values)[-max(30, int(share * len(values))) :]
    return float(1 / np.mean(np.log(largest / largest[0])[1:])) if len(values) >= 100 else float("nan")


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1]) if len(a) > 2 and a.std() and b.std() else float("nan")


def _share(part: np.ndarray, whole: np.ndarray) -> float:
    return float(part.sum() / whole.sum())


def _quantiles(values: np.ndarray) -> dict[str, float]:
    return dict(zip((f"p{int(q * 100)}" for q in SHARES), np.quantile(values, SHARES).tolist(), strict=True))


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(value), 4) for value in values]
