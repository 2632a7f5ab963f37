"""What a recipe asks an engine, and the lines that only the engine can write.

No engine is named here: each has its `EngineRecipe` in its room, and exports it in its row of the table.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tierwise.catalog.families import EngineSupport, Family, Variant, Weights
from tierwise.catalog.families.family import EngineName, Fact
from tierwise.catalog.gpus import Machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A checkpoint that goes into a machine, and how it is split."""

    variant: Variant
    weights: Weights
    machine: Machine
    tensor: int = 1
    """GPUs that hold one copy together, on one machine."""
    stages: int = 1
    """Machines that hold one copy one after the other."""
    copies: int = 1
    tight: bool = False
    """Whether little is left for the cache."""

    @property
    def share(self) -> float:
        """Of the memory of the GPUs that hold one copy, what its published minimum fills; 0 without GPUs."""
        gpu = self.machine.gpu
        return 0.0 if gpu is None else self.weights.memory_gb / (self.tensor * self.stages * gpu.memory_gb)

    @property
    def idle(self) -> int:
        """GPUs for which there is no use."""
        return self.machine.count - self.tensor * self.stages * self.copies


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeContext:
    """What a recipe is written from."""

    family: Family
    fit: Fit
    support: EngineSupport
    """How the engine knows the family."""
    published: Callable[[str, Fact], str]
    """Makes the comment above a published number, with its source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRecipe:
    """How a recipe is written for one engine."""

    engine: EngineName
    """Its name in the config file."""
    settings: Callable[[RecipeContext], Iterator[str]]
    """The lines of the deployment that only this engine has, indented as there."""
    reads_gguf: bool = False
    """Whether it reads GGUF files; else it reads folders of safetensors."""
    on_processor: bool = True
    """Whether it is recommended on a machine without GPUs."""
    prefers_processor: bool = False
    """Whether it is the first choice on a machine without GPUs."""
    reserves_cache: bool = False
    """Whether every slot keeps memory for its whole context; else passes take cache as they need it."""
    suggests_active_experts: bool = True
    """Whether the recipe shows how to set another number of active experts."""


def inline(value: Any) -> str:
    """A value in YAML's flow style, which reads JSON."""
    match value:
        case dict():
            return "{" + ", ".join(f"{name}: {inline(inner)}" for name, inner in value.items()) + "}"
        case list():
            return "[" + ", ".join(inline(inner) for inner in value) + "]"
        case _:
            return json.dumps(value, ensure_ascii=False)
