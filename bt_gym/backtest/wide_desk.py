"""A strategy in Python that trades several instruments at once."""

from collections.abc import Mapping, Sequence

from bt_gym.backtest.desk import BaseDesk
from bt_gym.backtest.replay import MarketReplayEngine, Stop
from bt_gym.backtest.trading_account import TradingAccount
from bt_gym.core import enums
from bt_gym.strategy.base import Strategy
from bt_gym.strategy.context import StrategyContext
from bt_gym.strategy.events import MarketEvent
from bt_gym.strategy.router import StrategyRouter


class WideDesk(BaseDesk):
    """A strategy in Python over several tapes, merged by receive time.

    Args:
        contexts: of the strategy, by symbol.
        replay: the market, its lanes those of the accounts.
        accounts: of the strategy, in the order of the replay's lanes.
        response_latency: ns until the sender hears of a request that was refused on our side.
    """

    def __init__(
        self,
        strategy: Strategy,
        contexts: Mapping[str, StrategyContext],
        replay: MarketReplayEngine,
        accounts: Sequence[TradingAccount],
        response_latency: int,
    ) -> None:
        super().__init__(accounts, response_latency)
        self.replay = replay
        self.router = StrategyRouter()
        self.router.register_strategy(self.strategy_id, strategy, contexts)
        self._kinds = int(strategy.subscriptions)
        self._end = replay.end
        self._now = 0
        self._stop: Stop | None = None
        self._events: list[MarketEvent] = []
        self._has_ended = False
        self._kept = (0, 0, self._refusals)
        self.router.start_timers(replay.start)

    def keep(self) -> None:
        super().keep()
        self._kept = (self._now, self._refused, list(self._refusals))

    def restore(self) -> None:
        super().restore()
        self._now, self._refused, refusals = self._kept
        self._refusals = list(refusals)
        self._has_ended = False
        for lane in self.replay.lanes:
            lane.rewind()

    def advance(self) -> tuple[int, int] | None:
        while not self._has_ended:
            known = sum(account.reports_known for account in self.accounts)
            stop = self.replay.peek(self._kinds, self._end)
            now = self._next_moment(stop.ts if stop else self._end)
            now = _advance(self.accounts, now)
            if stop is not None and stop.ts <= now:  # news known at this very time comes behind it
                events = [self.replay.reach(stop), *self._news(now - 1)]
                why = enums.CALL_EVENT
            else:
                self.replay.receive(now)
                events = self._news(now)
                why = enums.CALL_NEWS if events else enums.CALL_CLOCK
                stop = None
            for account in self.accounts:
                account.positions.enforce(now)
            self._now, self._stop, self._events = now, stop, events
            has_timer = stop is None and self.router.next_timer() <= now
            self._has_ended = now >= self._end and not events and not has_timer
            if events or has_timer:
                return now, why
            if sum(account.reports_known for account in self.accounts) > known and self.accounts[0].is_watched:
                return now, enums.CALL_BOOKED
        return None

    def call(self) -> None:
        for event in self._events:
            self._dispatch(self.router.process_events((event,)))
        if self._stop is None:
            self._dispatch(self.router.process_timers(self._now))

    def _dispatch(self, outputs: list) -> None:
        for _, output, symbol in outputs:
            self._send(output, symbol, self._now)

    def _next_moment(self, now: int) -> int:
        """When somebody has to decide next, news of orders apart; at most `now` (ns)."""
        now = min(now, self.router.next_timer())
        if self._refusals:
            now = min(now, self._refusals[0][0])
        for account in self.accounts:
            now = account.positions.next_action(account.lane.tape.events, now)
        return now

    def _news(self, known: int) -> list[MarketEvent]:
        """Books what accounts know by `known` (ns); returns what the strategy is told."""
        events = [event for account in self.accounts if (event := account.learn(known)) is not None]
        return events + self._refusals_known(known)

    @property
    def records_done(self) -> int:
        received = [(lane.tape.events, lane.received) for lane in self.replay.lanes]
        return sum(int(events["source"][count - 1]) for events, count in received if count)


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
