"""What every engine keeps, whatever it runs on: one test per promise, one run per engine."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tierwise.engines import row_of
from tierwise.engines.openai.launch import build
from tierwise.engines.openai.settings import Http
from tierwise.engines.replay.engine import ReplayEngine
from tierwise.engines.replay.recording import record
from tierwise.engines.settings import LaunchContext
from tierwise.spec.call import Call, Completion, Pass, Usage
from tierwise.spec.errors import Broken, EngineError, Garbled, Overloaded, Refused, TimedOut, TooLong
from tierwise.testing import Reply, ScriptedEngine
from tierwise.testing.contracts.engines import (
    ASKED,
    DRAWN,
    TALK,
    EngineContract,
    EngineUnderTest,
    call,
    chunks,
    completed,
    text_of,
    until,
    with_fields,
)
from tierwise.testing.server import FakeServer, HttpReply, HttpRequest

from .asking import in_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tierwise.engines.engine import Engine

HERE = LaunchContext(base=Path(), logs=Path())
WORDS = "one two three four five six seven eight nine ten eleven twelve"


def zero(engine: Any) -> Callable[[], Awaitable[int]]:
    async def running() -> int:
        return engine.running

    return running


async def nothing() -> int:
    return 0


class Counting(ScriptedEngine):
    """Says the words, slowly enough to be left in the middle."""

    def __init__(self) -> None:
        super().__init__(Reply(text=WORDS, logprob=-0.5, step=0.002))


@contextlib.asynccontextmanager
async def scripted() -> AsyncIterator[EngineUnderTest]:
    engine = Counting()

    async def counted() -> Usage:
        return engine.produced

    skips = {"stop": "a script says what it says", "draws": "a script says what it says"}
    yield EngineUnderTest(engine=engine, running=zero(engine), counted=counted, skips=skips)


class Sampler(FakeServer):
    """Says the words; at a temperature, begins with one that depends on the seed."""

    def reply_to(self, number: int, request: HttpRequest) -> HttpReply:
        first = f"seed {request.body['seed']} " if request.body.get("temperature") else ""
        return HttpReply(text=first + WORDS, step=0.002)


@contextlib.asynccontextmanager
async def http() -> AsyncIterator[EngineUnderTest]:
    async with Sampler() as server:
        engine = build(Http(url=server.url), "large", HERE)

        async def counted() -> Usage:
            return server.produced

        try:
            skips = {"running count": "it counts at the end"}
            yield EngineUnderTest(engine=engine, running=zero(server), counted=counted, skips=skips)
        finally:
            await engine.stop()


@contextlib.asynccontextmanager
async def replay() -> AsyncIterator[EngineUnderTest]:
    """Recorded from the fake server, pass by pass."""
    known = [
        ASKED,
        with_fields(ASKED, logprobs=True),
        with_fields(ASKED, stop=["four"]),
        with_fields(ASKED, a_field_of_next_year=[1]),
        TALK,
    ]
    known += [with_fields(DRAWN, draw=draw) for draw in range(4)]
    async with http() as live:
        passes = [done(of, *await completed(live.engine, of)) for of in known]
    engine = ReplayEngine("pool", [record(one) for one in passes], speed=1)
    yield EngineUnderTest(engine=engine, running=nothing)


def done(of: Call, completion: Completion, usage: Usage) -> Pass:
    return Pass(
        number=0,
        tier="fast",
        deployment="large",
        call=of,
        outcome="finished",
        completion=completion,
        usage=usage,
        started=0.0,
        first_token=0.01,
        seconds=0.1,
        busy_seconds=0.1,
    )


def of_llama(llama: Any, engine: Engine) -> EngineUnderTest:
    async def running() -> int:
        return await llama.metric("requests_processing")

    async def counted() -> Usage:
        names = ("prompt_tokens_total", "prompt_tokens_cached_total", "tokens_predicted_total")
        fresh, cached, completion = [await llama.metric(name) for name in names]
        return Usage(prompt=fresh + cached, cached=cached, completion=completion)

    return EngineUnderTest(engine=engine, running=running, counted=counted, stop=",")


@contextlib.asynccontextmanager
async def llama_cpp(llama: Any) -> AsyncIterator[EngineUnderTest]:
    yield of_llama(llama, llama.engine)


@contextlib.asynccontextmanager
async def http_to_llama_cpp(llama: Any) -> AsyncIterator[EngineUnderTest]:
    settings = Http(url=f"{llama.url}/v1", extra={"timings_per_token": True})
    engine = row_of(settings).build(settings, "far", HERE)
    try:
        yield of_llama(llama, engine)
    finally:
        await engine.stop()


@contextlib.asynccontextmanager
async def transformers(worker: Any) -> AsyncIterator[EngineUnderTest]:
    async def running() -> int:
        return await worker.metric("requests_running") + await worker.metric("requests_waiting")

    async def counted() -> Usage:
        names = ("prompt_tokens_total", "prompt_tokens_cached_total", "completion_tokens_total")
        prompt, cached, completion = [await worker.metric(name) for name in names]
        return Usage(prompt=prompt, cached=cached, completion=completion)

    # An abort waits for the step under way, and on a busy machine that takes its time.
    yield EngineUnderTest(engine=worker.engine, running=running, counted=counted, stop="help", abort_seconds=0.5)


@contextlib.asynccontextmanager
async def vllm(worker: Any) -> AsyncIterator[EngineUnderTest]:
    async def running() -> int:
        return await worker.metric("num_requests_running") + await worker.metric("num_requests_waiting")

    async def counted() -> Usage:
        names = ("prompt_tokens_total", "prompt_tokens_cached_total", "generation_tokens_total")
        prompt, cached, completion = [await worker.metric(name) for name in names]
        return Usage(prompt=prompt, cached=cached, completion=completion)

    # Its counters are told after the step that is under way.
    yield EngineUnderTest(engine=worker.engine, running=running, counted=counted, stop="help", abort_seconds=0.5)


FAKES = {"scripted": scripted, "http": http, "replay": replay}
REAL = {"llama.cpp": llama_cpp, "http to llama.cpp": http_to_llama_cpp}
WORKERS = {"transformers": transformers, "vllm": vllm}
"""Those with a fixture of their name, which runs them."""


def marks(name: str) -> list[pytest.MarkDecorator]:
    return [pytest.mark.model, *([pytest.mark.vllm] if name == "vllm" else [])]


class TestEngines(EngineContract):
    @pytest.fixture(params=[*FAKES, *(pytest.param(name, marks=marks(name)) for name in [*REAL, *WORKERS])])
    def subject(self, request):
        """Runs a test with one engine."""
        if request.param in FAKES:
            build, run = FAKES[request.param], in_time
        elif request.param in WORKERS:
            worker = request.getfixturevalue(request.param)
            build, run = (lambda: WORKERS[request.param](worker)), worker.run
        else:
            llama = request.getfixturevalue("llama")
            build, run = (lambda: REAL[request.param](llama)), llama.run

        def run_with(test: Callable[[EngineUnderTest], Awaitable[None]]) -> None:
            async def main() -> None:
                async with build() as live:
                    await test(live)

            run(main())

        return run_with


# ── faults ──────────────────────────────────────────────────────────────


def body(message: str, **more: Any) -> bytes:
    return f'{{"error":{{"message":"{message}"}}}}'.encode()


LONG = "request (99 tokens) exceeds the available context size (9 tokens)"
FAULTS: dict[str, tuple[type[EngineError], str, Reply, HttpReply]] = {
    "overloaded": (
        Overloaded,
        "",
        Reply(error=Overloaded("full", retry_after=2)),
        HttpReply(status=429, headers={"Retry-After": "2"}, body=body("full")),
    ),
    "timed out": (TimedOut, "one", Reply(text="one", error=TimedOut("late")), HttpReply(text="one", silent_after=2)),
    "too long": (TooLong, "", Reply(error=TooLong(LONG)), HttpReply(status=400, body=body(LONG))),
    "refused": (Refused, "", Reply(error=Refused("hot")), HttpReply(status=400, body=body("hot"))),
    "dead": (
        Broken,
        "one two",
        Reply(text="one two", error=Broken("dead")),
        HttpReply(text="one two three", dies_after=3),
    ),
    "garbage": (
        Garbled,
        "",
        Reply(error=Garbled("sent 'x'")),
        HttpReply(raw=[b"data: x\n\n"]),
    ),
    "error inside": (
        Overloaded,
        "one",
        Reply(text="one", error=Overloaded("full")),
        HttpReply(text="one", error={"message": "full", "type": "overloaded_error"}),
    ),
}


async def hear(engine: Engine, heard: list[str]) -> None:
    async for chunk in engine.stream(ASKED):
        heard.append(str(chunk.delta.get("content") or ""))  # noqa: PERF401 - keeps what came before a fault


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("engine", ["scripted", "http"])
def test_a_fault_is_of_its_kind_and_comes_after_what_was_said(engine, fault):
    kind, said, reply, http_reply = FAULTS[fault]

    async def main() -> None:
        async with FakeServer(http_reply, "fine") as server:
            built = build(Http(url=server.url, silent_seconds=0.2), "large", HERE)
            faulty: Engine = ScriptedEngine(reply, "fine") if engine == "scripted" else built
            heard: list[str] = []
            with pytest.raises(kind) as caught:
                await hear(faulty, heard)
            assert "".join(heard) == said
            assert type(caught.value) is kind
            if fault == "overloaded":
                assert caught.value.retry_after == 2
            if kind in (Refused, TooLong):
                assert str(caught.value) == (LONG if kind is TooLong else "hot")
            assert await text_of(faulty, ASKED) == "fine"
            await until(lambda: not server.running)
            await built.stop()

    in_time(main())


@pytest.mark.model
@pytest.mark.parametrize("engine", REAL)
@pytest.mark.parametrize(
    ("of", "kind", "words"),
    [
        (call("word " * 1500), TooLong, "tokens) exceeds the available context size (1024 tokens)"),
        (call(temperature="hot"), Refused, "type must be number, but is string"),
        (call(({"role": "user"},)), Refused, "content"),
        (call(response_format={"type": "nonsense"}), Refused, "response_format type must be one of"),
    ],
    ids=["too long", "wrong type", "no content", "wrong format"],
)
def test_llama_cpps_own_words_say_what_is_wrong_with_a_request(llama, engine, of, kind, words):
    async def main() -> None:
        async with REAL[engine](llama) as live:
            with pytest.raises(EngineError) as caught:
                await chunks(live.engine, of)
            assert type(caught.value) is kind
            assert words in str(caught.value)
            assert live.engine.health().state == "ready"

    llama.run(main())


def test_a_recording_that_holds_no_such_draw_is_broken():
    async def main() -> None:
        async with replay() as live:
            with pytest.raises(Broken, match="recording 'pool' has no draw 9 of this prompt"):
                await chunks(live.engine, with_fields(ASKED, draw=9))

    in_time(main())
