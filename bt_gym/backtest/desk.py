"""Desks: one strategy of a run with its accounts, called moment by moment.

A desk has its own copy of the market as received, so that what one strategy subscribes to or sends never changes what
another one sees. `Desk` is for a strategy in Python on one instrument: all that happens between two of its calls is one
call of the core (`core.decision.next_call`). `JittedDesk` runs a compiled strategy; a strategy in Python on several
instruments sits at a `WideDesk` (`backtest.wide_desk`). Under limits of the whole run (`backtest.run_limits`) desks
take turns, and may have to go back: what they have advanced to is not told to anybody before `call`.
"""

import heapq
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bt_gym._jit import bound, njit
from bt_gym.backtest.replay import Lane
from bt_gym.backtest.trading_account import TradingAccount
from bt_gym.core import enums, jitted
from bt_gym.core.decision import FOREVER, new_desk, next_call, read_trades, trade_dtype
from bt_gym.core.enums import CALL_CLOCK, CALL_EVENT, CALL_LOG_FULL, CALL_NEWS, CALL_NONE
from bt_gym.core.orders import MAX_REQUESTS
from bt_gym.errors import CapacityError, ConfigError
from bt_gym.strategy.answers import check, note, refuse_faults
from bt_gym.strategy.base import NOTHING, Kill, OrderCancel, Strategy, StrategyOutput
from bt_gym.strategy.context import StrategyContext
from bt_gym.strategy.events import EVENT_KINDS, KIND_SHIFT, KINDS, ExecutionReport, MarketEvent, Side, Trade
from bt_gym.strategy.jitted import JittedStrategy

_AGGRESSORS = (Side.BUY, Side.SELL, None)
_new = tuple.__new__  # of a named tuple in half the time that its own takes


class AnyDesk(ABC):
    """What all desks share: they go on to a moment, make the call, and may go back to where they were before.

    Args:
        accounts: of the strategy, one an instrument.
        arrays: whatever else changes as they advance.
    """

    def __init__(self, accounts: Sequence[TradingAccount], *arrays: np.ndarray) -> None:
        self.accounts = accounts
        self.strategy_id = accounts[0].strategy_id
        self.headroom: Callable[[TradingAccount, int], None] | None = None
        """Tells an account, before it sends at a time (ns), what the limits of the run leave it."""
        moving = [array.view(np.uint8) for array in (*arrays, *(account.lane.market for account in accounts))]
        self._moving = [(array, array.copy()) for array in moving]

    @abstractmethod
    def advance(self) -> tuple[int, int] | None:
        """Goes on to the next call; returns its (time in ns, enums.CALL_*), None when the data has ended."""

    @abstractmethod
    def call(self) -> None:
        """Calls the strategy, and sends what it wants."""

    @property
    @abstractmethod
    def records_done(self) -> int:
        """Source records received."""

    def watch(self) -> None:
        """From now on every report that becomes known is a moment of its own, with `CALL_BOOKED` if of no other use."""
        for account in self.accounts:
            account.is_watched = True

    def keep(self) -> None:
        """Keeps where it is, for `restore`."""
        for account in self.accounts:
            account.keep()
        for array, kept in self._moving:
            kept[:] = array

    def restore(self) -> None:
        """Goes back to where it was at the last `keep`; there was no call since."""
        for account in self.accounts:
            account.restore()
        for array, kept in self._moving:
            array[:] = kept

    def close(self, end: int) -> None:
        """Records what is left when the data of the run has ended, at `end` (ns)."""
        for account in self.accounts:
            account.close(end)


