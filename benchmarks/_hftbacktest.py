"""hftbacktest, the peer of `benchmarks.backtest`: its rows from our streams, and the grid strategy in its own terms.

    pip install --no-deps hftbacktest==2.4.4

It wants an older NumPy than bt_gym, with which it works all the same: hence `--no-deps`. Rows keep their nanoseconds,
which its own converter loses, and what it takes a second for 45,000 records for is done in one pass over arrays.
"""

from typing import Any

import numpy as np
from hftbacktest import (
    ADD_ORDER_EVENT,
    BUY_EVENT,
    CANCEL_ORDER_EVENT,
    DEPTH_CLEAR_EVENT,
    DEPTH_EVENT,
    EXCH_EVENT,
    FILL_EVENT,
    FILLED,
    GTX,
    LIMIT,
    LOCAL_EVENT,
    MODIFY_ORDER_EVENT,
    NEW,
    NONE,
    SELL_EVENT,
    TRADE_EVENT,
    BacktestAsset,
    HashMapMarketDepthBacktest,
    ROIVectorMarketDepthBacktest,
)
from hftbacktest.types import event_dtype
from numba import njit

from bt_gym.core import enums
from bt_gym.core.tape import KIND_MASK, SIDE_BIT, TICK_SHIFT
from bt_gym.data import dbn
from bt_gym.data.tape import Tape

ENGINES = {"roi_vector": ROIVectorMarketDepthBacktest, "hash_map": HashMapMarketDepthBacktest}

fill_dtype = np.dtype([("order_id", "<i8"), ("ts", "<i8"), ("price", "<i8"), ("side", "<i8")])
"""A fill of one lot: at which exchange time, in ticks."""

request_dtype = np.dtype([("ts", "<i8"), ("order_id", "<i8"), ("cancels", "<i8"), ("side", "<i8"), ("price", "<i8")])
"""A limit order of one lot, or a cancel of it, as sent at `ts` (ns)."""


def _finish(rows: np.ndarray, ts_event: np.ndarray, ts_recv: np.ndarray, snapshot: np.ndarray) -> np.ndarray:
    """Times of both clocks, neither going back; restored orders happen when they are received."""
    event = np.where(snapshot, ts_recv, ts_event).astype(np.int64)
    rows["exch_ts"] = np.maximum.accumulate(event)
    rows["local_ts"] = np.maximum(np.maximum.accumulate(ts_recv.astype(np.int64)), rows["exch_ts"])
    rows["ev"] |= EXCH_EVENT | LOCAL_EVENT
    return rows


def l3_rows(messages: np.ndarray, tick_size: int) -> np.ndarray:
    """Market-by-order messages (`dbn.mbo_dtype`) as rows of its L3 engine.

    Without the fills of aggressors themselves: it would take them for fills at the level where their orders rested
    before, and fill own orders there.
    """
    kinds = {
        dbn.ACTION_ADD: ADD_ORDER_EVENT,
        dbn.ACTION_CANCEL: CANCEL_ORDER_EVENT,
        dbn.ACTION_MODIFY: MODIFY_ORDER_EVENT,
        dbn.ACTION_CLEAR: DEPTH_CLEAR_EVENT,
        dbn.ACTION_TRADE: TRADE_EVENT,
        dbn.ACTION_FILL: FILL_EVENT,
    }
    of_action = np.zeros(256, np.uint64)
    for action, kind in kinds.items():
        of_action[action] = kind
    messages = messages[(of_action[messages["action"]] != 0) & ~_own_fills(messages)]  # it knows no N
    rows = np.zeros(len(messages), event_dtype)
    rows["ev"] = of_action[messages["action"]]
    rows["ev"][messages["side"] == dbn.SIDE_BID] |= BUY_EVENT
    rows["ev"][messages["side"] == dbn.SIDE_ASK] |= SELL_EVENT
    has_price = np.abs(messages["price"]) < 1 << 62
    rows["px"][has_price] = messages["price"][has_price] // tick_size * (tick_size / 1e9)
    rows["qty"] = messages["size"]
    rows["order_id"] = messages["order_id"]
    last = _group_ends(messages)
    received = np.maximum.accumulate(messages["ts_recv"])[last]  # an event is known when all of it is
    return _finish(rows, messages["ts_event"], received, messages["flags"] & dbn.FLAG_SNAPSHOT != 0)


def _own_fills(messages: np.ndarray) -> np.ndarray:
    """Which messages are an F of the order that the T before it names as the aggressor."""
    is_trade = messages["action"] == dbn.ACTION_TRADE
    trade = np.maximum.accumulate(np.where(is_trade, np.arange(len(messages)), -1))
    own = (messages["order_id"] == messages["order_id"][trade]) & (messages["order_id"] != 0) & (trade >= 0)
    return own & (messages["action"] == dbn.ACTION_FILL)


def _group_ends(messages: np.ndarray) -> np.ndarray:
    """For each message the last one of its event."""
    ends = np.flatnonzero(messages["flags"] & dbn.FLAG_LAST != 0)
    ends = ends if len(ends) and ends[-1] == len(messages) - 1 else np.append(ends, len(messages) - 1)
    return ends[np.searchsorted(ends, np.arange(len(messages)))]


@njit
def _absolute(records, width, base, sizes):
    levels = np.zeros((2, width), np.int64)
    for i in range(len(records)):
        key = records[i]["key"]
        if key & KIND_MASK == enums.RECORD_CLEAR:
            levels[:] = 0
        elif key & KIND_MASK <= enums.RECORD_RESTORE:
            side, tick = (1 if key & SIDE_BIT else 0), (key >> TICK_SHIFT) - base
            levels[side, tick] += records[i]["size"]
            sizes[i] = levels[side, tick]


