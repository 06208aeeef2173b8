"""The benchmarks: what their shared harness calls and prints, and that each one runs. No test looks at a time."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks._harness import Case, Timing, main, measure, ratio, target


def test_measure__calls_cases_in_turns_after_a_warm_up() -> None:
    calls: list[str] = []
    cases = [
        Case("a", lambda: calls.append("a")),
        Case("b", calls.append, prepare=lambda: calls.append("prepare") or "b"),
    ]
    timings = measure(cases, runs=2)
    assert calls == ["a", "prepare", "b", "a", "prepare", "b", "prepare", "b", "a"]
    assert [len(timings[name].runs_s) for name in ("a", "b")] == [2, 2]


def test_measure__refuses_two_cases_of_one_name() -> None:
    with pytest.raises(ValueError, match="same name"):
        measure([Case("a", int), Case("a", int)])


def test_timing__reports_medians_and_ratios_of_rates() -> None:
    slow = Timing(Case("slow", int, work=10, unit="records"), 9.0, (2.0, 8.0, 4.0))
    fast = Timing(Case("fast", int, work=30, unit="records"), 9.0, (1.0, 2.0, 4.0))
    result = slow.result(note="x")
    assert (result["median_s"], result["min_s"], result["max_s"], result["first_s"]) == (4.0, 2.0, 8.0, 9.0)
    assert (result["per_second"], result["unit"], result["runs"], result["note"]) == (2.5, "records", 3, "x")
    assert ratio(fast, slow) == 6.0  # by round 6, 12 and 3
    assert ratio(slow, fast) == pytest.approx(1 / 6)


def test_target__is_met_at_its_bound() -> None:
    assert target("t", 0.5, 0.5)["met"] is True
    assert target("t", 0.4, 0.5)["met"] is False
    assert target("mb", 900, 1000, unit="MB", at_least=False)["met"] is True


def test_main__prints_one_json_object_or_tables(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(options):
        timings = measure([Case("nothing", int, work=3, unit="records")], options.runs)
        return [timings["nothing"].result()], [target("share", 0.7, options.bound)]

    def add_arguments(parser):
        parser.add_argument("--bound", type=float, default=0.5)

    monkeypatch.setattr("sys.argv", ["x", "--json", "--runs", "6"])
    main("benchmarks/sample.py", "A sample.", run, add_arguments, packages=["pytest", "no-such-package"])
    report = json.loads(capsys.readouterr().out)
    assert list(report) == ["benchmark", "machine", "versions", "results", "targets"]
    assert report["benchmark"] == "sample"
    assert report["results"][0]["runs"] == 6
    assert {"python", "numpy", "pytest"} <= set(report["versions"])
    assert report["targets"] == [
        {"name": "share", "value": 0.7, "unit": "ratio", "target": 0.5, "bound": "at least", "met": True}
    ]

    monkeypatch.setattr("sys.argv", ["x", "--bound", "0.9"])
    main("benchmarks/sample.py", "A sample.", run, add_arguments)
    printed = capsys.readouterr().out
    assert "nothing" in printed
    assert "NO" in printed

    monkeypatch.setattr("sys.argv", ["x", "--runs", "4"])
    with pytest.raises(SystemExit):
        main("benchmarks/sample.py", "A sample.", run, add_arguments)
    assert "--runs 4: a median needs at least 5" in capsys.readouterr().err


def test_replay__checks_itself_and_prints_one_json_object() -> None:
    command = [sys.executable, "-m", "benchmarks.replay", "--quick", "--json"]
    done = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert list(report) == ["benchmark", "machine", "versions", "results", "targets"]
    assert report["benchmark"] == "replay"
    session, *cases = report["results"]
    assert session["records"] > session["events"] > session["trades"] > session["sma_fills"] > 0
    yardsticks = ["ladder_pass", "l3_book", "zstd"]
    measured = ["view_replay", "two_cursor_replay", "sma_backtest", "compile", "ingest"]
    assert [case["name"] for case in cases] == [f"synthetic/{name}" for name in measured + yardsticks]
    for case in cases:
        assert case["unit"] == "records"
        assert case["runs"] >= 5
        assert 0 < case["min_s"] <= case["median_s"] <= case["max_s"]
        assert case["per_second"] == pytest.approx(case["work"] / case["median_s"])
        others = [name for name in yardsticks if not case["name"].endswith(name)]
        assert all(case[f"vs_{name}"] > 0 for name in others)
    for target_ in report["targets"]:
        assert set(target_) == {"name", "value", "unit", "target", "bound", "met"}
        assert target_["met"] == (target_["value"] >= target_["target"])


def test_backtest__checks_itself_and_prints_one_json_object() -> None:
    command = [sys.executable, "-m", "benchmarks.backtest", "--quick", "--json"]
    done = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    session, *cases = report["results"]
    assert session["records"] > session["events"] > session["trades"] > session["grid_fills"] > 0
    names = [case["name"].removeprefix("synthetic/") for case in cases]
    ours = ["grid_jitted", "grid_every_stroke", "grid_report", "grid_python", "sma_python", "sma_jitted", "l3_book"]
    assert session["grid_strokes"] >= session["grid_asked"] > session["grid_orders"]
    assert names[: len(ours)] == ours
    assert all(name.startswith("hftbacktest_") for name in names[len(ours) :])
    assert all(0 < case["min_s"] <= case["median_s"] and case["vs_l3_book"] > 0 for case in cases)
    assert {"grid_jitted_mrec_s", "grid_vs_bare_book", "python_overhead_ratio"} <= {
        t["name"] for t in report["targets"]
    }


def test_matching__checks_itself_and_prints_one_json_object() -> None:
    command = [sys.executable, "-m", "benchmarks.matching", "--quick", "--json"]
    done = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    session, *cases = report["results"]
    assert session["records"] > session["events"] > session["orders"] > session["lots"] > 0
    names = [case["name"].removeprefix("synthetic/") for case in cases]
    assert names == ["grid", "two_quotes", "no_orders", "grid_10", "grid_20", "grid_half_stream", "l3_book"]
    assert all(0 < case["min_s"] <= case["median_s"] and case["vs_l3_book"] > 0 for case in cases)
    assert [t["name"].removeprefix("synthetic: ") for t in report["targets"]] == [
        "grid_vs_bare_book",
        "grid_per_second",
        "grid_whole_vs_half_stream",
    ]


def test_ppo__compares_the_environment_with_one_that_does_nothing() -> None:
    command = [sys.executable, "-m", "benchmarks.ppo", "--quick", "--iterations", "1", "--watch", "20", "--json"]
    done = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert [case["name"] for case in report["results"]] == [
        "environment",
        "ceiling",
        "environment_bare",
        "ceiling_bare",
    ]
    assert {case["unit"] for case in report["results"]} == {"env-steps"}
    assert [one["name"] for one in report["targets"]] == ["ppo_vs_ceiling"]


def test_ingest__checks_itself_and_prints_one_json_object() -> None:
    """With or without its peer, which isn't needed for tests."""
    command = [sys.executable, "-m", "benchmarks.ingest", "--quick", "--json"]
    done = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["benchmark"] == "ingest"
    names = [row["name"] for row in report["results"] if row["name"] != "hftbacktest"]
    assert names == ["session", "ingest", "zstd", "compile", "generate", "ingest_small", "long_file"]
    assert report["results"][-1]["records"] == 2 * report["results"][0]["records"]
    names = [target_["name"] for target_ in report["targets"]]
    has_peer = "ingest_vs_hftbacktest" in names
    assert has_peer != ("pip install -e '.[bench]'" in done.stderr)
    assert {"ingest_vs_zstd", "bytes_per_record", "peak_mb_20m_records"} <= set(names)


@pytest.mark.soak
def test_memory__stays_flat() -> None:
    command = [sys.executable, "-m", "benchmarks.memory", "--json"]
    done = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["results"][-1]["work"] >= 10_000_000
    assert report["results"][-1]["episodes"] > 1000
    assert report["targets"][0]["met"], report["results"]
