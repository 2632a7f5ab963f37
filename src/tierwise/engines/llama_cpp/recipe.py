"""What a recipe for llama.cpp says beyond what all recipes say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tierwise.catalog.engine_recipe import EngineRecipe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tierwise.catalog.engine_recipe import RecipeContext


def _settings(context: RecipeContext) -> Iterator[str]:
    if context.fit.machine.gpu is not None:
        yield "    binary: llama-server    # a GPU build of your own; the one that comes along uses the processor"
        yield "    gpu_layers: 999         # all of them, over all GPUs that it sees"


RECIPE = EngineRecipe(
    engine="llama.cpp",
    settings=_settings,
    reads_gguf=True,
    prefers_processor=True,
    reserves_cache=True,
    suggests_active_experts=False,  # it would copy the file for every number
)
