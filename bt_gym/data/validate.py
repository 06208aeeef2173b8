"""What is in a market-by-order file, and whether its book is right: `bt-gym validate`.

Needs no facts of the instrument: the price grid is inferred from the orders, and the result says so.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Group
from rich.table import Column, Table

from bt_gym._jit import njit
from bt_gym.data import dbn
from bt_gym.data.audit import Audit
from bt_gym.data.compiler import Compiler
from bt_gym.data.delays import Delays
from bt_gym.data.files import sha256
from bt_gym.data.phases import PhaseTable
from bt_gym.data.sources import check_manifests
from bt_gym.data.symbology import Selection
from bt_gym.data.twin import Twin, report
from bt_gym.errors import DataError, EmptyDataError, SymbolError, TickError

PRICE_UNIT = 1_000_000_000
"""DBN prices are int64 in 1e-9 of the currency."""

FIFO_SHARE = 0.99
"""A product whose trades follow price-time priority less often has another matching algorithm."""

FIFO_TRADES = 30
"""With fewer trades the share says nothing."""

IMPLIED_SHARE = 0.01
"""Of the volume: with more traded against orders that are not in the book, its best prices are not the market's."""

COMPILED = (
    "auctions",
    "self_match_cancels",
    "hidden_size",
    "implied_size",
    "inferred_sides",
    "unresolved_fills",
    "snapshots",
    "snapshot_differences",
    "bad_book_events",
    "off_tick_trades",
    "far_prices",
    "clock_steps_back",
    "late_events",
    "delays_saturated",
)
"""What the compiler counts (`bt_gym.data.compiler_state.COUNTERS`) and the audit doesn't."""


def validate(
    *paths: Path | str, symbol: str | None = None, tick_size: Decimal | float | str | None = None
) -> dict[str, Any]:
    """Rebuild the book of a file, or of several in a row, and check it; memory doesn't grow with the files.

    Args:
        paths: `.dbn` or `.dbn.zst` files of schema mbo; they are read by the time they start.
        symbol: the instrument; None when the files hold only one.
        tick_size: of the price grid, in units of the price; None infers the largest grid that all orders lie on.

    Returns:
        Plain numbers, strings, dicts and lists. Prices in units of the price, sizes in lots, times in ns UTC. The main
        fields: `events` are the states after a record with F_LAST, `live_orders`, `best_bid` and `best_ask` (None for
        an empty side) are those of the last complete event, `trades` and `volume` count T records, `crossed_events`
        states with a crossed or locked book; `book_digest` is the sha256 over all states of `<Q` ts_event followed by
        ten levels of `<qII` price in 1e-9, size, order count, bid before ask ((2**63 - 1, 0, 0) for a missing level).
        `fifo`, `fill_rule` and `conservation` are explained in `bt_gym.data.fifo`, `anomalies` in
        `bt_gym.data.audit.ANOMALIES`, `latency` in `bt_gym.data.delays`, `cold_start` in `bt_gym.data.proof`; `phases`
        are those of the tape that the file would compile to, `matching` is fifo, other or unknown, `supports` tells
        whether queue positions and latencies of the file can be used, and `findings` says it all in words.

    Raises:
        DataError: a file can't be used, or they don't follow each other; see `bt_gym.errors` for the kinds.
        TickError: `tick_size` is no price, or no grid can be inferred.
    """
    files = _in_a_row(paths, symbol)
    grid = infer_grid(*files) if tick_size is None else parse_tick(tick_size)
    audit, compiler, delays, phases = Audit(grid or PRICE_UNIT), Compiler(grid or PRICE_UNIT), Delays(), PhaseTable()
    ends: list[np.void] = []  # first and last record
    for file, selection in files:
        audit.begin_file()
        compiler.begin_file()
        for records in file.chunks(selection):
            audit.feed(records)
            delays.feed(records)
            for piece in compiler.feed(records):
                phases.feed(compiler, piece)
            ends = [*ends[:1], records[-1]] if ends else [records[0], records[-1]]
    audit.finish()
    with suppress(TickError):  # that orders are off the grid is a finding here
        for piece in compiler.finish():
            phases.feed(compiler, piece)
    phases.finish(compiler)
    first, last = ends
    file, selection = files[0]
    counts = audit.counts()
    for side in ("best_bid", "best_ask"):
        price, size, count = counts[side] or (None, 0, 0)
        counts[side] = None if price is None else {"price": price / PRICE_UNIT, "size": size, "count": count}
    result = {
        "file": {
            "path": str(file.path),
            "sha256": sha256(file.path),
            "schema": file.schema,
            "version": file.version,
            "dataset": file.dataset,
            "symbols": sorted(file.symbols),
            "symbol": selection.symbol,
            "instrument_ids": list(selection.instrument_ids),
            "first_ts_recv": int(first["ts_recv"]),
            "last_ts_recv": int(last["ts_recv"]),
            "skipped": dict(sum((file.skipped for file, _ in files), Counter())),
            "starts_complete": bool(first["flags"] & dbn.FLAG_SNAPSHOT or first["action"] == dbn.ACTION_CLEAR),
        },
        "further_files": [{"path": str(file.path), "sha256": sha256(file.path)} for file, _ in files[1:]],
        **counts,
        "price_grid": {"tick_size": grid / PRICE_UNIT if grid else None, "inferred": tick_size is None},
        "phases": phases.table(),
        "latency": delays.table(),
        "compiled": {name: compiler.counters[name] for name in COMPILED},
        "matching": _matching(counts["fifo"]),
    }
    result["cold_start"] = None if result["file"]["starts_complete"] else {"until": phases.first_continuous}
    is_known = result["cold_start"] is None or result["cold_start"]["until"] is not None
    result["supports"] = {
        "queue": is_known and result["matching"] != "other",
        "latency": _has_latency(result["latency"]),
    }
    return result | {"findings": _findings(result)}


