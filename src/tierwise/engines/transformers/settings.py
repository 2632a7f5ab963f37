"""How a deployment on Transformers is written in the config file, and what its worker is started with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from tierwise.engines.openai.dialect import Dialect
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

Dtype = Literal["auto", "bfloat16", "float16", "float32"]
Quantization = Literal["int8", "nf4", "fp4"]
Implementation = Literal["eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"]


class Pattern(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Attention that skips tokens, in a model that was trained with all of them: a window, or chosen blocks."""

    window: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Each token sees itself and the `window` - 1 tokens before it."""
    sinks: Annotated[int, msgspec.Meta(ge=0)] = 0
    """With a window: the first tokens of the text, which all later ones still see (Xiao et al., 2309.17453)."""
    block: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Tokens of a block, where each token chooses the blocks that it sees."""
    keep: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """With blocks: how many each token sees, its own among them."""

    def validate(self) -> Iterable[str]:
        """What is wrong with it in itself."""
        if (self.window is None) == (self.block is None):
            yield "give either `window` (with `sinks`, if wanted) or `block` with `keep`"
        elif self.window is not None and self.keep is not None:
            yield "`keep` belongs to `block`; with a window, give `sinks` or nothing"
        elif self.block is not None and self.keep is None:
            yield "`block` wants `keep`, the number of blocks that a token sees, its own among them"
        elif self.block is not None and self.sinks:
            yield "`sinks` belongs to `window`; blocks are chosen by what is in them"


Attention = Implementation | Pattern


class ModelLevers(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How a checkpoint becomes a model in memory."""

    dtype: Dtype = "auto"
    """Of weights and activations; `auto` is the checkpoint's own, and bfloat16 for a quantized GGUF file."""
    quantization: Quantization | None = None
    """Of the linear layers, while they are loaded: 8 bits (LLM.int8), or 4 bits in one of two number formats."""
    attention: Attention = "sdpa"
    """A name of Transformers, or a pattern: `{window: 512, sinks: 4}`, `{block: 64, keep: 8}`."""
    active_experts: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Experts that work on each token, where it is not the checkpoint's own number."""
    trust_remote_code: bool = False
    """Whether to run Python code that came with the checkpoint."""
    use_kernels: bool = False
    """Fused GPU kernels of the `kernels` package in place of the model's own layers."""
    threads: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Processor threads; as many as cores where it is not given."""

    def validate_model(self) -> Iterable[Problem]:
        """Every lever of the model that cannot work on any machine or checkpoint."""
        if isinstance(self.attention, Pattern):
            for why in self.attention.validate():
                yield "attention", why


class SchedulerSettings(ModelLevers, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How passes share the model, as the deployment and its worker both know it."""

    context: Annotated[int, msgspec.Meta(ge=128)] = 4096
    """Tokens of prompt and answer that one pass may hold."""
    slots: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 8
    """Passes that run side by side, in one batch where the model's caches can be joined."""
    queue: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 256
    """Passes that may wait for a slot; more are turned away."""
    deterministic: bool = False
    """The same greedy text whatever else runs: each pass runs alone, which costs what batching gains."""
    prefix_cache: bool = True
    """Keep the keys and values of prompts and answers, so that no common beginning is computed twice."""
    packed: bool = True
    """On a processor, keep bfloat16 weights in the order that its kernels want: a third off each step."""
    experts_sampled: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    """Share of the passes whose experts are recorded; 0 records none."""


class WorkerSettings(SchedulerSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a worker is started with, as JSON on its command line."""

    model: str
    """Path of the checkpoint: a folder or a GGUF file."""
    port: int
    host: str = "127.0.0.1"
    alias: str = "model"
    """The model's name in its answers."""
    thinks: bool = True
    """Whether to look for thinking in what the model writes."""


class Transformers(
    SchedulerSettings, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="transformers", tag_field="engine"
):
    """Any checkpoint that Transformers loads as a causal language model (`pip install tierwise[transformers]`)."""

    checkpoint: str
    """A name under `checkpoints`: a folder, or a GGUF file."""

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
