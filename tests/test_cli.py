"""The command line as a user meets it: what it prints, what it leaves behind, and one line for each mistake."""

import io
import json
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest
import zstandard

from bt_gym.cli import main
from bt_gym.data import dbn
from tests.data.batches import write_batch
from tests.runs import synthetic

ROOT = Path(__file__).parent.parent
CONFIG = str(ROOT / "configs" / "sma_crossover.yaml")
PERIODS = ["--set", "strategy.parameters.fast_period=5", "--set", "strategy.parameters.slow_period=20"]


class Result(NamedTuple):
    """What a command printed and how it ended."""

    returncode: int
    stdout: str
    stderr: str


def bt_gym(*arguments: object, folder: Path) -> Result:
    """Runs the command in `folder`, with its tapes there: in this process, where the kernels are loaded already."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["bt-gym", *map(str, arguments)])
        patch.setattr(sys, "path", [*sys.path])
        patch.setenv("BT_GYM_TAPES", str(folder / "tapes"))
        patch.setenv("COLUMNS", "100")
        with pytest.raises(SystemExit) as ended:
            main()
    return Result(int(ended.value.code or 0), out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def session(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("session") / "session.mbo.dbn.zst"
    synthetic().write(path)
    return path


def refused(result: Result, *words: str) -> None:
    """One line on stderr with these words, a code, and nothing on stdout."""
    assert result.returncode != 0
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    for word in words:
        assert word in lines[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["backtest"], ["missing argument 'config': see bt-gym backtest --help"]),
        (["backtest", "x.yaml", "--nope"], ["no such option: --nope", "see bt-gym backtest --help"]),
        (["nope"], ["no such command 'nope': see bt-gym --help"]),
        (["data", "windows", "ESH4", "--length", "x"], ["'--length'", "number", "see bt-gym data windows --help"]),
    ],
)
def test_command_line__that_is_none_is_refused_in_a_line(arguments: list[str], words: list[str], tmp_path: Path):
    result = bt_gym(*arguments, folder=tmp_path)
    refused(result, "bt-gym: ", *words)
    assert result.returncode == 2


def test_command_line__without_a_command_is_the_help(tmp_path: Path):
    result = bt_gym("data", folder=tmp_path)
    assert result.returncode == 2
    assert "windows" in result.stdout + result.stderr
    assert bt_gym("data", "--help", folder=tmp_path).returncode == 0


def test_backtest__prints_the_report_and_names_its_files(session: Path, tmp_path: Path):
    result = bt_gym("backtest", CONFIG, "--data", session, "--symbol", "SYNH6", *PERIODS, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "Backtest of SYNH6" in result.stdout
    for kind in ("metrics", "trades", "orders", "equity"):
        path = tmp_path / "results" / "sma_crossover" / f"{kind}.parquet"
        assert f"{kind}: results/sma_crossover/{kind}.parquet" in result.stdout
        assert pq.read_table(path).num_rows > 0


def test_backtest__writes_the_same_bytes_again(session: Path, tmp_path: Path):
    def written() -> dict[str, bytes]:
        result = bt_gym("backtest", CONFIG, "--data", session, *PERIODS, folder=tmp_path)
        assert result.returncode == 0, result.stderr
        return {path.name: path.read_bytes() for path in (tmp_path / "results" / "sma_crossover").iterdir()}

    assert written() == written()


def test_backtest__takes_a_tape_and_a_strategy_of_ones_own(session: Path, tmp_path: Path):
    tape = bt_gym("ingest", session, "--tick-size", "0.25", "--out", tmp_path, folder=tmp_path)
    assert tape.returncode == 0, tape.stderr
    (tmp_path / "mine.py").write_text(
        "from bt_gym import SimpleMovingAverageCrossover\n\n\nclass Mine(SimpleMovingAverageCrossover):\n    pass\n"
    )
    (tmp_path / "mine.yaml").write_text("strategy: {type: 'mine:Mine', parameters: {fast_period: 5, slow_period: 20}}")
    result = bt_gym("backtest", CONFIG, "--data", tape.stdout.strip(), "--strategy", "mine.yaml", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    trades = pq.read_table(tmp_path / "results" / "sma_crossover" / "trades.parquet")
    assert set(trades["strategy"].to_pylist()) == {"mine:Mine"}


def test_validate__prints_one_json_object(session: Path, tmp_path: Path):
    result = bt_gym("validate", session, "--json", folder=tmp_path)
    found = json.loads(result.stdout)
    records = synthetic().records
    assert found["records"] == len(records)
    assert found["trades"] == np.count_nonzero(records["action"] == dbn.ACTION_TRADE)
    assert found["fifo"]["mismatch"] == 0
    assert found["price_grid"] == {"tick_size": 0.25, "inferred": True}
    assert bt_gym("validate", session, folder=tmp_path).returncode == 0


def test_validate__twin_test_takes_as_many_orders_as_are_asked_for(session: Path, tmp_path: Path):
    result = bt_gym("validate", session, "--twin", "--orders", 30, "--seed", 1, "--json", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    counts = found["twin_orders"]
    assert list(counts) == ["segments", "exact", "auction", "iceberg", "self_match", "unexplained"]
    assert counts["segments"] == sum(counts.values()) - counts["segments"] >= 30
    assert counts["exact"] >= 25
    assert (counts["unexplained"], found["twin_unexplained"]) == (0, [])


def test_validate__refuses_a_number_of_orders_that_is_none(tmp_path: Path):
    refused(bt_gym("validate", "none.dbn", "--twin", "--orders", -3, folder=tmp_path), "--orders -3", "1 or more")


def test_synth__is_the_same_for_the_same_seed(tmp_path: Path):
    for name in ("a.dbn", "b.dbn"):
        result = bt_gym("synth", "--minutes", 0.1, "--seed", 3, "-o", name, folder=tmp_path)
        assert result.returncode == 0, result.stderr
    assert (tmp_path / "a.dbn").read_bytes() == (tmp_path / "b.dbn").read_bytes()


def test_command__runs_as_a_program(tmp_path: Path):
    program = Path(sys.executable).with_name("bt-gym")
    result = subprocess.run([program, "validate", "none.dbn"], cwd=tmp_path, capture_output=True, text=True)
    refused(Result(result.returncode, result.stdout, result.stderr), "none.dbn", "No such file")


def test_demo__ends_with_the_files_it_wrote(tmp_path: Path):
    result = bt_gym("demo", "--minutes", 3, "--out", "out", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "Backtest of SYNH6" in result.stdout
    named = [line.partition(": ")[2] for line in result.stdout.splitlines()[-4:]]
    assert all((tmp_path / path).is_file() for path in named)


# --- mistakes


@pytest.fixture
def broken(session: Path, tmp_path: Path) -> dict[str, Path]:
    """Files that can't be used, by what is wrong with them."""
    data = session.read_bytes()
    plain = zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True).read()
    header = 8 + int.from_bytes(plain[4:8], "little")
    contents = {
        "cut.dbn.zst": data[: len(data) // 2],
        "cut.dbn": plain[: header + 56 * 10 + 7],
        "flipped.dbn.zst": data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 255]) + data[len(data) // 2 + 1 :],
        "empty.dbn": plain[:header],
        "nothing.dbn": b"",
        "text.dbn": b"ts_event,price\n1,2\n",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return {name: tmp_path / name for name in contents}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cut.dbn.zst", ["cut.dbn.zst", "inside zstd frame", "fetch"]),
        ("cut.dbn", ["cut.dbn", "record", "fetch"]),
        ("flipped.dbn.zst", ["flipped.dbn.zst", "damaged", "fetch"]),
        ("empty.dbn", ["empty.dbn", "no MBO record", "request"]),
        ("nothing.dbn", ["nothing.dbn", "isn't DBN"]),
        ("text.dbn", ["text.dbn", "isn't DBN", ".dbn.zst"]),
        ("missing.dbn", ["missing.dbn", "No such file"]),
    ],
)
@pytest.mark.parametrize("command", ["validate", "ingest", "backtest"])
def test_bad_file__is_one_line_and_nothing_is_written(
    command: str, name: str, words: list[str], broken: dict[str, Path], tmp_path: Path
):
    file = tmp_path / name
    before = set(tmp_path.rglob("*"))
    arguments = {
        "validate": ("validate", file),
        "ingest": ("ingest", file, "--tick-size", "0.25", "--out", tmp_path / "tapes"),
        "backtest": ("backtest", CONFIG, "--data", file),
    }[command]
    refused(bt_gym(*arguments, folder=tmp_path), *words)
    assert {path for path in set(tmp_path.rglob("*")) - before if path.is_file()} == set()


