"""Orders on their way to the exchange, at the exchange, and the news coming back.

Time runs on the exchange clock here (`ts_event`), ahead of what is received: an order sent at t arrives at
t + entry latency, after all market events up to and including that time, and its strategy learns of it one response
latency later. Requests of an account never overtake each other, nor do reports.
"""

from typing import Protocol

import numpy as np

from bt_gym._jit import njit
from bt_gym.core import enums, risk
from bt_gym.core.fills import change_levels, join, see
from bt_gym.core.impact import charge
from bt_gym.core.latency import respond, time_requests
from bt_gym.core.market import find_block
from bt_gym.core.matching import (
    cancel,
    cancel_all,
    fill,
    follow,
    is_matching,
    match_event,
    report,
    restore,
    take,
    taken_at,
)
from bt_gym.core.orders import (
    REQUEST_CANCEL,
    REQUEST_CANCEL_ALL,
    REQUEST_MODIFY,
    REQUEST_NEW,
    new_account,
    report_dtype,
)
from bt_gym.core.positions import apply_fill
from bt_gym.core.resting import height_of, leave, order_at, rest, see_levels
from bt_gym.core.tape import KIND_MASK, LADDER_TICKS, MAX_TICK, SIDE_BIT, TICK_SHIFT

FOREVER = np.int64(2**62)
_ANY = np.int64(0x7FFFFFFF)


@njit
def _send(account, ts: int, kind: int, slot: int, order_id: int, price: int, size: int) -> None:
    position = (account["first_request"] + account["requests_live"]) % account["requests"].shape[0]
    request = account["requests"][position]
    arrival = max(ts + account["models"]["entry_latency"], account["last_arrival"])
    account["last_arrival"] = arrival
    request["ts_exchange"] = arrival
    request["ts_sent"] = ts
    request["refused"] = 0
    request["order_id"] = order_id
    request["slot"] = slot
    request["kind"] = kind
    request["price"] = price
    request["size"] = size
    account["requests_live"] += 1
    account["requests_sent"] += 1
    if slot >= 0:
        account["orders"][slot]["requests"] += 1
        account["orders"][slot]["unanswered"] += kind != REQUEST_NEW


@njit
def _has_room(account) -> bool:
    """Whether a strategy may send: the last two places are for `kill` and `flatten`."""
    return account["requests_live"] < account["requests"].shape[0] - 2


@njit
def _find(account, order_id: int) -> int:
    """Slot of an order that isn't over for the strategy; -1 when there is none.

    Slots are searched, and given out, from the order's own on: ids follow each other, so that it is mostly the first.
    """
    count = account["orders"].shape[0]
    slot = (order_id - 1) % count
    for _ in range(count):
        order = account["orders"][slot]
        if order["order_id"] == order_id and order["status"] != enums.STATUS_FREE:
            return slot
        slot = slot + 1 if slot + 1 < count else 0
    return -1


@njit
def submit(account, ts: int, side: int, size: int, order_type: int, time_in_force: int, price: int) -> tuple[int, int]:
    """Sends a new order at `ts`; returns (order id, reason). It is on its way if the reason is `REASON_NONE`.

    A refused order has an id too; it never leaves the strategy's side, so no report is written for it.
    """
    account["orders_sent"] += 1
    order_id = account["orders_sent"]
    if size < 1 or abs(price) >= MAX_TICK or size > 0x3FFFFFFF:
        return order_id, enums.REASON_INVALID
    slot = _free_slot(account, order_id)
    if slot < 0 or not _has_room(account):
        return order_id, enums.REASON_CAPACITY
    reason = risk.refuse(account, ts, side, size, size)
    if reason == enums.REASON_NONE:
        _place(account, slot, order_id, ts, side, size, order_type, time_in_force, price)
    return order_id, reason


@njit
def _free_slot(account, order_id: int) -> int:
    count = account["orders"].shape[0]
    slot = (order_id - 1) % count
    for _ in range(count):
        order = account["orders"][slot]
        if order["status"] == enums.STATUS_FREE and order["requests"] == 0:
            return slot
        slot = slot + 1 if slot + 1 < count else 0
    return -1


