"""The lines of a recipe that are the same for all server engines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tierwise.catalog.engine_recipe import inline

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tierwise.catalog.engine_recipe import Fit, RecipeContext


def settings(context: RecipeContext, engine: str, *, expert_devices: int, more: Iterable[str] = ()) -> Iterator[str]:
    """The lines of the deployment.

    Args:
        context: the inputs of the recipe.
        engine: its name in the config file.
        expert_devices: number of devices for expert parallelism.
        more: lines specific to the engine.
    """
    support = context.support
    yield f"    python: .venv-{engine}/bin/python    # the environment that has {engine}"
    if context.fit.machine.gpu is not None:
        yield from _split(context.fit, expert_devices)
    if support.reasoning_parser:
        yield f"    reasoning_parser: {support.reasoning_parser}"
    if support.tool_parser:
        yield f"    tool_parser: {support.tool_parser}"
    for name, value in support.settings.items():
        yield f"    {name}: {inline(value)}"
    yield from more
    if support.flags:
        yield f"    extra_args: {inline(support.flags)}"


def _split(fit: Fit, expert_devices: int) -> Iterator[str]:
    width = fit.tensor * fit.stages
    little = "; tight: little is left for the cache" if fit.tight else ""
    yield f"    # one copy fills {fit.share:.0%} of {width} GPU{'s'[: width > 1]}{little}"
    yield f"    tensor_parallel: {fit.tensor}"
    if fit.stages > 1:
        yield f"    pipeline_parallel: {fit.stages}"
    if fit.copies > 1:
        yield f"    data_parallel: {fit.copies}"
    if fit.variant.experts is not None and expert_devices > 1:
        yield "    expert_parallel: true"
    if fit.idle:
        yield f"    # {fit.idle} of {fit.machine} stay idle: a copy is split over 1, 2, 4 or 8"
