"""The Backtester: one run of strategies over recorded sessions, from configuration to report.

    tapes -> MarketReplayEngine -> strategy <-> ExecutionEngine, PositionManager -> MetricsCollector -> report

It opens what the configuration names and puts the parts together; the loop itself is `bt_gym.backtest.runner`.
"""

import datetime as dt
from collections.abc import Callable, Sequence
from pathlib import Path

from bt_gym.backtest.collector import generate_report
from bt_gym.backtest.desk import AnyDesk
from bt_gym.backtest.outputs import SCHEMAS, write_outputs
from bt_gym.backtest.replay import Lane, MarketReplayEngine, ReplaySpeed
from bt_gym.backtest.report import BacktestReport, RunInfo
from bt_gym.backtest.runner import Runner, open_desks
from bt_gym.backtest.trading_account import TradingAccount
from bt_gym.backtest.valuation import MARKS
from bt_gym.config import BacktestConfig, InstrumentConfig, MlEnhancedMomentumConfig, check_runnable
from bt_gym.data import tape as tapes
from bt_gym.data.catalogue import Catalogue, days_of
from bt_gym.data.instruments import Definition, Instrument
from bt_gym.data.sources import gather
from bt_gym.errors import ConfigError, TapeError
from bt_gym.execution_models import check_tape, describe, execution_models
from bt_gym.strategy.base import Strategy
from bt_gym.strategy.events import EventKind
from bt_gym.strategy.registry import make_strategy


