"""How fast own orders are matched, on one core: a market maker written directly over the kernels.

    grid         5 bids and 5 asks of one lot, a tick apart, re-quoted every 100 ms around the mid and the position;
                 50 us to the exchange and back, exact queue positions, fees, the market as received beside the exchange
    two_quotes   one bid and one ask at the best prices, the same otherwise
    no_orders    the market as received, every 100 ms, and the exchange without orders

and, on the same stream, `l3_book`: the messages applied to a full order book, nothing else. Rates are source MBO
records per second. Also what a run costs by own orders at work and by records: both must grow in line.
"""

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._calibration import bare_book
from benchmarks._harness import Case, Result, Target, main, measure, ratio, target
from benchmarks.replay import Stream, real_stream, synthetic
from bt_gym._jit import njit
from bt_gym.core import enums
from bt_gym.core.execution import book_fill, deliver, run
from bt_gym.core.market import count_received, move, new_market
from bt_gym.core.orders import make_account_dtype, new_account, new_models, report_dtype
from bt_gym.core.requests import request_cancel, submit

PROFILE = "es_busy"
SECONDS = 2400
QUICK_SECONDS = 60
CLOCK_NS = 100_000_000
LATENCY_NS = 50_000
FEE = 2_050_000  # 1e-6 of the currency per lot
MAX_POSITION = 50
ACCOUNT = make_account_dtype(max_orders=48, max_requests=64)  # 20 + 20 quotes and those being cancelled


@njit
def _quote(account, now, side, best, levels):
    """One lot at each of `levels` prices from `best` away from the market; own orders elsewhere are cancelled."""
    step = -1 if side == enums.BUY else 1
    held = 0
    left = account["orders_live"]
    for order in account["orders"]:
        if left == 0:
            break
        if order["status"] == enums.STATUS_FREE:
            continue
        left -= 1
        if order["side"] != side or order["known_leaves"] == 0:
            continue
        distance = (order["known_price"] - best) * step
        if 0 <= distance < levels and order["unanswered"] == 0:
            held |= 1 << distance
        elif order["unanswered"] == 0:
            request_cancel(account, now, order["order_id"])
    for distance in range(levels):
        if not held >> distance & 1:
            price = best + distance * step
            submit(account, now, side, 1, enums.ORDER_LIMIT, enums.TIF_GTC, price)


@njit
def _make_market(accounts, log, markets, records, events, blocks, start, levels):
    """Returns how many decisions were taken, or -1 when the log was too short."""
    account = accounts[0]
    market = markets[0]
    end = events[events.shape[0] - 1]["ts_event"]
    now = start
    decisions = 0
    while now < end:
        now += CLOCK_NS
        _, is_full = run(account, log, market, records, events, blocks, now, False)
        if is_full:
            return -1
        move(market, records, events, blocks, count_received(events, market["event"], now, 0))
        first = account["reports_known"]
        for i in range(first, first + deliver(account, log, now)):
            row = log[i & (log.shape[0] - 1)]
            if row["exec_type"] == enums.EXEC_TRADE:
                book_fill(account, row)
        account["reports_kept"] = account["reports_known"]
        if levels == 0 or market["mark_is_stale"]:
            continue
        decisions += 1
        position = account["known_position"]["size"]
        centre = 10 * np.int64(market["mark2"]) - position  # twentieths of a tick: a lot held moves it by one
        last = events[market["event"] - 1]
        bid = min((centre - 20) // 20, np.int64(last["bid"]))
        ask = max(-((-centre - 20) // 20), np.int64(last["ask"]))
        _quote(account, now, enums.BUY, bid, levels if position < MAX_POSITION else 0)
        _quote(account, now, enums.SELL, ask, levels if position > -MAX_POSITION else 0)
    return decisions


def make_market(stream: Stream, levels: int, records: int | None = None) -> tuple[np.ndarray, int]:
    """Account and number of decisions after the stream, or after its first events with so many source records."""
    tape = stream.tape
    events = tape.events
    if records is not None:
        events = events[: int(np.searchsorted(events["source"], records))]
    models = new_models(
        entry_latency=LATENCY_NS,
        response_latency=LATENCY_NS,
        tick_value=12_500_000,
        maker_fee=FEE,
        taker_fee=FEE,
    )
    account, market, log = new_account(models, ACCOUNT), new_market(), np.zeros(1 << 12, report_dtype)
    start = int(events["ts_event"][stream.opens])
    decisions = _make_market(account, log, market, tape.records, events, tape.blocks, start, levels)
    assert decisions >= 0, "the log of reports is full"
    return account, decisions


def check(stream: Stream) -> Result:
    """Asserts that the grid's books agree and that runs repeat to the byte; returns what describes the session."""
    account, decisions = make_market(stream, 5)
    again, _ = make_market(stream, 5)
    assert account.tobytes() == again.tobytes()
    position = account["position"][0]
    assert position["volume"] > 0
    assert position["fees"] == FEE * position["volume"]
    return {
        "name": f"{stream.name}/session",
        "records": len(stream.messages),
        "events": len(stream.tape.events),
        "decisions": decisions,
        "orders": int(account["orders_sent"][0]),
        "reports": int(account["reports_written"][0]),
        "lots": int(position["volume"]),
    }


def cases(stream: Stream) -> list[Case]:
    """All cases of a stream."""
    total = len(stream.messages)
    half = (int(stream.tape.events["source"][stream.opens]) + total) // 2  # of what follows the opening

    def case(name: str, levels: int, records: int | None = None) -> Case:
        work = total if records is None else records
        return Case(f"{stream.name}/{name}", lambda: make_market(stream, levels, records), work, "records")

    return [
        case("grid", 5),
        case("two_quotes", 1),
        case("no_orders", 0),
        case("grid_10", 10),
        case("grid_20", 20),
        case("grid_half_stream", 5, half),
        Case(
            f"{stream.name}/l3_book", lambda: bare_book(stream.messages, stream.tape.tick_size_nanos), total, "records"
        ),
    ]


def run_all(options: argparse.Namespace) -> tuple[list[Result], list[Target]]:
    """Results of all streams, with their targets."""
    real = os.environ.get("BT_GYM_REAL_DATA")
    rows: list[Result] = []
    targets: list[Target] = []
    with tempfile.TemporaryDirectory(prefix="bt_gym-matching-") as name:
        folder = Path(name)
        streams = [synthetic(QUICK_SECONDS if options.quick else SECONDS, folder, PROFILE)]
        if real and not options.quick:
            streams.append(real_stream(Path(real) / "ESH4_2023-12-25.mbo.dbn.zst", folder))
        for stream in streams:
            rows.append(check(stream))
            timings = measure(cases(stream), options.runs)
            book = timings[f"{stream.name}/l3_book"]
            rows += [timing.result(vs_l3_book=ratio(timing, book)) for timing in timings.values()]
            grid = timings[f"{stream.name}/grid"]
            half = timings[f"{stream.name}/grid_half_stream"]
            targets += [
                target(f"{stream.name}: grid_vs_bare_book", ratio(grid, book), 0.8),
                target(f"{stream.name}: grid_per_second", grid.rate, 18e6, "records/s"),
                target(f"{stream.name}: grid_whole_vs_half_stream", ratio(grid, half), 0.7),
            ]
    return rows, targets


def add_arguments(parser: argparse.ArgumentParser) -> Any:
    """Options beside the harness's own."""
    parser.add_argument("--quick", action="store_true", help="a short session: whether it runs, not how fast")


if __name__ == "__main__":
    main(__file__, __doc__, run_all, add_arguments)
