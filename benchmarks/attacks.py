"""Attacks the endpoint with everything that once blocked it, and measures how long a second client waits meanwhile.

    python benchmarks/attacks.py [--seconds 4] [--connections 4] [--only NAME]

Each attack is made by several connections at once, in a loop, from a process of low priority, because attackers have
machines of their own. The second client sends a short question again and again. It is measured alone before each attack
(quiet) and during it. Exits with 1 if its p99 under any attack, or under all of them together, is more than 50 ms over
its quiet p99, if one of its requests fails, or if the server and its processes use more than 2 GiB.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop
from aiohttp import web

from loop_steps import LongestStep
from processes import HERE, children, running, serve, tierwise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOST_MS = 50.0
MOST_BYTES = 2 << 30
HELLO = [{"role": "user", "content": "hello"}]


# ── the engine ──────────────────────────────────────────────────────────
async def engine() -> None:
    """A server that says what a request tells it to: `x_say` as often as `x_times`."""

    async def answer(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        text = body.get("x_say", "four") * body.get("x_times", 1)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        usage = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
        for delta, finish in (({"role": "assistant", "content": text}, None), ({}, "stop")):
            choice = {"index": 0, "delta": delta, "finish_reason": finish}
            await response.write(b"data: %b\n\n" % json.dumps({"choices": [choice], "usage": usage}).encode())
        await response.write(b"data: [DONE]\n\n")
        return response

    app = web.Application(client_max_size=1 << 30)
    app.router.add_post("/v1/chat/completions", answer)
    await serve(app)


# ── the attacks ─────────────────────────────────────────────────────────
def post(body: bytes, *headers: str) -> bytes:
    lines = ["POST /v1/chat/completions HTTP/1.1", "host: localhost", "content-type: application/json", *headers]
    return "\r\n".join([*lines, f"content-length: {len(body)}", "", ""]).encode() + body


def chat(model: str = "one", **fields: Any) -> bytes:
    return post(json.dumps({"model": model, "messages": HELLO, **fields}).encode())


def checked(verifier: dict[str, Any], say: str = "a", times: int = 1, **fields: Any) -> bytes:
    """32 candidates or more, each checked."""
    return chat("best", n=4, x_say=say, x_times=times, tierwise={"verifier": verifier}, **fields)


def with_field(value: bytes) -> bytes:
    return post(json.dumps({"model": "one", "messages": HELLO}).encode()[:-1] + b', "x": ' + value + b"}")


def doubling(levels: int) -> dict[str, Any]:
    defs: dict[str, Any] = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(levels)}
    return {"$ref": "#/$defs/d0", "$defs": {**defs, f"d{levels}": {"type": "integer"}}}


def schema(of: Any) -> dict[str, Any]:
    return {"json_schema": {"schema": of}}


def fresh(template: bytes) -> Iterator[bytes]:
    """Requests whose settings are different every time, so that none is known from the one before."""
    for number in itertools.count():
        yield template.replace(b"FRESH00", b"F%06d" % (number % 1_000_000))


KB, MB = 1000, 1_000_000
DIGITS = "12 " * 80_000
"""240 KB of numbers."""
PATTERN = {"regex": {"pattern": "(a)?" * 1000}}
LISTED = "[" + ",".join(map(str, range(30_000))) + "]"
TINY_CHUNKS = b"1\r\nx\r\n" * 300_000

ATTACKS: dict[str, Callable[[], bytes]] = {
    "a pattern of 200 KB": lambda: checked({"regex": {"pattern": "(a|b)*c" * 28_000}}),
    "(a)? x 1000 on 10 KB": lambda: checked(PATTERN, times=10 * KB),
    "(a)? x 1000 on 250 KB": lambda: checked(PATTERN, times=250 * KB),
    "a pattern of 30 bytes that means 500,000 steps": lambda: checked(
        {"regex": {"pattern": r"(?:\p{L}|\p{N}){399}FRESH00"}}, times=4 * KB
    ),
    "tests of 5 MB": lambda: checked({"python_tests": {"tests": "a = 1\n" * 800_000}}),
    "tests of 250 KB": lambda: checked({"python_tests": {"tests": "FRESH00 = [1, 2]\n" * 14_000}}),
    "tests of 250 KB, nested": lambda: checked({"python_tests": {"tests": "FRESH00 = " + "-" * 250 * KB + "1"}}),
    "1,000 options of 2 KB": lambda: checked({"choice": {"options": [f"{n} " * 500 for n in range(1000)]}}, times=MB),
    "1,000 options of 200 characters": lambda: checked(
        {"choice": {"options": [f"{n:0199} " for n in range(1000)]}}, "ab ", 80 * KB
    ),
    "number on 1 MB": lambda: checked({"number": {}}, "12 ", 350 * KB),
    "number on 240 KB": lambda: checked({"number": {"equals": 7}}, DIGITS),
    "fractions on 250 KB": lambda: checked({"number": {"equals": 7}}, "\\frac{1}{", 27 * KB),
    "choice on 240 KB": lambda: checked({"choice": {"options": ["red", "blue"]}}, DIGITS),
    "exact on 1 MB": lambda: checked({"exact": {"equals": "x"}}, "answer is ", 100 * KB),
    "exact on 250 KB": lambda: checked({"exact": {"equals": "x"}}, "the answer is: ", 17 * KB),
    "votes on 240 KB": lambda: chat("vote", n=4, x_say=DIGITS),
    "a schema with 40 levels of $ref": lambda: checked(schema(doubling(40)), "1"),
    "a schema of 60 KB": lambda: checked(
        schema({"properties": {f"FRESH00{n}": {"type": "integer"} for n in range(1500)}}), '{"a": 1}'
    ),
    "enum": lambda: checked(schema({"items": {"enum": [f"{n} " * 8 for n in range(1500)]}}), LISTED),
    "const": lambda: checked(schema({"items": {"not": {"const": list(range(9_000))}}}), LISTED),
    "uniqueItems": lambda: checked(schema({"uniqueItems": True}), "[" + "{}," * 80_000 + "1]"),
    "patternProperties": lambda: checked(
        schema({"patternProperties": {f"^(a|b){{{n}}}$": {} for n in range(300)}}),
        json.dumps({f"a{n}": n for n in range(15_000)}),
    ),
    "a response format with 40 levels": lambda: chat(
        "best", response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": doubling(40)}}, x_say="1"
    ),
    "32 choices x 8 candidates x 250 KB": lambda: chat(
        "best", n=32, x_say="a", x_times=250 * KB, tierwise={"verifier": PATTERN}
    ),
    "32 MB of []": lambda: with_field(b"[" + b"[]," * 11 * MB + b"1]"),
    "50,000 values": lambda: with_field(b"[" + b"{}," * 24_900 + b"1]"),
    "50,000 numbers": lambda: with_field(b"[" + b"1e300," * 49_900 + b"1]"),
    "half a million escapes": lambda: with_field(b'"' + b"\\u00e9" * 499_000 + b'"'),
    "30 MB of text": lambda: chat(messages=[{"role": "user", "content": "x" * 30 * MB}]),
    "half a million messages": lambda: chat(messages=HELLO * 500 * KB),
    "4,096 messages": lambda: chat(messages=HELLO * 4096),
    "a header of 60 MB": lambda: post(b"{}", "x-long: " + "a" * 60 * MB),
    "headers of 60 MB": lambda: post(b"{}", *["a: b"] * 10 * MB),
    "300,000 chunks of a byte": lambda: (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        b"transfer-encoding: chunked\r\n\r\n" + TINY_CHUNKS
    ),
    "10,000 requests in a row": lambda: chat() * 10 * KB,
}


async def attack(port: int, name: str, seconds: float, connections: int) -> None:
    """Attack for a while; every connection is closed at the end, whatever it waits for."""
    requests = fresh(ATTACKS[name]())
    until = time.monotonic() + seconds
    counts: dict[str, int] = {}

    async def one() -> None:
        while time.monotonic() < until:
            with suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
                async with asyncio.timeout_at(asyncio.get_running_loop().time() + until - time.monotonic()):
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    try:
                        status = await exchange(reader, writer, next(requests))
                        counts[status] = counts.get(status, 0) + 1
                    finally:
                        writer.transport.abort()

    print("ready", flush=True)
    await asyncio.gather(*(one() for _ in range(connections)))
    print(json.dumps(counts), flush=True)


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> str:
    """Send a request and read the first line of its response, which may come before all is sent."""
    writer.write(request)
    sending = asyncio.ensure_future(writer.drain())
    sending.add_done_callback(lambda done: done.cancelled() or done.exception())
    try:
        return (await reader.readuntil(b"\r\n")).split()[1].decode()
    finally:
        sending.cancel()


# ── the second client ───────────────────────────────────────────────────
@dataclass(slots=True)
class Waits:
    """How long the second client waited for each of its answers, in ms."""

    ms: list[float] = field(default_factory=list)
    failures: int = 0

    def add(self, other: Waits) -> None:
        self.ms += other.ms
        self.failures += other.failures

    @property
    def p99(self) -> float:
        ordered = sorted(self.ms)
        return ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]


QUESTION = chat("quiet")


async def ask(port: int, waits: Waits, until: Callable[[], bool]) -> None:
    """Ask one question after the other on one connection, with a pause of 5 ms."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while not until():
        began = time.perf_counter()
        writer.write(QUESTION)
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length"))
        await reader.readexactly(length)
        waits.ms.append(1000 * (time.perf_counter() - began))
        waits.failures += not head.startswith(b"HTTP/1.1 200")
        await asyncio.sleep(0.005)
    writer.close()


