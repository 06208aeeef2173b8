"""Whole backtests: the pipeline of the original design, traces back to the source, no look into the future."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from bt_gym import (
    BacktestConfig,
    Backtester,
    EnhancedMomentum,
    EventKind,
    ReplaySpeed,
    SimpleMovingAverageCrossover,
    StrategyOutput,
)
from bt_gym.backtest.backtester import _money
from bt_gym.data import dbn
from bt_gym.data.tape import ingest
from bt_gym.errors import BtGymError, ConfigError, InstrumentError, NotBuiltError, TapeError
from tests.reference.book import Book, match_groups, to_records
from tests.runs import Busy, Run, Script, backtest, once, settings, synthetic

TICK_NANOS = 250_000_000


@pytest.fixture(scope="module")
def busy(session_file: Path, tmp_path_factory) -> Run:
    """A run of a random strategy with many orders of all kinds, its files written."""
    config = settings(output=tmp_path_factory.mktemp("results"))
    run = backtest(session_file, Busy(1), config=config)
    run.backtester.write(run.report)
    return run


def output(run: Run, kind: str):
    return pq.read_table(getattr(run.backtester.config.backtest.output, f"{kind}_file"))


def test_full_backtest_pipeline(session_file: Path):
    config = BacktestConfig.from_file("tests/test_config.yaml")
    backtester = Backtester(config, files=[session_file], tape_folder=session_file.parent / "tapes")
    backtester.add_strategy("ma_cross", SimpleMovingAverageCrossover(10, 20))
    report = backtester.run()
    assert report.total_trades > 0
    assert np.isfinite(report.sharpe_ratio)


def check_traces(trades: list[dict], source: np.ndarray) -> None:
    """Maker: a trade or an order came to its price in these records. Taker: the price was shown after them."""
    books = _books_after({row["source_record_end"] for row in trades}, source)
    for row in trades:
        records = source[row["source_record_first"] : row["source_record_end"]]
        price = row["price_ticks"] * TICK_NANOS
        side = 1 if row["side"] == "buy" else -1
        opposite = dbn.SIDE_ASK if side > 0 else dbn.SIDE_BID
        if row["liquidity"] == "maker":
            came = np.isin(records["action"], (dbn.ACTION_TRADE, dbn.ACTION_ADD, dbn.ACTION_MODIFY))
            assert (came & (records["side"] == opposite) & (side * records["price"] <= side * price)).any(), row
            assert row["ts_event"] == records["ts_event"][-1], row
        else:
            assert price in books[row["source_record_end"]]["A" if side > 0 else "B"], row
            assert row["ts_event"] >= records["ts_event"][-1], row


def _books_after(ends: set[int], source: np.ndarray) -> dict[int, dict]:
    """Prices shown per side after that many source records, by the reference book."""
    book, found, count = Book(), {}, 0
    for group in match_groups(to_records(source)):
        book.begin_event()
        for record in group:
            book.apply(record)
        count += len(group)
        if count in ends:
            found[count] = {side: {level.price for level in book.depth(side, 10_000)} for side in "BA"}
    return found


def test_fills__can_be_traced_to_source_records(busy: Run):
    trades = output(busy, "trades").to_pylist()
    assert {row["liquidity"] for row in trades} == {"maker", "taker"}
    check_traces(trades, synthetic().records)


@pytest.mark.real_data
def test_fills__can_be_traced_on_real_data(real_data, tmp_path: Path):
    path = real_data("ESH4_2023-12-25.mbo.dbn.zst")
    strategy = Busy(1, EventKind.TRADE)
    run = backtest(path, strategy, config=settings(output=tmp_path), tapes=tmp_path)
    run.backtester.write(run.report)
    trades = output(run, "trades").to_pylist()
    assert len(trades) > 200
    assert {row["liquidity"] for row in trades} == {"maker", "taker"}
    file = dbn.open_dbn(path)
    check_traces(trades, np.concatenate(list(file.chunks(file.select()))))


def test_books__balance_to_the_last_micro(busy: Run):
    for row in output(busy, "metrics").to_pylist():
        left = row["realised_micros"] + row["unrealised_micros"] - row["fees_micros"]
        assert left == row["cash_micros"] + row["position_value_micros"] - row["fees_micros"]
        assert left == round(row["total_pnl"] * 1e6)
    trades = output(busy, "trades").to_pylist()
    cash = -sum((1 if row["side"] == "buy" else -1) * row["size"] * row["price_ticks"] for row in trades) * 12_500_000
    assert output(busy, "metrics").to_pylist()[0]["cash_micros"] == cash
    for row in output(busy, "equity").to_pylist():
        so_far = [trade for trade in trades if trade["ts_event"] <= row["ts"]]
        lots = [(1 if trade["side"] == "buy" else -1) * trade["size"] for trade in so_far]
        assert row["position"] == sum(lots)
        assert row["fees_micros"] == sum(trade["fee_micros"] for trade in so_far) == 2_050_000 * sum(map(abs, lots))
        paid = sum(size * trade["price_ticks"] for size, trade in zip(lots, so_far, strict=True))
        assert row["cash_micros"] == -paid * 12_500_000
        value = row["position"] * (row["mark_half_ticks"] or 0) * 6_250_000
        assert row["equity_micros"] == row["cash_micros"] + value - row["fees_micros"]
    assert row["equity_micros"] == left


def test_outputs__know_nothing_of_the_future(session_file: Path, tmp_path: Path):
    """Cut the data after any event: what was told and done until then stays the same."""
    records = synthetic().records
    whole = Busy(3)
    of_whole = backtest(session_file, whole)
    ends = np.flatnonzero(records["flags"] & dbn.FLAG_LAST) + 1
    for share in (0.5, 0.8):
        cut = ends[int(len(ends) * share)]
        path = tmp_path / f"{cut}.mbo.dbn"
        dbn.write_mbo(path, records[:cut], symbol="SYNH6", instrument_id=int(records["instrument_id"][0]))
        part = Busy(3)
        of_part = backtest(path, part)
        horizon = int(records["ts_recv"][:cut].max())
        known = [entry for entry in whole.log if entry[1] < horizon]
        assert len(known) > 100
        assert part.log[: len(known)] == known
        reports = [run.reports()[run.reports()["ts_known"] < horizon].tolist() for run in (of_whole, of_part)]
        assert len(reports[0]) > 50
        assert reports[0] == reports[1]
        curves = [run.backtester.accounts[0].metrics.account.curve for run in (of_whole, of_part)]
        samples = int((curves[0]["ts"] < int(records["ts_event"][:cut].max())).sum())
        assert samples > 10
        assert curves[0][:samples].tolist() == curves[1][:samples].tolist()


def test_same_run__has_the_same_reports(session_file: Path):
    first, second = Busy(4), Busy(4)
    runs = [backtest(session_file, strategy) for strategy in (first, second)]
    assert (runs[0].reports() == runs[1].reports()).all()
    assert first.log == second.log
    assert runs[0].report == runs[1].report


# --- what is run


def facts(**values) -> dict:
    return {"*": {"tick_size": 0.25, "multiplier": 50, "fee_per_contract": 2} | values}


def configured(strategy: dict | None = None, *, instruments: dict | None = None, **sections) -> BacktestConfig:
    data = {"backtest": sections, "instruments": facts() if instruments is None else instruments}
    return BacktestConfig.from_dict(data | ({"strategy": strategy} if strategy else {}))


def test_configured_strategy__runs_without_add_strategy(session_file: Path):
    parameters = {"fast_period": 3, "slow_period": 9, "position_size": 2}
    config = configured({"type": "sma_crossover", "parameters": parameters})
    tapes = session_file.parent / "tapes"
    by_name = Backtester(config, files=[session_file], tape_folder=tapes).run()
    added = Backtester(config, files=[session_file], tape_folder=tapes)
    by_hand = added.add_strategy("sma_crossover", SimpleMovingAverageCrossover(3, 9, 2)).run()
    assert by_name == by_hand
    assert by_name.total_trades > 0


def test_momentum__runs_its_rule_alone_and_the_report_says_so(session_file: Path, tmp_path: Path):
    rule = {"lookback_period": 20, "entry_threshold": 1.5, "ml_model_path": "models/momentum_v1.pkl"}
    config = configured({"type": "ml_enhanced_momentum", "parameters": rule})
    with pytest.raises(NotBuiltError, match=r"ml_model_path: .* model: none"):
        Backtester(config, files=[session_file], tape_folder=tmp_path).run()
    config = configured({"type": "ml_enhanced_momentum", "parameters": {**rule, "model": "none"}})
    report = Backtester(config, files=[session_file], tape_folder=tmp_path).run()
    assert any("model: none" in note for note in report.notes)
    assert report.total_trades > 0
    added = Backtester(configured(), files=[session_file], tape_folder=tmp_path)
    by_hand = added.add_strategy("ml_enhanced_momentum", EnhancedMomentum(20, 1.5)).run()
    assert by_hand.total_pnl == report.total_pnl
    assert not any("model: none" in note for note in by_hand.notes)


def test_report__says_what_the_result_depends_on(busy: Run):
    run = busy.report.run
    assert run.fill_model == "fifo (exact queue position)"
    assert run.latency_model == "fixed: entry 60 us, response 50 us, extra feed 0 us"
    assert run.fee_model == "SYNH6: maker 2.05, taker 2.05 USD per lot"
    assert [_money(micros) for micros in (2_000_000, -125, 1_250_000, None)] == ["2.00", "-0.000125", "1.25", "?"]
    assert run.config_hash == busy.backtester.config.config_hash()
    assert len(run.data_hash) == 64


def test_progress__counts_source_records_to_the_end(session_file: Path):
    told: list[tuple[int, int]] = []
    backtester = Backtester(settings(), files=[session_file], progress=lambda done, total: told.append((done, total)))
    backtester.tape_folder = session_file.parent / "tapes"
    backtester.add_strategy("busy", Busy(1)).run()
    total = len(synthetic().records)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1] == (total, total)
    assert len(told) > 2


def test_realtime__is_the_same_run(session_file: Path, busy: Run, monkeypatch: pytest.MonkeyPatch):
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    monkeypatch.setattr("time.monotonic", lambda: 0.0)
    paced = backtest(session_file, Busy(1), config=busy.backtester.config, speed=ReplaySpeed.accelerated(100))
    assert paced.report == busy.report
    assert max(slept) == pytest.approx(0.9, abs=0.01)  # 30 s before and 60 s of trading, all due at once on this clock


def test_signals__are_written_when_a_strategy_sends_some(session_file: Path, tmp_path: Path):
    config = settings(output=tmp_path)
    path = tmp_path / "signals.parquet"
    silent = Script(subscriptions=EventKind.PHASE)
    speaks = Script(once(StrategyOutput(metrics={"z": 1.5, "bad": float("inf")})), EventKind.TRADE)
    tapes = session_file.parent / "tapes"
    run = backtest(session_file, {"silent": silent, "speaks": speaks}, config=config, tapes=tapes)
    assert run.backtester.write(run.report)["signals"] == path
    ts = speaks.told[1][0]  # the first trade was the auction
    rows = pq.read_table(path).to_pylist()
    assert [(row["name"], row["value"]) for row in rows] == [("z", 1.5), ("bad", None)]
    assert {(row["strategy"], row["symbol"], row["ts"]) for row in rows} == {("speaks", "SYNH6", ts)}
    assert pq.read_schema(path).field("ts").metadata[b"unit"] == b"ns"
    run = backtest(session_file, silent, config=config, tapes=tapes)
    assert "signals" not in run.backtester.write(run.report)
    assert not path.exists()  # of the run before


# --- what is refused


def test_run__refuses_what_is_missing_or_wrong_before_it_runs(session_file: Path, tmp_path: Path):
    sma = {"type": "sma_crossover"}
    tape = ingest([session_file], tick_size_nanos=TICK_NANOS, folder=tmp_path / "a")
    again = ingest([session_file], tick_size_nanos=TICK_NANOS // 5, folder=tmp_path / "b")
    (tmp_path / "damaged.tape.arrow").write_bytes(tape.read_bytes()[:-999])

    def refused(error: type[BtGymError], words: str, config: BacktestConfig, *files: Path, **options) -> None:
        with pytest.raises(error, match=words) as caught:
            Backtester(config, files=files, tape_folder=tmp_path / "tapes", **options).run()
        assert "\n" not in str(caught.value)

    fine = configured(sma)
    no_fees = configured(sma, instruments={"*": {"tick_size": 0.25, "multiplier": 50}})
    no_value = configured(sma, instruments={"*": {"tick_size": 0.25}})
    unbuilt = configured(sma, output={"detailed_log": True})
    refused(ConfigError, "strategy: missing", configured(), session_file)
    refused(ConfigError, "data_source.files: empty", fine)
    refused(InstrumentError, "SYNH6: fees unknown", no_fees, session_file)
    refused(InstrumentError, "multiplier unknown", no_value, session_file)
    refused(InstrumentError, "multiplier unknown", no_value, tape)
    refused(ConfigError, "is a tape and others are not", fine, session_file, tape)
    refused(ConfigError, "second tape of SYNH6", fine, tape, again)
    refused(TapeError, "compiled with tick size 0.05, the instrument has 0.25: ingest", fine, again)
    refused(TapeError, "damaged.tape.arrow: isn't a whole tape", fine, tmp_path / "damaged.tape.arrow")
    refused(TapeError, "none.tape.arrow: no such tape", fine, tmp_path / "none.tape.arrow")
    refused(ConfigError, "symbol ESZ9: in none of the tapes", fine, tape, symbol="ESZ9")
    refused(
        NotBuiltError,
        "detailed_log: true",
        unbuilt,
        session_file,
    )
    assert not (tmp_path / "tapes").exists()


def test_run__that_fails_in_a_strategy_passes_the_error_on(session_file: Path):
    def act(context, script):
        raise ZeroDivisionError("in the strategy")

    with pytest.raises(ZeroDivisionError, match="in the strategy"):
        backtest(session_file, Script(act))


def test_add_strategy__refuses_a_name_twice(session_file: Path):
    backtester = Backtester(settings(), files=[session_file]).add_strategy("a", SimpleMovingAverageCrossover())
    with pytest.raises(ConfigError, match="'a' is taken"):
        backtester.add_strategy("a", SimpleMovingAverageCrossover())