@njit
def _place(account, slot, order_id, ts, side, size, order_type, time_in_force, price) -> None:
    order = account["orders"][slot]
    order["order_id"] = order_id
    order["rank"] = 0
    order["price"] = price
    order["size"] = size
    order["filled"] = 0
    order["leaves"] = size
    order["known_leaves"] = size
    order["known_size"] = size
    order["known_price"] = price
    order["most_leaves"] = size
    order["ahead"] = 0
    order["priority"] = 0
    order["side"] = side
    order["order_type"] = order_type
    order["time_in_force"] = time_in_force
    order["status"] = enums.STATUS_PENDING_NEW
    order["ahead_known"] = 0
    order["behind_hit"] = 0
    order["acknowledged"] = 0
    order["unanswered"] = 0
    account["orders_live"] += 1
    account["most_open"][side] += size
    _send(account, ts, REQUEST_NEW, slot, order_id, price, size)


@njit
def request_cancel(account, ts: int, order_id: int) -> int:
    """Sends a cancel at `ts`; returns a reason. Whether it comes in time is decided at the exchange."""
    slot = _find(account, order_id)
    if slot < 0:
        return enums.REASON_UNKNOWN_ORDER
    if not _has_room(account):
        return enums.REASON_CAPACITY
    _send(account, ts, REQUEST_CANCEL, slot, order_id, 0, 0)
    return enums.REASON_NONE


@njit
def request_modify(account, ts: int, order_id: int, size: int, price: int) -> int:
    """Sends a modify to `size` lots in total (filled ones included) at `price` ticks; returns a reason."""
    slot = _find(account, order_id)
    if slot < 0:
        return enums.REASON_UNKNOWN_ORDER
    if size < 1 or abs(price) >= MAX_TICK or size > 0x3FFFFFFF:
        return enums.REASON_INVALID
    if not _has_room(account):
        return enums.REASON_CAPACITY
    order = account["orders"][slot]
    known_filled = np.int64(order["known_size"]) - np.int64(order["known_leaves"])
    more = max(size - known_filled - np.int64(order["most_leaves"]), 0)
    reason = risk.refuse(account, ts, np.int64(order["side"]), size, more)
    if reason == enums.REASON_NONE:
        order["most_leaves"] += more
        account["most_open"][order["side"]] += more
        _send(account, ts, REQUEST_MODIFY, slot, order_id, price, size)
    return reason


@njit
def kill(account, ts: int) -> None:
    """The loss limit: cancels all orders, by one request, and refuses new ones from now on. See `flatten`."""
    if not account["killed"]:
        account["killed"] = 1
        _send(account, ts, REQUEST_CANCEL_ALL, -1, 0, 0, 0)


@njit
def flatten(account, ts: int) -> None:
    """Sends the known position home at the market, past all limits, once no own order is left that could change it."""
    size = account["known_position"]["size"]
    if account["orders_live"] == 0 and size != 0 and account["requests_live"] < account["requests"].shape[0]:
        account["orders_sent"] += 1
        slot = _free_slot(account, account["orders_sent"])
        side = enums.SELL if size > 0 else enums.BUY
        _place(account, slot, account["orders_sent"], ts, side, abs(size), enums.ORDER_MARKET, enums.TIF_IOC, 0)


