"""Environments by the thousand: each one record, all stepped by one kernel over the same tapes.

A step, from decision time t to the next, u:

    at t    the action becomes requests, on what has been received by t; they are sent
    t..u    the exchange works up to u; what it reports by u is delivered
    at u    the market is received up to u; reward = change of equity as known; the observation

N environments, D numbers of an action, F features.
"""

from typing import Any, cast

import numpy as np

from bt_gym._jit import array_at, njit, prefetch
from bt_gym.core import enums
from bt_gym.core.actions import mask, plan
from bt_gym.core.clock import next_decision
from bt_gym.core.env_state import (
    CODES,
    ENVS,
    FIRST_WORD,
    FRAMES,
    LAST_WORD,
    REQUESTS,
    RESET_NEXT_STEP,
    RESET_SAME_STEP,
    SETTINGS,
    SOURCES,
    STEPS,
    WORDS,
    codes_at,
    envs_at,
    open_tape,
    settings_at,
    sources_at,
    word_of,
    words_at,
)
from bt_gym.core.episodes import (
    END_CLOSE,
    END_COMPLETED,
    END_DRAWDOWN,
    END_LOSS,
    END_NONE,
    END_STEPS,
    episode_dtype,
    finish,
    learn,
)
from bt_gym.core.execution import run
from bt_gym.core.features import MAX_LAGS, follow, look, received_by, sums_dtype
from bt_gym.core.intents import INTENT_NEW, send
from bt_gym.core.market import market_dtype
from bt_gym.core.observe import keep_final_frames, observe, read
from bt_gym.core.reset import begin, request_dtype
from bt_gym.core.rewards import REWARD_SHARPE, REWARD_SHORTFALL, differential_sharpe, step_dtype, value_of
from bt_gym.core.tape import LADDER_TICKS, event_dtype, record_dtype

NS_PER_SECOND = 1_000_000_000

_LADDER_WORD = word_of("market") + cast(Any, market_dtype.fields)["ladder"][1] // 8
_EVENT_BYTES, _RECORD_BYTES, _SUMS_BYTES = event_dtype.itemsize, record_dtype.itemsize, sums_dtype.itemsize
_ENDED_WORD, _EPISODE_WORD = word_of("ended"), word_of("episode")
_EPISODE_WORDS = episode_dtype.itemsize // 8

_requests_at = array_at(request_dtype)
_steps_at = array_at(step_dtype)


@njit
def _act(env, events, settings, action, decided_at: int) -> None:
    """Turns an action into requests and sends them."""
    episode, account = env["episode"], env["account"]
    event = events[env["market"]["event"] - 1]
    count = plan(env["sent"], account, env["memory"], event, settings["scheme"], action, env["intents"])
    if count < 0:
        episode["invalid_actions"] += 1
        return
    for number in range(count):
        intent = env["intents"][number]
        reason = send(account, intent, decided_at)
        if reason == enums.REASON_NONE:
            episode["messages"] += 1
            if intent["kind"] == INTENT_NEW:
                episode["lots_sent"] += intent["size"]
        else:
            episode["rejects"][reason] += 1


@njit
def _advance(env, records, events, blocks, until: int, on_fill: bool) -> int:
    """The exchange works up to `until` (ns), or to when the first own fill is known; returns that time."""
    while True:
        reached, is_full = run(env["account"], env["log"], env["market"], records, events, blocks, until, on_fill)
        known = env["account"]["reports_known"]
        has_fill = learn(env, reached)
        if is_full:
            if env["account"]["reports_known"] == known:
                env["is_full"] = 1
                return until
        elif reached >= until or (on_fill and has_fill):
            return reached


