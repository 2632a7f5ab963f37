"""What a deployment on SGLang asks for, and the command line that it becomes: checked with SGLang's own parser."""

from __future__ import annotations

import json
import os
from typing import Any

import msgspec
import pytest

from engines.served.serving import NESTED, OF_OURS, after, launch, site, understood, words
from tierwise.engines import Sglang
from tierwise.engines.settings import LaunchContext
from tierwise.engines.sglang.launch import LAUNCHER
from tierwise.engines.sglang.levers import LEVERS
from tierwise.spec.errors import SpecError
from tierwise.spec.sampling import Sampling

PYTHON = "/opt/sglang/bin/python"
MOE = {"model_type": "qwen3_moe", "num_experts": 8, "num_experts_per_tok": 2, "num_hidden_layers": 3}


def launched(**levers: Any) -> Sglang:
    return Sglang(**{"checkpoint": "small", "python": PYTHON, **levers})


def problems(**settings: Any) -> dict[str, str]:
    return dict(Sglang(**settings).validate(["small"]))


def test_it_is_launched_in_its_own_interpreter_on_loopback_with_accounting_on_and_quiet(tmp_path):
    found = words(launched(), site(tmp_path))
    assert found[:5] == [PYTHON, "-m", "sglang.launch_server", "--model-path", str(tmp_path / "model")]
    assert (after("--host", found), after("--port", found)) == ("127.0.0.1", "4242")
    assert after("--served-model-name", found) == "small"
    assert {"--enable-cache-report", "--enable-metrics"} <= {*found}
    assert not [word for word in found if word.startswith("--no-")]


def test_it_is_launched_offline_and_a_look_at_its_health_generates_nothing(tmp_path):
    environment = launch(launched(), site(tmp_path)).environment
    wanted = {"HF_HUB_OFFLINE": "1", "SGLANG_ENABLE_HEALTH_ENDPOINT_GENERATION": "0", "PYTHONSAFEPATH": "1"}
    assert environment.items() >= wanted.items()


def test_active_experts_go_where_the_checkpoint_keeps_them_and_other_overrides_stay(tmp_path):
    found = words(launched(active_experts=4, hf_overrides={"rope_theta": 1}), site(tmp_path, **MOE))
    assert json.loads(after("--json-model-override-args", found)) == {"rope_theta": 1, "num_experts_per_tok": 4}
    found = words(launched(active_experts=4), site(tmp_path / "n", **NESTED))
    assert json.loads(after("--json-model-override-args", found)) == {"text_config": {"num_experts_per_tok": 4}}


def test_balancing_guessing_and_recording_bring_the_flags_that_they_need(tmp_path):
    many = launched(
        tensor_parallel=2,
        expert_parallel=True,
        eplb={"num_redundant_experts": 2, "rebalance_num_iterations": 500},
        speculative={"algorithm": "NGRAM", "num_draft_tokens": 4, "adaptive": True},
        experts_sampled=0.1,
    )
    found = words(many, site(tmp_path, **MOE))
    assert {"--enable-eplb", "--enable-return-routed-experts", "--speculative-adaptive"} <= {*found}
    values = {"--ep-size": "2", "--ep-num-redundant-experts": "2", "--speculative-algorithm": "NGRAM"}
    assert {flag: after(flag, found) for flag in values} == values
    assert not [word for word in found if word.startswith("--") and " " in word]


def test_check_shows_the_command_line_before_the_checkpoint_is_here(tmp_path):
    nowhere = LaunchContext(base=tmp_path, logs=tmp_path)
    assert "--model-path '<small>'" in LAUNCHER.command(launched(active_experts=3), nowhere)
    with pytest.raises(SpecError, match="is not downloaded"):
        LAUNCHER.build(launched(), "small", nowhere)


def test_it_is_launched_or_found_and_not_both_nor_neither():
    for wrong in ({}, {"url": "http://127.0.0.1:1/v1", "checkpoint": "small"}):
        assert "either `checkpoint` and `python`" in problems(**wrong)["engine"]
    assert problems(url="http://127.0.0.1:1/v1") == {}
    assert problems(checkpoint="small", python=PYTHON) == {}


