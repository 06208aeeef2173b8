"""Reads the MBO records of a plain DBN file, a record at a time, as the format is described.

https://databento.com/docs/standards-and-conventions/databento-binary-encoding
"""

import struct

import databento_dbn

MBO = 160
SCHEMA_MBO = 0
SCHEMA_ANY = 0xFFFF
KNOWN = {int(rtype) for rtype in databento_dbn.RType.variants()}


def read(data: bytes) -> list[bytes] | None:
    """The 56 bytes of each MBO record; None for a file that has to be refused."""
    if len(data) < 8 or data[:3] != b"DBN" or not 1 <= data[3] <= 3:
        return None
    (length,) = struct.unpack_from("<I", data, 4)
    place = 8 + length
    if place > len(data):
        return None
    try:
        metadata = databento_dbn.Metadata.decode(data[:place])
    except Exception:  # whatever the vendor finds wrong
        return None
    if metadata.schema not in (None, databento_dbn.Schema("mbo")):
        return None
    size = 64 if metadata.ts_out else 56
    found = []
    while place < len(data):
        words = data[place]
        rtype = data[place + 1] if place + 1 < len(data) else None
        if rtype is None or rtype not in KNOWN or words < 4 or (rtype == MBO and 4 * words != size):
            return None
        if place + 4 * words > len(data):
            return None
        if rtype == MBO:
            record = bytearray(data[place : place + 56])
            record[0] = 14
            found.append(bytes(record))
        place += 4 * words
    return found or None
