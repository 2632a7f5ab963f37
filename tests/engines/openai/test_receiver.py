"""What has come of a pass that is aborted is counted, wherever it waits."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import pytest

from tierwise.engines.openai.client import ChatClient
from tierwise.spec.call import Call, Chunk
from tierwise.testing import ask_user

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
CALL = Call(prompt=ask_user("a story"))


def event(word: str) -> bytes:
    data = b'data: {"choices": [{"index": 0, "delta": {"content": "%b"}}]}\n\n' % word.encode()
    return b"%x\r\n%b\r\n" % (len(data), data)


def aborted(*, proxy: str | None = None, **how: Any) -> list[str]:
    """The words that are counted of a pass whose server sends `one`, and `two` and `three` while the event loop is
    busy; then the pass is aborted before the loop has read them.
    """

    async def main() -> list[str]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            client = ChatClient("far", "m", proxy=proxy and proxy.format(port=port))
            counted: list[Chunk] = []

            async def read() -> None:
                async for chunks in client.blocks(f"http://127.0.0.1:{port}/v1", CALL, **how):
                    counted.extend(chunks)

            reading = asyncio.create_task(read())
            line, _ = await asyncio.to_thread(listener.accept)
            with line:
                await asyncio.to_thread(line.recv, 65536)
                line.sendall(HEAD + event("one"))
                for _ in range(200):
                    await asyncio.sleep(0.01)
                    if counted:
                        break
                line.sendall(event("two") + event("three"))
                time.sleep(0.05)  # noqa: ASYNC251 - the event loop is busy
                reading.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await reading
            await client.close()
            return [str(chunk.delta["content"]) for chunk in counted]

    return asyncio.run(main())


@pytest.mark.parametrize("at_once", [False, True])
def test_what_the_system_holds_when_a_pass_is_aborted_is_counted(at_once):
    assert aborted(at_once=at_once) == ["one", "two", "three"]


def test_what_is_passed_on_is_not_counted_twice():
    passed: list[Chunk] = []

    def pass_on(chunks: Any) -> bool:
        passed.extend(chunks)
        return True

    assert aborted(pass_on=pass_on) == ["one", "two", "three"]
    assert passed == []
