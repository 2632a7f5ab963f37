"""Hundreds of thousands of requests over all APIs, with faults: nothing grows, and no token is lost.

    python benchmarks/soak.py [--requests 1000000] [--minutes 60] [--page]

`tierwise serve` runs with ledger, keys with limits and metrics before a scripted server (`soak_upstream.py`). Clients
send chat completions, completions, responses that are stored and continued, messages, embeddings and counts of tokens,
whole and streamed, to several policies. Some send what is no request, some read slowly, some leave in the middle; the
server fails at times. What is compared after a first part (a tenth, at most 100,000 requests) and at the end, each time
with nothing running: resident memory, open files, threads, tasks. At the end the ledger's tokens are those that the
server sent, the metrics are those of the ledger, and every answer came to its end or to an error; else it exits with 1.

It stops after `--requests` or `--minutes`, whichever is first, or at SIGINT or SIGTERM, and then looks at what it has;
a second signal ends it at once. Each minute it prints how far it is. `--page` writes the result into docs/serving.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp

from pages import write_between
from processes import HERE, cpu_seconds, running, tierwise

PAGE = HERE.parent / "docs" / "serving.md"
CLIENTS = 24
"""Clients that ask at the same time, besides those that wait to leave."""
MOST_LEAVING = 60
"""Clients that wait to leave, at most: a pass of each has a connection to the server behind."""
MOST_BROKEN = 1000
"""Broken answers after which nothing more is sent."""
PROGRESS_SECONDS = 60.0
MOST_GROWTH = 0.02
WARM = 100_000
"""Requests of the first part, at most; a tenth of all if that is less."""
TIERS = ("fast", "vote", "best", "refine", "auto")
LEAVES_SECONDS = 4.0
"""After so long a client that means to leave does: by then the server is silent, also if all wait for a processor."""
QUIET_SECONDS = 35.0
"""Before a look at the process: connections to the server behind that nobody uses are closed meanwhile."""
PROGRAM = """
import asyncio, gc, os, pathlib, signal, sys, uvloop
place, made = pathlib.Path(sys.argv.pop(1)), uvloop.new_event_loop
loops = []
def new_event_loop():
    loops.append(made())
    return loops[-1]
uvloop.new_event_loop = new_event_loop
def count(*_):
    gc.collect()
    draft = place.with_suffix(".new")
    draft.write_text(str(len(asyncio.all_tasks(loops[0])) if loops else 0))
    draft.rename(place)