@njit
def displayed(account, market, records, events, blocks, side: int, tick: int) -> int:
    """Displayed lots of a level as the exchange has it now: the ladder plus what is in flight; -1 if out of sight."""
    now = account["event"]
    if now == 0:
        return 0
    start = market["event"]
    block = market["block"]
    if start == 0 or start > now or (block + 1 < blocks.shape[0] and blocks[block + 1]["event"] < now):
        # the exchange is a ladder window ahead of the feed, or an arrival in the past is being caught up with
        block = find_block(blocks, now - 1)
        start = np.int64(blocks[block]["event"])
        base = blocks[block]["base"]
        offset = tick - base
        lots = blocks[block]["ladder"][side, offset] if 0 <= offset < LADDER_TICKS else 0
    else:
        base = market["base"]
        offset = tick - base
        lots = market["ladder"][side, offset] if 0 <= offset < LADDER_TICKS else 0
    if not 0 <= offset < LADDER_TICKS:
        if block + 1 < blocks.shape[0] and blocks[block + 1]["event"] == now:  # the next window is right already
            offset = tick - blocks[block + 1]["base"]
            if 0 <= offset < LADDER_TICKS:
                return np.int64(blocks[block + 1]["ladder"][side, offset])
        return np.int64(-1)
    lots = np.int64(lots)
    first = np.int64(events[start - 1]["end"]) if start > 0 else np.int64(0)
    for i in range(first, np.int64(events[now - 1]["end"])):
        key = records[i]["key"]
        kind = key & KIND_MASK
        if kind <= enums.RECORD_RESTORE:
            if key >> TICK_SHIFT == tick and (1 if key & SIDE_BIT else 0) == side:
                lots += records[i]["size"]
        elif kind == enums.RECORD_CLEAR:
            lots = np.int64(0)
    return lots


@njit
def _is_trading(account, events) -> bool:
    number = account["event"] - 1
    return number >= 0 and events[number]["flags"] & enums.PHASE_MASK == enums.PHASE_CONTINUOUS


@njit
def _enter(account, log, market, records, events, blocks, slot: int, ts: int) -> None:
    """An order (new, or modified to a new place) meets the book: takes what its limit reaches, then rests or ends."""
    order = account["orders"][slot]
    number = account["event"] - 1
    if not _is_trading(account, events):
        cancel(account, log, order, ts, number, enums.EXEC_REJECTED, enums.REASON_NOT_TRADING)
        return
    side = np.int64(order["side"])
    step = 1 if side == enums.BUY else -1
    best = np.int64(events[number]["ask"] if side == enums.BUY else events[number]["bid"])
    is_market = order["order_type"] == enums.ORDER_MARKET
    if is_market:
        if best == enums.NO_TICK:
            cancel(account, log, order, ts, number, enums.EXEC_REJECTED, enums.REASON_NO_LIQUIDITY)
            return
        order["price"] = best + step * account["models"]["protection"]
    limit = np.int64(order["price"])
    if order["rank"] == 0:  # not one that was modified
        report(account, log, order, ts, number, enums.EXEC_NEW, enums.REASON_NONE)
    inside = limit if best == enums.NO_TICK else step * min(step * limit, step * best - 1)
    _avoid_self_match(account, log, side, inside, _ANY, ts, number)

    tick = best
    while best != enums.NO_TICK and order["leaves"] > 0 and step * tick <= step * limit:
        level = displayed(account, market, records, events, blocks, 1 - side, tick)
        if level < 0:
            break
        taken = taken_at(account, 1 - side, tick)
        _avoid_self_match(account, log, side, tick, order["leaves"] + taken, ts, number)
        size = min(np.int64(order["leaves"]), level - taken)
        if size > 0:
            if not take(account, 1 - side, tick, size, level, np.int64(events[number]["end"]), False):
                cancel(account, log, order, ts, number, enums.EXEC_CANCELED, enums.REASON_CAPACITY)
                return
            fill(account, log, order, ts, number, tick, size, enums.LIQUIDITY_TAKER)
        tick += step
    if order["leaves"] == 0:
        return
    if is_market:
        cancel(account, log, order, ts, number, enums.EXEC_CANCELED, enums.REASON_PROTECTION)
    elif order["time_in_force"] == enums.TIF_IOC:
        cancel(account, log, order, ts, number, enums.EXEC_CANCELED, enums.REASON_IOC)
    else:
        _avoid_self_match(account, log, side, limit, _ANY, ts, number)  # those that no ladder window shows
        level = displayed(account, market, records, events, blocks, side, limit)
        order["ahead_known"] = level >= 0
        order["ahead"] = max(level, 0)
        order["priority"] = events[number]["end"]
        join(order, level, np.int64(events[number]["bid"] if side == enums.BUY else events[number]["ask"]))
        account["arrivals"] += 1
        order["rank"] = account["arrivals"]
        rest(account, slot)


