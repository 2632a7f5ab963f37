"""vLLM's whole answers, routed experts included, without a vLLM: numpy writes the arrays as vLLM does."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import numpy as np
import pytest

from tierwise.engines.vllm.answer import read_answer, read_routing
from tierwise.engines.vllm.facts import facts_in
from tierwise.engines.vllm.metrics import METRIC_NAMES
from tierwise.spec.call import Recorder, Usage

USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}}


def encoded(array: np.ndarray[Any, Any]) -> str:
    """As vLLM 0.32.0 does it (utils/serial_utils.py, numpy2base64)."""
    with io.BytesIO() as buffer:
        np.save(buffer, array, allow_pickle=False)
        return base64.b64encode(buffer.getbuffer()).decode("ascii")


def chosen(tokens: int, layers: int, active: int, experts: int, dtype: str) -> np.ndarray[Any, Any]:
    draw = np.random.default_rng(0)
    rows = [draw.permutation(experts)[:active] for _ in range(tokens * layers)]
    return np.array(rows, dtype=dtype).reshape(tokens, layers, active)


def answer(message: dict[str, Any], **more: Any) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": None, **message}, "finish_reason": "stop", **more}
    return json.dumps({"object": "chat.completion", "choices": [choice], "usage": USAGE}).encode()


@pytest.mark.parametrize(("dtype", "experts"), [("uint8", 8), ("uint16", 512), ("int32", 300)])
def test_choices_are_counted_as_numpy_would_count_them(dtype, experts):
    array = chosen(50, 3, 4, experts, dtype)
    routing = read_routing(encoded(array), experts)
    assert routing is not None
    assert (routing.source, routing.tokens, routing.active, [*routing.layers]) == ("vllm", 50, 4, [0, 1, 2])
    for layer, counts in enumerate(routing.counts):
        assert [*counts] == np.bincount(array[:, layer].ravel(), minlength=experts).tolist()


def test_dense_layers_which_stand_there_as_zeros_are_left_out():
    array = chosen(20, 3, 2, 8, "uint8")
    array[:, 0] = 0
    routing = read_routing(encoded(array), 8)
    assert routing is not None
    assert [*routing.layers] == [1, 2]
    assert [sum(counts) for counts in routing.counts] == [40, 40]


def test_without_the_number_of_experts_as_many_are_counted_as_were_seen():
    routing = read_routing(encoded(np.array([[[1, 4]]], dtype="uint8")))
    assert routing is not None
    assert [[*counts] for counts in routing.counts] == [[0, 1, 0, 0, 1]]


def test_no_token_is_no_routing():
    assert read_routing(encoded(np.zeros((0, 3, 2), dtype="uint8"))) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("@@", "not base64"),
        (base64.b64encode(b"PK\3\4 something else").decode(), "not a .npy file"),
        (encoded(np.zeros((2, 2), dtype="uint8")), "of shape (2, 2)"),
        (encoded(np.zeros((2, 2, 2), dtype="float64")), "invalid header"),
        (encoded(np.zeros((4, 2, 2), dtype="uint8"))[:-8], "10 routed experts for shape"),
        (encoded(np.asfortranarray(np.zeros((2, 3, 2), dtype="uint8"))), "instead of tokens"),
        (base64.b64encode(b"\x93NUMPY\1\0\xff\xff" + b"(" * 9000).decode(), "invalid header"),
    ],
)
def test_what_is_no_such_array_is_told_apart(text, words):
    with pytest.raises(ValueError, match="routed experts") as caught:
        read_routing(text)
    assert words in str(caught.value)


def test_a_whole_answer_becomes_what_a_stream_would_have_brought():
    logprobs = {"content": [{"token": "4", "logprob": -0.5}]}
    message = {"reasoning": "2 and 2", "content": "4", "tool_calls": [], "refusal": None}
    recorder = Recorder()
    for chunk in read_answer(answer(message, logprobs=logprobs, routed_experts=encoded(chosen(9, 2, 2, 8, "uint8")))):
        recorder.add(chunk)
    said = recorder.completion()
    assert (said.text, said.reasoning, said.finish, said.mean_logprob) == ("4", "2 and 2", "stop", -0.5)
    assert recorder.usage == Usage(prompt=7, cached=4, completion=3)
    assert recorder.routing is not None
    assert said.extra == {}


def test_tool_calls_of_a_whole_answer_keep_their_order():
    calls = [{"id": name, "type": "function", "function": {"name": name, "arguments": "{}"}} for name in ("b", "a")]
    recorder = Recorder()
    for chunk in read_answer(answer({"tool_calls": calls})):
        recorder.add(chunk)
    assert [call["id"] for call in recorder.completion().tool_calls] == ["b", "a"]


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"choices": []}', b'{"choices": [{"message": 3}]}', b"[" * 9999])
def test_what_is_no_answer_is_an_error(body):
    with pytest.raises(ValueError, match="chat completion"):
        read_answer(body)


# ── what it says in its log ─────────────────────────────────────────────

START = (
    "(APIServer pid=1) INFO 11-22 10:49:41 [model.py:733] Resolved architecture: LlamaForCausalLM",
    (
        "(EngineCore pid=2) INFO 11-22 10:50:02 [core.py:133] Initializing a V1 LLM engine (v0.32.0) with config: "
        "model='m', trust_remote_code=False, dtype=torch.bfloat16, max_seq_len=2048, quantization=None, "
        "kv_cache_dtype=auto, device_config=cpu, structured_outputs_config=None"
    ),
    "(Worker pid=3) INFO 11-22 10:50:41 [cpu.py:175] Using CPU_MLA backend.",
    "(EngineCore pid=2) INFO 11-22 10:50:46 [kv_cache_utils.py:2327] CPU KV cache size: 46,592 tokens, Maximum",
)
EPLB = (
    "(Worker pid=3) INFO 11-22 [eplb_state.py:634] EPLB step: 12 for model glm: avg_tokens=1024.50, max_tokens=2049, "
    "balancedness=0.5000, steps until the next rearrangement: 2988"
)


def test_a_start_says_what_runs():
    assert facts_in(START) == {
        "architecture": "LlamaForCausalLM",
        "model_runner": "V1",
        "dtype": "bfloat16",
        "kv_cache_dtype": "auto",
        "device": "cpu",
        "attention": "CPU_MLA",
        "kv_cache_tokens": "46592",
    }
    assert facts_in(["quantization=fp8, quantization_config=None"]) == {"quantization": "fp8"}


def test_the_balance_of_experts_is_read_from_the_log():
    pattern = METRIC_NAMES.lines["expert_balancedness"]
    assert [match and float(match["value"]) for match in map(pattern.search, [START[0], EPLB])] == [None, 0.5]
