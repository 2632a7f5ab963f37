"""Changes the number of active experts of a GGUF file.

xllamacpp cannot override a key of a GGUF file as `llama-server --override-kv` does. So the worker makes a copy with
that number changed. It does so at its first start, because that may take minutes; later starts reuse the copy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tierwise.catalog import cache_folder
from tierwise.catalog.cache import short_digest
from tierwise.catalog.gguf import parts_of, read_head
from tierwise.engines.llama_cpp.worker import Rewrite
from tierwise.spec.errors import SpecError

if TYPE_CHECKING:
    from pathlib import Path


def active_experts_key(model: Path) -> str:
    """The key of the number; its prefix is the model's architecture."""
    return f"{read_head(model).architecture}.expert_used_count"


def rewriting(model: Path, active_experts: int) -> Rewrite | None:
    """How to copy the model with this number of active experts; None if it already has it.

    Raises:
        SpecError: the file is not GGUF, or has no single number for all layers.
    """
    head = read_head(model)
    if head.number("expert_used_count") == active_experts:
        return None
    place = head.places.get(f"{head.architecture}.expert_used_count")
    if place is None:
        raise SpecError(f"{model} has no single number of active experts for all layers")
    look = model.stat()
    made_from = (str(model.absolute()), str(look.st_size), str(look.st_mtime_ns), str(active_experts))
    return Rewrite(
        folder=str(cache_folder() / "rewritten" / short_digest(*made_from)),
        offset=place[0],
        format=place[1],
        value=active_experts,
        beside=[part.name for part in parts_of(model, head)[1:]],
    )
