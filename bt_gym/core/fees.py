"""What a fill costs: an amount per lot, a rate on the notional, an amount per order, in tiers of the volume traded.

Charged per fill from its liquidity and rounded once, half to even, in 1e-6 of the currency; never part of a price.
"""

import numpy as np

from bt_gym._jit import njit
from bt_gym.core import enums
from bt_gym.core.positions import divide_half_even, worth

MAX_TIERS = 4
NANOS = 1_000_000_000

tier_dtype = np.dtype(
    [
        ("volume", "<i8"),  # lots traded by the account from which these fees hold instead; 0: the tier isn't used
        ("maker_fee", "<i8"),  # 1e-6 of the currency per lot; negative is a rebate
        ("taker_fee", "<i8"),
        ("maker_rate", "<i8"),  # 1e-9 of the notional
        ("taker_rate", "<i8"),
    ],
    align=True,
)


@njit
def fee_of(models, volume: int, size: int, price: int, liquidity: int, is_first: bool) -> int:
    """Fee of a fill in 1e-6 of the currency.

    Args:
        models: record of `orders.models_dtype`.
        volume: lots that the account has traded before.
        is_first: whether it is the first fill of its order, which bears the amount per order.
    """
    is_maker = liquidity == enums.LIQUIDITY_MAKER
    each = models["maker_fee"] if is_maker else models["taker_fee"]
    rate = models["maker_rate"] if is_maker else models["taker_rate"]
    for i in range(MAX_TIERS):
        tier = models["tiers"][i]
        if 0 < tier["volume"] <= volume:
            each = tier["maker_fee"] if is_maker else tier["taker_fee"]
            rate = tier["maker_rate"] if is_maker else tier["taker_rate"]
    fee = each * size
    if rate != 0:
        notional = abs(worth(size, price, models["tick_value"]))
        whole = notional // NANOS  # the product of both could overflow
        fee += whole * rate + divide_half_even((notional - whole * NANOS) * rate, NANOS)
    if is_first:
        fee += models["order_fee"]
    return np.int64(fee)
