"""The loop of a strategy that is itself compiled: what it is shown, what it may ask for, and the calls between.

Everything shown is as received or as reported: neither the tape nor the exchange's side of the account is in reach. A
`decide` function is called through a pointer (`DECIDE` is its signature), so that the loop compiles once, whatever the
strategy.
"""

import numba
import numpy as np

from bt_gym._jit import njit
from bt_gym.core import enums
from bt_gym.core.decision import next_call, read_trades, trade_dtype
from bt_gym.core.market import market_dtype
from bt_gym.core.orders import (
    MAX_ORDERS,
    MAX_REQUESTS,
    REQUEST_CANCEL,
    REQUEST_CANCEL_ALL,
    REQUEST_MODIFY,
    REQUEST_NEW,
    report_dtype,
)
from bt_gym.core.positions import position_dtype
from bt_gym.core.requests import kill, request_cancel, request_modify, submit
from bt_gym.core.tape import LADDER_TICKS

now_dtype = np.dtype(
    [
        ("time", "<i8"),  # ns UTC, receive clock
        ("why", "<i8"),  # enums.CALL_EVENT, CALL_NEWS or CALL_CLOCK
        ("kinds", "<i8"),  # enums.EVENT_* of the event, 0 without one
        ("records", "<i8"),  # source records received so far
        ("phase", "<i8"),  # enums.PHASE_*
        ("bid", "<i8"),  # best prices, ticks; enums.NO_TICK when a side is empty
        ("ask", "<i8"),
        ("bid_size", "<i8"),  # lots displayed there
        ("ask_size", "<i8"),
    ],
    align=True,
)
"""The moment of a call."""

own_order_dtype = np.dtype(
    [
        ("order_id", "<i8"),
        ("side", "<i4"),  # enums.BUY, SELL
        ("price", "<i4"),  # limit in ticks; of a market order 0 before its protection price is known
        ("size", "<i4"),  # lots ordered in total
        ("leaves", "<i4"),  # lots still working
        ("state", "<i4"),  # enums.STATE_*
        ("cancelling", "<i4"),  # 1: a cancel or modify is under way
        ("trigger", "<i4"),  # ticks, of a stop; enums.NO_TICK otherwise
    ],
    align=True,
)

own_dtype = np.dtype(
    [
        ("position", position_dtype),
        ("pending", "<i8"),  # signed lots of all orders: what the position would change by if all of them filled
        ("live", "<i8"),  # how many of `orders` are in use
        ("orders", own_order_dtype, (MAX_ORDERS,)),  # working or on their way, oldest first
    ],
    align=True,
)
"""Position and orders as reported."""

ask_dtype = np.dtype(
    [
        ("kind", "<i4"),  # orders.REQUEST_*
        ("side", "<i4"),
        ("size", "<i4"),
        ("price", "<i4"),  # ticks
        ("order_type", "<i4"),  # enums.ORDER_*
        ("time_in_force", "<i4"),  # enums.TIF_*
        ("post_only", "<i4"),  # enums.POST_ONLY_*
        ("order_id", "<i8"),  # of the order that a cancel or modify names
    ],
    align=True,
)

requests_dtype = np.dtype(
    [("count", "<i8"), ("lost", "<i8"), ("asks", ask_dtype, (MAX_REQUESTS,))],
    align=True,
)
"""What a strategy asks for in one call, sent in this order. `lost`: asks beyond the table, which end the run."""
shown_dtype = np.dtype(
    [
        ("now", now_dtype),
        ("own", own_dtype),
        ("own_stamp", "<i8"),  # reports known and requests sent when `own` was written, plus 1
        ("requests", requests_dtype),
    ],
    align=True,
)
"""What a call is given, apart from the market and the trades."""

refused_dtype = np.dtype([("report", report_dtype), ("reports", "<i8")], align=True)
"""A request that did not leave our side, and how many reports were known before it."""

DECIDE = numba.types.void(
    numba.types.Array(numba.types.uint8, 1, "C"),
    numba.from_dtype(now_dtype),
    numba.from_dtype(market_dtype),
    numba.from_dtype(own_dtype),
    numba.types.Array(numba.from_dtype(trade_dtype), 1, "C"),
    numba.from_dtype(requests_dtype),
)
"""`decide(memory, now, market, own, trades, requests)`: see `bt_gym.strategy.jitted`."""


@njit
def _ask(requests, kind, side, size, price, order_type, time_in_force, order_id, post_only=0) -> None:
    count = requests["count"]
    if count >= requests["asks"].shape[0]:
        requests["lost"] += 1
        return
    ask = requests["asks"][count]
    ask["kind"] = kind
    ask["side"] = side
    ask["size"] = size
    ask["price"] = price
    ask["order_type"] = order_type
    ask["time_in_force"] = time_in_force
    ask["order_id"] = order_id
    ask["post_only"] = post_only
    requests["count"] = count + 1


