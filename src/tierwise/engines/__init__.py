"""What runs a model: the table of engines. A new one is a room here that exports its row, and a line in the table.

row, settings, engine    what every engine is: its row, its settings and their launch context, and the engine that runs
lever, metrics           what can be set on engines, and what they count: one set of names for all
openai, replay           servers that run already; recordings
llama_cpp, vllm, sglang, transformers
                         engines that we launch; served: what vLLM and SGLang have in common
process                  starts, watches and ends a launched engine
probe                    finds out what a server does
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from tierwise.engines import llama_cpp, openai, replay, sglang, transformers, vllm
from tierwise.engines.llama_cpp import LlamaCpp
from tierwise.engines.openai import Http
from tierwise.engines.replay import Replay
from tierwise.engines.sglang import Sglang
from tierwise.engines.transformers import Transformers
from tierwise.engines.vllm import Vllm

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tierwise.catalog.engine_recipe import EngineRecipe
    from tierwise.engines.row import EngineRow
    from tierwise.engines.settings import Settings

__all__ = [
    "ENGINES",
    "RECIPES",
    "DeploymentSettings",
    "Http",
    "LlamaCpp",
    "Replay",
    "Sglang",
    "Transformers",
    "Vllm",
    "row_of",
    "with_lever",
]

DeploymentSettings: TypeAlias = LlamaCpp | Http | Replay | Sglang | Transformers | Vllm
"""What stands under a name in `deployments`."""

_ROWS: tuple[EngineRow[Any], ...] = (
    vllm.ROW,
    sglang.ROW,
    llama_cpp.ROW,
    transformers.ROW,
    openai.ROW,
    replay.ROW,
)

ENGINES: Mapping[str, EngineRow[Any]] = MappingProxyType({row.name: row for row in _ROWS})
"""By the engine's name in the config file, in the order in which recipes prefer them."""

RECIPES: tuple[EngineRecipe, ...] = tuple(row.recipe for row in _ROWS if row.recipe is not None)
"""Of the engines that there are recipes for, in order of preference."""


def row_of(settings: Settings) -> EngineRow[Any]:
    """The row of the engine that these settings belong to."""
    return next(row for row in _ROWS if isinstance(settings, row.settings))


def with_lever(name: str) -> list[str]:
    """The names of the engines whose deployments have a setting of that name."""
    return [row.name for row in _ROWS if row.has_lever(name)]