def test_symbol__that_is_not_in_the_file_is_refused_with_those_that_are(session: Path, tmp_path: Path):
    refused(bt_gym("validate", session, "--symbol", "ESZ9", folder=tmp_path), "ESZ9", "SYNH6")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("databento_samples/legacy.mbo.dbz", ["legacy DBZ", "convert"]),
        ("ESU4_2024-07-01.trades.dbn.zst", ["schema trades", "mbo"]),
        ("ESU4_2024-07-01.mbp-1.dbn.zst", ["schema mbp-1", "mbo"]),
        ("databento_samples/GLBX.MDP3.definition.dbn.zst", ["schema definition", "mbo"]),
    ],
)
@pytest.mark.real_data
def test_other_schema_or_format__is_refused_by_name(name: str, words: list[str], real_data, tmp_path: Path):
    refused(bt_gym("validate", real_data(name), folder=tmp_path), name.rpartition("/")[2], *words)


def test_facts__of_two_markets_beside_each_other(tmp_path: Path):
    for seed in (1, 2):
        bt_gym("synth", "--minutes", 12, "--seed", seed, "-o", f"{seed}.dbn", folder=tmp_path)
    result = bt_gym("facts", "1.dbn", "--against", "2.dbn", "--report", "out/facts.html", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "impact" in result.stdout
    assert result.stdout.splitlines()[-1] == "report: out/facts.html"
    assert (tmp_path / "out" / "facts.html").read_text().count("<svg") == 8
    both = json.loads(bt_gym("facts", "1.dbn", "--against", "2.dbn", "--json", folder=tmp_path).stdout)
    assert list(both) == ["1.dbn", "2.dbn"]
    same = bt_gym("facts", "1.dbn", "--against", "1.dbn", "--against-symbol", "SYNH6", "--json", folder=tmp_path)
    first, again = json.loads(same.stdout).items()
    assert (first[0], again[0], first[1]) == ("1.dbn", "1.dbn SYNH6", again[1])
    refused(bt_gym("facts", "3.dbn", folder=tmp_path), "3.dbn", "No such file")


def test_facts__are_never_guessed(session: Path, tmp_path: Path):
    refused(bt_gym("ingest", session, folder=tmp_path), "SYNH6", "tick_size", "--tick-size")
    bare = tmp_path / "bare.yaml"
    bare.write_text("backtest: {}\nstrategy: {type: sma_crossover}\n")
    refused(bt_gym("backtest", bare, "--data", session, folder=tmp_path), "tick_size and multiplier", "--multiplier")
    facts = ("--tick-size", "0.25", "--multiplier", "50")
    refused(bt_gym("backtest", bare, "--data", session, *facts, folder=tmp_path), "fees", "--fee-per-contract")
    refused(bt_gym("ingest", session, "--tick-size", "a quarter", folder=tmp_path), "--tick-size", "'a quarter'")
    refused(bt_gym("ingest", session, "--tick-size", "0.35", folder=tmp_path), "tick size 0.35", "not a multiple")


@pytest.mark.parametrize(
    ("flag", "value", "words"),
    [
        ("--tick-size", "nan", "must be a finite number"),
        ("--tick-size", "0", "must be greater than 0"),
        ("--multiplier", "-50", "must be greater than 0"),
        ("--multiplier", "1e-9", "isn't exact"),
        ("--fee-per-contract", "free", "isn't a number"),
        ("--fee-per-contract", "0.0000001", "decimal places"),
    ],
)
def test_flag__that_makes_no_sense_is_named(session: Path, tmp_path: Path, flag: str, value: str, words: str):
    result = bt_gym("backtest", CONFIG, "--data", session, flag, value, folder=tmp_path)
    refused(result, words, "" if "exact" in words else f"bt-gym: {flag}: ")


def test_definition__that_does_not_help_is_named(session: Path, tmp_path: Path):
    (tmp_path / "text.dbn").write_text("tick size 0.25")
    run = ("ingest", session, "--out", tmp_path / "tapes", "--definition")
    refused(bt_gym(*run, tmp_path / "text.dbn", folder=tmp_path), "text.dbn", "isn't DBN")
    refused(bt_gym(*run, session, folder=tmp_path), "schema mbo", "definition")
    refused(bt_gym(*run, tmp_path / "none.dbn", folder=tmp_path), "none.dbn", "No such file")


def test_tape__that_does_not_fit_is_refused(session: Path, tmp_path: Path):
    ingested = bt_gym("ingest", session, "--tick-size", "0.05", "--out", tmp_path, folder=tmp_path)
    tape = Path(ingested.stdout.strip())
    run = ("backtest", CONFIG, "--data")
    refused(bt_gym(*run, tape, folder=tmp_path), tape.name, "tick size 0.05", "ingest")
    refused(bt_gym(*run, tape, "--symbol", "ESZ9", folder=tmp_path), "ESZ9", tape.name)
    refused(bt_gym(*run, tape, "--data", session, folder=tmp_path), tape.name, "not both")
    tape.write_bytes(tape.read_bytes()[:-1000])
    refused(bt_gym(*run, tape, folder=tmp_path), tape.name, "isn't a whole tape", "ingest")
    assert not (tmp_path / "results").exists()


def test_place__that_cannot_be_written_is_named(session: Path, tmp_path: Path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.dbn").mkdir()
    output = ("--set", "backtest.output.metrics_file=file/metrics.parquet")
    refused(bt_gym("backtest", CONFIG, "--data", session, *output, folder=tmp_path), "file: ", "check the path")
    refused(bt_gym("synth", "--minutes", 0, "-o", "folder.dbn", folder=tmp_path), "folder.dbn: ", "check the path")
    refused(bt_gym("synth", "--minutes", 0, "-o", "x.txt", folder=tmp_path), "--out x.txt", "ends in .dbn or .dbn.zst")
    refused(
        bt_gym("ingest", session, "--tick-size", 0.25, "--out", "file", folder=tmp_path), "file: ", "another folder"
    )
    assert {path.name for path in tmp_path.iterdir()} <= {"file", "folder.dbn", "tapes"}
    assert not list((tmp_path / "folder.dbn").iterdir())


def test_config__names_the_line_and_the_nearest_key(session: Path, tmp_path: Path):
    typo = tmp_path / "typo.yaml"
    typo.write_text("backtest:\n  risk_limits:\n    max_postion: 5\nstrategy: {type: sma_crossover}\n")
    refused(bt_gym("backtest", typo, "--data", session, folder=tmp_path), "typo.yaml:3", "max_postion", "max_position")
    refused(bt_gym("backtest", tmp_path / "none.yaml", folder=tmp_path), "none.yaml")
    refused(bt_gym("backtest", CONFIG, folder=tmp_path), "data_source.files", "--data")


def test_original_design__runs_but_for_the_model_that_is_not_built(session: Path, tmp_path: Path):
    original = ROOT / "configs" / "original_backtest.yaml"
    strategy = ("--strategy", ROOT / "configs" / "original_strategy.yaml")
    facts = ("--tick-size", "0.25", "--multiplier", "50", "--fee-per-contract", "2")
    run = ("backtest", original, "--data", session, "--symbol", "SYNH6", *strategy, *facts)
    result = bt_gym(*run, folder=tmp_path)
    assert result.returncode == 1
    assert "ml_model_path" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "results").exists()
    quick = ("model=none", "lookback_period=20", "entry_threshold=1.5")
    settings = (part for setting in quick for part in ("--set", f"strategy.parameters.{setting}"))
    result = bt_gym(*run, *settings, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "model: none" in result.stdout
    assert "fill model: probabilistic (fill_probability_at_touch 0.5, queue_position_model pro_rata" in result.stdout
    assert "impact: linear (impact_bps_per_million 0.5)" in result.stdout
    trades = pq.read_table(tmp_path / "results" / "trades.parquet").to_pylist()
    taken = [trade for trade in trades if trade["liquidity"] == "taker"]
    assert taken
    assert all(trade["impact_micros"] > 0 for trade in taken)


# --- real data


@pytest.mark.real_data
def test_backtest__of_a_real_session_trades_its_open_hour_only(real_data, tmp_path: Path):
    file = real_data("ESH4_2023-12-25.mbo.dbn.zst")
    result = bt_gym("backtest", CONFIG, "--data", file, "--symbol", "ESH4", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    trades = pq.read_table(tmp_path / "results" / "sma_crossover" / "trades.parquet")
    assert trades.num_rows > 0
    times = trades["ts_event"].to_numpy()
    opens, closes = 1_703_545_200_000_000_000, 1_703_548_800_000_000_000  # 2023-12-25 23:00 and 24:00 UTC
    assert opens < times.min()
    assert times.max() < closes


@pytest.mark.real_data
def test_definition__gives_tick_size_and_value(real_data, tmp_path: Path):
    file, definition = real_data("ESM4_2024-05-08_2s.mbo.dbn.zst"), real_data("ESM4_2024-05-08.definition.dbn.zst")
    bare = tmp_path / "bare.yaml"
    bare.write_text("backtest: {}\nstrategy: {type: sma_crossover, parameters: {fast_period: 1, slow_period: 2}}\n")
    run = ("backtest", bare, "--data", file, "--fee-per-contract", "2", "--definition")
    result = bt_gym(*run, definition, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    trades = pq.read_table(tmp_path / "results" / "trades.parquet").to_pylist()
    assert trades[0]["price"] == trades[0]["price_ticks"] * 0.25
    other = real_data("ES_futures.definition.dbn.zst")
    refused(bt_gym(*run, other, folder=tmp_path), "tick_size and multiplier unknown", other.name)


# --- the catalogue


BARE = """
backtest: {}
strategy: {type: sma_crossover, parameters: {fast_period: 2, slow_period: 5}}
instruments: {"SYN*": {tick_size: 0.25, multiplier: 50, fee_per_contract: 2}}
"""


def test_catalogue__from_a_batch_download_to_a_backtest_of_one_day(tmp_path: Path):
    """Three days of two instruments, with manifest, definitions and status: one command, then as a user goes on."""
    write_batch(tmp_path / "GLBX-20260105-TEST")
    ingested = bt_gym("ingest", "GLBX-20260105-TEST", folder=tmp_path)
    assert ingested.returncode == 0, ingested.stderr
    paths = [Path(line) for line in ingested.stdout.splitlines()]
    days = ["2026-01-05", "2026-01-06", "2026-01-07"]
    assert [path.name[:16] for path in paths] == [f"{name}_{day}" for day in days for name in ("SYNH6", "SYNM6")]
    assert "warning" not in ingested.stderr

    listed = json.loads(bt_gym("data", "ls", "--json", folder=tmp_path).stdout)
    assert [(entry["symbol"], entry["days"], entry["state"]) for entry in listed] == [
        (name, [day], "ok") for name in ("SYNH6", "SYNM6") for day in days
    ]
    assert "SYNM6" in bt_gym("data", "ls", folder=tmp_path).stdout
    (shown,) = json.loads(bt_gym("data", "show", "SYNM6", "--day", days[1], "--json", folder=tmp_path).stdout)
    assert shown["phases_from"] == "status"
    assert shown["phases"]["halt"] >= 1
    assert "phases_from" in bt_gym("data", "show", paths[0].name, folder=tmp_path).stdout

    (tmp_path / "bare.yaml").write_text(BARE)
    run = ("backtest", "bare.yaml", "--day", days[1], "--symbol", "SYNM6")
    result = bt_gym(*run, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    trades = pq.read_table(tmp_path / "results" / "trades.parquet")
    assert trades.num_rows > 0
    assert {str(ts)[:10] for ts in trades["ts_event"].to_numpy().astype("datetime64[ns]")} == {days[1]}
    named = ("--set", f"backtest.data_source.days=[{days[0]}]", "--set", "backtest.data_source.symbols=[SYNH6, SYNM6]")
    assert bt_gym("backtest", "bare.yaml", *named, folder=tmp_path).returncode == 0

    windows = bt_gym("data", "windows", "SYNM6", "--length", 2, "--test", 1, "--min-events", 5, folder=tmp_path)
    assert windows.returncode == 0, windows.stderr
    assert [line.split(" (")[0] for line in windows.stdout.splitlines()] == ["train: 2 days", "test: 1 days"]
    assert "at least 5 events in the 60 s before, by what came before); refused" in windows.stdout
    numbers = bt_gym(
        "data", "windows", "SYNM6", "--length", 2, "--test", 1, "--min-events", 5, "--json", folder=tmp_path
    )
    for split, line in zip(json.loads(numbers.stdout), windows.stdout.splitlines(), strict=True):
        assert line.startswith(f"{split['split']}: {split['days']} days ({split['hash'][:12]}): {split['windows']:,} ")
        assert f" of {split['candidates']:,}" in line
        assert split["candidates"] == split["windows"] + sum(split["refused"].values()) > 0

    data = bytearray(paths[3].read_bytes())
    data[len(data) // 2] ^= 1
    paths[3].write_bytes(data)
    refused(bt_gym(*run, folder=tmp_path), paths[3].name, "checksum", "delete it and ingest again")
    listed = bt_gym("data", "ls", folder=tmp_path).stdout
    assert f"damaged: {tmp_path / 'tapes' / paths[3].name}: its bytes contradict their checksum" in listed
    removed = bt_gym("data", "rm", "--unusable", "--yes", folder=tmp_path)
    assert removed.stdout.splitlines() == [str(tmp_path / "tapes" / paths[3].name), "removed 1"]
    refused(bt_gym(*run, folder=tmp_path), f"no tape of SYNM6 on {days[1]}", "ingest")
    assert bt_gym("ingest", "GLBX-20260105-TEST", folder=tmp_path).stdout == ingested.stdout
    assert bt_gym(*run, folder=tmp_path).returncode == 0


def test_catalogue__corrupt_download_compiles_nothing(tmp_path: Path):
    batch = write_batch(tmp_path / "batch", days=2)
    path = sorted(batch.glob("*.mbo.dbn.zst"))[1]
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    refused(bt_gym("ingest", "batch", folder=tmp_path), path.name, "manifest.json says", "fetch the file again")
    assert not (tmp_path / "tapes").exists()


def test_ingest__join_and_symbol_choose(tmp_path: Path):
    write_batch(tmp_path / "batch", days=2)
    joined = bt_gym("ingest", "batch", "--join", "--symbol", "SYNM6", folder=tmp_path)
    assert [Path(line).name[:16] for line in joined.stdout.splitlines()] == ["SYNM6_2026-01-05"]
    (tmp_path / "bare.yaml").write_text(BARE)
    run = ("backtest", "bare.yaml", "--symbol", "SYNM6", "--day", "2026-01-06")
    refused(bt_gym(*run, folder=tmp_path), "also holds 2026-01-05", "--by-day")
    assert bt_gym(*run, "--day", "2026-01-05", folder=tmp_path).returncode == 0
    daily = bt_gym("ingest", "batch", folder=tmp_path)
    assert len(daily.stdout.splitlines()) == 4
    assert bt_gym(*run, folder=tmp_path).returncode == 0
    assert bt_gym(*run, "--day", "2026-01-05", folder=tmp_path).returncode == 0
    Path(joined.stdout.strip()).unlink()
    refused(bt_gym(*run, "--day", "2026-01-05", folder=tmp_path), "in 2 tapes", "--join")
    refused(bt_gym("ingest", "batch", "--symbol", "SYNZ9", folder=tmp_path), "no symbol 'SYNZ9'")


def test_ingest__file_that_starts_in_mid_session_warns(tmp_path: Path):
    records = synthetic().records
    dbn.write_mbo(tmp_path / "late.dbn", records[len(records) // 2 :], symbol="SYNH6", instrument_id=4001)
    result = bt_gym("ingest", "late.dbn", "--tick-size", "0.25", folder=tmp_path)
    assert result.returncode == 0
    assert len(result.stdout.splitlines()) == 1
    assert "starts in mid-session" in result.stderr


def test_backtest__takes_a_folder_with_its_definitions(tmp_path: Path):
    write_batch(tmp_path / "batch", days=2)
    (tmp_path / "bare.yaml").write_text(BARE.replace("tick_size: 0.25, multiplier: 50, ", ""))
    result = bt_gym("backtest", "bare.yaml", "--data", "batch", "--symbol", "SYNH6", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    refused(bt_gym("backtest", "bare.yaml", "--data", "batch", folder=tmp_path), "holds 2 symbols, choose one of")


def test_data__mistakes_are_one_line(tmp_path: Path):
    refused(bt_gym("data", "show", "ESH4", folder=tmp_path), "no tape of ESH4", "data ls")
    refused(bt_gym("data", "rm", folder=tmp_path), "nothing named")
    refused(bt_gym("data", "windows", "ESH4", "--length", 60, folder=tmp_path), "no tape of ESH4", "data ls")
    refused(bt_gym("data", "windows", "ESH4", "--length", 60, "--hours", "8", folder=tmp_path), "--hours: '8'")
    assert "no tapes" in bt_gym("data", "ls", folder=tmp_path).stdout
    (tmp_path / "bare.yaml").write_text(BARE)
    refused(bt_gym("backtest", "bare.yaml", "--day", "yesterday", folder=tmp_path), "day is 'yesterday'")
    refused(bt_gym("backtest", "bare.yaml", "--day", "2026-01-05", folder=tmp_path), "symbols", "name the symbols")
    for value, words in (("[2026-13-01]", "must be a day"), ("[2026-01-05]", "days need symbols")):
        refused(bt_gym("backtest", "bare.yaml", "--set", f"backtest.data_source.days={value}", folder=tmp_path), words)


def test_data_rm__asks_first(session: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = Path(bt_gym("ingest", session, "--tick-size", "0.25", folder=tmp_path).stdout.strip())
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert bt_gym("data", "rm", "SYNH6", folder=tmp_path).returncode == 1
    assert path.exists()
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert "removed 1" in bt_gym("data", "rm", "SYNH6", folder=tmp_path).stdout
    assert not path.exists()
