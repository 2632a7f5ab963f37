import json

import pytest

from tierwise.catalog.architecture import read
from tierwise.spec.errors import SpecError

DENSE = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "num_hidden_layers": 30,
    "max_position_embeddings": 8192,
    "hidden_size": 576,
    "vocab_size": 49152,
    "dtype": "bfloat16",
}


@pytest.fixture
def folder(tmp_path):
    """A checkpoint folder: some config over a dense one, and more files."""

    def write(_whole=None, _files=None, **config):
        described = _whole if _whole is not None else {**DENSE, **config}
        files = {"config.json": json.dumps(described), "model.safetensors": "x" * 100, **(_files or {})}
        for name, content in files.items():
            if content is not None:
                (tmp_path / name).write_text(content)
        return tmp_path

    return write


def test_a_dense_folder_tells_its_shape(folder):
    found = read(folder())
    assert (found.model_type, found.architectures) == ("llama", ("LlamaForCausalLM",))
    assert (found.layers, found.context, found.hidden) == (30, 8192, 576)
    assert (found.experts, found.active_experts, found.active_experts_key) == (None, None, "")
    assert (found.format, found.dtype, found.quantization, found.bytes) == ("safetensors", "bfloat16", "", 100)
    assert (found.has_tokenizer, found.has_chat_template, found.needs_remote_code) == (False, False, False)


@pytest.mark.parametrize(
    ("config", "experts", "active", "key"),
    [
        ({"num_experts": 128, "num_experts_per_tok": 8}, 128, 8, "num_experts_per_tok"),
        ({"n_routed_experts": 256, "num_experts_per_tok": 8}, 256, 8, "num_experts_per_tok"),
        ({"num_local_experts": 8, "num_experts_per_tok": 2}, 8, 2, "num_experts_per_tok"),
        (
            {"text_config": {"num_experts": 512, "num_experts_per_tok": 10}},
            512,
            10,
            "text_config.num_experts_per_tok",
        ),
        ({"text_config": {"num_experts": 128, "top_k_experts": 8}}, 128, 8, "text_config.top_k_experts"),
        ({"moe_num_experts": 64, "moe_k": 6}, 64, 6, "moe_k"),
        ({"num_experts": 16, "moe_topk": [1, 2, 2]}, 16, 2, "moe_topk"),
        ({"num_experts": 1, "num_experts_per_tok": 1}, None, None, ""),
        ({"text_config": {"enable_moe_block": False, "num_experts": 8, "top_k_experts": 2}}, None, None, ""),
        ({"n_routed_experts": None, "num_experts_per_tok": None}, None, None, ""),
    ],
)
def test_the_experts_are_found_under_each_familys_own_names(folder, config, experts, active, key):
    found = read(folder(**config))
    assert (found.experts, found.active_experts, found.active_experts_key) == (experts, active, key)


def test_a_model_that_sees_is_told_by_its_language_part(folder):
    inner = {"num_hidden_layers": 60, "hidden_size": 4096, "vocab_size": 248320, "dtype": "bfloat16"}
    found = read(folder({"model_type": "qwen3_5_moe", "text_config": inner, "vision_config": {"hidden_size": 1152}}))
    assert (found.model_type, found.layers, found.hidden) == ("qwen3_5_moe", 60, 4096)


def test_layers_that_route_by_a_table_are_counted(folder):
    assert read(folder(mlp_layer_types=["hash_moe", "hash_moe", "moe"])).hash_routed_layers == 2
    assert read(folder(num_hash_layers=3, mlp_layer_types=None)).hash_routed_layers == 3
    assert read(folder(num_hash_layers=None)).hash_routed_layers == 0


def test_quantization_is_told_wherever_it_is_written(folder):
    assert read(folder(quantization_config={"quant_method": "fp8"})).quantization == "fp8"
    nested = {"text_config": {"quantization_config": {"quant_method": "compressed-tensors"}}}
    assert read(folder(quantization_config=None, **nested)).quantization == "compressed-tensors"


