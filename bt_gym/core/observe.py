"""What an environment observes at a decision time: a row of features, which joins its frames."""

import numpy as np

from bt_gym._jit import array_at, inlined, njit
from bt_gym.core.env_state import CODES, FINAL_FRAMES, FRAMES, SCALING
from bt_gym.core.features import extract
from bt_gym.core.frames import CHANNELS, paint, push, scale

_bytes_at = array_at(np.dtype("<u1"))
_floats_at = array_at(np.dtype("<f4"))
_scaling_at = array_at(np.dtype("<f8"))


@njit
def _frame_bytes(context, settings) -> int:
    """Size of an environment's frames."""
    if settings["height"] > 0:
        return CHANNELS * settings["height"] * settings["stack"]
    return 4 * settings["stack"] * context[CODES + 1]


@njit
def _remember(context, index: int, env, settings, records, events, out) -> None:
    """What has been observed joins the environment's frames."""
    is_first = env["episode"]["steps"] == 0
    size = _frame_bytes(context, settings)
    address = context[FRAMES] + index * size
    if settings["height"] > 0:
        picture = _bytes_at(address, size).reshape((CHANNELS, settings["height"], settings["stack"]))
        paint(picture, env["view"], env["account"], env["market"], records, events, is_first)
    else:
        push(_floats_at(address, size // 4), out, is_first)


@njit
def keep_final_frames(context, index: int, settings) -> None:
    size = _frame_bytes(context, settings)
    final = _bytes_at(context[FINAL_FRAMES] + index * size, size)
    frames = _bytes_at(context[FRAMES] + index * size, size)
    for number in range(size):
        final[number] = frames[number]


@inlined
def read(context, env, records, events, blocks, rows, codes, out) -> None:
    """The features now, scaled."""
    episode = env["episode"]
    remaining = max(episode["start"] + episode["window"] - env["now"], 0) / episode["window"]  # not when data end
    market, now = env["market"], env["now"]
    account, log = env["account"], env["log"]
    extract(env["memory"], account, log, market, records, events, blocks, rows, codes, now, remaining, out)
    if context[SCALING + 1] > 0:
        scale(_scaling_at(context[SCALING], 2 * context[SCALING + 1]).reshape((-1, 2)), out)


@inlined
def observe(context, index: int, env, settings, records, events, blocks, rows, codes, out) -> None:
    """The observation at a decision time, which joins the frames."""
    read(context, env, records, events, blocks, rows, codes, out)
    if context[FRAMES + 1] > 0:
        _remember(context, index, env, settings, records, events, out)
