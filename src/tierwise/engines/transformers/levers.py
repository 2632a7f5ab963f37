"""What a model is loaded with by Transformers, and what of it cannot work: data and checks, without PyTorch, so that
`tierwise check` answers at once. The settings of the deployment and of the worker both extend `ModelLevers`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from tierwise.engines.lever import Lever

if TYPE_CHECKING:
    from tierwise.catalog.architecture import Architecture

Dtype = Literal["auto", "bfloat16", "float16", "float32"]
Quantization = Literal["int8", "nf4", "fp4"]
Implementation = Literal["eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"]


class Pattern(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Attention that leaves tokens out of a model that was trained with all: a window, or chosen blocks."""

    window: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Each token sees itself and the `window` - 1 tokens before it."""
    sinks: Annotated[int, msgspec.Meta(ge=0)] = 0
    """With a window: the first tokens of the text, which all later ones go on seeing (Xiao et al., 2309.17453)."""
    block: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Tokens of a block, where each token chooses the blocks that it sees."""
    keep: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """With blocks: how many each token sees, its own among them."""

    def problems(self) -> Iterable[str]:
        """What is wrong with it in itself."""
        if (self.window is None) == (self.block is None):
            yield "give either `window` (with `sinks`, if you like) or `block` with `keep`"
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

    def contradictions(self) -> Iterable[tuple[str, str]]:
        """Every lever that cannot work on any machine or checkpoint, as its name and why."""
        if isinstance(self.attention, Pattern):
            for problem in self.attention.problems():
                yield "attention", problem

    def unfit(self, architecture: Architecture | None) -> Iterable[tuple[str, str]]:
        """Every lever that cannot work on this machine or with this checkpoint, as its name and what to do instead.

        Args:
            architecture: of the checkpoint; None where it is not here yet, and only the machine is judged.
        """
        yield from self._unfit_here()
        if architecture is not None:
            yield from self._unfit_for(architecture)

    def _unfit_here(self) -> Iterable[tuple[str, str]]:
        if self.quantization is not None and not _is_installed("bitsandbytes"):
            yield "quantization", f"{self.quantization} needs bitsandbytes; pip install bitsandbytes, or leave it out"
        if self.attention in ("flash_attention_2", "flash_attention_3"):
            if not has_gpu():
                yield "attention", f"{self.attention} runs on a GPU, and this machine shows none; use sdpa"
            elif not _is_installed(_FLASH[self.attention]) and not _is_installed("kernels"):
                yield (
                    "attention",
                    f"{self.attention} needs the package {_FLASH[self.attention]} or kernels; install one, or use sdpa",
                )
        if self.use_kernels and not has_gpu():
            yield "use_kernels", "the fused kernels are for GPUs, and this machine shows none; leave it out"
        elif self.use_kernels and not _is_installed("kernels"):
            yield "use_kernels", "it needs the package kernels; pip install kernels, or leave it out"

    def _unfit_for(self, architecture: Architecture) -> Iterable[tuple[str, str]]:
        kind = architecture.model_type
        if architecture.needs_remote_code and not self.trust_remote_code and not _is_built_in(kind):
            yield (
                "trust_remote_code",
                f"{kind} is not built into Transformers; set it to true if you trust the checkpoint's own Python code",
            )
        if self.quantization is not None and architecture.quantization and architecture.format != "gguf":
            yield (
                "quantization",
                f"the checkpoint is quantized already ({architecture.quantization}); leave `quantization` out",
            )
        if isinstance(self.attention, Pattern) and kind in _OWN_ATTENTION:
            yield "attention", f"{kind} has a sparse attention of its own; leave `attention` out"
        if self.active_experts is not None:
            reason = why_not_active(self.active_experts, architecture)
            if reason:
                yield "active_experts", reason


