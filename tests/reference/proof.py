"""Which levels of a book that started cold are known: the rule taken literally, level by level."""

import math
import random
from collections.abc import Iterator

from tests.reference import itch, streams
from tests.reference.book import OPPOSITE, SNAPSHOT, Book, Record, is_auction, match_groups
from tests.reference.sessions import quote
from tests.reference.streams import TICK, Scribe

TICKS = range(-45, 46)


def proven_levels(records: list[Record]) -> Iterator[tuple[bool, dict[str, set[int]]]]:
    """After each event: whether the book is still suspect, and the proven ticks of each side."""
    book, suspect, proven = Book(), True, {"B": set(), "A": set()}
    for group in match_groups(records):
        book.begin_event()
        auction = is_auction(group) or (book.crossed() and any(r.action == "T" and r.side == "N" for r in group))
        for record in group:
            book.apply(record)
        bid, ask = (book.best(side).price // TICK if book.prices[side] else None for side in "BA")
        if any(record.action == "R" or record.flags & SNAPSHOT for record in group):
            suspect, proven = False, {"B": set(TICKS), "A": set(TICKS)}
        elif auction or book.crossed():
            if suspect:  # it may have been so for long
                proven = {"B": set(), "A": set()}
        else:
            proven["B"] |= {tick for tick in TICKS if ask is not None and ask <= tick}
            proven["A"] |= {tick for tick in TICKS if bid is not None and bid >= tick}
            best = {side: [level.price // TICK for level in book.depth(side, 5)] for side in "BA"}
            suspect = suspect and not all(len(best[side]) == 5 and set(best[side]) <= proven[side] for side in "BA")
        yield suspect, {side: set(ticks) for side, ticks in proven.items()}


def drifting_session(seed: int, events: int) -> list[Record]:
    """An ITCH session in continuous trading whose price wanders over some 40 ticks."""
    rng, scribe = random.Random(seed), Scribe()
    for number in range(events):
        mid = round(14 * math.sin(number / 60) + rng.gauss(0, 2))
        for side, sign in (("B", 1), ("A", -1)):
            best = scribe.book.depth(OPPOSITE[side], 1)
            if best and sign * best[0].price // TICK <= sign * mid:
                itch.sweep(scribe, number, 0, best[0].size, side)
        side = rng.choice("BA")
        away = 1 + rng.randrange(9)
        quote(scribe, number, mid - away if side == "B" else mid + away, 1 + rng.randrange(9), side)
        change = rng.choice([streams.cancel, streams.cancel_whole, streams.execution, itch.hidden_trade, None])
        if change:
            change(scribe, rng.randrange(99), mid, 1 + rng.randrange(5), rng.choice("BA"))
    return scribe.records
