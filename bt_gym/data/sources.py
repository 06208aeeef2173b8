"""Market data as users have it: files and folders, told apart by what they hold and not by their names.

A folder may be a batch download of Databento: files of one or several schemas with a `manifest.json` that lists their
sizes and sha256 (https://databento.com/docs/api-historical/batch/batch-list-files). What a manifest lists is checked
before anything is compiled, also for a file that is named alone.
"""

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bt_gym.data.dbn import DBN_MAGIC, DBZ_MAGIC, LAYOUTS, DbnFile, open_dbn, open_market
from bt_gym.data.files import ZSTD_MAGIC, ByteStream, sha256
from bt_gym.errors import CorruptFileError, DataError, EmptyDataError, TruncatedFileError

MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 1 << 26


@dataclass(frozen=True)
class Sources:
    """What some files and folders hold."""

    market: tuple[DbnFile, ...]  # MBO files, and files of levels or trades that were named, by the time they start
    definitions: tuple[Path, ...]
    statuses: tuple[Path, ...]
    ignored: tuple[str, ...]  # DBN files of folders that are of no use, with their schema
    in_folder: bool  # whether a folder was among them
    hashes: dict[Path, str] = field(default_factory=dict)
    """sha256 of the files that a manifest lists; they agree."""


def gather(paths: Iterable[Path | str]) -> Sources:
    """Looks through files and folders (these with all their subfolders) for MBO, definition and status files.

    Raises:
        EmptyDataError: there is no MBO file.
        SchemaError: a file that was named holds another schema.
        CorruptFileError, TruncatedFileError: a file isn't what its manifest says, or the manifest makes no sense.
        DataError: a file can't be used.
    """
    named = [Path(path) for path in paths]
    found: dict[Path, DbnFile] = {}
    ignored: list[str] = []
    for path in named:
        if not path.is_dir():
            file = open_dbn(path, None)
            found[path] = file if file.schema in ("definition", "status") else open_market(path)
            continue
        for inside in _dbn_files(path):
            file = open_dbn(inside, None)
            if file.schema in (None, "mbo", "definition", "status"):
                found[inside] = file
            else:
                ignored.append(f"{inside} (schema {file.schema})")
    hashes = check_manifests(found, [path for path in named if path.is_dir()])
    market = sorted((file for file in found.values() if file.schema in (None, *LAYOUTS)), key=lambda file: file.start)
    if not market:
        held = [*ignored, *(f"{path} (schema {file.schema})" for path, file in found.items())]
        others = f", only {', '.join(held[:5])}" if held else ""
        raise EmptyDataError(
            f"{', '.join(map(str, named)) or 'no path given'}: no DBN file of schema mbo{others}: "
            "name files or a folder that has some"
        )
    return Sources(
        market=tuple(market),
        definitions=tuple(path for path, file in found.items() if file.schema == "definition"),
        statuses=tuple(path for path, file in found.items() if file.schema == "status"),
        ignored=tuple(ignored),
        in_folder=any(path.is_dir() for path in named),
        hashes=hashes,
    )


def _dbn_files(folder: Path) -> Iterator[Path]:
    """Files below a folder that are DBN by their content, or claim to be by their name."""
    for path in sorted(folder.rglob("*")):
        if any(part.startswith(".") for part in path.relative_to(folder).parts) or not path.is_file():
            continue
        with ByteStream(path) as stream:
            magic = stream.magic
        if magic.startswith((DBN_MAGIC, ZSTD_MAGIC)) or magic[8:11] == DBZ_MAGIC or ".dbn" in path.suffixes:
            yield path


def check_manifests(found: Collection[Path], folders: Iterable[Path] = ()) -> dict[Path, str]:
    """Compares files with the manifests beside them; returns the sha256 of those that are listed.

    Args:
        found: the files.
        folders: where nothing that a manifest lists may be missing.

    Raises:
        CorruptFileError, TruncatedFileError, DataError: as `gather`.
    """
    whole = {manifest.parent for folder in folders for manifest in folder.rglob(MANIFEST)}
    listed: dict[Path, str] = {}
    for folder in sorted(whole | {path.parent for path in found}):
        if not (folder / MANIFEST).is_file():
            continue
        for name, size, digest in _read_manifest(folder):
            path = folder / name
            if path not in found and not (folder in whole and ".dbn" in path.suffixes):
                continue  # not market data, or nobody asked for it
            if not path.is_file():
                raise DataError(f"{path}: missing, but {MANIFEST} lists it: fetch it again, or name the files to use")
            if (actual := path.stat().st_size) != size:
                kind = TruncatedFileError if actual < size else CorruptFileError
                raise kind(f"{path}: has {actual:,} bytes, {MANIFEST} says {size:,}: fetch the file again")
            if path in found:
                listed[path] = digest
    for path, digest in listed.items():
        if (computed := sha256(path)) != digest:
            raise CorruptFileError(
                f"{path}: sha256 is {computed[:16]}..., {MANIFEST} says {digest[:16]}...: fetch the file again"
            )
    return listed


def _read_manifest(folder: Path) -> list[tuple[str, int, str]]:
    """(name, bytes, sha256) of the files that a manifest lists; all lie in its folder."""
    path = folder / MANIFEST
    try:
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise ValueError("it is too large")
        listed = [
            (str(entry["filename"]), int(entry["size"]), str(entry["hash"]))
            for entry in json.loads(path.read_bytes())["files"]
        ]
        if bad := [digest for _, _, digest in listed if not digest.startswith("sha256:")]:
            raise ValueError(f"hash {bad[0]!r} isn't sha256:...")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}: make it readable, or move it away") from None
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        text = f"{type(error).__name__}: {error}".splitlines()[0]
        raise CorruptFileError(f"{path}: isn't a manifest ({text}): fetch it again, or move it away") from None
    root = folder.resolve()
    for name, _, _ in listed:
        if "\0" in name or ".." in Path(name).parts or not (folder / name).resolve().is_relative_to(root):
            raise CorruptFileError(f"{path}: lists {name!r}, which is outside of its folder: don't trust this download")
    return [(name, size, digest.removeprefix("sha256:").lower()) for name, size, digest in listed]
