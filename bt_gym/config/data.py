"""Which market data is replayed."""

from typing import Literal

from bt_gym._section import File, Section, Several, Word


class DataSourceConfig(Section):
    """Which market data is replayed."""

    type: Literal["databento"] = "databento"
    """Databento DBN files, `.dbn` or `.dbn.zst`, MBO schema."""
    files: Several[File] = ()
    """The files, in the order of time; may be left to the command line."""
    symbols: Several[Word] = ()
    """Raw symbols to trade, as written in the files; empty: the only symbol that the files have."""
