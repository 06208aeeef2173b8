"""What the recorded market does to own resting orders: the replay rule, event by event at exchange time.

An own order needs one number, `ahead`, the displayed size before it. A later record of its level concerns a place ahead
of it if and only if the record's `priority` is below the order's: exact, without ids or a queue. Fills: the aggressor's
volume less what recorded fills ahead took, once nobody is ahead or somebody behind was filled; a trade through the
price fills at the own limit. `docs/simulation.md` derives the rule and lists what is assumed.
"""

import numpy as np

from bt_gym._jit import lowest_bit, njit
from bt_gym.core import enums
from bt_gym.core.fees import fee_of
from bt_gym.core.fills import entitle, share
from bt_gym.core.impact import charge
from bt_gym.core.orders import FAR_LEVEL, NO_REACH
from bt_gym.core.positions import apply_fill
from bt_gym.core.resting import find_level, height_of, is_own_level, leave, order_at
from bt_gym.core.stops import (
    FOREVER,
    SESSION_BREAK_NS,
    elect,
    forget_stop,
    nearest_triggers,
    reached_by_quotes,
)
from bt_gym.core.tape import GONE_BIT, KIND_MASK, SIDE_BIT, TICK_SHIFT

_SIDE_SHIFT = SIDE_BIT.bit_length() - 1
_BITS = 62  # of a mask of records


@njit
def report(account, log, order, ts: int, event: int, exec_type: int, reason: int) -> None:
    """Writes an execution report that brings no fill."""
    order_id, side, leaves = order["order_id"], order["side"], order["leaves"]
    row = _next_report(account, log, ts, event, exec_type, reason, order_id, side, leaves)
    _report_fill(row, order["price"], 0, enums.LIQUIDITY_NONE, 0, 0)


@njit
def _next_report(account, log, ts: int, event: int, exec_type: int, reason: int, order_id: int, side: int, leaves: int):
    # The log is a ring for an environment; a backtest makes it longer before it would wrap.
    row = log[account["reports_written"] & (log.shape[0] - 1)]
    known = max(ts + account["models"]["response_latency"] + account["response_extra"], account["last_known"])
    account["last_known"] = known
    account["reports_written"] += 1
    row["ts_exchange"] = ts
    row["ts_known"] = known
    row["event"] = event
    row["exec_type"] = exec_type
    row["reason"] = reason
    row["order_id"] = order_id
    row["side"] = side
    row["leaves"] = leaves
    return row


@njit
def _report_fill(row, price: int, size: int, liquidity: int, fee: int, impact: int) -> None:
    row["price"] = price
    row["size"] = size
    row["liquidity"] = liquidity
    row["fee"] = fee
    row["impact"] = impact


@njit
def fill(account, log, order, ts: int, event: int, price: int, size: int, liquidity: int) -> None:
    """Books a fill of an own order at the exchange; a resting order that is done leaves the book."""
    models = account["models"]
    side, size, price, impact = np.int64(order["side"]), np.int64(size), np.int64(price), np.int64(0)
    fee = fee_of(models, account["position"]["volume"], size, price, liquidity, order["filled"] == 0)
    if liquidity == enums.LIQUIDITY_TAKER and models["impact"]["model"] != enums.IMPACT_NONE:
        footprint, order_id = account["footprint"], order["order_id"]
        impact = charge(models["impact"], footprint, models["tick_value"], order_id, side, ts, price, size)
    if liquidity == enums.LIQUIDITY_MAKER:
        account["queued"] += size * np.int64(order["joined_behind"])
    order["filled"] += size
    order["leaves"] -= size
    apply_fill(account["position"], side, size, price, models["tick_value"], fee, impact)
    order_id, leaves = order["order_id"], order["leaves"]
    row = _next_report(account, log, ts, event, enums.EXEC_TRADE, enums.REASON_NONE, order_id, side, leaves)
    _report_fill(row, price, size, liquidity, fee, impact)
    if order["leaves"] == 0:
        finish(account, order)


