"""How fast strategies run, beside hftbacktest on the same streams: source MBO records per second, on one core.

    grid_jitted         five bids and five asks of one lot, re-quoted each 100 ms, compiled: exchange, market as
                        received, 50 us latency each way and fees included
    grid_every_stroke   the same, asked at every stroke of its clock, also where nothing has been received since it
                        asked for nothing (`Strategy.is_stationary`)
    grid_report         the same from opening the tape to the report, through Backtester
    grid_python         the same strategy in Python, with ordinary OrderRequest and StrategyOutput objects
    sma_python          the moving-average crossover in Python, called with every trade
    sma_jitted          the same, compiled
    hftbacktest_*       the same grid in hftbacktest, L3 FIFO and L2 PowerProb3(3), on both of its depths
    l3_book             the messages applied to a bare order book, and nothing made of it

`python_overhead_ratio` is what a call costs beyond the strategy's own time and the simulation itself (the time of the
compiled twin), over the strategy's own time; `overhead_ratio_with_simulation` has the simulation in it. Rows of `grid/`
show that cost is linear: a quarter of the records against all of them, one to sixteen quotes a side. `first_run` and
`warm_start` are whole processes: kernels compiled anew, and taken from the cache.

The real stream, ESH4, is a day on which trading is closed but for an hour: next to no stroke of the clock shows
anything new. `grid_strokes` is how often the grid's clock strikes, `grid_asked` how often it is asked: from the first
record on, while hftbacktest's grid begins with continuous trading.

Before anything is timed, twins must give the same reports to the byte, and our fills are compared with those of
hftbacktest's L3 engine: of the same requests by order, side, price and exchange time, each other one with its reason.
Some orders meet what its format or its engine has no place for (`CONSTRUCTS`, each a scenario of the tests). Whether an
order met one is judged from the tape and our fills, alike for fills that agree and for those that don't:
`fills_matched` is the share that agrees among orders that met none, `fills_matched_of_all` the share of all. The stream
`plain`, whose fills alone are compared, is the same exchange with no icebergs and with makers who close a wide spread
at once, so that own orders seldom stand before the best price: what hftbacktest has a place for, not the usual market.
Without hftbacktest (`pip install --no-deps hftbacktest==2.4.4`) its cases are left out.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._calibration import bare_book
from benchmarks._harness import Case, Result, Target, Timing, main, measure, ratio, target
from bt_gym import BacktestConfig, Backtester, SimpleMovingAverageCrossover, Strategy, Tape
from bt_gym.backtest.replay import MarketReplayEngine
from bt_gym.backtest.runner import Runner, open_desks
from bt_gym.backtest.trading_account import TradingAccount
from bt_gym.core import enums
from bt_gym.core.orders import new_models
from bt_gym.core.tape import KIND_MASK, SIDE_BIT, TICK_SHIFT
from bt_gym.data import dbn
from bt_gym.data.instruments import Instrument
from bt_gym.data.synthetic import PROFILES, generate
from bt_gym.data.tape import ingest
from bt_gym.strategy.do_nothing import DoNothing
from bt_gym.strategy.grid import GridMarketMaker, JittedGridMarketMaker
from bt_gym.strategy.sma_crossover import JittedSmaCrossover

try:
    from benchmarks import _hftbacktest as peer
except ImportError:
    peer = None  # type: ignore[assignment]

SEED = 1
PROFILE = "es_busy"
SECONDS = 2400
QUICK_SECONDS = 30
PLAIN_SECONDS = 600
LATENCY = 50_000  # ns, each way
FEE = "0.25"  # currency a lot
INTERVAL = 100_000_000
GRID = {"levels": 5, "half_spread": 0.5, "skew": 0.05, "max_position": 50}
QUOTES = (1, 2, 4, 8, 16)  # a side, for the cost of own orders
ARRIVED = (enums.EXEC_NEW, enums.EXEC_REJECTED)  # what tells that a new order has reached the exchange
CONSTRUCTS = ("inside_the_spread", "shared_volume", "iceberg")  # what hftbacktest has no place for
PROMISE = 18e6  # records/s, of the original design


@dataclass(frozen=True)
class Stream:
    """A session as messages and as a tape."""

    name: str
    messages: np.ndarray
    tape: Tape

    @property
    def start(self) -> int:
        """Decision time, ns, at which both engines begin: the first in continuous trading."""
        trading = self.tape.events["flags"] & enums.PHASE_MASK == enums.PHASE_CONTINUOUS
        event = self.tape.events[int(np.argmax(trading))]
        return (int(event["ts_event"]) + int(event["delay"])) // INTERVAL * INTERVAL + INTERVAL


def make_stream(name: str, file: Path, tick_size: int, folder: Path) -> Stream:
    messages = np.concatenate(list(dbn.open_dbn(file).chunks()))
    return Stream(name, messages, Tape.open(ingest([file], tick_size_nanos=tick_size, folder=folder / "tapes")))


def plain_stream(folder: Path) -> Stream:
    """The synthetic exchange with next to nothing that hftbacktest has no place for."""
    makers = {"joiners": 80.0, "pull_chains": 1, "narrow_delay": (1_000, 4), "join_delay": (500, 10)}
    session = generate(SEED, PLAIN_SECONDS, replace(PROFILES[PROFILE], iceberg=0.0, **makers))
    session.write(file := folder / "plain.mbo.dbn.zst")
    return make_stream("plain", file, session.profile.tick_nanos, folder)


def synthetic(seconds: float, folder: Path) -> Stream:
    session = generate(SEED, seconds, PROFILE)
    file = folder / f"{PROFILE}-{seconds:g}.mbo.dbn.zst"
    session.write(file)
    return make_stream("synthetic", file, session.profile.tick_nanos, folder)


# --- what is timed


class Run:
    """A strategy at its desk, ready to run over a tape."""

    def __init__(self, tape: Tape, strategy: Strategy) -> None:
        facts = Instrument.from_values(
            tape.symbol, tick_size=str(tape.tick_size_nanos / 1e9), multiplier=50, maker_fee=FEE, taker_fee=FEE
        )
        models = new_models(
            entry_latency=LATENCY,
            response_latency=LATENCY,
            tick_value=facts.tick_value_micros,
            maker_fee=facts.maker_fee_micros,
            taker_fee=facts.taker_fee_micros,
        )
        self.replay = MarketReplayEngine([(tape, facts)])
        self.account = TradingAccount("benchmark", self.replay.lanes[0], models, 1_000_000_000, False)
        desks = open_desks(strategy, self.replay, [self.account], LATENCY)
        self._runner = Runner(self.replay, desks)

    def __call__(self) -> "Run":
        self._runner.run()
        return self

    @property
    def reports(self) -> np.ndarray:
        return self.account.execution.reports

    @property
    def fills(self) -> np.ndarray:
        return self.reports[self.reports["exec_type"] == enums.EXEC_TRADE]


def backtester(tape: Tape) -> Backtester:
    """The grid, ready to run from opening the tape to the report."""
    facts = {"tick_size": tape.tick_size_nanos / 1e9, "multiplier": 50, "fee_per_contract": float(FEE)}
    latency = {"type": "fixed", "network_latency_us": LATENCY / 1000, "processing_latency_us": 0}
    config = BacktestConfig.from_dict(
        {"backtest": {"execution": {"latency_model": latency}}, "instruments": {tape.symbol: facts}}
    )
    return Backtester(config, files=[tape.path]).add_strategy("grid", JittedGridMarketMaker(**GRID))


def timed(method: Any) -> Any:
    """`method(self, what, context)` with the time that is spent in it added to `self.spent`, ns."""

    def call(self: Any, what: Any, context: Any) -> Any:
        start = time.perf_counter_ns()
        output = method(self, what, context)
        self.spent += time.perf_counter_ns() - start
        self.calls += 1
        return output

    return call


class Timed(GridMarketMaker):
    """The grid, with the time that is spent in it."""

    spent = calls = 0
    on_timer = timed(GridMarketMaker.on_timer)


class TimedSma(SimpleMovingAverageCrossover):
    """The crossover likewise."""

    spent = calls = 0
    on_market_event = timed(SimpleMovingAverageCrossover.on_market_event)


class TimedNothing(DoNothing):
    """Nothing, with the same stopwatch."""

    spent = calls = 0
    on_market_event = timed(DoNothing.on_market_event)


def every_stroke() -> Strategy:
    """The grid, asked whether or not there is anything new."""
    strategy = JittedGridMarketMaker(**GRID)
    strategy.is_stationary = False
    return strategy


def stopwatch(calls: int = 20_000) -> tuple[float, float]:
    """What a stopwatch costs, ns a call: within the time that it tells, and around it."""
    timed = TimedNothing()
    start = time.perf_counter_ns()
    for _ in range(calls):
        time.perf_counter_ns()
    middle = time.perf_counter_ns()
    for _ in range(calls):
        timed.on_market_event(None, None)
    end = time.perf_counter_ns()
    read = (middle - start) / calls
    return read, max((end - middle - timed.spent) / calls, 0.0)


def overhead(tape: Tape, make: Any, twin: Any, runs: int) -> dict[str, float]:
    """Medians of runs with a stopwatch in the strategy, us a call.

    Its own time; what the core takes to simulate the time between two calls, as the compiled twin's run has it; and
    what is left, which is the engine's price of a call into Python, also over the strategy's own time.
    """
    found = []
    for _ in range(runs):
        timed, compiled = make(), Run(tape, twin())
        simulation = _time(compiled)
        within, around = stopwatch()
        whole = _time(Run(tape, timed)) / timed.calls - within - around
        bare = timed.spent / timed.calls - within
        own = whole - bare - simulation / timed.calls
        found.append((bare / 1000, simulation / timed.calls / 1000, own / 1000, own / bare, (whole - bare) / bare))
    columns = ("strategy_us", "simulation_us", "engine_us", "overhead_ratio", "overhead_ratio_with_simulation")
    medians = (float(np.median(values)) for values in zip(*found, strict=True))
    return {"calls": timed.calls, **dict(zip(columns, medians, strict=True))}


def _time(run: Run) -> int:
    start = time.perf_counter_ns()
    run()
    return time.perf_counter_ns() - start


def cases(stream: Stream) -> list[Case]:
    """All cases of a stream, in the order of the docstring."""
    tape, messages = stream.tape, stream.messages
    fee = float(FEE)

    def case(name: str, run: Any, prepare: Any = None) -> Case:
        return Case(f"{stream.name}/{name}", run, len(messages), "records", prepare)

    def ours(name: str, make: Any) -> Case:
        return case(name, lambda run: run(), lambda: Run(tape, make()))

    found = [
        ours("grid_jitted", lambda: JittedGridMarketMaker(**GRID)),
        ours("grid_every_stroke", every_stroke),
        case("grid_report", lambda ready: ready.run(), lambda: backtester(tape)),
        ours("grid_python", lambda: GridMarketMaker(**GRID)),
        ours("sma_python", lambda: SimpleMovingAverageCrossover(20, 60)),
        ours("sma_jitted", lambda: JittedSmaCrossover(20, 60)),
        case("l3_book", lambda: bare_book(messages, tape.tick_size_nanos)),
    ]
    if peer is not None:
        rows = {True: peer.l3_rows(messages, tape.tick_size_nanos), False: peer.l2_rows(tape)}
        for l3 in (True, False):
            for depth in peer.ENGINES:
                found.append(
                    case(
                        f"hftbacktest_l{3 if l3 else 2}_{depth}",
                        lambda hbt: run_peer(hbt, stream),
                        lambda l3=l3, depth=depth: peer.open_backtest(
                            rows[l3], tape, depth=depth, l3=l3, latency=LATENCY, fee=fee
                        ),
                    )
                )
    return found


def run_peer(hbt: Any, stream: Stream, most: int = 0) -> np.ndarray:
    """Runs the grid in hftbacktest; returns its first `most` fills, which it keeps no list of itself."""
    fills = np.zeros(most, peer.fill_dtype)
    parameters = GRID["levels"], GRID["half_spread"], GRID["skew"], GRID["max_position"]
    tick = stream.tape.tick_size_nanos / 1e9
    count, code = peer.run_grid(hbt, stream.start, INTERVAL, *parameters, tick, fills)
    assert code == 1, f"hftbacktest stopped with code {code}"
    hbt.close()
    return fills[:count]


# --- that it is right


def check(stream: Stream) -> dict[str, Any]:
    """Asserts that the twins agree; returns what describes the stream, and how far hftbacktest agrees."""
    tape, messages = stream.tape, stream.messages
    grid, plain = Run(tape, JittedGridMarketMaker(**GRID))(), Timed(**GRID)
    assert grid.reports.tobytes() == Run(tape, plain)().reports.tobytes()
    assert grid.reports.tobytes() == Run(tape, every_stroke())().reports.tobytes()
    sma = Run(tape, SimpleMovingAverageCrossover(20, 60))()
    assert sma.reports.tobytes() == Run(tape, JittedSmaCrossover(20, 60))().reports.tobytes()
    assert len(grid.fills) > 0
    received = grid.replay.start // INTERVAL, grid.replay.end // INTERVAL
    about: dict[str, Any] = {
        "records": len(messages),
        "events": len(tape.events),
        "trades": int(np.count_nonzero(messages["action"] == dbn.ACTION_TRADE)),
        "live_orders": int(bare_book(messages, tape.tick_size_nanos)["orders_live"]),
        "seconds": (int(tape.events["ts_event"][-1]) - stream.start) / 1e9,
        "grid_strokes": received[1] - received[0],
        "grid_asked": plain.calls,
        "grid_orders": int(np.count_nonzero(grid.reports["exec_type"] == enums.EXEC_NEW)),
        "grid_fills": len(grid.fills),
        "sma_fills": len(sma.fills),
    }
    if peer is not None:
        rows = peer.l3_rows(messages, tape.tick_size_nanos)
        about |= agreement(stream, grid, rows)
    return about


def agreement(stream: Stream, grid: Run, rows: np.ndarray) -> dict[str, Any]:
    """hftbacktest's L3 engine against ours: its own grid by the number of fills, the same requests fill by fill."""
    tape = stream.tape

    def opened() -> Any:
        return peer.open_backtest(rows, tape, depth="hash_map", l3=True, latency=LATENCY, fee=float(FEE))

    theirs = run_peer(opened(), stream, 1_000_000)
    requests = requests_of(grid)
    fills = np.zeros(len(requests), peer.fill_dtype)
    hbt = opened()
    count, code = peer.run_requests(hbt, requests, INTERVAL, tape.tick_size_nanos / 1e9, fills)
    hbt.close()
    assert code == 1, f"hftbacktest stopped with code {code}"
    peers = {int(row["order_id"]): row for row in fills[:count]}
    own = {int(row["order_id"]): row for row in grid.fills}
    orders = {int(row["order_id"]): row for row in grid.reports[np.isin(grid.reports["exec_type"], ARRIVED)]}
    filled_at = Counter(grid.fills["ts_exchange"].tolist())
    found: Counter[tuple[bool, str]] = Counter()
    for order_id in own.keys() | peers.keys():
        fills_of = own.get(order_id), peers.get(order_id)
        found[agrees(*fills_of), construct(tape, orders[order_id], *fills_of, filled_at)] += 1
    plain = found[True, ""] + found[False, ""]
    matched = sum(found[True, name] for name in ("", *CONSTRUCTS))
    return {
        "hftbacktest_fills": len(theirs),
        "fills_ratio": len(theirs) / len(grid.fills),
        "same_requests_fills": count,
        "matched": matched,
        "matched_share_of_all": matched / found.total(),
        "met_no_construct": plain,
        "matched_share": found[True, ""] / plain if plain else None,
        **{f"met_{name}": found[True, name] + found[False, name] for name in CONSTRUCTS},
        **{f"differs_{name or 'other'}": found[False, name] for name in (*CONSTRUCTS, "")},
    }