def test_modelopts_own_file_tells_of_quantization(folder):
    assert read(folder(_files={"hf_quant_config.json": "{}"})).quantization == "modelopt"


def test_the_dtype_is_read_under_its_old_name_too(folder):
    assert read(folder({"model_type": "gpt2", "torch_dtype": "torch.float16"})).dtype == "float16"


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer.model", "tiktoken.model", "tekken.json"])
def test_a_tokenizer_goes_by_several_names(folder, name):
    assert read(folder(_files={name: "{}"})).has_tokenizer


def test_a_vocabulary_needs_its_merges(folder):
    assert not read(folder(_files={"vocab.json": "{}"})).has_tokenizer
    assert read(folder(_files={"merges.txt": ""})).has_tokenizer


@pytest.mark.parametrize(
    "files",
    [
        {"chat_template.jinja": "{{ messages }}"},
        {"chat_template.json": "{}"},
        {"tokenizer_config.json": '{"chat_template": "{{ messages }}"}'},
    ],
)
def test_a_chat_template_lies_in_one_of_three_files(folder, files):
    assert read(folder(_files=files)).has_chat_template


def test_code_of_its_own_is_noticed_in_model_and_tokenizer(folder):
    assert read(folder(auto_map={"AutoModel": "modeling_x.X"})).needs_remote_code
    assert read(folder(_files={"tokenizer_config.json": '{"auto_map": {}}'})).needs_remote_code


def test_weights_are_what_the_index_names_and_nothing_else(folder):
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors", "c": "model-1.safetensors"}}
    files = {"model.safetensors.index.json": json.dumps(index), "model-1.safetensors": "xx"}
    with pytest.raises(SpecError, match=r"lacks 1 of its 2 weight files: model-2\.safetensors"):
        read(folder(_files=files))
    assert read(folder(_files={"model-2.safetensors": "yyy"})).bytes == 5


def test_pytorch_files_count_where_there_is_no_safetensors_file(folder):
    found = read(folder(_files={"model.safetensors": None, "pytorch_model.bin": "12345"}))
    assert (found.format, found.bytes) == ("pytorch", 5)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[1]", "contains a list instead of an object"),
        ("{}", "has no model_type"),
        ('{"model_type": "x", "num_experts": "many"}', "num_experts is 'many', not a count"),
        ('{"model_type": "x", "num_experts": -8}', "num_experts is -8, not a count"),
        (None, "has no config.json"),
    ],
)
def test_a_bad_description_is_refused_with_the_files_name(folder, config, words):
    with pytest.raises(SpecError, match=words) as refused:
        read(folder(_files={"config.json": config}))
    assert "config.json" in str(refused.value)


def test_a_folder_without_weights_is_no_checkpoint(folder):
    with pytest.raises(SpecError, match="has no weights"):
        read(folder(_files={"model.safetensors": None}))


def test_a_folder_of_gguf_files_asks_for_the_file(tmp_path):
    (tmp_path / "m.gguf").touch()
    with pytest.raises(SpecError, match=r"to run a GGUF file, name it: m\.gguf"):
        read(tmp_path)


def test_a_path_that_is_nowhere_is_said_to_be(tmp_path):
    with pytest.raises(SpecError, match="there is no checkpoint at"):
        read(tmp_path / "none")


def test_it_says_why_a_number_of_experts_cannot_work(folder):
    dense = read(folder())
    assert "is dense and has no experts" in dense.why_not_active(2)
    mixture = read(folder(num_experts=8, num_experts_per_tok=2))
    assert [wanted for wanted in range(10) if mixture.why_not_active(wanted)] == [0, 9]
    by_table = read(folder(n_routed_experts=8, num_experts=None, num_experts_per_tok=2, num_hash_layers=3))
    assert by_table.why_not_active(2) == ""
    assert "3 layers" in by_table.why_not_active(4)
