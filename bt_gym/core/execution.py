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
from bt_gym.core.resting import find_level, height_of, leave, order_at, rest, see_levels
from bt_gym.core.stops import (
    FOREVER,
    SESSION_BREAK_NS,
    await_trigger,
    elect_by_quotes,
    forget_stop,
    is_at_exchange,
    is_stop,
    next_date,
)
from bt_gym.core.tape import KIND_MASK, LADDER_TICKS, MAX_TICK, SIDE_BIT, TICK_SHIFT


@njit
def _send(account, ts, kind: int, slot: int, order_id: int, price: int, size: int, trigger: int) -> None:
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
    request["trigger"] = trigger
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
def submit(
    account,
    ts: int,
    side: int,
    size: int,
    order_type: int,
    time_in_force: int,
    price: int,
    trigger: int = 0,
    expires: int = 0,
    post_only: int = 0,
) -> tuple[int, int]:
    """Sends a new order at `ts`; returns (order id, reason). It is on its way if the reason is `REASON_NONE`.

    A refused order has an id too; it never leaves the strategy's side, so no report is written for it.

    Args:
        price: limit in ticks; not read for market orders and stops without limit.
        trigger: ticks, of stops.
        expires: ns, of TIF_GTD.
        post_only: enums.POST_ONLY_*, of limit orders.
    """
    account["orders_sent"] += 1
    order_id = account["orders_sent"]
    if size < 1 or max(abs(price), abs(trigger)) >= MAX_TICK or size > 0x3FFFFFFF:
        return order_id, enums.REASON_INVALID
    slot = _free_slot(account, order_id)
    if slot < 0 or not _has_room(account):
        return order_id, enums.REASON_CAPACITY
    reason = risk.refuse(account, ts, side, size, size)
    if reason == enums.REASON_NONE:
        order = account["orders"][slot]
        order["trigger"] = trigger
        order["expires"] = expires
        order["post_only"] = post_only
        if order_type != enums.ORDER_LIMIT and order_type != enums.ORDER_STOP_LIMIT:
            price = 0
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
    order["known_triggered"] = 0
    order["known_trigger"] = order["trigger"]
    order["is_stop"] = is_stop(order)
    order["unanswered"] = 0
    account["orders_live"] += 1
    account["most_open"][side] += size
    _send(account, ts, REQUEST_NEW, slot, order_id, price, size, 0)


@njit
def request_cancel(account, ts: int, order_id: int) -> int:
    """Sends a cancel at `ts`; returns a reason. Whether it comes in time is decided at the exchange."""
    slot = _find(account, order_id)
    if slot < 0:
        return enums.REASON_UNKNOWN_ORDER
    if not _has_room(account):
        return enums.REASON_CAPACITY
    _send(account, ts, REQUEST_CANCEL, slot, order_id, 0, 0, 0)
    return enums.REASON_NONE


@njit
def request_modify(account, ts: int, order_id: int, size: int, price: int, trigger: int = enums.NO_TICK) -> int:
    """Sends a modify to `size` lots in total (filled ones included) at `price` ticks; returns a reason.

    `trigger` moves a stop that still waits when the modify arrives; `NO_TICK` leaves it where it is.
    """
    slot = _find(account, order_id)
    if slot < 0:
        return enums.REASON_UNKNOWN_ORDER
    if (
        size < 1
        or abs(price) >= MAX_TICK
        or size > 0x3FFFFFFF
        or (abs(trigger) >= MAX_TICK) != (trigger == enums.NO_TICK)
    ):
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
        _send(account, ts, REQUEST_MODIFY, slot, order_id, price, size, trigger)
    return reason


@njit
def kill(account, ts: int, reason: int = enums.REASON_KILL_SWITCH) -> None:
    """Cancels all orders, by one request, and refuses new ones from now on, both for `reason`. See `flatten`."""
    if not account["killed"]:
        account["killed"] = reason
        _send(account, ts, REQUEST_CANCEL_ALL, -1, 0, 0, 0, 0)


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
def _best_opposite(account, events, side: int) -> int:
    """Best price of the tape that an order of `side` would meet now; `NO_TICK` without one."""
    last = events[account["event"] - 1]
    return np.int64(last["ask"] if side == enums.BUY else last["bid"])