def requests_of(grid: Run) -> np.ndarray:
    """What the grid has sent, from its reports: a request arrives one latency after it was sent."""
    reports = grid.reports
    rows = reports[np.isin(reports["exec_type"], (*ARRIVED, enums.EXEC_CANCELED, enums.EXEC_CANCEL_REJECTED))]
    requests = np.zeros(len(rows), peer.request_dtype)
    requests["ts"] = rows["ts_exchange"] - LATENCY
    requests["order_id"], requests["side"], requests["price"] = rows["order_id"], rows["side"], rows["price"]
    requests["cancels"] = ~np.isin(rows["exec_type"], ARRIVED)
    return requests


def agrees(own: np.void | None, theirs: np.void | None) -> bool:
    """Whether both engines have filled an order in the same event at the same price."""
    both = own is not None and theirs is not None
    return both and (own["ts_exchange"], own["price"]) == (theirs["ts"], theirs["price"])


def construct(tape: Tape, order: np.void, own: np.void | None, theirs: np.void | None, filled_at: Counter[int]) -> str:
    """What an order met that hftbacktest has no place for, whether or not its fill is ours; empty for nothing.

    `inside_the_spread`: it stood before the best price when it was filled, where that engine fills nothing (fault 3).
    `shared_volume`: in the event of its fill, here or there, another own order was filled here, and there each has the
    whole volume (fault 9). `iceberg`: while it waited, an order at its level was filled beyond what it displayed, or
    refilled, and keeps its place there (fault 11).

    Args:
        tape: of both runs.
        order: our report of its arrival.
        own: our fill of it.
        theirs: their fill of it.
        filled_at: number of our fills by time (ns).
    """
    if theirs is not None and not agrees(own, theirs) and filled_at[int(theirs["ts"])]:
        return "shared_volume"  # of an event in which it was not filled here: others had the volume
    side, price = int(order["side"]), int(order["price"])
    times = [int(order["ts_exchange"])]
    times += [int(row[name]) for row, name in ((own, "ts_exchange"), (theirs, "ts")) if row is not None]
    if own is not None:
        number = int(np.searchsorted(tape.events["ts_event"], own["ts_exchange"]))
        best = int(tape.events["ask" if side else "bid"][number - 1])
        if (price < best if side else price > best) or best == enums.NO_TICK:
            return "inside_the_spread"
    start, stop = np.searchsorted(tape.events["ts_event"], [times[0], max(times) + 1])
    first = int(tape.events["end"][start - 1])
    records = tape.records[first : int(tape.events["end"][stop - 1])]
    at_level = (records["key"] >> TICK_SHIFT == price) & ((records["key"] & SIDE_BIT != 0) == (side == enums.SELL))
    kind = records["key"] & KIND_MASK
    if (at_level & (kind == enums.RECORD_HIDDEN)).any():
        return "iceberg"
    filled, added = (
        np.searchsorted(tape.events["end"], first + np.flatnonzero(at_level & (kind == one)), side="right")
        for one in (enums.RECORD_FILL, enums.RECORD_ADD)
    )
    if np.isin(filled, added).any():
        return "iceberg"
    return "shared_volume" if own is not None and filled_at[int(own["ts_exchange"])] > 1 else ""


