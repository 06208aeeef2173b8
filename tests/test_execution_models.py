"""From configuration to the kernels' records: every type of every section, in the units of the kernels."""

import math
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from bt_gym.config import BacktestConfig, ExecutionConfig, RiskLimitsConfig
from bt_gym.core import enums
from bt_gym.core.tape import block_dtype, event_dtype, record_dtype
from bt_gym.data.instruments import Instrument
from bt_gym.data.tape import Tape
from bt_gym.errors import ConfigError, TapeError
from bt_gym.execution_models import check_tape, describe, execution_models, needs_orders

ES = Instrument.from_values("ESH4", tick_size="0.25", multiplier=50, maker_fee="2.05", taker_fee="2.05")
ESTIMATES = ["risk_averse", "risk_adverse", "power_prob", "power_prob2", "power_prob3", "log_prob", "log_prob2"]


def execution(**sections: Any) -> ExecutionConfig:
    return BacktestConfig.from_dict({"backtest": {"execution": sections}}).backtest.execution


def models(**sections: Any) -> np.void:
    return execution_models(execution(**sections), RiskLimitsConfig(), ES, account=3)[0]


def test_defaults__exact_queue_fixed_latency_no_impact():
    record = models()
    assert (record["entry_latency"], record["response_latency"]) == (60_000, 50_000)
    assert (record["tick_value"], record["maker_fee"], record["taker_fee"]) == (12_500_000, 2_050_000, 2_050_000)
    assert (record["fills"]["model"], record["latency"]["model"], record["impact"]["model"]) == (0, 0, 0)
    assert (record["fill_on_cross"], record["protection"], record["account"]) == (1, 20, 3)
    assert (record["max_position"], record["max_loss"]) == (-1, -1)


def test_limits__reach_the_kernels():
    limits = RiskLimitsConfig(max_position=5, max_order_size=2, max_loss=1000.5, max_orders_per_second=7)
    record = execution_models(execution(), limits, ES)[0]
    names = ("max_position", "max_order_size", "max_loss", "max_orders_per_second")
    assert [int(record[name]) for name in names] == [5, 2, 1_000_500_000, 7]


def test_probabilistic__as_in_the_original_file():
    original = BacktestConfig.from_file(Path(__file__).parent.parent / "configs" / "original_backtest.yaml").backtest
    record = execution_models(original.execution, original.risk_limits, ES)[0]
    fills = record["fills"]
    assert (fills["model"], fills["probability"], fills["by_queue"]) == (enums.FILL_PROBABILISTIC, 0.5, 0)
    assert (record["impact"]["model"], record["impact"]["size"]) == (enums.IMPACT_LINEAR, 0.5)
    assert (record["entry_latency"], record["response_latency"]) == (60_000, 50_000)
    exact = models(fill_model={"type": "probabilistic", "queue_position_model": "exact"}, seed=9)
    assert (exact["fills"]["by_queue"], exact["seed"]) == (1, 9)


@pytest.mark.parametrize(
    ("letter", "rules"),
    [
        ("A", (1, 2**31 - 1, 0, 0, 2)),
        ("C", (0, 0, 0, 0, 2)),
        ("K", (1, 2**31 - 1, 10, 30, 2)),
        ("O", (1, 2**31 - 1, 0, 0, 2)),
        ("Q", (1, 2**31 - 1, 10, 0, 2)),
        ("S", (1, 2**31 - 1, 10, 100, 2)),
        ("T", (0, 0, 10, 100, 2)),
    ],
)
def test_cme__passes_of_each_letter(letter, rules):
    fill = {"type": "cme", "algorithm": letter, "lmm_percent": 10, "fifo_percent": 30, "threshold_lots": 4}
    record = models(fill_model=fill)["fills"]
    names = ("top_min", "top_max", "lmm_percent", "fifo_percent", "pro_rata_min")
    assert record["model"] == enums.FILL_PRO_RATA
    assert tuple(int(record["rules"][name]) for name in names) == rules
    assert record["rules"]["threshold"] == (4 if letter in "OQ" else 0)


def test_cme__f_is_the_exact_queue():
    assert models(fill_model={"type": "cme", "algorithm": "F"})["fills"]["model"] == enums.FILL_FIFO


