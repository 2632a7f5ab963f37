"""The clock for all durations."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Hashable
from functools import cache
from typing import cast

_may_be_frozen = False


def now() -> float:
    """Seconds of the running loop's clock, comparable with its deadlines.

    uvloop's `time()` has a resolution of 1 ms and the same origin as `time.monotonic()`, which is finer. Only a frozen
    clock differs from it: that of tests, or of a simulation.
    """
    return _of_running_loop() if _may_be_frozen else time.monotonic()


def expect_frozen() -> None:
    """A loop is made whose clock is frozen: from now on the running loop is asked, which costs a system call."""
    global _may_be_frozen  # noqa: PLW0603 - of the process, as loops are
    _may_be_frozen = True


def _of_running_loop() -> float:
    loop = asyncio.get_running_loop()
    return loop.time() if _is_frozen(cast("Hashable", type(loop))) else time.monotonic()


@cache
def _is_frozen(kind: Hashable) -> bool:
    return getattr(kind, "is_frozen", False)
