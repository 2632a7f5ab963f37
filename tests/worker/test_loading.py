"""A checkpoint becomes a model with its levers, or one clear error before its weights are read."""

import json
import shutil

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'tierwise[transformers]'")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")

import msgspec  # noqa: E402

from families.tiny import VOCABULARY, build, tokenizer  # noqa: E402
from tierwise.catalog.architecture import read  # noqa: E402
from tierwise.engines.transformers.preflight import has_gpu  # noqa: E402
from tierwise.engines.transformers.settings import ModelLevers, Pattern  # noqa: E402
from tierwise.spec.errors import SpecError  # noqa: E402
from tierwise.worker.loading import load  # noqa: E402

TEXT = torch.tensor([list(b"once upon a time there was")])


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    """A tiny random Llama as a folder, in bfloat16."""
    folder = tmp_path_factory.mktemp("dense")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.2,
        max_position_embeddings=512,
    )
    transformers.LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    tokenizer("{{ messages }}").save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    return build("qwen3.5-397b-a17b", tmp_path_factory.mktemp("mixture"))


@pytest.fixture(scope="module")
def hashed(tmp_path_factory):
    return build("deepseek-v4-pro", tmp_path_factory.mktemp("hashed"))


def logits(loaded):
    with torch.inference_mode():
        return loaded.model(TEXT).logits.float()


def refusal(path, **levers):
    with pytest.raises(SpecError) as caught:
        load(path, ModelLevers(**levers))
    return str(caught.value)


def config_of(folder, target, **changes):
    """A copy with another config.json."""
    shutil.copytree(folder, target)
    config = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps(config | changes))
    return target


def test_it_is_as_the_checkpoint_says_where_no_lever_is_set(dense):
    loaded = load(dense, ModelLevers())
    assert (loaded.facts["dtype"], loaded.facts["attention"], loaded.facts["quantization"]) == (
        "bfloat16",
        "sdpa",
        "none",
    )
    assert 0 <= int(loaded.facts["weight_bytes"]) - 2 * int(loaded.facts["parameters"]) < 1000  # some buffers
    assert not loaded.model.training
    assert loaded.architecture == read(dense)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_it_has_the_dtype_that_was_asked_for(dense, dtype):
    loaded = load(dense, ModelLevers(dtype=dtype))
    assert {str(weight.dtype) for weight in loaded.model.parameters()} == {f"torch.{dtype}"}
    assert loaded.facts["dtype"] == dtype


@pytest.mark.parametrize(("quantization", "share"), [("int8", 0.8), ("nf4", 0.65), ("fp4", 0.65)])
def test_quantized_weights_are_smaller_and_nearly_the_same(dense, quantization, share):
    pytest.importorskip("bitsandbytes")
    whole, small = load(dense, ModelLevers()), load(dense, ModelLevers(quantization=quantization))
    assert int(small.facts["weight_bytes"]) < share * int(whole.facts["weight_bytes"])
    assert (small.facts["quantization"], small.facts["bitsandbytes"][0]) == (quantization, "0")
    likeness = torch.cosine_similarity(logits(whole).flatten(), logits(small).flatten(), dim=0)
    assert 0.8 < likeness < 1


@pytest.mark.parametrize("quantization", ["int8", "nf4"])
def test_experts_are_not_quantized_and_the_share_that_is_gets_told(mixture, quantization):
    pytest.importorskip("bitsandbytes")
    loaded = load(mixture, ModelLevers(quantization=quantization, dtype="bfloat16"))
    assert 0.1 < float(loaded.facts["quantized_share"]) < 0.5
    assert {str(one.dtype) for name, one in loaded.model.named_parameters() if "experts." in name} == {"torch.bfloat16"}
    assert logits(loaded).isfinite().all()


@pytest.mark.parametrize("attention", ["eager", "sdpa", "flex_attention", Pattern(window=8), Pattern(block=4, keep=2)])
def test_the_attention_in_use_is_the_one_that_was_asked_for(dense, attention):
    loaded = load(dense, ModelLevers(attention=attention))
    names = {Pattern(window=8): "window_8_0", Pattern(block=4, keep=2): "blocks_4_2"}
    assert loaded.facts["attention"] == names.get(attention, attention)


