"""A connection that is used again brings nothing of the response before, and silence has a limit."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing

import pytest

from tierwise.engines.openai.client import ChatClient
from tierwise.spec.call import Call
from tierwise.spec.errors import TimedOut
from tierwise.spec.prompt import Prompt

SILENT_SECONDS = 0.4
CALL = Call(prompt=Prompt(messages=({"role": "user", "content": "x"},)))
END = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


def events(kilobytes: int) -> bytes:
    return b'data: {"choices":[{"delta":{"content":"%b"}}]}\n\n' % (b"x" * 1000) * kilobytes


class Bursts:
    """Answers every request in bursts of so many kilobytes, the last with the end of the response."""

    def __init__(self, *kilobytes: int) -> None:
        self.kilobytes: Sequence[int] = kilobytes
        self.connections = 0
        self.is_silent = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
                if self.is_silent:
                    await reader.read()  # until the client leaves
                    break
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
                )
                *first, last = self.kilobytes
                for burst in first:
                    writer.write(b"%x\r\n%b\r\n" % (len(events(burst)), events(burst)))
                    await writer.drain()
                    await asyncio.sleep(0.05)
                ending = events(last) + END
                writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(ending), ending))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            await writer.wait_closed()


async def read(client: ChatClient, url: str, *, pause: float = 0.0) -> int:
    """The number of chunks of a pass whose reader pauses after the first."""
    seen = 0
    async with aclosing(client.stream(url, CALL)) as stream:
        async for _ in stream:
            seen += 1
            if seen == 1:
                await asyncio.sleep(pause)
    return seen


# The last but one: its end arrives while aiohttp does not read, because 512 kB wait; the last: it is paused for long.
@pytest.mark.parametrize("kilobytes", [(1, 1), (1, 90, 60), (1, 400, 180), (1, 500, 20)], ids=str)
@pytest.mark.parametrize("pause", [0.3, 1.0])
def test_a_response_that_was_read_slowly_does_not_fail_the_next_request(kilobytes, pause):
    async def main() -> None:
        bursts = Bursts(*kilobytes)
        server = await asyncio.start_server(bursts.serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        client = ChatClient("far", "large", silent_seconds=SILENT_SECONDS)
        try:
            assert await read(client, url, pause=pause) == sum(kilobytes) + 1
            await asyncio.sleep(SILENT_SECONDS + 0.2)
            assert await read(client, url) == sum(kilobytes) + 1
            assert bursts.connections == 1, "the connection is used again"
            bursts.is_silent = True
            with pytest.raises(TimedOut):
                await read(client, url)
        finally:
            await client.close()
            server.close()
            await asyncio.sleep(0.05)

    asyncio.run(main())


@pytest.mark.parametrize("pause", [0.0, 0.2, 1.0], ids="reader pauses {} s".format)
def test_silence_is_counted_from_the_moment_at_which_the_reader_waits(pause):
    async def main() -> float:
        quiet = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + events(1))
            await quiet.wait()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        client, loop = ChatClient("far", "large", silent_seconds=SILENT_SECONDS), asyncio.get_running_loop()
        start = loop.time()
        try:
            with pytest.raises(TimedOut, match=r"nothing for 0\.4 s"):
                await read(client, url, pause=pause)
            return loop.time() - start - pause
        finally:
            quiet.set()
            await client.close()
            server.close()
            await asyncio.sleep(0.05)

    assert asyncio.run(main()) + 0.01 >= SILENT_SECONDS


@pytest.mark.parametrize(
    "head", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{"], ids=repr
)
def test_a_whole_answer_that_stays_away_ends_the_pass(head):
    async def main() -> None:
        quiet = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(head)
            await quiet.wait()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        client = ChatClient("far", "large", silent_seconds=SILENT_SECONDS)
        try:
            with pytest.raises(TimedOut, match=r"stopped sending: it sent nothing for 0\.4 s"):
                await client.whole(url, CALL)
        finally:
            quiet.set()
            await client.close()
            server.close()
            await asyncio.sleep(0.05)

    asyncio.run(main())
