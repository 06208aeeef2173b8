"""Action schemes by worked examples: what each number asks for, on a market and an account that are written down."""

import numpy as np
import pytest

from bt_gym._jit import njit
from bt_gym.core import actions, enums, features, intents
from bt_gym.core.orders import make_account_dtype, new_account, new_models
from bt_gym.core.requests import submit
from bt_gym.core.tape import event_dtype

pytestmark = pytest.mark.kernel
ACCOUNT = make_account_dtype(8, 16, 16)


@njit
def _plan(sents, accounts, memories, events, schemes, action, wanted):
    return actions.plan(sents[0], accounts[0], memories[0], events[0], schemes[0], action, wanted)


@njit
def _mask(sents, accounts, memories, events, schemes, out):
    actions.mask(sents[0], accounts[0], memories[0], events[0], schemes[0], out)


@njit
def _send(accounts, wanted, ts):
    return intents.send(accounts[0], wanted[0], ts)


@njit
def _submit(accounts, side, size, price):
    return submit(accounts[0], 0, side, size, enums.ORDER_LIMIT, enums.TIF_GTC, price)


class Desk:
    """A scheme at a market of 100 to 103 ticks."""

    def __init__(self, kind: int, *, bid: int = 100, ask: int = 103, **scheme) -> None:
        self.sent = np.zeros(1, intents.sent_dtype)
        self.account = new_account(new_models(), ACCOUNT)
        self.memory = np.zeros(1, features.memory_dtype)
        self.events = np.zeros(1, event_dtype)
        self.events["bid"], self.events["ask"] = bid, ask
        self.events["flags"] = enums.PHASE_CONTINUOUS
        self.scheme = np.zeros(1, actions.scheme_dtype)
        self.scheme["kind"] = kind
        for name, value in scheme.items():
            if isinstance(value, tuple) and name not in ("low", "high"):
                self.scheme[f"{name}s"][0, : len(value)] = value
                self.scheme[f"{name}_count"] = len(value)
            else:
                self.scheme[name] = value
        self.wanted = np.zeros(intents.MAX_INTENTS, intents.intent_dtype)

    def ask_for(self, *numbers: float):
        """Rows (kind, side, price, size) of what an action wants; -1 when it is none of the scheme's."""
        action = np.array(numbers, np.float64)
        count = _plan(self.sent, self.account, self.memory, self.events, self.scheme, action, self.wanted)
        if count < 0:
            return count
        return [tuple(row) for row in self.wanted[:count][["kind", "side", "price", "size"]].tolist()]

    def masks(self, width: int) -> list[bool]:
        out = np.zeros(width, bool)
        _mask(self.sent, self.account, self.memory, self.events, self.scheme, out)
        return out.tolist()

    def send(self) -> None:
        """Sends the first intent."""
        assert _send(self.account, self.wanted, 1) == enums.REASON_NONE


CANCEL, MODIFY, NEW = intents.INTENT_CANCEL, intents.INTENT_MODIFY, intents.INTENT_NEW
BUY, SELL = enums.BUY, enums.SELL


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 0.5, -1.0, 4.0, 1e300])
def test_code__is_a_whole_number_within_bounds(bad):
    desk = Desk(actions.SCHEME_QUOTES, offset=(0, 2), size=(1,))
    assert desk.ask_for(bad, 2) == desk.ask_for(2, bad) == -1
    assert desk.ask_for(0, 0) == []
    assert desk.ask_for(2, 3) == [(NEW, BUY, 100, 1), (NEW, SELL, 105, 1)]


def test_pairs__are_all_codes_of_both_sides_and_sizes():
    for bid in range(4):
        for ask in range(4):
            for size in range(2):
                one = Desk(actions.SCHEME_PAIRS, offset=(0, 2), size=(1, 5)).ask_for((bid * 4 + ask) * 2 + size)
                assert one == Desk(actions.SCHEME_QUOTES, offset=(0, 2), size=(1, 5)).ask_for(bid, ask, size)
    assert Desk(actions.SCHEME_PAIRS, offset=(0, 2), size=(1, 5)).ask_for(32) == -1
    for kind, width in ((actions.SCHEME_QUOTES, 8), (actions.SCHEME_PAIRS, 16)):
        desk = Desk(kind, ask=101, offset=(-1, 0), size=(1,))  # no room before the best price
        sides = [True, True, False, True]
        every = [one and other for one in sides for other in sides]
        assert desk.masks(width) == (sides * 2 if width == 8 else every)


