"""Which market data is replayed."""

from typing import Literal, Self

from pydantic import model_validator

from bt_gym._section import Day, File, Section, Several, Word


class DataSourceConfig(Section):
    """Which market data is replayed."""

    type: Literal["databento"] = "databento"
    """Databento DBN files, `.dbn` or `.dbn.zst`, MBO schema."""
    files: Several[File] = ()
    """The files or folders of them, in the order of time; may be left to the command line."""
    days: Several[Day] = ()
    """UTC days to replay from the catalogue of tapes that `bt-gym ingest` has made, instead of files."""
    symbols: Several[Word] = ()
    """Raw symbols to trade, as written in the files; empty: the only symbol that the files have."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.files and self.days:
            raise ValueError("files and days are two sources; keep one")
        if self.days and not self.symbols:
            raise ValueError("days need symbols: name those to trade")
        return self
