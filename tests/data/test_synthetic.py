"""The synthetic exchange: same bytes from a seed, price-time matching as a slow twin does it, CME's event shapes."""

import copy
import hashlib
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from bt_gym.data import dbn, stylised
from bt_gym.data.synthetic import PROFILES, OwnOrder, Session, generate
from bt_gym.data.synthetic.profiles import ES
from bt_gym.errors import CapacityError, ConfigError
from tests.reference import matching
from tests.reference.book import Book, match_groups, to_records

EVEN = (1.0, 1.0, 1.0, 1.0)  # no quiet minutes

BUSY = replace(
    ES,
    name="busy",
    takes_per_second=3.0,
    quotes_per_second=4.0,
    regime_seconds=EVEN,
    iceberg=0.1,
    stop=0.15,
    cross=0.1,
    sweep=0.2,
    owners=8,
    depth_orders=200,
)
"""Everything happens often."""

THIN = replace(
    ES,
    name="thin",
    takes_per_second=3.0,
    quotes_per_second=4.0,
    regime_seconds=EVEN,
    depth_orders=200,
    depth_levels=30,
    iceberg=0.0,
)

SECOND = 1_000_000_000

SIDES = {ord("B"): 0, ord("A"): 1, ord("N"): 2}


@pytest.fixture(scope="module")
def es() -> Session:
    return generate(11, 60, THIN, pre_open_seconds=20)


@pytest.fixture(scope="module")
def busy() -> Session:
    return generate(12, 50, BUSY, pre_open_seconds=10)


@pytest.fixture(scope="module")
def pro_rata() -> Session:
    return generate(12, 30, replace(BUSY, name="pro-rata busy", pro_rata=True), pre_open_seconds=10)


@pytest.fixture(scope="module")
def stock() -> Session:
    return generate(17, 40, replace(PROFILES["stock"], regime_seconds=EVEN, depth_orders=200), pre_open_seconds=10)


@pytest.fixture(scope="module")
def lattice() -> Session:
    return generate(18, 60, "as", pre_open_seconds=1)


@pytest.fixture(scope="module", params=["es", "busy"])
def session(request: pytest.FixtureRequest) -> Session:
    return request.getfixturevalue(request.param)


def events(records: np.ndarray) -> list[np.ndarray]:
    """Records cut after each F_LAST."""
    ends = np.flatnonzero(records["flags"] & dbn.FLAG_LAST) + 1
    assert ends[-1] == len(records)
    return np.split(records, ends[:-1])


def live(session: Session) -> np.ndarray:
    """The records behind the snapshot."""
    return session.records[(session.records["flags"] & dbn.FLAG_SNAPSHOT) == 0]


def letters(event: np.ndarray) -> str:
    return bytes(event["action"]).decode()


def rebuild(records: np.ndarray) -> dict[int, tuple[int, int, int]]:
    """{order_id: (side, price, size)} by the meaning of A, C, M and R alone."""
    book: dict[int, tuple[int, int, int]] = {}
    for row in records:
        key, side, price, size = int(row["order_id"]), SIDES[row["side"]], int(row["price"]), int(row["size"])
        match chr(row["action"]):
            case "R":
                book.clear()
            case "A":
                assert key not in book
                book[key] = (side, price, size)
            case "M":
                assert book[key][0] == side
                book[key] = (side, price, size)
            case "C":
                assert book.pop(key) == (side, price, size)  # whole orders, at their price
    return book


def book_of(session: Session) -> dict[int, tuple[int, int, int]]:
    """The same of the exchange itself."""
    return {
        order: (side, tick * session.profile.tick_nanos, size)
        for side in (0, 1)
        for tick, _, _ in session.levels(side)
        for order, size in session.queue(side, tick)
    }


def digest(session: Session) -> str:
    return hashlib.sha256(session.records.tobytes() + session.messages.tobytes()).hexdigest()


# --- determinism


def test_generate__same_seed_same_bytes(es: Session) -> None:
    assert digest(generate(11, 60, THIN, pre_open_seconds=20)) == digest(es)


