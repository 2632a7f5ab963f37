"""Proof that a port is listened on by a process of ours, and not by one that took a dead engine's port."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
_LISTEN = "0A"
_REACHED = frozenset(
    {
        "0100007F",  # 127.0.0.1
        "00000000",
        "0" * 32,
        "0000000000000000FFFF00000100007F",  # 127.0.0.1 as an IPv6 address
    }
)
"""Addresses on which a listener gets the connections to 127.0.0.1, as the kernel writes them."""


@dataclass(frozen=True, slots=True)
class Listener:
    """The listening sockets of a process tree on one port."""

    sockets: tuple[tuple[str, str], ...]
    """The path of each descriptor in /proc, and what it links to."""

    @property
    def is_held(self) -> bool:
        """Whether the processes still hold them, so that nobody else can listen there. Takes some microseconds."""
        try:
            return all(os.readlink(path) == target for path, target in self.sockets)  # noqa: PTH115 - asked per pass
        except OSError:
            return False


def find_listener(port: int, pids: Iterable[int]) -> Listener | None:
    """The listener of some processes on a port of 127.0.0.1; None if nobody, or somebody else, listens there too."""
    wanted = {f"socket:[{inode}]" for inode in _inodes(port)}
    found: dict[str, str] = {}
    for pid in pids:
        try:
            descriptors = list(os.scandir(f"/proc/{pid}/fd"))
        except OSError:  # it has just ended
            continue
        for descriptor in descriptors:
            try:
                target = os.readlink(descriptor.path)  # noqa: PTH115
            except OSError:
                continue
            if target in wanted:
                found.setdefault(target, descriptor.path)
    return (
        Listener(tuple((path, target) for target, path in found.items())) if wanted and wanted == set(found) else None
    )


def _inodes(port: int) -> set[str]:
    """Of all sockets that accept connections to this port of 127.0.0.1."""
    inodes = set()
    for table in _TABLES:
        try:
            lines = Path(table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:  # no IPv6
            continue
        for line in lines:
            fields = line.split()
            address, _, number = fields[1].rpartition(":")
            if fields[3] == _LISTEN and int(number, 16) == port and address in _REACHED:
                inodes.add(fields[9])
    return inodes
