"""Status records: when the venue says that an instrument trades, and when it does not.

Schema `status` (https://databento.com/docs/schemas/status). Only what moves the phase of the market is kept. Files
begin with the state that holds when they start, as of the time at which it was set.
"""

from collections.abc import Sequence
from pathlib import Path

import databento_dbn
import numpy as np
from databento_dbn import StatusAction, StatusMsg, TradingEvent, TriState

from bt_gym.core import enums
from bt_gym.data import dbn
from bt_gym.data.symbology import NS_PER_DAY, Selection
from bt_gym.errors import DataError

UNKNOWN = -1
"""No status is known: the phase has to be inferred."""

CLOSED = enums.PHASE_HALT | enums.EVENT_CLOSED
"""The phase of a session that the venue has ended, unlike a halt that may go on."""

REPEATED_NS = 1_000_000_000
"""A status received this long after its time is a state repeated at the start of a file: it holds from there on."""

change_dtype = np.dtype(
    [
        ("ts_event", "<i8"),  # ns UTC from which it holds, at the exchange
        ("ts_recv", "<i8"),  # ns UTC when it was received
        ("phase", "<i8"),  # enums.PHASE_*, CLOSED or UNKNOWN
        ("no_cancel", "<i8"),  # 1: new orders are taken, cancels and modifications are not
    ]
)

NO_CHANGES = np.zeros(0, change_dtype)

_PHASES = {
    StatusAction.TRADING: enums.PHASE_CONTINUOUS,
    StatusAction.PRE_OPEN: enums.PHASE_PRE_OPEN,
    StatusAction.PRE_CROSS: enums.PHASE_PRE_OPEN,
    StatusAction.QUOTING: enums.PHASE_PRE_OPEN,
    StatusAction.CROSS: enums.PHASE_PRE_OPEN,  # orders are matched, but not continuously; trades tell the uncross
    StatusAction.ROTATION: enums.PHASE_PRE_OPEN,
    StatusAction.HALT: enums.PHASE_HALT,
    StatusAction.PAUSE: enums.PHASE_HALT,
    StatusAction.SUSPEND: enums.PHASE_HALT,
    StatusAction.CLOSE: CLOSED,
    StatusAction.POST_CLOSE: CLOSED,
    StatusAction.NOT_AVAILABLE_FOR_TRADING: CLOSED,
}
_ACTIONS = {
    enums.PHASE_CONTINUOUS: StatusAction.TRADING,
    enums.PHASE_PRE_OPEN: StatusAction.PRE_OPEN,
    enums.PHASE_HALT: StatusAction.HALT,
    CLOSED: StatusAction.CLOSE,
    enums.PHASE_AUCTION: StatusAction.TRADING,  # the uncross begins it
}


def phase_of(message: StatusMsg) -> int | None:
    """The phase that a status brings; None when it leaves it as it is.

    Where the action names none (a new price indication, the time before the close), `is_trading` and `is_quoting`
    tell: CME reopens ES after its afternoon break with a new price indication that is trading.
    """
    if message.action in _PHASES:
        return _PHASES[message.action]
    if message.action in (StatusAction.NONE, StatusAction.SSR_CHANGE):
        return None
    if message.is_trading is None:
        return None
    if message.is_trading:
        return enums.PHASE_CONTINUOUS
    return enums.PHASE_PRE_OPEN if message.is_quoting else enums.PHASE_HALT


def read_changes(files: Sequence[Path | str], selections: Sequence[Selection]) -> list[np.ndarray]:
    """Changes of status of some instruments, read in one pass.

    Args:
        files: of schema `status`, in any order.
        selections: ids and days of each instrument.

    Returns:
        For each instrument (S,) of `change_dtype`, in the order of time, each unlike the one before. Where no file
        covers a time, the phase is `UNKNOWN` from there on.

    Raises:
        DataError: a file can't be read.
    """
    opened = sorted((dbn.open_dbn(file, "status") for file in files), key=lambda file: file.start)
    rows: list[list[tuple[int, int, int, int]]] = [[] for _ in selections]
    wanted: dict[int, list[int]] = {}
    for number, selection in enumerate(selections):
        for instrument_id in selection.instrument_ids:
            wanted.setdefault(instrument_id, []).append(number)
    covered = None
    for file in opened:
        if covered is not None and covered < file.start:
            _forget(rows, covered)
        for message in dbn.messages(file.path, StatusMsg):
            for number in wanted.get(message.instrument_id, ()):
                if any(span.covers(message.instrument_id, message.ts_recv) for span in selections[number].intervals):
                    _append(rows[number], message)
        covered = max(covered or 0, dbn.UNDEF_TIME if file.end is None else file.end)
    if covered is not None:
        _forget(rows, covered)
    return [np.array(found, change_dtype) if found else NO_CHANGES for found in rows]


