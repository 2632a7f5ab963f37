"""Our own client of HTTP/1.1, against servers that send whatever bytes they like."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from contextlib import asynccontextmanager

import aiohttp
import pytest

from tierwise.engines.http1 import HttpPool, head_lines, place_of
from tierwise.engines.http1_connection import InvalidHttp

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"


class Server:
    """Sends the same bytes for every request, in parts, and then closes the connection or does not."""

    def __init__(self, *parts: bytes, closes: bool = False) -> None:
        self.parts, self.closes = parts, closes
        self.connections = 0
        self.left = asyncio.Event()
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                self.bodies.append(await reader.readexactly(size))
                for part in self.parts:
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(0.005)
                if self.closes:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            self.left.set()
        finally:
            writer.close()


@asynccontextmanager
async def asking(server: Server, *, silent_seconds: float = 2.0, host: str = "127.0.0.1"):
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    place = place_of(f"http://{host}:{listening.sockets[0].getsockname()[1]}/v1/chat")
    pool = HttpPool()

    async def post(*body: bytes):
        return await pool.post(place, head_lines([("A", "b")]), body, silent_seconds=silent_seconds)

    try:
        yield post
    finally:
        pool.close()
        listening.close()
        await asyncio.sleep(0.02)


async def bodies(server: Server, times: int = 2, **how):
    """What comes of requests one after the other, and the connections that they took."""
    async with asking(server, **how) as post:
        found = []
        for _ in range(times):
            async with await post(b"{", b"}") as response:
                found.append((response.status, await response.read()))
        return found, server.connections


@pytest.mark.parametrize(
    ("parts", "body", "connections"),
    [
        ([OK + b"content-length: 2\r\n\r\nhi"], b"hi", 1),
        ([b"H", b"TTP/1.1 200 O", b"K\r\ncontent-le", b"ngth: 2\r\n\r\n", b"h", b"i"], b"hi", 1),
        ([CHUNKED + b"1\r\nh\r\n1\r\ni\r\n0\r\n\r\n"], b"hi", 1),
        ([CHUNKED, b"2;why=not\r\nh", b"i\r\n", b"0\r\nTrailer: x\r\n\r\n"], b"hi", 1),
        ([b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early\r\nx: y\r\n\r\n", CHUNKED + b"0\r\n\r\n"], b"", 1),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], b"", 1),
        ([OK + b"content-length: 2\r\n\r\nhimore"], b"hi", 2),
        ([OK + b"content-length: 2\r\nconnection: close\r\n\r\nhi"], b"hi", 2),
        ([b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi"], b"hi", 2),
        ([OK + b"content-length: 2\n\nhi"], b"hi", 1),
    ],
    ids=["length", "split", "chunked", "trailer", "1xx", "204", "more", "close", "1.0", "line feeds"],
)
def test_a_response_is_read_to_its_end_and_its_connection_used_again_where_it_may_be(parts, body, connections):
    found, made = asyncio.run(bodies(Server(*parts)))
    assert [text for _, text in found] == [body, body]
    assert made == connections


def test_a_body_may_end_with_its_connection():
    found, made = asyncio.run(bodies(Server(OK + b"\r\n", b"hi", b" there", closes=True)))
    assert (found, made) == ([(200, b"hi there")] * 2, 2)


def test_the_request_is_whole():
    server = Server(OK + b"content-length: 0\r\n\r\n")
    asyncio.run(bodies(server, times=1))
    assert server.heads[0].startswith(b"POST /v1/chat HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"\r\nA: b\r\n" in server.heads[0]
    assert server.bodies == [b"{}"]


def test_a_host_is_found_by_its_name():
    found, _ = asyncio.run(bodies(Server(OK + b"content-length: 2\r\n\r\nhi"), times=1, host="localhost"))
    assert found == [(200, b"hi")]


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "raw deflate"])
def test_a_compression_that_nobody_asked_for_is_undone_in_bounded_blocks(encoding):
    text = b"word " * 1_000_000
    raw = zlib.compressobj(wbits=-15)
    packed = {
        "gzip": gzip.compress(text, mtime=0),
        "deflate": zlib.compress(text),
        "raw deflate": raw.compress(text) + raw.flush(),
    }[encoding]
    head = OK + b"content-encoding: %b\r\ncontent-length: %d\r\n\r\n" % (encoding.split()[-1].encode(), len(packed))

    async def run():
        async with asking(Server(head + packed)) as post, await post(b"") as response:
            blocks = []
            while block := await response.next():
                blocks.append(block)
            return blocks

    blocks = asyncio.run(run())
    assert b"".join(blocks) == text
    assert max(map(len, blocks)) <= 256 * 1024


@pytest.mark.parametrize(
    ("parts", "closes", "error"),
    [
        ([b"SSH-2.0\r\n"], True, InvalidHttp),
        ([OK + b"x: " + b"y" * 70_000], False, InvalidHttp),
        ([OK + b"x: y\r\n" * 20_000], False, InvalidHttp),
        ([b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"], False, aiohttp.ClientError),
        ([OK + b"content-encoding: br\r\ncontent-length: 3\r\n\r\nhi"], False, InvalidHttp),
        ([OK + b"content-length: 3\r\n\r\nhi"], True, aiohttp.ClientPayloadError),
        ([CHUNKED + b"3\r\nhi"], True, aiohttp.ClientPayloadError),
        ([CHUNKED + b"zz\r\nhi"], False, InvalidHttp),
        ([CHUNKED + b"2;", b"x" * 70_000], False, InvalidHttp),
        ([OK + b"content-encoding: gzip\r\ncontent-length: 3\r\n\r\nhi"], False, aiohttp.ClientPayloadError),
        ([b""], True, aiohttp.ServerDisconnectedError),
        ([b"HTTP/1.1 200"], True, aiohttp.ServerDisconnectedError),
        ([b""], False, aiohttp.ServerTimeoutError),
        ([OK + b"content-length: 3\r\n\r\nhi"], False, aiohttp.ServerTimeoutError),
    ],
)
def test_a_response_that_is_none_is_an_error_and_closes_its_connection(parts, closes, error):
    server = Server(*parts, closes=closes)

    async def run():
        async with asking(server, silent_seconds=0.3) as post:
            with pytest.raises(error):
                async with await post(b"{}") as response:
                    await response.read()
            if not closes:
                async with asyncio.timeout(2):
                    await server.left.wait()

    asyncio.run(run())
    assert server.connections == 1


def test_what_came_before_the_connection_broke_is_read():
    async def run():
        async with asking(Server(CHUNKED + b"2\r\nhi\r\n", closes=True)) as post, await post(b"") as response:
            await asyncio.sleep(0.05)
            assert await response.next() == b"hi"
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.next()

    asyncio.run(run())


def test_a_body_that_nobody_reads_is_not_held():
    async def run():
        server = Server(OK + b"content-length: 100000000\r\n\r\n", *[b"x" * 1_000_000] * 100)
        async with asking(server) as post, await post(b"") as response:
            await asyncio.sleep(0.3)
            return len(await response.next())

    assert asyncio.run(run()) < 2_000_000


def test_a_header_cannot_bring_another():
    with pytest.raises(ValueError, match="line end"):
        head_lines([("a", "b\r\nc: d")])


@pytest.mark.parametrize(
    "url", ["https://x/v1", "http://user:word@x/v1", "http://x/a b", "http://x/#a", "http://x:99999999/", "http:///v1"]
)
def test_other_urls_are_left_to_aiohttp(url):
    assert place_of(url) is None


def test_a_block_that_was_declined_is_the_last_until_the_reader_is_back():
    async def main() -> None:
        parts = CHUNKED + b"1\r\na\r\n", b"1\r\nb\r\n", b"1\r\nc\r\n0\r\n\r\n"
        async with asking(Server(*parts)) as post, await post(b"{}") as response:
            taken: list[bytes] = []

            def take(block: bytes) -> bool:
                taken.append(block)
                more = response._connection.data_received
                asyncio.get_running_loop().call_soon(more, b"1\r\nx\r\n")  # before the reader is back
                return False

            await response.each(take)
            await asyncio.sleep(0.1)
            assert await response.next() == b"xbc"
            await response.each(take)
            assert taken == [b"a"]
            assert response.is_complete

    asyncio.run(main())


@pytest.mark.parametrize(
    ("rest", "connections"),
    [([b"2\r\nhi\r\n", b"0\r\n\r\n"], 1), ([b"2\r\nhi\r\n"], 2), ([b"no chunk"], 2)],
    ids=["ends", "does not end", "is no HTTP"],
)
def test_a_response_that_nobody_reads_to_its_end_leaves_its_connection_to_the_next(rest, connections):
    server = Server(CHUNKED + b"1\r\na\r\n", *rest)

    async def main() -> None:
        async with asking(server) as post:
            for _ in range(2):
                async with await post(b"{}") as response:
                    assert await response.next() == b"a"
                    response.finish(0.1)
                await asyncio.sleep(0.15)
            if connections == 2:
                await asyncio.wait_for(server.left.wait(), 2)
        assert server.connections == connections

    asyncio.run(main())


def test_silence_is_counted_anew_for_each_request_of_a_connection():
    class Once(Server):
        async def serve(self, reader, writer) -> None:
            await reader.readuntil(b"{}")
            writer.write(OK + b"content-length: 0\r\n\r\n")
            await reader.read()  # the next request, which is never answered, and the end
            await reader.read()
            writer.close()

    async def main() -> float:
        async with asking(Once(), silent_seconds=0.3) as post:
            async with await post(b"{}") as response:
                assert await response.read() == b""
            await asyncio.sleep(0.2)
            began = asyncio.get_running_loop().time()
            with pytest.raises(aiohttp.ServerTimeoutError):
                await post(b"{}")
            return asyncio.get_running_loop().time() - began

    assert asyncio.run(main()) >= 0.29
