"""The loop of a backtest: replay, exchange, reports, limits, strategies, and round again.

Each step goes to the next moment at which somebody has to decide: an event that a strategy subscribed to, news of an
order, a timer, a loss limit. First the exchange side of every account works up to that moment, then the market is
received up to it, then strategies are asked, then what they want is sent. At equal times market data comes first, then
news of own orders, then timers. What one strategy subscribes to or sends never changes what another one sees.
"""

import heapq
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from bt_gym.backtest.collector import MetricsCollector
from bt_gym.backtest.replay import Lane, MarketReplayEngine
from bt_gym.core import enums
from bt_gym.core.execution import ExecutionEngine
from bt_gym.core.orders import REQUEST_CANCEL, REQUEST_MODIFY
from bt_gym.core.position_manager import PositionManager
from bt_gym.core.positions import equity
from bt_gym.core.tape import MAX_TICK
from bt_gym.errors import ConfigError
from bt_gym.strategy.base import OrderCancel, OrderRequest, OrderUpdate, StrategyOutput
from bt_gym.strategy.events import EventKind, ExecutionReport, MarketEvent, Side
from bt_gym.strategy.router import StrategyRouter

_EXEC = enums.names("EXEC_")
_REASON = enums.names("REASON_")
_LIQUIDITY = enums.names("LIQUIDITY_")
_NS_PER_DAY = 86_400_000_000_000
_SESSION_BREAK_NS = 1_800_000_000_000
_STEPS_PER_PROGRESS = 1024


class TradingAccount:
    """One strategy on one instrument: its exchange side, its positions and its record.

    Args:
        strategy_id: name of the strategy.
        lane: tape and market as received.
        models: (1,) of `orders.models_dtype`.
        interval_ns: clock of the equity curve.
        wants_news: whether the strategy is told about its orders.
    """

    def __init__(self, strategy_id: str, lane: Lane, models: np.ndarray, interval_ns: int, wants_news: bool) -> None:
        self.strategy_id = strategy_id
        self.symbol = lane.instrument.symbol
        self.lane = lane
        self.wants_news = wants_news
        self.execution = ExecutionEngine(models, lane.market)
        self.positions = PositionManager(self.execution.account, lane.market)
        self.metrics = MetricsCollector(
            strategy_id,
            lane.instrument,
            lane.tape.events,
            interval_ns=interval_ns,
            days=_trading_days(lane.tape.events),
            proof=getattr(lane.tape, "proof", None),  # a tape in memory may have none
        )
        self.state = self.execution.account.view(np.uint8)
        """The bytes of the exchange side: its snapshot (as a record, NumPy copies it a hundred times slower)."""
        self._written = self.execution.account["reports_written"]
        self._known = self.execution.account["reports_known"]

    def advance(self, until: int) -> int:
        """Lets the exchange work up to `until` (ns), or to the first news that somebody acts on; returns that time."""
        stop_on_report = self.wants_news or self.positions.limits_loss
        return self.execution.advance(self.lane.tape, until, stop_on_report=stop_on_report)

    def learn(self, now: int) -> MarketEvent | None:
        """Books all reports known by `now` (ns); returns what the strategy is told, if it wants to be."""
        if self._known[0] == self._written[0]:
            return None
        rows = self.execution.deliver(now)
        if not len(rows):
            return None
        for row in np.flatnonzero(rows["exec_type"] == enums.EXEC_TRADE).tolist():
            self.positions.process_fill(rows, row)
        self.metrics.record_reports(rows)
        return self.news(now, tuple(self._report(row) for row in rows)) if self.wants_news else None

    def news(self, now: int, reports: tuple[ExecutionReport, ...]) -> MarketEvent:
        """The event that tells the strategy at `now` (ns) about its orders."""
        return MarketEvent(
            self.symbol, reports[-1].ts_exchange, now, EventKind.OWN, reports=reports, owner=self.strategy_id
        )

    def _report(self, row: np.void) -> ExecutionReport:
        return ExecutionReport(
            order_id=int(row["order_id"]),
            kind=_EXEC[int(row["exec_type"])],
            reason=_REASON[int(row["reason"])],
            side=Side(int(row["side"])),
            price=self.lane.state.price(row["price"]),
            size=int(row["size"]),
            leaves=int(row["leaves"]),
            liquidity=_LIQUIDITY[int(row["liquidity"])],
            ts_exchange=int(row["ts_exchange"]),
        )

    def refuse_order(self, now: int, order_id: int, reason: int, order: OrderRequest) -> ExecutionReport:
        """Records a new order that did not leave our side at `now` (ns); returns the report of it."""
        ticks = self.ticks(order.price)
        limit = enums.NO_TICK if ticks is None else ticks
        self.metrics.record_refusal(now, order_id, reason, side=int(order.side), price=limit)
        price = 0.0 if order.price is None else float(order.price)
        return ExecutionReport(order_id, "rejected", _REASON[reason], Side(order.side), price, 0, 0, "none", now)

    def refuse_change(self, now: int, order_id: int, reason: int, request: int) -> ExecutionReport:
        """Records a cancel or modify that did not leave our side; its order, if there is one, goes on as before."""
        orders = self.execution.account["orders"][0]
        rows = orders[(orders["order_id"] == order_id) & (orders["status"] != enums.STATUS_FREE)]
        side, price, leaves = None, 0.0, 0
        if len(rows):
            side, price = Side(int(rows[0]["side"])), self.lane.state.price(rows[0]["known_price"])
            leaves = int(rows[0]["known_leaves"])
        self.metrics.record_refusal(now, order_id, reason, side=side or 0, price=enums.NO_TICK, request=request)
        return ExecutionReport(order_id, "cancel_rejected", _REASON[reason], side, price, 0, leaves, "none", now)

    def ticks(self, price: float | None) -> int | None:
        """A price in ticks; None when it lies off the grid or beyond what a tape holds."""
        exact = float("nan") if price is None else float(price) * 1e9 / self.lane.instrument.tick_size_nanos
        if not abs(exact) < MAX_TICK:
            return None
        ticks = round(exact)
        return ticks if abs(exact - ticks) < 1e-6 else None

    def close(self, end: int) -> None:
        """Records what the exchange did and the strategy had not learned when the data ended, and the last equity."""
        self.execution.advance(self.lane.tape, end)
        self.metrics.record_reports(self.execution.reports[int(self._known[0]) :])
        mark2 = int(self.lane.market["mark2"][0])
        if mark2 != enums.NO_TICK:
            position = self.execution.account["position"][0]
            self.metrics.record_pnl(end, int(equity(position, mark2, self.lane.instrument.tick_value_micros)))


