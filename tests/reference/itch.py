"""Streams as venues of the ITCH family report them, and streams that begin in the middle of a session.

No `M`: an order is replaced by a `C` and an `A` with a new id, and executed or reduced by a partial `C`. T, F and C of
one execution are three records with F_LAST of one (ts_event, sequence), and an aggressor that takes several orders
makes several of them at one ts_event. Its id is not told: the `T` has none, or that of the order it hit. Trades of
hidden orders and crosses are a `T` alone, without a side.
"""

from hypothesis import strategies as st

from tests.reference import streams
from tests.reference.book import OPPOSITE, Record
from tests.reference.streams import LAST, TICK, Event, Scribe, last


def _executed(scribe: Scribe, number: int, side: str, ticks: int, order_id: int, size: int) -> None:
    """T, F and C of one order; `side` is the aggressor's."""
    report = {"ticks": ticks, "size": size, "flags": LAST}
    scribe.write(
        scribe.record("T", side, order_id=order_id if number & 1 else 0, **report),
        scribe.record("F", OPPOSITE[side], order_id=order_id, **report),
        scribe.record("C", OPPOSITE[side], order_id=order_id, **report),
    )


def sweep(scribe: Scribe, number: int, ticks: int, size: int, side: str) -> None:
    """An aggressor takes the best orders one by one, over up to two levels, all at one time."""
    start, now = scribe.now, scribe.now
    for level in scribe.book.depth(OPPOSITE[side], 2):
        for order_id, displayed in list(scribe.book.queue(OPPOSITE[side], level.price).items()):
            filled = min(size, displayed)
            size -= filled
            if filled:
                scribe.now, now = start, scribe.now
                _executed(scribe, number, side, level.price // TICK, order_id, filled)
    scribe.now = max(now, scribe.now)


def replace(scribe: Scribe, number: int, ticks: int, size: int, side: str) -> None:
    """An order gives way to a new one of its side, in one event."""
    if order := scribe.pick(number):
        order_id, side, old, displayed = order
        scribe.write(
            *last(
                scribe.record("C", side, old, displayed, order_id=order_id),
                scribe.record("A", side, ticks, size, order_id=scribe.new_id()),
            )
        )


def hidden_trade(scribe: Scribe, number: int, ticks: int, size: int, side: str) -> None:
    """Orders that were never shown trade, between ticks too; the other number of a cross looks the same."""
    price = ticks * TICK + TICK // 2 * (number & 1)
    scribe.write(*last(scribe.record("T", "N", size=size, price=price)))


def lone_flag(scribe: Scribe, number: int, ticks: int, size: int, side: str) -> None:
    """A record of nothing, with any flags that a book ignores."""
    scribe.write(*last(scribe.record("N", flags=(2, 8, 10)[number % 3])))


ITCH: list[Event] = [
    *[streams.add] * 6,
    *[streams.cancel] * 2,
    streams.cancel_whole,
    *[streams.execution, sweep, replace] * 2,
    hidden_trade,
    lone_flag,
]

itch_streams = streams.streams(ITCH)


def cold(whole: st.SearchStrategy[list[Record]]) -> st.SearchStrategy[list[Record]]:
    """The same streams without their beginning: orders that nobody saw come are cancelled, modified and filled."""
    return st.tuples(whole, st.floats(0, 0.7)).map(lambda drawn: drawn[0][int(len(drawn[0]) * drawn[1]) :])


def hostile(any_streams: st.SearchStrategy[list[Record]]) -> st.SearchStrategy[list[Record]]:
    """What a compiler must take: streams of either family, from their beginning or not."""
    return st.one_of(any_streams, itch_streams, cold(any_streams), cold(itch_streams))
