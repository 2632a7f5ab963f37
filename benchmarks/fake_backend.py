"""A fast fake OpenAI backend in a process of its own, and the little that the benchmarks share to run processes.

It answers `max_tokens` words: as one JSON body, or as so many events and three more (role, finish, usage), each sent by
itself, one every `x_pace` seconds where the request says so. `python benchmarks/fake_backend.py [--delay SECONDS]`
prints its URL and serves until it is ended.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import httptools
import uvloop

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

HERE = Path(__file__).parent
_HEAD = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "fake"}


class Backend(asyncio.Protocol):
    """One connection; requests on it come one after the other."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._parser = httptools.HttpRequestParser(self)
        self._body = b""
        self._is_gone = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own is none by inheritance

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._is_gone = True

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        asked, self._body = json.loads(self._body or b"{}"), b""
        tokens = asked.get("max_tokens", 16)
        answer = stream_of(tokens) if asked.get("stream") else [whole_of(tokens)]
        loop = asyncio.get_running_loop()
        pace = asked.get("x_pace", 0.0)
        if self._delay:
            loop.call_later(self._delay, self._send, answer, 0, pace)
        else:
            self._send(answer, 0, pace)

    def _send(self, answer: list[bytes], position: int, pace: float) -> None:
        """One event per turn of the loop, or every `pace` seconds, so that each leaves by itself."""
        if self._is_gone:
            return
        self._transport.write(answer[position])
        if position + 1 < len(answer):
            asyncio.get_running_loop().call_later(pace, self._send, answer, position + 1, pace)


def whole_of(tokens: int, known: dict[int, bytes] = {}) -> bytes:  # noqa: B006 - remembers what it made
    if tokens not in known:
        message = {"role": "assistant", "content": " ".join(["word"] * tokens)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        body = json.dumps({**_HEAD, "object": "chat.completion", "choices": [choice], "usage": _usage(tokens)}).encode()
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        known[tokens] = head.encode() + body
    return known[tokens]


def stream_of(tokens: int, known: dict[int, list[bytes]] = {}) -> list[bytes]:  # noqa: B006 - remembers what it made
    if tokens not in known:
        events = [_event({"role": "assistant", "content": ""}), *(_event({"content": " word"}) for _ in range(tokens))]
        events += [_event({}, "stop"), json.dumps({**_HEAD, "choices": [], "usage": _usage(tokens)}), "[DONE]"]
        blocks = [f"data: {event}\n\n".encode() for event in events]
        chunks = [b"%x\r\n%b\r\n" % (len(block), block) for block in blocks]
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        known[tokens] = [head + chunks[0], *chunks[1:-1], chunks[-1] + b"0\r\n\r\n"]
    return known[tokens]


def _event(delta: dict[str, str], finish: str | None = None) -> str:
    return json.dumps({**_HEAD, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})


def _usage(tokens: int) -> dict[str, int]:
    return {"prompt_tokens": 12, "completion_tokens": tokens, "total_tokens": 12 + tokens}


def listen() -> tuple[socket.socket, str]:
    """A socket on a free port of the loopback, and its URL."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    return listener, f"http://127.0.0.1:{listener.getsockname()[1]}/v1"


async def serve(make: Callable[[], asyncio.Protocol]) -> None:
    listener, url = listen()
    server = await asyncio.get_running_loop().create_server(make, sock=listener)
    print(url, flush=True)
    await server.serve_forever()


@contextmanager
def running(*command: str | Path, log: Path) -> Generator[tuple[int, str]]:
    """A Python program in a process of its own; gives its id and the URL in the first line that it prints."""
    with (
        log.open("ab") as errors,
        subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline().split()
            if not line:
                raise SystemExit(f"{command} did not start:\n{log.read_text()[-2000:]}")
            yield process.pid, line[-1]
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()


@contextmanager
def tierwise(config: dict[str, Any], folder: Path) -> Generator[tuple[int, str]]:
    """`tierwise serve` with this config, its ledger in `folder`; gives its id and its URL that ends in /v1."""
    file = folder / "tierwise.yaml"
    file.write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
    serve_it = ("-m", "tierwise", "serve", file, "--port", "0", "--ledger", folder / "ledger.db")
    with running(*serve_it, log=folder / "tierwise.log") as (process, url):
        yield process, f"{url}/v1"


@contextmanager
def backend(folder: Path, *, delay: float = 0.0) -> Generator[str]:
    """This file as a process; gives its URL that ends in /v1."""
    with running(HERE / "fake_backend.py", "--delay", str(delay), log=folder / "backend.log") as (_, url):
        yield url


def cpu_seconds(process: int) -> float:
    """User and system time of a process and all that descends from it."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return own + sum(cpu_seconds(child) for child in children(process))


def children(process: int) -> list[int]:
    return [
        int(child)
        for tasks in Path(f"/proc/{process}/task").glob("*/children")
        for child in tasks.read_text(encoding="ascii").split()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before an answer begins")
    delay = parser.parse_args().delay
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(serve(lambda: Backend(delay)))


if __name__ == "__main__":
    main()
