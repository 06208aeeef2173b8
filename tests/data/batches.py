"""Folders as the vendor's batch downloads make them: days of synthetic instruments, and what lies beside them."""

import datetime as dt
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import databento_dbn
import numpy as np

from bt_gym.data import dbn
from bt_gym.data.symbology import EPOCH, NS_PER_DAY
from bt_gym.data.synthetic import Session, generate
from tests.runs import OTHER, THIN

HALT, REOPEN = 8.0, 12.0
"""Seconds after the open: each day has a halt, an uncross ends it."""

Ids = Mapping[str, Sequence[tuple[dt.date, dt.date, int]]]


@cache
def session(day: int, other: bool = False, seconds: float = 20) -> Session:
    """One day of one of two instruments."""
    script = [(HALT, "halt"), (REOPEN, "auction")]
    return generate(4 if other else 3, seconds, OTHER if other else THIN, day=day, pre_open_seconds=10, script=script)


def date_of(ts: int) -> dt.date:
    """UTC day of a time in ns."""
    return EPOCH + dt.timedelta(days=int(ts) // NS_PER_DAY)


def renumbered(records: np.ndarray, instrument_id: int) -> np.ndarray:
    """The same records under another instrument id."""
    records = records.copy()
    records["instrument_id"] = instrument_id
    return records


def merged(*streams: np.ndarray) -> np.ndarray:
    """Records of several instruments as one feed."""
    records = np.concatenate(streams)
    return records[np.argsort(records["ts_recv"], kind="stable")]


def metadata(
    schema: str | None,
    ids: Ids,
    start: int,
    end: int,
    *,
    stype: str | None = "raw_symbol",
    version: int = 3,
    **options: bool,
) -> bytes:
    """Metadata that maps each symbol to ids by days [first, last)."""
    return databento_dbn.Metadata(
        dataset="GLBX.MDP3",
        start=start,
        end=end,
        stype_in=stype and databento_dbn.SType(stype),
        stype_out=databento_dbn.SType("instrument_id"),
        schema=schema and databento_dbn.Schema(schema),
        symbols=["ES.FUT"] if stype == "parent" else list(ids),
        partial=[],
        not_found=[],
        mappings=[
            SimpleNamespace(
                raw_symbol=symbol,
                intervals=[SimpleNamespace(start_date=a, end_date=b, symbol=str(number)) for a, b, number in spans],
            )
            for symbol, spans in ids.items()
        ],
        version=version,
        **options,
    ).encode()


def day_ids(ts: int, **ids: int) -> Ids:
    """Ids that hold on the UTC day of `ts`."""
    day = date_of(ts)
    return {symbol: [(day, day + dt.timedelta(days=1), number)] for symbol, number in ids.items()}


def write_file(path: Path, records: np.ndarray, ids: Ids, **options: object) -> Path:
    """An MBO file of whole UTC days."""
    start = int(records["ts_recv"][0]) // NS_PER_DAY * NS_PER_DAY
    end = (int(records["ts_recv"][-1]) // NS_PER_DAY + 1) * NS_PER_DAY
    dbn.write_records(path, metadata("mbo", ids, start, end, **options), records.tobytes())  # type: ignore[arg-type]
    return path


def definition(symbol: str, instrument_id: int, ts_recv: int) -> bytes:
    """A definition record of an instrument like ES: tick 0.25, multiplier 50."""
    return bytes(
        databento_dbn.InstrumentDefMsg(
            publisher_id=1,
            instrument_id=instrument_id,
            ts_event=ts_recv,
            ts_recv=ts_recv,
            min_price_increment=250_000_000,
            display_factor=10_000_000,
            min_price_increment_amount=125_000_000,
            raw_symbol=symbol,
            asset="SYN",
            security_type="FUT",
            currency="USD",
            instrument_class=databento_dbn.InstrumentClass.FUTURE,
            security_update_action=databento_dbn.SecurityUpdateAction.ADD,
        )
    )


def write_batch(folder: Path, days: int = 3, *, status: bool = True) -> Path:
    """A batch download of some days of two instruments, with definitions, status, and the vendor's support files."""
    folder.mkdir(parents=True, exist_ok=True)
    for day in range(days):
        one, two = session(day), session(day, other=True)
        start = int(one.records["ts_recv"][0]) // NS_PER_DAY * NS_PER_DAY
        name = date_of(start).strftime("glbx-mdp3-%Y%m%d")
        ids = day_ids(start, SYNH6=THIN.instrument_id, SYNM6=OTHER.instrument_id)
        write_file(folder / f"{name}.mbo.dbn.zst", merged(one.records, two.records), ids)
        defined = definition("SYNH6", THIN.instrument_id, start) + definition("SYNM6", OTHER.instrument_id, start)
        header = metadata("definition", ids, start, start + NS_PER_DAY)
        dbn.write_records(folder / f"{name}.b.dbn.zst", header, defined)  # its name doesn't tell what it is
        if status:
            one.write_status(folder / f"{name}.SYNH6.status.dbn.zst")
            two.write_status(folder / f"{name}.SYNM6.status.dbn.zst")
    (folder / "metadata.json").write_text('{"version": 1}')
    (folder / "symbology.json").write_text("{}")
    (folder / "condition.json").write_text('[{"date": "2026-01-05", "condition": "available"}]')
    return write_manifest(folder)


def write_manifest(folder: Path) -> Path:
    """Lists all files of a folder, as the vendor does."""
    files = [
        {
            "filename": path.name,
            "size": path.stat().st_size,
            "hash": f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}",
            "urls": {},
        }
        for path in sorted(folder.iterdir())
        if path.name != "manifest.json"
    ]
    (folder / "manifest.json").write_text(json.dumps({"job_id": "GLBX-20260105-TEST", "files": files}))
    return folder
