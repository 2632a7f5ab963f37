"""What cannot work is said before vLLM is launched: against an interpreter that only looks as if it had vLLM."""

from __future__ import annotations

import sys

import pytest

from engines.served.serving import Place
from tierwise.engines import Vllm
from tierwise.engines.vllm.installed import find
from tierwise.spec.errors import SpecError

FILES = {
    "__init__.py": "raise ImportError('nobody may import it')",
    "_version.py": "__version__ = version = '9.9.9'",
    "engine/arg_utils.py": "".join(
        f'"{flag}"\n'
        for flag in (
            *("--quantization", "--quantization-config", "--dtype", "--kv-cache-dtype", "--attention-backend"),
            *("--hf-overrides", "--enable-expert-parallel", "--eplb-config", "--tensor-parallel-size"),
            *("--reasoning-parser", "--max-model-len", "--max-num-seqs", "--trust-remote-code"),
        )
    ),
    "entrypoints/launchers/cli_args.py": "class BaseFrontendArgs:\n    tool_call_parser: str | None = None\n",
    "model_executor/models/registry.py": "_TEXT_GENERATION_MODELS = {'LlamaForCausalLM': 1, 'MoeForCausalLM': 2}",
    "model_executor/layers/quantization/__init__.py": "QuantizationMethods = Literal['fp8', 'awq']",
    "config/model.py": "ModelDType = Literal['auto', 'bfloat16']",
    "v1/attention/backends/registry.py": "class AttentionBackendEnum(Enum):\n    FLASH_ATTN = 'a.b'\n",
    "reasoning/__init__.py": "_REASONING_PARSERS_TO_REGISTER = {'qwen3': ('a', 'B')}",
    "tool_parsers/__init__.py": "this is not Python",
}
MOE = {"model_type": "moe", "architectures": ["MoeForCausalLM"], "num_experts": 8, "num_experts_per_tok": 2}


@pytest.fixture
def place(tmp_path):
    made = Place.made(Vllm, tmp_path)
    made.package("vllm", FILES)
    made.package("transformers", {"__init__.py": "", "models/auto/modeling_auto.py": '("x", "BorrowedForCausalLM")'})
    yield made
    find.cache_clear()


def test_what_works_has_nothing_against_it(place):
    assert place.preflight({}) == {}
    levers = {
        "dtype": "bfloat16",
        "quantization": "fp8",
        "attention_backend": "flash_attn",
        "reasoning_parser": "qwen3",
    }
    assert place.preflight(MOE, active_experts=8, tool_parser="anything", **levers) == {}


def test_an_interpreter_that_is_not_there_is_named(tmp_path):
    assert "no interpreter" in Place(Vllm, tmp_path, str(tmp_path / "nothing")).preflight({})["python"]


def test_an_interpreter_without_vllm_is_no_use(place):
    assert "has no vLLM" in Place(Vllm, place.folder, sys.executable).preflight({})["python"]


def test_a_program_that_is_no_python_says_what_it_said(tmp_path):
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho I am a shell >&2\n")
    program.chmod(0o755)
    assert (
        Place(Vllm, tmp_path, str(program))
        .preflight({})["python"]
        .endswith("not a working Python interpreter: I am a shell")
    )


def test_vllm_is_found_and_not_imported(place):
    installed = find(place.python)
    assert (installed.version, sorted(installed.values("quantization"))) == ("9.9.9", ["awq", "fp8"])


def test_a_folder_named_vllm_where_we_stand_is_not_vllm(tmp_path, monkeypatch):
    (tmp_path / "vllm").mkdir()
    (tmp_path / "vllm" / "__init__.py").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError, match="has no vLLM"):
        find(sys.executable)
    find.cache_clear()


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("quantization", "bitsandbytes", "needs the package vllm-bnb-plugin"),
        ("quantization", "gguf", "needs the package vllm-gguf-plugin"),
        ("quantization", "int3", "vLLM 9.9.9 does not support 'int3'; allowed: awq, fp8"),
        ("dtype", "float8", "does not support 'float8'; allowed: auto, bfloat16"),
        ("attention_backend", "MAGIC", "allowed: FLASH_ATTN"),
        ("reasoning_parser", "qwen", "allowed: qwen3"),
        ("queue", 8, "vLLM 9.9.9 has no --max-num-queued-reqs"),
        ("active_experts", 2, "is dense"),
        ("expert_parallel", True, "is dense"),
        ("experts_sampled", 0.5, "is dense"),
    ],
)
def test_a_lever_that_this_vllm_or_this_checkpoint_has_not(place, setting, value, words):
    assert words in place.preflight({}, **{setting: value})[setting]