@njit
def _limit_on_arrival(account, events, order, price: int) -> int:
    """The limit in ticks that an order has once it is there: that of a market order, or a slid one, follows the book.

    `price`: as sent.
    """
    side = np.int64(order["side"])
    step = 1 - 2 * side
    best = _best_opposite(account, events, side)
    order_type = order["order_type"]
    if order_type == enums.ORDER_MARKET:
        return best + step * account["models"]["protection"]
    if order_type == enums.ORDER_MARKET_TO_LIMIT:
        return best
    if order["post_only"] == enums.POST_ONLY_SLIDE and order_type == enums.ORDER_LIMIT:
        if best != enums.NO_TICK:
            price = step * min(step * price, step * best - 1)
        if account["line_length"][1 - side] > 0:
            own = np.int64(order_at(account, 1 - side, 0)["price"])
            price = step * min(step * price, step * own - 1)
    return np.int64(price)


@njit
def _refusal(account, market, records, events, blocks, order, price: int, lots: int, ts: int) -> int:
    """Why the exchange does not take an order, or a modify to a new place, of `lots` at `price`; `REASON_NONE`."""
    if not _is_trading(account, events):
        return enums.REASON_NOT_TRADING
    if order["time_in_force"] == enums.TIF_GTD and order["expires"] <= ts:
        return enums.REASON_GOOD_TILL_DATE
    side = np.int64(order["side"])
    step = 1 - 2 * side
    best = _best_opposite(account, events, side)
    order_type = order["order_type"]
    if order_type == enums.ORDER_MARKET or order_type == enums.ORDER_MARKET_TO_LIMIT:
        if best == enums.NO_TICK:
            return enums.REASON_NO_LIQUIDITY
    elif order_type != enums.ORDER_STOP and best != enums.NO_TICK:
        collar = account["models"]["price_collar"]
        if collar >= 0 and step * price > step * best + collar:
            return enums.REASON_PRICE_COLLAR
    if is_stop(order):
        return enums.REASON_NONE
    limit = _limit_on_arrival(account, events, order, price)
    meets_own = account["line_length"][1 - side] > 0 and height_of(side, limit) >= ~account["reach"][1 - side]
    takes = meets_own or (best != enums.NO_TICK and step * limit >= step * best)
    if takes and order["post_only"] == enums.POST_ONLY_REJECT and order_type == enums.ORDER_LIMIT:
        return enums.REASON_POST_ONLY
    rejects_own = meets_own and account["models"]["self_match"] == enums.SELF_MATCH_REJECT
    if rejects_own and _gets_to_own(account, market, records, events, blocks, side, limit, lots):
        return enums.REASON_SELF_MATCH
    return enums.REASON_NONE


@njit
def _free_lots(account, market, records, events, blocks, side: int, tick: int) -> int:
    """Lots displayed at a level that this account has not taken yet; -1 when it is out of sight."""
    level = displayed(account, market, records, events, blocks, side, tick)
    return level if level < 0 else max(level - taken_at(account, side, tick), 0)


@njit
def _gets_to_own(account, market, records, events, blocks, side: int, limit: int, lots: int) -> bool:
    """Whether a taker of `lots` up to `limit` would come to an own resting order."""
    other = 1 - side
    step = 1 - 2 * side
    tick = _best_opposite(account, events, side)
    before = np.int64(0)  # lots of the tape at prices better than `tick`
    for place in range(account["line_length"][other]):
        own = order_at(account, other, place)
        price = np.int64(own["price"])
        if step * price > step * limit:
            return False
        while tick != enums.NO_TICK and step * tick < step * price and before < lots:
            before += max(_free_lots(account, market, records, events, blocks, other, tick), 0)
            tick += step
        at_level = max(np.int64(own["ahead"]) - taken_at(account, other, price), 0) if own["ahead_known"] else 0
        if before + at_level < lots:
            return True
    return False


@njit
def _can_fill(account, market, records, events, blocks, order) -> bool:
    """Whether the tape shows enough up to the order's limit to fill all of it; own orders don't count."""
    side = np.int64(order["side"])
    step = 1 - 2 * side
    tick = _best_opposite(account, events, side)
    left = np.int64(order["leaves"])
    while tick != enums.NO_TICK and left > 0 and step * tick <= step * order["price"]:
        lots = _free_lots(account, market, records, events, blocks, 1 - side, tick)
        if lots < 0:
            break
        left -= lots
        tick += step
    return left <= 0


