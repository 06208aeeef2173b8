"""Databento Binary Encoding (DBN): market-by-order files, read in bounded memory, and written.

A file is `"DBN"`, a byte of version, the length of the metadata as u32, the metadata, then records, all little-endian;
a `.dbn.zst` file is the same bytes as a sequence of zstd frames. Metadata is read and written by databento_dbn, the
vendor's own library; MBO records are the same 56 bytes in the versions 1 to 3, and are viewed in place.

>>> file = open_dbn("ESH4.mbo.dbn.zst")  # doctest: +SKIP
>>> selection = file.select("ESH4")  # doctest: +SKIP
>>> sum(len(records) for records in file.chunks(selection))  # doctest: +SKIP
68792
"""

import datetime as dt
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import TypeVar

import databento_dbn
import numpy as np
import zstandard

from bt_gym._jit import njit
from bt_gym.data import symbology
from bt_gym.data.files import ByteStream, Digest, ahead, replace_file
from bt_gym.data.symbology import EPOCH, NS_PER_DAY, Bounds, Interval, Selection, bounds_of, survey
from bt_gym.errors import CorruptFileError, EmptyDataError, FormatError, SchemaError, SymbolError, TruncatedFileError

mbo_dtype = np.dtype(
    [
        ("length", "u1"),  # of the record in 4-byte words: 14
        ("rtype", "u1"),  # RTYPE_MBO
        ("publisher_id", "<u2"),  # dataset and venue
        ("instrument_id", "<u4"),  # unique within one UTC day of ts_recv only
        ("ts_event", "<i8"),  # ns UTC, matching engine clock; -1 undefined
        ("order_id", "<u8"),
        ("price", "<i8"),  # 1e-9 of the currency; UNDEF_PRICE undefined
        ("size", "<u4"),  # lots; cast to int64 before any subtraction
        ("flags", "u1"),  # FLAG_* bits: mask, never compare
        ("channel_id", "u1"),
        ("action", "u1"),  # ACTION_*
        ("side", "u1"),  # SIDE_*
        ("ts_recv", "<i8"),  # ns UTC, capture server clock; -1 undefined
        ("ts_in_delta", "<i4"),  # ns: ts_recv - sending time of the exchange
        ("sequence", "<u4"),  # of the venue; several records share one
    ]
)
"""56 bytes, packed: `MboMsg` of DBN 1 to 3. The vendor's timestamps are u64; as i64 they have the same bytes and
numba's mixed arithmetic (u64 - i64 is a float there) stays exact."""

_level_dtype = np.dtype(
    [
        ("bid_px", "<i8"),  # 1e-9 of the currency; UNDEF_PRICE without a level
        ("ask_px", "<i8"),
        ("bid_sz", "<u4"),  # lots
        ("ask_sz", "<u4"),
        ("bid_ct", "<u4"),  # orders
        ("ask_ct", "<u4"),
    ]
)


def mbp_dtype(levels: int) -> np.dtype:
    """Rows of the schemas trades (no levels), mbp-1 and mbp-10: an action, and the best levels as they are after it.

    The fields before `levels` mean what they mean in `mbo_dtype`; `depth` is the level that the row changes.
    """
    return np.dtype(
        [
            ("length", "u1"),
            ("rtype", "u1"),
            ("publisher_id", "<u2"),
            ("instrument_id", "<u4"),
            ("ts_event", "<i8"),
            ("price", "<i8"),
            ("size", "<u4"),
            ("action", "u1"),
            ("side", "u1"),
            ("flags", "u1"),
            ("depth", "u1"),
            ("ts_recv", "<i8"),
            ("ts_in_delta", "<i4"),
            ("sequence", "<u4"),
            ("levels", _level_dtype, (levels,)),
        ]
    )


MBO_BYTES = mbo_dtype.itemsize
RTYPE_MBO = 160
LAYOUTS = {
    "mbo": (mbo_dtype, RTYPE_MBO),
    "mbp-10": (mbp_dtype(10), 10),
    "mbp-1": (mbp_dtype(1), 1),
    "trades": (mbp_dtype(0), 0),
}
"""dtype and rtype of the schemas that `DbnFile.chunks` reads; of a file that may hold several, its MBO records are."""

UNDEF_PRICE = 2**63 - 1
UNDEF_SIZE = 2**32 - 1
UNDEF_TIME = 2**63 - 1  # and above: u64 in the files

