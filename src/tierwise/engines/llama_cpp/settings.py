"""A deployment on llama.cpp in the config file, and its names of request levers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import msgspec

from tierwise.engines.llama_cpp.worker import CacheType, Speculation
from tierwise.engines.openai.dialect import Dialect
from tierwise.spec.paths import FilePath, ProgramPath
from tierwise.spec.reading import allowed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from tierwise.engines.settings import Problem
    from tierwise.spec.sampling import Sampling

DIALECT = Dialect(
    engine="llama.cpp",
    thinking_tokens="thinking_budget_tokens",
    advice={
        "active_experts": "sets active experts at launch; add a second deployment with other `active_experts`",
        "priority": "serves requests in order of arrival; remove this",
    },
)

_EMBEDDED_SPECULATION = ("ngram-simple", "ngram-map-k", "ngram-mod", "draft-simple")
_WITH_DRAFT_MODEL = ("draft-simple", "draft-eagle3", "draft-dflash")


MOST_SLOTS = 256
"""llama.cpp's LLAMA_MAX_SEQ (src/llama-cparams.h)."""


class LlamaCpp(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="llama.cpp", tag_field="engine"
):
    """A GGUF checkpoint on llama.cpp, embedded (`pip install tierwise[llama]`) unless `binary` names a server."""

    checkpoint: str
    """A name under `checkpoints`."""
    context: Annotated[int, msgspec.Meta(ge=128)] = 4096
    """Context window of a pass in tokens, prompt plus answer. Memory grows with context × (slots + 1)."""
    slots: Annotated[int, msgspec.Meta(ge=1, le=MOST_SLOTS)] = 4
    """Maximum number of concurrent passes. From 2 on, llama.cpp is launched with one more, which a pass that runs alone
    may have while passes of groups have the others."""
    threads: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """CPU threads; default: all cores but one."""
    gpu_layers: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """Layers on the GPU; default: as many as the build can."""
    cache_type_k: CacheType = "f16"
    """Data type of cached keys."""
    cache_type_v: CacheType = "f16"
    """Data type of cached values; a quantized one needs flash attention."""
    flash_attention: bool | None = None
    """On or off; default: llama.cpp's choice."""
    prompt_cache_mib: Annotated[int, msgspec.Meta(ge=0)] = 1024
    """Main memory in MiB for prompts that are no longer in a slot; 0 disables it. Without `mmproj` and `speculative`,
    half of it is for prompts that several passes share, as files."""
    active_experts: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Active experts per token, instead of the checkpoint's number. The embedded llama.cpp serves a copy of the file
    with this number, which is made once, in the cache folder."""
    speculative: Speculation | None = None
    """Speculative decoding: `{kind: ngram-simple}`, or `{kind: draft-simple, model: small.gguf}`."""
    loras: dict[FilePath, float] = {}
    """LoRA adapters: path of a GGUF file → scale."""
    mmproj: FilePath | None = None
    """Path of the projector of a multimodal model."""
    chat_template: FilePath | None = None
    """Path of a Jinja file that replaces the checkpoint's chat template."""
    binary: ProgramPath | None = None
    """An external `llama-server`: its name on PATH, or its path relative to the config file's folder."""
    cpu_expert_layers: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """With a GPU build as `binary`: number of layers whose experts stay in main memory."""
    moe_cache_mib: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """With a GPU build as `binary`: GPU memory in MiB to cache recently used experts that are in main memory."""
    environment: dict[str, str | None] = {}
    """Environment variables of its process; null stands for the value that Tierwise has."""

    @property
    def loads(self) -> str:
        return self.checkpoint

    @property
    def remote(self) -> None:
        return None

    @property
    def launched_slots(self) -> int:
        """Slots of its process: one more than passes may run side by side, so that a group never has all of them."""
        return self.slots if self.slots == 1 else min(self.slots + 1, MOST_SLOTS)

    @property
    def shared_prompt_mib(self) -> int:
        """Size of the files of prompts that several passes share; 0 if this deployment cannot save its slots.

        llama.cpp saves no images, and not the state of a draft model.
        """
        return 0 if self.mmproj or self.speculative else self.prompt_cache_mib // 2

    @property
    def used_threads(self) -> int:
        """CPU threads: as set, or all available cores but one."""
        return self.threads or max(1, len(os.sched_getaffinity(0)) - 1)

    def validate(self, checkpoints: Collection[str]) -> Iterable[Problem]:
        if self.checkpoint not in checkpoints:
            yield "checkpoint", f"there is no checkpoint {self.checkpoint!r}; {allowed(self.checkpoint, checkpoints)}"
        if self.cache_type_v not in ("f32", "f16", "bf16") and self.flash_attention is False:
            yield (
                "cache_type_v",
                f"{self.cache_type_v} needs flash attention, which is off; remove `flash_attention`, or use f16",
            )
        if self.binary is None:
            for name in ("gpu_layers", "cpu_expert_layers", "moe_cache_mib"):
                if value := getattr(self, name):
                    yield name, f"{value}: the embedded llama.cpp is a CPU build; set `binary` to a GPU build"
        if self.speculative is not None:
            yield from self._validate_speculation(self.speculative)

    def _validate_speculation(self, speculative: Speculation) -> Iterable[Problem]:
        kind = speculative.kind
        if self.binary is None and kind not in _EMBEDDED_SPECULATION:
            known = ", ".join(_EMBEDDED_SPECULATION)
            yield "speculative", f"the embedded llama.cpp supports {known}; set `binary` to a llama-server for {kind}"
        if kind in _WITH_DRAFT_MODEL and speculative.model is None:
            yield "speculative", f"{kind} needs a draft model; set `model` to its GGUF file"
        if kind not in _WITH_DRAFT_MODEL and speculative.model is not None:
            yield "speculative", f"{kind} needs no model; remove `model`, or use draft-simple"
        if not kind.startswith("ngram") and speculative.match is not None:
            yield "speculative", f"`match` is only for the kinds ngram-…; remove it for {kind}"

    def unsupported(self, sampling: Sampling) -> Iterable[Problem]:
        if sampling.thinking_tokens == 0:
            # Measured with b11549: a limit of 0 tokens garbles the end of the thinking block.
            yield "thinking_tokens", "0 would disable thinking; set `thinking: false` instead"
        yield from DIALECT.unsupported(sampling)
