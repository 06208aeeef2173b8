"""What the recorded market does to own resting orders: the replay rule, event by event at exchange time.

An own order needs one number, `ahead`, the displayed size before it. A later record of its level concerns a place ahead
of it if and only if the record's `priority` is below the order's: exact, without ids or a queue. Fills: the aggressor's
volume less what recorded fills ahead took, once nobody is ahead or somebody behind was filled; a trade through the
price fills at the own limit. `docs/simulation.md` derives the rule and lists what is assumed.
"""

import numpy as np

from bt_gym._jit import njit
from bt_gym.core import enums
from bt_gym.core.positions import apply_fill
from bt_gym.core.tape import GONE_BIT, KIND_MASK, LADDER_TICKS, SIDE_BIT, TICK_SHIFT

_LARGEST = 0x7FFFFFFF


@njit
def report(account, log, order, ts: int, event: int, exec_type: int, reason: int) -> None:
    """Writes an execution report that brings no fill."""
    _write(account, log, order, ts, event, exec_type, reason, order["price"], 0, enums.LIQUIDITY_NONE, 0)


@njit
def _write(account, log, order, ts, event, exec_type, reason, price, size, liquidity, fee) -> None:
    # The log is a ring for an environment; a backtest makes it longer before it would wrap.
    row = log[account["reports_written"] & (log.shape[0] - 1)]
    known = max(ts + account["models"]["response_latency"], account["last_known"])
    account["last_known"] = known
    account["reports_written"] += 1
    row["ts_exchange"] = ts
    row["ts_known"] = known
    row["order_id"] = order["order_id"]
    row["fee"] = fee
    row["event"] = event
    row["price"] = price
    row["size"] = size
    row["leaves"] = order["leaves"]
    row["side"] = order["side"]
    row["exec_type"] = exec_type
    row["reason"] = reason
    row["liquidity"] = liquidity


@njit
def fill(account, log, order, ts: int, event: int, price: int, size: int, liquidity: int) -> None:
    """Books a fill of an own order at the exchange; a resting order that is done leaves the book."""
    models = account["models"]
    fee = (models["maker_fee"] if liquidity == enums.LIQUIDITY_MAKER else models["taker_fee"]) * size
    order["filled"] += size
    order["leaves"] -= size
    apply_fill(
        account["position"],
        np.int64(order["side"]),
        np.int64(size),
        np.int64(price),
        models["tick_value"],
        np.int64(fee),
    )
    _write(account, log, order, ts, event, enums.EXEC_TRADE, enums.REASON_NONE, price, size, liquidity, fee)
    if order["leaves"] == 0:
        finish(account, order)


@njit
def finish(account, order) -> None:
    """The order is over at the exchange. Its slot is freed when the strategy has learned of it."""
    was_resting = order["status"] == enums.STATUS_WORKING
    order["leaves"] = 0
    order["status"] = enums.STATUS_DONE
    if was_resting:
        account["resting"] -= 1
        set_bounds(account)


@njit
def cancel(account, log, order, ts: int, event: int, exec_type: int, reason: int) -> None:
    """Ends an order and says why."""
    finish(account, order)
    report(account, log, order, ts, event, exec_type, reason)


@njit
def set_bounds(account) -> None:
    """Price range of the own resting orders per side, so that most records cost two compares."""
    bid_high, bid_low, ask_low, ask_high = -_LARGEST - 1, _LARGEST, _LARGEST, -_LARGEST - 1
    for slot in range(account["orders"].shape[0]):
        order = account["orders"][slot]
        if order["status"] != enums.STATUS_WORKING:
            continue
        price = order["price"]
        if order["side"] == enums.BUY:
            bid_high, bid_low = max(bid_high, price), min(bid_low, price)
        else:
            ask_low, ask_high = min(ask_low, price), max(ask_high, price)
    account["bid_high"] = bid_high
    account["bid_low"] = bid_low
    account["ask_low"] = ask_low
    account["ask_high"] = ask_high


@njit
def cancel_all(account, log, ts: int, event: int, exec_type: int, reason: int) -> None:
    """Ends all own resting orders: bids, then asks, each in the order in which they would have been filled."""
    for side in range(2):
        worst = -_LARGEST if side == enums.BUY else _LARGEST
        while True:
            slot = next_in_line(account, side, worst, -worst, np.int64(-1))
            if slot < 0:
                break
            cancel(account, log, account["orders"][slot], ts, event, exec_type, reason)


