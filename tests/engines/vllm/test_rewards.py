"""A reward model behind vLLM's `/classify`, faked: what it is sent, and every way in which its answer can be wrong."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.asking import call, in_time, until
from engines.checkpoints import checkpoint
from tierwise.engines import Vllm
from tierwise.engines.settings import LaunchContext
from tierwise.engines.vllm.launch import LAUNCHER
from tierwise.engines.vllm.rewards import RewardClient, read_grade
from tierwise.spec.call import Chunk, Usage
from tierwise.spec.errors import Broken, Garbled, Misconfigured, Overloaded, Refused, TimedOut, TooLong
from tierwise.testing.server import FakeServer, HttpReply

USAGE = {"prompt_tokens": 7, "total_tokens": 7, "completion_tokens": 0, "prompt_tokens_details": None}


def graded(*scores: Any, **more: Any) -> bytes:
    data = [{"index": 0, "label": "LABEL_0", "probs": list(scores), "num_classes": len(scores)}]
    return json.dumps({"object": "list", "model": "M", "data": data, "usage": USAGE, **more}).encode()


async def received(client: RewardClient, server: FakeServer, **fields: Any) -> list[Chunk]:
    return [chunk async for chunk in client.stream(server.url, call("2+2?", **fields))]


def asked(reply: HttpReply, **options: Any) -> tuple[list[Chunk], list[Any]]:
    async def main() -> tuple[list[Chunk], list[Any]]:
        async with FakeServer(reply) as server:
            client = RewardClient("grader", "M", **options)
            try:
                found = await received(client, server, max_tokens=9, tools=[], top_k=3)
            finally:
                await client.close()
                seen = server.requests
            return found, seen

    return in_time(main())


def test_a_conversation_is_sent_to_classify_without_anything_else_that_the_client_asked_for():
    found, (request,) = asked(HttpReply(body=graded(-1.25)), api_key="k")
    assert found == [Chunk(scores=(-1.25,), finish="stop", usage=Usage(prompt=7))]
    assert (request.method, request.target) == ("POST", "/classify")
    assert request.body == {
        "model": "M",
        "messages": [{"role": "user", "content": "2+2?"}],
        "use_activation": False,
    }
    assert request.headers["authorization"] == "Bearer k"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "no classification"),
        (b"I like it.", "no classification"),
        (b"[]", "no classification"),
        (b'{"data": null}', "no classification"),
        (b'{"data": [{"embedding": [1]}]}', "no classification"),
        (b'{"data": [{"probs": 0.5}]}', "no classification"),
        (b'{"data": [{"probs": [NaN]}]}', r"sent \[None\] instead of finite scores"),
        (b'{"data": [{"probs": [1e999]}]}', "no classification|instead of finite scores"),
        (b'{"data": []}', "0 grades for one conversation"),
        (b'{"data": [{"probs": [1]}, {"probs": [2]}]}', "2 grades for one conversation"),
        (graded(), r"sent \[\] instead of finite scores"),
        (graded(None), "instead of finite scores"),
        (graded("0.5"), "instead of finite scores"),
        (graded(True), "instead of finite scores"),
        (graded(1e300), "instead of finite scores"),
        (graded([0.1, 0.9], [0.2, 0.8]), "2 vectors of scores, as a process reward model does for each step"),
    ],
)
def test_an_answer_that_is_no_grade_is_garbled_and_says_what_was_seen(body, said):
    with pytest.raises(Garbled, match=said):
        asked(HttpReply(body=body))


@pytest.mark.parametrize(
    ("status", "message", "error"),
    [
        (400, "This model's maximum context length is 1024 tokens.", TooLong),
        (400, "no chat template", Refused),
        (401, "bad key", Misconfigured),
        (429, "slow down", Overloaded),
        (500, "Out of range float values are not JSON compliant", Broken),
        (503, "busy", Overloaded),
        (504, "late", TimedOut),
    ],
)
def test_a_failure_is_what_it_is_for_a_chat(status, message, error):
    with pytest.raises(error, match=message[:10]):
        asked(HttpReply(status=status, body=json.dumps({"error": {"message": message}}).encode()))


def test_a_server_without_classify_serves_no_reward_model():
    with pytest.raises(Misconfigured, match=r"no /classify \(404.*--runner pooling"):
        asked(HttpReply(status=404, body=b'{"detail":"Not Found"}'))


def test_silence_ends_a_pass():
    with pytest.raises(TimedOut):
        asked(HttpReply(body=graded(1), waits=5), silent_seconds=0.2)


def test_usage_that_is_missing_is_not_exact():
    (found,), _ = asked(HttpReply(body=graded(1, usage=None)))
    assert found.usage == Usage(exact=False)


def test_closing_a_pass_hangs_up():
    async def main() -> None:
        async with FakeServer(HttpReply(body=graded(1), waits=20)) as server:
            client = RewardClient("grader", "M")
            task = asyncio.create_task(received(client, server))
            await until(lambda: bool(server.requests), 5)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await until(lambda: not server.connections, 5)
            await client.close()

    in_time(main())


@given(
    st.binary(max_size=60)
    | st.recursive(
        st.none() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["data", "probs", "usage"]), inner, max_size=3)
        ),
    ).map(lambda value: json.dumps(value).encode())
)
def test_any_bytes_are_a_grade_or_a_value_error_that_quotes_them(body):
    try:
        found = read_grade(body)
    except ValueError as error:
        said = str(error)
    else:
        said = f"sent {found.scores}"
        assert found.scores
    assert said.startswith("sent ")


def test_a_launch_says_that_it_serves_a_pooling_model(tmp_path):
    settings = Vllm(checkpoint="rm", python="python3", rewards=True)
    context = LaunchContext(base=tmp_path, logs=tmp_path, model=checkpoint(tmp_path / "rm"))
    assert LAUNCHER.command(settings, context).split().count("--runner") == 1
    assert "--runner pooling" in LAUNCHER.command(settings, context)
    assert "--runner" not in LAUNCHER.command(Vllm(checkpoint="rm", python="python3"), context)


def test_settings_of_models_that_write_are_refused_beside_rewards():
    settings = Vllm(url="http://127.0.0.1:1/v1", rewards=True, reasoning_parser="qwen3", tool_parser="hermes")
    problems = dict(settings.validate(()))
    assert problems.keys() == {"reasoning_parser", "tool_parser"}
    assert "grades" in problems["tool_parser"]
    assert not list(Vllm(url="http://127.0.0.1:1/v1", rewards=True).validate(()))
