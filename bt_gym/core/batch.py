"""Environments by the thousand: each one record, all stepped by one kernel over the same tapes.

An environment owns its place on a tape, a ladder, one small account and its statistics (`env_dtype`). What is written
belongs to one environment alone, so that any thread may step any slice of a batch and the result is the same.

A step, from decision time t to the next, u:

    at t    the action becomes requests, on what has been received by t; they are sent
    t..u    the exchange works up to u; what it reports by u is delivered
    at u    the market is received up to u; reward = change of equity as known; the observation

N environments, D numbers of an action, F features, T tapes, S spans. `context` (CONTEXT_SIZE,) int64 holds addresses
and lengths of all arrays that a batch works on.
"""

from typing import Any, cast

import numpy as np

from bt_gym._jit import array_at, njit, prefetch
from bt_gym.core import enums
from bt_gym.core.actions import mask, plan, scheme_dtype
from bt_gym.core.execution import book_fill, deliver, run
from bt_gym.core.features import (
    MAX_LAGS,
    STRIDE,
    SUM_BOUGHT,
    SUM_SOLD,
    SUMS,
    extract,
    find_row,
    follow,
    look,
    memory_dtype,
    received_by,
    restart,
    sums_dtype,
)
from bt_gym.core.fees import fee_of
from bt_gym.core.frames import CHANNELS, paint, push, scale, view_dtype
from bt_gym.core.intents import INTENT_NEW, MAX_INTENTS, intent_dtype, send, sent_dtype
from bt_gym.core.market import best_price, market_dtype, received_at, seek
from bt_gym.core.matching import taken_at
from bt_gym.core.orders import MAX_TAKEN, make_account_dtype, models_dtype, new_account, report_dtype
from bt_gym.core.positions import worth, worth2
from bt_gym.core.rewards import REWARD_SHARPE, REWARD_SHORTFALL, differential_sharpe, step_dtype, value_of
from bt_gym.core.tape import LADDER_TICKS, block_dtype, event_dtype, record_dtype

MAX_ORDERS = 8
MAX_REQUESTS = 16
LOG_ROWS = 64
NS_PER_SECOND = 1_000_000_000

CLOCK_TIME = 0  # a decision every `clock_step` ns
CLOCK_RECORDS = 1  # MBO records received
CLOCK_TRADES = 2  # events with a trade received

RESET_NEVER = 0  # autoreset: a finished environment waits
RESET_NEXT_STEP = 1
RESET_SAME_STEP = 2

END_NONE = 0
END_WINDOW = 1  # truncated: the window is over
END_STEPS = 2  # truncated: the limit of steps
END_DATA = 3  # truncated: the tape is over
END_CLOSE = 4  # terminated: the session is over
END_LOSS = 5  # terminated: max_loss
END_DRAWDOWN = 6  # terminated: max_drawdown
END_DEADLINE = 7  # terminated: the time of the order to be executed is over
END_COMPLETED = 8  # terminated: that order is done

settings_dtype = np.dtype(
    [
        ("clock", "<i8"),  # CLOCK_*
        ("clock_step", "<i8"),
        ("on_fill", "<i8"),  # 1: a fill that becomes known is a decision time too
        ("autoreset", "<i8"),  # RESET_*
        ("window", "<i8"),  # ns
        ("max_steps", "<i8"),  # 0: no limit
        ("ordered", "<i8"),  # 1: windows one after the other instead of at random
        ("has_parent", "<i8"),  # 1: an order is to be executed
        ("side", "<i8"),  # of it: enums.BUY, SELL; -1: drawn
        ("quantity", "<i8"),  # lots of it; 0: drawn
        ("max_share", "<f8"),  # most lots that are drawn, of those traded in the window before the start
        ("reward", "<i8"),  # REWARD_*
        ("rate", "<f8"),  # of REWARD_SHARPE
        ("inventory_penalty", "<f8"),  # ticks a second on one lot, times lots squared
        ("dampening", "<f8"),  # part of the gain of the open position that is not rewarded
        ("lags", "<i8", (MAX_LAGS,)),  # ns, of the features
        ("depth", "<i8"),  # levels that they need
        ("stack", "<i8"),  # K decisions of a frame, see `bt_gym.core.frames`
        ("height", "<i8"),  # rows of a picture; 0: frames are of features
        ("scheme", scheme_dtype),
    ],
    align=True,
)
"""What all environments of a batch share."""

