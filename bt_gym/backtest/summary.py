"""From accounts to a BacktestReport: every metric of one account, or of several together.

Amounts are added up as integers and divided once, at the end.
"""

from collections import Counter
from typing import Any

import numpy as np

from bt_gym.backtest import metrics, valuation
from bt_gym.backtest.account import NO_MARK, SECOND_NS, Account
from bt_gym.backtest.order_history import fold_orders, queues_proven
from bt_gym.backtest.report import BacktestReport, Ledger, RunInfo
from bt_gym.core import enums
from bt_gym.core.enums import EXEC_CANCEL_REJECTED, EXEC_REJECTED, LIQUIDITY_MAKER, LIQUIDITY_TAKER, names

HORIZONS_NS = {"100ms": SECOND_NS // 10, "1s": SECOND_NS, "10s": 10 * SECOND_NS, "60s": 60 * SECOND_NS}
"""Markout horizons, on the exchange clock."""

_OF_RUN = [code for code, name in names("REASON_").items() if name.startswith("run_")]

LIQUIDITY = {"maker": LIQUIDITY_MAKER, "taker": LIQUIDITY_TAKER}


def summarise(name: str, accounts: list[Account], run: RunInfo) -> BacktestReport:
    """The metrics of `accounts` taken together, without `parts`."""
    ledger = _ledger(accounts)
    spans = [account.span for account in accounts if account.span]
    days = max(account.days for account in accounts)
    equity, returns = _equity_and_returns(accounts)
    per_year = len(returns) / days * metrics.TRADING_DAYS
    drawdown = int(metrics.max_drawdown(equity)) / 1_000_000
    total = ledger.equity / 1_000_000
    lots = sum(int(account.fills["size"].sum(dtype=np.int64)) for account in accounts)
    turnover = sum(_turnover(account) for account in accounts) / 1_000_000
    return BacktestReport(
        strategy=name,
        symbol=",".join(sorted({account.symbol for account in accounts})),
        start_ns=min((start for start, _ in spans), default=None),
        end_ns=max((end for _, end in spans), default=None),
        days=days,
        trading_seconds=len(returns) * accounts[0].interval_ns / SECOND_NS,
        total_pnl=total,
        gross_pnl=(ledger.realised + ledger.unrealised) / 1_000_000,
        fees=ledger.fees / 1_000_000,
        impact=sum(int(account.fills["impact"].sum()) for account in accounts) / 1_000_000,
        realised_pnl=ledger.realised / 1_000_000,
        unrealised_pnl=ledger.unrealised / 1_000_000,
        sharpe_ratio=metrics.sharpe_ratio(returns, per_year),
        sharpe_flag=_sharpe_flag(days, accounts[0].interval_ns),
        sortino_ratio=metrics.sortino_ratio(returns, per_year),
        max_drawdown=drawdown,
        return_over_max_drawdown=metrics.ratio(total, drawdown),
        calmar_ratio=metrics.ratio(total * metrics.TRADING_DAYS / days, drawdown),
        total_trades=sum(len(account.fills) for account in accounts),
        contracts=lots,
        turnover=turnover,
        return_over_trade=metrics.ratio(total, turnover),
        maker_share=metrics.ratio(sum(_lots(account, LIQUIDITY_MAKER) for account in accounts), lots),
        taker_share=metrics.ratio(sum(_lots(account, LIQUIDITY_TAKER) for account in accounts), lots),
        **_round_trips(accounts),
        **_orders(accounts),
        **_stop(accounts),
        **_inventory(accounts),
        **_quality(accounts),
        strategy_metrics={key: value for _, key, value in accounts[0].strategy_metrics} if len(accounts) == 1 else {},
        ledger=ledger,
        run=run,
        notes=(*run.notes, *(note for account in accounts for note in _notes(account))),
        parts=(),
    )


def _ledger(accounts: list[Account]) -> Ledger:
    total = Ledger()
    for account in accounts:
        last = {name: int(account.positions[-1][name]) for name in ("size", "cash", "cost", "realised", "fees")}
        value = account.final_value
        total += Ledger(last["realised"], value - last["cost"], last["fees"], last["cash"], value)
    return total


def _equity_and_returns(accounts: list[Account]) -> tuple[np.ndarray, np.ndarray]:
    """Equity (micros) of all accounts together with its start value 0 in front, and its changes in trading time.

    A change over a halt belongs to the first sample after it; the last sample always counts, so that all changes
    together are the total profit.
    """
    interval = accounts[0].interval_ns
    if any(account.interval_ns != interval for account in accounts):
        raise ValueError("the equity curves of one report need one interval_ns")
    curves = [account.curve for account in accounts if len(account.curve)]
    if not curves:
        return np.zeros(1, np.int64), np.zeros(0, np.int64)
    first = min(int(curve["ts"][0]) for curve in curves)
    last = max(int(curve["ts"][-1]) for curve in curves)
    samples = (last - first) // interval + 1
    equity, trading = np.zeros(samples, np.int64), np.zeros(samples, bool)
    for curve in curves:
        row = (int(curve["ts"][0]) - first) // interval
        end = row + len(curve)
        equity[row:end] += curve["equity"]
        equity[end:] += curve["equity"][-1]
        trading[row:end] |= curve["trading"]
    trading[0], trading[-1] = False, True
    return np.append(0, equity), np.diff(equity[trading], prepend=0)


def _sharpe_flag(days: int, interval_ns: int) -> str | None:
    if days >= metrics.MIN_DAYS:
        return None
    clock = f"{interval_ns / SECOND_NS:g} s"
    return f"per-day equivalent of {clock} equity; {days} of {metrics.MIN_DAYS} days needed for a track record"


def _lots(account: Account, liquidity: int) -> int:
    return int(account.fills["size"][account.fills["liquidity"] == liquidity].sum(dtype=np.int64))


def _turnover(account: Account) -> int:
    return int(np.abs(valuation.amounts(account.fills["size"], account.fills["price"], account.tick_value)).sum())


def _round_trips(accounts: list[Account]) -> dict[str, Any]:
    trips = np.concatenate([account.trips for account in accounts])
    size, pnl = trips["size"], trips["pnl"]
    lots, wins, losses = int(size.sum()), int(size[pnl > 0].sum()), int(size[pnl < 0].sum())
    won, lost = int(pnl[pnl > 0].sum()), int(pnl[pnl < 0].sum())
    held = sum(lot * ns for lot, ns in zip(size.tolist(), trips["duration"].tolist(), strict=True))  # beyond int64
    return {
        "round_trips": lots,
        "wins": wins,
        "losses": losses,
        "ties": lots - wins - losses,
        "win_rate": metrics.ratio(wins, wins + losses),
        "profit_factor": metrics.ratio(won, -lost),
        "avg_win": metrics.ratio(won, wins * 1_000_000),
        "avg_loss": metrics.ratio(lost, losses * 1_000_000),
        "avg_trade_duration": metrics.ratio(held, lots * SECOND_NS),
    }


def _orders(accounts: list[Account]) -> dict[str, Any]:
    orders = np.concatenate([fold_orders(account.reports) for account in accounts])
    reports = np.concatenate([account.reports for account in accounts])
    refused = reports[np.isin(reports["exec_type"], (EXEC_REJECTED, EXEC_CANCEL_REJECTED))]
    return {
        "orders": len(orders),
        "filled_orders": int(np.count_nonzero(orders["fills"])),
        "fill_ratio": metrics.ratio(int(orders["filled"].sum()), int(orders["submitted"].sum())),
        "reports": _count(reports["exec_type"], "EXEC_"),
        "rejects": _count(refused["reason"], "REASON_"),
    }


def _stop(accounts: list[Account]) -> dict[str, Any]:
    """When and why trading stopped: the account's stop, or that of the whole run."""
    stops = [account.stopped for account in accounts if account.stopped]
    if len(accounts) > 1:
        stops = [stop for stop in stops if stop[1] in _OF_RUN]
    stopped_ns, reason = min(stops, default=(None, enums.REASON_NONE))
    return {"stopped_by": names("REASON_")[reason] if reason else None, "stopped_ns": stopped_ns}


def _count(codes: np.ndarray, family: str) -> dict[str, int]:
    """How often each name of a family occurs, in the order of the enum; names that don't occur are left out."""
    count = Counter(codes.tolist())
    return {name: count[code] for code, name in names(family).items() if count[code]}


def _inventory(accounts: list[Account]) -> dict[str, Any]:
    keys = ("final_position", "avg_position", "avg_abs_position", "max_abs_position", "time_in_market")
    account = accounts[0]
    if len(accounts) > 1 or account.span is None:
        return dict.fromkeys(keys)
    start, end = account.span
    times = np.append(start, account.fills["ts_exchange"])
    average = metrics.time_weighted(times, account.positions["size"], end)
    last = account.positions[-1]
    values = (int(last["size"]), average["mean"], average["mean_abs"], int(last["max_size"]), average["share_nonzero"])
    return dict(zip(keys, values, strict=True))


def _quality(accounts: list[Account]) -> dict[str, Any]:
    """Spread paid and markouts, maker and taker fills apart."""
    result: dict[str, Any] = {}
    markouts: dict[str, float | None] = {}
    contracts: dict[str, int] = {}
    for name, liquidity in LIQUIDITY.items():
        fills = [(account, account.fills[account.fills["liquidity"] == liquidity]) for account in accounts]
        paid, lots = _edge([(account, some, _mark2_before(account, some)) for account, some in fills])
        result[f"spread_paid_{name}"] = -paid / 2_000_000 if lots else None
        for label, horizon in HORIZONS_NS.items():
            later = [(account, *_with_mark2_later(account, some, horizon)) for account, some in fills]
            edge, lots = _edge(later)
            markouts[f"{name}_{label}"] = metrics.ratio(edge, lots * 2_000_000)
            contracts[f"{name}_{label}"] = lots
    return result | {"markouts": markouts, "markout_contracts": contracts}


def _edge(parts: list[tuple[Account, np.ndarray, np.ndarray]]) -> tuple[int, int]:
    """Twice the sum of lots * own side * (mark - price) in micros, and the lots, of (account, fills, mark2) triples.

    Fills with NO_MARK are left out.
    """
    total, lots = 0, 0
    for account, fills, mark2 in parts:
        known = mark2 != NO_MARK
        fills, mark2 = fills[known], mark2[known]
        total += int(valuation.edges2(fills, mark2, account.tick_value).sum())
        lots += int(fills["size"].sum(dtype=np.int64))
    return total, lots


def _mark2_before(account: Account, fills: np.ndarray) -> np.ndarray:
    """The mark that a fill found: before its event for a maker, after the event that it followed for a taker."""
    return account.marks.after_event(fills["event"].astype(np.int64) - (fills["liquidity"] == LIQUIDITY_MAKER))


def _with_mark2_later(account: Account, fills: np.ndarray, horizon_ns: int) -> tuple[np.ndarray, np.ndarray]:
    """The fills whose horizon lies within the data, and the last valid mark at or before it."""
    end = int(account.events["ts_event"][-1]) if len(account.events) else -1
    fills = fills[fills["ts_exchange"] + horizon_ns <= end]
    return fills, account.marks.after_event(account.marks.event_at(fills["ts_exchange"] + horizon_ns))


def _notes(account: Account) -> list[str]:
    position = int(account.positions[-1]["size"])
    where = f"{account.strategy} {account.symbol}"
    notes = []
    for reason, what in (
        (enums.REASON_END_OF_DATA, "at the end of the data, since the book that is left didn't take them"),
        (enums.REASON_ROLL, "at the end of a contract"),
    ):
        lots = int(account.fills["size"][account.fills["reason"] == reason].sum())
        if lots:
            notes.append(f"{where}: {lots} lots were closed at the last valid bid or ask {what}")
    if account.stopped:
        at, reason = account.stopped
        when = np.datetime64(at // 1_000_000, "ms")
        notes.append(f"{where}: trading was stopped by {names('REASON_')[reason]} at {when} UTC")
    if position:
        notes.append(f"{where}: the open position of {position} lots is marked, not liquidated")
        if len(account.curve) and account.curve["mark_is_stale"][-1]:
            notes.append(f"{where}: the book has no valid mid at the end, the last valid one is the mark")
    if account.proof is not None and not account.proof.is_complete:
        guessed = sum(not known for known in queues_proven(account).values())
        if guessed:
            notes.append(f"{where}: {guessed} orders took a place in a queue that the data don't tell in full")
    return notes
