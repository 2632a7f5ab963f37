"""What a run stands on: the machine, and the packages; two runs that differ in these may differ in their answers."""

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
    """The packages that engines run."""
    from tierwise.engines import ENGINES  # noqa: PLC0415 - comparing runs reads this module, and needs no engine

    return tuple(dict.fromkeys(package for row in ENGINES.values() for package in row.packages))


_KERNELS = re.compile(
    r"avx\w*|amx_\w+|fma|f16c|bmi2|sse4_\w|ssse3|gfni|asimd\w*|sve\w*|sme(?!p)\w*|i8mm|bf16|fphp|rv\w*zv\w*"
)
"""Names in /proc/cpuinfo of extensions that engines have kernels for, on x86, ARM and RISC-V."""

_OF_DEVELOPERS = re.compile(r"""extra == ['"]dev['"]""")

_GPU_SECONDS = 20.0
"""That `nvidia-smi` may take; several seconds are usual where no other program holds the driver."""


class InstalledGpu(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU, in the words of its driver's own program."""

    name: str
    driver: str
    memory: str
    """With its unit."""


class RunMachine(msgspec.Struct, frozen=True, kw_only=True):
    """Where the bench ran, and the tiers too where it launched them."""

    cpu: str
    cores: int
    """That this process may use."""
    memory_bytes: int
    load: float
    """Processes that wanted to run, averaged over the minute before the run began."""
    system: str
    features: list[str] | None = None
    """The processor's extensions that engines have kernels for; None where the run is too old to say."""
    gpus: list[InstalledGpu] | None = None
    """Those that `nvidia-smi` finds; None where it is there and fails, or the run is too old to say."""


def machine() -> RunMachine:
    """This machine, as it is now."""
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
    """What ran: Tierwise, Python, and the engines that are installed here."""
    return {"tierwise": __version__, "python": platform.python_version(), **_installed(_engine_packages())}


def packages() -> dict[str, str]:
    """The version of every package that Tierwise and its extras ask for, where it is installed."""
    asked = (one for one in metadata.requires("tierwise") or () if not _OF_DEVELOPERS.search(one))
    wanted = (re.match(r"[\w.-]+", one) for one in asked)
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
    """The GPUs of this machine; None where their driver does not answer."""
    if (program := shutil.which("nvidia-smi")) is None:
        return []
    query = [program, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, timeout=_GPU_SECONDS, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    rows = (line.rsplit(", ", 2) for line in told.splitlines())
    return [InstalledGpu(name=row[0], driver=row[1], memory=row[2]) for row in rows if len(row) == 3]


def _cpu() -> str:
    return next(iter(_cpuinfo("model name")), platform.machine())


def _features() -> list[str]:
    flags = next(iter(_cpuinfo("flags") or _cpuinfo("Features")), "").split()
    return sorted(flag for flag in set(flags) if _KERNELS.fullmatch(flag))


def _cpuinfo(name: str) -> list[str]:
    """What every core says under a name; nothing where the kernel does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    pairs = (line.partition(":") for line in lines)
    return [value.strip() for key, _, value in pairs if key.strip() == name]
