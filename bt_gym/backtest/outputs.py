"""The parquet files of a run, with unit and meaning on every column: `SCHEMAS` is their documentation.

A file appears whole or not at all, and the same run writes the same bytes: no clock, path or host goes into it.

>>> SCHEMAS["trades"].field("fee_micros").metadata[b"unit"]
b'1e-6 currency'
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bt_gym.backtest.account import NO_MARK, Account
from bt_gym.backtest.order_history import fold_orders, queues_proven
from bt_gym.backtest.report import BacktestReport, Ledger, RunInfo
from bt_gym.backtest.summary import HORIZONS_NS, LIQUIDITY
from bt_gym.core.enums import MARK_MICROPRICE, NO_TICK, names
from bt_gym.data.files import replace_file

MICROS = "1e-6 currency"

KEYS = {
    "reports": list(names("EXEC_").values()),
    "rejects": list(names("REASON_").values()),
    "markouts": [f"{name}_{label}" for name in LIQUIDITY for label in HORIZONS_NS],
    "markout_contracts": [f"{name}_{label}" for name in LIQUIDITY for label in HORIZONS_NS],
}
"""Keys of the report's dicts: each becomes a column `<field>_<key>` of the metrics file."""


def _field(name: str, kind: pa.DataType, unit: str, meaning: str) -> pa.Field:
    return pa.field(name, kind, metadata={"unit": unit, "meaning": meaning})


def _metrics_schema() -> pa.Schema:
    """One column per field of the report; dicts, ledger and run are spread over columns."""
    kinds = {int: pa.int64(), float: pa.float64(), str: pa.string()}
    columns = []
    for item in fields(BacktestReport):
        unit, meaning = item.metadata["unit"], item.metadata["meaning"]
        if item.name in KEYS:
            kind = pa.float64() if item.name == "markouts" else pa.int64()
            columns += [_field(f"{item.name}_{key}", kind, unit, f"{meaning}: {key}") for key in KEYS[item.name]]
        elif item.name == "ledger":
            columns += [_field(f"{part.name}_micros", pa.int64(), unit, meaning) for part in fields(Ledger)]
        elif item.name == "run":
            columns += [_field(part.name, pa.string(), unit, meaning) for part in fields(RunInfo) if part.type is str]
        elif item.name == "strategy_metrics":
            columns.append(_field(item.name, pa.string(), unit, f"{meaning}, as a JSON object"))
        elif item.name == "notes":
            columns.append(_field(item.name, pa.list_(pa.field("element", pa.string())), unit, meaning))
        elif item.name != "parts":
            columns.append(_field(item.name, kinds[(get_args(item.type) or (item.type,))[0]], unit, meaning))
    return pa.schema(columns)


_ACCOUNT = [
    _field("strategy", pa.string(), "", "name of the strategy"),
    _field("symbol", pa.string(), "", "instrument"),
]

