"""Quotes of market makers: which orders to send and to cancel so that just the wanted ones stand."""

from collections.abc import Collection

from bt_gym.core import enums
from bt_gym.strategy.base import NOTHING, OrderRequest, StrategyOutput
from bt_gym.strategy.context import StrategyContext
from bt_gym.strategy.events import Side

Quote = tuple[Side, int]
"""Side and ticks."""


def best_ticks(context: StrategyContext) -> tuple[int, int] | None:
    """Ticks of the best bid and ask; None when a side is empty or the market isn't in continuous trading."""
    market = context.market_state
    bid, ask = market.best_bid(), market.best_ask()
    if market.phase != "continuous" or bid is None or ask is None:
        return None
    return bid.ticks, ask.ticks


def requote(context: StrategyContext, wanted: Collection[Quote], size: int) -> StrategyOutput:
    """Leaves every order at a wanted price alone, with its place in the queue, and cancels all others.

    What has no order yet gets a post-only one of `size` lots: bids first, on each side from the best price on. A price
    whose order is being cancelled waits until that is known.
    """
    missing = set(wanted)
    cancellations: list[int] = []
    for order in context.pending_orders:
        quote = (order.side, order.ticks)
        if quote in missing:
            missing.remove(quote)
        elif not order.cancelling:
            cancellations.append(order.order_id)
    if not missing and not cancellations:
        return NOTHING
    price = context.market_state.price
    orders = [
        OrderRequest.limit(side, size, price(ticks), post_only=enums.POST_ONLY_REJECT)
        for side, ticks in sorted(missing, key=lambda quote: (quote[0], -quote[0].sign * quote[1]))
    ]
    return StrategyOutput(orders, cancellations)  # type: ignore[arg-type]  # a list of ids is one of ids or cancels


def two_sided(context: StrategyContext, bid: int, ask: int, size: int, max_position: int) -> StrategyOutput:
    """One quote a side at `bid` and `ask` ticks; none on a side at the position limit."""
    position = context.quantity
    wanted = [(Side.BUY, bid)] if position < max_position else []
    wanted += [(Side.SELL, ask)] if position > -max_position else []
    return requote(context, wanted, size)
