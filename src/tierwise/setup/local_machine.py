"""This machine's resources: cores, memory, GPUs."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from tierwise.runs.machine import gpus

_UNITS = {"MiB": 2**20, "GiB": 2**30}


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalMachine:
    """The resources that a first config file depends on."""

    cores: int
    """Cores available to this process."""
    memory_bytes: int
    """Main memory currently available."""
    gpus: tuple[str, ...] = ()
    """Their names."""
    gpu_bytes: int = 0
    """Memory of the smallest GPU."""

    @property
    def max_weight_bytes(self) -> int:
        """Total memory available for the weights of one model."""
        return max(self.memory_bytes, len(self.gpus) * self.gpu_bytes)

    def __str__(self) -> str:
        kinds = {name: self.gpus.count(name) for name in self.gpus}
        devices = ", ".join(f"{count} x {name}" for name, count in kinds.items()) or "no GPU that nvidia-smi finds"
        return f"{self.cores} cores, {gib(self.memory_bytes)} of memory available, {devices}"


def detect_machine() -> LocalMachine:
    """Detect this machine's resources."""
    found = gpus() or []
    return LocalMachine(
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=_available(),
        gpus=tuple(one.name for one in found),
        gpu_bytes=min((_bytes(one.memory) for one in found), default=0),
    )


def gib(count: int) -> str:
    """Bytes in GiB, as text."""
    return f"{count / 2**30:.1f} GiB"


def _available() -> int:
    found = re.search(r"^MemAvailable: +(\d+) kB$", Path("/proc/meminfo").read_text(encoding="utf-8"), re.MULTILINE)
    return int(found[1]) * 1024 if found else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _bytes(memory: str) -> int:
    """Bytes of a size from nvidia-smi, such as `81559 MiB`."""
    number, _, unit = memory.partition(" ")
    return int(number) * _UNITS.get(unit, 0) if number.isdecimal() else 0
