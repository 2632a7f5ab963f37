"""The clients of a soak: what they send, and what they make of the answers."""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp

from processes import cpu_seconds

CLIENTS = 24
"""Clients that ask at the same time, besides those that wait to leave."""
MOST_LEAVING = 60
"""Clients that wait to leave, at most: a pass of each has a connection to the server behind."""
MOST_BROKEN = 1000
"""Broken answers after which nothing more is sent."""
PROGRESS_SECONDS = 60.0
TIERS = ("fast", "vote", "best", "refine", "auto")
LEAVES_SECONDS = 4.0
"""After so long a client that means to leave does: by then the server is silent, also if all wait for a processor."""


@dataclass
class Traffic:
    """What clients sent and got."""

    url: str
    keys: dict[str, str]
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    """By kind of request."""
    broken: list[str] = field(default_factory=list)
    """Answers that are none."""
    stored: list[tuple[str, str]] = field(default_factory=list)
    """Responses that can be continued, with the key that owns them."""
    numbers: Iterator[int] = field(default_factory=count)
    """Of requests whose passes fail beside others."""
    left: int = 0
    """Clients that left."""
    sent: int = 0
    """Requests that were sent and answered, or left."""
    is_over: bool = False
    """Whether no more is sent: the time is over, or somebody stopped it."""


BAD: tuple[tuple[str, bytes], ...] = (
    ("/chat/completions", b"{"),
    ("/chat/completions", b'{"model": "none", "messages": [{"role": "user", "content": "x"}]}'),
    ("/chat/completions", b'{"model": "fast", "messages": "x"}'),
    ("/responses", b'{"model": "fast", "input": "x", "background": true}'),
    ("/responses", b'{"model": "fast", "input": "x", "previous_response_id": "resp_none"}'),
    ("/messages", b'{"model": "fast", "messages": []}'),
    ("/messages/count_tokens", b'{"model": "none", "messages": [{"role": "user", "content": "x"}]}'),
    ("/completions", b'{"model": "vote", "prompt": "x"}'),
    ("/embeddings", b'{"model": "fast"}'),
)
ENDS = {
    "/chat/completions": b"[DONE]",
    "/completions": b"[DONE]",
    "/responses": b"response.",
    "/messages": b"message_stop",
}


Asked = tuple[str, str, dict[str, Any] | bytes]
"""A request: its kind, its path and its body."""


def made(draw: random.Random, traffic: Traffic, key: str) -> Asked:
    """A request: its kind, its path and its body."""
    if draw.random() < 0.04:
        return ("bad", *draw.choice(BAD))
    text = " ".join(str(draw.randrange(10**6)) for _ in range(draw.randrange(4, 60)))
    tier, stream, most = draw.choice(TIERS), draw.random() < 0.5, draw.randrange(1, 40)
    kind = "asked"
    if draw.random() < 0.02:
        kind, text = "leaves", f"hold {text}"
    elif draw.random() < 0.01:
        kind, most = "slow", 400
    elif tier in ("fast", "refine") and draw.random() < 0.1:
        text = f"fault {text}"
    elif tier in ("vote", "best") and draw.random() < 0.05:
        kind, text = "beside", f"fault {'same ' if draw.random() < 0.5 else ''}{text}"
    messages = [{"role": "user", "content": text}]
    match draw.randrange(6):
        case 0:
            return kind, "/completions", {"model": "fast", "prompt": text, "max_tokens": most, "stream": stream}
        case 1:
            body = {"model": tier, "input": text, "max_output_tokens": max(most, 16), "stream": stream}
            body["store"] = kind != "beside"  # what continues it would fail beside others, too
            own = [name for name, owner in traffic.stored if owner == key]
            if own and tier in ("fast", "refine") and draw.random() < 0.6:  # what it continues may have a fault
                body["previous_response_id"] = draw.choice(own)
            return kind, "/responses", body
        case 2:
            return kind, "/messages", {"model": tier, "messages": messages, "max_tokens": most, "stream": stream}
        case 3 if kind == "asked":
            return kind, "/embeddings", {"model": "fast", "input": text}
        case 4 if kind == "asked":
            return kind, "/messages/count_tokens", {"model": "counting", "messages": messages}
        case _:
            body = {"model": tier, "messages": messages, "max_tokens": most, "stream": stream}
            return kind, "/chat/completions", body


