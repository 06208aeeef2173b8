"""The records of one account: own orders, requests in flight, execution reports, models and limits.

An account is one strategy on one instrument: a cursor over the tape at exchange time and its orders, not a book.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from bt_gym.core import enums
from bt_gym.core.fees import MAX_TIERS, tier_dtype
from bt_gym.core.impact import impact_dtype, make_footprint_dtype
from bt_gym.core.latency import FEW_ROWS, make_latency_dtype
from bt_gym.core.positions import position_dtype
from bt_gym.core.queue_models import fills_dtype, queue_dtype

MAX_ORDERS = 64
"""Own orders of a backtest's account that can be live or in flight at once; a further one is `REASON_CAPACITY`."""

MAX_REQUESTS = 128
"""Own requests of it that can travel at once; two are kept for the kill switch and the order that follows."""

MAX_TAKEN = 64
"""Places whose liquidity it has taken and that still stand on the tape."""

MAX_PUSHES = 256
"""Orders that still move the price under IMPACT_PROPAGATOR; of more, the two oldest count as one."""

FAR_LEVEL = 62
"""Bit of `levels` and row of `first_in_level` for all own levels that are as many ticks from the best one, or more."""

order_dtype = np.dtype(
    [
        ("order_id", "<i8"),  # 1, 2, 3, ... in the order of submission
        ("rank", "<i8"),  # order of arrival at the exchange among own orders
        ("expires", "<i8"),  # ns, of TIF_GTD
        ("price", "<i4"),  # limit in ticks; of a market order or elected stop its protection price
        ("trigger", "<i4"),  # ticks, of a stop
        ("size", "<i4"),  # lots ordered in total
        ("filled", "<i4"),  # lots filled at the exchange
        ("leaves", "<i4"),  # lots working at the exchange
        ("known_leaves", "<i4"),  # lots working as the strategy knows
        ("most_leaves", "<i4"),  # most lots that may still fill as it knows, modifies under way included
        ("known_size", "<i4"),  # lots ordered in total: as sent, or as the last modify reported has it
        ("known_price", "<i4"),  # limit in ticks likewise; 0 of a market order before its protection price is reported
        ("known_trigger", "<i4"),  # ticks, of a stop: as sent, or as the answer to the last modify has it
        ("ahead", "<i4"),  # displayed lots before it in the queue; see `ahead_known`
        ("joined_behind", "<i4"),  # what that was when it joined its queue, as far as the level was shown
        ("priority", "<i4"),  # tape record at its arrival: a record's priority below it is ahead
        ("trade_ahead", "<i4"),  # lots of the trade under way that went to orders ahead
        ("side", "i1"),  # enums.BUY, SELL
        ("order_type", "i1"),  # enums.ORDER_*
        ("time_in_force", "i1"),  # enums.TIF_*
        ("post_only", "i1"),  # enums.POST_ONLY_*
        ("status", "i1"),  # enums.STATUS_*
        ("ahead_known", "i1"),  # 0 while no ladder window has shown its level: `ahead` is then minus what is behind
        ("behind_hit", "i1"),  # the trade under way filled an order behind it
        ("acknowledged", "i1"),  # the strategy knows that it has arrived
        ("is_stop", "i1"),  # it was sent as a stop: `order_type` becomes that of what rests
        ("known_triggered", "i1"),  # and, of a stop, that it has been elected
        ("requests", "i2"),  # on their way for it; its slot is kept until they have arrived
        ("unanswered", "i2"),  # cancels and modifies whose outcome the strategy doesn't know yet
        ("queue", queue_dtype),  # register of the fill models other than the exact queue
    ],
    align=True,
)

REQUEST_NEW = 0
REQUEST_CANCEL = 1
REQUEST_MODIFY = 2
REQUEST_CANCEL_ALL = 3  # the kill switch: one request, whatever the number of orders