def test_a_lever_of_the_launch_cannot_be_set_on_a_server_that_runs_already():
    found = problems(url="http://127.0.0.1:1/v1", dtype="float32", experts_sampled=0.1, scheduling="priority", slots=8)
    assert found.keys() == {"dtype", "experts_sampled"}
    assert "when SGLang is launched" in found["dtype"]


@pytest.mark.parametrize(
    ("setting", "wrong", "words"),
    [
        ("checkpoint", {"checkpoint": "large"}, "there is no checkpoint 'large'"),
        ("python", {"python": None}, "set it to the interpreter"),
        ("model", {"model": "m"}, "is only for a server that is already running"),
        ("expert_parallel", {"expert_parallel": True}, "set it above 1"),
        ("eplb", {"eplb": {}, "tensor_parallel": 2}, "set `expert_parallel: true`"),
        ("speculative", {"speculative": {"num_steps": 3}}, "the key `algorithm` is missing"),
        ("extra_args", {"extra_args": ["--port=1"]}, "is set by Tierwise"),
        ("extra_args", {"extra_args": ["--context_length", "1"]}, "has a setting of its own: `context`"),
    ],
)
def test_what_cannot_work_is_said_with_what_to_do(setting, wrong, words):
    assert words in problems(**{"checkpoint": "small", "python": PYTHON, **wrong})[setting]


def test_a_thinking_budget_is_refused_because_its_token_ids_are_those_of_other_models():
    refused = dict(launched(reasoning_parser="qwen3").unsupported(Sampling(thinking_tokens=64)))
    assert "token ids of Qwen3, GLM-4.5 and DeepSeek-R1" in refused["thinking_tokens"]


def test_priorities_keep_their_sign_and_are_refused_where_sglang_would_not_mind_them():
    asked = Sampling(priority=1)
    assert "only with `scheduling: priority`" in dict(launched().unsupported(asked))["priority"]
    assert not list(launched(scheduling="priority").unsupported(asked))
    assert launched(scheduling="priority").dialect.translate({"priority": 2}) == {"priority": 2}


def test_a_server_whose_key_is_not_set_is_not_built(monkeypatch, tmp_path):
    monkeypatch.delenv("NOBODYS_KEY", raising=False)
    with pytest.raises(SpecError, match="NOBODYS_KEY is empty"):
        LAUNCHER.build(
            Sglang(url="http://127.0.0.1:1/v1", api_key_env="NOBODYS_KEY"),
            "far",
            LaunchContext(base=tmp_path, logs=tmp_path),
        )


def test_every_launch_lever_is_a_setting_and_every_setting_that_sglang_is_told_is_a_lever():
    rows = {lever.name for lever in LEVERS if lever.scope == "launch"}
    assert rows == {*Sglang.__struct_fields__} - OF_OURS
    assert all(lever.values and lever.source for lever in LEVERS)


def test_the_settings_survive_the_wire():
    settings = launched(eplb={}, active_experts=3)
    assert msgspec.json.decode(msgspec.json.encode(settings), type=Sglang) == settings


# ── with SGLang's own parser ────────────────────────────────────────────

