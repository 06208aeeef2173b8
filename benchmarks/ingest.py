"""How fast a `.dbn.zst` file becomes a tape, and what that takes in memory and on disk.

    ingest        file to tape: inflate, compile, write; with the file's sha256 on the way
    zstd          inflates the file, and nothing else
    hftbacktest   the same file to hftbacktest's array by its Databento converter (pip install -e '.[bench]')
    compile       MBO records in memory to a tape in memory
    generate      the synthetic exchange makes the session
    ingest_small  a short session of the same market to a tape: what a file costs beside its records

and a file of 20 million records, ten days of the session, ingested by a process of its own, whose peak memory counts.

The stream is the profile `es_busy`: 2 million records, 6,000 live orders.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

from benchmarks._calibration import inflate
from benchmarks._harness import Case, Result, Target, main, measure, ratio, target
from bt_gym.data import dbn
from bt_gym.data.compiler import Compiler
from bt_gym.data.files import sha256
from bt_gym.data.symbology import NS_PER_DAY
from bt_gym.data.synthetic import Session, generate
from bt_gym.data.tape import Tape, ingest

SEED = 1
PROFILE = "es_busy"
SECONDS = 2400
SMALL_SECONDS = 30
DAYS = 10
QUICK = {"seconds": 10, "small_seconds": 2, "days": 2}
CHUNK = 1 << 15  # records, as the reader hands them to the compiler
IN_A_PROCESS = """
import json, resource, sys
from bt_gym.data.tape import Tape, ingest
tape = Tape.open(ingest([sys.argv[1]], tick_size_nanos=int(sys.argv[2]), folder=sys.argv[3]), verify=False)
try:  # ru_maxrss would count what the parent had in memory when it forked
    with open("/proc/self/status") as status:
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
except OSError:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"records": int(tape.events["source"][-1]), "peak_mb": peak / 1024}))
"""


def compile_all(messages: np.ndarray, tick_size: int) -> Iterator[Any]:
    """The pieces of the tape, one after the other."""
    compiler = Compiler(tick_size)
    for first in range(0, len(messages), CHUNK):
        yield from compiler.feed(messages[first : first + CHUNK])
    yield from compiler.finish()


def check(session: Session, file: Path, tape: Tape) -> None:
    """Asserts that the file's tape is the session's own: same bytes as compiled from memory, same final quotes."""
    assert inflate(file) == dbn.open_dbn(file).header_bytes + session.records.nbytes
    assert tape.metadata["sources"][0]["sha256"] == sha256(file)
    records = b"".join(piece.records.tobytes() for piece in compile_all(session.records, session.profile.tick_nanos))
    assert records == tape.records.tobytes(), "compiled from memory and from the file differ"
    assert (tape.events["bid"][-1], tape.events["ask"][-1]) == (session.levels(0)[0][0], session.levels(1)[0][0])


def write_days(session: Session, days: int, path: Path) -> int:
    """The session on so many days in a row, as one file; returns its records. They are never in memory together."""
    records = session.records.copy()
    first_and_last = records[[0, -1]]
    for clock in ("ts_event", "ts_recv"):
        first_and_last[clock][1] += (days - 1) * NS_PER_DAY
    plain = path.with_suffix(".header")
    profile = session.profile
    dbn.write_mbo(plain, first_and_last, symbol=profile.symbol, instrument_id=profile.instrument_id)
    compressor = zstandard.ZstdCompressor(level=1, write_checksum=True)
    with open(path, "wb") as file:
        file.write(compressor.compress(plain.read_bytes()[: -first_and_last.nbytes]))
        for _ in range(days):
            for first in range(0, len(records), dbn.FRAME_RECORDS):
                file.write(compressor.compress(records[first : first + dbn.FRAME_RECORDS].view(np.uint8).data))
            for clock in ("ts_event", "ts_recv"):
                records[clock] += NS_PER_DAY
    return days * len(records)


def ingest_in_a_process(file: Path, tick_size: int, folder: Path) -> dict[str, Any]:
    """Records and peak resident memory (MB, everything that the process loads included) of a fresh process."""
    command = [sys.executable, "-c", IN_A_PROCESS, str(file), str(tick_size), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 (itself)
    return json.loads(done.stdout)


def convert_by_peer(file: Path) -> int:
    """Rows that hftbacktest's converter makes of the file; what it and its libraries print meanwhile is dropped."""
    from hftbacktest.data.utils.databento import convert

    with redirect_stdout(StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return len(convert(str(file), None))


def run(options: argparse.Namespace) -> tuple[list[Result], list[Target]]:
    """All cases of the docstring."""
    seconds, small_seconds, days = (
        (QUICK["seconds"], QUICK["small_seconds"], QUICK["days"]) if options.quick else (SECONDS, SMALL_SECONDS, DAYS)
    )
    with tempfile.TemporaryDirectory(prefix="bt_gym-ingest-") as name:
        folder = Path(name)

        def new_folder() -> str:
            return tempfile.mkdtemp(dir=folder)

        session, small = generate(SEED, seconds, PROFILE), generate(SEED, small_seconds, PROFILE, pre_open_seconds=1)
        tick_size, messages = session.profile.tick_nanos, session.records
        file, small_file = folder / "session.mbo.dbn.zst", folder / "small.mbo.dbn.zst"
        session.write(file)
        small.write(small_file)
        tape = Tape.open(ingest([file], tick_size_nanos=tick_size, folder=new_folder()))
        check(session, file, tape)

        def to_tape(source: Path) -> Any:
            return lambda to: ingest([source], tick_size_nanos=tick_size, folder=to)

        def in_records(name: str, work: Any, count: int = len(messages), prepare: Any = None) -> Case:
            return Case(name, work, count, "records", prepare)

        cases = [
            in_records("ingest", to_tape(file), prepare=new_folder),
            in_records("zstd", lambda: inflate(file)),
            in_records("compile", lambda: sum(len(piece.records) for piece in compile_all(messages, tick_size))),
            in_records("generate", lambda: generate(SEED, seconds, PROFILE)),
            in_records("ingest_small", to_tape(small_file), len(small.records), new_folder),
        ]
        has_peer = importlib.util.find_spec("hftbacktest") is not None
        if has_peer:
            cases.append(in_records("hftbacktest", lambda: convert_by_peer(file)))
        else:
            print("hftbacktest isn't installed and left out: pip install -e '.[bench]'", file=sys.stderr)
        timings = measure(cases, options.runs)
        size = tape.path.stat().st_size / len(messages)
        long_file = folder / "long.mbo.dbn.zst"
        count = write_days(session, days, long_file)
        long = ingest_in_a_process(long_file, tick_size, folder / "long")
        assert long["records"] == count

    rows: list[Result] = [{"name": "session", "records": len(messages), "tape_records": len(tape.records)}]
    rows += [timing.result(vs_zstd=ratio(timing, timings["zstd"])) for timing in timings.values()]
    rows.append({"name": "long_file", **long})
    targets = [
        target("ingest_vs_zstd", ratio(timings["ingest"], timings["zstd"]), 0.6),
        target("bytes_per_record", size, 40, "bytes", at_least=False),
        target("peak_mb_20m_records", long["peak_mb"], 1000, "MB", at_least=False),
        target("generated_per_second", timings["generate"].rate, 1e6, "records/s"),
    ]
    if has_peer:
        peer = ratio(timings["ingest"], timings["hftbacktest"])
        targets.insert(1, target("ingest_vs_hftbacktest", peer, 50))
    return rows, targets


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options beside the harness's own."""
    parser.add_argument("--quick", action="store_true", help="short files: whether it runs, not how fast")


if __name__ == "__main__":
    main(__file__, __doc__, run, add_arguments, packages=("hftbacktest", "polars"))
