"""Configuration files: what they mean, what is refused and in which words."""

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bt_gym import config as config_module
from bt_gym._section import Section, to_micros
from bt_gym.config import (
    BacktestConfig,
    FixedLatencyConfig,
    InstrumentConfig,
    LinearImpactConfig,
    MlEnhancedMomentumConfig,
    MlEnhancedMomentumParameters,
    OwnStrategyConfig,
    ProbabilisticFillConfig,
    SmaCrossoverConfig,
    SmaCrossoverParameters,
    StrategyConfig,
    check_runnable,
    unbuilt,
    with_overrides,
)
from bt_gym.errors import ConfigError, NotBuiltError

ROOT = Path(__file__).parent.parent
CONFIGS = ROOT / "configs"


def load(tmp_path: Path, text: str, overrides: Any = ()) -> BacktestConfig:
    file = tmp_path / "run.yaml"
    file.write_text(text, encoding="utf-8")
    return BacktestConfig.from_file(file, overrides)


def problems(data: dict[str, Any], overrides: Any = ()) -> list[str]:
    with pytest.raises(ConfigError) as error:
        BacktestConfig.from_dict(data, overrides)
    return str(error.value).split("\n")


def at(key: str, value: Any) -> dict[str, Any]:
    """{"a": {"b": value}} for the key "a.b"."""
    for part in reversed(key.split(".")):
        value = {part: value}
    return {"backtest": {}} | value


# --- the files of the original design, and our own


def test_from_file__loads_the_original_backtest_file() -> None:
    config = BacktestConfig.from_file(CONFIGS / "original_backtest.yaml").backtest
    assert config.data_source.files == (Path("glbx-mdp3-20250428.mbo.dbn.zst"),)
    assert config.data_source.symbols == ("ESM5",)
    latency = config.execution.latency_model
    assert (latency.entry_latency_ns, latency.response_latency_ns) == (60_000, 50_000)
    assert (latency.compute_latency_ns, latency.extra_feed_latency_ns) == (0, 0)
    assert config.execution.fill_model == ProbabilisticFillConfig(
        type="probabilistic", fill_probability_at_touch=0.5, queue_position_model="pro_rata"
    )
    assert config.execution.market_impact == LinearImpactConfig(type="linear", impact_bps_per_million=0.5)
    limits = config.risk_limits
    assert (limits.max_position, limits.max_order_size, limits.max_orders_per_second) == (100, 50, 100)
    assert limits.max_loss_micros == 10_000_000_000
    assert config.output.metrics_file == Path("results/metrics.parquet")
    assert config.output.trades_file == Path("results/trades.parquet")
    assert config.output.detailed_log is False


def test_from_file__loads_the_original_strategy_file() -> None:
    strategy = StrategyConfig.from_file(CONFIGS / "original_strategy.yaml")
    assert isinstance(strategy, MlEnhancedMomentumConfig)
    parameters = strategy.parameters
    assert (parameters.lookback_period, parameters.entry_threshold, parameters.exit_threshold) == (100, 2.0, 0.5)
    assert parameters.ml_model_path == Path("models/momentum_v1.pkl")
    assert parameters.feature_config.price_features == ("returns_1m", "returns_5m", "volatility")
    assert parameters.feature_config.microstructure_features == ("book_imbalance", "trade_flow")
    assert parameters.feature_config.use_time_features is True


def test_from_file__loads_the_file_of_the_pipeline_test() -> None:
    config = BacktestConfig.from_file(ROOT / "tests/test_config.yaml")
    assert unbuilt(config) == []


def test_configs__sma_crossover_can_run_on_real_and_synthetic_symbols() -> None:
    config = BacktestConfig.from_file(CONFIGS / "sma_crossover.yaml")
    check_runnable(config)
    assert config.strategy == SmaCrossoverConfig(
        parameters=SmaCrossoverParameters(fast_period=50, slow_period=200, position_size=1)
    )
    for symbol in ("ESH4", "ESM4", "SYN1"):
        facts = config.instrument(symbol)
        assert facts is not None
        assert (facts.tick_size, facts.multiplier, facts.currency) == (Decimal("0.25"), 50, "USD")
        assert facts.fees_micros() == (2_000_000, 2_000_000)
    assert config.instrument("ESH4-ESM4") is None


