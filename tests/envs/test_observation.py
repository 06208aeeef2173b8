"""Forms of observations: stacks as Gymnasium's wrapper stacks, dicts as slices, pictures as a slow twin draws them."""

import copy
import json
import warnings
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import FlattenObservation, FrameStackObservation
from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env as check_for_sb3

from bt_gym import fit_scaling
from bt_gym.core import enums
from bt_gym.core.tape import KIND_MASK, TICK_SHIFT
from bt_gym.data.dataset import digest_of
from bt_gym.errors import ConfigError
from bt_gym.sb3 import check_sb3_vec_env, make_sb3_vec_env
from bt_gym.testing import check_vector_env
from tests.envs.make import ID, IDS, PRESETS, actions, assert_same, sections, single, tapes, vector
from tests.envs.test_vector_env import run

MODES = list(AutoresetMode)
FORMS: list[dict[str, Any]] = [
    {"stack": 3},
    {"form": "dict"},
    {"form": "dict", "stack": 2},
    {"form": "image", "stack": 40, "levels": 20},
]


@pytest.mark.parametrize("mode", MODES)
def test_stack__is_that_of_gymnasiums_wrapper_through_all_resets(mode: AutoresetMode):
    acts = actions(1, 60, 3)
    native = run(vector(3, autoreset_mode=mode, window_s=2.0, observation={"stack": 4}), acts)
    wrappers = [partial(FrameStackObservation, stack_size=4, padding_type="reset"), FlattenObservation]
    more = sections(window_s=2.0)
    modes = {"autoreset_mode": mode}
    sync = gym.make_vec(ID, 3, vectorization_mode="sync", wrappers=wrappers, vector_kwargs=modes, **more)
    assert sum((step[2] | step[3]).sum() for step in native if len(step) == 5) >= 12
    assert_same(tuple(native), tuple(run(sync, acts)))


@pytest.mark.parametrize("form", FORMS[1:])
@pytest.mark.parametrize("mode", MODES)
def test_forms__of_the_native_vector_are_those_of_single_environments(mode: AutoresetMode, form: dict[str, Any]):
    acts = actions(2, 40, 2)
    more = {"window_s": 2.0, "observation": form}
    native = run(vector(2, autoreset_mode=mode, **more), acts)
    sync = gym.make_vec(
        ID, 2, vectorization_mode="sync", vector_kwargs={"autoreset_mode": mode}, **sections(**copy.deepcopy(more))
    )
    assert sum((step[2] | step[3]).sum() for step in native if len(step) == 5) >= 6
    assert_same(tuple(native), tuple(run(sync, acts)))


@pytest.mark.parametrize("stack", [None, 3])
def test_dict__holds_the_numbers_of_the_flat_form(stack: int | None):
    flat, grouped = (vector(3, observation={"form": form, "stack": stack}) for form in ("flat", "dict"))
    names = np.array(flat.feature_names)
    own = np.char.startswith(names, "own_") | np.isin(names, ["inventory", "unrealised_pnl"])
    groups = {"own": own, "episode": names == "remaining_time"}
    groups["market"] = ~(groups["own"] | groups["episode"])
    acts = actions(3, 30, 3)
    for one, other in zip(run(flat, acts), run(grouped, acts), strict=True):
        assert set(other[0]) == set(groups)
        for name, where in groups.items():
            every = np.tile(where, stack or 1)
            assert np.array_equal(other[0][name], one[0][:, every])


def test_dict__leaves_out_groups_without_features():
    space = single(observation={"form": "dict", "features": ["spread", "ofi_1s"]}).observation_space
    assert list(space) == ["market"]
    assert space["market"].shape == (2,)


