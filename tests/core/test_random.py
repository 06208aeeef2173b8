"""Draws: the published vectors of Philox, and independence of everything that a draw isn't for."""

import math
from statistics import NormalDist

import pytest

from bt_gym.core import random


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ((0,) * 4, (0,) * 2, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
    ids=["zeros", "ones", "pi"],
)
def test_philox__gives_the_published_words(counter, key, words):
    """Known answers of Random123 for philox4x32-10."""
    assert random.philox(*counter, *key) == words


def test_uniform__every_argument_changes_the_draw():
    draws = {random.uniform(*arguments) for arguments in [(7, 1, 0, 3, 9), (8, 1, 0, 3, 9), (7, 2, 0, 3, 9)]}
    draws |= {random.uniform(7, 1, 1, 3, 9), random.uniform(7, 1, 0, 4, 9), random.uniform(7, 1, 0, 3, 10)}
    draws |= {random.uniform(7, 1, 0, 3 + (1 << 40), 9), random.uniform(7, 1, 0, 3, 9 + (1 << 40))}
    assert len(draws) == 8
    assert random.uniform(7, 1, 0, 3, 9) == random.uniform(7, 1, 0, 3, 9)
    assert all(0 < draw < 1 for draw in draws)


def test_uniform__is_spread_evenly():
    draws = sorted(random.uniform(1, 0, random.FILL, order, 0) for order in range(2000))
    worst = max(abs(draw - (i + 0.5) / 2000) for i, draw in enumerate(draws))
    assert worst < 1.63 / math.sqrt(2000)  # Kolmogorov and Smirnov, 1 %


def test_normal__has_the_quantiles_of_a_normal_distribution():
    draws = sorted(random.normal(1, 0, random.ENTRY, order, 0) for order in range(2000))
    worst = max(abs(NormalDist().cdf(draw) - (i + 0.5) / 2000) for i, draw in enumerate(draws))
    assert worst < 1.63 / math.sqrt(2000)