# --- meaning


def test_latency__entry_is_network_plus_processing_and_response_is_network() -> None:
    latency = FixedLatencyConfig(network_latency_us=7, processing_latency_us=2)
    assert (latency.entry_latency_ns, latency.response_latency_ns) == (9_000, 7_000)
    latency = FixedLatencyConfig(network_latency_us=7, response_latency_us=Decimal("0.001"), compute_latency_us=0.5)
    assert (latency.entry_latency_ns, latency.response_latency_ns, latency.compute_latency_ns) == (17_000, 1, 500)


def test_defaults__are_the_honest_deterministic_choice() -> None:
    config = BacktestConfig.from_dict({"backtest": None}).backtest
    assert config.execution.fill_model.type == "fifo"
    assert config.execution.market_impact.type == "none"
    assert config.execution.latency_model.entry_latency_ns == 60_000
    assert config.execution.protection_ticks == 20
    assert set(config.risk_limits.model_dump().values()) == {None}


def test_output__stands_beside_the_metrics_file_unless_told_otherwise() -> None:
    config = BacktestConfig.from_dict(
        at("backtest.output", {"metrics_file": "runs/a/m.parquet", "trades_file": "t.parquet"})
    )
    output = config.backtest.output
    assert output.orders_file == Path("runs/a/orders.parquet")
    assert output.equity_file == Path("runs/a/equity.parquet")
    assert output.trades_file == Path("t.parquet")


def test_instrument__prefers_its_own_name_and_then_the_first_pattern() -> None:
    config = BacktestConfig.from_dict(
        {
            "backtest": {},
            "instruments": {"ES*": {"multiplier": 1}, "ES??": {"multiplier": 2}, "ESM4": {"multiplier": 3}},
        }
    )
    assert [facts and facts.multiplier for facts in map(config.instrument, ["ESM4", "ESH4", "esh4"])] == [3, 1, None]


def test_instrument__reads_money_and_ticks_exactly(tmp_path: Path) -> None:
    facts = load(
        tmp_path,
        "backtest:\ninstruments:\n  X: {tick_size: 0.0000001, multiplier: 12500000, maker_fee: -0.1, taker_fee: 0.3}\n",
    ).instrument("X")
    assert facts is not None
    assert facts.tick_size == Decimal("1e-7")
    assert facts.fees_micros() == (-100_000, 300_000)
    assert InstrumentConfig(tick_size=0.1).tick_size == Decimal("0.1")
    assert InstrumentConfig().fees_micros() is None


def test_to_micros__is_exact_where_a_float_is_not() -> None:
    assert to_micros(Decimal("1.1")) == 1_100_000
    assert to_micros(Decimal("999999999999.999999")) == 999_999_999_999_999_999


def test_whole__takes_integral_numbers_however_they_are_written(tmp_path: Path) -> None:
    config = load(tmp_path, "backtest: {risk_limits: {max_position: 1e2, max_order_size: 5.0}}")
    limits = config.backtest.risk_limits
    assert (limits.max_position, limits.max_order_size) == (100, 5)
    assert type(limits.max_position) is int


def test_strategy__type_chooses_the_model_and_own_classes_get_plain_numbers(tmp_path: Path) -> None:
    own = load(
        tmp_path, "backtest:\nstrategy: {type: 'a.b:C', parameters: {x: 0.1, n: 3, l: [1e3, {y: yes}]}}"
    ).strategy
    assert isinstance(own, OwnStrategyConfig)
    assert own.parameters == {"x": 0.1, "n": 3, "l": [1000.0, {"y": "yes"}]}
    assert type(own.parameters["x"]) is float
    sma = StrategyConfig.from_dict({"strategy": {"type": "sma_crossover"}})
    assert sma == SmaCrossoverConfig()


def test_models__are_frozen() -> None:
    config = BacktestConfig.from_dict({"backtest": {}})
    with pytest.raises(ValidationError):
        config.backtest.output.detailed_log = True


