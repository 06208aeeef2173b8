"""BtVectorEnv keeps Gymnasium's contract, and equals single environments, whatever its size, threads and neighbours."""

import copy
import os
import pickle
import threading
import warnings
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from hypothesis import given
from hypothesis import strategies as st
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from bt_gym.config.env import MarketMakingConfig, TradingConfig
from bt_gym.envs.workers import slices
from bt_gym.errors import ConfigError
from bt_gym.testing import check_vector_env
from tests.envs.make import (
    ID,
    IDS,
    PRESETS,
    SECOND,
    actions,
    assert_same,
    drawn,
    make_sync,
    sections,
    single,
    tapes,
    vector,
)

MODES = list(AutoresetMode)


def run(env, acts, seed=3):
    """Everything that a run returns, copied, with the resets that DISABLED needs."""
    results = [env.reset(seed=seed)]
    for act in acts:
        results.append(env.step(act))
        done = results[-1][2] | results[-1][3]
        if env.metadata["autoreset_mode"] is AutoresetMode.DISABLED and done.any():
            results.append(env.reset(options={"reset_mask": done}))
    return copy.deepcopy(results)


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize("mode", MODES)
def test_native_vector__equals_gymnasiums_vector_of_single_ones(mode, name):
    acts = actions(1, 130, 3, name)
    clock = {"decision": {"interval_ms": 200}}
    native = run(gym.make_vec(name, 3, autoreset_mode=mode, **sections(**clock)), acts)
    sync = run(make_sync(3, mode, name, **clock), acts)
    assert sum((step[2] | step[3]).sum() for step in native if len(step) == 5) >= 12
    assert_same(tuple(native), tuple(sync))


