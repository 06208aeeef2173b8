"""Environments by the thousand: each one record, all stepped by one kernel over the same tapes.

A step, from decision time t to the next, u:

    at t    the action becomes requests, on what has been received by t; they are sent
    t..u    the exchange works up to u; what it reports by u is delivered
    at u    the market is received up to u; reward = change of equity as known; the observation

N environments, D numbers of an action, F features.
"""

import numpy as np

from bt_gym._jit import array_at, inlined, njit, prefetch
from bt_gym.core import enums, orders
from bt_gym.core.actions import mask, plan
from bt_gym.core.clock import next_decision
from bt_gym.core.env_state import (
    CODES,
    ENVS,
    FRAMES,
    LOG_ROWS,
    MASKS,
    MAX_ORDERS,
    MAX_REQUESTS,
    REQUESTS,
    RESET_NEXT_STEP,
    RESET_SAME_STEP,
    SETTINGS,
    SOURCES,
    STEPS,
    WORDS,
    byte_of,
    codes_at,
    env_dtype,
    envs_at,
    open_tape,
    settings_at,
    sources_at,
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
from bt_gym.core.features import MAX_LAGS, STRIDE, follow, look, received_by, sums_dtype
from bt_gym.core.intents import INTENT_NEW, send
from bt_gym.core.market import received_at
from bt_gym.core.observe import keep_final_frames, observe, read
from bt_gym.core.orders import order_dtype, report_dtype, taken_dtype
from bt_gym.core.reset import begin, request_dtype
from bt_gym.core.rewards import REWARD_SHARPE, REWARD_SHORTFALL, differential_sharpe, step_dtype, value_of
from bt_gym.core.tape import LADDER_TICKS, event_dtype, record_dtype

NS_PER_SECOND = 1_000_000_000

_ENDED_WORD, _EPISODE_WORD = byte_of("ended") // 8, byte_of("episode") // 8
_EPISODE_WORDS = episode_dtype.itemsize // 8

_ENV_BYTES, _EVENT_BYTES, _RECORD_BYTES = env_dtype.itemsize, event_dtype.itemsize, record_dtype.itemsize
_SUMS_BYTES, _ORDER_BYTES, _REQUEST_BYTES = sums_dtype.itemsize, order_dtype.itemsize, orders.request_dtype.itemsize
_REPORT_BYTES, _TAKEN_BYTES = report_dtype.itemsize, taken_dtype.itemsize
_HOT = byte_of("now")
_HOT_LINES = (byte_of("account", "models", "tiers") - _HOT) // 64 + 1
_LINE, _ORDERS, _REQUESTS = byte_of("account", "line"), byte_of("account", "orders"), byte_of("account", "requests")
_TAKEN, _LOG = byte_of("account", "taken"), byte_of("log")
_MARKET, _LADDER = byte_of("market"), byte_of("market", "ladder")

_requests_at = array_at(request_dtype)
_steps_at = array_at(step_dtype)
_flags_at = array_at(np.dtype("?"))


@inlined
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
    due, number = next_decision(env, events, settings)
    now = _advance(env, records, events, blocks, due, settings["on_fill"] != 0)
    before = env["now"]
    env["now"] = now
    first = market["event"]
    if number > first and received_at(events[number], market["extra_delay"]) <= now:  # else a fill came first
        first = number
    received = received_by(events, first, events.shape[0], now, market["extra_delay"])
    env["events"] = received - market["event"]
    follow(memory, market, records, events, blocks, rows, received)
    look(memory, market, events, rows, now, settings["lags"], settings["depth"])
    episode["steps"] += 1
    env["records"] = events[max(received - 1, 0)]["end"] - env["record"]
    env["record"] += env["records"]

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
def _foresee(context, envs, sources, lags, index: int, last: int) -> None:
    """Asks for the memory that the next environments will read: each is elsewhere on the tapes, in no cache.

    Of the next but one what every step reads; of the next one what that leads to: its last orders, the places for
    requests and reports, the ladder at the touch, and as much of the tape as it read in its last step. No result
    depends on it.
    """
    if index + 1 < last:
        env_at = context[ENVS] + (index + 1) * _ENV_BYTES
        prefetch(env_at + _HOT, _HOT_LINES)
        prefetch(env_at + _LINE, 2)
        prefetch(env_at + _MARKET, 2)
    if index < last:
        env_at = context[ENVS] + index * _ENV_BYTES
        env = envs[index]
        market, account = env["market"], env["account"]
        place = sources[env["episode"]["source"]]
        prefetch(place["events"] + _EVENT_BYTES * market["event"], _lines(_EVENT_BYTES * env["events"]))
        prefetch(place["records"] + _RECORD_BYTES * env["record"], _lines(_RECORD_BYTES * env["records"]))
        rows = _lines(_SUMS_BYTES * (env["events"] // STRIDE + 1))
        for lag in range(MAX_LAGS):
            if lags[lag] == 0:
                break
            prefetch(place["sums"] + _SUMS_BYTES * env["memory"]["edges"][lag], rows)
        touch = (np.int64(market["mark2"]) >> 1) - market["base"]
        for side in range(2):
            prefetch(env_at + _LADDER + 4 * (touch + LADDER_TICKS * side) - 64, 3)
        order = max((account["orders_sent"] - 1) % MAX_ORDERS - 2, 0)
        prefetch(env_at + _ORDERS + _ORDER_BYTES * order, _lines(3 * _ORDER_BYTES))
        request = (account["first_request"] + account["requests_live"]) % MAX_REQUESTS
        prefetch(env_at + _REQUESTS + _REQUEST_BYTES * request, _lines(2 * _REQUEST_BYTES))
        prefetch(env_at + _LOG + _REPORT_BYTES * (account["reports_written"] % LOG_ROWS), 3)
        prefetch(env_at + _TAKEN, _lines(_TAKEN_BYTES * account["takens"]) - 1)


@njit
def _lines(size: int) -> int:
    """Cache lines that so many bytes may lie on; of a lot only the first ones, the rest is read in order anyway."""
    return min(size // 64 + 1, 48)


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
        _foresee(context, envs, sources, settings["lags"], index + 1, last)
        rewards[index] = 0.0
        terminated[index] = False
        truncated[index] = False
        if context[STEPS + 1] > 0:
            _steps_at(context[STEPS], context[STEPS + 1])[index]["elapsed_s"] = 0.0
        if env["is_done"]:
            if settings["autoreset"] == RESET_NEXT_STEP:
                begin(context, index, env, requests[index], sources, settings, codes, observations[index])
                _mask(context, index, env, sources, settings)
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
        _mask(context, index, env, sources, settings)
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
        _mask(context, index, env, sources, settings)


@njit
def _mask(context, index: int, env, sources, settings) -> None:
    """Which codes of an action do something now, where somebody asks for it."""
    width = context[MASKS + 1] // context[ENVS + 1]
    if width > 0:
        _, events, _, _ = open_tape(sources, env["episode"]["source"])
        event = events[max(env["market"]["event"] - 1, 0)]
        out = _flags_at(context[MASKS] + index * width, width)
        mask(env["sent"], env["account"], env["memory"], event, settings["scheme"], out)


@njit
def masks(context, first: int, last: int) -> int:
    """Writes the masks of environments `first : last`, which `step` and `reset` keep up from then on."""
    envs = envs_at(context[ENVS], context[ENVS + 1])
    sources = sources_at(context[SOURCES], context[SOURCES + 1])
    settings = settings_at(context[SETTINGS], 1)[0]
    for index in range(first, last):
        _mask(context, index, envs[index], sources, settings)
    return 0
