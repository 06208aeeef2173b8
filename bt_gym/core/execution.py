"""The exchange side of an account: market events and arriving requests in the order of time, and the news coming back.

Time runs on the exchange clock here (`ts_event`), ahead of what is received: an order sent at t arrives at
t + entry latency, after all market events up to and including that time, and its strategy learns of it one response
latency later. Reports of an account never overtake each other.
"""

from typing import Protocol

import numpy as np

from bt_gym._jit import njit
from bt_gym.core import enums
from bt_gym.core.arrival import act_elected, arrive, expire
from bt_gym.core.auction import is_uncross, uncross
from bt_gym.core.fills import change_levels, see
from bt_gym.core.impact import charge
from bt_gym.core.latency import respond, time_requests
from bt_gym.core.market import best_price, find_block, mid2
from bt_gym.core.matching import book_close, cancel_all, follow, is_matching, match_event, restore
from bt_gym.core.orders import NEVER, REQUEST_CANCEL, REQUEST_CANCEL_ALL, REQUEST_NEW, new_account, report_dtype
from bt_gym.core.positions import apply_fill
from bt_gym.core.requests import find_order, free_slot, place_order, request_cancel, request_modify, submit
from bt_gym.core.resting import height_of, order_at, see_levels
from bt_gym.core.stops import FOREVER, SESSION_BREAK_NS, elect_by_quotes, next_date
from bt_gym.core.tape import LADDER_TICKS


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
def _has_space(account, log, events, number: int, is_event: bool, is_arrival: bool) -> bool:
    """Whether the log has room for all that the next event, the next arrival, or else an expiry can write.

    A resting order of n lots writes n reports at most, its fills or its end. An arrival ends own orders (or trades with
    them), is filled once a price, and tells what becomes of it.
    """
    room = log.shape[0] - (account["reports_written"] - account["reports_kept"])
    if is_event:
        room -= number == account["next_roll"]
        first = np.int64(events[number - 1]["end"]) if number > 0 else np.int64(0)
        most = account["resting"] + np.int64(events[number]["end"]) - first  # an end each, a fill a record
        if is_uncross(account, events[number]):
            most += np.int64(events[number]["end"]) - first  # a trade may leave a part of an order on both sides
        if account["stops_live"] > 0:
            room -= _stop_reports(account)
        return room >= most or room >= _resting_lots(account)
    most = np.int64(account["resting"] + account["stops_live"])
    if is_arrival:
        request = account["requests"][account["first_request"]]
        if request["kind"] == REQUEST_CANCEL:
            return room >= 1
        most += 3
        if account["models"]["self_match"] == enums.SELF_MATCH_ALLOW:
            most += account["resting"]
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
def _stop_reports(account) -> int:
    """Most reports that the stops can write in an event: what each takes, and two on its way; those it meets end."""
    most = np.int64(account["resting"])
    for i in range(account["stops_live"]):
        most += 3 + min(account["orders"][account["stops"][i]]["leaves"], LADDER_TICKS)
    return most


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
    if order["order_type"] != enums.ORDER_LIMIT:
        return lots
    return min(lots, max(height_of(side, limit) - height_of(side, best) + 1, 0))