@njit
def book_close(account, log, order_id, ts, event, side: int, size: int, price: int, reason: int) -> None:
    """Books the closing of a position that no order in the book has brought about, and reports it as a taker's fill."""
    models = account["models"]
    fee = fee_of(models, account["position"]["volume"], size, price, enums.LIQUIDITY_TAKER, True)
    apply_fill(account["position"], side, size, price, models["tick_value"], fee, 0)
    row = _next_report(account, log, ts, event, enums.EXEC_TRADE, reason, order_id, side, 0)
    _report_fill(row, price, size, enums.LIQUIDITY_TAKER, fee, 0)


@njit
def finish(account, order) -> None:
    """The order is over at the exchange. Its slot is freed when the strategy has learned of it."""
    if order["status"] == enums.STATUS_WORKING:
        leave(account, order)
    elif order["status"] == enums.STATUS_UNTRIGGERED or order["status"] == enums.STATUS_TRIGGERED:
        forget_stop(account, order)
    order["leaves"] = 0
    order["status"] = enums.STATUS_DONE


@njit
def cancel(account, log, order, ts: int, event: int, exec_type: int, reason: int) -> None:
    """Ends an order and says why."""
    finish(account, order)
    report(account, log, order, ts, event, exec_type, reason)


@njit
def cancel_all(account, log, ts: int, event: int, exec_type: int, reason: int) -> None:
    """Ends all own orders there: bids, then asks, in the order in which they would have been filled, then stops."""
    for side in range(2):
        while account["line_length"][side] > 0:
            cancel(account, log, order_at(account, side, 0), ts, event, exec_type, reason)
    while account["stops_live"] > 0:
        cancel(account, log, account["orders"][account["stops"][0]], ts, event, exec_type, reason)


@njit
def _open_trade(account, log, ts: int, event: int, side: int, tick: int, volume: int) -> None:
    """A trade meets the resting side: own orders at better prices come first, the rest is for the level."""
    height = height_of(side, tick)
    while volume > 0 and account["line_length"][side] > 0:
        order = order_at(account, side, 0)
        if height_of(side, order["price"]) <= height:
            break
        size = min(np.int64(order["leaves"]), volume)
        volume -= size
        fill(account, log, order, ts, event, np.int64(order["price"]), size, enums.LIQUIDITY_MAKER)
    account["trade_side"] = side
    account["trade_tick"] = tick
    account["trade_volume"] = volume
    for place in range(find_level(account, side, tick), account["line_length"][side]):
        order = order_at(account, side, place)
        if order["price"] != tick:
            break
        order["trade_ahead"] = 0
        order["behind_hit"] = 0


@njit
def _settle(account, log, ts: int, event: int) -> None:
    """The trade under way has named its fills: own orders at its price get what is left for them."""
    side = np.int64(account["trade_side"])
    if side < 0:
        return
    account["trade_side"] = -1
    tick = np.int64(account["trade_tick"])
    volume = np.int64(account["trade_volume"])
    taken = np.int64(0)
    place = find_level(account, side, tick)
    is_exact = account["models"]["fills"]["model"] == enums.FILL_FIFO
    while volume > taken and place < account["line_length"][side]:
        order = order_at(account, side, place)
        if order["price"] != tick:
            break
        size = np.int64(0)
        if (order["ahead_known"] and order["ahead"] <= 0) or order["behind_hit"]:
            size = volume - order["trade_ahead"] - taken
        if not is_exact:
            size = share(order, size, volume - taken)
        size = min(np.int64(order["leaves"]), size)
        if size > 0:
            taken += size
            fill(account, log, order, ts, event, tick, size, enums.LIQUIDITY_MAKER)
        place += order["leaves"] > 0  # else the next one has moved up