@pytest.mark.parametrize("name", ESTIMATES)
def test_estimates__have_their_names_and_power(name):
    record = models(fill_model={"type": name})["fills"]
    assert enums.names("FILL_")[int(record["model"])] == name.replace("adverse", "averse")
    assert record["power"] == 3
    if name.startswith("power"):
        assert models(fill_model={"type": name, "power": 1.5})["fills"]["power"] == 1.5


def test_bounds__never_at_touch_leaves_crossing_adds_out():
    assert models(fill_model={"type": "never_at_touch"})["fill_on_cross"] == 0
    assert models(fill_model={"type": "front_of_queue"})["fill_on_cross"] == 1


def test_auction__is_off_unless_asked_for_and_named_in_reports():
    assert models()["auction"] == 0
    assert models(auction="strictly_better")["auction"] == 1
    assert describe(execution(auction="strictly_better"))[0] == "fifo (exact queue position, auction strictly_better)"


def tape(book: str) -> Tape:
    records, events, blocks = (np.zeros(0, dtype) for dtype in (record_dtype, event_dtype, block_dtype))
    return Tape(records, events, blocks, {"book": book, "levels": 10}, Path("ESH4.tape.arrow"))


def test_check_tape__level_data_have_no_queue():
    level_data = ["never_at_touch", "front_of_queue", "probabilistic", *ESTIMATES]
    for name in level_data:
        check_tape(execution(fill_model={"type": name}).fill_model, tape("l2"))
    exact = [{"type": "fifo"}, {"type": "pro_rata"}, {"type": "cme", "algorithm": "K"}]
    exact.append({"type": "probabilistic", "queue_position_model": "exact"})
    for fill in exact:
        fill_model = execution(fill_model=fill).fill_model
        assert needs_orders(fill_model)
        check_tape(fill_model, tape("l3"))
        with pytest.raises(ConfigError, match=f"{fill['type']} needs order by order data, ESH4.tape.arrow holds level"):
            check_tape(fill_model, tape("l2"))
    with pytest.raises(TapeError, match="holds trades alone"):
        check_tape(execution(fill_model={"type": "risk_averse"}).fill_model, tape("none"))


def test_lognormal__median_and_p99_are_met():
    latency = {
        "type": "lognormal", "entry_min_us": 10, "entry_median_us": 60, "entry_p99_us": 400,
        "response_median_us": 50, "response_p99_us": 50, "compute_latency_us": 5,
    }  # fmt: skip
    record = models(latency_model=latency)
    assert (record["entry_latency"], record["response_latency"]) == (5_000, 0)
    entry = record["latency"]["entry"]
    assert (entry["minimum"], entry["scale"]) == (10_000, 50_000)
    p99 = 10_000 + 50_000 * math.exp(entry["sigma"] * NormalDist().inv_cdf(0.99))
    assert p99 == pytest.approx(400_000)
    assert record["latency"]["response"]["sigma"] == 0


def test_empirical__samples_of_two_lengths():
    record = models(latency_model={"type": "empirical", "entry_us": [30, 10, 20], "response_us": [4, 8]})["latency"]
    assert record["count"] == 3
    assert record["rows"][:3, :2].tolist() == [[10_000, 4_000], [20_000, 6_000], [30_000, 8_000]]


