"""A strategy as a policy: it drives an environment by plain orders, one or thousands of them.

    >>> env = gym.make_vec("bt_gym/MarketMaking-v0", 8, action={"type": "raw", "rows": 8})  # doctest: +SKIP
    >>> policy = StrategyPolicy(GridMarketMaker(levels=1), env)  # doctest: +SKIP
    >>> observations, infos = env.reset(seed=1)  # doctest: +SKIP
    >>> env.step(policy(observations))  # doctest: +SKIP

It decides on the environment's clock: what was received and reported since the last decision is handed over in order,
with market and orders as they are now, then the timer strikes if it was due. All answers are given on the same orders,
as nothing is sent before the decision: the last one that asks for something is what is sent. Where that clock is the
strategy's timer, it trades as in the Backtester, byte for byte.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from bt_gym.config.env_action import RawActionConfig
from bt_gym.core import enums
from bt_gym.core.decision import read_trades, trade_dtype
from bt_gym.core.order_actions import RAW_CANCEL, RAW_MODIFY, RAW_NEW, RAW_ORDERS, ROW
from bt_gym.core.tape import receive_delays
from bt_gym.data.tape import Tape
from bt_gym.errors import CapacityError, ConfigError
from bt_gym.strategy.answers import at, check, note, refuse_faults
from bt_gym.strategy.base import NOTHING, OrderCancel, OrderRequest, OrderUpdate, Strategy, StrategyOutput
from bt_gym.strategy.context import MarketStateView, OrderView, StrategyContext
from bt_gym.strategy.events import EVENT_KINDS, EventKind, MarketEvent, Side, Trade, kind_of, report_of
from bt_gym.strategy.features import Features
from bt_gym.strategy.jitted import JittedStrategy

_AGGRESSORS = (Side.BUY, Side.SELL, None)
_KINDS = {tuple(row): RAW_NEW + number for number, row in enumerate(RAW_ORDERS.tolist())}
_TYPES, _IN_FORCE = enums.names("ORDER_"), enums.names("TIF_")


class Task(NamedTuple):
    """What an episode asks for."""

    side: Side | None  # of an order to be executed; None without one
    quantity: int  # lots of it, 0 without one
    window_s: float


@dataclass
class _Account:
    """What features read of an environment."""

    account: np.ndarray
    log: np.ndarray


@dataclass
class _Seat:
    """A strategy at one environment, for an episode."""

    episode: tuple[int, int]  # seed and number
    strategy: Strategy
    context: StrategyContext
    tape: Tape
    events: int  # received at the last decision
    reports: int  # known then
    decided: int  # ns


class StrategyPolicy:
    """A policy that asks a strategy. `policy(observations)` gives actions; the observations are not looked at.

    What no action can say is an error: stops with a limit, orders with a date (GTD), prices off the grid, the kill
    switch, and what is wanted beyond the rows, the reach and the size of the `action` section. A strategy isn't told of
    requests refused on our side.

    Args:
        strategy: copied for every episode; or a function of a `Task` that makes one.
        env: of bt_gym, single or vector, with `action` of type `raw`.

    Raises:
        ConfigError: its actions are of another type.
    """

    def __init__(self, strategy: Strategy | Callable[[Task], Strategy], env: Any) -> None:
        self._batch = env.unwrapped._batch
        action = self._batch.config.action
        if not isinstance(action, RawActionConfig):
            raise ConfigError(f"action.type is {action.type}: make the environment with action={{'type': 'raw'}}")
        self._action = action
        self._make = strategy if not isinstance(strategy, Strategy) else lambda task: copy.deepcopy(strategy)
        self._is_vector = hasattr(env.unwrapped, "num_envs")
        self._seats: list[_Seat | None] = [None] * len(self._batch.envs)
        self._trades = np.zeros(64, trade_dtype)

    def __call__(self, observations: Any = None) -> np.ndarray:
        """Actions (N, D) int64 of a vector, (D,) of a single environment."""
        actions = np.zeros((len(self._seats), ROW * self._action.rows), np.int64)
        for index, row in enumerate(self._batch.envs):
            if not row["is_done"]:
                self._decide(index, row, actions[index].reshape(-1, ROW))
        return actions if self._is_vector else actions[0]

    def predict(self, observations: Any, *_: Any, **__: Any) -> tuple[np.ndarray, None]:
        """As models of Stable-Baselines3 have it."""
        return self(observations), None

    def _decide(self, index: int, row: np.void, rows: np.ndarray) -> None:
        """Calls the strategy of one environment for all that is new, and writes what it wants as rows of an action."""
        now, seat = int(row["now"]), self._seats[index]
        if seat is None or seat.episode != (row["seed"], row["episodes"]) or row["episode"]["steps"] == 0:
            seat = self._seats[index] = self._sit_down(index, row)
        strategy, context = seat.strategy, seat.context
        context.current_time = now
        wanted = NOTHING
        for event in self._news(seat, row):
            wanted = _ask(seat, "on_market_event", event, event.ts_recv) or wanted
        if _strikes(strategy, seat, now, int(row["market"]["event"])):
            wanted = _ask(seat, "on_timer", now, now) or wanted
        seat.decided, seat.events = now, int(row["market"]["event"])
        seat.reports = int(row["account"]["reports_known"])
        try:
            self._write(wanted, context, rows)
        except (AttributeError, TypeError, ValueError):
            refuse_faults(wanted, context.strategy_id, now)
            raise

    def _sit_down(self, index: int, row: np.void) -> _Seat:
        """A strategy at the beginning of an episode."""
        batch, episode = self._batch, row["episode"]
        source = int(episode["source"])
        tape, instrument = batch.markets.tapes[source], batch.markets.instruments[source]
        envs = batch.envs[index : index + 1]
        account, market = envs["account"], envs["market"]
        parent = int(episode["parent"])
        side = None if parent == 0 else Side.BUY if parent > 0 else Side.SELL
        strategy = self._make(Task(side, abs(parent), int(episode["window"]) / 1e9))
        if isinstance(strategy, JittedStrategy):
            raise ConfigError(f"strategy {type(strategy).__name__}: it is compiled for a backtest: give one in Python")
        context = StrategyContext(
            type(strategy).__name__,
            instrument,
            MarketStateView(tape, market, instrument),
            account,
            market,
            strategy.config,
            {},
            Features(tape, _Account(account, envs["log"][0]), market),  # type: ignore[arg-type]  # what it reads
        )
        context._contexts[instrument.symbol] = context
        before = int(row["now"]) - (strategy.timer_interval_ns or 1)  # the timer strikes at once
        received = int(market["event"][0])
        return _Seat((row["seed"], row["episodes"]), strategy, context, tape, received, 0, before)

    def _news(self, seat: _Seat, row: np.void) -> list[MarketEvent]:
        """Market events and reports since the last decision that the strategy subscribed to, in order."""
        kinds = int(seat.strategy.subscriptions)
        found: list[tuple[int, int, MarketEvent]] = []
        received, delay = int(row["market"]["event"]), int(row["market"]["extra_delay"])
        if kinds & EVENT_KINDS:
            flags = seat.tape.events["flags"][seat.events : received]
            for number in (seat.events + np.flatnonzero(flags & (kinds & EVENT_KINDS))).tolist():
                event = self._event(seat, number, delay)
                found.append((event.ts_recv, 0, event))
        known, log = int(row["account"]["reports_known"]), row["log"]
        if kinds & EventKind.OWN and known > seat.reports:
            if int(row["account"]["reports_written"]) - seat.reports > len(log):
                raise CapacityError("StrategyPolicy: more reports between two decisions than are kept: decide oftener")
            price = seat.context.market_state.price
            told: dict[int, list[Any]] = {}
            for number in range(seat.reports, known):
                report = log[number % len(log)]
                told.setdefault(int(report["ts_known"]), []).append(report_of(report, price))
            for ts, reports in told.items():
                news = MarketEvent(
                    seat.context.symbol,
                    reports[-1].ts_exchange,
                    ts,
                    EventKind.OWN,
                    reports=tuple(reports),
                    owner=seat.context.strategy_id,
                )
                found.append((ts, 1, news))
        return [event for _, _, event in sorted(found, key=lambda one: one[:2])]

    def _event(self, seat: _Seat, number: int, delay: int) -> MarketEvent:
        events, records = seat.tape.events, seat.tape.records
        first = int(events["end"][number - 1]) if number else 0
        last = int(events["end"][number])
        if last - first > len(self._trades):
            self._trades = np.zeros(2 * (last - first), trade_dtype)
        count = read_trades(records, first, last, self._trades)
        ts_event, flags = int(events["ts_event"][number]), int(events["flags"][number])
        price = seat.context.market_state.price
        trades = tuple(
            Trade(ts_event, price(ticks), ticks, size, _AGGRESSORS[side])
            for ticks, size, side in self._trades[:count].tolist()
        )
        ts = ts_event + int(receive_delays(events[number : number + 1])[0]) + delay
        return MarketEvent(seat.context.symbol, ts_event, ts, kind_of(flags), trades)

    def _write(self, output: StrategyOutput, context: StrategyContext, rows: np.ndarray) -> None:
        """Rows (M, ROW) of an action: cancels, then modifies, then orders."""
        if output.kill is not None:
            raise _refusal(context, output.kill, "an environment has no kill switch: set risk.max_loss, max_drawdown")
        live = {order.order_id: (number, order) for number, order in enumerate(context.pending_orders)}
        wanted: list[tuple[int, int, int, int, int]] = []
        for cancel in output.cancellations:
            order_id, symbol = cancel if isinstance(cancel, OrderCancel) else (cancel, None)
            self._check_symbol(cancel, symbol, context)
            if order_id in live:  # one that is over needs none
                wanted.append((RAW_CANCEL, live[order_id][0], 0, 0, 0))
        for update in output.updates:
            self._check_symbol(update, update.symbol, context)
            if update.order_id in live:
                wanted.append(self._modify(update, *live[update.order_id], context))
        wanted += [self._new(order, context) for order in output.orders]
        if len(wanted) > len(rows):
            raise _refusal(context, f"{len(wanted)} requests", f"an action has {len(rows)}: raise action.rows")
        for number, one in enumerate(wanted):
            rows[number] = one

    def _modify(
        self, update: OrderUpdate, number: int, order: OrderView, context: StrategyContext
    ) -> tuple[int, int, int, int, int]:
        price = update.price
        if order.stop_price is not None:  # a stop without limit: its price is the trigger
            price = order.stop_price if update.stop_price is None else update.stop_price
        ticks = self._ticks(update, order.side, price, context)
        return RAW_MODIFY, number, 0, ticks, self._lots(update, update.size - order.filled, context)

    def _new(self, order: OrderRequest, context: StrategyContext) -> tuple[int, int, int, int, int]:
        self._check_symbol(order, order.symbol, context)
        kind = _KINDS.get((order.order_type, order.time_in_force, order.post_only))
        if kind is None:
            raise _refusal(context, order, "an action has no such order: no stop with a limit, no date")
        price = order.stop_price if order.order_type == enums.ORDER_STOP else order.price
        has_price = order.order_type in (enums.ORDER_LIMIT, enums.ORDER_STOP)
        ticks = self._ticks(order, order.side, price, context) if has_price else 0
        return kind, 0, int(order.side), ticks, self._lots(order, order.size, context)

    def _ticks(self, asked: Any, side: Side, price: float | None, context: StrategyContext) -> int:
        """The code of a price: ticks behind the best price of its side, plus the reach."""
        market, reach = context.market_state, self._action.reach
        best = market.best_bid() if side == Side.BUY else market.best_ask()
        if best is None:
            raise _refusal(context, asked, "its side of the book is empty, so that an action can't name its price")
        if price is None:
            raise _refusal(context, asked, "it has no price")
        behind = side.sign * (best.ticks - (price + 0) * 1e9 / context.instrument.tick_size_nanos)
        if not abs(behind) <= reach:
            away = f"{abs(behind):.0f} ticks from the best price"
            raise _refusal(context, asked, f"{away}: raise action.reach, now {reach}")
        if abs(behind - round(behind)) > 1e-6:
            raise _refusal(context, asked, "its price is off the grid of ticks")
        return round(behind) + reach

    def _lots(self, asked: Any, size: float, context: StrategyContext) -> int:
        most = self._action.max_size
        if not 1 <= size <= most or size != int(size):
            raise _refusal(context, asked, f"an action has 1 to action.max_size, {most}, lots")
        return int(size) - 1

    def _check_symbol(self, asked: Any, symbol: str | None, context: StrategyContext) -> None:
        if symbol not in (None, context.symbol):
            raise _refusal(context, asked, f"symbol '{symbol}': the environment trades {context.symbol}")


def _ask(seat: _Seat, method: str, told: Any, now: int) -> StrategyOutput | None:
    """Calls the strategy; what it answers, or None where that asks for nothing."""
    name = seat.context.strategy_id
    try:
        output = getattr(seat.strategy, method)(told, seat.context)
    except Exception as error:
        note(error, name, method, now)
        raise
    if output is None:
        return None
    check(output, name, method, now)
    return output if output.orders or output.cancellations or output.updates or output.kill else None


def _refusal(context: StrategyContext, asked: Any, why: str) -> ConfigError:
    """That a strategy asked for what no action can say."""
    if isinstance(asked, OrderRequest):
        kind, in_force = _TYPES.get(asked.order_type), _IN_FORCE.get(asked.time_in_force)
        words = [f"{Side(asked.side).name.lower()} {asked.size} {kind} {in_force}"]
        words += [f"{name} {value}" for name in ("price", "stop_price") if (value := getattr(asked, name)) is not None]
        asked = " ".join(words)
    return ConfigError(f"strategy {context.strategy_id}: {asked} at {at(context.current_time)}: {why}")


def _strikes(strategy: Strategy, seat: _Seat, now: int, received: int) -> bool:
    """Whether the strategy's clock has struck since the last decision."""
    if every := strategy.timer_interval_ns:
        return now // every > seat.decided // every
    events = seat.tape.events
    if every := strategy.timer_interval_records:
        before, after = (int(events["source"][number - 1]) if number else 0 for number in (seat.events, received))
        return after // every > before // every
    if strategy.timer_interval_trades:
        raise ConfigError("StrategyPolicy: a clock of trades isn't kept: set the environment's decision.clock instead")
    return False
