"""A run from its first request to its summary: find the endpoint, plan, ask, grade, keep, summarise.

Whatever was kept when a run was interrupted, even by `kill -9`, is not asked again when it is resumed.
"""

from __future__ import annotations

import gc
import math
from collections.abc import AsyncGenerator, Generator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from itertools import chain, islice
from typing import TYPE_CHECKING, Protocol

import aiohttp
import msgspec

from tierwise.analysis.summary import summary_of
from tierwise.bench.calibrate import calibrate
from tierwise.bench.client import Client, ServedModels
from tierwise.bench.endpoint import deployments, is_ready, launched, ledger_environment, serve_command
from tierwise.bench.lag import LagMeter
from tierwise.bench.loops import closed_loop, open_loop
from tierwise.bench.schedule import Trial, schedule, variants, warm_up
from tierwise.bench.spend_limit import SpendLimit
from tierwise.bench.trial import attempt, attempt_both, key_of
from tierwise.runs import machine as machines
from tierwise.runs.directory import (
    Manifest,
    Planned,
    RunDirectory,
    RunnerError,
    RunSession,
    config_of,
    new_run,
    source_of,
    timestamp,
)
from tierwise.runs.resume import require_same, require_same_rows
from tierwise.spec.errors import SpecError, TierwiseError
from tierwise.workloads.arrival import read_arrival

if TYPE_CHECKING:
    from tierwise.analysis.summary import RunSummary
    from tierwise.bench.bench_job import BenchJob
    from tierwise.runs.directory import RecordWriter
    from tierwise.runs.records import Key, TrialRecord
    from tierwise.spec.deployed import Deployed
    from tierwise.workloads.arrival import Open


class RunProgress(Protocol):
    """Whoever wants to know how a run goes on."""

    def planned(self, manifest: Manifest, kept: Sequence[TrialRecord]) -> None:
        """The tiers are ready, this is what will be asked, and this is there from earlier sessions."""

    def ended(self, record: TrialRecord, spent: float) -> None:
        """An action is over, and its record kept; so many dollars are spent."""


async def execute(job: BenchJob, progress: RunProgress) -> RunSummary:
    """Measure what a job still lacks, and summarise its run.

    When this is cancelled, what has ended is on the disk, and the rest was not run: `summary_of` reads what is there.

    Args:
        job: what to measure.
        progress: hears what is planned, and of each action that ends.

    Raises:
        SpecError: the endpoint does not serve the tiers that are to be measured, the config file is wrong, or the
            directory holds the beginning of another run.
        TierwiseError: no endpoint could be had, or a record could not be kept.
    """
    with job.directory.locked():
        await _measure(job, progress, read_arrival(job.settings.arrival))
    return summary_of(job.directory)


async def _measure(job: BenchJob, progress: RunProgress, arrival: Open | None) -> None:
    if job.directory.has_manifest:
        require_same(job.directory.read_manifest(), _described(job))
    async with _endpoint(job) as url, Client(url, timeout=job.settings.timeout) as client:
        calibration = await calibrate()
        served = await client.served()
        manifest = _begun(job, served, await deployments(url))
        paid, kept = _paid(job.directory), _kept(job.directory)
        with job.directory.recorder() as recorder, _undisturbed(), LagMeter() as meter:
            progress.planned(manifest, kept)
            run = _Run(job, manifest, kept, client, recorder, progress, paid)
            try:
                await run.ask(served, arrival)
            finally:
                runner = RunnerError(calibration=calibration, lag=meter.durations)
                job.directory.write_manifest(run.closed(runner))
                # After that: who interrupts again, while the endpoint is asked, shall find the manifest closed.
                job.directory.write_manifest(run.closed(runner, await deployments(url)))


