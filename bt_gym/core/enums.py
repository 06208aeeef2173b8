"""Numbers with names: every code that a kernel stores or compares.

Kernels read these as compile-time constants. `names(prefix)` gives {number: name} for reports.
"""

# --- side of the book, and of an order. Index into `ladder[side]`; sign is `1 - 2 * side`.
BID = 0
ASK = 1
BUY = BID
SELL = ASK

# --- tape records: what one record does to a level (`bt_gym.core.tape.record_dtype`).
# The first four change the displayed size of their level; `kind <= RECORD_RESTORE` tests for that.
RECORD_ADD = 0  # an order takes its place at the back of the queue; `priority` = its previous place, or its own
RECORD_DEL = 1  # displayed size leaves the queue without a fill
RECORD_FILL = 2  # displayed size is executed
RECORD_RESTORE = 3  # an order of a snapshot, in queue order; L2: a level enters the view, or leaves it (size < 0)
RECORD_HIDDEN = 4  # executed size beyond what was displayed: volume ahead, no change of the level
RECORD_TRADE = 5  # an aggressor trades `size` at this level; side = the resting side that is hit
RECORD_TRADE_N = 6  # a trade without aggressor: auction, or implied with no side to infer
RECORD_CLEAR = 7  # all resting orders are gone

# --- phase of the market after an event: bits 0-2 of `event["flags"]`
PHASE_MASK = 7
PHASE_SNAPSHOT = 0  # the book is being restored
PHASE_PRE_OPEN = 1  # orders accumulate, nothing matches, the book may be crossed
PHASE_AUCTION = 2  # the uncross
PHASE_CONTINUOUS = 3  # price-time matching: the only phase in which own orders trade, but for an uncross on request
PHASE_HALT = 4
PHASE_SUSPECT = 5  # the book is incomplete or doubtful

# --- what an event brought: the other bits of `event["flags"]`. A strategy subscribes to a union of them.
EVENT_TRADE = 1 << 3  # at least one trade, with or without aggressor
EVENT_QUOTE = 1 << 4  # price or size of the best bid or ask changed
EVENT_BOOK = 1 << 5  # some level changed
EVENT_PHASE = 1 << 6  # the phase changed
EVENT_INFERRED_SIDE = 1 << 7  # the resting side of a side-N trade was inferred from the quotes
EVENT_COARSE_DELAY = 1 << 8  # receive delay beyond 4.29 s: `event["delay"]` is in units of 1,024 ns, rounded up
EVENT_NO_CANCEL = 1 << 9  # in force: the exchange takes new orders, but neither cancels nor modifications
EVENT_CLOSED = 1 << 10  # in force: the venue has closed the session, day orders are over
EVENT_ROLL = 1 << 11  # another contract goes on under the symbol: positions in the old one are closed
EVENT_OWN = 1 << 16  # own acknowledgements, fills and rejects (never on a tape: a subscription only)

NO_TICK = -(1 << 31)  # best price of an empty side

# --- orders (FIX tag 40, 59)
ORDER_LIMIT = 0
ORDER_MARKET = 1  # with protection: limit = opposite best +- protection ticks
ORDER_STOP = 2  # waits for its trigger, then takes up to trigger +- protection ticks
ORDER_STOP_LIMIT = 3  # waits for its trigger, then is a limit order
ORDER_MARKET_TO_LIMIT = 4  # takes at the opposite best price, and has that price as its limit
TIF_GTC = 0  # rests until filled or cancelled
TIF_IOC = 1  # what can't be filled on arrival is cancelled
TIF_FOK = 2  # cancelled on arrival unless all of it can be filled
TIF_GTD = 3  # rests until a given time
TIF_DAY = 4  # rests until the session ends: the venue says so, or the market has been silent for half an hour

POST_ONLY_OFF = 0  # what a limit order does that would take on arrival (FIX tag 18, 6): it takes
POST_ONLY_REJECT = 1  # it is rejected
POST_ONLY_SLIDE = 2  # its price moves one tick away from the opposite best price

# --- what happens when an arriving order meets an own resting one (CME self-match prevention, FIX tag 8000)
SELF_MATCH_CANCEL_OLDEST = 0  # the resting order is cancelled
SELF_MATCH_CANCEL_NEWEST = 1  # what is left of the arriving one is cancelled
SELF_MATCH_CANCEL_BOTH = 2
SELF_MATCH_REJECT = 3  # the arriving order is rejected as a whole
SELF_MATCH_ALLOW = 4  # they trade with each other, and pay two fees

# --- life of an order at the exchange (FIX tag 39). An end is told by its report: trade with nothing left, canceled,
# expired or rejected; later requests for it are `REASON_TOO_LATE`.
STATUS_FREE = 0  # the slot holds no order
STATUS_PENDING_NEW = 1  # sent, not yet at the exchange
STATUS_WORKING = 2  # resting in the book
STATUS_DONE = 3  # filled, cancelled, expired or rejected; the slot is freed when the strategy has learned of it
STATUS_UNTRIGGERED = 4  # a stop that waits for its trigger
STATUS_TRIGGERED = 5  # one that acts at the end of the event under way

# --- life of an order as its strategy knows it (FIX tag 39)
STATE_PENDING_NEW = 0  # sent, not acknowledged
STATE_WORKING = 1  # acknowledged, nothing filled
STATE_PARTIALLY_FILLED = 2
STATE_PENDING_CHANGE = 3  # a cancel or modify has been sent and not been answered
STATE_UNTRIGGERED = 4  # a stop whose trigger has not been reported