@njit
def _step_one(
    context, index: int, env, source, records, events, blocks, rows, codes, settings, action, out
) -> tuple[float, int]:
    """(reward, END_*) of one step."""
    market, account, episode, memory = env["market"], env["account"], env["episode"], env["memory"]
    inventory, fees, volume = (
        account["known_position"]["size"],
        account["known_position"]["fees"],
        account["known_position"]["volume"],
    )
    _act(env, events, settings, action, env["now"])
    now = _advance(env, records, events, blocks, next_decision(env, events, settings), settings["on_fill"] != 0)
    before = env["now"]
    env["now"] = now
    received = received_by(events, market["event"], events.shape[0], now, market["extra_delay"])
    follow(memory, market, records, events, blocks, rows, received)
    look(memory, market, events, rows, now, settings["lags"], settings["depth"])
    episode["steps"] += 1
    env["record"] = events[max(received - 1, 0)]["end"]

    tick_value = account["models"]["tick_value"]
    position, parent = account["known_position"], episode["parent"]
    if episode["arrival2"] == enums.NO_TICK:
        episode["arrival2"] = market["mark2"]
    value = value_of(position, parent, episode["arrival2"], market["mark2"], tick_value)
    episode["peak"] = max(episode["peak"], value)
    fallen = episode["peak"] - value
    episode["max_drawdown"] = max(episode["max_drawdown"], fallen)
    reason = END_NONE
    limits = account["models"]
    if 0 <= limits["max_loss"] <= -value:
        reason = END_LOSS
    elif 0 <= limits["max_drawdown"] <= fallen:
        reason = END_DRAWDOWN
    elif parent != 0 and position["size"] == parent:
        reason = END_COMPLETED
    elif now >= episode["end"]:
        reason = episode["at_end"]
    elif episode["steps"] == settings["max_steps"]:
        reason = END_STEPS
    observe(context, index, env, settings, records, events, blocks, rows, codes, out)

    if settings["reward"] == REWARD_SHORTFALL:
        value = value_of(position, parent, episode["arrival2"], episode["arrival2"], tick_value)
    open_lots = np.float64(position["size"] - parent)
    mid_change = (market["mark2"] - env["mark2"]) / 2
    if reason != END_NONE:
        value = finish(env, events, reason)
    gain = (value - env["equity"]) / (tick_value * max(abs(parent), 1))
    shaping = 0.0
    if settings["inventory_penalty"] != 0.0:
        shaping -= settings["inventory_penalty"] * open_lots * open_lots * (now - before) / NS_PER_SECOND
    if settings["dampening"] != 0.0:
        shaping -= settings["dampening"] * max(0.0, open_lots * mid_change)
    if settings["reward"] == REWARD_SHARPE:
        shaping += differential_sharpe(env["moments"], gain, settings["rate"]) - gain
    episode["shaping"] += shaping
    env["equity"] = value
    env["mark2"] = market["mark2"]
    if context[STEPS + 1] > 0:
        row = _steps_at(context[STEPS], context[STEPS + 1])[index]
        row["gain"] = gain
        row["inventory_before"] = inventory
        row["inventory"] = position["size"]
        row["mid_change"] = mid_change
        row["elapsed_s"] = (now - before) / NS_PER_SECOND
        row["fees"] = (position["fees"] - fees) / tick_value
        row["filled"] = position["volume"] - volume
    return gain + shaping, reason


