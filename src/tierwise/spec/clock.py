"""The clock for all durations."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Hashable
from functools import cache
from typing import cast


def now() -> float:
    """Seconds of the running loop's clock, comparable with its deadlines.

    uvloop's `time()` has a resolution of 1 ms and the same origin as `time.monotonic()`, which is finer. Only the
    frozen clock of tests differs from it.
    """
    loop = asyncio.get_running_loop()
    return loop.time() if _is_frozen(cast("Hashable", type(loop))) else time.monotonic()


@cache
def _is_frozen(kind: Hashable) -> bool:
    return getattr(kind, "is_frozen", False)
