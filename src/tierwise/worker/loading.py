"""Loads a checkpoint from disk into a model that is ready to run, with facts about it."""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gguf
import torch
import transformers
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedTokenizerFast,
)

from tierwise.catalog.architecture import Architecture
from tierwise.catalog.architecture import read as read_architecture
from tierwise.engines.transformers.preflight import check_model
from tierwise.engines.transformers.settings import ModelLevers, Pattern
from tierwise.spec.errors import SpecError
from tierwise.worker.attention import implementation, why_no_pattern


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A model in memory, in evaluation mode, with its tokenizer."""

    model: Any
    tokenizer: Any
    architecture: Architecture
    facts: dict[str, str]
    """Facts for `Health.facts`: versions, dtype, device, sizes in bytes."""


def load(path: Path, levers: ModelLevers) -> LoadedModel:
    """Load the checkpoint at `path`, a folder or a GGUF file.

    Raises:
        SpecError: the levers do not fit the checkpoint or this machine, or Transformers cannot load it.
    """
    architecture = read_architecture(path)
    problems = [*levers.validate_model(), *check_model(levers, architecture)]
    if not architecture.has_tokenizer:
        problems.append(("checkpoint", f"{path} has no tokenizer; put its tokenizer.json beside the weights"))
    if problems:
        raise SpecError("; ".join(f"{name}: {why}" for name, why in problems), field=problems[0][0])
    torch.set_num_threads(levers.threads or os.cpu_count() or 1)
    transformers.utils.logging.disable_progress_bar()
    try:
        with _memoized_gguf_reads() if path.is_file() else nullcontext():
            model = _model(path, levers, architecture)
        tokenizer = _tokenizer(path, levers)
    except (OSError, ValueError, ImportError, RuntimeError, SafetensorError) as error:  # raised for bad input
        raise SpecError(f"Transformers {transformers.__version__} cannot load {path}: {error}") from error
    _release_memory()
    return LoadedModel(model=model, tokenizer=tokenizer, architecture=architecture, facts=_facts(model, levers))


def _release_memory() -> None:
    """Return memory that loading no longer needs to the system.

    Otherwise the C library keeps it: 375 MB of 1006 MB after SmolLM2-135M in int8 from a GGUF file.
    """
    gc.collect()
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "malloc_trim"):
        library.malloc_trim(0)


def _model(path: Path, levers: ModelLevers, architecture: Architecture) -> Any:
    file = {"gguf_file": path.name} if path.is_file() else {}
    folder = path.parent if path.is_file() else path
    config = AutoConfig.from_pretrained(folder, **file, trust_remote_code=levers.trust_remote_code)
    if isinstance(levers.attention, Pattern) and (reason := why_no_pattern(config)):
        raise SpecError(f"attention: {reason}", field="attention")
    if levers.active_experts is not None:
        _set_active_experts(config, levers.active_experts, architecture)
    how: dict[str, Any] = {
        "dtype": _dtype(levers, architecture),
        "device_map": "auto",
        "attn_implementation": implementation(levers.attention),
        "trust_remote_code": levers.trust_remote_code,
    }
    if levers.use_kernels:
        how["use_kernels"] = True
    quantization = _quantization(levers, architecture)
    if quantization is not None and not file:
        how["quantization_config"] = quantization
    model: Any = AutoModelForCausalLM.from_pretrained(folder, **file, config=config, **how)
    if quantization is not None and file:
        model = _requantized(model, quantization, how)
    _disable_unsupported_packing(model)
    return model.eval()


def _disable_unsupported_packing(model: Any) -> None:
    """Disable bitsandbytes' AVX-512 weight packing for layers whose shape it does not support.

    In 0.50.2 the first forward fails with an assertion if a layer's outputs are not a multiple of 32.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu") and (module.out_features % 32 or module.in_features % 64):
            module.support_avx512bf16_for_cpu = False