signal.signal(signal.SIGUSR1, count)
from tierwise.cli import main
main()
"""
"""`tierwise` that writes the number of its tasks into a file when it is sent SIGUSR1."""


@dataclass(frozen=True)
class State:
    """What the process holds while nothing runs."""

    requests: int
    resident_mb: float
    files: int
    threads: int
    tasks: int


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
    messages = [{"role": "user", "content": text}]
    match draw.randrange(6):
        case 0:
            return kind, "/completions", {"model": "fast", "prompt": text, "max_tokens": most, "stream": stream}
        case 1:
            body = {"model": tier, "input": text, "max_output_tokens": max(most, 16), "stream": stream, "store": True}
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


def state_of(process: int, place: Path, requests: int) -> State:
    """What a process holds, after a moment in which what just ended can go."""
    time.sleep(QUIET_SECONDS)
    place.unlink(missing_ok=True)
    os.kill(process, signal.SIGUSR1)
    while not place.exists():
        time.sleep(0.05)
    return State(
        requests=requests,
        resident_mb=resident_mb(process),
        files=len(list(Path(f"/proc/{process}/fd").iterdir())),
        threads=len(list(Path(f"/proc/{process}/task").iterdir())),
        tasks=int(place.read_text()),
    )


def config(upstream: str) -> dict[str, Any]:
    """The config file of the endpoint."""
    http = {"engine": "http", "url": upstream, "model": "m"}
    return {
        "deployments": {
            "small": http,
            "large": {**http, "model": "n"},
            "v": {"engine": "vllm", "url": upstream, "model": "m"},
        },
        "tiers": {
            "fast": {"deployment": "small", "policy": "single"},
            "vote": {"deployment": "small", "policy": {"majority": {"n": 3}}},
            "best": {"deployment": "large", "policy": {"best_of_n": {"n": 3}}},
            "refine": {"deployment": "large", "policy": {"refine": {}}},
            "counting": {"deployment": "v", "policy": "single"},
        },
        "routes": {"auto": {"cascade": ["fast", "best"], "signals": [{"length": 12}]}},
        "prices": {"small": {"prompt": 1.0, "completion": 2.0}, "large": {"prompt": 3.0, "completion": 6.0}},
        "stored_responses": {"count": 500, "mebibytes": 8},
    }


LIMITS = {
    "free": (),
    "budget": ("--max-budget", "1000000", "--budget-duration", "30d"),
    "rates": ("--rpm-limit", "6000", "--tpm-limit", "4000000"),
    "parallel": ("--max-parallel-requests", "3"),
    "poor": ("--max-budget", "0.05", "--budget-duration", "1h"),
}
"""Keys, and their limits; `poor` is refused most of the time."""


def keys_of(ledger: Path) -> dict[str, str]:
    """Stored keys by name, and one of an administrator."""
    found = {}
    for name, options in {**LIMITS, "admin": ("--admin",)}.items():
        command: list[str | Path] = [
            sys.executable,
            "-m",
            "tierwise",
            "keys",
            "create",
            "--name",
            name,
            "--json",
            "--ledger",
            ledger,
        ]
        made = json.loads(subprocess.run([*command, *options], capture_output=True, check=True).stdout)
        found[name] = made["key"]
    return found


async def fetched(url: str, key: str = "") -> str:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    async with aiohttp.ClientSession() as client, client.get(url, headers=headers) as answer:
        return await answer.text()


def metric(page: str, name: str, **labels: str) -> float:
    """The sum of the lines of a metric with these labels."""
    lines = (line for line in page.splitlines() if line.startswith((f"{name}{{", f"{name} ")))
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    return sum(float(line.rpartition(" ")[2]) for line in lines if all(one in line for one in wanted))


def recorded(path: Path) -> dict[str, int]:
    """What a ledger has."""
    with closing(sqlite3.connect(path)) as database:
        names = ("passes", "prompt", "completion", "inexact")
        row = database.execute(
            "SELECT COUNT(*), TOTAL(prompt), TOTAL(completion), TOTAL(NOT exact) FROM passes"
        ).fetchone()
        actions = database.execute("SELECT COUNT(*) FROM actions").fetchone()
    return {"actions": actions[0], **{name: int(value) for name, value in zip(names, row, strict=True)}}


@dataclass
class Result:
    """A soak that has ended."""

    traffic: Traffic
    first: State
    last: State
    seconds: float
    sent: Counter[str]
    """What the server counted."""
    ledger: dict[str, int]
    metrics: dict[str, float]

    @property
    def growth(self) -> float:
        return self.last.resident_mb / self.first.resident_mb - 1

    def problems(self) -> list[str]:
        """What should not be."""
        found = list(self.traffic.broken)
        if self.first is self.last:
            found.append("it ended within the first part: whether anything grows is unknown")
        if self.growth >= MOST_GROWTH:
            found.append(f"resident memory grew by {self.growth:.1%}")
        for name in ("files", "threads", "tasks"):
            before, after = getattr(self.first, name), getattr(self.last, name)
            if after > before:
                found.append(f"{name}: {before} after the first part, and {after} at the end")
        found += [
            f"{name} tokens: the server sent {self.sent[name]}, the ledger has {self.ledger[name]}"
            for name in ("prompt", "completion")
            if self.sent[name] != self.ledger[name]
        ]
        for name, value in self.metrics.items():
            if round(value) != self.ledger[name]:
                found.append(f"{name}: {value:g} in the metrics, {self.ledger[name]} in the ledger")
        return found


def soak(folder: Path, wanted: int, minutes: float) -> Result:
    """Run it."""
    place = folder / "tasks"
    program = folder / "program.py"
    program.write_text(PROGRAM)
    keys = keys_of(folder / "ledger.db")
    admin = keys.pop("admin")
    with ExitStack() as stack:
        # Their own groups: a signal to the group of this program shall not end them before it has looked at them.
        upstream_log = folder / "upstream.log"
        _, upstream = stack.enter_context(running(HERE / "soak_upstream.py", log=upstream_log, own_group=True))
        serving = tierwise(config(upstream), folder, program, place, own_group=True)
        process, url = stack.enter_context(serving)
        began = time.monotonic()
        until = began + 60 * minutes
        traffic = Traffic(url, keys)
        stop_on_signals(traffic)
        warm = min(WARM, wanted // 10)
        try:
            asyncio.run(send(traffic, warm, until, 1, process))
            first = last = state_of(process, place, traffic.sent)
            print(first, flush=True)
            if not traffic.is_over:
                asyncio.run(send(traffic, wanted - warm, until, 2, process))
                last = state_of(process, place, traffic.sent)
                print(last, flush=True)
            page = asyncio.run(fetched(f"{url.removesuffix('/v1')}/metrics", admin))
        except (OSError, aiohttp.ClientError) as error:
            print(sorted(traffic.statuses.items()), recorded(folder / "ledger.db"), *traffic.broken[:20], sep="\n")
            log = (folder / "tierwise.log").read_text(encoding="utf-8")[-3000:]
            raise SystemExit(f"tierwise was lost after {traffic.sent:,} requests: {error!r}\n{log}") from error
        counts = Counter(json.loads(asyncio.run(fetched(f"{upstream}/counts"))))
        seconds = time.monotonic() - began
    ledger = recorded(folder / "ledger.db")
    metrics = {kind: metric(page, "tierwise_tokens_total", kind=kind) for kind in ("prompt", "completion")}
    metrics |= {name: metric(page, f"tierwise_{name}_total") for name in ("passes", "actions")}
    return Result(traffic, first, last, seconds, counts, ledger, metrics)


def stop_on_signals(traffic: Traffic) -> None:
    """Send no more requests at the first signal, and end at the second."""

    def stop(*_: object) -> None:
        if traffic.is_over:
            raise SystemExit(1)
        traffic.is_over = True
        print(f"no more requests after {traffic.sent:,}; looking at what there is", flush=True)

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)


def text_of(result: Result, command: str) -> str:
    """The result as a section of a page."""
    first, last, traffic = result.first, result.last, result.traffic
    statuses = Counter[str]()
    for (kind, status), number in traffic.statuses.items():
        statuses["no request" if kind == "bad" else str(status)] += number
    said = ", ".join(f"{number:,} {name}" for name, number in statuses.most_common())
    rows = [
        ("requests", f"{first.requests:,}", f"{last.requests:,}"),
        ("resident memory", f"{first.resident_mb:.1f} MB", f"{last.resident_mb:.1f} MB ({result.growth:+.1%})"),
        *((name, f"{getattr(first, name)}", f"{getattr(last, name)}") for name in ("files", "threads", "tasks")),
    ]
    table = "\n".join(
        f"| {' | '.join(row)} |" for row in [("", "after the first part", "at the end"), ("---",) * 3, *rows]
    )
    sent, ledger, metrics = result.sent, result.ledger, result.metrics
    rate = f"{last.requests / result.seconds:.0f} requests a second"
    return f"""`{command}`, {datetime.now(UTC):%Y-%m-%d}, {result.seconds / 60:.0f} minutes,
{os.cpu_count()} cores that the clients, the server behind and other programs share: {rate}.