request_dtype = np.dtype(
    [
        ("ts_exchange", "<i8"),  # ns, arrival
        ("ts_sent", "<i8"),  # ns
        ("order_id", "<i8"),
        ("slot", "<i4"),  # of the order in the account; -1 for all orders
        ("kind", "<i4"),  # REQUEST_*
        ("price", "<i4"),  # ticks, of a modify
        ("size", "<i4"),  # new total lots, of a modify
        ("trigger", "<i4"),  # ticks, of a stop's modify; NO_TICK keeps the old one
        ("refused", "<i4"),  # 1: the gateway sends it back, see `core.latency`
    ],
    align=True,
)

report_dtype = np.dtype(
    [
        ("ts_exchange", "<i8"),  # ns, when it happened at the exchange
        ("ts_known", "<i8"),  # ns, when the strategy may know it: ts_exchange + response latency
        ("order_id", "<i8"),  # 1, 2, 3, ... in the order of submission, per account
        ("fee", "<i8"),  # 1e-6 of the currency, this fill
        ("impact", "<i8"),  # 1e-6 of the currency, what the impact model adds to the cost of this fill
        ("event", "<i4"),  # tape event in which (maker) or after which (taker, others) it happened; -1 before the first
        ("price", "<i4"),  # ticks: fill price, else the order's limit
        ("size", "<i4"),  # lots of this fill, else 0
        ("leaves", "<i4"),  # lots still working
        ("side", "<i2"),  # enums.BUY, SELL; two bytes each, so that no padding is left to differ between equal reports
        ("exec_type", "<i2"),  # enums.EXEC_*
        ("reason", "<i2"),  # enums.REASON_*
        ("liquidity", "<i2"),  # enums.LIQUIDITY_*
    ],
    align=True,
)
"""One execution report. A run's list of them tells all about its orders: fills, positions and metrics follow."""

taken_dtype = np.dtype(
    [
        ("tick", "<i4"),
        ("lots", "<i4"),  # taken and still displayed on the tape; 0 = entry is free
        ("old", "<i4"),  # displayed lots with priority below `priority` (whole level), or of the order
        ("priority", "<i4"),
        ("side", "i1"),
        ("is_order", "i1"),  # 1: the order placed by record `priority`; 0: everything at the level older than it
    ],
    align=True,
)

_MODELS = [
    ("entry_latency", "<i8"),  # ns from a strategy's decision to the exchange; what varies comes on top
    ("response_latency", "<i8"),  # ns back; likewise
    ("tick_value", "<i8"),  # 1e-6 of the currency per tick and lot; inverse: minus (1e-6 of it x ticks) per lot
    ("maker_fee", "<i8"),  # 1e-6 of the currency per lot; negative is a rebate
    ("taker_fee", "<i8"),
    ("maker_rate", "<i8"),  # 1e-9 of the notional, on top
    ("taker_rate", "<i8"),
    ("order_fee", "<i8"),  # 1e-6 of the currency per order that is filled, with its first fill
    ("protection", "<i8"),  # ticks beyond the best price that a market order may reach
    ("fill_on_cross", "<i8"),  # 1: an opposite add at or through an own order's price fills it
    ("self_match", "<i8"),  # enums.SELF_MATCH_*
    ("auction", "<i8"),  # 1: own orders take part in an uncross, see `bt_gym.core.auction`
    ("stop_on_quote", "<i8"),  # 1: stops are elected by the opposite best price too, not by trades alone
    ("price_collar", "<i8"),  # ticks beyond the opposite best price that a limit may lie; -1 no limit
    ("max_position", "<i8"),  # lots, working orders included; -1 no limit
    ("max_order_size", "<i8"),  # lots; -1 no limit
    ("max_orders_per_second", "<i8"),  # orders and modifies in one clock second; -1 no limit
    ("max_loss", "<i8"),  # 1e-6 of the currency; -1 no limit
    ("max_drawdown", "<i8"),  # 1e-6 of the currency below the highest equity; -1 no limit
    ("run_max_position", "<i8"),  # the same of all accounts of a run on the instrument together; -1 no limit
    ("run_max_orders_per_second", "<i8"),
    ("initial_margin", "<i8"),  # 1e-6 of the currency per lot that may be held; 0 asks for none
    ("maintenance_margin", "<i8"),  # and per lot that is held
    ("capital", "<i8"),  # 1e-6 of the currency that margin may come from, beside closed profit
    ("seed", "<i8"),  # of all draws
    ("account", "<i8"),  # number of the account: draws of accounts differ
    ("fills", fills_dtype),
    ("impact", impact_dtype),
    ("tiers", tier_dtype, (MAX_TIERS,)),  # other fees from a volume on, ascending
]