@njit
def _avoid_self_match(account, log, side: int, limit: int, reach: int, ts: int, number: int) -> None:
    """Own resting orders that a taker meets are cancelled (CME self-match prevention, cancel oldest).

    It meets those up to `limit` that have less than `reach` lots ahead of them: the rest of the taker does not get to
    others.
    """
    other_side = 1 - side
    place = 0
    while place < account["line_length"][other_side]:
        other = order_at(account, other_side, place)
        if height_of(other_side, other["price"]) < height_of(other_side, limit):
            return
        if other["ahead"] < reach or not other["ahead_known"]:
            cancel(account, log, other, ts, number, enums.EXEC_CANCELED, enums.REASON_SELF_MATCH)
        else:
            place += 1


@njit
def _arrive(account, log, market, records, events, blocks) -> None:
    """The oldest request reaches the exchange."""
    request = account["requests"][account["first_request"]]
    account["first_request"] = (account["first_request"] + 1) % account["requests"].shape[0]
    account["requests_live"] -= 1
    ts = request["ts_exchange"]
    number = account["event"] - 1
    if request["kind"] == REQUEST_CANCEL_ALL:
        cancel_all(account, log, ts, number, enums.EXEC_CANCELED, enums.REASON_MAX_LOSS)
        return
    order = account["orders"][request["slot"]]
    order["requests"] -= 1
    if request["refused"]:
        account["response_extra"] = 0  # its latency was that of the answer
        if request["kind"] == REQUEST_NEW:
            cancel(account, log, order, ts, number, enums.EXEC_REJECTED, enums.REASON_GATEWAY)
        else:
            report(account, log, order, ts, number, enums.EXEC_CANCEL_REJECTED, enums.REASON_GATEWAY)
        return
    if request["kind"] == REQUEST_NEW:
        _enter(account, log, market, records, events, blocks, request["slot"], ts)
        return
    if order["status"] != enums.STATUS_WORKING:
        report(account, log, order, ts, number, enums.EXEC_CANCEL_REJECTED, enums.REASON_TOO_LATE)
        return
    if request["kind"] == REQUEST_CANCEL:
        cancel(account, log, order, ts, number, enums.EXEC_CANCELED, enums.REASON_USER)
        return
    left = request["size"] - order["filled"]
    keeps = request["price"] == order["price"] and left <= order["leaves"]
    if left > 0 and not keeps and not _is_trading(account, events):
        report(account, log, order, ts, number, enums.EXEC_CANCEL_REJECTED, enums.REASON_NOT_TRADING)
        return
    order["size"] = request["size"]
    if left <= 0:
        cancel(account, log, order, ts, number, enums.EXEC_CANCELED, enums.REASON_USER)
        return
    if keeps:
        order["leaves"] = left
        report(account, log, order, ts, number, enums.EXEC_REPLACED, enums.REASON_USER)
        return
    leave(account, order)
    order["status"] = enums.STATUS_PENDING_NEW
    order["leaves"] = left
    order["price"] = request["price"]
    report(account, log, order, ts, number, enums.EXEC_REPLACED, enums.REASON_USER)
    _enter(account, log, market, records, events, blocks, request["slot"], ts)


@njit
def _skip_quiet(events, first: int, until: int) -> int:
    """First event after `until`, with nothing of ours at the exchange: gallop, then bisect."""
    total = events.shape[0]
    step = 1
    low = first
    while low + step < total and events[low + step]["ts_event"] <= until:
        low += step
        step <<= 1
    high = min(low + step, total)
    while low < high:
        middle = (low + high) >> 1
        if events[middle]["ts_event"] <= until:
            low = middle + 1
        else:
            high = middle
    return low