SCHEMAS = {
    "metrics": _metrics_schema(),
    "trades": pa.schema(
        [
            *_ACCOUNT,
            _field("order_id", pa.int64(), "", "1, 2, 3, ... in the order of submission, per account"),
            _field("ts_event", pa.int64(), "ns", "exchange time of the fill, UTC"),
            _field("ts_known", pa.int64(), "ns", "when the strategy learns of it, UTC"),
            _field("side", pa.string(), "", "buy or sell"),
            _field("price_ticks", pa.int64(), "ticks", "fill price, exact"),
            _field("price", pa.float64(), "price", "fill price: ticks * tick size"),
            _field("size", pa.int64(), "lots", "lots of this fill"),
            _field("fee_micros", pa.int64(), MICROS, "fee of this fill, exact; negative = rebate"),
            _field("impact_micros", pa.int64(), MICROS, "what the impact model adds to its cost, in cash, exact"),
            _field("liquidity", pa.string(), "", "maker (was resting), taker, or auction (an uncross: neither)"),
            _field("reason", pa.string(), "", "none; end_of_data or roll: closed at the last valid price, by no trade"),
            _field("event", pa.int64(), "", "tape event in which (maker, auction) or after which (taker) it happened"),
            _field("source_record_first", pa.int64(), "", "first MBO record of that event, from 0, per instrument"),
            _field("source_record_end", pa.int64(), "", "one past the last MBO record of that event"),
        ]
    ),
    "orders": pa.schema(
        [
            *_ACCOUNT,
            _field("order_id", pa.int64(), "", "1, 2, 3, ... in the order of submission, per account"),
            _field("side", pa.string(), "", "buy or sell"),
            _field("status", pa.string(), "", "working, filled, canceled, rejected or expired, at the end"),
            _field("reason", pa.string(), "", "why it was canceled, rejected or expired, else none"),
            _field("ts_first", pa.int64(), "ns", "first report at the exchange, UTC"),
            _field("ts_last", pa.int64(), "ns", "last report at the exchange, UTC"),
            _field("limit_ticks", pa.int64(), "ticks", "last limit; null when no report told it"),
            _field("limit", pa.float64(), "price", "last limit: ticks * tick size"),
            _field("submitted", pa.int64(), "lots", "lots asked for, most over its life; 0 when refused at once"),
            _field("filled", pa.int64(), "lots", "lots filled"),
            _field("fills", pa.int64(), "", "number of fills"),
            _field("avg_price", pa.float64(), "price", "average fill price; null without a fill"),
            _field("fees_micros", pa.int64(), MICROS, "fees of its fills"),
            _field("queue_proven", pa.bool_(), "", "the data tell all of its queue; null when it never rested"),
        ]
    ),
    "equity": pa.schema(
        [
            *_ACCOUNT,
            _field("ts", pa.int64(), "ns", "exchange time, UTC; the last values at or before it follow"),
            _field("equity", pa.float64(), "currency", "cash + position at the mark - fees"),
            _field("equity_micros", pa.int64(), MICROS, "the same, exact"),
            _field("position", pa.int64(), "lots", "signed"),
            _field("cash_micros", pa.int64(), MICROS, "proceeds less costs of all fills, fees excluded"),
            _field("fees_micros", pa.int64(), MICROS, "fees paid so far"),
            _field("mark", pa.float64(), "price", "what a lot is valued at, see backtest.mark; null before the first"),
            _field("mark_half_ticks", pa.int64(), "ticks / 2", "twice the mark in ticks, exact; null for a microprice"),
            _field("mark_is_stale", pa.bool_(), "", "the book has no valid mid at this moment"),
        ]
    ),
    "signals": pa.schema(
        [
            *_ACCOUNT,
            _field("ts", pa.int64(), "ns", "when the strategy reported it, UTC"),
            _field("name", pa.string(), "", "metric of the strategy's own"),
            _field("value", pa.float64(), "", "its value; null for nan and infinities"),
        ]
    ),
}
"""Schema of each file by its kind."""


def write_outputs(
    report: BacktestReport, accounts: Sequence[Account], output_files: Mapping[str, str | Path]
) -> dict[str, Path]:
    """Writes the files of a run, folders included, each atomically and only once all of them could be written.

    Args:
        report: the total, its parts included.
        accounts: the accounts behind it (`MetricsCollector.account`), in the order of the rows wanted.
        output_files: path by kind: any of metrics, trades, orders, equity, signals. An existing file is replaced.

    Returns:
        The paths written, by kind.

    Raises:
        ValueError: an unknown kind.
        OSError: a folder or file can't be written; nothing is left half written.
    """
    make = {"trades": _trades, "orders": _orders, "equity": _equity, "signals": _signals}
    if unknown := output_files.keys() - SCHEMAS.keys():
        raise ValueError(f"unknown output {min(unknown)!r}: choose from {', '.join(SCHEMAS)}")
    tables = {}
    for kind, path in output_files.items():
        if kind == "metrics":
            table = pa.Table.from_pylist([_flat(part) for part in (*report.parts, report)], schema=SCHEMAS[kind])
        else:
            parts = [make[kind](account) for account in accounts]
            table = pa.concat_tables([SCHEMAS[kind].empty_table(), *parts])
        tables[Path(path)] = table
    with ExitStack() as renamed_at_the_end:
        for path, table in tables.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(table, renamed_at_the_end.enter_context(replace_file(path)), compression="zstd")
    return {kind: Path(path) for kind, path in output_files.items()}


