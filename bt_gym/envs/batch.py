"""A batch of environments with its data and spaces: what the vector environment and the single one share."""

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from bt_gym.core import batch, clock, enums, env_state, episodes, features, reset, rewards
from bt_gym.envs.markets import Markets, open_tapes
from bt_gym.envs.sections import read_sections
from bt_gym.errors import CapacityError, ConfigError
from bt_gym.strategy.load import load
from bt_gym.strategy.observation import ObservationForm
from bt_gym.strategy.scheme import ActionScheme

_CLOCKS = {"time": clock.CLOCK_TIME, "records": clock.CLOCK_RECORDS, "trades": clock.CLOCK_TRADES}
_REASONS = {code: name for code, name in enums.names("REASON_").items() if code}
_ENDS = {
    episodes.END_WINDOW: "window",
    episodes.END_STEPS: "max_episode_steps",
    episodes.END_DATA: "end_of_data",
    episodes.END_CLOSE: "session_close",
    episodes.END_LOSS: "max_loss",
    episodes.END_DRAWDOWN: "max_drawdown",
    episodes.END_DEADLINE: "deadline",
    episodes.END_COMPLETED: "completed",
}
_REWARDS = {
    "equity": rewards.REWARD_EQUITY,
    "shortfall": rewards.REWARD_SHORTFALL,
    "differential_sharpe": rewards.REWARD_SHARPE,
}
_SIDES = {"random": -1, "buy": enums.BUY, "sell": enums.SELL}
OPTIONS = ("reset_mask", "day", "instrument", "start_ns", "window_s", "start_index", "side", "quantity")
"""What `reset(options=...)` takes."""
_KINDS: dict[Any, str] = {np.int64: "whole number", np.float64: "number", np.str_: "text"}


