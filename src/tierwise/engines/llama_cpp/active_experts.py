"""What llama.cpp does with a mixture's experts: how many work on a token, and what its cache of them says.

xllamacpp cannot override a key of a GGUF file, as `llama-server --override-kv` does. So a copy is made with that one
number changed in place; the worker does it at its first start, since it may take minutes, and later starts find it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tierwise.catalog import cache_folder
from tierwise.catalog.cache import short_digest
from tierwise.catalog.gguf import parts_of, read_head
from tierwise.engines.llama_cpp.worker import Rewrite
from tierwise.spec.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def active_experts_key(model: Path) -> str:
    """The key that holds the number; the model's architecture is its prefix."""
    return f"{read_head(model).architecture}.expert_used_count"


def rewriting(model: Path, active_experts: int) -> Rewrite | None:
    """How to copy the model so that so many experts work on a token; None where they do so already.

    Raises:
        SpecError: it is no such file, or keeps no single number for all its layers.
    """
    head = read_head(model)
    if head.number("expert_used_count") == active_experts:
        return None
    place = head.places.get(f"{head.architecture}.expert_used_count")
    if place is None:
        raise SpecError(f"{model} keeps no single number of active experts for all its layers")
    look = model.stat()
    made_from = (str(model.absolute()), str(look.st_size), str(look.st_mtime_ns), str(active_experts))
    return Rewrite(
        folder=str(cache_folder() / "rewritten" / short_digest(*made_from)),
        offset=place[0],
        format=place[1],
        value=active_experts,
        beside=[part.name for part in parts_of(model, head)[1:]],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertCacheUse:
    """What llama.cpp's cache of experts on the GPU did, over the life of a process (`moe_cache_mib`)."""

    batches: Literal["small", "large"]
    """Small: up to 8 tokens, as when answers are written; large: as when prompts are read."""
    hits: int
    """Experts that were there when a token wanted them."""
    misses: int
    uploaded_mib: float
    """What the misses cost, in MiB from the main memory to the GPU."""

    @property
    def hit_rate(self) -> float:
        """In [0, 1]."""
        return self.hits / (self.hits + self.misses)


_USE = re.compile(
    r"llama_moe_cache: ubatch +(?P<size><=|>) 8: hits = (?P<hits>\d+), misses = (?P<misses>\d+), "
    r"hit rate = [\d.]+%, uploaded = (?P<mib>[\d.]+) MiB"
)
"""As llama.cpp b11549 logs it, and only for batches that there were, so that hits + misses > 0."""


def expert_cache_use(lines: Iterable[str]) -> list[ExpertCacheUse]:
    """What a log says of the cache of experts; llama.cpp writes it when it ends."""
    return [
        ExpertCacheUse(
            batches="small" if found["size"] == "<=" else "large",
            hits=int(found["hits"]),
            misses=int(found["misses"]),
            uploaded_mib=float(found["mib"]),
        )
        for line in lines
        if (found := _USE.search(line)) and int(found["hits"]) + int(found["misses"])
    ]