@njit
def _queue(account, side: int, tick: int, kind: int, size: int, priority: int) -> None:
    """A record changes a level at which own orders rest."""
    line, orders = account["line"], account["orders"]
    for place in range(find_level(account, side, tick), account["line_length"][side]):
        order = orders[line[side, place]]
        if order["price"] != tick:
            return
        ahead = kind != enums.RECORD_ADD and priority < order["priority"]
        if kind == enums.RECORD_FILL or kind == enums.RECORD_HIDDEN:
            if ahead:
                order["trade_ahead"] += abs(size)
            else:
                order["behind_hit"] = 1
        if kind != enums.RECORD_HIDDEN:
            if order["ahead_known"]:
                if ahead:
                    order["ahead"] += size
            elif not ahead:  # until the level is seen, count what stands behind: ahead = displayed - behind
                order["ahead"] -= size


@njit
def follow(account, records, events, first: int, stop: int, until: int) -> None:
    """Runs events from number `first` to `stop` (not included) as long as they happen by `until` (ns) and only move
    queues; ends before the first that may do more. With day orders at work it also ends before one that begins a
    session.

    The market is elsewhere most of the time. So one short loop over the events' own facts and one over the records, in
    place of one that asks everything of every record.
    """
    last = _count_calm(account, records, events, first, stop, until)
    start = np.int64(events[first - 1]["end"]) if first > 0 else np.int64(0)
    end = np.int64(events[last - 1]["end"]) if last > first else start
    cleared = _move_queues(account, records, start, end)
    while last > first and np.int64(events[last - 1]["end"]) > cleared:
        last -= 1
    end = np.int64(events[last - 1]["end"]) if last > first else start
    if _touch_takens(account, records, start, end):
        for number in range(first, last):
            _follow_takens(account, records, start, np.int64(events[number]["end"]))
            start = np.int64(events[number]["end"])
    account["event"] = last


@njit
def _count_calm(account, records, events, first: int, stop: int, until: int) -> int:
    """First event from `first` on that is not before `stop`, not by `until` (ns), or may do more than move queues.

    What came in at or through an own price and is still there is the best price that the event leaves.
    """
    ends = account["daily"] > 0
    longest = SESSION_BREAK_NS if ends else FOREVER
    bid_reach = np.int64(account["reach"][enums.BID])
    ask_reach = np.int64(account["reach"][enums.ASK])
    own_bid = bid_reach if account["models"]["fill_on_cross"] else np.int64(NO_REACH)
    own_ask = ~ask_reach if account["models"]["fill_on_cross"] else np.int64(~NO_REACH)
    buy, sell = nearest_triggers(account)
    by_quotes = account["stops_live"] > 0 and account["models"]["stop_on_quote"]
    previous = events[first - 1]["ts_event"] if first > 0 else np.int64(0)
    unusual = 1 << enums.PHASE_SNAPSHOT | np.int64(account["models"]["auction"]) << enums.PHASE_AUCTION
    number = first
    while number < stop:
        event = events[number]
        ts, flags, bid, ask = event["ts_event"], event["flags"], event["bid"], event["ask"]
        if (ts > until) | (unusual >> (flags & enums.PHASE_MASK) & 1 != 0) | (ts - previous > longest):
            break
        if (bid >= own_ask) | ((ask <= own_bid) & (ask != enums.NO_TICK)) | (flags & enums.EVENT_TRADE != 0):
            if bid >= own_ask or (ask <= own_bid and ask != enums.NO_TICK):
                break
            start = np.int64(events[number - 1]["end"]) if number > 0 else np.int64(0)
            if _has_trade(records, start, np.int64(event["end"]), bid_reach, ask_reach, buy, sell):
                break
        if by_quotes and reached_by_quotes(event, buy, sell):
            break
        if ends and flags & enums.EVENT_CLOSED:
            break
        previous = ts
        number += 1
    return number


@njit
def _has_trade(records, first: int, last: int, bid_reach: int, ask_reach: int, buy: int, sell: int) -> bool:
    """Whether an aggressor of records `first:last` gets to an own order's price, or a trade to a trigger."""
    for i in range(first, last):
        key = records[i]["key"]
        kind = key & KIND_MASK
        if kind == enums.RECORD_TRADE or kind == enums.RECORD_TRADE_N:
            side = 1 if key & SIDE_BIT else 0
            tick = np.int64(key >> TICK_SHIFT)
            if tick >= buy or tick <= sell:
                return True
            if kind == enums.RECORD_TRADE and height_of(side, tick) <= (ask_reach if side else bid_reach):
                return True
    return False


