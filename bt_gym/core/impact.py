"""Models of what our taking does to prices: a cost in money on own taker fills, never a change of the market.

The recorded book stays as it is, fill prices stay the ticks that were met; what a model adds is booked with the fill as
an amount of 1e-6 of the currency, rounded once. It has two parts: the order's own cost, a function of all that the
order has taken so far (so that walking the book costs what one fill would), and the offset that earlier own taking has
left in the price, paid by orders that go on in its direction and received by those that come back.

What has been received never exceeds what has been paid: an offset is our own footprint, and no model may pay for it.
The models that are linear in size keep that by themselves (their cost is a positive form); concave ones don't
(Huberman and Stanzl 2004, Gatheral 2010). Resting orders are filled at their limits and move nothing.
`docs/models.md` has the formulas and their sources.
"""

import numpy as np

from bt_gym._jit import njit
from bt_gym.core import enums

impact_dtype = np.dtype(
    [
        ("model", "<i8"),  # enums.IMPACT_*
        # LINEAR: bps per million of the currency. SQUARE_ROOT: Y * daily volatility (fraction).
        # ALMGREN_CHRISS: ticks per lot, permanent. ALMGREN_2005: permanent fraction of the price per lot.
        # PROPAGATOR: ticks
        ("size", "<f8"),
        ("exponent", "<f8"),  # of the lots taken (SQUARE_ROOT, ALMGREN_2005, PROPAGATOR)
        ("volume", "<f8"),  # lots: of a day (SQUARE_ROOT), of the time that an order is spread over (ALMGREN_2005)
        ("slope", "<f8"),  # ALMGREN_CHRISS: ticks per lot, temporary. ALMGREN_2005: fraction, temporary
        ("fixed", "<f8"),  # ALMGREN_CHRISS: ticks, whatever the size
        ("time", "<f8"),  # PROPAGATOR: s, below which impact does not decay yet
        ("decay", "<f8"),  # PROPAGATOR: exponent of time
    ],
    align=True,
)

_push_dtype = np.dtype([("ts", "<i8"), ("lots", "<i8")])


def make_footprint_dtype(history: int = 1) -> np.dtype:
    """The record of what own taking has left in the price, with room for so many orders of PROPAGATOR."""
    return np.dtype(
        [
            ("paid", "<i8"),  # 1e-6 of the currency, all impact costs so far: never below 0
            ("net", "<i8"),  # signed lots taken by orders before the last one
            ("order_id", "<i8"),  # the last order that took
            ("ts", "<i8"),  # ns, when it did
            ("lots", "<i8"),  # signed lots that it took then
            ("notional", "<f8"),  # 1e-6 of the currency, of them
            ("charged", "<i8"),  # 1e-6 of the currency, impact cost of them so far
            ("offset", "<f8"),  # ticks, left by the orders before it at `ts`
            ("count", "<i8"),  # entries of `pushes`
            ("pushes", _push_dtype, (history,)),  # orders before it, oldest first
        ],
        align=True,
    )


footprint_dtype = make_footprint_dtype()


@njit
def own_cost(impact, lots: float, notional: float, tick_value: float) -> float:
    """What taking `lots` worth `notional` (1e-6 of the currency) costs by itself, 1e-6 of the currency."""
    model = impact["model"]
    if model == enums.IMPACT_LINEAR:
        return notional * (impact["size"] * 1e-4) * (notional / 1e12)
    if model == enums.IMPACT_SQUARE_ROOT:
        return notional * impact["size"] * (lots / impact["volume"]) ** impact["exponent"]
    if model == enums.IMPACT_ALMGREN_CHRISS:
        return (impact["fixed"] + impact["slope"] * lots) * lots * tick_value
    if model == enums.IMPACT_ALMGREN_2005:
        temporary = impact["slope"] * (lots / impact["volume"]) ** impact["exponent"]
        return notional * (impact["size"] * lots / 2.0 + temporary)
    # of its own push an order pays half: it meets prices from before to after it
    return lots * 0.5 * push(impact, lots) * response(impact, 0.0) * tick_value


