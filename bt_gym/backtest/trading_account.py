"""TradingAccount: one strategy on one instrument, with its exchange side, its positions and its record."""

from dataclasses import replace
from itertools import product
from operator import index

import numpy as np

from bt_gym.backtest.collector import MetricsCollector
from bt_gym.backtest.replay import Lane
from bt_gym.core import enums
from bt_gym.core.execution import ExecutionEngine
from bt_gym.core.orders import REQUEST_CANCEL, REQUEST_MODIFY
from bt_gym.core.position_manager import PositionManager
from bt_gym.core.tape import MAX_TICK
from bt_gym.errors import ConfigError
from bt_gym.strategy.base import OrderRequest, OrderUpdate
from bt_gym.strategy.events import EventKind, ExecutionReport, MarketEvent, Side, report_of

_CHOICES = {
    "side": {int(side): side.name.lower() for side in Side},
    "order_type": enums.names("ORDER_"),
    "time_in_force": enums.names("TIF_"),
    "post_only": enums.names("POST_ONLY_"),
}
_KNOWN = frozenset(product(*_CHOICES.values()))
_REASON = enums.names("REASON_")
_SIDES = (Side.BUY, Side.SELL)
_NS_PER_DAY = 86_400_000_000_000
_SESSION_BREAK_NS = 1_800_000_000_000


