"""Frames show what the environment's record holds; drawing them changes nothing."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import HumanRendering, RenderCollection

from bt_gym.core import enums
from bt_gym.envs import render
from bt_gym.envs.render import FPS, HEIGHT, IN_FLIGHT, LEVELS, OWN, ROW, WIDTH
from bt_gym.envs.single_env import BtEnv
from bt_gym.envs.vector_env import BtVectorEnv
from bt_gym.errors import ConfigError
from bt_gym.testing import check_vector_env
from tests.envs.make import ID, actions, assert_same, sections


def make(mode: str | None = "rgb_array", **more: Any) -> BtEnv:
    return BtEnv(**sections(window_s=20.0, **more), render_mode=mode)


def rows_with(frame: np.ndarray, colour: tuple[int, ...], side: int) -> set[int]:
    """Numbers of the ladder's rows, from the top, that have this colour in the half of a side."""
    half = frame[render.TOP :, : render.PRICE] if side == enums.BID else frame[render.TOP :, render.ASK_EDGE : 456]
    return {int(y) // ROW for y in np.flatnonzero((half == colour).all(2).any(1))}


def reads(frame: np.ndarray, y: int, x: int, text: str, colour: tuple[int, ...]) -> bool:
    dots = render._dots(text)
    part = frame[y : y + dots.shape[0], x : x + dots.shape[1]]
    return np.array_equal((part == colour).all(2), dots)


def test_frame__shows_own_orders_where_they_rest_and_what_is_ahead_of_them():
    env = make()
    env.reset(seed=1)
    assert not (env.render() == OWN).all(2).any()
    checked = 0
    for act in np.random.default_rng(2).choice([2, 3, 4, 5], (40, 2)):
        env.step(act)
        frame, row = env.render(), env._batch.envs[0]
        top = (int(row["market"]["mark2"]) >> 1) + LEVELS
        for side in (enums.BID, enums.ASK):
            orders = [o for o in row["account"]["orders"] if o["known_leaves"] > 0 and o["side"] == side]
            waits = {top - int(o["known_price"]) for o in orders if not o["acknowledged"] or o["unanswered"]}
            rests = {top - int(o["known_price"]) for o in orders} - waits
            assert rows_with(frame, OWN, side) == rests
            assert rows_with(frame, IN_FLIGHT, side) == waits
            for number in rests:
                lots = row["market"]["ladder"][side, top - number - row["market"]["base"]]
                name = ("own_bid_queue", "own_ask_queue")[side]
                ahead = env._observations[0, env.feature_names.index(name)] * lots
                x = render.OWN_BID if side == enums.BID else render.OWN_ASK
                assert reads(frame, render.TOP + ROW * number + 1, x, f"1 Q{ahead:.0f}", OWN)
                checked += 1
    assert checked > 20


def test_frame__tells_position_profit_and_trades():
    env = make()
    env.reset(seed=1)
    paid = trades = 0
    for act in np.random.default_rng(3).choice([2, 2, 3, 4], (70, 2)):
        paid += env.step(act)[1]
        frame, episode = env.render(), env._batch.envs[0]["episode"]
        position = int(env._batch.envs[0]["account"]["known_position"]["size"])
        assert reads(frame, 8, render.PRICE, f"POSITION {position:+d}", OWN if position else render.TEXT)
        profit = paid * 12.5 + 0.0
        if abs(profit) > 0.01:
            assert reads(frame, 8, render.OWN_ASK, f"PNL {profit:+,.2f}", render.BRIGHT[profit < 0])
        assert reads(frame, 26, render.TRADES, f"{episode['trades']} TRADES", render.FAINT)
        trades = int(episode["trades"])
    assert trades >= 3


def test_render__changes_no_step():
    acts = actions(1, 30, 1)[:, 0]
    results = []
    for mode in ("rgb_array", None):
        env = make(mode)
        results.append([env.reset(seed=5)])
        for act in acts:
            if mode:
                env.render()
            results[-1].append(env.step(act))
    assert_same(tuple(results[0]), tuple(results[1]))


def test_frames__are_new_and_of_one_size():
    env = make()
    env.reset(seed=1)
    one, other = env.render(), env.render()
    assert one.shape == (HEIGHT, WIDTH, 3)
    assert one.dtype == np.uint8
    assert not np.shares_memory(one, other)


def test_vector__renders_each_environment():
    envs = BtVectorEnv(3, **sections(), render_mode="rgb_array")
    with pytest.raises(gym.error.ResetNeeded):
        envs.render()
    envs.reset(seed=[4, 5, 6])
    frames = envs.render()
    assert isinstance(frames, tuple)
    for seed, frame in zip((4, 5, 6), frames, strict=True):
        alone = BtEnv(**sections(), render_mode="rgb_array")
        alone.reset(seed=seed)
        assert np.array_equal(frame, alone.render())
    for mode in AutoresetMode:
        check_vector_env(
            lambda mode=mode: BtVectorEnv(2, **sections(2.0), render_mode="rgb_array", autoreset_mode=mode), steps=30
        )


def test_videos__find_frames_and_their_rate():
    env = RenderCollection(gym.make(ID, render_mode="rgb_array", **sections()))
    env.reset(seed=1)
    for act in actions(2, 5, 1)[:, 0]:
        env.step(act)
    assert len(env.render()) == 6
    assert env.metadata["render_fps"] == gym.make_vec(ID, 2, **sections()).metadata["render_fps"] == FPS


def test_human__shows_every_step_and_closes_twice(monkeypatch: pytest.MonkeyPatch):
    pygame = pytest.importorskip("pygame")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setattr(render, "FPS", 10_000)
    for env in (make("human"), BtVectorEnv(2, **sections(), render_mode="human")):
        env.reset(seed=1)
        env.step(np.full_like(env.action_space.sample(), 3))
        window = pygame.display.get_surface()
        assert window.get_size() == (WIDTH, HEIGHT)
        shown = pygame.surfarray.array3d(window).swapaxes(0, 1)
        assert np.array_equal(shown, env._renderer.frame(0))
        assert env.render() is None
        env.close()
        env.close()
        assert not pygame.display.get_init()
    wrapped = HumanRendering(make())
    wrapped.reset(seed=1)
    wrapped.close()


def test_render__needs_a_mode_and_a_reset():
    with pytest.raises(ConfigError, match="render_mode is 'ascii'"):
        make("ascii")
    env = make(None)
    env.reset(seed=1)
    with pytest.warns(UserWarning, match="without a render_mode"):
        assert env.render() is None
    with pytest.raises(gym.error.ResetNeeded):
        make().render()
