"""MetricsCollector: records what happened to a strategy and turns it into a BacktestReport."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from bt_gym.backtest.account import SECOND_NS, Account, InstrumentFacts
from bt_gym.backtest.report import BacktestReport, RunInfo
from bt_gym.backtest.summary import summarise
from bt_gym.core.enums import EXEC_CANCEL_REJECTED, EXEC_REJECTED, EXEC_TRADE, MARK_MID
from bt_gym.core.execution import Session
from bt_gym.core.orders import REQUEST_NEW, report_dtype
from bt_gym.data.proof import Proof
from bt_gym.errors import BtGymError, EmptyDataError


class MetricsCollector:
    """Records the execution reports of one strategy on one instrument.

    Args:
        strategy: name of the strategy.
        instrument: symbol, tick value and tick size.
        events: the tape's events (event_dtype): marks and phases come from them.
        interval_ns: clock of the equity curve.
        days: trading days that the tape covers, for annualised numbers.
        proof: which levels of the tape are known completely; None: all.
        mark: enums.MARK_*, what positions are valued at.
        tape: the whole tape, needed for the marks last and microprice.

    Raises:
        EmptyDataError: the tape has no event.
    """

    def __init__(
        self,
        strategy: str,
        instrument: InstrumentFacts,
        events: np.ndarray,
        *,
        interval_ns: int = SECOND_NS,
        days: int = 1,
        proof: Proof | None = None,
        mark: int = MARK_MID,
        tape: Session | None = None,
    ) -> None:
        if not len(events):
            raise EmptyDataError(f"{instrument.symbol}: the tape has no event, so there is nothing to report on")
        nothing = np.zeros(0, report_dtype)
        self._empty = Account(
            strategy, instrument, events, nothing, interval_ns, days, proof=proof, mark=mark, tape=tape
        )
        self._chunks: list[np.ndarray] = []
        self._metrics: list[tuple[int, str, float | None]] = []
        self._checkpoints: list[tuple[int, int]] = []

    def record_reports(self, reports: np.ndarray) -> None:
        """Records execution reports of any type (report_dtype), copied, in the order in which they happened."""
        self._chunks.append(np.atleast_1d(np.array(reports, dtype=report_dtype)))
        self.__dict__.pop("account", None)

    def record_fill(self, fill: np.ndarray) -> None:
        """Records one fill: a report with exec_type EXEC_TRADE."""
        if fill["exec_type"] != EXEC_TRADE:
            raise ValueError(f"exec_type {int(fill['exec_type'])} is not a fill: use record_reports")
        self.record_reports(fill)

    def record_refusal(
        self, ts: int, order_id: int, reason: int, *, side: int = 0, price: int = 0, request: int = REQUEST_NEW
    ) -> None:
        """Records a request that never left the strategy's side, such as one that a risk limit refused.

        Args:
            ts: ns, when it was refused.
            order_id: of the order, the refused one or the one that was to change.
            reason: enums.REASON_*.
            side: enums.BUY, SELL.
            price: limit in ticks.
            request: orders.REQUEST_*: what was asked for.
        """
        row = np.zeros(1, report_dtype)
        row["ts_exchange"] = row["ts_known"] = ts
        row["order_id"], row["reason"], row["side"], row["price"], row["event"] = order_id, reason, side, price, -1
        row["exec_type"] = EXEC_REJECTED if request == REQUEST_NEW else EXEC_CANCEL_REJECTED
        self.record_reports(row)

    def record_pnl(self, ts: int, equity: int) -> None:
        """Records the equity (1e-6 of the currency) that the simulator itself holds at `ts` (ns, exchange clock).

        The report's own figures come from the fills alone; these values must equal them, and a difference raises.
        """
        self._checkpoints.append((int(ts), int(equity)))

    def record_metrics(self, ts: int, values: Mapping[str, float]) -> None:
        """Records metrics that the strategy itself computed at `ts` (ns); nan and inf become None.

        The report shows the last value of each name, the file of signals all of them.
        """
        self._metrics += [(int(ts), name, float(x) if math.isfinite(x) else None) for name, x in values.items()]
        self.__dict__.pop("account", None)

    def record_stop(self, ts: int, reason: int) -> None:
        """Records that a limit or a kill switch stopped trading at `ts` (ns); `reason`: enums.REASON_*."""
        self._empty = replace(self._empty, stopped=(int(ts), int(reason)))
        self.__dict__.pop("account", None)

    @cached_property
    def account(self) -> Account:
        """The history recorded so far."""
        reports = np.concatenate([self._empty.reports, *self._chunks])
        return replace(self._empty, reports=reports, strategy_metrics=tuple(self._metrics))

    def generate_report(self, run: RunInfo | None = None) -> BacktestReport:
        """The metrics of what has been recorded.

        Raises:
            BtGymError: an equity given to `record_pnl` isn't what fills and marks amount to.
        """
        account = self.account
        for ts, equity in self._checkpoints:
            if (own := account.equity_at(ts)) != equity:
                raise BtGymError(
                    f"{account.strategy} on {account.symbol}: equity at {ts} is {own} micros by its fills "
                    f"but {equity} in the simulator; this is a fault of bt_gym, please report it"
                )
        return summarise(account.strategy, [account], run or RunInfo())


def generate_report(collectors: Sequence[MetricsCollector], run: RunInfo | None = None) -> BacktestReport:
    """The report of a whole run: the total over all accounts, each account's own report in `parts`.

    Raises:
        ValueError: there is no collector, or their clocks differ.
        BtGymError: see `MetricsCollector.generate_report`.
    """
    if not collectors:
        raise ValueError("a report needs at least one collector")
    run = run or RunInfo()
    parts = tuple(collector.generate_report(run) for collector in collectors)
    if len(parts) == 1:
        return replace(parts[0], strategy="total", parts=parts)
    total = summarise("total", [collector.account for collector in collectors], run)
    notes = dict.fromkeys(note for report in (total, *parts) for note in report.notes)
    return replace(total, parts=parts, notes=tuple(notes))
