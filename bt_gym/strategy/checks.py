"""What a constructor of a strategy refuses: one message, with the parameter's name, its value and what it needs."""


def at_least(least: float, **values: float) -> None:
    """Refuses values below `least`.

    >>> at_least(1, size=3, interval_ms=0)
    Traceback (most recent call last):
    ValueError: interval_ms 0: needs 1 or more

    Raises:
        ValueError: one is, or is no number.
    """
    for name, value in values.items():
        if not value >= least:
            raise ValueError(f"{name} {value}: needs {least} or more")


def above_zero(**values: float) -> None:
    """Refuses values that aren't above 0.

    Raises:
        ValueError: one isn't.
    """
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name} {value}: needs more than 0")
