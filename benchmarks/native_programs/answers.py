"""What every server of `native_servers.py` answers, in the terms of each: JSON of about 300 bytes, or 19 events.

    python answers.py httptools PORT            the least in Python: callbacks on asyncio.Protocol, on uvloop
    python answers.py uvicorn PORT              uvicorn with httptools and uvloop
    python answers.py robyn PORT
    granian answers:asgi, granian answers:rsgi

Needs no package besides the one that is measured.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Iterator, MutableMapping

EVENTS = 19
WHOLE = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "fast",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "word " * 16}, "finish_reason": "stop"},
        ],
        "usage": {"prompt_tokens": 24, "completion_tokens": 16, "total_tokens": 40},
    }
).encode()
EVENT = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"fast","choices":'
    b'[{"index":0,"delta":{"content":"word "},"finish_reason":null}]}\n\n'
)
LAST = b'data: {"choices":[],"usage":{"prompt_tokens":24,"completion_tokens":16,"total_tokens":40}}\n\n'
STREAM = (*(EVENT,) * (EVENTS - 2), LAST, b"data: [DONE]\n\n")
ASKED = b'"stream": true'
"""What stands in a body that asks for the events."""
JSON_TYPE, STREAM_TYPE = "application/json", "text/event-stream"


# ── ASGI ────────────────────────────────────────────────────────────────
async def asgi(
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
) -> None:
    """A bare ASGI application."""
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    if ASKED not in body:
        sizes = [(b"content-type", JSON_TYPE.encode()), (b"content-length", b"%d" % len(WHOLE))]
        await send({"type": "http.response.start", "status": 200, "headers": sizes})
        await send({"type": "http.response.body", "body": WHOLE})
        return
    kind = [(b"content-type", STREAM_TYPE.encode())]
    await send({"type": "http.response.start", "status": 200, "headers": kind})
    for event in STREAM:
        await send({"type": "http.response.body", "body": event, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


# ── RSGI, granian's own interface ───────────────────────────────────────
async def rsgi(scope: Any, protocol: Any) -> None:
    """A bare RSGI application."""
    if scope.proto != "http":
        return
    if ASKED not in await protocol():
        protocol.response_bytes(200, [("content-type", JSON_TYPE)], WHOLE)
        return
    transport = protocol.response_stream(200, [("content-type", STREAM_TYPE)])
    for event in STREAM:
        await transport.send_bytes(event)


# ── the least in Python ─────────────────────────────────────────────────
def serve_httptools(port: int) -> None:
    """Callbacks on `asyncio.Protocol`: no task, no header is looked at."""
    import asyncio  # noqa: PLC0415 - granian's workers load this file too

    import httptools  # noqa: PLC0415
    import uvloop  # noqa: PLC0415

    whole = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b"
    whole %= (JSON_TYPE.encode(), len(WHOLE), WHOLE)
    head = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ntransfer-encoding: chunked\r\n\r\n" % STREAM_TYPE.encode()

    class Bare(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self._transport: Any = transport
            self._parser = httptools.HttpRequestParser(self)
            self._body = b""

        def data_received(self, data: bytes) -> None:
            self._parser.feed_data(data)

        def on_body(self, body: bytes) -> None:
            self._body += body

        def on_message_complete(self) -> None:
            body, self._body = self._body, b""
            if ASKED not in body:
                self._transport.write(whole)
                return
            self._transport.write(head)
            for event in STREAM:
                self._transport.write(b"%x\r\n%b\r\n" % (len(event), event))
            self._transport.write(b"0\r\n\r\n")

    async def forever() -> None:
        server = await asyncio.get_running_loop().create_server(Bare, "127.0.0.1", port)
        await server.serve_forever()

    uvloop.run(forever())


def serve_uvicorn(port: int) -> None:
    """uvicorn as it serves by default."""
    import uvicorn  # noqa: PLC0415

    uvicorn.run(asgi, port=port, http="httptools", loop="uvloop", lifespan="off", access_log=False, log_level="error")


def serve_robyn(port: int) -> None:
    """Robyn with one process and one worker."""
    from robyn import Request, Response, Robyn, StreamingResponse  # noqa: PLC0415

    app = Robyn(__file__)

    @app.post("/v1/chat/completions")  # type: ignore[untyped-decorator]
    async def answer(request: Request) -> Any:
        body = request.body if isinstance(request.body, bytes) else request.body.encode()
        if ASKED not in body:
            return Response(status_code=200, headers={"content-type": JSON_TYPE}, description=WHOLE)
        return StreamingResponse(events(), media_type=STREAM_TYPE)

    def events() -> Iterator[str]:
        for event in STREAM:
            yield event.decode()

    app.start(host="127.0.0.1", port=port)


if __name__ == "__main__":
    {"httptools": serve_httptools, "uvicorn": serve_uvicorn, "robyn": serve_robyn}[sys.argv[1]](int(sys.argv[2]))
