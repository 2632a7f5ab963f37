"""Describes the environment of a run: machine and packages. Differences in these can change answers."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

import msgspec

from tierwise.spec.version import __version__


def _engine_packages() -> tuple[str, ...]:
    """The packages of all engines."""
    from tierwise.engines import ENGINES  # noqa: PLC0415 - comparing runs imports this module, and needs no engine

    return tuple(dict.fromkeys(package for row in ENGINES.values() for package in row.packages))


_KERNELS = re.compile(
    r"avx\w*|amx_\w+|fma|f16c|bmi2|sse4_\w|ssse3|gfni|asimd\w*|sve\w*|sme(?!p)\w*|i8mm|bf16|fphp|rv\w*zv\w*"
)
"""Instruction-set extensions in /proc/cpuinfo that engines have kernels for, on x86, ARM and RISC-V."""

_DEV_EXTRA = re.compile(r"""extra == ['"]dev['"]""")

_GPU_SECONDS = 20.0
"""Timeout of `nvidia-smi`. It often takes several seconds when no other program keeps the driver loaded."""


class InstalledGpu(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU, as `nvidia-smi` reports it."""

    name: str
    driver: str
    memory: str
    """With its unit, such as `81559 MiB`."""


class RunMachine(msgspec.Struct, frozen=True, kw_only=True):
    """The machine that ran the bench, and the tiers if the bench launched them."""

    cpu: str
    cores: int
    """Cores available to this process."""
    memory_bytes: int
    load: float
    """One-minute load average before the run."""
    system: str
    features: list[str] | None = None
    """CPU extensions that engines have kernels for; None in runs of older versions."""
    gpus: list[InstalledGpu] | None = None
    """GPUs that `nvidia-smi` reports; None if it failed, and in runs of older versions."""


def machine() -> RunMachine:
    """The current machine."""
    return RunMachine(
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        load=round(os.getloadavg()[0], 2),
        system=platform.platform(),
        features=_features(),
        gpus=gpus(),
    )


def versions() -> dict[str, str]:
    """The versions of Tierwise, Python and the installed engines."""
    return {"tierwise": __version__, "python": platform.python_version(), **_installed(_engine_packages())}


def packages() -> dict[str, str]:
    """The versions of the installed packages that Tierwise and its extras depend on, engines excluded."""
    required = (one for one in metadata.requires("tierwise") or () if not _DEV_EXTRA.search(one))
    wanted = (re.match(r"[\w.-]+", one) for one in required)
    return _installed(
        sorted({name[0].lower() for name in wanted if name is not None} - {"tierwise", *_engine_packages()})
    )


def _installed(names: tuple[str, ...] | list[str]) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def gpus() -> list[InstalledGpu] | None:
    """The GPUs of this machine: none without `nvidia-smi`, None if it fails."""
    if (program := shutil.which("nvidia-smi")) is None:
        return []
    query = [program, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        output = subprocess.run(query, capture_output=True, text=True, timeout=_GPU_SECONDS, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    rows = (line.rsplit(", ", 2) for line in output.splitlines())
    return [InstalledGpu(name=row[0], driver=row[1], memory=row[2]) for row in rows if len(row) == 3]


def _cpu() -> str:
    return next(iter(_cpuinfo("model name")), platform.machine())


def _features() -> list[str]:
    flags = next(iter(_cpuinfo("flags") or _cpuinfo("Features")), "").split()
    return sorted(flag for flag in set(flags) if _KERNELS.fullmatch(flag))


def _cpuinfo(name: str) -> list[str]:
    """The values of a field in /proc/cpuinfo, one per core; empty if it is not available."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    pairs = (line.partition(":") for line in lines)
    return [value.strip() for key, _, value in pairs if key.strip() == name]
