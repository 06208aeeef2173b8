"""StrategyRouter: who is called for what."""

import pytest

from bt_gym import EventKind, MarketEvent, OrderRequest, Side, Strategy, StrategyOutput, StrategyRouter, Trade
from bt_gym.strategy.base import NOTHING


class Recorder(Strategy):
    """Answers every call with an order, and counts."""

    def __init__(self, subscriptions: EventKind = EventKind.TRADE, timer_interval_ns: int | None = None) -> None:
        self.subscriptions = subscriptions
        self.timer_interval_ns = timer_interval_ns
        self.calls: list[object] = []

    def on_market_event(self, event, context):
        self.calls.append(event)
        return StrategyOutput([OrderRequest.market(Side.BUY, 1)])

    def on_timer(self, timestamp, context):
        self.calls.append(timestamp)
        return StrategyOutput([OrderRequest.market(Side.SELL, 1)])


def trade_event(kind: EventKind = EventKind.TRADE, owner: str | None = None) -> MarketEvent:
    return MarketEvent("TEST", 5, 7, kind, (Trade(5, 100.0, 400, 10, Side.BUY),), owner=owner)


def test_strategy_router_dispatch():
    router = StrategyRouter()
    strategy = Recorder()
    router.register_strategy("test", strategy)
    outputs = router.process_events([trade_event()])
    assert len(outputs) == 1
    assert outputs[0][0] == "test"
    assert outputs[0][1].orders == [OrderRequest.market(Side.BUY, 1)]
    assert strategy.calls == [trade_event()]


def test_process_events__dispatches_only_what_a_strategy_subscribed_to():
    router = StrategyRouter()
    trades, quotes = Recorder(EventKind.TRADE), Recorder(EventKind.QUOTE | EventKind.PHASE)
    router.register_strategy("trades", trades)
    router.register_strategy("quotes", quotes)
    events = [trade_event(), trade_event(EventKind.QUOTE), trade_event(EventKind.BOOK | EventKind.PHASE)]
    assert [output[0] for output in router.process_events(events)] == ["trades", "quotes", "quotes"]
    assert trades.calls == events[:1]
    assert quotes.calls == events[1:]
    assert router.subscriptions == EventKind.TRADE | EventKind.QUOTE | EventKind.PHASE


def test_process_events__tells_news_of_orders_to_their_owner_alone():
    router = StrategyRouter()
    mine, other = Recorder(EventKind.OWN), Recorder(EventKind.OWN)
    router.register_strategy("mine", mine)
    router.register_strategy("other", other)
    router.process_events([trade_event(EventKind.OWN, owner="mine")])
    assert (len(mine.calls), len(other.calls)) == (1, 0)


def test_process_events__leaves_out_answers_that_ask_for_nothing():
    class Silent(Recorder):
        def on_market_event(self, event, context):
            return NOTHING

    router = StrategyRouter()
    router.register_strategy("silent", Silent())
    assert router.process_events([trade_event()]) == []


def test_timers__come_at_multiples_of_their_interval():
    router = StrategyRouter()
    fast, slow = Recorder(timer_interval_ns=10), Recorder(timer_interval_ns=25)
    router.register_strategy("fast", fast)
    router.register_strategy("slow", slow)
    router.start_timers(20)
    while router.next_timer() <= 50:
        router.process_timers(router.next_timer())
    assert fast.calls == [30, 40, 50]
    assert slow.calls == [25, 50]


def test_register_strategy__refuses_a_name_twice():
    router = StrategyRouter()
    router.register_strategy("test", Recorder())
    with pytest.raises(ValueError, match="'test' is taken"):
        router.register_strategy("test", Recorder())
