"""The llama.cpp process with a real small model, and with files that only look like one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import msgspec
import pytest

from tierwise.engines.llama_cpp.worker import LlamaCppSettings, command
from tierwise.engines.process.supervisor import Launch, Supervisor
from tierwise.spec.errors import Broken

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytest.importorskip("xllamacpp")


@contextlib.asynccontextmanager
async def served(model: Path, logs: Path, **levers: object) -> AsyncIterator[tuple[Supervisor, aiohttp.ClientSession]]:
    """llama.cpp at work, and a client that is connected to it."""

    def launch(port: int) -> Launch:
        settings = LlamaCppSettings(model=str(model), port=port, **levers)
        return Launch(command=command(settings), url=f"http://127.0.0.1:{port}")

    supervisor = Supervisor("small", launch, logs=logs)
    try:
        async with asyncio.timeout(30):
            await supervisor.start()
            async with aiohttp.ClientSession(await supervisor.ready()) as client:
                yield supervisor, client
    finally:
        await supervisor.stop()


def reason_of_failure(model: Path, logs: Path, **levers: object) -> str:
    async def fail() -> str:
        began = time.monotonic()
        with pytest.raises(Broken) as caught:
            async with served(model, logs, **levers):
                pass
        assert time.monotonic() - began < 10
        return str(caught.value)

    return asyncio.run(fail())


def chat(words: str, **more: object) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": words}], "temperature": 0, **more}


async def in_progress(client: aiohttp.ClientSession) -> int:
    async with client.get("/metrics") as response:
        metrics = dict(line.split() for line in (await response.text()).splitlines() if not line.startswith("#"))
    return int(metrics["llamacpp:requests_processing"])


@pytest.mark.model
def test_a_model_is_served_under_its_alias_with_its_context_per_slot(smollm2, tmp_path):
    async def ask() -> None:
        async with served(smollm2, tmp_path, alias="fast", context=512, slots=2) as (supervisor, client):
            async with client.post("/v1/chat/completions", json=chat("Say hello.", max_tokens=8)) as response:
                answer = await response.json()
            assert answer["model"] == "fast"
            assert answer["choices"][0]["message"]["content"]
            assert answer["usage"]["completion_tokens"] <= 8
            async with client.get("/slots") as response:
                assert [slot["n_ctx"] for slot in await response.json()] == [512, 512]
            assert supervisor.start_seconds_taken < 10  # 0.6 s on a quiet machine
            assert any("llama.cpp serves" in line for line in supervisor.log_tail())

    asyncio.run(ask())


@pytest.mark.model
def test_a_pass_whose_client_leaves_is_aborted(smollm2, tmp_path):
    async def leave() -> None:
        async with served(smollm2, tmp_path, context=8000) as (_, client):
            endless = chat("Count.", stream=True, ignore_eos=True, max_tokens=7000)
            async with client.post("/v1/chat/completions", json=endless) as response:
                await response.content.readline()
                assert await in_progress(client) == 1
            began = time.monotonic()
            while await in_progress(client):
                assert time.monotonic() - began < 3
                await asyncio.sleep(0.05)

    asyncio.run(leave())


@pytest.mark.model
def test_health_answers_while_many_more_passes_wait_than_there_are_slots(smollm2, tmp_path):
    async def crowd() -> None:
        async with served(smollm2, tmp_path, slots=1) as (_, client):

            async def one(number: int) -> None:
                async with client.post("/v1/chat/completions", json=chat(f"Count to {number}.", max_tokens=200)):
                    pass

            passes = [asyncio.create_task(one(number)) for number in range(40)]
            await asyncio.sleep(0.5)
            async with client.get("/health", timeout=aiohttp.ClientTimeout(total=2)) as response:
                assert response.status == 200
            for task in passes:
                task.cancel()
            await asyncio.gather(*passes, return_exceptions=True)

    asyncio.run(crowd())


@pytest.mark.model
def test_quantized_caches_and_a_template_of_ones_own_are_taken(smollm2, tmp_path):
    template = tmp_path / "template.jinja"
    template.write_text("{% for message in messages %}{{ message.content }}!{% endfor %}")
    levers = {"cache_type_k": "q8_0", "cache_type_v": "q8_0", "flash_attention": True, "chat_template": str(template)}

    async def render() -> None:
        async with (
            served(smollm2, tmp_path, context=256, threads=1, **levers) as (_, client),
            client.post("/apply-template", json=chat("Hello")) as response,
        ):
            assert (await response.json())["prompt"] == "Hello!"

    asyncio.run(render())


def test_a_text_file_is_named_as_what_it_is_not(tmp_path):
    model = tmp_path / "text.gguf"
    model.write_text("hello")
    reason = reason_of_failure(model, tmp_path)
    assert "invalid magic characters: 'hell', expected 'GGUF'" in reason
    assert f"llama.cpp cannot serve {model}" in reason


@pytest.mark.model
def test_a_truncated_download_is_recognised(smollm2, tmp_path):
    model = tmp_path / "half.gguf"
    model.write_bytes(smollm2.read_bytes()[: smollm2.stat().st_size // 2])
    assert "data is not within the file bounds, model is corrupted or incomplete" in reason_of_failure(model, tmp_path)


@pytest.mark.model
def test_an_architecture_that_llama_cpp_does_not_know_is_named(smollm2, tmp_path):
    model = tmp_path / "future.gguf"
    model.write_bytes(smollm2.read_bytes().replace(b"llama", b"zebra", 1))
    assert "unknown model architecture: 'zebra'" in reason_of_failure(model, tmp_path)


@pytest.mark.model
def test_a_cache_that_cannot_fit_into_memory_is_refused_before_the_kernel_kills_somebody(smollm2, tmp_path):
    assert "insufficient memory" in reason_of_failure(smollm2, tmp_path, context=2**22, slots=2)


@pytest.mark.model
def test_levers_that_exclude_each_other_give_llama_cpps_reason(smollm2, tmp_path):
    reason = reason_of_failure(smollm2, tmp_path, cache_type_v="q8_0", flash_attention=False)
    assert "quantized V cache requires flash_attn" in reason


def test_files_that_are_missing_are_found_before_anything_is_loaded(tmp_path):
    assert f"cannot read {tmp_path}/none.gguf: No such file" in reason_of_failure(tmp_path / "none.gguf", tmp_path)
    assert f"{tmp_path} is a directory" in reason_of_failure(tmp_path, tmp_path)


def test_settings_survive_the_command_line():
    settings = LlamaCppSettings(model="m.gguf", port=1, slots=3, loras={"a.gguf": 0.5})
    *_, text = command(settings)
    assert json.loads(text) == {"model": "m.gguf", "port": 1, "slots": 3, "loras": {"a.gguf": 0.5}}
    assert msgspec.json.decode(text, type=LlamaCppSettings) == settings


def test_a_context_beyond_all_reason_is_refused():
    with pytest.raises(msgspec.ValidationError, match="context"):
        msgspec.json.decode(b'{"model":"m","port":1,"context":900000000}', type=LlamaCppSettings)