@njit
def _enter(account, log, market, records, events, blocks, slot: int, ts: int) -> None:
    """An order with its limit (new, elected, or modified to a new place) takes what it reaches, then rests or ends."""
    order = account["orders"][slot]
    number = account["event"] - 1
    time_in_force = order["time_in_force"]
    if time_in_force == enums.TIF_FOK and not _can_fill(account, market, records, events, blocks, order):
        cancel(account, log, order, ts, number, enums.EXEC_CANCELED, enums.REASON_FOK)
        return
    side = np.int64(order["side"])
    limit = np.int64(order["price"])
    _walk(account, log, market, records, events, blocks, order, ts)
    if order["leaves"] == 0:
        return
    if time_in_force == enums.TIF_IOC or time_in_force == enums.TIF_FOK:
        is_protected = order["order_type"] == enums.ORDER_MARKET or order["order_type"] == enums.ORDER_STOP
        reason = enums.REASON_PROTECTION if is_protected else enums.REASON_IOC
        cancel(account, log, order, ts, number, enums.EXEC_CANCELED, reason)
        return
    _meet_own(account, log, order, limit, ts, number)  # those that no ladder window shows
    if order["leaves"] > 0:
        level = displayed(account, market, records, events, blocks, side, limit)
        order["ahead_known"] = level >= 0
        order["ahead"] = max(level, 0)
        order["priority"] = events[number]["end"]
        order["order_type"] = enums.ORDER_LIMIT  # whatever it was sent as
        join(order, level, np.int64(events[number]["bid"] if side == enums.BUY else events[number]["ask"]))
        account["arrivals"] += 1
        order["rank"] = account["arrivals"]
        rest(account, slot)


@njit
def _walk(account, log, market, records, events, blocks, order, ts: int) -> None:
    """A taker goes from level to level up to its limit; nothing is left of it if it is cancelled on the way."""
    number = account["event"] - 1
    side = np.int64(order["side"])
    other = 1 - side
    step = 1 - 2 * side
    limit = np.int64(order["price"])
    tick = _best_opposite(account, events, side)
    inside = limit if tick == enums.NO_TICK else step * min(step * limit, step * tick - 1)
    _meet_own(account, log, order, inside, ts, number)
    while tick != enums.NO_TICK and order["leaves"] > 0 and step * tick <= step * limit:
        level = displayed(account, market, records, events, blocks, other, tick)
        if level < 0:
            break
        gone = taken_at(account, other, tick)
        place = find_level(account, other, tick)
        while order["leaves"] > 0 and place < account["line_length"][other]:
            own = order_at(account, other, place)
            if own["price"] != tick:
                break
            before = max(np.int64(own["ahead"]) - gone, 0) if own["ahead_known"] else np.int64(0)
            before -= taken_at(account, other, tick) - gone  # taken just now
            if before >= order["leaves"]:
                break
            if account["models"]["self_match"] != enums.SELF_MATCH_CANCEL_OLDEST:
                _take(account, log, order, tick, before, level, events, ts)
            _meet(account, log, order, own, ts, number)
        _take(account, log, order, tick, level - taken_at(account, other, tick), level, events, ts)
        tick += step


@njit
def _take(account, log, order, tick: int, size: int, level: int, events, ts: int) -> None:
    """A taker gets up to `size` of the lots displayed at a level; it is cancelled when there is no place to note it."""
    size = min(np.int64(order["leaves"]), size)
    if size <= 0:
        return
    number = account["event"] - 1
    if not take(account, 1 - np.int64(order["side"]), tick, size, level, np.int64(events[number]["end"]), False):
        cancel(account, log, order, ts, number, enums.EXEC_CANCELED, enums.REASON_CAPACITY)
    else:
        fill(account, log, order, ts, number, tick, size, enums.LIQUIDITY_TAKER)


@njit
def _meet_own(account, log, order, bound: int, ts: int, number: int) -> None:
    """A taker meets all own resting orders at `bound` or better prices."""
    other = 1 - np.int64(order["side"])
    while order["leaves"] > 0 and account["line_length"][other] > 0:
        own = order_at(account, other, 0)
        if height_of(other, own["price"]) < height_of(other, bound):
            break
        _meet(account, log, order, own, ts, number)