@pytest.mark.parametrize(
    ("numbers", "bid", "ask"),
    [
        ((-1, 0), 101, 102),  # 0.5 around 101.5
        ((1, 0), 97, 106),  # 4.5
        ((-1, 1), 102, 105),  # centre 104.5: the bid at 104 would cross
        ((-1, -1), 98, 101),
        ((0, 0.1), 99, 105),  # 2.5 around 101.8: 99.3 and 104.3, away from the market
    ],
)
def test_spread__quotes_around_the_mid(numbers, bid, ask):
    desk = Desk(actions.SCHEME_SPREAD, size=(2,), low=(0.5, -3.0), high=(4.5, 3.0))
    assert desk.ask_for(*numbers, 0, 1) == [(NEW, BUY, bid, 2), (NEW, SELL, ask, 2)]
    assert desk.ask_for(*numbers, -0.1, 1) == [(NEW, SELL, ask, 2)]
    assert desk.ask_for(*numbers, -0.6, -0.5) == []
    for bad in (1.01, np.nan, -np.inf):
        assert desk.ask_for(bad, 0, 0, 0) == desk.ask_for(0, 0, 0, bad) == -1


def test_avellaneda_stoikov__quotes_by_the_formula():
    """gamma 0.1, k 1.5, sigma 2 over 1 s, T - t = 1: reservation 101.5 - 3 * 0.4, half 0.2 + ln(1 + 1/15) / 0.1."""
    desk = Desk(actions.SCHEME_AVELLANEDA_STOIKOV, bid=101, ask=102, size=(1,), low=(0.01, 0.15), high=(1.0, 15.0))
    desk.scheme["lag_s"] = desk.scheme["horizon_s"] = 1
    desk.memory["squares"][0, 0] = 16  # of half ticks: sigma 2
    desk.account["known_position"]["size"] = 3
    assert desk.ask_for(0, 0, 1, 1) == [(NEW, BUY, 99, 1), (NEW, SELL, 102, 1)]  # 99.45, 101.15 but not through 101
    desk.account["known_position"]["size"] = 0
    assert desk.ask_for(0, 0, 1, 1) == [(NEW, BUY, 100, 1), (NEW, SELL, 103, 1)]  # 100.65, 102.35


def test_quote__that_stays_is_left_alone_and_one_that_moves_is_one_modify():
    desk = Desk(actions.SCHEME_QUOTES, offset=(0, 1), size=(1,))
    desk.ask_for(2, 0)
    desk.send()
    assert desk.ask_for(2, 0) == desk.ask_for(0, 0) == desk.ask_for(0, 1) == []
    assert desk.ask_for(3, 0) == [(MODIFY, BUY, 99, 1)]
    assert desk.ask_for(1, 2) == [(CANCEL, BUY, 0, 0), (NEW, SELL, 103, 1)]
    assert desk.ask_for(2, 0) == []  # its cancel is unanswered
    desk.events["flags"] = enums.PHASE_HALT
    assert desk.ask_for(0, 3) == []


def test_participation__takes_what_is_due_and_carries_the_rest():
    desk = Desk(actions.SCHEME_PARTICIPATION, rate=(0.1, 0.5))
    desk.memory["parent"] = -20
    traded = desk.memory["sums"][0]

    def trade(bought: int, sold: int) -> None:
        traded[features.SUM_BOUGHT] += bought
        traded[features.SUM_SOLD] += sold

    trade(1000, 0)
    assert desk.ask_for(2) == []  # what was traded before the first decision counts for nothing
    trade(10, 9)
    assert desk.ask_for(2) == [(NEW, SELL, 0, 1)]  # 1.9
    trade(0, 1)
    assert desk.ask_for(2) == [(NEW, SELL, 0, 1)]  # 0.9 + 0.1
    trade(30, 30)
    assert desk.ask_for(0) == []
    trade(4, 4)
    assert desk.ask_for(3) == [(NEW, SELL, 0, 4)]
    trade(400, 0)
    assert desk.ask_for(3) == [(NEW, SELL, 0, 20)]
    desk.account["known_position"]["size"] = -20
    trade(400, 0)
    assert desk.ask_for(3) == []
    assert desk.masks(6) == [True, False, False, False, False, False]
    assert desk.ask_for(6) == desk.ask_for(np.nan) == -1


def test_participation__waits_with_one_child_at_the_best_price():
    desk = Desk(actions.SCHEME_PARTICIPATION, rate=(0.1,))
    desk.memory["parent"] = 100
    desk.ask_for(0)
    desk.memory["sums"][0, features.SUM_BOUGHT] += 50
    assert desk.ask_for(3) == [(NEW, BUY, 100, 5)]
    desk.send()
    desk.memory["sums"][0, features.SUM_BOUGHT] += 50
    assert desk.ask_for(3) == []  # it keeps its place
    desk.events["bid"] = 101
    assert desk.ask_for(3) == [(MODIFY, BUY, 101, 5)]
    assert desk.masks(4) == [True, True, True, True]
    desk.memory["sums"][0, features.SUM_BOUGHT] += 9990
    assert desk.ask_for(2) == [(NEW, BUY, 0, 95)]  # the child's lots are counted
    assert desk.ask_for(1) == [(CANCEL, BUY, 0, 0)]
    assert desk.ask_for(1) == []


