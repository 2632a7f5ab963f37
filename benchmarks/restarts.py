"""The time to detect a failed engine and to restart it: llama.cpp with a small model and real faults.

    python benchmarks/restarts.py small.gguf

SIGKILL ends the process. SIGSTOP freezes it, while its port still accepts connections. `port lost` shuts its listening
socket down from outside, and the process may continue or exit. Times are in seconds from the fault; the supervisor uses
the timeouts of `tierwise serve`.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import os
import signal
import socket
import statistics
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from tierwise.engines.llama_cpp.launch import build
from tierwise.engines.llama_cpp.settings import LlamaCpp
from tierwise.engines.settings import LaunchContext

if TYPE_CHECKING:
    from collections.abc import Callable

_PIDFD_GETFD = 438
"""The number of the system call, which Python does not expose; the same on every architecture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    start: float
    """Seconds of the engine's first start."""
    noticed: float
    """Seconds until its health reported the failure."""
    state: str
    """The reported reason."""
    ready: float
    """Seconds until it was ready again, from the fault."""


def lose_port(pid: int) -> None:
    """Shut down every listening socket of another process."""
    libc, handle = ctypes.CDLL(None, use_errno=True), os.pidfd_open(pid)
    found = 0
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        descriptor = libc.syscall(_PIDFD_GETFD, handle, int(entry.name), 0)
        if descriptor < 0:
            raise OSError(ctypes.get_errno(), "this machine does not allow access to another process's sockets")
        with suppress(OSError), socket.socket(fileno=descriptor) as shared:  # not a socket
            if shared.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                shared.shutdown(socket.SHUT_RDWR)
                found += 1
    os.close(handle)
    if not found:
        raise SystemExit(f"process {pid} has no listening socket")


FAULTS: dict[str, Callable[[int], None]] = {
    "SIGKILL": lambda pid: os.kill(pid, signal.SIGKILL),
    "SIGSTOP": lambda pid: os.kill(pid, signal.SIGSTOP),
    "port lost": lose_port,
}


async def recovery(model: Path, fault: Callable[[int], None]) -> Recovery:
    """The results of each fault on a new engine, because the delay before a restart doubles with every failure."""
    with tempfile.TemporaryDirectory() as folder:
        context = LaunchContext(base=Path(folder), logs=Path(folder), model=model)
        engine = build(LlamaCpp(checkpoint="small", context=1024, slots=4), "small", context)
        try:
            await engine.start()
            pid, start_seconds = engine.supervisor.pid, engine.health().start_seconds
            assert pid is not None
            assert start_seconds is not None
            began = time.monotonic()
            fault(pid)
            while (state := engine.supervisor.state) == "ready":  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.002)
            noticed = time.monotonic() - began
            await engine.supervisor.ready()
            return Recovery(start=start_seconds, noticed=noticed, state=state, ready=time.monotonic() - began)
        finally:
            await engine.stop()


async def measure(model: Path, rounds: int) -> None:
    print(f"{rounds} rounds each; median (minimum to maximum), in seconds")
    for name, fault in FAULTS.items():
        seen = [await recovery(model, fault) for _ in range(rounds)]
        states = ", ".join(sorted({one.state for one in seen}))
        print(
            f"{name:10s} cold start {_spread([one.start for one in seen])}"
            f"; noticed {_spread([one.noticed for one in seen])} as {states}"
            f"; ready again {_spread([one.ready for one in seen])}",
            flush=True,
        )


def _spread(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a GGUF file")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if not options.model.is_file():
        parser.error(f"there is no file {options.model}")
    uvloop.run(measure(options.model.resolve(), options.rounds))


if __name__ == "__main__":
    main()