source_dtype = np.dtype(
    [
        ("records", "<i8"),  # addresses
        ("events", "<i8"),
        ("blocks", "<i8"),
        ("sums", "<i8"),
        ("record_count", "<i8"),
        ("event_count", "<i8"),
        ("block_count", "<i8"),
        ("extra_delay", "<i8"),  # ns
        ("models", models_dtype),
    ],
    align=True,
)
"""A tape, where it lies, and the models of an account on it."""

span_dtype = np.dtype(
    [
        ("source", "<i8"),  # number of its tape
        ("first", "<i8"),  # ns: earliest start of an episode
        ("last", "<i8"),  # ns: latest one
        ("close", "<i8"),  # ns: when its session's last event of continuous trading is received
        ("is_close", "<i8"),  # 1: the session ended; 0: the data did
        ("before", "<i8"),  # ns of possible starts in all spans before
        ("windows", "<i8"),  # whole windows in all spans before
    ],
    align=True,
)
"""A time in which episodes may start, without a gap."""

request_dtype = np.dtype(
    [
        ("first_span", "<i8"),  # draw from spans `first_span : last_span`
        ("last_span", "<i8"),
        ("start", "<i8"),  # ns in that first span; -1: drawn
        ("window", "<i8"),  # ns; 0: the settings'
        ("start_index", "<i8"),  # of ordered windows; -1: the seed, or go on
        ("side", "<i8"),  # of the order to be executed; -1: the settings'
        ("quantity", "<i8"),  # lots of it; 0: the settings'
        ("seed", "<i8"),  # -1: go on with the stream
        ("wanted", "<i8"),  # 1: reset this environment
    ],
    align=True,
)
"""How an environment is to be reset."""

episode_dtype = np.dtype(
    [
        ("source", "<i8"),
        ("start", "<i8"),  # ns
        ("end", "<i8"),  # ns: of its window, or of its session if that is earlier
        ("window", "<i8"),  # ns
        ("at_end", "<i8"),  # END_* when `end` is reached
        ("end_reason", "<i8"),  # END_*
        ("parent", "<i8"),  # signed lots of the order to be executed; 0 without one
        ("arrival2", "<i8"),  # twice the mid at the start, ticks
        ("executed", "<i8"),  # lots of it that were done when the episode ended, before the rest was sent
        ("steps", "<i8"),
        ("pnl", "<i8"),  # 1e-6: at the exchange's truth, fees included, marked; flattened when terminated
        ("pnl_liquidated", "<i8"),  # 1e-6: the same with the position sent home against the book
        ("fees", "<i8"),
        ("trades", "<i8"),  # fills
        ("lots", "<i8"),  # filled
        ("maker_lots", "<i8"),
        ("queued", "<i8"),  # sum over them of the lots that were ahead when their order joined its queue
        ("lots_sent", "<i8"),  # of new orders
        ("messages", "<i8"),  # requests sent
        ("invalid_actions", "<i8"),
        ("max_inventory", "<i8"),
        ("peak", "<i8"),  # 1e-6, of equity as known
        ("max_drawdown", "<i8"),
        ("shaping", "<f8"),  # ticks: of the reward, what is not change of equity
        ("rejects", "<i4", (enums.REASON_COUNT,)),  # by REASON_*
    ],
    align=True,
)
"""Statistics of an episode."""

