"""Measures the delay with which the event loop sees readable data: the error of every time it records."""

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

_MEAN_INTERVAL = 0.02
"""Mean seconds between two probes. Intervals are random so that probes do not synchronise with other timers."""

_moment = struct.Struct("d")


class LagMeter:
    """Probes the running loop inside a `with` block: a thread writes timestamps, and the loop notes when it reads them.

    Loop timers cannot measure this, because uvloop's have millisecond resolution.
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
        """The delay of each probe, in seconds."""
        return Durations.of(self._late)

    def _write(self) -> None:
        rng = random.Random(0)  # noqa: S311 - intervals, not secrets
        while not self._over.wait(2 * _MEAN_INTERVAL * rng.random()):
            os.write(self._far.fileno(), _moment.pack(time.monotonic()))

    def _read(self) -> None:
        seen = time.monotonic()
        probes = self._near.recv(64 * _moment.size)
        self._late += [seen - written for (written,) in _moment.iter_unpack(probes)]