@pytest.mark.parametrize("name", IDS)
def test_single_env__passes_gymnasiums_checker_without_a_warning(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for checker in (check_env, sb3_check_env):
            checker(gym.make(name, **sections()).unwrapped)


@pytest.mark.parametrize("task", ["market_making", "execution", "trading"])
@pytest.mark.parametrize("mode", MODES)
def test_vector__passes_the_checker(mode, task):
    check_vector_env(lambda: vector(3, task=task, autoreset_mode=mode, window_s=2.0))


@pytest.mark.parametrize("preset", PRESETS)
def test_presets__pass_the_checkers_and_equal_gymnasiums_vector(preset):
    action = PRESETS[preset]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for checker in (check_env, sb3_check_env):
            checker(gym.make(ID, action=action, **sections()).unwrapped)
    check_vector_env(lambda: vector(3, action=action, autoreset_mode="SameStep", window_s=1.0), steps=60)
    native, sync = vector(3, action=action, window_s=2.0), make_sync(3, MODES[0], action=action, window_s=2.0)
    acts = drawn(native, 1, 40)
    assert_same(tuple(run(native, acts)), tuple(run(sync, acts)))


@pytest.mark.parametrize("preset", PRESETS)
def test_presets__out_of_their_space_do_nothing_and_touch_no_neighbour(preset):
    env, twin = (vector(3, action=PRESETS[preset], window_s=1.0) for _ in range(2))
    nothing = env._batch.scheme.do_nothing
    env.reset(seed=1)
    twin.reset(seed=1)
    is_box = isinstance(env.single_action_space, gym.spaces.Box)
    acts = drawn(env, 3, 4)
    for act, bad in zip(acts, (np.nan, np.inf, -1.5, 1e6), strict=True):
        wrong, other = act.astype(float), act.astype(float)
        wrong.reshape(3, -1)[1, -1] = bad
        other.reshape(3, -1)[1] = env._batch.scheme.do_nothing
        ours, theirs = env.step(wrong), twin.step(other)
        if preset != "target":  # whose do-nothing goes flat
            assert np.array_equal(ours[0], theirs[0])
        assert np.array_equal(ours[0][::2], theirs[0][::2])
    ours = env.step(np.broadcast_to(nothing, (3, len(nothing))).reshape(env.action_space.shape))
    assert ours[4]["invalid_actions"].tolist() == [0, 4, 0]
    alone = single(action=PRESETS[preset])
    alone.reset(seed=1)
    for wrong in (np.full(np.shape(acts[0][0]), np.nan), np.full(np.shape(acts[0][0]), 1e6), None, [[0]]):
        with pytest.raises(ValueError, match="must be"):
            alone.step(wrong)
    assert is_box == (env.action_masks().shape[1] == 0)


@pytest.mark.parametrize("preset", PRESETS)
def test_presets__doing_nothing_is_worth_exactly_nothing(preset):
    env = vector(4, action=PRESETS[preset], window_s=2.0)
    nothing = env._batch.scheme.do_nothing
    act = np.broadcast_to(nothing, (4, len(nothing))).reshape(env.action_space.shape)
    env.reset(seed=1)
    for _ in range(10):
        _, rewards, _, _, infos = env.step(act)
        assert (rewards == 0).all()
    assert (infos["pnl"] == 0).all()
    assert (infos["messages"] == 0).all()


@pytest.mark.parametrize("name", IDS)
def test_features__all_vary_and_stay_inside_their_bounds(name):
    own = gym.make(name, **sections()).unwrapped.feature_names
    names = [name.replace("_1m", "_20s") for name in own]  # sessions here last a minute
    more = {"observation": {"features": names}, "decision": {"interval_ms": 200}}
    env = gym.make_vec(name, 64, **sections(window_s=3.0, **more))
    seen = [env.reset(seed=1)[0]] + [env.step(act)[0] for act in actions(12, 1600, 64, name)]
    every = np.concatenate(seen)
    assert len(every) >= 100_000
    constant = [name for name, values in zip(env.feature_names, every.T, strict=True) if np.ptp(values) == 0]
    assert constant == []
    assert len(env.feature_units) == len(env.feature_names) == every.shape[1]
    assert np.isfinite(every).all()
    assert (np.abs(every) == 10).mean(axis=0).max() <= 0.001


RANDOM_MODELS = {"fill_model": {"type": "probabilistic", "fill_probability_at_touch": 0.5}}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"decision": {"clock": "records", "count": 5}},
        {"decision": {"on_fill": True}},
        {"execution": RANDOM_MODELS},
    ],
)
def test_env__does_not_depend_on_the_size_of_the_batch_its_place_or_its_neighbours(more):
    seeds = [11, 5, 7, 5]
    acts = actions(2, 60, 4)
    acts[:, 3] = acts[:, 1]
    every = run(vector(4, **more), acts, seeds)
    alone = run(vector(1, **more), acts[:, 2:3], [7])
    for step, other in zip(every, alone, strict=True):
        assert_same(tuple(a[2:3] for a in step[:-1]), tuple(other[:-1]))
        assert_same(tuple(a[1] for a in step[:-1]), tuple(a[3] for a in step[:-1]))
    assert np.any(every[-1][0][0] != every[-1][0][1])


def test_env__does_not_depend_on_threads():
    acts = actions(3, 12, 256)
    one, two = (vector(256, threads=count, window_s=1.0) for count in (1, 2))
    assert_same(tuple(run(one, acts)), tuple(run(two, acts)))
    two.close()
    two.close()


def test_two_vectors__step_at_once_in_two_threads():
    acts = actions(4, 10, 256)
    results = {}

    def work(name):
        env = vector(256, threads=2)
        results[name] = run(env, acts)
        env.close()

    workers = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert_same(tuple(results["a"]), tuple(results["b"]))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_forked_child__steps_with_one_thread_and_says_so():
    env = vector(256, threads=2)
    env.reset(seed=1)
    acts = actions(5, 2, 256)
    env.step(acts[0])
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python 3.12 warns of forks beside threads
        child = os.fork()
    if child == 0:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            rewards = env.step(acts[1])[1]
        os.write(write, rewards.tobytes() + bytes([len(caught)]))
        os._exit(0)
    os.waitpid(child, 0)
    answer = os.read(read, 1 << 16)
    assert np.array_equal(np.frombuffer(answer[:-1]), env.step(acts[1])[1])
    assert answer[-1] == 1
    env.close()


