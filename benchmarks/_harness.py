"""What every benchmark shares: fair timing, the machine it ran on, and one way to print.

A benchmark is `benchmarks/NAME.py`, run as `python -m benchmarks.NAME` for a table or with `--json` for one JSON object

    {benchmark, machine, versions, results: [...], targets: [{name, value, unit, target, bound, met}]}

It looks like this:

    def run(options):
        events = make_events(seed=1)
        assert replay(events) == slow_replay(events)  # correctness first
        timings = measure([Case("replay", lambda: replay(events), work=len(events), unit="records"), ...], options.runs)
        share = ratio(timings["replay"], timings["bare"])
        return [timing.result() for timing in timings.values()], [target("replay_vs_bare", share, 0.5)]

    if __name__ == "__main__":
        main(__file__, __doc__, run)

Absolute figures depend on the machine and on what else it does; targets are ratios of cases measured in turns.
"""

import argparse
import gc
import importlib.metadata
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MIN_RUNS = 5
PACKAGES = ("bt_gym", "numpy", "numba", "databento-dbn", "pyarrow", "zstandard")

Result = dict[str, Any]
Target = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """Something to be timed."""

    name: str
    run: Callable[..., Any]
    """Called with what `prepare` returned, or with nothing."""
    work: int = 1
    """How much one call does, in `unit`."""
    unit: str = "calls"
    prepare: Callable[[], Any] | None = None
    """Called before each run, outside the timing."""


@dataclass(frozen=True)
class Timing:
    """Times of one case: `runs_s[i]` was taken in the same round as every other case's."""

    case: Case
    first_s: float
    """Seconds of the first call: compiling and cold caches included, not part of the runs."""
    runs_s: tuple[float, ...]

    @property
    def median_s(self) -> float:
        """Median seconds of a run."""
        return statistics.median(self.runs_s)

    @property
    def rate(self) -> float:
        """Units of work per second, from the median."""
        return self.case.work / self.median_s

    def result(self, **more: Any) -> Result:
        """The case's entry in `results`; `more` is added as it is."""
        return {
            "name": self.case.name,
            "work": self.case.work,
            "unit": self.case.unit,
            "per_second": self.rate,
            "median_s": self.median_s,
            "min_s": min(self.runs_s),
            "max_s": max(self.runs_s),
            "first_s": self.first_s,
            "runs": len(self.runs_s),
            **more,
        }


def measure(cases: Sequence[Case], runs: int = MIN_RUNS) -> dict[str, Timing]:
    """Times all cases in turns, every second round backwards, after one call of each to warm up."""
    first = {case.name: _time(case) for case in cases}
    if len(first) != len(cases):
        raise ValueError(f"two cases have the same name: {[case.name for case in cases]}")
    seconds: dict[str, list[float]] = {case.name: [] for case in cases}
    for number in range(runs):
        for case in cases if number % 2 == 0 else reversed(cases):
            seconds[case.name].append(_time(case))
    return {case.name: Timing(case, first[case.name], tuple(seconds[case.name])) for case in cases}


def _time(case: Case) -> float:
    arguments = () if case.prepare is None else (case.prepare(),)
    gc.collect()
    gc.disable()
    try:
        start = time.perf_counter_ns()
        case.run(*arguments)
        return (time.perf_counter_ns() - start) / 1e9
    finally:
        gc.enable()


def ratio(timing: Timing, base: Timing) -> float:
    """Rate of `timing` over the rate of `base`: the median over the rounds, so that a busy moment cancels out."""
    rounds = zip(timing.runs_s, base.runs_s, strict=True)
    return statistics.median((timing.case.work / ours) / (base.case.work / theirs) for ours, theirs in rounds)


def target(name: str, value: float, bound: float, unit: str = "ratio", at_least: bool = True) -> Target:
    """An entry of `targets`: met when `value` is at least (or at most) `bound`."""
    met = value >= bound if at_least else value <= bound
    direction = "at least" if at_least else "at most"
    return {"name": name, "value": value, "unit": unit, "target": bound, "bound": direction, "met": met}


def machine() -> dict[str, Any]:
    """Processor, cores and load; no names."""
    processor = platform.processor()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        processor = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), processor)
    except OSError:
        pass
    return {
        "processor": processor or platform.machine(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "load_at_start": round(os.getloadavg()[0], 2),
    }


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Python's version and those of the packages that are installed."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def main(
    file: str,
    description: str | None,
    run: Callable[[argparse.Namespace], tuple[list[Result], list[Target]]],
    add_arguments: Callable[[argparse.ArgumentParser], Any] | None = None,
    packages: Sequence[str] = (),
) -> None:
    """Reads the command line, runs the benchmark and prints what it found.

    Args:
        file: `__file__` of the benchmark, whose name it takes.
        description: what `--help` says.
        run: gets the options (`runs` and the benchmark's own), returns (results, targets).
        add_arguments: adds options of its own.
        packages: peers whose versions belong beside the figures.
    """
    name = Path(file).stem
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--runs", type=int, default=MIN_RUNS, help="timed runs of each case (default %(default)s)")
    if add_arguments is not None:
        add_arguments(parser)
    options = parser.parse_args()
    if options.runs < MIN_RUNS:
        parser.error(f"--runs {options.runs}: a median needs at least {MIN_RUNS}")
    about = {"benchmark": name, "machine": machine(), "versions": versions((*PACKAGES, *packages))}
    results, targets = run(options)
    report = {**about, "results": results, "targets": targets}
    if options.json:
        print(json.dumps(report, indent=2, allow_nan=False))
    else:
        _print_tables(report)


def _print_tables(report: dict[str, Any]) -> None:
    for about in ("machine", "versions"):
        print(f"{about}: " + ", ".join(f"{key} {value}" for key, value in report[about].items()))
    for rows in (report["results"], report["targets"]):
        columns = list(dict.fromkeys(key for row in rows for key in row))
        lines = [columns, *([_cell(row.get(column)) for column in columns] for row in rows)]
        widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
        print()
        for line in lines:
            print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
