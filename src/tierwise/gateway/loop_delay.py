"""Measures how late the event loop calls what is due: what every request waits, whatever it asks for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Self

INTERVAL_SECONDS = 0.1


class LoopDelay:
    """Reports, ten times a second, the seconds by which the running event loop was late. A context manager.

    Args:
        observe: receives the seconds.
    """

    def __init__(self, observe: Callable[[float], None]) -> None:
        self._observe = observe
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        self._plan()
        return self

    def __exit__(self, *error: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _plan(self) -> None:
        due = self._loop.time() + INTERVAL_SECONDS
        self._timer = self._loop.call_at(due, self._look, due)

    def _look(self, due: float) -> None:
        self._observe(max(0.0, self._loop.time() - due))
        self._plan()
