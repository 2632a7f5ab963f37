"""The occupancy of deployments that several processes send passes to, in memory that they share.

A second of a deployment is divided among all passes that run in it, whichever process sent them; otherwise each process
would bill the whole second. Every process reads the same monotonic clock.
"""

from __future__ import annotations

import asyncio
import fcntl
import mmap
import struct
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager

from tierwise.engines.occupancy import Occupancy
from tierwise.engines.part import Part

_HEAD = struct.Struct("dd")
"""The moment of the last change, and the share of a pass that has run since the beginning."""
_COUNT = struct.Struct("q")
LOOK_SECONDS = 0.02
"""Between two looks at what other processes have begun, while somebody watches."""


class SharedRoom:
    """The shared memory. Made before the processes are forked; one of them hands out its places.

    Args:
        places: for how many deployments there is room at a time.
        processes: how many processes there are at most.
    """

    def __init__(self, places: int, processes: int) -> None:
        self._processes = processes
        self._size = _HEAD.size + processes * _COUNT.size
        self._free, self._taken = list(range(places))[::-1], set[int]()
        self.memory = mmap.mmap(-1, max(1, places) * self._size)  # pages that nobody touches take nothing
        self._lock = tempfile.TemporaryFile()  # noqa: SIM115 - for as long as the processes live; its locks end with them

    def close(self) -> None:
        """Let go of it in this process."""
        self._lock.close()

    def take(self) -> int | None:
        """A place for one more deployment; None if there is none left."""
        if not self._free:
            return None
        self._taken.add(place := self._free.pop())
        return place

    def give_back(self, place: int) -> None:
        """The deployment is gone, and none of its passes runs."""
        self._taken.discard(place)
        self._free.append(place)

    def occupancy(self, place: int, process: int) -> SharedOccupancy:
        """The occupancy of a deployment, for one of the processes."""
        return SharedOccupancy(self, place * self._size, process, self._processes)

    def clear(self, process: int, now: float) -> None:
        """A process has died: none of its passes runs any more."""
        for place in self._taken:
            self.occupancy(place, process).end_all(now)

    @contextmanager
    def locked(self, place: int) -> Generator[None]:
        """Hold the lock of a deployment, which ends with the process if it dies."""
        fcntl.lockf(self._lock, fcntl.LOCK_EX, 1, place)
        try:
            yield
        finally:
            fcntl.lockf(self._lock, fcntl.LOCK_UN, 1, place)


class SharedOccupancy(Occupancy):
    """As `Occupancy`, of all processes together.

    Args:
        room: the shared memory.
        place: where the deployment's numbers begin.
        process: the number of this process, from 0.
        processes: how many there are at most.
    """

    def __init__(self, room: SharedRoom, place: int, process: int, processes: int) -> None:
        super().__init__()
        self._room, self._place = room, place
        self._counts = range(self._place + _HEAD.size, self._place + _HEAD.size + processes * _COUNT.size, _COUNT.size)
        self._process = process
        self._mine = self._counts[process]
        self.is_divided = False
        """Whether each process may only use its part of the slots."""

    @property
    def running(self) -> int:
        return sum(_COUNT.unpack_from(self._room.memory, place)[0] for place in self._counts)

    def enter(self, now: float) -> float:
        share = self._change(1, now)
        for begun in self._watching:
            begun()
        return share

    def leave(self, mark: float, now: float) -> float:
        return self._change(-1, now) - mark

    def shared(self, now: float) -> float:
        return self._change(0, now)

    def has_room(self, slots: int, own: int) -> bool:
        """As `Occupancy.has_room`. Where slots are divided, users may wait in a process whose part is full."""
        if not super().has_room(slots, own):
            return False
        if not self.is_divided:
            return True
        full = [self._count(number) >= self._part(number, slots) for number in range(len(self._counts))]
        full[self._process] = self._count(self._process) - own + max(1, own) > self._part(self._process, slots)
        return not any(full)

    def free(self, slots: int) -> int:
        whole = super().free(slots)
        return min(whole, self._part(self._process, slots) - self._count(self._process)) if self.is_divided else whole

    def _part(self, process: int, slots: int) -> int:
        return Part(process, len(self._counts)).of(slots)

    def _count(self, process: int) -> int:
        return int(_COUNT.unpack_from(self._room.memory, self._counts[process])[0])

    @contextmanager
    def watched(self, begun: Callable[[], None]) -> Generator[None]:
        """As `Occupancy.watched`; what other processes begin is seen at the next look."""

        async def look() -> None:
            while True:
                await asyncio.sleep(LOOK_SECONDS)
                begun()

        with super().watched(begun):
            looking = asyncio.get_running_loop().create_task(look())
            try:
                yield
            finally:
                looking.cancel()

    def end_all(self, now: float) -> None:
        """No pass of this process runs any more."""
        self._change(-_COUNT.unpack_from(self._room.memory, self._mine)[0], now)

    def _change(self, by: int, now: float) -> float:
        """Change the number of passes of this process. Returns the share of a pass that has run since the beginning."""
        memory = self._room.memory
        with self._room.locked(self._place):
            moment, share = _HEAD.unpack_from(memory, self._place)
            if (running := self.running) and now > moment:
                share += (now - moment) / running
            _HEAD.pack_into(memory, self._place, max(now, moment), share)
            if by:
                _COUNT.pack_into(memory, self._mine, _COUNT.unpack_from(memory, self._mine)[0] + by)
        return float(share)
