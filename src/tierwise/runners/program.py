"""Runs an agent's program in a new folder, with a time limit, and leaves none of its processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tierwise.engines.process import guard
from tierwise.runners.work import RunnerFailed

GRACE_SECONDS = 2.0
"""From SIGTERM to SIGKILL, for an agent whose time is over."""

MOST_LOG_BYTES = 8 * 2**20
"""Kept of what an agent prints."""

_SAID_CHARACTERS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A program that ended.

    Args:
        code: its exit code; 128 + the signal's number if a signal ended it.
        timed_out: its time limit ended it.
        seconds: that it took.
        said: the end of what it printed.
    """

    code: int
    timed_out: bool
    seconds: float
    said: str


async def run(line: Sequence[str], folder: Path, env: Mapping[str, str], seconds: float, log: Path) -> Ran:
    """Run a program under a guard, which ends it and all that it started, also if this process is killed.

    Args:
        line: the program and its arguments.
        folder: where it starts.
        env: added to the environment of this process.
        seconds: time limit.
        log: the file that what it prints is appended to.

    Raises:
        RunnerFailed: it cannot be started.
    """
    began = time.monotonic()
    try:
        process = await asyncio.create_subprocess_exec(
            *guard.command(line, GRACE_SECONDS),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=folder,
            env=os.environ | dict(env),
            start_new_session=True,
        )
    except OSError as error:
        raise RunnerFailed(f"cannot start {line[0]}: {error.strerror}") from error
    reading = asyncio.create_task(_kept(process, log))
    timed_out = False
    try:
        async with asyncio.timeout(seconds):
            await asyncio.shield(reading)
            await process.wait()
    except TimeoutError:
        timed_out = True
    finally:
        if process.stdin is not None:
            process.stdin.close()  # the guard ends what still runs, and itself after it
        await process.wait()
        said = await reading
    return Ran(code=process.returncode or 0, timed_out=timed_out, seconds=time.monotonic() - began, said=said)


async def _kept(process: asyncio.subprocess.Process, log: Path) -> str:
    """Write what the program prints to the log; the end of it."""
    if process.stdout is None:
        raise AssertionError
    end, room = b"", MOST_LOG_BYTES
    with log.open("ab", buffering=0) as file:
        while chunk := await process.stdout.read(64 * 1024):
            with contextlib.suppress(OSError):  # a full disk costs the log, and not the task
                file.write(chunk[:room])
            room -= min(room, len(chunk))
            end = (end + chunk)[-_SAID_CHARACTERS:]
    return end.decode(errors="replace").strip()