env_dtype = np.dtype(
    [
        ("seed", "<i8"),  # of its stream
        ("episodes", "<i8"),  # begun since the seed was set
        ("start_index", "<i8"),  # first of its ordered windows
        ("is_full", "<i8"),  # its tables could not hold what happened
        ("ended", episode_dtype),  # the episode before, when a reset in the same step has begun the next
        ("now", "<i8"),  # ns: decision time. From here to the log a reset copies the template of the tape
        ("equity", "<i8"),  # 1e-6: as known at the last decision
        ("mark2", "<i8"),  # the mark at the last decision
        ("moments", "<f8", (2,)),  # of REWARD_SHARPE
        ("record", "<i8"),  # of the tape: the last one received, or near it
        ("is_done", "<i8"),  # 1: the episode is over, or never began
        ("episode", episode_dtype),
        ("sent", sent_dtype),
        ("intents", intent_dtype, (MAX_INTENTS,)),
        ("memory", memory_dtype),
        ("view", view_dtype),
        ("account", make_account_dtype(MAX_ORDERS, MAX_REQUESTS, MAX_TAKEN)),
        ("log", report_dtype, (LOG_ROWS,)),
        ("market", market_dtype),
    ],
    align=True,
)
"""One environment, whole: to copy the record is to save it."""


def _word_of(name: str) -> int:
    """Where a field of `env_dtype` begins, in words of 8 bytes."""
    return cast(Any, env_dtype.fields)[name][1] // 8


_WORDS = env_dtype.itemsize // 8
_FIRST_WORD, _LAST_WORD = _word_of("now"), _word_of("log")
_LADDER_WORD = _word_of("market") + cast(Any, market_dtype.fields)["ladder"][1] // 8
_EVENT_BYTES, _RECORD_BYTES, _SUMS_BYTES = event_dtype.itemsize, record_dtype.itemsize, sums_dtype.itemsize
_ENDED_WORD, _EPISODE_WORD = _word_of("ended"), _word_of("episode")

_EPISODE_WORDS = episode_dtype.itemsize // 8

ENVS, TEMPLATES, SOURCES, SPANS, SETTINGS, CODES, REQUESTS, FRAMES, FINAL_FRAMES, SCALING, STEPS = range(0, 22, 2)
CONTEXT_SIZE = 22

_records_at = array_at(record_dtype)
_events_at = array_at(event_dtype)
_blocks_at = array_at(block_dtype)
_sums_at = array_at(sums_dtype)
_envs_at = array_at(env_dtype)
_words_at = array_at(np.dtype("<i8"))
_sources_at = array_at(source_dtype)
_spans_at = array_at(span_dtype)
_settings_at = array_at(settings_dtype)
_codes_at = array_at(np.dtype("<i4"))
_requests_at = array_at(request_dtype)
_steps_at = array_at(step_dtype)
_bytes_at = array_at(np.dtype("<u1"))
_floats_at = array_at(np.dtype("<f4"))
_scaling_at = array_at(np.dtype("<f8"))


def new_envs(count: int, models: np.ndarray) -> np.ndarray:
    """Environments that wait for their first reset, shape (count,) of `env_dtype`; `models`: (1,) of `models_dtype`."""
    envs = np.zeros(count, env_dtype)
    envs["account"] = new_account(models, env_dtype["account"], 1)
    envs["is_done"] = 1
    return envs


