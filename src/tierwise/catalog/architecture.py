"""Architecture metadata of a checkpoint, from `config.json` or a GGUF header. Used to reject levers before an engine is
launched.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tierwise.catalog.gguf import GgufHeader, parts_of, read_head
from tierwise.spec.errors import SpecError


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """Metadata of a checkpoint, read without loading it; of a multimodal model, its language part."""

    model_type: str
    """`model_type` of the whole model in Transformers, or llama.cpp's `general.architecture`."""
    architectures: tuple[str, ...] = ()
    """Class names in Transformers; empty for a GGUF file."""
    layers: int | None = None
    context: int | None = None
    """Maximum context of the model, in tokens."""
    hidden: int | None = None
    experts: int | None = None
    """Routed experts per layer; None for a dense model."""
    active_experts: int | None = None
    """Active routed experts per token."""
    active_experts_key: str = ""
    """The key of `active_experts`: a dotted path into config.json, or a GGUF key; empty for a dense model."""
    hash_routed_layers: int = 0
    """Layers that route by a table from token to experts, which fixes the number of active experts."""
    quantization: str = ""
    """Quantization of the checkpoint: "fp8", "awq", a GGUF file's "Q4_K_M"; empty if not quantized."""
    dtype: str = ""
    """PyTorch dtype of the unquantized weights; empty if unspecified."""
    has_tokenizer: bool
    has_chat_template: bool
    needs_remote_code: bool = False
    """Whether it names its own Python classes (`auto_map`). An engine may have them built in."""
    format: Literal["safetensors", "pytorch", "gguf"]
    bytes: int
    """Size of the weights on disk."""

    def why_not_active(self, wanted: int) -> str:
        """Why this number of active experts is impossible, and what to do instead; empty if it is possible."""
        if self.experts is None:
            return f"this checkpoint ({self.model_type}) is dense and has no experts; remove this setting"
        if self.hash_routed_layers and wanted != self.active_experts:
            return (
                f"{self.hash_routed_layers} layers of this checkpoint ({self.model_type}) route by a table that holds"
                f" {self.active_experts} experts per token, and no other number loads; use more thinking instead"
                " (`reasoning_effort`), or a policy that draws several answers"
            )
        if not 1 <= wanted <= self.experts:
            return f"{wanted} of {self.experts} experts cannot be active; give 1 to {self.experts}"
        return ""


def read(path: Path) -> Architecture:
    """Read the metadata of the checkpoint at `path`: a folder with a config.json, or a GGUF file.

    Reads a few kilobytes and no weights: 0.1 s for a vocabulary of 250 thousand.

    Raises:
        SpecError: it is neither, it is damaged, or files are missing.
    """
    if path.is_dir():
        return _of_folder(path)
    if path.is_file():
        return _of_gguf(path)
    raise SpecError(f"there is no checkpoint at {path}")


# Names of each fact across Transformers' configurations, the most common first.
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_CONTEXT = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "seq_length")
_HIDDEN = ("hidden_size", "n_embd", "d_model")
_EXPERTS = ("num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts")
_ACTIVE = (
    "num_experts_per_tok",
    "top_k_experts",
    "moe_topk",
    "moe_top_k",
    "moe_k",
    "num_experts_per_token",
)
# Keys under which multimodal models describe their language part; `ffn_config` is DBRX's.
_LANGUAGE_PARTS = (
    ("thinker_config", "text_config"),
    ("text_config",),
    ("llm_config",),
    ("language_config",),
    ("ffn_config",),
)
_TOKENIZERS = (
    ("tokenizer.json",),
    ("tokenizer.model",),
    ("tekken.json",),
    ("tiktoken.model",),
    ("spiece.model",),
    ("vocab.txt",),
    ("vocab.json", "merges.txt"),
)


def _of_folder(folder: Path) -> Architecture:
    config = _json(folder / "config.json")
    if config is None:
        held = sorted(file.name for file in folder.glob("*.gguf"))
        advice = f"; to run a GGUF file, name it: {held[0]}" if held else ""
        raise SpecError(f"{folder} has no config.json, so it is not a checkpoint folder{advice}")
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or not model_type:
        raise SpecError(f"{folder / 'config.json'} has no model_type, so its architecture is unknown")
    tokenizer = _json(folder / "tokenizer_config.json") or {}
    weights = weight_files(folder)
    classes = config.get("architectures")
    experts, _ = _fact(config, _EXPERTS, folder)
    # A mixture of one expert is dense, and so is one whose blocks are disabled (Gemma 4).
    mixed = experts is not None and experts > 1 and _named(config, "enable_moe_block") is not False
    active, active_key = _fact(config, _ACTIVE, folder) if mixed else (None, "")
    return Architecture(
        model_type=model_type,
        architectures=tuple(map(str, classes)) if isinstance(classes, list) else (),
        layers=_fact(config, _LAYERS, folder)[0],
        context=_fact(config, _CONTEXT, folder)[0],
        hidden=_fact(config, _HIDDEN, folder)[0],
        experts=experts if mixed else None,
        active_experts=active,
        active_experts_key=active_key,
        hash_routed_layers=_hash_routed(config, folder),
        quantization=_quantization(config, folder),
        dtype=str(_named(config, "dtype") or _named(config, "torch_dtype") or "").removeprefix("torch."),
        has_tokenizer=any(all((folder / name).is_file() for name in names) for names in _TOKENIZERS),
        has_chat_template=_has_chat_template(folder, tokenizer),
        needs_remote_code="auto_map" in config or "auto_map" in tokenizer,
        format="safetensors" if weights[0].suffix == ".safetensors" else "pytorch",
        bytes=sum(file.stat().st_size for file in weights),
    )


