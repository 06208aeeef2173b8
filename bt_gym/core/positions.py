"""Position, cash and profit of one instrument, by average cost in exact integers.

Definitions of the linear instrument: with signed size q, multiplier M, cash C (fees excluded) and mark m

    equity = C + q * m * M - fees

An inverse instrument, whose lot is worth V / price in the currency of the account, is the same with the amount -V / p
in place of p * M, each rounded half to even once: its `tick_value` is minus V in 1e-6 of the currency times ticks. The
identity

    equity = realised + unrealised(m) - fees

holds to the last 1e-6 of the currency, whatever the fills. `cost` is what the open size was paid for, so that the
average price `cost / (q * M)` never has to be stored; a reduction takes its share of `cost` out, rounded half to even,
which is the only division.
"""

import numpy as np

from bt_gym._jit import njit

position_dtype = np.dtype(
    [
        ("size", "<i8"),  # signed lots
        ("cash", "<i8"),  # 1e-6 of the currency, fees excluded
        ("cost", "<i8"),  # 1e-6: signed amount paid for the open size; 0 when flat
        ("realised", "<i8"),  # 1e-6, before fees
        ("fees", "<i8"),  # 1e-6, paid so far
        ("volume", "<i8"),  # lots traded so far
        ("max_size", "<i8"),  # largest |size| so far
    ],
    align=True,
)


@njit
def divide_half_even(numerator: int, denominator: int) -> int:
    """`numerator / denominator` rounded to the nearest integer, ties to even. The denominator is positive."""
    quotient = numerator // denominator
    twice = 2 * (numerator - quotient * denominator)
    if twice > denominator or (twice == denominator and quotient & 1):
        quotient += 1
    return quotient


@njit
def _share(amount: int, part: int, whole: int) -> int:
    """`amount * part / whole` rounded half to even, without the overflow of the product. 0 <= part <= whole."""
    each = amount // whole
    rest = (amount - each * whole) * part  # below whole ** 2
    quotient = rest // whole
    twice = 2 * (rest - quotient * whole)
    share = each * part + quotient
    if twice > whole or (twice == whole and share & 1):
        share += 1
    return share


@njit
def worth(lots: int, price: int, tick_value: int) -> int:
    """Value in 1e-6 of the currency of signed `lots` at `price` ticks; a negative `tick_value` is an inverse lot's."""
    if tick_value > 0:
        return lots * price * tick_value
    return divide_half_even(lots * tick_value, price)


@njit
def worth2(lots: int, mark2: int, tick_value: int) -> int:
    """The same at a mark given as twice the tick: half an odd tick value rounds half to even."""
    if tick_value > 0:
        return divide_half_even(lots * mark2 * tick_value, 2)
    return divide_half_even(2 * lots * tick_value, mark2) if lots != 0 else np.int64(0)


@njit
def apply_fill(position, side: int, size: int, price: int, tick_value: int, fee: int) -> None:
    """Books a fill of `size` > 0 lots at `price` ticks; `tick_value` and `fee` (whole fill) in 1e-6 of the currency."""
    change = size if side == 0 else -size
    old = position["size"]
    amount = worth(change, price, tick_value)
    position["cash"] -= amount
    position["fees"] += fee
    position["volume"] += size
    if old == 0 or (old > 0) == (change > 0):
        position["cost"] += amount
    else:
        closed = min(abs(old), size)
        # |old| lots cost `cost`; the closed share leaves, the rest of the fill opens the other way
        share = _share(position["cost"], closed, abs(old))
        proceeds = worth(closed if old > 0 else -closed, price, tick_value)
        position["realised"] += proceeds - share
        position["cost"] += amount + proceeds - share
    position["size"] = old + change
    position["max_size"] = max(position["max_size"], abs(old + change))


@njit
def unrealised(position, mark2: int, tick_value: int) -> int:
    """Profit of the open size in 1e-6 at `mark2`, twice the mark in ticks (a mid can lie between two ticks).

    An odd half tick value rounds half to even, in `equity` alike.
    """
    return worth2(position["size"], mark2, tick_value) - position["cost"]


@njit
def equity(position, mark2: int, tick_value: int) -> int:
    """Cash plus position at the mark, less fees, in 1e-6 of the currency. 0 before the first fill."""
    return position["cash"] + worth2(position["size"], mark2, tick_value) - position["fees"]