def make_context(
    envs: np.ndarray,
    templates: np.ndarray,
    sources: np.ndarray,
    spans: np.ndarray,
    settings: np.ndarray,
    codes: np.ndarray,
    requests: np.ndarray,
    frames: np.ndarray,
    final_frames: np.ndarray,
    scaling: np.ndarray,
    steps: np.ndarray,
) -> np.ndarray:
    """Addresses and lengths of a batch's arrays; the caller keeps them alive, and those that `sources` names.

    Args:
        envs: (N,) of `env_dtype`.
        templates: (T,) of `env_dtype`: new ones with the models of each source.
        sources: (T,) of `source_dtype`.
        spans: (S,) of `span_dtype`, in the order of sources.
        settings: (1,) of `settings_dtype`.
        codes: (F, 2) int32 of `features.FeatureSet`.
        requests: (N,) of `request_dtype`.
        frames: of each environment, see `bt_gym.core.frames`: (N, K, F) float32, or (N, CHANNELS, H, K) uint8; (0,)
            where an observation is one row of features.
        final_frames: likewise, written for finished environments under RESET_SAME_STEP.
        scaling: (F, 2) float64 of `frames.scale`; (0, 2) for none.
        steps: (N,) of `rewards.step_dtype`, written; (0,) where nobody asks for it.
    """
    context = np.zeros(CONTEXT_SIZE, np.int64)
    arrays = {
        ENVS: envs,
        TEMPLATES: templates,
        SOURCES: sources,
        SPANS: spans,
        SETTINGS: settings,
        CODES: codes,
        REQUESTS: requests,
        FRAMES: frames,
        FINAL_FRAMES: final_frames,
        SCALING: scaling,
        STEPS: steps,
    }
    for index, array in arrays.items():
        context[index] = array.ctypes.data
        context[index + 1] = len(array)
    return context


# --- randomness: a hash of what is drawn, so that no draw depends on another


@njit
def _mix(word: int) -> int:
    """32 bits well mixed (constants of C. Wellons' hash prospector, below 2**31 so that no product overflows)."""
    word = ((word ^ (word >> 16)) * 0x21F0AAAD) & 0xFFFFFFFF
    word = ((word ^ (word >> 15)) * 0x735A2D97) & 0xFFFFFFFF
    return word ^ (word >> 15)


@njit
def draw(seed: int, episode: int, bound: int) -> int:
    """Uniform on 0 .. bound - 1 (below 2**62) for the episode of a stream."""
    low = _mix(_mix(_mix(seed & 0xFFFFFFFF) ^ (seed >> 32)) ^ (episode & 0xFFFFFFFF))
    high = _mix(low ^ 0x5BD1E995)
    return ((high << 30) ^ low) % bound


# --- reset


@njit
def _find_span(spans, first: int, last: int, by_window: bool, value: int) -> int:
    """Last span of `first : last` before which there are at most `value` windows, or else ns of possible starts."""
    while last - first > 1:
        middle = (first + last) >> 1
        if (spans[middle]["windows"] if by_window else spans[middle]["before"]) <= value:
            first = middle
        else:
            last = middle
    return first


@njit
def _choose(env, spans, settings, request) -> tuple[int, int, int]:
    """(span, start, window) of the next episode."""
    first, last = request["first_span"], request["last_span"]
    window = request["window"] if request["window"] > 0 else settings["window"]
    if request["start"] >= 0:
        return first, request["start"], window
    final = spans[last - 1]
    if settings["ordered"]:
        length = settings["window"]
        in_final = (final["last"] - final["first"]) // length + 1
        total = final["windows"] + in_final - spans[first]["windows"]
        number = spans[first]["windows"] + (env["start_index"] + env["episodes"]) % total
        span = _find_span(spans, first, last, True, number)
        return span, spans[span]["first"] + (number - spans[span]["windows"]) * length, window
    total = final["before"] + final["last"] - final["first"] + 1 - spans[first]["before"]
    place = spans[first]["before"] + draw(env["seed"], env["episodes"], total)
    span = _find_span(spans, first, last, False, place)
    return span, spans[span]["first"] + place - spans[span]["before"], window


