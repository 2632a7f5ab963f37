"""Executes a whole run: finds the endpoint, plans, sends, grades, stores and summarises.

Records that were stored before an interruption, even by `kill -9`, are not measured again when the run is resumed.
"""

from __future__ import annotations

import gc
import math
import secrets
from collections.abc import AsyncGenerator, Generator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from itertools import chain, islice
from typing import TYPE_CHECKING, Protocol

import aiohttp
import msgspec

from tierwise import plan as planning
from tierwise.analysis.summary import summary_of
from tierwise.bench.agent_trial import AgentBench
from tierwise.bench.bench_job import require_runner
from tierwise.bench.calibrate import calibrate
from tierwise.bench.client import Client, ServedModels
from tierwise.bench.drawing import run_chains
from tierwise.bench.endpoint import (
    KEY_VARIABLE,
    deployments,
    is_ready,
    launched,
    ledger_environment,
    serve_command,
)
from tierwise.bench.failure_watch import FailureWatch
from tierwise.bench.judgements import Judgements
from tierwise.bench.lag import LagMeter
from tierwise.bench.loops import closed_loop, open_loop
from tierwise.bench.outage import LONGEST_WAIT, EndpointGone, Outage
from tierwise.bench.schedule import Trial, chains, schedule, variants, warm_up
from tierwise.bench.spend_limit import SpendLimit
from tierwise.bench.trial import has_failed, key_of, measure, measure_both
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
    from tierwise.workloads.arrival import OpenArrival


class RunProgress(Protocol):
    """Receives the progress of a run."""

    def planned(self, manifest: Manifest, kept: Sequence[TrialRecord]) -> None:
        """The tiers are ready. `manifest` is the plan, `kept` the records of earlier sessions."""

    def ended(self, record: TrialRecord, spent: float) -> None:
        """An action has ended and its record is stored; `spent` is the dollars spent so far."""

    def note(self, sentence: str) -> None:
        """Something that the user should know while the run goes on."""


async def execute(job: BenchJob, progress: RunProgress) -> RunSummary:
    """Measure the trials that a job's run still lacks, and summarise the run.

    After a cancellation, the records of ended trials are on disk, and `summary_of` summarises them.

    Args:
        job: what to measure.
        progress: receives the plan, and each action that ends.

    Raises:
        SpecError: the endpoint does not serve the tiers to measure, the config file is invalid, or the directory
            holds a different run.
        TierwiseError: the endpoint is not available, or a record could not be written.
    """
    with job.directory.locked():
        await _measure(job, progress, read_arrival(job.settings.arrival))
    return summary_of(job.directory)


async def _measure(job: BenchJob, progress: RunProgress, arrival: OpenArrival | None) -> None:
    require_runner(job.workload, job.runner)
    if job.directory.has_manifest:
        require_same(job.directory.read_manifest(), _new_manifest(job))
    async with _endpoint(job) as (url, key), _client(job, url, key, progress) as (client, outage):
        calibration = await calibrate()
        served = await client.served()
        manifest = _begin(job, served, await deployments(url, key))
        paid, kept = _spent_before(job.directory), _graded_records(job.directory)
        agents = _agents(job, url, key, client, outage)
        with job.directory.recorder() as recorder, _frozen_garbage(), LagMeter() as meter:
            progress.planned(manifest, kept)
            run = _Run(job, manifest, kept, client, recorder, progress, paid, outage, agents)
            try:
                await run.ask(served, arrival)
            finally:
                runner = RunnerError(calibration=calibration, lag=meter.durations)
                job.directory.write_manifest(run.closed(runner))
                # Written twice: a second interrupt, while the endpoint is queried, must find the manifest closed.
                job.directory.write_manifest(run.closed(runner, await deployments(url, key)))