# --- the benchmark


def grid_case(name: str, stream: Stream, **parameters: int) -> Case:
    """The compiled grid with other parameters or on another stream."""

    def prepare() -> Run:
        return Run(stream.tape, JittedGridMarketMaker(**{**GRID, **parameters}))

    return Case(name, lambda run: run(), len(stream.messages), "records", prepare)


def linear(stream: Stream, quarter: Stream, runs: int) -> list[Result]:
    """Cost of the compiled grid by records, and by quotes a side: ns for each record, and for each further level."""
    cases = [grid_case("grid/all_records", stream), grid_case("grid/quarter_of_records", quarter)]
    cases += [grid_case(f"grid/{levels}_quotes_a_side", stream, levels=levels) for levels in QUOTES]
    timings = measure(cases, runs)
    rows = [timing.result(ns_per_record=timing.median_s * 1e9 / timing.case.work) for timing in timings.values()]
    least = timings[f"grid/{QUOTES[0]}_quotes_a_side"].median_s
    for row, levels in zip(rows[2:], QUOTES, strict=True):
        if levels > QUOTES[0]:
            row["ns_per_record_and_level"] = (row["median_s"] - least) * 1e9 / row["work"] / (levels - QUOTES[0])
    return rows


START = """
import sys, time
start = time.perf_counter()
from pathlib import Path
from benchmarks.backtest import JittedGridMarketMaker, Run, Tape, GRID
Run(Tape.open(Path(sys.argv[1])), JittedGridMarketMaker(**GRID))()
print(time.perf_counter() - start)
"""


