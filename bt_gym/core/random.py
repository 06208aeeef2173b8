"""Random numbers without a state: a draw is a function of what it is for, so that no other draw can change it.

Philox4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011). The key is (seed,
account), the counter is (purpose, order or request, event): the same draw whatever the batch, the threads or the chunks
in which a session is run. Words are masked integers, so that compiled and interpreted code agree to the bit.
"""

import math

from bt_gym._jit import njit

FILL = 0  # purposes: whether a trade at our price reaches an order
ENTRY = 1  # latency of a request
RESPONSE = 2  # latency of what comes back

_WORD = 0xFFFFFFFF
_ROUNDS = 10


@njit
def philox(c0: int, c1: int, c2: int, c3: int, k0: int, k1: int) -> tuple[int, int, int, int]:
    """Four random words of 32 bits for a counter of four words and a key of two."""
    for _ in range(_ROUNDS):
        # The signed product wraps where it is compiled; the masks take the same bits either way.
        low, high = 0xD2511F53 * int(c0), 0xCD9E8D57 * int(c2)
        c0, c1, c2, c3 = ((high >> 32) & _WORD) ^ c1 ^ k0, high & _WORD, ((low >> 32) & _WORD) ^ c3 ^ k1, low & _WORD
        k0, k1 = (k0 + 0x9E3779B9) & _WORD, (k1 + 0xBB67AE85) & _WORD
    return c0, c1, c2, c3


@njit
def _words(seed: int, account: int, purpose: int, order: int, event: int) -> tuple[int, int, int, int]:
    number, event = int(order), int(event)
    high = ((number >> 32) & 0xFFFFFF) << 8 | purpose
    return philox(number & _WORD, high, event & _WORD, (event >> 32) & _WORD, int(seed) & _WORD, int(account) & _WORD)


@njit
def uniform(seed: int, account: int, purpose: int, order: int, event: int) -> float:
    """A number in the open interval (0, 1), a multiple of 2**-53 but for the half that keeps it off 0."""
    a, b, _, _ = _words(seed, account, purpose, order, event)
    return ((a >> 6) * 134217728.0 + (b >> 5) + 0.5) / 9007199254740992.0


@njit
def normal(seed: int, account: int, purpose: int, order: int, event: int) -> float:
    """A standard normal number (Box and Muller, 1958)."""
    a, b, c, d = _words(seed, account, purpose, order, event)
    radius = ((a >> 6) * 134217728.0 + (b >> 5) + 0.5) / 9007199254740992.0
    angle = ((c >> 6) * 134217728.0 + (d >> 5)) / 9007199254740992.0
    return math.sqrt(-2.0 * math.log(radius)) * math.cos(2.0 * math.pi * angle)
