"""Running sums of a tape (`bt_gym.core.features`), kept in a file beside it and mapped into memory."""

import fcntl
import warnings
from pathlib import Path

import numpy as np

from bt_gym.core import features
from bt_gym.core.market import new_market
from bt_gym.data.files import replace_file
from bt_gym.data.tape import Tape

SUFFIX = f".sums-v{features.VERSION}.npy"


def feature_sums(tape: Tape) -> np.ndarray:
    """Rows of running sums, (E // features.STRIDE + 1,) of `features.sums_dtype`, not to be written.

    They are built when they are first asked for, by one process while others wait; one file serves all. Where the
    tape's folder can't be written they are built in memory each time, with a warning.
    """
    path = tape.path.with_name(f"{tape.path.name.removesuffix('.tape.arrow')}_{tape.key[:12]}{SUFFIX}")
    count = len(tape.events) // features.STRIDE + 1
    rows = _open(path, count)
    if rows is not None:
        return rows
    try:
        with open(path.with_name(f".{path.name}.lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if _open(path, count) is None:
                with replace_file(path) as file:
                    np.save(file, _build(tape, count))
    except OSError as error:
        warnings.warn(
            f"{path.parent}: can't keep feature sums beside the tape ({error.strerror}): they are built each time",
            stacklevel=2,
        )
    rows = _open(path, count)
    return _build(tape, count) if rows is None else rows


def _open(path: Path, count: int) -> np.ndarray | None:
    """The rows of a file; None when it isn't there whole."""
    try:
        # pages are shared, and copied if ever written: kernels of read-only arrays would be compiled a second time
        rows = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if rows.shape != (count,) or rows.dtype != features.sums_dtype:
        return None
    return rows.view(features.sums_dtype)  # a file doesn't say that the dtype is aligned, and kernels tell that apart


def _build(tape: Tape, count: int) -> np.ndarray:
    rows = np.zeros(count, features.sums_dtype)
    memory = np.zeros(1, features.memory_dtype)
    features.build_sums(memory, new_market(), tape.records, tape.events, tape.blocks, rows)
    return rows
