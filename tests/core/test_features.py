"""Sums are the slow twin's, windows are warm and equal wherever a run begins, values are what their names say."""

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from bt_gym._jit import njit
from bt_gym.core import enums, features
from bt_gym.core.features import STRIDE, SUMS, FeatureSet
from bt_gym.core.market import count_received, new_market, seek
from bt_gym.core.orders import new_account, new_models, report_dtype
from tests.core.test_market import books
from tests.data.compiled import add, cancel, clear, compile_array, compiled, fill, modify, trade
from tests.reference.order_flow import sums_of
from tests.reference.sessions import JUMPS, far_moving
from tests.reference.streams import to_array

FEW = settings(max_examples=settings().max_examples // 5, suppress_health_check=list(HealthCheck))
ALL = features.MARKET_FEATURES + features.OWN_FEATURES + features.EPISODE_FEATURES


@njit
def _follow(memories, markets, records, events, blocks, rows, end):
    features.follow(memories[0], markets[0], records, events, blocks, rows, end)


@njit
def _begin(memories, markets, records, events, blocks, rows, end):
    seek(markets[0], records, events, blocks, end - end % STRIDE)
    for column in range(SUMS):
        memories[0]["sums"][column] = rows[end // STRIDE]["sums"][column]
    features.follow(memories[0], markets[0], records, events, blocks, rows, end)
    features.restart(memories[0])


@njit
def _extract(memories, accounts, log, markets, records, events, blocks, rows, lags, depth, codes, now, remaining, out):
    features.look(memories[0], markets[0], events, rows, now, lags, depth)
    features.extract(
        memories[0], accounts[0], log, markets[0], records, events, blocks, rows, codes, now, remaining, out
    )


class Watch:
    """A market and its features, followed from the first event on."""

    def __init__(self, tape, names=ALL):
        self.tape = tape
        self.set = FeatureSet(names)
        self.memory = np.zeros(1, features.memory_dtype)
        self.market = new_market()
        self.account = new_account(new_models(max_position=10))
        self.log = np.zeros(8, report_dtype)
        self.rows = np.zeros(len(tape.events) // STRIDE + 1, features.sums_dtype)
        features.build_sums(
            np.zeros(1, features.memory_dtype), new_market(), tape.records, tape.events, tape.blocks, self.rows
        )

    def follow(self, end):
        tape = self.tape
        _follow(self.memory, self.market, tape.records, tape.events, tape.blocks, self.rows, end)

    def begin(self, end):
        tape, rows = self.tape, self.rows
        _begin(self.memory, self.market, tape.records, tape.events, tape.blocks, rows, end)

    def values(self, now):
        out = np.zeros(len(self.set.names), np.float32)
        tape, log, rows = self.tape, self.log, self.rows
        _extract(
            self.memory,
            self.account,
            log,
            self.market,
            tape.records,
            tape.events,
            tape.blocks,
            rows,
            self.set.lags,
            self.set.depth,
            self.set.codes,
            now,
            1.0,
            out,
        )
        return dict(zip(self.set.names, out.tolist(), strict=True))


@FEW
@given(JUMPS, st.data())
def test_sums__are_the_slow_twins(steps, data):
    """While the touch jumps far, received in random steps; a spread that no ladder window shows is left out."""
    records = far_moving([(step // 4, *rest) for step, *rest in steps]).records
    tape = compile_array(to_array(records))
    both = (tape.events["bid"] != enums.NO_TICK) & (tape.events["ask"] != enums.NO_TICK)
    assume((tape.events["ask"] - tape.events["bid"].astype(np.int64))[both].max(initial=0) < 250)
    expected = sums_of(books(records), tape.records, tape.events)
    watch = Watch(tape, ())
    assert np.array_equal(watch.rows["sums"], expected[::STRIDE])
    ends = sorted(data.draw(st.lists(st.integers(0, len(tape.events)), max_size=12), label="receive until"))
    for end in ends:
        watch.follow(end)
        assert np.array_equal(watch.memory["sums"][0], expected[watch.market["event"][0]])


def test_order_flow__is_that_of_the_worked_examples():
    """The paper's formula by hand: +8, +16 and -5."""
    start = [clear(), add(1, "B", 100, 10), add(2, "A", 101, 12)]
    for last, flow in (
        ([add(3, "B", 100, 5), modify(2, "A", 101, 9)], 8),
        ([add(3, "B", 101, 4), cancel(2, "A", 101, 12), add(4, "A", 102, 7)], 16),
    ):
        tape = compiled(*start, last)
        watch = Watch(tape, ())
        watch.follow(len(tape.events))
        assert watch.memory["sums"][0, features.SUM_OFI] == flow
    tape = compiled(clear(), add(1, "B", 100, 10), add(2, "A", 102, 12), add(3, "A", 101, 5))
    watch = Watch(tape, ())
    watch.follow(len(tape.events))
    assert watch.memory["sums"][0, features.SUM_OFI] == -5


def a_session():
    """Events of all kinds, a microsecond apart."""
    orders = [add(1, "B", 100, 10), add(2, "A", 103, 12), add(3, "B", 99, 4), add(4, "A", 104, 8)]
    moves = [
        add(5, "B", 101, 3),
        modify(2, "A", 103, 9),
        cancel(4, "A", 104, 8),
        add(6, "A", 102, 2),
        [trade("B", 102, 2), fill(6, "A", 102, 2), cancel(6, "A", 102, 2)],
        [trade("A", 101, 1), fill(5, "B", 101, 1), modify(5, "B", 101, 2)],
        cancel(5, "B", 101, 2),
        add(7, "A", 105, 1),
        add(8, "B", 98, 6),
    ]
    return compiled(clear(), *orders, *moves)


def test_features__are_equal_wherever_a_run_begins():
    tape = a_session()
    names = ("ofi_1ms", "deep_ofi_3ms", "trade_flow_2ms", "returns_4ms", "volatility_4ms", "events_2ms", *ALL)
    names = tuple(name for name in names if not name.endswith(("10s", "100ms", "1m")))
    names = tuple(name.replace("_1s", "_1h") for name in names)
    received = tape.events["ts_event"] + tape.events["delay"]
    whole = Watch(tape, names)
    for end in range(6, len(tape.events) + 1):
        now = int(received[end - 1])
        whole.follow(end)
        fresh = Watch(tape, names)
        fresh.begin(end)
        assert fresh.values(now) == whole.values(now)
        assert np.array_equal(fresh.market["ladder"], whole.market["ladder"])
        assert fresh.market["mark2"] == whole.market["mark2"]


def test_windows__count_what_was_received_in_them():
    """A window begins at the last eighth event before it; one without events is zero."""
    tape = a_session()
    watch = Watch(tape, ("events_1ms", "adds_1ms", "trades_1ms", "events_1h", "trades_1h"))
    end = len(tape.events)
    watch.follow(end)
    now = int(tape.events["ts_event"][-1] + tape.events["delay"][-1])
    assert count_received(tape.events, 0, now, 0) == end
    values = watch.values(now)
    assert values["events_1h"] == pytest.approx(np.log1p(end))
    assert values["trades_1h"] == pytest.approx(np.log1p(2))
    later = watch.values(now + 2_000_000)
    assert [later[name] for name in ("events_1ms", "adds_1ms", "trades_1ms")] == [0, 0, 0]
    assert later["events_1h"] == values["events_1h"]


def test_book_features__by_hand():
    tape = compiled(clear(), add(1, "B", 100, 15), add(2, "A", 101, 5), add(3, "B", 98, 1), add(4, "A", 104, 7))
    watch = Watch(tape)
    watch.follow(len(tape.events))
    values = watch.values(int(tape.events["ts_event"][-1]) + 10**6)
    assert values["bid_price_1"] == pytest.approx(np.log1p(0.5))
    assert values["bid_price_2"] == pytest.approx(np.log1p(2.5))
    assert values["ask_size_2"] == pytest.approx(np.log1p(7))
    assert values["bid_size_3"] == 0
    assert values["bid_price_3"] == pytest.approx(np.log1p(128))
    assert values["imbalance_1"] == pytest.approx(0.5)
    assert values["imbalance_5"] == pytest.approx((16 - 12) / 28)
    assert values["microprice"] == pytest.approx(np.log1p(100.75 - 100.5))  # 100.75 is the facts' worked example
    assert values["spread"] == pytest.approx(np.log1p(1))
    assert values["remaining_time"] == 1
    assert all(values[name] == 0 for name in features.OWN_FEATURES)


def test_features__have_no_value_to_fail_on_before_the_first_event_and_in_an_empty_book():
    tape = compiled(clear(), add(1, "B", 100, 1), cancel(1, "B", 100, 1))
    watch = Watch(tape)
    for end in range(len(tape.events) + 1):
        watch.follow(end)
        assert np.isfinite(list(watch.values(int(tape.events["ts_event"][0]) + 10**9).values())).all()


def test_names__tell_units_and_unknown_ones_are_refused():
    known = FeatureSet(["returns_5m", "book_imbalance", "volatility", "trade_flow", "bid_size_10"])
    assert known.units[0] == "squashed ticks of the mid"
    assert known.lags[:4].tolist() == [10 * 10**9, 60 * 10**9, 300 * 10**9, 0]
    assert len(set(map(tuple, FeatureSet(ALL).codes.tolist()))) == len(ALL)
    for wrong in ("return_5m", "bid_size_11", "ofi_0s", "ofi", "imbalance", "returns_99h"):
        with pytest.raises(ValueError, match="unknown feature"):
            FeatureSet([wrong])
    with pytest.raises(ValueError, match="at most 6"):
        FeatureSet([f"ofi_{lag}s" for lag in range(1, 8)])


def test_sums__run_over_without_a_wrong_difference():
    tape = a_session()
    watch = Watch(tape, ("adds_1h", "ofi_1h"))
    watch.follow(len(tape.events))
    now = int(tape.events["ts_event"][-1]) + 10**6
    before = watch.values(now)
    for sums in (watch.rows["sums"], watch.memory["sums"]):
        sums += np.int32(2**31 - 3)
    assert watch.values(now) == before