@contextmanager
def _frozen_garbage() -> Generator[None]:
    """Exclude the objects that exist now from garbage collection, so that collections stay short."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


class _Run:
    """One session of a run."""

    def __init__(
        self,
        job: BenchJob,
        manifest: Manifest,
        kept: Sequence[TrialRecord],
        client: Client,
        recorder: RecordWriter,
        progress: RunProgress,
        paid: float,
        outage: Outage,
        agents: AgentBench | None,
    ) -> None:
        self._job = job
        self._agents = agents
        self._manifest = manifest
        self._kept = kept
        self._client = client
        self._recorder = recorder
        self._progress = progress
        self._outage = outage
        self._before = paid
        self._limit = SpendLimit(job.dollars, job.minutes, self._before)
        self._watch = FailureWatch(manifest)
        self._judgements = Judgements(job.workload.tasks, kept)
        self._with_candidates: frozenset[str] = frozenset()
        """Tiers whose candidates can be requested. Routes are excluded: their passes belong to several tiers."""
        self._singles: dict[Key, Trial] = {}
        """Average-mode trials by the key of the max-mode trial whose first candidate can answer them."""

    async def ask(self, served: ServedModels, arrival: OpenArrival | None) -> None:
        """Warm up, then run every trial that has no record yet."""
        settings = self._job.settings
        done = {record.key for record in self._kept}
        rows = [planned.variant for planned in self._manifest.variants]
        self._with_candidates = (
            frozenset(served.most_passes.keys() - served.composed) if served.candidates else frozenset()
        )
        if settings.pool is not None:
            for row, drawn in enumerate(chains(self._job.workload.tasks, rows, settings.seed, settings.repeats)):
                missing = [trial for chain in drawn for trial in chain if key_of(trial) not in done]
                first = warm_up(missing, settings.warm_up, settings.seed, before=row * settings.warm_up)
                await closed_loop(self._limit.hand_out(first), settings.concurrency, self._run_trial)
                await run_chains(
                    drawn,
                    settings.concurrency,
                    self._run_trial,
                    self._limit.hand_out,
                    lambda trial: key_of(trial) not in done,
                )
            return
        planned = schedule(self._job.workload.tasks, rows, settings.seed, settings.repeats)
        trials = [trial for trial in planned if key_of(trial) not in done]
        if served.candidates and self._agents is None:
            trials = self._merge_modes(trials)
        first = warm_up(trials, settings.warm_up, settings.seed)
        waiting = self._limit.hand_out([*first, *trials])
        if arrival is None:
            await closed_loop(waiting, settings.concurrency, self._run_trial)
        else:
            moments = arrival.moments(settings.seed)
            await open_loop(waiting, _times_from(moments, len(self._kept)), self._run_trial, self._delay)

    async def _delay(self) -> float:
        """By how many seconds outages have delayed the schedule. After an outage without end, no trial is left."""
        try:
            return await self._outage.delay()
        except EndpointGone as error:
            self._limit.stop(str(error))
            return self._outage.lost

    def _merge_modes(self, trials: Sequence[Trial]) -> list[Trial]:
        """Remove the average-mode trials that a max-mode trial can answer."""
        maxima = {key_of(trial) for trial in trials if trial.variant.mode == "max"}
        joined = []
        for trial in trials:
            whole = key_of(trial)._replace(mode="max")
            if trial.variant.mode == "average" and whole in maxima:
                self._singles[whole] = trial
            else:
                joined.append(trial)
        return joined

    async def _run_trial(self, trial: Trial, due: float) -> None:
        """Run a trial and store its record. A trial that lost its endpoint has none, and so counts as not run."""
        try:
            await self._measure_trial(trial, due)
        except EndpointGone as error:
            self._limit.stop(str(error))

    async def _measure_trial(self, trial: Trial, due: float) -> None:
        if self._agents is not None:
            record = await self._agents.measure(trial, self._manifest.run, due, self._judgements)
            if trial.warm_up is None:
                self._store(trial, [record])
            else:
                self._limit.pay(trial, record)
            return
        if trial.warm_up is not None:
            record = await measure(trial, self._client, self._manifest.run, due)
            self._limit.pay(trial, record)
            if has_failed(record):
                self._stop_at_fault(record)
            return
        single = self._singles.get(key_of(trial))
        record, single_record = await measure_both(
            trial,
            single,
            self._client,
            self._manifest.run,
            due,
            candidates=trial.variant.mode == "max" and trial.variant.tier in self._with_candidates,
            pool=self._job.settings.pool,
            judgements=self._judgements,
        )
        self._store(trial, [record] if single_record is None else [record, single_record])
        if single is not None and single_record is None:
            self._limit.begin(single)
            alone = await measure(single, self._client, self._manifest.run, judgements=self._judgements)
            self._store(single, [alone])

    def _store(self, trial: Trial, records: Sequence[TrialRecord]) -> None:
        """Write a trial's records in one step, and count their cost."""
        self._recorder.write(*records)
        self._limit.pay(trial, *records)
        for record in records:
            self._progress.ended(record, self._limit.spent)
            self._stop_at_fault(record)

    def _stop_at_fault(self, record: TrialRecord) -> None:
        """Start no more trials if the result will say nothing about a tier's answers."""
        if fault := self._watch.fault(record):
            self._limit.stop(fault)

    def closed(self, runner: RunnerError, reported: list[Deployed] | None = None) -> Manifest:
        """The manifest with this session closed, and with the deployments that the endpoint reports at its end."""
        *before, session = self._manifest.sessions
        ended = timestamp()
        session = msgspec.structs.replace(
            session,
            ended=ended,
            dollars=self._limit.spent - self._before,
            stopped=self._limit.stopped,
            has_failed=self._limit.has_failed,
            outages=self._outage.lost,
            runner=runner,
            deployments=session.deployments if reported is None else reported,
        )
        return msgspec.structs.replace(self._manifest, ended=ended, sessions=[*before, session])