class Twin:
    """Draws a picture pixel by pixel; what has left it once is forgotten."""

    def __init__(self, env: Any, levels: int, width: int) -> None:
        self.env, self.levels, self.width = env, levels, width
        self.columns: list[dict[int, list[float]]] = []
        self.event = 0

    def see(self) -> np.ndarray:
        row = self.env._batch.envs[0]
        tape = self.env._batch.markets.tapes[row["episode"]["source"]]
        market, event = row["market"], int(row["market"]["event"])
        low = int(market["mark2"]) // 2 - self.levels + 1
        column = {tick: [0.0] * 4 for tick in range(low, low + 2 * self.levels)}
        for tick, lots in column.items():
            for side in (0, 1):
                lots[side] = market["ladder"][side][tick - market["base"]]
        for order in row["account"]["orders"]:
            if order["status"] != enums.STATUS_FREE and order["known_price"] in column:
                column[int(order["known_price"])][2] += max(int(order["known_leaves"]), 0)
        is_first = not self.columns
        for number in range(event if is_first else self.event, event):
            for record in tape.records[tape.events["end"][number - 1] : tape.events["end"][number]]:
                tick = int(record["key"]) >> TICK_SHIFT
                if record["key"] & KIND_MASK in (enums.RECORD_TRADE, enums.RECORD_TRADE_N) and tick in column:
                    column[tick][3] += record["size"]
        self.event = event
        self.columns = [column] * self.width if is_first else [*self.columns[1:], column]
        self.columns = [{t: lots for t, lots in one.items() if t in column} for one in self.columns]
        lots = [[one.get(tick, [0.0] * 4) for one in self.columns] for tick in sorted(column, reverse=True)]
        return np.minimum(np.floor(25.5 * np.log1p(lots) + 0.5), 255).astype(np.uint8).transpose(2, 0, 1)


@pytest.mark.parametrize("levels", [3, 20])
def test_image__is_what_the_slow_twin_draws(levels: int):
    env = single(observation={"form": "image", "stack": 7, "levels": levels}, window_s=30.0)
    twin = Twin(env, levels, 7)
    own = moves = 0
    seen = env.reset(seed=4)[0]
    for act in np.random.default_rng(1).choice([0, 1, 2, 3, 3, 4, 5], (140, 2)):
        expected = twin.see()
        assert np.array_equal(seen, expected)
        assert seen.dtype == np.uint8
        assert (expected[0, :levels, -1] == 0).all()  # bids are in the lower half
        own += expected[2, :, -1].any()
        base = env._batch.envs[0]["view"]["base"]
        seen = env.step(act)[0]
        moves += base != env._batch.envs[0]["view"]["base"]
    assert own > 50
    assert moves > 10
    assert expected[3].any()


@pytest.mark.parametrize("form", FORMS)
def test_vector__passes_all_checkers(form: dict[str, Any]):
    more = sections(window_s=2.0, observation=form)
    for mode in MODES:
        check_vector_env(lambda mode=mode: vector(3, autoreset_mode=mode, window_s=2.0, observation=form), steps=40)
    check_env(gym.make(ID, **more).unwrapped)
    check_for_sb3(gym.make(ID, **more).unwrapped)
    check_sb3_vec_env(lambda: make_sb3_vec_env(ID, 3, monitor=False, **more), steps=40)


@pytest.mark.parametrize("form", [{}, {"form": "dict"}])
@pytest.mark.parametrize("preset", PRESETS)
def test_single__passes_both_checkers_with_every_preset(preset: str, form: dict[str, Any]):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gym.make(ID, action=PRESETS[preset], **sections(observation=form)).unwrapped
        check_env(env)
        check_for_sb3(env)


@pytest.mark.parametrize("form", FORMS)
def test_state__has_the_frames(form: dict[str, Any]):
    acts = actions(6, 30, 3)
    env, other = (vector(3, window_s=2.0, observation=form) for _ in range(2))
    env.reset(seed=9)
    for act in acts[:13]:
        env.step(act)
    state = env.get_state()
    went_on = [copy.deepcopy(env.step(act)) for act in acts[13:]]
    other.reset(seed=1)
    other.set_state(state)
    assert_same(tuple(went_on), tuple(other.step(act) for act in acts[13:]))
    with pytest.raises(ValueError, match="make it alike"):
        vector(3, observation=form | {"stack": 5}).set_state(state)


