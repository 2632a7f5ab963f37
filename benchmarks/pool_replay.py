"""The CPU time of a grid of settings on a pool, beside the live path on the same draws.

    python benchmarks/pool_replay.py [--tasks 1000] [--draws 16] [--json FILE]

The pool is made up: answers right with a probability that differs from task to task, tokens and times of a small model.
The grid has `majority` with 2 to 16 votes, `best_of_n` with 2 to 16 candidates and several verifiers, `single` and
`cascade`, with several deadlines. Three figures are printed: for the whole grid, read from a file as `tierwise pool
replay` reads it; for its settings without a deadline, of which no two share a walk; and for votes of 16 alone. The live
path runs a sample of the same settings on the replay engine, in this process, and is scaled to the grid. Their answers
and numbers of passes are compared.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import uvloop

from tierwise.engines.engine import Deployment
from tierwise.engines.replay.engine import ReplayEngine
from tierwise.engines.replay.recording import Candidate, prompt_digest
from tierwise.pools.grid import read_grid
from tierwise.pools.reading import read_pool
from tierwise.pools.replaying import Replayer
from tierwise.pools.results import results
from tierwise.run import Action, Tier
from tierwise.runs.directory import ConfigSource, Manifest, Planned, RunDirectory, RunSettings, SourceFile
from tierwise.runs.draws import DrawFacts, PoolSettings, TokenTrace
from tierwise.runs.machine import machine
from tierwise.runs.records import PassSpend, TrialOutcome, TrialRecord
from tierwise.spec.budget import Budget
from tierwise.spec.call import Call, Completion
from tierwise.testing import new_trace
from tierwise.verifiers.answers import answer_key
from tierwise.workloads.checks import CheckChoice
from tierwise.workloads.task import Task

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tierwise.ledger.prices import Price
    from tierwise.pools.grid import Setting
    from tierwise.pools.reading import Pool, PoolTask
    from tierwise.pools.replaying import Replayed

LIMIT = 60.0
"""Seconds on one core for the whole grid."""

SETTINGS = 500
"""To which the figures are scaled; the grid has nearly as many."""

CONFIG = """
deployments:
  small: {engine: http, url: "http://127.0.0.1:1/v1", model: small, slots: 16}
  large: {engine: http, url: "http://127.0.0.1:2/v1", model: large, slots: 16}
tiers:
  fast: {deployment: small, policy: single, sampling: {temperature: 0.7, max_tokens: 400}}
  best: {deployment: large, policy: single, sampling: {temperature: 0.7, max_tokens: 400}}
prices:
  small: {completion: 0.4, prompt: 0.1}
  large: {completion: 2.0, prompt: 0.5}