def test_models__say_what_every_field_means() -> None:
    def models(base: type[Section]) -> list[type[Section]]:
        return [model for child in base.__subclasses__() for model in (child, *models(child))]

    ours = [model for model in models(Section) if model.__module__.startswith(config_module.__name__)]
    assert len(ours) > 10
    missing = [
        f"{model.__name__}.{name}"
        for model in ours
        if not model.__name__.startswith("_")
        for name, info in model.model_fields.items()
        if not info.description
    ]
    assert missing == []


# --- refusals


def test_refusal__names_file_line_column_key_and_nearest_valid_key(tmp_path: Path) -> None:
    text = "backtest:\n  execution:\n    latency_model:\n      type: fixed\n      network_latancy_us: 50\n"
    with pytest.raises(ConfigError) as error:
        load(tmp_path, text)
    assert str(error.value) == (
        f"{tmp_path}/run.yaml:5:7: backtest.execution.latency_model.network_latancy_us: "
        "unknown key; did you mean network_latency_us?"
    )


def test_refusal__lists_every_problem_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = (
        "strategy: {type: sma_crossover, parameters: {fast_period: 30}}\n"
        "backtest:\n  risk_limits: {max_position: yes, max_loss: -5}\n  outputs:\n"
    )
    with pytest.raises(ConfigError) as error:
        load(tmp_path, text)
    file = f"{tmp_path}/run.yaml"
    assert str(error.value).split("\n") == [
        f"{file}:1:33: strategy.parameters.slow_period: must be greater than fast_period (30), got 20",
        f"{file}:3:17: backtest.risk_limits.max_position: must be a whole number, got 'yes'",
        f"{file}:3:36: backtest.risk_limits.max_loss: must be greater than 0, got -5",
        f"{file}:4:3: backtest.outputs: unknown key; did you mean output?",
    ]


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        # text and booleans are no numbers, numbers no text
        ("backtest.risk_limits.max_position", "010", "must be a whole number, got '010'"),
        ("backtest.risk_limits.max_position", True, "must be a whole number, got true"),
        ("backtest.risk_limits.max_position", 1.5, "must be a whole number, got 1.5"),
        ("backtest.risk_limits.max_position", Decimal("1.5"), "must be a whole number, got 1.5"),
        ("backtest.risk_limits.max_loss", "1e5", "must be a number, got '1e5'"),
        ("backtest.risk_limits.max_loss", True, "must be a number, got true"),
        ("backtest.execution.latency_model.network_latency_us", "12:30:00", "must be a number, got '12:30:00'"),
        ("backtest.execution.latency_model.network_latency_us", None, "must be a number, got no value"),
        ("backtest.output.detailed_log", "yes", "must be true or false, got 'yes'"),
        ("backtest.output.detailed_log", 1, "must be true or false, got 1"),
        ("backtest.data_source.symbols", [700], "must be text (put it in quotes), got 700"),
        ("backtest.data_source.files", "a.dbn", "must be a list, got 'a.dbn'"),
        ("backtest.data_source.files", [""], "must be the name of a file, got ''"),
        ("backtest.risk_limits", 5, "must be a section with keys, got 5"),
        ("instruments", ["ES"], "must be a section with keys, got a list"),
        # ranges
        ("backtest.risk_limits.max_position", 0, "must be greater than or equal to 1, got 0"),
        ("backtest.risk_limits.max_position", Decimal("1e999999"), "must be a whole number"),
        ("backtest.risk_limits.max_position", 10**400, "must be less than or equal to 2147483647"),
        ("backtest.risk_limits.max_loss", float("nan"), "must be a finite number, got NaN"),
        ("backtest.risk_limits.max_loss", float("inf"), "must be a finite number, got Infinity"),
        ("backtest.risk_limits.max_loss", Decimal("0.0000001"), "must have no more than 6 decimal places"),
        ("backtest.execution.latency_model.network_latency_us", -1, "must be greater than or equal to 0, got -1"),
        ("backtest.execution.latency_model.network_latency_us", Decimal("0.0001"), "no more than 3 decimal places"),
        ("backtest.execution.protection_ticks", 129, "must be less than or equal to 128, got 129"),
        ("backtest.output.metrics_file", "a.csv", "must end in .parquet, got 'a.csv'"),
        ("backtest.output.equity_interval_ms", 0, "must be greater than or equal to 1, got 0"),
        ("backtest.data_source.symbols", ["ES", "ES"], "'ES' is given twice"),
        ("instruments.ES.tick_size", 0, "must be greater than 0, got 0"),
        ("instruments.ES.currency", "usd", "must match pattern"),
        # choices
        ("backtest.data_source.type", "databnto", "unknown value 'databnto'; did you mean databento?"),
        ("backtest.execution.latency_model.type", "normal", "unknown value 'normal'; did you mean lognormal?"),
        ("backtest.execution.latency_model", {"type": 5}, "unknown value"),
        (
            "backtest.execution.latency_model",
            {
                "type": "lognormal",
                **{"entry_median_us": 50, "entry_p99_us": 40, "response_median_us": 50, "response_p99_us": 90},
            },
            "entry: needs min < median <= p99, got 0, 50, 40",
        ),
        ("backtest.execution.fill_model", {"type": "log_prob", "power": 2}, "power belongs to power_prob"),
        ("backtest.execution.fill_model", {"type": "cme", "algorithm": "Z"}, "unknown value 'Z'"),
        (
            "backtest.execution.market_impact",
            {"type": "almgren_chriss", "permanent_ticks_per_lot": 0.2, "temporary_ticks_per_lot": 0.09},
            "round trips would earn money",
        ),
        ("backtest.execution.seed", 2**32, "must be less than 4294967296"),
        (
            "backtest.execution.fill_model.type",
            "probablistic",
            "unknown value 'probablistic'; did you mean probabilistic?",
        ),
        ("backtest.execution.fill_model", {"fill_on_cross": True}, "type: must be given"),
        ("backtest.execution.market_impact", {"type": "linear"}, "impact_bps_per_million: must be given"),
        ("strategy.type", "sma_crosover", "unknown value 'sma_crosover'; did you mean sma_crossover?"),
        ("strategy.type", 5, "unknown value 5"),
        ("strategy.type", "no module:X", "must match pattern"),
        (
            "strategy",
            {"type": "ml_enhanced_momentum", "parameters": {"model": "some"}},
            "unknown value 'some'; known: none",
        ),
        # what contradicts itself
        (
            "strategy",
            {"type": "sma_crossover", "parameters": {"fast_period": 5, "slow_period": 5}},
            "strategy.parameters.slow_period: must be greater than fast_period (5), got 5",
        ),
        (
            "strategy",
            {"type": "ml_enhanced_momentum", "parameters": {"exit_threshold": 3}},
            "strategy.parameters.exit_threshold: must be at most entry_threshold (2.0), got 3.0",
        ),
        ("instruments.ES", {"fee_per_contract": 1, "maker_fee": 1, "taker_fee": 1}, "not both"),
        ("instruments.ES", {"maker_fee": 1}, "go together"),
        ("instruments.ES", {"maker_fee": -2, "taker_fee": 1}, "check the signs"),
        ("instruments.ES", {"tick_size": Decimal("1e-9"), "multiplier": 1}, "is 1e-09, not exact"),
        ("backtest.output", {"trades_file": "results/metrics.parquet"}, "two outputs would be written"),
    ],
)
def test_refusal__says_what_is_wrong_in_one_line(key: str, value: Any, words: str) -> None:
    (message,) = problems(at(key, value))
    assert message.startswith(key)
    assert words in message


