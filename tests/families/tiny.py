"""Tiny random checkpoints of the families' real architectures, as folders that any engine loads: Transformers' own
classes with a few layers, a byte tokenizer, and a chat template with the family's thinking switch.

The template is ours and not the makers': theirs ship with their checkpoints, and no package that we install has them.
A byte is a token, so that texts round-trip and a vocabulary of 264 is enough; SmolLM2's own tokenizer takes 8 s to read
from its GGUF file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tierwise.catalog.families import Family, family

SPECIAL = ("<|pad|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>")
VOCABULARY = 264  # 256 bytes, the special tokens, and what makes it a multiple of 8
PAD, START, END = (256 + SPECIAL.index(name) for name in ("<|pad|>", "<|im_start|>", "<|im_end|>"))
CONTEXT = 512

_COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "num_attention_heads": 4,
    "max_position_embeddings": CONTEXT,
    "pad_token_id": PAD,
    "bos_token_id": None,
    "eos_token_id": END,
}
_MLA: dict[str, Any] = {
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 16,
    "v_head_dim": 16,
}

# Transformers knows these by the architecture; vLLM and SGLang read them, and real checkpoints have them.
_AS_DEEPSEEK: dict[str, Any] = {"topk_method": "noaux_tc", "scoring_func": "sigmoid"}


@dataclass(frozen=True, kw_only=True)
class Tiny:
    """How a family's architecture is made small."""

    family: str
    config: str
    """The class of its configuration in Transformers."""
    model: str
    model_type: str
    layers: int
    experts: int
    active: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    whole: str = ""
    """The `model_type` of the real checkpoints, where ours is their text model alone."""

    @property
    def facts(self) -> Family:
        return family(self.family)


TINIES: dict[str, Tiny] = {
    tiny.family: tiny
    for tiny in (
        Tiny(
            family="glm-5.1",
            config="GlmMoeDsaConfig",
            model="GlmMoeDsaForCausalLM",
            model_type="glm_moe_dsa",
            layers=3,
            experts=8,
            active=2,
            settings={
                **_MLA,
                "num_hidden_layers": 3,
                "first_k_dense_replace": 1,
                "num_key_value_heads": 4,
                "intermediate_size": 64,
                "moe_intermediate_size": 32,
                "n_routed_experts": 8,
                "num_experts_per_tok": 2,
                "index_topk": 16,
                "index_head_dim": 16,
                "index_n_heads": 2,
                **_AS_DEEPSEEK,
            },
        ),
        Tiny(
            family="deepseek-v4-pro",
            config="DeepseekV4Config",
            model="DeepseekV4ForCausalLM",
            model_type="deepseek_v4",
            layers=4,
            experts=8,
            active=2,
            settings={
                "num_hidden_layers": 4,
                "layer_types": [
                    "heavily_compressed_attention",
                    "heavily_compressed_attention",
                    "compressed_sparse_attention",
                    "heavily_compressed_attention",
                ],
                "mlp_layer_types": ["hash_moe", "hash_moe", "moe", "moe"],
                "head_dim": 32,
                "q_lora_rank": 16,
                "o_groups": 2,
                "o_lora_rank": 16,
                "partial_rotary_factor": 0.25,
                "moe_intermediate_size": 32,
                "n_routed_experts": 8,
                "num_experts_per_tok": 2,
                "index_topk": 8,
                "index_head_dim": 16,
                "index_n_heads": 2,
                "sliding_window": 16,
                "hc_mult": 2,
            },
        ),
        Tiny(
            family="kimi-k2.6",
            config="DeepseekV3Config",
            model="DeepseekV3ForCausalLM",
            model_type="deepseek_v3",
            whole="kimi_k25",
            layers=3,
            experts=8,
            active=2,
            settings={
                **_MLA,
                "kv_lora_rank": 512,  # vLLM's MLA kernel for the CPU has this one size
                "qk_rope_head_dim": 64,
                "num_hidden_layers": 3,
                "first_k_dense_replace": 1,
                "num_key_value_heads": 4,
                "intermediate_size": 64,
                "moe_intermediate_size": 32,
                "n_routed_experts": 8,
                "num_experts_per_tok": 2,
                "n_group": 1,
                "topk_group": 1,
                "num_mtp_layers": 0,
                **_AS_DEEPSEEK,
            },
        ),
        Tiny(
            family="qwen3.5-397b-a17b",
            config="Qwen3_5MoeTextConfig",
            model="Qwen3_5MoeForCausalLM",
            model_type="qwen3_5_moe_text",
            whole="qwen3_5_moe",
            layers=4,
            experts=8,
            active=2,
            settings={
                "num_hidden_layers": 4,
                "num_key_value_heads": 2,
                "head_dim": 16,
                "linear_key_head_dim": 16,
                "linear_value_head_dim": 16,
                "linear_num_key_heads": 2,
                "linear_num_value_heads": 4,
                "moe_intermediate_size": 32,
                "shared_expert_intermediate_size": 32,
                "num_experts": 8,
                "num_experts_per_tok": 2,
            },
        ),
        Tiny(
            family="gemma-4",
            config="Gemma4TextConfig",
            model="Gemma4ForCausalLM",
            model_type="gemma4_text",
            whole="gemma4",
            layers=4,
            experts=8,
            active=2,
            settings={
                "num_hidden_layers": 4,
                "layer_types": ["sliding_attention", "sliding_attention", "sliding_attention", "full_attention"],
                "num_key_value_heads": 2,
                "head_dim": 32,  # the least that vLLM's attention on the CPU takes
                "global_head_dim": 64,
                "intermediate_size": 64,
                "sliding_window": 16,
                "hidden_size_per_layer_input": 0,
                "vocab_size_per_layer_input": VOCABULARY,
                "enable_moe_block": True,
                "num_experts": 8,
                "top_k_experts": 2,
                "moe_intermediate_size": 32,
            },
        ),
    )
}


