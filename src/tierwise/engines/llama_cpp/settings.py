"""How a deployment on llama.cpp is written in the config file, and what its request levers are called there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import msgspec

from tierwise.engines.llama_cpp.worker import CacheType, Speculation
from tierwise.engines.openai.dialect import Dialect
from tierwise.spec.reading import allowed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from tierwise.engines.settings import Problem
    from tierwise.spec.sampling import Sampling

DIALECT = Dialect(
    engine="llama.cpp",
    thinking_tokens="thinking_budget_tokens",
    advice={
        "active_experts": "sets experts at launch; make a second deployment with another number of active experts",
        "priority": "serves in the order of arrival; leave it out",
    },
)

_EMBEDDED_SPECULATION = ("ngram-simple", "ngram-map-k", "ngram-mod", "draft-simple")
_WITH_DRAFT_MODEL = ("draft-simple", "draft-eagle3", "draft-dflash")


class LlamaCpp(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="llama.cpp", tag_field="engine"
):
    """A GGUF checkpoint on llama.cpp, embedded (`pip install tierwise[llama]`) unless `binary` names a server."""

    checkpoint: str
    """A name under `checkpoints`."""
    context: Annotated[int, msgspec.Meta(ge=128)] = 4096
    """Tokens of prompt and answer that one pass may hold. Memory grows with context × slots."""
    slots: Annotated[int, msgspec.Meta(ge=1, le=256)] = 4
    """Passes that run side by side."""
    threads: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Processor threads; all cores but one where it is not given."""
    gpu_layers: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """Layers to put on the GPU; all that a GPU build can where it is not given."""
    cache_type_k: CacheType = "f16"
    """Precision of the cached keys."""
    cache_type_v: CacheType = "f16"
    """Precision of the cached values; a quantized one needs flash attention."""
    flash_attention: bool | None = None
    """On, off, or as llama.cpp sees fit."""
    prompt_cache_mib: Annotated[int, msgspec.Meta(ge=0)] = 1024
    """Main memory for prompts that no slot holds any more; 0 forgets them."""
    active_experts: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Experts that work on each token, where it is not the checkpoint's own number. The embedded llama.cpp serves a
    copy of the file with that number changed; it is made once, in the cache."""
    speculative: Speculation | None = None
    """Guessed tokens: `{kind: ngram-simple}`, or `{kind: draft-simple, model: small.gguf}`."""
    loras: dict[str, float] = {}
    """Adapters: path of a GGUF file → scale."""
    mmproj: str | None = None
    """Path of the projector, for a model that sees or hears."""
    chat_template: str | None = None
    """Path of a Jinja file that replaces the checkpoint's own template."""
    binary: str | None = None
    """An external `llama-server`; its name on PATH or its path. Paths start from the config file's folder."""
    cpu_expert_layers: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """With a GPU build as `binary`: so many layers keep their experts in the main memory."""
    moe_cache_mib: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """With a GPU build as `binary`: memory of the GPU for experts that lie in the main memory and were used lately."""

    @property
    def loads(self) -> str:
        return self.checkpoint

    @property
    def remote(self) -> None:
        return None

    @property
    def used_threads(self) -> int:
        """Processor threads: as set, or all but one of those that we may use."""
        return self.threads or max(1, len(os.sched_getaffinity(0)) - 1)

    def validate(self, checkpoints: Collection[str]) -> Iterable[Problem]:
        if self.checkpoint not in checkpoints:
            yield "checkpoint", f"there is no checkpoint {self.checkpoint!r}; {allowed(self.checkpoint, checkpoints)}"
        if self.cache_type_v not in ("f32", "f16", "bf16") and self.flash_attention is False:
            yield (
                "cache_type_v",
                f"{self.cache_type_v} needs flash attention, which is off; leave `flash_attention` out, or use f16",
            )
        if self.binary is None:
            for name in ("gpu_layers", "cpu_expert_layers", "moe_cache_mib"):
                if value := getattr(self, name):
                    yield name, f"{value}: the embedded llama.cpp is a CPU build; name a GPU build as `binary`"
        if self.speculative is not None:
            yield from self._validate_speculation(self.speculative)

    def _validate_speculation(self, speculative: Speculation) -> Iterable[Problem]:
        kind = speculative.kind
        if self.binary is None and kind not in _EMBEDDED_SPECULATION:
            known = ", ".join(_EMBEDDED_SPECULATION)
            yield "speculative", f"the embedded llama.cpp runs {known}; name a llama-server as `binary` for {kind}"
        if kind in _WITH_DRAFT_MODEL and speculative.model is None:
            yield "speculative", f"{kind} guesses with a model of its own; name its GGUF file as `model`"
        if kind not in _WITH_DRAFT_MODEL and speculative.model is not None:
            yield "speculative", f"{kind} needs no model; leave `model` out, or take draft-simple"
        if not kind.startswith("ngram") and speculative.match is not None:
            yield "speculative", f"`match` belongs to the kinds ngram-…; leave it out of {kind}"

    def unsupported(self, sampling: Sampling) -> Iterable[Problem]:
        if sampling.thinking_tokens == 0:
            # Seen with b11549: the forced end of a block of no tokens comes out garbled.
            yield "thinking_tokens", "0 is not to think at all; set `thinking: false` instead"
        yield from DIALECT.unsupported(sampling)
