"""Backtests: the runner, metrics and reports."""
