"""What a deployment on vLLM asks for, and the command line that it becomes: checked with vLLM's own parser."""

from __future__ import annotations

import json
import shlex
from typing import Any

import msgspec
import pytest

from engines.checkpoints import architecture
from engines.served.serving import NESTED, OF_OURS, after, launch, site, understood, words
from tierwise.engines import Vllm
from tierwise.engines.prompting import switch_of
from tierwise.engines.settings import LaunchContext
from tierwise.engines.vllm.launch import LAUNCHER
from tierwise.engines.vllm.levers import LEVERS
from tierwise.spec.errors import SpecError
from tierwise.spec.sampling import Sampling

PYTHON = "/opt/vllm/bin/python"
MOE = {"model_type": "qwen3_moe", "num_experts": 8, "num_experts_per_tok": 2}


def launched(**levers: Any) -> Vllm:
    return Vllm(**{"checkpoint": "small", "python": PYTHON, **levers})


def problems(**settings: Any) -> dict[str, str]:
    return dict(Vllm(**settings).validate(["small"]))


def test_it_is_launched_in_its_own_interpreter_on_loopback_with_accounting_on_and_quiet(tmp_path):
    found = words(launched(), site(tmp_path))
    assert found[:4] == [PYTHON, "-m", "vllm.entrypoints.cli.main", "serve"]
    assert found[4] == str(tmp_path / "model")
    assert (after("--host", found), after("--port", found)) == ("127.0.0.1", "4242")
    assert after("--served-model-name", found) == "small"
    assert {"--enable-prompt-tokens-details", "--no-enable-log-requests", "--disable-uvicorn-access-log"} <= {*found}
    assert "--no-trust-remote-code" in found


def test_it_is_launched_offline_and_tells_nobody(tmp_path):
    environment = launch(launched(), site(tmp_path)).environment
    assert environment.items() >= {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "PYTHONSAFEPATH": "1"}.items()


def test_what_vllm_takes_as_a_variable_is_set_as_one_and_shown_by_check(tmp_path):
    settings = launched(batch_invariant=True, cpu_kv_cache_gib=3)
    environment = launch(settings, site(tmp_path)).environment
    assert environment.items() >= {"VLLM_BATCH_INVARIANT": "1", "VLLM_CPU_KVCACHE_SPACE": "3"}.items()
    assert LAUNCHER.command(settings, site(tmp_path)).startswith("VLLM_BATCH_INVARIANT=1 VLLM_CPU_KVCACHE_SPACE=3 /opt")


def test_a_relative_interpreter_starts_from_the_config_files_folder(tmp_path):
    assert words(launched(python="env/bin/python"), site(tmp_path))[0] == str(tmp_path / "env/bin/python")
    assert words(launched(python="python3.12"), site(tmp_path))[0] == "python3.12"


def test_active_experts_go_where_the_checkpoint_keeps_them_and_other_overrides_stay(tmp_path):
    found = words(launched(active_experts=4, hf_overrides={"rope_theta": 1}), site(tmp_path, **MOE))
    assert json.loads(after("--hf-overrides", found)) == {"rope_theta": 1, "num_experts_per_tok": 4}
    overrides = {"text_config": {"norm_topk_prob": False}}
    found = words(launched(active_experts=4, hf_overrides=overrides), site(tmp_path / "n", **NESTED))
    assert json.loads(after("--hf-overrides", found)) == {
        "text_config": {"norm_topk_prob": False, "num_experts_per_tok": 4}
    }


def test_balancing_tools_and_recording_bring_the_flags_that_they_need(tmp_path):
    many = launched(expert_parallel=True, eplb={}, tensor_parallel=2, tool_parser="hermes", experts_sampled=0.1)
    found = words(many, site(tmp_path, **MOE))
    assert {"--enable-eplb", "--enable-auto-tool-choice", "--enable-return-routed-experts"} <= {*found}
    assert "--eplb-config" not in found


def test_check_shows_the_command_line_before_the_checkpoint_is_here(tmp_path):
    nowhere = LaunchContext(base=tmp_path, logs=tmp_path)
    assert "serve '<small>'" in LAUNCHER.command(launched(active_experts=3), nowhere)
    with pytest.raises(SpecError, match="is not downloaded"):
        LAUNCHER.build(launched(), "small", nowhere)