@njit
def limit(requests, side: int, size: int, price: int) -> None:
    """A limit order at `price` ticks: takes what it reaches, then rests."""
    _ask(requests, REQUEST_NEW, side, size, price, enums.ORDER_LIMIT, enums.TIF_GTC, 0)


@njit
def quote(requests, side: int, size: int, price: int) -> None:
    """A limit order that is rejected on arrival rather than take: post-only."""
    kind = enums.ORDER_LIMIT
    _ask(requests, REQUEST_NEW, side, size, price, kind, enums.TIF_GTC, 0, enums.POST_ONLY_REJECT)


@njit
def market_order(requests, side: int, size: int) -> None:
    """Takes liquidity up to the protection price; what is left then is cancelled."""
    _ask(requests, REQUEST_NEW, side, size, 0, enums.ORDER_MARKET, enums.TIF_IOC, 0)


@njit
def cancel(requests, order_id: int) -> None:
    """Cancels an order."""
    _ask(requests, REQUEST_CANCEL, 0, 0, 0, 0, 0, order_id)


@njit
def modify(requests, order_id: int, size: int, price: int) -> None:
    """Changes an order to `size` lots in total, filled ones included, at `price` ticks."""
    _ask(requests, REQUEST_MODIFY, 0, size, price, 0, 0, order_id)


@njit
def kill_switch(requests, flatten: bool, whole_run: bool) -> None:
    """Cancels all orders and refuses new ones from then on, of the instrument or of the whole run.

    With `flatten` the position is sent home at the market as well.
    """
    _ask(requests, REQUEST_CANCEL_ALL, int(flatten), int(whole_run), 0, 0, 0, 0)


@njit
def find(own, side: int, price: int) -> int:
    """Row in `own["orders"]` of the oldest order of `side` at `price` ticks; -1 when there is none."""
    for row in range(own["live"]):
        if own["orders"][row]["side"] == side and own["orders"][row]["price"] == price:
            return row
    return -1


@njit
def _show_nothing(now) -> None:
    """The market before its first event."""
    now["records"] = 0
    now["phase"] = enums.PHASE_SUSPECT
    now["bid"] = enums.NO_TICK
    now["ask"] = enums.NO_TICK
    now["bid_size"] = 0
    now["ask_size"] = 0


@njit
def _show_market(now, market, last) -> None:
    """The market after its `last` event."""
    now["bid_size"] = 0
    now["ask_size"] = 0
    now["records"] = last["source"]
    now["phase"] = last["flags"] & enums.PHASE_MASK
    now["bid"] = last["bid"]
    now["ask"] = last["ask"]
    base = np.int64(market["base"])
    if 0 <= now["bid"] - base < LADDER_TICKS:
        now["bid_size"] = market["ladder"][enums.BID, now["bid"] - base]
    if 0 <= now["ask"] - base < LADDER_TICKS:
        now["ask_size"] = market["ladder"][enums.ASK, now["ask"] - base]


@njit
def _state(order) -> int:
    """Where an order stands in its life, as its strategy knows."""
    if not order["acknowledged"]:
        return enums.STATE_PENDING_NEW
    if order["unanswered"]:
        return enums.STATE_PENDING_CHANGE
    if order["is_stop"] and not order["known_triggered"]:
        return enums.STATE_UNTRIGGERED
    return enums.STATE_PARTIALLY_FILLED if order["known_size"] > order["known_leaves"] else enums.STATE_WORKING


@njit
def show_own(own, account) -> None:
    """Writes position and orders as reported."""
    own["position"] = account["known_position"]
    live = 0
    pending = np.int64(0)
    rows = own["orders"]
    left = account["orders_live"]
    for slot in range(account["orders"].shape[0]):
        if left == 0:
            break
        order = account["orders"][slot]
        if order["status"] == enums.STATUS_FREE:
            continue
        left -= 1
        if order["known_leaves"] <= 0:
            continue
        place = live
        while place > 0 and rows[place - 1]["order_id"] > order["order_id"]:
            rows[place] = rows[place - 1]
            place -= 1
        row = rows[place]
        row["order_id"] = order["order_id"]
        row["side"] = order["side"]
        row["price"] = order["known_price"]
        row["size"] = order["known_size"]
        row["leaves"] = order["known_leaves"]
        row["state"] = _state(order)
        row["cancelling"] = order["unanswered"] > 0
        row["trigger"] = order["known_trigger"] if order["is_stop"] else enums.NO_TICK
        pending += (1 - 2 * np.int64(order["side"])) * np.int64(order["known_leaves"])
        live += 1
    own["live"] = live
    own["pending"] = pending


@njit
def _side_of(account, order_id: int) -> int:
    for slot in range(account["orders"].shape[0]):
        order = account["orders"][slot]
        if order["status"] != enums.STATUS_FREE and order["order_id"] == order_id:
            return np.int64(order["side"])
    return np.int64(enums.BUY)  # there is no such order


