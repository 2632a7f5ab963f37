"""Engines that can run a checkpoint on this machine, best first, with suitable settings."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tierwise.catalog.architecture import Architecture
from tierwise.catalog.families import Family, family_of
from tierwise.catalog.fit import COMFORTABLE, TIGHT
from tierwise.engines.llama_cpp.prompting import thinking_switch
from tierwise.engines.prompting import switch_of
from tierwise.setup.local_machine import LocalMachine, gib

_CONTEXT, _GPU_CONTEXT = 4096, 32_768
_SLOTS, _GPU_SLOTS = 4, 16
_WIDTHS = (1, 2, 4, 8)
_FEW_CORES = 2  # with two cores, leaving one free would halve the speed


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineCandidate:
    """An engine with its settings."""

    engine: str
    settings: Mapping[str, Any]
    """Settings as in the config file, without engine and checkpoint."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """The reason for each setting, by name."""
    can_switch: bool = False
    """Whether requests can set `thinking`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalModel:
    """A checkpoint on this machine."""

    path: Path
    architecture: Architecture

    @property
    def family(self) -> Family | None:
        """Its family; None if unknown."""
        found = self.architecture
        return family_of(found.model_type, layers=found.layers, hidden=found.hidden, experts=found.experts)

    @property
    def cache_bytes(self) -> int:
        """Upper bound of the KV cache per token at 16 bits (grouped-query heads need less); 0 if unknown."""
        return 2 * 2 * (self.architecture.layers or 0) * (self.architecture.hidden or 0)


def candidates(model: LocalModel, here: LocalMachine, base: Path, python: str = "") -> Iterator[EngineCandidate]:
    """Every engine that supports this checkpoint format, installed or not.

    Args:
        model: the checkpoint.
        here: the machine.
        base: the folder of the config file, for relative paths.
        python: the interpreter of vLLM or SGLang, relative to `base`; searched for if empty.
    """
    if model.architecture.format == "gguf":
        yield from _llama_cpp(model, here)
    else:
        for engine in ("vllm", "sglang") if here.gpus else ("vllm",):
            yield _served(engine, model, here, python or interpreter(engine, base))
    yield _transformers(model, here)


def interpreter(engine: str, base: Path) -> str:
    """The interpreter of `.venv-ENGINE` beside the config file or in the working folder, else this one; relative to
    `base`.
    """
    places = (folder / f".venv-{engine}" / "bin" / "python" for folder in (base.absolute(), Path.cwd()))
    return from_folder(next((place for place in places if place.is_file()), Path(sys.executable)), base)


def from_folder(path: Path, base: Path) -> str:
    """A path as written in a file in `base`: relative if below it. Symbolic links are kept."""
    place, folder = Path(os.path.abspath(path.expanduser())), base.absolute()  # noqa: PTH100 - resolve() would follow links
    return str(place.relative_to(folder)) if place.is_relative_to(folder) else str(place)


def _llama_cpp(model: LocalModel, here: LocalMachine) -> Iterator[EngineCandidate]:
    server = shutil.which("llama-server") is not None
    switch = thinking_switch(model.path) is not None
    sizes, reasons = _sizes(model, here, here.memory_bytes, spare=1)
    if here.cores <= _FEW_CORES:
        threads = {"threads": here.cores}
        reasons |= {"threads": "All cores; by default one is left free."}
    else:
        threads = {}
    if here.gpus and server:
        note = "The llama-server on PATH: a GPU build, because the embedded llama.cpp uses the CPU only."
        yield EngineCandidate(
            engine="llama.cpp",
            settings={**sizes, "binary": "llama-server", "gpu_layers": 999},
            reasons={**reasons, "binary": note, "gpu_layers": "All of them."},
            can_switch=switch,
        )
    yield EngineCandidate(engine="llama.cpp", settings={**sizes, **threads}, reasons=reasons, can_switch=switch)
    if server:
        yield EngineCandidate(
            engine="llama.cpp",
            settings={**sizes, **threads, "binary": "llama-server"},
            reasons={**reasons, "binary": "The one on PATH; the embedded llama.cpp is not installed."},
            can_switch=switch,
        )


def _served(engine: str, model: LocalModel, here: LocalMachine, python: str) -> EngineCandidate:
    room = here.memory_bytes if not here.gpus else len(here.gpus) * here.gpu_bytes
    sizes, reasons = _sizes(model, here, room)
    settings: dict[str, Any] = {"python": python, **sizes}
    family = model.family
    support = family.engines.get(engine) if family is not None else None
    for name in ("reasoning_parser", "tool_parser"):
        if support is not None and (value := getattr(support, name)):
            settings[name] = value
            reasons[name] = f"From the family {family.name if family else ''}."
    if here.gpus:
        width = _width(model.architecture.bytes, here)
        settings["tensor_parallel"] = width
        reasons["tensor_parallel"] = f"GPUs that share one copy of {gib(model.architecture.bytes)}."
    elif engine == "vllm":
        cache = max(1, -(-model.cache_bytes * sizes["context"] * sizes["slots"] // 2**30))
        settings |= {"enforce_eager": True, "cpu_kv_cache_gib": cache}
        reasons["enforce_eager"] = "Skips compilation. No GPU was found, so this vLLM must be a CPU build."
    return EngineCandidate(
        engine=engine, settings=settings, reasons=reasons, can_switch=switch_of(model.architecture) is not None
    )


def _transformers(model: LocalModel, here: LocalMachine) -> EngineCandidate:
    sizes, reasons = _sizes(model, here, here.memory_bytes)
    return EngineCandidate(
        engine="transformers",
        settings=sizes,
        reasons=reasons,
        can_switch=switch_of(model.architecture) is not None,
    )


def _sizes(model: LocalModel, here: LocalMachine, room: int, spare: int = 0) -> tuple[dict[str, int], dict[str, str]]:
    """Context and slots whose cache takes at most half of the memory left by the weights.

    Args:
        model: the checkpoint.
        here: this machine.
        room: bytes of memory for weights and cache.
        spare: slots that the engine has beyond several.
    """
    most = model.architecture.context
    wanted, slots = (_GPU_CONTEXT, _GPU_SLOTS) if here.gpus else (_CONTEXT, _SLOTS)
    context = min(most or wanted, wanted)
    left = max(0, room - model.architecture.bytes) // 2
    while slots > 1 and model.cache_bytes * context * (slots + spare) > left:
        slots //= 2
    cache = model.cache_bytes * context * (slots + spare if slots > 1 else 1)
    made_for = f"The model supports {most:,}" if most else "The model's maximum is unknown"
    reasons = {
        "context": f"Tokens of prompt and answer of one pass. {made_for}; memory grows with context x slots.",
        "slots": "Concurrent passes." + (f" Their cache takes {gib(cache)} at most." if cache else ""),
    }
    return {"context": context, "slots": slots}, reasons


def _width(size: int, here: LocalMachine) -> int:
    """The minimum number of GPUs that hold the weights with room for a cache, else with little room."""
    widths = [width for width in _WIDTHS if width <= len(here.gpus)]
    shares = ((width, share) for share in (COMFORTABLE, TIGHT) for width in widths)
    return next((width for width, share in shares if size <= share * width * here.gpu_bytes), widths[-1])