@njit
def _meet(account, log, order, own, ts: int, number: int) -> None:
    """A taker and an own resting order come together. The policy ends at least one of them."""
    policy = account["models"]["self_match"]
    if policy == enums.SELF_MATCH_ALLOW:
        price = np.int64(own["price"])
        size = min(np.int64(order["leaves"]), np.int64(own["leaves"]))
        fill(account, log, own, ts, number, price, size, enums.LIQUIDITY_MAKER)
        fill(account, log, order, ts, number, price, size, enums.LIQUIDITY_TAKER)
        return
    if policy == enums.SELF_MATCH_CANCEL_OLDEST or policy == enums.SELF_MATCH_CANCEL_BOTH:
        cancel(account, log, own, ts, number, enums.EXEC_CANCELED, enums.REASON_SELF_MATCH)
    if policy != enums.SELF_MATCH_CANCEL_OLDEST:  # an elected stop that would have been rejected is cancelled, too
        cancel(account, log, order, ts, number, enums.EXEC_CANCELED, enums.REASON_SELF_MATCH)


@njit
def _arrive(account, log, market, records, events, blocks) -> None:
    """The oldest request reaches the exchange."""
    request = account["requests"][account["first_request"]]
    account["first_request"] = (account["first_request"] + 1) % account["requests"].shape[0]
    account["requests_live"] -= 1
    ts = request["ts_exchange"]
    number = account["event"] - 1
    if request["kind"] == REQUEST_CANCEL_ALL:
        cancel_all(account, log, ts, number, enums.EXEC_CANCELED, account["killed"])
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
        _arrive_new(account, log, market, records, events, blocks, np.int64(request["slot"]), ts)
    elif not is_at_exchange(order):
        report(account, log, order, ts, number, enums.EXEC_CANCEL_REJECTED, enums.REASON_TOO_LATE)
    elif request["kind"] == REQUEST_CANCEL:
        cancel(account, log, order, ts, number, enums.EXEC_CANCELED, enums.REASON_USER)
    else:
        _modify(account, log, market, records, events, blocks, request, ts)


@njit
def _arrive_new(account, log, market, records, events, blocks, slot: int, ts: int) -> None:
    order = account["orders"][slot]
    number = account["event"] - 1
    price, lots = np.int64(order["price"]), np.int64(order["leaves"])
    reason = _refusal(account, market, records, events, blocks, order, price, lots, ts)
    if reason != enums.REASON_NONE:
        cancel(account, log, order, ts, number, enums.EXEC_REJECTED, reason)
        return
    if not is_stop(order):
        order["price"] = _limit_on_arrival(account, events, order, price)
        report(account, log, order, ts, number, enums.EXEC_NEW, enums.REASON_NONE)
        _enter(account, log, market, records, events, blocks, slot, ts)
        return
    await_trigger(account, slot)
    report(account, log, order, ts, number, enums.EXEC_NEW, enums.REASON_NONE)
    if account["models"]["stop_on_quote"]:
        elect_by_quotes(account, events[number])
        _act_elected(account, log, market, records, events, blocks, ts)


@njit
def _modify(account, log, market, records, events, blocks, request, ts: int) -> None:
    order = account["orders"][request["slot"]]
    number = account["event"] - 1
    left = np.int64(request["size"] - order["filled"])
    price = np.int64(request["price"])
    waits = order["status"] != enums.STATUS_WORKING
    keeps = waits or (price == order["price"] and left <= order["leaves"])
    if left > 0 and not keeps:
        reason = _refusal(account, market, records, events, blocks, order, price, left, ts)
        if reason != enums.REASON_NONE:
            report(account, log, order, ts, number, enums.EXEC_CANCEL_REJECTED, reason)
            return
    order["size"] = request["size"]
    if left <= 0:
        cancel(account, log, order, ts, number, enums.EXEC_CANCELED, enums.REASON_USER)
        return
    if not keeps:
        leave(account, order)
        order["status"] = enums.STATUS_PENDING_NEW
        if order["post_only"]:
            price = _limit_on_arrival(account, events, order, price)
    order["leaves"] = left
    if waits and request["trigger"] != enums.NO_TICK:
        order["trigger"] = request["trigger"]
    if order["order_type"] != enums.ORDER_STOP or not waits:  # a stop has no limit before it is elected
        order["price"] = price
    report(account, log, order, ts, number, enums.EXEC_REPLACED, enums.REASON_USER)
    if waits and account["models"]["stop_on_quote"]:
        elect_by_quotes(account, events[number])
        _act_elected(account, log, market, records, events, blocks, ts)
    elif not keeps:
        _enter(account, log, market, records, events, blocks, np.int64(request["slot"]), ts)


