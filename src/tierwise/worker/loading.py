"""From a checkpoint on the disk to a model that is ready to run, with what it turned out to be."""

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
class Loaded:
    """A model in memory, in evaluation mode, and what belongs to it."""

    model: Any
    tokenizer: Any
    architecture: Architecture
    facts: dict[str, str]
    """What it turned out to be, for `Health.facts`."""


def load(path: Path, levers: ModelLevers) -> Loaded:
    """The checkpoint at `path`, a folder or a GGUF file, with its levers.

    Raises:
        SpecError: the checkpoint, the levers and this machine do not go together.
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
        with _reading_once() if path.is_file() else nullcontext():
            model = _model(path, levers, architecture)
        tokenizer = _tokenizer(path, levers)
    except (OSError, ValueError, ImportError, RuntimeError, SafetensorError) as error:  # what it raises at bad input
        raise SpecError(f"Transformers {transformers.__version__} cannot load {path}: {error}") from error
    _give_back()
    return Loaded(model=model, tokenizer=tokenizer, architecture=architecture, facts=_facts(model, levers))


def _give_back() -> None:
    """Return to the system what loading needed and no longer needs.

    The C library would keep it: 375 MB of 1006 MB after SmolLM2-135M in int8 from a GGUF file.
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
        model = _quantized_again(model, quantization, how)
    _spare_odd_shapes(model)
    return model.eval()


def _spare_odd_shapes(model: Any) -> None:
    """Keep bitsandbytes from packing weights for AVX-512 whose shape it cannot pack.

    Its assertion (0.50.2) would fail at the first forward, for layers whose outputs are no multiple of 32.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu") and (module.out_features % 32 or module.in_features % 64):
            module.support_avx512bf16_for_cpu = False


@contextmanager
def _reading_once() -> Iterator[None]:
    """Make `gguf` remember what it has read.

    Transformers parses a GGUF file once for the configuration and once more for the weights, and builds gguf's table
    of tensor names anew for each module: 19 s of processor time for SmolLM2-135M, imports
    included, and 13 s with this.
    """
    package: Any = gguf
    read, names = package.GGUFReader, package.get_tensor_name_map
    package.GGUFReader, package.get_tensor_name_map = cache(read), cache(names)
    try:
        yield
    finally:
        package.GGUFReader, package.get_tensor_name_map = read, names


def _quantized_again(model: Any, quantization: Any, how: dict[str, Any]) -> Any:
    """The same weights in the wanted form. Transformers does not quantize while it reads a GGUF file."""
    config = model.config
    if hasattr(config, "quantization_config"):  # of the GGUF file; Transformers 5.16 sets none
        del config.quantization_config
    del how["trust_remote_code"]
    return type(model).from_pretrained(
        None, config=config, state_dict=model.state_dict(), quantization_config=quantization, **how
    )


def _tokenizer(path: Path, levers: ModelLevers) -> Any:
    if path.is_file():  # AutoTokenizer would parse the whole file a second time, 3 s of work
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
        # It warns at every layer of every token that it casts to float16: gigabytes of log in a day.
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
        return config(load_in_8bit=True)
    dtype = architecture.dtype if levers.dtype == "auto" else levers.dtype
    return config(
        load_in_4bit=True,
        bnb_4bit_quant_type=levers.quantization,
        bnb_4bit_compute_dtype=getattr(torch, dtype or "bfloat16"),
    )


def _set_active_experts(config: Any, wanted: int, architecture: Architecture) -> None:
    """In the part of the configuration that tells it; the key of a GGUF file has another name in Transformers."""
    text = config.get_text_config()
    told = architecture.active_experts_key.rpartition(".")[2]
    name = told if hasattr(text, told) else "num_experts_per_tok"
    if not hasattr(text, name):
        raise SpecError(
            f"active_experts: nobody knows where {architecture.model_type} keeps it", field="active_experts"
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
    """Weights that are quantized. Those of experts are not: Transformers keeps them in one tensor, and no layers."""
    layers = (layer for layer in model.modules() if type(layer).__name__ in ("Linear8bitLt", "Linear4bit"))
    return sum(layer.in_features * layer.out_features for layer in layers)