@njit
def _has_space(account, log, events, number: int, is_event: bool) -> bool:
    """Whether the log has room for all that the next event, or else the next arrival, can write.

    A resting order of n lots writes n reports at most, its fills or its end. An arrival ends own orders, is filled once
    a price, and tells what becomes of it.
    """
    room = log.shape[0] - (account["reports_written"] - account["reports_kept"])
    if is_event:
        first = np.int64(events[number - 1]["end"]) if number > 0 else np.int64(0)
        most = account["resting"] + np.int64(events[number]["end"]) - first  # an end each, a fill a record
        return account["resting"] == 0 or room >= most or room >= _resting_lots(account)
    request = account["requests"][account["first_request"]]
    if request["kind"] == REQUEST_CANCEL:
        return room >= 1
    most = np.int64(account["resting"]) + 3
    if request["kind"] != REQUEST_CANCEL_ALL and room < most + LADDER_TICKS:
        most += min(LADDER_TICKS, _prices_in_reach(account, events, request))
    return room >= most


@njit
def _resting_lots(account) -> int:
    lots = np.int64(0)
    for side in range(2):
        for place in range(account["line_length"][side]):
            lots += order_at(account, side, place)["leaves"]
    return lots


@njit
def _prices_in_reach(account, events, request) -> int:
    """Most fills of an arriving order: as many as it has lots, and one a price up to its limit."""
    order = account["orders"][request["slot"]]
    is_new = request["kind"] == REQUEST_NEW
    lots = np.int64(order["leaves"] if is_new else request["size"])
    if order["order_type"] == enums.ORDER_MARKET:
        return min(lots, account["models"]["protection"] + 1)
    side = np.int64(order["side"])
    best = enums.NO_TICK
    if account["event"] > 0:
        last = events[account["event"] - 1]
        best = np.int64(last["ask"] if side == enums.BUY else last["bid"])
    if best == enums.NO_TICK:
        return np.int64(0)
    limit = np.int64(order["price"] if is_new else request["price"])
    return min(lots, max(height_of(side, limit) - height_of(side, best) + 1, 0))


@njit
def run(account, log, market, records, events, blocks, until: int, stop_on_report: bool) -> tuple[int, bool]:
    """Lets the exchange work up to `until` (ns): market events over own orders, requests that arrive.

    With `stop_on_report` it stops at the time when the first undelivered report is known, if that is earlier: its
    receiver may act on it.

    Args:
        log: ring of `report_dtype`, a power of two long. It must hold what one event or one arrival writes on top of
            what is kept (from `account["reports_kept"]` on): own resting orders, plus the lots of the order that
            arrives or the prices it may reach, whichever is less, plus 3. Orders of one lot in an account of 16: 20.

    Returns:
        (time reached, whether the log must be made longer first). When the log is too short, nothing is lost: keep
        fewer or lengthen it, and call again.
    """
    total = events.shape[0]
    has_fixed_latency = account["models"]["latency"]["model"] == enums.LATENCY_FIXED
    if not has_fixed_latency:
        time_requests(account, events)
    is_plain = has_fixed_latency and account["models"]["fills"]["model"] == enums.FILL_FIFO
    if stop_on_report and account["reports_known"] < account["reports_written"]:
        until = min(until, log[account["reports_known"] & (log.shape[0] - 1)]["ts_known"])
    while True:
        arrival = FOREVER
        if account["requests_live"] > 0:
            arrival = account["requests"][account["first_request"]]["ts_exchange"]
        written = account["reports_written"]
        if account["resting"] == 0 and account["takens"] == 0:
            account["event"] = _skip_quiet(events, account["event"], min(until, arrival))
        elif is_plain:
            stop = _next_window(account, blocks, total) if account["unseen"] > 0 else total
            follow(account, log, records, events, account["event"], stop, min(until, arrival))
        if account["reports_written"] == written:
            number = account["event"]
            ts = events[number]["ts_event"] if number < total else FOREVER
            if min(ts, arrival) > until or min(ts, arrival) == FOREVER:
                return until, False
            if not _has_space(account, log, events, number, ts <= arrival):
                return until, True
            if not has_fixed_latency:
                respond(account, events, min(ts, arrival))
            if ts <= arrival:  # the market is first at equal times
                happen(account, log, records, events, blocks, number, ts)
            else:
                _arrive(account, log, market, records, events, blocks)
        if stop_on_report and written == account["reports_known"] and account["reports_written"] > written:
            until = min(until, log[written & (log.shape[0] - 1)]["ts_known"])