def test_state__saved_and_restored_goes_on_as_if_never_stopped():
    acts = actions(6, 90, 3)
    env = vector(3)
    env.reset(seed=9)
    for act in acts[:33]:
        env.step(act)
    state = env.get_state()
    went_on = [copy.deepcopy(env.step(act)) for act in acts[33:]]
    other = vector(3)
    other.reset(seed=1)
    other.set_state(state)
    assert_same(tuple(went_on), tuple(other.step(act) for act in acts[33:]))
    with pytest.raises(ValueError, match="make it alike"):
        vector(2).set_state(state)


@pytest.mark.parametrize(
    ("other", "name"),
    [
        ({"days": 1}, "data"),
        ({"window_s": 4.0}, "window_s"),
        ({"observation": {"features": ["spread"]}}, "observation"),
        ({"decision": {"interval_ms": 100}}, "decision"),
        ({"autoreset_mode": "SameStep"}, "autoreset_mode"),
    ],
)
def test_state__of_an_environment_made_otherwise_is_refused(other, name):
    """Its places are on other tapes, or mean something else: to go on from there would read what isn't there."""
    env = vector(2, **other)
    env.reset(seed=1)
    with pytest.raises(ValueError, match=f"with another {name}.*: make it alike"):
        vector(2).set_state(env.get_state())
    for wrong in (None, {}, {"envs": 1}):
        with pytest.raises(ValueError, match="state isn't one of get_state"):
            env.set_state(wrong)


@pytest.mark.parametrize("make", [lambda: vector(256, threads=2, window_s=1.0), lambda: single(window_s=3.0)])
def test_deepcopy__goes_on_by_itself(make):
    env = make()
    env.reset(seed=1)
    acts = drawn(env, 1, 8)
    env.step(acts[0])
    twin, third = copy.deepcopy(env), copy.deepcopy(env)
    ours = [env.step(act) for act in acts[1:]]
    assert np.any(ours[-1][0] != ours[0][0])
    assert_same(tuple(ours), tuple(twin.step(act) for act in acts[1:]))
    assert_same(tuple(ours[:3]), tuple(third.step(act) for act in acts[1:4]))


def test_pickle__is_refused_as_the_state_lies_in_this_process():
    with pytest.raises(TypeError, match="can't be pickled: make it where it is needed"):
        pickle.dumps(vector(2))


def test_arrays__are_new_each_time():
    env = vector(3)
    first = env.reset(seed=1)[0]
    kept = first.copy()
    results = [env.step(act) for act in actions(7, 3, 3)]
    assert np.array_equal(first, kept)
    arrays = [first, *(array for step in results for array in step[:4])]
    assert not any(np.shares_memory(a, b) for i, a in enumerate(arrays) for b in arrays[:i])


def test_seeds__int_is_the_list_of_seed_plus_index():
    one, other = vector(3), vector(3)
    assert_same(one.reset(seed=4), other.reset(seed=[4, 5, 6]))
    with pytest.raises(ValueError, match="seed has 2 values"):
        one.reset(seed=[1, 2])
    for wrong in (1.5, "a"):
        with pytest.raises(TypeError, match=f"seed is {wrong!r}: give an integer"):
            one.reset(seed=wrong)
    assert np.any(one.reset()[0] != other.reset(seed=4)[0])


@pytest.mark.parametrize("wrong", [-1, 1.5, "1"])
def test_seeds__of_a_list_are_integers_from_0_on(wrong):
    with pytest.raises(ValueError, match=f"seed has {wrong!r}: must be an integer from 0 on, or None"):
        vector(2).reset(seed=[1, wrong])


