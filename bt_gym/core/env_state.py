"""State of a batch: a record for each environment, what all of them share, and where it lies in memory.

An environment owns its place on a tape, a ladder, one small account and its statistics (`env_dtype`). What is written
belongs to one environment alone, so that any thread may step any slice of a batch and the result is the same.

N environments, F features, T tapes, S spans, K and H of `bt_gym.core.frames`. `context` (CONTEXT_SIZE,) int64 holds
addresses and lengths of all arrays that a batch works on.
"""

from typing import Any, cast

import numpy as np

from bt_gym._jit import array_at, njit
from bt_gym.core.actions import scheme_dtype
from bt_gym.core.episodes import episode_dtype
from bt_gym.core.features import MAX_LAGS, STRIDE, memory_dtype, sums_dtype
from bt_gym.core.frames import view_dtype
from bt_gym.core.intents import MAX_INTENTS, intent_dtype, sent_dtype
from bt_gym.core.market import market_dtype
from bt_gym.core.orders import MAX_TAKEN, make_account_dtype, models_dtype, new_account, report_dtype
from bt_gym.core.tape import block_dtype, event_dtype, record_dtype

MAX_ORDERS = 8
MAX_REQUESTS = 16
LOG_ROWS = 64

RESET_NEVER = 0  # autoreset: a finished environment waits
RESET_NEXT_STEP = 1
RESET_SAME_STEP = 2

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
        ("is_done", "<i8"),  # 1: the episode is over, or never began
        ("record", "<i8"),  # of the tape: the last one received, or near it
        ("records", "<i8"),  # received in the last step, and events: as many may come in the next
        ("events", "<i8"),
        ("sent", sent_dtype),
        ("view", view_dtype),
        ("memory", memory_dtype),
        ("episode", episode_dtype),
        ("account", make_account_dtype(MAX_ORDERS, MAX_REQUESTS, MAX_TAKEN)),
        ("intents", intent_dtype, (MAX_INTENTS,)),
        ("log", report_dtype, (LOG_ROWS,)),
        ("market", market_dtype),
    ],
    align=True,
)
"""One environment, whole: to copy the record is to save it."""


def byte_of(*names: str) -> int:
    """Where a field of `env_dtype`, or one within it, begins."""
    dtype, byte = env_dtype, 0
    for name in names:
        dtype, offset = cast(Any, dtype.fields)[name][:2]
        byte += offset
    return byte


WORDS = env_dtype.itemsize // 8
FIRST_WORD, LAST_WORD = byte_of("now") // 8, byte_of("log") // 8

ENVS, TEMPLATES, SOURCES, SPANS, SETTINGS, CODES = range(0, 12, 2)
REQUESTS, FRAMES, FINAL_FRAMES, SCALING, STEPS, MASKS = range(12, 24, 2)
CONTEXT_SIZE = 24

envs_at = array_at(env_dtype)
words_at = array_at(np.dtype("<i8"))
sources_at = array_at(source_dtype)
settings_at = array_at(settings_dtype)
codes_at = array_at(np.dtype("<i4"))
_records_at = array_at(record_dtype)
_events_at = array_at(event_dtype)
_blocks_at = array_at(block_dtype)
_sums_at = array_at(sums_dtype)


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
    masks: np.ndarray,
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
        masks: (N * sum of codes,) bool, of `actions.mask`, written; (0,) likewise.
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
        MASKS: masks,
    }
    for index, array in arrays.items():
        context[index] = array.ctypes.data
        context[index + 1] = len(array)
    return context


@njit
def open_tape(sources, source: int):
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