@pytest.mark.parametrize(
    "key", ["extra", "backtest.x", "backtest.execution.fill_model.x", "strategy.parameters.x", "instruments.ES.x"]
)
def test_refusal__reaches_unknown_keys_at_every_level(key: str) -> None:
    data = {
        "backtest": {"execution": {"fill_model": {"type": "fifo"}}},
        "strategy": {"type": "sma_crossover"},
        "instruments": {"ES": {}},
    }
    (message,) = problems(data, {key: 1})
    assert message.startswith(f"--set {key}: unknown key; ")


def test_from_file__says_which_section_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"original_strategy\.yaml: backtest: must be given"):
        BacktestConfig.from_file(CONFIGS / "original_strategy.yaml")
    with pytest.raises(ConfigError, match=r"original_backtest\.yaml: strategy: must be given"):
        StrategyConfig.from_file(CONFIGS / "original_backtest.yaml")


# --- overrides


def test_overrides__set_keys_before_validation(tmp_path: Path) -> None:
    text = 'backtest: {risk_limits: {max_position: 1}}\ninstruments: {"ES.c.0": {multiplier: 1}}'
    config = load(
        tmp_path,
        text,
        [
            "backtest.risk_limits.max_position=7",
            "backtest.data_source.files=[a, b]",
            'instruments."ES.c.0".multiplier=50',
        ],
    )
    assert config.backtest.risk_limits.max_position == 7
    assert config.backtest.data_source.files == (Path("a"), Path("b"))
    facts = config.instrument("ES.c.0")
    assert facts is not None
    assert facts.multiplier == 50