@contextmanager
def _undisturbed() -> Generator[None]:
    """Keep the garbage collector from looking through all that was there before, again and again."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


class _Run:
    """One session, from the first action that it asks to the last."""

    def __init__(
        self,
        job: BenchJob,
        manifest: Manifest,
        kept: Sequence[TrialRecord],
        client: Client,
        recorder: RecordWriter,
        progress: RunProgress,
        paid: float,
    ) -> None:
        self._job = job
        self._manifest = manifest
        self._kept = kept
        self._client = client
        self._recorder = recorder
        self._progress = progress
        self._before = paid
        self._limit = SpendLimit(job.dollars, job.minutes, self._before)
        self._told: frozenset[str] = frozenset()
        """Tiers that tell what each pass said; of a route, it would not be known whose pass it was."""
        self._singles: dict[Key, Trial] = {}
        """Average-mode trials that the max-mode trial with this key may answer too."""

    async def ask(self, served: ServedModels, arrival: Open | None) -> None:
        """Ask everything that is not kept, after warming up."""
        settings = self._job.settings
        done = {record.key for record in self._kept}
        planned = schedule(
            self._job.workload.tasks,
            [planned.variant for planned in self._manifest.variants],
            settings.seed,
            settings.repeats,
        )
        trials = [trial for trial in planned if key_of(trial) not in done]
        self._told = frozenset(served.most_passes.keys() - served.composed) if served.candidates else frozenset()
        if served.candidates:
            trials = self._join(trials)
        first = warm_up(trials, settings.warm_up, settings.seed)
        waiting = self._limit.hand_out([*first, *trials])
        if arrival is None:
            await closed_loop(waiting, settings.concurrency, self._attend)
        else:
            moments = arrival.moments(settings.seed)
            await open_loop(waiting, _from(moments, len(self._kept)), self._attend)

    def _join(self, trials: Sequence[Trial]) -> list[Trial]:
        """Leave out the average-mode trials that a max-mode trial among them may answer."""
        maxima = {key_of(trial) for trial in trials if trial.variant.mode == "max"}
        joined = []
        for trial in trials:
            whole = key_of(trial)._replace(mode="max")
            if trial.variant.mode == "average" and whole in maxima:
                self._singles[whole] = trial
            else:
                joined.append(trial)
        return joined

    async def _attend(self, trial: Trial, due: float) -> None:
        if trial.warm_up is not None:
            self._limit.pay(trial, await attempt(trial, self._client, self._manifest.run, due))
            return
        single = self._singles.get(key_of(trial))
        record, of_candidate = await attempt_both(
            trial,
            single,
            self._client,
            self._manifest.run,
            due,
            candidates=trial.variant.mode == "max" and trial.variant.tier in self._told,
        )
        self._keep(trial, [record] if of_candidate is None else [record, of_candidate])
        if single is not None and of_candidate is None:
            self._limit.begin(single)
            self._keep(single, [await attempt(single, self._client, self._manifest.run)])

    def _keep(self, trial: Trial, records: Sequence[TrialRecord]) -> None:
        """Write what came of a trial, all of it at once, and pay for it."""
        self._recorder.write(*records)
        self._limit.pay(trial, *records)
        for record in records:
            self._progress.ended(record, self._limit.spent)

    def closed(self, runner: RunnerError, told: list[Deployed] | None = None) -> Manifest:
        """The manifest with this session's end, and with what the endpoint tells of itself at that time."""
        *before, session = self._manifest.sessions
        ended = timestamp()
        session = msgspec.structs.replace(
            session,
            ended=ended,
            dollars=self._limit.spent - self._before,
            stopped=self._limit.stopped,
            runner=runner,
            deployments=session.deployments if told is None else told,
        )
        return msgspec.structs.replace(self._manifest, ended=ended, sessions=[*before, session])


def _paid(directory: RunDirectory) -> float:
    """Dollars of earlier sessions, as far as they are known: one that was killed only left its records."""
    sessions = math.fsum(session.dollars for session in directory.read_manifest().sessions)
    return max(sessions, math.fsum(record.spent for record in directory.read_records()))


def _kept(directory: RunDirectory) -> list[TrialRecord]:
    """What needs not be asked again; what ended in an infrastructure error says nothing about its tier, and is."""
    if directory.errors():
        directory.write_records([record for record in directory.read_records() if record.is_graded])
    return directory.read_records()


def _from(moments: Iterator[float], number: int) -> Iterator[float]:
    """The moments from this one on, counted from it."""
    rest = islice(moments, number, None)
    first = next(rest)
    return (moment - first for moment in chain([first], rest))


@asynccontextmanager
async def _endpoint(job: BenchJob) -> AsyncGenerator[str, None]:
    """The URL of an endpoint that is ready."""
    if not job.url:
        environment = ledger_environment(job.ledger)
        async with launched(serve_command(job.config), job.directory.log_path, environment) as url:
            yield url
        return
    async with aiohttp.ClientSession() as session:
        if not await is_ready(job.url, session):
            raise TierwiseError(f"no endpoint is ready at {job.url}; {job.url}/ready says which engine it waits for")
    yield job.url


def _begun(job: BenchJob, served: ServedModels, told: list[Deployed] | None) -> Manifest:
    """The manifest of this session, in the directory."""
    most_passes = served.most_passes
    unknown = [tier for tier in (*job.tiers, *job.workload.judges) if tier not in most_passes]
    if unknown:
        raise SpecError(
            f"the endpoint serves no tier or route {unknown[0]!r}; it has {', '.join(most_passes)}", field="--url"
        )
    wanted = variants({tier: most_passes[tier] for tier in job.tiers}, job.mode, served.composed)
    planned = [Planned(tier=one.tier, mode=one.mode, most_passes=most_passes[one.tier]) for one in wanted]
    session = RunSession(began=timestamp(), url=job.url, deployments=told)
    if job.directory.has_manifest:
        before = job.directory.read_manifest()
        require_same_rows(before, planned)
        manifest = msgspec.structs.replace(before, ended=None, sessions=[*before.sessions, session])
    else:
        manifest = msgspec.structs.replace(_described(job), variants=planned, sessions=[session])
        job.directory.write_tasks(job.workload.tasks)
    job.directory.write_manifest(manifest)
    return manifest


def _described(job: BenchJob) -> Manifest:
    """What can be said of a run before its endpoint is there."""
    return Manifest(
        run=new_run(),
        began=timestamp(),
        url=job.url,
        config=config_of(job.config),
        workload=source_of(job.workload),
        tasks=[task.id for task in job.workload.tasks],
        variants=[],
        settings=job.settings,
        versions=machines.versions(),
        packages=machines.packages(),
        machine=machines.machine(),
    )
