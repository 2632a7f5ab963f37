"""The proxies that Tierwise's overhead is compared with, each started as a process in front of one upstream.

`aiohttp` and `floor` are programs of this file: a proxy of a few lines on aiohttp, and the least that a proxy can be in
Python: callbacks on `asyncio.Protocol` with httptools, without any feature. `nginx` is the system's. `vllm-router`,
`smg` and `litellm` are pinned in `peers/`, and each gets an environment of its own. LiteLLM's proxy extra has 117
packages, and demands a version of one that its registry lacks for the newest releases: pip downloads dozens of releases
to find that out. Its pins were found by `uv pip compile`, and pip installs them without looking for others.
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
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import aiohttp
import httptools
import uvloop
from aiohttp import web

from peers.environments import default_folder, installed
from processes import listen, running, serve

OWN = ("aiohttp", "floor")
OTHERS = ("nginx", "vllm-router", "smg", "litellm")
START_SECONDS = 90.0
QUIET = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOG": "ERROR",
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
}
"""LiteLLM fetches no prices, logs errors only, reads no .env file, and starts without a key."""

NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx-error.log;
events {{ worker_connections 8192; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/temp; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s; keepalive_requests 1000000;
  upstream engine {{ server {upstream}; keepalive 1024; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=2048;
    proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
    location / {{ proxy_pass http://engine; }}
  }}
}}
"""


def available(name: str) -> bool:
    """Whether a proxy can be started here; says on standard error why not."""
    if name in OWN:
        return True
    try:
        program(name)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"{name} is left out: {error}", file=sys.stderr)
        return False
    return True


def program(name: str) -> str:
    """The path of another proxy's program; its environment is made if it is missing."""
    if name == "nginx":
        subprocess.run(["nginx", "-v"], check=True, capture_output=True)
        return "nginx"
    return str(installed(name, default_folder()) / name)


@contextmanager
def proxy(name: str, upstream: str, folder: Path) -> Iterator[tuple[int, str]]:
    """Run a proxy in front of an upstream. Yields its process id and its URL; both URLs end in /v1."""
    if name in OWN:
        with running(Path(__file__), name, upstream, log=folder / f"{name}.log") as started:
            yield started
        return
    root, port = upstream.removesuffix("/v1"), free_port()
    command, home = [program(name)], folder / name
    home.mkdir()
    match name:
        case "nginx":
            file = home / "nginx.conf"
            file.write_text(
                NGINX.format(folder=home, upstream=root.removeprefix("http://"), port=port), encoding="utf-8"
            )
            command += ["-p", str(home), "-c", str(file)]
        case "litellm":
            file = home / "litellm.yaml"
            engine = {"model": "openai/fast", "api_base": upstream, "api_key": "none"}
            file.write_text(json.dumps({"model_list": [{"model_name": "fast", "litellm_params": engine}]}))
            command += ["--config", str(file), "--host", "127.0.0.1", "--port", str(port), "--telemetry", "False"]
        case _:
            command += ["launch"] if name == "smg" else []
            command += ["--host", "127.0.0.1", "--port", str(port), "--worker-urls", root, "--policy", "round_robin"]
            command += ["--prometheus-port", str(free_port()), "--log-level", "error"]
    with (
        (folder / f"{name}.log").open("ab") as log,
        subprocess.Popen(command, stdout=log, stderr=log, cwd=home, env={**os.environ, **QUIET}) as process,
    ):
        try:
            url = f"http://127.0.0.1:{port}/v1"
            if not asyncio.run(answers(url, process)):
                said = (folder / f"{name}.log").read_text(errors="replace")
                raise SystemExit(f"{name} did not answer:\n{said[-2000:]}")
            yield process.pid, url
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()


async def answers(url: str, process: subprocess.Popen[bytes]) -> bool:
    """Wait until a proxy passes on a request; false if it ends or takes too long."""
    body = {"model": "fast", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 2}
    until = time.monotonic() + START_SECONDS
    async with aiohttp.ClientSession() as session:
        while process.poll() is None and time.monotonic() < until:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.post(f"{url}/chat/completions", json=body) as answer:
                    if answer.status == 200:
                        return True
            await asyncio.sleep(0.2)
    return False


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


