"""The overhead of Tierwise per request: CPU, latency and throughput, against no proxy and a bare aiohttp proxy.

    python benchmarks/overhead.py                 a fast fake backend
    python benchmarks/overhead.py --model         also a small real model on llama.cpp, with 8 concurrent streams

Everything is measured in one run, in alternating blocks, so that noise affects all of them equally. CPU is user and
system time of the proxy's process tree. Tierwise runs with ledger and metrics enabled.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import aiohttp
import httptools
import uvloop
from aiohttp import web

from processes import HERE, backend, children, cpu_seconds, listen, running, tierwise

SHORT, LONG = 16, 216
"""Words per answer; a stream has three more events."""


# ── the peer ────────────────────────────────────────────────────────────
async def bare_proxy(upstream: str) -> None:
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
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    listener, url = listen()
    await web.SockSite(runner, listener).start()
    print(url, flush=True)
    await asyncio.Event().wait()


# ── the load ────────────────────────────────────────────────────────────
class Caller(asyncio.Protocol):
    """A minimal client: one connection with sequential requests."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._done: asyncio.Future[None] | None = None
        self._body: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's transport is not a subclass

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        assert self._done is not None
        self._done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(exc or ConnectionError("the server hung up"))

    async def ask(self, request: bytes) -> bytes:
        if self.transport.is_closing():
            raise ConnectionError("the server closed the connection")
        self._done, self._body = asyncio.get_running_loop().create_future(), []
        self.transport.write(request)
        await self._done
        body = b"".join(self._body)
        if self._parser.get_status_code() != 200:
            raise SystemExit(f"{self._parser.get_status_code()}: {body[:500]!r}")
        return body


def request_to(url: str, body: dict[str, Any]) -> bytes:
    content = json.dumps(body).encode()
    path = urlsplit(url).path
    head = f"POST {path}/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(content)}\r\n\r\n".encode() + content


@dataclass(frozen=True, slots=True)
class Block:
    """The results of one block of load."""

    requests: int
    seconds: float
    p50: float
    tokens: int


async def load(url: str, body: dict[str, Any], *, callers: int, seconds: float) -> Block:
    """A closed loop with `callers` clients, for `seconds`."""
    parts, loop = urlsplit(url), asyncio.get_running_loop()
    request = request_to(url, body)
    latencies: list[float] = []
    tokens = 0

    async def connect() -> Caller:
        return (await loop.create_connection(Caller, parts.hostname or "", parts.port or 80))[1]

    async def call(caller: Caller, until: float) -> None:
        nonlocal tokens
        while (began := time.perf_counter()) < until:
            try:
                answer = await caller.ask(request)
            except ConnectionError:  # llama.cpp closes the connection after every stream
                caller = await connect()
                continue
            latencies.append(time.perf_counter() - began)
            tokens += tokens_in(answer)
        caller.transport.close()

    connections = [await connect() for _ in range(callers)]
    began = time.perf_counter()
    await asyncio.gather(*(call(caller, began + seconds) for caller in connections))
    return Block(len(latencies), time.perf_counter() - began, statistics.median(latencies), tokens)


def tokens_in(answer: bytes) -> int:
    """The last usage in a response."""
    _, _, rest = answer.rpartition(b'"completion_tokens":')
    return int(rest.lstrip().split(b",")[0].split(b"}")[0] or 0)


# ── against the fake backend ────────────────────────────────────────────
@dataclass(slots=True)
class Cell:
    """The blocks of one target under one kind of load."""

    cpu: list[float] = field(default_factory=list)
    """Seconds per request."""
    p50: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)
    """Requests per second."""


Cells = dict[tuple[str, str, int], Cell]
KINDS: dict[str, dict[str, Any]] = {
    "json": {"max_tokens": SHORT, "stream": False},
    "stream": {"max_tokens": SHORT, "stream": True, "stream_options": {"include_usage": True}},
    "long": {"max_tokens": LONG, "stream": True, "stream_options": {"include_usage": True}},
    "paced": {"max_tokens": LONG // 2, "stream": True, "stream_options": {"include_usage": True}, "x_pace": 0.01},
}
MESSAGES = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "Say a few words about the weather in the mountains in May."},
]


