"""How an episode begins: which tape and start, and the environment as it is then."""

import numpy as np

from bt_gym._jit import array_at, njit
from bt_gym.core import enums
from bt_gym.core.env_state import (
    ENVS,
    FIRST_WORD,
    LAST_WORD,
    SETTINGS,
    SOURCES,
    SPANS,
    TEMPLATES,
    WORDS,
    envs_at,
    open_tape,
    settings_at,
    sources_at,
    words_at,
)
from bt_gym.core.episodes import END_CLOSE, END_DATA, END_DEADLINE, END_WINDOW
from bt_gym.core.features import STRIDE, SUM_BOUGHT, SUM_SOLD, SUMS, find_row, follow, look, received_by, restart
from bt_gym.core.market import seek
from bt_gym.core.observe import observe

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

_spans_at = array_at(span_dtype)


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
    env = envs_at(context[ENVS], context[ENVS + 1])[index]
    sources = sources_at(context[SOURCES], context[SOURCES + 1])
    spans = _spans_at(context[SPANS], context[SPANS + 1])
    settings = settings_at(context[SETTINGS], 1)[0]
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
    words = words_at(context[ENVS] + index * WORDS * 8, WORDS)
    fresh = words_at(context[TEMPLATES] + source * WORDS * 8, WORDS)
    for word in range(FIRST_WORD, LAST_WORD):
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

    records, events, blocks, rows = open_tape(sources, source)
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
    env["record"] = events[received - 1]["end"] if received > 0 else 0
    env["account"]["models"]["account"] = draw(env["seed"], env["episodes"] + (1 << 31), 1 << 31)  # its own draws
    env["mark2"] = market["mark2"]


@njit
def begin(context, index: int, env, request, sources, settings, codes, out) -> None:
    """A new episode and its first observation."""
    _reset_one(context, index, request)
    records, events, blocks, rows = open_tape(sources, env["episode"]["source"])
    look(env["memory"], env["market"], events, rows, env["now"], settings["lags"], settings["depth"])
    observe(context, index, env, settings, records, events, blocks, rows, codes, out)
