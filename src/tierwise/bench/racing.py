"""Runs a race of deployments: batches of tasks through one endpoint, each in a run directory of its own.

A batch is asked of those still in. What is recorded is kept, so a race that was interrupted, also by `kill -9`, goes on
where it was; one that is over is only read.
"""

from __future__ import annotations

import secrets
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from msgspec import structs

from tierwise.bench.bench_job import BenchJob
from tierwise.bench.endpoint import KEY_VARIABLE, launched, ledger_environment, serve_command
from tierwise.bench.execute import execute
from tierwise.runs.directory import RunDirectory, config_of
from tierwise.spec.errors import SpecError
from tierwise.tuning.racing import Raced, needed_by_reference, results_of, started

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tierwise.plan import Plan
    from tierwise.runs.directory import Manifest
    from tierwise.runs.records import TrialRecord
    from tierwise.stats.racing import Race
    from tierwise.tuning.racing import Racing
    from tierwise.workloads.task import Task


class RaceProgress(Protocol):
    """Receives the progress of a race."""

    def raced(self, race: Race, spent: float) -> None:
        """A batch has ended; `spent` is the dollars of the race so far."""

    def note(self, sentence: str) -> None:
        """Something that the user should know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RaceJob:
    """A request to run a race."""

    job: BenchJob
    """As the pool would be recorded; its directory and tiers are not used."""
    plan: Plan
    racing: Racing
    folder: Path
    """Holds a run directory for each batch."""
    reference: str | None = ""
    """The tier whose deployments are never dropped; empty to choose, None for none."""


async def run_race(wanted: RaceJob, progress: RaceProgress) -> Raced:
    """Run the batches that a race still lacks, until it is decided, its tasks are used up, or a limit is reached.

    Raises:
        SpecError: the folder holds another race, or the config file is invalid.
        TierwiseError: the endpoint does not start, or a record could not be written.
    """
    began, race, left_out = time.monotonic(), None, 0
    records: list[TrialRecord] = []
    why, racing = "", wanted.racing
    async with AsyncExitStack() as stack:
        endpoint = _Endpoint(wanted, stack)
        for number, tasks in enumerate(racing.batches):
            tiers = [one.tier for one in racing.sources] if race is None else list(race.racing)
            spent = sum(record.spent for record in records)
            batch = _Batch(wanted, number, tasks, tiers)
            if not batch.is_whole:
                why = _limit(wanted.job, spent, began)
                if not why:
                    why = await batch.run(await endpoint.url(), endpoint.key, spent, began, progress)
            found = batch.records()
            records += found
            if why:
                break
            if race is None:
                race = started(racing, _needed(wanted, found))
            results, lost = results_of(race, tasks, found)
            left_out += lost
            race = race.after(results)
            progress.raced(race, sum(record.spent for record in records))
            if race.is_settled:
                break
    if race is None:
        race = started(racing, [one.tier for one in racing.sources])
    return Raced(race=race, sources=racing.sources, records=tuple(records), left_out=left_out, why_stopped=why)


def _needed(wanted: RaceJob, first: Sequence[TrialRecord]) -> set[str]:
    if wanted.reference is None:
        return set()
    return needed_by_reference(wanted.plan, wanted.racing, wanted.reference, first)


def _limit(job: BenchJob, spent: float, began: float) -> str:
    if job.dollars is not None and spent >= job.dollars:
        return f"the limit of ${job.dollars:g} is reached"
    if job.minutes is not None and time.monotonic() - began >= 60 * job.minutes:
        return f"the limit of {job.minutes:g} minutes is reached"
    return ""


@dataclass(slots=True)
class _Endpoint:
    """The endpoint that the config file describes, launched when it is needed first."""

    wanted: RaceJob
    stack: AsyncExitStack
    key: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    _url: str = ""

    async def url(self) -> str:
        if not self._url:
            job = self.wanted.job
            environment = {**ledger_environment(self.wanted.folder / "ledger.db"), KEY_VARIABLE: self.key}
            log = self.wanted.folder / "serve.log"
            command = serve_command(job.config, uncertified=True)
            self._url = await self.stack.enter_async_context(launched(command, log, environment))
        return self._url


class _Batch:
    """Some tasks, asked of those still in."""

    def __init__(self, wanted: RaceJob, number: int, tasks: Sequence[Task], tiers: Sequence[str]) -> None:
        self._wanted, self._number, self._tasks, self._tiers = wanted, number, tasks, tiers
        self._directory = RunDirectory(wanted.folder / f"{number:03}")
        if self._directory.has_manifest:
            self._require_same(self._directory.read_manifest())

    @property
    def is_whole(self) -> bool:
        return self._directory.has_manifest and not self._directory.is_unfinished

    def records(self) -> list[TrialRecord]:
        return self._directory.read_records() if self._directory.has_manifest else []

    async def run(self, url: str, key: str, spent: float, began: float, progress: RaceProgress) -> str:
        """Ask what is missing.

        Returns:
            Why not all of it was asked; empty if it was.
        """
        job = self._wanted.job
        before = sum(record.spent for record in self.records())
        minutes = None if job.minutes is None else max(0.0, job.minutes - (time.monotonic() - began) / 60)
        asked = replace(
            job,
            directory=RunDirectory.create(self._directory.path),
            workload=replace(job.workload, tasks=tuple(self._tasks)),
            tiers=list(self._tiers),
            settings=structs.replace(job.settings, repeats=1, warm_up=0 if self._number else 1),
            url=url,
            key=key,
            dollars=None if job.dollars is None else max(0.0, job.dollars - spent) + before,
            minutes=minutes,
        )
        await execute(asked, _Quiet(progress))
        session = self._directory.read_manifest().sessions[-1]
        return session.stopped or ("" if self.is_whole else "it was interrupted")

    def _require_same(self, manifest: Manifest) -> None:
        """Refuse a folder of another race.

        Raises:
            SpecError: config file, seed, tasks or deployments are others.
        """
        tiers = [planned.tier for planned in manifest.variants]
        job = self._wanted.job
        is_same = manifest.config.sha256 == config_of(job.config).sha256 and manifest.settings.seed == job.settings.seed
        is_same = is_same and manifest.workload.sha256 == job.workload.sha256
        if not is_same or manifest.tasks != [task.id for task in self._tasks] or set(tiers) != set(self._tiers):
            raise SpecError(
                f"{self._directory.path} holds a batch of another race; give another directory to --out",
                field="--out",
            )


@dataclass(frozen=True, slots=True)
class _Quiet:
    """Passes on the notes of a batch only."""

    progress: RaceProgress

    def planned(self, manifest: Manifest, kept: Sequence[TrialRecord]) -> None:
        pass

    def ended(self, record: TrialRecord, spent: float) -> None:
        pass

    def note(self, sentence: str) -> None:
        self.progress.note(sentence)
