"""The CPU cost and timing error of `tierwise bench`'s runner, against a server with known delays.

    python benchmarks/runner.py              about a minute; exits with 1 if a limit is exceeded
    python benchmarks/runner.py --only cpu   or: delay, regrade, help

CPU is user and system time of this process per request, for the whole runner (schedule, request, stream, grading,
record) and for a bare aiohttp loop that reads and discards the same streams. Both alternate in one process on one event
loop, so that noise affects them equally. Delays are those of the server itself, which reports them in each answer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import uvloop

from processes import HERE, running
from tierwise.bench.bench_job import BenchJob
from tierwise.bench.execute import execute
from tierwise.bench.trial import regrade
from tierwise.runs.directory import RunDirectory, RunSettings
from tierwise.runs.records import TrialOutcome, TrialRecord
from tierwise.testing.server import FakeServer, HttpReply, HttpRequest, serve
from tierwise.workloads import files as workloads

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tierwise.runs.directory import Manifest

MAX_CPU_RATIO = 1.3
MAX_INFLATION, MAX_INFLATION_SECONDS = 0.02, 0.001
MAX_REGRADE_SECONDS = 10.0
MAX_HELP_SECONDS = 0.3


SHORT = 16
"""Words of a very short answer, where grading and storing dominate: shown without a limit."""


# ── the server ──────────────────────────────────────────────────────────
class KnownDelays(FakeServer):
    """Answers `max_tokens` words: the first after `first` seconds, the others `gap` seconds apart.

    Its usage reports when it sent the first word.
    """

    keeps_requests = False

    def __init__(self, first: float, gap: float) -> None:
        super().__init__(prompt_tokens=12)
        self._first = first
        self._gap = gap

    def reply_to(self, number: int, request: HttpRequest) -> HttpReply:  # noqa: ARG002 - the request decides
        match request.target:
            case "/v1/models":
                return HttpReply(body=json.dumps({"data": [{"id": "fast", "tierwise": {"most_passes": 1}}]}).encode())
            case "/ready":
                return HttpReply(body=b'{"ready": true}')
            case _:
                timing = _Timing(request.arrived)
                words: list[Mapping[str, Any]] = [_WORD] * (request.body["max_tokens"] - 1)
                return HttpReply(
                    deltas=[timing.first, *words], first=self._first, step=self._gap, account=timing.account
                )


_WORD = {"content": " 4"}


class _Timing:
    """Delays of one answer, from the arrival of its request."""

    def __init__(self, arrived: float) -> None:
        self._arrived = arrived
        self._silent = 0.0

    def first(self) -> Mapping[str, Any]:
        self._silent = time.monotonic() - self._arrived
        return _WORD

    def account(self) -> Mapping[str, Any]:
        spent = {
            "role": "draft",
            "outcome": "finished",
            "prompt_tokens": 12,
            "cached_tokens": 0,
            "completion_tokens": 1,
            "started": 0.0,
            "first_token": self._silent,
            "seconds": time.monotonic() - self._arrived,
            "dollars": 0.0001,
        }
        return {"tierwise": {"dollars": 0.0001, "passes": [spent]}}


# ── the runner ──────────────────────────────────────────────────────────
@dataclass(slots=True)
class Stopwatch:
    """Measures the CPU seconds from the first request to the last record."""

    began: float = 0.0
    over: float = 0.0
    records: list[TrialRecord] = field(default_factory=list)

    planned_records: int = 0

    def planned(self, manifest: Manifest, kept: Sequence[TrialRecord]) -> None:  # noqa: ARG002 - the protocol's
        self.planned_records = len(manifest.keys())
        self.began = time.process_time()

    def ended(self, record: TrialRecord, spent: float) -> None:  # noqa: ARG002 - the protocol's
        self.records.append(record)
        if len(self.records) == self.planned_records:  # only once: reading the clock may take half a millisecond
            self.over = time.process_time()

    def note(self, sentence: str) -> None:
        raise SystemExit(sentence)  # it measures nothing if the server fails

    @property
    def cpu(self) -> float:
        return self.over - self.began


def write_tasks(path: Path, number: int, *words: int) -> Path:
    """Tasks whose answers cycle through these numbers of words."""
    lines = [
        {
            "id": f"t{one}",
            "messages": [{"role": "user", "content": "2 + 2?"}],
            "check": {"number": {"equals": 4}},
            "max_tokens": words[one % len(words)],
        }
        for one in range(number)
    ]
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return path


async def run(url: str, tasks: Path, *, concurrency: int, warm_up: int = 0) -> tuple[Stopwatch, RunDirectory]:
    folder = tasks.parent / "run"
    shutil.rmtree(folder, ignore_errors=True)
    watch = Stopwatch()
    job = BenchJob(
        config=tasks,
        workload=workloads.load(tasks),
        tiers=["fast"],
        mode="both",
        settings=RunSettings(seed=0, concurrency=concurrency, timeout=60.0, warm_up=warm_up),
        directory=RunDirectory.create(folder),
        ledger=folder / "ledger.db",
        url=url,
    )
    await execute(job, watch)
    return watch, job.directory


async def bare(url: str, number: int, words: int, *, concurrency: int) -> float:
    """CPU seconds of a bare aiohttp loop that only reads the same number of streams."""
    body = {
        "model": "fast",
        "messages": [{"role": "user", "content": "2 + 2?"}],
        "max_tokens": words,
        "stream": True,
        "seed": 1,
    }
    numbers = iter(range(number))

    async def client(session: aiohttp.ClientSession) -> None:
        for _ in numbers:
            async with session.post(f"{url}/v1/chat/completions", json=body) as response:
                async for _block in response.content.iter_any():
                    pass

    began = time.process_time()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(client(session) for _ in range(concurrency)))
    return time.process_time() - began


async def compare_cpu(url: str, folder: Path, words: int, *, blocks: int, requests: int) -> dict[str, float]:
    tasks = write_tasks(folder / "tasks.jsonl", requests, words)
    bares: list[float] = []
    ours: list[float] = []
    for block in range(-1, blocks):
        if block % 2:
            bares.append(await bare(url, requests, words, concurrency=16))
        watch, _ = await run(url, tasks, concurrency=16)
        ours.append(watch.cpu)
        if not block % 2:
            bares.append(await bare(url, requests, words, concurrency=16))
        if not all(record.is_solved for record in watch.records):
            raise SystemExit(f"the runner failed: {watch.records[0]}")
    ratios = [our / its for our, its in zip(ours[1:], bares[1:], strict=True)]  # the first round is a warm-up
    return {
        "bare_us": 1e6 * statistics.median(bares[1:]) / requests,
        "runner_us": 1e6 * statistics.median(ours[1:]) / requests,
        "ratio": statistics.median(ratios),
        "least": min(ratios),
        "greatest": max(ratios),
    }


def cpu(folder: Path, blocks: int) -> dict[str, dict[str, float]]:
    with running(HERE / "runner.py", "--serve", "0", "0", log=folder / "server.log") as (_, base):
        url = base.removesuffix("/v1")
        found = {
            f"{words} tokens": uvloop.run(compare_cpu(url, folder, words, blocks=blocks, requests=600))
            for words in (SHORT, 64, 256)
        }
    print(f"{'CPU µs per request':24}{'bare aiohttp':>14}{'runner':>10}{'ratio':>8}")
    for name, row in found.items():
        print(
            f"{name:24}{row['bare_us']:14.0f}{row['runner_us']:10.0f}{row['ratio']:8.2f}"
            f"   (blocks {row['least']:.2f} to {row['greatest']:.2f})"
        )
    return found


# ── the delays ──────────────────────────────────────────────────────────
FIRST, GAP, STREAMS = 0.5, 0.1, 500
WORDS = range(10, 31)
"""Answer lengths differ; otherwise 500 streams would end, and 500 others start, at the same time."""


SLICES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay:
    """99th percentiles of the times to first output, in seconds."""

    known: float
    measured: float

    @classmethod
    def of(cls, records: Sequence[TrialRecord]) -> Delay:
        known = sorted(record.passes[0].first_token or 0.0 for record in records if record.passes)
        measured = sorted(record.first_output or 0.0 for record in records)
        at = round(0.99 * len(records)) - 1
        return cls(known=known[at], measured=measured[at])

    @property
    def added(self) -> float:
        return self.measured - self.known

    @property
    def inflation(self) -> float:
        return self.added / self.known


def delays(folder: Path, rounds: int) -> dict[str, float]:
    """Over the whole run, and per slice, because a pause of a shared machine distorts single slices."""
    with running(HERE / "runner.py", "--serve", str(FIRST), str(GAP), log=folder / "server.log") as (_, base):
        tasks = write_tasks(folder / "tasks.jsonl", STREAMS * rounds, *WORDS)
        watch, kept = uvloop.run(run(base.removesuffix("/v1"), tasks, concurrency=STREAMS, warm_up=STREAMS))
    records = sorted(watch.records, key=lambda record: record.began)
    if not all(record.is_solved and record.passes and record.first_output for record in records):
        raise SystemExit("some actions failed")
    size = len(records) // SLICES
    slices = sorted(
        (Delay.of(records[at * size : (at + 1) * size]) for at in range(SLICES)), key=lambda one: one.inflation
    )
    whole, middle = Delay.of(records), slices[SLICES // 2]
    runner = kept.read_manifest().sessions[-1].runner
    own = (runner.p99() or 0.0) if runner is not None else 0.0
    median = statistics.median((one.first_output or 0.0) - (one.passes or [])[0].first_token for one in records)  # type: ignore[operator]
    print(f"\n{STREAMS} streams, {len(records)} actions, error of the time to first output:")
    print(f"  p50 {1e3 * median:+.2f} ms")
    print(f"  p99 {1e3 * middle.added:+.2f} ms, {100 * middle.inflation:+.2f} % (the median of {SLICES} slices)")
    print(f"  p99 {1e3 * slices[0].added:+.2f} ms to {1e3 * slices[-1].added:+.2f} ms (best and worst slice)")
    print(f"  p99 {1e3 * whole.added:+.2f} ms, {100 * whole.inflation:+.2f} % (the whole run)")
    print(f"  the server's own delay was {1e3 * (whole.known - FIRST):.2f} ms (p99), caused by the machine")
    print(f"  the runner's own estimate: p99 {1e3 * own:.2f} ms")
    return {
        "streams": STREAMS,
        "actions": len(records),
        "p50_added_seconds": median,
        "added_seconds": middle.added,
        "inflation": middle.inflation,
        "best_inflation": slices[0].inflation,
        "worst_inflation": slices[-1].inflation,
        "whole_inflation": whole.inflation,
        "server_late_p99": whole.known - FIRST,
        "own_p99": own,
    }


# ── regrading, and starting ─────────────────────────────────────────────
def regrading(folder: Path, number: int = 10_000) -> dict[str, float]:
    tasks = {task.id: task for task in workloads.load(write_tasks(folder / "tasks.jsonl", number, 16)).tasks}
    runs = RunDirectory.create(folder / "regraded")
    about: dict[str, Any] = {"tags": [], "tier": "fast", "mode": "both", "seed": 1, "why": "", "began": 0.0}
    with runs.recorder() as recorder:
        for task in tasks:
            said: dict[str, Any] = {
                "outcome": TrialOutcome.INCORRECT,
                "answer": "Two and two make 4.",
                "first_output": 0.1,
                "seconds": 1.0,
                "finish": "stop",
            }
            recorder.write(TrialRecord(action=f"run/{task}/fast/both", task=task, **about, **said))

    async def again() -> list[TrialRecord]:
        return [await regrade(tasks[record.task], record) for record in runs.read_records()]

    began = time.perf_counter()
    regraded = uvloop.run(again())
    took = time.perf_counter() - began
    if not all(record.is_solved for record in regraded):
        raise SystemExit("regrading did not change the expected records")
    print(f"\n{number} records read and regraded in {took:.2f} s")
    return {"seconds": took, "records": number}


def starting(_: Path) -> dict[str, float]:
    took = []
    for _try in range(3):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "tierwise", "bench", "--help"], check=True, stdout=subprocess.DEVNULL)
        took.append(time.perf_counter() - began)
    print(f"\n`tierwise bench --help`: {min(took):.2f} s")
    return {"seconds": min(took)}


def exceeded(results: dict[str, Any]) -> list[str]:
    """The limits that are exceeded."""
    found = [
        f"CPU per request, {name}: {row['ratio']:.2f} × a bare aiohttp loop, {MAX_CPU_RATIO} allowed"
        for name, row in results.get("cpu", {}).items()
        if row["ratio"] > MAX_CPU_RATIO and name != f"{SHORT} tokens"
    ]
    delay = results.get("delay")
    if delay and delay["inflation"] > MAX_INFLATION and delay["added_seconds"] > MAX_INFLATION_SECONDS:
        found.append(f"p99 to the first output is {100 * delay['inflation']:.1f} % too high, 2 % or 1 ms allowed")
    for name, most in (("regrade", MAX_REGRADE_SECONDS), ("help", MAX_HELP_SECONDS)):
        if name in results and results[name]["seconds"] > most:
            found.append(f"{name} took {results[name]['seconds']:.2f} s, {most:g} s allowed")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["cpu", "delay", "regrade", "help"], help="measure only this part")
    parser.add_argument("--blocks", type=int, default=7, help="blocks per client")
    parser.add_argument("--rounds", type=int, default=4, help="actions per stream")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--serve", nargs=2, type=float, metavar=("FIRST", "GAP"), help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.serve:
        first, gap = wanted.serve
        uvloop.run(serve(KnownDelays(first, gap)))
        return
    parts: dict[str, Callable[[Path], Any]] = {
        "cpu": lambda folder: cpu(folder, wanted.blocks),
        "delay": lambda folder: delays(folder, wanted.rounds),
        "regrade": regrading,
        "help": starting,
    }
    results: dict[str, Any] = {}
    for name, part in parts.items():
        if wanted.only in (None, name):
            with tempfile.TemporaryDirectory() as folder:
                results[name] = part(Path(folder))
    failures = exceeded(results)
    if wanted.json:
        wanted.json.write_text(json.dumps({**results, "broken": failures}, indent=1), encoding="utf-8")
    for failure in failures:
        print(f"EXCEEDED: {failure}")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
