"""The resource limits of a program in the sandbox, and the result of running it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tierwise.spec.errors import SpecError

Stop = Literal["", "time", "cpu", "memory", "output", "files", "load"]
"""The limit that ended a program. `load`: other programs had the processors, so nothing is known about it."""

MIB = 1024 * 1024
WALL = 10.0, 60.0
"""A program that is never done: this factor of its `seconds`, plus these seconds, by the clock on the wall."""

WAITING = 5.0
"""Seconds that an answer may take beyond its CPU time to sleep, or to wait for a disk."""

LEAST = {
    "cpu_seconds": 0.1,
    "memory_bytes": 32 * MIB,
    "processes": 1,
    "scratch_bytes": MIB,
    "open_files": 16,
}  # 0 means no limit to the kernel


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Resource limits of one program. None of them depends on the load of the machine.

    Args:
        seconds: elapsed time, without the time in which it waited for a processor that others used.
        cpu_seconds: CPU time of all its processes together.
        memory_bytes: address space of each process (with `ipc`: what it can write and shares with nobody), and memory
            of all together; shared pages count once per process. Scratch is not included.
        processes: concurrent processes and threads.
        output_bytes: stdout and stderr together.
        scratch_bytes: all files together, and any one file.
        files: in scratch; tmpfs limits bytes, but an empty file costs a kilobyte of kernel memory.
        open_files: of one process; each may be a socket, whose buffers no other limit covers.
        ipc: it may use sockets of the network, which reach no further than itself, and shared memory without a file
            (`mmap(-1)`, `memfd_create`, `shmget`). Memory of both is counted only where there is a memory cgroup.

    Raises:
        SpecError: a limit is too small for any program to run.
    """

    seconds: float = 10.0
    cpu_seconds: float = 10.0
    memory_bytes: int = 512 * MIB
    processes: int = 32
    output_bytes: int = 64 * 1024
    scratch_bytes: int = 64 * MIB
    files: int = 10_000
    open_files: int = 64
    ipc: bool = False

    def __post_init__(self) -> None:
        for field, least in LEAST.items():
            if getattr(self, field) < least:
                raise SpecError(
                    f"{getattr(self, field)} is too little to run a program; the minimum is {least}", field=field
                )

    @classmethod
    def of_grade(cls, seconds: float, memory_bytes: int = 512 * MIB) -> Limits:
        """The limits of a program that grades an answer: so many seconds of CPU time, and somewhat more if it waits."""
        return cls(
            seconds=seconds + WAITING,
            cpu_seconds=max(seconds, LEAST["cpu_seconds"]),
            memory_bytes=memory_bytes,
        )

    @property
    def wall_seconds(self) -> float:
        """Elapsed time after which a program is ended even if it waited for a processor all the while."""
        factor, more = WALL
        return factor * self.seconds + more


DEFAULT_LIMITS = Limits()

PREPARATION = Limits(seconds=60.0, cpu_seconds=60.0)
"""Time limits while a program prepares itself, before it says that its own time begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxResult:
    """The result of a program.

    Args:
        exit_code: 128 + the signal's number if a signal ended it; None if a limit did.
        stdout: decoded as UTF-8 with replacement; truncated at the limit.
        stderr: the same.
        seconds: elapsed time, as counted for the limit.
        cpu_seconds: CPU time of all its processes, as last seen.
        stopped: the limit that ended it; empty if it ended by itself.
    """

    exit_code: int | None
    stdout: str
    stderr: str
    seconds: float
    cpu_seconds: float
    stopped: Stop


class SandboxUnavailable(SpecError):
    """No sandbox is available, so the code was not run."""
