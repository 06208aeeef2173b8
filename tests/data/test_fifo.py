"""Each check of trades on one event worked by hand; the reference must say the same."""

from typing import Any

import pytest

from bt_gym.data.audit import Audit
from bt_gym.data.fifo import AUCTION_SETTLE_NS
from tests.reference import book as reference
from tests.reference.book import LAST, Record
from tests.reference.streams import TICK, to_array

pytestmark = pytest.mark.kernel

Part = tuple[str, str, int, int]
"""(action, side, order id, size)."""

RESTING: list[Part] = [("A", "B", 1, 5), ("A", "B", 2, 5), ("A", "B", 3, 5)]


def records(parts: list[Part], ts_event: int) -> list[Record]:
    """One event."""
    event = [Record(ts_event, order_id, TICK, size, 0, action, side) for action, side, order_id, size in parts]
    return [*event[:-1], event[-1]._replace(flags=LAST)]


def checks(*events: list[Part], step: int = 1) -> dict[str, Any]:
    """FIFO (exact, iceberg, mismatch), fill rule and conservation of events, `step` ns apart, after three bids of 5."""
    stream = [record for number, parts in enumerate([RESTING, *events]) for record in records(parts, 1 + number * step)]
    audit = Audit(TICK)
    audit.feed(to_array(stream))
    audit.finish()
    counts, expected = audit.counts(), reference.validate(stream)
    for name in ("fifo", "fill_rule", "conservation", "trades", "volume"):
        assert counts[name] == expected[name], name
    return {
        name: list(counts[name].values())[1 if name == "fifo" else 0 :]
        for name in ("fifo", "fill_rule", "conservation")
    }


@pytest.mark.parametrize(
    ("event", "fifo", "fill_rule", "conservation"),
    [
        # front of the queue first; fills, predicted, non-fills, predicted
        ([("T", "A", 9, 7), ("F", "B", 1, 5), ("F", "B", 2, 2)], [1, 0, 0], [2, 2, 1, 1], [1, 1]),
        # the order of the reports says nothing
        ([("T", "A", 9, 7), ("F", "B", 2, 2), ("F", "B", 1, 5)], [1, 0, 0], [2, 2, 1, 1], [1, 1]),
        # the second is served and the first is not
        ([("T", "A", 9, 2), ("F", "B", 2, 2)], [0, 0, 1], [2, 0, 1, 1], [1, 1]),
        # each in part: the second should have had what the first left to it, since somebody behind was filled
        ([("T", "A", 9, 6), ("F", "B", 1, 3), ("F", "B", 3, 3)], [0, 0, 1], [3, 0, 0, 0], [1, 1]),
        # the second is served since the first was cancelled to prevent a self-match
        ([("T", "A", 9, 2), ("F", "B", 2, 2), ("C", "B", 1, 5)], [1, 0, 0], [1, 1, 1, 1], [1, 1]),
        # a filled order that is cancelled too was there
        ([("T", "A", 9, 5), ("F", "B", 1, 5), ("C", "B", 1, 5)], [1, 0, 0], [1, 1, 2, 2], [1, 1]),
        # beyond the displayed size: an iceberg, no case for the fill rule
        ([("T", "A", 9, 9), ("F", "B", 1, 9)], [0, 1, 0], [0, 0, 0, 0], [1, 1]),
        # an order that was never displayed
        ([("T", "A", 9, 7), ("F", "B", 1, 5), ("F", "B", 8, 2)], [0, 1, 0], [0, 0, 0, 0], [1, 1]),
        # the aggressor's own fill is not a passive one
        ([("T", "A", 9, 5), ("F", "A", 9, 5), ("F", "B", 1, 5)], [1, 0, 0], [1, 1, 2, 2], [1, 1]),
        # two trades share one queue: 3 of the first, then its other 2 and 2 of the second
        (
            [("T", "A", 9, 3), ("F", "B", 1, 3), ("T", "A", 8, 4), ("F", "B", 1, 2), ("F", "B", 2, 2)],
            [2, 0, 0],
            [3, 3, 3, 3],
            [1, 1],
        ),
        # the second trade no longer finds what the first exhausted
        (
            [("T", "A", 9, 5), ("F", "B", 1, 5), ("T", "A", 8, 5), ("F", "B", 2, 5)],
            [2, 0, 0],
            [2, 2, 3, 3],
            [1, 1],
        ),
        # less filled than traded: implied or lost
        ([("T", "A", 9, 7), ("F", "B", 1, 5)], [0, 0, 1], [2, 1, 1, 1], [1, 0]),
        # nobody ahead was exhausted and nobody behind was filled
        ([("T", "A", 9, 4), ("F", "B", 1, 3)], [0, 0, 1], [1, 0, 2, 2], [1, 0]),
        # a buyer meets the asks, of which there are none
        ([("T", "B", 9, 1), ("F", "B", 1, 1)], [0, 1, 0], [0, 0, 0, 0], [1, 1]),
        # without an aggressor there is no queue to check
        ([("T", "N", 0, 4), ("F", "B", 1, 4)], [0, 0, 0], [0, 0, 0, 0], [0, 0]),
        ([("T", "N", 0, 4), ("T", "A", 9, 5), ("F", "B", 1, 5)], [1, 0, 0], [1, 1, 2, 2], [0, 0]),
    ],
)
def test_checks__of_one_event(
    event: list[Part], fifo: list[int], fill_rule: list[int], conservation: list[int]
) -> None:
    assert checks(event) == {"fifo": fifo, "fill_rule": fill_rule, "conservation": conservation}


AUCTION: list[Part] = [("T", "N", 0, 4), ("F", "N", 8, 4), ("F", "N", 7, 4)]
IMPLIED: list[Part] = [("T", "N", 0, 4)]
TRADE: list[Part] = [("T", "A", 9, 5), ("F", "B", 1, 5)]


@pytest.mark.parametrize(
    ("before", "step", "judged"),
    [(AUCTION, AUCTION_SETTLE_NS - 1, 0), (AUCTION, AUCTION_SETTLE_NS, 1), (IMPLIED, 1, 1)],
)
def test_fill_rule__leaves_out_the_second_after_an_auction(before: list[Part], step: int, judged: int) -> None:
    result = checks(before, TRADE, step=step)
    assert result["fifo"] == [1, 0, 0]
    assert result["fill_rule"] == [judged, judged, 2 * judged, 2 * judged]