class BaseDesk(AnyDesk):
    """What desks of strategies in Python share: requests on their way out, and news of those refused on our side.

    Args:
        accounts: of the strategy, one an instrument.
        response_latency: ns until the sender hears of a request that was refused on our side.
        arrays: whatever else changes as it advances.
    """

    def __init__(self, accounts: Sequence[TradingAccount], response_latency: int, *arrays: np.ndarray) -> None:
        super().__init__(accounts, *arrays)
        self.response_latency = max(response_latency, 1)  # an answer at once would let a stubborn strategy stop time
        self._by_symbol = {account.symbol: account for account in accounts}
        self._refusals: list[tuple[int, int, TradingAccount, ExecutionReport]] = []  # heap by time, then number
        self._refused = 0

    def _send(self, output: StrategyOutput, symbol: str, now: int) -> None:
        """Sends what a strategy asks for.

        Raises:
            ConfigError: what it asks for can't be sent, such as an order whose price is a text.
        """
        try:
            self._send_all(output, symbol, now)
        except (AttributeError, TypeError, ValueError):
            refuse_faults(output, self.strategy_id, now)
            raise

    def _send_all(self, output: StrategyOutput, symbol: str, now: int) -> None:
        if output.kill is not None:
            self._kill(output.kill, now)
        for cancel in output.cancellations:
            order_id, of = cancel if isinstance(cancel, OrderCancel) else (cancel, None)
            account = self._account(of or symbol, now)
            self._tell(account, account.cancel(order_id, now))
        for update in output.updates:
            account = self._account(update.symbol or symbol, now)
            self._tell(account, account.update(update, now))
        for order in output.orders:
            account = self._account(order.symbol or symbol, now)
            self._tell(account, account.order(order, now))
        if output.metrics:
            self._account(symbol, now).metrics.record_metrics(now, output.metrics)

    def _kill(self, kill: Kill, now: int) -> None:
        reason = enums.REASON_RUN_KILL_SWITCH if kill.whole_run else enums.REASON_KILL_SWITCH
        for account in self.accounts:
            account.kill(now, reason, flatten=kill.flatten)
            if kill.whole_run:
                account.execution.account["kills_run"] = 1 + kill.flatten

    def _account(self, symbol: str, now: int) -> TradingAccount:
        """The account of an instrument, about to send."""
        try:
            account = self._by_symbol[symbol]
        except KeyError:
            known = ", ".join(sorted(self._by_symbol))
            raise ConfigError(f"strategy {self.strategy_id} named symbol '{symbol}': the run holds {known}") from None
        if self.headroom is not None:
            self.headroom(account, now)
        return account

    def _tell(self, account: TradingAccount, refusal: ExecutionReport | None) -> None:
        """The sender of a refused request hears of it one response latency later."""
        if refusal is not None and account.wants_news:
            self._refused += 1
            due = refusal.ts_exchange + self.response_latency
            heapq.heappush(self._refusals, (due, self._refused, account, refusal))

    def _refusals_known(self, known: int) -> list[MarketEvent]:
        """News of requests refused on our side, known by `known` (ns)."""
        told: dict[tuple[int, str], list[ExecutionReport]] = {}  # one event for all that is told at once
        while self._refusals and self._refusals[0][0] <= known:
            due, _, account, report = heapq.heappop(self._refusals)
            told.setdefault((due, account.symbol), []).append(report)
        return [self._by_symbol[symbol].news(due, tuple(reports)) for (due, symbol), reports in told.items()]


@njit
def _next(desks, accounts, log, markets, records, events, blocks, until, trades, tick_nanos):
    """(why, now, ts_event and kinds of the event, its trades or the reports known before, and of the first trade price,
    ticks, lots and aggressor); all trades in `trades`, as many as fit."""
    desk = desks[0]
    why = next_call(desk, accounts[0], log, markets[0], records, events, blocks, until)
    now = desk["now"]
    zero = np.int64(0)
    if why != enums.CALL_EVENT:
        return why, now, zero, zero, desk["first_report"], 0.0, zero, zero, zero
    number = desk["stop"]
    ts_event = events[number]["ts_event"]
    flags = np.int64(events[number]["flags"])
    kinds = (flags & EVENT_KINDS) >> KIND_SHIFT
    if not flags & enums.EVENT_TRADE:
        return why, now, ts_event, kinds, zero, 0.0, zero, zero, zero
    first = int(events[number - 1]["end"]) if number > 0 else 0
    count = np.int64(read_trades(records, first, int(events[number]["end"]), trades))
    tick, size, side = trades[0]["price"], trades[0]["size"], trades[0]["aggressor"]
    tick = np.int64(tick)
    return why, now, ts_event, kinds, count, tick * tick_nanos / 1e9, tick, np.int64(size), np.int64(side)


