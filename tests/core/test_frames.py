"""Stacks and scaling of features; pictures are tested on environments, against a slow twin."""

import numpy as np
import pytest

from bt_gym.core import frames
from bt_gym.core.features import LIMIT


def test_push__keeps_the_last_rows_and_begins_with_the_first_repeated():
    stack = np.zeros(6, np.float32)
    seen = []
    for number, is_first in ((1, True), (2, False), (3, False), (4, False), (5, True)):
        frames.push(stack, np.array([number, -number], np.float32), is_first)
        seen.append(stack[::2].tolist())
        assert np.array_equal(stack[1::2], -stack[::2])
    assert seen == [[1, 1, 1], [1, 1, 2], [1, 2, 3], [2, 3, 4], [5, 5, 5]]


def test_scale__subtracts_divides_and_cuts():
    row = np.array([3.0, -1.0, 9.0], np.float32)
    frames.scale(np.array([[1.0, 1 / 4], [0.0, 1.0], [0.0, 1 / 0.5]]), row)
    assert row.tolist() == [0.5, -1.0, LIMIT]


@pytest.mark.parametrize(("lots", "expected"), [(-5, 0), (0, 0), (1, 18), (10, 61), (1000, 176), (10**6, 255)])
def test_pixel__is_the_logarithm(lots: int, expected: int):
    assert frames.pixel(lots) == expected == min(255, round(25.5 * np.log1p(max(lots, 0))))