@njit
def _send(account, now: int, requests, refused, count: int) -> int:
    """Sends all that was asked for; writes what was refused on our side into `refused`, from row `count` on."""
    for i in range(requests["count"]):
        ask = requests["asks"][i]
        order_id = ask["order_id"]
        side = np.int64(ask["side"])
        size = np.int64(ask["size"])
        price = np.int64(ask["price"])
        if ask["kind"] == REQUEST_NEW:
            order_type, time_in_force = np.int64(ask["order_type"]), np.int64(ask["time_in_force"])
            post_only = np.int64(ask["post_only"])
            order_id, reason = submit(account, now, side, size, order_type, time_in_force, price, 0, 0, post_only)
        elif ask["kind"] == REQUEST_MODIFY:
            reason = request_modify(account, now, order_id, size, price)
        elif ask["kind"] == REQUEST_CANCEL_ALL:
            account["kills_run"] = max(account["kills_run"], size + size * side)
            kill(account, now, enums.REASON_RUN_KILL_SWITCH if size else enums.REASON_KILL_SWITCH, side != 0)
            reason = enums.REASON_NONE
        else:
            reason = request_cancel(account, now, order_id)
        if reason == enums.REASON_NONE:
            continue
        row = refused[count]["report"]
        row["ts_exchange"] = now
        row["ts_known"] = now
        row["order_id"] = order_id
        row["event"] = -1
        row["price"] = (
            price if ask["kind"] == REQUEST_NEW and ask["order_type"] != enums.ORDER_MARKET else enums.NO_TICK
        )
        row["side"] = side if ask["kind"] == REQUEST_NEW else _side_of(account, order_id)
        row["exec_type"] = enums.EXEC_REJECTED if ask["kind"] == REQUEST_NEW else enums.EXEC_CANCEL_REJECTED
        row["reason"] = reason
        refused[count]["reports"] = account["reports_known"]
        count += 1
    return count


@njit
def run(decide, memory, desks, accounts, log, markets, records, events, blocks, shown, trades, refused, counts, until):
    """Runs the strategy up to `until` (ns) and returns `CALL_NONE`; or `CALL_LOG_FULL`, `CALL_TRADES_FULL`: to be run
    on with a longer log, more room for trades.

    With `desks["is_watched"]` it stops before each call, and where reports become known, and returns why; to be called
    once more it makes the call, and returns `CALL_NONE`.

    Args:
        decide: function of the signature `DECIDE`.
        memory: (n,) uint8, the strategy's own.
        shown: (1,) of `shown_dtype`.
        trades: (n,) of `decision.trade_dtype`; None of its rows are seen by a strategy that doesn't want trades: n = 0.
        refused: (n,) of `refused_dtype`, n >= 2 * MAX_REQUESTS; full also ends the call, with `CALL_NEWS`.
        counts: (2,) int64: rows of `refused` in use, and tape records whose trades have been shown.
    """
    desk, account, market = desks[0], accounts[0], markets[0]
    now, own, requests = shown[0]["now"], shown[0]["own"], shown[0]["requests"]
    while True:
        if counts[0] > refused.shape[0] - MAX_REQUESTS:
            return enums.CALL_NEWS
        why = desk["call_due"]
        if why == enums.CALL_NONE:
            why = next_call(desk, account, log, market, records, events, blocks, until)
            if why == enums.CALL_NONE or why == enums.CALL_LOG_FULL or why == enums.CALL_BOOKED:
                return why
            if desk["is_watched"]:
                desk["call_due"] = why
                return why
        count = np.int64(0)
        if trades.shape[0] > 0:
            received = market["event"]
            last = np.int64(events[received - 1]["end"]) if received > 0 else np.int64(0)
            count = read_trades(records, counts[1], last, trades)
            if count > trades.shape[0]:
                desk["call_due"] = why
                return enums.CALL_TRADES_FULL
            counts[1] = last
        desk["call_due"] = enums.CALL_NONE
        now["time"] = desk["now"]
        now["why"] = why
        now["kinds"] = 0
        if why == enums.CALL_EVENT:
            now["kinds"] = np.int64(events[desk["stop"]]["flags"]) & ~enums.PHASE_MASK
        elif why == enums.CALL_NEWS:
            now["kinds"] = enums.EVENT_OWN
        if market["event"] > 0:
            _show_market(now, market, events[market["event"] - 1])
        else:
            _show_nothing(now)
        own_stamp = account["reports_known"] + account["requests_sent"] + 1
        if own_stamp != shown[0]["own_stamp"]:  # else it is as it was
            shown[0]["own_stamp"] = own_stamp
            show_own(own, account)
        requests["count"] = 0
        decide(memory, now, market, own, trades[:count], requests)
        if requests["lost"] > 0:
            return enums.CALL_EVENT
        if requests["count"] > 0:
            desk["is_answered"] = 0
            counts[0] = _send(account, desk["now"], requests, refused, counts[0])
        elif count > 0:
            desk["is_answered"] = 0  # the next call would be shown other trades: none
        if desk["is_watched"]:
            return enums.CALL_NONE