class Desk(BaseDesk):
    """A strategy in Python on one instrument."""

    def __init__(
        self, account: TradingAccount, strategy: Strategy, context: StrategyContext, response_latency: int
    ) -> None:
        self._desk = desk_of(strategy, account)
        super().__init__([account], response_latency, self._desk)
        self.account = account
        self.strategy = strategy
        self.context = context
        self._symbol, self._tick_size_nanos = account.symbol, account.lane.instrument.tick_size_nanos
        self._trades = np.zeros(8, trade_dtype)
        self._wake = self._desk["wake"]
        self._answered = self._desk["is_answered"]
        self._moment: tuple[Any, ...] = ()
        tape, execution = account.lane.tape, account.execution
        arrays = (self._desk, execution.account, execution.log, account.lane.market)
        self._arrays = [*arrays, tape.records, tape.events, tape.blocks, FOREVER, self._trades, self._tick_size_nanos]
        self._next = bound(_next, *self._arrays)

    def advance(self) -> tuple[int, int] | None:
        execution = self.account.execution
        while True:
            self._moment = moment = self._next(*self._arrays)
            why = moment[0]
            if why == enums.CALL_NONE:
                return None
            if why != enums.CALL_LOG_FULL:
                return moment[1], why
            execution.lengthen_log()
            self._arrays[2] = execution.log

    def call(self) -> None:
        self._call(self._moment, 1)

    def run(self, calls: int) -> bool:
        """As many times on to the next call and the call, undisturbed; False when the data has ended before."""
        return self.advance() is not None and self._call(self._moment, calls)

    def _call(self, moment: tuple[Any, ...], calls: int) -> bool:
        """Makes the call that is due, and those after it up to so many; False when the data has ended before.

        One loop over local names: what surrounds a call must not take longer than a short strategy does.
        """
        context, symbol, arrays, advance = self.context, self._symbol, self._arrays, self._next
        on_event, on_timer = self.strategy.on_market_event, self.strategy.on_timer
        output: StrategyOutput | None
        while True:
            why, now, ts_event, kinds, count, price, tick, size, side = moment
            if why == CALL_EVENT:
                trades: tuple[Trade, ...] = ()
                if count == 1:  # as it mostly is
                    trades = (_new(Trade, (ts_event, price, tick, size, _AGGRESSORS[side])),)
                elif count:
                    trades = self._read(ts_event, count)
                context.current_time = now
                event = _new(MarketEvent, (symbol, ts_event, now, KINDS[kinds], trades, (), None))
                try:
                    output = on_event(event, context)
                except Exception as error:
                    note(error, self.strategy_id, "on_market_event", now)
                    raise
            elif why == CALL_CLOCK:
                context.current_time = now
                try:
                    output = on_timer(now, context)
                except Exception as error:
                    note(error, self.strategy_id, "on_timer", now)
                    raise
            else:
                output = NOTHING
                if why == CALL_NEWS:
                    self._call_news(now, count)
            if output is not NOTHING and output is not None:  # a forgotten return asks for nothing
                self._act(output, "on_timer" if why == CALL_CLOCK else "on_market_event", now)
            calls -= 1
            if calls == 0:
                return True
            moment = advance(*arrays)
            if moment[0] == CALL_NONE:
                return False
            if moment[0] == CALL_LOG_FULL:
                if self.advance() is None:
                    return False
                moment = self._moment

    def watch(self) -> None:
        super().watch()
        self._desk["is_watched"] = 1

    def _act(self, output: StrategyOutput, method: str, now: int) -> None:
        check(output, self.strategy_id, method, now)
        if output.is_empty():
            return
        self._answered[0] = 0
        self._send(output, self._symbol, now)
        if self._refusals:
            self._wake[0] = self._refusals[0][0]

    def _read(self, ts_event: int, count: int) -> tuple[Trade, ...]:
        """All trades of the event at hand."""
        if count > len(self._trades):
            self._trades = self._arrays[8] = np.zeros(2 * count, trade_dtype)
            tape, number = self.account.lane.tape, int(self._desk["stop"][0])
            first = int(tape.events["end"][number - 1]) if number else 0
            read_trades(tape.records, first, int(tape.events["end"][number]), self._trades)
        nanos, rows = self._tick_size_nanos, self._trades[:count].tolist()
        return tuple([_new(Trade, (ts_event, t * nanos / 1e9, t, n, _AGGRESSORS[s])) for t, n, s in rows])

    def _call_news(self, now: int, first: int) -> None:
        known = now if self._desk["stop_time"][0] > now else now - 1  # what is known at an event's time comes after it
        events = [self.account.told(known, first)] if self.account.reports_known > first else []
        events += self._refusals_known(known)
        self._wake[0] = self._refusals[0][0] if self._refusals else FOREVER
        for event in events:
            self.context.current_time = event.ts_recv
            try:
                output = self.strategy.on_market_event(event, self.context)
            except Exception as error:
                note(error, self.strategy_id, "on_market_event", event.ts_recv)
                raise
            if output is not None:
                self._act(output, "on_market_event", now)

    @property
    def records_done(self) -> int:
        return _records_done(self.account.lane)


