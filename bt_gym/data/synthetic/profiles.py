"""What kind of market to make: named profiles, in units a trader would use."""

import math
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache

import numpy as np

from bt_gym.data.synthetic import agenda
from bt_gym.data.synthetic import rng as random
from bt_gym.data.synthetic.lattice import Lattice
from bt_gym.data.synthetic.product import Product

FUTURE_QUOTE_SIZES = ((1, 750), (2, 100), (3, 40), (5, 50), (10, 30), (15, 10), (20, 8), (40, 4), (80, 1))
FUTURE_TAKE_SIZES = ((1, 600), (2, 140), (3, 80), (5, 80), (8, 40), (12, 25), (20, 20), (34, 12), (60, 3))

STOCK_SIZES = (
    (1, 60),
    (10, 40),
    (25, 30),
    (50, 50),
    (100, 600),
    (200, 110),
    (300, 50),
    (500, 40),
    (1000, 15),
    (2500, 3),
)

MS = 1_000_000
SECOND = 1_000_000_000


@dataclass(frozen=True)
class Profile(Product):
    """A kind of market. Times are pairs (least ns, octaves): log-uniform from the least, doubled so many times."""

    news_per_second: float  # immigrants; offspring comes on top
    takes_per_second: float
    quotes_per_second: float
    news_ticks: Decimal  # scale of a jump of the value
    children: tuple[tuple[float, float, float], ...]  # mean offspring: rows parent, columns child; news, take, quote
    at_touch: Decimal  # share of quotes at distance 1 from the opposite best price
    distance_offset: int  # ticks: P(distance) ~ (distance + offset) ** -1.5
    distance_most: int  # ticks
    depth_orders: int  # orders in the book at the start
    depth_levels: int  # price levels they are spread over, per side
    stale_ticks: float
    snipe_ticks: float
    quote_ticks: float
    snipes: float  # takers for each price that the value leaves behind
    spread_ticks: int  # makers improve a spread wider than this
    impact_ticks: float  # of the first child of a metaorder on the value
    joiners: float = 6.0
    pull_chains: int = 2
    child_delay: tuple[int, int] = (500, 25)
    news_delay: tuple[int, int] = (10 * MS, 15)
    snipe_all: float = 0.7
    regime_seconds: tuple[float, float, float, float] = (5.0, 25.0, 120.0, 600.0)  # activity of news and takers
    pull_delay: tuple[int, int] = (5_000, 12)
    snipe_delay: tuple[int, int] = (5_000, 10)
    narrow_delay: tuple[int, int] = (20_000, 14)
    join_delay: tuple[int, int] = (2_000, 19)
    life_flash: tuple[int, int] = (30_000, 9)
    life_touch: tuple[int, int] = (60 * MS, 8)
    life_deep: tuple[int, int] = (4 * SECOND, 8)
    flash: float = 0.4
    lean: float = 0.4
    fade: float = 0.1
    reprice: float = 0.4
    grow: float = 0.03
    shrink: float = 0.03
    iceberg: float = 0.0
    stop: float = 0.0
    cross: float = 0.0
    sweep: float = 0.03
    owners: int = 64
    pro_rata: bool = False  # matching by size, instead of by time
    metaorder_most: int = 400
    quote_sizes: tuple[tuple[int, int], ...] = FUTURE_QUOTE_SIZES  # (lots, weight)
    take_sizes: tuple[tuple[int, int], ...] = FUTURE_TAKE_SIZES


ES = Profile(
    name="es",
    symbol="SYNH6",
    instrument_id=4001,
    tick_size=Decimal("0.25"),
    multiplier=50,
    start_price=Decimal(5000),
    news_per_second=0.35,
    takes_per_second=0.15,
    quotes_per_second=6.0,
    news_ticks=Decimal("0.75"),
    children=((0.4, 0.25, 2.0), (0.0, 0.5, 2.0), (0.0, 0.0, 0.3)),
    at_touch=Decimal("0.56"),
    distance_offset=1,
    distance_most=100,
    depth_orders=2400,
    depth_levels=60,
    stale_ticks=0.2,
    snipe_ticks=0.2,
    quote_ticks=0.2,
    snipes=5.0,
    spread_ticks=1,
    impact_ticks=0.01,
    iceberg=0.01,
    stop=0.03,
    cross=0.04,
)
"""A large-tick future: spread of one tick, long queues."""

ES_BUSY = replace(
    ES,
    name="es_busy",
    symbol="SYNB6",
    instrument_id=4005,
    news_per_second=2.2,
    takes_per_second=8.5,
    quotes_per_second=200.0,
    at_touch=Decimal("0.52"),
    distance_offset=8,
    depth_orders=6000,
    snipes=30.0,
    snipe_all=0.1,
    pull_chains=5,
    impact_ticks=0.03,
    joiners=38.0,
    regime_seconds=(2.0, 8.0, 30.0, 120.0),
    life_touch=(300 * MS, 8),
    life_deep=(800 * MS, 8),
    reprice=0.2,
)
"""The future in busy hours, the dense stream of the benchmarks: 6,000 orders, 90 at a price near the touch, some 850
records a second (2 million in 40 minutes)."""