def _flat(report: BacktestReport) -> dict[str, Any]:
    row = report.to_dict()
    for name, keys in KEYS.items():
        missing = None if name == "markouts" else 0
        row |= {f"{name}_{key}": row[name].get(key, missing) for key in keys}
    row |= {f"{name}_micros": value for name, value in row["ledger"].items()}
    row["strategy_metrics"] = json.dumps(report.strategy_metrics)
    return row | {name: value for name, value in row["run"].items() if name != "notes"}


def _table(kind: str, account: Account, columns: dict[str, Any]) -> pa.Table:
    """Columns by name to a table of the kind's schema; strategy and symbol are added."""
    rows = len(next(iter(columns.values())))
    columns = {"strategy": [account.strategy] * rows, "symbol": [account.symbol] * rows} | columns
    return pa.table([pa.array(columns[item.name], item.type) for item in SCHEMAS[kind]], schema=SCHEMAS[kind])


def _trades(account: Account) -> pa.Table:
    fills = account.fills
    event = fills["event"].astype(np.int64)
    none = event < 0
    ends = np.append(0, account.events["source"].astype(np.int64))
    return _table(
        "trades",
        account,
        {
            "order_id": fills["order_id"],
            "ts_event": fills["ts_exchange"],
            "ts_known": fills["ts_known"],
            "side": _sides(fills["side"]),
            "price_ticks": fills["price"],
            "price": _prices(account, fills["price"]),
            "size": fills["size"],
            "fee_micros": fills["fee"],
            "impact_micros": fills["impact"],
            "liquidity": _names("LIQUIDITY_", fills["liquidity"]),
            "reason": _names("REASON_", fills["reason"]),
            "event": pa.array(event, mask=none),
            "source_record_first": pa.array(ends[np.where(none, 0, event)], mask=none),
            "source_record_end": pa.array(ends[event + 1], mask=none),
        },
    )


def _orders(account: Account) -> pa.Table:
    orders = fold_orders(account.reports)
    untold, unfilled = orders["limit"] == NO_TICK, orders["filled"] == 0
    proven = queues_proven(account)
    average = orders["value"] / np.where(unfilled, 1, orders["filled"])
    return _table(
        "orders",
        account,
        {
            **{name: orders[name] for name in ("order_id", "ts_first", "ts_last", "submitted", "filled", "fills")},
            "side": _sides(orders["side"]),
            "status": orders["status"].tolist(),
            "reason": _names("REASON_", orders["reason"]),
            "limit_ticks": pa.array(orders["limit"].astype(np.int64), mask=untold),
            "limit": pa.array(_prices(account, orders["limit"]), mask=untold),
            "avg_price": pa.array(average * account.instrument.tick_size_nanos / 1e9, mask=unfilled),
            "fees_micros": orders["fees"],
            "queue_proven": [proven.get(order_id) for order_id in orders["order_id"].tolist()],
        },
    )


def _equity(account: Account) -> pa.Table:
    curve = account.curve
    none = curve["mark2"] == NO_MARK
    marks = curve["mark"] * account.instrument.tick_size_nanos / 1e9
    is_inexact = account.mark == MARK_MICROPRICE
    return _table(
        "equity",
        account,
        {
            **{name: np.ascontiguousarray(curve[name]) for name in ("ts", "position", "mark_is_stale")},
            "equity": curve["equity"] / 1e6,
            "equity_micros": curve["equity"],
            "cash_micros": curve["cash"],
            "fees_micros": curve["fees"],
            "mark": pa.array(marks, mask=none),
            "mark_half_ticks": pa.array(curve["mark2"].copy(), mask=none | is_inexact),
        },
    )


def _signals(account: Account) -> pa.Table:
    ts, name, value = zip(*account.strategy_metrics, strict=True) if account.strategy_metrics else ((), (), ())
    return _table("signals", account, {"ts": ts, "name": name, "value": value})


def _prices(account: Account, ticks: np.ndarray) -> np.ndarray:
    return ticks.astype(np.int64) * account.instrument.tick_size_nanos / 1e9


def _sides(side: np.ndarray) -> list[str]:
    return ["sell" if code else "buy" for code in side.tolist()]


def _names(family: str, codes: np.ndarray) -> list[str]:
    known = names(family)
    return [known[code] for code in codes.tolist()]
