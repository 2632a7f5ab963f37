"""Preflight checks of Transformers: packages, GPUs and checkpoint. Does not import PyTorch."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from tierwise.catalog.architecture import read as read_architecture
from tierwise.engines.transformers.settings import Pattern
from tierwise.spec.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tierwise.catalog.architecture import Architecture
    from tierwise.engines.settings import LaunchContext, Problem
    from tierwise.engines.transformers.settings import ModelLevers, Transformers

_FLASH = {"flash_attention_2": "flash_attn", "flash_attention_3": "flash_attn_3"}

# Their indexers select tokens, and they do not use the masks of `masking_utils`.
_OWN_ATTENTION = frozenset({"deepseek_v32", "deepseek_v4", "glm_moe_dsa", "minimax", "rwkv"})


def preflight(settings: Transformers, context: LaunchContext) -> Iterable[Problem]:
    """All settings that cannot work here."""
    if missing := [name for name in ("torch", "transformers") if importlib.util.find_spec(name) is None]:
        yield (
            "engine",
            f"{' and '.join(missing)} is not installed in this environment; pip install 'tierwise[transformers]'",
        )
        return
    try:
        architecture = None if context.model is None else read_architecture(context.model)
    except SpecError as error:
        yield "checkpoint", str(error)
        return
    yield from check_model(settings, architecture)
    if architecture is not None:
        yield from _check_serving(settings, architecture)


def check_model(levers: ModelLevers, architecture: Architecture | None) -> Iterable[Problem]:
    """All model levers that cannot work on this machine or with this checkpoint.

    Args:
        levers: of the deployment, or of its worker, which checks them again before loading.
        architecture: of the checkpoint; None if it is not downloaded: then only the machine is checked.
    """
    yield from _check_machine(levers)
    if architecture is not None:
        yield from _check_checkpoint(levers, architecture)


def _check_serving(settings: Transformers, architecture: Architecture) -> Iterable[Problem]:
    if not architecture.has_tokenizer:
        yield "checkpoint", "it has no tokenizer; add tokenizer.json to its folder"
    elif not architecture.has_chat_template:
        yield "checkpoint", "it has no chat template; add chat_template.jinja to its folder"
    if architecture.context is not None and settings.context > architecture.context:
        yield "context", f"{settings.context} is more than the checkpoint's {architecture.context}; set at most that"


def _check_machine(levers: ModelLevers) -> Iterable[Problem]:
    if levers.quantization is not None and not _is_installed("bitsandbytes"):
        yield "quantization", f"{levers.quantization} needs bitsandbytes; pip install bitsandbytes, or remove this"
    if levers.attention in ("flash_attention_2", "flash_attention_3"):
        if not has_gpu():
            yield "attention", f"{levers.attention} needs a GPU, and this machine has none; use sdpa"
        elif not _is_installed(_FLASH[levers.attention]) and not _is_installed("kernels"):
            yield (
                "attention",
                f"{levers.attention} needs the package {_FLASH[levers.attention]} or kernels; install one, or use sdpa",
            )
    if levers.use_kernels and not has_gpu():
        yield "use_kernels", "the fused kernels need a GPU, and this machine has none; remove this"
    elif levers.use_kernels and not _is_installed("kernels"):
        yield "use_kernels", "it needs the package kernels; pip install kernels, or remove this"


def _check_checkpoint(levers: ModelLevers, architecture: Architecture) -> Iterable[Problem]:
    kind = architecture.model_type
    if architecture.needs_remote_code and not levers.trust_remote_code and not _is_built_in(kind):
        yield (
            "trust_remote_code",
            f"{kind} is not built into Transformers; set it to true if you trust the checkpoint's own Python code",
        )
    if levers.quantization is not None and architecture.quantization and architecture.format != "gguf":
        yield (
            "quantization",
            f"the checkpoint is already quantized ({architecture.quantization}); remove `quantization`",
        )
    if isinstance(levers.attention, Pattern) and kind in _OWN_ATTENTION:
        yield "attention", f"{kind} has its own sparse attention; remove `attention`"
    if levers.active_experts is not None and (why := architecture.why_not_active(levers.active_experts)):
        yield "active_experts", why


def has_gpu() -> bool:
    """Whether there is an NVIDIA or AMD device, from /dev. PyTorch would take two seconds."""
    return Path("/dev/kfd").exists() or any(Path("/dev").glob("nvidia[0-9]*"))


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _is_built_in(model_type: str) -> bool:
    """Whether Transformers has a folder of this name; importing its registry would take a second."""
    package = importlib.util.find_spec("transformers")
    folders = (package.submodule_search_locations or ()) if package is not None else ()
    return any((Path(folder) / "models" / model_type).is_dir() for folder in folders)