def _in_a_row(paths: Sequence[Path | str], symbol: str | None) -> list[tuple[dbn.DbnFile, Selection]]:
    """The files by the time they start, with the instrument that all of them hold."""
    if not paths:
        raise EmptyDataError("no files given: name at least one")
    files = sorted(map(dbn.open_dbn, paths), key=lambda file: file.start)
    check_manifests([file.path for file in files])
    chosen = [(file, file.select(symbol)) for file in files]
    for (before, held), (file, selection) in pairwise(chosen):
        if (held.symbol, before.dataset) != (selection.symbol, file.dataset):
            raise SymbolError(
                f"{file.path}: holds {selection.symbol} of {file.dataset}, {before.path} {held.symbol} of "
                f"{before.dataset}: validate one instrument at a time"
            )
        if file.path.samefile(before.path):
            raise DataError(f"{file.path}: is named twice: give each file once")
    return chosen


def twin_test(
    *paths: Path | str,
    result: dict[str, Any],
    orders: int = 1000,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Takes real orders out of their market, sends them in again and compares the fills: see `bt_gym.data.twin`.

    All records are held in memory (56 bytes each), and each order costs a compilation of what happened up to its end.

    Args:
        paths: of the files.
        result: what `validate` says of them.
        orders: how many are taken, at most: filled ones and others.
        seed: which.
        progress: is told how many are done, and of how many.

    Returns:
        `twin_orders`: counts of segments, exact, auction, iceberg, self_match and unexplained ones;
        `twin_implied`: those of the last where a trade met lots that the file doesn't hold; and
        `twin_unexplained`: the first unexplained ones.

    Raises:
        TickError: the price grid is unknown.
    """
    tick_size = result["price_grid"]["tick_size"]
    if tick_size is None:
        raise TickError(f"{paths[0]}: no order tells the price grid: there is nothing to test")
    files = _in_a_row(paths, result["file"]["symbol"])
    records = np.concatenate([chunk for file, selection in files for chunk in file.chunks(selection)])
    twin = Twin(records, parse_tick(tick_size))
    sample = twin.sample(orders, seed)
    return report(twin.test(sample, lambda done: progress(done, len(sample))))


def parse_tick(tick_size: Decimal | float | str) -> int:
    """A tick size in 1e-9 of the price unit."""
    try:
        scaled = Decimal(str(tick_size)) * PRICE_UNIT
        if 0 < scaled < 2**63 and scaled == int(scaled):
            return int(scaled)
    except (InvalidOperation, ValueError):
        pass
    raise TickError(f"tick size {tick_size!r} isn't a positive multiple of 1e-9: give it in price units, such as 0.25")


def infer_grid(*files: tuple[dbn.DbnFile, Selection]) -> int:
    """The largest grid, in 1e-9, on which the prices of all orders lie; 0 without a price other than zero."""
    grid, reach = 0, 0
    for file, selection in files:
        for records in file.chunks(selection):
            step, farthest = _grid_of(records)
            grid, reach = gcd(grid, int(step)), max(reach, int(farthest))
    if grid and reach // grid >= 2**31:
        raise TickError(
            f"{files[0][0].path}: prices up to {reach / PRICE_UNIT:.9g} lie on no common grid coarser than "
            f"{grid / PRICE_UNIT:.9f}: give the tick size, orders that are off it are counted and left out"
        )
    return grid


@njit
def _grid_of(records):
    """(greatest common divisor, largest magnitude) of the prices of orders that can stand in the book."""
    grid = np.int64(0)
    reach = np.int64(0)
    for i in range(records.shape[0]):
        action = records[i]["action"]
        if action != dbn.ACTION_ADD and action != dbn.ACTION_MODIFY:
            continue
        if records[i]["price"] == dbn.UNDEF_PRICE:
            continue
        rest = abs(records[i]["price"])
        reach = max(reach, rest)
        if grid != 0 and rest % grid == 0:
            continue
        while rest != 0:
            grid, rest = rest, grid % rest
    return grid, reach


def _matching(fifo: dict[str, int]) -> str:
    """fifo, other or unknown. Trades that fill more than was displayed follow no rule that a file can show."""
    explained = fifo["exact"] + fifo["iceberg"]
    if fifo["trades"] < FIFO_TRADES or (explained >= FIFO_SHARE * fifo["trades"] and 2 * fifo["exact"] < explained):
        return "unknown"
    return "fifo" if explained >= FIFO_SHARE * fifo["trades"] else "other"


def _has_latency(latency: dict[str, dict[str, dict[str, int]]]) -> bool:
    """Whether receive times tell when a strategy could know of an event."""
    return any(delays["receive"]["largest"] > 0 and not delays["receive"]["negative"] for delays in latency.values())


def _findings(result: dict[str, Any]) -> list[str]:
    """In words: what was found, and what the file can't support."""
    fifo, anomalies, events = result["fifo"], result["anomalies"], result["events"]
    explained = f"{fifo['exact'] + fifo['iceberg']:,} of {fifo['trades']:,} trades follow it"
    found = []
    if fifo["trades"] < FIFO_TRADES:
        found.append(f"{fifo['trades']} trades with an aggressor are too few to tell the matching algorithm")
    elif result["matching"] == "fifo":
        found.append(f"matches by price and time (FIFO): {explained}")
    elif result["matching"] == "other":
        found.append(f"no price-time matching: only {explained}; queue positions can't be exact")
    else:
        found.append(f"{fifo['iceberg']:,} of {fifo['trades']:,} trades filled hidden size: the matching can't be told")
    if result["cold_start"]:
        until = result["cold_start"]["until"]
        usable = f"its best levels are known from {_utc(until)}" if until is not None else "no part of it can be used"
        found.append(f"starts without a snapshot or clear: orders older than the file are missing, {usable}")
    if "continuous" not in result["phases"] and events:
        found.append("never in continuous trading: no order can fill")
    if not result["supports"]["latency"] and events:
        found.append("receive times tell no latency: give one")
    compiled = result["compiled"]
    if compiled["implied_size"] > IMPLIED_SHARE * result["volume"]:
        found.append(f"{compiled['implied_size']:,} of {result['volume']:,} lots met orders that the file doesn't hold")
    if compiled["snapshot_differences"]:
        found.append(f"{compiled['snapshot_differences']:,} levels of the book were not as a later snapshot has them")
    if compiled["bad_book_events"]:
        found.append("gaps (F_MAYBE_BAD_BOOK): no order can fill until the next snapshot or clear")
    bid, ask = result["best_bid"], result["best_ask"]
    if not events:
        found.append("no record carries F_LAST: there is no state to look at")
    if bid and ask and bid["price"] >= ask["price"]:
        found.append("the book is crossed or locked at the end")
    if anomalies["off_tick_orders"]:
        tick = result["price_grid"]["tick_size"]
        found.append(f"{anomalies['off_tick_orders']:,} orders are off the grid of {tick} and left out of the book")
    odd = sum(anomalies.values()) - anomalies["unknown_fills"] - anomalies["off_tick_orders"]
    if odd:
        found.append(f"{odd:,} anomal{'y' if odd == 1 else 'ies'} in {result['records']:,} records, see the counters")
    return found


def render(result: dict[str, Any]) -> Group:
    """The result of `validate` as a table for a terminal."""
    file, fifo, rule, conservation = (result[part] for part in ("file", "fifo", "fill_rule", "conservation"))
    grid = result["price_grid"]
    grid_origin = "inferred from the orders" if grid["inferred"] else "given"
    by_side, sizes = result["live_orders_by_side"], result["resting_size_by_side"]
    aggressors = result["volume_by_aggressor"]
    rows = {
        "file": f"{file['path']} ({file['schema']}, DBN v{file['version']}, {file['dataset']})",
        "sha256": file["sha256"],
        **{f"file {number}": more["path"] for number, more in enumerate(result["further_files"], 2)},
        "instrument": f"{file['symbol']} (id {', '.join(map(str, file['instrument_ids']))})",
        "received": f"{_utc(file['first_ts_recv'])} to {_utc(file['last_ts_recv'])}",
        "price grid": f"{grid['tick_size'] or 'unknown'} ({grid_origin})",
        "records, events": f"{result['records']:,}, {result['events']:,}",
        "live orders": f"{result['live_orders']:,} (bid {by_side['bid']:,}, ask {by_side['ask']:,})",
        "resting size": f"bid {sizes['bid']:,}, ask {sizes['ask']:,}",
        "best bid, ask": f"{_quote(result['best_bid'])} / {_quote(result['best_ask'])}",
        "trades": f"{result['trades']:,}",
        "volume": f"{result['volume']:,} (" + ", ".join(f"{name} {lots:,}" for name, lots in aggressors.items()) + ")",
        "crossed events": f"{result['crossed_events']:,}",
        "level 1 changes": f"{result['level1_changes']:,}",
        "FIFO": f"{fifo['exact']:,} exact, {fifo['iceberg']:,} iceberg, {fifo['mismatch']:,} mismatch "
        f"of {fifo['trades']:,} trades",
        "fill rule": f"{rule['predicted']:,} of {rule['fills']:,} fills, "
        f"{rule['non_fills_predicted']:,} of {rule['non_fills']:,} non-fills",
        "matching": result["matching"],
        "conservation": f"{conservation['equal']:,} of {conservation['events']:,} events",
        "book digest": result["book_digest"],
        "anomalies": _counts(result["anomalies"]),
        **({"twin test": _twin(result)} if "twin_orders" in result else {}),
        "compiled": _counts(result["compiled"]),
        "supports": ", ".join(name if ok else f"no {name}" for name, ok in result["supports"].items()),
    }
    table = Table(show_header=False, box=None)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, value)
    return Group(table, _phase_table(result), _latency_table(result), *(f"- {line}" for line in result["findings"]))


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items() if count) or "none"