async def quiet(port: int, seconds: float) -> Waits:
    waits, until = Waits(), time.monotonic() + seconds
    await ask(port, waits, lambda: time.monotonic() > until)
    return waits


async def attacked(port: int, name: str, seconds: float, connections: int) -> tuple[Waits, str]:
    command = (__file__, "--attack", name, "--port", str(port), "--seconds", str(seconds))
    attacker = await asyncio.create_subprocess_exec(
        *("nice", "-n", "20", sys.executable, *command, "--connections", str(connections)), stdout=subprocess.PIPE
    )
    assert attacker.stdout is not None
    await attacker.stdout.readline()
    waits = Waits()
    is_over = asyncio.ensure_future(attacker.stdout.readline())
    await ask(port, waits, is_over.done)
    await attacker.wait()
    return waits, (await is_over).decode().strip()


def prioritise(process: int, niceness: int) -> None:
    """Set the priority of a process and its threads, where that is allowed."""
    for thread in Path(f"/proc/{process}/task").iterdir():
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, int(thread.name), niceness)


def resident(process: int) -> int:
    """Bytes of a process and all its descendants."""
    with suppress(OSError):
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") + sum(map(resident, children(process)))
    return 0


async def watch_memory(process: int, peak: list[int]) -> None:
    while True:
        peak.append(max(peak.pop(), resident(process)))
        await asyncio.sleep(0.05)