STOCK = Profile(
    name="stock",
    symbol="SYNX",
    instrument_id=4002,
    tick_size=Decimal("0.01"),
    multiplier=1,
    start_price=Decimal(150),
    news_per_second=0.5,
    takes_per_second=0.18,
    quotes_per_second=6.0,
    news_ticks=Decimal(3),
    children=((0.4, 0.25, 2.0), (0.0, 0.5, 2.0), (0.0, 0.0, 0.3)),
    at_touch=Decimal("0.02"),
    distance_offset=3,
    distance_most=120,
    depth_orders=450,
    depth_levels=100,
    stale_ticks=0.3,
    snipe_ticks=0.3,
    quote_ticks=-0.5,
    snipes=5.0,
    spread_ticks=4,
    impact_ticks=0.03,
    joiners=1.0,
    pull_chains=3,
    narrow_delay=(50_000, 14),
    life_deep=(SECOND, 7),
    stop=0.02,
    cross=0.02,
    sweep=0.1,
    quote_sizes=STOCK_SIZES,
    take_sizes=STOCK_SIZES,
)
"""A small-tick stock: spread of several ticks, short queues."""

PRO_RATA = replace(ES, name="pro_rata", symbol="SYNP6", instrument_id=4003, pro_rata=True)
"""The future with matching by size."""

AVELLANEDA_STOIKOV = Lattice(
    name="as",
    symbol="SYNA6",
    instrument_id=4004,
    tick_size=Decimal("0.25"),
    multiplier=50,
    start_price=Decimal(5000),
    step_seconds=0.1,
    take=0.06,
    decay=0.6,
    move=0.1,
)
"""A market without queues whose optimum is known."""

PROFILES: dict[str, Profile | Lattice] = {
    profile.name: profile for profile in (ES, ES_BUSY, STOCK, PRO_RATA, AVELLANEDA_STOIKOV)
}


@cache
def to_rules(profile: Profile) -> np.ndarray:
    """The profile as the record that kernels read, shape (1,); made once, for reading only."""
    rules = np.zeros(1, agenda.rules_dtype)
    record = rules[0]
    rates = (profile.news_per_second, profile.takes_per_second, profile.quotes_per_second)
    peak = Decimal(agenda.LOUD) / 5
    gaps = [Decimal(SECOND) / Decimal(str(rate)) for rate in rates]
    record["gap"] = [int(gap / peak**agenda.REGIMES) for gap in gaps[:2]] + [int(gaps[2])]
    record["regime"] = [int(seconds * SECOND) for seconds in profile.regime_seconds]
    record["children"] = [[_over_one(mean) for mean in row] for row in profile.children]
    for name in (
        "flash",
        "lean",
        "fade",
        "reprice",
        "grow",
        "shrink",
        "iceberg",
        "stop",
        "cross",
        "sweep",
        "snipe_all",
    ):
        record[name] = _over_one(getattr(profile, name))
    for name in ("snipes", "joiners"):
        record[name] = _over_one(getattr(profile, name))
    for name in ("child", "news", "pull", "snipe", "narrow", "join"):
        record[f"{name}_delay"] = getattr(profile, f"{name}_delay")
    for name in ("life_flash", "life_touch", "life_deep", "pull_chains", "owners"):
        record[name] = getattr(profile, name)
    for name in ("stale", "snipe", "quote"):
        record[f"{name}_margin"] = _over_one(getattr(profile, f"{name}_ticks"))
    record["spread"] = profile.spread_ticks
    record["exponential"] = random.exponential_table()
    scale = int(2 * profile.news_ticks * agenda.FINE)
    record["jump"] = random.pareto_table(1, 5, scale) - scale
    levels = profile.depth_levels
    depth = {k: min(3 + 2 * k, 10) * (2 * levels - k) for k in range(1, levels + 1)}  # thin, flat, thinning out
    record["depth"] = random.weighted_table(depth)
    record["distance"] = random.weighted_table(_distances(profile))
    record["quote_size"] = random.weighted_table(dict(profile.quote_sizes))
    record["take_size"] = random.weighted_table(dict(profile.take_sizes))
    record["length"] = np.minimum(random.pareto_table(2, 3, 1), profile.metaorder_most)
    first = int(Decimal(str(profile.impact_ticks)) * agenda.FINE)
    roots = np.array([math.isqrt(first * first * k) for k in range(agenda.CHILDREN_SHOWN + 1)])
    record["impact"] = np.diff(roots)
    return rules


def _over_one(value: float) -> int:
    return int(Decimal(str(value)) * random.ONE)


def _distances(profile: Profile) -> dict[int, int]:
    """Power law from distance 2 on, and the share of distance 1 given."""
    unit = 10**12
    distances = range(2, profile.distance_most + 1)
    tail = {d: math.isqrt(unit * unit // (d + profile.distance_offset) ** 3) for d in distances}
    total = sum(tail.values())
    touch = int(profile.at_touch * unit)
    return {1: touch} | {d: weight * (unit - touch) // total for d, weight in tail.items()}
