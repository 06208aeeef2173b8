"""Market data: DBN files in, tapes out, and an exchange that makes its own data."""
