"""From configuration to the records that the kernels read: fees, latency, fills, impact and limits of one account.

The only place where the two meet; a backtest and an environment call the same function.
"""

import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from bt_gym._section import to_nanoseconds
from bt_gym.config import (
    Almgren2005ImpactConfig,
    AlmgrenChrissImpactConfig,
    CmeFillConfig,
    EmpiricalLatencyConfig,
    ExecutionConfig,
    FeedLatencyConfig,
    FillModelConfig,
    InterpolatedLatencyConfig,
    LatencyModelConfig,
    LinearImpactConfig,
    LoadLatencyConfig,
    LognormalLatencyConfig,
    MarketImpactConfig,
    ProbabilisticFillConfig,
    PropagatorImpactConfig,
    ProRataFillConfig,
    QueueModelFillConfig,
    RiskLimitsConfig,
    RunLimitsConfig,
    SquareRootImpactConfig,
)
from bt_gym.core import enums
from bt_gym.core.latency import ANSWER, ANSWERED, EXCHANGE, REQUEST, RESPONSE
from bt_gym.core.orders import new_models
from bt_gym.data.instruments import Instrument
from bt_gym.data.tape import Tape
from bt_gym.errors import ConfigError, TapeError

_Z99 = 2.3263478740408408  # 99 % of a standard normal distribution lie below
_WITHOUT_QUEUE = {enums.FILL_NEVER_AT_TOUCH, enums.FILL_FRONT_OF_QUEUE}  # and all estimates
_QUEUE_MODELS = {
    "risk_averse": enums.FILL_RISK_AVERSE,
    "risk_adverse": enums.FILL_RISK_AVERSE,
    "power_prob": enums.FILL_POWER_PROB,
    "power_prob2": enums.FILL_POWER_PROB2,
    "power_prob3": enums.FILL_POWER_PROB3,
    "log_prob": enums.FILL_LOG_PROB,
    "log_prob2": enums.FILL_LOG_PROB2,
}
_NO_LIMIT = 2**31 - 1
_SELF_MATCH = {name: code for code, name in enums.names("SELF_MATCH_").items()}


def execution_models(
    execution: ExecutionConfig,
    limits: RiskLimitsConfig,
    instrument: Instrument,
    account: int = 0,
    run_limits: RunLimitsConfig | None = None,
) -> np.ndarray:
    """The models of one account, shape (1,), for `core.orders.new_account`.

    Args:
        execution: latency, fills and impact.
        limits: of the account.
        instrument: its tick value and fees.
        account: number of the account in its run, or of the environment: draws of accounts differ.
        run_limits: of all accounts of the run together.

    Raises:
        InstrumentError: the instrument has no fees.
        ConfigError: a file of latencies can't be used.
    """
    maker_fee, taker_fee = instrument.require_fees()
    latency = execution.latency_model
    return new_models(
        entry_latency=latency.compute_latency_ns + latency.entry_latency_ns,
        response_latency=latency.response_latency_ns,
        tick_value=instrument.tick_value_micros,
        maker_fee=maker_fee,
        taker_fee=taker_fee,
        protection=execution.protection_ticks,
        fill_on_cross=int(execution.fill_model.fill_on_cross),
        self_match=_SELF_MATCH[execution.self_match],
        stop_on_quote=int(execution.stop_trigger == "quote"),
        auction=int(execution.auction == "strictly_better"),
        seed=execution.seed,
        account=account,
        fills=_fills(execution.fill_model),
        latency=_latency(latency),
        impact=_impact(execution.market_impact),
        **limits.values,
        **(run_limits.values if run_limits else {}),
        **execution.fees.values,
    )


def needs_orders(fill_model: FillModelConfig) -> bool:
    """Whether the model needs a tape that knows orders one by one (market-by-order data)."""
    model = _fills(fill_model)["model"]
    is_share = isinstance(fill_model, ProbabilisticFillConfig) and fill_model.queue_position_model == "pro_rata"
    return not (model in _WITHOUT_QUEUE or model >= enums.FILL_RISK_AVERSE or is_share)


def check_tape(fill_model: FillModelConfig, tape: Tape) -> None:
    """Refuses a fill model that the tape can't support.

    Raises:
        ConfigError: the model follows single orders, the tape knows level sizes only.
        TapeError: the tape has no book at all.
    """
    if tape.book == "none":
        raise TapeError(f"{tape.path}: holds trades alone: orders need a book, ingest mbo or mbp-10 data")
    if tape.book == "l2" and needs_orders(fill_model):
        raise ConfigError(
            f"execution.fill_model.type: {fill_model.type} needs order by order data, {tape.path} holds level "
            "sizes only (L2): ingest mbo data, or set a queue model of levels, such as risk_averse"
        )


