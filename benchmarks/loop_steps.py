"""`tierwise serve` with a probe of its event loop: the processor time of the longest step, in a file that others read.

    python benchmarks/loop_steps.py FILE serve CONFIG …

A step is what the loop's thread does between two beats of a timer. Its processor time does not depend on what else runs
on the machine. `LongestStep` reads the file from another process, and resets it.
"""

from __future__ import annotations

import asyncio
import mmap
import struct
import sys
import time
from pathlib import Path

import uvloop

_BEAT_SECONDS = 0.002
_SECONDS = struct.Struct("d")


class LongestStep:
    """The processor time of the longest step since the last reset, shared by two processes.

    Args:
        file: a file that both map into memory.
    """

    def __init__(self, file: Path) -> None:
        with file.open("a+b") as opened:
            opened.truncate(_SECONDS.size)
            self._shared = mmap.mmap(opened.fileno(), _SECONDS.size)

    def add(self, seconds: float) -> None:
        if seconds > _SECONDS.unpack_from(self._shared)[0]:
            _SECONDS.pack_into(self._shared, 0, seconds)

    def take(self) -> float:
        """The seconds since the last call."""
        found: float = _SECONDS.unpack_from(self._shared)[0]
        _SECONDS.pack_into(self._shared, 0, 0.0)
        return found


def watch(loop: asyncio.AbstractEventLoop, longest: LongestStep) -> None:
    """Measure the steps of a loop from now on, in its thread."""
    before = time.thread_time()

    def beat() -> None:
        nonlocal before
        now = time.thread_time()
        longest.add(now - before)
        before = now
        loop.call_later(_BEAT_SECONDS, beat)

    loop.call_soon(beat)


def main() -> None:
    """Run the command line of Tierwise with the probe."""
    longest = LongestStep(Path(sys.argv.pop(1)))
    new_event_loop = uvloop.new_event_loop

    def watched() -> uvloop.Loop:
        loop = new_event_loop()
        watch(loop, longest)
        return loop

    uvloop.new_event_loop = watched
    from tierwise.cli import main as command_line  # noqa: PLC0415 - after the change above

    command_line()


if __name__ == "__main__":
    main()