"""


# ── the pool ────────────────────────────────────────────────────────────
def make_pool(path: Path, tasks: int, draws: int, seed: int = 0, *, alternatives: int = 0) -> Pool:
    rng = random.Random(seed)
    directory = RunDirectory.create(path)
    made = [
        Task(
            id=f"t{number}",
            messages=[{"role": "user", "content": f"What is task {number}?"}],
            check=msgspec.convert({"number": {"equals": 10 * number}}, CheckChoice),
        )
        for number in range(tasks)
    ]
    directory.write_tasks(made)
    tiers = ("fast", "best")
    directory.write_manifest(
        Manifest(
            run="000000",
            began="2026-11-28T00:00:00+00:00",
            url="",
            config=ConfigSource(path="tierwise.yaml", sha256="0" * 64, text=CONFIG),
            workload=SourceFile(path="tasks.jsonl", sha256="1" * 64),
            tasks=[task.id for task in made],
            variants=[Planned(tier=tier, mode="both", most_passes=1) for tier in tiers],
            settings=RunSettings(
                seed=0, concurrency=16, timeout=600.0, repeats=draws, pool=PoolSettings(top_logprobs=alternatives)
            ),
            versions={},
            machine=machine(),
        )
    )
    directory.write_records(
        [
            _record(rng, made[number], number, tier, draw, right, alternatives)
            for tier, skill in zip(tiers, (3.0, 6.0), strict=True)
            for number in range(tasks)
            for right in [rng.betavariate(skill, 2.0)]
            for draw in range(draws)
        ]
    )
    return read_pool(directory)


def _record(
    rng: random.Random, task: Task, number: int, tier: str, draw: int, right: float, alternatives: int
) -> TrialRecord:
    is_right = rng.random() < right
    said = 10 * number if is_right else 10 * number + rng.choice((1, 1, 1, 2, 2, 3, 4))
    text = f"First I add the parts, then I look at what is left. The answer is {said}."
    tokens = max(8, round(rng.lognormvariate(4.0, 0.5)))
    first, step = 0.05 + 0.02 * rng.random(), 0.01 + 0.01 * rng.random()
    seconds = first + tokens * step
    spent = PassSpend(
        role="draft",
        candidate=True,
        tier=tier,
        outcome="finished",
        started=0.0,
        first_token=first,
        seconds=seconds,
        prompt_tokens=80,
        cached_tokens=0,
        completion_tokens=tokens,
        dollars=0.0,
    )
    return TrialRecord(
        action=f"000000/{task.id}/{tier}/{draw}",
        task=task.id,
        tags=[],
        tier=tier,
        mode="both",
        repeat=draw,
        seed=draw,
        outcome=TrialOutcome.CORRECT if is_right else TrialOutcome.INCORRECT,
        why="",
        answer=text,
        finish="stop",
        began=1000.0 * number + 20.0 * draw,
        first_output=first,
        seconds=seconds,
        prompt_tokens=80,
        cached_tokens=0,
        completion_tokens=tokens,
        dollars=0.0,
        passes=[spent],
        draw=DrawFacts(
            vote=answer_key(Completion(text=text), "auto"),
            tokens=_trace(rng, text, tokens, right, alternatives) if alternatives else None,
        ),
    )


def _trace(rng: random.Random, text: str, tokens: int, right: float, alternatives: int) -> TokenTrace:
    """Tokens of a pass that is surer where answers are often right."""
    chosen = [round(1000 * rng.expovariate(1 / (1.05 - right))) for _ in range(tokens)]
    ends = [round(len(text) * place / tokens) for place in range(tokens + 1)]
    return TokenTrace(
        chosen=chosen,
        top=[[one, *(one + 1500 + 500 * place for place in range(alternatives - 1))] for one in chosen],
        lengths=[after - before for before, after in pairwise(ends)],
        answer=0,
    )


# ── the grid ────────────────────────────────────────────────────────────
def make_grid(most: int) -> dict[str, Any]:
    """A file of about 500 settings."""
    counts = list(range(2, most + 1))
    seconds = [None, 60.0, 90.0, 120.0, 600.0]
    votes = {
        "tier": "fast",
        "policy": {"majority": {"n": {"each": counts}, "equality": {"each": ["auto", "number", "choice", "text"]}}},
        "budget": {"seconds": {"each": seconds}},
    }
    verifiers: list[Any] = [
        None,
        {"regex": {"pattern": "answer is [0-9]+"}},
        {"regex": {"pattern": "0[.]$"}},
        {"number": {}},
    ]
    best = {
        "tier": "fast",
        "policy": {"best_of_n": {"n": {"each": counts}, "verifier": {"each": verifiers}}},
        "budget": {"seconds": {"each": seconds[:3]}},
    }
    ladder = {
        "policy": {"cascade": {"tiers": {"each": [["fast", "best"], ["best", "fast"]]}}},
        "budget": {"seconds": {"each": seconds}},
    }
    return {"settings": {"one": "fast", "vote": votes, "best-of": best, "ladder": ladder}, "baseline": "one"}


def replayed(
    pool: Pool, settings: Sequence[Setting], prices: Mapping[str, Price]
) -> tuple[float, list[list[Replayed]]]:
    """CPU seconds, and all actions of each setting."""
    began = time.process_time()
    with Replayer(pool, prices) as replayer:
        found = replayer.run(settings)
    return time.process_time() - began, found


# ── the live path ───────────────────────────────────────────────────────
def live_tiers(pool: Pool, task: PoolTask) -> dict[str, Tier]:
    """The tiers of the pool on the replay engine."""
    tiers = {}
    for source in pool.sources:
        plain = task.prompt.by_default(source.sampling)
        asked = (plain, plain.preferring(logprobs=True), plain.preferring(logprobs=True, top_logprobs=5))
        recorded = [
            Candidate(
                prompt=prompt_digest(Call(prompt=prompt, role=role, draw=draw.index)),
                draw=draw.index,
                bound=draw.bound,
                message=draw.completion.message(),
                prompt_tokens=draw.usage.prompt,
                completion_tokens=draw.count,
                first_token=draw.first_token,
                seconds=draw.seconds,
            )
            for role, prompt in product(("draft", "vote"), asked)
            for draw in task.draws[source.key]
        ]
        engine = ReplayEngine(source.deployment, recorded)
        tier = pool.plan.tiers[source.tier]
        tiers[source.tier] = Tier(
            name=source.tier,
            deployment=Deployment(name=source.deployment, engine=engine, slots=16),
            policy=tier.policy.member,
            sampling=source.sampling,
        )
    return tiers


async def live(pool: Pool, jobs: Sequence[tuple[Setting, int]]) -> tuple[float, list[tuple[str, int]]]:
    """CPU seconds of these settings on these tasks, and the answer and number of passes of each."""
    ready = [(setting, pool.tasks[task], live_tiers(pool, pool.tasks[task])) for setting, task in jobs]
    found = []
    began = time.process_time()
    for setting, task, tiers in ready:
        own = replace(
            tiers.get(setting.tier, tiers["fast"]),
            name=setting.name,
            policy=setting.policy,
            budget=setting.budget,
            verifier=setting.verifier,
        )
        trace = new_trace()
        answer = await Action(own, trace, tiers={**tiers, own.name: own}).solve(task.prompt)
        found.append((answer.completion.text, len(trace.passes)))
    return time.process_time() - began, found


def compare(
    pool: Pool, settings: Sequence[Setting], found: Sequence[Sequence[Replayed]], sample: int
) -> tuple[float, int]:
    """CPU seconds of an action of the live path, over a sample of settings and tasks, and how many of them differ."""
    rng = random.Random(1)
    jobs = [(rng.randrange(len(settings)), rng.randrange(len(pool.tasks))) for _ in range(sample)]
    seconds, answers = uvloop.run(live(pool, [(settings[setting], task) for setting, task in jobs]))
    differ = 0
    for (setting, task), theirs in zip(jobs, answers, strict=True):
        ours = found[setting][task]
        differ += (ours.answer.text if ours.answer is not None else "", ours.passes) != theirs
    return seconds / sample, differ


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--draws", type=int, default=16)
    parser.add_argument("--sample", type=int, default=400, help="actions of the live path")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pool = make_pool(folder / "pool", wanted.tasks, wanted.draws)
        (folder / "grid.json").write_text(json.dumps(make_grid(wanted.draws)), encoding="utf-8")
        grid = read_grid(folder / "grid.json", pool.plan)
    figures: dict[str, Any] = {}
    votes = [one for one in grid.settings if one.name.startswith(f"vote n={wanted.draws} ")]
    alone = [one for one in grid.settings if one.budget == Budget()]
    for name, settings in (("grid", grid.settings), ("no deadlines", alone), (f"votes of {wanted.draws}", votes)):
        seconds, found = replayed(pool, settings, grid.prices)
        began = time.process_time()
        results(pool, [one.name for one in settings], found, settings[0].name)
        seconds += time.process_time() - began
        actions = sum(map(len, found))
        own, differ = compare(pool, settings, found, wanted.sample)
        scaled = SETTINGS * wanted.tasks
        figures[name] = {
            "settings": len(settings),
            "actions": actions,
            "seconds": seconds,
            "microseconds_per_action": 1e6 * seconds / actions,
            "live_microseconds_per_action": 1e6 * own,
            "seconds_of_500": scaled * seconds / actions,
            "live_seconds_of_500": scaled * own,
            "sample": wanted.sample,
            "different": differ,
        }
        print(
            f"{name}: {len(settings)} settings × {wanted.tasks} tasks in {seconds:.1f} s, "
            f"{1e6 * seconds / actions:.0f} µs per action; live {1e6 * own:.0f} µs. {SETTINGS} settings: "
            f"{scaled * seconds / actions:.0f} s, live {scaled * own:.0f} s. "
            f"{differ} of {wanted.sample} sampled actions differ from the live path"
        )
    if wanted.json:
        wanted.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    print(f"limit: {LIMIT:.0f} s for {SETTINGS} settings of the grid")
    sys.exit(any(one["different"] for one in figures.values()) or figures["grid"]["seconds_of_500"] > LIMIT)


if __name__ == "__main__":
    main()