@njit
def _next_window(account, blocks, total: int) -> int:
    """Next event that begins a ladder window, which may show levels of own orders; the next event itself if it does."""
    block = find_block(blocks, account["event"])
    if blocks[block]["event"] == account["event"]:
        return account["event"]
    return np.int64(blocks[block + 1]["event"]) if block + 1 < blocks.shape[0] else total


@njit
def happen(account, log, records, events, blocks, number: int, ts: int) -> None:
    """One market event at the exchange."""
    is_exact = account["models"]["fills"]["model"] == enums.FILL_FIFO
    if account["unseen"] > 0:
        block = find_block(blocks, number)
        if blocks[block]["event"] == number:
            see_levels(account, blocks[block])
            if not is_exact:
                see(account, blocks[block])
    first = np.int64(events[number - 1]["end"]) if number > 0 else np.int64(0)
    last = np.int64(events[number]["end"])
    if events[number]["flags"] & enums.PHASE_MASK == enums.PHASE_SNAPSHOT:
        restore(account, records, first, last)
    else:
        match_event(account, log, records, first, last, ts, number, is_matching(events, number))
    if not is_exact:
        change_levels(account, records, first, last, np.int64(events[number]["bid"]), np.int64(events[number]["ask"]))
    account["event"] = number + 1


@njit
def deliver(account, log, until: int) -> int:
    """The strategy learns of all reports known by `until` (ns); returns how many. They stay in the log.

    Their fills are booked by `book_fill`, one by one.
    """
    start = account["reports_known"]
    while account["reports_known"] < account["reports_written"]:
        row = log[account["reports_known"] & (log.shape[0] - 1)]
        if row["ts_known"] > until:
            break
        account["reports_known"] += 1
        slot = _find(account, row["order_id"])
        if slot >= 0:
            order = account["orders"][slot]
            if row["exec_type"] == enums.EXEC_NEW or row["exec_type"] == enums.EXEC_REPLACED:
                order["known_size"] += row["leaves"] - order["known_leaves"]
                order["known_price"] = row["price"]
            order["known_leaves"] = row["leaves"]
            order["acknowledged"] = 1
            account["most_open"][order["side"]] -= order["most_leaves"]
            order["most_leaves"] -= row["size"]
            if row["exec_type"] == enums.EXEC_REPLACED or row["exec_type"] == enums.EXEC_CANCEL_REJECTED:
                order["unanswered"] -= 1
            if order["unanswered"] == 0:
                order["most_leaves"] = row["leaves"]
            if row["leaves"] == 0 and order["status"] == enums.STATUS_DONE:
                order["status"] = enums.STATUS_FREE
                account["orders_live"] -= 1
            else:
                account["most_open"][order["side"]] += order["most_leaves"]
    return account["reports_known"] - start


@njit
def book_fill(account, row) -> None:
    """A reported fill changes the position as known."""
    models = account["models"]
    side, size, price = np.int64(row["side"]), np.int64(row["size"]), np.int64(row["price"])
    apply_fill(account["known_position"], side, size, price, models["tick_value"], row["fee"], row["impact"])
    if row["liquidity"] == enums.LIQUIDITY_TAKER and models["impact"]["model"] != enums.IMPACT_NONE:
        footprint, ts = account["known_footprint"], row["ts_exchange"]
        charge(models["impact"], footprint, models["tick_value"], row["order_id"], side, ts, price, size)


