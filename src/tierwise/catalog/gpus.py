"""GPUs by name, with their memory, to determine whether a checkpoint fits."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tierwise.spec.errors import SpecError
from tierwise.spec.reading import allowed


@dataclass(frozen=True, slots=True)
class Gpu:
    name: str
    memory_gb: int
    """As specified by the vendor."""
    kind: str
    """The generation, as in `wants` of a family's file."""
    source: str


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine with GPUs of one kind, or with a CPU only."""

    count: int
    gpu: Gpu | None

    @property
    def memory_gb(self) -> int:
        return 0 if self.gpu is None else self.count * self.gpu.memory_gb

    def __str__(self) -> str:
        return "cpu" if self.gpu is None else f"{self.count}x{self.gpu.name}"


_RECIPES = "vllm-project/recipes, taxonomy.yaml"
_NVIDIA = "NVIDIA's data sheet"

GPUS = {
    gpu.name.lower(): gpu
    for gpu in (
        Gpu("A100-40", 40, "ampere", _NVIDIA),
        Gpu("A100", 80, "ampere", _NVIDIA),
        Gpu("L40S", 48, "ada", _NVIDIA),
        Gpu("RTX4090", 24, "ada", _NVIDIA),
        Gpu("RTX5090", 32, "blackwell", _NVIDIA),
        Gpu("H100", 80, "hopper", _RECIPES),
        Gpu("H200", 141, "hopper", _RECIPES),
        Gpu("B200", 180, "blackwell", _RECIPES),
        Gpu("GB200", 192, "blackwell", _RECIPES),
        Gpu("B300", 268, "blackwell", _RECIPES),
        Gpu("GB300", 288, "blackwell", _RECIPES),
        Gpu("MI300X", 192, "cdna3", _RECIPES),
        Gpu("MI325X", 256, "cdna3", _RECIPES),
        Gpu("MI355X", 288, "cdna4", _RECIPES),
    )
}
"""The B200 has 180 GB in HGX machines; single modules have 192 GB."""

_MACHINE = re.compile(r"(?:(?P<count>\d{1,3})\s*[x×*]\s*)?(?P<name>[A-Za-z][A-Za-z0-9 -]*)")


def parse_machine(text: str) -> Machine:
    """Read `8xH200`, `H100` or `cpu`.

    Raises:
        SpecError: it is invalid; the message lists the known GPUs.
    """
    found = _MACHINE.fullmatch(text.strip())
    if found is None:
        raise SpecError(f"{text!r} is not a machine; write 8xH200, H100 or cpu", field="--gpus")
    name = found["name"].replace(" ", "").lower()
    if name == "cpu":
        return Machine(0, None)
    if name not in GPUS:
        known = [gpu.name for gpu in GPUS.values()]
        raise SpecError(
            f"there is no GPU {found['name']!r} in the table; {allowed(found['name'], known)}", field="--gpus"
        )
    count = int(found["count"] or 1)
    if count < 1:
        raise SpecError(f"{text!r} has no GPU; write 1x{GPUS[name].name}, or cpu", field="--gpus")
    return Machine(count, GPUS[name])
