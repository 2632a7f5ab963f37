"""A run from its first request to its last record: find the endpoint, plan, ask, grade, keep."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import aiohttp
import msgspec

from tierwise.bench import folder as folders
from tierwise.bench.arrival import closed_loop
from tierwise.bench.client import Client
from tierwise.bench.folder import Folder, Manifest, Planned, Settings
from tierwise.bench.launch import is_ready, launched, serve_command
from tierwise.bench.schedule import Trial, schedule, variants
from tierwise.bench.trial import attempt
from tierwise.spec.errors import SpecError, TierwiseError

if TYPE_CHECKING:
    from tierwise.bench.records import Record
    from tierwise.bench.workload import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is to be measured, and where its results go."""

    config: Path
    workload: Workload
    tiers: Sequence[str]
    """Names of the config file's tiers, in the order of the rows."""
    mode: Literal["average", "max", "both"]
    settings: Settings
    folder: Folder
    ledger: Path
    """Where actions are recorded if the tiers are launched for this job."""
    url: str = ""
    """Of an endpoint that serves the config file already; empty to launch one."""


class Watch(Protocol):
    """Whoever wants to know how a run goes on."""

    def planned(self, manifest: Manifest) -> None:
        """The tiers are ready, and this is what will be asked."""

    def ended(self, record: Record) -> None:
        """An action is over, and its record kept."""


async def measure(job: Job, watch: Watch) -> None:
    """Measure every trial of a job. When this is cancelled, what has ended is on the disk, and the rest was not run.

    Raises:
        SpecError: the endpoint does not serve the tiers that are to be measured, or the config file is wrong.
        TierwiseError: no endpoint could be had, or a record could not be kept.
    """
    async with _endpoint(job) as url, Client(url, timeout=job.settings.timeout) as client:
        manifest = _manifest(job, await client.most_passes())
        job.folder.write_tasks(job.workload.tasks)
        job.folder.write_manifest(manifest)
        watch.planned(manifest)
        trials = schedule(job.workload.tasks, [planned.variant for planned in manifest.variants], job.settings.seed)
        try:
            await _ask_all(trials, client, job, manifest.run, watch)
        finally:
            job.folder.write_manifest(msgspec.structs.replace(manifest, ended=folders.now()))


async def _ask_all(trials: Sequence[Trial], client: Client, job: Job, run: str, watch: Watch) -> None:
    with job.folder.recorder() as recorder:

        async def attend(trial: Trial) -> None:
            record = await attempt(trial, client, run)
            recorder.write(record)
            watch.ended(record)

        await closed_loop(trials, job.settings.concurrency, attend)


@asynccontextmanager
async def _endpoint(job: Job) -> AsyncGenerator[str, None]:
    """The URL of an endpoint that is ready."""
    if not job.url:
        command = serve_command(job.config, job.ledger)
        async with launched(command, job.folder.log_path) as url:
            yield url
        return
    async with aiohttp.ClientSession() as session:
        if not await is_ready(job.url, session):
            raise TierwiseError(f"no endpoint is ready at {job.url}; {job.url}/ready says which engine it waits for")
    yield job.url


def _manifest(job: Job, most_passes: dict[str, int]) -> Manifest:
    unknown = [tier for tier in job.tiers if tier not in most_passes]
    if unknown:
        raise SpecError(
            f"the endpoint serves no tier {unknown[0]!r}; its tiers: {', '.join(most_passes)}", field="--url"
        )
    wanted = variants({tier: most_passes[tier] for tier in job.tiers}, job.mode)
    return Manifest(
        run=folders.new_run(),
        began=folders.now(),
        url=job.url,
        config=folders.config_of(job.config),
        workload=folders.source_of(job.workload),
        tasks=[task.id for task in job.workload.tasks],
        variants=[Planned(tier=one.tier, mode=one.mode, most_passes=most_passes[one.tier]) for one in wanted],
        settings=job.settings,
        versions=folders.versions(),
        machine=folders.machine(),
    )