ACTION_ADD = ord("A")  # takes its place at the back of the queue
ACTION_CANCEL = ord("C")  # `size` leaves the order
ACTION_MODIFY = ord("M")  # new price and remaining size
ACTION_CLEAR = ord("R")  # all orders of the instrument are gone
ACTION_TRADE = ord("T")  # aggressor's side; changes no order
ACTION_FILL = ord("F")  # the resting order that was hit; changes no order
ACTION_NONE = ord("N")  # carries flags only

SIDE_BID = ord("B")
SIDE_ASK = ord("A")
SIDE_NONE = ord("N")

FLAG_LAST = 128  # last record of the instrument's event: the book may be read
FLAG_TOB = 64  # a top of book, not an order
FLAG_SNAPSHOT = 32  # book state that is being restored, not activity
FLAG_MBP = 16  # an aggregated level, not an order
FLAG_BAD_TS_RECV = 8
FLAG_MAYBE_BAD_BOOK = 4  # unrecoverable gap: suspect until the next clear

VERSIONS = range(1, 4)
DBN_MAGIC = b"DBN"
DBZ_MAGIC = b"DBZ"  # at byte 8: the skippable zstd frame that the legacy format starts with
MAX_METADATA_BYTES = 1 << 30
MAX_RECORD_BYTES = 255 * 4  # the length of any record is one byte, in words
DECODE_BYTES = 1 << 20
CHUNK_RECORDS = 1 << 15  # read at once, 2 MB: what Python does for each chunk is little beside the rest
FRAME_RECORDS = 1 << 20  # of one zstd frame that is written
KNOWN_RTYPES = np.isin(np.arange(256), [int(rtype) for rtype in databento_dbn.RType.variants()])
M = TypeVar("M")