def l2_rows(tape: Tape) -> np.ndarray:
    """A tape as rows of its L2 engine: trades, and the size of a level each time that it changes."""
    records, events = tape.records, tape.events
    kind, tick = records["key"] & KIND_MASK, records["key"] >> TICK_SHIFT
    base = int(tick.min())
    sizes = np.zeros(len(records), np.int64)
    _absolute(np.asarray(records), int(tick.max()) - base + 1, base, sizes)
    event = np.searchsorted(events["end"], np.arange(len(records)), side="right")
    is_trade = kind == enums.RECORD_TRADE
    keep = is_trade | (kind <= enums.RECORD_RESTORE) | (kind == enums.RECORD_CLEAR)
    rows = np.zeros(len(records), event_dtype)
    rows["ev"] = np.where(is_trade, TRADE_EVENT, np.where(kind == enums.RECORD_CLEAR, DEPTH_CLEAR_EVENT, DEPTH_EVENT))
    is_ask = records["key"] & SIDE_BIT != 0
    rows["ev"] |= np.where(is_ask ^ is_trade, np.uint64(SELL_EVENT), np.uint64(BUY_EVENT))  # of a trade the aggressor's
    rows["px"] = tick * (tape.tick_size_nanos / 1e9)
    rows["qty"] = np.where(is_trade, records["size"], sizes)
    ts_event = events["ts_event"][event]
    received = ts_event + events["delay"][event]
    snapshot = events["flags"][event] & enums.PHASE_MASK == enums.PHASE_SNAPSHOT
    return _finish(rows, ts_event, received, snapshot)[keep]


def open_backtest(rows: np.ndarray, tape: Tape, *, depth: str, l3: bool, latency: int, fee: float) -> Any:
    """A backtest ready to run. `rows` must live as long as it."""
    tick = tape.tick_size_nanos / 1e9
    ticks = tape.records["key"] >> TICK_SHIFT
    asset = (
        BacktestAsset()
        .data(rows)
        .linear_asset(50.0)
        .constant_order_latency(latency, latency)
        .no_partial_fill_exchange()
        .trading_qty_fee_model(fee, fee)
        .tick_size(tick)
        .lot_size(1.0)
        .roi_lb((int(ticks.min()) - 100) * tick)
        .roi_ub((int(ticks.max()) + 100) * tick)
    )
    asset = asset.l3_fifo_queue_model() if l3 else asset.power_prob_queue_model3(3.0)
    return ENGINES[depth]([asset])


@njit
def _collect(orders, fills, count):
    values = orders.values()
    while values.has_next():
        order = values.get()
        if order.status == FILLED and count < len(fills):
            fills[count]["order_id"] = order.order_id
            fills[count]["ts"] = order.exch_timestamp
            fills[count]["price"] = order.exec_price_tick
            fills[count]["side"] = 0 if order.side == 1 else 1
            count += 1
    return count


@njit
def run_grid(hbt, start, interval, levels, half_spread, skew, max_position, tick_size, fills):
    """`strategy.grid` in its terms, from `start` (ns) on, each `interval`; returns (fills, return code)."""
    count = 0
    hbt.elapse(0)  # there is no current time before
    code = hbt.elapse(start - hbt.current_timestamp)
    while code == 0:
        orders = hbt.orders(0)
        count = _collect(orders, fills, count)
        hbt.clear_inactive_orders(0)
        depth = hbt.depth(0)
        position = hbt.position(0)
        bid, ask = depth.best_bid_tick, depth.best_ask_tick
        centre = (bid + ask) / 2 - skew * position
        best_bid = min(int(np.floor(centre - half_spread)), bid)
        best_ask = max(int(np.ceil(centre + half_spread)), ask)
        bids = levels if position < max_position else 0
        asks = levels if position > -max_position else 0
        values = orders.values()
        while values.has_next():
            order = values.get()
            is_buy = order.side == 1
            behind = best_bid - order.price_tick if is_buy else order.price_tick - best_ask
            wanted = behind >= 0 and behind < (bids if is_buy else asks)
            if not wanted and order.status == NEW and order.req == NONE:
                hbt.cancel(0, order.order_id, False)
        for level in range(bids):
            order_id = np.uint64(2 * (best_bid - level))
            if order_id not in orders:
                hbt.submit_buy_order(0, order_id, (best_bid - level) * tick_size, 1.0, GTX, LIMIT, False)
        for level in range(asks):
            order_id = np.uint64(2 * (best_ask + level) + 1)
            if order_id not in orders:
                hbt.submit_sell_order(0, order_id, (best_ask + level) * tick_size, 1.0, GTX, LIMIT, False)
        code = hbt.elapse(interval)
    return _collect(hbt.orders(0), fills, count), code


@njit
def run_requests(hbt, requests, interval, tick_size, fills):
    """Sends the same requests at the same times, whatever becomes of them; returns (fills, return code)."""
    count, code, row = 0, 0, 0
    now = requests[0]["ts"]
    hbt.elapse(0)
    code = hbt.elapse(now - hbt.current_timestamp)
    while code == 0:
        orders = hbt.orders(0)
        count = _collect(orders, fills, count)
        hbt.clear_inactive_orders(0)
        while row < len(requests) and requests[row]["ts"] == now:
            request = requests[row]
            order_id = np.uint64(request["order_id"])
            price = request["price"] * tick_size
            if request["cancels"]:
                if order_id in orders:
                    hbt.cancel(0, order_id, False)
            elif request["side"] == 0:
                hbt.submit_buy_order(0, order_id, price, 1.0, GTX, LIMIT, False)
            else:
                hbt.submit_sell_order(0, order_id, price, 1.0, GTX, LIMIT, False)
            row += 1
        code = hbt.elapse(interval)
        now += interval
    return _collect(hbt.orders(0), fills, count), code