@njit
def next_in_line(account, side: int, worst: int, after_price: int, after_rank: int) -> int:
    """Slot of the own resting order that comes next by price, then arrival; -1 when none is left.

    Considers orders of `side` at `worst` or better that come behind (`after_price`, `after_rank`).
    """
    sign = 1 if side == enums.BUY else -1
    found = -1
    for slot in range(account["orders"].shape[0]):
        order = account["orders"][slot]
        if order["status"] != enums.STATUS_WORKING or order["side"] != side:
            continue
        price = sign * np.int64(order["price"])
        if price < sign * worst or price > sign * after_price:
            continue
        if price == sign * after_price and order["rank"] <= after_rank:
            continue
        if found >= 0:
            best = account["orders"][found]
            best_price = sign * np.int64(best["price"])
            if price < best_price or (price == best_price and order["rank"] > best["rank"]):
                continue
        found = slot
    return found


@njit
def _open_trade(account, log, ts: int, event: int, side: int, tick: int, volume: int) -> None:
    """A trade meets the resting side: own orders at better prices come first, the rest is for the level."""
    inside = tick + 1 if side == enums.BUY else tick - 1
    price, rank = _LARGEST if side == enums.BUY else -_LARGEST, np.int64(-1)
    while volume > 0:
        slot = next_in_line(account, side, inside, price, rank)
        if slot < 0:
            break
        order = account["orders"][slot]
        price, rank = np.int64(order["price"]), order["rank"]
        size = min(np.int64(order["leaves"]), volume)
        volume -= size
        fill(account, log, order, ts, event, price, size, enums.LIQUIDITY_MAKER)
    account["trade_side"] = side
    account["trade_tick"] = tick
    account["trade_volume"] = volume
    for slot in range(account["orders"].shape[0]):
        order = account["orders"][slot]
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
    rank = np.int64(-1)
    while volume > taken:
        slot = next_in_line(account, side, tick, tick, rank)
        if slot < 0:
            break
        order = account["orders"][slot]
        rank = order["rank"]
        if (order["ahead_known"] and order["ahead"] <= 0) or order["behind_hit"]:
            size = min(np.int64(order["leaves"]), volume - order["trade_ahead"] - taken)
            if size > 0:
                taken += size
                fill(account, log, order, ts, event, tick, size, enums.LIQUIDITY_MAKER)


@njit
def _queue(account, side: int, tick: int, kind: int, size: int, priority: int) -> None:
    """A record changes a level at which own orders rest."""
    for slot in range(account["orders"].shape[0]):
        order = account["orders"][slot]
        if order["status"] != enums.STATUS_WORKING or order["price"] != tick or order["side"] != side:
            continue
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
            if matching and (tick <= account["bid_high"] if side == enums.BID else tick >= account["ask_low"]):
                _open_trade(account, log, ts, event, side, np.int64(tick), np.int64(records[i]["size"]))
            continue
        if kind == enums.RECORD_TRADE_N:  # meets no level: its fills, if any, only move queues
            _settle(account, log, ts, event)
            continue
        if kind == enums.RECORD_CLEAR:
            _settle(account, log, ts, event)
            _cleared(account, log, ts, event)
            continue
        if account["takens"] > 0:
            _follow_taken(account, i, kind, side, tick, records[i]["size"], records[i]["priority"], key & GONE_BIT)
        if side == enums.BID:
            near = account["bid_low"] <= tick <= account["bid_high"]
            crossing |= kind == enums.RECORD_ADD and tick >= account["ask_low"]
        else:
            near = account["ask_low"] <= tick <= account["ask_high"]
            crossing |= kind == enums.RECORD_ADD and tick <= account["bid_high"]
        if near:
            own_level = side == account["trade_side"] and tick == account["trade_tick"]
            if own_level and kind != enums.RECORD_FILL and kind != enums.RECORD_HIDDEN:
                _settle(account, log, ts, event)
            _queue(account, side, tick, kind, records[i]["size"], records[i]["priority"])
    _settle(account, log, ts, event)
    if crossing and matching and account["models"]["fill_on_cross"]:
        _cross(account, log, records, first, last, ts, event)
    if account["takens"] > 0:
        _drop_taken(account, True)


@njit
def _cleared(account, log, ts: int, event: int) -> None:
    """The exchange has dropped all resting orders, own ones included."""
    cancel_all(account, log, ts, event, enums.EXEC_EXPIRED, enums.REASON_BOOK_CLEARED)
    account["taken"]["lots"][:] = 0
    account["takens"] = 0


