"""Facts of the family files against the defaults of Transformers' configurations, where those are the checkpoint's."""

from __future__ import annotations

import pytest

from tierwise.catalog.families import family

transformers = pytest.importorskip("transformers", reason="transformers is not installed")


def test_glm():
    config, variant = transformers.GlmMoeDsaConfig(), family("glm-5.1").variant("")
    assert (config.num_hidden_layers, config.hidden_size) == (variant.layers, variant.hidden)
    assert config.max_position_embeddings == variant.context.tokens
    assert variant.experts is not None
    assert (config.n_routed_experts, config.num_experts_per_tok, config.n_shared_experts) == (
        variant.experts.routed,
        variant.experts.active,
        variant.experts.shared,
    )
    assert config.first_k_dense_replace == variant.experts.dense_layers
    assert config.norm_topk_prob is variant.experts.renormalised
    assert str(config.index_topk) in variant.attention.detail


def test_deepseek():
    config, variant = transformers.DeepseekV4Config(), family("deepseek-v4-pro").variant("")
    assert variant.experts is not None
    assert (config.num_experts_per_tok, config.n_shared_experts) == (variant.experts.active, variant.experts.shared)
    assert config.max_position_embeddings == variant.context.tokens
    assert config.mlp_layer_types.count("hash_moe") == 3
    assert "first 3 layers" in variant.experts.router


def test_kimi():
    whole = transformers.AutoConfig.for_model("kimi_k25")
    variant = family("kimi-k2.6").variant("")
    assert (whole.text_config.model_type, whole.text_config.num_hidden_layers) == ("deepseek_v3", variant.layers)
    assert whole.text_config.hidden_size == variant.hidden


@pytest.mark.parametrize(
    ("name", "model_type"),
    [
        ("glm-5.1", "glm_moe_dsa"),
        ("deepseek-v4-pro", "deepseek_v4"),
        ("kimi-k2.6", "kimi_k25"),
        ("qwen3.5-397b-a17b", "qwen3_5_moe"),
        ("gemma-4", "gemma4"),
        ("smollm2", "llama"),
        ("qwen2.5-coder", "qwen2"),
    ],
)
def test_the_worker_serves_what_automodel_for_causal_lm_knows(name, model_type):
    auto = transformers.models.auto.modeling_auto
    text, seeing = auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    support = family(name).engines["transformers"]
    assert (model_type in text) is support.serves
    assert support.architecture == (text if support.serves else seeing)[model_type]