@njit
def _act_elected(account, log, market, records, events, blocks, ts: int) -> None:
    """Elected stops meet the book, in the order in which they arrived."""
    number = account["event"] - 1
    place = 0
    while account["elected"] > 0:
        slot = np.int64(account["stops"][place])
        order = account["orders"][slot]
        if order["status"] != enums.STATUS_TRIGGERED:
            place += 1
            continue
        forget_stop(account, order)
        order["status"] = enums.STATUS_PENDING_NEW
        if order["order_type"] == enums.ORDER_STOP:
            step = 1 - 2 * np.int64(order["side"])
            order["price"] = order["trigger"] + step * account["models"]["protection"]
        report(account, log, order, ts, number, enums.EXEC_TRIGGERED, enums.REASON_NONE)
        _enter(account, log, market, records, events, blocks, slot, ts)


@njit
def _expire(account, log, ts: int, is_session_end: bool) -> None:
    """Ends the orders whose date has come, or the day orders."""
    number = account["event"] - 1
    for side in range(2):
        place = 0
        while place < account["line_length"][side]:
            order = order_at(account, side, place)
            place += not _expire_order(account, log, order, ts, number, is_session_end)
    place = 0
    while place < account["stops_live"]:
        order = account["orders"][account["stops"][place]]
        place += not _expire_order(account, log, order, ts, number, is_session_end)


@njit
def _expire_order(account, log, order, ts: int, number: int, is_session_end: bool) -> bool:
    if is_session_end and order["time_in_force"] == enums.TIF_DAY:
        cancel(account, log, order, ts, number, enums.EXEC_EXPIRED, enums.REASON_SESSION_END)
        return True
    if not is_session_end and order["time_in_force"] == enums.TIF_GTD and order["expires"] <= ts:
        cancel(account, log, order, ts, number, enums.EXEC_EXPIRED, enums.REASON_GOOD_TILL_DATE)
        return True
    return False


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
        first = np.int64(events[number - 1]["end"]) if number > 0 else np.int64(0)
        most = account["resting"] + np.int64(events[number]["end"]) - first  # an end each, a fill a record
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
        written = account["reports_written"]
        if account["resting"] == 0 and account["takens"] == 0 and account["stops_live"] == 0:
            account["event"] = _skip_quiet(events, account["event"], limit)
        elif is_plain:
            stop = _next_window(account, blocks, total) if account["unseen"] > 0 else total
            follow(account, log, records, events, account["event"], stop, limit)
        if account["reports_written"] == written:
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
                happen(account, log, records, events, blocks, number, ts)
                if account["elected"] > 0:
                    _act_elected(account, log, market, records, events, blocks, ts)
            elif arrival < expiry:
                _arrive(account, log, market, records, events, blocks)
            else:
                _expire(account, log, expiry, session_end < date)
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
        matching = is_matching(events, number)
        match_event(account, log, records, first, last, ts, number, matching)
        if matching and account["stops_live"] > 0 and account["models"]["stop_on_quote"]:
            elect_by_quotes(account, events[number])
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

    Requests still on their way are dropped. What the protection price doesn't reach stays open, and so does everything
    outside continuous trading. Returns whether it is done: not when the log has no room for it.
    """
    size = account["position"]["size"]
    lots = abs(size)
    room = log.shape[0] - (account["reports_written"] - account["reports_kept"])
    if room < account["resting"] + account["stops_live"] + 3 + min(lots, account["models"]["protection"] + 1):
        return False
    number = account["event"] - 1
    ts = events[number]["ts_event"]
    cancel_all(account, log, ts, number, enums.EXEC_CANCELED, enums.REASON_END_OF_DATA)
    account["requests_live"] = 0
    account["requests_timed"] = account["requests_sent"]
    for slot in range(account["orders"].shape[0]):
        account["orders"][slot]["requests"] = 0
    slot = _free_slot(account, account["orders_sent"] + 1)
    if size != 0 and slot >= 0:
        account["orders_sent"] += 1
        side = enums.SELL if size > 0 else enums.BUY
        _place(account, slot, account["orders_sent"], ts, side, lots, enums.ORDER_MARKET, enums.TIF_IOC, 0)
        account["requests"][account["first_request"]]["ts_exchange"] = ts
        _arrive(account, log, market, records, events, blocks)
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
