"""Queue estimates against hftbacktest itself, where it is installed: one-lot bids joining the best level.

The same session as level data: trades, and absolute sizes of the levels that an event changed. Every fill has to come
in the same event; an ask that reaches the bid fills it in both (`fill_on_cross`).
"""

import numpy as np
import pytest

from bt_gym.core import enums
from bt_gym.core.execution import ExecutionEngine
from bt_gym.core.market import new_market
from bt_gym.core.orders import new_models
from bt_gym.core.tape import KIND_MASK, SIDE_BIT, TICK_SHIFT
from bt_gym.data.tape import Tape, ingest
from tests.reference.scenario import Order

hftbacktest = pytest.importorskip("hftbacktest")

HORIZON = 20_000_000_000
PROBES = 60
BOTH_CLOCKS = 1 << 31 | 1 << 30
BUYER, SELLER, DEPTH, TRADE = 1 << 29, 1 << 28, 1, 2
MODELS = {
    enums.FILL_RISK_AVERSE: ("risk_adverse_queue_model", ()),
    enums.FILL_POWER_PROB: ("power_prob_queue_model", (3.0,)),
    enums.FILL_POWER_PROB2: ("power_prob_queue_model2", (3.0,)),
    enums.FILL_POWER_PROB3: ("power_prob_queue_model3", (3.0,)),
    enums.FILL_LOG_PROB: ("log_prob_queue_model", ()),
    enums.FILL_LOG_PROB2: ("log_prob_queue_model2", ()),
}


def level_data(tape: Tape) -> np.ndarray:
    """The tape as hftbacktest's rows, one clock."""
    rows: list[tuple[int, int, float, float]] = []
    sizes: dict[tuple[int, int], int] = {}
    first = 0
    for event in tape.events:
        ts, end = int(event["ts_event"]), int(event["end"])
        touched: dict[tuple[int, int], None] = {}
        for record in tape.records[first:end]:
            key, size = int(record["key"]), int(record["size"])
            kind, side, tick = key & KIND_MASK, 1 if key & SIDE_BIT else 0, key >> TICK_SHIFT
            if kind == enums.RECORD_CLEAR:
                touched |= dict.fromkeys(sizes)
                sizes = dict.fromkeys(sizes, 0)
            elif kind == enums.RECORD_TRADE:
                rows.append((TRADE | (BUYER if side else SELLER), ts, float(tick), float(size)))
            elif kind <= enums.RECORD_RESTORE:
                sizes[side, tick] = sizes.get((side, tick), 0) + size
                touched[side, tick] = None
        rows += [(DEPTH | (SELLER if s else BUYER), ts, float(t), float(sizes[s, t])) for s, t in touched]
        first = end
    table = np.zeros(len(rows), hftbacktest.types.event_dtype)
    kinds, times, prices, lots = zip(*rows, strict=True)
    table["ev"] = np.array(kinds, np.uint64) | np.uint64(BOTH_CLOCKS)
    table["exch_ts"] = table["local_ts"] = times
    table["px"], table["qty"] = prices, lots
    return table


def fill_time_of_peer(rows: np.ndarray, model: int, ts: int, tick: int) -> int:
    """When hftbacktest fills a bid of one lot sent at `ts`, ns; 0 if it doesn't in time."""
    name, arguments = MODELS[model]
    asset = (
        hftbacktest.BacktestAsset()
        .data(rows)
        .linear_asset(1.0)
        .constant_order_latency(0, 0)
        .no_partial_fill_exchange()
        .trading_qty_fee_model(0.0, 0.0)
        .tick_size(1.0)
        .lot_size(1.0)
    )
    asset = getattr(asset, name)(*arguments)
    backtest = hftbacktest.HashMapMarketDepthBacktest([asset])
    backtest.elapse(1)  # its clock begins with the data
    backtest.elapse(ts - backtest.current_timestamp)
    backtest.submit_buy_order(0, 1, float(tick), 1.0, hftbacktest.GTC, hftbacktest.LIMIT, False)
    backtest.elapse(HORIZON)
    order = backtest.orders(0).get(1)
    filled = int(order.exch_timestamp) if order.status == hftbacktest.FILLED else 0
    backtest.close()
    return filled


def fill_time(tape: Tape, model: int, ts: int, tick: int) -> int:
    models = new_models(fills={"model": model, "power": 3.0})
    engine = ExecutionEngine(models, new_market())
    engine.advance(tape, ts)
    engine.process_order_request(Order(enums.BUY, 1), ts, tick)
    engine.advance(tape, ts + HORIZON)
    fills = engine.reports[engine.reports["exec_type"] == enums.EXEC_TRADE]
    return int(fills["ts_exchange"][0]) if len(fills) else 0


@pytest.mark.parametrize("model", MODELS)
def test_estimates__fill_when_hftbacktest_does(model, session_file):
    tape = Tape.open(ingest([session_file], tick_size_nanos=250_000_000, folder=session_file.parent / "tapes"))
    events = tape.events
    rows = level_data(tape)
    trading = np.flatnonzero(events["flags"] & enums.PHASE_MASK == enums.PHASE_CONTINUOUS)
    trading = trading[events["ts_event"][trading] < events["ts_event"][-1] - HORIZON]
    filled = 0
    for number in trading[:: len(trading) // PROBES].tolist()[:PROBES]:
        ts, tick = int(events["ts_event"][number]) + 1, int(events["bid"][number])
        theirs, ours = fill_time_of_peer(rows, model, ts, tick), fill_time(tape, model, ts, tick)
        assert ours == theirs, f"bid at {tick} sent at {ts}"
        filled += ours > 0
    assert filled >= PROBES // 4