@njit
def _move_queues(account, records, first: int, last: int) -> int:
    """Records `first:last`, of events without own trades, change levels at which own orders rest.

    Returns the first one that clears the book, where it stops; `last` without one. Records of own levels are first
    noted, a few at a time, without a branch: one that depends on the side or the level is guessed wrong too often.
    """
    bid_reach = np.int64(account["reach"][enums.BID])
    bid_levels = account["levels"][enums.BID]
    other_reach = bid_reach ^ account["reach"][enums.ASK]
    other_levels = bid_levels ^ account["levels"][enums.ASK]
    least = enums.RECORD_ADD if account["unseen"] > 0 else enums.RECORD_DEL
    for begin in range(first, last, _BITS):
        noted = np.int64(0)
        for i in range(begin, min(begin + _BITS, last)):
            key = np.int64(records[i]["key"])
            kind = key & KIND_MASK
            flip = -(key >> _SIDE_SHIFT & 1)  # all bits of an ask's record
            distance = (bid_reach ^ (other_reach & flip)) - ((key >> TICK_SHIFT) ^ flip)
            is_own = (bid_levels ^ (other_levels & flip)) >> min(max(distance, 0), FAR_LEVEL) & 1
            moves = (is_own != 0) & (distance >= 0) & (kind >= least) & (kind <= enums.RECORD_FILL)
            noted |= np.int64(moves | (kind == enums.RECORD_CLEAR)) << (i - begin)
        while noted != 0:
            i = begin + lowest_bit(noted)
            noted &= noted - 1
            key = np.int64(records[i]["key"])
            kind = key & KIND_MASK
            if kind == enums.RECORD_CLEAR:
                return i
            side = key >> _SIDE_SHIFT & 1
            _queue(account, side, key >> TICK_SHIFT, kind, records[i]["size"], records[i]["priority"])
    return last


@njit
def _touch_takens(account, records, first: int, last: int) -> bool:
    """Whether some of records `first:last` may change liquidity that this account has taken."""
    for entry in range(account["takens"]):
        taken = account["taken"][entry]
        level = np.int64(taken["tick"]) << TICK_SHIFT | np.int64(taken["side"]) << _SIDE_SHIFT
        for i in range(first, last):
            if taken["is_order"]:
                touches = records[i]["priority"] == taken["priority"]
            else:
                touches = (np.int64(records[i]["key"]) ^ level) & ~np.int64(KIND_MASK | GONE_BIT) == 0
            if touches:
                return True
    return False


@njit
def _follow_takens(account, records, first: int, last: int) -> None:
    """Records `first:last` of one event change liquidity that this account has taken."""
    gone = False
    for i in range(first, last):
        key = records[i]["key"]
        side, tick = 1 if key & SIDE_BIT else 0, np.int64(key >> TICK_SHIFT)
        size, priority = records[i]["size"], records[i]["priority"]
        gone |= _follow_taken(account, i, key & KIND_MASK, side, tick, size, priority, key & GONE_BIT)
    if gone:
        _drop_taken(account)


@njit
def is_matching(events, number: int) -> bool:
    """Whether own orders can trade in event `number`: in continuous trading that goes on, or that an uncross opened."""
    if events[number]["flags"] & enums.PHASE_MASK != enums.PHASE_CONTINUOUS or number == 0:
        return False
    before = events[number - 1]["flags"] & enums.PHASE_MASK
    return before == enums.PHASE_CONTINUOUS or before == enums.PHASE_AUCTION