def describe(execution: ExecutionConfig) -> tuple[str, str, str]:
    """Fill, latency and impact model in words, with their parameters, for reports."""
    latency = execution.latency_model
    entry, response = latency.compute_latency_ns + latency.entry_latency_ns, latency.response_latency_ns
    legs = {"entry": entry, "response": response, "extra feed": latency.extra_feed_latency_ns}
    told = ", ".join(f"{leg} {ns / 1000:g} us" for leg, ns in legs.items())
    if latency.type != "fixed":
        told = f"{told} at least, {_parameters(latency, ('compute_latency_us', 'extra_feed_latency_us'))}"
    fill = execution.fill_model
    position = "exact queue position" if fill.type == "fifo" else _parameters(fill, ())
    if execution.auction != "none":
        position = f"{position}, auction {execution.auction}".removeprefix(", ")
    return (
        f"{fill.type} ({position})" if position else fill.type,
        f"{latency.type}: {told}",
        f"{execution.market_impact.type} ({_parameters(execution.market_impact, ())})".removesuffix(" ()"),
    )


def _parameters(section: Any, left_out: Sequence[str]) -> str:
    values = {name: value for name, value in section if name not in ("type", *left_out) and value is not None}
    return ", ".join(
        f"{name} {f'{len(value)} values' if isinstance(value, tuple) else value}" for name, value in values.items()
    )


# --- fills


def _fills(fill: FillModelConfig) -> dict[str, Any]:
    if isinstance(fill, ProbabilisticFillConfig):
        return {
            "model": enums.FILL_PROBABILISTIC,
            "probability": fill.fill_probability_at_touch,
            "by_queue": int(fill.queue_position_model == "exact"),
        }
    if isinstance(fill, ProRataFillConfig):
        return {"model": enums.FILL_PRO_RATA, "rules": {"pro_rata_min": fill.pro_rata_min_lots}}
    if isinstance(fill, CmeFillConfig):
        return {"model": enums.FILL_PRO_RATA, "rules": cme_rules(fill)} if fill.algorithm != "F" else {"model": 0}
    if isinstance(fill, QueueModelFillConfig):
        return {"model": _QUEUE_MODELS[fill.type], "power": 3.0 if fill.power is None else fill.power}
    return {"model": {v: k for k, v in enums.names("FILL_").items()}[fill.type]}


def cme_rules(fill: CmeFillConfig) -> dict[str, int]:
    """The passes of an algorithm (CME, "Matching Algorithm Steps") as values of `core.allocation.rules_dtype`."""
    letter = fill.algorithm
    rules = {"fifo_percent": {"K": fill.fifo_percent, "S": 100, "T": 100}.get(letter, 0)}
    rules["pro_rata_min"] = fill.pro_rata_min_lots
    if letter in "AKOQS":
        rules |= {"top_min": fill.top_min_lots, "top_max": fill.top_max_lots or _NO_LIMIT}
    if letter in "KQST":
        rules["lmm_percent"] = fill.lmm_percent
    if letter in "OQ":
        rules["threshold"] = fill.threshold_lots
    if letter == "K":
        rules["levelling"] = int(fill.levelling)
    return rules


# --- latency


def _latency(latency: LatencyModelConfig) -> dict[str, Any]:
    if isinstance(latency, LognormalLatencyConfig):
        legs = {}
        for leg in ("entry", "response"):
            low, median, p99 = (
                to_nanoseconds(getattr(latency, f"{leg}_{name}_us")) for name in ("min", "median", "p99")
            )
            sigma = math.log((p99 - low) / (median - low)) / _Z99
            legs[leg] = {"minimum": low, "scale": float(median - low), "sigma": sigma}
        return {"model": enums.LATENCY_LOGNORMAL, **legs}
    if isinstance(latency, EmpiricalLatencyConfig):
        samples = (latency.entry_us, latency.response_us)
        count = max(map(len, samples))
        rows = np.stack([_quantiles(sample, count) for sample in samples], axis=1)
        return {"model": enums.LATENCY_EMPIRICAL, "count": count, "rows": rows}
    if isinstance(latency, InterpolatedLatencyConfig):
        return _recorded(latency.file)
    if isinstance(latency, LoadLatencyConfig):
        return {
            "model": enums.LATENCY_LOAD,
            "window": to_nanoseconds(latency.window_us),
            "entry": {"scale": latency.entry_us_per_message * 1000},
            "response": {"scale": latency.response_us_per_message * 1000},
        }
    if isinstance(latency, FeedLatencyConfig):
        return {
            "model": enums.LATENCY_FEED,
            "entry": {"scale": latency.entry_factor},
            "response": {"scale": latency.response_factor},
        }
    return {"model": enums.LATENCY_FIXED}


