"""The one clock that durations are read from."""

from __future__ import annotations

import asyncio
import time


def now() -> float:
    """Seconds of the running loop's clock, comparable with its deadlines.

    uvloop's own `time()` ticks in milliseconds, from the same origin as `time.monotonic()`, which is finer. A test's
    frozen clock is the only one that differs from it.
    """
    loop = asyncio.get_running_loop()
    return loop.time() if getattr(loop, "is_frozen", False) else time.monotonic()
