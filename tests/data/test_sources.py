"""Files and folders as users have them: what is in them, and whether it is what the manifest says."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from bt_gym.data import dbn
from bt_gym.data.sources import gather
from bt_gym.errors import CorruptFileError, DataError, EmptyDataError, FormatError, SchemaError, TruncatedFileError
from tests.data.batches import day_ids, metadata, session, write_batch, write_file, write_manifest
from tests.reference.streams import START


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_batch(tmp_path_factory.mktemp("made") / "batch")


@pytest.fixture
def batch(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "batch"))


def market(batch: Path) -> list[Path]:
    return sorted(batch.glob("*.mbo.dbn.zst"))


def test_gather__tells_files_apart_by_schema(batch: Path) -> None:
    sources = gather([batch])
    assert [file.path for file in sources.market] == market(batch)
    assert list(sources.definitions) == sorted(batch.glob("*.b.dbn.zst"))
    assert list(sources.statuses) == sorted(batch.glob("*.status.dbn.zst"))
    assert sources.in_folder
    assert sources.hashes == {
        path: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(batch.glob("*.dbn.zst"))
    }


def test_gather__sorts_by_time_whatever_the_names(batch: Path, tmp_path: Path) -> None:
    first, second, third = market(batch)
    renamed = third.rename(tmp_path / "a.dbn.zst")
    assert [file.path for file in gather([renamed, second, first]).market] == [first, second, renamed]


def test_gather__looks_into_subfolders_and_past_everything_else(batch: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("bought in January")
    (tmp_path / ".hidden.dbn").write_text("half a download")
    (tmp_path / "trades.dbn").write_bytes(metadata("trades", {}, START, START + 1))
    sources = gather([tmp_path])
    assert len(sources.market) == 3
    assert sources.ignored == (f"{tmp_path / 'trades.dbn'} (schema trades)",)


def test_gather__file_named_twice_counts_once(batch: Path) -> None:
    assert len(gather([market(batch)[0], batch]).market) == 3


def test_gather__takes_a_single_file(tmp_path: Path) -> None:
    session(0).write(tmp_path / "day.dbn")
    sources = gather([tmp_path / "day.dbn"])
    assert (len(sources.market), sources.in_folder, sources.hashes) == (1, False, {})


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda folder: None, EmptyDataError, "no DBN file of schema mbo: name files"),
        (
            lambda folder: (folder / "a.dbn").write_bytes(metadata("ohlcv-1m", {}, START, START + 1)),
            EmptyDataError,
            "only .*a.dbn .schema ohlcv-1m",
        ),
        (lambda folder: (folder / "a.dbn").write_text("text"), FormatError, "isn't DBN"),
        (lambda folder: (folder / "a.dbn").write_bytes(b""), FormatError, "isn't DBN"),
    ],
)
def test_gather__folder_of_no_use(tmp_path: Path, make, error: type[DataError], words: str) -> None:
    make(tmp_path)
    with pytest.raises(error, match=words):
        gather([tmp_path])


def test_gather__refuses_a_named_file_of_another_schema(tmp_path: Path) -> None:
    (tmp_path / "a.dbn").write_bytes(metadata("ohlcv-1m", {}, START, START + 1))
    with pytest.raises(SchemaError, match="holds schema ohlcv-1m, mbo is needed"):
        gather([tmp_path / "a.dbn"])


@pytest.mark.parametrize("schema", ["mbp-10", "mbp-1", "trades"])
def test_gather__levels_and_trades_are_taken_when_they_are_named(tmp_path: Path, schema: str) -> None:
    """A folder's are left out: beside orders they are the same market once more."""
    path = tmp_path / "a.dbn"
    path.write_bytes(metadata(schema, {}, START, START + 1))
    assert [file.schema for file in gather([path]).market] == [schema]
    with pytest.raises(EmptyDataError, match=f"schema {schema}"):
        gather([tmp_path])


# --- manifests


def grown(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("pattern", ["*.mbo.dbn.zst", "*.b.dbn.zst", "*.status.dbn.zst"])
@pytest.mark.parametrize(
    ("damage", "error", "words"),
    [
        (flipped, CorruptFileError, "sha256 is .*, manifest.json says .*: fetch the file again"),
        (cut, TruncatedFileError, "bytes, manifest.json says .*: fetch the file again"),
        (grown, CorruptFileError, "bytes, manifest.json says"),
        (Path.unlink, DataError, "missing, but manifest.json lists it"),
    ],
)
def test_manifest__is_compared_with_every_file(batch: Path, pattern: str, damage, error, words: str) -> None:
    path = sorted(batch.glob(pattern))[1]
    damage(path)
    with pytest.raises(error, match=words) as caught:
        gather([batch])
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_manifest__beside_a_file_that_is_named_alone_counts(batch: Path) -> None:
    """A plain file cut between two records looks whole: only the manifest can tell."""
    records = session(0).records
    plain = write_file(batch / "plain.dbn", records, day_ids(records["ts_recv"][0], SYNH6=4001))
    write_manifest(batch)
    plain.write_bytes(plain.read_bytes()[: -10 * dbn.MBO_BYTES])
    with pytest.raises(TruncatedFileError, match=r"plain.dbn: has .* bytes, manifest.json says"):
        gather([plain])
    assert len(gather([market(batch)[0]]).hashes) == 1  # the others are nobody's business


def test_manifest__support_files_may_be_missing_or_changed(batch: Path) -> None:
    (batch / "condition.json").unlink()
    (batch / "metadata.json").write_text("{}")
    assert len(gather([batch]).market) == 3


@pytest.mark.parametrize("name", ["../day.dbn", "/etc/passwd", "sub/../../day.dbn", "link.dbn", "a/../day.dbn", "\0"])
def test_manifest__may_not_leave_its_folder(batch: Path, tmp_path: Path, name: str) -> None:
    session(0).write(tmp_path / "day.dbn")
    (batch / "link.dbn").symlink_to(tmp_path / "day.dbn")
    listing = {"files": [{"filename": name, "size": 1, "hash": "sha256:00"}]}
    (batch / "manifest.json").write_text(json.dumps(listing))
    with pytest.raises(CorruptFileError, match="outside of its folder"):
        gather([batch])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"files": 3}',
        '{"files": [3]}',
        '{"files": [{}]}',
        '{"files": [{"filename": "a", "size": "many", "hash": "sha256:"}]}',
        '{"files": [{"filename": "a", "size": 1, "hash": "md5:00"}]}',
        "[" * 100_000,
        "\xff",
    ],
)
def test_manifest__that_makes_no_sense_is_one_line(batch: Path, text: str) -> None:
    (batch / "manifest.json").write_text(text, "latin-1")
    with pytest.raises(CorruptFileError, match=r"manifest.json: isn't a manifest") as caught:
        gather([batch])
    assert "\n" not in str(caught.value)