@contextmanager
def _memoized_gguf_reads() -> Iterator[None]:
    """Memoize the `gguf` package's reader and tensor name maps while the block runs.

    Transformers parses a GGUF file once for the configuration and again for the weights, and rebuilds gguf's tensor
    name map for each module: 19 s of CPU time for SmolLM2-135M, imports included, and 13 s with this.
    """
    package: Any = gguf
    read, names = package.GGUFReader, package.get_tensor_name_map
    package.GGUFReader, package.get_tensor_name_map = cache(read), cache(names)
    try:
        yield
    finally:
        package.GGUFReader, package.get_tensor_name_map = read, names


def _requantized(model: Any, quantization: Any, how: dict[str, Any]) -> Any:
    """The model with its weights quantized. Transformers does not quantize while it reads a GGUF file."""
    config = model.config
    if hasattr(config, "quantization_config"):  # from the GGUF file; Transformers 5.16 does not set it
        del config.quantization_config
    del how["trust_remote_code"]
    return type(model).from_pretrained(
        None, config=config, state_dict=model.state_dict(), quantization_config=quantization, **how
    )


def _tokenizer(path: Path, levers: ModelLevers) -> Any:
    if path.is_file():  # AutoTokenizer would parse the whole file again, which takes 3 s
        return PreTrainedTokenizerFast.from_pretrained(path.parent, gguf_file=path.name)
    return AutoTokenizer.from_pretrained(path, trust_remote_code=levers.trust_remote_code)


def _dtype(levers: ModelLevers, architecture: Architecture) -> torch.dtype | str:
    if levers.dtype == "auto":
        return torch.bfloat16 if architecture.format == "gguf" and architecture.quantization else "auto"
    found: torch.dtype = getattr(torch, levers.dtype)
    return found


def _quantization(levers: ModelLevers, architecture: Architecture) -> Any:
    config: Any = BitsAndBytesConfig
    if levers.quantization is None:
        return None
    if levers.quantization == "int8":
        # It warns of a cast to float16 for every layer and token, which fills the log.
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
        return config(load_in_8bit=True)
    dtype = architecture.dtype if levers.dtype == "auto" else levers.dtype
    return config(
        load_in_4bit=True,
        bnb_4bit_quant_type=levers.quantization,
        bnb_4bit_compute_dtype=getattr(torch, dtype or "bfloat16"),
    )


def _set_active_experts(config: Any, wanted: int, architecture: Architecture) -> None:
    """Set the number in the text configuration. A GGUF file's key has another name in Transformers."""
    text = config.get_text_config()
    key = architecture.active_experts_key.rpartition(".")[2]
    name = key if hasattr(text, key) else "num_experts_per_tok"
    if not hasattr(text, name):
        raise SpecError(
            f"active_experts: the configuration of {architecture.model_type} has no known key for it; remove it",
            field="active_experts",
        )
    setattr(text, name, wanted)


def _facts(model: Any, levers: ModelLevers) -> dict[str, str]:
    facts = {
        "version": transformers.__version__,
        "torch": torch.__version__,
        "dtype": str(model.dtype).removeprefix("torch."),
        "quantization": levers.quantization or "none",
        "attention": str(model.config.get_text_config()._attn_implementation),  # noqa: SLF001 - it has no public name
        "device": str(model.device),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": str(torch.get_num_threads()),
        "mkldnn": str(torch.backends.mkldnn.is_available()).lower(),
        "parameters": str(model.num_parameters()),
        "weight_bytes": str(model.get_memory_footprint()),
    }
    if levers.quantization is not None:
        facts["bitsandbytes"] = version("bitsandbytes")
        facts["quantized_share"] = f"{_quantized(model) / model.num_parameters():.2f}"
    return facts


def _quantized(model: Any) -> int:
    """Number of quantized weights. Experts are not quantized: Transformers keeps them in one tensor, not in layers."""
    layers = (layer for layer in model.modules() if type(layer).__name__ in ("Linear8bitLt", "Linear4bit"))
    return sum(layer.in_features * layer.out_features for layer in layers)
