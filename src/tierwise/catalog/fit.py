"""Selects the checkpoint of a family that fits a machine, and its split over GPUs, from published figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tierwise.catalog.engine_recipe import EngineRecipe, Fit
from tierwise.catalog.families import EngineSupport, Family, Variant, Weights
from tierwise.catalog.gpus import GPUS, Machine
from tierwise.spec.errors import SpecError
from tierwise.spec.reading import allowed

COMFORTABLE = 0.80
"""Maximum share of a machine's memory for a checkpoint's published minimum that leaves room for a useful KV cache."""
TIGHT = 0.95
"""Maximum share with which it can be served at all; vLLM's recipe for DeepSeek-V4 on 8xH200 sets 0.95."""
_NODE_GPUS = 8
"""GPUs of one machine; with more, machines are pipeline stages."""
_MAX_CPU_BILLION = 8
"""Maximum billions of parameters to serve on a CPU."""


def fit(family: Family, machine: Machine, engine: EngineRecipe, variant: str = "") -> Fit:
    """The most precise checkpoint that fits with room for the cache, else the most precise that fits at all.

    Raises:
        SpecError: the engine does not support the family, or nothing fits; names what would.
    """
    support = supported(family, engine.engine)
    size = family.variant(variant)
    readable = [one for one in size.weights if (one.precision == "gguf") == engine.reads_gguf]
    if not readable:
        raise SpecError(
            f"{family.name} {size.name} has no checkpoint that {support.architecture} on {engine.engine} reads;"
            f" known: {', '.join(f'{one.repository} ({one.precision})' for one in size.weights)}",
            field="--engine",
        )
    if machine.gpu is None:
        return _on_cpu(family, size, readable, machine, engine)
    usable = [one for one in readable if not one.wants or machine.gpu.kind in one.wants]
    for share in (COMFORTABLE, TIGHT):
        for weights in usable:
            if (found := _split(size, weights, machine, share)) is not None:
                return found
    raise SpecError(_too_big(family, size, readable, machine), field="--gpus")


def supported(family: Family, engine: str) -> EngineSupport:
    """How the engine supports the family.

    Raises:
        SpecError: it does not; lists the engines that do.
    """
    serving = [name for name, support in family.engines.items() if support.serves]
    support = next((one for name, one in family.engines.items() if name == engine), None)
    if support is None or not support.serves:
        why = f": {support.needs}" if support is not None and support.needs else ""
        raise SpecError(f"{engine} cannot serve {family.name}{why}; {allowed(engine, serving)}", field="--engine")
    return support


def engine_for(family: Family, machine: Machine, engines: Sequence[EngineRecipe], wanted: str = "") -> EngineRecipe:
    """The engine that the user names, else the first that supports the family.

    Args:
        family: the family to serve.
        machine: the machine; without GPUs, engines that prefer the CPU are tried first.
        engines: in order of preference.
        wanted: the name of an engine; any if empty.

    Raises:
        SpecError: the engine does not support the family, or does not exist.
    """
    known = {one.engine: one for one in engines}
    if wanted:
        if wanted not in known:
            raise SpecError(f"there is no recipe for engine {wanted!r}; {allowed(wanted, known)}", field="--engine")
        supported(family, wanted)
        return next(one for name, one in known.items() if name == wanted)
    if machine.gpu is None:
        engines = sorted(engines, key=lambda one: not one.prefers_processor)
    return next(one for one in engines if one.engine in family.engines and family.engines[one.engine].serves)


def _on_cpu(family: Family, size: Variant, readable: list[Weights], machine: Machine, engine: EngineRecipe) -> Fit:
    if size.parameters_billion > _MAX_CPU_BILLION:
        raise SpecError(
            f"{family.name} {size.name} has {size.parameters_billion:g}B parameters, too many for a CPU;"
            " name the GPUs, for example --gpus 8xH200",
            field="--gpus",
        )
    if not engine.on_processor:
        raise SpecError(f"recipes for {engine.engine} need GPUs, for example --gpus 1xH100", field="--gpus")
    return Fit(variant=size, weights=readable[0], machine=machine)


def _split(size: Variant, weights: Weights, machine: Machine, share: float) -> Fit | None:
    """The minimum number of GPUs for one copy, and as many copies as fit."""
    if machine.gpu is None:
        return None
    widths = [width for width in (1, 2, 4, 8) if width <= machine.count]
    splits = [(width, 1) for width in widths]
    splits += [(_NODE_GPUS, stages) for stages in range(2, machine.count // _NODE_GPUS + 1)]
    for tensor, stages in splits:
        if weights.memory_gb <= share * tensor * stages * machine.gpu.memory_gb:
            return Fit(
                variant=size,
                weights=weights,
                machine=machine,
                tensor=tensor,
                stages=stages,
                copies=machine.count // (tensor * stages) if stages == 1 else 1,
                tight=share > COMFORTABLE,
            )
    return None


def _too_big(family: Family, size: Variant, readable: list[Weights], machine: Machine) -> str:
    wants = []
    for one in readable:
        kinds = f" on {' or '.join(one.wants)}" if one.wants else ""
        wants.append(f"{one.memory_gb:g} GB in {one.precision}{kinds}")
    return (
        f"{family.name} {size.name} needs {', or '.join(wants)}; {machine} has {machine.memory_gb} GB"
        f"; fits on: {', '.join(_fitting(readable)) or 'no known machine'}"
    )


def _fitting(readable: list[Weights]) -> Iterator[str]:
    """For each known GPU, the smallest machine of up to eight on which a checkpoint fits."""
    for gpu in GPUS.values():
        for count in (1, 2, 4, 8):
            room = TIGHT * count * gpu.memory_gb
            if any(one.memory_gb <= room and (not one.wants or gpu.kind in one.wants) for one in readable):
                yield str(Machine(count, gpu))
                break