def test_reset_mask__resets_those_alone_and_stays_in_the_options():
    env, twin = vector(3, autoreset_mode="Disabled"), vector(3, autoreset_mode="Disabled")
    for one in (env, twin):
        one.reset(seed=2)
        one.step(actions(8, 1, 3)[0])
    options = {"reset_mask": np.array([False, True, False]), "window_s": 3.0}
    _, infos = env.reset(options=options)
    assert options.keys() == {"reset_mask", "window_s"}
    assert infos["_start_ns"].tolist() == [False, True, False]
    acts = actions(9, 5, 3)
    for act in acts:
        ours, theirs = env.step(act), twin.step(act)
        assert np.array_equal(ours[0][::2], theirs[0][::2])
    assert np.any(ours[0][1] != theirs[0][1])
    for wrong, error in (
        ([True, False, False], TypeError),
        (np.ones(3, int), TypeError),
        (np.ones(2, bool), ValueError),
        (np.zeros(3, bool), ValueError),
    ):
        with pytest.raises(error, match="reset_mask"):
            env.reset(options={"reset_mask": wrong})


def test_single_env__is_reset_as_a_whole():
    with pytest.raises(ConfigError, match="reset_mask'] is of vectors"):
        single().reset(options={"reset_mask": np.ones(1, bool)})


def test_unknown_keyword__is_refused_with_the_nearest():
    for make in (single, lambda **more: vector(1, **more)):
        with pytest.raises(ConfigError, match="did you mean execution"):
            make(executoin={})


def test_disabled__refuses_to_step_a_finished_episode():
    env = vector(2, autoreset_mode="Disabled", window_s=0.2)
    with pytest.raises(gym.error.ResetNeeded):
        env.step(np.zeros((2, 2), int))
    env.reset(seed=1)
    assert env.step(np.zeros((2, 2), int))[3].all()
    with pytest.raises(gym.error.ResetNeeded, match="are over"):
        env.step(np.zeros((2, 2), int))


def test_options__pin_the_window_for_one_reset():
    env = vector(2)
    day = int(env._batch.markets.days[1])
    spans = env._batch.markets.spans
    start = int(spans["first"][1]) + 7 * SECOND
    _, infos = env.reset(options={"day": day, "start_ns": [start, start + SECOND], "window_s": 2.0}, seed=1)
    assert infos["start_ns"].tolist() == [start, start + SECOND]
    assert infos["tape"].tolist() == [1, 1]
    steps = [env.step(np.zeros((2, 2), int)) for _ in range(11)]
    assert [step[3].tolist() for step in steps[8:]] == [[False, False], [True, True], [False, False]]
    assert steps[10][4]["start_ns"].tolist() != [start, start + SECOND]
    for wrong in (
        {"day": 19990101},
        {"start_ns": start - 60 * SECOND, "day": day},
        {"window_s": 0},
        {"instrument": "ZZZ"},
        {"start_index": 0},
        {"day": day + 0.5},
        {"start": 1},
        {"day": [1, 2, 3]},
    ):
        with pytest.raises(ConfigError, match="options"):
            env.reset(options=wrong)


def test_random_latencies__are_drawn_anew_for_every_environment_and_episode():
    latency = {name: 500 for name in ("entry_median_us", "response_median_us")}
    latency |= {"type": "lognormal", "entry_p99_us": 50_000, "response_p99_us": 50_000}
    env = vector(2, execution={"latency_model": latency})
    start = int(env._batch.markets.spans["first"][0]) + 7 * SECOND

    def arrivals(seed=None):
        env.reset(seed=seed, options={"start_ns": start})
        env.step(np.full((2, 2), 5))
        return env._batch.envs["account"]["requests"]["ts_exchange"][:, :2].tolist()

    one, two = arrivals([3, 4]), arrivals()
    assert len({tuple(row) for row in one + two}) == 4
    assert [arrivals([3, 4]), arrivals()] == [one, two]


@pytest.mark.parametrize(
    "execution",
    [
        {"latency_model": {"type": "empirical", "entry_us": [1, 2, 3, 4, 5], "response_us": [1]}},
        {"market_impact": {"type": "propagator", "amplitude_ticks": 0.1}},
    ],
)
def test_models_without_room_in_an_environment__are_refused(execution):
    with pytest.raises(ConfigError, match="don't fit into an environment"):
        vector(1, execution=execution)


@pytest.mark.parametrize("kind", [str, Path])
def test_data__is_a_tape_or_the_path_of_one(kind):
    tape = tapes()[1]
    _, info = gym.make(ID, data=kind(tape.path)).reset(seed=1)
    assert info == gym.make(ID, data=tape).reset(seed=1)[1]