# ── all of it ───────────────────────────────────────────────────────────
async def measure(port: int, process: int, names: list[str], options: argparse.Namespace, longest: LongestStep) -> bool:
    alone, under = Waits(), Waits()
    peak, is_good = [0], True
    watching = asyncio.ensure_future(watch_memory(process, peak))
    await quiet(port, 1.0)  # a warm-up
    print(f"{'':48s} quiet p99   p99 attacked   over   longest   step   server  responses (ms, MB)")
    for name in names:
        peak[0] = 0
        before = await quiet(port, options.seconds / 2)
        longest.take()
        during, counts = await attacked(port, name, options.seconds, options.connections)
        step = 1000 * longest.take()
        after = await quiet(port, options.seconds / 2)
        before.add(after)
        alone.add(before)
        under.add(during)
        over = during.p99 - before.p99
        good = over <= MOST_MS and not during.failures and peak[0] <= MOST_BYTES
        is_good &= good
        print(
            f"{name:48s} {before.p99:9.1f} {during.p99:14.1f} {over:6.1f} {max(during.ms):9.1f} {step:6.1f}"
            f" {peak[0] / 1e6:8.0f}  {counts}{'' if good else '   TOO MUCH'}",
            flush=True,
        )
    over = under.p99 - alone.p99
    print(
        f"{'all':48s} {alone.p99:9.1f} {under.p99:14.1f} {over:6.1f} {max(under.ms):9.1f}                  "
        f"{len(alone.ms)} quiet, {len(under.ms)} attacked, {under.failures} failed"
    )
    watching.cancel()
    return is_good and over <= MOST_MS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each attack")
    parser.add_argument("--connections", type=int, default=4, help="of an attacker")
    parser.add_argument("--only", default="", help="attacks whose name contains this")
    parser.add_argument("--attack", choices=sorted(ATTACKS), help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--engine", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.engine:
        uvloop.run(engine())
        return
    if options.attack:
        uvloop.run(attack(options.port, options.attack, options.seconds, options.connections))
        return
    names = [name for name in ATTACKS if options.only in name]
    if not names:
        parser.error(f"no attack's name contains {options.only!r}; the attacks are: {', '.join(ATTACKS)}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        engines = [running(__file__, "--engine", log=folder / f"engine{number}.log") for number in range(2)]
        with engines[0] as (quietly, ours), engines[1] as (theirs, upstream):
            prioritise(theirs, 10)  # the engine under attack is another machine's
            config = {
                "deployments": {
                    "quiet": {"engine": "http", "url": ours, "model": "fake"},
                    "fake": {"engine": "http", "url": upstream, "model": "fake", "slots": 8},
                },
                "tiers": {
                    "quiet": {"deployment": "quiet", "policy": "single"},
                    "one": {"deployment": "fake", "policy": "single"},
                    "best": {"deployment": "fake", "policy": {"best_of_n": {"n": 8}}},
                    "vote": {"deployment": "fake", "policy": {"majority": {"n": 8}}},
                },
            }
            longest = LongestStep(folder / "longest_step")
            watched = os.environ.get("PROBE", HERE / "loop_steps.py"), folder / "longest_step"
            with tierwise(config, folder, *watched) as (process, url):
                for one in (process, quietly, os.getpid()):
                    prioritise(one, -10)  # what else runs on this machine is not the attack
                port = int(url.rpartition(":")[2].split("/")[0])
                is_good = uvloop.run(measure(port, process, names, options, longest))
    sys.exit(0 if is_good else 1)


if __name__ == "__main__":
    main()
