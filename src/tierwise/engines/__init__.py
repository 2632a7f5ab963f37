"""What runs a model: the table of engines. A new one is a room here that exports its row, and a line in the table.
Another package adds one by registering its row as an entry point in the group `tierwise.engines`.

row, settings, engine    what every engine is: its row, its settings and their launch context, and the engine that runs
lever, metrics           what can be set on engines, and what they count: one set of names for all
openai, replay           servers that run already; recordings
llama_cpp, vllm, sglang, transformers
                         engines that we launch; served: what vLLM and SGLang have in common
process                  starts, watches and ends a launched engine
probe                    finds out what a server does
"""

from __future__ import annotations

from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias, Union

from tierwise.engines import llama_cpp, openai, replay, sglang, transformers, vllm
from tierwise.engines.llama_cpp import LlamaCpp
from tierwise.engines.openai import Http
from tierwise.engines.replay import Replay
from tierwise.engines.row import EngineRow
from tierwise.engines.sglang import Sglang
from tierwise.engines.transformers import Transformers
from tierwise.engines.vllm import Vllm
from tierwise.spec.plugins import UNIONS, lacking, on_first_use, plugins, unreadable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tierwise.catalog.engine_recipe import EngineRecipe
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

_BUILT_IN: tuple[EngineRow[Any], ...] = (
    vllm.ROW,
    sglang.ROW,
    llama_cpp.ROW,
    transformers.ROW,
    openai.ROW,
    replay.ROW,
)

_BuiltIn: TypeAlias = LlamaCpp | Http | Replay | Sglang | Transformers | Vllm
"""In the order of the config file's schema."""

if TYPE_CHECKING:
    DeploymentSettings: TypeAlias = _BuiltIn
    """The value of a name in `deployments`. At run time, the settings of plugins are members too."""

    ENGINES: Mapping[str, EngineRow[Any]]
    """By the engine's name in the config file, in the order in which recipes prefer them; plugins are last."""

    RECIPES: tuple[EngineRecipe, ...]
    """The recipes of all engines that have one, in order of preference."""


def row_of(settings: Settings) -> EngineRow[Any]:
    """The row of the engine that these settings belong to."""
    return next(row for row in _rows() if isinstance(settings, row.settings))


def with_lever(name: str) -> list[str]:
    """The names of the engines whose deployments have a setting of that name."""
    return [row.name for row in _rows() if row.has_lever(name)]


@cache
def _rows() -> tuple[EngineRow[Any], ...]:
    return (*_BUILT_IN, *plugins(UNIONS["engine"], {row.name for row in _BUILT_IN}, _problem).values())


def _problem(name: str, row: Any) -> str:
    """Why an engine of another package cannot be used; empty if it can."""
    if not isinstance(row, EngineRow):
        return f"{row!r} is not a tierwise.EngineRow"
    if why := unreadable(row.settings):
        return why
    config = row.settings.__struct_config__
    if (config.tag_field, config.tag) != ("engine", name) or config.array_like:
        return f"declare {row.settings.__name__} with tag_field='engine', tag={name!r} and without array_like"
    return lacking(row.settings, ("slots", "context", "loads", "remote", "validate", "unsupported"))


if not TYPE_CHECKING:
    __getattr__ = on_first_use(
        globals(),
        DeploymentSettings=lambda: Union[(_BuiltIn, *(row.settings for row in _rows()))],
        ENGINES=lambda: MappingProxyType({row.name: row for row in _rows()}),
        RECIPES=lambda: tuple(row.recipe for row in _rows() if row.recipe is not None),
    )