def test_data__empty_is_not_the_synthetic_set():
    for data in ([], {"tapes": []}):
        with pytest.raises(ConfigError, match="data is empty"):
            gym.make(ID, data=data)


def test_sections__keep_the_tasks_own_defaults_for_what_they_leave_out():
    config = TradingConfig.from_sections(data={"split": "test"}, decision={"on_fill": True}, risk={"max_loss": 100})
    assert (config.data.window_s, config.decision.interval_ms, config.risk.max_position) == (600, 1000, 1)
    assert TradingConfig.from_sections(action={"targets": [0, 1]}).action.targets == (0, 1)
    assert TradingConfig.from_sections(action={"type": "quotes"}).action.type == "quotes"
    assert TradingConfig.from_sections(risk={"max_position": None}).risk.max_position is None
    assert MarketMakingConfig.from_sections(risk={"max_loss": 100}).risk.max_position == 10


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"threads": 0}, "threads is 0: must be 1 or more"),
        ({"autoreset_mode": "nope"}, "autoreset_mode is 'nope': must be one of NextStep, SameStep, Disabled"),
        ({"observation": {"features": []}}, "observation.features is empty"),
        ({"observation": {"features": ["spread", "side"]}}, "'side' is of an order to be executed, and there is none"),
        ({"action": {"offsets": [0, 1, 0]}}, r"action.offsets: \[0, 1, 0\] has 0 more than once"),
        ({"action": {"sizes": [1, 1]}}, r"action.sizes: \[1, 1\] has 1 more than once"),
        ({"action": {"type": "target", "targets": [0, 1, 1]}}, r"action.targets: \[0, 1, 1\] has 1 more than once"),
        (
            {"action": {"type": "target", "targets": [0, 11]}},
            "action.targets has 11, which risk.max_position, 10, always rejects",
        ),
    ],
)
def test_keywords__that_mean_nothing_are_refused(keywords, message):
    with pytest.raises(ConfigError, match=message):
        vector(2, **keywords)


def test_max_episode_steps__is_one_or_more():
    with pytest.raises(ConfigError, match="max_episode_steps"):
        vector(1, max_episode_steps=-1)


def test_ordered__walks_through_all_windows_in_turn():
    env = vector(2, data={"sampling": "ordered"}, window_s=20.0, decision={"interval_ms": 20_000})
    for wrong in (-1, 0.5):
        with pytest.raises(ConfigError, match="start_index"):
            env.reset(options={"start_index": wrong})
    count = env._batch.markets.window_count
    assert count == 2 * 2  # two days of 60 s, the first moment taken by the auction
    starts = [env.reset(seed=1, options={"start_index": np.array([0, 1])})[1]["start_ns"]]
    for _ in range(count):
        env.step(np.zeros((2, 2), int))
        starts.append(env.step(np.zeros((2, 2), int))[4]["start_ns"])
    walked = np.array(starts)
    firsts = vector(5, data={"sampling": "ordered"}, window_s=20.0).reset(seed=2)[1]["start_ns"]
    assert np.array_equal(firsts, walked[[2, 3, 0, 1, 2], 0])  # the seed, unless it is given
    assert len(set(walked[:count, 0].tolist())) == count
    assert np.array_equal(walked[1:, 0], walked[:-1, 1])
    assert walked[count, 0] == walked[0, 0]


def test_random_starts__are_uniform_over_all_tapes():
    env = vector(400, window_s=5.0)
    _, infos = env.reset(seed=0)
    spans = env._batch.markets.spans
    for number, span in enumerate(spans):
        starts = infos["start_ns"][infos["tape"] == number]
        assert 150 < len(starts) < 250
        assert span["first"] <= starts.min()
        assert starts.max() <= span["last"]
        assert abs(np.mean((starts - span["first"]) / (span["last"] - span["first"])) - 0.5) < 0.08


