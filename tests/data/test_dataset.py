"""The default data set: made once, whole, by one process, with the same bytes everywhere."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bt_gym.data import dataset
from bt_gym.data.dataset import DEFAULT, SyntheticSet, digest_of
from bt_gym.data.tape import SUFFIX
from bt_gym.errors import ConfigError, DataError

TINY = SyntheticSet(
    "as", 3, 1.0, train=2, test=1, digest="32160f132a8d8adb1bfb688eb8bf75c07fda5deb23e7519bdacc1120e8b778fe"
)


def test_tapes__splits_days_by_time(tmp_path: Path):
    train, test = TINY.tapes("train", tmp_path), TINY.tapes("test", tmp_path)
    days = [int(tape.events["ts_event"][-1]) // 86_400_000_000_000 for tape in (*train, *test)]
    assert (len(train), len(test)) == (2, 1)
    assert days == sorted(set(days))
    assert len({tape.key for tape in (*train, *test)}) == 3


def test_tapes__are_made_once(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    first = TINY.tapes("train", tmp_path)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "making a synthetic data set of 3 days, once\nmaking a synthetic data set of 3 days: done\n"
    monkeypatch.setattr(dataset, "generate", None)
    again = TINY.tapes("train", tmp_path)
    assert [tape.path for tape in again] == [tape.path for tape in first]
    assert capsys.readouterr().err == ""
    left = [path.name for path in tmp_path.iterdir()]
    assert sorted(left) == [f".{TINY.name}.lock", TINY.name]  # nothing half made


def test_more__are_the_days_that_a_larger_set_would_have(tmp_path: Path):
    larger = replace(TINY, test=3, digest="").tapes("test", tmp_path)
    more = TINY.more(2)
    assert more.tapes("train", tmp_path) == ()
    assert [tape.key for tape in more.tapes("test", tmp_path)] == [tape.key for tape in larger[1:]]
    assert len({more.name, TINY.name, replace(more, first=0).name}) == 3


def test_tapes__are_made_again_when_damaged(tmp_path: Path):
    path = TINY.tapes("train", tmp_path)[0].path
    whole = path.read_bytes()
    path.write_bytes(whole[:-4096])
    TINY.tapes("test", tmp_path)
    assert path.read_bytes() == whole


def test_tapes__of_other_bytes_than_pinned_are_refused(tmp_path: Path):
    other = replace(TINY, digest="0" * 64)
    with pytest.raises(DataError, match=f"its digest is {TINY.digest}, pinned is 0000"):
        other.tapes("train", tmp_path)
    assert not (tmp_path / other.name).exists()


def test_tapes__of_an_unknown_split_are_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="split is 'valid', but must be one of train, test"):
        TINY.tapes("valid", tmp_path)


def test_tapes__go_to_a_temporary_folder_when_the_cache_cant_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(dataset.tempfile, "tempdir", str(tmp_path))
    (tmp_path / "file").touch()
    for _ in range(2):
        with pytest.warns(UserWarning, match="can't keep the synthetic data set here"):
            tapes = TINY.tapes("train", tmp_path / "file" / "tapes")
        assert tapes[0].path.is_relative_to(tmp_path / f"bt_gym-{os.getuid()}" / TINY.name)


def test_tapes__are_made_by_one_process_while_the_others_wait(tmp_path: Path):
    code = f"from bt_gym.data.dataset import *; print(digest_of({TINY}._all(Path(r'{tmp_path}'))))"
    start = [sys.executable, "-c", code]
    running = [subprocess.Popen(start, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate() for process in running]
    assert [out.strip() for out, _ in said] == [TINY.digest] * 2
    assert sum("making" in err for _, err in said) == 1


def test_default__is_what_the_digest_in_the_code_says(tmp_path: Path):
    """Everybody's results on the default data are comparable: the same bytes, or an error."""
    test = DEFAULT.tapes("test", tmp_path)
    train = DEFAULT.tapes("train", tmp_path)
    assert (len(train), len(test)) == (20, 10)
    assert digest_of([*train, *test]) == DEFAULT.digest
    assert len(list((tmp_path / DEFAULT.name).glob(f"*{SUFFIX}"))) == 30


def test_instrument__has_the_default_fees():
    instrument = DEFAULT.instrument
    assert (instrument.symbol, instrument.tick_value_micros) == ("SYNH6", 12_500_000)
    assert (instrument.maker_fee_micros, instrument.taker_fee_micros) == (2_000_000, 2_000_000)
