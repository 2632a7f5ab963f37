"""What cannot work is said before SGLang is launched: against an interpreter that only looks as if it had SGLang."""

from __future__ import annotations

import sys

import pytest

from engines.served.serving import Place
from tierwise.engines import Sglang
from tierwise.engines.sglang.installed import find

FILES = {
    "__init__.py": "raise ImportError('nobody may import it')",
    "_version.py": "__version__ = version = '9.9.9'",
    "srt/server_args.py": 'parser.add_argument("--reasoning-parser")\nparser.add_argument("--tool-call-parser")\n',
    "srt/arg_groups/choices.py": (
        "QUANTIZATION_CHOICES = ['fp8', 'bitsandbytes']\n"
        "ATTENTION_BACKEND_CHOICES = ['fa3', 'torch_native']\n"
        "DETERMINISTIC_ATTENTION_BACKEND_CHOICES = ['fa3']\n"
    ),
    "srt/arg_groups/fields/all.py": "class All:\n"
    + "".join(
        f"    {name}: int = 0\n"
        for name in (
            *("quantization", "attention_backend", "json_model_override_args", "max_running_requests"),
            *("context_length", "speculative_algorithm", "trust_remote_code"),
        )
    ),
    "srt/parser/reasoning_parser_names.py": "REASONING_PARSER_NAMES = ['qwen3']",
    "srt/models/llama.py": "class LlamaForCausalLM(Module):\n    ...\n",
    "srt/models/moe.py": "class MoeForCausalLM(Module):\n    ...\n",
}
MOE = {"model_type": "moe", "architectures": ["MoeForCausalLM"], "num_experts": 8, "num_experts_per_tok": 2}


@pytest.fixture
def place(tmp_path):
    made = Place.made(Sglang, tmp_path)
    made.package("sglang", FILES)
    yield made
    find.cache_clear()


def test_what_works_has_nothing_against_it(place):
    assert place.preflight({}, quantization="fp8", attention_backend="fa3", deterministic=False) == {}
    assert place.preflight(MOE, active_experts=8, reasoning_parser="auto", tool_parser="anything") == {}


def test_an_interpreter_that_is_not_there_or_has_no_sglang_is_named(place, tmp_path):
    assert "no interpreter" in Place(Sglang, tmp_path, str(tmp_path / "nothing")).preflight({})["python"]
    assert "has no SGLang" in Place(Sglang, place.folder, sys.executable).preflight({})["python"]


@pytest.mark.parametrize(
    ("setting", "levers", "words"),
    [
        ("quantization", {"quantization": "int3"}, "SGLang 9.9.9 does not support 'int3'; allowed: bitsandbytes, fp8"),
        ("quantization", {"quantization": "bitsandbytes"}, "with the package bitsandbytes"),
        ("attention_backend", {"attention_backend": "MAGIC"}, "allowed: fa3, torch_native"),
        ("reasoning_parser", {"reasoning_parser": "qwen"}, "allowed: qwen3"),
        ("queue", {"queue": 8}, "has no --max-queued-requests"),
        ("speculative", {"speculative": {"algorithm": "NGRAM", "magic": 1}}, "has no --speculative-magic"),
        ("deterministic", {"deterministic": True, "attention_backend": "torch_native"}, "and not with torch_native"),
        ("active_experts", {"active_experts": 2}, "is dense"),
        ("experts_sampled", {"experts_sampled": 0.5}, "is dense"),
    ],
)
def test_a_lever_that_this_sglang_or_this_checkpoint_has_not(place, setting, levers, words):
    assert words in place.preflight({}, **levers)[setting]


@pytest.mark.parametrize(
    ("config", "setting", "words"),
    [
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "checkpoint", "is bitsandbytes, which SGLang"),
        ({"architectures": ["NobodysForCausalLM"]}, "checkpoint", "has no architecture NobodysForCausalLM"),
        ({"architectures": ["X"], "auto_map": {"AutoConfig": "a.B"}}, "trust_remote_code", "its own Python code"),
        ({"tokenizer": False}, "checkpoint", "has no tokenizer"),
        ({"template": False}, "checkpoint", "no chat template"),
        ({"model_type": ""}, "checkpoint", "config.json"),
    ],
)
def test_a_checkpoint_that_lacks_something(place, config, setting, words):
    assert words in place.preflight(config)[setting]


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


def test_routing_cannot_be_told_of_a_config_that_names_its_active_experts_otherwise(place):
    gemma = {**MOE, "num_experts_per_tok": None, "top_k_experts": 2}
    assert "this one has top_k_experts" in place.preflight(gemma, experts_sampled=0.1)["experts_sampled"]
