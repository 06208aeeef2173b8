"""How fast a session is replayed, on one core: source MBO records per second, each case once per round.

    view_replay        the market as received: all events move the ladder and the session's statistics
    two_cursor_replay  the same second by second, with the exchange ahead of it: an own bid and ask rest beyond all
                       trades, so that the replay rule has to look at every event from the open on
    sma_backtest       Backtester with the moving-average crossover in Python, from opening the tape to the report
    compile            MBO records in memory to a tape in memory
    ingest             .dbn.zst file to tape file

and, on the same records, what the machine does when nothing is asked of it:

    ladder_pass        adds the sizes of the tape's records up
    l3_book            applies the messages to a full order book
    zstd               decompresses the file

The input is a synthetic session of eight hours, and ESH4 where BT_GYM_REAL_DATA is set.
"""

import argparse
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._calibration import LADDER_WIDTH, bare_book, inflate, ladder_pass, levels, queue
from benchmarks._harness import Case, Result, Target, Timing, main, measure, ratio, target
from bt_gym import BacktestConfig, Backtester, OrderRequest, Side, SimpleMovingAverageCrossover, Tape
from bt_gym._jit import njit
from bt_gym.core import enums
from bt_gym.core.execution import ExecutionEngine
from bt_gym.core.execution import run as run_exchange
from bt_gym.core.market import count_received, move, new_market
from bt_gym.core.orders import new_models
from bt_gym.core.tape import LADDER_TICKS
from bt_gym.data import dbn
from bt_gym.data.compiler import Compiler
from bt_gym.data.synthetic import generate
from bt_gym.data.tape import ingest

SEED = 1
PROFILE = "es"
SECONDS = 8 * 3600
QUICK_SECONDS = 600
CLOCK_NS = 1_000_000_000  # of the two cursors
CHUNK = 1 << 15  # records, as the reader hands them to the compiler
PROMISE = 18e6  # records/s


@dataclass(frozen=True)
class Stream:
    """A session in all its forms."""

    name: str
    file: Path
    messages: np.ndarray
    tape: Tape

    @property
    def opens(self) -> int:
        """First event in continuous trading."""
        return int(np.argmax(self.tape.events["flags"] & enums.PHASE_MASK == enums.PHASE_CONTINUOUS))


def synthetic(seconds: float, folder: Path, profile: str = PROFILE) -> Stream:
    """Snapshot, pre-open, auction and so many seconds of trading."""
    session = generate(SEED, seconds, profile)
    file = folder / "session.mbo.dbn.zst"
    session.write(file)
    return _stream("synthetic", file, session.profile.tick_nanos, folder)


def real_stream(file: Path, folder: Path) -> Stream:
    """A recorded session of a contract with ticks of 0.25."""
    return _stream(file.name.partition("_")[0], file, 250_000_000, folder)


def _stream(name: str, file: Path, tick_size: int, folder: Path) -> Stream:
    messages = np.concatenate(list(dbn.open_dbn(file).chunks()))
    tape = Tape.open(ingest([file], tick_size_nanos=tick_size, folder=folder / "tapes"))
    return Stream(name, file, messages, tape)


# --- what is timed


@njit
def _move(markets, records, events, blocks):
    move(markets[0], records, events, blocks, events.shape[0])


def view_replay(stream: Stream) -> np.ndarray:
    """The market, shape (1,), after all events."""
    market = new_market()
    _move(market, stream.tape.records, stream.tape.events, stream.tape.blocks)
    return market


@njit
def _two_cursors(accounts, log, markets, records, events, blocks, start, end, clock):
    now = start
    while now < end:
        now = min(now + clock, end)
        _, is_full = run_exchange(accounts[0], log, markets[0], records, events, blocks, now, False)
        if is_full:
            raise ValueError("the log of reports is full")
        move(markets[0], records, events, blocks, count_received(events, markets[0]["event"], now, 0))