@njit
def match_event(account, log, records, first: int, last: int, ts: int, event: int, matching: bool) -> None:
    """Runs event number `event`, tape records `first:last`, over the own resting orders.

    Args:
        matching: the market was in continuous trading before the event and is after it; else only queues move.
    """
    crossing = False
    for i in range(first, last):
        key = records[i]["key"]
        kind = key & KIND_MASK
        side = 1 if key & SIDE_BIT else 0
        tick = key >> TICK_SHIFT
        if kind == enums.RECORD_TRADE:
            _settle(account, log, ts, event)
            if matching and account["stops_live"] > 0:
                elect(account, tick, tick)
            if matching and height_of(side, tick) <= account["reach"][side]:
                _open_trade(account, log, ts, event, side, np.int64(tick), np.int64(records[i]["size"]))
                if account["models"]["fills"]["model"] != enums.FILL_FIFO:
                    entitle(account, records, first, i, event)
            continue
        if kind == enums.RECORD_TRADE_N:  # meets no level: its fills, if any, only move queues
            _settle(account, log, ts, event)
            if matching and account["stops_live"] > 0:
                elect(account, tick, tick)
            continue
        if kind == enums.RECORD_CLEAR:
            _settle(account, log, ts, event)
            _cleared(account, log, ts, event)
            continue
        if account["takens"] > 0:
            _follow_taken(account, i, kind, side, tick, records[i]["size"], records[i]["priority"], key & GONE_BIT)
        crossing |= kind == enums.RECORD_ADD and height_of(side, tick) >= ~account["reach"][1 - side]
        if is_own_level(account, side, tick):
            own_level = side == account["trade_side"] and tick == account["trade_tick"]
            if own_level and kind != enums.RECORD_FILL and kind != enums.RECORD_HIDDEN:
                _settle(account, log, ts, event)
            _queue(account, side, tick, kind, records[i]["size"], records[i]["priority"])
    _settle(account, log, ts, event)
    if crossing and matching and account["models"]["fill_on_cross"]:
        _cross(account, log, records, first, last, ts, event)
    if account["takens"] > 0:
        _drop_taken(account)


@njit
def _cleared(account, log, ts: int, event: int) -> None:
    """The exchange has dropped all resting orders, own ones included."""
    cancel_all(account, log, ts, event, enums.EXEC_EXPIRED, enums.REASON_BOOK_CLEARED)
    account["takens"] = 0


@njit
def restore(account, records, first: int, last: int) -> None:
    """A snapshot replaces the book (midnight of a session that goes on): own orders keep what is ahead of them.

    Their priority becomes that of the first restored order before which more than `ahead` lots stand with it. Should
    the snapshot differ from the book so far, `ahead` becomes what stands before that order. Where nothing is known,
    everything restored is ahead.
    """
    for side in range(2):
        for place in range(account["line_length"][side]):
            order = order_at(account, side, place)
            ahead = np.int64(0)
            priority = last
            for i in range(first, last):
                key = records[i]["key"]
                kind = key & KIND_MASK
                if kind == enums.RECORD_CLEAR:  # a snapshot that begins again
                    ahead = np.int64(0)
                    priority = last
                elif (
                    kind == enums.RECORD_RESTORE
                    and priority == last
                    and key >> TICK_SHIFT == order["price"]
                    and (1 if key & SIDE_BIT else 0) == side
                ):
                    if order["ahead_known"] and ahead + records[i]["size"] > order["ahead"]:
                        priority = i
                    else:
                        ahead += records[i]["size"]
            order["ahead"] = ahead if order["ahead_known"] else 0
            order["priority"] = priority
    account["takens"] = 0


