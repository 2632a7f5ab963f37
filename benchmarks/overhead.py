"""The overhead of Tierwise per request: CPU, latency and throughput, against no proxy and other proxies.

    python benchmarks/overhead.py                         a fast fake backend, beside a bare aiohttp proxy
    python benchmarks/overhead.py --proxies all --page    every proxy of `proxies.py`, written into docs/serving.md
    python benchmarks/overhead.py --before ../old         also the Tierwise of another checkout
    python benchmarks/overhead.py --guard                 fails if a request takes more than overhead_bounds.py allows
    python benchmarks/overhead.py --workers 2             also Tierwise with several processes
    python benchmarks/overhead.py --model                 also a small real model on llama.cpp, with 8 streams

Everything is measured in one run, in alternating blocks, so that noise affects all of them equally. CPU is user and
system time of the proxy's process tree. Tierwise runs with ledger and metrics enabled. Many streams: 256 and 1,000 that
open at once, with an event every 20 ms and every 200 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import httptools
import uvloop

from many_streams import Streams, watch
from overhead_bounds import exceeded
from pages import write_between
from peers.environments import version
from processes import HERE, backend, children, cpu_seconds, running, tierwise
from proxies import OTHERS, OWN, available, proxy

PAGE = HERE.parent / "docs" / "serving.md"
BEGIN, END = "<!-- overhead: begin -->", "<!-- overhead: end -->"

SHORT, LONG = 16, 216
"""Words per answer; a stream has three more events."""


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
    """The last usage in a response; 0 if it has none, as some streams of LiteLLM's."""
    _, found, rest = answer.rpartition(b'"completion_tokens":')
    if not found:
        return 0
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
Targets = dict[str, tuple[int | None, str]]
"""By name: the process of a proxy, and its URL, which ends in /v1."""
Table = dict[str, dict[str, float]]
"""By proxy: figures by name."""
KINDS: dict[str, dict[str, Any]] = {
    "json": {"max_tokens": SHORT, "stream": False},
    "stream": {"max_tokens": SHORT, "stream": True, "stream_options": {"include_usage": True}},
    "long": {"max_tokens": LONG, "stream": True, "stream_options": {"include_usage": True}},
    "paced": {"max_tokens": LONG // 2, "stream": True, "stream_options": {"include_usage": True}, "x_pace": 0.01},
    "slow": {"max_tokens": LONG // 2, "stream": False, "x_pace": 0.01},
}
MESSAGES = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "Say a few words about the weather in the mountains in May."},
]


AT = {"json": (1, 32, 256), "stream": (1, 32, 256), "long": (1, 32), "paced": (32,), "slow": (32,)}
"""Numbers of callers of each kind of request. A paced answer of one caller takes less CPU than is counted at a time."""
CROWDS = {256: (100, 0.02), 1000: (20, 0.2)}
"""Streams that open at once: their events, and the seconds between two."""
BEFORE, WHOLE, WORKERS = "before", "whole", "workers"


async def take_turns(targets: Targets, *, blocks: int, seconds: float) -> Cells:
    cells: Cells = {}
    for block in range(-1, blocks):
        for kind, fields in KINDS.items():
            for callers in AT[kind]:
                for name, (process, url) in targets.items():
                    body = {"model": "fast", "messages": MESSAGES, **fields}
                    await load(url, body, callers=1, seconds=0.01)  # a proxy may learn how long answers take
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