def test_actions_out_of_bounds__do_nothing_and_are_counted_and_touch_no_neighbour():
    env, twin = vector(3, window_s=1.0), vector(3, window_s=1.0)
    env.reset(seed=1)
    twin.reset(seed=1)
    acts = actions(10, 5, 3).astype(float)
    wrong = acts.copy()
    wrong[0, 1] = np.nan
    wrong[1, 1, 0] = 8
    wrong[2, 1, 1] = -1
    wrong[3, 1, 1] = 0.5
    wrong[4, 1, 0] = np.inf
    acts[:5, 1] = 0
    for act, other in zip(wrong, acts.astype(int), strict=True):
        ours, theirs = env.step(act), twin.step(other)
        assert np.array_equal(ours[0], theirs[0])
    assert ours[4]["invalid_actions"].tolist() == [0, 5, 0]
    for bad, error in ((np.zeros((3, 3), int), ValueError), (np.full((3, 2), "a"), TypeError)):
        with pytest.raises(error):
            env.step(bad)


def test_single_env__refuses_what_is_not_in_its_space_and_steps_only_in_an_episode():
    env = single(window_s=0.2)
    with pytest.raises(gym.error.ResetNeeded):
        env.step([0, 0])
    env.reset(seed=1)
    for wrong in (0, None, [0], [0, 8], [-1, 0], [np.nan, 0], [0.0, 1.0]):
        with pytest.raises(ValueError, match="must be"):
            env.step(wrong)
    trading = single(task="trading")
    trading.reset(seed=1)
    for wrong in (3, -1, np.nan, 1.0, [1]):
        with pytest.raises(ValueError, match="must be"):
            trading.step(wrong)
    assert trading.step(np.int64(1))[1] == 0
    assert env.step([np.int64(0), np.int64(0)])[3]
    with pytest.raises(gym.error.ResetNeeded):
        env.step([0, 0])


def test_masks__know_the_limit_and_the_spread():
    env = single(risk={"max_position": 1}, action={"offsets": [-1, 0]})
    env.reset(seed=1)
    for code in (0, 1, 3):
        assert env.action_masks()[[code, 4 + code]].all()
    spread = float(np.expm1(env.reset(seed=1)[0][env.feature_names.index("spread")]))
    assert env.action_masks()[2] == (spread > 1.5)
    trading = vector(2, task="trading")
    trading.reset(seed=1)
    assert trading.action_masks().tolist() == [[True, True, True]] * 2
    many = vector(3, risk={"max_position": 1}, action={"offsets": [-1, 0], "sizes": [1, 2]})
    many.reset(seed=1)
    assert many.action_masks().shape == (3, 4 + 4 + 2)


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_masks__kept_up_by_steps_are_those_of_a_fresh_look(mode: str):
    """Asked for once or at each step, after resets of some, and after a state was set."""
    sections = {"window_s": 0.6, "risk": {"max_position": 1}, "action": {"offsets": [-1, 0]}}
    env, other = (vector(4, autoreset_mode=mode, **sections) for _ in range(2))
    env.reset(seed=1)
    env.action_space.seed(1)
    found = [env.action_masks()]
    for number in range(12):
        env.step(env.action_space.sample())
        if number == 6:
            env.reset(options={"reset_mask": np.array([True, False, False, True])})
        other.set_state(env.get_state())
        found.append(env.action_masks())
        assert np.array_equal(found[-1], other.action_masks())
    assert len({masks.tobytes() for masks in found}) > 3
    first = env.action_masks()
    first[:] = False
    assert env.action_masks().any()  # arrays of the caller's own


@given(total=st.integers(1, 5000), threads=st.integers(1, 64))
def test_slices__are_the_whole_batch_once(total: int, threads: int):
    ends = [0]
    for first, last in slices(total, threads):
        assert first == ends[-1] < last
        ends.append(last)
    assert ends[-1] == total


def test_spec__is_plain_data():
    env = gym.make_vec(ID, 2, data={"files": [str(tape.path) for tape in tapes()]}, decision={"interval_ms": 100})
    assert gym.envs.registration.EnvSpec.from_json(env.spec.to_json()) is not None
    assert env.spec.id == ID
    env.close()
