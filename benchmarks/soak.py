"""Hundreds of thousands of requests over all APIs, with faults: nothing grows, and no token is lost.

    python benchmarks/soak.py [--requests 1000000] [--minutes 60] [--page]

`tierwise serve` runs with ledger, keys with limits and metrics before a scripted server (`soak_upstream.py`). Clients
send chat completions, completions, responses that are stored and continued, messages, embeddings and counts of tokens,
whole and streamed, to several policies. Some send what is no request, some read slowly, some leave in the middle; the
server fails at times, also where passes run side by side. What is compared after a first part (a tenth, at most 100,000
requests) and at the end, each time with nothing running: resident memory, open files, threads, tasks. At the end the
ledger's tokens are those that the server sent, the metrics are those of the ledger, and every answer came to its end or
to an error; else it exits with 1. Where a pass fails beside others, some of these are aborted, and the ledger may have
fewer tokens of them than were sent, and no more.

It stops after `--requests` or `--minutes`, whichever is first, or at SIGINT or SIGTERM, and then looks at what it has;
a second signal ends it at once. Each minute it prints how far it is. `--page` writes the result into docs/serving.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp

from pages import write_between
from processes import HERE, running, tierwise
from soak_books import Beside, beside, metric, recorded
from soak_traffic import Traffic, resident_mb, send

PAGE = HERE.parent / "docs" / "serving.md"
MOST_GROWTH = 0.02
WARM = 100_000
"""Requests of the first part, at most; a tenth of all if that is less."""
QUIET_SECONDS = 35.0
"""Before a look at the process: connections to the server behind that nobody uses are closed meanwhile."""
ANSWER_SECONDS = 30.0
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


def state_of(process: int, place: Path, requests: int) -> State:
    """What a process holds, after a moment in which what just ended can go.

    Raises:
        OSError: it does not answer.
    """
    time.sleep(QUIET_SECONDS)
    place.unlink(missing_ok=True)
    os.kill(process, signal.SIGUSR1)
    until = time.monotonic() + ANSWER_SECONDS
    while not place.exists():
        if time.monotonic() > until:
            raise OSError(f"process {process} does not say how many tasks it has")
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


@dataclass
class Result:
    """A soak that has ended."""

    traffic: Traffic
    first: State
    last: State
    seconds: float
    sent: Counter[str]
    """What the server counted."""
    beside: Beside
    ledger: dict[str, int]
    """Of all passes, also those of `beside`."""
    metrics: dict[str, float]

    @property
    def growth(self) -> float:
        return self.last.resident_mb / self.first.resident_mb - 1

    def exact(self, name: str) -> int:
        """Tokens in the ledger without those of `beside`."""
        return self.ledger[name] - self.beside.ledger[name]

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
            f"{name} tokens: the server sent {self.sent[name]}, the ledger has {self.exact(name)}"
            for name in ("prompt", "completion")
            if self.sent[name] != self.exact(name)
        ]
        found += self.beside.wrong
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
        passes = json.loads(asyncio.run(fetched(f"{upstream}/passes")))
        seconds = time.monotonic() - began
    ledger = recorded(folder / "ledger.db")
    metrics = {kind: metric(page, "tierwise_tokens_total", kind=kind) for kind in ("prompt", "completion")}
    metrics |= {name: metric(page, f"tierwise_{name}_total") for name in ("passes", "actions")}
    return Result(traffic, first, last, seconds, counts, beside(folder / "ledger.db", passes), ledger, metrics)


def stop_on_signals(traffic: Traffic) -> None:
    """Send no more requests at the first signal, and end at a later one. `timeout` sends two at once."""
    moments: list[float] = []

    def stop(*_: object) -> None:
        moments.append(time.monotonic())
        if moments[-1] - moments[0] > 1.0:
            raise SystemExit(1)
        if len(moments) > 1:
            return
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
    rate = f"{last.requests / result.seconds:.0f} requests a second"
    return f"""`{command}`, {datetime.now(UTC):%Y-%m-%d}, {result.seconds / 60:.0f} minutes,
{os.cpu_count()} cores that the clients, the server behind and other programs share: {rate}.

{table}

Answers: {said}; {traffic.left:,} clients left in the middle, and {len(traffic.broken)} answers were broken.
{tokens_of(result)}"""


def tokens_of(result: Result) -> str:
    """What was counted, in sentences."""
    sent, ledger, metrics, beside = result.sent, result.ledger, result.metrics, result.beside
    return f"""The server counted {sent["requests"]:,} requests, and
{sent["prompt"]:,} prompt tokens and {sent["completion"]:,} completion tokens where no pass fails beside others;
the ledger has {result.exact("prompt"):,} and {result.exact("completion"):,} of these.
Of {beside.passes:,} passes where some fail beside others, {beside.aborted:,} were aborted. The server sent them
{beside.sent["completion"]:,} completion tokens, and the ledger has {beside.ledger["completion"]:,}: it lacks
{beside.missing:,} of aborted passes. In all it has {ledger["passes"]:,} passes of {ledger["actions"]:,} actions with
{ledger["prompt"]:,} and {ledger["completion"]:,} tokens, and the metrics have {metrics["prompt"]:,.0f} and
{metrics["completion"]:,.0f}."""


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
