"""The fakes can be trusted: they count every token, fail where they are told to, and never let anybody wait."""

from __future__ import annotations

import asyncio
import time

import pytest

from tierwise import testing
from tierwise.policies import Majority, Single
from tierwise.spec.budget import Budget
from tierwise.spec.call import Call, Usage
from tierwise.spec.clock import now
from tierwise.spec.errors import Broken, EngineError
from tierwise.testing import (
    FlakyEngine,
    RecordingSink,
    Reply,
    ScriptedEngine,
    ask_user,
    frozen,
    new_trace,
    solve,
    solve_cascade,
    tier,
)
from tierwise.verifiers import Exact


def chunks(engine, prompt=None, draw=0):
    async def main():
        return [chunk async for chunk in engine.stream(Call(prompt=prompt or ask_user("hi"), draw=draw))]

    return frozen(main())


def said(engine, prompt=None) -> str:
    return "".join(str(chunk.delta.get("content", "")) for chunk in chunks(engine, prompt))


def test_the_example_in_its_docstring_runs():
    names = {"solve": solve, "Majority": Majority}
    exec(testing.__doc__.partition("\n\n")[2], names)


def test_replies_go_to_calls_in_order_and_the_last_one_repeats():
    engine = ScriptedEngine("a", "b")
    assert [said(engine) for _ in range(3)] == ["a", "b", "b"]
    assert len(engine.calls) == 3


def test_a_reply_is_said_word_by_word_and_every_word_is_a_token():
    engine = ScriptedEngine("one two  three")
    got = chunks(engine)
    assert [chunk.delta.get("content") for chunk in got if chunk.is_output] == ["one", " two", " ", " three"]
    assert (engine.produced, got[-1].usage) == (Usage(prompt=3, completion=4),) * 2
    assert got[-1].finish == "stop"


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_it_honours_the_clients_bound_under_either_name(name):
    engine = ScriptedEngine("a b c d")
    got = chunks(engine, ask_user("hi", **{name: 2}))
    assert (got[-1].finish, engine.produced.completion) == ("length", 2)


def test_an_error_comes_after_the_words_and_they_are_counted():
    engine = ScriptedEngine(Reply(text="a b", error=Broken("it died")))
    with pytest.raises(Broken):
        chunks(engine)
    assert (engine.produced, engine.running) == (Usage(prompt=3, completion=2), 0)


def test_log_probabilities_are_given_to_those_who_ask():
    engine = ScriptedEngine(Reply(text="a b", logprob=-0.5))
    assert all(chunk.logprobs is None for chunk in chunks(engine))
    given = [
        chunk.logprobs["content"][0]["logprob"]
        for chunk in chunks(engine, ask_user("hi", logprobs=True))
        if chunk.logprobs
    ]
    assert given == [-0.5, -0.5]


def test_closing_a_stream_stops_the_engine_at_once():
    engine = ScriptedEngine("a b c d")

    async def main():
        stream = engine.stream(Call(prompt=ask_user("hi")))
        await anext(stream)
        assert engine.running == 1
        await stream.aclose()
        return engine.running, asyncio.all_tasks() - {asyncio.current_task()}

    assert frozen(main()) == (0, set())
    assert engine.produced.completion == 1


def test_a_flaky_engine_fails_in_the_same_places_for_the_same_seed():
    def days(seed):
        engine, seen = FlakyEngine("a b c", seed=seed), []
        for _ in range(40):
            try:
                seen.append(said(engine))
            except EngineError as error:
                seen.append(f"{type(error).__name__} {engine.produced}")
        return seen

    assert days(1) == days(1) != days(2)
    assert len({one.partition(" ")[0] for one in days(1)}) == 5, "every way to fail, and success"


def test_a_frozen_clock_waits_for_nobody_and_loses_no_second():
    async def main():
        began = now()
        await asyncio.gather(asyncio.sleep(3600), asyncio.sleep(7200))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60):
                await asyncio.Event().wait()
        return now() - began

    began = time.monotonic()
    assert frozen(main()) == 7260
    assert time.monotonic() - began < 5


def test_a_frozen_clock_stands_still_while_there_is_something_to_do():
    async def main():
        for _ in range(1000):
            await asyncio.sleep(0)
        return now()

    assert frozen(main()) == 0


def test_sockets_work_on_a_frozen_clock():
    async def main():
        async def echo(reader, writer):
            writer.write(await reader.readline())
            writer.close()

        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"hello\n")
            line = await reader.readline()
            writer.close()
            await writer.wait_closed()
            return line

    assert frozen(main()) == b"hello\n"


def test_solve_returns_the_answer_with_its_trace():
    shown = RecordingSink()
    answer, trace = solve(Single(), "four", prompt=ask_user("2+2?", temperature=0), budget=Budget(passes=1), sink=shown)
    assert (answer.completion.text, shown.text, trace.passes[0].call.prompt.fields) == (
        "four",
        "four",
        {"temperature": 0},
    )


def test_traced_climbs_tiers():
    climb = [tier(Single(), ScriptedEngine("a"), name="one"), tier(Single(), ScriptedEngine("b"))]
    answer, trace = solve_cascade(climb, ask_user("hi"), verifier=Exact(equals="b"))
    assert (answer.completion.text, [done.tier for done in trace.passes]) == ("b", ["one", "tier"])


def test_a_new_trace_begins_now():
    async def main():
        await asyncio.sleep(3)
        return new_trace().began

    assert frozen(main()) == 3