LINES: dict[str, dict[str, Any]] = {
    "plain": {},
    "precision": {"dtype": "float32", "kv_cache_dtype": "fp8_e5m2", "attention_backend": "fa3", "device": "cuda"},
    "two backends": {"prefill_attention_backend": "fa4", "decode_attention_backend": "flashinfer"},
    "quantized": {"quantization": "w8a8_int8"},
    "experts": {"active_experts": 4, "hf_overrides": {"text_config": {"index_topk": 64}}},
    "balanced": {
        "expert_parallel": True,
        "eplb": {
            "num_redundant_experts": 2,
            "algorithm": "deepseek",
            "rebalance_num_iterations": 500,
            "rebalance_layers_per_chunk": 8,
            "min_rebalancing_utilization_threshold": 0.5,
        },
        "tensor_parallel": 2,
        "data_parallel": 2,
    },
    "in a pipeline": {"pipeline_parallel": 2, "prefix_cache": False},
    "guessing": {
        "speculative": {"algorithm": "EAGLE3", "num_steps": 3, "eagle_topk": 1, "draft_model_path": "head"},
    },
    "guessing with care": {"speculative": {"algorithm": "NGRAM", "num_draft_tokens": 4, "adaptive": True}},
    "talking": {"reasoning_parser": "qwen3", "tool_parser": "qwen3_coder"},
    "queueing": {"scheduling": "priority", "queue": 32, "slots": 8, "context": 2048},
    "in order": {"scheduling": "lpm", "prefix_cache": True},
    "recording": {"experts_sampled": 0.05},
    "careful": {"deterministic": True, "gpu_memory": 0.5, "trust_remote_code": True},
    "by hand": {"extra_args": ["--chunked-prefill-size", "512", "--watchdog-timeout", "60"]},
}

PARSE = """
import argparse, json, sys
from sglang.srt.server_args import ServerArgs

parser = argparse.ArgumentParser()
ServerArgs.add_cli_args(parser)
print(json.dumps({name: vars(parser.parse_args(line)) for name, line in json.load(sys.stdin).items()}, default=str))
"""


@pytest.fixture(scope="module")
def parsed(tmp_path_factory) -> dict[str, dict[str, Any]]:
    if (python := os.environ.get("TIERWISE_SGLANG_PYTHON")) is None:
        pytest.skip("no SGLang here: name an interpreter that has it in TIERWISE_SGLANG_PYTHON (docs/engines.md)")
    place = site(tmp_path_factory.mktemp("lines"), **MOE)
    lines = {name: words(launched(**levers), place)[3:] for name, levers in LINES.items()}
    return understood(python, PARSE, lines)


def test_every_lever_stands_in_a_line_that_sglang_parses():
    tried = {name for levers in LINES.values() for name in levers} - {"extra_args"}
    assert tried == {lever.name for lever in LEVERS if lever.scope == "launch"}


@pytest.mark.parametrize("line", LINES)
def test_sglang_understands_the_line(parsed, line):
    understood = parsed[line]
    assert (understood["host"], understood["port"], understood["served_model_name"]) == ("127.0.0.1", 4242, "small")
    assert (understood["enable_cache_report"], understood["enable_metrics"]) == (True, True)


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("plain", "trust_remote_code", False),
        ("plain", "max_running_requests", 256),
        ("precision", "kv_cache_dtype", "fp8_e5m2"),
        ("precision", "attention_backend", "fa3"),
        ("two backends", "decode_attention_backend", "flashinfer"),
        ("experts", "json_model_override_args", '{"text_config":{"index_topk":64},"num_experts_per_tok":4}'),
        ("balanced", "ep_size", 2),
        ("balanced", "enable_eplb", True),
        ("balanced", "ep_num_redundant_experts", 2),
        ("balanced", "eplb_min_rebalancing_utilization_threshold", 0.5),
        ("balanced", "expert_balancedness_report_mode", "prometheus"),
        ("in a pipeline", "disable_radix_cache", True),
        ("guessing", "speculative_draft_model_path", "head"),
        ("guessing with care", "speculative_adaptive", True),
        ("talking", "tool_call_parser", "qwen3_coder"),
        ("queueing", "enable_priority_scheduling", True),
        ("queueing", "schedule_low_priority_values_first", False),
        ("queueing", "max_queued_requests", 32),
        ("queueing", "context_length", 2048),
        ("in order", "schedule_policy", "lpm"),
        ("recording", "enable_return_routed_experts", True),
        ("careful", "enable_deterministic_inference", True),
        ("careful", "mem_fraction_static", 0.5),
        ("by hand", "chunked_prefill_size", 512),
    ],
)
def test_sglang_understands_a_lever_as_it_was_meant(parsed, line, field, value):
    assert parsed[line][field] == value
