"""The quotes of Avellaneda and Stoikov (2008), "High-frequency trading in a limit order book", equations 17 and 18.

With mid s, position q, risk aversion gamma, volatility sigma, order arrivals A exp(-k delta) and time to go T - t:

    reservation price r = s - q gamma sigma^2 (T - t)
    spread              = gamma sigma^2 (T - t) + (2 / gamma) ln(1 + gamma / k)
"""

import math

from bt_gym._jit import njit


@njit
def quotes(mid: float, position: float, gamma: float, sigma: float, k: float, time_left: float) -> tuple[float, float]:
    """Bid and ask. Prices in one unit (say ticks), sigma in it per square root of the unit of time, k in 1 / price.

    >>> bid, ask = quotes(100.0, 3.0, 0.1, 2.0, 1.5, 1.0)
    >>> round(bid, 6), round(ask, 6)
    (97.954615, 99.645385)
    """
    variance = gamma * sigma**2 * time_left
    reservation = mid - position * variance
    half = variance / 2 + math.log1p(gamma / k) / gamma
    return reservation - half, reservation + half
