"""A process of the check pool: runs one function at a time, with limits on its CPU time and memory.

`check_pool.py` starts it with MEMORY_BYTES as its argument, at low priority. It reads jobs from standard input
and writes one reply for each to standard output; both are length-prefixed. It ends when its standard input closes.

A job that uses too much CPU time is killed by the kernel (SIGPROF), also in the middle of a C function. A job that
needs too much memory fails in the allocator: it replies so if it can, and is killed by a signal otherwise.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import resource
import signal
import struct
import sys
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

PRELOADED = ("tierwise.verifiers", "tierwise.verifiers.readers")
"""What jobs use: imported before the memory limit is set, and before the first job's time counts."""

LENGTH = struct.Struct("!Q")
"""The prefix of a job and of a reply: the length of what follows, in bytes."""


class Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    """The result of one job."""

    value: Any = None
    """What the function returned: JSON types only."""
    error: str = ""
    """Message of a `ValueError` or a `msgspec.MsgspecError`, which says what is wrong with the input."""
    failure: str = ""
    """Any other exception."""
    is_out_of_memory: bool = False
    is_last: bool = False
    """Whether the process ends after this, because the next job must not lack the memory that this one keeps."""


def main() -> None:
    """Run jobs until standard input closes."""
    for module in PRELOADED:
        importlib.import_module(module)
    jobs, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a print is not a reply
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    most_bytes, idle_bytes = int(sys.argv[1]), _address_space()
    _limit_memory(idle_bytes, most_bytes)
    while (job := _read(jobs)) is not None:
        reply = _run(job)
        if reply.is_out_of_memory or _address_space() > idle_bytes + most_bytes // 2:
            reply = msgspec.structs.replace(reply, is_last=True)
        data = msgspec.msgpack.encode(reply)
        signal.setitimer(signal.ITIMER_PROF, 0)
        replies.write(LENGTH.pack(len(data)) + data)
        replies.flush()
        if reply.is_last:
            return


def _run(job: bytes) -> Reply:
    try:
        seconds, function, arguments = pickle.loads(job)  # noqa: S301 - from our parent
        signal.setitimer(signal.ITIMER_PROF, seconds)
        return Reply(value=function(*arguments))
    except MemoryError:
        return Reply(is_out_of_memory=True)
    except (ValueError, msgspec.MsgspecError) as error:
        return Reply(error=str(error) or repr(error))
    except Exception as error:  # noqa: BLE001 - the parent raises it
        return Reply(failure=f"{type(error).__name__}: {error}"[:500])


def _read(jobs: BinaryIO) -> bytes | None:
    head = jobs.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    size = LENGTH.unpack(head)[0]
    job = jobs.read(size)
    return job if len(job) == size else None


def _address_space() -> int:
    """Bytes of address space of this process (proc(5)); 0 where that is not known."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


def _limit_memory(idle_bytes: int, most_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if idle_bytes:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_AS, (idle_bytes + most_bytes, idle_bytes + most_bytes))
