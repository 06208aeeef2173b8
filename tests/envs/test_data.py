"""What environments are made of: days of a catalogue, split by time, and names of features of old."""

import datetime as dt
from dataclasses import replace

import pytest

from bt_gym.config.env import MarketMakingConfig
from bt_gym.data import dbn
from bt_gym.data.synthetic import generate
from bt_gym.data.tape import ingest
from bt_gym.envs.scaling import fit_scaling
from bt_gym.envs.single_env import BtEnv
from bt_gym.errors import ConfigError, TapeError
from tests.envs.make import BRISK, sections, single, tapes

DAYS = ("2026-01-05", "2026-01-06", "2026-01-07", "2026-01-08")
FACTS = {"*": {"tick_size": 0.25, "multiplier": 50, "fee_per_contract": 2}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four short days of one instrument."""
    found = tmp_path_factory.mktemp("catalogue")
    quiet = replace(BRISK, name="short", depth_orders=50)
    for day in range(4):
        file = found / "day.mbo.dbn"
        records = generate(5, 10, quiet, day=day, pre_open_seconds=5).records
        dbn.write_mbo(file, records, symbol=BRISK.symbol, instrument_id=BRISK.instrument_id)
        ingest([file], tick_size_nanos=BRISK.tick_nanos, folder=found)
    return found


def days_of(folder, **more):
    data = {"symbol": BRISK.symbol, "catalogue": str(folder), "instruments": FACTS, "window_s": 5.0, **more}
    env = BtEnv(data=data)
    env.reset(seed=1)
    return [str(dt.date.fromisoformat(str(day))) for day in env._batch.markets.days.tolist()]


def test_data__takes_days_of_the_catalogue_by_split(folder):
    parts = {"validation": 1, "test": 0.25}
    assert days_of(folder, **parts) == list(DAYS[:2])
    assert days_of(folder, **parts, split="validation") == [DAYS[2]]
    assert days_of(folder, **parts, split="test") == [DAYS[3]]
    assert days_of(folder, validation=0, test=1, embargo=1) == list(DAYS[:2])
    assert days_of(folder, days=list(DAYS[1:3]), validation=0, test=1, split="test") == [DAYS[2]]


def test_data__refuses_days_that_are_not_there(folder):
    with pytest.raises(ConfigError, match="has no tape of ABC"):
        days_of(folder, symbol="ABC")
    with pytest.raises(TapeError, match="no tape of SYNH6 on 2026-02-01"):
        days_of(folder, days=["2026-02-01", DAYS[0]], validation=0, test=1, split="test")
    with pytest.raises(ConfigError, match=r"data.validation is 0"):
        days_of(folder, validation=0, test=1, split="validation")
    with pytest.raises(ConfigError, match="can't be split"):
        days_of(folder, validation=2, test=2)
    for wrong in ({"days": DAYS[:1]}, {"split": "validation"}):
        with pytest.raises(ConfigError, match="of a symbol: give it"):
            MarketMakingConfig.from_sections(data=wrong)


def test_observation__knows_the_names_of_the_original_design():
    names = ["returns_1m", "returns_5m", "volatility", "book_imbalance", "trade_flow"]
    env = single(observation={"features": names, "use_time_features": True})
    assert env.feature_names == (*names, "time_sin", "time_cos")
    assert env.reset(seed=1)[0].shape == (7,)
    env = BtEnv(**sections(observation={"use_time_features": False}))
    assert not {"time_sin", "time_cos"} & set(env.feature_names)
    assert len(env.feature_names) == len(single().feature_names) - 2
    assert single(observation={"use_time_features": True}).feature_names == single().feature_names


def test_split__is_a_keyword_too(folder):
    data = {"symbol": BRISK.symbol, "catalogue": str(folder), "instruments": FACTS, "window_s": 5.0, "test": 1}
    env = BtEnv(data=data, split="test")
    assert env.config.data == BtEnv(data={**data, "split": "test"}).config.data
    assert MarketMakingConfig.from_sections(split="test").data.split == "test"
    for given in ({"tapes": tapes()}, {"files": [str(tapes()[0].path)], "instruments": FACTS}):
        with pytest.raises(ConfigError, match="scaling is fitted on the training days only"):
            fit_scaling(BtEnv(data=given, split="test"), rows=64)


@pytest.mark.parametrize(
    ("sections", "text"),
    [
        ({"action": "raw"}, "action is 'raw': give a dict, a model, or the path of a YAML file"),
        ({"risk": "none.yaml"}, "risk is 'none.yaml': give a dict"),
        (
            {"data": "session.parquet"},
            r"data is 'session.parquet': name a tape \(.tape.arrow\), a .dbn or .dbn.zst file",
        ),
        ({"data": "."}, "data is '.': name a tape"),
        ({"decisions": "fast.yaml"}, "decisions: unknown key; did you mean decision"),
    ],
)
def test_text__that_is_no_file_is_refused_in_words(sections, text):
    with pytest.raises(ConfigError, match=text):
        BtEnv(**sections)