class Batch:
    """N environments on T tapes; every array that the kernels work on is kept here.

    Attributes:
        task: name of it.
        config: all sections, defaults included.
        markets: tapes and their facts.
        scheme: what the numbers of an action mean.
        features: names, units and codes of the observation.
        envs: (N,) of `core.env_state.env_dtype`, the whole state.
    """

    def __init__(
        self, count: int, task: str, sections: Mapping[str, Any], autoreset: int, max_steps: int | None
    ) -> None:
        if max_steps is not None and max_steps < 1:
            raise ConfigError(f"max_episode_steps is {max_steps}: must be 1 or more")
        self.task = task
        self.config, tapes = read_sections(task, sections)
        self.markets = Markets(open_tapes(self.config, tapes), self.config)
        self.form = ObservationForm(self.config)
        self.scheme = self.form.scheme
        action = self.scheme.preset
        if self.config.order is None:
            for section, value in (("action", action.type), ("reward", self.config.reward.type)):
                if value in ("participation", "shortfall"):
                    raise ConfigError(f"{section}.type is {value}, but no order is to be executed: give `order`")
        if action.type == "target" and (limit := self.config.risk.max_position) is not None:
            for target in action.targets:
                if abs(target) > limit:
                    raise ConfigError(f"action.targets has {target}, which risk.max_position, {limit}, always rejects")
        self.features = self.form.features
        self.settings = self._settings(autoreset, max_steps)
        self.codes = self.features.codes
        self.envs = env_state.new_envs(count, self.markets.sources["models"][:1])
        self.requests = np.zeros(count, reset.request_dtype)
        self.frames = self.form.new_frames(count)
        shaping = self.config.reward.shaping
        self.shaping = None if shaping is None else load(shaping, "reward.shaping")
        self.steps = np.zeros(0 if shaping is None else count, rewards.step_dtype)
        self.final_frames = self.form.new_frames(count if autoreset == env_state.RESET_SAME_STEP else 0)
        self.context = self._make_context()
        self._masks: np.ndarray | None = None
        self.action_space = _action_space(self.scheme)
        self.observation_space = _observation_space(self.form)
        self.forget_requests()

    def _make_context(self) -> np.ndarray:
        return env_state.make_context(
            self.envs,
            self.markets.templates,
            self.markets.sources,
            self.markets.spans,
            self.settings,
            self.codes,
            self.requests,
            self.frames,
            self.final_frames,
            self.form.scaling,
            self.steps,
            np.empty(0, bool),
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> "Batch":
        """One that goes on by itself from here; what is only read is shared."""
        twin = object.__new__(Batch)
        twin.__dict__.update(self.__dict__)
        for name in ("envs", "requests", "frames", "final_frames", "steps"):
            setattr(twin, name, getattr(self, name).copy())
        twin.context = twin._make_context()
        twin._masks = None
        return twin

    def __reduce__(self) -> Any:
        raise TypeError(
            "an environment can't be pickled: make it where it is needed, and pickle a vector's get_state()"
        )

    def _settings(self, autoreset: int, max_steps: int | None) -> np.ndarray:
        config = self.config
        settings = np.zeros(1, env_state.settings_dtype)
        row = settings[0]
        decision, reward = config.decision, config.reward
        row["clock"] = _CLOCKS[decision.clock]
        row["clock_step"] = round(decision.interval_ms * 1e6) if decision.clock == "time" else decision.count
        row["on_fill"] = decision.on_fill
        row["autoreset"] = autoreset
        row["window"] = round(config.data.window_s * 1e9)
        row["max_steps"] = max_steps or 0
        row["ordered"] = config.data.sampling == "ordered"
        if config.order is not None:
            row["has_parent"] = 1
            row["side"] = _SIDES[config.order.side]
            row["quantity"] = config.order.quantity or 0
            row["max_share"] = config.order.max_share
        row["reward"] = _REWARDS[reward.type]
        row["rate"] = reward.rate
        row["inventory_penalty"] = reward.inventory_penalty
        row["dampening"] = reward.dampening
        row["lags"] = self.features.lags
        row["depth"] = self.features.depth
        row["stack"] = self.form.stack
        row["height"] = self.form.height
        row["scheme"] = self.scheme.kernel[0]
        return settings

    # --- resets

    def forget_requests(self) -> None:
        """Resets to come draw their windows again: the options of one reset are over."""
        requests = self.requests
        requests["first_span"] = 0
        requests["last_span"] = len(self.markets.spans)
        requests["start"] = requests["start_index"] = requests["seed"] = requests["side"] = -1
        requests["window"] = requests["quantity"] = 0
        requests["wanted"] = 1

    def request(self, wanted: np.ndarray, seeds: np.ndarray | None, options: Mapping[str, Any]) -> None:
        """Notes how to reset the environments of the mask `wanted` (N,).

        Raises:
            ConfigError: an option is unknown, or names a window that the data don't have.
        """
        if unknown := set(options) - set(OPTIONS):
            raise ConfigError(f"options has '{min(unknown)}', but knows only {', '.join(OPTIONS)}")
        self.forget_requests()
        requests = self.requests
        requests["wanted"] = wanted
        if seeds is not None:
            requests["seed"] = seeds
        if "start_index" in options:
            if self.config.data.sampling != "ordered":
                raise ConfigError("options['start_index'] is of ordered windows: set data.sampling to ordered")
            requests["start_index"] = self._each(options["start_index"], "start_index", np.int64)
            if (requests["start_index"] < 0).any():
                raise ConfigError(f"options['start_index'] is {options['start_index']}: must be 0 or more")
        if "window_s" in options:
            seconds = self._each(options["window_s"], "window_s", np.float64)
            if not ((seconds > 0) & (seconds <= 86_400)).all():
                raise ConfigError(f"options['window_s'] is {options['window_s']}: must be above 0, at most 86400")
            requests["window"] = np.round(seconds * 1e9)
        if {"side", "quantity"} & set(options):
            self._request_order(options)
        if {"day", "instrument", "start_ns"} & set(options):
            columns = [
                self._each(options[name], name, dtype) if name in options else [None] * len(requests)
                for name, dtype in (("day", np.int64), ("instrument", np.str_), ("start_ns", np.int64))
            ]
            for index in np.flatnonzero(wanted):
                self._pin(requests[index], *(column[index] for column in columns))

    def _request_order(self, options: Mapping[str, Any]) -> None:
        """Notes side and lots of the orders to be executed."""
        if self.config.order is None:
            raise ConfigError("options 'side' and 'quantity' are of an order to be executed: there is none")
        if "side" in options:
            sides = self._each(options["side"], "side", np.str_).tolist()
            if unknown := set(sides) - {"buy", "sell"}:
                raise ConfigError(f"options['side'] is {min(unknown)}: must be buy or sell")
            self.requests["side"] = [_SIDES[side] for side in sides]
        if "quantity" in options:
            self.requests["quantity"] = self._each(options["quantity"], "quantity", np.int64)
            if not ((self.requests["quantity"] >= 1) & (self.requests["quantity"] <= 10**6)).all():
                raise ConfigError(f"options['quantity'] is {options['quantity']}: must be from 1 to 1000000 lots")

    def _each(self, value: Any, name: str, dtype: Any) -> np.ndarray:
        """An option as one value per environment."""
        array = np.asarray(value)
        try:
            if dtype is np.int64 and array.dtype.kind not in "iu":
                raise TypeError
            array = array.astype(dtype)
            return np.broadcast_to(array, len(self.requests)) if array.ndim == 0 else array.reshape(len(self.requests))
        except (TypeError, ValueError):
            raise ConfigError(
                f"options['{name}'] is {value!r}: give one {_KINDS[dtype]}, or one for each of {len(self.requests)} "
                "environments"
            ) from None

    def _pin(self, request: np.void, day: Any, instrument: Any, start: Any) -> None:
        """Restricts one reset to the spans of a day and an instrument, or to a start."""
        markets, spans = self.markets, self.markets.spans
        fits = np.ones(len(spans), bool)
        if day is not None:
            fits &= markets.days[spans["source"]] == day
        if instrument is not None:
            symbols = np.array([one.symbol for one in markets.instruments])
            fits &= symbols[spans["source"]] == instrument
        found = np.flatnonzero(fits)
        if not len(found):
            known = ", ".join(f"{d} {i.symbol}" for d, i in zip(markets.days, markets.instruments, strict=True))
            raise ConfigError(f"options: no session of day {day}, instrument {instrument}: there are {known}")
        if start is not None:
            within = found[(spans["first"][found] <= start) & (start < spans["close"][found])]
            if not len(within):
                first, last = spans["first"][found].min(), spans["close"][found].max()
                raise ConfigError(f"options['start_ns'] is {start}: not in trading, which is within {first} to {last}")
            request["start"] = start
            found = within
        if (np.diff(found) != 1).any():
            raise ConfigError("options: several days of an instrument aren't next to each other: name a day")
        request["first_span"], request["last_span"] = found[0], found[-1] + 1

    # --- masks

    def action_masks(self, run: Callable[[Callable[[int, int], int]], int]) -> np.ndarray:
        """(N, sum of codes) bool. From the first call on each step and reset writes them, while all is at hand.

        Args:
            run: calls a function of (first, last) for the whole batch.
        """
        if self._masks is None:
            shape = len(self.envs), sum(self.scheme.codes) if self.scheme.own is None else self.scheme.own.width
            self._masks = np.ones(shape, bool)
            if self.scheme.own is None:
                self.context[env_state.MASKS : env_state.MASKS + 2] = self._masks.ctypes.data, self._masks.size
                run(lambda first, last: batch.masks(self.context, first, last))
        return self._masks.copy()

    def forget_masks(self) -> None:
        """Environments have been changed by another hand."""
        self._masks = None
        self.context[env_state.MASKS : env_state.MASKS + 2] = 0

    # --- infos

    def reset_info(self, episode: np.ndarray) -> dict[str, np.ndarray]:
        """What a reset tells, an array (m,) each, from rows (m,) of `core.episodes.episode_dtype`."""
        info = {
            "day": self.markets.days[episode["source"]],
            "tape": episode["source"],
            "start_ns": episode["start"],
        }
        return info if self.config.order is None else info | self._order_info(episode)

    def _order_info(self, episode: np.ndarray) -> dict[str, np.ndarray]:
        """The orders to be executed: +1 buy or -1 sell, lots, and the mid at the start in currency."""
        ticks = np.array([one.tick_size_nanos for one in self.markets.instruments])[episode["source"]]
        return {
            "side": np.sign(episode["parent"]),
            "quantity": np.abs(episode["parent"]),
            "arrival_price": episode["arrival2"] * ticks / 2e9,
        }

    def end_info(self, episode: np.ndarray) -> dict[str, np.ndarray]:
        """Statistics of finished episodes, an array (m,) each, from rows (m,) of `core.episodes.episode_dtype`."""
        trades, lots = episode["trades"], episode["lots"]
        info = {
            "pnl": episode["pnl"] / 1e6,
            "pnl_liquidated": episode["pnl_liquidated"] / 1e6,
            "fees": episode["fees"] / 1e6,
            "max_drawdown": episode["max_drawdown"] / 1e6,
            "shaping": episode["shaping"],
            "trades": trades,
            "volume": lots,
            "queue_at_fill": episode["queued"] / np.maximum(episode["maker_lots"], 1),
            "maker_share": episode["maker_lots"] / np.maximum(lots, 1),
            "fill_ratio": lots / np.maximum(episode["lots_sent"], 1),
            "messages": episode["messages"],
            "messages_per_fill": episode["messages"] / np.maximum(trades, 1),
            "max_inventory": episode["max_inventory"],
            "invalid_actions": episode["invalid_actions"],
            "steps": episode["steps"],
            "end_of_data": episode["end_reason"] == episodes.END_DATA,
        }
        if self.config.order is not None:
            info |= self._order_info(episode)
            values = np.array([one.tick_value_micros for one in self.markets.instruments])[episode["source"]]
            info["shortfall"] = -episode["pnl_liquidated"] / (values * info["quantity"])
            info["completed"] = episode["executed"] / info["quantity"]
        rejects = episode["rejects"].T.astype(np.int64)
        info |= {f"rejects_{name}": rejects[code] for code, name in _REASONS.items()}
        info["end_reason"] = np.array([_ENDS[int(code)] for code in episode["end_reason"]], object)
        return info

    def shape(self, paid: np.ndarray, ended: np.ndarray, begun: bool) -> None:
        """Adds a user's own reward.

        Args:
            paid: (N,) float64, rewards; changed.
            ended: (N,) bool, whose episode has ended in this step.
            begun: the next one has begun in the same step.

        Raises:
            ValueError: it isn't (N,) finite numbers.
        """
        assert self.shaping is not None
        more = np.asarray(self.shaping(self.steps.copy()), np.float64)
        if more.shape != paid.shape or not np.isfinite(more).all():
            raise ValueError(f"reward.shaping gave {more!r}: must be {len(paid)} finite numbers")
        more = np.where(self.steps["elapsed_s"] > 0, more, 0.0)
        paid += more
        at_end = ended & begun
        self.envs["ended"]["shaping"][at_end] += more[at_end]
        self.envs["episode"]["shaping"][~at_end] += more[~at_end]

    def made_of(self) -> dict[str, str]:
        """What a state is worth nothing without, or worse: the tapes that its places are on, the shape of its parts."""
        config = self.config
        sections = {name: getattr(config, name) for name in type(config).model_fields if name != "data"}
        return {
            "task": self.task,
            "data": ", ".join(tape.key for tape in self.markets.tapes),
            "window_s, sampling": f"{config.data.window_s:g}, {config.data.sampling}",
            **{name: "" if one is None else one.model_dump_json(exclude={"scaling"}) for name, one in sections.items()},
        }

    def check_capacity(self, ended: np.ndarray) -> None:
        """Raises CapacityError when one of the environments (N,) that `ended` has tables that were too small for it."""
        full = self.envs["is_full"][ended]
        if full.any():
            index = int(np.flatnonzero(ended)[np.argmax(full)])
            raise CapacityError(f"environment {index}: more reports at once than its log holds: quote fewer lots")


def row_of(observations: Any, index: int) -> Any:
    """Observation `index` of a batch of them."""
    if isinstance(observations, dict):
        return {name: rows[index] for name, rows in observations.items()}
    return observations[index]


def _observation_space(form: ObservationForm) -> gym.Space:
    """Space of one observation."""
    boxes: dict[str, gym.Space] = {
        name: gym.spaces.Box(0, 255, shape, np.uint8)
        if form.height
        else gym.spaces.Box(-features.LIMIT, features.LIMIT, shape, np.float32)
        for name, shape in form.shapes.items()
    }
    return gym.spaces.Dict(boxes) if form.kind == "dict" else boxes[""]


def _action_space(scheme: ActionScheme) -> gym.Space:
    """The space of an action."""
    if scheme.own is not None:
        return scheme.own.scheme.action_space
    if not scheme.codes:
        return gym.spaces.Box(-1, 1, scheme.do_nothing.shape, np.float32)
    return gym.spaces.Discrete(scheme.codes[0]) if scheme.is_scalar else gym.spaces.MultiDiscrete(list(scheme.codes))
