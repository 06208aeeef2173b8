"""What a request meets at the exchange: the book as it is then, own orders in its way, a place in the queue, an end."""

import numpy as np

from bt_gym._jit import njit
from bt_gym.core import enums
from bt_gym.core.auction import collects
from bt_gym.core.fills import join
from bt_gym.core.market import find_block
from bt_gym.core.matching import cancel, cancel_all, fill, report, take, taken_at
from bt_gym.core.orders import REQUEST_CANCEL, REQUEST_CANCEL_ALL, REQUEST_NEW
from bt_gym.core.resting import find_level, height_of, leave, order_at, rest
from bt_gym.core.stops import await_trigger, elect_by_quotes, forget_stop, is_at_exchange, is_stop
from bt_gym.core.tape import KIND_MASK, LADDER_TICKS, SIDE_BIT, TICK_SHIFT


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
def is_trading(account, events) -> bool:
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
    trading = is_trading(account, events)
    if not trading and not collects(account, events, order):
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
    if rejects_own and not trading:
        return enums.REASON_SELF_MATCH
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
    waits = account["models"]["auction"] != 0 and not is_trading(account, events)  # for an uncross
    if not waits:
        _walk(account, log, market, records, events, blocks, order, ts)
    if order["leaves"] == 0:
        return
    if time_in_force == enums.TIF_IOC or time_in_force == enums.TIF_FOK:
        is_protected = order["order_type"] == enums.ORDER_MARKET or order["order_type"] == enums.ORDER_STOP
        reason = enums.REASON_PROTECTION if is_protected else enums.REASON_IOC
        cancel(account, log, order, ts, number, enums.EXEC_CANCELED, reason)
        return
    if not waits or account["models"]["self_match"] != enums.SELF_MATCH_ALLOW:
        _meet_own(account, log, order, limit, ts, number)  # those that no ladder window shows
    if order["leaves"] > 0:
        level = displayed(account, market, records, events, blocks, side, limit)
        order["ahead_known"] = level >= 0
        order["ahead"] = max(level, 0)
        order["joined_behind"] = order["ahead"]
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
def arrive(account, log, market, records, events, blocks) -> None:
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
    elif number >= 0 and events[number]["flags"] & enums.EVENT_NO_CANCEL:
        report(account, log, order, ts, number, enums.EXEC_CANCEL_REJECTED, enums.REASON_NOT_TRADING)
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
        act_elected(account, log, market, records, events, blocks, ts)


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
    if waits:
        if account["models"]["stop_on_quote"] and is_trading(account, events):
            elect_by_quotes(account, events[number])
            act_elected(account, log, market, records, events, blocks, ts)
    elif not keeps:
        _enter(account, log, market, records, events, blocks, np.int64(request["slot"]), ts)


@njit
def act_elected(account, log, market, records, events, blocks, ts: int) -> None:
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
def expire(account, log, ts: int, is_session_end: bool) -> None:
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
