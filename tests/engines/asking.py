"""The smallest helpers with which every test of an engine speaks to one."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import uvloop

from tierwise.spec.call import Call, Chunk, Completion, Recorder, Usage
from tierwise.spec.prompt import Message, Prompt

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tierwise.engines.engine import Engine


def in_time(main: Coroutine[Any, Any, Any], seconds: float = 30) -> Any:
    """Run a coroutine in a loop of its own, of the kind that `tierwise serve` runs in; nothing may be left in it."""

    async def checked() -> Any:
        answer = await asyncio.wait_for(main, seconds)
        await asyncio.sleep(0)  # what was cancelled ends with its next turn
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert not others, f"left behind: {others}"
        return answer

    return uvloop.run(checked())


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
    """A pass that has just said its first word, to be closed by the test."""
    stream = engine.stream(call)
    async for chunk in stream:
        if chunk.is_output:
            return stream
    raise AssertionError("it said nothing")


async def until(condition: Callable[[], object], seconds: float = 5.0) -> float:
    """Seconds until the condition came true."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while not condition():
        assert loop.time() - began < seconds, "it never came true"
        await asyncio.sleep(0.001)
    return loop.time() - began