@njit
def push(impact, lots: float) -> float:
    """f(v) of PROPAGATOR."""
    return lots ** impact["exponent"]


@njit
def response(impact, seconds: float) -> float:
    """G(l) of PROPAGATOR in ticks: what a push of one is after some time."""
    return impact["size"] * (impact["time"] ** 2 + seconds**2) ** (-impact["decay"] / 2.0)


@njit
def _pushed(impact, lots: int, age_ns: int) -> float:
    """Ticks that an order of signed `lots` still moves the price after `age_ns`."""
    size = push(impact, float(abs(lots))) * response(impact, age_ns / 1e9)
    return size if lots > 0 else -size


@njit
def offset(impact, footprint, ts: int, price: int) -> float:
    """Ticks by which own taking so far has moved what the next taker pays at `ts` (ns), near `price` (ticks)."""
    model = impact["model"]
    net = footprint["net"] + footprint["lots"]
    if model == enums.IMPACT_ALMGREN_CHRISS:
        return impact["size"] * net
    if model == enums.IMPACT_ALMGREN_2005:
        return impact["size"] * net * abs(price)
    total = 0.0
    if model == enums.IMPACT_PROPAGATOR:
        for i in range(footprint["count"]):
            total += _pushed(impact, footprint["pushes"][i]["lots"], ts - footprint["pushes"][i]["ts"])
        if footprint["lots"] != 0:
            total += _pushed(impact, footprint["lots"], ts - footprint["ts"])
    return total


@njit
def _remember(footprint) -> None:
    """The last order joins those before it. When there is no room, the two oldest become one."""
    footprint["net"] += footprint["lots"]
    pushes, count = footprint["pushes"], footprint["count"]
    if count == pushes.shape[0]:
        if count > 1:
            pushes[0]["lots"] += pushes[1]["lots"]
        for i in range(2, count):
            pushes[i - 1]["ts"] = pushes[i]["ts"]
            pushes[i - 1]["lots"] = pushes[i]["lots"]
        count -= 1
    pushes[count]["ts"] = footprint["ts"]
    pushes[count]["lots"] = footprint["lots"]
    footprint["count"] = count + 1


@njit
def charge(impact, footprint, tick_value: int, order_id: int, side: int, ts: int, price: int, size: int) -> int:
    """Impact cost of a taker's fill in 1e-6 of the currency; negative when it comes back from its own footprint.

    Args:
        impact: a record of `impact_dtype`.
        footprint: a record of `make_footprint_dtype`, changed.
        tick_value: as in `orders.models_dtype`; of an inverse lot, what a tick is worth at `price`.
        order_id: fills of one order at one time are one push.
        side: enums.BUY, SELL.
        ts: ns.
        price: ticks.
        size: lots.
    """
    if footprint["order_id"] != order_id or footprint["ts"] != ts:
        left = offset(impact, footprint, ts, price)
        if footprint["lots"] != 0:
            _remember(footprint)
        footprint["offset"] = left
        footprint["order_id"] = order_id
        footprint["ts"] = ts
        footprint["lots"] = 0
        footprint["notional"] = 0.0
        footprint["charged"] = 0
    value = float(tick_value)
    if tick_value < 0:
        value = -value / (float(price) * price)
    footprint["lots"] += size if side == enums.BUY else -size
    footprint["notional"] += float(size) * abs(price) * value
    lots = float(footprint["lots"])
    cost = lots * footprint["offset"] * value
    cost += own_cost(impact, abs(lots), footprint["notional"], value)
    amount = np.int64(round(cost)) - footprint["charged"]
    amount = max(amount, -footprint["paid"])
    footprint["charged"] += amount
    footprint["paid"] += amount
    return amount