class TradingAccount:
    """One strategy on one instrument: its exchange side, its positions and its record.

    Args:
        strategy_id: name of the strategy.
        lane: tape and market as received.
        models: (1,) of `orders.models_dtype`.
        interval_ns: clock of the equity curve.
        wants_news: whether the strategy is told about its orders.
        mark: enums.MARK_*, what positions are valued at in the report and in what the strategy is told.
    """

    def __init__(
        self,
        strategy_id: str,
        lane: Lane,
        models: np.ndarray,
        interval_ns: int,
        wants_news: bool,
        mark: int = enums.MARK_MID,
    ) -> None:
        self.strategy_id = strategy_id
        self.symbol = lane.instrument.symbol
        self.lane = lane
        self.wants_news = wants_news
        self.mark = mark
        self.execution = ExecutionEngine(models, lane.market)
        self.execution.expect_rolls(lane.tape.events)
        self.positions = PositionManager(self.execution.account, lane.market)
        self.metrics = MetricsCollector(
            strategy_id,
            lane.instrument,
            lane.tape.events,
            interval_ns=interval_ns,
            days=_trading_days(lane.tape.events),
            proof=getattr(lane.tape, "proof", None),  # a tape in memory may have none
            mark=mark,
            tape=lane.tape,
        )
        self.state = self.execution.account.view(np.uint8)
        """The bytes of the exchange side: its snapshot (as a record, NumPy copies it a hundred times slower)."""
        self._known = self.execution.account["reports_known"]
        self.flattens_at_end = False
        """Whether the position is closed at the market when the data has ended."""
        self.is_watched = False
        """Whether limits of the whole run look at it."""
        self._recorded = 0  # reports that the record has
        self._kept = (self.state.copy(), -1)

    def keep(self) -> None:
        """Keeps its state, for `restore`."""
        self._kept[0][:] = self.state
        self._kept = (self._kept[0], self.positions.flattened)

    def restore(self) -> None:
        """Goes back to the state kept; nothing was recorded since."""
        self.state[:], self.positions.flattened = self._kept

    def kill(self, ts: int, reason: int, *, flatten: bool) -> None:
        """Stops trading at `ts` (ns): cancels and refuses all orders, and with `flatten` sends the position home."""
        self.positions.kill(ts, reason, goes_home=flatten)

    @property
    def reports_known(self) -> int:
        """How many execution reports the strategy may know."""
        return int(self._known[0])

    def advance(self, until: int) -> int:
        """Lets the exchange work up to `until` (ns), or to the first news that somebody acts on; returns that time."""
        stop_on_report = self.wants_news or self.is_watched or self.positions.limits_loss
        return self.execution.advance(self.lane.tape, until, stop_on_report=stop_on_report)

    def learn(self, now: int) -> MarketEvent | None:
        """Books all reports known by `now` (ns); returns what the strategy is told, if it wants to be."""
        self.positions.watch(self.lane.tape.events)
        first = self.reports_known
        rows = self.execution.deliver(now)
        for row in np.flatnonzero(rows["exec_type"] == enums.EXEC_TRADE).tolist():
            self.positions.process_fill(rows, row)
        return self.told(now, first) if self.wants_news and len(rows) else None

    def told(self, now: int, first: int) -> MarketEvent:
        """The event that tells the strategy at `now` (ns) of the reports known since there were `first`."""
        rows = self.execution.log[first : self.reports_known]
        return self.news(now, tuple([report_of(row, self.lane.state.price) for row in rows]))

    def news(self, now: int, reports: tuple[ExecutionReport, ...]) -> MarketEvent:
        """The event that tells the strategy at `now` (ns) about its orders."""
        return MarketEvent(
            self.symbol, reports[-1].ts_exchange, now, EventKind.OWN, reports=reports, owner=self.strategy_id
        )

    def order(self, order: OrderRequest, now: int) -> ExecutionReport | None:
        """Sends a new order at `now` (ns); returns the report of it if it did not leave our side.

        Raises:
            ConfigError: its side, type, time in force or post-only choice isn't one that exists.
        """
        if (order.side, order.order_type, order.time_in_force, order.post_only) not in _KNOWN:
            raise self._unknown(order)  # to the core they are indices
        has_limit = order.order_type in (enums.ORDER_LIMIT, enums.ORDER_STOP_LIMIT)
        is_stop = order.order_type in (enums.ORDER_STOP, enums.ORDER_STOP_LIMIT)
        ticks = self.ticks(order.price) if has_limit else 0
        trigger = self.ticks(order.stop_price) if is_stop else 0
        # An order off the grid still gets an id and a reason: the core refuses sizes below one lot.
        size = 0 if ticks is None or trigger is None else _lots(order.size)
        sent = order if size == order.size else replace(order, size=size)
        order_id, reason = self.execution.process_order_request(sent, now, ticks or 0, trigger or 0)
        if reason == enums.REASON_NONE:
            return None
        limit = ticks if has_limit and ticks is not None else enums.NO_TICK
        self._record()
        self.metrics.record_refusal(now, order_id, reason, side=int(order.side), price=limit)
        price = 0.0 if order.price is None else float(order.price)
        return ExecutionReport(order_id, "rejected", _REASON[reason], Side(order.side), price, 0, 0, "none", now)

    def _unknown(self, order: OrderRequest) -> ConfigError:
        """What is wrong with an order one of whose choices doesn't exist."""
        name, value = next(
            (name, getattr(order, name)) for name in _CHOICES if getattr(order, name) not in _CHOICES[name]
        )
        known = ", ".join(f"{number} {word}" for number, word in _CHOICES[name].items())
        return ConfigError(f"order of strategy {self.strategy_id}: {name}: unknown value {value!r}; known: {known}")

    def cancel(self, order_id: int, now: int) -> ExecutionReport | None:
        """Sends a cancel likewise."""
        reason = self.execution.process_cancel(index(order_id), now)
        return None if reason == enums.REASON_NONE else self._refuse_change(now, order_id, reason, REQUEST_CANCEL)

    def update(self, update: OrderUpdate, now: int) -> ExecutionReport | None:
        """Sends a modify likewise."""
        ticks = self.ticks(update.price)
        trigger = enums.NO_TICK if update.stop_price is None else self.ticks(update.stop_price)
        size = 0 if ticks is None or trigger is None else _lots(update.size)
        keep = enums.NO_TICK if trigger is None else trigger
        reason = self.execution.process_modify(index(update.order_id), size, ticks or 0, now, keep)
        if reason == enums.REASON_NONE:
            return None
        return self._refuse_change(now, update.order_id, reason, REQUEST_MODIFY)

    def _refuse_change(self, now: int, order_id: int, reason: int, request: int) -> ExecutionReport:
        """Records a cancel or modify that did not leave our side; its order, if there is one, goes on as before."""
        orders = self.execution.account["orders"][0]
        rows = orders[(orders["order_id"] == order_id) & (orders["status"] != enums.STATUS_FREE)]
        side, price, leaves = None, 0.0, 0
        if len(rows):
            side, price = Side(int(rows[0]["side"])), self.lane.state.price(rows[0]["known_price"])
            leaves = int(rows[0]["known_leaves"])
        self._record()
        self.metrics.record_refusal(now, order_id, reason, side=side or 0, price=enums.NO_TICK, request=request)
        return ExecutionReport(order_id, "cancel_rejected", _REASON[reason], side, price, 0, leaves, "none", now)

    def _record(self, reports: int | None = None) -> None:
        """Records the first `reports` reports, as far as they aren't yet: those known so far if None."""
        reports = self.reports_known if reports is None else reports
        if reports > self._recorded:
            self.metrics.record_reports(self.execution.log[self._recorded : reports])
            self._recorded = reports

    def record_refused(self, refused: np.ndarray) -> None:
        """Records requests that a jitted strategy was refused: (n,) of `core.jitted.refused_dtype`, in order."""
        for row in refused:
            self._record(int(row["reports"]))
            self.metrics.record_reports(row["report"])

    def ticks(self, price: float | None) -> int | None:
        """A price in ticks; None when it lies off the grid or beyond what a tape holds."""
        # + 0: a text that looks like a number is none
        exact = float("nan") if price is None else float(price + 0) * 1e9 / self.lane.instrument.tick_size_nanos
        if not abs(exact) < MAX_TICK:
            return None
        ticks = round(exact)
        return ticks if abs(exact - ticks) < 1e-6 else None

    def close(self, end: int) -> None:
        """Records what the exchange did and the strategy had not learned when the data ended, and the last equity."""
        self.execution.advance(self.lane.tape, end)
        if self.flattens_at_end:
            self.execution.close_out(self.lane.tape)
        self._record(len(self.execution.reports))
        stopped_at, reason = (int(self.execution.account[name][0]) for name in ("killed_at", "killed"))
        if reason:
            self.metrics.record_stop(stopped_at, reason)
        if self.lane.market["mark2"][0] != enums.NO_TICK:
            self.metrics.record_pnl(end, self.positions.true_equity(self.mark))


def _lots(size: float) -> int:
    """A size as an integer; 0, which the core refuses, when it isn't one."""
    return int(size) if abs(size) < 1 << 31 and size == int(size) else 0


def _trading_days(events: np.ndarray) -> int:
    """Sessions of continuous trading, at least 1: a break of 30 minutes begins a new one, and so does each 24 hours.

    Dates would not do: a session of CME crosses midnight UTC.
    """
    times = events["ts_event"][events["flags"] & enums.PHASE_MASK == enums.PHASE_CONTINUOUS]
    breaks = np.flatnonzero(np.diff(times) >= _SESSION_BREAK_NS)
    if not len(times):
        return 1
    lengths = times[np.r_[breaks, -1]] - times[np.r_[0, breaks + 1]]
    return int((lengths // _NS_PER_DAY + 1).sum())