def _twin(result: dict[str, Any]) -> str:
    counts, implied = result["twin_orders"], result["twin_implied"]
    others = ", ".join(f"{counts[name]:,} {name}" for name in ("auction", "iceberg", "self_match", "unexplained"))
    return f"{counts['exact']:,} of {counts['segments']:,} lives of orders exact; {others}" + (
        f" ({implied:,} of these passed by a trade with lots that the file doesn't hold)" if implied else ""
    )


def _phase_table(result: dict[str, Any]) -> Table:
    table = Table("phase", Column("events", justify="right"), Column("seconds", justify="right"), box=None)
    for name, row in result["phases"].items():
        table.add_row(name, f"{row['events']:,}", f"{row['seconds']:,.3f}")
    return table


def _latency_table(result: dict[str, Any]) -> Table:
    """Percentiles in us."""
    numbers = [f"{name} {part}" for name in ("receive", "publish") for part in ("p50", "p90", "p99")]
    headers = (Column(name, justify="right") for name in ("records", *numbers))
    table = Table("latency, us", *headers, box=None)
    for kind, delays in result["latency"].items():
        parts = [delays[name][part] / 1e3 for name in ("receive", "publish") for part in ("p50", "p90", "p99")]
        table.add_row(kind, f"{delays['receive']['count']:,}", *(f"{part:,.1f}" for part in parts))
    return table


def _utc(ns: int) -> str:
    return f"{np.datetime64(ns, 'ns')}Z" if ns >= 0 else "undefined"


def _quote(level: dict[str, Any] | None) -> str:
    return f"{level['price']:.9g} x {level['size']:,} ({level['count']:,} orders)" if level else "empty"
