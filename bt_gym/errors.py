"""Errors that bt_gym raises on purpose.

    BtGymError                     the root: catch it to catch them all
    +-- ConfigError                a configuration file or option is wrong
    +-- DataError                  a market data file can't be used
    |   +-- TruncatedFileError     it ends in the middle of a frame or a record
    |   +-- CorruptFileError       its bytes contradict a checksum or the format
    |   +-- FormatError            it isn't DBN, or a version that can't be read
    |   +-- SchemaError            it holds another schema than the one needed
    |   +-- SymbolError            the symbol isn't in it, or must be chosen
    |   +-- EmptyDataError         it has no record to work with
    |   +-- TickError              prices don't fit the tick size
    +-- InstrumentError            tick size, multiplier or fees are unknown
    +-- TapeError                  a tape file is missing, stale or damaged
    +-- CapacityError              a fixed-size table of the core is too small for the request
    +-- NotBuiltError              a model or section is documented but not built yet

Every message is one line and names what is wrong, where, the value received and the remedy.
A refused order is not an error: it is an execution report with a reason (`bt_gym.core.enums`).
"""


class BtGymError(Exception):
    """Root of all errors raised by bt_gym on purpose."""


class ConfigError(BtGymError):
    """A configuration file, key or option is unknown or has a wrong value."""


class DataError(BtGymError):
    """A market data file can't be used."""


class TruncatedFileError(DataError):
    """A file ends inside a zstd frame or inside a record."""


class CorruptFileError(DataError):
    """The bytes of a file contradict their checksum or the DBN format."""


class FormatError(DataError):
    """A file isn't DBN, is the legacy DBZ, or has a version that can't be read."""


class SchemaError(DataError):
    """A file holds another schema than the one needed."""


class SymbolError(DataError):
    """A symbol isn't in the file, or several are and none was chosen."""


class EmptyDataError(DataError):
    """A file holds no record to work with."""


class TickError(DataError):
    """Prices of resting orders don't lie on the tick grid."""


class InstrumentError(BtGymError):
    """Facts of an instrument (tick size, multiplier, fees) are unknown or contradict each other."""


class TapeError(BtGymError):
    """A tape file is missing, from another compiler version, or damaged."""


class CapacityError(BtGymError):
    """A fixed-size table of the compiled core is too small for what was asked."""


class NotBuiltError(BtGymError):
    """A documented model or configuration section that can be loaded but not run yet."""
