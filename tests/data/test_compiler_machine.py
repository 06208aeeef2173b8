"""The compiler's book after any sequence of messages, against a book that is as simple as it gets.

Trades are left to the oracles over whole streams (`test_compiler_oracle.py`); here every state is looked at.
"""

import copy

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bt_gym.core.enums import NO_TICK
from bt_gym.data import book as l3
from bt_gym.data.compiler import Compiler
from tests.data.compiled import add, cancel, clear, modify, nothing, stream
from tests.reference.book import SNAPSHOT, Record
from tests.reference.streams import TICK
from tests.reference.tape_queues import TapeQueues
from tests.reference.unfold import unfold

ORDER_IDS = st.sampled_from([1, 2, 3, 4, 5, 6, 2**62])
SIDES = st.sampled_from("BA")
TICKS = st.sampled_from([0, 0, 0, 1, -2])
SIZES = st.integers(0, 4)


class SimpleBook:
    """Orders by id, and a list of ids for each level."""

    def __init__(self) -> None:
        self.orders: dict[int, tuple[str, int, int]] = {}
        self.levels: dict[tuple[str, int], list[int]] = {}

    def leave(self, order_id: int) -> None:
        side, tick, _ = self.orders.pop(order_id)
        self.levels[side, tick].remove(order_id)
        if not self.levels[side, tick]:
            del self.levels[side, tick]

    def add(self, order_id: int, side: str, tick: int, size: int) -> None:
        if size:
            if order_id in self.orders:
                self.leave(order_id)
            self.orders[order_id] = side, tick, size
            self.levels.setdefault((side, tick), []).append(order_id)

    def cancel(self, order_id: int, size: int) -> None:
        if order_id in self.orders:
            side, tick, left = self.orders[order_id]
            if size < left:
                self.orders[order_id] = side, tick, left - size
            else:
                self.leave(order_id)

    def modify(self, order_id: int, side: str, tick: int, size: int) -> None:
        before = self.orders.get(order_id)
        if before and not size:
            self.leave(order_id)
        elif before and before[:2] == (side, tick) and size < before[2]:
            self.orders[order_id] = side, tick, size
        else:
            self.add(order_id, side, tick, size)

    def queues(self) -> dict[tuple[int, int], list[tuple[int, int]]]:
        """(side, tick) -> (id, size) in queue order, sides as the book numbers them."""
        return {
            ("BA".index(side), tick): [(i, self.orders[i][2]) for i in ids] for (side, tick), ids in self.levels.items()
        }


