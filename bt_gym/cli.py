"""The command line: `bt-gym COMMAND`. Thin: each command calls what the package offers in Python."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bt_gym.config import BacktestConfig, InstrumentConfig, StrategyConfig, with_overrides
from bt_gym.errors import BtGymError, ConfigError

data_app = typer.Typer(help="The catalogue of tapes.", no_args_is_help=True)
app = typer.Typer(
    name="bt-gym",
    help="Replays real exchange order flow, exact to the queue position: ingest, validate, backtest.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Symbol = Annotated[str | None, typer.Option(help="Instrument; needed when a file holds several.")]
Definition = Annotated[Path | None, typer.Option(help="DBN file of definition records: tick size and multiplier.")]
TickSize = Annotated[str | None, typer.Option(help="Smallest price step, such as 0.25.")]
Multiplier = Annotated[str | None, typer.Option(help="Currency per 1.0 of price and lot, such as 50.")]
Fee = Annotated[str | None, typer.Option(help="Currency per lot and side, whether maker or taker.")]
Tapes = Annotated[Path | None, typer.Option(help="Folder of tapes; the user's cache folder if not given.")]
Names = Annotated[list[str], typer.Argument(help="Symbols or tape files.")]
Day = Annotated[list[str] | None, typer.Option(help="Only tapes that hold this UTC day; repeatable.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of a table.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bar.")]


app.add_typer(data_app, name="data")


_UsageError: Any = typer.BadParameter.__base__  # typer has no name of its own for it


def main() -> None:
    """Entry point: an error is one line, never a traceback; exit code 1, and 2 for what isn't a command of bt-gym."""
    try:
        code = app(prog_name="bt-gym", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except _UsageError as error:
        text = error.format_message()
        if not text or "\n" in text:  # no arguments at all: the help
            error.show()
        else:
            name = error.ctx.command_path if error.ctx else "bt-gym"
            print(f"bt-gym: {text[0].lower()}{text[1:].removesuffix('.')}: see {name} --help", file=sys.stderr)
        sys.exit(error.exit_code)
    except typer.Abort:
        print("bt-gym: aborted", file=sys.stderr)
        sys.exit(1)
    except BtGymError as error:
        for line in str(error).splitlines():
            print(f"bt-gym: {line}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        path = error.filename2 or error.filename  # the place, not the temporary file that should have got there
        print(f"bt-gym: {path}: {error.strerror}: check the path and its permissions", file=sys.stderr)
        sys.exit(1)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything the demo makes.")] = Path("demo"),
    minutes: Annotated[float, typer.Option(help="Length of the session.", min=1)] = 30,
    seed: Annotated[int, typer.Option(help="Of the session.")] = 7,
    quiet: Quiet = False,
) -> None:
    """Make a synthetic session and trade it with a moving-average crossover."""
    from bt_gym.data.synthetic import PROFILES

    session = out / "session.mbo.dbn.zst"
    synth(session, minutes=minutes, seed=seed)
    profile = PROFILES["es"]
    config = BacktestConfig.from_dict(
        {
            "backtest": {"output": {"metrics_file": str(out / "metrics.parquet")}},
            "strategy": {"type": "sma_crossover", "parameters": {"fast_period": 50, "slow_period": 200}},
            "instruments": {
                profile.symbol: {
                    "tick_size": profile.tick_size,
                    "multiplier": profile.multiplier,
                    "fee_per_contract": Decimal("2.00"),
                }
            },
        }
    )
    _run(config, out / "tapes", quiet, files=[session])


@app.command()
def ingest(
    paths: Annotated[list[Path], typer.Argument(help="DBN files and folders of them, such as a batch download.")],
    symbol: Annotated[list[str] | None, typer.Option(help="Instrument; repeatable. All if not given.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for tapes; the user's cache folder if not given.")] = None,
    definition: Definition = None,
    status: Annotated[list[Path] | None, typer.Option(help="DBN file of status records: phases; repeatable.")] = None,
    tick_size: TickSize = None,
    config: Annotated[Path | None, typer.Option(help="YAML file whose `instruments` section has the facts.")] = None,
    join: Annotated[
        bool | None, typer.Option("--join/--by-day", help="One tape over all days, or one a day (default for folders).")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Compile market-by-order files into tapes, once; prints their paths."""
    from bt_gym.data.catalogue import remarks
    from bt_gym.data.instruments import resolve_tick_size
    from bt_gym.data.sources import gather
    from bt_gym.data.tape import Tape, ingest_all

    instruments = BacktestConfig.from_file(config) if config else None
    flags = _facts(tick_size=tick_size)
    sources = gather(paths)
    definitions = [definition] if definition else sources.definitions
    for ignored in sources.ignored:
        print(f"bt-gym: left out: {ignored}", file=sys.stderr)

    def grid(name: str) -> int:
        return resolve_tick_size(
            name, definition=definitions, config=instruments.instrument(name) if instruments else None, flags=flags
        )

    with _progress("ingest", quiet) as progress:
        tapes = ingest_all(
            sources.market,
            symbols=symbol or (),
            tick_size_nanos=grid,
            statuses=[*sources.statuses, *(status or ())],
            by_day=sources.in_folder if join is None else not join,
            folder=out,
            progress=lambda read: progress(read, None),
            hashes=sources.hashes,
        )
    for path in tapes:
        print(path)
        for remark in remarks(Tape.open(path, verify=False)):
            print(f"bt-gym: warning: {path.name}: {remark}", file=sys.stderr)


@data_app.command("ls")
def data_ls(
    symbol: Annotated[str | None, typer.Argument(help="Only tapes of this symbol.")] = None,
    tapes: Tapes = None,
    quick: Annotated[bool, typer.Option("--quick", help="Don't compare the checksums of the columns.")] = False,
    as_json: AsJson = False,
) -> None:
    """List all tapes: what they hold, whether they are whole, and how to repair those that aren't."""
    from bt_gym.data.catalogue import Catalogue, table

    catalogue = Catalogue(tapes)
    entries = [entry for entry in catalogue.entries(verify=not quick) if symbol in (None, entry.symbol)]
    if as_json:
        print(json.dumps([entry.to_dict() for entry in entries]))
        return
    if not entries:
        print(f"{catalogue.folder}: no tapes{f' of {symbol}' if symbol else ''}: make some with `bt-gym ingest`")
        return
    Console().print(table(entries))
    for entry in entries:
        if entry.repair:
            print(f"{entry.state}: {entry.repair}")


@data_app.command("show")
def data_show(
    names: Names,
    day: Day = None,
    tapes: Tapes = None,
    as_json: AsJson = False,
) -> None:
    """Show all that is known of some tapes: sources, phases, counters, and what to be wary of."""
    from bt_gym.data.catalogue import Catalogue, details, render

    found = [details(path) for path in Catalogue(tapes).matching(names, day)]
    if as_json:
        print(json.dumps(found))
        return
    for shown in found:
        Console().print(render(shown))


@data_app.command("rm")
def data_rm(
    names: Annotated[list[str] | None, typer.Argument(help="Symbols or tape files.")] = None,
    day: Day = None,
    unusable: Annotated[bool, typer.Option("--unusable", help="All stale and damaged tapes.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    tapes: Tapes = None,
) -> None:
    """Remove tapes; the files that they were made of are not touched."""
    from bt_gym.data.catalogue import Catalogue

    catalogue = Catalogue(tapes)
    if not names and not unusable:
        raise ConfigError("data rm: nothing named: give symbols or tape files, or --unusable")
    paths = catalogue.matching(names, day) if names else []
    if unusable:
        paths += [entry.path for entry in catalogue.entries(verify=True) if entry.state != "ok"]
    paths = list(dict.fromkeys(paths))
    for path in paths:
        print(path)
    if paths and not yes:
        typer.confirm(f"Remove {len(paths)} tape{'s' if len(paths) > 1 else ''}?", abort=True)
    for path in paths:
        path.unlink()
    print(f"removed {len(paths)}")


@data_app.command("windows")
def data_windows(
    symbol: Annotated[str, typer.Argument(help="Instrument.")],
    length: Annotated[float, typer.Option(help="Seconds of a window.")],
    stride: Annotated[float | None, typer.Option(help="Seconds from start to start; the length if not given.")] = None,
    hours: Annotated[str | None, typer.Option(help="Time of day, such as 08:30-15:00.")] = None,
    zone: Annotated[str, typer.Option(help="Time zone of the hours, such as America/Chicago.")] = "UTC",
    min_events: Annotated[int, typer.Option(help="Events before the start.")] = 0,
    min_trades: Annotated[int, typer.Option(help="Trades before the start.")] = 0,
    lookback: Annotated[float, typer.Option(help="Seconds before the start in which these are counted.")] = 60,
    interruptions: Annotated[str, typer.Option(help="`keep` windows with a halt in them, or `refuse`.")] = "keep",
    validation: Annotated[float, typer.Option(help="Share of the days, or their number.")] = 0,
    test: Annotated[float, typer.Option(help="Share of the days, or their number.")] = 0,
    embargo: Annotated[int, typer.Option(help="Days left out between splits.")] = 0,
    as_json: AsJson = False,
    tapes: Tapes = None,
) -> None:
    """Count the episode windows of a symbol's days, split by split, and say which were refused and why."""
    from bt_gym.data.catalogue import Catalogue
    from bt_gym.data.splits import split_days
    from bt_gym.data.tape import Tape
    from bt_gym.data.windows import WindowRule, find_windows

    times = tuple(hours.split("-")) if hours else None
    if times is not None and len(times) != 2:
        raise ConfigError(f"--hours: {hours!r} isn't a time of day, such as 08:30-15:00")
    rule = WindowRule(length, stride, times, zone, min_events, min_trades, lookback, interruptions)
    catalogue = Catalogue(tapes)
    catalogue.matching([symbol])  # says what there is instead
    shares = [int(share) if share == int(share) else share for share in (validation, test)]
    split = split_days(catalogue.days(symbol), validation=shares[0], test=shares[1], embargo=embargo)
    found = []
    for name, digest in split.hashes().items():
        if days := getattr(split, name):
            windows = find_windows([Tape.open(path).events for path in catalogue.find(symbol, days)], rule)
            found.append({"split": name, "days": len(days), "hash": digest, **windows.to_dict()})
            if not as_json:
                print(f"{name}: {len(days)} days ({digest[:12]}): {windows.report()}")
    if as_json:
        print(json.dumps(found))


@app.command()
def validate(
    files: Annotated[list[Path], typer.Argument(help="DBN file of MBO records, or several in a row.")],
    symbol: Symbol = None,
    tick_size: TickSize = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of a table.")] = False,
    twin: Annotated[
        bool, typer.Option("--twin", help="Take real orders out, send them in again: do they fill as recorded?")
    ] = False,
    orders: Annotated[int, typer.Option(help="Of the twin test, filled ones and others.")] = 1000,
    seed: Annotated[int, typer.Option(help="Which orders the twin test takes.", min=0)] = 0,
    quiet: Quiet = False,
) -> None:
    """Tell what is in a file, or in several in a row, and whether the book and its queues are right."""
    from bt_gym.data.validate import render, twin_test
    from bt_gym.data.validate import validate as check

    if orders < 1:
        raise ConfigError(f"--orders {orders}: the twin test takes 1 or more")
    result = check(*files, symbol=symbol, tick_size=tick_size)
    if twin:
        with _progress("twin test", quiet, unit="orders") as progress:
            result |= twin_test(*files, result=result, orders=orders, seed=seed, progress=progress)
    if as_json:
        print(json.dumps(result))
    else:
        Console().print(render(result))


@app.command()
def facts(
    file: Annotated[Path, typer.Argument(help="DBN file of MBO records.")],
    against: Annotated[Path | None, typer.Option(help="Another one, to be compared with it.")] = None,
    symbol: Annotated[str | None, typer.Option(help="Instrument of FILE, if it holds several.")] = None,
    against_symbol: Annotated[str | None, typer.Option(help="The same of the other file.")] = None,
    tick_size: Annotated[str | None, typer.Option(help="Price grid of FILE; inferred if not given.")] = None,
    against_tick_size: Annotated[str | None, typer.Option(help="The same of the other file.")] = None,
    report: Annotated[Path | None, typer.Option(help="HTML file to write, with plots.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of a table.")] = False,
) -> None:
    """Measure the stylised facts of a market: spread, tails, clustering, memory, depth, impact, lifetimes."""
    from bt_gym.data.facts import study, to_json, write_page
    from bt_gym.data.stylised import render

    markets = {file.name: study(file, symbol=symbol, tick_size=tick_size)}
    if against is not None:
        names = (against.name, str(against), f"{against} {against_symbol or 'again'}")
        name = next(name for name in names if name not in markets)
        markets[name] = study(against, symbol=against_symbol, tick_size=against_tick_size)
    if report is not None:
        report.parent.mkdir(parents=True, exist_ok=True)
        write_page(report, markets)
    if as_json:
        print(to_json(markets))
    else:
        Console().print(render({name: market.facts for name, market in markets.items()}))
        if report is not None:
            print(f"report: {report}")


@app.command()
def backtest(
    config: Annotated[Path, typer.Argument(help="YAML file: data, execution, limits, outputs, strategy.")],
    data: Annotated[list[Path] | None, typer.Option(help="DBN or tape file, or folder, to use; repeatable.")] = None,
    day: Annotated[list[str] | None, typer.Option(help="UTC day of the catalogue to use instead; repeatable.")] = None,
    symbol: Symbol = None,
    strategy: Annotated[Path | None, typer.Option(help="YAML file with the strategy, if not in CONFIG.")] = None,
    definition: Definition = None,
    tick_size: TickSize = None,
    multiplier: Multiplier = None,
    fee_per_contract: Fee = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="A setting, as a.b=value; repeatable.")] = None,
    tapes: Tapes = None,
    quiet: Quiet = False,
) -> None:
    """Run a strategy over recorded sessions; prints the report and names the files written."""
    loaded = _load(config, strategy, overrides)
    flags = _facts(tick_size=tick_size, multiplier=multiplier, fee_per_contract=fee_per_contract)
    _run(loaded, tapes, quiet, files=data or (), days=day or (), symbol=symbol, definition=definition, instrument=flags)


@app.command(name="compare-fills")
def compare_fills(
    config: Annotated[Path, typer.Argument(help="YAML file: data, execution, limits, strategy.")],
    data: Annotated[list[Path] | None, typer.Option(help="DBN or tape file to use instead; repeatable.")] = None,
    symbol: Symbol = None,
    strategy: Annotated[Path | None, typer.Option(help="YAML file with the strategy, if not in CONFIG.")] = None,
    latency: Annotated[
        list[float] | None, typer.Option(help="Network latency to compare with, us one way; repeatable.")
    ] = None,
    definition: Definition = None,
    tick_size: TickSize = None,
    multiplier: Multiplier = None,
    fee_per_contract: Fee = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="A setting, as a.b=value; repeatable.")] = None,
    tapes: Annotated[Path | None, typer.Option(help="Folder for tapes; the user's cache folder if not given.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of a table.")] = False,
    quiet: Quiet = False,
) -> None:
    """Run a strategy under every fill model and several latencies, side by side."""
    from bt_gym.backtest.compare import compare_fills as compare

    loaded = _load(config, strategy, overrides)
    with _progress("runs", quiet) as progress:
        result = compare(
            loaded,
            latencies_us=(0, 1000) if latency is None else latency,
            progress=progress,
            files=data or (),
            symbol=symbol,
            definition=definition,
            instrument=_facts(tick_size=tick_size, multiplier=multiplier, fee_per_contract=fee_per_contract),
            tape_folder=tapes,
        )
    if as_json:
        print(json.dumps(result.to_dict()))
    else:
        Console().print(result.table())


@app.command()
def synth(
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write, .dbn or .dbn.zst.")],
    minutes: Annotated[float, typer.Option(help="Length of continuous trading.", min=0)] = 30,
    seed: Annotated[int, typer.Option(help="Of all randomness.")] = 7,
    profile: Annotated[str, typer.Option(help="Kind of market.")] = "es",
) -> None:
    """Make a synthetic session as a genuine DBN file."""
    from bt_gym.data.synthetic import generate

    if not out.name.endswith((".dbn", ".dbn.zst")):
        raise ConfigError(f"--out {out}: the file will be DBN: give a name that ends in .dbn or .dbn.zst")
    session = generate(seed, minutes * 60, profile)
    out.parent.mkdir(parents=True, exist_ok=True)
    session.write(out)
    print(f"{out}: {len(session.records):,} MBO records of {session.profile.symbol}, seed {seed}")


def _load(config: Path, strategy: Path | None, overrides: list[str] | None) -> BacktestConfig:
    if strategy is None:
        return BacktestConfig.from_file(config, overrides or ())
    both = BacktestConfig.from_file(config).model_copy(update={"strategy": StrategyConfig.from_file(strategy)})
    return with_overrides(both, overrides or ())


def _run(config: BacktestConfig, tapes: Path | None, quiet: bool, **options: Any) -> None:
    from bt_gym.backtest.backtester import Backtester

    with _progress("backtest", quiet) as progress:
        backtester = Backtester(config, tape_folder=tapes, progress=progress, **options)
        report = backtester.run()
    files = backtester.write(report)
    Console().print(report.table())
    for kind, path in files.items():
        print(f"{kind}: {path}")


def _facts(**flags: str | None) -> InstrumentConfig | None:
    """Instrument facts given as flags."""
    given = {}
    for name, text in flags.items():
        if text is None:
            continue
        try:
            given[name] = Decimal(text)
        except InvalidOperation:
            raise ConfigError(f"--{name.replace('_', '-')}: {text!r} isn't a number, such as 0.25") from None
    if not given:
        return None
    try:
        return BacktestConfig.from_dict({"backtest": {}, "instruments": {"flags": given}}).instruments["flags"]
    except ConfigError as error:
        text = str(error)
        for name in given:
            text = text.replace(f"instruments.flags.{name}", f"--{name.replace('_', '-')}")
        raise ConfigError(text) from None


@contextmanager
def _progress(title: str, quiet: bool, unit: str = "records") -> Iterator[Callable[[int, int | None], None]]:
    """A progress bar, in source records if not told otherwise, on the terminal; nothing where there is none."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield lambda done, total: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(f"{title} ({unit})", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


if __name__ == "__main__":
    main()
