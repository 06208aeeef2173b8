"""Calls strategies for what they subscribed to, on time, and keeps them apart."""

from collections.abc import Iterable, Mapping

from bt_gym.strategy.answers import check, note
from bt_gym.strategy.base import Strategy, StrategyOutput
from bt_gym.strategy.context import StrategyContext
from bt_gym.strategy.events import EventKind, MarketEvent


class StrategyRouter:
    """Strategies by name, each with a context per instrument.

    A market event goes to the strategies that subscribed to one of its kinds, in the order in which they were
    registered; news of own orders goes to their owner alone.
    """

    def __init__(self) -> None:
        self.strategies: dict[str, Strategy] = {}
        self._contexts: dict[str, Mapping[str, StrategyContext]] = {}
        self._kinds: dict[str, int] = {}
        self._timers: dict[str, int] = {}

    def register_strategy(
        self, strategy_id: str, strategy: Strategy, contexts: Mapping[str, StrategyContext] | None = None
    ) -> None:
        """Adds a strategy with its contexts by symbol; without contexts it is called with None instead.

        Raises:
            ValueError: the name is taken.
        """
        if strategy_id in self.strategies:
            raise ValueError(f"strategy name '{strategy_id}' is taken: give each strategy its own")
        self.strategies[strategy_id] = strategy
        self._kinds[strategy_id] = int(strategy.subscriptions)
        self._contexts[strategy_id] = contexts or {}

    @property
    def subscriptions(self) -> EventKind:
        """Everything that some strategy wants to be called for."""
        kinds = 0
        for subscriptions in self._kinds.values():
            kinds |= subscriptions
        return EventKind(kinds)

    def process_events(self, events: Iterable[MarketEvent]) -> list[tuple[str, StrategyOutput, str]]:
        """Dispatches events in order; returns (strategy id, output, event symbol) for all that ask for something."""
        outputs = []
        for event in events:
            kind = int(event.kind)
            for strategy_id, strategy in self.strategies.items():
                if not kind & self._kinds[strategy_id] or event.owner not in (None, strategy_id):
                    continue
                context = self._context(strategy_id, event.symbol, event.ts_recv)
                try:
                    output = strategy.on_market_event(event, context)
                except Exception as error:
                    note(error, strategy_id, "on_market_event", event.ts_recv)
                    raise
                if output is not None:  # a forgotten return asks for nothing
                    check(output, strategy_id, "on_market_event", event.ts_recv)
                    if not output.is_empty():
                        outputs.append((strategy_id, output, event.symbol))
        return outputs

    def start_timers(self, now: int) -> None:
        """Sets every timer to its first multiple after `now` (ns)."""
        for strategy_id, strategy in self.strategies.items():
            if strategy.timer_interval_ns:
                self._timers[strategy_id] = (now // strategy.timer_interval_ns + 1) * strategy.timer_interval_ns

    def next_timer(self) -> int:
        """When the next timer is due, ns; beyond all data without timers."""
        return min(self._timers.values(), default=1 << 62)

    def process_timers(self, now: int) -> list[tuple[str, StrategyOutput, str]]:
        """Calls all timers that are due at `now` (ns); returns as `process_events`, with the first symbol."""
        outputs = []
        for strategy_id, due in self._timers.items():
            if due > now:
                continue
            strategy = self.strategies[strategy_id]
            self._timers[strategy_id] = due + (strategy.timer_interval_ns or 0)
            symbol = next(iter(self._contexts[strategy_id]), "")
            try:
                output = strategy.on_timer(due, self._context(strategy_id, symbol, due))
            except Exception as error:
                note(error, strategy_id, "on_timer", due)
                raise
            if output is not None:
                check(output, strategy_id, "on_timer", due)
                if not output.is_empty():
                    outputs.append((strategy_id, output, symbol))
        return outputs

    def _context(self, strategy_id: str, symbol: str, now: int) -> StrategyContext:
        context = self._contexts[strategy_id].get(symbol)
        if context is not None:
            context.current_time = now
        return context  # type: ignore[return-value]  # None only where no contexts were registered
