"""How late the runner's own event loop sees what is there to read: the error of every time that it takes."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING, Self

from tierwise.runs.durations import Durations

if TYPE_CHECKING:
    from types import TracebackType

_APART = 0.02
"""Seconds between two probes, as a mean; random, so that they keep step with nothing."""

_moment = struct.Struct("d")


class LagMeter:
    """Probes the running loop while its block is entered: another thread writes, the loop notes when it read.

    Timers cannot tell: uvloop's count in milliseconds.
    """

    def __init__(self) -> None:
        self._late: list[float] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._write, name="lag meter", daemon=True)

    def __enter__(self) -> Self:
        self._near, self._far = socket.socketpair()
        self._near.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._near, self._read)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self._loop.remove_reader(self._near)
        self._near.close()
        self._far.close()

    @property
    def durations(self) -> Durations:
        """Seconds by which each probe was seen late."""
        return Durations.of(self._late)

    def _write(self) -> None:
        chance = random.Random(0)  # noqa: S311 - moments, not secrets
        while not self._over.wait(2 * _APART * chance.random()):
            os.write(self._far.fileno(), _moment.pack(time.monotonic()))

    def _read(self) -> None:
        seen = time.monotonic()
        probes = self._near.recv(64 * _moment.size)
        self._late += [seen - written for (written,) in _moment.iter_unpack(probes)]
