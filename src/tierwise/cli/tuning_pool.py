"""The pool that `tierwise tune` decides from: how many draws it takes, and its recording after a race."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from pathlib import Path

    from tierwise.cli.console import Console
    from tierwise.runs.directory import RunDirectory
    from tierwise.tuning.racing import Raced

_LEAST_DRAWS = 4
_SPARE = 2
"""Draws in place of those that a vote cannot use."""
_ROUNDS = 3
"""Sessions of a recording: the later ones ask again for draws that ended in infrastructure errors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to record."""

    draws: int | None
    """Of each task and deployment; None for as many as the file's tiers need."""
    reference: str
    """As the user names it; it never drops out of a race."""
    seed: int
    """Of the draws and of the race."""
    races: bool
    """Whether deployments are raced first."""
    caps: bool
    """Whether tiers that think are recorded with less thinking too."""
    without: str
    """A tier that only judges, and so is not recorded; empty if there is none."""


def recorded_pool(
    console: Console,
    file: Path,
    workload: Path,
    folder: Path,
    wanted: Wanted,
    limits: tuple[float | None, float | None],
    *,
    as_json: bool,
) -> tuple[Path, RunDirectory, Raced | None]:
    """A pool that is recorded now, or was in part; its config file; and the race before it.

    Args:
        console: for progress.
        file: the config file.
        workload: the tasks.
        folder: of the tuning; the pool is its folder `pool`.
        wanted: what to record.
        limits: dollars and minutes of the recording.
        as_json: whether only JSON is printed.
    """
    from tierwise.cli.caps import with_less_thinking
    from tierwise.cli.execution import run
    from tierwise.cli.pool import recording
    from tierwise.cli.racing import of_survivors, opened, race
    from tierwise.runs.directory import RunDirectory

    path = folder / "pool"
    directory = RunDirectory(path)
    job = recording(
        file,
        workload,
        draws=wanted.draws or draws_needed(file),
        directory=lambda: directory,
        seed=wanted.seed,
        dollars=limits[0],
        minutes=limits[1],
        without=wanted.without,
    )
    may_race = wanted.races and (not directory.has_manifest or (folder / "race").exists())
    raced = race(console, job, folder, reference=wanted.reference, seed=wanted.seed) if may_race else None
    for _ in range(_ROUNDS):
        is_whole = directory.has_manifest and not directory.is_unfinished
        if is_whole and not directory.errors():
            break
        here = RunDirectory.resume(path) if is_whole else opened(path, raced)
        if code := run(of_survivors(replace(job, directory=here), raced), as_json=as_json):
            raise typer.Exit(code)
    if wanted.caps:
        recorded = of_survivors(replace(job, directory=directory), raced)
        file, directory = with_less_thinking(console, file, folder, recorded, seed=wanted.seed, as_json=as_json)
    return file, directory, raced


def draws_needed(file: Path, *, least: int = _LEAST_DRAWS) -> int:
    """How many draws of each task and deployment a tuning records unless the user says.

    As many as the tier with the most votes draws, and at least as many as agreement and chance need. At temperature 0
    there is no chance, and a second draw would be a copy. Where a cheaper tier draws from the same deployment, a vote
    uses its draws, but not those that are truncated or empty, so a few more are recorded.

    Args:
        file: the config file.
        least: what agreement and chance need.
    """
    from tierwise import plan as planning
    from tierwise.pools.sources import recorded_sources, sources_of

    plan = planning.load(file)
    votes = {name: getattr(plan.tiers[name].policy.member, "n", 1) for name in plan.file.tiers}
    most = max(n for n in (1, *votes.values()) if isinstance(n, int))
    is_greedy = most == 1 and all(source.sampling.get("temperature") == 0 for source in sources_of(plan))
    if is_greedy:
        return 1
    asking = [name for name in plan.file.tiers if not plan.tiers[name].policy.member.tiers()]
    is_shared = most > 1 and len(recorded_sources(plan, asking)) < len(asking)
    return max(least, most + _SPARE * is_shared)


def judged_workload(workload: Path, labels: str, folder: Path) -> Path:
    """The workload as a judge grades it, in the folder of the tuning; the workload itself without a judge.

    Args:
        workload: the tasks, some of which have a check.
        labels: of the promise.
        folder: into which it is written.
    """
    from tierwise.tuning.judging import write_judged
    from tierwise.tuning.labels import judge_of
    from tierwise.workloads.files import load

    tier = judge_of(labels)
    if not tier:
        return workload
    return write_judged(load(workload), tier, folder / "judged.jsonl")