class CompilerMachine(RuleBasedStateMachine):
    """One event after the other; the model and the tape must tell the same book after each."""

    @initialize(known=st.booleans())
    def start(self, known: bool) -> None:
        self.compiler, self.model, self.tape = Compiler(TICK), SimpleBook(), TapeQueues()
        self.best = NO_TICK, NO_TICK
        self.saved: tuple | None = None
        if known:
            self.send(clear())

    def send(self, *records: Record) -> None:
        """Events of one record each, but for those of a snapshot."""
        for piece in self.compiler.feed(stream(*records)):
            self.tape.apply(piece.records)
            if len(piece.events):
                self.best = int(piece.events["bid"][-1]), int(piece.events["ask"][-1])

    @rule(order_id=ORDER_IDS, side=SIDES, tick=TICKS, size=SIZES)
    def add(self, order_id: int, side: str, tick: int, size: int) -> None:
        self.model.add(order_id, side, tick, size)
        self.send(add(order_id, side, tick, size))

    @rule(side=SIDES, sizes=st.lists(st.integers(1, 4), min_size=2, max_size=4))
    def queue_up(self, side: str, sizes: list[int]) -> None:
        """Several orders at one price, so that a place in the queue means something."""
        for order_id, size in enumerate(sizes, start=1):
            self.add(order_id, side, 0, size)

    @rule(order_id=ORDER_IDS, size=SIZES)
    def cancel(self, order_id: int, size: int) -> None:
        self.model.cancel(order_id, size)
        self.send(cancel(order_id, "B", 0, size))

    @rule(order_id=ORDER_IDS, side=SIDES, tick=TICKS, size=SIZES)
    def modify(self, order_id: int, side: str, tick: int, size: int) -> None:
        self.model.modify(order_id, side, tick, size)
        self.send(modify(order_id, side, tick, size))

    @rule(changes=st.lists(st.tuples(st.integers(0, 9), st.integers(-1, 1)), min_size=1, max_size=4))
    def resize(self, changes: list[tuple[int, int]]) -> None:
        for number, more in changes:
            if self.model.orders:
                order_id = list(self.model.orders)[number % len(self.model.orders)]
                side, tick, size = self.model.orders[order_id]
                self.model.modify(order_id, side, tick, size + more)
                self.send(modify(order_id, side, tick, size + more))

    @rule(order_id=ORDER_IDS, side=SIDES, tick=TICKS)
    def add_and_cancel(self, order_id: int, side: str, tick: int) -> None:
        """Together they change nothing."""
        if order_id not in self.model.orders:
            self.send(add(order_id, side, tick, 2), cancel(order_id, side, tick, 2))

    @rule(order_id=ORDER_IDS)
    def ignored(self, order_id: int) -> None:
        self.send(nothing(), add(77, "N", 1, 1), add(77, "B", None, 1), cancel(78, "B", 0, 1))

    @rule()
    def clear(self) -> None:
        self.model = SimpleBook()
        self.send(clear())

    @rule(explicit=st.booleans())
    def snapshot(self, explicit: bool) -> None:
        """Of the book as it is: every order keeps its place, and nothing differs."""
        before = self.compiler.counters["snapshot_differences"]
        adds = [
            add(order_id, "BA"[side], tick, size, flags=SNAPSHOT)
            for (side, tick), queue in self.model.queues().items()
            for order_id, size in queue
        ]
        if adds:
            self.send([clear(flags=SNAPSHOT)] * explicit + adds, nothing())
        assert self.compiler.counters["snapshot_differences"] == before

    @rule(order_id=ORDER_IDS, side=SIDES, tick=TICKS)
    def another_snapshot(self, order_id: int, side: str, tick: int) -> None:
        changed = SimpleBook()
        changed.add(order_id, side, tick, 3)
        carried, found = self.model.queues(), changed.queues()
        before = self.compiler.counters["snapshot_differences"]
        self.model = changed
        self.send([add(order_id, side, tick, 3, flags=SNAPSHOT)], nothing())
        differ = sum(carried.get(level) != found.get(level) for level in carried.keys() | found.keys())
        assert self.compiler.counters["snapshot_differences"] == before + (differ if carried else 0)

    @rule()
    def save(self) -> None:
        self.saved = copy.deepcopy((self.compiler, self.model, self.tape, self.best))

    @precondition(lambda self: self.saved)
    @rule()
    def go_on_from_there(self) -> None:
        """A copy of a compiler goes on as it did itself."""
        self.compiler, self.model, self.tape, self.best = copy.deepcopy(self.saved)

    @invariant()
    def same_queues(self) -> None:
        assert l3.queues(self.compiler.book) == self.model.queues()
        unfold(self.compiler.book)

    @invariant()
    def same_tape(self) -> None:
        expected: dict[str, dict[int, list[int]]] = {"B": {}, "A": {}}
        for (side, tick), queue in self.model.queues().items():
            expected["BA"[side]][tick] = [size for _, size in queue]
        assert self.tape.sizes() == expected
        assert self.best == (max(expected["B"], default=NO_TICK), min(expected["A"], default=NO_TICK))

    @invariant()
    def same_levels(self) -> None:
        book = self.compiler.book[0]
        assert book["orders_live"] == len(self.model.orders)
        for side, name in enumerate("BA"):
            levels = book["levels"][side, : book["levels_live"][side]]
            told = {int(level["key"]) * (1 - 2 * side): (int(level["size"]), int(level["count"])) for level in levels}
            assert told == {
                tick: (sum(self.model.orders[i][2] for i in ids), len(ids))
                for (level_side, tick), ids in self.model.levels.items()
                if level_side == name
            }
            assert np.all(levels["size"] > 0)


CompilerMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)
TestCompiler = CompilerMachine.TestCase
