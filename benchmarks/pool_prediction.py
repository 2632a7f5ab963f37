"""What a replayed pool predicts, beside live runs of the same tiers on a real small model.

    python benchmarks/pool_prediction.py [--limit 24] [--draws 12] [--concurrency 4] [--out FOLDER]

Records a pool of examples/quickstart.yaml (SmolLM2 on llama.cpp), measures each of its four tiers live, with other
seeds, and replays them on the pool at the same concurrency: `fast` (single), `standard` (majority), `max` (best of n
with the task's verifier) and `auto` (a cascade). Per tier and figure, it prints the live mean with its 95 % interval,
the predicted mean, and the interval of their difference on the same tasks; then how much of its prompts was cached.
Exits with 1 if a difference is shown.

Other load on the machine, which is printed with each step, changes the speed between recording and measuring. So
seconds are predicted twice: at the speed that the pool shows, and at that speed times how much slower the passes of the
live run decoded. Only the second says how good the simulation is, and only it decides about the exit code.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from tierwise.pools.grid import tiers_as_settings
from tierwise.pools.reading import observed, read_pool
from tierwise.pools.replaying import Replayer
from tierwise.pools.speed import Prompts, Speed, loads_of
from tierwise.runs.directory import RunDirectory
from tierwise.stats.design import Design

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tierwise.pools.reading import Pool
    from tierwise.pools.replaying import Replayed
    from tierwise.runs.records import TrialRecord
    from tierwise.stats.estimates import Estimate

ROOT = Path(__file__).parents[1]
TIERS = ("fast", "standard", "max", "auto")
FIGURES: dict[str, tuple[Callable[[TrialRecord], float], Callable[[Replayed], float]]] = {
    "correct": (lambda live: float(live.is_solved), lambda ours: float(bool(ours.correct))),
    "tokens": (lambda live: live.completion_tokens or 0, lambda ours: ours.completion),
    "seconds": (lambda live: live.seconds or 0.0, lambda ours: ours.seconds),
}
"""What is compared: from a live record, and from a replayed action."""

AT_LIVE_SPEED = "seconds, live speed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One figure of one tier."""

    tier: str
    figure: str
    live: Estimate | None
    predicted: float
    difference: Estimate | None
    """Live minus predicted, on the same tasks."""

    @property
    def agrees(self) -> bool:
        interval = None if self.difference is None else self.difference.interval
        if interval is None:
            return self.difference is not None and abs(self.difference.value) < 1e-9
        return interval.low <= 0 and (interval.high is None or interval.high >= 0)


