"""Evaluation: every window once whatever N, baselines tuned on training days, splits that share no day."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents import evaluate, ppo_market_making
from agents.baselines import FIRST_OFFSET, WITHDRAW, Quoter
from agents.scores import day_means
from bt_gym.data.catalogue import describe
from bt_gym.data.dataset import digest_of
from bt_gym.data.tape import Tape


def make(env_options: dict[str, Any], files: list[str], n: int) -> Any:
    args = {"id": "bt_gym/MarketMaking-v0", "env": env_options}
    return evaluate.make_env(args, [Tape.open(file) for file in files], n)


def test_play__plays_every_window_once_whatever_n(env_options: dict[str, Any], days: dict[str, list[str]]):
    played = []
    for n in (1, 7, 400):
        env = make(env_options, days["test"], n)
        played.append(evaluate.play(env, Quoter(env).fixed_spread(0)))
    count = env.unwrapped._batch.markets.window_count
    assert count > 150
    assert len(set(played[0]["day"])) == 3
    assert played[0]["trades"].sum() > count
    for other in played[1:]:
        for key, values in played[0].items():
            np.testing.assert_array_equal(values, other[key], err_msg=key)


def test_do_nothing__earns_exactly_nothing(env_options: dict[str, Any], days: dict[str, list[str]]):
    env = make(env_options, days["test"], 64)
    scores = evaluate.score("do nothing", env, [Quoter(env).do_nothing()])
    assert not scores.pnl.any()
    assert not scores.is_trading


def test_fixed_spread__earns_what_its_fills_say(env_options: dict[str, Any], days: dict[str, list[str]]):
    """In the market of Avellaneda and Stoikov the mid is a martingale: quotes far from it earn more a fill."""
    env = make(env_options, days["test"], 64)
    close, far = (evaluate.score("x", env, [Quoter(env).fixed_spread(offset)]) for offset in (0, 2))
    assert close.trades.mean() > 2 * far.trades.mean()
    assert far.pnl.sum() / far.trades.sum() > close.pnl.sum() / close.trades.sum()


class Stub:
    """Just what a `Quoter` reads of an environment."""

    class config:  # noqa: N801
        class action:  # noqa: N801
            offsets = (-1, 0, 1, 2)

        class risk:  # noqa: N801
            max_position = 10

    class single_action_space:  # noqa: N801
        nvec = np.array([6, 6])

    feature_names = ("spread", "inventory", "remaining_time")

    @property
    def unwrapped(self) -> "Stub":
        return self


def test_avellaneda_stoikov__quotes_the_papers_prices():
    """The vector: q = 3, gamma sigma^2 T = 0.4, half spread ln(1 + gamma / k) / gamma = 0.645; here in ticks.

    Reservation price 1.2 below the mid, bid and ask 0.845 from it: 2.045 below and 0.355 below the mid. With a spread
    of two ticks the best prices are 1 from the mid: the bid is 1 tick behind the best one, the ask would be 1.355 in
    front of it and rounds to 1.
    """
    policy = Quoter(Stub()).avellaneda_stoikov(0.4, 0.64538521)
    obs = np.array([[np.log1p(2), 0.3, 1.0], [np.log1p(2), 0.0, 1.0], [np.log1p(2), 0.0, 0.0]], np.float32)
    codes = {offset: FIRST_OFFSET + i for i, offset in enumerate(Stub.config.action.offsets)}
    assert policy(obs).tolist() == [[codes[1], codes[-1]], [codes[0], codes[0]], [codes[0], codes[0]]]


def test_avellaneda_stoikov__withdraws_what_is_too_far():
    policy = Quoter(Stub()).avellaneda_stoikov(1.0, 1.0)
    assert policy(np.array([[np.log1p(1), 0.3, 1.0]], np.float32))[0, 0] == WITHDRAW


def test_main__prints_both_splits_and_a_row_for_each_policy(
    run: list[str], days: dict[str, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    ppo_market_making.main(ppo_market_making.read_args([*run, "--total-steps", "128"]))
    result = str(tmp_path / "result.json")
    scores = evaluate.main([run[-1], run[-1]], test=days["test"], num_envs=64, quick=True, result=result)
    out = capsys.readouterr().out
    assert "train: 4 days" in out
    assert "test: 3 days" in out
    for file in (*days["train"], *days["test"]):
        assert Tape.open(file).key[:16] in out
    for name in ("do nothing", "random", "fixed spread", "Avellaneda-Stoikov", "PPO greedy", "PPO sampled"):
        assert name in out
    greedy = scores[-2].pnl
    assert len(greedy) == 2
    assert (greedy[0] == greedy[1]).all()  # the same run twice
    kept = json.loads(Path(result).read_text())
    assert [row["policy"] for row in kept["results"]] == [one.name for one in scores]
    assert kept["results"][-2]["pnl"]["mean"] == pytest.approx(day_means(greedy, scores[-2].days).mean())
    assert kept["results"][-2]["pnl_by_seed"] == greedy.mean(1).tolist()
    assert [one["seed"] for one in kept["runs"]] == [3, 3]
    assert kept["data"] == {split: digest_of([Tape.open(file) for file in days[split]]) for split in days}


def test_main__names_the_folder_that_has_no_run(tmp_path: Path):
    with pytest.raises(SystemExit, match=f"{tmp_path}.*there is none: name the folder of a run"):
        evaluate.main([str(tmp_path)])


def test_main__asks_for_held_out_tapes_where_training_data_were_files(run: list[str]):
    ppo_market_making.main(ppo_market_making.read_args([*run, "--total-steps", "128"]))
    with pytest.raises(SystemExit, match="name the tapes to judge them by with --test"):
        evaluate.main([run[-1]])


def test_main__refuses_days_that_are_in_both_splits(run: list[str], days: dict[str, list[str]]):
    ppo_market_making.main(ppo_market_making.read_args([*run, "--total-steps", "128"]))
    with pytest.raises(AssertionError, match="days are in both splits"):
        evaluate.main([run[-1]], test=[*days["test"], days["train"][0]], num_envs=64)


def test_days_of__are_the_splits_of_a_catalogue_which_environments_leave_behind(days: dict[str, list[str]]):
    """An agent of four days of the catalogue, 2 of them to learn on, is judged by its own test days and no others."""
    catalogue = {"symbol": "SYNA6", "catalogue": str(Path(days["train"][0]).parent), "window_s": 2.0}
    dates = [str(day) for file in days["train"] for day in describe(Path(file)).days]
    args = {
        "id": "bt_gym/MarketMaking-v0",
        "env": {"data": {**catalogue, "days": dates, "validation": 1, "test": 1, "split": "train"}},
    }
    train, held_out = evaluate.days_of(args, (), 20)
    keys = [Tape.open(file).key for file in days["train"]]
    assert ([tape.key for tape in train], [tape.key for tape in held_out]) == (keys[:2], keys[3:])
    env = evaluate.make_env(args, held_out, 2)
    assert [tape.key for tape in env.unwrapped._batch.markets.tapes] == keys[3:]


@pytest.mark.parametrize(
    ("data", "count", "message"),
    [({}, 0, "--test-days 0: there must be one at least"), ({"split": "test"}, 20, "trained on the split test")],
)
def test_days_of__refuses_what_would_judge_by_nothing_or_by_days_learned_on(data, count: int, message: str):
    with pytest.raises(SystemExit, match=message):
        evaluate.days_of({"id": "bt_gym/MarketMaking-v0", "env": {"data": data}}, (), count)
