"""The L3 book's own operations against dictionaries, from a book so small that it must grow."""

import copy

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bt_gym.core.enums import ASK, BID, NO_TICK
from bt_gym.data import book as l3
from tests.reference.unfold import unfold

pytestmark = pytest.mark.kernel

ORDER_IDS = st.sampled_from([1, 2, 3, 17, 2**33 + 1, 2**62, -1, -(2**63)]) | st.integers(-(2**63), 2**63 - 1)
SIDES = st.sampled_from([BID, ASK])
TICKS = st.integers(-9, 9)
SIZES = st.integers(1, 2**31 - 1)
SMALLEST = 4
"""15 orders and 4 levels a side."""


class BookMachine(RuleBasedStateMachine):
    """Any sequence of valid operations; the model keeps a level's queue as a dictionary in order of insertion."""

    @initialize()
    def start(self) -> None:
        self.books = l3.empty(SMALLEST)
        self.model: dict[str, dict[int, dict[int, int]]] = {"B": {}, "A": {}}
        self.saved: tuple | None = None

    def place(self, number: int) -> tuple[int, str, int]:
        """Some live order: (id, side, tick)."""
        live = [(i, side, tick) for side in "BA" for tick, queue in self.model[side].items() for i in queue]
        return live[number % len(live)]

    def is_live(self) -> bool:
        return any(self.model.values())

    def make_room(self) -> None:
        if l3.is_full(self.books[0]):
            self.books = l3.grown(self.books)

    def leave(self, order_id: int, side: str, tick: int) -> int:
        """Take an order out of the model."""
        size = self.model[side][tick].pop(order_id)
        if not self.model[side][tick]:
            del self.model[side][tick]
        return size

    @rule(order_id=ORDER_IDS, side=SIDES, tick=TICKS, size=SIZES)
    def add(self, order_id: int, side: int, tick: int, size: int) -> None:
        if any(order_id in queue for levels in self.model.values() for queue in levels.values()):
            return
        self.make_room()
        slot = l3.add(self.books[0], order_id, side, tick, size, 0)
        assert slot == l3.find(self.books[0], order_id) > 0
        self.model["BA"[side]].setdefault(tick, {})[order_id] = size

    @precondition(is_live)
    @rule(number=st.integers(0, 100))
    def remove(self, number: int) -> None:
        order_id, side, tick = self.place(number)
        l3.remove(self.books[0], l3.find(self.books[0], order_id))
        assert l3.find(self.books[0], order_id) == 0
        self.leave(order_id, side, tick)

    @precondition(is_live)
    @rule(number=st.integers(0, 100), size=SIZES)
    def resize(self, number: int, size: int) -> None:
        order_id, side, tick = self.place(number)
        l3.resize(self.books[0], l3.find(self.books[0], order_id), size)
        self.model[side][tick][order_id] = size

    @precondition(is_live)
    @rule(number=st.integers(0, 100), side=SIDES, tick=TICKS, size=SIZES)
    def requeue(self, number: int, side: int, tick: int, size: int) -> None:
        self.make_room()
        order_id, *place = self.place(number)
        l3.requeue(self.books[0], l3.find(self.books[0], order_id), side, tick, size, 0)
        self.leave(order_id, *place)
        self.model["BA"[side]].setdefault(tick, {})[order_id] = size

    @rule()
    def clear(self) -> None:
        l3.clear(self.books[0])
        self.model = {"B": {}, "A": {}}

    @rule()
    def save(self) -> None:
        self.saved = self.books.copy(), copy.deepcopy(self.model)

    @precondition(lambda self: self.saved)
    @rule()
    def restore(self) -> None:
        """A copied book goes on as the original did."""
        self.books, self.model = self.saved[0].copy(), copy.deepcopy(self.saved[1])

    @invariant()
    def same_queues(self) -> None:
        queues = unfold(self.books)
        assert queues == self.model
        assert [list(queue) for side in "BA" for queue in queues[side].values()] == [
            list(self.model[side][tick]) for side in "BA" for tick in queues[side]
        ]

    @invariant()
    def same_best(self) -> None:
        for side, name, best in ((BID, "B", max), (ASK, "A", min)):
            tick = best(self.model[name], default=NO_TICK)
            assert l3.best_tick(self.books[0], side) == tick
            assert l3.best_size(self.books[0], side) == sum(self.model[name].get(tick, {}).values())

    @invariant()
    def levels_are_found(self) -> None:
        for side, name in ((BID, "B"), (ASK, "A")):
            for tick in range(-11, 12):
                assert (l3.find_level(self.books[0], side, tick) >= 0) == (tick in self.model[name])


BookMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=50)
TestBook = BookMachine.TestCase


def test_add__then_remove_is_no_change() -> None:
    books = l3.empty(SMALLEST)
    l3.add(books[0], 1, BID, 10, 5, 0)
    before = unfold(books)
    l3.add(books[0], 2, BID, 10, 7, 0)
    l3.remove(books[0], l3.find(books[0], 2))
    assert unfold(books) == before


def test_find__survives_a_table_full_of_colliding_ids() -> None:
    """Removals in any order leave every other order of a run in reach."""
    ids = [number << 40 for number in range(1, 16)]
    for first in range(len(ids)):
        books = l3.empty(SMALLEST)
        for order_id in ids[:14]:
            l3.add(books[0], order_id, BID, 0, 1, 0)
        for gone in range(14):
            l3.remove(books[0], l3.find(books[0], ids[(first + gone) % 14]))
            unfold(books)
    assert l3.find(books[0], ids[0]) == 0


def test_find_level__finds_deep_levels_and_the_gaps_between() -> None:
    books = l3.empty(SMALLEST + 3)
    ticks = [(7 * number) % 31 * 2 for number in range(31)]  # even ones, far from sorted
    for number, tick in enumerate(ticks, start=1):
        for side in (BID, ASK):
            l3.add(books[0], number * (1 - 2 * side), side, tick, 1, 0)
    unfold(books)
    for side in (BID, ASK):
        keys = books["levels"]["key"][0, side, :31].tolist()
        for tick in range(-1, 62):
            key = tick if side == BID else -tick
            index = l3.find_level(books[0], side, tick)
            if key in keys:
                assert index == keys.index(key)
            else:
                assert -1 - index == sum(other < key for other in keys)
