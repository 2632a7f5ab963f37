"""`tierwise init` as a user meets it: a file that checks, serves and answers, or words that say what to do."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from ggufs import random_mixture
from tierwise.cli.init import init
from tierwise.spec.errors import SpecError
from tierwise.testing.server import FakeServer, HttpReply, HttpRequest
from tried import TIERS, answers, tierwise

MODELS = {"object": "list", "data": [{"id": "m", "owned_by": "somebody", "max_model_len": 4096}]}
KNOWN = {"model", "messages", "seed", "stream", "stream_options", "max_tokens"}


class Bare(FakeServer):
    """Chats, and nothing else: the same words whatever it is asked, no usage, one answer at a time."""

    def reply_to(self, number: int, request: HttpRequest) -> HttpReply:
        if request.method == "GET":
            return self.listed() if request.target == "/v1/models" else HttpReply(status=404, body=b"{}")
        return self.answer(request)

    def listed(self) -> HttpReply:
        return HttpReply(body=json.dumps(MODELS).encode())

    def answer(self, request: HttpRequest) -> HttpReply:
        return HttpReply(text="the answer is 4", usage=False)


class Strict(Bare):
    """Refuses every field that it does not need, and the second of two requests that come at once."""

    def __init__(self) -> None:
        super().__init__()
        self.last = 0.0

    def answer(self, request: HttpRequest) -> HttpReply:
        if more := request.body.keys() - KNOWN:
            return refusal(400, f"{min(more)}: extra fields not permitted")
        if request.body.get("stream") and request.body.get("max_tokens") == 32:  # as the probe asks several at once
            before, self.last = self.last, asyncio.get_running_loop().time()
            if self.last - before < 0.05:
                return refusal(429, "busy")
        return super().answer(request)


class Guarded(Bare):
    """Wants a key."""

    def reply_to(self, number: int, request: HttpRequest) -> HttpReply:
        if request.headers.get("authorization") != "Bearer geheim":
            return refusal(401, "no key")
        return super().reply_to(number, request)


def refusal(status: int, message: str) -> HttpReply:
    return HttpReply(status=status, body=json.dumps({"error": {"message": message}}).encode())


@contextmanager
def at_work(server: FakeServer) -> Iterator[FakeServer]:
    """The server in a thread of its own, for commands that are waited for."""
    ready, done = threading.Event(), asyncio.Event()

    async def main() -> None:
        nonlocal loop
        loop = asyncio.get_running_loop()
        async with server:
            ready.set()
            await done.wait()

    loop: Any = None
    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    assert ready.wait(10)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join(10)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("TIERWISE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("kind", [Bare, Strict])
def test_a_server_that_supports_nothing_gets_tiers_that_answer(tmp_path, cache, kind):
    with at_work(kind()) as server:
        done = tierwise("init", "--url", server.url, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines()[-1] == "next: tierwise check tierwise.yaml, then tierwise serve tierwise.yaml"
        assert "note: it sends no usage in streams: token counts are estimated" in done.stdout
        said = answers(tmp_path / "tierwise.yaml")
    assert list(said) == list(TIERS)
    assert set(said.values()) == {"the answer is 4"}


def test_what_refuses_a_second_request_is_told_to_have_one_slot(tmp_path, cache):
    with at_work(Strict()) as server:
        tierwise("init", "--url", server.url, cwd=tmp_path)
    written = yaml.safe_load((tmp_path / "tierwise.yaml").read_text())
    assert written["deployments"]["server"]["slots"] == 1
    assert all("temperature" not in tier.get("sampling", {}) for tier in written["tiers"].values())


def test_check_remembers_what_the_probe_saw(tmp_path, cache):
    with at_work(Bare()) as server:
        tierwise("init", "--url", server.url, cwd=tmp_path)
    assert "sends no usage in streams" in tierwise("check", "tierwise.yaml", cwd=tmp_path).stdout


def test_a_key_is_taken_from_the_environment_and_written_nowhere(tmp_path, cache):
    with at_work(Guarded()) as server:
        url = ("--url", server.url)
        done = tierwise("init", *url, cwd=tmp_path)
        assert (done.returncode, "requires a key (401: no key); put it into an environment" in done.stderr) == (1, True)
        done = tierwise("init", *url, "--key-env", "MY_KEY", cwd=tmp_path, MY_KEY="wrong")
        assert (done.returncode, "rejects the key" in done.stderr) == (1, True)
        done = tierwise("init", *url, "--key-env", "MY_KEY", cwd=tmp_path)
        assert (done.returncode, "MY_KEY is empty" in done.stderr) == (2, True)
        done = tierwise("init", *url, "--key-env", "sk-geheim", cwd=tmp_path)
        assert (done.returncode, "the name of an environment variable" in done.stderr) == (2, True)
        assert "geheim" not in done.stderr
        assert not (tmp_path / "tierwise.yaml").exists()
        done = tierwise("init", *url, "--key-env", "MY_KEY", cwd=tmp_path, MY_KEY="geheim")
        assert done.returncode == 0, done.stderr
    text = (tmp_path / "tierwise.yaml").read_text()
    assert "api_key_env: MY_KEY" in text
    assert "geheim" not in text + done.stdout
    assert not any(b"geheim" in file.read_bytes() for file in cache.rglob("*") if file.is_file())


class Web(FakeServer):
    """A web site."""

    def reply_to(self, number: int, request: HttpRequest) -> HttpReply:
        return HttpReply(body=b"<!doctype html>", headers={"Content-Type": "text/html"})


class Hanging(Bare):
    def reply_to(self, number: int, request: HttpRequest) -> HttpReply:
        return HttpReply(waits=60)


@pytest.mark.parametrize(
    ("server", "message"),
    [
        (Web(), "is not an OpenAI-compatible API"),
        (Hanging(), "had no answer within 0.5 s"),
        (FakeServer(HttpReply(status=302, body=b"", headers={"Location": "/login"})), "redirects to"),
    ],
)
def test_what_is_no_such_server_is_exit_code_1_and_leaves_no_file(tmp_path, cache, server, message):
    with at_work(server):
        done = tierwise("init", "--url", server.url, "--seconds", "0.5", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("*.yaml")) + list(tmp_path.glob(".*"))


def test_a_file_is_never_written_over_and_no_server_is_asked_in_vain(tmp_path, cache):
    (tmp_path / "tierwise.yaml").write_text("mine")
    server = Bare()
    with at_work(server):
        done = tierwise("init", "--url", server.url, cwd=tmp_path)
        assert (done.returncode, "tierwise.yaml exists and is never overwritten" in done.stderr) == (2, True)
        assert server.requests == []
        done = tierwise("init", "--url", server.url, "--out", "other.yaml", cwd=tmp_path)
    assert (done.returncode, (tmp_path / "tierwise.yaml").read_text()) == (0, "mine")
    assert "tierwise check other.yaml" in done.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "name what the tiers are for: --url"),
        ({"url": "http://h/v1", "checkpoint": "a.gguf"}, "--url and --checkpoint exclude each other"),
        ({"url": "http://h/v1", "engine": "vllm"}, "the server is the engine"),
        ({"checkpoint": "a.gguf", "model": "m"}, "--model belongs to --url"),
        ({"url": "http://h/v1", "gpus": "H100"}, "--gpus belongs to --family"),
        ({"family": "glm-5.1"}, "--family needs a machine"),
        ({"family": "glm-5.1", "gpus": "8xH100"}, "8xH100 has 640 GB; fits on: 8xH200"),
        ({"url": "h:8000"}, "has no scheme"),
        ({"url": "ftp://h"}, "'ftp' is not supported"),
        ({"checkpoint": "none.gguf"}, "'none.gguf' does not exist"),
        ({"checkpoint": "none.gguf", "out": Path("no/where.yaml")}, "no does not exist; create it"),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError, match=re.escape(message)):
        init(**options)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_input_is_exit_code_2(tmp_path):
    done = tierwise("init", "--url", "h:8000", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--url: 'h:8000' is not a URL: it has no scheme" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_checkpoint_gets_a_file_that_checks_serves_and_answers(tmp_path, cache):
    pytest.importorskip("xllamacpp")
    random_mixture(tmp_path / "mixture.gguf")
    done = tierwise("init", "--checkpoint", "mixture.gguf", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "tierwise.yaml: fast, standard, max and auto for mixture.gguf with llama.cpp on this machine" in done.stdout
    assert list(answers(tmp_path / "tierwise.yaml")) == list(TIERS)


def test_a_family_is_what_recipe_printed(tmp_path):
    named = ("--gpus", "cpu")
    done = tierwise("init", "--family", "smollm2", *named, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "tierwise.yaml").read_text()
    assert text.splitlines()[0].endswith("tierwise init --family smollm2 --gpus cpu --engine llama.cpp")
    assert tierwise("check", "tierwise.yaml", cwd=tmp_path).returncode == 0
    assert tierwise("init", "--family", "smollm2", *named, "--out", "-", cwd=tmp_path).stdout == text
    recipe = tierwise("recipe", "smollm2", *named, cwd=tmp_path)
    assert recipe.stdout == text
    assert "is now `tierwise init --family smollm2 --gpus cpu`" in recipe.stderr


def test_json_is_the_same_file_and_writes_none(tmp_path):
    done = tierwise("init", "--family", "gemma-4", "--gpus", "H100", "--variant", "31b", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["deployments"]["all"]["tensor_parallel"] == 1
    assert list(tmp_path.iterdir()) == []


def test_help_leads_to_init_and_not_to_recipe(tmp_path):
    shown = tierwise("--help", cwd=tmp_path).stdout
    assert "tierwise init" in shown
    assert "recipe" not in shown


@pytest.mark.model
def test_a_real_llama_cpp_gets_tiers_that_answer(tmp_path, cache, llama):
    done = tierwise("init", "--url", llama.url, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"the API is at {llama.url}/v1, not at {llama.url}" in done.stdout
    written = yaml.safe_load((tmp_path / "tierwise.yaml").read_text())
    assert written["deployments"]["server"]["slots"] == 4 + 1  # of the server: one more than the deployment's
    assert written["deployments"]["server"]["extra"] == {"timings_per_token": True, "return_progress": True}
    assert written["tiers"]["max"]["policy"] == {"best_of_n": {"n": 4}}
    assert all(answers(tmp_path / "tierwise.yaml").values())


THINKING = """
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{% if message.role == 'assistant' %}<think>
{{ message.reasoning_content or '' }}
</think>