{table}

Answers: {said}; {traffic.left:,} clients left in the middle, and {len(traffic.broken)} answers were broken.
The server counted {sent["requests"]:,} requests, {sent["prompt"]:,} prompt tokens and {sent["completion"]:,} completion
tokens; the ledger has {ledger["passes"]:,} passes of {ledger["actions"]:,} actions with {ledger["prompt"]:,} and
{ledger["completion"]:,}, and the metrics have {metrics["prompt"]:,.0f} and {metrics["completion"]:,.0f}."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--minutes", type=float, default=60.0, help="stop after so long (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="for ledger and logs, which are removed at the end")
    parser.add_argument("--page", action="store_true", help=f"write the result into {PAGE.name}")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=wanted.folder) as name:
        result = soak(Path(name), wanted.requests, wanted.minutes)
        log = (Path(name) / "tierwise.log").read_text(encoding="utf-8")
    print(sorted(result.traffic.statuses.items()), result.ledger, result.metrics, result.sent, sep="\n")
    text = text_of(result, f"python benchmarks/soak.py --requests {wanted.requests} --minutes {wanted.minutes:g}")
    print(text)
    problems = result.problems() + [
        line for line in log.splitlines() if "Traceback" in line or "internal error" in line
    ]
    for problem in problems[:20]:
        print(f"PROBLEM: {problem}")
    if wanted.page:
        write_between(PAGE, "<!-- soak: begin -->", "<!-- soak: end -->", text)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
