"""The lines of a recipe that are specific to SGLang."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tierwise.catalog.engine_recipe import EngineRecipe
from tierwise.engines.served import recipe as served

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tierwise.catalog.engine_recipe import RecipeContext


def _settings(context: RecipeContext) -> Iterator[str]:
    # Expert parallelism spans tensor-parallel devices.
    return served.settings(context, "sglang", expert_devices=context.fit.tensor)


RECIPE = EngineRecipe(engine="sglang", settings=_settings, on_processor=False)