# --- execution reports (FIX tag 150)
EXEC_NEW = 0
EXEC_TRADE = 1
EXEC_CANCELED = 2
EXEC_REPLACED = 3
EXEC_REJECTED = 4
EXEC_CANCEL_REJECTED = 5  # cancel or modify came too late or named an unknown order
EXEC_EXPIRED = 6
EXEC_TRIGGERED = 7  # a stop has been elected

# --- why (execution reports)
REASON_NONE = 0
REASON_USER = 1  # asked for
REASON_IOC = 2  # remainder of an immediate-or-cancel order
REASON_NOT_TRADING = 3  # the market isn't in continuous trading, or takes no cancels
REASON_NO_LIQUIDITY = 4  # market order against an empty side
REASON_MAX_ORDER_SIZE = 5
REASON_MAX_POSITION = 6
REASON_MAX_ORDER_RATE = 7
REASON_MAX_LOSS = 8  # kill switch after the loss limit
REASON_TOO_LATE = 9  # the order was filled or cancelled before the request arrived
REASON_UNKNOWN_ORDER = 10
REASON_CAPACITY = 11  # the core's table of orders, requests or levels is full
REASON_SELF_MATCH = 12  # an own order would have met this one (cancel oldest)
REASON_BOOK_CLEARED = 13  # the exchange dropped all resting orders
REASON_INVALID = 14  # size below one lot, or price off the range of the tape
REASON_PROTECTION = 15  # remainder of a market order beyond its protection price
REASON_END_OF_DATA = 16  # cancelled, or closed at the last valid price, at the end of the data
REASON_FOK = 17  # fill-or-kill that could not be filled at once
REASON_POST_ONLY = 18  # it would have taken liquidity
REASON_GOOD_TILL_DATE = 19  # its time was over
REASON_SESSION_END = 20  # of a day order
REASON_PRICE_COLLAR = 21  # limit too far beyond the opposite best price
REASON_MAX_DRAWDOWN = 22  # kill switch after the drawdown limit
REASON_KILL_SWITCH = 23  # the strategy threw its switch
REASON_GATEWAY = 24  # the gateway of the exchange refused the request for technical reasons (recorded latencies)
REASON_MARGIN = 25  # capital and profit don't suffice for the margin of what may be held, or is held
REASON_RUN_MAX_POSITION = 26  # limits of the whole run, over all its strategies
REASON_RUN_MAX_ORDER_RATE = 27
REASON_RUN_MAX_LOSS = 28  # kill switch of the run after its loss limit
REASON_RUN_MAX_DRAWDOWN = 29
REASON_RUN_KILL_SWITCH = 30  # a strategy threw the switch of the run
REASON_ROLL = 31  # closed at the end of a contract, when another goes on under its symbol
REASON_COUNT = 32  # how many there are

# --- marks: the price at which a position is valued
MARK_MID = 0
MARK_LAST = 1  # last trade; the mid before the first
MARK_LIQUIDATION = 2  # the price at which it could be closed: the bid of a long one, the ask of a short one
MARK_MICROPRICE = 3  # bid and ask, each weighted with the size of the other side

# --- liquidity of a fill (FIX tag 851)
LIQUIDITY_NONE = 0
LIQUIDITY_MAKER = 1
LIQUIDITY_TAKER = 2
LIQUIDITY_AUCTION = 4  # traded in an uncross, where nobody makes or takes; pays the taker's fee

# --- why a strategy is called; at equal times in this order
CALL_NONE = 0  # it isn't: nothing more happens by the time asked for
CALL_EVENT = 1  # a market event that it subscribed to has been received
CALL_NEWS = 2  # reports about its orders are known
CALL_CLOCK = 3  # its decision clock has struck
CALL_LOG_FULL = 4  # it isn't yet: the log of reports has to be made longer first
CALL_BOOKED = 5  # it isn't: reports have become known that the limits of the run look at
CALL_TRADES_FULL = 6  # it is, once there is room for more trades

# --- models. What a trade at an own order's price gives it (`bt_gym.core.fills`); the estimates come last.
FILL_FIFO = 0  # the exact queue
FILL_PRO_RATA = 1  # in proportion to size: the algorithms of `bt_gym.core.allocation`
FILL_PROBABILISTIC = 2  # a draw per trade and order
FILL_NEVER_AT_TOUCH = 3  # only trades through the price fill: a lower bound
FILL_FRONT_OF_QUEUE = 4  # nobody is ahead: an upper bound
FILL_RISK_AVERSE = 5  # estimates of the queue from level sizes, as hftbacktest has them
FILL_POWER_PROB = 6
FILL_POWER_PROB2 = 7
FILL_POWER_PROB3 = 8
FILL_LOG_PROB = 9
FILL_LOG_PROB2 = 10

LATENCY_FIXED = 0  # how long requests and reports travel (`bt_gym.core.latency`)
LATENCY_LOGNORMAL = 1
LATENCY_EMPIRICAL = 2
LATENCY_INTERPOLATED = 3
LATENCY_LOAD = 4  # grows with the messages of the last moment
LATENCY_FEED = 5  # in proportion to the market data's own delay

IMPACT_NONE = 0  # what our taking does to the prices that we pay (`bt_gym.core.impact`)
IMPACT_LINEAR = 1
IMPACT_SQUARE_ROOT = 2
IMPACT_ALMGREN_CHRISS = 3
IMPACT_ALMGREN_2005 = 4
IMPACT_PROPAGATOR = 5


def names(prefix: str) -> dict[int, str]:
    """Lower-case names of one family: `names("PHASE_")` -> {0: "snapshot", 1: "pre_open", ...}."""
    family = {value: name.removeprefix(prefix).lower() for name, value in globals().items() if name.startswith(prefix)}
    family.pop({"PHASE_": PHASE_MASK, "REASON_": REASON_COUNT}.get(prefix), None)
    return family