def test_overrides__keep_the_other_places_and_name_themselves(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, "backtest:\n  output:\n    detailed_log: 3", ["backtest.risk_limits.max_position=0"])
    assert str(error.value).split("\n") == [
        "--set backtest.risk_limits.max_position: must be greater than or equal to 1, got 0",
        f"{tmp_path}/run.yaml:3:5: backtest.output.detailed_log: must be true or false, got 3",
    ]


def test_overrides__own_what_is_missing_from_a_section_that_they_begin(tmp_path: Path) -> None:
    """A new type, in a section of the file or in one that it doesn't have, lacks its keys because of the option."""
    for text in ("backtest:\n  execution:\n    market_impact: {type: none}", "backtest:\n  execution: {}"):
        with pytest.raises(ConfigError) as error:
            load(tmp_path, text, ["backtest.execution.market_impact.type=linear"])
        key = "backtest.execution.market_impact.impact_bps_per_million"
        assert str(error.value) == f"--set {key}: must be given"


def test_original_backtest_file__can_run() -> None:
    original = BacktestConfig.from_file(CONFIGS / "original_backtest.yaml")
    assert unbuilt(original) == []
    messages = unbuilt(with_overrides(original, ["backtest.output.detailed_log=true"]))
    sets = [match for message in messages for match in re.findall(r"--set (\S+)\)", message)]
    check_runnable(with_overrides(original, ["backtest.output.detailed_log=true", *sets]))


def test_latency_model__without_a_type_is_fixed() -> None:
    config = BacktestConfig.from_dict({"backtest": {}}, ["backtest.execution.latency_model.network_latency_us=250"])
    assert config.backtest.execution.latency_model.entry_latency_ns == 260_000


def test_with_overrides__moves_what_follows_from_the_changed_key() -> None:
    config = BacktestConfig.from_dict({"backtest": {}, "strategy": {"type": "sma_crossover"}})
    config = with_overrides(
        config,
        {"backtest.output.metrics_file": Path("x/m.parquet"), "backtest.execution.latency_model.network_latency_us": 3},
    )
    assert config.backtest.output.trades_file == Path("x/trades.parquet")
    assert config.backtest.execution.latency_model.response_latency_ns == 3_000
    assert config.strategy == SmaCrossoverConfig()


def test_with_overrides__works_on_sections_made_in_python() -> None:
    strategy = SmaCrossoverConfig(parameters=SmaCrossoverParameters(fast_period=3))
    config = BacktestConfig.from_dict({"backtest": {}}).model_copy(update={"strategy": strategy})
    changed = with_overrides(config, ["strategy.parameters.slow_period=9"]).strategy
    assert changed == SmaCrossoverConfig(parameters=SmaCrossoverParameters(fast_period=3, slow_period=9))


# --- not built yet