@njit
def _foresee(context, envs, sources, index: int, last: int) -> None:
    """Asks for the memory that the next environments will read: each is elsewhere on the tapes, in no cache.

    The next but one's own record, up to its log; and where the next one stands: events, records, rows of sums and the
    ladder at the touch. No result depends on it.
    """
    if index + 1 < last:
        prefetch(context[ENVS] + 8 * ((index + 1) * WORDS + FIRST_WORD), (LAST_WORD - FIRST_WORD) // 8)
    if index < last:
        env = envs[index]
        market = env["market"]
        place = sources[env["episode"]["source"]]
        prefetch(place["events"] + _EVENT_BYTES * market["event"], 40)
        prefetch(place["records"] + _RECORD_BYTES * env["record"], 20)
        for lag in range(MAX_LAGS):
            prefetch(place["sums"] + _SUMS_BYTES * env["memory"]["edges"][lag], 6)
        touch = (np.int64(market["mark2"]) >> 1) - market["base"]
        ladder = context[ENVS] + 8 * (index * WORDS + _LADDER_WORD) + 4 * touch
        for side in range(2):
            prefetch(ladder + 4 * LADDER_TICKS * side - 64, 3)


@njit
def step(context, first: int, last: int, actions, observations, rewards, terminated, truncated, finals) -> int:
    """Steps environments `first : last`.

    Args:
        context: of `env_state.make_context`.
        first: number of the first environment.
        last: one more than the last.
        actions: (N, D) float64; a row that is none of the scheme's does nothing and is counted.
        observations: (N, F) float32, written; of the new episode where RESET_SAME_STEP has begun one.
        rewards: (N,) float64, written: ticks on one lot, or on one of the order to be executed.
        terminated: (N,) bool, written.
        truncated: (N,) bool, written.
        finals: (N, F) float32, written for finished environments under RESET_SAME_STEP: their last observation.

    Returns:
        How many episodes ended.
    """
    envs = envs_at(context[ENVS], context[ENVS + 1])
    sources = sources_at(context[SOURCES], context[SOURCES + 1])
    settings = settings_at(context[SETTINGS], 1)[0]
    codes = codes_at(context[CODES], 2 * context[CODES + 1]).reshape((-1, 2))
    requests = _requests_at(context[REQUESTS], context[REQUESTS + 1])
    ended = 0
    for index in range(first, last):
        env = envs[index]
        _foresee(context, envs, sources, index + 1, last)
        rewards[index] = 0.0
        terminated[index] = False
        truncated[index] = False
        if context[STEPS + 1] > 0:
            _steps_at(context[STEPS], context[STEPS + 1])[index]["elapsed_s"] = 0.0
        if env["is_done"]:
            if settings["autoreset"] == RESET_NEXT_STEP:
                begin(context, index, env, requests[index], sources, settings, codes, observations[index])
            continue
        source = env["episode"]["source"]
        records, events, blocks, rows = open_tape(sources, source)
        reward, reason = _step_one(
            context,
            index,
            env,
            sources[source],
            records,
            events,
            blocks,
            rows,
            codes,
            settings,
            actions[index],
            observations[index],
        )
        rewards[index] = reward
        if reason != END_NONE:
            ended += 1
            terminated[index] = reason >= END_CLOSE
            truncated[index] = reason < END_CLOSE
            if settings["autoreset"] == RESET_SAME_STEP:
                for column in range(finals.shape[1]):
                    finals[index, column] = observations[index, column]
                if context[FRAMES + 1] > 0:
                    keep_final_frames(context, index, settings)
                words = words_at(context[ENVS] + index * WORDS * 8, WORDS)
                for word in range(_EPISODE_WORDS):
                    words[_ENDED_WORD + word] = words[_EPISODE_WORD + word]
                begin(context, index, env, requests[index], sources, settings, codes, observations[index])
    return ended


@njit
def reset(context, first: int, last: int, observations) -> None:
    """Begins the episodes of those environments of `first : last` whose request is wanted.

    All observations (N, F) are written.
    """
    envs = envs_at(context[ENVS], context[ENVS + 1])
    sources = sources_at(context[SOURCES], context[SOURCES + 1])
    settings = settings_at(context[SETTINGS], 1)[0]
    codes = codes_at(context[CODES], 2 * context[CODES + 1]).reshape((-1, 2))
    requests = _requests_at(context[REQUESTS], context[REQUESTS + 1])
    for index in range(first, last):
        env = envs[index]
        if requests[index]["wanted"]:
            begin(context, index, env, requests[index], sources, settings, codes, observations[index])
        else:
            records, events, blocks, rows = open_tape(sources, env["episode"]["source"])
            read(context, env, records, events, blocks, rows, codes, observations[index])


@njit
def masks(context, first: int, last: int, out) -> int:
    """Which codes of an action do something, see `actions.mask`: `out` (N, sum of codes) bool. Returns how many."""
    envs = envs_at(context[ENVS], context[ENVS + 1])
    sources = sources_at(context[SOURCES], context[SOURCES + 1])
    settings = settings_at(context[SETTINGS], 1)[0]
    for index in range(first, last):
        env = envs[index]
        _, events, _, _ = open_tape(sources, env["episode"]["source"])
        last_event = events[max(env["market"]["event"] - 1, 0)]
        mask(env["sent"], env["account"], env["memory"], last_event, settings["scheme"], out[index])
    return last - first