{% endif %}{{ message.content }}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>assistant
{% if enable_thinking is defined and not enable_thinking %}<think>

</think>

{% else %}<think>
{% endif -%}
{%- endif -%}
"""
"""A template that opens thinking for the model, which therefore thinks whether it was trained to or not."""


@pytest.mark.model
def test_a_real_thinking_switch_and_its_cap_are_found(tmp_path, cache, new_llama_cpp):
    (tmp_path / "thinking.jinja").write_text(THINKING)
    engine = new_llama_cpp(chat_template=str(tmp_path / "thinking.jinja"))
    with asyncio.Runner() as runner:
        try:
            runner.run(engine.start())
            url = runner.run(engine.supervisor.ready())
            done = tierwise("init", "--url", url, "--seconds", "60", cwd=tmp_path)
            assert done.returncode == 0, done.stderr
            tiers = yaml.safe_load((tmp_path / "tierwise.yaml").read_text())["tiers"]
        finally:
            runner.run(engine.stop())
    switches = [tier["sampling"]["chat_template_kwargs"]["enable_thinking"] for tier in tiers.values()]
    assert switches == [False, True, True]
    assert tiers["standard"]["sampling"]["extra"] == {"thinking_budget_tokens": 256}  # a quarter of the context


@pytest.mark.model
def test_a_real_checkpoint_gets_a_file_that_checks_serves_and_answers(tmp_path, smollm2):
    pytest.importorskip("xllamacpp")
    done = tierwise("init", "--checkpoint", smollm2, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "`tierwise families smollm2` shows its published" in done.stdout
    assert all(answers(tmp_path / "tierwise.yaml").values())
