"""GGUF files made for a test: the format's own writer for the true ones, and bytes by hand for the damaged ones."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest


def written(path: Path, architecture: str, **values: Any) -> Path:
    """A GGUF file without weights; each of `values` is a method of the writer and what it is told."""
    gguf = pytest.importorskip("gguf")
    writer = gguf.GGUFWriter(path, architecture)
    for name, value in values.items():
        getattr(writer, name)(value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def text(value: str) -> bytes:
    encoded = value.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def uint32(key: str, value: int) -> bytes:
    return text(key) + struct.pack("<II", 4, value)


def string(key: str, value: str) -> bytes:
    return text(key) + struct.pack("<I", 8) + text(value)


def by_hand(path: Path, *pairs: bytes, version: int = 3, count: int | None = None, tail: bytes = b"") -> Path:
    head = b"GGUF" + struct.pack("<IQQ", version, 0, len(pairs) if count is None else count)
    path.write_bytes(head + b"".join(pairs) + tail)
    return path


TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def random_mixture(
    path: Path, *, experts: int = 8, active: int = 2, layers: int = 2, width: int = 64, template: str | None = TEMPLATE
) -> Path:
    """A real Qwen3-MoE for llama.cpp with random weights: 0.9 MB, loads in a few milliseconds, speaks gibberish."""
    gguf, np = pytest.importorskip("gguf"), pytest.importorskip("numpy")
    heads, head, inner = 4, 16, 32
    random = np.random.default_rng(7)
    tokens = [*byte_letters(), "<|im_start|>", "<|im_end|>"]
    writer = gguf.GGUFWriter(path, "qwen3moe")
    writer.add_context_length(2048)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(inner)
    writer.add_expert_feed_forward_length(inner)
    writer.add_expert_count(experts)
    writer.add_expert_used_count(active)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(10000.0)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.NORMAL] * 256 + [gguf.TokenType.CONTROL] * 2)
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(257)
    if template is not None:
        writer.add_chat_template(template)

    def add(name: str, *shape: int) -> None:
        values = random.normal(0, shape[-1] ** -0.5, shape) if len(shape) > 1 else np.ones(shape)
        writer.add_tensor(f"{name}.weight", values.astype(np.float32))

    add("token_embd", len(tokens), width)
    add("output_norm", width)
    add("output", len(tokens), width)
    for layer in range(layers):
        block = f"blk.{layer}"
        for name, *shape in (
            ("attn_norm", width),
            ("attn_q", heads * head, width),
            ("attn_k", heads * head, width),
            ("attn_v", heads * head, width),
            ("attn_output", width, heads * head),
            ("attn_q_norm", head),
            ("attn_k_norm", head),
            ("ffn_norm", width),
            ("ffn_gate_inp", experts, width),
            ("ffn_gate_exps", experts, inner, width),
            ("ffn_up_exps", experts, inner, width),
            ("ffn_down_exps", experts, width, inner),
        ):
            add(f"{block}.{name}", *shape)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def byte_letters() -> list[str]:
    """GPT-2's letter for each byte, as its tokenizers write them (Radford et al., 2019)."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = iter(range(256, 512))
    return [chr(byte) if byte in shown else chr(next(hidden)) for byte in range(256)]
