"""Limits of a whole run: all its strategies and instruments together.

Under them desks take turns moment by moment, compiled strategies too, and every report that becomes known is a moment.
So what an account is told of the others is what was known at that time, never later: a desk that has gone ahead to its
next moment counts with what it knew at the last one, and goes back if the run is stopped in between.
"""

import heapq
from collections.abc import Callable, Sequence

import numpy as np

from bt_gym.backtest.desk import AnyDesk
from bt_gym.backtest.replay import MarketReplayEngine
from bt_gym.backtest.trading_account import TradingAccount
from bt_gym.config import RunLimitsConfig
from bt_gym.core import enums
from bt_gym.core.risk import NS_PER_SECOND
from bt_gym.core.run_risk import check, find_marks, follow, holding_dtype, losses_dtype, mark_dtype

_STEPS_PER_PROGRESS = 1024


class RunLimits:
    """Keeps the limits of a whole run; `run` is its loop.

    Args:
        limits: which.
        replay: the tapes, and the speed of market time.
        desks: of all strategies, before their first moment.
        progress: called with the source records done now and then.
    """

    def __init__(
        self,
        limits: RunLimitsConfig,
        replay: MarketReplayEngine,
        desks: Sequence[AnyDesk],
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self.replay = replay
        self.desks = desks
        self.accounts = [account for desk in desks for account in desk.accounts]
        self._progress = progress
        self._losses = np.zeros(1, losses_dtype)
        self._losses["max_loss"], self._losses["max_drawdown"] = limits.losses
        self._row = {id(account): row for row, account in enumerate(self.accounts)}
        self._holdings = np.zeros(len(self.accounts), holding_dtype)
        self._open = np.zeros((len(self.accounts), 2), np.int64)  # lots of working orders per side
        self._rate = np.zeros((len(self.accounts), 2), np.int64)  # clock second of the last order, orders sent in it
        lanes = {lane.instrument.symbol: number for number, lane in enumerate(replay.lanes)}
        for row, account in enumerate(self.accounts):
            self._holdings[row]["lane"] = lanes[account.symbol]
            self._holdings[row]["tick_value"] = account.execution.account["models"]["tick_value"][0]
        self._marks = np.full(len(lanes), enums.NO_TICK, np.int64)
        self._changes = _merged_marks(replay)
        self._heap: list[tuple[int, int, int]] = []
        for desk in desks:
            desk.watch()
            desk.headroom = self._headroom

    def run(self) -> None:
        """Runs all desks to the end of the data."""
        for number in range(len(self.desks)):
            self._advance(number)
        steps = 0
        while self._heap:
            ts, _, number = self._heap[0]
            at, reason = follow(self._losses, self._holdings, self._marks, self._changes, ts)
            if reason != enums.REASON_NONE:
                self._stop(int(at), int(reason), flatten=True)
                continue
            heapq.heappop(self._heap)
            desk = self.desks[number]
            self._look(desk)
            reason = int(check(self._losses, self._holdings, self._marks))
            if reason != enums.REASON_NONE:
                self._stop(ts, reason, flatten=True, now_at=number)
            self.replay.wait(ts)
            desk.call()
            self._look(desk)
            asked = max(int(account.execution.account["kills_run"][0]) for account in desk.accounts)
            if asked:
                self._stop(ts, enums.REASON_RUN_KILL_SWITCH, flatten=asked > 1, now_at=number)
            self._advance(number)
            steps += 1
            if self._progress and steps % _STEPS_PER_PROGRESS == 0:
                self._progress(min(other.records_done for other in self.desks))

    def _advance(self, number: int) -> None:
        desk = self.desks[number]
        desk.keep()
        moment = desk.advance()
        if moment is not None:
            heapq.heappush(self._heap, (*moment, number))

    def _stop(self, ts: int, reason: int, *, flatten: bool, now_at: int = -1) -> None:
        """Throws the kill switch of all accounts at `ts` (ns); desk `now_at` is there, the others go back to before."""
        self._losses["max_loss"] = self._losses["max_drawdown"] = -1  # once is enough
        self._heap = []
        for number, desk in enumerate(self.desks):
            if number != now_at:
                desk.restore()
            for account in desk.accounts:
                account.execution.account["kills_run"] = 0
                account.kill(ts, reason, flatten=flatten)
            if number != now_at:
                self._advance(number)

    def _look(self, desk: AnyDesk) -> None:
        """Takes down what a desk's accounts know at its moment."""
        for account in desk.accounts:
            row, record = self._row[id(account)], account.execution.account
            position = record["known_position"]
            self._holdings[row]["size"] = position["size"][0]
            self._holdings[row]["cash"] = position["cash"][0] - position["fees"][0]
            self._open[row] = record["most_open"][0]
            self._rate[row] = record["rate_second"][0], record["rate_count"][0]

    def _headroom(self, account: TradingAccount, now: int) -> None:
        """Tells an account that is about to send at `now` (ns) what the others hold, have open and have sent."""
        own = self._row[id(account)]
        record = account.execution.account
        for desk in self.desks:
            if any(other is account for other in desk.accounts):
                self._look(desk)  # one call may send for several instruments
        others = np.arange(len(self.accounts)) != own
        here = others & (self._holdings["lane"] == self._holdings[own]["lane"])
        held = int(self._holdings["size"][here].sum())
        record["others"][0] = self._open[here].sum(axis=0) + np.array([held, -held])
        sent = others & (self._rate[:, 0] == now // NS_PER_SECOND)
        record["others_sent"] = self._rate[sent, 1].sum()


def _merged_marks(replay: MarketReplayEngine) -> np.ndarray:
    """The changes of all tapes' marks, (M,) of `mark_dtype`, by the time at which they are received."""
    found = []
    for number, lane in enumerate(replay.lanes):
        out = np.zeros(len(lane.tape.events), mark_dtype)
        found.append(out[: find_marks(lane.tape.events, number, lane.extra_delay, out)].copy())
    marks = np.concatenate(found)
    return marks[np.argsort(marks["ts"], kind="stable")]