async def ask(client: aiohttp.ClientSession, traffic: Traffic, key: str, asked: Asked, session: str) -> None:
    """Send one request, and read its answer or leave."""
    kind, path, body = asked
    headers = {"authorization": f"Bearer {traffic.keys[key]}", "content-type": "application/json"}
    if session:
        headers["x-tierwise-session"] = session
    if kind == "beside" and isinstance(body, dict):
        headers["x-request-id"] = f"beside-{next(traffic.numbers)}"
        body["tierwise"] = {"action": headers["x-request-id"]}
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    is_stream = isinstance(body, dict) and body.get("stream", False)
    try:
        async with asyncio.timeout(LEAVES_SECONDS if kind == "leaves" else 60):
            async with client.post(traffic.url + path, data=data, headers=headers) as answer:
                if kind == "slow":
                    await asyncio.sleep(0.3)
                raw = await answer.read()
    except TimeoutError:
        if kind == "leaves":
            traffic.left += 1
        else:
            traffic.broken.append(f"{kind} {path}: no answer")
        return
    except aiohttp.ClientError as error:
        traffic.broken.append(f"{kind} {path}: {error!r}")
        return
    finally:
        traffic.sent += 1
    judge(traffic, kind, path, answer.status, raw, is_stream=is_stream)
    if path == "/responses" and answer.status == 200 and (found := re.search(rb'"id":"(resp_[^"]+)"', raw)):
        traffic.stored.append((found[1].decode(), key))
        del traffic.stored[:-50]


def judge(traffic: Traffic, kind: str, path: str, status: int, raw: bytes, *, is_stream: bool) -> None:
    """Count an answer, and keep what is none."""
    traffic.statuses[kind, status] += 1
    problem = ""
    if kind == "bad":
        problem = "" if status in (400, 404, 422, 429) else f"status {status}"
    elif status == 200 and is_stream:
        problem = "" if ENDS[path] in raw or b'"error"' in raw else "a stream without an end"
    elif status == 200:
        with suppress(ValueError):
            json.loads(raw)
            return
        problem = "no JSON"
    elif status not in (429, 500, 502, 503, 529) and not (path == "/responses" and status in (400, 404)):
        problem = f"status {status}"  # a response may have left the store meanwhile
    if problem:
        traffic.broken.append(f"{kind} {path}: {problem}: {raw[-300:]!r}")


async def send(traffic: Traffic, wanted: int, until: float, seed: int, gateway: int) -> None:
    """Send requests from several clients until there are as many as wanted, or the time is over."""
    numbers = count()
    leaving = asyncio.Semaphore(MOST_LEAVING)
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CLIENTS + MOST_LEAVING)) as client,
        asyncio.TaskGroup() as leavers,
    ):

        async def leave(key: str, asked: Asked, session: str) -> None:
            async with leaving:
                await ask(client, traffic, key, asked, session)

        async def one(which: int) -> None:
            draw = random.Random(f"{seed}/{which}")
            while not traffic.is_over and next(numbers) < wanted and time.monotonic() < until:
                key = draw.choice(list(traffic.keys))
                asked = made(draw, traffic, key)
                session = f"session-{draw.randrange(500)}" if draw.random() < 0.2 else ""
                if asked[0] == "leaves" and not leaving.locked():
                    leavers.create_task(leave(key, asked, session))
                else:
                    await ask(client, traffic, key, asked, session)
                if len(traffic.broken) >= MOST_BROKEN:
                    traffic.is_over = True

        telling = asyncio.create_task(tell(traffic, gateway))
        try:
            await asyncio.gather(*map(one, range(CLIENTS)))
        finally:
            telling.cancel()


async def tell(traffic: Traffic, gateway: int) -> None:
    """Print each minute how far it is."""
    while True:
        before, cpu = traffic.sent, cpu_seconds(gateway)
        await asyncio.sleep(PROGRESS_SECONDS)
        rate, share = (traffic.sent - before) / PROGRESS_SECONDS, (cpu_seconds(gateway) - cpu) / PROGRESS_SECONDS
        print(
            f"{datetime.now(UTC):%H:%M:%S} {traffic.sent:,} requests, {rate:.0f} a second; tierwise: "
            f"{resident_mb(gateway):.1f} MB, {share:.2f} cores; {traffic.left} left, {len(traffic.broken)} broken",
            flush=True,
        )


def resident_mb(process: int) -> float:
    status = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
    return int(status["VmRSS"].split()[0]) / 1024
