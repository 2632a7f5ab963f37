"""The race of `tierwise tune`: deployments that cannot win are not recorded in full."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

import typer

if TYPE_CHECKING:
    from pathlib import Path

    from rich.progress import Progress, TaskID

    from tierwise.bench.bench_job import BenchJob
    from tierwise.cli.console import Console
    from tierwise.plan import Plan
    from tierwise.runs.directory import RunDirectory
    from tierwise.stats.racing import Race
    from tierwise.tuning.racing import Raced, Racing
    from tierwise.tuning.split import TaskSplit
    from tierwise.workloads.task import Task


def race(console: Console, job: BenchJob, folder: Path, *, reference: str, seed: int) -> Raced | None:
    """Race the deployments of a config file, or go on with it; None if there is no race.

    Args:
        console: for progress.
        job: as the pool of all deployments would be recorded.
        folder: of the tuning.
        reference: as the user names it.
        seed: of the split and of the order of the tasks.
    """
    import uvloop

    from tierwise import plan as planning
    from tierwise.bench.racing import RaceJob, run_race
    from tierwise.cli.execution import INTERRUPTED, unless_interrupted
    from tierwise.tuning.racing import racing_of
    from tierwise.tuning.split import split

    plan = planning.load(job.config)
    tasks = job.workload.tasks
    racing, _ = racing_of(plan, tasks, split(tasks, seed=seed), seed=seed)
    if racing is None:
        return None
    place = folder / "race"
    place.mkdir(parents=True, exist_ok=True)
    console.print(f"racing {len(racing.sources)} deployments on up to {len(racing.tasks)} tuning tasks")
    wanted = RaceJob(job=job, plan=plan, racing=racing, folder=place, reference=reference)
    with _Shown(console, racing) as shown:
        found = uvloop.run(unless_interrupted(run_race(wanted, shown)))
    if found is None:
        raise typer.Exit(INTERRUPTED)
    if found.why_stopped:
        console.print(
            f"the race stopped: {found.why_stopped}. Run the same command again to continue it", style="yellow"
        )
        raise typer.Exit(1)
    return found


def race_at_most(plan: Plan, tasks: tuple[Task, ...], parts: TaskSplit, draws: int, seed: int) -> str:
    """What `--dry-run` says of a race."""
    from tierwise.tuning.racing import racing_of

    racing, why = racing_of(plan, tasks, parts, seed=seed)
    if racing is None:
        return f"none: {why}"
    count, most = len(racing.sources), len(racing.sources) * len(racing.tasks)
    lost = (count - 1) * len(racing.tasks)
    return (
        f"{count} deployments × at most {len(racing.tasks)} tuning tasks, one draw each: at most {most} draws, of "
        f"which at most {lost} are of deployments that drop out, and the rest are kept; each that drops out saves up "
        f"to {len(tasks) * draws} draws"
    )


def opened(path: Path, raced: Raced | None) -> RunDirectory:
    """The directory of a pool, which begins with the draws of the race."""
    from tierwise.runs.directory import RunDirectory

    if raced is not None and not RunDirectory(path).has_manifest:
        RunDirectory(path).records_path.unlink(missing_ok=True)  # written by this function, before the pool began
    directory = RunDirectory.create(path)
    if raced is not None and not directory.has_manifest:
        directory.write_records(raced.kept_records)
    return directory


def of_survivors(job: BenchJob, raced: Raced | None) -> BenchJob:
    """The recording of a pool, without what dropped out of the race."""
    if raced is None:
        return job
    dollars = None if job.dollars is None else max(0.0, job.dollars - raced.lost_dollars)
    return replace(job, tiers=raced.tiers, dollars=dollars)


@dataclass(slots=True)
class _Shown:
    """Shows the progress of a race: a bar on a terminal, else a line for every deployment that drops out."""

    console: Console
    racing: Racing
    _bars: Progress | None = None
    _task: TaskID | None = None
    _told: set[str] = field(default_factory=set)

    def __enter__(self) -> Self:
        from rich.progress import Progress

        self._bars = Progress(console=self.console, transient=True, disable=not self.console.is_terminal)
        self._bars.start()
        self._task = self._bars.add_task("racing", total=len(self.racing.tasks))
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def raced(self, race: Race, spent: float) -> None:
        for one in race.dropped:
            if one.name not in self._told:
                self._told.add(one.name)
                self.console.print(f"after {one.tasks} tasks {one.name} drops out: {one.why}")
        said = f"racing: {len(race.racing)} of {len(race.names)} in, {race.tasks} tasks, ${spent:.4f}"
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, completed=race.tasks, description=said)
        if race.is_settled or race.tasks >= len(self.racing.tasks):
            self.console.print(said.replace("racing:", "race over:"))

    def note(self, sentence: str) -> None:
        self.console.print(sentence, style="yellow")