def _json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None if the file does not exist."""
    # Not with spec/files.py: these files are written by Python, and some contain `Infinity`, which JSON does not allow.
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{path} is not JSON: {error}; pull or copy it again") from error
    if not isinstance(found, dict):
        raise SpecError(f"{path} contains a {type(found).__name__} instead of an object")
    return found


def _parts(config: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The descriptions of the language part, innermost first, each with its dotted path."""
    for path in _LANGUAGE_PARTS:
        inner: Any = config
        for name in path:
            inner = inner.get(name) if isinstance(inner, dict) else None
        if isinstance(inner, dict):
            yield ".".join(path) + ".", inner
    yield "", config


def _named(config: Mapping[str, Any], name: str) -> Any:
    return next((part[name] for _, part in _parts(config) if part.get(name) is not None), None)


def _fact(config: Mapping[str, Any], names: tuple[str, ...], folder: Path) -> tuple[int | None, str]:
    """The count under the first of `names` that is set, and its dotted path; the maximum if layers differ."""
    for path, part in _parts(config):
        for name in names:
            value = part.get(name)
            if isinstance(value, list) and value and all(isinstance(item, int) for item in value):
                value = max(value)
            if value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise SpecError(f"{folder / 'config.json'}: {path}{name} is {value!r}, not a count")
            return value, path + name
    return None, ""


def _hash_routed(config: Mapping[str, Any], folder: Path) -> int:
    """Number of hash-routed layers; DeepSeek-V4 lists them per layer, or as a number of first layers."""
    kinds = _named(config, "mlp_layer_types")
    if isinstance(kinds, list):
        return sum(kind == "hash_moe" for kind in kinds)
    return _fact(config, ("num_hash_layers",), folder)[0] or 0


def _quantization(config: Mapping[str, Any], folder: Path) -> str:
    described = _named(config, "quantization_config") or _named(config, "compression_config")
    if isinstance(described, dict):
        return str(described.get("quant_method") or "compressed-tensors")
    return "modelopt" if (folder / "hf_quant_config.json").is_file() else ""


def _has_chat_template(folder: Path, tokenizer: Mapping[str, Any]) -> bool:
    files = (folder / "chat_template.jinja", folder / "chat_template.json")
    return bool(tokenizer.get("chat_template")) or any(file.is_file() for file in files)


def weight_files(folder: Path) -> list[Path]:
    """The weight files of a folder: those of its index, else its safetensors files, else PyTorch's.

    Raises:
        SpecError: there are none, or files in the index are missing.
    """
    index = _json(folder / "model.safetensors.index.json")
    if index is not None:
        places = index.get("weight_map")
        if not isinstance(places, dict):
            raise SpecError(f"{folder / 'model.safetensors.index.json'} has no weight_map; pull or copy it again")
        wanted = sorted({str(name) for name in places.values()})
        if missing := [name for name in wanted if not (folder / name).is_file()]:
            some = ", ".join(missing[:3])
            raise SpecError(f"{folder} lacks {len(missing)} of its {len(wanted)} weight files: {some}")
        return [folder / name for name in wanted]
    for pattern in ("*.safetensors", "pytorch_model*.bin", "*.bin", "*.pth", "*.pt"):
        if found := sorted(folder.glob(pattern)):
            return found
    raise SpecError(f"{folder} has no weights: no *.safetensors, *.bin or *.pth file")


# llama.cpp's `general.file_type` by number (enum llama_ftype, llama.h of b11549); a dash is a removed type.
_FILE_TYPES = [
    "F32",
    "F16",
    "Q4_0",
    "Q4_1",
    "-",
    "-",
    "-",
    "Q8_0",
    "Q5_0",
    "Q5_1",
    "Q2_K",
    "Q3_K_S",
    "Q3_K_M",
    "Q3_K_L",
    "Q4_K_S",
    "Q4_K_M",
    "Q5_K_S",
    "Q5_K_M",
    "Q6_K",
    "IQ2_XXS",
    "IQ2_XS",
    "Q2_K_S",
    "IQ3_XS",
    "IQ3_XXS",
    "IQ1_S",
    "IQ4_NL",
    "IQ3_S",
    "IQ3_M",
    "IQ2_S",
    "IQ2_M",
    "IQ4_XS",
    "IQ1_M",
    "BF16",
    "-",
    "-",
    "-",
    "TQ1_0",
    "TQ2_0",
    "MXFP4_MOE",
    "NVFP4",
    "Q1_0",
]
_WHOLE = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def _of_gguf(path: Path) -> Architecture:
    head = read_head(path)
    if not head.architecture:
        raise SpecError(
            f"{path} has no general.architecture, so it is not a model; it may be a projector or a vocabulary"
        )
    kind = _file_type(head)
    experts = head.number("expert_count")
    mixed = experts is not None and experts > 1
    return Architecture(
        model_type=head.architecture,
        layers=head.number("block_count"),
        context=head.number("context_length"),
        hidden=head.number("embedding_length"),
        experts=experts if mixed else None,
        active_experts=head.number("expert_used_count") if mixed else None,
        active_experts_key=f"{head.architecture}.expert_used_count" if mixed else "",
        hash_routed_layers=head.number("hash_layer_count") or 0,
        quantization="" if kind in _WHOLE else kind,
        dtype=_WHOLE.get(kind, ""),
        has_tokenizer="tokenizer.ggml.model" in head.values,
        has_chat_template=bool(head.values.get("tokenizer.chat_template")),
        format="gguf",
        bytes=sum(part.stat().st_size for part in parts_of(path, head)),
    )


def _file_type(head: GgufHeader) -> str:
    number = head.values.get("general.file_type")
    if not isinstance(number, int):
        return ""
    number &= 1023  # 1024 is added where llama.cpp guessed
    return _FILE_TYPES[number].strip("-") if number < len(_FILE_TYPES) else ""
