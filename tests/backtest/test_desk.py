"""Desks: a strategy on one instrument is told and does the same, whichever way it is run."""

from pathlib import Path

import pytest

from bt_gym import EventKind, Strategy
from bt_gym.backtest import runner
from bt_gym.backtest.desk import BaseDesk, JittedDesk
from bt_gym.backtest.wide_desk import WideDesk
from bt_gym.data.tape import ingest
from bt_gym.errors import ConfigError
from tests.runs import EVERYTHING, Busy, Script, backtest, settings, synthetic

SECOND = 1_000_000_000


def wide_only(strategy: Strategy, market, accounts, response_latency: int) -> list[BaseDesk | JittedDesk]:
    """Seats a strategy at the desk for several instruments, even if there is one."""
    contexts = runner.contexts_of(strategy, market, accounts)
    return [WideDesk(strategy, contexts, market, accounts, response_latency)]


@pytest.mark.parametrize(
    ("kinds", "timer", "limits"),
    [
        (EVERYTHING, None, {"max_position": 8, "max_loss": 300.0}),
        (EventKind.TRADE | EventKind.OWN, SECOND // 7, {"max_orders_per_second": 5}),
        (EventKind.PHASE, SECOND // 20, {"max_loss": 150.0}),
    ],
)
def test_desk__of_one_instrument_does_what_the_desk_for_several_does(
    session_file: Path, monkeypatch: pytest.MonkeyPatch, kinds: EventKind, timer: int | None, limits: dict
):
    """The loop in the core against the loop in Python: every call, everything seen in it, every report."""

    def run():
        strategies = {f"busy {seed}": Busy(seed, kinds, timer) for seed in (1, 2)}
        done = backtest(session_file, strategies, config=settings(limits))
        return [strategy.log for strategy in strategies.values()], [done.reports(i).tobytes() for i in (0, 1)]

    logs, reports = run()
    monkeypatch.setattr("bt_gym.backtest.backtester.open_desks", wide_only)
    assert run() == (logs, reports)
    assert min(len(log) for log in logs) > 100
    assert all(reports)


class Clocked(Script):
    """Keeps how many source records and trades it had received at each stroke of its clock."""

    def __init__(self, **clock: int) -> None:
        super().__init__(subscriptions=EventKind(0))
        self.strokes: list[tuple[int, int]] = []
        for name, value in clock.items():
            setattr(self, name, value)

    def on_timer(self, timestamp, context):
        state = context.market_state
        received = int(state._market["event"][0])
        source = int(state._session.events["source"][received - 1])
        self.strokes.append((source, state.session.trades))
        assert timestamp == context.current_time
        return self.act(context, self)


def test_clock__strikes_with_the_event_that_completes_a_multiple(session_file: Path):
    """By records and by trades, against a walk over the tape; an event that passes several strikes once."""
    records, trades = Clocked(timer_interval_records=10), Clocked(timer_interval_trades=4)
    run = backtest(session_file, {"records": records, "trades": trades})
    events = run.backtester.accounts[0].lane.tape.events
    expected, struck = [], 0
    for source in events["source"].tolist():
        if source // 10 > struck:
            struck = source // 10
            expected.append(source)
    assert [source for source, _ in records.strokes] == expected
    seen = [count for _, count in trades.strokes]
    assert seen == sorted(set(seen))
    assert all(after // 4 > before // 4 for before, after in zip([0, *seen], seen, strict=False))
    assert len(seen) > 10


def test_clock__by_records_is_for_one_instrument(session_file: Path, tmp_path: Path):
    synthetic(6, 60, "other").write(other := tmp_path / "other.dbn")
    tapes = [ingest([path], tick_size_nanos=250_000_000, folder=tmp_path) for path in (session_file, other)]
    with pytest.raises(ConfigError, match="test: its clock counts records or trades, and the run has 2 instruments"):
        backtest(tapes, Clocked(timer_interval_records=10))
