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
from bt_gym.core.order_actions import (
    RAW_CANCEL,
    RAW_IOC,
    RAW_LIMIT,
    RAW_MARKET,
    RAW_MODIFY,
    RAW_POST_ONLY,
    ROW,
)
from bt_gym.core.tape import receive_delays
from bt_gym.data.tape import Tape
from bt_gym.errors import CapacityError, ConfigError
from bt_gym.strategy.base import OrderCancel, OrderRequest, OrderUpdate, Strategy, StrategyOutput
from bt_gym.strategy.context import MarketStateView, StrategyContext
from bt_gym.strategy.events import EVENT_KINDS, EventKind, MarketEvent, Side, Trade, kind_of, report_of
from bt_gym.strategy.features import Features

_AGGRESSORS = (Side.BUY, Side.SELL, None)


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

    Orders that `raw` actions have no kind for (stops, FOK, GTD, day) are refused, and so is what is wanted beyond the
    rows, the reach and the size of the `action` section. A strategy isn't told of requests refused on our side.

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
        if seat is None or seat.episode != (row["seed"], row["episodes"]):
            seat = self._seats[index] = self._sit_down(index, row)
        strategy, context = seat.strategy, seat.context
        context.current_time = now
        outputs = [strategy.on_market_event(event, context) for event in self._news(seat, row)]
        if _strikes(strategy, seat, now, int(row["market"]["event"])):
            outputs.append(strategy.on_timer(now, context))
        seat.decided, seat.events = now, int(row["market"]["event"])
        seat.reports = int(row["account"]["reports_known"])
        outputs = [output for output in outputs if output is not None and not output.is_empty()]
        if outputs:
            self._write(outputs[-1], context, rows)

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
        context = StrategyContext(
            "policy",
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
        live = {order.order_id: (number, order) for number, order in enumerate(context.pending_orders)}
        wanted: list[tuple[int, int, int, int, int]] = []
        for cancel in output.cancellations:
            order_id = cancel.order_id if isinstance(cancel, OrderCancel) else cancel
            if order_id in live:  # one that is over needs none
                wanted.append((RAW_CANCEL, live[order_id][0], 0, 0, 0))
        for update in output.updates:
            if update.order_id in live:
                wanted.append(self._modify(update, *live[update.order_id], context))
        wanted += [self._new(order, context) for order in output.orders]
        if len(wanted) > len(rows):
            raise ValueError(f"strategy wants {len(wanted)} requests, an action has {len(rows)}: raise action.rows")
        for number, one in enumerate(wanted):
            rows[number] = one

    def _modify(
        self, update: OrderUpdate, number: int, order: Any, context: StrategyContext
    ) -> tuple[int, int, int, int, int]:
        ticks = self._ticks(order.side, update.price, context)
        return RAW_MODIFY, number, 0, ticks, self._lots(update.size - order.filled)

    def _new(self, order: OrderRequest, context: StrategyContext) -> tuple[int, int, int, int, int]:
        kinds = {
            (enums.ORDER_MARKET, enums.TIF_IOC, enums.POST_ONLY_OFF): RAW_MARKET,
            (enums.ORDER_LIMIT, enums.TIF_IOC, enums.POST_ONLY_OFF): RAW_IOC,
            (enums.ORDER_LIMIT, enums.TIF_GTC, enums.POST_ONLY_OFF): RAW_LIMIT,
            (enums.ORDER_LIMIT, enums.TIF_GTC, enums.POST_ONLY_REJECT): RAW_POST_ONLY,
        }
        kind = kinds.get((order.order_type, order.time_in_force, order.post_only))
        if kind is None:
            raise ValueError(f"{order}: raw actions have market orders, and limit orders GTC, post-only or IOC")
        ticks = 0 if order.price is None else self._ticks(order.side, order.price, context)
        return kind, 0, int(order.side), ticks, self._lots(order.size)

    def _ticks(self, side: Side, price: float, context: StrategyContext) -> int:
        """The code of a price: ticks behind the best price of its side, plus the reach."""
        market, reach = context.market_state, self._action.reach
        best = market.best_bid() if side == Side.BUY else market.best_ask()
        if best is None:
            raise ValueError(f"price {price}: its side of the book is empty, so that an action can't name it")
        behind = side.sign * (best.ticks - round(price * 1e9 / context.instrument.tick_size_nanos))
        if not -reach <= behind <= reach:
            raise ValueError(f"price {price} is {abs(behind)} ticks from the best one: raise action.reach, now {reach}")
        return behind + reach

    def _lots(self, size: int) -> int:
        if not 1 <= size <= self._action.max_size:
            raise ValueError(f"strategy wants {size} lots: an action has 1 to action.max_size {self._action.max_size}")
        return size - 1


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