def starts(tape: Tape, folder: Path) -> list[Result]:
    """Seconds from starting Python's imports to the end of a run, with an empty cache of kernels and a full one."""
    rows = []
    for name in ("first_run", "warm_start"):
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder / "kernels")}
        command = [sys.executable, "-c", START, str(tape.path)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)  # noqa: S603
        rows.append({"name": name, "median_s": float(done.stdout), "runs": 1})
    return rows


def run(options: argparse.Namespace) -> tuple[list[Result], list[Target]]:
    """Results and targets of all streams."""
    real = os.environ.get("BT_GYM_REAL_DATA")
    with tempfile.TemporaryDirectory(prefix="bt_gym-backtest-") as name:
        folder = Path(name)
        streams = [synthetic(QUICK_SECONDS if options.quick else SECONDS, folder)]
        if real and not options.quick:
            streams.append(make_stream("ESH4", Path(real) / "ESH4_2023-12-25.mbo.dbn.zst", 250_000_000, folder))
        rows: list[Result] = []
        targets: list[Target] = []
        for stream in streams:
            about = check(stream)
            rows.append({"name": f"{stream.name}/session", **about})
            measured = {name.partition("/")[2]: t for name, t in measure(cases(stream), options.runs).items()}
            twins = {
                "grid_python": (lambda: Timed(**GRID), lambda: JittedGridMarketMaker(**GRID)),
                "sma_python": (lambda: TimedSma(20, 60), lambda: JittedSmaCrossover(20, 60)),
            }
            calls = {case: overhead(stream.tape, *pair, options.runs) for case, pair in twins.items()}
            rows += [
                t.result(vs_l3_book=ratio(t, measured["l3_book"]), **calls.get(n, {})) for n, t in measured.items()
            ]
            targets += ratios(measured, f"_{stream.name}") if targets else aims(measured, calls)
            if peer is not None:
                targets += agreements(stream.name, about)
        if not options.quick:
            if peer is not None:
                rows.append({"name": "plain/session", **(about := check(plain_stream(folder)))})
                targets += agreements("plain", about, 0.99)
            quarter = synthetic(SECONDS / 4, folder)
            rows += linear(streams[0], quarter, options.runs) + starts(quarter.tape, folder)
    return rows, targets


