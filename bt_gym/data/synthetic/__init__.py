"""The synthetic exchange: a matching engine with participants, seeded, that publishes genuine MBO records.

generate(seed, seconds, profile) -> Session
    rng        integers at random, the same everywhere
    feed       packets, clocks, flags: how events are published
    venue      the state of the exchange: messages, orders, queues
    matching   by price and time or pro-rata, stops, icebergs, self-match prevention
    auction    the uncross
    exchange   messages in, MBO records out
    agenda     what the participants plan
    flow       the participants: who sends which message when
    lattice    the participants of an Avellaneda-Stoikov market, and its optimum
    profiles   what kind of market
    truth      what an own order would have got
    session    all of it together, and its truth
"""

from bt_gym.data.synthetic.lattice import Lattice, optimum
from bt_gym.data.synthetic.profiles import PROFILES, Profile
from bt_gym.data.synthetic.session import Session, generate
from bt_gym.data.synthetic.truth import OwnOrder

__all__ = ["PROFILES", "Lattice", "OwnOrder", "Profile", "Session", "generate", "optimum"]
