"""The contract of engines, on any backend: one test per requirement."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import pytest

from tierwise.engines.engine import Engine
from tierwise.spec.call import Call, Chunk, Completion, Recorder, Usage
from tierwise.spec.prompt import Message, Prompt


def call(
    text: str | tuple[Message, ...] = "Say hello.", *, draw: int = 0, seed: int = 1, role: str = "draft", **fields: Any
) -> Call:
    messages: tuple[Message, ...] = ({"role": "user", "content": text},) if isinstance(text, str) else text
    return Call(prompt=Prompt(messages=messages, fields=fields, seed=seed), draw=draw, role=role)


async def chunks(engine: Engine, call: Call) -> list[Chunk]:
    async with aclosing(engine.stream(call)) as stream:
        return [chunk async for chunk in stream]


async def completed(engine: Engine, call: Call) -> tuple[Completion, Usage]:
    recorder = Recorder()
    for chunk in await chunks(engine, call):
        recorder.add(chunk)
    assert recorder.finish is not None
    return recorder.completion(), recorder.usage


async def text_of(engine: Engine, call: Call) -> str:
    return (await completed(engine, call))[0].text


async def begun(engine: Engine, call: Call) -> Any:
    """A stream that has produced its first output; the test must close it."""
    stream = engine.stream(call)
    async for chunk in stream:
        if chunk.is_output:
            return stream
    raise AssertionError("the stream ended without output")


async def until(condition: Callable[[], object], seconds: float = 5.0) -> float:
    """Wait for a condition; returns the seconds until it was true."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while not condition():
        assert loop.time() - began < seconds, f"the condition was not true within {seconds} s"
        await asyncio.sleep(0.001)
    return loop.time() - began


ASKED = call("Count to twelve in words.", temperature=0, max_tokens=30)
DRAWN = call("Tell me something.", temperature=1.0, max_tokens=12)
TALK = call(
    (
        {"role": "system", "content": "You are brief.", "name": "boss"},
        {"role": "user", "content": [{"type": "text", "text": "Who"}, {"type": "text", "text": " are you?"}]},
        {"role": "assistant", "content": "A fox."},
        {"role": "user", "content": "Say it again."},
    ),
    max_tokens=5,
)


def with_fields(of: Call, draw: int = 0, **fields: Any) -> Call:
    return replace(of, draw=draw, prompt=of.prompt.setting(**fields))


@dataclass(kw_only=True)
class EngineUnderTest:
    """A running engine, with access to its backend's own counters."""

    engine: Engine
    running: Callable[[], Awaitable[int]]
    """Returns the number of passes that the backend is running."""
    counted: Callable[[], Awaitable[Usage]] | None = None
    """Returns the backend's own token counts since its start; None if it has none."""
    stop: str = "four"
    """A string in the middle of the answer to ASKED."""
    abort_seconds: float = 0.3
    """Maximum seconds from the abort of a pass to the end of the backend's work on it."""
    skips: dict[str, str] = field(default_factory=dict)
    """Features that it does not support, with the reason: draws, running count, stop."""


Subject: TypeAlias = Callable[[Callable[[EngineUnderTest], Awaitable[None]]], None]
"""Starts an engine, runs one test with it, and stops it."""


def needs(live: EngineUnderTest, what: str) -> None:
    if what in live.skips:
        pytest.skip(live.skips[what])


async def _the_last_usage_is_the_engines_own_count(live: EngineUnderTest) -> None:
    before = await live.counted() if live.counted else Usage()
    said = await chunks(live.engine, with_fields(ASKED, max_tokens=8))
    last = [chunk.usage for chunk in said if chunk.usage][-1]
    assert last.exact
    assert last.prompt > 0
    assert last.completion == len([chunk for chunk in said if chunk.is_output]) == 8
    if live.counted:
        assert before + last == await live.counted()


async def _usage_only_grows_while_a_pass_runs(live: EngineUnderTest) -> None:
    needs(live, "running count")
    counts = [chunk.usage for chunk in await chunks(live.engine, ASKED) if chunk.usage]
    assert [usage.completion for usage in counts] == sorted(usage.completion for usage in counts)
    assert [usage.prompt for usage in counts] == sorted(usage.prompt for usage in counts)
    assert counts[-1].completion > counts[1].completion


async def _the_same_seed_gives_the_same_answer(live: EngineUnderTest) -> None:
    assert await text_of(live.engine, DRAWN) == await text_of(live.engine, DRAWN)


async def _different_draws_differ(live: EngineUnderTest) -> None:
    needs(live, "draws")
    texts = [await text_of(live.engine, with_fields(DRAWN, draw=draw)) for draw in range(4)]
    assert len(set(texts)) == 4


async def _a_token_limit_is_kept_and_named_as_the_reason(live: EngineUnderTest) -> None:
    whole = await text_of(live.engine, ASKED)
    said, usage = await completed(live.engine, with_fields(ASKED, max_tokens=3))
    assert (said.finish, usage.completion) == ("length", 3)
    assert whole.startswith(said.text)
    assert said.text != whole


async def _a_stop_ends_the_answer_before_it(live: EngineUnderTest) -> None:
    needs(live, "stop")
    whole = await text_of(live.engine, ASKED)
    said, _ = await completed(live.engine, with_fields(ASKED, stop=[live.stop]))
    assert (said.finish, said.text) == ("stop", whole.partition(live.stop)[0])


