"""The lines of a recipe that are specific to Transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tierwise.catalog.engine_recipe import EngineRecipe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tierwise.catalog.engine_recipe import RecipeContext


def _settings(context: RecipeContext) -> Iterator[str]:
    precision = context.fit.weights.precision
    yield f"    dtype: {precision if precision in ('float32', 'bfloat16', 'float16') else 'auto'}"


RECIPE = EngineRecipe(engine="transformers", settings=_settings, reserves_cache=True)