def make_models_dtype(latency_rows: int = FEW_ROWS) -> np.dtype:
    """The record of models and limits, with room for so many rows of latency data."""
    return np.dtype([*_MODELS, ("latency", make_latency_dtype(latency_rows))], align=True)


models_dtype = make_models_dtype()
"""With room for a few rows of latency data."""


def make_account_dtype(
    max_orders: int = MAX_ORDERS,
    max_requests: int = MAX_REQUESTS,
    max_taken: int = MAX_TAKEN,
    *,
    models: np.dtype = models_dtype,
    max_pushes: int = 1,
) -> np.dtype:
    """The record of an account with room for so many orders, requests under way, and places it took from.

    `models` is the type of its models, `max_pushes` the number of orders that still move the price (IMPACT_PROPAGATOR).

    Kernels read the sizes from the record. A new set of sizes compiles them once more.

    Raises:
        ValueError: a size is too small for one order, or above what the kernels can count.
    """
    if not (1 <= max_orders < 1 << 15 and 4 <= max_requests < 1 << 15 and 1 <= max_taken < 1 << 15):
        raise ValueError(
            f"{max_orders} orders, {max_requests} requests, {max_taken} places: at least 1, 4 and 1, below 32768 each"
        )
    return np.dtype(
        [
            ("event", "<i8"),  # events that have happened at the exchange: the next one to match
            ("next_roll", "<i8"),  # event at which the contract ends, `NEVER` without one
            ("orders_sent", "<i8"),  # last order id
            ("arrivals", "<i8"),  # last rank
            ("last_arrival", "<i8"),  # ns: no request overtakes an earlier one
            ("last_known", "<i8"),  # ns: nor does a report
            ("requests_sent", "<i8"),  # so far
            ("requests_timed", "<i8"),  # of them, those whose varying latency is known
            ("last_timed", "<i8"),  # ns: no request overtakes an earlier one then, either
            ("response_extra", "<i8"),  # ns: what varies of the response latency of what is happening
            ("reports_written", "<i8"),  # into the log
            ("reports_known", "<i8"),  # delivered from the log
            ("reports_kept", "<i8"),  # first one that the log must still hold: 0 keeps all of a run
            ("rate_second", "<i8"),  # clock second of the last order
            ("rate_count", "<i8"),  # orders and modifies sent in it
            ("killed", "<i8"),  # REASON_* of the kill switch, 0 before it
            ("killed_at", "<i8"),  # ns, when it was thrown
            ("goes_home", "<i8"),  # 1: it sends the position home as well
            ("kills_run", "<i8"),  # 1: its strategy has asked to stop the whole run, 2: and to send all positions home
            ("others", "<i8", (2,)),  # per side: lots that the run's other accounts hold or have open on the instrument
            ("others_sent", "<i8"),  # orders and modifies that they have sent in this clock second
            ("peak", "<i8"),  # 1e-6: highest equity at the marks received, as known; 0 at the start
            ("watched", "<i8"),  # events whose marks it includes
            ("first_request", "<i8"),  # ring position of the oldest request
            ("requests_live", "<i8"),
            ("orders_live", "<i8"),  # orders whose slot isn't free
            ("most_open", "<i8", (2,)),  # sum of `most_leaves` per side
            ("levels", "<i8", (2,)),  # per side: bit d = own orders rest d ticks behind the own best price
            ("reach", "<i4", (2,)),  # per side: height of the own best price, see `core.resting`; smallest int32: none
            ("line_length", "<i4", (2,)),  # own resting orders per side
            ("resting", "<i4"),  # and of both
            ("unseen", "<i4"),  # of them, those with `ahead_known` 0
            ("stops_live", "<i4"),  # stops that wait for their trigger, elected ones included
            ("elected", "<i4"),  # of them, those that act at the end of the event under way
            ("dated", "<i4"),  # orders at the exchange with TIF_GTD
            ("daily", "<i4"),  # and with TIF_DAY
            ("takens", "<i4"),  # entries of `taken` in use, the first ones
            ("trade_side", "<i4"),  # resting side of the trade under way, -1 without one
            ("trade_tick", "<i4"),
            ("trade_volume", "<i4"),  # what is left of it for the level
            ("queued", "<i8"),  # sum over all lots filled as maker of their order's `joined_behind`
            ("position", position_dtype),  # at the exchange
            ("known_position", position_dtype),  # as reported
            ("models", models),
            ("footprint", make_footprint_dtype(max_pushes)),  # of own taking in the price, at the exchange
            ("known_footprint", make_footprint_dtype(max_pushes)),  # as reported
            ("line", "<i2", (2, max_orders)),  # slots of resting orders per side, as they fill: best price, then oldest
            ("first_in_level", "<i2", (2, FAR_LEVEL + 1)),  # place in `line` of the first order of a level of `levels`
            ("stops", "<i2", (max_orders,)),  # slots of stops that wait, in the order of their arrival
            ("orders", order_dtype, (max_orders,)),
            ("requests", request_dtype, (max_requests,)),
            ("taken", taken_dtype, (max_taken,)),
        ],
        align=True,
    )


