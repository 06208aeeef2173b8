"""The sessions that environments run on: tapes, their sums and models, and the times at which episodes may start."""

import datetime as dt
from collections.abc import Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from bt_gym.config.env import EnvConfig, EnvDataConfig
from bt_gym.core import enums
from bt_gym.core.env_state import new_envs, source_dtype
from bt_gym.core.latency import FEW_ROWS
from bt_gym.core.orders import models_dtype
from bt_gym.core.reset import span_dtype
from bt_gym.core.tape import receive_delays
from bt_gym.data.catalogue import Catalogue, describe
from bt_gym.data.dataset import DEFAULT, default_tapes
from bt_gym.data.instruments import Instrument
from bt_gym.data.sidecar import feature_sums
from bt_gym.data.sources import check_manifests
from bt_gym.data.splits import split_days
from bt_gym.data.synthetic import PROFILES
from bt_gym.data.tape import SUFFIX, Tape, ingest
from bt_gym.errors import ConfigError, EmptyDataError
from bt_gym.execution_models import check_tape, execution_models

SESSION_BREAK_NS = 1_800_000_000_000
"""A break of trading this long ends a session; a shorter one is a halt in it."""


class Markets:
    """T tapes with everything that kernels need to know of them.

    Attributes:
        tapes: in order.
        instruments: facts of each.
        days: (T,) int64, YYYYMMDD of the first event, UTC.
        sources: (T,) of `env_state.source_dtype`.
        templates: (T,) of `env_state.env_dtype`.
        spans: (S,) of `reset.span_dtype`.
        window_count: windows of `ordered` episodes in all.
    """

    def __init__(self, tapes: Sequence[tuple[Tape, Instrument]], config: EnvConfig) -> None:
        self.tapes = [tape for tape, _ in tapes]
        self.instruments = [instrument for _, instrument in tapes]
        self.extra_delay = config.execution.latency_model.extra_feed_latency_ns
        window = round(config.data.window_s * 1e9)
        self.sources = np.zeros(len(tapes), source_dtype)
        self._sums = [feature_sums(tape) for tape in self.tapes]  # kept alive for the addresses
        first = [int(tape.events["ts_event"][0]) for tape in self.tapes]
        self.days = np.array([int(f"{datetime.fromtimestamp(ts // 10**9, UTC):%Y%m%d}") for ts in first], np.int64)
        templates = []
        spans: list[tuple[int, ...]] = []
        for number, (tape, instrument) in enumerate(tapes):
            source = self.sources[number]
            arrays = {"records": tape.records, "events": tape.events, "blocks": tape.blocks, "sums": self._sums[number]}
            for name, array in arrays.items():
                source[name] = array.ctypes.data
            for name in ("record", "event", "block"):
                source[f"{name}_count"] = len(arrays[f"{name}s"])
            source["extra_delay"] = self.extra_delay
            check_tape(config.execution.fill_model, tape)
            models = make_models(config, instrument)
            self.sources["models"][number] = models[0]
            templates.append(new_envs(1, models))
            spans += [(number, *span) for span in find_spans(tape.events, window, self.extra_delay)]
        if not spans:
            raise EmptyDataError(f"{self.tapes[0].path}: no continuous trading in it: give other data")
        self.templates = np.concatenate(templates)
        self.spans = np.zeros(len(spans), span_dtype)
        for row, span in zip(self.spans, spans, strict=True):
            for name, value in zip(("source", "first", "last", "close", "is_close"), span, strict=True):
                row[name] = value
        starts = self.spans["last"] - self.spans["first"]
        self.spans["before"][1:] = np.cumsum(starts + 1)[:-1]
        self.spans["windows"][1:] = np.cumsum(starts // window + 1)[:-1]
        self.window_count = int(np.sum(starts // window + 1))


def make_models(config: EnvConfig, instrument: Instrument) -> np.ndarray:
    """Models and limits of an account, (1,) of `orders.models_dtype`.

    Raises:
        ConfigError: a model needs more room than an environment's account has.
    """
    if instrument.is_inverse:
        raise ConfigError(
            f"{instrument.symbol}: an inverse instrument: environments trade linear ones, a backtest both"
        )
    models = execution_models(config.execution, config.risk, instrument)
    if models.dtype != models_dtype:
        raise ConfigError(
            f"execution: more than {FEW_ROWS} latencies in a table, or the propagator, don't fit into an environment: "
            "use another latency_model or market_impact"
        )
    return models


def find_spans(events: np.ndarray, window: int, extra_delay: int) -> list[tuple[int, int, int, int]]:
    """Times in which an episode of `window` ns may start: (first, last, close of its session, 1 if it closed), in ns.

    A session is continuous trading without a break of `SESSION_BREAK_NS`; one shorter than the window has one start,
    its first moment.
    """
    trading = events["flags"] & enums.PHASE_MASK == enums.PHASE_CONTINUOUS
    edges = np.flatnonzero(np.diff(trading.astype(np.int8), prepend=0, append=0))
    received = events["ts_event"] + receive_delays(events) + extra_delay
    runs = [(int(first), int(last) - 1) for first, last in zip(edges[::2], edges[1::2], strict=True)]
    spans = []
    for number, (first, last) in enumerate(runs):
        closes = next(
            end
            for position, (_, end) in enumerate(runs[number:], number)
            if position + 1 == len(runs) or received[runs[position + 1][0]] - received[end] >= SESSION_BREAK_NS
        )
        close = int(received[closes])
        opens = number == 0 or received[first] - received[runs[number - 1][1]] >= SESSION_BREAK_NS
        start, end = int(received[first]), min(int(received[last]), close - window)
        if end < start and opens and close > start:
            end = start
        if end >= start:
            spans.append((start, end, close, int(closes + 1 < len(events))))
    return spans


def open_tapes(config: EnvConfig, data: Any = None) -> list[tuple[Tape, Instrument]]:
    """The tapes that `data` or the configuration names, with their instruments' facts.

    Args:
        data: tapes (`Tape`) with their instruments from the configuration; None for the files it names.

    Raises:
        ConfigError, InstrumentError, DataError, TapeError: something is missing or wrong.
    """
    if data is None and not config.data.files and config.data.symbol is None:
        return [(tape, DEFAULT.instrument) for tape in default_tapes(config.data.split)]
    tapes = [data] if isinstance(data, Tape) else list(data or ())
    for file in config.data.files:
        tapes.append(Tape.open(file) if file.name.endswith(SUFFIX) else Tape.open(_compile(file, config)))
    if config.data.symbol is not None:
        tapes += map(Tape.open, _catalogued(config.data.symbol, config.data))
    return [(tape, _facts(tape.symbol, config)) for tape in tapes]


def _catalogued(symbol: str, data: EnvDataConfig) -> list[Path]:
    """The tapes of the days of a split, none of which holds a day of another."""
    catalogue = Catalogue(data.catalogue)
    days = [dt.date.fromisoformat(day) for day in data.days] or catalogue.days(symbol)
    if not days:
        raise ConfigError(f"data.symbol: {catalogue.folder} has no tape of {symbol}: make it with `bt-gym ingest`")
    split = split_days(days, validation=data.validation, test=data.test, embargo=data.embargo)
    wanted = getattr(split, data.split)
    if not wanted:
        raise ConfigError(f"data.{data.split} is 0, so that the split {data.split} has no days: give it some")
    others = {*split.train, *split.validation, *split.test} - {*wanted}
    paths = catalogue.find(symbol, wanted)
    for path in paths:
        if shared := others & {*describe(path, verify=False).days}:
            raise ConfigError(
                f"data.split: {path.name} holds {min(shared)} too, which is of another split: set data.embargo, or "
                "ingest the days apart"
            )
    return paths


def _compile(file: Path, config: EnvConfig) -> Path:
    check_manifests([file])
    return ingest([file], tick_size_nanos=lambda symbol: _facts(symbol, config).tick_size_nanos)


def _facts(symbol: str, config: EnvConfig) -> Instrument:
    known = config.data.instruments
    facts = known.get(symbol) or next((value for name, value in known.items() if fnmatchcase(symbol, name)), None)
    if facts is None:
        for profile in PROFILES.values():
            if profile.symbol == symbol:
                return profile.instrument("2.00")
        raise ConfigError(
            f"data.instruments: nothing for {symbol}: give its tick_size, multiplier and fee_per_contract"
        )
    return Instrument.resolve(symbol, config=facts)
