"""A race of six deployments of one model on a real llama.cpp, beside the full grid of the same tasks.

    python benchmarks/racing_live.py --checkpoint coder-0.5b.gguf --folder FOLDER [--tasks 100] [--out docs/drift.md]
    python benchmarks/racing_live.py --recorded 400 [--tasks 100] [--out docs/drift.md]     without a model, in seconds

The deployments are one checkpoint as its file has it, with three types of the KV cache and a wider window, and two
files that were made from it: its layers dequantized and quantized again to Q4_0 and to Q8_0. A token costs what the
memory of its deployment costs: the weights, and the cache of all slots. Tasks are sums of two numbers, with answers of
about four tokens. Every deployment answers all tasks, one draw each, and the race sees these draws, batch by batch, up
to where it drops a deployment or ends. With `--live` it asks again, as `tierwise tune` does. Both are resumed if they
are run again in the same folder.

Reported are the shares of tokens and of engine seconds that the race took of the full grid's, and both frontiers of
quality and dollars: what only one of the two has must be within the 95 % interval of the paired difference to one that
both have and that is not dearer. The exit code is 1 if it is not, or if the race took more than 35 % of the tokens.

With `--recorded` the five deployments of the pool `precisions` race on its draws, in as many random choices and orders
of its tasks. They differ by more: from 0 to 81 % right. Reported are the means over the races.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import yaml
from msgspec import structs

from pages import write_between
from puzzles import answered_alone
from real_pools import POOLS, opened
from requantize import requantize
from tierwise import plan as planning
from tierwise.bench.bench_job import BenchJob
from tierwise.bench.execute import execute
from tierwise.bench.racing import RaceJob, run_race
from tierwise.cli.pool import recording
from tierwise.pools.sources import sources_of
from tierwise.runs.directory import RunDirectory
from tierwise.runs.records import TrialRecord
from tierwise.stats.estimates import paired_difference, rate
from tierwise.stats.racing import Race, Result
from tierwise.tuning.racing import BATCH, DELTA, FUTILITY, Raced, Racing, results_of, started
from tierwise.workloads.files.header import WorkloadHeader
from tierwise.workloads.files.write import write
from tierwise.workloads.suites.reasoning_gym import ReasoningGymSuite

BEGIN, END = "<!-- benchmarks/racing_live.py -->", "<!-- end of benchmarks/racing_live.py -->"
BEGIN_RECORDED, END_RECORDED = (
    "<!-- benchmarks/racing_live.py --recorded -->",
    "<!-- end of racing_live.py --recorded -->",
)
SLOTS, CONTEXT = 8, 512
MOST_SHARE = 0.35
CACHE_BYTES = {"f16": 2.0, "q8_0": 34 / 32, "q4_0": 18 / 32}
DEPLOYMENTS: dict[str, dict[str, Any]] = {
    "q4_0": {"file": "Q4_0"},
    "cache-q4": {"cache_type_k": "q4_0", "cache_type_v": "q4_0", "flash_attention": True},
    "cache-q8": {"cache_type_k": "q8_0", "cache_type_v": "q8_0", "flash_attention": True},
    "as-it-is": {},
    "wide": {"context": 4 * CONTEXT},
    "q8_0": {"file": "Q8_0"},
}
"""Levers of each deployment; `file` is the type that the weights are quantized to again."""


def cache_size(source: Path) -> float:
    """Values of the KV cache for one token, keys and values together."""
    fields = gguf.GGUFReader(source).fields
    name = str(fields["general.architecture"].contents())

    def read(key: str) -> int:
        return int(fields[f"{name}.{key}"].contents())

    width = read("embedding_length") // read("attention.head_count")
    return 2.0 * read("block_count") * read("attention.head_count_kv") * width


def config_of(folder: Path, source: Path, threads: int) -> dict[str, Any]:
    """The config file: a tier for each deployment, with prices by memory."""
    files = {name: folder / f"{name}.gguf" for name in DEPLOYMENTS}
    values = cache_size(source)
    config: dict[str, Any] = {"checkpoints": {}, "deployments": {}, "tiers": {}, "prices": {}}
    for name, wanted in DEPLOYMENTS.items():
        levers = dict(wanted)
        kind = levers.pop("file", "")
        path = files[name] if kind else source
        if not path.exists():
            requantize(source, path, kind)
        checkpoint = kind.lower().replace("_", "-") or "given"
        config["checkpoints"][checkpoint] = {"source": f"file:{path.resolve()}"}
        engine = {"engine": "llama.cpp", "checkpoint": checkpoint, "context": CONTEXT, "slots": SLOTS}
        config["deployments"][name] = {**engine, "threads": threads, **levers}
        cached = SLOTS * levers.get("context", CONTEXT) * values * CACHE_BYTES[levers.get("cache_type_k", "f16")]
        price = round((path.stat().st_size + cached) / 1e9, 3)
        config["prices"][name] = {"prompt": price, "completion": price}
        config["tiers"][name] = {
            "deployment": name,
            "policy": "single",
            "sampling": {"temperature": 0.8, "top_p": 0.95},
        }
    return config


def make_tasks(path: Path, count: int) -> None:
    settings = {"chain_sum": {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 3}}
    suite = ReasoningGymSuite(generators=("chain_sum",), count=count, seed=41, settings=settings, max_tokens=12)
    made = {task.messages[-1]["content"]: task for task in answered_alone(suite)}
    write(path, list(made.values()), WorkloadHeader(name=path.stem, description="sums of two numbers"))


class Quiet:
    """Prints what a reader of the terminal should know."""

    def __init__(self, total: int) -> None:
        self._total, self._ended = total, 0

    def planned(self, manifest: object, kept: Sequence[object]) -> None:
        del manifest
        self._ended = len(kept)

    def ended(self, record: object, spent: float) -> None:
        del record, spent
        self._ended += 1
        if self._ended % 100 == 0:
            print(f"{self._ended} of {self._total} draws", flush=True)

    def raced(self, race: Any, spent: float) -> None:
        del spent
        print(f"race: {race.tasks} tasks, in: {', '.join(race.racing)}", flush=True)

    def note(self, sentence: str) -> None:
        print(sentence, flush=True)


def frontier(quality: Mapping[str, float], dollars: Mapping[str, float]) -> list[str]:
    """Those that solve more than every cheaper one."""
    found: list[str] = []
    for name in sorted(quality, key=lambda one: (dollars[one], -quality[one])):
        if all(quality[name] > quality[other] for other in found):
            found.append(name)
    return found


def paired(solved: Mapping[str, np.ndarray[Any, np.dtype[np.bool_]]], one: str, other: str) -> tuple[float, float]:
    """The 95 % interval of how much more of the tasks the first solves."""
    first, second = solved[one], solved[other]
    counts = (first & second, first & ~second, ~first & second, ~first & ~second)
    found = paired_difference(*(int(of.sum()) for of in counts))
    if found is None or found.interval is None or found.interval.high is None:
        return -1.0, 1.0
    return found.interval.low, found.interval.high


def spent(records: Sequence[TrialRecord]) -> tuple[int, float]:
    """Tokens and engine seconds."""
    tokens = sum((one.prompt_tokens or 0) + (one.completion_tokens or 0) for one in records)
    return tokens, math.fsum(done.seconds for one in records for done in one.passes or ())


async def measured(job: BenchJob, folder: Path, *, is_live: bool) -> tuple[Any, list[TrialRecord]]:
    """The race and the full grid."""
    plan = planning.load(job.config)
    racing = Racing(sources=tuple(sources_of(plan)), tasks=job.workload.tasks)
    quiet = Quiet(len(racing.sources) * len(racing.tasks))
    grid = RunDirectory(folder / "grid")
    if not grid.has_manifest or grid.is_unfinished:
        settings = structs.replace(job.settings, warm_up=1)
        await execute(replace(job, directory=RunDirectory.create(grid.path), settings=settings), quiet)
    records = grid.read_records()
    if not is_live:
        return seen(racing, records, quiet), records
    place = folder / "race"
    place.mkdir(exist_ok=True)
    wanted = RaceJob(job=job, plan=plan, racing=racing, folder=place, reference=None)
    return await run_race(wanted, quiet), records


def seen(racing: Racing, records: Sequence[TrialRecord], quiet: Quiet) -> Raced:
    """The race on the draws of the full grid."""
    race, used, lost = started(racing, ()), list[TrialRecord](), 0
    for batch in racing.batches:
        ids = {task.id for task in batch}
        asked = [one for one in records if one.task in ids and one.tier in race.racing]
        found, missing = results_of(race, batch, asked)
        used, lost, race = used + asked, lost + missing, race.after(found)
        quiet.raced(race, 0.0)
        if race.is_settled:
            break
    return Raced(race=race, sources=racing.sources, records=tuple(used), left_out=lost)


def results(raced: Any, records: Sequence[TrialRecord], tasks: Sequence[str]) -> dict[str, Any]:
    of = {(one.tier, one.task): one for one in records}
    names = list(DEPLOYMENTS)
    solved = {name: np.array([of[name, task].is_solved for task in tasks]) for name in names}
    dollars = {name: math.fsum(of[name, task].dollars or 0.0 for task in tasks) / len(tasks) for name in names}
    full = frontier({name: float(right.mean()) for name, right in solved.items()}, dollars)
    race = raced.race
    seen = {one.key: one for one in raced.records}
    own = {name: float(np.mean([one.is_solved for one in seen.values() if one.tier == name])) for name in race.racing}
    found = frontier(own, dollars)
    close = {one: near(solved, dollars, one, full, found) for one in sorted(set(full) ^ set(found))}
    took, whole = spent(raced.records), spent(records)
    rows = []
    for name in sorted(names, key=lambda one: dollars[one]):
        share = rate(int(solved[name].sum()), len(tasks))
        gone = next((one for one in race.dropped if one.name == name), None)
        assert share is not None
        assert share.interval is not None
        rows.append(
            {
                "name": name,
                "dollars_per_million_actions": 1e6 * dollars[name],
                "solved": share.value,
                "low": share.interval.low,
                "high": share.interval.high,
                "asked": race.asked[name],
                "why": "" if gone is None else gone.why,
            }
        )
    return {
        "tasks": len(tasks),
        "rows": rows,
        "frontier of the grid": full,
        "frontier of the race": found,
        "apart": close,
        "share of draws": len(raced.records) / len(records),
        "share of tokens": took[0] / whole[0],
        "share of seconds": took[1] / whole[1],
        "holds": all(close.values()) and took[0] / whole[0] <= MOST_SHARE,
    }


# ── on recorded draws ───────────────────────────────────────────────────
GIGABYTES = {"q4_k_m": 1.117, "kv_q8_0": 1.117, "kv_q4_0": 1.117, "q3_k": 0.892, "q2_k": 0.759}
"""Of the weights of each deployment of the pool."""
CACHE_OF = {"kv_q8_0": "q8_0", "kv_q4_0": "q4_0"}
CACHED = 28 * 2 * 128 * 2
"""Values of the KV cache for one token: layers × heads of keys × width of a head, keys and values."""


def recorded(races: int, most: int) -> str:
    """The races on the pool `precisions`, as a page."""
    with tempfile.TemporaryDirectory() as folder:
        pool = opened(POOLS / "precisions" / "precisions.tar.xz", Path(folder))
        names = [one.deployment for one in pool.sources]
        right = np.array(
            [[[bool(one.correct) for one in task.draws[of.key][:3]] for of in pool.sources] for task in pool.tasks]
        )
    cached = {name: SLOTS * CONTEXT * CACHED * CACHE_BYTES[CACHE_OF.get(name, "f16")] / 1e9 for name in names}
    dollars = {name: GIGABYTES[name] + cached[name] for name in names}
    random, gone, shares, same, close = np.random.default_rng(0), dict.fromkeys(names, 0), [], 0, 0
    for _ in range(races):
        tasks = random.permutation(len(right))[:most]
        draws = right[tasks, :, random.integers(0, 3, size=most)].T
        solved = dict(zip(names, draws, strict=True))
        race = Race.started(names, delta=DELTA, most_tasks=most, futility=FUTILITY)
        for start in range(0, most, BATCH):
            batch = range(start, min(start + BATCH, most))
            race = race.after(
                {one: [Result(float(solved[one][task]), dollars[one]) for task in batch] for one in race.racing}
            )
            if race.is_settled:
                break
        for one in race.dropped:
            gone[one.name] += 1
        shares.append(sum(race.asked.values()) / (most * len(names)))
        grid = frontier({name: float(of.mean()) for name, of in solved.items()}, dollars)
        own = {name: float(solved[name][: race.asked[name]].mean()) for name in race.racing}
        found = frontier(own, dollars)
        same += found == grid
        close += all(near(solved, dollars, one, grid, found) for one in set(grid) ^ set(found))
    lines = ["| deployment | cost of an action, against q4_k_m | right | dropped |", "|---|---|---|---|"]
    for place, name in sorted(enumerate(names), key=lambda one: dollars[one[1]]):
        cost = dollars[name] / dollars["q4_k_m"]
        lines.append(f"| {name} | {cost:.2f} | {right[:, place].mean():.0%} | {said(gone[name], races)} |")
    lines += [
        "",
        (
            f"{races} races on {most} tasks each: {np.mean(shares):.0%} of the full grid's draws on average, at most "
            f"{np.quantile(shares, 0.95):.0%} in 95 % of races. The frontier of the full grid on the same tasks was "
            f"found in {said(same, races)} of races; in {said(close, races)} what differs is within intervals."
        ),
    ]
    return "\n".join(lines)


def said(count: int, of: int) -> str:
    """A share of races with its interval."""
    found = rate(count, of)
    assert found is not None
    assert found.interval is not None
    assert found.interval.high is not None
    return f"{found.value:.0%} ({found.interval.low:.0%} to {found.interval.high:.0%})"


def near(
    solved: Mapping[str, np.ndarray[Any, np.dtype[np.bool_]]],
    dollars: Mapping[str, float],
    one: str,
    grid: Sequence[str],
    found: Sequence[str],
) -> bool:
    """Whether a deployment on one frontier only is within the interval of one on both that is not dearer."""
    both = [other for other in grid if other in found]
    return any(dollars[other] <= dollars[one] and paired(solved, one, other)[0] <= 0 for other in both)


def page(found: Mapping[str, Any]) -> str:
    lines = ["| deployment | $ per million actions | solved (full grid) | tasks in the race | why it was dropped |"]
    lines += ["|---|---|---|---|---|"]
    for row in found["rows"]:
        solved = f"{row['solved']:.0%} ({row['low']:.0%} to {row['high']:.0%})"
        cells = [row["name"], f"{row['dollars_per_million_actions']:.1f}", solved, str(row["asked"]), row["why"] or "–"]
        lines.append(f"| {' | '.join(cells)} |")
    apart = ", ".join(
        f"{name} ({'within' if near else 'beyond'} the interval)" for name, near in found["apart"].items()
    )
    return "\n".join(
        [
            *lines,
            "",
            (
                f"{found['tasks']} tasks. The race took {found['share of draws']:.0%} of the full grid's draws, "
                f"{found['share of tokens']:.0%} of its tokens and {found['share of seconds']:.0%} of its engine "
                f"seconds. Frontier of the full grid: {', '.join(found['frontier of the grid'])}; of the race: "
                f"{', '.join(found['frontier of the race'])}{f'; only one of them has {apart}' if apart else ''}."
            ),
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, help="a GGUF file")
    parser.add_argument("--folder", type=Path, help="of the files, the race and the grid")
    parser.add_argument("--recorded", type=int, metavar="RACES", help="race on the pool `precisions`, this often")
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--live", action="store_true", help="ask again for the race, as `tierwise tune` does")
    parser.add_argument("--again", action="store_true", help="measure anew, with the files that are there")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--out", type=Path, help="write the table between the marks of this page")
    wanted = parser.parse_args()
    if wanted.recorded:
        text = recorded(wanted.recorded, wanted.tasks)
        print(text)
        if wanted.out is not None:
            write_between(wanted.out, BEGIN_RECORDED, END_RECORDED, text)
        return 0
    if wanted.checkpoint is None or wanted.folder is None:
        parser.error("give --checkpoint and --folder, or --recorded")
    folder = wanted.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if wanted.again:
        for name in ("race", "grid"):
            shutil.rmtree(folder / name, ignore_errors=True)
    config, tasks = folder / "six.yaml", folder / "sums.jsonl"
    config.write_text(yaml.safe_dump(config_of(folder, wanted.checkpoint, wanted.threads), sort_keys=False))
    if not tasks.exists():
        make_tasks(tasks, wanted.tasks)
    job = recording(config, tasks, draws=1, directory=lambda: RunDirectory(folder / "grid"), top_logprobs=0)
    raced, records = asyncio.run(measured(job, folder, is_live=wanted.live))
    found = results(raced, records, RunDirectory(folder / "grid").read_manifest().tasks)
    text = page(found)
    print(text)
    if wanted.json is not None:
        wanted.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
    if wanted.out is not None:
        write_between(wanted.out, BEGIN, END, text)
    return 0 if found["holds"] else 1


if __name__ == "__main__":
    sys.exit(main())