def test_generate__seeds_and_days_differ(es: Session) -> None:
    assert (
        len(
            {
                digest(es),
                digest(generate(12, 60, THIN, pre_open_seconds=20)),
                digest(generate(11, 60, THIN, pre_open_seconds=20, day=1)),
            }
        )
        == 3
    )


def test_generate__a_longer_session_begins_alike(es: Session) -> None:
    longer = generate(11, 70, THIN, pre_open_seconds=20)
    assert np.array_equal(longer.records[: len(es.records)], es.records)


GOLDEN = {
    "es": "6e5d98c5d9d08c78",
    "es_busy": "2e16adca7cc0235c",
    "stock": "8e225977910a134d",
    "pro_rata": "ed02e59c736910b2",
    "as": "e078f617f5824150",
}
"""First digits of the sha256 of the records; a change of the market is deliberate and goes into the changelog."""


@pytest.mark.parametrize("name", GOLDEN)
def test_generate__the_same_bytes_on_every_machine(name: str) -> None:
    assert hashlib.sha256(generate(7, 60, name).records.tobytes()).hexdigest()[:16] == GOLDEN[name]


def test_generate__without_jit_same_bytes() -> None:
    program = (
        "import hashlib\n"
        "from dataclasses import replace\n"
        "from bt_gym.data.synthetic import generate\n"
        "from tests.data.test_synthetic import BUSY\n"
        "session = generate(5, 3, replace(BUSY, depth_orders=120), pre_open_seconds=3)\n"
        "print(hashlib.sha256(session.records.tobytes() + session.messages.tobytes()).hexdigest())\n"
    )
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == digest(generate(5, 3, replace(BUSY, depth_orders=120), pre_open_seconds=3))