class JittedDesk(AnyDesk):
    """A compiled strategy on one instrument: everything happens in the core, all at once unless it is watched.

    Raises:
        CapacityError: it asks for more in one call than can travel at once.
    """

    def __init__(self, account: TradingAccount, strategy: JittedStrategy) -> None:
        self._desk = desk_of(strategy, account)
        super().__init__([account], self._desk)
        self.account = account
        self.memory = strategy.start(account.symbol)
        self._decide = strategy.decide.compiled
        self._shown = np.zeros(1, jitted.shown_dtype)
        self._trades = np.zeros(64 if strategy.wants_trades else 0, trade_dtype)
        self._refused = np.zeros(4 * MAX_REQUESTS, jitted.refused_dtype)
        self._counts = np.zeros(2, np.int64)

    def watch(self) -> None:
        super().watch()
        self._desk["is_watched"] = 1

    def advance(self) -> tuple[int, int] | None:
        why = self._run(FOREVER)
        return None if why == enums.CALL_NONE else (int(self._desk["now"][0]), why)

    def call(self) -> None:
        if self._desk["call_due"][0]:
            if self.headroom is not None:
                self.headroom(self.account, int(self._desk["now"][0]))
            self._run(FOREVER)

    def run(self, until: int) -> None:
        """Runs up to `until` (ns), unwatched."""
        while self._run(until) != enums.CALL_NONE:
            pass

    def _run(self, until: int | np.int64) -> int:
        """Goes on in the core; returns why it stopped, `CALL_NONE` at the end or after a call that is watched."""
        execution, tape = self.account.execution, self.account.lane.tape
        while True:
            why = jitted.run(
                self._decide,
                self.memory,
                self._desk,
                execution.account,
                execution.log,
                self.account.lane.market,
                tape.records,
                tape.events,
                tape.blocks,
                self._shown,
                self._trades,
                self._refused,
                self._counts,
                until,
            )
            self.account.record_refused(self._refused[: self._counts[0]])
            self._counts[0] = 0
            if int(self._shown["requests"]["lost"][0]):
                asked = MAX_REQUESTS + int(self._shown["requests"]["lost"][0])
                raise CapacityError(
                    f"strategy {self.account.strategy_id} asks for {asked} requests in one call: at most {MAX_REQUESTS}"
                )
            if why == enums.CALL_TRADES_FULL:
                self._trades = np.zeros(2 * len(self._trades), trade_dtype)
            elif why == enums.CALL_LOG_FULL:
                execution.lengthen_log()
            else:
                return int(why)

    @property
    def records_done(self) -> int:
        return _records_done(self.account.lane)


def desk_of(strategy: Strategy, account: TradingAccount) -> np.ndarray:
    """(1,) of `core.decision.desk_dtype`: a strategy's place on one instrument, before the first event."""
    return new_desk(
        account.lane.tape.events,
        account.lane.extra_delay,
        kinds=int(strategy.subscriptions) & EVENT_KINDS,
        wants_news=account.wants_news,
        limits_loss=account.positions.limits_loss,
        every_ns=strategy.timer_interval_ns or 0,
        every_records=strategy.timer_interval_records or 0,
        every_trades=strategy.timer_interval_trades or 0,
        is_stationary=strategy.is_stationary,
    )


def _records_done(lane: Lane) -> int:
    received = int(lane.market["event"][0])
    return int(lane.tape.events["source"][received - 1]) if received else 0