def aims(measured: dict[str, Timing], calls: dict[str, dict[str, float]]) -> list[Target]:
    """The targets of the synthetic stream that can be judged."""
    return [
        target("grid_jitted_mrec_s", measured["grid_jitted"].rate / 1e6, PROMISE / 1e6, "M records/s"),
        *ratios(measured),
        target("grid_python_mrec_s", measured["grid_python"].rate / 1e6, 1.0, "M records/s"),
        target("python_overhead_ratio", calls["grid_python"]["overhead_ratio"], 1.0, at_least=False),
        target("sma_overhead_ratio", calls["sma_python"]["overhead_ratio"], 1.0, at_least=False),
    ]


def ratios(measured: dict[str, Timing], suffix: str = "") -> list[Target]:
    """The compiled grid against the bare book and hftbacktest, the faster of its depths."""
    grid = measured["grid_jitted"]
    found = [target(f"grid_vs_bare_book{suffix}", ratio(grid, measured["l3_book"]), 0.8)]
    if peer is not None:
        for level, bound in (("l3", 12.0), ("l2", 2.5)):
            fastest = min((measured[f"hftbacktest_{level}_{d}"] for d in peer.ENGINES), key=lambda t: t.median_s)
            found.append(target(f"grid_vs_hftbacktest_{level}{suffix}", ratio(grid, fastest), bound))
    return found


def agreements(stream: str, about: dict[str, Any], of_all: float = 0.95) -> list[Target]:
    """How far hftbacktest's L3 engine has to agree on a stream; `of_all`: share of all fills."""
    return [
        target(f"fills_difference_{stream}", abs(about["fills_ratio"] - 1), 0.01, at_least=False),
        target(f"fills_matched_{stream}", about["matched_share"], 0.99),
        target(f"fills_matched_of_all_{stream}", about["matched_share_of_all"], of_all),
        target(f"fills_unexplained_{stream}", about["differs_other"], 0, "fills", at_least=False),
    ]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options beside the harness's own."""
    parser.add_argument("--quick", action="store_true", help="a short session: whether it runs, not how fast")


if __name__ == "__main__":
    main(__file__, __doc__, run, add_arguments, packages=["hftbacktest"])
