"""Almgren and Chriss (2000), "Optimal execution of portfolio transactions": the schedule between cost and risk.

N slices of tau = T / N; impact gamma v (permanent) and eps sgn(v) + eta v (temporary); volatility sigma:

    eta~ = eta - gamma tau / 2      kappa = arccosh(lambda sigma^2 tau^2 / (2 eta~) + 1) / tau
    x_j  = X sinh(kappa (T - t_j)) / sinh(kappa T)      what is still held after slice j
    E    = gamma X^2 / 2 + eps X + eta~ / tau sum n_j^2     Var = sigma^2 tau sum_{j >= 1} x_j^2
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import acosh, sinh
from typing import Any

from bt_gym.strategy.events import Side
from bt_gym.strategy.schedule import ScheduledExecution


def urgency(duration: float, slices: int, sigma: float, eta: float, gamma: float, risk_aversion: float) -> float:
    """kappa, 1 / time. 0 without aversion to risk.

    >>> round(urgency(5, 5, sigma=0.95, eta=2.5e-6, gamma=2.5e-7, risk_aversion=1e-6), 6)
    0.607076

    Raises:
        ValueError: eta is too small against gamma: trading faster would cost less.
    """
    tau = duration / slices
    eta_tilde = eta - gamma * tau / 2
    if eta_tilde <= 0:
        raise ValueError(f"eta {eta}, gamma {gamma}, slices of {tau:g}: need eta > gamma * slice / 2")
    return acosh(risk_aversion * sigma**2 / eta_tilde * tau**2 / 2 + 1) / tau


def holdings(size: float, duration: float, slices: int, kappa: float) -> list[float]:
    """x_0 ... x_N: what is still to be done after each slice; a straight line (TWAP) for kappa = 0.

    >>> [round(x) for x in holdings(1e6, 5, 5, 0.60707616)]
    [1000000, 541956, 289854, 147897, 62142, 0]
    """
    left = [duration * (slices - j) / slices for j in range(slices + 1)]
    if kappa * duration < 1e-9:
        return [size * t / duration for t in left]
    return [size * sinh(kappa * t) / sinh(kappa * duration) for t in left]


def cost(
    held: Sequence[float], duration: float, sigma: float, eta: float, gamma: float, eps: float
) -> tuple[float, float]:
    """Expected cost of a schedule x_0 ... x_N, and its variance."""
    tau = duration / (len(held) - 1)
    sold = [before - after for before, after in pairwise(held)]
    eta_tilde = eta - gamma * tau / 2
    expected = gamma * held[0] ** 2 / 2 + eps * sum(map(abs, sold)) + eta_tilde / tau * sum(n * n for n in sold)
    return expected, sigma**2 * tau * sum(x * x for x in held[1:])


class AlmgrenChriss(ScheduledExecution):
    """The optimal schedule, in whole lots.

    Args:
        side: buy or sell.
        size: lots.
        duration_s: T, seconds.
        slices: N.
        sigma: volatility, currency a lot per square root of a second.
        eta: temporary impact, currency a lot for a lot a second.
        gamma: permanent impact, currency a lot for a lot.
        risk_aversion: lambda, 1 / currency.

    Raises:
        ValueError: a parameter makes no sense.
    """

    def __init__(
        self,
        side: str | Side = "buy",
        size: int = 10,
        duration_s: float = 60.0,
        slices: int = 10,
        sigma: float = 10.0,
        eta: float = 10.0,
        gamma: float = 0.0,
        risk_aversion: float = 1e-3,
    ) -> None:
        super().__init__(side, size, duration_s, slices)
        if sigma < 0 or risk_aversion < 0 or gamma < 0:
            raise ValueError(f"sigma {sigma}, gamma {gamma}, risk_aversion {risk_aversion}: need 0 or more")
        self._impact = {"sigma": sigma, "eta": eta, "gamma": gamma, "risk_aversion": risk_aversion}
        self.kappa = urgency(duration_s, slices, **self._impact)
        self._held = holdings(1.0, duration_s, slices, self.kappa)

    def fraction(self, number: int) -> float:
        return 1 - self._held[number]

    @property
    def config(self) -> Mapping[str, Any]:
        return {**super().config, **self._impact}