def figures(cells: Cells, names: list[str]) -> Table:
    """Medians over the blocks, in µs and ms."""
    table: Table = {}
    for name in names:
        row: dict[str, float] = {}
        for kind, numbers in AT.items():
            for callers in numbers:
                cell, straight = cells[name, kind, callers], cells["straight", kind, callers]
                row[f"cpu_us_{kind}_c{callers}"] = 1e6 * statistics.median(cell.cpu)
                added = zip(cell.p50, straight.p50, strict=True)
                row[f"added_p50_ms_{kind}_c{callers}"] = 1e3 * statistics.median(a - b for a, b in added)
                rates = zip(cell.rate, straight.rate, strict=True)
                row[f"rate_ratio_{kind}_c{callers}"] = statistics.median(a / b for a, b in rates)
                row[f"per_second_{kind}_c{callers}"] = statistics.median(cell.rate)
        for callers in AT["long"]:
            both = zip(cells[name, "stream", callers].cpu, cells[name, "long", callers].cpu, strict=True)
            per_event = statistics.median((long - short) / (LONG - SHORT) for short, long in both)
            row[f"cpu_us_event_c{callers}"] = 1e6 * per_event
        for callers in AT["paced"]:
            row[f"cpu_us_event_paced_c{callers}"] = row[f"cpu_us_paced_c{callers}"] / (LONG // 2 + 3)
        table[name] = row
    return table


async def crowds(targets: Targets, table: Table, *, blocks: int) -> None:
    """Add how many streams fare that open at once."""
    for streams, (events, pace) in CROWDS.items():
        seen: dict[str, list[Streams]] = {}
        for _ in range(blocks):
            for name, (_, url) in targets.items():
                seen.setdefault(name, []).append(await watch(url, streams=streams, events=events, pace=pace))
        for name, those in seen.items():
            row = table.setdefault(name, {})
            for which in ("delays", "firsts"):
                row[f"p99_{which}_ms_{streams}"] = 1e3 * statistics.median(one.p99(which) for one in those)
            row[f"refused_{streams}"] = sum(one.refused for one in those)
            row[f"stalled_{streams}"] = sum(one.stalled for one in those)


@contextmanager
def fronts(
    folder: Path, upstream: str, names: Sequence[str], before: Path | None, *, whole: bool = False, workers: int = 1
) -> Iterator[Targets]:
    """Tierwise and other proxies in front of an upstream, and the upstream itself.

    `whole`: also a Tierwise that asks it for no streams. `workers`: if above 1, also a Tierwise with so many.
    """
    folder.mkdir()
    config: dict[str, Any] = {
        "deployments": {"fake": {"engine": "http", "url": upstream, "model": "fake"}},
        "tiers": {"fast": {"deployment": "fake", "policy": "single"}},
        "prices": {"fake": {"prompt": 0.15, "completion": 0.6}},
    }
    targets: Targets = {"straight": (None, upstream)}
    with ExitStack() as stack:
        for name in names:
            targets[name] = stack.enter_context(proxy(name, upstream, folder))
        if before is not None:
            old = folder / BEFORE
            old.mkdir()
            start = f"import sys; sys.path.insert(0, {str(before.resolve() / 'src')!r})"
            run_it = f"{start}; import runpy; runpy.run_module('tierwise', run_name='__main__')"
            targets[BEFORE] = stack.enter_context(tierwise(config, old, "-c", run_it))
        if whole:
            asks_whole = folder / WHOLE
            asks_whole.mkdir()
            without = {"fake": {**config["deployments"]["fake"], "drop": ["stream"]}}
            targets[WHOLE] = stack.enter_context(tierwise({**config, "deployments": without}, asks_whole))
        if workers > 1:
            several = folder / WORKERS
            several.mkdir()
            options = ("--workers", str(workers))
            targets[WORKERS] = stack.enter_context(tierwise(config, several, options=options))
        targets["tierwise"] = stack.enter_context(tierwise(config, folder))
        yield targets


def against_fake(folder: Path, wanted: argparse.Namespace) -> Table:
    names = [name for name in wanted.proxies if available(name)]
    table: Table = {}
    if not wanted.only_crowds:
        with (
            backend(folder) as upstream,
            fronts(
                folder / "requests", upstream, names, wanted.before, whole=wanted.whole, workers=wanted.workers
            ) as targets,
        ):
            cells = uvloop.run(take_turns(targets, blocks=wanted.blocks, seconds=wanted.seconds))
            table = figures(cells, list(targets))
    if wanted.crowd_blocks:
        with (
            running(HERE / "many_streams.py", "upstream", log=folder / "paced.log") as (_, upstream),
            fronts(folder / "crowds", upstream, names, wanted.before, workers=wanted.workers) as targets,
        ):
            uvloop.run(crowds(targets, table, blocks=wanted.crowd_blocks))
    return table


ROWS = (
    ("CPU µs per JSON answer", "cpu_us_json", "c", AT["json"], ".0f"),
    (f"CPU µs per JSON answer, {LONG // 2} words, one each 10 ms", "cpu_us_slow", "c", AT["slow"], ".0f"),
    (f"CPU µs per stream of {SHORT + 3} events", "cpu_us_stream", "c", AT["stream"], ".0f"),
    ("CPU µs per further event, at once", "cpu_us_event", "c", AT["long"], ".1f"),
    ("CPU µs per event, one each 10 ms", "cpu_us_event_paced", "c", AT["paced"], ".0f"),
    ("added p50 ms, JSON", "added_p50_ms_json", "c", AT["json"], ".2f"),
    ("added p50 ms, stream", "added_p50_ms_stream", "c", AT["stream"], ".2f"),
    ("answers per second, JSON", "per_second_json", "c", AT["json"], ".0f"),
    ("answers per second, stream", "per_second_stream", "c", AT["stream"], ".0f"),
    ("p99 event delay ms, streams", "p99_delays_ms", "", CROWDS, ".1f"),
    ("p99 first event ms, streams", "p99_firsts_ms", "", CROWDS, ".0f"),
    ("refused or cut off, streams", "refused", "", CROWDS, ".0f"),
    ("stalled for 10 s, streams", "stalled", "", CROWDS, ".0f"),
)


def lines(table: Table) -> list[list[str]]:
    """The figures as text, with a head; a dash where nothing was measured."""
    found = [["", *table]]
    for label, key, letter, at, form in ROWS:
        for number in at:
            name = f"{key}_{letter}{number}"
            cells = [format(row[name], form) if name in row else "–" for row in table.values()]
            if key.startswith(("cpu", "added")):
                cells[0] = "–"  # of no proxy
            if any(cell != "–" for cell in cells):
                found.append([f"{label}, {'c=' if letter else ''}{number}", *cells])
    return found


def show(table: Table) -> None:
    for first, *cells in lines(table):
        print(f"{first:42}" + "".join(f"{cell:>12}" for cell in cells))


def write_page(table: Table, names: Sequence[str], wanted: argparse.Namespace) -> None:
    """Replace the table in the documentation."""
    versions = ["Tierwise " + metadata.version("tierwise")]
    for name in names:
        if name == "nginx":
            said = subprocess.run(["nginx", "-v"], check=True, capture_output=True, text=True).stderr
            versions.append("nginx " + said.rpartition("/")[2].split()[0])
        elif name in OTHERS:
            versions.append(f"{name} {version(name)}")
    versions += [f"{name} {metadata.version(name)}" for name in ("aiohttp", "uvloop", "httptools")]
    cores, python = os.cpu_count(), platform.python_version()
    how = f"--workers {wanted.workers} " if wanted.workers > 1 else ""
    how += f"--blocks {wanted.blocks} --seconds {wanted.seconds:g} --crowd-blocks {wanted.crowd_blocks}"
    command = f"python benchmarks/overhead.py --proxies all {how} --page"
    about = f"`{command}`, {date.today():%Y-%m-%d}, {cores} cores, Python {python}; {', '.join(versions)}."  # noqa: DTZ011 - as read
    head, *rest = lines({name: row for name, row in table.items() if name not in (BEFORE, WHOLE)})
    rows = [head, ["---", *["---:"] * (len(head) - 1)], *rest]
    text = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    write_between(PAGE, BEGIN, END, f"{about}\n\n{text}")


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
    parser.add_argument("--proxies", nargs="*", choices=[*OWN, *OTHERS, "all"], default=["aiohttp"], metavar="NAME")
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="also measure the Tierwise of another checkout")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="also measure Tierwise with N workers")
    parser.add_argument("--crowd-blocks", type=int, default=1, help="repeats of the many streams; 0 leaves them out")
    parser.add_argument(
        "--whole", action="store_true", help="also Tierwise when it asks its engine for whole answers only"
    )
    parser.add_argument("--only-crowds", action="store_true", help="measure only the many streams")
    parser.add_argument("--guard", action="store_true", help="compare with the floor, and fail beyond the bounds")
    parser.add_argument("--page", action="store_true", help=f"write the table into {PAGE.name}")
    wanted = parser.parse_args()
    if "all" in wanted.proxies:
        wanted.proxies = [*OTHERS, *OWN]
    if wanted.guard:
        wanted.proxies, wanted.crowd_blocks = ["floor"], 0
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if not wanted.only_model:
            table = results["fake"] = against_fake(folder, wanted)
            show(table)
            if wanted.page:
                write_page(table, [name for name in wanted.proxies if name in table], wanted)
        if wanted.model or wanted.only_model:
            real = results["model"] = against_model(folder, blocks=max(4, wanted.blocks), seconds=8.0)
            print(
                f"\nSmolLM2 on llama.cpp, {STREAMS} streams: straight {real['straight_tokens_per_second']:.0f},"
                f" tierwise {real['tierwise_tokens_per_second']:.0f} tokens per second; ratio {real['ratio']:.3f}"
                f" (blocks {real['least_ratio']:.3f} to {real['greatest_ratio']:.3f})"
            )
    if wanted.json:
        wanted.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
    if wanted.guard and (beyond := exceeded(results["fake"])):
        raise SystemExit("\n".join(beyond))


if __name__ == "__main__":
    main()
