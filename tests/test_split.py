"""examples/moe/split.py: with all experts active the mixture is the dense model, to rounding."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="pip install 'tierwise[transformers]' to test the splitting of a model")
transformers = pytest.importorskip("transformers")

PROGRAM = Path(__file__).parents[1] / "examples" / "moe" / "split.py"


@pytest.fixture(scope="module")
def split():
    spec = importlib.util.spec_from_file_location("split", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture(scope="module")
def pair(split):
    """A tiny random Llama, and the mixture that is made of it; windows to look at them with."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    config = transformers.LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=split.SHARED + 8 * split.EXPERTS,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        tie_word_embeddings=True,
    )
    dense = transformers.LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for weight in dense.parameters():
            if weight.dim() > 1:
                weight.normal_(0.0, 0.2)
    windows = [torch.randint(64, (1, 64)) for _ in range(8)]
    return dense, split.split(dense, windows), windows


def logits(model, window):
    with torch.no_grad():
        return model(window).logits


def test_with_all_experts_it_is_the_dense_model_to_rounding(pair):
    dense, sparse, windows = pair
    whole = logits(dense, windows[0])
    # The router's logits of 1e-4 weigh the experts by as much.
    assert (logits(sparse, windows[0]) - whole).abs().max() < 1e-3 * whole.abs().max()


def test_with_fewer_experts_it_is_farther_from_the_dense_model(pair, split):
    dense, sparse, windows = pair
    whole, apart = logits(dense, windows[0]), []
    for active in (split.EXPERTS, 6, 2):
        for layer in sparse.model.layers:
            layer.mlp.gate.top_k = active
        apart.append(float((logits(sparse, windows[0]) - whole).square().mean()))
    assert apart == sorted(apart)
    assert apart[0] < 1e-4 * apart[1]


def test_every_neuron_is_in_one_place(pair, split):
    dense, sparse, _ = pair
    for source, made in zip(dense.model.layers, sparse.model.layers, strict=True):
        up = [made.mlp.shared_expert.up_proj.weight, *made.mlp.experts.gate_up_proj[:, 8:]]
        rows = torch.cat(up)
        assert torch.equal(rows.sort(0).values, source.mlp.up_proj.weight.sort(0).values)
    assert sparse.config.num_experts == split.EXPERTS
