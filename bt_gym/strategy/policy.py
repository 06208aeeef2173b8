"""A policy of an environment as a strategy: the same features, the same actions, the same requests.

    >>> env = gym.make("bt_gym/MarketMaking-v0")  # doctest: +SKIP
    >>> strategy = PolicyStrategy(PPO.load("model.zip"), env.unwrapped.config)  # doctest: +SKIP
    >>> Backtester(config, files=[file]).add_strategy("ppo", strategy).run()  # doctest: +SKIP

With the environment's latencies, limits and fees in the backtest's configuration, the fills of a window are the
environment's, byte for byte.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bt_gym._jit import njit
from bt_gym.config.env import EnvConfig
from bt_gym.core import actions, enums, frames, intents
from bt_gym.errors import ConfigError
from bt_gym.strategy.base import NOTHING, OrderRequest, OrderUpdate, Strategy, StrategyOutput
from bt_gym.strategy.context import StrategyContext
from bt_gym.strategy.events import EventKind, MarketEvent, Side
from bt_gym.strategy.observation import ObservationForm


class PolicyStrategy(Strategy):
    """Decides on the environment's clock, from its observation, by its action scheme. For runs of one instrument.

    Attributes:
        start_ns: when its window begins; it does nothing before.
        features: names (F,) of the environment's.
        observation: the last one, in a batch of one.
    """

    subscriptions = EventKind(0)

    def __init__(
        self,
        policy: Any,
        config: EnvConfig,
        *,
        start_ns: int | None = None,
        windows: int | None = None,
        parent: int = 0,
    ) -> None:
        """What the environment was made of decides everything but the market.

        Args:
            policy: a model with SB3's `predict`, which is used without sampling, or a function from observations, a
                batch of one in the environment's form, to actions (1, D).
            config: `config` of the environment that it was trained in.
            start_ns: when its first window begins; None: with the first decision in continuous trading.
            windows: after how many windows it withdraws its quotes and stops; None: never.
            parent: signed lots of the order that it is to execute; 0 without one.

        Raises:
            ConfigError: the environment decides on its own fills, which a strategy's clock can't, or sees images.
        """
        if config.decision.on_fill:
            raise ConfigError("decision.on_fill: a PolicyStrategy decides on its clock only: train without it")
        self.policy: Callable[[Any], np.ndarray] = _as_function(policy)
        self.env_config = config
        self.start_ns = start_ns
        self.windows = windows
        self.parent = parent
        self._form = ObservationForm(config)
        if self._form.kind == "image":
            raise ConfigError("observation.form is image: a PolicyStrategy sees features: train with flat or dict")
        self.features = self._form.features.names
        self._frames = self._form.new_frames(1)
        self._last_window = -1
        self.observation: Any = None
        decision = config.decision
        if decision.clock == "time":
            self.timer_interval_ns = round(decision.interval_ms * 1e6)
        elif decision.clock == "records":
            self.timer_interval_records = decision.count
        else:
            self.timer_interval_trades = decision.count
        self._window_ns = round(config.data.window_s * 1e9)
        self._scheme = self._form.scheme
        self._sent = np.zeros(1, intents.sent_dtype)
        self._intents = np.zeros(intents.MAX_INTENTS, intents.intent_dtype)
        self._remaining = [index for index, name in enumerate(self.features) if name == "remaining_time"]

    def on_market_event(self, event: MarketEvent, context: StrategyContext) -> StrategyOutput:
        return NOTHING

    def on_timer(self, timestamp: int, context: StrategyContext) -> StrategyOutput:
        if self.start_ns is None and context.market_state.phase == "continuous":
            self.start_ns = timestamp
        if self.start_ns is None or timestamp < self.start_ns:
            return NOTHING
        number, passed = divmod(timestamp - self.start_ns, self._window_ns)
        row, memory = context.read_features(self.features, self._scheme.lags, self.parent)
        row[self._remaining] = (self._window_ns - passed) / self._window_ns
        if self.windows is not None and number >= self.windows:
            if self._scheme.withdraw is None:
                return NOTHING
            action = self._scheme.withdraw
        else:
            self.observation = self._observe(row, number != self._last_window)
            self._last_window = number
            action = self._action(self.policy(self.observation), row[None])
        events, kernel = context.market_state._session.events, self._scheme.kernel
        count = _plan(self._sent, context._account, memory, events, context._market, kernel, action, self._intents)
        return self._output(self._intents[:count], context)

    def _observe(self, row: np.ndarray, is_first: bool) -> Any:
        """What the environment would show of these features (F,)."""
        if len(self._form.scaling):
            frames.scale(self._form.scaling, row)
        if len(self._frames):
            frames.push(self._frames.reshape(-1), row, is_first)
        return self._form.of(row[None], self._frames)

    def _action(self, action: Any, observation: np.ndarray) -> np.ndarray:
        """The numbers (D,) of an action (1, D), or of one number (1,); `observation` (1, F) are the features.

        Raises:
            ValueError: it isn't one of the environment's.
        """
        row = np.asarray(action)
        if self._scheme.own is None:
            row = row.reshape(-1) if row.size == len(self._scheme.do_nothing) else row
            return self._scheme.row(row[0] if self._scheme.is_scalar and row.shape == (1,) else row, observation)
        return self._scheme.row(row[0] if row.ndim else row, observation)

    def _output(self, wanted: np.ndarray, context: StrategyContext) -> StrategyOutput:
        output = StrategyOutput()
        for order_id, kind, side, ticks, size, order_type, in_force, post_only in wanted.tolist():
            price = context.market_state.price(ticks)
            trigger = price if order_type == enums.ORDER_STOP else None
            if kind == intents.INTENT_CANCEL:
                output.cancellations.append(order_id)
            elif kind == intents.INTENT_MODIFY:
                output.updates.append(OrderUpdate(order_id, size, price, stop_price=trigger))
            else:
                limit = price if order_type == enums.ORDER_LIMIT else None
                order = OrderRequest(Side(side), size, limit, order_type, in_force, None, trigger, 0, post_only)
                output.orders.append(order)
        return output

    @property
    def config(self) -> Mapping[str, Any]:
        return {"policy": type(self.policy).__name__, "environment": self.env_config.model_dump(mode="json")}


@njit
def _plan(sents, accounts, memories, events, received, schemes, action, wanted) -> int:
    """How many intents an action makes of what is known."""
    last = events[received[0]["event"] - 1]
    return actions.plan(sents[0], accounts[0], memories[0], last, schemes[0], action, wanted)


def _as_function(policy: Any) -> Callable[[Any], np.ndarray]:
    if hasattr(policy, "predict"):
        return lambda observations: policy.predict(observations, deterministic=True)[0]
    if not callable(policy):
        raise TypeError(f"policy {policy!r}: give a model with `predict`, or a function of observations")
    return policy