class Runner:
    """Runs strategies over a replay.

    Args:
        replay: the market.
        router: the strategies with their contexts.
        accounts: of all strategies, each strategy's in the order of the replay's lanes.
        response_latency: ns until the sender hears of a request that was refused on our side.
        progress: called with (source records done, source records in all) now and then.
    """

    def __init__(
        self,
        replay: MarketReplayEngine,
        router: StrategyRouter,
        accounts: Sequence[TradingAccount],
        response_latency: int,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.replay = replay
        self.router = router
        self.accounts = accounts
        self.response_latency = max(response_latency, 1)  # an answer at once would let a stubborn strategy stop time
        self.progress = progress
        self._by_key = {(account.strategy_id, account.symbol): account for account in accounts}
        self._by_strategy = [
            [account for account in accounts if account.strategy_id == name] for name in router.strategies
        ]
        self._limited = [account for account in accounts if account.positions.limits_loss]
        self._refusals: list[tuple[int, int, TradingAccount, ExecutionReport]] = []  # heap by time, then number
        self._refused = 0

    def run(self) -> None:
        """Runs from the first to the last event."""
        replay, router = self.replay, self.router
        end = replay.end
        kinds = int(router.subscriptions)
        total = sum(int(lane.tape.events["source"][-1]) for lane in replay.lanes)
        router.start_timers(replay.start)
        steps = 0
        while True:
            stop = replay.peek(kinds, end)
            now = self._next_moment(stop.ts if stop else end)
            for accounts in self._by_strategy:
                now = _advance(accounts, now)
            is_market = stop is not None and stop.ts <= now
            if stop is not None and is_market:
                events = [replay.reach(stop), *self._news(now - 1)]  # news known at this very time comes behind it
            else:
                replay.receive(now)
                events = self._news(now)
            for account in self._limited:
                account.positions.enforce(now)
            for event in events:
                self._send(router.process_events((event,)), now)
            timers = [] if is_market else router.process_timers(now)
            self._send(timers, now)
            steps += 1
            if self.progress and steps % _STEPS_PER_PROGRESS == 0:
                self.progress(self._records_done(), total)
            if now >= end and not events and not timers:
                break
        for account in self.accounts:
            account.close(end)
        if self.progress:
            self.progress(total, total)

    def _next_moment(self, now: int) -> int:
        """When somebody has to decide next, news of orders apart; at most `now` (ns)."""
        now = min(now, self.router.next_timer())
        if self._refusals:
            now = min(now, self._refusals[0][0])
        for account in self._limited:
            now = account.positions.next_action(account.lane.tape.events, now)
        return now

    def _records_done(self) -> int:
        received = [(lane.tape.events, lane.received) for lane in self.replay.lanes]
        return sum(int(events["source"][count - 1]) for events, count in received if count)

    def _news(self, known: int) -> list[MarketEvent]:
        """Books what accounts know by `known` (ns); returns what strategies are told."""
        events = [event for account in self.accounts if (event := account.learn(known)) is not None]
        told: dict[tuple[int, str, str], list[ExecutionReport]] = {}  # one event for all that is told at once
        while self._refusals and self._refusals[0][0] <= known:
            due, _, account, report = heapq.heappop(self._refusals)
            told.setdefault((due, account.strategy_id, account.symbol), []).append(report)
        for (due, name, symbol), reports in told.items():
            events.append(self._by_key[name, symbol].news(due, tuple(reports)))
        return events

    def _send(self, outputs: Iterable[tuple[str, StrategyOutput, str]], now: int) -> None:
        for strategy_id, output, symbol in outputs:
            for cancel in output.cancellations:
                order_id, of = cancel if isinstance(cancel, OrderCancel) else (cancel, None)
                account = self._account(strategy_id, of or symbol)
                reason = account.execution.process_cancel(order_id, now)
                if reason != enums.REASON_NONE:
                    self._tell(account, account.refuse_change(now, order_id, reason, REQUEST_CANCEL))
            for update in output.updates:
                self._update(self._account(strategy_id, update.symbol or symbol), update, now)
            for order in output.orders:
                self._order(self._account(strategy_id, order.symbol or symbol), order, now)
            if output.metrics:
                self._account(strategy_id, symbol).metrics.record_metrics(now, output.metrics)

    def _account(self, strategy_id: str, symbol: str) -> TradingAccount:
        try:
            return self._by_key[strategy_id, symbol]
        except KeyError:
            known = ", ".join(sorted({account.symbol for account in self.accounts}))
            raise ConfigError(f"strategy {strategy_id} named symbol '{symbol}': the run holds {known}") from None

    def _order(self, account: TradingAccount, order: OrderRequest, now: int) -> None:
        ticks = 0 if order.order_type == enums.ORDER_MARKET else account.ticks(order.price)
        # An order off the grid still gets an id and a reason: the core refuses sizes below one lot.
        size = 0 if ticks is None else _lots(order.size)
        request = OrderRequest(order.side, size, order.price, order.order_type, order.time_in_force)
        order_id, reason = account.execution.process_order_request(request, now, ticks or 0)
        if reason != enums.REASON_NONE:
            self._tell(account, account.refuse_order(now, order_id, reason, order))

    def _update(self, account: TradingAccount, update: OrderUpdate, now: int) -> None:
        ticks = account.ticks(update.price)
        size = 0 if ticks is None else _lots(update.size)
        reason = account.execution.process_modify(update.order_id, size, ticks or 0, now)
        if reason != enums.REASON_NONE:
            self._tell(account, account.refuse_change(now, update.order_id, reason, REQUEST_MODIFY))

    def _tell(self, account: TradingAccount, report: ExecutionReport) -> None:
        """The sender of a refused request hears of it one response latency later."""
        if account.wants_news:
            self._refused += 1
            heapq.heappush(self._refusals, (report.ts_exchange + self.response_latency, self._refused, account, report))


def _advance(accounts: Sequence[TradingAccount], until: int) -> int:
    """Lets the exchange work for all accounts of a strategy up to `until` (ns) or the first news; returns that time."""
    if len(accounts) == 1:
        return accounts[0].advance(until)
    before = [account.state.copy() for account in accounts]
    reached = []
    for account in accounts:
        until = account.advance(until)
        reached.append(until)
    for account, state, ts in zip(accounts, before, reached, strict=True):
        if ts > until:  # another account has news earlier: what the strategy does then may reach this one
            account.state[:] = state
            account.advance(until)
    return until


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
