"""Random numbers of the synthetic exchange: integers only, so that a seed gives the same market on every machine.

The generator is sfc32 (Chris Doty-Humphrey, PractRand): four 32-bit words, one of them a counter. Words are kept in
int64 fields and masked, so that compiled and interpreted code can't differ by overflow. No float and no libm takes part
in a draw; tables of quantiles are made with integers and `decimal`, whose logarithm is the same everywhere.
"""

import hashlib
from collections.abc import Mapping
from decimal import Decimal, localcontext

import numpy as np

from bt_gym._jit import njit

rng_dtype = np.dtype([("a", "<i8"), ("b", "<i8"), ("c", "<i8"), ("counter", "<i8")])
"""State of one stream: four 32-bit words."""

WORD = 0xFFFFFFFF
ONE = 1 << 16
"""Probabilities, factors and unit means are integers over `ONE`."""

EXPONENTIAL_BITS = 10
LOOKUP_BITS = 12
exponential_shape = ((1 << EXPONENTIAL_BITS) + 1,)
lookup_shape = (1 << LOOKUP_BITS,)


def seed_stream(rng: np.void, seed: int, stream: str) -> None:
    """Starts a stream of its own for each `(seed, stream)`."""
    digest = hashlib.sha256(f"{seed}/{stream}".encode()).digest()
    for i, name in enumerate(("a", "b", "c")):
        rng[name] = int.from_bytes(digest[4 * i : 4 * i + 4], "little")
    rng["counter"] = 1


@njit
def next_word(rng) -> int:
    """32 random bits."""
    a, b, c, counter = rng["a"], rng["b"], rng["c"], rng["counter"]
    word = (a + b + counter) & WORD
    rng["counter"] = (counter + 1) & WORD
    rng["a"] = b ^ (b >> 9)
    rng["b"] = (c + (c << 3)) & WORD
    rng["c"] = ((((c << 21) | (c >> 11)) & WORD) + word) & WORD
    return word


@njit
def below(rng, bound: int) -> int:
    """Uniform on 0 .. bound - 1, for a bound up to 2**31."""
    return (next_word(rng) * bound) >> 32


@njit
def chance(rng, probability: int) -> bool:
    """True with probability `probability / ONE`."""
    return (next_word(rng) >> 16) < probability


@njit
def count(rng, mean: int) -> int:
    """An integer with expectation `mean / ONE`: the two nearest ones, the least random choice."""
    return (mean + (next_word(rng) >> 16)) >> 16


@njit
def exponential(rng, table, mean: int) -> int:
    """Exponential with the given mean (up to 2**43), from the quantiles of `exponential_table`."""
    word = next_word(rng)
    i = word >> (32 - EXPONENTIAL_BITS)
    low, high = table[i], table[i + 1]
    unit = low + (((high - low) * ((word >> 6) & (ONE - 1))) >> 16)
    return (unit * mean) >> 16


@njit
def octaves(rng, least: int, number: int) -> int:
    """Log-uniform from `least` to `least * 2**number`: every octave as likely as the next, uniform inside it."""
    word = next_word(rng)
    octave = ((word >> 16) * number) >> 16
    base = least << octave
    return base + ((base * (word & (ONE - 1))) >> 16)


@njit
def lookup(rng, table) -> int:
    """One entry of a `lookup_table`, all equally likely."""
    return table[next_word(rng) >> (32 - LOOKUP_BITS)]


def exponential_table() -> np.ndarray:
    """Quantiles of the exponential distribution with mean `ONE`; the last is that of 1 - 2**-14."""
    size = 1 << EXPONENTIAL_BITS
    with localcontext() as context:
        context.prec = 15
        values = [int(-(1 - Decimal(i) / size).ln() * ONE) for i in range(size)]
        return np.array([*values, int(Decimal(1 << 14).ln() * ONE)], np.int64)


def pareto_table(p: int, q: int, scale: int) -> np.ndarray:
    """`scale * (1 - u) ** (-p / q)` rounded down, at the middles u of `2**LOOKUP_BITS` equal slices of (0, 1).

    A power law with the tail exponent q / p.
    """
    size = 2 << LOOKUP_BITS
    return np.array([_root(size**p * scale**q // k**p, q) for k in range(size - 1, 0, -2)], np.int64)


def weighted_table(weights: Mapping[int, int]) -> np.ndarray:
    """Values in proportion to their weights; a value rarer than `2**-LOOKUP_BITS` may be missing."""
    size = 2 << LOOKUP_BITS
    total = sum(weights.values())
    table: list[int] = []
    seen = 0
    for value in sorted(weights):
        seen += weights[value]
        while len(table) < size // 2 and (2 * len(table) + 1) * total < seen * size:
            table.append(value)
    return np.array(table, np.int64)


def _root(number: int, q: int) -> int:
    """The q-th root of a positive integer, rounded down, exactly."""
    root = 1 << -(-number.bit_length() // q)
    while True:
        better = ((q - 1) * root + number // root ** (q - 1)) // q
        if better >= root:
            return root
        root = better
