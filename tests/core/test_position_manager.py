"""The loss limit in a run: it acts by itself, once, whatever the strategy does. Books: `test_positions.py`."""

from pathlib import Path

import pytest

from bt_gym import EventKind, OrderRequest, Side, StrategyContext, StrategyOutput
from tests.data.compiled import add, cancel, clear, nothing, trade
from tests.runs import TICK, Run, Script, backtest, once, settings, write

BOOK = [clear(), add(1, "B", 100, 5), add(2, "A", 102, 5)]
LATER = [nothing()] * 30
FAST = {"network_latency_us": 1, "processing_latency_us": 0}  # 1 us there, 1 us back
FALL = [
    cancel(1, "B", 100, 5),
    cancel(2, "A", 102, 5),
    add(3, "B", 90, 9),
    add(4, "A", 92, 9),
]  # 125.00 a lot
LOSS = {"max_loss": 100}
TWO = StrategyOutput([OrderRequest.market(Side.BUY, 2)])
BUY_TWO = StrategyOutput([OrderRequest.market(Side.BUY, 2), OrderRequest.limit(Side.BUY, 1, 80 * TICK)])


def stopped(tmp_path: Path, *events, strategy: Script, **latency) -> Run:
    """Runs under a loss limit of 100.00; a trade at 3 us, received at 4 us, gives the first occasion to act."""
    path = write(tmp_path / "a.dbn", *BOOK, trade("B", 102, 1), *LATER[:6], *events, *LATER)
    run = backtest(path, strategy, config=settings(LOSS, **(latency or FAST)))
    assert run.backtester.accounts[0].positions.is_stopped
    return run


def microseconds(run: Run) -> list[int]:
    """Times of all reports since the first event."""
    start = run.backtester.accounts[0].lane.tape.events["ts_event"][0]
    return [(ts - start) // 1_000 for ts in run.reports()["ts_exchange"].tolist()]


def test_loss_limit__cancels_and_goes_home_as_soon_as_the_mark_is_received(tmp_path: Path):
    """The mark falls by the event of 13 us while nothing else would wake the strategy."""
    run = stopped(tmp_path, *FALL, strategy=Script(once(BUY_TWO), EventKind.TRADE))
    assert list(zip(microseconds(run), run.in_words(), strict=True)) == [
        *[(5, "1 new none"), (5, "1 trade none"), (5, "2 new none")],
        *[(15, "2 canceled max_loss"), (17, "3 new none"), (17, "3 trade none")],  # cancelled first, known at 16 us
    ]
    assert run.fills()["price"].tolist() == [102, 90]
    assert run.report.final_position == 0
    assert run.report.total_pnl == -2 * 12 * 12.50 - 4 * 2.05


def test_loss_limit__refuses_all_orders_from_that_moment_on(tmp_path: Path):
    """Also one sent on the very event that brings the loss; the reason reaches the strategy."""

    def act(context: StrategyContext, script: Script) -> StrategyOutput | None:
        if not context.position.total_volume:
            return BUY_TWO if script.event.trades else None
        return BUY_TWO if context.market_state.best_ask() == (92 * TICK, 92, 9) else None

    script = Script(act)
    run = stopped(tmp_path, *FALL, strategy=script)
    breach = run.backtester.accounts[0].lane.time_of(13)
    refusals = [(ts, report) for ts, report in script.news if report.kind == "rejected"]
    assert {report.reason for _, report in refusals} == {"max_loss"}
    assert (refusals[0][0], refusals[0][1].ts_exchange) == (breach + 1_000, breach)
    assert len(refusals) > 2
    assert run.fills()["size"].tolist() == [2, 2]


@pytest.mark.parametrize("latency", [FAST, {"network_latency_us": 0, "processing_latency_us": 0}])
def test_loss_limit__waits_for_a_market_that_can_take_the_position(tmp_path: Path, latency: dict):
    """The bids leave before the position can be sold: it is sent again when there are some, not without end before."""
    gone = [cancel(3, "B", 90, 9), *LATER, add(5, "B", 85, 1), add(6, "B", 84, 9)]
    run = stopped(tmp_path, *FALL, *gone, strategy=Script(once(TWO), EventKind.TRADE), **latency)
    words = run.in_words()
    assert words[:2] == ["1 new none", "1 trade none"]
    assert 0 < sum("no_liquidity" in word for word in words) <= 2
    assert run.fills()["price"].tolist() == [102, 85, 84]
    assert run.fills()["side"].tolist() == [0, 1, 1]


def test_loss_limit__sends_again_what_protection_left(tmp_path: Path):
    """The order home reaches 20 ticks only; the rest follows once the book as received has changed."""
    fall = [cancel(1, "B", 100, 5), add(3, "B", 91, 1), add(6, "B", 60, 9), cancel(2, "A", 102, 5), add(4, "A", 93, 9)]
    gap = [*LATER[:9], cancel(3, "B", 91, 1), add(7, "A", 92, 1)]
    run = stopped(tmp_path, *fall, *gap, strategy=Script(once(TWO), EventKind.TRADE))
    assert run.fills()["price"].tolist() == [102, 91, 60]
    words = [word.split(maxsplit=1)[1] for word in run.in_words()[2:]]
    assert words[:3] == ["new none", "trade none", "canceled protection"]
    assert words[3:-2] == ["new none", "canceled protection"] * (len(words[3:-2]) // 2)
    assert words[-2:] == ["new none", "trade none"]
    assert len(words) < 2 * len(gap)