@pytest.mark.parametrize("suffix", ["csv", "npy", "fields.npy", "npz"])
def test_interpolated__reads_a_file(suffix, tmp_path):
    rows = np.array([[100, 110, 120], [200, 0, 260], [300, 305, 309]])
    file = tmp_path / f"rows.{suffix}"
    if suffix == "csv":
        np.savetxt(file, rows, "%d", ",", header="req_ts,exch_ts,resp_ts")
    elif suffix == "npy":
        np.save(file, rows)
    else:
        fields = np.rec.fromrecords(rows.tolist(), names="req_ts,exch_ts,resp_ts")
        np.savez(file, data=fields) if suffix == "npz" else np.save(file, fields)
    record = models(latency_model={"type": "interpolated", "file": str(file)})["latency"]
    assert (record["model"], record["count"], record["answered"]) == (enums.LATENCY_INTERPOLATED, 3, 2)
    assert record["rows"][:3, :3].tolist() == rows.tolist()
    assert record["rows"][:2, 3:].tolist() == [[110, 10], [305, 4]]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("req_ts,exch_ts,resp_ts\n1,2\n", "not rows of"),
        ("req_ts,exch_ts,resp_ts\n1.5,2,3\n", "not rows of"),
        ("req_ts,exch_ts,resp_ts\n5,6,7\n4,6,7\n", "row 2: req_ts goes back"),
        ("req_ts,exch_ts,resp_ts\n5,4,7\n", "row 1: exch_ts is before req_ts"),
        ("req_ts,exch_ts,resp_ts\n5,8,7\n", "row 1: exch_ts is after resp_ts"),
        ("req_ts,exch_ts,resp_ts\n5,0,4\n", "row 1: resp_ts is before req_ts"),
        (None, "No such file"),
    ],
)
def test_interpolated__names_what_is_wrong_with_a_file(text, problem, tmp_path):
    file = tmp_path / "rows.csv"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=problem) as error:
        models(latency_model={"type": "interpolated", "file": str(file)})
    assert str(file) in str(error.value)


def test_load_and_feed__base_is_constant_and_the_rest_is_ns():
    load = {"entry_base_us": 20, "entry_us_per_message": 0.5, "response_base_us": 10, "response_us_per_message": 0}
    record = models(latency_model={"type": "load_dependent", **load})
    assert (record["entry_latency"], record["response_latency"]) == (20_000, 10_000)
    assert (record["latency"]["entry"]["scale"], record["latency"]["window"]) == (500, 1_000_000)
    feed = {"entry_base_us": 1, "entry_factor": 2, "response_base_us": 3, "response_factor": 0.5}
    record = models(latency_model={"type": "feed_based", **feed})
    assert (record["entry_latency"], record["latency"]["response"]["scale"]) == (1_000, 0.5)


IMPACTS = [
    ({"type": "linear", "impact_bps_per_million": 2}, {"size": 2}),
    (
        {"type": "square_root", "coefficient": 0.5, "daily_volatility": 0.02, "daily_volume_lots": 1000},
        {"size": 0.01, "exponent": 0.5, "volume": 1000},
    ),
    (
        {"type": "almgren_chriss", "permanent_ticks_per_lot": 0.2, "temporary_ticks_per_lot": 0.3, "fixed_ticks": 1},
        {"size": 0.2, "slope": 0.3, "fixed": 1},
    ),
    (
        {"type": "almgren_2005", "daily_volatility": 0.0157, "daily_volume_lots": 1e6, "duration_days": 0.2}
        | {"outstanding_lots": 263e6},
        {"size": 0.314 * 0.0157 * 263**0.25 / 1e6, "slope": 0.142 * 0.0157, "exponent": 0.6, "volume": 2e5},
    ),
    (
        {"type": "propagator", "amplitude_ticks": 0.4, "size_exponent": 0.3, "decay_exponent": 0.2},
        {"size": 0.4, "exponent": 0.3, "time": 1, "decay": 0.2},
    ),
]


@pytest.mark.parametrize(("impact", "values"), IMPACTS, ids=lambda value: value.get("type", ""))
def test_impact__parameters(impact, values):
    record = models(market_impact=impact)["impact"]
    assert enums.names("IMPACT_")[int(record["model"])] == impact["type"]
    for name, value in values.items():
        assert record[name] == pytest.approx(value), name


def test_describe__names_models_and_parameters():
    fill, latency, impact = describe(execution())
    assert (fill, impact) == ("fifo (exact queue position)", "none")
    assert latency == "fixed: entry 60 us, response 50 us, extra feed 0 us"
    fill, latency, impact = describe(
        execution(
            fill_model={"type": "power_prob3", "power": 2},
            latency_model={"type": "empirical", "entry_us": [1, 2, 3], "response_us": [4]},
            market_impact={"type": "linear", "impact_bps_per_million": 0.5},
        )
    )
    assert fill == "power_prob3 (power 2.0, fill_on_cross True)"
    assert latency.endswith("entry_us 3 values, response_us 1 values")
    assert impact == "linear (impact_bps_per_million 0.5)"