def build(name: str, folder: Path, *, seed: int = 0, dtype: str = "float32") -> Path:
    """The folder, with a random checkpoint of the family's architecture; the same bytes for the same seed.

    Args:
        name: of a family in `TINIES`.
        folder: made where it is missing; what lies there is overwritten.
        seed: of the weights.
        dtype: of the weights, in PyTorch's words.
    """
    import torch  # noqa: PLC0415 - 3 s, and not everywhere installed: a table of names wants neither
    import transformers  # noqa: PLC0415

    tiny = TINIES[name]
    torch.manual_seed(seed)
    config = getattr(transformers, tiny.config)(**_COMMON, **tiny.settings)
    model = getattr(transformers, tiny.model)(config)
    _draw(model)
    model.to(getattr(torch, dtype))
    model.generation_config = transformers.GenerationConfig(eos_token_id=END, pad_token_id=PAD)
    model.save_pretrained(folder)
    tokenizer(template_of(tiny.facts)).save_pretrained(folder)
    return folder


def tokenizer(template: str = "") -> Any:
    """Bytes as tokens, and the special ones after them."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers  # noqa: PLC0415
    from transformers import PreTrainedTokenizerFast  # noqa: PLC0415

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(name, special=True) for name in SPECIAL[:3]])
    core.add_tokens([AddedToken(name, special=False) for name in SPECIAL[3:]])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<|pad|>",
        eos_token="<|im_end|>",
        model_max_length=CONTEXT,
        chat_template=template or None,
    )


def template_of(facts: Family) -> str:
    """A ChatML template that thinks, or does not, when the family's own switch says so."""
    talk = (
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    )
    if facts.thinking.on is None:
        return talk + "{% endif %}"
    name = next(key for key, value in facts.thinking.on.items() if value is True)
    default = json.dumps(facts.thinking.default)
    return (
        talk + f"{{% if {name} | default({default}) %}}<think>\n{{% else %}}<think></think>\n{{% endif %}}{{% endif %}}"
    )


def _draw(model: Any) -> None:
    """Weights large enough that routers and answers differ from token to token; zeros make every expert alike."""
    import torch  # noqa: PLC0415

    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1:  # a large embedding that is the output too would only ever repeat the last token
                weight.normal_(0.0, 0.02 if "embed" in name else 0.2)
        for name, table in model.named_buffers():
            if name.endswith("tid2eid"):
                experts = model.config.n_routed_experts
                rows = [torch.randperm(experts)[: table.shape[1]] for _ in range(table.shape[0])]
                table.copy_(torch.stack(rows))