def test_a_parser_of_the_users_own_is_not_looked_up(place):
    assert place.preflight({}, reasoning_parser="mine", extra_args=["--reasoning-parser-plugin", "mine.py"]) == {}


def test_a_plugin_that_is_there_is_taken(place):
    place.package(
        "vllm_bnb_plugin-0.0.3.dist-info", {"METADATA": "Metadata-Version: 2.1\nName: vllm-bnb-plugin\nVersion: 0"}
    )
    assert place.preflight({"quantization_config": {"quant_method": "bitsandbytes"}}) == {}


def test_a_plugin_that_adds_models_stops_us_from_judging_by_vllms_own_files(place):
    about = "Metadata-Version: 2.1\nName: more\nVersion: 1"
    entries = {"METADATA": about, "entry_points.txt": "[vllm.general_plugins]\nmore = more:register"}
    place.package("more-1.dist-info", entries)
    assert place.preflight({"architectures": ["NobodysForCausalLM"]}, quantization="theirs") == {}


@pytest.mark.parametrize(
    ("config", "setting", "words"),
    [
        (
            {"quantization_config": {"quant_method": "bitsandbytes"}},
            "checkpoint",
            "is bitsandbytes, for which vLLM 9.9.9 needs",
        ),
        ({"architectures": ["NobodysForCausalLM"]}, "checkpoint", "has no architecture NobodysForCausalLM"),
        ({"architectures": ["X"], "auto_map": {"AutoConfig": "a.B"}}, "trust_remote_code", "its own Python code"),
        ({"tokenizer": False}, "checkpoint", "has no tokenizer"),
        ({"template": False}, "checkpoint", "no chat template"),
    ],
)
def test_a_checkpoint_that_lacks_something(place, config, setting, words):
    assert words in place.preflight(config)[setting]


def test_what_it_lacks_may_be_given_by_hand_or_trusted_or_borrowed(place):
    assert place.preflight({"architectures": ["BorrowedForCausalLM"]}) == {}
    assert place.preflight({"tokenizer": False}, extra_args=["--tokenizer", "there"]) == {}
    assert place.preflight({"template": False}, extra_args=["--chat-template", "t.jinja"]) == {}
    assert place.preflight({"architectures": ["X"], "auto_map": {"AutoConfig": "a.B"}}, trust_remote_code=True) == {}


def test_a_family_whose_prompts_engines_write_in_code_needs_no_template(place):
    config = {"model_type": "deepseek_v4", "architectures": ["MoeForCausalLM"], "n_routed_experts": 8}
    assert place.preflight({**config, "num_experts_per_tok": 2, "template": False}) == {}


def test_a_damaged_checkpoint_is_said_to_be_one(place):
    assert "config.json" in place.preflight({"model_type": ""})["checkpoint"]


@pytest.mark.parametrize(
    ("config", "levers", "words"),
    [
        (MOE, {"active_experts": 9}, "9 of 8 experts cannot be active"),
        ({**MOE, "num_hash_layers": 3}, {"active_experts": 4}, "3 layers of this checkpoint (moe) route by a table"),
        (
            MOE,
            {"active_experts": 4, "hf_overrides": {"num_experts_per_tok": 3}},
            "`hf_overrides` sets num_experts_per_tok to 3",
        ),
    ],
)
def test_active_experts_that_cannot_be(place, config, levers, words):
    assert words in place.preflight(config, **levers)["active_experts"]


def test_the_number_that_a_hash_table_was_made_for_is_no_change(place):
    assert place.preflight({**MOE, "num_hash_layers": 3}, active_experts=2) == {}