def _spent_before(directory: RunDirectory) -> float:
    """Known dollars of earlier sessions. A session that was killed has only its records."""
    sessions = math.fsum(session.dollars for session in directory.read_manifest().sessions)
    return max(sessions, math.fsum(record.spent for record in directory.read_records()))


def _graded_records(directory: RunDirectory) -> list[TrialRecord]:
    """The records of graded trials. Trials that ended in infrastructure errors are dropped, and run again."""
    if directory.errors():
        directory.write_records([record for record in directory.read_records() if record.is_graded])
    return directory.read_records()


def _times_from(moments: Iterator[float], number: int) -> Iterator[float]:
    """The times from index `number` on, relative to the first of them."""
    rest = islice(moments, number, None)
    first = next(rest)
    return (moment - first for moment in chain([first], rest))


@asynccontextmanager
async def _client(
    job: BenchJob, url: str, key: str, progress: RunProgress
) -> AsyncGenerator[tuple[Client, Outage], None]:
    """Nobody starts an endpoint again that the bench launched itself."""
    outage = Outage(url, LONGEST_WAIT if job.url else 0.0, progress.note)
    async with Client(url, timeout=job.settings.timeout, key=key, outage=outage) as client:
        yield client, outage


@asynccontextmanager
async def _endpoint(job: BenchJob) -> AsyncGenerator[tuple[str, str], None]:
    """Yields the URL of an endpoint that is ready."""
    if not job.url:
        key = secrets.token_urlsafe(24)
        environment = {**ledger_environment(job.ledger), KEY_VARIABLE: key}
        command = serve_command(job.config, uncertified=not _measures_certified(job))
        async with launched(command, job.directory.log_path, environment) as url:
            yield url, key
        return
    async with aiohttp.ClientSession() as session:
        if not await is_ready(job.url, session):
            raise TierwiseError(f"the endpoint {job.url} is not ready; {job.url}/ready names the engine it waits for")
    yield job.url, job.key


def _agents(job: BenchJob, url: str, key: str, client: Client, outage: Outage) -> AgentBench | None:
    """What lets an agent work on the tasks; None where each task is one action."""
    if job.runner is None:
        return None
    return AgentBench(
        runner=job.runner.member,
        url=url,
        key=key,
        base=job.workload.base,
        logs=job.directory.path / "agents",
        seconds=job.settings.timeout,
        client=client,
        outage=outage,
    )


def _measures_certified(job: BenchJob) -> bool:
    """Whether a certified route is measured, so that its safe tier must not answer in its place. Any other run starts
    also where a certificate is void: it may be the one that makes it anew.
    """
    plan = planning.load(job.config)
    asked = {*job.tiers, *job.workload.judges} & plan.tiers.keys()
    asked.update(*(plan.reached_tiers(name) for name in tuple(asked)))
    return any(route.certificate is not None and name in asked for name, route in plan.file.routes.items())


def _begin(job: BenchJob, served: ServedModels, reported: list[Deployed] | None) -> Manifest:
    """Write the manifest with this session in it, and return it."""
    most_passes = served.most_passes
    unknown = [tier for tier in (*job.tiers, *job.workload.judges) if tier not in most_passes]
    if unknown:
        raise SpecError(
            f"the endpoint serves no tier or route {unknown[0]!r}; it has {', '.join(most_passes)}", field="--url"
        )
    wanted = variants({tier: most_passes[tier] for tier in job.tiers}, job.mode, served.composed)
    planned = [Planned(tier=one.tier, mode=one.mode, most_passes=most_passes[one.tier]) for one in wanted]
    session = RunSession(began=timestamp(), url=job.url, deployments=reported)
    if job.directory.has_manifest:
        before = job.directory.read_manifest()
        require_same_rows(before, planned)
        manifest = msgspec.structs.replace(before, ended=None, sessions=[*before.sessions, session])
    else:
        manifest = msgspec.structs.replace(_new_manifest(job), variants=planned, sessions=[session])
        job.directory.write_tasks(job.workload.tasks)
    job.directory.write_manifest(manifest)
    return manifest


def _new_manifest(job: BenchJob) -> Manifest:
    """The part of a manifest that is known before the endpoint is up."""
    return Manifest(
        run=new_run(),
        began=timestamp(),
        url=job.url,
        config=config_of(job.config),
        workload=source_of(job.workload),
        suite=job.workload.suite,
        claims=list(job.claims),
        tasks=[task.id for task in job.workload.tasks],
        variants=[],
        settings=job.settings,
        versions=machines.versions(),
        packages=machines.packages(),
        harness={} if job.runner is None else job.runner.member.versions(),
        machine=machines.machine(),
    )