@njit
def _cross(account, log, records, first: int, last: int, ts: int, event: int) -> None:
    """Opposite orders that came in at or through an own order's price: they would have met it.

    What of them is still there at the end of the event fills own orders at their limits, and is then taken: the order
    that filled us does not fill us again, wherever it moves.
    """
    for i in range(first, last):
        key = records[i]["key"]
        if key & KIND_MASK != enums.RECORD_ADD:
            continue
        own_side = 0 if key & SIDE_BIT else 1
        tick = np.int64(key >> TICK_SHIFT)
        left = np.int64(records[i]["size"])
        for j in range(i + 1, last):
            kind = records[j]["key"] & KIND_MASK
            if records[j]["priority"] == i and (kind == enums.RECORD_DEL or kind == enums.RECORD_FILL):
                left += records[j]["size"]
        left -= _taken_of_order(account, i)
        while left > 0 and account["line_length"][own_side] > 0:
            order = order_at(account, own_side, 0)
            if height_of(own_side, order["price"]) < height_of(own_side, tick):
                break
            size = min(np.int64(order["leaves"]), left)
            if not take(account, 1 - own_side, tick, size, left, i, True):
                break
            left -= size
            fill(account, log, order, ts, event, np.int64(order["price"]), size, enums.LIQUIDITY_MAKER)


@njit
def take(account, side: int, tick: int, size: int, displayed: int, priority: int, is_order: bool) -> bool:
    """Notes that `size` lots of the tape's liquidity are gone for this account; False when the table is full.

    Args:
        displayed: lots on the tape at the level (or of the order) now.
        priority: of the order, or the tape's next record: what stands before it is the liquidity that was there.
    """
    for i in range(account["takens"]):
        entry = account["taken"][i]
        if is_order and entry["is_order"] and entry["priority"] == priority:
            entry["lots"] += size
            return True
        if not is_order and not entry["is_order"] and entry["side"] == side and entry["tick"] == tick:
            entry["lots"] += size
            entry["old"] = displayed
            entry["priority"] = priority
            return True
    if account["takens"] == account["taken"].shape[0]:
        return False
    entry = account["taken"][account["takens"]]
    entry["side"] = side
    entry["tick"] = tick
    entry["lots"] = size
    entry["old"] = displayed
    entry["priority"] = priority
    entry["is_order"] = is_order
    account["takens"] += 1
    return True


@njit
def taken_at(account, side: int, tick: int) -> int:
    """Lots displayed at the level on the tape that this account has taken already."""
    lots = np.int64(0)
    for i in range(account["takens"]):
        entry = account["taken"][i]
        if entry["side"] == side and entry["tick"] == tick:
            lots += entry["lots"]
    return lots


@njit
def _taken_of_order(account, priority: int) -> int:
    for i in range(account["takens"]):
        entry = account["taken"][i]
        if entry["is_order"] and entry["priority"] == priority:
            return np.int64(entry["lots"])
    return np.int64(0)


@njit
def _follow_taken(account, number, kind: int, side: int, tick: int, size: int, priority: int, gone: int) -> bool:
    """A record of the tape changes liquidity that this account has taken; returns whether an entry may be over.

    At a level it is assumed that what leaves was not what we took, as long as there is other old size: liquidity stays
    taken rather too long than too short.
    """
    over = False
    for i in range(account["takens"]):
        entry = account["taken"][i]
        if kind == enums.RECORD_ADD:
            if entry["is_order"] and entry["priority"] == priority and priority != number:  # it moves: so do we
                entry["priority"] = number
                entry["tick"] = tick
                entry["side"] = side
                entry["old"] = size
                entry["lots"] = min(entry["lots"], size)
        elif kind == enums.RECORD_DEL or kind == enums.RECORD_FILL:
            if entry["is_order"]:
                if entry["priority"] == priority:
                    entry["old"] = 0 if gone else entry["old"] + size
                    if not gone:
                        entry["lots"] = min(entry["lots"], entry["old"])
                    over |= entry["old"] <= 0
            elif entry["side"] == side and entry["tick"] == tick and priority < entry["priority"]:
                entry["old"] += size
                entry["lots"] = max(0, min(entry["lots"], entry["old"]))
                over |= entry["lots"] == 0
    return over


@njit
def _drop_taken(account) -> None:
    """At the end of an event: forgets what has left the tape; an order that is gone and did not move has."""
    live = 0
    for i in range(account["takens"]):
        entry = account["taken"][i]
        if entry["lots"] > 0 and not (entry["is_order"] and entry["old"] == 0):
            if live < i:
                account["taken"][live] = entry
            live += 1
    account["takens"] = live