async def take_turns(targets: dict[str, tuple[int | None, str]], *, blocks: int, seconds: float) -> Cells:
    cells: Cells = {}
    for block in range(-1, blocks):
        for kind, fields in KINDS.items():
            for callers in (1, 8, 32):
                for name, (process, url) in targets.items():
                    body = {"model": "fast", "messages": MESSAGES, **fields}
                    before = cpu_seconds(process) if process else 0.0
                    done = await load(url, body, callers=callers, seconds=seconds if block >= 0 else 0.2)
                    used = cpu_seconds(process) - before if process else 0.0
                    if block < 0:
                        continue  # the first round is a warm-up
                    cell = cells.setdefault((name, kind, callers), Cell())
                    cell.cpu.append(used / done.requests)
                    cell.p50.append(done.p50)
                    cell.rate.append(done.requests / done.seconds)
    return cells


def figures(cells: Cells, names: list[str]) -> dict[str, dict[str, float]]:
    """Medians over the blocks, in µs and ms."""
    table: dict[str, dict[str, float]] = {}
    for name in names:
        row: dict[str, float] = {}
        for callers in (1, 8, 32):
            of = {kind: cells[name, kind, callers] for kind in KINDS}
            straight = {kind: cells["straight", kind, callers] for kind in KINDS}
            row[f"cpu_us_json_c{callers}"] = 1e6 * statistics.median(of["json"].cpu)
            row[f"cpu_us_stream_c{callers}"] = 1e6 * statistics.median(of["stream"].cpu)
            both = zip(of["stream"].cpu, of["long"].cpu, strict=True)
            per_event = statistics.median((long - short) / (LONG - SHORT) for short, long in both)
            row[f"cpu_us_event_c{callers}"] = 1e6 * per_event
            row[f"cpu_us_paced_c{callers}"] = 1e6 * statistics.median(of["paced"].cpu) / (LONG // 2 + 3)
            for kind in ("json", "stream"):
                added = zip(of[kind].p50, straight[kind].p50, strict=True)
                row[f"added_p50_ms_{kind}_c{callers}"] = 1e3 * statistics.median(a - b for a, b in added)
            for kind in KINDS:
                rates = zip(of[kind].rate, straight[kind].rate, strict=True)
                row[f"rate_ratio_{kind}_c{callers}"] = statistics.median(a / b for a, b in rates)
                row[f"per_second_{kind}_c{callers}"] = statistics.median(of[kind].rate)
        table[name] = row
    return table


def against_fake(folder: Path, *, blocks: int, seconds: float) -> dict[str, dict[str, float]]:
    with backend(folder) as upstream:
        config = {
            "deployments": {"fake": {"engine": "http", "url": upstream, "model": "fake"}},
            "tiers": {"fast": {"deployment": "fake", "policy": "single"}},
            "prices": {"fake": {"prompt": 0.15, "completion": 0.6}},
        }
        proxy = (HERE / "overhead.py", "--bare-proxy", upstream)
        with running(*proxy, log=folder / "proxy.log") as peer, tierwise(config, folder) as ours:
            targets: dict[str, tuple[int | None, str]] = {
                "straight": (None, upstream),
                "aiohttp": peer,
                "tierwise": ours,
            }
            cells = uvloop.run(take_turns(targets, blocks=blocks, seconds=seconds))
            return figures(cells, list(targets))


def show(table: dict[str, dict[str, float]]) -> None:
    peer, ours, straight = table["aiohttp"], table["tierwise"], table["straight"]
    print(f"{'':42}{'straight':>10}{'aiohttp':>10}{'tierwise':>10}")
    rows = [
        ("CPU µs per JSON answer", "cpu_us_json", (1, 8, 32), ".0f"),
        (f"CPU µs per stream of {SHORT + 3} events", "cpu_us_stream", (1, 8, 32), ".0f"),
        ("CPU µs per further event, at once", "cpu_us_event", (1, 8, 32), ".1f"),
        ("CPU µs per event, one each 10 ms", "cpu_us_paced", (1, 8, 32), ".1f"),
        ("added p50 ms, JSON", "added_p50_ms_json", (1,), ".3f"),
        ("added p50 ms, stream", "added_p50_ms_stream", (1,), ".3f"),
        ("answers per second, JSON", "per_second_json", (1, 8, 32), ".0f"),
        ("answers per second, stream", "per_second_stream", (1, 8, 32), ".0f"),
        ("their share of straight, JSON", "rate_ratio_json", (1, 8, 32), ".3f"),
        ("their share of straight, stream", "rate_ratio_stream", (1, 8, 32), ".3f"),
    ]
    for label, key, at, form in rows:
        for callers in at:
            name = f"{key}_c{callers}"
            own = format(straight[name], form) if key.startswith("per_second") else "–"
            print(f"{label + f', c={callers}':42}{own:>10}{peer[name]:>10{form}}{ours[name]:>10{form}}")


# ── against a real model ────────────────────────────────────────────────
QUICKSTART = HERE.parent / "examples" / "quickstart.yaml"
STREAMS = 8


def against_model(folder: Path, *, blocks: int, seconds: float) -> dict[str, float]:
    """Completion tokens per second through the endpoint, and directly from its engine."""
    import yaml  # noqa: PLC0415 - only here

    file = yaml.safe_load(QUICKSTART.read_text(encoding="utf-8"))
    config = {
        "checkpoints": file["checkpoints"],
        "deployments": {"small": {**file["deployments"]["small"], "slots": STREAMS}},
        "tiers": {"fast": {"deployment": "small", "policy": "single"}},
    }
    with tierwise(config, folder) as (process, url):
        engine = wait_for_engine(process, url)
        return uvloop.run(compare_with_model(engine, url, blocks=blocks, seconds=seconds))


async def compare_with_model(engine: str, url: str, *, blocks: int, seconds: float) -> dict[str, float]:
    body = {
        "model": "fast",
        "messages": MESSAGES,
        "max_tokens": 64,
        "temperature": 0.8,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    rates: dict[str, list[float]] = {"straight": [], "tierwise": []}
    for block in range(-1, blocks):
        names = list(rates) if block % 2 else list(reversed(rates))
        for name in names:
            target = engine if name == "straight" else url
            done = await load(target, body, callers=STREAMS, seconds=seconds if block >= 0 else 3.0)
            if block >= 0:
                rates[name].append(done.tokens / done.seconds)
    ratios = [ours / straight for ours, straight in zip(rates["tierwise"], rates["straight"], strict=True)]
    return {
        "straight_tokens_per_second": statistics.median(rates["straight"]),
        "tierwise_tokens_per_second": statistics.median(rates["tierwise"]),
        "ratio": statistics.median(ratios),
        "least_ratio": min(ratios),
        "greatest_ratio": max(ratios),
    }


def wait_for_engine(process: int, url: str) -> str:
    """The engine's URL, from the port in the settings of its process."""
    import urllib.request  # noqa: PLC0415 - only here

    ready = url.removesuffix("/v1") + "/ready"
    for _ in range(600):
        try:
            urllib.request.urlopen(ready).close()
            break
        except urllib.request.HTTPError as error:
            error.close()
            time.sleep(0.1)
    port = next(settings["port"] for settings in worker_settings(process))
    return f"http://127.0.0.1:{port}/v1"


def worker_settings(process: int) -> list[dict[str, Any]]:
    found = []
    for child in children(process):
        last = Path(f"/proc/{child}/cmdline").read_bytes().rstrip(b"\0").rpartition(b"\0")[2]
        if last.startswith(b"{"):
            found.append(json.loads(last))
        found += worker_settings(child)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="store_true", help="also measure with a small real model (two more minutes)")
    parser.add_argument("--only-model", action="store_true", help="measure only with the real model")
    parser.add_argument("--blocks", type=int, default=5, help="blocks per cell")
    parser.add_argument("--seconds", type=float, default=0.8, help="seconds per block")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--bare-proxy", metavar="URL", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.bare_proxy:
        uvloop.run(bare_proxy(wanted.bare_proxy))
        return
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if not wanted.only_model:
            results["fake"] = against_fake(folder, blocks=wanted.blocks, seconds=wanted.seconds)
            show(results["fake"])
        if wanted.model or wanted.only_model:
            real = results["model"] = against_model(folder, blocks=max(4, wanted.blocks), seconds=8.0)
            print(
                f"\nSmolLM2 on llama.cpp, {STREAMS} streams: straight {real['straight_tokens_per_second']:.0f},"
                f" tierwise {real['tierwise_tokens_per_second']:.0f} tokens per second; ratio {real['ratio']:.3f}"
                f" (blocks {real['least_ratio']:.3f} to {real['greatest_ratio']:.3f})"
            )
    if wanted.json:
        wanted.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
