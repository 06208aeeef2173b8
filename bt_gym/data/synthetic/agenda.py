"""What the participants plan: the profile as kernels read it, their state, and a queue of what is due when."""

import numpy as np

from bt_gym._jit import njit
from bt_gym.data.synthetic import rng as random

FINE = 1 << 16
HEAP = 1 << 17
METAORDERS = 3
REGIMES = 4
LOUD, QUIET = 8, 2  # fifths by which a component multiplies the activity: 1.6 or 0.4, 1 on average
PEAK = 8**REGIMES
CHILDREN_SHOWN = 512

# what is due; the first three are the types of the Hawkes process, offspring and immigrants
NEWS = 0  # the value jumps
TAKE = 1  # an uninformed taker
QUOTE = 2  # a new limit order
IMMIGRANT = 3  # + NEWS, TAKE, QUOTE: the same, and the next immigrant follows
TIMER = 6  # an order's owner reconsiders it
PULL = 7  # + side: a maker leaves a price that the value has left behind
SNIPE = 9  # + side: a taker hits it
NARROW = 11  # a maker improves a wide market
JOIN = 12  # + side: a maker joins the best price
CONTROL = 14  # the exchange itself: number = message kind << 4 | phase
BUILD = 15  # an order of the book before the session
REGIME = 16  # component `number` of the activity is drawn anew
KIND_BITS = 5

rules_dtype = np.dtype(
    [
        ("gap", "<i8", (3,)),  # ns between immigrants: NEWS, TAKE (both at peak activity), QUOTE
        ("regime", "<i8", (REGIMES,)),  # mean ns until a component of the activity is drawn anew
        ("children", "<i8", (3, 3)),  # mean offspring [parent, child], over ONE
        ("child_delay", "<i8", (2,)),  # least ns, octaves; so are all pairs below
        ("news_delay", "<i8", (2,)),  # of news after news
        ("snipe_all", "<i8"),  # probability over ONE: a sniper takes the whole queue
        ("stale_margin", "<i8"),  # 1/FINE ticks beyond a best price where makers leave it
        ("snipe_margin", "<i8"),  # ... and where takers hit it
        ("quote_margin", "<i8"),  # how far beyond the value a limit order may go
        ("pull_delay", "<i8", (2,)),
        ("pull_chains", "<i8"),  # makers that leave at a time
        ("snipe_delay", "<i8", (2,)),
        ("snipes", "<i8"),  # mean takers for each price left behind, over ONE
        ("narrow_delay", "<i8", (2,)),
        ("spread", "<i8"),  # ticks that makers are content with
        ("join_delay", "<i8", (2,)),
        ("joiners", "<i8"),  # mean orders that follow a new best price, over ONE
        ("life_flash", "<i8", (2,)),
        ("life_touch", "<i8", (2,)),
        ("life_deep", "<i8", (2,)),
        ("flash", "<i8"),  # probabilities over ONE: a quote at the touch is a fleeting one
        ("lean", "<i8"),  # a quote goes to the side that the value favours
        ("fade", "<i8"),  # instead of a quote, the last order at the other touch leaves
        ("reprice", "<i8"),  # a timer moves its order to a new price
        ("grow", "<i8"),
        ("shrink", "<i8"),
        ("iceberg", "<i8"),  # a quote hides most of its size
        ("stop", "<i8"),  # a taker leaves a stop order instead
        ("cross", "<i8"),  # a taker moves a resting order across the spread instead
        ("sweep", "<i8"),  # a taker doesn't limit itself to the best price
        ("owners", "<i8"),  # number of participants that can't trade with themselves
        ("impact", "<i8", (CHILDREN_SHOWN,)),  # 1/FINE ticks, of the k-th child of a metaorder
        ("exponential", "<i8", random.exponential_shape),
        ("jump", "<i8", random.lookup_shape),  # 1/FINE ticks, size of a piece of news
        ("distance", "<i8", random.lookup_shape),  # ticks from the opposite best price
        ("quote_size", "<i8", random.lookup_shape),
        ("take_size", "<i8", random.lookup_shape),
        ("length", "<i8", random.lookup_shape),  # children of a metaorder
        ("depth", "<i8", random.lookup_shape),  # level of an order at the start, 1 is the touch
    ]
)
"""A profile in the integers of the kernels."""

flow_dtype = np.dtype(
    [
        ("rng", random.rng_dtype),
        ("now", "<i8"),  # ns
        ("start", "<i8"),  # ns, first snapshot
        ("value", "<i8"),  # 1/FINE ticks
        ("orders", "<i8"),  # number of the next order
        ("messages", "<i8"),  # written to the current buffer
        ("renew", "<i8"),  # 1: the order of the message being made gets a new lifetime
        ("regime", "<i8", (REGIMES,)),  # LOUD or QUIET
        ("activity", "<i8"),  # of news and takers, over ONE: share of the peak
        ("pulling", "<i8", (2,)),  # makers leaving the best price of a side
        ("narrowing", "<i8"),
        ("sign", "<i8", (METAORDERS,)),
        ("left", "<i8", (METAORDERS,)),
        ("done", "<i8", (METAORDERS,)),
        ("due_count", "<i8"),
        ("full", "<i8"),  # 1: the event queue overflowed; the caller must raise
        ("due_ts", "<i8", (HEAP,)),
        ("due", "<i8", (HEAP,)),  # order number << KIND_BITS | kind
    ]
)
"""What the participants know and plan."""


@njit
def schedule(flow, ts: int, kind: int, number: int) -> None:
    """Something is due at `ts`."""
    times, due = flow["due_ts"], flow["due"]
    i = flow["due_count"]
    if i == HEAP:
        flow["full"] = 1
        return
    flow["due_count"] = i + 1
    while i > 0:
        parent = (i - 1) >> 1
        if times[parent] <= ts:
            break
        times[i] = times[parent]
        due[i] = due[parent]
        i = parent
    times[i] = ts
    due[i] = number << KIND_BITS | kind


@njit
def drop_first(flow) -> None:
    """Takes the earliest entry out."""
    times, due = flow["due_ts"], flow["due"]
    last = flow["due_count"] - 1
    flow["due_count"] = last
    ts, what = times[last], due[last]
    i = 0
    while True:
        child = 2 * i + 1
        if child >= last:
            break
        if child + 1 < last and times[child + 1] < times[child]:
            child += 1
        if times[child] >= ts:
            break
        times[i] = times[child]
        due[i] = due[child]
        i = child
    times[i] = ts
    due[i] = what


@njit
def later(flow, rules_delay) -> int:
    """A time after now by a log-uniform delay."""
    return flow["now"] + random.octaves(flow["rng"], rules_delay[0], rules_delay[1])
