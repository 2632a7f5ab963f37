"""A memory cgroup for one sandbox, where this user may create one: it counts what no other limit does, such as the
buffers of sockets and pipes, and it has no moment in which the limit can be exceeded.

A group can be created below our own (cgroup v1, or a v2 group without processes of its own) or beside it (cgroup v2,
where systemd has delegated the parent to this user).
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tierwise.verifiers.sandbox.limits import MIB

PROC = Path("/proc/self")
OVERHEAD = 64 * MIB
"""For what is no memory of the program: interpreters that start it, page tables, files that it reads."""

_numbers = itertools.count()

_LIMITS = {
    "memory.max": ("memory.oom.group", "memory.swap.max"),
    "memory.limit_in_bytes": ("memory.memsw.limit_in_bytes",),
}
"""The file with the limit in v2 and in v1, and those that complete it."""


@dataclass(frozen=True, slots=True)
class MemoryGroup:
    """A cgroup that limits memory; remove it after the last process has ended."""

    place: Path

    def add(self, pid: int) -> None:
        """Move a process into it; its children follow.

        Raises:
            OSError: it has ended, or may not be moved.
        """
        (self.place / "cgroup.procs").write_text(str(pid))

    @property
    def has_killed(self) -> bool:
        """Whether the kernel ended a process for memory."""
        for name in ("memory.events", "memory.oom_control"):
            with contextlib.suppress(OSError):
                rows = dict(line.split(maxsplit=1) for line in (self.place / name).read_text().splitlines())
                return int(rows.get("oom_kill", 0)) > 0
        return False

    def remove(self) -> None:
        """Remove it; a group that still has processes stays."""
        with contextlib.suppress(OSError):
            self.place.rmdir()


@functools.cache
def places() -> list[Path]:
    """Where a group could be created, best first; looked for once."""
    found: list[Path] = []
    rows = [line.split(":", 2) for line in (PROC / "cgroup").read_text().splitlines()]
    mounts = [line.split() for line in (PROC / "mounts").read_text().splitlines()]
    for _, controllers, path in rows:
        for mount in mounts:
            is_v1 = mount[2] == "cgroup" and "memory" in controllers.split(",") and "memory" in mount[3].split(",")
            is_v2 = mount[2] == "cgroup2" and not controllers
            if is_v1 or is_v2:
                own = Path(mount[1], path.lstrip("/"))
                found += [own, own.parent] if is_v2 and path != "/" else [own]
    return found


@functools.cache
def sweep(parent: Path) -> None:
    """Remove the groups that a server left behind when it was killed."""
    for place in parent.glob("tierwise-*-*"):
        pid = place.name.split("-")[1]
        if not Path("/proc", pid).exists():
            MemoryGroup(place).remove()


def create(limit: int, *, whole: bool = True) -> MemoryGroup | None:
    """A new group with this limit in bytes; None where none can be created.

    Args:
        limit: bytes of all its processes together.
        whole: the kernel ends all of it for memory, where it can, and not one process.
    """
    with contextlib.suppress(OSError):
        for parent in places():
            group = MemoryGroup(parent / f"tierwise-{os.getpid()}-{next(_numbers)}")
            with contextlib.suppress(OSError):
                sweep(parent)
                group.place.mkdir()
                if _set(group.place, limit + OVERHEAD, whole=whole):
                    return group
                group.remove()
    return None


def hold(pids: Iterable[int], limit: int, *, whole: bool = True) -> MemoryGroup | None:
    """A new group (`create`) with these processes; None where this user may not move them into one."""
    group = create(limit, whole=whole)
    if group is not None:
        try:
            for pid in pids:
                group.add(pid)
        except OSError:
            group.remove()
            return None
    return group


def _set(place: Path, limit: int, *, whole: bool) -> bool:
    for name, more in _LIMITS.items():
        if (place / name).exists():
            (place / name).write_text(str(limit))
            also = {"memory.oom.group": str(int(whole)), "memory.swap.max": "0"}
            for other in more:
                with contextlib.suppress(OSError):  # a kernel that does not count swap
                    (place / other).write_text(also.get(other, str(limit)))
            return True
    return False