async def _log_probabilities_come_on_request_one_per_token(live: EngineUnderTest) -> None:
    said, usage = await completed(live.engine, with_fields(ASKED, logprobs=True, max_tokens=8))
    assert len(said.logprobs) == usage.completion == 8
    assert said.mean_logprob is not None
    assert said.mean_logprob <= 0
    assert "".join(str(token["token"]) for token in said.logprobs) == said.text
    assert (await completed(live.engine, ASKED))[0].logprobs == ()


async def _an_unknown_field_does_not_fail(live: EngineUnderTest) -> None:
    assert await text_of(live.engine, with_fields(ASKED, a_field_of_next_year=[1]))


async def _a_conversation_of_several_turns_and_parts_is_answered(live: EngineUnderTest) -> None:
    said, usage = await completed(live.engine, TALK)
    assert said.text
    assert usage.completion <= 5


async def idle(live: EngineUnderTest) -> float:
    """Wait until the backend runs no pass; returns the seconds."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while await live.running():
        assert loop.time() - began < 5
        await asyncio.sleep(0.005)
    return loop.time() - began


async def _closing_a_pass_aborts_it_in_the_backend_and_the_next_one_works(live: EngineUnderTest) -> None:
    waits = []
    for _ in range(5):
        stream = await begun(live.engine, ASKED)
        await stream.aclose()
        waits.append(await idle(live))
    assert min(waits) < live.abort_seconds
    assert await text_of(live.engine, ASKED)


async def _cancelling_the_reader_of_a_pass_aborts_it_in_the_backend(live: EngineUnderTest) -> None:
    async def read(started: asyncio.Event) -> None:
        async with aclosing(live.engine.stream(ASKED)) as stream:
            async for chunk in stream:
                if chunk.is_output:
                    started.set()

    waits = []
    for _ in range(5):
        started = asyncio.Event()
        task = asyncio.create_task(read(started))
        await started.wait()
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
        waits.append(await idle(live))
    assert min(waits) < live.abort_seconds
    assert await text_of(live.engine, ASKED)


async def _an_aborted_pass_is_counted_until_its_abort(live: EngineUnderTest) -> None:
    needs(live, "running count")
    stream = live.engine.stream(ASKED)
    reported, outputs = Usage(), 0
    async for chunk in stream:
        reported, outputs = chunk.usage or reported, outputs + chunk.is_output
        if outputs == 3:
            break
    await stream.aclose()
    assert (reported.completion, reported.prompt > 0, reported.exact) == (3, True, True)


async def _many_passes_run_side_by_side_and_are_counted_together(live: EngineUnderTest) -> None:
    await idle(live)
    before = await live.counted() if live.counted else Usage()
    done = await asyncio.gather(*(completed(live.engine, with_fields(ASKED, max_tokens=6)) for _ in range(12)))
    usage = sum((usage for _, usage in done), Usage())
    assert usage.completion == 72
    assert await live.running() == 0
    if live.counted:
        assert before + usage == await live.counted()


async def _a_serving_engine_is_ready(live: EngineUnderTest) -> None:
    await completed(live.engine, with_fields(ASKED, max_tokens=1))
    assert live.engine.health().state == "ready"


class EngineContract:
    """Subclass it and define the fixture `subject`. Parametrize the fixture to test several engines."""

    @pytest.fixture
    def subject(self) -> Subject:
        """A function that runs a test with one engine.

        Raises:
            NotImplementedError: the subclass does not define it.
        """
        raise NotImplementedError("define the fixture `subject`, which runs a test with one of your engines")

    def test_the_last_usage_is_the_engines_own_count(self, subject: Subject) -> None:
        subject(_the_last_usage_is_the_engines_own_count)

    def test_usage_only_grows_while_a_pass_runs(self, subject: Subject) -> None:
        subject(_usage_only_grows_while_a_pass_runs)

    def test_the_same_seed_gives_the_same_answer(self, subject: Subject) -> None:
        subject(_the_same_seed_gives_the_same_answer)

    def test_different_draws_differ(self, subject: Subject) -> None:
        subject(_different_draws_differ)

    def test_a_token_limit_is_kept_and_named_as_the_reason(self, subject: Subject) -> None:
        subject(_a_token_limit_is_kept_and_named_as_the_reason)

    def test_a_stop_ends_the_answer_before_it(self, subject: Subject) -> None:
        subject(_a_stop_ends_the_answer_before_it)

    def test_log_probabilities_come_on_request_one_per_token(self, subject: Subject) -> None:
        subject(_log_probabilities_come_on_request_one_per_token)

    def test_an_unknown_field_does_not_fail(self, subject: Subject) -> None:
        subject(_an_unknown_field_does_not_fail)

    def test_a_conversation_of_several_turns_and_parts_is_answered(self, subject: Subject) -> None:
        subject(_a_conversation_of_several_turns_and_parts_is_answered)

    def test_closing_a_pass_aborts_it_in_the_backend_and_the_next_one_works(self, subject: Subject) -> None:
        subject(_closing_a_pass_aborts_it_in_the_backend_and_the_next_one_works)

    def test_cancelling_the_reader_of_a_pass_aborts_it_in_the_backend(self, subject: Subject) -> None:
        subject(_cancelling_the_reader_of_a_pass_aborts_it_in_the_backend)

    def test_an_aborted_pass_is_counted_until_its_abort(self, subject: Subject) -> None:
        subject(_an_aborted_pass_is_counted_until_its_abort)

    def test_many_passes_run_side_by_side_and_are_counted_together(self, subject: Subject) -> None:
        subject(_many_passes_run_side_by_side_and_are_counted_together)

    def test_a_serving_engine_is_ready(self, subject: Subject) -> None:
        subject(_a_serving_engine_is_ready)
