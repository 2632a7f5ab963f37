"""The client of all systems: asks, times what arrives, and hangs up."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import aiohttp


@dataclass(slots=True, kw_only=True)
class Heard:
    """What a client got."""

    text: str = ""
    usage: dict[str, Any] | None = None
    seconds: float = 0.0
    first_byte: float | None = None
    first_text: float | None = None
    failure: str | None = None


class Asks(Protocol):
    """One way to ask a system."""

    async def ask(self, body: Mapping[str, Any]) -> Heard: ...

    async def leave(self, body: Mapping[str, Any], after: float) -> float:
        """Ask, and hang up `after` seconds later. Returns the time of it."""


@dataclass(slots=True, kw_only=True)
class Endpoint:
    """Asks over HTTP."""

    url: str
    """With /v1."""
    session: aiohttp.ClientSession
    fields: Mapping[str, Any] = field(default_factory=dict)
    """What every request has."""

    async def ask(self, body: Mapping[str, Any]) -> Heard:
        heard, began = Heard(), time.monotonic()
        async with self.session.post(f"{self.url}/chat/completions", json={**body, **self.fields}) as response:
            if response.status != 200:
                heard.failure = f"HTTP {response.status}: {(await response.text())[:300]}"
            elif body.get("stream"):
                await _read_stream(response, heard, began)
            else:
                said = await response.json(content_type=None)
                heard.first_byte = time.monotonic() - began
                heard.text, heard.usage = said["choices"][0]["message"].get("content") or "", said.get("usage")
        heard.seconds = time.monotonic() - began
        return heard

    async def leave(self, body: Mapping[str, Any], after: float) -> float:
        task = asyncio.create_task(self.ask(body))
        await asyncio.wait({task}, timeout=after)
        task.cancel()  # closes its connection
        left = time.monotonic()
        await asyncio.wait({task})
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error
        return left


async def _read_stream(response: aiohttp.ClientResponse, heard: Heard, began: float) -> None:
    async for line in response.content:
        if heard.first_byte is None:
            heard.first_byte = time.monotonic() - began
        if not line.startswith(b"data: {"):
            continue
        event = json.loads(line[6:])
        heard.usage = event.get("usage") or heard.usage
        if event.get("error"):
            heard.failure = str(event["error"])
        for choice in event.get("choices") or []:
            if text := choice.get("delta", {}).get("content"):
                heard.text += text
                if heard.first_text is None:
                    heard.first_text = time.monotonic() - began


@dataclass(slots=True, kw_only=True)
class Library:
    """Asks a program that uses a system as a library; see its_library.py."""

    process: asyncio.subprocess.Process
    fields: Mapping[str, Any]

    async def ask(self, body: Mapping[str, Any]) -> Heard:
        await self._tell({**body, **self.fields})
        return await self._hear()

    async def leave(self, body: Mapping[str, Any], after: float) -> float:
        await self._tell({**body, **self.fields})
        await asyncio.sleep(after)
        await self._tell({"cancel": True})
        left = time.monotonic()
        await self._hear()
        return left

    async def _tell(self, said: Mapping[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(said).encode() + b"\n")
        await self.process.stdin.drain()

    async def _hear(self) -> Heard:
        assert self.process.stdout is not None
        said = json.loads(await self.process.stdout.readline())
        return Heard(
            text=said.get("text") or "",
            usage=said.get("usage"),
            seconds=said.get("seconds", 0.0),
            failure=said.get("error"),
        )


class Control:
    """The backend's own side: its log of calls."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._base, self._session = url.removesuffix("/v1"), session

    async def reset(self, **wanted: float) -> None:
        async with self._session.post(f"{self._base}/reset", json=wanted) as response:
            response.raise_for_status()

    async def calls(self) -> list[dict[str, Any]]:
        async with self._session.get(f"{self._base}/calls") as response:
            listed: list[dict[str, Any]] = await response.json()
            return listed

    async def settled(self, *, idle: float = 0.3, most: float = 20.0) -> list[dict[str, Any]]:
        """The calls, as soon as none has run and none has begun for `idle` seconds; at the latest after `most`."""
        until, before = time.monotonic() + most, -1
        while True:
            calls = await self.calls()
            is_idle = all(call["ended"] is not None for call in calls) and len(calls) == before
            if is_idle or time.monotonic() > until:
                return calls
            before = len(calls)
            await asyncio.sleep(idle)