def test_generate__buffers_may_be_small(es: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bt_gym.data.synthetic.session.BUFFER", 1 << 15)
    assert digest(generate(11, 60, THIN, pre_open_seconds=20)) == digest(es)


def test_generate__unknown_profile_is_refused() -> None:
    with pytest.raises(ConfigError, match="profile is 'moon', but must be one of es"):
        generate(1, 1, "moon")


def test_generate__a_market_that_outgrows_the_exchange_is_refused() -> None:
    with pytest.raises(CapacityError, match="profile es: the market outgrew"):
        generate(1, 1, replace(ES, depth_orders=40_000))


# --- matching, against the twin


@pytest.mark.parametrize("name", ["es", "busy", "pro_rata", "stock", "lattice"])
def test_exchange__trades_fills_and_changes_equal_the_twin(name: str, request: pytest.FixtureRequest) -> None:
    session = request.getfixturevalue(name)
    first_id = int(session.exchange[0]["feed"]["first_id"])
    tick_nanos = session.profile.tick_nanos
    published = {int(event[0]["ts_event"]): event for event in events(live(session))}
    twin = matching.Exchange(pro_rata=name == "pro_rata")
    twin.last_tick = session.profile.start_tick
    silent = True
    for message in session.messages:
        if message["kind"] == matching.SNAPSHOT:
            silent = False
            continue
        expected = twin.process(message)
        if silent:
            continue
        event = published.pop(int(message["ts"]), np.zeros(0, dbn.mbo_dtype))
        trades, changes = [], set()
        for row in event:
            number = int(row["order_id"]) - first_id if row["order_id"] else None
            tick, off = divmod(int(row["price"]), tick_nanos)
            assert off == 0
            match chr(row["action"]):
                case "T":
                    side = SIDES[row["side"]]
                    trades.append([number, tick, int(row["size"]), [], side if side < 2 else None])
                case "F":
                    if number == trades[-1][0]:
                        assert row["size"] == trades[-1][2]
                    else:
                        trades[-1][3].append((number, int(row["size"])))
                case action:
                    changes.add((action, SIDES[row["side"]], number, tick, int(row["size"])))
        assert trades == expected.trades
        assert changes == expected.changes
    assert not published
    for side in (0, 1):
        levels = session.levels(side)
        assert levels
        for tick, size, count in levels:
            queue = [(order - first_id, lots) for order, lots in session.queue(side, tick)]
            assert queue == twin.queue(side, tick)
            assert (size, count) == (sum(lots for _, lots in queue), len(queue))


def test_session__final_queues_equal_a_rebuild_from_the_records(session: Session) -> None:
    book = Book()
    for group in match_groups(to_records(session.records)):
        book.begin_event()
        for record in group:
            book.apply(record)
    assert book.anomalies.total() == 0
    for side in (0, 1):
        for tick, _, _ in session.levels(side):
            queue = book.queue("BA"[side], tick * session.profile.tick_nanos)
            assert list(queue.items()) == session.queue(side, tick)


def test_session__final_book_equals_a_rebuild_from_the_records(session: Session) -> None:
    assert rebuild(session.records) == book_of(session)


# --- the shapes of CME's feed


def test_records__snapshot_is_a_clear_and_adds_by_age(session: Session) -> None:
    snapshot = session.records[: -len(live(session))]
    assert letters(snapshot[:1]) == "R"
    assert set(letters(snapshot[1:])) == {"A"}
    assert (snapshot[0]["price"], snapshot[0]["size"], snapshot[0]["order_id"]) == (dbn.UNDEF_PRICE, 0, 0)
    assert set(snapshot["flags"][:-1]) == {dbn.FLAG_SNAPSHOT | dbn.FLAG_BAD_TS_RECV}
    assert snapshot["flags"][-1] == 168
    assert np.all(np.diff(snapshot["ts_event"]) >= 0)
    assert np.all(snapshot["ts_event"] < snapshot["ts_recv"])
    assert len(set(snapshot["ts_recv"])) == 1


def test_records__one_ts_event_per_event_rising_between_them(session: Session) -> None:
    for event in events(live(session)):
        assert len(set(event["ts_event"])) == 1
        assert not np.any(event["flags"][:-1])
    assert np.all(np.diff([event["ts_event"][0] for event in events(live(session))]) > 0)


def test_records__clocks_are_plausible(session: Session) -> None:
    records = live(session)
    assert np.all(np.diff(session.records["ts_recv"]) >= 0)
    assert np.all(np.diff(records["sequence"].astype("i8")) >= 0)
    delay = records["ts_recv"] - records["ts_event"]
    assert np.all(delay > records["ts_in_delta"])
    assert np.all(records["ts_in_delta"] > 0)
    later = records["ts_event"] > session.opens + 1_000_000_000
    adds, trades = (delay[later & (records["action"] == ord(letter))] for letter in "AT")
    assert 80_000 < np.median(adds) < 200_000
    assert 300_000 < np.median(trades) < 600_000


def test_records__trades_come_first_and_are_received_first(session: Session) -> None:
    seen = 0
    for event in events(live(session)):
        actions = letters(event)
        if "T" not in actions:
            assert len(event) == actions.count("A") + actions.count("C") + actions.count("M")
            continue
        seen += 1
        assert actions[0] == "T"
        updates = len(actions.rstrip("ACM"))
        assert set(actions[:updates]) <= set("TF")
        assert updates < len(actions)
        assert np.max(event["ts_recv"][:updates]) < event["ts_recv"][updates]
        assert np.max(event["sequence"][:updates]) < event["sequence"][updates]
    assert seen > 40


def test_records__bids_are_updated_before_asks(session: Session) -> None:
    two_sided = 0
    for event in events(live(session)):
        sides = bytes(event["side"][np.isin(event["action"], [ord(c) for c in "ACM"])]).decode()
        assert sides == "B" * sides.count("B") + "A" * sides.count("A")
        two_sided += "BA" in sides
    assert two_sided > 5


def test_records__fills_of_resting_orders_sum_to_the_trades(session: Session) -> None:
    for event in events(live(session)):
        traded = event[event["action"] == ord("T")]
        fills = event[event["action"] == ord("F")]
        resting = fills[~np.isin(fills["order_id"], traded["order_id"])]
        auction = len(traded) > 0 and traded[0]["side"] == ord("N")
        assert resting["size"].sum() == traded["size"].sum() * (2 if auction else 1)


def test_records__full_fills_are_cancels_and_partial_fills_are_modifies(es: Session) -> None:
    book = rebuild(es.records[: -len(live(es))])
    partial = 0
    for event in events(live(es)):
        filled: dict[int, int] = {}
        for row in event[event["action"] == ord("F")]:
            filled[int(row["order_id"])] = filled.get(int(row["order_id"]), 0) + int(row["size"])
        changed = {int(row["order_id"]): row for row in event if chr(row["action"]) in "CM"}
        for order, size in filled.items():
            row, displayed = changed[order], book[order][2]
            assert chr(row["action"]) == ("C" if size == displayed else "M")
            assert row["size"] == (displayed if size == displayed else displayed - size)
            partial += size < displayed
        for row in event:
            key = int(row["order_id"])
            match chr(row["action"]):
                case "C":
                    del book[key]
                case "A" | "M":
                    book[key] = (SIDES[row["side"]], int(row["price"]), int(row["size"]))
    assert partial > 20


def test_records__remainder_of_an_aggressor_is_an_add_of_the_same_event(session: Session) -> None:
    found = 0
    for event in events(live(session)):
        aggressors = {int(row["order_id"]) for row in event if row["action"] == ord("T") and row["order_id"]}
        added = {int(row["order_id"]) for row in event if row["action"] == ord("A")}
        if aggressors:
            assert added <= aggressors
            found += bool(added)
    assert found > 2


# --- phases


def test_session__auction_uncrosses_a_crossed_pre_open(session: Session) -> None:
    crossed_before = crossed_after = 0
    book: dict[int, tuple[int, int, int]] = {}
    auctions = 0
    for event in events(session.records):
        if chr(event[0]["action"]) == "T" and event[0]["side"] == ord("N"):
            auctions += 1
            assert int(event[0]["ts_event"]) == session.opens
            assert event[0]["order_id"] == 0
            fills = event[event["action"] == ord("F")]
            assert set(bytes(fills["side"])) == {ord("N")}
            assert set(fills["price"]) == {event[0]["price"]}
            assert event[-1]["flags"] == dbn.FLAG_LAST
        for row in event:
            key = int(row["order_id"])
            match chr(row["action"]):
                case "C":
                    del book[key]
                case "A" | "M":
                    book[key] = (SIDES[row["side"]], int(row["price"]), int(row["size"]))
        bid = max(price for side, price, _ in book.values() if side == 0)
        ask = min(price for side, price, _ in book.values() if side == 1)
        if bid >= ask:
            crossed_before += int(event[0]["ts_event"]) < session.opens
            crossed_after += int(event[0]["ts_event"]) >= session.opens
    assert auctions == 1
    assert crossed_before > 10
    assert crossed_after == 0


def test_session__nothing_trades_before_the_open(session: Session) -> None:
    trades = session.records[session.records["action"] == ord("T")]
    assert int(trades["ts_event"].min()) == session.opens
    assert np.sum(trades["ts_event"] == session.opens) == 1


def halted() -> Session:
    script = [(20.0, "halt"), (40.0, "pre_open"), (60.0, "auction")]
    return generate(13, 90, BUSY, pre_open_seconds=30, script=script)


def test_session__a_halt_is_silent_and_ends_with_an_auction() -> None:
    session = halted()
    after = (session.records["ts_event"] - session.opens) / 1e9
    assert not np.any((after > 20) & (after < 40))
    assert np.any((after > 40) & (after < 60))
    traded = after[session.records["action"] == ord("T")]
    assert not np.any((traded > 20) & (traded < 60))
    assert np.any(traded > 60)
    unsided = session.records[(session.records["action"] == ord("T")) & (session.records["side"] == ord("N"))]
    assert list(unsided["ts_event"]) == [session.opens, session.opens + 60 * 10**9]
    assert [phase for _, phase in session.phases()] == [2, 4, 1, 2]


def test_session__a_gap_is_flagged_until_the_book_is_restored() -> None:
    session = generate(14, 60, THIN, script=[(20.0, "gap"), (25.0, "suspect"), (30.0, "snapshot")])
    records = session.records
    after = (records["ts_recv"] - session.opens) / 1e9
    assert not np.any((after > 20.1) & (after < 25))
    suspect = (records["flags"] & dbn.FLAG_MAYBE_BAD_BOOK) > 0
    assert after[suspect].min() < 26
    assert np.array_equal(suspect, (after >= after[suspect].min()) & (after < 30))
    restored = np.flatnonzero(records["action"] == ord("R"))[-1]
    assert after[restored] == pytest.approx(30)
    assert book_of(session) == rebuild(records[restored:])
    steps = np.diff(records["sequence"][np.flatnonzero(~suspect & (after > 0) & (after < 26))].astype("i8"))
    lost = generate(14, 60, THIN).records
    assert len(lost) > len(records) - 2 * len(rebuild(records[restored:]))
    assert np.all(steps <= 1)


def test_session__midnight_restores_the_carried_book(tmp_path) -> None:
    session = generate(15, 60, THIN, opens=24 * 3600 - 30.0)
    midnight = session.opens + 30 * 10**9
    first, second = np.split(session.records, [np.searchsorted(session.records["ts_recv"], midnight)])
    assert chr(second[0]["action"]) == "R"
    snapshot = second[(second["flags"] & dbn.FLAG_SNAPSHOT) > 0]
    assert rebuild(first) == rebuild(snapshot)
    assert rebuild(second) == book_of(session)
    assert [path.name for path in session.write_days(tmp_path)] == [
        "SYNH6_2026-01-05.mbo.dbn.zst",
        "SYNH6_2026-01-06.mbo.dbn.zst",
    ]


def test_session__a_clear_empties_the_book() -> None:
    session = generate(16, 30, THIN, script=[(20.0, "clear")])
    clears = np.flatnonzero(session.records["action"] == ord("R"))
    assert session.records[clears[-1]]["flags"] == 130
    assert book_of(session) == rebuild(session.records[clears[-1] :])
    assert len(session.levels(0)) > 0


def test_generate__unknown_script_entry_is_refused() -> None:
    with pytest.raises(ConfigError, match="script has 'stop', but knows only halt"):
        generate(1, 1, script=[(0.5, "stop")])


# --- own orders


def own_orders(session: Session, number: int) -> list[OwnOrder]:
    """Orders near the touch at regular times of the session."""
    rows = session.messages[(session.messages["kind"] == 0) & (session.messages["ts"] > session.opens + 10**9)]
    picked = rows[:: len(rows) // number][:number]
    return [
        OwnOrder(int(row["ts"]) + 500, int(row["side"]), int(row["tick"]), 1 + i % 4) for i, row in enumerate(picked)
    ]


def test_replay_with__equals_the_twin_with_the_order_in_it(busy: Session) -> None:
    orders = own_orders(busy, 10)
    horizon = 4.0
    truths = busy.replay_with(orders, horizon)
    own = int(busy.messages["order"].max()) + 1
    assert sum(len(fills) for fills in truths) > 5
    twin = matching.Exchange()
    twin.last_tick = busy.profile.start_tick
    place = 0
    rows = busy.messages[busy.messages["kind"] < matching.SNAPSHOT]
    for order, fills in zip(orders, truths, strict=True):
        while place < len(rows) and rows[place]["ts"] <= order.ts:
            twin.process(rows[place])
            place += 1
        fork = copy.deepcopy(twin)
        message = {"order": own, "kind": matching.NEW, "show": 0, "owner": 0, "trigger": 0}
        event = fork.process(message | {"side": order.side, "tick": order.tick, "size": order.size})
        expected = [(order.ts, t[1], t[2], 0) for t in event.trades if t[0] == own]
        for row in rows[place:]:
            if row["ts"] > order.ts + horizon * 1e9:
                break
            for trade in fork.process(row).trades:
                expected += [(int(row["ts"]), trade[1], size, 1) for number, size in trade[3] if number == own]
        assert [tuple(int(v) for v in fill) for fill in fills] == expected


def test_replay_with__a_later_place_in_the_queue_fills_no_earlier(es: Session) -> None:
    early = own_orders(es, 40)
    late = [replace(order, ts=order.ts + 10**9) for order in early]
    for first, second in zip(es.replay_with(early), es.replay_with(late), strict=True):
        waited = [row for row in first if row["maker"]]
        if len(second) and second[0]["maker"] and len(waited):
            assert waited[0]["ts_event"] <= second[0]["ts_event"]


def test_replay_with__nothing_after_the_cancel(es: Session) -> None:
    orders = own_orders(es, 30)
    free = es.replay_with(orders)
    cancelled = es.replay_with([replace(order, cancel_ts=order.ts + 2 * 10**9) for order in orders])
    for order, all_fills, fills in zip(orders, free, cancelled, strict=True):
        assert np.array_equal(fills, all_fills[all_fills["ts_event"] <= order.ts + 2 * 10**9])


def test_replay_with__far_away_never_fills(es: Session) -> None:
    order = OwnOrder(es.opens + 10**9, 0, es.profile.start_tick - 2000, 5)
    assert len(es.replay_with([order])[0]) == 0


# --- the market


def test_es__is_a_large_tick_market_that_neither_dries_out_nor_explodes() -> None:
    session = generate(21, 1200)
    per_minute = len(live(session)) / 22
    assert 1000 < per_minute < 6000
    spreads, sizes, mids = quotes(session)
    assert np.mean(spreads == 1) > 0.95
    assert 10 < np.mean(sizes) < 60
    assert 600 < session.exchange[0]["orders_live"] < 4000
    assert np.std(np.diff(mids[::60])) > 0.5  # ticks a minute


def quotes(session: Session) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Spread in ticks, lots at the touch and mid in ticks, second by second after the open."""
    spreads, sizes, mids = [], [], []
    levels: tuple[dict[int, int], dict[int, int]] = ({}, {})
    book: dict[int, tuple[int, int, int]] = {}
    clock = session.opens + 1_000_000_000
    for event in events(session.records):
        while clock <= int(event[0]["ts_event"]):
            bid, ask = max(levels[0]), min(levels[1])
            spreads.append((ask - bid) // session.profile.tick_nanos)
            sizes += [levels[0][bid], levels[1][ask]]
            mids.append((bid + ask) / 2 / session.profile.tick_nanos)
            clock += 1_000_000_000
        for row in event:
            key = int(row["order_id"])
            action = chr(row["action"])
            if action in "CM":
                side, price, size = book.pop(key)
                levels[side][price] -= size
                if not levels[side][price]:
                    del levels[side][price]
            if action in "AM":
                side, price, size = SIDES[row["side"]], int(row["price"]), int(row["size"])
                book[key] = (side, price, size)
                levels[side][price] = levels[side].get(price, 0) + size
    return np.array(spreads), np.array(sizes), np.array(mids)


def test_stock__is_a_small_tick_market() -> None:
    session = generate(22, 900, "stock")
    spreads, _, _ = quotes(session)
    assert 1.8 < np.mean(spreads) < 5
    assert len(set(spreads)) >= 4


@pytest.fixture(scope="module")
def es_busy() -> Session:
    return generate(23, 1200, "es_busy")


def test_es_busy__is_dense(es_busy: Session) -> None:
    """What the published speeds of other engines were measured on."""
    records = live(es_busy)
    assert 750 < len(records) / 1320 < 1000
    mix = {letter: np.mean(records["action"] == ord(letter)) for letter in "ACMTF"}
    expected = {"A": 0.4, "C": 0.4, "M": 0.08, "T": 0.03, "F": 0.1}
    assert mix == pytest.approx(expected, abs=0.02)
    assert 5000 < es_busy.exchange[0]["orders_live"] < 7500
    sessions = [generate(23, seconds, "es_busy") for seconds in (300, 600, 900)] + [es_busy]
    counts = [count for at in sessions for side in (0, 1) for _, _, count in at.levels(side)[:5]]
    assert 70 < np.median(counts) < 130


@pytest.mark.parametrize("name", ["es", "stock", "es_busy"])
def test_profiles__passive_fills_suffer_adverse_selection(name: str, request: pytest.FixtureRequest) -> None:
    session = request.getfixturevalue(name) if name == "es_busy" else generate(23, 7200, name)
    facts = stylised.measure(stylised.observe(session.records, session.profile.tick_nanos, session.opens + SECOND))
    assert facts["markout"]["1"] < 0
    assert facts["markout"]["10"] < 0
    assert facts["response"]["1"] > 0


@pytest.mark.parametrize("seed", range(1, 9))
def test_es__passive_fills_lose_in_every_hour(seed: int) -> None:
    session = generate(seed, 3600)
    seen = stylised.observe(session.records, session.profile.tick_nanos, session.opens + SECOND)
    markout = stylised.measure(seen)["markout"]
    assert markout["1"] < 0
    assert markout["10"] < 0


def test_es__has_the_stylised_facts() -> None:
    session = generate(24, 14_400)
    facts = stylised.measure(stylised.observe(session.records, session.profile.tick_nanos, session.opens + SECOND))
    assert facts["spread"]["1"] > 0.95
    assert facts["return_kurtosis"]["1"] > 10 > facts["return_kurtosis"]["60"] > 3  # tends to a normal law
    assert abs(facts["return_acf"][0]) < 0.1
    assert min(facts["absolute_acf"]) > 0.02  # volatility clusters
    assert 2 < facts["tail_exponent"] < 7
    assert 0.2 < facts["sign_memory"] < 1.0
    assert facts["sign_acf"]["1"] > facts["sign_acf"]["5"] > facts["sign_acf"]["20"] > 0
    assert facts["volume_volatility"] > 0.3
    assert 0.4 < facts["impact_exponent"] < 0.7
    assert facts["depth"][0] < max(facts["depth"]) > facts["depth"][-1]  # hump
    assert facts["lifetime"]["p10"] < 0.01 < 10 < facts["lifetime"]["p90"]
    assert facts["gap"]["p1"] < 1e-4 < 1e-2 < facts["gap"]["p90"]
    variance = facts["variance_ratio"]
    assert 0.7 < variance["60"] / variance["1"] < 1.4  # the price diffuses


def test_es__takers_without_information_lose() -> None:
    session = generate(25, 7200)
    quotes_seen = stylised.observe(session.records, session.profile.tick_nanos, session.opens + SECOND).quotes
    start, end = int(quotes_seen["ts"][0]), int(quotes_seen["ts"][-1]) - 10 * SECOND
    at = np.searchsorted(quotes_seen["ts"], np.arange(start, end, SECOND), side="right") - 1
    later = np.searchsorted(quotes_seen["ts"], np.arange(start, end, SECOND) + 10 * SECOND, side="right") - 1
    buys = quotes_seen["bid"][later] - quotes_seen["ask"][at]
    sells = quotes_seen["bid"][at] - quotes_seen["ask"][later]
    assert buys.mean() < -0.5
    assert sells.mean() < -0.5


def test_session__writes_genuine_dbn(es: Session, tmp_path) -> None:
    databento_dbn = pytest.importorskip("databento_dbn")
    path = tmp_path / "session.mbo.dbn"
    es.write(path)
    decoder = databento_dbn.DBNDecoder()
    decoder.write(path.read_bytes())
    decoded = decoder.decode()
    metadata, rows = decoded[0], decoded[1:]
    assert metadata.symbols == ["SYNH6"]
    assert len(rows) == len(es.records)
    assert (rows[7].order_id, rows[7].price) == (int(es.records[7]["order_id"]), int(es.records[7]["price"]))


def test_profiles__have_names() -> None:
    assert all(name == profile.name for name, profile in PROFILES.items())
