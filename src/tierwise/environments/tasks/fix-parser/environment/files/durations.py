"""Durations as people write them."""
import doctest
import re

UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def seconds(text):
    """Seconds of a duration: numbers with units w, d, h, m, s or ms, each at most once and the larger first, after a sign for
    all of them. Spaces may stand between the parts and around them, and case does not matter. A bare number is seconds.

    Raises ValueError for anything else.

    >>> seconds("90s")
    90.0
    >>> seconds("1h30m")
    5400.0
    >>> seconds("-1h 30m")
    -5400.0
    >>> seconds("1.5h")
    5400.0
    >>> seconds("250ms")
    0.25
    >>> seconds("10")
    10.0
    >>> seconds("5x")
    Traceback (most recent call last):
    ValueError: '5x' is no duration
    """
    total = 0
    for number, unit in re.findall(r"(-?\d+)([dhms])", text):
        total += int(number) * UNITS[unit]
    return total


if __name__ == "__main__":
    doctest.testmod(verbose=True)