def tierwise(*arguments: str) -> None:
    """Run a command, and print how long it took and how busy the machine was."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "tierwise", *arguments], check=False, capture_output=True, text=True, cwd=ROOT
    )
    if done.returncode not in (0, 1):
        raise SystemExit(f"tierwise {' '.join(arguments)} ended with {done.returncode}: {done.stderr[-2000:]}")
    load = os.getloadavg()[0]
    print(f"  {time.monotonic() - began:5.0f} s, load {load:.1f}: tierwise {' '.join(arguments[:2])} …", flush=True)


def compare(pool: Pool, live: Mapping[str, Sequence[TrialRecord]], *, orders: int, concurrency: int) -> list[Compared]:
    """Every figure of every tier."""
    found = []
    for tier, every in live.items():
        records = [record for record in every if record.is_graded]
        speeds = {name: None if one is None else speed_of(records, one) for name, one in pool.speeds.items()}
        at_live = replace(pool, speeds=speeds)
        for figure, (measured_, expected) in FIGURES.items():
            named = {figure: pool} if figure != "seconds" else {figure: pool, AT_LIVE_SPEED: at_live}
            for name, at in named.items():
                actions = replayed(at, tier, orders=orders, concurrency=concurrency)
                found.append(compared(tier, name, records, actions, measured_, expected))
    return found


def speed_of(records: Sequence[TrialRecord], recorded: Speed) -> Speed:
    """The recorded speed, times how much slower the passes of a live run decoded beside as many others."""
    every = observed(records)
    usable = [one for one in every if one.tokens >= 5 and one.seconds > one.first_token]
    prompts = Prompts(every, recorded.start, recorded.per_prompt_token)
    ratio = median(
        (one.seconds - one.first_token) / ((one.tokens - 1) * recorded.step(max(1, round(load))) + prompts.during(one))
        for one, load in zip(usable, loads_of(usable, every), strict=True)
    )
    print(f"  its passes took {ratio:.2f} times as long as at the recorded speed")
    return replace(
        recorded,
        start=ratio * recorded.start,
        per_prompt_token=ratio * recorded.per_prompt_token,
        steps=tuple(ratio * step for step in recorded.steps),
    )


def replayed(pool: Pool, tier: str, *, orders: int, concurrency: int) -> dict[str, list[Replayed]]:
    """The actions of a tier on a pool, by task."""
    grid = tiers_as_settings(pool.plan, [tier])
    found: dict[str, list[Replayed]] = {}
    with Replayer(pool, grid.prices) as replayer:
        (actions,) = replayer.run(grid.settings, orders=orders, concurrency=concurrency)
    for action in actions:
        found.setdefault(pool.tasks[action.task].task.id, []).append(action)
    return found


def compared(
    tier: str,
    figure: str,
    records: Sequence[TrialRecord],
    actions: Mapping[str, Sequence[Replayed]],
    measured_: Callable[[TrialRecord], float],
    expected: Callable[[Replayed], float],
) -> Compared:
    sample = Design({}, {}).sample([record.task for record in records])
    predicted = {task: sum(map(expected, these)) / len(these) for task, these in actions.items()}
    return Compared(
        tier=tier,
        figure=figure,
        live=sample.mean([measured_(record) for record in records]),
        predicted=sum(predicted[record.task] for record in records) / len(records),
        difference=sample.mean([measured_(record) - predicted[record.task] for record in records]),
    )


def cached_share(records: Sequence[TrialRecord]) -> float:
    """Of the prompt tokens of all passes."""
    prompt = sum(record.prompt_tokens or 0 for record in records)
    return sum(record.cached_tokens or 0 for record in records) / max(1, prompt)


def said(estimate: Estimate | None) -> str:
    if estimate is None:
        return "–"
    if estimate.interval is None or estimate.interval.high is None:
        return f"{estimate.value:.3g}"
    return f"{estimate.value:.3g} [{estimate.interval.low:.3g}, {estimate.interval.high:.3g}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=ROOT / "examples" / "quickstart.yaml")
    parser.add_argument("--workload", type=Path, default=ROOT / "examples" / "quickstart.jsonl")
    parser.add_argument("--limit", type=int, default=24)
    parser.add_argument("--draws", type=int, default=12)
    parser.add_argument("--concurrency", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=2, help="of each live run")
    parser.add_argument("--orders", type=int, default=20)
    parser.add_argument("--out", type=Path, help="folder of the runs; what is there is not measured again")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder: Path = wanted.out or Path(scratch)
        given = (str(wanted.config), str(wanted.workload), "--limit", str(wanted.limit))
        pool_at = folder / "pool"
        if not RunDirectory(pool_at).has_manifest or RunDirectory(pool_at).is_unfinished:
            tierwise("pool", "record", *given, "--draws", str(wanted.draws), "--out", str(pool_at))
        live = {}
        for tier in TIERS:
            at = folder / tier
            if not RunDirectory(at).has_manifest or RunDirectory(at).is_unfinished:
                settings = ("--concurrency", str(wanted.concurrency), "--repeats", str(wanted.repeats), "--seed", "7")
                settled = ("--warm-up", "8")  # as the recording does, so that no slot is empty
                tierwise("bench", *given, "--tier", tier, "--mode", "max", *settings, *settled, "--out", str(at))
            live[tier] = RunDirectory(at).read_records()
        pool, drawn = read_pool(RunDirectory(pool_at)), RunDirectory(pool_at).read_records()
    rows = compare(pool, live, orders=wanted.orders, concurrency=wanted.concurrency)
    print(f"{'tier':10}{'figure':20}{'live':>26}{'predicted':>12}{'live − predicted':>28}")
    for row in rows:
        verdict = "" if row.agrees else "  differs"
        print(
            f"{row.tier:10}{row.figure:20}{said(row.live):>26}{row.predicted:12.3g}{said(row.difference):>28}{verdict}"
        )
    for name, records in (("pool", drawn), *live.items()):
        print(f"{name:10}{cached_share(records):.0%} of its prompt tokens were cached")
    if wanted.json:
        facts = [{"tier": row.tier, "figure": row.figure, "predicted": row.predicted, "live": said(row.live),
                  "difference": said(row.difference), "agrees": row.agrees} for row in rows]  # fmt: skip
        wanted.json.write_text(json.dumps(facts, indent=1), encoding="utf-8")
    sys.exit(not all(row.agrees for row in rows if row.figure != "seconds"))


if __name__ == "__main__":
    main()