@njit
def run(account, log, market, records, events, blocks, until: int, stop_on_report: bool) -> tuple[int, bool]:
    """Lets the exchange work up to `until` (ns): market events over own orders, requests that arrive.

    With `stop_on_report` it stops at the time when the first undelivered report is known, if that is earlier: its
    receiver may act on it.

    Args:
        log: ring of `report_dtype`, a power of two long. It must hold what one event or one arrival writes on top of
            what is kept (from `account["reports_kept"]` on): own resting orders, plus the lots of the order that
            arrives or the prices it may reach, whichever is less, plus 3; own resting orders once more where they may
            trade with it, and three and its lots for each stop. Orders of one lot in an account of 16: 64 always do.

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
        date = next_date(account)
        limit = min(until, arrival, date)
        if account["next_roll"] < total:
            limit = min(limit, events[account["next_roll"]]["ts_event"] - 1)
        if account["resting"] == 0 and account["takens"] == 0 and account["stops_live"] == 0:
            account["event"] = _skip_quiet(events, account["event"], limit)
        elif is_plain:
            stop = min(_next_window(account, blocks, total) if account["unseen"] > 0 else total, account["next_roll"])
            follow(account, records, events, account["event"], stop, limit)
        written = account["reports_written"]
        number = account["event"]
        ts = events[number]["ts_event"] if number < total else FOREVER
        session_end = FOREVER
        if account["daily"] > 0:
            session_end = events[number - 1]["ts_event"] + SESSION_BREAK_NS
        expiry = min(date, session_end)
        now = min(ts, arrival, expiry)
        if now > until or now == FOREVER:
            return until, False
        is_event = ts == now  # the market is first at equal times
        if not _has_space(account, log, events, number, is_event, arrival < expiry):
            return until, True
        if not has_fixed_latency:
            respond(account, events, now)
        if is_event:
            if number == account["next_roll"]:
                roll(account, log, events, ts)
            happen(account, log, records, events, blocks, number, ts)
            if account["daily"] > 0 and events[number]["flags"] & enums.EVENT_CLOSED:
                expire(account, log, ts, True)
            if account["elected"] > 0:
                act_elected(account, log, market, records, events, blocks, ts)
        elif arrival < expiry:
            arrive(account, log, market, records, events, blocks)
        else:
            expire(account, log, expiry, session_end < date)
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
        if is_uncross(account, events[number]):
            uncross(account, log, records, first, last, ts, number)
        matching = is_matching(events, number)
        match_event(account, log, records, first, last, ts, number, matching)
        if matching and account["stops_live"] > 0 and account["models"]["stop_on_quote"]:
            elect_by_quotes(account, events[number])
    if not is_exact:
        change_levels(account, records, first, last, np.int64(events[number]["bid"]), np.int64(events[number]["ask"]))
    account["event"] = number + 1


@njit
def roll(account, log, events, ts: int) -> None:
    """The contract ends with the next event, at `ts` (ns): the position is closed; own orders end with the book."""
    number = account["event"]
    close_at_last(account, log, events, ts, enums.REASON_ROLL)
    account["next_roll"] = find_roll(events, number + 1)


@njit
def find_roll(events, first: int) -> int:
    """First event from `first` on with which a contract ends; `NEVER` if none does."""
    for number in range(first, events.shape[0]):
        if events[number]["flags"] & enums.EVENT_ROLL:
            return number
    return NEVER


@njit
def close_at_last(account, log, events, ts: int, reason: int) -> None:
    """Books what is left of the position as closed at the bid or ask of the last valid book, with the taker's fee.

    The market has not taken it: the report says so by its `reason`. Where there has never been a valid book, the
    position stays.
    """
    size = np.int64(account["position"]["size"])
    number = account["event"] - 1
    while number >= 0 and mid2(events[number]) == enums.NO_TICK:
        number -= 1
    if size == 0 or number < 0:
        return
    side, lots = np.int64(enums.SELL if size > 0 else enums.BUY), abs(size)
    price = best_price(events[number], 1 - side)
    account["orders_sent"] += 1
    book_close(account, log, account["orders_sent"], ts, account["event"] - 1, side, lots, price, reason)


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
        slot = find_order(account, row["order_id"])
        if slot >= 0:
            order = account["orders"][slot]
            if row["exec_type"] == enums.EXEC_NEW or row["exec_type"] == enums.EXEC_REPLACED:
                order["known_size"] += row["leaves"] - order["known_leaves"]
                order["known_price"] = row["price"]
            if row["exec_type"] == enums.EXEC_TRIGGERED:
                order["known_price"] = row["price"]
                order["known_triggered"] = 1
            order["known_leaves"] = row["leaves"]
            order["acknowledged"] = 1
            account["most_open"][order["side"]] -= order["most_leaves"]
            order["most_leaves"] -= row["size"]
            if row["exec_type"] == enums.EXEC_REPLACED or row["exec_type"] == enums.EXEC_CANCEL_REJECTED:
                order["unanswered"] -= 1
            if order["unanswered"] == 0:
                order["most_leaves"] = row["leaves"]
                order["known_trigger"] = order["trigger"]  # no modify is under way that could have moved it since
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


@njit
def close_out(account, log, market, records, events, blocks) -> bool:
    """When the data has ended: cancels all own orders and closes the position as a taker on the book that is left.

    Requests still on their way are dropped. What the book doesn't take up to the protection price, or outside of
    continuous trading, is closed at the last valid price, see `close_at_last`. Returns whether it is done: not when the
    log has no room for it.
    """
    size = account["position"]["size"]
    lots = abs(size)
    room = log.shape[0] - (account["reports_written"] - account["reports_kept"])
    if room < account["resting"] + account["stops_live"] + 4 + min(lots, account["models"]["protection"] + 1):
        return False
    number = account["event"] - 1
    ts = events[number]["ts_event"]
    cancel_all(account, log, ts, number, enums.EXEC_CANCELED, enums.REASON_END_OF_DATA)
    account["requests_live"] = 0
    account["requests_timed"] = account["requests_sent"]
    for slot in range(account["orders"].shape[0]):
        account["orders"][slot]["requests"] = 0
    slot = free_slot(account, account["orders_sent"] + 1)
    if size != 0 and slot >= 0:
        account["orders_sent"] += 1
        side = enums.SELL if size > 0 else enums.BUY
        place_order(account, slot, account["orders_sent"], ts, side, lots, enums.ORDER_MARKET, enums.TIF_IOC, 0)
        account["requests"][account["first_request"]]["ts_exchange"] = ts
        arrive(account, log, market, records, events, blocks)
    close_at_last(account, log, events, ts, enums.REASON_END_OF_DATA)
    return True


# --- doors for Python: numba takes 35 us to recognise a record that Python hands over, and 1.5 us for an array


@njit
def _submit(accounts, ts, side, size, order_type, time_in_force, price, trigger, expires, post_only):
    return submit(accounts[0], ts, side, size, order_type, time_in_force, price, trigger, expires, post_only)


@njit
def _request_cancel(accounts, ts, order_id):
    return request_cancel(accounts[0], ts, order_id)


@njit
def _request_modify(accounts, ts, order_id, size, price, trigger):
    return request_modify(accounts[0], ts, order_id, size, price, trigger)


@njit
def _run(accounts, log, markets, records, events, blocks, until, stop_on_report):
    return run(accounts[0], log, markets[0], records, events, blocks, until, stop_on_report)


@njit
def _close_out(accounts, log, markets, records, events, blocks):
    return close_out(accounts[0], log, markets[0], records, events, blocks)


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
    @property
    def expires_at(self) -> int: ...  # ns, of TIF_GTD
    @property
    def post_only(self) -> int: ...


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

    def process_order_request(self, request: Request, ts: int, price: int = 0, trigger: int = 0) -> tuple[int, int]:
        """Sends an order at `ts` (ns) with its limit `price` and, of a stop, its `trigger` in ticks.

        Returns:
            (order id, reason or `REASON_NONE`).
        """
        return _submit(
            self.account,
            ts,
            int(request.side),
            int(request.size),
            int(request.order_type),
            int(request.time_in_force),
            price,
            trigger,
            int(request.expires_at),
            int(request.post_only),
        )

    def process_cancel(self, order_id: int, ts: int) -> int:
        """Sends a cancel at `ts` (ns); returns a reason or `REASON_NONE`."""
        return _request_cancel(self.account, ts, order_id)

    def process_modify(self, order_id: int, size: int, price: int, ts: int, trigger: int = enums.NO_TICK) -> int:
        """Sends a modify at `ts` (ns) to `size` total lots at `price` ticks and, of a stop, another `trigger`.

        Returns:
            A reason or `REASON_NONE`.
        """
        return _request_modify(self.account, ts, order_id, size, price, trigger)

    def expect_rolls(self, events: np.ndarray) -> None:
        """Looks for contracts that end under the symbol of a tape; to be called before its first event."""
        self.account["next_roll"] = find_roll(events, 0)

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

    def close_out(self, session: Session) -> None:
        """At the end of the data, once the exchange is there: see the kernel of this name."""
        tape = session.records, session.events, session.blocks
        while not _close_out(self.account, self.log, self.market, *tape):
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
