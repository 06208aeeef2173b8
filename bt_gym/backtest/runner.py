"""The loop of a backtest: strategies are called in the order of time, each at its own desk.

A desk goes on to the next moment at which its strategy has to decide: an event that it subscribed to, news of its
orders, its decision clock. First the exchange side works up to that moment, then the market is received up to it, then
the loss limit is kept, then the strategy is asked, then what it wants is sent. At equal times market data comes first,
then news of own orders, then clocks; strategies take turns as they were added.
"""

import heapq
from collections.abc import Callable, Sequence

from bt_gym.backtest.desk import AnyDesk, BaseDesk, Desk, JittedDesk
from bt_gym.backtest.replay import MarketReplayEngine
from bt_gym.backtest.run_limits import RunLimits
from bt_gym.backtest.trading_account import TradingAccount
from bt_gym.backtest.wide_desk import WideDesk
from bt_gym.config import RunLimitsConfig
from bt_gym.errors import ConfigError
from bt_gym.strategy.base import Strategy
from bt_gym.strategy.context import StrategyContext
from bt_gym.strategy.features import Features
from bt_gym.strategy.jitted import JittedStrategy

_STEPS_PER_PROGRESS = 1024
_CHUNKS = 64


def open_desks(
    strategy: Strategy, market: MarketReplayEngine, accounts: Sequence[TradingAccount], response_latency: int
) -> list[AnyDesk]:
    """The desks of a strategy: one, or, of a compiled strategy, one an instrument.

    Args:
        market: the strategy's own copy, its lanes those of the accounts.
        response_latency: ns until the sender hears of a request that was refused on our side.

    Raises:
        ConfigError: its clock counts the records or trades of more than one instrument.
    """
    if isinstance(strategy, JittedStrategy):
        return [JittedDesk(account, strategy) for account in accounts]
    contexts = contexts_of(strategy, market, accounts)
    if len(accounts) == 1:
        return [Desk(accounts[0], strategy, contexts[accounts[0].symbol], response_latency)]
    if strategy.timer_interval_records or strategy.timer_interval_trades:
        raise ConfigError(
            f"strategy {accounts[0].strategy_id}: its clock counts records or trades, and the run has {len(accounts)} "
            "instruments: use timer_interval_ns"
        )
    return [WideDesk(strategy, contexts, market, accounts, response_latency)]


def contexts_of(
    strategy: Strategy, market: MarketReplayEngine, accounts: Sequence[TradingAccount]
) -> dict[str, StrategyContext]:
    """What a strategy is shown, by symbol."""
    contexts: dict[str, StrategyContext] = {}
    for lane, account in zip(market.lanes, accounts, strict=True):
        contexts[account.symbol] = StrategyContext(
            account.strategy_id,
            lane.instrument,
            lane.state,
            account.execution.account,
            lane.market,
            strategy.config,
            contexts,
            Features(lane.tape, account.execution, lane.market),
            account.mark,
        )
    return contexts


class Runner:
    """Runs the desks of all strategies over a replay.

    Compiled strategies, which nothing outside can follow anyway, run first and in one go; then those in Python, in the
    order of time and at the replay's speed. Under limits of the whole run all of them take turns.

    Args:
        replay: the tapes, and the speed of market time.
        desks: of the strategies.
        progress: called with (source records done, source records in all) now and then.
        limits: of the whole run.
    """

    def __init__(
        self,
        replay: MarketReplayEngine,
        desks: Sequence[AnyDesk],
        progress: Callable[[int, int], None] | None = None,
        limits: RunLimitsConfig | None = None,
    ) -> None:
        self.replay = replay
        self.desks = desks
        self.progress = progress
        self.limits = limits
        self._total = sum(int(lane.tape.events["source"][-1]) for lane in replay.lanes)

    def run(self) -> None:
        """Runs from the first to the last event.

        Raises:
            ConfigError: a strategy wants to stop the others, and the configuration has no limits of the whole run.
        """
        if self.limits is not None:
            RunLimits(self.limits, self.replay, self.desks, self._report if self.progress else None).run()
        else:
            for desk in self.desks:
                if isinstance(desk, JittedDesk):
                    self._run_jitted(desk)
            self._run_python([desk for desk in self.desks if isinstance(desk, BaseDesk)])
            self._check_kills()
        for desk in self.desks:
            desk.close(self.replay.end)
        self._report(self._total)

    def _run_jitted(self, desk: JittedDesk) -> None:
        start, end = self.replay.start, self.replay.end
        for chunk in range(1, _CHUNKS + 1 if self.progress else 2):
            desk.run(end if not self.progress else start + (end - start) * chunk // _CHUNKS)
            self._report(desk.records_done)

    def _run_python(self, desks: Sequence[BaseDesk]) -> None:
        if len(desks) == 1 and isinstance(desks[0], Desk) and self.replay.speed.factor is None:
            self._run_alone(desks[0])
            return
        heap = [(*moment, number) for number, desk in enumerate(desks) if (moment := desk.advance()) is not None]
        heapq.heapify(heap)
        steps = 0
        while heap:
            ts, _, number = heap[0]
            desk = desks[number]
            self.replay.wait(ts)
            desk.call()
            moment = desk.advance()
            if moment is None:
                heapq.heappop(heap)
            else:
                heapq.heapreplace(heap, (*moment, number))
            steps += 1
            if self.progress and steps % _STEPS_PER_PROGRESS == 0:
                self._report(min(other.records_done for other in desks))

    def _run_alone(self, desk: Desk) -> None:
        """The same without turns to take, which cost as much as a short strategy does."""
        while desk.run(_STEPS_PER_PROGRESS):
            self._report(desk.records_done)

    def _check_kills(self) -> None:
        for desk in self.desks:
            asked = any(account.execution.account["kills_run"][0] for account in desk.accounts)
            if asked and len(self.desks) > 1:
                raise ConfigError(
                    f"strategy {desk.strategy_id} stops the whole run: that takes a section backtest.run_limits, an "
                    "empty one ({}) will do"
                )

    def _report(self, records: int) -> None:
        if self.progress:
            self.progress(records, self._total)