def at_the_open(stream: Stream) -> ExecutionEngine:
    """An account that has just sent a bid below and an ask above everything that will trade."""
    tape = stream.tape
    events = tape.events[stream.opens :]
    engine = ExecutionEngine(new_models(entry_latency=60_000, response_latency=50_000), new_market())
    start = int(events["ts_event"][0])
    _two_cursors(*_parts(engine, tape), int(tape.events["ts_event"][0]) - 1, start, CLOCK_NS)
    for side, best, step in ((Side.BUY, events["bid"].min(), -1), (Side.SELL, events["ask"].max(), 1)):
        _, reason = engine.process_order_request(OrderRequest(side, 1), start, int(best) + step)
        assert reason == enums.REASON_NONE
    return engine


def two_cursor_replay(stream: Stream, engine: ExecutionEngine) -> ExecutionEngine:
    """Everything after the open, exchange and view, up to the last event received."""
    last = stream.tape.events[-1]
    end = int(last["ts_event"]) + int(last["delay"])
    _two_cursors(*_parts(engine, stream.tape), int(stream.tape.events["ts_event"][stream.opens]), end, CLOCK_NS)
    return engine


def _parts(engine: ExecutionEngine, tape: Tape) -> tuple[Any, ...]:
    return engine.account, engine.log, engine.market, tape.records, tape.events, tape.blocks


def backtester(stream: Stream) -> Backtester:
    """The crossover, ready to run on the compiled tape."""
    facts = {"tick_size": stream.tape.tick_size_nanos / 1e9, "multiplier": 50, "fee_per_contract": 2}
    config = BacktestConfig.from_dict({"backtest": {}, "instruments": {stream.tape.symbol: facts}})
    return Backtester(config, files=[stream.tape.path]).add_strategy("sma", SimpleMovingAverageCrossover(20, 60))


def compile_all(stream: Stream) -> Iterator[Any]:
    """The pieces of the tape, one after the other."""
    compiler = Compiler(stream.tape.tick_size_nanos)
    for first in range(0, len(stream.messages), CHUNK):
        yield from compiler.feed(stream.messages[first : first + CHUNK])
    yield from compiler.finish()


def compile_(stream: Stream) -> int:
    """Records of the tape."""
    return sum(len(piece.records) for piece in compile_all(stream))


# --- that it is right


def check(stream: Stream) -> dict[str, int]:
    """Asserts that all ways through the session end at the same book; returns what describes the session."""
    tape, messages = stream.tape, stream.messages
    records, events, _ = (
        np.concatenate([getattr(piece, name).copy() for piece in compile_all(stream)])
        for name in ("records", "events", "blocks")
    )
    assert records.tobytes() == tape.records.tobytes(), "compiled from memory and from the file differ"
    assert np.array_equal(events["end"], tape.events["end"])
    assert inflate(stream.file) == dbn.open_dbn(stream.file).header_bytes + messages.nbytes

    book = bare_book(messages, tape.tick_size_nanos)
    market = view_replay(stream)[0]
    ladder = ladder_pass(tape.records, _base(stream))
    for side in (enums.BID, enums.ASK):
        expected = levels(book, side)
        assert _levels(market["ladder"][side], int(market["base"])) == _inside(expected, market["base"], LADDER_TICKS)
        assert _levels(ladder[side], _base(stream)) == _inside(expected, _base(stream), LADDER_WIDTH)
    trades = messages["action"] == dbn.ACTION_TRADE
    assert market["session"]["volume"] == messages["size"][trades].sum()

    engine = two_cursor_replay(stream, at_the_open(stream))
    account = engine.account[0]
    assert account["event"] == engine.market["event"][0] == len(tape.events)
    assert np.array_equal(engine.market["ladder"][0], market["ladder"])
    own = account["orders"][account["orders"]["status"] == enums.STATUS_WORKING]
    assert len(own) == 2, "an order that should rest was filled"
    for order in own:  # ahead of it are the orders at its level that took their place before it arrived
        arrival = int(np.searchsorted(tape.events["end"], order["priority"]))
        before = int(tape.events["source"][arrival])
        places = queue(book, int(order["side"]), int(order["price"]))
        assert order["ahead"] == sum(size for place, size in places if place < before)

    first, second = (backtester(stream).run() for _ in range(2))
    assert first.to_dict() == second.to_dict()
    assert first.total_trades > 0
    return {
        "records": len(messages),
        "tape_records": len(tape.records),
        "events": len(tape.events),
        "trades": int(trades.sum()),
        "trade_events": int(np.count_nonzero(tape.events["flags"] & enums.EVENT_TRADE)),
        "live_orders": int(book["orders_live"]),
        "sma_fills": first.total_trades,
    }