def test_it_is_launched_or_found_and_not_both_nor_neither():
    for wrong in ({}, {"url": "http://127.0.0.1:1/v1", "checkpoint": "small"}):
        assert "either `checkpoint` and `python`" in problems(**wrong)["engine"]
    assert problems(url="http://127.0.0.1:1/v1") == {}
    assert problems(checkpoint="small", python=PYTHON) == {}


def test_a_lever_of_the_launch_cannot_be_set_on_a_server_that_runs_already():
    found = problems(url="http://127.0.0.1:1/v1", dtype="float32", python="p", scheduling="priority", slots=8)
    assert found.keys() == {"dtype", "python"}
    assert "when vLLM is launched" in found["dtype"]


@pytest.mark.parametrize(
    ("setting", "wrong", "words"),
    [
        ("checkpoint", {"checkpoint": "large"}, "there is no checkpoint 'large'"),
        ("python", {"python": None}, "set it to the interpreter"),
        ("model", {"model": "m"}, "is only for a server that is already running"),
        ("eplb", {"eplb": {}, "tensor_parallel": 2}, "set `expert_parallel: true`"),
        ("eplb", {"eplb": {}, "expert_parallel": True}, "nothing to balance on one device"),
        ("quantization_config", {"quantization_config": {"linear": "mxfp8"}}, "set `quantization: online`"),
        ("experts_sampled", {"experts_sampled": 0.1, "prefix_cache": False}, "only with prefix caching"),
        ("experts_sampled", {"experts_sampled": 0.1, "pipeline_parallel": 2}, "with pipeline parallel"),
        ("extra_args", {"extra_args": ["--port=1"]}, "is set by Tierwise"),
        ("extra_args", {"extra_args": ["--max_model_len", "1"]}, "has a setting of its own: `context`"),
    ],
)
def test_what_cannot_work_is_said_with_what_to_do(setting, wrong, words):
    assert words in problems(**{"checkpoint": "small", "python": PYTHON, **wrong})[setting]


def test_a_thinking_budget_is_refused_without_a_reasoning_parser():
    asked = Sampling(thinking_tokens=64)
    assert "needs `reasoning_parser`" in dict(launched().unsupported(asked))["thinking_tokens"]
    assert not list(launched(reasoning_parser="qwen3").unsupported(asked))


def test_priorities_are_refused_where_vllm_would_not_mind_them():
    asked = Sampling(priority=1)
    assert "only with `scheduling: priority`" in dict(launched().unsupported(asked))["priority"]
    assert not list(launched(scheduling="priority").unsupported(asked))
    assert launched(scheduling="priority").dialect.translate({"priority": 2}) == {"priority": -2}


def test_active_experts_of_a_request_are_refused_with_the_deployment_as_the_way():
    assert "a second deployment" in dict(launched().unsupported(Sampling(active_experts=4)))["active_experts"]


def test_thinking_is_switched_in_the_words_of_the_checkpoints_family(tmp_path):
    switch = switch_of(architecture(tmp_path / "known", **NESTED))
    told = launched().dialect.translate({"thinking": False}, switch)
    assert told == {"chat_template_kwargs": {"enable_thinking": False}}
    assert switch_of(architecture(tmp_path / "unknown", model_type="nobody")) is None
    far = Vllm(url="http://127.0.0.1:1/v1")
    assert (
        "the thinking switch of this checkpoint is unknown"
        in dict(far.unsupported(Sampling(thinking=True)))["thinking"]
    )


def test_every_launch_lever_is_a_setting_and_every_setting_that_vllm_is_told_is_a_lever():
    rows = {lever.name for lever in LEVERS if lever.scope == "launch"}
    assert rows == {*Vllm.__struct_fields__} - OF_OURS
    assert all(lever.values and lever.source for lever in LEVERS)


# ── with vLLM's own parser ──────────────────────────────────────────────

