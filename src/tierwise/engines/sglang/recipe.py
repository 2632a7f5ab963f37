"""What a recipe for SGLang says beyond what all recipes say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tierwise.catalog.engine_recipe import EngineRecipe
from tierwise.engines.served import recipe as served

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tierwise.catalog.engine_recipe import RecipeContext


def _settings(context: RecipeContext) -> Iterator[str]:
    # It spreads experts over the devices that share a layer.
    return served.settings(context, "sglang", expert_devices=context.fit.tensor)


RECIPE = EngineRecipe(engine="sglang", settings=_settings, on_processor=False)
