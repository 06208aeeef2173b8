"""PositionManager: the position of one account as reported, and what its loss limit does."""

import numpy as np

from bt_gym._jit import njit
from bt_gym.core import enums
from bt_gym.core.execution import book_fill
from bt_gym.core.market import mid2, received_at
from bt_gym.core.marks import value_of
from bt_gym.core.requests import flatten, kill
from bt_gym.core.risk import find_loss, limits_loss, loss_reached, watch


@njit
def _book_fill(accounts, log, row):
    book_fill(accounts[0], log[row])


@njit
def next_action(account, market, events, until: int) -> int:
    """When the loss limit has something to do if nothing but the market changes, at most `until` (ns)."""
    extra_delay = market["extra_delay"]
    first = market["event"]
    if not account["killed"]:
        number = find_loss(account, events, first, until, extra_delay)
        return received_at(events[number], extra_delay) if number >= 0 else until
    if not account["goes_home"] or account["known_position"]["size"] == 0 or account["orders_live"] > 0:
        return until
    # with no order left, whose report would come first, the next valid book is the next chance to go home
    for number in range(first, events.shape[0]):
        ts = received_at(events[number], extra_delay)
        if ts >= until or mid2(events[number]) != enums.NO_TICK:
            return min(ts, until)
    return until


@njit
def enforce(account, market, ts: int, may_flatten: bool) -> bool:
    """Does at `ts` (ns) what the loss limit asks for; returns whether the position was sent home."""
    reason = loss_reached(account, np.int64(market["mark2"]))
    if reason != enums.REASON_NONE:
        kill(account, ts, reason, True)
    if not account["goes_home"] or not may_flatten or market["mark_is_stale"]:
        return False
    sent = account["orders_sent"]
    flatten(account, ts)
    return account["orders_sent"] > sent


@njit
def _equity(accounts, markets, mark, is_true):
    position = accounts[0]["position"] if is_true else accounts[0]["known_position"]
    value = value_of(markets[0], position["size"], accounts[0]["models"]["tick_value"], mark)
    return position["cash"] + value - position["fees"]


@njit
def _watch(accounts, markets, events):
    watch(accounts[0], markets[0], events)


@njit
def _kill(accounts, ts, reason, goes_home):
    kill(accounts[0], ts, reason, goes_home)


@njit
def _next_action(accounts, markets, events, until):
    return next_action(accounts[0], markets[0], events, until)


@njit
def _enforce(accounts, markets, ts, may_flatten):
    return enforce(accounts[0], markets[0], ts, may_flatten)


class PositionManager:
    """A thin class over the kernels; order limits are checked where an order is sent (`bt_gym.core.risk.refuse`).

    Args:
        account: (1,) of `orders.account_dtype`, shared with its ExecutionEngine.
        market: (1,) of `market.market_dtype`, which has the mark.
    """

    def __init__(self, account: np.ndarray, market: np.ndarray) -> None:
        self.account = account
        self.market = market
        models = account["models"][0]
        self.limits_loss = bool(limits_loss(models))
        """Whether somebody has to watch the account between calls: a loss can stop it, or it is to be sent home."""
        self._received = market["event"]
        self.flattened = -1  # events received when the position was last sent home

    def process_fill(self, reports: np.ndarray, row: int = 0) -> None:
        """Books a reported fill: a row of an array of `orders.report_dtype`."""
        _book_fill(self.account, reports, row)

    def equity(self, mark: int = enums.MARK_MID) -> int:
        """Cash and position at a mark (enums.MARK_*) less fees, 1e-6 of the currency, as known."""
        return int(_equity(self.account, self.market, mark, False))

    def true_equity(self, mark: int = enums.MARK_MID) -> int:
        """The same with all that has happened at the exchange, known or not."""
        return int(_equity(self.account, self.market, mark, True))

    def watch(self, events: np.ndarray) -> None:
        """Follows the highest equity over the marks received so far; to be called before fills are processed."""
        if self.limits_loss:
            _watch(self.account, self.market, events)

    def kill(self, ts: int, reason: int = enums.REASON_KILL_SWITCH, *, goes_home: bool = False) -> None:
        """The kill switch: cancels all orders at `ts` (ns) and refuses new ones from now on.

        The position stays or, with `goes_home`, is closed at the market once no order is left.
        """
        _kill(self.account, ts, reason, goes_home)
        self.limits_loss |= goes_home

    @property
    def position(self) -> np.ndarray:
        """A record of `positions.position_dtype`: the position as reported."""
        return self.account["known_position"][0]

    @property
    def is_stopped(self) -> bool:
        """Whether a loss limit was reached or the kill switch thrown."""
        return bool(self.account["killed"][0])

    def next_action(self, events: np.ndarray, until: int) -> int:
        """When the loss limit has something to do if nothing but the market changes, at most `until` (ns)."""
        return _next_action(self.account, self.market, events, until) if self.limits_loss else until

    def enforce(self, ts: int) -> None:
        """Stops trading at `ts` (ns) when the loss limit is reached: cancels everything, then sends the position home.

        It is sent while the book as received can take it, and once per event received: a halt, or a market that the
        order's protection price doesn't reach, must not be answered without end.
        """
        if self.limits_loss:
            received = int(self._received[0])
            if _enforce(self.account, self.market, ts, received > self.flattened):
                self.flattened = received
