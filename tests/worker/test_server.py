"""The worker's HTTP on a real small model: what clients are told, and what is refused."""

from __future__ import annotations

import asyncio
import time

import aiohttp
import pytest

from engines.asking import begun, call, chunks, completed
from tierwise.engines.transformers import ROW
from tierwise.engines.transformers.preflight import preflight
from tierwise.spec.errors import Broken, Refused, SpecError, TooLong

pytestmark = pytest.mark.model

ASKED = {"messages": [{"role": "user", "content": "Count to twelve in words."}], "temperature": 0, "max_tokens": 6}


def post(worker, path="/v1/chat/completions", **body):
    return worker.run(worker.post(path, body))


def test_an_answer_in_one_piece_says_what_a_stream_says(transformers):
    status, whole = post(transformers, **ASKED, logprobs=True, top_logprobs=2)
    said, usage = transformers.run(
        completed(transformers.engine, call("Count to twelve in words.", temperature=0, max_tokens=6))
    )
    choice = whole["choices"][0]
    assert status == 200
    assert (choice["message"]["content"], choice["finish_reason"]) == (said.text, said.finish)
    assert whole["usage"]["completion_tokens"] == usage.completion == 6
    assert [len(token["top_logprobs"]) for token in choice["logprobs"]["content"]] == [2] * 6
    assert choice["logprobs"]["content"][0]["top_logprobs"][0]["token"] == choice["logprobs"]["content"][0]["token"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"n": 2}, "n: this engine returns one completion per request"),
        ({"response_format": {"type": "json_object"}}, "does not support structured outputs"),
        ({"tools": [{"type": "function"}]}, "does not support tool calls"),
        ({"guided_regex": "a+"}, "guided_regex: this engine does not support structured outputs"),
        ({"temperature": "hot"}, "Expected `float | null`, got `str` - at `$.temperature`"),
        ({"temperature": -1}, "Expected `float` >= 0.0 - at `$.temperature`"),
        ({"messages": []}, "length >= 1 - at `$.messages`"),
        ({"messages": [{"role": "user"}]}, "content must be a string or a list of parts"),
        ({"active_experts": 4}, "dense model and has no experts"),
        ({"thinking_tokens": 9}, "no thinking tokens"),
        ({"reasoning_effort": "high"}, "chat template does not use it"),
        ({"logit_bias": {"99999999": 1}}, "keys must be token ids below 49152"),
    ],
)
def test_what_cannot_be_done_is_refused_and_never_ignored(transformers, fields, words):
    status, told = post(transformers, **{**ASKED, **fields})
    assert (status, told["error"]["type"]) == (400, "invalid_request_error")
    assert words in told["error"]["message"]


def test_a_prompt_that_fills_the_context_is_too_long_by_openais_code(transformers):
    status, told = post(transformers, messages=[{"role": "user", "content": "word " * 1500}])
    assert (status, told["error"]["code"]) == (400, "context_length_exceeded")
    with pytest.raises(TooLong, match="context length is 1024 tokens, and the prompt alone has 15"):
        transformers.run(chunks(transformers.engine, call("word " * 1500)))
    with pytest.raises(Refused, match="response_format"):
        transformers.run(chunks(transformers.engine, call(response_format={"type": "json_object"})))


def test_it_says_what_it_is_and_counts_tokens(transformers):
    facts = transformers.engine.health().facts
    assert (facts["batching"], facts["prefix_cache"], facts["device"]) == ("joined", "on", "cpu")
    status, told = post(transformers, "/tokenize", content="Hello world")
    assert (status, told["count"]) == (200, len(told["tokens"]))
    assert post(transformers, "/tokenize", messages=ASKED["messages"])[1]["count"] == 36
    assert post(transformers, "/tokenize", messages=[{"role": "user"}])[0] == 400


def test_it_is_healthy_while_it_computes(transformers):
    async def main():
        stream = await begun(transformers.engine, call("Tell me a story.", max_tokens=60))
        async with aiohttp.ClientSession() as client:
            for _ in range(5):
                async with client.get(f"{transformers.url}/health") as response:
                    assert response.status == 200
        assert await transformers.metric("requests_running") == 1
        await stream.aclose()

    transformers.run(main())


def test_a_client_that_leaves_an_answer_in_one_piece_aborts_it(transformers):
    async def main():
        url = f"{transformers.url}/v1/chat/completions"
        async with aiohttp.ClientSession() as client:
            asked = {**ASKED, "max_tokens": 900, "ignore_eos": True}
            with pytest.raises(TimeoutError):
                await client.post(url, json=asked, timeout=aiohttp.ClientTimeout(total=1.0))
        began = time.monotonic()
        while await transformers.metric("requests_running"):
            assert time.monotonic() - began < 5
            await asyncio.sleep(0.02)

    transformers.run(main())


def test_warnings_that_are_errors_where_it_was_started_are_none_in_it(new_transformers, tmp_path, monkeypatch):
    from families.tiny import build  # noqa: PLC0415

    (tmp_path / "sitecustomize.py").write_text(GGUF_WARNS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    engine = new_transformers(build("kimi-k2.6", tmp_path / "tiny"), context=256)

    async def main():
        await engine.start()
        try:
            await engine.supervisor.ready()
            return await completed(engine, call("Hello", max_tokens=2))
        finally:
            await engine.stop()

    assert asyncio.run(main())[1].completion == 2


GGUF_WARNS = """
import sys, warnings

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "gguf":
            warnings.warn("gguf is deprecated", FutureWarning)

sys.meta_path.insert(0, Finder())
"""


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda folder: (folder / "tokenizer.json").unlink(), "it has no tokenizer"),
        (lambda folder: (folder / "chat_template.jinja").unlink(), "it has no chat template"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"half"), "cannot load"),
    ],
)
def test_a_checkpoint_that_cannot_be_served_is_one_clear_line(new_transformers, tmp_path, break_it, words):
    from families.tiny import build  # noqa: PLC0415

    folder = build("kimi-k2.6", tmp_path / "tiny")
    break_it(folder)
    engine = new_transformers(folder, context=256)
    found = [why for _, why in preflight(new_transformers.settings(context=256), new_transformers.site(folder))]
    if found:
        assert words in found[0]
        return

    async def main():
        try:
            await engine.start()
        finally:
            await engine.stop()

    with pytest.raises(Broken) as caught:
        asyncio.run(main())
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_does_not_fit_the_checkpoint_is_said_before_a_launch(new_transformers, tmp_path):
    from families.tiny import build  # noqa: PLC0415

    folder = build("kimi-k2.6", tmp_path / "tiny")
    found = dict(preflight(new_transformers.settings(context=4096, active_experts=9), new_transformers.site(folder)))
    assert "more than the checkpoint's 512" in found["context"]
    assert "9" in found["active_experts"]
    assert dict(preflight(new_transformers.settings(context=512), new_transformers.site(tmp_path / "nothing")))
    with pytest.raises(SpecError, match="run `tierwise pull` first"):
        ROW.build(new_transformers.settings(), "small", new_transformers.site(None))
