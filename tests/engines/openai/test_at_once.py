"""A pass whose chunks nobody looks at before its end is read at once, and is counted and fails like any other."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import pytest

from engines.asking import counted_reads
from tierwise.engines import http1
from tierwise.engines.engine import one_by_one
from tierwise.engines.openai.client import ChatClient
from tierwise.engines.openai.engine import HttpEngine
from tierwise.policies import Single
from tierwise.run import Action
from tierwise.spec.call import Call, Chunk, Completion, Recorder, Usage
from tierwise.spec.errors import Broken, EngineError, Garbled, Overloaded, TimedOut
from tierwise.testing.fakes import ask_user, new_trace, tier
from tierwise.testing.server import FakeServer, HttpReply

Blocks = list[Sequence[Chunk]]
CALL = Call(prompt=ask_user("a story"))
WORDS = " ".join(["wörd", "😀", "x"] * 8)
TEXT = b'{"id":"1","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"content":"a"}%b}]}'
A, STOP = TEXT % b"", TEXT % b',"finish_reason":"stop"'


def event(data: bytes) -> bytes:
    return b"data: %b\n\n" % data


async def read(server: FakeServer, *, at_once: bool, silent_seconds: float = 5.0) -> tuple[Blocks, float]:
    """The blocks of a pass, and the seconds that it took."""
    client, loop = ChatClient("far", "m", silent_seconds=silent_seconds), asyncio.get_running_loop()
    began = loop.time()
    try:
        return [list(chunks) async for chunks in client.blocks(server.url, CALL, at_once=at_once)], loop.time() - began
    finally:
        await client.close()


def recorded(blocks: Blocks) -> tuple[Completion, Usage]:
    recorder = Recorder()
    for chunks in blocks:
        recorder.add_all(chunks)
    return recorder.completion(), recorder.usage


def run(*replies: HttpReply, **options: float) -> list[tuple[Blocks, float]]:
    """What is read of each reply."""

    async def main() -> list[tuple[Blocks, float]]:
        async with FakeServer(*replies) as server:
            return [await read(server, at_once=True, **options) for _ in replies]

    return asyncio.run(main())


@pytest.mark.parametrize(
    "reply",
    [
        HttpReply(text=WORDS, step=0.001),
        HttpReply(text=WORDS, usage=False),
        HttpReply(text=WORDS, block=7),
        HttpReply(text=WORDS, line_end="\r\n", comment="still here"),
        HttpReply(deltas=[{"content": "a"}, {"reasoning_content": "b"}, {"content": "c"}, {"content": "d"}]),
        HttpReply(deltas=[{"tool_calls": [{"index": 0, "id": "1", "function": {"name": "f", "arguments": "{}"}}]}]),
        HttpReply(
            raw=[b"".join(map(event, (A, A.replace(b'"a"', rb'"\ud83d"'), A.replace(b'"a"', rb'"\ude00"'), STOP)))]
        ),
    ],
    ids=["paced", "no usage", "small blocks", "comments", "thinking", "tool", "halves"],
)
def test_it_says_and_counts_the_same_as_chunk_by_chunk(reply):
    async def main() -> None:
        async with FakeServer(reply) as server:
            (by_chunk, _), (at_once, _) = [await read(server, at_once=one) for one in (False, True)]
            assert recorded(by_chunk) == recorded(at_once)
            assert recorded(at_once)[0].finish in ("stop", "tool_calls")

    asyncio.run(main())


def test_all_that_comes_after_the_first_output_is_one_block_of_few_chunks():
    ((blocks, _),) = run(HttpReply(text=WORDS, step=0.002))
    output = [chunks for chunks in blocks if any(chunk.is_output for chunk in chunks)]
    assert len(output) == 2
    assert sum(chunk.tokens for chunk in output[1] if chunk.is_output) == 23


def test_long_answers_are_read_in_parts():
    ((blocks, _),) = run(HttpReply(text=" ".join(["a" * 30_000] * 20), step=0.002))
    assert len(blocks) > 6
    assert len(recorded(blocks)[0].text) == 20 * 30_001 - 1


@pytest.mark.parametrize(
    ("after", "raised"),
    [
        (b'{"error":{"message":"out of memory","code":500}}', Broken),
        (b'{"error":{"message":"slow down","code":429}}', Overloaded),
        (b'{"choices":[{"delta":7}]}', Garbled),
    ],
    ids=["broke", "overloaded", "garbled"],
)
def test_an_error_is_noticed_although_the_response_does_not_end(after, raised):
    async def main() -> None:
        raw = [event(A), event(A), event(A), event(after)]
        async with FakeServer(HttpReply(raw=raw, stays_open=True)) as server:
            client, said = ChatClient("far", "m"), []

            async def listen() -> None:
                async for chunks in client.blocks(server.url, CALL, at_once=True):
                    said.extend(chunks)

            with pytest.raises(EngineError) as caught:
                await listen()
            await client.close()
            assert isinstance(caught.value, raised)
            assert sum(chunk.tokens for chunk in said) == 3, "what came before the error is counted"

    asyncio.run(main())


def test_a_response_that_never_ends_is_left_after_its_finish_reason():
    ((blocks, seconds),) = run(HttpReply(raw=[event(A), event(A), event(STOP)], stays_open=True))
    assert recorded(blocks)[0].finish == "stop"
    assert seconds < 2.5


def test_silence_is_counted_while_it_is_gathered():
    async def main() -> None:
        async with FakeServer(HttpReply(text=WORDS, silent_after=4)) as server:
            with pytest.raises(TimedOut):
                await read(server, at_once=True, silent_seconds=0.6)

    asyncio.run(main())


def test_a_slow_stream_is_not_silent():
    ((blocks, seconds),) = run(HttpReply(text="a b c d e f g h", step=0.2), silent_seconds=0.5)
    assert recorded(blocks)[0].text == "a b c d e f g h"
    assert seconds > 1.5


@pytest.mark.parametrize("ends", ["abort", "deadline"])
def test_an_aborted_pass_is_counted(ends):
    """Its last tokens wait for the reader when it is aborted."""

    async def main() -> None:
        async with FakeServer(HttpReply(text=WORDS, step=0.002, silent_after=16)) as server:
            engine = HttpEngine(server.url, ChatClient("far", "m"))
            trace = new_trace()
            asking = asyncio.create_task(Action(tier(Single(), engine), trace).solve(ask_user("a story")))
            await asyncio.sleep(0.12)
            if ends == "abort":
                asking.cancel()
            with pytest.raises((asyncio.CancelledError, TimeoutError)):
                await asyncio.wait_for(asking, 0.05)
            (done,) = trace.passes
            assert (done.outcome, done.usage.completion, done.usage.exact) == (
                "aborted",
                server.produced.completion,
                False,
            )
            assert done.completion.text.split() == WORDS.split()[: server.produced.completion]
            await engine.stop()

    asyncio.run(main())


def test_a_reader_of_single_chunks_closes_what_he_reads():
    closed = []

    async def blocks():
        try:
            yield [Chunk(delta={"content": "a"}), Chunk(delta={"content": "b"})]
        finally:
            closed.append(True)

    async def main() -> None:
        chunks = one_by_one(blocks())
        assert (await anext(chunks)).delta == {"content": "a"}
        await chunks.aclose()
        assert closed

    asyncio.run(main())


# ── answers that take long ──────────────────────────────────────────────
async def read_slowly(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Blocks], list[float], int]:
    """What two passes read, the seconds of each, and how often the second was told of something that came."""
    monkeypatch.setattr(http1, "SLOW_SECONDS", 0.0)
    reads = counted_reads(monkeypatch)
    client, loop = ChatClient("far", "m", silent_seconds=2.0), asyncio.get_running_loop()
    passes, seconds = list[Blocks](), list[float]()
    for _ in range(2):
        reads.clear()
        began = loop.time()
        passes.append([list(chunks) async for chunks in client.blocks(server.url, CALL, at_once=True)])
        seconds.append(loop.time() - began)
    await client.close()
    return passes, seconds, len(reads)


def test_after_a_slow_answer_the_end_of_the_next_is_waited_for_and_not_each_event(monkeypatch):
    async def main() -> None:
        reply = HttpReply(text=WORDS, step=0.02)
        async with FakeServer(reply, reply) as server:
            passes, (_, seconds), reads = await read_slowly(server, monkeypatch)
            assert [request.headers.get("connection") for request in server.requests] == [None, "close"]
            assert recorded(passes[0]) == recorded(passes[1])
            assert reads <= seconds / http1.GATHER_SECONDS + 4
            assert seconds < 0.02 * len(WORDS.split()) + 3.0

    asyncio.run(main())


def test_a_server_that_does_not_close_as_it_said_costs_a_moment(monkeypatch):
    async def main() -> None:
        reply = HttpReply(raw=[event(A), event(A), event(STOP), b"data: [DONE]\n\n"], headers={"Connection": "close"})
        async with FakeServer(HttpReply(text="a b"), replace(reply, stays_open=True)) as server:
            passes, (_, seconds), _ = await read_slowly(server, monkeypatch)
            assert recorded(passes[1])[0].finish == "stop"
            assert seconds < 2.5

    asyncio.run(main())


USAGE = b'{"object":"chat.completion.chunk","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":3}}'


async def stay_open(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say `Connection: close` if asked to, and then do not close. The counts come late."""
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        while asked := (await reader.readuntil(b"\r\n\r\n")).lower():
            await reader.readexactly(int(asked.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
            is_last = b"connection: close" in asked
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n")
            writer.write(b"connection: close\r\n\r\n" if is_last else b"\r\n")
            for data in (A, A, STOP, USAGE, b"[DONE]"):
                if data == USAGE and is_last:
                    await asyncio.sleep(1.5 * http1.GATHER_SECONDS)
                writer.write(b"%x\r\n%b\r\n" % (len(event(data)), event(data)))
                await asyncio.sleep(0.01)
            if not is_last:
                writer.write(b"0\r\n\r\n")
    writer.close()


def test_counts_that_come_late_are_read_although_the_server_does_not_close_as_it_said(monkeypatch):
    monkeypatch.setattr(http1, "SLOW_SECONDS", 0.0)

    async def main() -> None:
        client, loop = ChatClient("far", "m", silent_seconds=5.0), asyncio.get_running_loop()
        async with await asyncio.start_server(stay_open, "127.0.0.1", 0) as listening:
            url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
            for _ in range(2):
                began = loop.time()
                blocks = [list(chunks) async for chunks in client.blocks(url, CALL, at_once=True)]
                completion, usage = recorded(blocks)
                assert (completion.finish, usage) == ("stop", Usage(prompt=3, completion=3))
            assert loop.time() - began < 1.0, "less than the wait for counts that do not come"
            await client.close()
            await asyncio.sleep(0.02)  # for the server to notice

    asyncio.run(main())


def test_an_aborted_pass_is_counted_also_while_only_its_end_is_waited_for(monkeypatch):
    monkeypatch.setattr(http1, "SLOW_SECONDS", 0.0)

    async def main() -> None:
        slow = HttpReply(text=WORDS, step=0.002, silent_after=16)
        async with FakeServer(HttpReply(text="a b"), slow) as server:
            engine = HttpEngine(server.url, ChatClient("far", "m"))
            await Action(tier(Single(), engine), new_trace()).solve(ask_user("a story"))
            before, trace = server.produced.completion, new_trace()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(Action(tier(Single(), engine), trace).solve(ask_user("a story")), 0.12)
            (done,) = trace.passes
            assert server.requests[-1].headers["connection"] == "close"
            assert (done.outcome, done.usage.completion) == ("aborted", server.produced.completion - before)
            assert done.completion.text.split() == WORDS.split()[: server.produced.completion - before]
            await engine.stop()

    asyncio.run(main())


def test_a_server_whose_answers_are_quick_again_keeps_its_connections(monkeypatch):
    async def main() -> list[str | None]:
        async with FakeServer(HttpReply(text="a b c")) as server:
            client = ChatClient("far", "m")
            for number in range(12):
                monkeypatch.setattr(http1, "SLOW_SECONDS", 0.0 if number == 1 else 60.0)
                async for _ in client.blocks(server.url, CALL, at_once=True):
                    pass
            await client.close()
            return [request.headers.get("connection") for request in server.requests]

    assert asyncio.run(main()) == [None] * 2 + ["close"] * 8 + [None] * 2
