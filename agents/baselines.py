"""What a learned market maker has to beat: doing nothing, chance, a fixed spread, and Avellaneda-Stoikov.

A policy here is any function from observations (N, F) to actions (N, D), as those of `bt_gym/MarketMaking-v0`: a code
for the bid and one for the ask, of which 0 leaves the side as it is, 1 withdraws it, and 2 + i quotes it `offsets[i]`
ticks behind the side's best price.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

Policy = Callable[[np.ndarray], np.ndarray]

LEAVE, WITHDRAW, FIRST_OFFSET = 0, 1, 2


class Quoter:
    """Reads observations and writes actions of one environment.

    Args:
        env: a vector environment of bt_gym, whose features include spread, inventory and remaining_time.
    """

    def __init__(self, env: Any) -> None:
        env = env.unwrapped
        self.space = env.single_action_space
        self.offsets = np.array(env.config.action.offsets)
        self.max_position = env.config.risk.max_position
        self.columns = {name: index for index, name in enumerate(env.feature_names)}

    def do_nothing(self) -> Policy:
        """Leaves both sides as they are: never an order, a profit of exactly 0."""
        return lambda obs: np.zeros((len(obs), len(self.space.nvec)), np.int64)

    def at_random(self, seed: int) -> Policy:
        """Every action as likely as any other."""
        random = np.random.default_rng(seed)
        return lambda obs: random.integers(0, self.space.nvec, (len(obs), len(self.space.nvec)))

    def fixed_spread(self, offset: int) -> Policy:
        """Both sides always so many ticks behind the best price."""
        at = np.zeros(1)
        return lambda obs: self._quotes(at + offset, at + offset, len(obs))

    def avellaneda_stoikov(self, risk: float, half_spread: float) -> Policy:
        """Quotes around a price that leans against the inventory (Avellaneda and Stoikov 2008, eqs 3.17 and 3.18).

        With q lots and a part u of the window left, the reservation price is q * risk * u below the mid, and quotes are
        half_spread + risk * u / 2 from it.

        Args:
            risk: gamma sigma^2 T, ticks.
            half_spread: ln(1 + gamma / k) / gamma, ticks.
        """

        def policy(obs: np.ndarray) -> np.ndarray:
            left = obs[:, self.columns["remaining_time"]]
            lean = np.rint(obs[:, self.columns["inventory"]] * self.max_position) * risk * left
            distance = half_spread + risk * left / 2 - np.expm1(obs[:, self.columns["spread"]]) / 2
            return self._quotes(distance + lean, distance - lean, len(obs))

        return policy

    def _quotes(self, bid: np.ndarray, ask: np.ndarray, count: int) -> np.ndarray:
        """Actions that quote so many ticks behind the best prices, rounded; withdrawn where no offset is as far."""
        actions = np.zeros((count, len(self.space.nvec)), np.int64)
        for side, ticks in enumerate((bid, ask)):
            ticks = np.maximum(np.rint(ticks), self.offsets[0])
            index = np.searchsorted(self.offsets, ticks)
            actions[:, side] = np.where(ticks > self.offsets[-1], WITHDRAW, FIRST_OFFSET + index)
        return actions