# ── a bare proxy on aiohttp ─────────────────────────────────────────────
async def aiohttp_proxy(upstream: str) -> None:
    """A proxy that only forwards bytes, with aiohttp on both sides."""
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    async def forward(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = {"content-type": "application/json"}
        async with session.post(f"{upstream}/chat/completions", data=body, headers=headers) as answer:
            kind = answer.headers["content-type"]
            if "event-stream" not in kind:
                return web.Response(body=await answer.read(), status=answer.status, headers={"content-type": kind})
            response = web.StreamResponse(status=answer.status, headers={"content-type": kind})
            await response.prepare(request)
            async for block in answer.content.iter_any():
                await response.write(block)
            await response.write_eof()
            return response

    app = web.Application()
    app.router.add_post("/v1/chat/completions", forward)
    await serve(app)


# ── the floor of Python ─────────────────────────────────────────────────
class Upstream(asyncio.Protocol):
    """A connection to the upstream, which passes on one response at a time."""

    def __init__(self, idle: list[Upstream]) -> None:
        self._idle = idle
        self.front: Front | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        if self in self._idle:
            self._idle.remove(self)
        if self.front is not None:
            self.front.transport.abort()

    def send(self, front: Front, request: bytes) -> None:
        self.front = front
        self._parser = httptools.HttpResponseParser(self)
        self._kind, self._size = b"", b""
        self._head = b""
        self._body: list[bytes] = []
        self.transport.write(request)

    def on_header(self, name: bytes, value: bytes) -> None:
        match name.lower():
            case b"content-type":
                self._kind = value
            case b"content-length":
                self._size = value

    def on_headers_complete(self) -> None:
        size = b"content-length: " + self._size if self._size else b"transfer-encoding: chunked"
        status = self._parser.get_status_code()
        self._head = b"HTTP/1.1 %d OK\r\ncontent-type: %b\r\n%b\r\n\r\n" % (status, self._kind, size)

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        front, self.front = self.front, None
        assert front is not None
        front.transport.write(self._taken(last=True))
        self._idle.append(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)
        if self.front is not None and (block := self._taken(last=False)):
            self.front.transport.write(block)

    def _taken(self, *, last: bool) -> bytes:
        head, self._head = self._head, b""
        body = b"".join(self._body)
        self._body.clear()
        if self._size:
            return head + body
        framed = b"%b%x\r\n%b\r\n" % (head, len(body), body) if body else head
        return framed + b"0\r\n\r\n" if last else framed


class Front(asyncio.Protocol):
    """A client's connection."""

    def __init__(self, place: tuple[str, int], idle: list[Upstream]) -> None:
        self._place, self._idle = place, idle
        self._parser = httptools.HttpRequestParser(self)
        self._url, self._body = b"", b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._url = url

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        head = b"POST %b HTTP/1.1\r\nhost: engine\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        request = head % (self._url, len(self._body)) + self._body
        self._body = b""
        if self._idle:
            self._idle.pop().send(self, request)
        else:
            self._connecting = asyncio.create_task(self._connect(request))

    async def _connect(self, request: bytes) -> None:
        made = await asyncio.get_running_loop().create_connection(lambda: Upstream(self._idle), *self._place)
        made[1].send(self, request)


async def floor_proxy(upstream: str) -> None:
    """The least: bytes of a parsed request go to a parsed response, with no task, no check and no record."""
    parts, idle = urlsplit(upstream), list[Upstream]()
    place = (parts.hostname or "", parts.port or 80)
    listener, url = listen()
    server = await asyncio.get_running_loop().create_server(lambda: Front(place, idle), sock=listener)
    print(url, flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=OWN)
    parser.add_argument("upstream", help="its URL, which ends in /v1")
    wanted = parser.parse_args()
    programs: dict[str, Callable[[str], Any]] = {"aiohttp": aiohttp_proxy, "floor": floor_proxy}
    uvloop.run(programs[wanted.name](wanted.upstream))


if __name__ == "__main__":
    main()
