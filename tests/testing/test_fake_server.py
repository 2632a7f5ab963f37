"""The fake server can be trusted with times: what it reports is made at the moment of sending it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
import urllib.request

import pytest

from tierwise.testing.server import FakeServer, HttpReply, in_a_thread


def ask(url: str, **fields: object) -> bytes:
    body = json.dumps({"messages": [{"role": "user", "content": "hi"}], **fields}).encode()
    request = urllib.request.Request(f"{url}/chat/completions", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as response:
        return response.read()


def events(body: bytes) -> list[dict]:
    lines = [line.removeprefix(b"data: ") for line in body.split(b"\n\n") if line.strip()]
    return [json.loads(line) for line in lines if line != b"[DONE]"]


def contents(body: bytes) -> list[str]:
    deltas = [choice["delta"] for event in events(body) for choice in event["choices"]]
    return [delta["content"] for delta in deltas if delta.get("content")]


def test_it_serves_tests_that_have_no_event_loop():
    with in_a_thread(FakeServer("one two", HttpReply(status=503, body=b"{}"))) as server:
        assert contents(ask(server.url, stream=True)) == ["one", " two"]
        with pytest.raises(urllib.error.HTTPError, match="503"):
            ask(server.url)
        assert [request.target for request in server.requests] == ["/v1/chat/completions"] * 2
        url = server.url
    with pytest.raises(urllib.error.URLError):
        ask(url)


def test_what_is_made_when_it_is_sent_knows_how_long_the_server_was_silent():
    class Timed(FakeServer):
        def reply_to(self, number, request):
            def silent():
                return {"content": repr(time.monotonic() - request.arrived)}

            return HttpReply(deltas=[silent, silent], first=0.05, step=0.1, account=lambda: {"seconds": 7})

    with in_a_thread(Timed()) as server:
        began = time.monotonic()
        body = ask(server.url, stream=True, stream_options={"include_usage": True})
        took = time.monotonic() - began
    first, second = map(float, contents(body))
    assert 0.05 <= first < second - 0.09 < took
    assert events(body)[-1]["usage"] == {
        "prompt_tokens": 3,
        "completion_tokens": 2,
        "total_tokens": 5,
        "seconds": 7,
    }


def test_a_whole_response_is_made_when_it_is_written():
    made = []

    def response() -> bytes:
        made.append(time.monotonic())
        return b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

    with in_a_thread(FakeServer(HttpReply(response=response, waits=0.05))) as server:
        assert ask(server.url) == b"hi"
        assert made[0] - server.requests[0].arrived >= 0.05


def test_a_client_that_leaves_is_counted_and_frees_the_server():
    async def main() -> None:
        async with FakeServer(HttpReply(text="a b c", silent_after=2)) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            body = b'{"stream": true}'
            writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            await reader.readuntil(b'"a"')
            assert (server.running, server.hangups) == (1, [])
            writer.close()
            while not server.hangups:  # noqa: ASYNC110 - it has no event for it
                await asyncio.sleep(0.001)
            assert (server.running, server.produced.completion) == (0, 1)

    asyncio.run(asyncio.wait_for(main(), 20))


def test_as_a_program_it_answers_as_many_words_as_it_is_asked_for():
    command = [sys.executable, "-W", "error", "-m", "tierwise.testing.server", "--delay", "0.05"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            began = time.monotonic()
            assert len(contents(ask(url, stream=True, max_tokens=40))) == 40
            assert time.monotonic() - began >= 0.05
            whole = json.loads(ask(url, max_tokens=3))
            assert whole["choices"][0]["message"]["content"] == "word word word"
            assert whole["usage"]["completion_tokens"] == 3
        finally:
            process.terminate()