def why_not_active(wanted: int, architecture: Architecture) -> str:
    """Why this number of experts cannot work on each token; empty where it can."""
    if architecture.experts is None:
        return f"{architecture.model_type} is a dense model and has no experts; leave it out"
    if wanted == architecture.active_experts:
        return ""
    if architecture.hash_routed_layers:
        return (
            f"{architecture.hash_routed_layers} layers of this {architecture.model_type} look experts up in a table "
            f"made for {architecture.active_experts} of them; leave it out"
        )
    if wanted > architecture.experts:
        return f"{wanted}: the model has {architecture.experts} experts in a layer; give at most so many"
    return ""


def has_gpu() -> bool:
    """Whether the kernel shows an NVIDIA or AMD device. Asking PyTorch instead would take two seconds."""
    return Path("/dev/kfd").exists() or any(Path("/dev").glob("nvidia[0-9]*"))


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _is_built_in(model_type: str) -> bool:
    """Whether Transformers has a folder of that name; its registry would take a second to import."""
    package = importlib.util.find_spec("transformers")
    folders = (package.submodule_search_locations or ()) if package is not None else ()
    return any((Path(folder) / "models" / model_type).is_dir() for folder in folders)


_FLASH = {"flash_attention_2": "flash_attn", "flash_attention_3": "flash_attn_3"}

# Their indexers choose tokens, and their masks are not those of `masking_utils`.
_OWN_ATTENTION = frozenset({"deepseek_v32", "deepseek_v4", "glm_moe_dsa", "minimax", "rwkv"})

_SOURCE = "Transformers 5.23.0, "

LEVERS: tuple[Lever, ...] = (
    Lever(
        name="dtype",
        sets="from_pretrained(dtype=)",
        scope="launch",
        values="auto, bfloat16, float16, float32",
        changes="memory and speed; a processor without bfloat16 units may be faster in float32",
        source=_SOURCE + "modeling_utils.py",
    ),
    Lever(
        name="quantization",
        sets="from_pretrained(quantization_config=BitsAndBytesConfig(…))",
        scope="launch",
        values="int8, nf4, fp4",
        needs="bitsandbytes (on the CPU too), and a checkpoint that is not quantized already; a GGUF file is "
        "dequantized first",
        changes="memory of the linear layers to a half (int8) or a quarter of bfloat16's, of experts nothing: they are "
        "no linear layers to bitsandbytes; speed either way; quality",
        source=_SOURCE + "quantizers/quantizer_bnb_8bit.py, quantizer_bnb_4bit.py",
    ),
    Lever(
        name="attention",
        sets="from_pretrained(attn_implementation=)",
        scope="launch",
        values="eager, sdpa, flash_attention_2, flash_attention_3, flex_attention, {window, sinks}, {block, keep}",
        needs="flash_attention: a GPU and its package, or kernels; a pattern: a model whose layers all see everything",
        changes="names: speed; patterns: work per token in a long context, and what the model can still look up",
        source=_SOURCE + "masking_utils.py; StreamingLLM 2309.17453; Quest 2406.10774",
    ),
    Lever(
        name="active_experts",
        sets="the configuration's num_experts_per_tok, top_k_experts …",
        scope="launch",
        values="1 to the experts of a layer",
        needs="a mixture of experts whose routers compute; DeepSeek-V4's first layers look experts up in a table",
        changes="time and quality; more than the model was trained with is a hypothesis to measure",
        source=_SOURCE + "models/*/modeling_*.py",
    ),
    Lever(
        name="use_kernels",
        sets="from_pretrained(use_kernels=)",
        scope="launch",
        values="true, false",
        needs="a GPU and the package kernels; not run by us",
        changes="speed of layers that have a fused kernel",
        source=_SOURCE + "modeling_utils.py",
    ),
    Lever(
        name="trust_remote_code",
        sets="from_pretrained(trust_remote_code=)",
        scope="launch",
        values="true, false",
        needs="your trust: the checkpoint's own Python code runs in the worker",
        changes="which architectures load",
        source=_SOURCE + "dynamic_module_utils.py",
    ),
    Lever(
        name="threads",
        sets="torch.set_num_threads",
        scope="launch",
        values="1 or more",
        changes="speed; more threads than free cores make it slower",
        source="PyTorch 2.13",
    ),
)
"""The rows of the levers' table for what a model is loaded with."""