@njit
def restore(account, records, first: int, last: int) -> None:
    """A snapshot replaces the book (midnight of a session that goes on): own orders keep what is ahead of them.

    Their priority becomes that of the first restored order before which more than `ahead` lots stand with it. Should
    the snapshot differ from the book so far, `ahead` becomes what stands before that order. Where nothing is known,
    everything restored is ahead.
    """
    for slot in range(account["orders"].shape[0]):
        order = account["orders"][slot]
        if order["status"] != enums.STATUS_WORKING:
            continue
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
                and (1 if key & SIDE_BIT else 0) == order["side"]
            ):
                if order["ahead_known"] and ahead + records[i]["size"] > order["ahead"]:
                    priority = i
                else:
                    ahead += records[i]["size"]
        order["ahead"] = ahead if order["ahead_known"] else 0
        order["priority"] = priority
    account["taken"]["lots"][:] = 0
    account["takens"] = 0


@njit
def see_levels(account, block) -> None:
    """A new ladder window: own orders whose level it shows learn what is ahead of them."""
    for slot in range(account["orders"].shape[0]):
        order = account["orders"][slot]
        offset = order["price"] - block["base"]
        if order["status"] == enums.STATUS_WORKING and not order["ahead_known"] and 0 <= offset < LADDER_TICKS:
            order["ahead"] += block["ladder"][order["side"], offset]
            order["ahead_known"] = 1


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
        price, rank = _LARGEST if own_side == enums.BUY else -_LARGEST, np.int64(-1)
        while left > 0:
            slot = next_in_line(account, own_side, tick, price, rank)
            if slot < 0:
                break
            order = account["orders"][slot]
            price, rank = np.int64(order["price"]), order["rank"]
            size = min(np.int64(order["leaves"]), left)
            if not take(account, 1 - own_side, tick, size, left, i, True):
                break
            left -= size
            fill(account, log, order, ts, event, price, size, enums.LIQUIDITY_MAKER)


@njit
def take(account, side: int, tick: int, size: int, displayed: int, priority: int, is_order: bool) -> bool:
    """Notes that `size` lots of the tape's liquidity are gone for this account; False when the table is full.

    Args:
        displayed: lots on the tape at the level (or of the order) now.
        priority: of the order, or the tape's next record: what stands before it is the liquidity that was there.
    """
    free = -1
    for i in range(account["taken"].shape[0]):
        entry = account["taken"][i]
        if entry["lots"] == 0:
            free = i if free < 0 else free
        elif is_order and entry["is_order"] and entry["priority"] == priority:
            entry["lots"] += size
            return True
        elif not is_order and not entry["is_order"] and entry["side"] == side and entry["tick"] == tick:
            entry["lots"] += size
            entry["old"] = displayed
            entry["priority"] = priority
            return True
    if free < 0:
        return False
    entry = account["taken"][free]
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
    lots = 0
    if account["takens"] > 0:
        for i in range(account["taken"].shape[0]):
            entry = account["taken"][i]
            if entry["side"] == side and entry["tick"] == tick:
                lots += entry["lots"]
    return lots


@njit
def _taken_of_order(account, priority: int) -> int:
    if account["takens"] > 0:
        for i in range(account["taken"].shape[0]):
            entry = account["taken"][i]
            if entry["lots"] > 0 and entry["is_order"] and entry["priority"] == priority:
                return entry["lots"]
    return 0


@njit
def _follow_taken(account, number, kind: int, side: int, tick: int, size: int, priority: int, gone: int) -> None:
    """A record of the tape changes liquidity that this account has taken.

    At a level it is assumed that what leaves was not what we took, as long as there is other old size: liquidity stays
    taken rather too long than too short.
    """
    for i in range(account["taken"].shape[0]):
        entry = account["taken"][i]
        if entry["lots"] == 0:
            continue
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
            elif entry["side"] == side and entry["tick"] == tick and priority < entry["priority"]:
                entry["old"] += size
                entry["lots"] = max(0, min(entry["lots"], entry["old"]))
    _drop_taken(account, False)


@njit
def _drop_taken(account, end_of_event: bool) -> None:
    """Recounts the entries; at the end of an event, orders that are gone and did not move are dropped."""
    live = 0
    for i in range(account["taken"].shape[0]):
        entry = account["taken"][i]
        if end_of_event and entry["is_order"] and entry["old"] == 0:
            entry["lots"] = 0
        live += entry["lots"] > 0
    account["takens"] = live
