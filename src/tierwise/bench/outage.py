"""Waits for an endpoint that is gone, so that an outage does not turn the rest of a run into errors."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import aiohttp

from tierwise.bench.endpoint import is_ready
from tierwise.spec.errors import TierwiseError

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST_WAIT = 300.0
"""Seconds to wait for an endpoint that the bench did not launch. An engine needs minutes to load large weights."""

POLL_SECONDS = 0.5
"""Seconds between two checks."""


class EndpointGone(TierwiseError):
    """The endpoint did not come back in time."""


class Outage:
    """Waits for one endpoint on behalf of all actions that lost it.

    Args:
        url: the endpoint's root.
        seconds: the longest wait; 0 if nobody will start the endpoint again.
        announce: receives a sentence when the wait begins, and when the endpoint is back.

    Attributes:
        lost: seconds of all outages after which the endpoint was back.
    """

    def __init__(self, url: str, seconds: float, announce: Callable[[str], None]) -> None:
        self._url = url
        self._seconds = seconds
        self._announce = announce
        self.lost = 0.0
        self._wait: asyncio.Task[bool] | None = None
        self._is_gone = False
        """Whether an outage goes on, or the endpoint did not come back from one."""
        self._ended = float("-inf")

    async def was_gone(self, since: float) -> bool:
        """Whether the endpoint has been gone; returns when it is ready again. Concurrent calls share one wait.

        Args:
            since: the `time.monotonic()` time from which an outage counts.

        Raises:
            EndpointGone: it was not ready again in time.
        """
        if self._ended >= since:
            return True
        if self._wait is None or (self._wait.done() and not self._is_gone):
            self._wait = asyncio.create_task(self._until_ready())
        return await asyncio.shield(self._wait)

    async def delay(self) -> float:
        """By how many seconds outages have delayed the run; returns when none goes on.

        Raises:
            EndpointGone: the endpoint did not come back in time.
        """
        while self._is_gone and self._wait is not None:
            await asyncio.shield(self._wait)
        return self.lost

    async def _until_ready(self) -> bool:
        async with aiohttp.ClientSession() as session:
            if await is_ready(self._url, session):
                return False
            self._is_gone = True
            if self._seconds:
                self._announce(f"the endpoint {self._url} is gone; waiting up to {self._seconds:g} s for it")
            began = time.monotonic()
            while (waited := time.monotonic() - began) < self._seconds:
                await asyncio.sleep(min(POLL_SECONDS, self._seconds - waited))
                if await is_ready(self._url, session):
                    self._ended = time.monotonic()
                    self.lost += self._ended - began
                    self._is_gone = False
                    self._announce(f"the endpoint is back after {self._ended - began:.0f} s")
                    return True
        after = f" for {self._seconds:g} s" if self._seconds else ""
        raise EndpointGone(f"the endpoint {self._url} is gone{after}; start it again, and continue with --resume")
