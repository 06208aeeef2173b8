"""Makes a session: its messages, its MBO records and its truth."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bt_gym.core import enums
from bt_gym.data import dbn, status
from bt_gym.data.synthetic import agenda, flow, lattice, truth, venue
from bt_gym.data.synthetic import exchange as exchanges
from bt_gym.data.synthetic import rng as random
from bt_gym.data.synthetic.lattice import Lattice
from bt_gym.data.synthetic.product import Product
from bt_gym.data.synthetic.profiles import PROFILES, SECOND, Profile, to_rules
from bt_gym.errors import CapacityError, ConfigError

FIRST_DAY = dt.date(2026, 1, 5)
OPENS = 14.5 * 3600
"""Second of the UTC day at which continuous trading begins."""

PRE_OPEN_SECONDS = 120.0
FIRST_ORDER_ID = 6_412_777_000_000
BUFFER = 1 << 18

CONTROLS = {
    "halt": venue.PHASE << 4 | enums.PHASE_HALT,
    "pre_open": venue.PHASE << 4 | enums.PHASE_PRE_OPEN,
    "auction": venue.PHASE << 4 | enums.PHASE_AUCTION,
    "clear": venue.CLEAR << 4,
    "snapshot": venue.SNAPSHOT << 4,
    "gap": venue.MUTE << 4,
    "suspect": venue.SUSPECT << 4,
}
"""What the exchange itself can be told to do; see `generate`."""


@dataclass(frozen=True)
class Session:
    """A synthetic session and its truth.

    `records` (R,) is what the feed publishes, `dbn.mbo_dtype`. `messages` (M,) is what the participants sent,
    `venue.message_dtype`: the market that would take an order of yours, if you had one in it.
    """

    profile: Product
    seed: int
    opens: int  # ns UTC: the auction
    ends: int  # ns UTC
    records: np.ndarray = field(repr=False)
    messages: np.ndarray = field(repr=False)
    exchange: np.ndarray = field(repr=False)  # (1,) of exchange_dtype, as the session leaves it

    def write(self, path: Path | str) -> None:
        """Writes the records as a DBN file, compressed if the name ends in `.zst`."""
        _write(path, self.records, self.profile)

    def write_days(self, folder: Path | str) -> list[Path]:
        """Writes one file for each UTC day of ts_recv, `SYMBOL_YYYY-MM-DD.mbo.dbn.zst`, as a vendor would."""
        days = self.records["ts_recv"] // dbn.NS_PER_DAY
        paths = []
        for day in np.unique(days):
            date = dt.date(1970, 1, 1) + dt.timedelta(days=int(day))
            paths.append(Path(folder) / f"{self.profile.symbol}_{date}.mbo.dbn.zst")
            _write(paths[-1], self.records[days == day], self.profile)
        return paths

    def write_status(self, path: Path | str) -> None:
        """Writes the true phases as a status file of the session's days, beginning with the pre-open."""
        day = int(self.records["ts_recv"][0]) // dbn.NS_PER_DAY * dbn.NS_PER_DAY
        last = max(self.ends, int(self.records["ts_recv"][-1]))
        phases = [(day, enums.PHASE_PRE_OPEN), *self.phases()]
        end = (last // dbn.NS_PER_DAY + 1) * dbn.NS_PER_DAY
        symbol, number = self.profile.symbol, self.profile.instrument_id
        status.write_status(path, phases, symbol=symbol, instrument_id=number, start=day, end=end)

    def phases(self) -> list[tuple[int, int]]:
        """When the market changed its phase: (ns, enums.PHASE_*); an auction is followed by continuous trading."""
        changes = self.messages[self.messages["kind"] == venue.PHASE]
        return [(int(ts), int(phase)) for ts, phase in zip(changes["ts"], changes["size"], strict=True)]

    def replay_with(self, orders: Sequence[truth.OwnOrder], horizon_seconds: float | None = None) -> list[np.ndarray]:
        """True fills of own orders: each alone in the market, the messages of all others as they were.

        Returns:
            For each order an array of `venue.fill_dtype` (ts_event ns, tick, size lots, maker 0 or 1).
        """
        horizon = truth.NEVER if horizon_seconds is None else int(horizon_seconds * SECOND)
        return truth.replay(_new_exchange(self.profile), self.messages, orders, horizon)

    def levels(self, side: int) -> list[tuple[int, int, int]]:
        """Final book of one side, best first: (tick, displayed lots, orders)."""
        exchange = self.exchange[0]
        rows = exchange["levels"][side]
        ticks = np.flatnonzero(rows["count"])[:: -1 if side == 0 else 1]
        return [(int(exchange["base"] + i), int(rows["size"][i]), int(rows["count"][i])) for i in ticks]

    def queue(self, side: int, tick: int) -> list[tuple[int, int]]:
        """Final queue at one price, front first: (order_id, displayed lots)."""
        exchange = self.exchange[0]
        first_id = int(exchange["feed"]["first_id"])
        slot = exchange["levels"][side, tick - int(exchange["base"])]["head"]
        queue = []
        while slot:
            order = exchange["orders"][slot]
            queue.append((first_id + int(order["number"]), int(order["size"])))
            slot = order["next"]
        return queue


def generate(
    seed: int,
    seconds: float,
    profile: str | Profile | Lattice = "es",
    *,
    day: int = 0,
    opens: float = OPENS,
    pre_open_seconds: float = PRE_OPEN_SECONDS,
    script: Sequence[tuple[float, str]] = (),
) -> Session:
    """Makes a session: snapshot, pre-open, opening auction, `seconds` of continuous trading.

    The same arguments give the same bytes on any machine, compiled or not.

    Args:
        seed: of all randomness, together with `day`.
        seconds: of continuous trading.
        profile: name of one of `PROFILES`, or a profile of your own.
        day: trading days after 2026-01-05; weekends are left out.
        opens: second of the UTC day at which the auction is.
        pre_open_seconds: from the snapshot to the auction.
        script: what the exchange does when, in seconds after the open. `halt`, `pre_open` and `auction` change the
            phase (the auction opens continuous trading); `gap` loses all records until `suspect`, which flags them
            F_MAYBE_BAD_BOOK until the next `snapshot`; `clear` drops all orders. A snapshot of the carried book at
            each midnight UTC needs no line.

    Raises:
        ConfigError: there is no such profile or script entry.
        CapacityError: the market outgrew the exchange.
    """
    if isinstance(profile, str):
        if profile not in PROFILES:
            raise ConfigError(f"profile is {profile!r}, but must be one of {', '.join(PROFILES)}")
        profile = PROFILES[profile]
    for _, name in script:
        if name not in CONTROLS:
            raise ConfigError(f"script has {name!r}, but knows only {', '.join(CONTROLS)}")
    opens_ts = trading_day(day) + int(opens * SECOND)
    start = opens_ts - int(pre_open_seconds * SECOND)
    ends = opens_ts + int(seconds * SECOND)
    exchanges = _new_exchange(profile)
    exchange = exchanges[0]
    random.seed_stream(exchange["feed"]["rng"], seed, f"feed/{day}")
    messages = np.zeros(BUFFER, venue.message_dtype)
    records = np.zeros(BUFFER, dbn.mbo_dtype)
    slots = np.zeros(BUFFER, np.int64)
    if isinstance(profile, Lattice):
        if script:
            raise ConfigError(f"profile {profile.name} takes no script: leave it out")
        run, rules = lattice.run, lattice.to_rules(profile)
        states = np.zeros(1, lattice.state_dtype)
        state = states[0]
        random.seed_stream(state["rng"], seed, f"flow/{day}")
        state["middle"] = profile.start_tick
        lattice.build(state, rules[0], exchange, messages, records, slots, start, opens_ts)
    else:
        run, rules = flow.run, to_rules(profile)
        states = np.zeros(1, agenda.flow_dtype)
        state = states[0]
        random.seed_stream(state["rng"], seed, f"flow/{day}")
        state["value"] = profile.start_tick * agenda.FINE + agenda.FINE // 2
        flow.begin(state, rules[0], start=start, opens=opens_ts, orders=profile.depth_orders)
        for after, name in script:
            agenda.schedule(state, opens_ts + int(after * SECOND), agenda.CONTROL, CONTROLS[name])
        for midnight in range((start // dbn.NS_PER_DAY + 1) * dbn.NS_PER_DAY, ends, dbn.NS_PER_DAY):
            agenda.schedule(state, midnight, agenda.CONTROL, CONTROLS["snapshot"])
    done_messages, done_records = [], []
    finished = False
    while not finished:
        finished = run(state, rules[0], exchange, messages, records, slots, ends)
        if exchange["full"] or state["full"]:
            raise CapacityError(
                f"profile {profile.name}: the market outgrew {venue.ORDERS - 1} orders, {venue.LEVELS} ticks, "
                f"{venue.STOPS} stops or {agenda.HEAP} planned events; lower its rates, lifetimes or length"
            )
        done_messages.append(messages[: state["messages"]].copy())
        done_records.append(records[: exchange["feed"]["count"]].copy())
        state["messages"] = 0
        exchange["feed"]["count"] = 0
        if not finished:
            slots = np.concatenate([slots, np.zeros_like(slots)]) if state["orders"] + 999 > len(slots) else slots
    return Session(
        profile, seed, opens_ts, ends, np.concatenate(done_records), np.concatenate(done_messages), exchanges
    )


def trading_day(day: int) -> int:
    """Midnight UTC of a trading day, ns: Monday 2026-01-05 and the weekdays after it."""
    date = FIRST_DAY + dt.timedelta(days=day // 5 * 7 + day % 5)
    return (date - dt.date(1970, 1, 1)).days * dbn.NS_PER_DAY


def _new_exchange(profile: Product) -> np.ndarray:
    return exchanges.new_exchange(
        base=profile.start_tick - venue.LEVELS // 2,
        tick_nanos=profile.tick_nanos,
        instrument_id=profile.instrument_id,
        first_id=FIRST_ORDER_ID,
        last_tick=profile.start_tick,
        pro_rata=isinstance(profile, Profile) and profile.pro_rata,
    )


def _write(path: Path | str, records: np.ndarray, profile: Product) -> None:
    dbn.write_mbo(path, records, symbol=profile.symbol, instrument_id=profile.instrument_id)
