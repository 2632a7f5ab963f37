"""The HTTP client: connections are reused, lost ones are errors, and times are those of the socket."""

from __future__ import annotations

import asyncio
import time

import pytest
import uvloop

from tierwise.bench.calibrate import calibrate
from tierwise.bench.connection import Connections
from tierwise.bench.lag import LagMeter


class Sink:
    def __init__(self):
        self.blocks, self.reads = [], []
        self.status, self.headers = 0, {}

    def on_head(self, status, headers, moment):
        self.status, self.headers = status, dict(headers)

    def on_read(self, moment):
        self.reads.append((moment, len(self.blocks)))

    @property
    def body(self):
        return b"".join(self.blocks)


def talk(*answers, times=1, close=False, pause=0.0, loop=asyncio.run):
    """Ask a server so often that gives these bytes, one piece at a time; what came, and how many connections it saw."""
    connections = []

    async def serve(reader, writer):
        connections.append(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
                for piece in answers:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0.01)
                if close:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def main():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        sinks = []
        async with server, Connections(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as there:
            for _ in range(times):
                sinks.append(Sink())
                await there.post("/ask", b"{}", sinks[-1])
                await asyncio.sleep(pause)
        await asyncio.sleep(0.02)
        return sinks

    return loop(main()), len(connections)


WHOLE = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nX-Kind: good\r\n\r\nhi"


@pytest.mark.parametrize("loop", [asyncio.run, uvloop.run])
def test_a_connection_is_reused(loop):
    (first, second), connections = talk(WHOLE, times=2, loop=loop)
    assert (first.body, second.body, connections) == (b"hi", b"hi", 1)
    assert first.headers["x-kind"] == "good"


@pytest.mark.parametrize("pause", [0.0, 0.05], ids=["unnoticed", "noticed"])
def test_a_connection_closed_while_idle_is_replaced(pause):
    (first, second), connections = talk(WHOLE, times=2, close=True, pause=pause)
    assert (first.body, second.body, connections) == (b"hi", b"hi", 2)


def test_times_are_those_of_the_socket_reads():
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    (sink,), _ = talk(head, b"1\r\na\r\n", b"1\r\nb\r\n", b"0\r\n\r\n")
    assert sink.blocks == [b"a", b"b"]
    by_count = {count: moment for moment, count in reversed(sink.reads)}
    assert by_count[2] - by_count[1] == pytest.approx(0.01, abs=0.009)


def test_a_response_without_a_length_ends_with_its_connection():
    (sink,), _ = talk(b"HTTP/1.0 200 OK\r\n\r\nhi", close=True)
    assert sink.body == b"hi"


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi", b"", b"SSH-2.0-OpenSSH\r\n"],
    ids=["half", "none", "ssh"],
)
def test_an_incomplete_response_is_an_error(answer):
    with pytest.raises(ConnectionError):
        talk(answer, close=True)


def test_the_runner_measures_its_own_error():
    async def main():
        with LagMeter() as meter:
            errors = await calibrate()
            await asyncio.sleep(0.1)
            time.sleep(0.2)  # noqa: ASYNC251 - on purpose
            await asyncio.sleep(0.05)
        return errors, meter.durations

    errors, lag = uvloop.run(main())
    assert errors.count == 56
    assert 0 <= errors.quantile(0.5) < 0.02
    assert lag.count >= 5
    assert 0.1 < lag.longest <= 0.25  # what blocked the loop shows
