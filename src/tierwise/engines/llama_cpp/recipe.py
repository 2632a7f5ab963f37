"""The lines of a recipe that are specific to llama.cpp."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tierwise.catalog.engine_recipe import EngineRecipe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tierwise.catalog.engine_recipe import RecipeContext


def _settings(context: RecipeContext) -> Iterator[str]:
    if context.fit.machine.gpu is not None:
        yield "    binary: llama-server    # your own GPU build; the embedded one runs on the CPU"
        yield "    gpu_layers: 999         # all layers, over all visible GPUs"


RECIPE = EngineRecipe(
    engine="llama.cpp",
    settings=_settings,
    reads_gguf=True,
    prefers_processor=True,
    reserves_cache=True,
    suggests_active_experts=False,  # it would copy the file for each number
)