# --- doors for Python: numba takes 35 us to recognise a record that Python hands over, and 1.5 us for an array


@njit
def _submit(accounts, ts, side, size, order_type, time_in_force, price):
    return submit(accounts[0], ts, side, size, order_type, time_in_force, price)


@njit
def _request_cancel(accounts, ts, order_id):
    return request_cancel(accounts[0], ts, order_id)


@njit
def _request_modify(accounts, ts, order_id, size, price):
    return request_modify(accounts[0], ts, order_id, size, price)


@njit
def _run(accounts, log, markets, records, events, blocks, until, stop_on_report):
    return run(accounts[0], log, markets[0], records, events, blocks, until, stop_on_report)


@njit
def _deliver(accounts, log, until):
    return deliver(accounts[0], log, until)


class Request(Protocol):
    """What an order request has to tell (`bt_gym.OrderRequest` does)."""

    @property
    def side(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def order_type(self) -> int: ...
    @property
    def time_in_force(self) -> int: ...


class Session(Protocol):
    """A tape, or any three arrays of its layout."""

    @property
    def records(self) -> np.ndarray: ...
    @property
    def events(self) -> np.ndarray: ...
    @property
    def blocks(self) -> np.ndarray: ...


class ExecutionEngine:
    """One account at the exchange: a thin class over the kernels of this file.

    Attributes:
        account: (1,) of `orders.account_dtype`, the whole state; a copy of it and of `log` is a snapshot.
        log: execution reports, all of them in the order in which they happened.
    """

    def __init__(self, models: np.ndarray, market: np.ndarray) -> None:
        """`models`: (1,) of `orders.models_dtype`; `market`: (1,) of `market.market_dtype`, shared with the replay."""
        self.account = new_account(models)
        self.market = market
        self.log = np.zeros(1024, report_dtype)

    def process_order_request(self, request: Request, ts: int, price: int = 0) -> tuple[int, int]:
        """Sends an order at `ts` (ns) with its limit `price` in ticks; returns (order id, reason or `REASON_NONE`)."""
        return _submit(
            self.account,
            ts,
            int(request.side),
            int(request.size),
            int(request.order_type),
            int(request.time_in_force),
            price,
        )

    def process_cancel(self, order_id: int, ts: int) -> int:
        """Sends a cancel at `ts` (ns); returns a reason or `REASON_NONE`."""
        return _request_cancel(self.account, ts, order_id)

    def process_modify(self, order_id: int, size: int, price: int, ts: int) -> int:
        """Sends a modify at `ts` (ns) to `size` total lots at `price` ticks; returns a reason or `REASON_NONE`."""
        return _request_modify(self.account, ts, order_id, size, price)

    def advance(self, session: Session, until: int, *, stop_on_report: bool = False) -> int:
        """Lets the exchange work up to `until` (ns) or, if asked, the first report to be known; returns that time."""
        while True:
            until, is_full = _run(
                self.account,
                self.log,
                self.market,
                session.records,
                session.events,
                session.blocks,
                until,
                stop_on_report,
            )
            if not is_full:
                return until
            self.lengthen_log()

    def process_market_update(self, session: Session, ts: int) -> np.ndarray:
        """Runs the market up to `ts` (ns); returns the execution reports that become known by then, in order."""
        self.advance(session, ts)
        return self.deliver(ts)

    def deliver(self, ts: int) -> np.ndarray:
        """Execution reports that become known by `ts` (ns), in order."""
        start = int(self.account["reports_known"][0])
        count = _deliver(self.account, self.log, ts)
        return self.log[start : start + count]

    @property
    def reports(self) -> np.ndarray:
        """All execution reports so far, known or not."""
        return self.log[: int(self.account["reports_written"][0])]

    def lengthen_log(self) -> None:
        """Makes room for as many reports again. Never a ring here: all ever reported stay, at their own places."""
        self.log = np.concatenate([self.log, np.zeros_like(self.log)])
