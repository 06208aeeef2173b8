"""Fixtures shared by all tests, how many random examples they try, and what is said of skipped ones."""

import json
import os
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from hypothesis import settings

from benchmarks._harness import machine, versions

REAL_DATA = os.environ.get("BT_GYM_REAL_DATA")
NO_REAL_DATA = "BT_GYM_REAL_DATA is not set"

# No deadlines, since the first example of a kernel compiles it.
# Tests try the same examples each time, `make soak` new ones.
settings.register_profile("test", deadline=None, derandomize=True)
settings.register_profile("soak", deadline=None, max_examples=2000)
settings.load_profile("test")


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """`real_data(name)` is the path of a real market file; the test skips when there is none."""

    def path(name: str) -> Path:
        if not REAL_DATA:
            pytest.skip(NO_REAL_DATA)
        file = Path(REAL_DATA) / name
        if not file.exists():
            pytest.skip(f"BT_GYM_REAL_DATA has no {name}")
        return file

    return path


@pytest.fixture(scope="session")
def session_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DBN file of a short synthetic session (`tests.runs.synthetic`)."""
    from tests.runs import synthetic

    path = tmp_path_factory.mktemp("session") / "thin.mbo.dbn.zst"
    synthetic().write(path)
    return path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks all of tests/core as tests of compiled code; others say so themselves."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent / "core"):
            item.add_marker("kernel")


SOAK_RESULTS = Path(__file__).parents[1] / "benchmarks" / "results" / "soak.json"
LONG = 10.0  # seconds


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Keeps what a soak found: the outcome and the time of its long tests, and how many there were of each outcome."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if session.config.getoption("hypothesis_profile", None) != "soak" or reporter is None:
        return  # no soak, or a worker of one
    reports = [r for kind in ("passed", "failed") for r in reporter.stats.get(kind, []) if r.when == "call"]
    found = {
        "benchmark": "soak",
        "machine": machine(),
        "versions": versions(),
        "outcomes": {kind: len(reporter.stats.get(kind, [])) for kind in ("passed", "failed", "error", "skipped")},
        "tests": [
            {"name": report.nodeid, "outcome": report.outcome, "seconds": round(report.duration, 1)}
            for report in sorted(reports, key=lambda report: report.nodeid)
            if report.failed or report.duration >= LONG or "soak" in report.keywords
        ],
    }
    SOAK_RESULTS.parent.mkdir(parents=True, exist_ok=True)
    SOAK_RESULTS.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


@pytest.hookimpl(wrapper=True, tryfirst=True)  # after the list of failures, so that it is the last thing said
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Generator[None, None, None]:
    """Says how many tests were skipped for want of real market data."""
    yield
    skipped = [report for report in terminalreporter.stats.get("skipped", []) if NO_REAL_DATA in str(report.longrepr)]
    if skipped:
        terminalreporter.write_line(f"{len(skipped)} tests skipped: {NO_REAL_DATA}", yellow=True)