def test_check_runnable__refuses_by_name_what_is_documented_only() -> None:
    with pytest.raises(NotBuiltError) as error:
        check_runnable(BacktestConfig.from_dict({"backtest": {"output": {"detailed_log": True}}}))
    assert str(error.value).split("\n") == [
        "backtest.output.detailed_log: true isn't built yet; use false (--set backtest.output.detailed_log=false)",
    ]


def test_check_runnable__runs_the_rule_alone_only_when_told_so() -> None:
    strategy = StrategyConfig.from_file(CONFIGS / "original_strategy.yaml")
    with pytest.raises(
        NotBuiltError, match=r"ml_model_path: running models/momentum_v1\.pkl isn't built yet; .*model: none"
    ):
        check_runnable(strategy)
    with pytest.raises(NotBuiltError):
        check_runnable(BacktestConfig.from_dict({"backtest": {}} | strategy.to_dict()))
    rule = StrategyConfig.from_file(CONFIGS / "original_strategy.yaml", ["strategy.parameters.model=none"])
    check_runnable(rule)
    check_runnable(MlEnhancedMomentumConfig(parameters=MlEnhancedMomentumParameters(lookback_period=5)))


# --- what a report keeps

whole = st.integers(1, 2**31 - 1)
money = st.decimals(min_value=1, max_value=10**6, places=6)
latency = st.decimals(min_value=0, max_value=10**6, places=3)


@st.composite
def configurations(draw: st.DrawFn) -> dict[str, Any]:
    """Valid plain data."""
    maybe = st.fixed_dictionaries
    strategy = st.one_of(
        st.just({"type": "sma_crossover", "parameters": {"fast_period": 2}}),
        st.builds(lambda n: {"type": "ml_enhanced_momentum", "parameters": {"entry_threshold": n}}, st.floats(0.5, 9)),
        st.builds(
            lambda free: {"type": "m:C", "parameters": free},
            st.dictionaries(
                st.text(min_size=1, max_size=8), st.text(max_size=8) | st.floats(-9, 9) | whole, max_size=3
            ),
        ),
    )
    backtest = {
        "risk_limits": maybe({}, optional={"max_position": whole, "max_loss": money, "max_order_size": whole}),
        "execution": maybe(
            {},
            optional={
                "latency_model": maybe({"type": st.just("fixed")}, optional={"network_latency_us": latency}),
                "fill_model": st.sampled_from([{"type": "fifo"}, {"type": "probabilistic"}, {"type": "power_prob2"}]),
                "protection_ticks": st.integers(0, 128),
            },
        ),
        "data_source": maybe(
            {}, optional={"symbols": st.lists(st.text(min_size=1, max_size=5), unique=True, max_size=2)}
        ),
    }
    return draw(
        maybe(
            {"backtest": maybe({}, optional=backtest)},
            optional={
                "strategy": strategy,
                "instruments": st.dictionaries(
                    st.text(min_size=1, max_size=5),
                    maybe({}, optional={"tick_size": st.just(Decimal("0.25")), "fee_per_contract": money}),
                    max_size=2,
                ),
            },
        )
    )


@given(configurations())
def test_to_yaml__loads_to_an_equal_configuration(tmp_path_factory: pytest.TempPathFactory, data: dict) -> None:
    config = BacktestConfig.from_dict(data)
    again = load(tmp_path_factory.getbasetemp(), config.to_yaml())
    assert again == config
    assert again.config_hash() == config.config_hash()
    if config.strategy is not None:
        assert StrategyConfig.from_dict(config.strategy.to_dict()) == config.strategy


def test_config_hash__depends_on_the_settings_and_not_on_how_they_are_written(tmp_path: Path) -> None:
    short = load(tmp_path, "backtest: {risk_limits: {max_loss: 1e4}}")
    long = load(
        tmp_path, "# all\nbacktest:\n  data_source:\n  risk_limits:\n    max_loss: 10000.000\n    max_position:\n"
    )
    other = load(tmp_path, "backtest: {risk_limits: {max_loss: 10000.01}}")
    assert short.config_hash() == long.config_hash() != other.config_hash()
    assert re.fullmatch(r"[0-9a-f]{64}", short.config_hash())