def _append(rows: list[tuple[int, int, int, int]], message: StatusMsg) -> None:
    before = rows[-1][2:] if rows else (UNKNOWN, 0)
    phase = phase_of(message)
    after = (before[0] if phase is None else phase, int(message.trading_event == TradingEvent.NO_CANCEL))
    if after == before:
        return
    ts_recv = message.ts_recv
    ts_event = message.ts_event if message.ts_event < dbn.UNDEF_TIME else ts_recv
    if ts_recv - ts_event > REPEATED_NS:
        ts_event = ts_recv
    if rows:
        ts_event = max(ts_event, rows[-1][0])
    rows.append((ts_event, max(ts_recv, ts_event), *after))


def _forget(rows: list[list[tuple[int, int, int, int]]], covered: int) -> None:
    """No file tells what holds from `covered` (ns) on."""
    for found in rows:
        if found and found[-1][2] != UNKNOWN and covered < dbn.UNDEF_TIME:
            ts_event = max(covered, found[-1][0])
            found.append((ts_event, ts_event, UNKNOWN, 0))


def within(changes: np.ndarray, start: int, end: int | None) -> np.ndarray:
    """The changes (S,) that matter for [start, end) ns: the state that it begins with, and those in it."""
    first = max(0, int(np.searchsorted(changes["ts_event"], start, "right")) - 1)
    last = len(changes) if end is None else int(np.searchsorted(changes["ts_event"], end, "left"))
    found = changes[first : max(first, last)]
    return found[1:] if len(found) and found["phase"][0] == UNKNOWN else found


def write_status(
    path: Path | str,
    changes: Sequence[tuple[int, int]],
    *,
    symbol: str,
    instrument_id: int,
    start: int,
    end: int,
    delay_ns: int = 7_000_000,
) -> None:
    """Writes a status file: the state at its start, then each change.

    Args:
        path: `*.dbn` or `*.dbn.zst`.
        changes: (ns, enums.PHASE_* or CLOSED) in the order of time; an auction begins continuous trading.
        symbol: raw symbol.
        instrument_id: its number.
        start: ns UTC, midnight of the first day.
        end: ns UTC, the first one that the file doesn't cover.
        delay_ns: from a change to its receipt.

    Raises:
        DataError: a phase has no status.
    """
    body = b""
    for number, (ts, phase) in enumerate(changes):
        if phase not in _ACTIONS:
            raise DataError(f"{path}: phase {enums.names('PHASE_').get(phase, phase)} has no status: leave it out")
        ts_recv = max(start, ts + delay_ns)
        superseded = number + 1 < len(changes) and changes[number + 1][0] + delay_ns <= start
        if superseded or not start <= ts_recv < end:
            continue
        body += bytes(
            StatusMsg(
                publisher_id=1,
                instrument_id=instrument_id,
                ts_event=ts,
                ts_recv=ts_recv,
                action=_ACTIONS[phase],
                reason=databento_dbn.StatusReason.SCHEDULED,
                is_trading=TriState.YES if _ACTIONS[phase] == StatusAction.TRADING else TriState.NO,
                is_quoting=TriState.NO if phase & enums.PHASE_MASK == enums.PHASE_HALT else TriState.YES,
            )
        )
    header = dbn.encode_metadata("status", start // NS_PER_DAY * NS_PER_DAY, end, symbol, instrument_id)
    dbn.write_records(path, header, body)