@dataclass(frozen=True)
class DbnFile:
    """A DBN file whose metadata has been read; records are read by `chunks`, as often as wanted."""

    path: Path
    version: int
    dataset: str
    schema: str | None  # None: may hold several (live recordings)
    start: int  # ns UTC, of the request
    end: int | None  # ns UTC, the first one after the request; None: open
    symbols: dict[str, tuple[Interval, ...]]  # days and ids of each symbol; empty when the metadata maps none
    ts_out: bool  # 8 more bytes after each record: the time the gateway sent it
    header_bytes: int  # up to the first record, uncompressed
    skipped: Counter[str] = field(default_factory=Counter, compare=False)
    """Records of other schemas by name, as met by the latest pass of `chunks`."""

    @property
    def _layout(self) -> tuple[np.dtype, int]:
        """dtype and rtype of the records that are read."""
        return LAYOUTS.get(self.schema or "mbo", LAYOUTS["mbo"])

    @property
    def _kind(self) -> str:
        return self.schema.upper() if self.schema in LAYOUTS else "MBO"

    def select(self, symbol: str | None = None) -> Selection:
        """Choose the instrument to read by symbol or id; None when there is only one.

        A file whose metadata maps no symbols (a live recording) is read once to see which ids it holds.

        Raises:
            SymbolError: it isn't in the file, or there are several to choose from.
        """
        return symbology.select(self.path, self.listed, symbol)

    def has(self, symbol: str) -> bool:
        """Whether `select` finds the symbol or id."""
        try:
            return bool(self.select(symbol))
        except SymbolError:
            return False

    @cached_property
    def listed(self) -> dict[str, tuple[Interval, ...]]:
        """The instruments that can be selected, whether or not there are records of them."""
        if self.symbols:
            return self.symbols
        ids = {int(number) for records in self.chunks() for number in np.unique(records["instrument_id"])}
        return symbology.unmapped(sorted(ids))

    def chunks(
        self,
        selection: Selection | None = None,
        *,
        max_records: int = CHUNK_RECORDS,
        may_be_empty: bool = False,
        digest: Digest | None = None,
    ) -> Generator[np.ndarray, None, None]:
        """The file's records in order, as arrays of 1 to `max_records`; results don't depend on the cuts.

        They are of `mbo_dtype`, or of `mbp_dtype` in a file of schema mbp-10, mbp-1 or trades.

        Plain files carry no checksum: a cut at the end of a record can't be seen. A cut or damage inside a zstd frame
        always is, but when the reader gets there: what was yielded before must not be published.

        Args:
            selection: only the records of this instrument; None for all.
            max_records: bounds the memory, 56 bytes each.
            may_be_empty: whether a file without such a record is nothing to complain of (a holiday among many days).
            digest: is given the file's own bytes; all of them when the chunks have been taken to the end.

        Raises:
            EmptyDataError: there is no such record.
            SymbolError: several venues publish the selected instrument; an order book is of one.
            TruncatedFileError: the file ends inside a frame or a record.
            CorruptFileError: a checksum or a record's header is wrong.
        """
        found = 0
        publishers: set[int] = set()
        with closing(self.read(max_records=max_records, digest=digest)) as chunks:
            for records, _ in chunks:
                if selection is not None:
                    mask = selection.mask(records)
                    records = records if mask.all() else records[mask]
                    if len(records):
                        publishers |= {int(records["publisher_id"].min()), int(records["publisher_id"].max())}
                    if len(publishers) > 1:
                        raise SymbolError(
                            f"{self.path}: {selection.symbol} comes from publishers {sorted(publishers)}, each with "
                            "its own book: use a file of one venue's dataset"
                        )
                if len(records):
                    found += len(records)
                    yield records
        if not found and not may_be_empty:
            wanted = f"{self._kind} record"
            if selection:
                wanted += f" of {selection.symbol} {_describe(selection)}"
            others = ", ".join(f"{count} {name}" for name, count in self.skipped.items())
            raise EmptyDataError(
                f"{self.path}: holds no {wanted}{f', only {others}' if others else ''}: "
                "request the days and the symbol again"
            )

    def read(
        self, *, max_records: int = CHUNK_RECORDS, digest: Digest | None = None
    ) -> Generator[tuple[np.ndarray, Bounds], None, None]:
        """All records of the file's schema, cut as by `chunks`, with their bounds; there may be none.

        A thread reads, hashes and inflates ahead of whoever takes them.
        """
        self.skipped.clear()
        dtype, rtype = self._layout
        words = dtype.itemsize // 4 + 2 * self.ts_out
        size = 4 * words * max(max_records, -(-MAX_RECORD_BYTES // MBO_BYTES))  # any record fits
        offset, number = self.header_bytes, 0  # of the first record in the buffer
        rest = np.empty(0, np.uint8)  # of the previous buffer: an incomplete record
        with closing(ahead(self._buffers(size, digest))) as buffers:
            for buffer in buffers:
                if len(rest):
                    buffer = np.concatenate([rest, buffer])
                bounds, kept, used, seen, bad = self._pack(buffer, words)
                records = buffer[:kept].view(dtype)
                if bounds and len(records) <= max_records:
                    yield records, bounds
                else:
                    for first in range(0, len(records), max_records):
                        part = records[first : first + max_records]
                        yield part, bounds_of(part)
                offset, number, rest = offset + used, number + seen, buffer[used:].copy()
                if bad:
                    raise CorruptFileError(
                        f"{self.path}: record {number} (byte {offset:,}) has length {rest[0]} and rtype {rest[1]}, "
                        f"an {self._kind} record has {words} and {rtype}: fetch the file again"
                    )
        if len(rest):
            raise TruncatedFileError(
                f"{self.path}: ends inside record {number} (byte {offset:,}, {len(rest)} bytes of it): "
                "fetch the file again"
            )

    def _buffers(self, size: int, digest: Digest | None) -> Generator[np.ndarray, None, None]:
        """The bytes after the metadata, in buffers of (size,) and a last one that is shorter."""
        with ByteStream(self.path, digest) as stream:
            stream.fill(memoryview(bytearray(self.header_bytes)))
            filled = size
            while filled == size:
                buffer = np.empty(size, np.uint8)
                filled = stream.fill(buffer.data)
                yield buffer[:filled]

    def _pack(self, buffer: np.ndarray, words: int) -> tuple[Bounds | None, int, int, int, bool]:
        """Bring the wanted records of a buffer to its front, as `_pack` does; almost always they are all there is.

        Then their bounds come first, else None.
        """
        dtype, wanted = self._layout
        if not self.ts_out and len(buffer) and len(buffer) % dtype.itemsize == 0:
            records = buffer.view(dtype)
            all_wanted, bounds = survey(records, words, wanted)
            if all_wanted:
                return bounds, len(buffer), len(buffer), len(records), False
        skipped = np.zeros(256, np.int64)
        result = _pack(buffer, wanted, dtype.itemsize, words, KNOWN_RTYPES, skipped)
        for rtype in np.flatnonzero(skipped):
            self.skipped[databento_dbn.RType.from_int(int(rtype)).name.lower()] += int(skipped[rtype])
        return None, *result


@njit
def _pack(buffer, wanted, record_bytes, words, known, skipped):
    """Move the records of rtype `wanted` to the front of a mixed buffer and count the others in `skipped[rtype]`.

    Returns:
        (bytes of wanted records, bytes read, records read, whether the record after these is impossible).
    """
    kept, used, seen = 0, 0, 0
    while used + 1 < len(buffer):
        size, rtype = 4 * int(buffer[used]), int(buffer[used + 1])
        if size < 16 or not known[rtype] or (rtype == wanted and size != 4 * words):
            return kept, used, seen, True
        if used + size > len(buffer):
            break
        if rtype == wanted:
            for i in range(record_bytes):
                buffer[kept + i] = buffer[used + i]
            buffer[kept] = record_bytes // 4
            kept += record_bytes
        else:
            skipped[rtype] += 1
        used += size
        seen += 1
    return kept, used, seen, False


def open_market(path: Path | str) -> DbnFile:
    """As `open_dbn`, a file of any schema that becomes a tape (`LAYOUTS`), or of several."""
    file = open_dbn(path, None)
    return file if file.schema in (None, *LAYOUTS) else open_dbn(path)


def open_dbn(path: Path | str, schema: str | None = "mbo") -> DbnFile:
    """Read and check the metadata of a `.dbn` or `.dbn.zst` file; the content decides, not the name.

    Args:
        path: of the file.
        schema: the one needed; files that may hold several pass. None for any.

    Raises:
        DataError: the file can't be read.
        FormatError: it isn't DBN, is a legacy DBZ, or of an unknown version.
        SchemaError: it holds another schema.
        TruncatedFileError, CorruptFileError: it ends in the metadata, or these make no sense.
    """
    path = Path(path)
    with ByteStream(path) as stream:
        if stream.magic[8:11] == DBZ_MAGIC:
            raise FormatError(
                f"{path}: is legacy DBZ: convert it with Databento's command line tool, "
                f"`dbn {path.name} --output {path.stem}.dbn.zst`, or request it again"
            )
        head = _read(stream, 8)
        if head[:3] != DBN_MAGIC:
            start = f"starts with {bytes(head[:8])!r}" if len(head) else "it is empty"
            raise FormatError(f"{path}: isn't DBN ({start}): give a .dbn or .dbn.zst file")
        version, size = head[3] if len(head) > 3 else 1, int.from_bytes(head[4:], "little")
        if version not in VERSIONS:
            raise FormatError(f"{path}: is DBN version {version}, 1 to 3 can be read: request it in version 3")
        if size > MAX_METADATA_BYTES:
            raise CorruptFileError(f"{path}: claims {size:,} bytes of metadata: fetch the file again")
        body = _read(stream, size)
        if len(head) < 8 or len(body) < size:
            raise TruncatedFileError(f"{path}: ends at byte {len(head) + len(body)} in its metadata: fetch it again")
    try:
        metadata = databento_dbn.Metadata.decode(bytes(head + body))
    except (databento_dbn.DBNError, ValueError, OverflowError) as error:
        raise CorruptFileError(f"{path}: its metadata can't be decoded ({error}): fetch the file again") from None
    if not metadata.dataset.isprintable():
        raise CorruptFileError(f"{path}: is of dataset {metadata.dataset!r}: fetch the file again")
    held = None if metadata.schema is None else str(metadata.schema)
    if None not in (schema, held) and schema != held:
        raise SchemaError(f"{path}: holds schema {held}, {schema} is needed: request the data with schema {schema}")
    return DbnFile(
        path=path,
        version=version,
        dataset=metadata.dataset,
        schema=held,
        start=metadata.start,
        end=metadata.end if metadata.end and metadata.end < UNDEF_TIME else None,
        symbols=symbology.read_mappings(path, metadata),
        ts_out=metadata.ts_out,
        header_bytes=8 + size,
    )


def messages(path: Path | str, kind: type[M]) -> Iterator[M]:
    """Records of one kind (`databento_dbn.StatusMsg`, ...) as objects of the newest version, in bounded memory.

    For the small schemas: an object takes some microseconds.

    Raises:
        DataError: the file can't be read.
    """
    path = Path(path)
    decoder = databento_dbn.DBNDecoder()
    buffer = bytearray(DECODE_BYTES)
    count, filled = 0, DECODE_BYTES
    with ByteStream(path) as stream:
        while filled == DECODE_BYTES:
            filled = stream.fill(memoryview(buffer))
            decoder.write(bytes(buffer[:filled]))
            try:
                decoded = decoder.decode()
            except databento_dbn.DBNError as error:
                raise CorruptFileError(f"{path}: {error}: fetch the file again") from None
            for message in decoded:
                if isinstance(message, kind):
                    count += 1
                    yield message
    if decoder.buffer():
        raise TruncatedFileError(f"{path}: ends inside the record after {count} others: fetch the file again")


def _read(stream: ByteStream, count: int) -> bytearray:
    """Up to `count` bytes, without trusting it: memory grows with what the file really holds."""
    data = bytearray()
    while len(data) < count:
        block = bytearray(min(count - len(data), 1 << 20))
        filled = stream.fill(memoryview(block))
        data += block[:filled]
        if filled < len(block):
            break
    return data


def _describe(selection: Selection) -> str:
    spans = [f"id {span.instrument_id} from {span.start} until {span.end}" for span in selection.intervals]
    return f"({'; '.join(spans[:3])}{'; ...' if len(spans) > 3 else ''})"


def mbo_records(count: int, **columns: np.ndarray | int) -> np.ndarray:
    """New MBO records: zeros with the header filled in and the given columns set.

    >>> mbo_records(2, action=ACTION_ADD, size=[1, 5])["size"]
    array([1, 5], dtype=uint32)
    """
    records = np.zeros(count, mbo_dtype)
    records["length"] = MBO_BYTES // 4
    records["rtype"] = RTYPE_MBO
    for name, values in columns.items():
        records[name] = values
    return records


def write_mbo(
    path: Path | str,
    records: np.ndarray,
    *,
    symbol: str,
    instrument_id: int,
    dataset: str = "GLBX.MDP3",
    version: int = 3,
) -> None:
    """Write MBO records as a DBN file, compressed when the name ends in `.zst`; it appears whole or not at all.

    Args:
        path: `*.dbn` or `*.dbn.zst` (one zstd frame of metadata, then frames of records, all with checksums).
        records: (R,) of `mbo_dtype`, in the order of ts_recv.
        symbol: raw symbol that the metadata maps to `instrument_id` on the days from the first to the last ts_recv.
        instrument_id: number of the instrument.
        dataset: Databento's dataset code.
        version: of DBN, 1 to 3.

    Raises:
        ValueError: `records` isn't an array of MBO records.
    """
    if records.dtype != mbo_dtype or records.ndim != 1:
        raise ValueError(f"records must be one-dimensional mbo_dtype, not {records.dtype} {records.shape}")
    if np.any(records["length"] != MBO_BYTES // 4) or np.any(records["rtype"] != RTYPE_MBO):
        raise ValueError(f"records must have length {MBO_BYTES // 4} and rtype {RTYPE_MBO}: see mbo_records")
    path = Path(path)
    first, last = (int(records["ts_recv"][0]), int(records["ts_recv"][-1])) if len(records) else (0, 0)
    header = encode_metadata("mbo", first, last + 1, symbol, instrument_id, dataset, version)
    write_records(path, header, np.ascontiguousarray(records).view(np.uint8).data)


def write_records(path: Path | str, header: bytes, records: memoryview | bytes) -> None:
    """Write a DBN file of encoded parts, compressed when its name ends in `.zst`; it appears whole or not at all."""
    path = Path(path)
    with replace_file(path) as file:
        if path.suffix != ".zst":
            file.write(header)
            file.write(records)
            return
        compressor = zstandard.ZstdCompressor(write_checksum=True)
        file.write(compressor.compress(header))
        step = FRAME_RECORDS * MBO_BYTES
        for first in range(0, len(records), step):
            file.write(compressor.compress(records[first : first + step]))


def encode_metadata(
    schema: str, start: int, end: int, symbol: str, instrument_id: int, dataset: str = "GLBX.MDP3", version: int = 3
) -> bytes:
    """Metadata of one symbol over [start, end) ns.

    Raises:
        ValueError: a name can't be encoded.
    """
    interval = SimpleNamespace(
        start_date=EPOCH + dt.timedelta(days=start // NS_PER_DAY),
        end_date=EPOCH + dt.timedelta(days=(end - 1) // NS_PER_DAY + 1),
        symbol=str(instrument_id),
    )
    metadata = databento_dbn.Metadata(
        dataset=dataset,
        start=start,
        end=end,
        stype_in=databento_dbn.SType("raw_symbol"),
        stype_out=databento_dbn.SType("instrument_id"),
        schema=databento_dbn.Schema(schema),
        symbols=[symbol],
        partial=[],
        not_found=[],
        mappings=[SimpleNamespace(raw_symbol=symbol, intervals=[interval])],
        version=version,
    )
    try:
        return metadata.encode()
    except databento_dbn.DBNError as error:
        raise ValueError(f"symbol {symbol!r} or dataset {dataset!r}: {error}") from None
