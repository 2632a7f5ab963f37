"""A deployment on Transformers in the config file, and the settings of its worker."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from tierwise.engines.openai.dialect import Dialect
from tierwise.engines.process.environment import HUGGING_FACE_AND_TORCH
from tierwise.spec.reading import allowed

if TYPE_CHECKING:
    from collections.abc import Collection

    from tierwise.engines.settings import Problem
    from tierwise.spec.sampling import Sampling

DIALECT = Dialect(
    engine="transformers",
    priority="higher first",
    thinking_tokens="thinking_tokens",
    active_experts="active_experts",
)

INHERITS = (*HUGGING_FACE_AND_TORCH, "BITSANDBYTES_*", "BNB_*", "ACCELERATE_*")
"""Variables that the libraries of the worker read."""

Dtype = Literal["auto", "bfloat16", "float16", "float32"]
Quantization = Literal["int8", "nf4", "fp4"]
Implementation = Literal["eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"]


class Pattern(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Sparse attention in a model that was trained with full attention: a window, or selected blocks."""

    window: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Each token attends to itself and the `window` - 1 tokens before it."""
    sinks: Annotated[int, msgspec.Meta(ge=0)] = 0
    """With a window: number of first tokens that all later tokens attend to (Xiao et al., 2309.17453)."""
    block: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Tokens per block; each token selects the blocks that it attends to."""
    keep: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """With blocks: number of blocks that each token attends to, including its own."""

    def validate(self) -> Iterable[str]:
        """Contradictions between its fields."""
        if (self.window is None) == (self.block is None):
            yield "set either `window` (optionally with `sinks`) or `block` with `keep`"
        elif self.window is not None and self.keep is not None:
            yield "`keep` is only for `block`; with `window`, set only `sinks`"
        elif self.block is not None and self.keep is None:
            yield "`block` needs `keep`, the number of blocks that a token attends to, including its own"
        elif self.block is not None and self.sinks:
            yield "`sinks` is only for `window`; blocks are selected by their content"


Attention = Implementation | Pattern


class ModelLevers(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The levers of loading a checkpoint."""

    dtype: Dtype = "auto"
    """Data type of weights and activations; `auto` is the checkpoint's, and bfloat16 for a quantized GGUF file."""
    quantization: Quantization | None = None
    """Quantization of linear layers while loading: 8 bits (LLM.int8), or 4 bits in one of two formats."""
    attention: Attention = "sdpa"
    """A Transformers implementation, or a pattern: `{window: 512, sinks: 4}`, `{block: 64, keep: 8}`."""
    active_experts: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Active experts per token, instead of the checkpoint's number."""
    trust_remote_code: bool = False
    """Whether to run Python code from the checkpoint."""
    use_kernels: bool = False
    """Replace layers by fused GPU kernels of the package `kernels`."""
    threads: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """CPU threads; default: the number of cores."""

    def validate_model(self) -> Iterable[Problem]:
        """All model levers that cannot work on any machine or checkpoint."""
        if isinstance(self.attention, Pattern):
            for why in self.attention.validate():
                yield "attention", why


class SchedulerSettings(ModelLevers, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The levers of scheduling passes, shared by the deployment and its worker."""

    context: Annotated[int, msgspec.Meta(ge=128)] = 4096
    """Context window of a pass in tokens, prompt plus answer."""
    slots: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 8
    """Maximum number of concurrent passes, in one batch if the model's caches can be batched."""
    queue: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 256
    """Maximum number of passes waiting for a slot; more are rejected."""
    deterministic: bool = False
    """Make greedy answers independent of other passes: each pass runs alone, without the gain of batching."""
    prefix_cache: bool = True
    """Cache keys and values of prompts and answers, so that no common prefix is computed twice."""
    packed: bool = True
    """On a CPU, store bfloat16 weights in the layout of its kernels: each step takes a third less time."""
    experts_sampled: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    """Share of passes whose routed experts are recorded, 0 to 1."""


class WorkerSettings(SchedulerSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of a worker, as JSON on its command line."""

    model: str
    """Path of the checkpoint: a folder or a GGUF file."""
    port: int
    host: str = "127.0.0.1"
    alias: str = "model"
    """The model name in its responses."""
    thinks: bool = True
    """Whether to separate thinking from the answer."""


class Transformers(
    SchedulerSettings, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="transformers", tag_field="engine"
):
    """Any checkpoint that Transformers loads as a causal language model (`pip install tierwise[transformers]`)."""

    checkpoint: str
    """A name under `checkpoints`: a folder, or a GGUF file."""
    environment: dict[str, str | None] = {}
    """Environment variables of its process; null stands for the value that Tierwise has."""

    @property
    def loads(self) -> str:
        return self.checkpoint

    @property
    def remote(self) -> None:
        return None

    def validate(self, checkpoints: Collection[str]) -> Iterable[Problem]:
        if self.checkpoint not in checkpoints:
            yield "checkpoint", f"there is no checkpoint {self.checkpoint!r}; {allowed(self.checkpoint, checkpoints)}"
        yield from self.validate_model()

    def unsupported(self, sampling: Sampling) -> Iterable[Problem]:
        return DIALECT.unsupported(sampling)
