"""The processes of a sandbox as the kernel describes them in /proc, and the time that they have used."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

SOCKETS = ("unix", "netlink")
"""Tables in /proc/*/net that have one line per open socket; the sandbox can create no others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one process has used so far.

    Args:
        cpu: seconds, including reaped children.
        memory: bytes of anonymous and shared memory.
        waited: seconds in which its main thread could have run, but other programs had the processor; a wait is counted
            when it is over.
        ran: seconds in which its main thread had a processor.
        is_runnable: its main thread has a processor or waits for one.
    """

    cpu: float = 0.0
    memory: int = 0
    waited: float = 0.0
    ran: float = 0.0
    is_runnable: bool = False


NOTHING = Usage()
LONGEST = 0.25
"""Seconds without a look that may count as a program's own; there is one each 50 ms."""
CORES = len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1


def children(pid: int) -> list[int]:
    """The children of all threads of a process."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (thread / "children").read_text().split())
    return found


def family(first: int) -> list[int]:
    """The process and all its descendants, which is every process in the pid namespace: pid 1 adopts orphans."""
    found = [first]
    for pid in found:
        found += children(pid)
    return found


def usage(pid: int) -> Usage:
    """What a process has used (proc(5)); nothing if it has ended."""
    try:
        facts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return NOTHING
    memory = sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon:", "RssShmem:")))
    ran = waited = 0.0
    with contextlib.suppress(OSError, IndexError, ValueError):  # a kernel without CONFIG_SCHED_INFO lacks it
        ran, waited = (int(word) / 1e9 for word in Path(f"/proc/{pid}/schedstat").read_text().split()[:2])
    cpu = sum(map(int, facts[11:15])) / os.sysconf("SC_CLK_TCK")
    return Usage(cpu=cpu, memory=memory * 1024, waited=waited, ran=ran, is_runnable=facts[0] == "R" and waited > 0)


def socket_bytes(pid: int) -> int:
    """The most that the buffers of the sandbox's sockets can hold: each has the size that the kernel gives by default,
    because the sandbox may not change it.
    """
    count = 0
    for table in SOCKETS:
        with contextlib.suppress(OSError):
            count += max(0, len(Path(f"/proc/{pid}/net/{table}").read_bytes().splitlines()) - 1)
    if not count:
        return 0
    return count * int(Path("/proc/sys/net/core/wmem_default").read_text())


def sacrifice(first: int) -> None:
    """Make the kernel's OOM killer prefer these processes and their children over ours."""
    for pid in family(first):
        with contextlib.suppress(OSError):
            Path(f"/proc/{pid}/oom_score_adj").write_text("1000")


@dataclass(slots=True)
class Clock:
    """The time of a program, without what the load of the machine adds to it.

    An interval in which its processes waited for a processor counts less by that wait, but at least as long as they
    kept all cores busy: many processes that wait for each other save up no time. The kernel counts a wait when it is
    over. Until then, a process that could run and did not has waited for the whole interval; what cannot have been in
    the interval in which a wait ends is taken back from those before, except what kept all cores busy. Who looks waits
    for a processor too, or was stopped: an interval counts as `LONGEST` at most, or as what kept all cores busy.
    """

    began: float = field(default_factory=time.monotonic)
    own: float = 0.0
    """Elapsed seconds without those in which it waited for a processor."""
    cpu: float = 0.0
    """CPU seconds of all processes."""
    _before: float = 0.0
    _busy: float = 0.0
    """The least that `own` can be: the CPU seconds on all cores together."""
    _seen: float = field(default_factory=time.monotonic)
    _waited: dict[int, float] = field(default_factory=dict)
    """Of each process, with a wait that is not over."""
    _ran: dict[int, float] = field(default_factory=dict)

    def restart(self) -> None:
        """Count from now on."""
        self.began = time.monotonic()
        self._before += self.cpu
        self.own = self.cpu = self._busy = 0.0

    def tick(self, used: dict[int, Usage]) -> None:
        """Count the interval since the last call."""
        now = time.monotonic()
        length = now - self._seen
        waited_before, self._waited = self._waited, {}
        for pid, one in used.items():
            so_far = waited_before.get(pid, 0.0)
            is_waiting = one.is_runnable and self._ran.get(pid) == one.ran
            self._waited[pid] = max(so_far + length if is_waiting else so_far, one.waited)
        self._ran = {pid: one.ran for pid, one in used.items()}
        waits = {pid: waited - waited_before.get(pid, 0.0) for pid, waited in self._waited.items()}
        longest = max((waits[pid] for pid in waits.keys() & waited_before.keys()), default=0.0)
        # Sums can fall when a process ends that nobody has waited for yet.
        cpu = max(self.cpu, sum(one.cpu for one in used.values()) - self._before)
        busy = min(length, (cpu - self.cpu) / CORES)
        self._busy += busy
        earlier = max(0.0, longest - length)
        waited = sum(waits.values()) - earlier
        self.own = max(self.own + max(min(length - waited, LONGEST), busy) - earlier, self._busy)
        self._seen, self.cpu = now, cpu

    @property
    def elapsed(self) -> float:
        """Elapsed seconds."""
        return time.monotonic() - self.began