LINES: dict[str, dict[str, Any]] = {
    "plain": {},
    "precision": {"dtype": "float32", "kv_cache_dtype": "fp8_e5m2", "attention_backend": "FLASH_ATTN"},
    "pre-quantized": {"quantization": "compressed-tensors"},
    "online": {"quantization": "online", "quantization_config": {"linear": "fp8_per_channel", "ignore": ["lm_head"]}},
    "shorthand": {"quantization": "int8_per_channel_weight_only"},
    "experts": {"active_experts": 4, "hf_overrides": {"text_config": {"index_topk": 64}}},
    "balanced": {
        "expert_parallel": True,
        "eplb": {"window_size": 100, "num_redundant_experts": 2, "log_balancedness": True},
        "tensor_parallel": 2,
        "data_parallel": 2,
    },
    "balanced as vLLM likes": {"expert_parallel": True, "eplb": {}, "data_parallel": 2},
    "in a pipeline": {"pipeline_parallel": 2, "prefix_cache": False, "expert_parallel": False},
    "guessing": {"speculative": {"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_max": 4}},
    "talking": {"reasoning_parser": "qwen3", "tool_parser": "qwen3_coder"},
    "queueing": {"scheduling": "priority", "queue": 32, "slots": 8, "context": 2048},
    "in order": {"scheduling": "fcfs", "prefix_cache": True},
    "recording": {"experts_sampled": 0.05},
    "grading": {"rewards": True},
    "careful": {"batch_invariant": True, "enforce_eager": True, "gpu_memory": 0.5, "trust_remote_code": True},
    "small blocks": {"block_size": 32, "prefix_cache": True},
    "by hand": {"extra_args": ["--generation-config", "vllm", "--stream-interval", "2"], "cpu_kv_cache_gib": 2},
}

PARSE = """
import json, sys
from dataclasses import asdict, is_dataclass
from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.utils.argparse_utils import FlexibleArgumentParser

parser = make_arg_parser(FlexibleArgumentParser())
found = {}
for name, line in json.load(sys.stdin).items():
    options = parser.parse_args(line)
    validate_parsed_serve_args(options)
    found[name] = vars(options)
print(json.dumps(found, default=lambda one: asdict(one) if is_dataclass(one) else str(one)))
"""


@pytest.fixture(scope="module")
def parsed(vllm_python, tmp_path_factory) -> dict[str, dict[str, Any]]:
    place = site(tmp_path_factory.mktemp("lines"), **MOE)
    lines = {name: words(launched(**levers), place)[4:] for name, levers in LINES.items()}
    return understood(vllm_python, PARSE, lines)


def test_every_lever_stands_in_a_line_that_vllm_parses():
    tried = {name for levers in LINES.values() for name in levers} - {"extra_args"}
    assert tried == {lever.name for lever in LEVERS if lever.scope == "launch"}


@pytest.mark.vllm
@pytest.mark.parametrize("line", LINES)
def test_vllm_understands_the_line(parsed, line):
    understood = parsed[line]
    assert understood["host"] == "127.0.0.1"
    assert understood["port"] == 4242
    assert understood["served_model_name"] == ["small"]
    assert understood["enable_prompt_tokens_details"] is True
    assert understood["enable_log_requests"] is False


@pytest.mark.vllm
@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("plain", "trust_remote_code", False),
        ("plain", "max_num_seqs", 256),
        ("precision", "kv_cache_dtype", "fp8_e5m2"),
        ("online", "quantization", "online"),
        ("experts", "hf_overrides", {"num_experts_per_tok": 4, "text_config": {"index_topk": 64}}),
        ("balanced", "enable_eplb", True),
        ("balanced", "data_parallel_size", 2),
        ("balanced as vLLM likes", "enable_eplb", True),
        ("in a pipeline", "enable_prefix_caching", False),
        ("talking", "enable_auto_tool_choice", True),
        ("talking", "tool_call_parser", "qwen3_coder"),
        ("queueing", "scheduling_policy", "priority"),
        ("queueing", "max_num_queued_reqs", 32),
        ("queueing", "max_model_len", 2048),
        ("recording", "enable_return_routed_experts", True),
        ("grading", "runner", "pooling"),
        ("careful", "gpu_memory_utilization", 0.5),
        ("by hand", "generation_config", "vllm"),
    ],
)
def test_vllm_understands_a_lever_as_it_was_meant(parsed, line, field, value):
    assert parsed[line][field] == value


def test_a_command_line_that_is_shown_can_be_pasted(tmp_path):
    shown = LAUNCHER.command(launched(hf_overrides={"a": "it's"}), site(tmp_path))
    assert json.loads(after("--hf-overrides", shlex.split(shown))) == {"a": "it's"}


def test_the_settings_survive_the_wire():
    settings = launched(eplb={}, active_experts=3)
    assert msgspec.json.decode(msgspec.json.encode(settings), type=Vllm) == settings