@pytest.mark.parametrize(
    ("form", "policy"), [({"form": "dict", "stack": 2}, "MultiInputPolicy"), (FORMS[3], "CnnPolicy")]
)
def test_ppo__learns_on_dicts_and_pictures(form: dict[str, Any], policy: str):
    venv = make_sb3_vec_env(ID, 2, seed=1, **sections(window_s=2.0, observation=form))
    PPO(policy, venv, n_steps=8, batch_size=16, n_epochs=1, seed=1, device="cpu").learn(32)


def test_image__has_neither_features_nor_scaling():
    for more in ({"features": ["spread"]}, {"scaling": "some.json"}, {"use_time_features": True}):
        with pytest.raises(ConfigError, match="an image has no features"):
            single(observation={"form": "image", **more})


def test_scaling__is_fitted_frozen_and_applied(tmp_path: Path):
    file = tmp_path / "scaling.json"
    names = ["spread", "ofi_1s", "inventory", "remaining_time"]
    plain = single(observation={"features": names}, window_s=2.0)
    fitted = fit_scaling(plain, file, rows=5000, seed=3)
    assert fitted == json.loads(file.read_text()) == fit_scaling(plain, rows=5000, seed=3)
    assert fitted["data"] == digest_of(plain._batch.markets.tapes)
    assert fitted["rows"] >= 5000
    acts = actions(5, 600, 8)
    more = {"window_s": 2.0, "observation": {"features": names}}
    raw = np.concatenate([step[0] for step in run(vector(8, **more), acts)])
    for stack in (None, 2):
        scaled = {"features": names, "scaling": str(file), "stack": stack}
        seen = np.concatenate([step[0] for step in run(vector(8, window_s=2.0, observation=scaled), acts)])
        expected = np.clip((raw.astype(float) - fitted["mean"]) / fitted["scale"], -10, 10)
        np.testing.assert_allclose(seen[:, -4:], expected, atol=1e-5)
    assert np.abs(seen[:, -4:].mean(0)).max() < 0.3
    assert np.abs(seen[:, -4:].std(0) - 1).max() < 0.3


def test_scaling__refuses_test_days_and_features_that_it_does_not_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    env = single(observation={"features": ["spread"]}, window_s=2.0)
    with pytest.raises(ConfigError, match="training days only"):
        fit_scaling(env, split="test")
    held_out = single(data={"split": "test"}, window_s=2.0)
    with pytest.raises(ConfigError, match="training days only"):
        fit_scaling(held_out)
    monkeypatch.setattr("bt_gym.envs.scaling.DEFAULT", SimpleNamespace(name=tapes()[0].path.parent.name))
    monkeypatch.setattr("bt_gym.envs.scaling.default_tapes", lambda split: tapes())
    with pytest.raises(ConfigError, match="training days only"):
        fit_scaling(env)  # days of the default test split, given as tapes
    monkeypatch.undo()
    file = tmp_path / "scaling.json"
    fit_scaling(env, file, rows=64)
    with pytest.raises(ConfigError, match="nothing for ofi_1s"):
        single(observation={"features": ["ofi_1s"], "scaling": file})
    for text in ("{}", "no"):
        file.write_text(text)
        with pytest.raises(ConfigError, match="make it with fit_scaling"):
            single(observation={"features": ["spread"], "scaling": file})


@pytest.mark.parametrize("name", IDS)
def test_scaling__is_fitted_for_every_task(name: str):
    env = gym.make(name, **sections(window_s=2.0))
    fitted = fit_scaling(env, rows=6400)
    assert fitted["features"] == list(env.unwrapped.feature_names)
    varies = np.array(fitted["scale"]) != 1.0
    assert varies.mean() > 0.7
    assert np.isfinite(fitted["mean"] + fitted["scale"]).all()


@pytest.mark.parametrize("form", [FORMS[0], {"form": "image", "stack": 4, "levels": 3}])
def test_forms__do_not_depend_on_threads(form: dict[str, Any]):
    acts = actions(8, 12, 256)
    one, two = (vector(256, threads=count, window_s=1.0, observation=form) for count in (1, 2))
    assert_same(tuple(run(one, acts)), tuple(run(two, acts)))
    two.close()
