"""The interface between recipes and engines. Each engine exports an `EngineRecipe` in its row of the engine table."""

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
    """A checkpoint that fits a machine, and its split over GPUs."""

    variant: Variant
    weights: Weights
    machine: Machine
    tensor: int = 1
    """Tensor parallelism: GPUs of one machine that share one copy."""
    stages: int = 1
    """Pipeline parallelism: machines that share one copy."""
    copies: int = 1
    """Data parallelism: number of copies."""
    tight: bool = False
    """Whether little memory is left for the KV cache."""

    @property
    def share(self) -> float:
        """The checkpoint's published minimum, as a share of the memory of one copy's GPUs; 0 without GPUs."""
        gpu = self.machine.gpu
        return 0.0 if gpu is None else self.weights.memory_gb / (self.tensor * self.stages * gpu.memory_gb)

    @property
    def idle(self) -> int:
        """Number of unused GPUs."""
        return self.machine.count - self.tensor * self.stages * self.copies


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeContext:
    """The input of an engine's part of a recipe."""

    family: Family
    fit: Fit
    support: EngineSupport
    """How the engine supports the family."""
    published: Callable[[str, Fact], str]
    """Returns the comment above a published number, with its source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRecipe:
    """How a recipe is written for one engine."""

    engine: EngineName
    """Its name in the config file."""
    settings: Callable[[RecipeContext], Iterator[str]]
    """Returns the engine-specific lines of the deployment, indented."""
    reads_gguf: bool = False
    """Whether it reads GGUF files; else it reads folders of safetensors."""
    on_processor: bool = True
    """Whether it is recommended on a machine without GPUs."""
    prefers_processor: bool = False
    """Whether it is the first choice on a machine without GPUs."""
    reserves_cache: bool = False
    """Whether every slot reserves KV cache for its whole context; else passes allocate cache as needed."""
    suggests_active_experts: bool = True
    """Whether the recipe shows how to set another number of active experts."""


def inline(value: Any) -> str:
    """A value in YAML's flow style."""
    match value:
        case dict():
            return "{" + ", ".join(f"{name}: {inline(inner)}" for name, inner in value.items()) + "}"
        case list():
            return "[" + ", ".join(inline(inner) for inner in value) + "]"
        case _:
            return json.dumps(value, ensure_ascii=False)