class Backtester:
    """Runs strategies over recorded sessions.

    >>> report = Backtester(BacktestConfig.from_file("configs/sma_crossover.yaml")).run()  # doctest: +SKIP

    Args:
        config: what to run.
        files: market data (DBN or tape files) instead of the configuration's.
        days: UTC days from the catalogue of tapes, instead of files; needs symbols.
        symbol: instrument instead of the configuration's.
        definition: file of definition records for instrument facts.
        instrument: facts that win over the definition and the configuration.
        tape_folder: where compiled tapes are kept; a cache folder of the user if None.
        speed: of the replay.
        progress: called with (source records done, source records in all) now and then.
    """

    def __init__(
        self,
        config: BacktestConfig,
        *,
        files: Sequence[Path | str] = (),
        days: Sequence[dt.date | str] = (),
        symbol: str | None = None,
        definition: Definition = None,
        instrument: InstrumentConfig | None = None,
        tape_folder: Path | str | None = None,
        speed: ReplaySpeed | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.config = config
        source = config.backtest.data_source
        given = files or days
        self.files = [Path(file) for file in (files if given else source.files)]
        self.days = [_day(day) for day in (days if given else source.days)]
        self.symbols: tuple[str | None, ...] = (symbol,) if symbol else source.symbols or (None,)
        self.definition = definition
        self.instrument = instrument
        self.tape_folder = tape_folder
        self.speed = speed
        self.progress = progress
        self.accounts: list[TradingAccount] = []
        self._strategies: dict[str, Strategy] = {}

    def add_strategy(self, name: str, strategy: Strategy) -> "Backtester":
        """Adds a strategy, which then runs instead of the configuration's; returns self.

        Raises:
            ConfigError: the name is taken.
        """
        if name in self._strategies:
            raise ConfigError(f"strategy name '{name}' is taken: give each strategy its own")
        self._strategies[name] = strategy
        return self

    def run(self) -> BacktestReport:
        """Runs everything from the first to the last event; returns the report of all accounts.

        Raises:
            NotBuiltError: the configuration asks for a model that isn't built yet.
            ConfigError, InstrumentError, DataError: something is missing or wrong; nothing was run.
        """
        check_runnable(self.config)
        strategies = self._strategies or self._configured_strategy()
        lanes = self._open()
        execution = self.config.backtest.execution
        latency = execution.latency_model
        feed = latency.extra_feed_latency_ns
        replay = MarketReplayEngine(lanes, speed=self.speed, extra_delay=feed)
        self.accounts = []
        desks: list[AnyDesk] = []
        for name, strategy in strategies.items():
            market = MarketReplayEngine(lanes, extra_delay=feed)  # each strategy has its own copy, as received
            accounts = [
                self._account(name, strategy, lane, len(self.accounts) + i) for i, lane in enumerate(market.lanes)
            ]
            self.accounts += accounts
            desks += open_desks(strategy, market, accounts, latency.response_latency_ns)
        Runner(replay, desks, self.progress, self.config.backtest.run_limits).run()
        info = self._info([lane.tape for lane in replay.lanes], [lane.instrument for lane in replay.lanes])
        return generate_report([account.metrics for account in self.accounts], info)

    def _account(self, name: str, strategy: Strategy, lane: Lane, number: int) -> TradingAccount:
        interval_ns = self.config.backtest.output.equity_interval_ms * 1_000_000
        wants_news = bool(strategy.subscriptions & EventKind.OWN)
        settings = self.config.backtest
        models = execution_models(
            settings.execution, settings.risk_limits, lane.instrument, number, settings.run_limits
        )
        account = TradingAccount(name, lane, models, interval_ns, wants_news, MARKS[settings.mark])
        account.flattens_at_end = settings.execution.flatten_at_end
        return account

    def write(self, report: BacktestReport) -> dict[str, Path]:
        """Writes the output files that the configuration names; returns their paths by kind.

        The file of signals is there only when a strategy sent metrics; one that an earlier run left is removed.
        """
        accounts = [account.metrics.account for account in self.accounts]
        files = {kind: getattr(self.config.backtest.output, f"{kind}_file") for kind in SCHEMAS}
        if any(account.strategy_metrics for account in accounts):
            return write_outputs(report, accounts, files)
        stale = files.pop("signals")
        written = write_outputs(report, accounts, files)
        stale.unlink(missing_ok=True)
        return written

    def _configured_strategy(self) -> dict[str, Strategy]:
        if self.config.strategy is None:
            raise ConfigError("strategy: missing: add a strategy section or call add_strategy")
        return {self.config.strategy.type: make_strategy(self.config.strategy)}

    def _facts(self, symbol: str) -> Instrument:
        instrument = Instrument.resolve(
            symbol, definition=self.definition, config=self.config.instrument(symbol), flags=self.instrument
        )
        instrument.require_fees()
        return instrument

    def _open(self) -> list[tuple[tapes.Tape, Instrument]]:
        """The tape of each symbol with its facts; compiles what isn't compiled yet."""
        if self.files and self.days:
            raise ConfigError("data: files and days are two sources: give one of them")
        if not self.files and not self.days:
            raise ConfigError(
                "backtest.data_source.files: empty: name data files there or with --data, or days of the catalogue"
            )
        opened = self._from_catalogue() if self.days else self._from_files()
        pairs = [(tape, self._facts(tape.symbol)) for tape in opened]
        for tape, instrument in pairs:
            check_tape(self.config.backtest.execution.fill_model, tape)
            if tape.tick_size_nanos != instrument.tick_size_nanos:
                raise TapeError(
                    f"{tape.path}: compiled with tick size {tape.tick_size_nanos / 1e9:g}, the instrument has "
                    f"{instrument.tick_size_nanos / 1e9:g}: ingest the source files again"
                )
        return pairs

    def _from_catalogue(self) -> list[tapes.Tape]:
        """The tape of each symbol that holds the days, and no others."""
        opened = []
        for symbol in self.symbols:
            if symbol is None:
                raise ConfigError("backtest.data_source.symbols: empty: name the symbols to trade, days need them")
            paths = Catalogue(self.tape_folder).find(symbol, self.days)
            if len(paths) > 1:
                raise ConfigError(
                    f"data: the days of {symbol} are in {len(paths)} tapes ({paths[0].name}, ...): run one day at a "
                    "time, or make one tape of them with `bt-gym ingest --join`"
                )
            tape = tapes.Tape.open(paths[0])
            if extra := sorted(set(days_of(tape)) - set(self.days)):
                raise ConfigError(
                    f"{tape.path}: also holds {extra[0]}, a backtest replays whole tapes: name all its days, or make a "
                    "tape for each with `bt-gym ingest --by-day`"
                )
            opened.append(tape)
        return opened

    def _from_files(self) -> list[tapes.Tape]:
        compiled = [file for file in self.files if file.name.endswith(tapes.SUFFIX)]
        if compiled and len(compiled) < len(self.files):
            raise ConfigError(f"data: {compiled[0]} is a tape and others are not: give tapes or DBN files, not both")
        if not compiled:
            return self._ingested()
        opened = [tapes.Tape.open(path) for path in compiled]
        wanted = set(self.symbols) - {None}
        if missing := wanted - {tape.symbol for tape in opened}:
            raise ConfigError(f"symbol {min(map(str, missing))}: in none of the tapes {', '.join(map(str, compiled))}")
        opened = [tape for tape in opened if not wanted or tape.symbol in wanted]
        for index, tape in enumerate(opened):
            if tape.symbol in [earlier.symbol for earlier in opened[:index]]:
                raise ConfigError(f"data: {tape.path} is a second tape of {tape.symbol}: ingest its files together")
        return opened

    def _ingested(self) -> list[tapes.Tape]:
        """One tape of each symbol over all files, with the definitions and status files found in folders."""
        sources = gather(self.files)
        self.definition = self.definition or sources.definitions or None
        names = [symbol for symbol in self.symbols if symbol is not None]
        if not names and len(listed := {name for file in sources.market for name in file.listed}) > 1:
            sources.market[0].select(None)
            raise ConfigError(f"data: the files hold {', '.join(sorted(listed)[:10])}: choose a symbol")
        paths = tapes.ingest_all(
            sources.market,
            symbols=names,
            tick_size_nanos=lambda name: self._facts(name).tick_size_nanos,
            statuses=sources.statuses,
            folder=self.tape_folder,
            hashes=sources.hashes,
        )
        opened = [tapes.Tape.open(path) for path in paths]
        return sorted(opened, key=lambda tape: names.index(tape.symbol) if tape.symbol in names else len(names))

    def _info(self, opened: list[tapes.Tape], instruments: list[Instrument]) -> RunInfo:
        fill_model, latency_model, impact_model = describe(self.config.backtest.execution)
        notes = []
        strategy = self.config.strategy
        if not self._strategies and isinstance(strategy, MlEnhancedMomentumConfig):
            notes.append("model: none (the rule alone was run)")
        if len(currencies := {instrument.currency for instrument in instruments}) > 1:
            notes.append(f"the total adds amounts of {' and '.join(sorted(currencies))} as they are: read the parts")
        fees = dict.fromkeys(
            f"{i.symbol}: maker {_money(i.maker_fee_micros)}, taker {_money(i.taker_fee_micros)} {i.currency} per lot"
            for i in instruments
        )
        return RunInfo(
            fill_model=fill_model,
            latency_model=latency_model,
            impact_model=impact_model,
            fee_model="; ".join(fees),
            data_hash=",".join(dict.fromkeys(s["sha256"] for tape in opened for s in tape.metadata["sources"])),
            config_hash=self.config.config_hash(),
            mark=self.config.backtest.mark,
            run_limits=self.config.backtest.run_limits.described if self.config.backtest.run_limits else "",
            notes=tuple(notes),
        )


def _day(day: dt.date | str) -> dt.date:
    try:
        return day if isinstance(day, dt.date) else dt.date.fromisoformat(day)
    except ValueError:
        raise ConfigError(f"day is {day!r}, but must be one such as 2026-01-05") from None


def _money(micros: int | None) -> str:
    if micros is None:
        return "?"
    text = f"{micros / 1e6:.6f}".rstrip("0")
    return text + "0" * (text.index(".") + 3 - len(text))  # two decimals, more where there are more
