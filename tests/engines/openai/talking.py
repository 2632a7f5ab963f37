"""A fake server on the loopback, and what comes of one call to it."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from engines.asking import call, chunks, completed, in_time
from tierwise.engines.openai.launch import build
from tierwise.engines.openai.settings import Http
from tierwise.engines.settings import LaunchContext
from tierwise.spec.errors import EngineError
from tierwise.testing.server import FakeServer, HttpReply, HttpRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tierwise.spec.call import Call

HERE = LaunchContext(base=Path(), logs=Path())


@contextlib.asynccontextmanager
async def talking(*replies: str | HttpReply, server: FakeServer | None = None, **settings: Any) -> AsyncIterator[Any]:
    """A fake server with these replies, and an engine that speaks to it."""
    async with server or FakeServer(*replies) as there:
        engine = build(Http(url=there.url, model="large", **settings), "large", HERE)
        try:
            yield there, engine
        finally:
            await engine.stop()


def asked(*replies: str | HttpReply, of: Call | None = None, **settings: Any) -> Any:
    """The completion and usage that come of one call."""

    async def main() -> Any:
        async with talking(*replies, **settings) as (_, engine):
            return await completed(engine, of or call())

    return in_time(main())


def failed(reply: HttpReply, of: Call | None = None, **settings: Any) -> EngineError:
    """What one call raises."""
    with pytest.raises(EngineError) as caught:
        asked(reply, of=of, **settings)
    assert caught.value.engine == "large"
    return caught.value


def sent(of: Call, reply: HttpReply = HttpReply(), **settings: Any) -> HttpRequest:  # noqa: B008 - it is frozen
    """The request that a call becomes."""

    async def main() -> Any:
        async with talking(reply, **settings) as (server, engine):
            await chunks(engine, of)
            return server.requests[0]

    return in_time(main())


def raw(*blocks: str | bytes, **more: Any) -> HttpReply:
    return HttpReply(raw=[block.encode() if isinstance(block, str) else block for block in blocks], **more)


def event(content: str = "", finish: str | None = None, **more: Any) -> str:
    choice = {"index": 0, "delta": {"content": content} if content else {}, "finish_reason": finish}
    return f"data: {json.dumps({'choices': [choice], **more}, ensure_ascii=False)}\n\n"


def refusing(status: int, message: str = "no", **headers: str) -> HttpReply:
    return HttpReply(status=status, headers=headers, body=json.dumps({"error": {"message": message}}).encode())
