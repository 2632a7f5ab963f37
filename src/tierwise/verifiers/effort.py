"""A bound on the work of reading one text in the server's own process, counted in steps and not in seconds.

The readers of numbers and options count their steps here. Most texts of a size that is read in the server take a
fraction of `MOST_STEPS`; one that takes more is given up, and read in the check pool from the beginning.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

MOST_STEPS = 400
"""Steps of one reading in the server. A step takes some 5 µs."""

_left: ContextVar[list[int] | None] = ContextVar("_left", default=None)


class TooMuchWork(Exception):
    """A reading takes more steps than it may."""


@contextmanager
def bounded(steps: int = MOST_STEPS) -> Generator[None]:
    """Bound the steps of the block.

    Raises:
        TooMuchWork: it takes more.
    """
    token = _left.set([steps])
    try:
        yield
    finally:
        _left.reset(token)


def spend(steps: int = 1) -> None:
    """Count steps, where they are bounded.

    Raises:
        TooMuchWork: there are too many.
    """
    left = _left.get()
    if left is not None:
        left[0] -= steps
        if left[0] < 0:
            raise TooMuchWork