def test_patterns_go_with_quantization(dense):
    pytest.importorskip("bitsandbytes")
    loaded = load(dense, ModelLevers(attention=Pattern(window=8, sinks=2), quantization="nf4"))
    assert logits(loaded).isfinite().all()


def test_active_experts_are_set_before_loading(mixture):
    fewer, usual = load(mixture, ModelLevers(active_experts=1)), load(mixture, ModelLevers())
    assert fewer.model.config.num_experts_per_tok == 1
    assert not torch.allclose(logits(fewer), logits(usual))


def test_what_cannot_work_is_refused_before_loading(dense, mixture, hashed):
    assert "is dense and has no experts" in refusal(dense, active_experts=2)
    assert "9 of 8 experts cannot be active" in refusal(mixture, active_experts=9)
    assert "route by a table that holds 2 experts per token" in refusal(hashed, active_experts=3)
    assert "its own sparse attention" in refusal(hashed, attention=Pattern(window=8))
    assert "full attention in every layer" in refusal(mixture, attention=Pattern(window=8))
    assert "set either `window`" in refusal(dense, attention=Pattern())


@pytest.mark.skipif(has_gpu(), reason="this machine has a GPU")
def test_what_wants_a_gpu_is_refused_without_one(dense):
    assert "this machine has none; use sdpa" in refusal(dense, attention="flash_attention_2")
    assert "this machine has none; remove this" in refusal(dense, use_kernels=True)


def test_a_checkpoint_that_is_quantized_already_is_not_quantized_again(dense, tmp_path):
    made = config_of(dense, tmp_path / "made", quantization_config={"quant_method": "gptq", "bits": 4})
    assert "is already quantized (gptq)" in refusal(made, quantization="int8")


def test_remote_code_is_run_for_those_alone_who_trust_it(dense, tmp_path):
    made = config_of(dense, tmp_path / "made", model_type="homemade", auto_map={"AutoConfig": "made.Made"})
    (made / "made.py").write_text("raise SystemExit('it ran')")
    assert "trust the checkpoint's own Python code" in refusal(made)
    with pytest.raises(SystemExit, match="it ran"):
        load(made, ModelLevers(trust_remote_code=True))


def test_an_architecture_that_transformers_does_not_know_is_one_error(dense, tmp_path):
    assert "homemade" in refusal(config_of(dense, tmp_path / "made", model_type="homemade"))


def test_a_checkpoint_without_tokenizer_is_refused(dense, tmp_path):
    shutil.copytree(dense, tmp_path / "made", ignore=shutil.ignore_patterns("tokenizer*"))
    assert "has no tokenizer" in refusal(tmp_path / "made")


def test_a_damaged_checkpoint_is_one_error(dense, tmp_path):
    shutil.copytree(dense, tmp_path / "made")
    (tmp_path / "made" / "model.safetensors").write_bytes(b"\0" * 64)
    assert "cannot load" in refusal(tmp_path / "made")


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ({"window": 8, "block": 4}, "set either"),
        ({"window": 8, "keep": 2}, "`keep` is only for `block`"),
        ({"block": 4}, "`block` needs `keep`"),
        ({"block": 4, "keep": 2, "sinks": 1}, "`sinks` is only for `window`"),
    ],
)
def test_half_a_pattern_is_named(pattern, problem):
    levers = msgspec.convert({"attention": pattern}, ModelLevers)
    assert [name for name, why in levers.validate_model() if problem in why] == ["attention"]


@pytest.mark.parametrize("levers", [{"dtype": "fp8"}, {"quantization": "int3"}, {"attention": "magic"}])
def test_unknown_words_are_refused_where_they_are_read(levers):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(levers, ModelLevers)


@pytest.mark.model
def test_a_gguf_file_is_loaded_and_quantized(smollm2):
    pytest.importorskip("bitsandbytes")
    loaded = load(smollm2, ModelLevers(quantization="nf4"))
    assert int(loaded.facts["weight_bytes"]) == 109_777_792
    text = loaded.tokenizer.apply_chat_template(
        [{"role": "user", "content": "The capital of France? One word."}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    answer = loaded.model.generate(**text, max_new_tokens=8, do_sample=False)
    assert "Paris" in loaded.tokenizer.decode(answer[0][text["input_ids"].shape[1] :])
