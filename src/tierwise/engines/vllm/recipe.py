"""The lines of a recipe that are specific to vLLM."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tierwise.catalog.engine_recipe import EngineRecipe, inline
from tierwise.catalog.fit import TIGHT
from tierwise.engines.served import recipe as served

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tierwise.catalog.engine_recipe import RecipeContext


def _settings(context: RecipeContext) -> Iterator[str]:
    fit = context.fit
    # Expert parallelism spans tensor-parallel devices and replicas.
    return served.settings(context, "vllm", expert_devices=fit.tensor * fit.copies, more=_own(context))


def _own(context: RecipeContext) -> Iterator[str]:
    fit = context.fit
    known, wanted = fit.variant.speculation, fit.weights.speculation
    guess = next((one for one in known if wanted in (None, one.method)), None)
    if guess is not None and fit.machine.gpu is not None:
        note = f"; {guess.note}" if guess.note else ""
        yield context.published(f"{guess.method} with {guess.tokens} tokens{note}", guess)
        settings = {"method": guess.method, "num_speculative_tokens": guess.tokens}
        settings |= {"model": guess.model} if guess.model else {}
        if guess.model:
            yield f"    # download the draft model first: hf download {guess.model}"
        yield f"    speculative: {inline({**settings, **guess.settings})}"
    if fit.tight:
        yield f"    gpu_memory: {TIGHT}"


RECIPE = EngineRecipe(engine="vllm", settings=_settings)