account_dtype = make_account_dtype()
"""The account of a backtest."""

NEVER = 1 << 62
"""An event that doesn't come."""

NO_REACH = np.iinfo(np.int32).min
"""`reach` of a side without own resting orders: no record comes to it."""


def account_dtype_for(models: np.ndarray) -> np.dtype:
    """The account of a backtest with these models: `account_dtype` unless they need more room."""
    if models.dtype == models_dtype:
        return account_dtype
    return make_account_dtype(models=models.dtype, max_pushes=MAX_PUSHES)


def new_account(models: np.ndarray, dtype: np.dtype | None = None, count: int = 1) -> np.ndarray:
    """Accounts without orders, shape (count,).

    Args:
        models: (1,) or (count,) of `models_dtype`.
        dtype: of `make_account_dtype`; `account_dtype_for` the models if None.
        count: number of accounts.
    """
    account = np.zeros(count, account_dtype_for(models) if dtype is None else dtype)
    account["models"] = models
    account["trade_side"] = -1
    account["next_roll"] = NEVER
    account["reach"] = NO_REACH
    return account


def new_models(**values: Any) -> np.ndarray:
    """Models and limits, shape (1,): no latency, no fees, no limits, exact queue unless given. See `models_dtype`.

    Values of a nested record are a dict. More than a few rows of latencies, `latency={"rows": ...}` of shape (n, up to
    5), and the propagator get a record with room for them: kernels compile once more for it.
    """
    rows = len(values.get("latency", {}).get("rows", ()))
    has_propagator = values.get("impact", {}).get("model") == enums.IMPACT_PROPAGATOR
    needs_room = rows > FEW_ROWS or has_propagator
    models = np.zeros(1, make_models_dtype(max(1024, 1 << rows.bit_length())) if needs_room else models_dtype)
    models["protection"] = 20
    models["fill_on_cross"] = 1
    models["tick_value"] = 1_000_000
    for name in models.dtype.names or ():
        if name.startswith(("max_", "run_max_", "price_collar")):
            models[name] = -1
    _write(models, values)
    return models


def _write(record: np.ndarray, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if isinstance(value, Mapping):
            _write(record[name], value)
        elif name == "rows":
            rows = np.asarray(value, dtype=np.int64)
            record["rows"][0, : len(rows), : rows.shape[1]] = rows
        else:
            record[name] = value