def _base(stream: Stream) -> int:
    """Of the bare ladder: the session in the middle."""
    return int(stream.tape.events["bid"][stream.opens]) - LADDER_WIDTH // 2


def _levels(row: np.ndarray, base: int) -> dict[int, int]:
    return {int(base + offset): int(row[offset]) for offset in np.flatnonzero(row)}


def _inside(lots: dict[int, int], base: int, width: int) -> dict[int, int]:
    return {tick: size for tick, size in lots.items() if base <= tick < base + width}


# --- the benchmark


def cases(stream: Stream, folder: Path) -> list[Case]:
    """All cases of a stream, in the order of the docstring."""
    tape, messages = stream.tape, stream.messages
    tick_size = tape.tick_size_nanos
    after_open = len(messages) - int(tape.events["source"][stream.opens])
    base = _base(stream)

    def new_folder() -> str:
        return tempfile.mkdtemp(dir=folder)

    def case(name: str, run: Any, work: int = len(messages), prepare: Any = None) -> Case:
        return Case(f"{stream.name}/{name}", run, work, "records", prepare)

    return [
        case("view_replay", lambda: view_replay(stream)),
        case(
            "two_cursor_replay",
            lambda engine: two_cursor_replay(stream, engine),
            after_open,
            lambda: at_the_open(stream),
        ),
        case("sma_backtest", lambda ready: ready.run(), prepare=lambda: backtester(stream)),
        case("compile", lambda: compile_(stream)),
        case("ingest", lambda to: ingest([stream.file], tick_size_nanos=tick_size, folder=to), prepare=new_folder),
        case("ladder_pass", lambda: ladder_pass(tape.records, base)),
        case("l3_book", lambda: bare_book(messages, tick_size)),
        case("zstd", lambda: inflate(stream.file)),
    ]


def results(stream: Stream, about: dict[str, int], folder: Path, runs: int) -> tuple[list[Result], dict[str, Timing]]:
    """Entries of one stream, each with its ratios to the bare passes, and the timings by case."""
    measured = measure(cases(stream, folder), runs)
    timings = {name.partition("/")[2]: timing for name, timing in measured.items()}
    rows = []
    for name, timing in timings.items():
        more: dict[str, Any] = {
            f"vs_{base}": ratio(timing, timings[base]) for base in ("ladder_pass", "l3_book", "zstd") if base != name
        }
        if name == "sma_backtest":
            more["us_per_trade_event"] = timing.median_s / about["trade_events"] * 1e6
        rows.append(timing.result(**more))
    return rows, timings


def run(options: argparse.Namespace) -> tuple[list[Result], list[Target]]:
    """Results of all streams; targets of the synthetic one."""
    real = os.environ.get("BT_GYM_REAL_DATA")
    with tempfile.TemporaryDirectory(prefix="bt_gym-replay-") as name:
        folder = Path(name)
        streams = [synthetic(QUICK_SECONDS if options.quick else SECONDS, folder)]
        if real and not options.quick:
            streams.append(real_stream(Path(real) / "ESH4_2023-12-25.mbo.dbn.zst", folder))
        rows: list[Result] = []
        timings: list[dict[str, Timing]] = []
        for stream in streams:
            about = check(stream)
            rows.append({"name": f"{stream.name}/session", **about})
            more, timing = results(stream, about, folder, options.runs)
            rows += more
            timings.append(timing)
    first = timings[0]
    return rows, [
        target("view_replay_per_second", first["view_replay"].rate, PROMISE, "records/s"),
        target("two_cursor_replay_per_second", first["two_cursor_replay"].rate, PROMISE, "records/s"),
        target("view_replay_vs_ladder_pass", ratio(first["view_replay"], first["ladder_pass"]), 0.5),
        target("two_cursor_replay_vs_l3_book", ratio(first["two_cursor_replay"], first["l3_book"]), 1.0),
        target("compile_vs_l3_book", ratio(first["compile"], first["l3_book"]), 0.6),
    ]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options beside the harness's own."""
    parser.add_argument("--quick", action="store_true", help="a short session: whether it runs, not how fast")


if __name__ == "__main__":
    main(__file__, __doc__, run, add_arguments)