def _quantiles(sample: tuple[Decimal, ...], count: int) -> np.ndarray:
    """So many quantiles at equal steps, ns: the sample sorted, or linear between its values."""
    values = np.sort([to_nanoseconds(value) for value in sample])
    return np.rint(np.interp(np.linspace(0, len(values) - 1, count), np.arange(len(values)), values)).astype(np.int64)


@cache
def _read_rows(file: Path, _changed: int) -> np.ndarray:
    """(n, 3) int64 of a file of recorded latencies."""
    try:
        if file.suffix in (".npy", ".npz"):
            rows = np.load(file, allow_pickle=False)
            rows = rows["data"] if file.suffix == ".npz" else rows  # hftbacktest's own key
            if rows.dtype.names:
                rows = np.stack([rows[name] for name in ("req_ts", "exch_ts", "resp_ts")], axis=1)
        else:
            rows = np.loadtxt(file, dtype=np.int64, delimiter=",", skiprows=1, ndmin=2, usecols=(0, 1, 2))
    except (ValueError, IndexError, KeyError, BadZipFile) as error:
        raise ConfigError(f"{file}: not rows of req_ts,exch_ts,resp_ts in ns: {error}") from None
    if rows.ndim != 2 or rows.shape[1] < 3 or not len(rows) or not np.issubdtype(rows.dtype, np.integer):
        raise ConfigError(
            f"{file}: shape {rows.shape}, {rows.dtype}: must be whole ns, three columns, at least one row"
        )
    return rows[:, :3].astype(np.int64)


def _recorded(file: Path) -> dict[str, Any]:
    try:
        rows = _read_rows(file, file.stat().st_mtime_ns)
    except OSError as error:
        raise ConfigError(f"execution.latency_model.file: {file}: {error.strerror}; check the path") from None
    arrived = rows[:, EXCHANGE] > 0
    problems: list[tuple[Callable[[], np.ndarray], str]] = [
        (lambda: np.diff(rows[:, REQUEST], prepend=rows[0, REQUEST]) < 0, "req_ts goes back"),
        (lambda: rows[:, RESPONSE] < rows[:, REQUEST], "resp_ts is before req_ts"),
        (lambda: arrived & (rows[:, EXCHANGE] < rows[:, REQUEST]), "exch_ts is before req_ts"),
        (lambda: arrived & (rows[:, EXCHANGE] > rows[:, RESPONSE]), "exch_ts is after resp_ts"),
    ]
    for is_wrong, what in problems:
        wrong = np.flatnonzero(is_wrong())
        if len(wrong):
            raise ConfigError(f"{file}: row {wrong[0] + 1}: {what}; sort the rows and drop what can't be")
    table = np.zeros((len(rows), 5), np.int64)
    table[:, :3] = rows
    answered = rows[arrived]
    answered = answered[np.argsort(answered[:, EXCHANGE], kind="stable")]
    table[: len(answered), ANSWERED] = answered[:, EXCHANGE]
    table[: len(answered), ANSWER] = answered[:, RESPONSE] - answered[:, EXCHANGE]
    return {"model": enums.LATENCY_INTERPOLATED, "count": len(rows), "answered": len(answered), "rows": table}


# --- impact


def _impact(impact: MarketImpactConfig) -> dict[str, Any]:
    if isinstance(impact, LinearImpactConfig):
        return {"model": enums.IMPACT_LINEAR, "size": impact.impact_bps_per_million}
    if isinstance(impact, SquareRootImpactConfig):
        return {
            "model": enums.IMPACT_SQUARE_ROOT,
            "size": impact.coefficient * impact.daily_volatility,
            "exponent": impact.exponent,
            "volume": impact.daily_volume_lots,
        }
    if isinstance(impact, AlmgrenChrissImpactConfig):
        return {
            "model": enums.IMPACT_ALMGREN_CHRISS,
            "size": impact.permanent_ticks_per_lot,
            "slope": impact.temporary_ticks_per_lot,
            "fixed": impact.fixed_ticks,
        }
    if isinstance(impact, Almgren2005ImpactConfig):
        volume = impact.daily_volume_lots
        outstanding = 1.0 if impact.outstanding_lots is None else (impact.outstanding_lots / volume) ** 0.25
        return {
            "model": enums.IMPACT_ALMGREN_2005,
            "size": impact.gamma * impact.daily_volatility * outstanding / volume,
            "slope": impact.eta * impact.daily_volatility,
            "exponent": impact.exponent,
            "volume": volume * impact.duration_days,
        }
    if isinstance(impact, PropagatorImpactConfig):
        return {
            "model": enums.IMPACT_PROPAGATOR,
            "size": impact.amplitude_ticks,
            "exponent": impact.size_exponent,
            "time": impact.timescale_s,
            "decay": impact.decay_exponent,
        }
    return {"model": enums.IMPACT_NONE}
