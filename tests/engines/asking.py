"""The smallest helpers with which every test of an engine speaks to one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import uvloop

from tierwise.engines import http1, http1_connection
from tierwise.testing.contracts.engines import begun, call, chunks, completed, text_of, until

if TYPE_CHECKING:
    from collections.abc import Coroutine

    import pytest


__all__ = ["begun", "call", "chunks", "completed", "counted_reads", "in_time", "text_of", "until"]


def in_time(main: Coroutine[Any, Any, Any], seconds: float = 30) -> Any:
    """Run a coroutine in a loop of its own, of the kind that `tierwise serve` runs in; nothing may be left in it."""

    async def checked() -> Any:
        answer = await asyncio.wait_for(main, seconds)
        await asyncio.sleep(0)  # what was cancelled ends with its next turn
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert not others, f"left behind: {others}"
        return answer

    return uvloop.run(checked())


def counted_reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of what connections are told of from now on, in a list that grows."""
    sizes: list[int] = []

    class Counted(http1_connection.Connection):
        def data_received(self, data: bytes) -> None:
            sizes.append(len(data))
            super().data_received(data)

    monkeypatch.setattr(http1, "Connection", Counted)
    return sizes