@njit
def _open(sources, source: int):
    """(records, events, blocks, rows of sums) of a tape."""
    place = sources[source]
    events = _events_at(place["events"], place["event_count"])
    rows = _sums_at(place["sums"], place["event_count"] // STRIDE + 1)
    return (
        _records_at(place["records"], place["record_count"]),
        events,
        _blocks_at(place["blocks"], place["block_count"]),
        rows,
    )


@njit
def _draw_parent(env, settings, request, rows, received: int, start: int) -> int:
    """Signed lots to execute: as asked for, or drawn; what is drawn depends on nothing behind the start."""
    side = request["side"] if request["side"] >= 0 else settings["side"]
    if side < 0:
        side = draw(env["seed"], env["episodes"] + (1 << 30), 2)
    lots = request["quantity"] if request["quantity"] > 0 else settings["quantity"]
    if lots == 0:
        sums = env["memory"]["sums"]
        row = rows[find_row(rows, 0, received // STRIDE, start - settings["window"] - env["market"]["extra_delay"])]
        traded = np.int64(0)
        for column in (SUM_BOUGHT, SUM_SOLD):
            traded += (np.int64(sums[column]) - np.int64(row["sums"][column])) & 0xFFFFFFFF
        lots = 1 + draw(env["seed"], env["episodes"] + (3 << 30), max(np.int64(settings["max_share"] * traded), 1))
    return lots if side == enums.BUY else -lots


@njit
def _reset_one(context, index: int, request) -> None:
    """Begins an episode: the market as received by its start, an account without orders."""
    env = _envs_at(context[ENVS], context[ENVS + 1])[index]
    sources = _sources_at(context[SOURCES], context[SOURCES + 1])
    spans = _spans_at(context[SPANS], context[SPANS + 1])
    settings = _settings_at(context[SETTINGS], 1)[0]
    if request["seed"] >= 0:
        env["seed"] = request["seed"]
        env["start_index"] = request["seed"]
        env["episodes"] = 0
    if request["start_index"] >= 0:
        env["start_index"] = request["start_index"]
        env["episodes"] = 0
    number, start, window = _choose(env, spans, settings, request)
    span = spans[number]
    env["episodes"] += 1

    source = span["source"]
    words = _words_at(context[ENVS] + index * _WORDS * 8, _WORDS)
    fresh = _words_at(context[TEMPLATES] + source * _WORDS * 8, _WORDS)
    for word in range(_FIRST_WORD, _LAST_WORD):
        words[word] = fresh[word]
    episode = env["episode"]
    episode["source"] = source
    episode["start"] = start
    episode["window"] = window
    episode["end"] = min(start + window, span["close"])
    episode["at_end"] = END_DEADLINE if settings["has_parent"] else END_WINDOW
    if start + window > span["close"]:
        episode["at_end"] = END_CLOSE if span["is_close"] else END_DATA
    env["now"] = start
    env["is_done"] = 0

    records, events, blocks, rows = _open(sources, source)
    market, memory = env["market"], env["memory"]
    delay = sources[source]["extra_delay"]
    market["extra_delay"] = delay
    received = received_by(events, 0, events.shape[0], start, delay)
    seek(market, records, events, blocks, received - received % STRIDE)
    for column in range(SUMS):
        memory["sums"][column] = rows[received // STRIDE]["sums"][column]
    follow(memory, market, records, events, blocks, rows, received)
    restart(memory)
    if settings["has_parent"]:
        episode["parent"] = _draw_parent(env, settings, request, rows, received, start)
        memory["parent"] = episode["parent"]
    episode["arrival2"] = market["mark2"]
    env["account"]["event"] = received
    env["account"]["models"]["account"] = draw(env["seed"], env["episodes"] + (1 << 31), 1 << 31)  # its own draws
    env["mark2"] = market["mark2"]


# --- step


@njit
def _first_with_source(events, first: int, wanted: int) -> int:
    """First event from `first` on by which so many source records came: gallop, then bisect."""
    total = events.shape[0]
    step = 1
    low = first
    while low + step < total and np.int64(events[low + step]["source"]) < wanted:
        low += step
        step <<= 1
    high = min(low + step, total)
    while low < high:
        middle = (low + high) >> 1
        if np.int64(events[middle]["source"]) < wanted:
            low = middle + 1
        else:
            high = middle
    return low


@njit
def _next_decision(env, events, settings) -> int:
    """When the next decision is due, own fills apart, ns; not beyond the end of the episode."""
    end = env["episode"]["end"]
    if settings["clock"] == CLOCK_TIME:
        return min(env["now"] + settings["clock_step"], end)
    received = env["market"]["event"]
    delay = env["market"]["extra_delay"]
    number = received
    if settings["clock"] == CLOCK_RECORDS:
        wanted = settings["clock_step"]
        if received > 0:
            wanted += np.int64(events[received - 1]["source"])
        number = _first_with_source(events, received, wanted)
    else:
        left = settings["clock_step"]
        while number < events.shape[0]:
            left -= events[number]["flags"] & enums.EVENT_TRADE != 0
            if left == 0 or received_at(events[number], delay) > end:
                break
            number += 1
    if number >= events.shape[0]:
        return end
    return min(max(received_at(events[number], delay), env["now"] + 1), end)


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
def _learn(env, until: int) -> bool:
    """Delivers all reports known by `until` (ns); returns whether a fill was among them."""
    account, episode, log = env["account"], env["episode"], env["log"]
    first = account["reports_known"]
    count = deliver(account, log, until)
    has_fill = False
    for number in range(first, first + count):
        row = log[number & (LOG_ROWS - 1)]
        if row["exec_type"] == enums.EXEC_TRADE:
            has_fill = True
            book_fill(account, row)
            episode["trades"] += 1
            episode["lots"] += row["size"]
            if row["liquidity"] == enums.LIQUIDITY_MAKER:
                episode["maker_lots"] += row["size"]
        elif (
            row["exec_type"] == enums.EXEC_REJECTED
            or row["exec_type"] == enums.EXEC_CANCEL_REJECTED
            or row["reason"] == enums.REASON_CAPACITY
        ):
            episode["rejects"][row["reason"]] += 1
    account["reports_kept"] = account["reports_known"]
    return has_fill


@njit
def _advance(env, records, events, blocks, until: int, on_fill: bool) -> int:
    """The exchange works up to `until` (ns), or to when the first own fill is known; returns that time."""
    while True:
        reached, is_full = run(env["account"], env["log"], env["market"], records, events, blocks, until, on_fill)
        known = env["account"]["reports_known"]
        has_fill = _learn(env, reached)
        if is_full:
            if env["account"]["reports_known"] == known:
                env["is_full"] = 1
                return until
        elif reached >= until or (on_fill and has_fill):
            return reached


@njit
def _completed(env, events) -> tuple[int, int]:
    """(value, fees on top) in 1e-6 at the exchange's truth if what is held, or owed, were sent against the book."""
    account, market, episode = env["account"], env["market"], env["episode"]
    position, models = account["position"], account["models"]
    tick_value = models["tick_value"]
    open_lots = np.int64(position["size"]) - episode["parent"]
    left = abs(open_lots)
    value = position["cash"] - position["fees"] + worth2(episode["parent"], episode["arrival2"], tick_value)
    fees = np.int64(0)
    if left == 0:
        return value, fees
    sign = 1 if open_lots > 0 else -1
    side = enums.BID if sign > 0 else enums.ASK
    number = market["event"] - 1
    tick = best_price(events[number], side)
    if tick == enums.NO_TICK:  # nobody there: the mark, rounded against us
        tick = np.int64(market["mark2"]) // 2 if sign > 0 else -(-np.int64(market["mark2"]) // 2)
    volume = position["volume"]
    for step in range(128):
        offset = tick - market["base"]
        is_last = step == 127 or not 0 <= offset < LADDER_TICKS  # what nobody shows is sold where the view ends
        lots = left
        if not is_last:
            lots = min(left, max(np.int64(market["ladder"][side, offset]) - taken_at(account, side, tick), 0))
        if lots > 0:
            value += worth(sign * lots, tick, tick_value)
            fees += fee_of(models, volume, lots, tick, enums.LIQUIDITY_TAKER, left == abs(open_lots))
            volume += lots
            left -= lots
        if left == 0:
            break
        tick -= sign
    return value - fees, fees


@njit
def _finish(env, events, reason: int) -> int:
    """The episode is over: settles at the exchange's truth; returns the final value in 1e-6."""
    account, market, episode = env["account"], env["market"], env["episode"]
    env["is_done"] = 1
    episode["end_reason"] = reason
    _learn(env, np.int64(2**62))
    tick_value = account["models"]["tick_value"]
    parent = episode["parent"]
    marked = value_of(account["position"], parent, episode["arrival2"], market["mark2"], tick_value)
    episode["fees"] = account["position"]["fees"]
    episode["max_inventory"] = account["position"]["max_size"]
    episode["queued"] = account["queued"]
    episode["executed"] = (1 if parent > 0 else -1) * account["position"]["size"]
    episode["pnl_liquidated"], fees = _completed(env, events)
    episode["pnl"] = marked
    if reason >= END_CLOSE:
        episode["pnl"] = episode["pnl_liquidated"]
        episode["fees"] += fees
    return episode["pnl"]


@njit
def _frame_bytes(context, settings) -> int:
    """Size of an environment's frames."""
    if settings["height"] > 0:
        return CHANNELS * settings["height"] * settings["stack"]
    return 4 * settings["stack"] * context[CODES + 1]


@njit
def _remember(context, index: int, env, settings, records, events, out, is_first: bool) -> None:
    """What has been observed joins the environment's frames."""
    size = _frame_bytes(context, settings)
    address = context[FRAMES] + index * size
    if settings["height"] > 0:
        picture = _bytes_at(address, size).reshape((CHANNELS, settings["height"], settings["stack"]))
        paint(picture, env["view"], env["account"], env["market"], records, events, is_first)
    else:
        push(_floats_at(address, size // 4), out, is_first)


@njit
def _keep_final_frames(context, index: int, settings) -> None:
    size = _frame_bytes(context, settings)
    final = _bytes_at(context[FINAL_FRAMES] + index * size, size)
    frames = _bytes_at(context[FRAMES] + index * size, size)
    for number in range(size):
        final[number] = frames[number]


@njit
def _read(context, env, records, events, blocks, rows, codes, out) -> None:
    """The features now, scaled."""
    episode = env["episode"]
    remaining = max(episode["start"] + episode["window"] - env["now"], 0) / episode["window"]  # not when data end
    market, now = env["market"], env["now"]
    account, log = env["account"], env["log"]
    extract(env["memory"], account, log, market, records, events, blocks, rows, codes, now, remaining, out)
    if context[SCALING + 1] > 0:
        scale(_scaling_at(context[SCALING], 2 * context[SCALING + 1]).reshape((-1, 2)), out)


@njit
def _observe(context, index: int, env, settings, records, events, blocks, rows, codes, out, is_first: bool) -> None:
    """The observation at a decision time, which joins the frames."""
    _read(context, env, records, events, blocks, rows, codes, out)
    if context[FRAMES + 1] > 0:
        _remember(context, index, env, settings, records, events, out, is_first)


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
    now = _advance(env, records, events, blocks, _next_decision(env, events, settings), settings["on_fill"] != 0)
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
    _observe(context, index, env, settings, records, events, blocks, rows, codes, out, False)

    if settings["reward"] == REWARD_SHORTFALL:
        value = value_of(position, parent, episode["arrival2"], episode["arrival2"], tick_value)
    open_lots = np.float64(position["size"] - parent)
    mid_change = (market["mark2"] - env["mark2"]) / 2
    if reason != END_NONE:
        value = _finish(env, events, reason)
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
        prefetch(context[ENVS] + 8 * ((index + 1) * _WORDS + _FIRST_WORD), (_LAST_WORD - _FIRST_WORD) // 8)
    if index < last:
        env = envs[index]
        market = env["market"]
        place = sources[env["episode"]["source"]]
        prefetch(place["events"] + _EVENT_BYTES * market["event"], 40)
        prefetch(place["records"] + _RECORD_BYTES * env["record"], 20)
        for lag in range(MAX_LAGS):
            prefetch(place["sums"] + _SUMS_BYTES * env["memory"]["edges"][lag], 6)
        touch = (np.int64(market["mark2"]) >> 1) - market["base"]
        ladder = context[ENVS] + 8 * (index * _WORDS + _LADDER_WORD) + 4 * touch
        for side in range(2):
            prefetch(ladder + 4 * LADDER_TICKS * side - 64, 3)


@njit
def step(context, first: int, last: int, actions, observations, rewards, terminated, truncated, finals) -> int:
    """Steps environments `first : last`.

    Args:
        context: of `make_context`.
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
    envs = _envs_at(context[ENVS], context[ENVS + 1])
    sources = _sources_at(context[SOURCES], context[SOURCES + 1])
    settings = _settings_at(context[SETTINGS], 1)[0]
    codes = _codes_at(context[CODES], 2 * context[CODES + 1]).reshape((-1, 2))
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
                _begin(context, index, env, requests[index], sources, settings, codes, observations[index])
            continue
        source = env["episode"]["source"]
        records, events, blocks, rows = _open(sources, source)
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
                    _keep_final_frames(context, index, settings)
                words = _words_at(context[ENVS] + index * _WORDS * 8, _WORDS)
                for word in range(_EPISODE_WORDS):
                    words[_ENDED_WORD + word] = words[_EPISODE_WORD + word]
                _begin(context, index, env, requests[index], sources, settings, codes, observations[index])
    return ended


@njit
def _begin(context, index: int, env, request, sources, settings, codes, out) -> None:
    """A new episode and its first observation."""
    _reset_one(context, index, request)
    records, events, blocks, rows = _open(sources, env["episode"]["source"])
    look(env["memory"], env["market"], events, rows, env["now"], settings["lags"], settings["depth"])
    _observe(context, index, env, settings, records, events, blocks, rows, codes, out, True)


@njit
def reset(context, first: int, last: int, observations) -> None:
    """Begins the episodes of those environments of `first : last` whose request is wanted.

    All observations (N, F) are written.
    """
    envs = _envs_at(context[ENVS], context[ENVS + 1])
    sources = _sources_at(context[SOURCES], context[SOURCES + 1])
    settings = _settings_at(context[SETTINGS], 1)[0]
    codes = _codes_at(context[CODES], 2 * context[CODES + 1]).reshape((-1, 2))
    requests = _requests_at(context[REQUESTS], context[REQUESTS + 1])
    for index in range(first, last):
        env = envs[index]
        if requests[index]["wanted"]:
            _begin(context, index, env, requests[index], sources, settings, codes, observations[index])
        else:
            records, events, blocks, rows = _open(sources, env["episode"]["source"])
            _read(context, env, records, events, blocks, rows, codes, observations[index])


@njit
def masks(context, first: int, last: int, out) -> int:
    """Which codes of an action do something, see `actions.mask`: `out` (N, sum of codes) bool. Returns how many."""
    envs = _envs_at(context[ENVS], context[ENVS + 1])
    sources = _sources_at(context[SOURCES], context[SOURCES + 1])
    settings = _settings_at(context[SETTINGS], 1)[0]
    for index in range(first, last):
        env = envs[index]
        _, events, _, _ = _open(sources, env["episode"]["source"])
        last_event = events[max(env["market"]["event"] - 1, 0)]
        mask(env["sent"], env["account"], env["memory"], last_event, settings["scheme"], out[index])
    return last - first
