"""The data that environments run on when they are given none: days of one synthetic market, the same everywhere.

A set is made once, in the user's cache: by one process under a lock, while others wait, and whole or not at all. Its
bytes are pinned by a digest in this file, so that results on it can be compared.
"""

import fcntl
import hashlib
import json
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bt_gym.data.compiler import COMPILER_VERSION
from bt_gym.data.instruments import Instrument
from bt_gym.data.synthetic import PROFILES, generate
from bt_gym.data.tape import FORMAT_VERSION, SUFFIX, Tape, default_folder, ingest
from bt_gym.errors import ConfigError, DataError, TapeError

SPLITS = ("train", "test")


@dataclass(frozen=True)
class SyntheticSet:
    """Trading days of one synthetic market: the first `train` to learn on, the next `test` to be judged by.

    Each day is drawn anew from (seed, day), so that no day tells anything about another.
    """

    profile: str  # one of `bt_gym.data.synthetic.PROFILES`
    seed: int
    minutes: float  # of continuous trading a day
    train: int  # days
    test: int  # days
    digest: str = ""  # see `digest_of`; empty: not pinned
    first: int = 0  # number of the first day

    @property
    def instrument(self) -> Instrument:
        """Facts of the instrument, with fees of 2.00 per contract and side."""
        return PROFILES[self.profile].instrument("2.00")

    def tapes(self, split: str = "train", folder: Path | str | None = None) -> tuple[Tape, ...]:
        """The tapes of one split in the order of days; the whole set is made first if it isn't there.

        Args:
            split: `train` or `test`.
            folder: where sets are kept; `bt_gym.data.tape.default_folder()` if None. If it can't be written, a folder
                in the machine's temporary one is used instead, with a warning.

        Raises:
            ConfigError: there is no such split.
            DataError: the bytes made aren't the pinned ones.
            TapeError: nowhere to write.
        """
        if split not in SPLITS:
            raise ConfigError(f"split is {split!r}, but must be one of {', '.join(SPLITS)}")
        tapes = self._all(Path(folder) if folder is not None else default_folder())
        return tapes[: self.train] if split == "train" else tapes[self.train :]

    def more(self, days: int) -> "SyntheticSet":
        """The `days` that follow, all to be judged by, as a set of its own: what is there isn't made again."""
        return replace(self, train=0, test=days, digest="", first=self.first + self.train + self.test)

    @property
    def name(self) -> str:
        """Of the folder that holds it: changes with everything that the tapes depend on."""
        parts = [self.profile, self.seed, self.minutes, self.train, self.test, self.digest]
        parts += [self.first] if self.first else []
        key = hashlib.sha256(json.dumps([*parts, FORMAT_VERSION, COMPILER_VERSION]).encode()).hexdigest()
        return f"synthetic_{self.profile}_{key[:12]}"

    def _all(self, folder: Path) -> tuple[Tape, ...]:
        """All days: as they are in `folder`, or made there, or made in a temporary folder."""
        try:
            return self._open(folder / self.name) or self._make(folder)
        except OSError as error:
            fallback = _temporary_folder()
            warnings.warn(
                f"{folder}: can't keep the synthetic data set here ({error.strerror}), it goes to {fallback}: "
                "set BT_GYM_TAPES to a folder that can be written",
                stacklevel=2,
            )
        return self._open(fallback / self.name) or self._make(fallback)

    def _open(self, folder: Path) -> tuple[Tape, ...] | None:
        """The set as it lies in `folder`; None when it isn't there whole."""
        try:
            tapes = tuple(map(Tape.open, sorted(folder.glob(f"*{SUFFIX}"))))
        except TapeError:
            return None
        if len(tapes) != self.train + self.test or (self.digest and digest_of(tapes) != self.digest):
            return None
        return tapes

    def _make(self, folder: Path) -> tuple[Tape, ...]:
        """Makes the set, unless another process has done it meanwhile."""
        folder.mkdir(parents=True, exist_ok=True)
        with _lock(folder / f".{self.name}.lock"):
            done = self._open(folder / self.name)
            if done:
                return done
            with tempfile.TemporaryDirectory(prefix=f".{self.name}.", dir=folder) as scratch:
                self._write(Path(scratch))
                tapes = self._open(Path(scratch))
                if not tapes:
                    found = digest_of([Tape.open(path) for path in sorted(Path(scratch).glob(f"*{SUFFIX}"))])
                    raise DataError(
                        f"synthetic data set {self.name}: its digest is {found}, pinned is {self.digest}: if the "
                        "generator was changed on purpose, pin the new digest in bt_gym/data/dataset.py"
                    )
                shutil.rmtree(folder / self.name, ignore_errors=True)  # damaged, or it would have been opened
                os.rename(scratch, folder / self.name)
                os.mkdir(scratch)  # for its own clean-up
            return self._open(folder / self.name) or ()

    def _write(self, folder: Path) -> None:
        days = self.train + self.test
        profile = PROFILES[self.profile]
        file = folder / "day.mbo.dbn"
        with _progress(f"making a synthetic data set of {days} days", days) as progress:
            for day in range(days):
                generate(self.seed, self.minutes * 60, profile, day=self.first + day).write(file)
                ingest([file], tick_size_nanos=profile.tick_nanos, folder=folder)
                progress(day + 1)
        file.unlink(missing_ok=True)


DEFAULT = SyntheticSet(
    profile="es",
    seed=20260105,
    minutes=60,
    train=20,
    test=10,
    digest="c5236a0ce05cac25b7ee157914d013fa04a70825128d9513d092249be80bb400",
)
"""What environments run on by default."""


def default_tapes(split: str = "train") -> tuple[Tape, ...]:
    """The tapes of one split (`train` or `test`) of the default data set; see `SyntheticSet.tapes`."""
    return DEFAULT.tapes(split)


def digest_of(tapes: tuple[Tape, ...] | list[Tape]) -> str:
    """sha256 over the sha256 of the MBO files that the tapes were compiled from, in order."""
    sources = [source["sha256"] for tape in tapes for source in tape.metadata["sources"]]
    return hashlib.sha256("".join(sources).encode()).hexdigest()


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Held by one process at a time; the system frees it when its process ends, however that happens."""
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("waiting for another process that makes the synthetic data set")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _temporary_folder() -> Path:
    """A folder of this user alone that later processes find again."""
    folder = Path(tempfile.gettempdir()) / f"bt_gym-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        return Path(tempfile.mkdtemp(prefix="bt_gym-"))  # somebody else's
    return folder


@contextmanager
def _progress(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Counts on stderr: on one line of a terminal, elsewhere only that it begins and that it is done."""
    terminal = sys.stderr.isatty()
    _say(f"{title}, once", end="" if terminal else "\n")
    yield lambda done: _say(f"\r{title}: {done} of {total}", end="") if terminal else None
    _say("" if terminal else f"{title}: done")


def _say(text: str, end: str = "\n") -> None:
    print(text, end=end, file=sys.stderr, flush=True)
