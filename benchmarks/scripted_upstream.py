"""A server that sends what a script says, byte by byte if need be, and the real gateway in front of it.

A script is a list of items, as in `tests/cases/upstream.jsonl`:

    {"choices": …} and any other object   one event of a stream
    {"raw": "data: ping\n\n"}             bytes of the stream as they are
    {"json": {…}}                         a whole body instead of a stream
    {"status": 401, "body": …, "when": "seed and tools"}   a status, if the request has the fields; also "headers"
    {"response": "HTTP/1.1 …"}            the whole response as it is, in Latin-1
    {"hold_open_seconds": 20}             nothing for that long; nothing follows
    {"pause": 0.5}                        a pause
    {"drip": "data: …", "every": 1.0}     one byte after the other
    {"cut": true}                         the connection is reset

A stream ends with `[DONE]` unless the script has {"done": false} or one of the items that end it otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tierwise.ledger.read import Reader

KEY = "sk-upstream-secret"
"""The gateway's key for the scripted server."""

TOOLS = [
    {
        "type": "function",
        "function": {"name": name, "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
    }
    for name in ("weather", "clock")
]

Script = Sequence[Mapping[str, Any]]

_REREAD_SECONDS = 0.3
_ENDS = (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError)
"""How a connection ends."""


class Upstream:
    """Serves one script for each path `/NUMBER/v1/chat/completions`, in a thread."""

    def __init__(self, scripts: Sequence[Script]) -> None:
        self.scripts = scripts
        self.requests: list[list[dict[str, Any]]] = [[] for _ in scripts]
        """The bodies of the requests to each script."""
        self.port = 0
        self._is_up = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._is_up.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._is_up.set()
        await self._stopped.wait()
        server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(*_ENDS):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                size = next(
                    (
                        int(line.split(":")[1])
                        for line in head.split("\r\n")
                        if line.lower().startswith("content-length")
                    ),
                    0,
                )
                body = json.loads(await reader.readexactly(size) or b"{}")
                number = head.split(" ")[1].split("/")[1]
                if not number.isdecimal():
                    writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                    continue
                self.requests[int(number)].append(body)
                await self._answer(self.scripts[int(number)], body, writer)
                if writer.is_closing():
                    return

    async def _answer(self, script: Script, asked: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        steps = [item for item in script if "when" not in item or has_fields(asked, item["when"])]
        first = steps[0]
        if "response" in first:
            writer.write(first["response"].encode("latin-1"))
            await writer.drain()
            return writer.close()
        if "status" in first:
            return writer.write(_whole(first["status"], json.dumps(first.get("body", {})), first.get("headers", {})))
        if "json" in first:
            return writer.write(_whole(200, json.dumps(first["json"]), {}))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        ends_with_done = True
        for item in steps:
            if "hold_open_seconds" in item:
                await asyncio.sleep(item["hold_open_seconds"])
                return writer.close()
            if "cut" in item:
                await writer.drain()
                return writer.transport.abort()
            if "pause" in item:
                await asyncio.sleep(item["pause"])
            elif "drip" in item:
                for byte in item["drip"].encode():
                    writer.write(_chunk(bytes([byte])))
                    await writer.drain()
                    await asyncio.sleep(item["every"])
            elif "done" in item:
                ends_with_done = item["done"]
            elif "raw" in item:
                writer.write(_chunk(item["raw"].encode(errors="surrogateescape")))
            else:
                writer.write(_chunk(f"data: {json.dumps(item)}\n\n".encode()))
            await writer.drain()
        writer.write((_chunk(b"data: [DONE]\n\n") if ends_with_done else b"") + b"0\r\n\r\n")
        return None


def has_fields(asked: Mapping[str, Any], names: str) -> bool:
    """Whether a request has all of the fields in `a and b`."""
    return all(asked.get(name) not in (None, False, []) for name in names.split(" and "))


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _whole(status: int, body: str, headers: Mapping[str, str]) -> bytes:
    fields = {"Content-Type": "application/json", "Content-Length": str(len(body.encode())), **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} Scripted\r\n{head}\r\n{body}".encode()


@dataclass(kw_only=True)
class Outcome:
    """What a client got."""

    stream: bool
    status: int
    headers: dict[str, str]
    raw: str
    """The body, or the events."""
    seconds: float
    message: dict[str, Any] = field(default_factory=dict)
    finish: str | None = None
    finish_chunks: int = 0
    usage: dict[str, Any] = field(default_factory=dict)
    error: dict[str, Any] | None = None
    is_done: bool = False
    """Whether `[DONE]` ended the stream."""
    malformed: list[str] = field(default_factory=list)
    """What no client of OpenAI's API expects in a stream."""

    @property
    def is_answer(self) -> bool:
        """Whether a client takes it for a complete answer."""
        return (
            self.error is None and self.status == 200 and self.finish is not None and (self.is_done or not self.stream)
        )


class Gateway:
    """`tierwise serve` as a process.

    Each script has a deployment, the tiers `NUMBER`, `vote-NUMBER` and `max-NUMBER`, and the route `auto-NUMBER`.
    """

    def __init__(
        self,
        upstream: Upstream,
        folder: Path,
        *,
        silent_seconds: float = 4.0,
        seconds: float = 6.0,
        drop: Sequence[str] = (),
    ) -> None:
        self.upstream = upstream
        self.ledger, self.log = folder / "ledger.db", folder / "serve.log"
        self._config = folder / "tierwise.yaml"
        self._config.write_text(json.dumps(self._plan(silent_seconds, seconds, drop)))
        self._port = 0
        self._reading, self._read_at = threading.Lock(), float("-inf")
        self._recorded: set[str] = set()

    def _plan(self, silent_seconds: float, seconds: float, drop: Sequence[str]) -> dict[str, Any]:
        plan: dict[str, Any] = {"deployments": {}, "tiers": {}, "routes": {}}
        for number in range(len(self.upstream.scripts)):
            url = f"http://127.0.0.1:{self.upstream.port}/{number}/v1"
            plan["deployments"][f"up-{number}"] = {
                "engine": "http",
                "url": url,
                "api_key_env": "UPSTREAM_KEY",
                "silent_seconds": silent_seconds,
                "drop": list(drop),
            }
            common = {"deployment": f"up-{number}", "budget": {"seconds": seconds}}
            plan["tiers"][f"{number}"] = {**common, "policy": "single"}
            plan["tiers"][f"vote-{number}"] = {**common, "policy": {"majority": {"n": 3}}}
            plan["tiers"][f"max-{number}"] = {**common, "policy": {"best_of_n": {"n": 3}}}
            plan["routes"][f"auto-{number}"] = {"cascade": [f"{number}", f"max-{number}"]}
        return plan

    def __enter__(self) -> Self:
        command = [sys.executable, "-W", "error", "-m", "tierwise", "serve", str(self._config), "--port", "0"]
        command += ["--ledger", str(self.ledger)]
        self._log = self.log.open("w")
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self._log, text=True, env={**os.environ, "UPSTREAM_KEY": KEY}
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line.startswith("serving on "), self.log.read_text()
        self._port = int(line.rpartition(":")[2])
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(30)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._log.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    def ask(self, model: str, *, stream: bool, **fields: Any) -> Outcome:
        """Send a chat request and read the answer."""
        body: dict[str, Any] = {
            "model": model,
            "messages": [{"role": "user", "content": "Hi"}],
            "stream": stream,
            **fields,
        }
        if stream:
            body["stream_options"] = {"include_usage": True}
        began = time.monotonic()
        status, headers, raw = self.request("POST", "/v1/chat/completions", body)
        outcome = Outcome(stream=stream, status=status, headers=headers, raw=raw, seconds=time.monotonic() - began)
        if "text/event-stream" in headers.get("content-type", ""):
            _read_stream(outcome)
        else:
            _read_body(outcome)
        return outcome

    def request(self, method: str, path: str, body: Any = None) -> tuple[int, dict[str, str], str]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=40)
        try:
            data = None if body is None else json.dumps(body).encode()
            connection.request(method, path, data, {"Content-Type": "application/json"})
            response = connection.getresponse()
            headers = {name.lower(): value for name, value in response.headers.items()}
            return response.status, headers, response.read().decode()
        finally:
            connection.close()

    def state(self, number: int) -> dict[str, Any]:
        """What `/ready` says about the deployment of a script."""
        return dict(json.loads(self.request("GET", "/ready")[2])["deployments"][f"up-{number}"])

    def recorded(self) -> set[str]:
        """The ids of the actions in the ledger. After the gateway has stopped, it has all of them."""
        with self._reading:  # readers side by side would leave its writer no gap
            if time.monotonic() - self._read_at > _REREAD_SECONDS:
                with Reader(self.ledger) as reader:
                    self._recorded = {one.action.id for one in reader.recent(100_000)}
                self._read_at = time.monotonic()
            return self._recorded


def _read_body(outcome: Outcome) -> None:
    body = json.loads(outcome.raw)
    outcome.usage, outcome.error = body.get("usage") or {}, body.get("error")
    for choice in body.get("choices", []):
        outcome.message, outcome.finish, outcome.finish_chunks = choice["message"], choice["finish_reason"], 1


def _read_stream(outcome: Outcome) -> None:
    """Join a stream strictly: what OpenAI never sends is noted as malformed."""
    lines = [line[6:] for line in outcome.raw.split("\n") if line.startswith("data: ")]
    outcome.is_done = bool(lines) and lines[-1] == "[DONE]"
    message: dict[str, Any] = {"content": ""}
    calls: list[dict[str, Any]] = []
    is_first = True
    for line in lines:
        if line == "[DONE]":
            continue
        event = json.loads(line)
        outcome.usage = event.get("usage") or outcome.usage
        outcome.error = event.get("error") or outcome.error
        for choice in event.get("choices", []):
            delta = dict(choice["delta"])
            if outcome.finish_chunks and delta:
                outcome.malformed.append("output after the finish chunk")
            if is_first != ("role" in delta):
                outcome.malformed.append("a role in another delta than the first, or none there")
            is_first = False
            if choice["finish_reason"] is not None:
                outcome.finish, outcome.finish_chunks = choice["finish_reason"], outcome.finish_chunks + 1
            _join(message, calls, delta, outcome.malformed)
    if calls:
        message["tool_calls"] = calls
    outcome.message = message


def _join(message: dict[str, Any], calls: list[dict[str, Any]], delta: dict[str, Any], malformed: list[str]) -> None:
    for piece in delta.pop("tool_calls", None) or []:
        index = piece.get("index")
        if index == len(calls) and piece.get("id") and piece.get("type") and piece["function"].get("name"):
            calls.append({name: value for name, value in piece.items() if name != "index"})
        elif isinstance(index, int) and index < len(calls) and set(piece) <= {"index", "function"}:
            calls[index]["function"]["arguments"] += piece["function"]["arguments"]
        else:
            malformed.append(f"a piece of a tool call that no client can place: {piece}")
    for name, value in delta.items():
        before = message.get(name)
        if isinstance(value, dict) and isinstance(before, dict):
            message[name] = {key: before.get(key, "") + value.get(key, "") for key in before | value}
        else:
            message[name] = value if before is None or value is None else before + value


@contextlib.contextmanager
def served(scripts: Sequence[Script], folder: Path, **settings: Any) -> Iterator[Gateway]:
    """The gateway in front of these scripts."""
    with Upstream(scripts) as upstream, Gateway(upstream, folder, **settings) as gateway:
        yield gateway
