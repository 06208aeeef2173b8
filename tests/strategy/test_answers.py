"""Strategies that fail, or answer with what can't be used: one line that says which strategy, when, and what."""

import re
from pathlib import Path

import pytest

from bt_gym import EventKind, OrderCancel, OrderRequest, OrderUpdate, Side, Strategy, StrategyOutput, StrategyRouter
from bt_gym.errors import ConfigError
from tests.runs import backtest
from tests.strategy.test_router import trade_event

TIME = r"2026-01-05T\d\d:\d\d:\d\d\.\d{9} UTC"


class Answers(Strategy):
    """Answers always the same, to events or on its timer; an exception is raised."""

    def __init__(self, answer: object, method: str = "on_market_event") -> None:
        self.answer, self.method = answer, method
        self.timer_interval_ns = 10**9 if method == "on_timer" else None
        self.subscriptions = EventKind.TRADE if method == "on_market_event" else EventKind(0)

    def _answer(self):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def on_market_event(self, event, context):
        return self._answer()

    def on_timer(self, timestamp, context):
        return self._answer()


@pytest.mark.parametrize("method", ["on_market_event", "on_timer"])
def test_list_returned__is_refused_with_strategy_and_time(session_file: Path, method: str):
    with pytest.raises(ConfigError) as caught:
        backtest(session_file, {"mine": Answers([1, 2], method)})
    (line,) = str(caught.value).splitlines()
    assert re.fullmatch(
        f"strategy mine: {method} returned list \\[1, 2\\] at {TIME}: return a StrategyOutput, or None for nothing",
        line,
    )


@pytest.mark.parametrize("method", ["on_market_event", "on_timer"])
def test_exception__stays_the_users_own_with_one_note(session_file: Path, method: str):
    error = KeyError("spread")
    with pytest.raises(KeyError) as caught:
        backtest(session_file, {"mine": Answers(error, method)})
    assert caught.value is error
    assert caught.traceback[-1].name == "_answer"
    (note,) = error.__notes__
    assert re.fullmatch(f"strategy mine: raised in {method} at {TIME}", note)


def test_router__says_so_too():
    router = StrategyRouter()
    router.register_strategy("mine", Answers(0))
    with pytest.raises(ConfigError, match=r"^strategy mine: on_market_event returned int 0 at 1970-01-01T00:00:00.000"):
        router.process_events([trade_event()])
    router = StrategyRouter()
    router.register_strategy("mine", Answers(ZeroDivisionError("x")))
    with pytest.raises(ZeroDivisionError) as caught:
        router.process_events([trade_event()])
    assert caught.value.__notes__ == ["strategy mine: raised in on_market_event at 1970-01-01T00:00:00.000000007 UTC"]


BUY = Side.BUY
FAULTS = [
    (StrategyOutput([OrderRequest.limit(BUY, 1, "4800")]), "orders at TIME: price: must be a number, got str '4800'"),
    (StrategyOutput([OrderRequest.limit(BUY, 1, "high")]), "orders at TIME: price: must be a number, got str 'high'"),
    (StrategyOutput([OrderRequest.limit(BUY, "2", 1.0)]), "orders at TIME: size: must be a number, got str '2'"),
    (StrategyOutput([OrderRequest.stop(BUY, 1, "9")]), "orders at TIME: stop_price: must be a number, got str '9'"),
    (StrategyOutput([OrderRequest.market(BUY, None)]), "orders at TIME: size: must be a number, got NoneType None"),
    (StrategyOutput([(BUY, 1)]), "orders at TIME: tuple (<Side.BUY: 0>, 1) in it: it takes a list of OrderRequest"),
    (StrategyOutput(OrderRequest.market(BUY, 1)), "it takes a list of OrderRequest"),
    (StrategyOutput(updates=[OrderUpdate("1", 1, 1.0)]), "updates at TIME: order_id: must be a number, got str '1'"),
    (StrategyOutput(updates=[OrderUpdate(1, 1, "1")]), "updates at TIME: price: must be a number, got str '1'"),
    (StrategyOutput(cancellations=["1"]), "cancellations at TIME: str '1' in it: it takes a list of int"),
    (
        StrategyOutput(cancellations=[OrderCancel("1", "SYNH6")]),
        "cancellations at TIME: order_id: must be a number, got str '1'",
    ),
]


@pytest.mark.parametrize(("output", "words"), FAULTS)
def test_requests_that_are_none__name_the_field(session_file: Path, output: StrategyOutput, words: str):
    with pytest.raises(ConfigError) as caught:
        backtest(session_file, {"mine": Answers(output)})
    (line,) = str(caught.value).splitlines()
    assert line.startswith("strategy mine: ")
    assert words in re.sub(TIME, "TIME", line)