def test_rows__are_plain_orders_cancels_first():
    desk = Desk(actions.SCHEME_RAW, rows=3, reach=2, max_size=4)
    for price in (98, 99):
        assert _submit(desk.account, BUY, 2, price)[1] == enums.REASON_NONE
    ioc, cancel, modify = (5, 0, 1, 0, 3), (1, 1, 0, 0, 0), (2, 0, 1, 4, 0)
    assert desk.ask_for(*ioc, *modify, *cancel) == [(CANCEL, BUY, 0, 0), (MODIFY, BUY, 98, 1), (NEW, SELL, 101, 4)]
    assert desk.wanted["order_id"][:3].tolist() == [2, 1, 3]
    assert desk.wanted[2]["time_in_force"] == enums.TIF_IOC
    assert desk.ask_for(*(1, 2, 0, 0, 0) * 3) == []  # there is no third order
    assert desk.ask_for(4, 0, 0, 2, 0, 6, 0, 1, 0, 1, *(0,) * 5) == [(NEW, BUY, 100, 1), (NEW, SELL, 0, 2)]
    assert desk.wanted["post_only"][:2].tolist() == [enums.POST_ONLY_REJECT, enums.POST_ONLY_OFF]
    assert desk.wanted["order_type"][:2].tolist() == [enums.ORDER_LIMIT, enums.ORDER_MARKET]
    for place, bad in enumerate((12, 8, 2, 5, 4)):
        row = [0] * 15
        row[5 + place] = bad
        assert desk.ask_for(*row) == -1
    width = 12 + 8 + 2 + 5 + 4
    assert desk.masks(3 * width) == ([True] * 12 + [True, True] + [False] * 6 + [True] * 11) * 3
    desk.events["bid"] = enums.NO_TICK
    assert desk.ask_for(3, 0, 0, 2, 0, *(0,) * 10) == []
    assert Desk(actions.SCHEME_RAW, rows=1, reach=0, max_size=1).masks(12 + 8 + 2 + 1 + 1)[1:3] == [False, False]


@pytest.mark.parametrize(
    ("kind", "order", "price"),
    [
        (3, (enums.ORDER_LIMIT, enums.TIF_GTC, enums.POST_ONLY_OFF), 102),
        (7, (enums.ORDER_LIMIT, enums.TIF_FOK, enums.POST_ONLY_OFF), 102),
        (8, (enums.ORDER_LIMIT, enums.TIF_DAY, enums.POST_ONLY_OFF), 102),
        (9, (enums.ORDER_LIMIT, enums.TIF_GTC, enums.POST_ONLY_SLIDE), 102),
        (10, (enums.ORDER_MARKET_TO_LIMIT, enums.TIF_GTC, enums.POST_ONLY_OFF), 0),
        (11, (enums.ORDER_STOP, enums.TIF_IOC, enums.POST_ONLY_OFF), 102),
    ],
)
def test_rows__have_a_kind_for_every_order_of_one_price(kind, order, price):
    desk = Desk(actions.SCHEME_RAW, rows=1, reach=2, max_size=4)
    assert desk.ask_for(kind, 0, BUY, 0, 1) == [(NEW, BUY, price, 2)]  # two ticks before the best bid of 100
    assert desk.wanted[0][["order_type", "time_in_force", "post_only"]].item() == order
    desk.send()
    sent = desk.account["orders"][0, 0]
    assert sent[["order_type", "time_in_force", "post_only"]].item() == order
    assert sent["price"] == (0 if kind == 11 else price)
    assert sent["trigger"] == (price if kind == 11 else 0)


def test_rows__move_the_trigger_of_a_stop_that_waits():
    desk = Desk(actions.SCHEME_RAW, rows=1, reach=2, max_size=4)
    desk.ask_for(11, 0, SELL, 0, 1)
    desk.send()
    assert desk.ask_for(2, 0, 0, 1, 3) == [(MODIFY, SELL, 102, 4)]
    desk.send()
    request = desk.account["requests"][0, 1]
    assert (request["price"], request["trigger"], request["size"]) == (102, 102, 4)
    desk.account["orders"][0, 0]["known_triggered"] = 1
    desk.ask_for(2, 0, 0, 1, 3)
    desk.send()
    assert desk.account["requests"][0, 2]["trigger"] == enums.NO_TICK
