"""Short backtests made in a test: sessions as files, settings, and strategies that write down what they are told."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from bt_gym import (
    BacktestConfig,
    Backtester,
    BacktestReport,
    EventKind,
    MarketEvent,
    OrderRequest,
    OrderUpdate,
    ReplaySpeed,
    Side,
    Strategy,
    StrategyContext,
    StrategyOutput,
)
from bt_gym._jit import njit
from bt_gym.core import enums
from bt_gym.data import dbn
from bt_gym.data.synthetic import PROFILES, Session, generate
from bt_gym.strategy.base import NOTHING
from bt_gym.strategy.jitted import cancel, limit, market_order, modify
from tests.data.compiled import stream

TICK = 0.25
MARKET = EventKind.TRADE | EventKind.QUOTE | EventKind.BOOK | EventKind.PHASE
EVERYTHING = MARKET | EventKind.OWN
ENTRY, RESPONSE = 60_000, 50_000  # ns, of the default latencies
THIN = replace(PROFILES["es"], name="thin", depth_orders=300, depth_levels=30)
OTHER = replace(THIN, name="other", symbol="SYNM6", instrument_id=4002)


@cache
def synthetic(seed: int = 5, seconds: float = 60, profile: str = "thin") -> Session:
    """A synthetic session with a thin book, or at the same time one of another instrument."""
    return generate(seed, seconds, {"thin": THIN, "other": OTHER}[profile], pre_open_seconds=30)


def write(path: Path, *events: Any, symbol: str = "TEST", delays: Sequence[int] = (1_000,)) -> Path:
    """A file of events in the notation of `tests.data.compiled`, one a microsecond, received `delays` (ns) later."""
    records = stream(*events)
    _, number = np.unique(records["ts_event"], return_inverse=True)
    records["ts_recv"] = np.maximum.accumulate(records["ts_event"] + np.resize(delays, number.max() + 1)[number])
    records["instrument_id"] = 7
    dbn.write_mbo(path, records, symbol=symbol, instrument_id=7)
    return path


def settings(limits: Mapping[str, Any] | None = None, output: Path | None = None, **latency: float) -> BacktestConfig:
    """Settings of a run: limits, latencies in us, folder of the output files."""
    execution = {"latency_model": {"type": "fixed"} | latency}
    files = {"metrics_file": str(output / "metrics.parquet")} if output else {}
    return BacktestConfig.from_dict(
        {
            "backtest": {"execution": execution, "risk_limits": limits or {}, "output": files},
            "instruments": {"*": {"tick_size": 0.25, "multiplier": 50, "fee_per_contract": 2.05}},
        }
    )


@dataclass
class Run:
    """A backtest that has been run."""

    backtester: Backtester
    report: BacktestReport

    def reports(self, number: int = 0) -> np.ndarray:
        """Execution reports and refusals of one account, report_dtype."""
        return self.backtester.accounts[number].metrics.account.reports

    def fills(self, number: int = 0) -> np.ndarray:
        """Fills of one account, report_dtype."""
        return self.backtester.accounts[number].metrics.account.fills

    def in_words(self, number: int = 0) -> list[str]:
        """Reports of one account as `id kind reason`."""
        kinds, reasons = enums.names("EXEC_"), enums.names("REASON_")
        rows = self.reports(number)
        return [f"{row['order_id']} {kinds[row['exec_type']]} {reasons[row['reason']]}" for row in rows]


def backtest(
    files: Path | Sequence[Path],
    strategies: Strategy | Mapping[str, Strategy],
    *,
    config: BacktestConfig | None = None,
    tapes: Path | None = None,
    speed: ReplaySpeed | None = None,
    **latency: float,
) -> Run:
    """Runs strategies over files; tapes go beside the first file unless told otherwise."""
    files = [files] if isinstance(files, Path) else list(files)
    backtester = Backtester(
        config or settings(**latency), files=files, tape_folder=tapes or files[0].parent / "tapes", speed=speed
    )
    named = {"test": strategies} if isinstance(strategies, Strategy) else strategies
    for name, strategy in named.items():
        backtester.add_strategy(name, strategy)
    return Run(backtester, backtester.run())


Act = Callable[[StrategyContext, "Script"], StrategyOutput | None]


@dataclass
class Script(Strategy):
    """Calls `act` on every event and timer, and keeps what it is told: (time, event or None for the timer)."""

    act: Act = lambda context, script: None
    subscriptions: EventKind = EVERYTHING
    timer_interval_ns: int | None = None
    told: list[tuple[int, MarketEvent | None]] = field(default_factory=list)

    def on_market_event(self, event: MarketEvent, context: StrategyContext) -> StrategyOutput:
        self.told.append((context.current_time, event))
        return self.act(context, self) or NOTHING

    def on_timer(self, timestamp: int, context: StrategyContext) -> StrategyOutput:
        assert timestamp == context.current_time
        self.told.append((timestamp, None))
        return self.act(context, self) or NOTHING

    @property
    def event(self) -> MarketEvent | None:
        """What it is being told."""
        return self.told[-1][1]

    @property
    def news(self) -> list[tuple[int, Any]]:
        """(time, execution report) of everything it was told about its orders."""
        return [(ts, report) for ts, event in self.told if event is not None for report in event.reports]


def once(*outputs: StrategyOutput | None) -> Act:
    """Sends these on the first calls in continuous trading, one a call."""
    left = list(outputs)

    def act(context: StrategyContext, script: Script) -> StrategyOutput | None:
        return left.pop(0) if left and context.market_state.phase == "continuous" else None

    return act


class Busy(Script):
    """Does everything at random, sensible or not, and logs all that it is told and sees."""

    def __init__(
        self, seed: int, kinds: EventKind = EVERYTHING, timer_ns: int | None = None, activity: float = 0.3
    ) -> None:
        super().__init__(Busy._decide, kinds, timer_ns)  # type: ignore[arg-type]
        self.random = Random(seed)
        self.activity = activity
        self.log: list[tuple] = []

    @staticmethod
    def _decide(context: StrategyContext, script: "Busy") -> StrategyOutput:
        market = context.market_state
        seen = (market.best_bid(), market.best_ask(), market.phase, market.session, market.recent_trades(2))
        own = (context.position, context.pending_orders)
        output = script._choose(context) if script.random.random() < script.activity else NOTHING
        script.log.append((context.symbol, *script.told[-1], *map(repr, (*seen, *own, output))))
        return output

    def _choose(self, context: StrategyContext) -> StrategyOutput:
        choose, market = self.random, context.market_state
        side = choose.choice((Side.BUY, Side.SELL))
        best = market.best_bid() if side == Side.BUY else market.best_ask()
        if best is None:
            return NOTHING
        ticks = best.ticks + choose.randint(-3, 2) * side.sign
        price = market.price(ticks) + (0.1 if choose.random() < 0.05 else 0)
        size = choose.randint(0, 4)
        pending = context.pending_orders
        order_id = choose.choice(pending).order_id if pending and choose.random() < 0.9 else choose.randint(1, 999)
        action = choose.choice(("limit", "limit", "limit", "ioc", "market", "cancel", "cancel", "modify", "all"))
        output = StrategyOutput(metrics={"ticks": ticks})
        if action in ("limit", "ioc", "all"):
            output.orders.append(OrderRequest.limit(side, size, price, ioc=action == "ioc"))
        if action in ("market", "all"):
            output.orders.append(OrderRequest.market(side, size))
        if action in ("cancel", "all"):
            output.cancellations.append(order_id)
        if action in ("modify", "all"):
            output.updates.append(OrderUpdate(order_id, size, price))
        return output


@njit
def ask(requests, own, action, side, size, price):
    """Of a compiled strategy: by `action` a limit or market order, a cancel of the oldest, a modify of the newest."""
    if action < 3:
        limit(requests, side, size, price)
    elif action == 3:
        market_order(requests, side, size)
    elif action == 4 and own["live"] > 0:
        cancel(requests, own["orders"][0]["order_id"])
    elif action == 5 and own["live"] > 0:
        modify(requests, own["orders"][own["live"] - 1]["order_id"], size, price)


def asked(pending: Sequence[Any], action: int, side: Side, size: int, price: Any) -> StrategyOutput:
    """The same in Python; `pending` are the own orders."""
    if action < 3:
        return StrategyOutput([OrderRequest.limit(side, size, price)])
    if action == 3:
        return StrategyOutput([OrderRequest.market(side, size)])
    if action == 4 and pending:
        return StrategyOutput(cancellations=[pending[0].order_id])
    if action == 5 and pending:
        return StrategyOutput(updates=[OrderUpdate(pending[-1].order_id, size, price)])
    return NOTHING
