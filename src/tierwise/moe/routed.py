"""Runs a workload through a tier and records the routing of each pass: the directory that `moe record` writes.

This is separate from a run of the bench, which measures the product as it is served: recording takes time, and answers
are not graded here.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec

from tierwise.engines import with_lever
from tierwise.mixture.load import Load
from tierwise.run import Action
from tierwise.runs.directory import ConfigSource, SourceFile, config_of, source_of, timestamp
from tierwise.runs.durations import Durations
from tierwise.runs.seeds import task_seed
from tierwise.service import launched
from tierwise.spec.clock import now
from tierwise.spec.errors import EngineError, NotFound, SpecError, TierwiseError
from tierwise.spec.files import decode_json, decode_json_lines, read_bytes
from tierwise.spec.prompt import Prompt
from tierwise.spec.replacing import replace_file
from tierwise.spec.routing import Routing

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Sequence

    from tierwise.engines.engine import Deployment, Engine, Health
    from tierwise.ledger.records import Trace
    from tierwise.plan import Plan
    from tierwise.run import Tier
    from tierwise.spec.call import Call, Chunk, Pass
    from tierwise.workloads.files import Task, Workload


class RoutedPass(msgspec.Struct, frozen=True, kw_only=True):
    """One pass and the routing of its tokens: a line of `passes.jsonl`."""

    task: str
    tags: list[str]
    cluster: str | None = None
    number: int
    """The number of the pass in its action, from 0."""
    began: float
    """Seconds since the recording began."""
    first_token: float | None
    """Seconds from the start of the pass; None without tokens."""
    seconds: float
    gaps: Durations
    """Times between two pieces of the answer."""
    prompt_tokens: int
    completion_tokens: int
    routing: Routing


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """What was recorded, and the deployment that it was recorded on: `recording.json`."""

    format: Annotated[int, msgspec.Meta(ge=1, le=1)] = 1
    began: str
    """UTC."""
    ended: str | None = None
    config: ConfigSource
    workload: SourceFile
    tier: str
    deployment: str
    engine: str
    command: str
    facts: dict[str, str] = {}
    tasks: int
    failed: int = 0
    """Tasks whose action ended in an error; their passes are not included."""
    unreported: int = msgspec.field(default=0, name="untold")
    """Passes whose routing the engine did not report."""


@dataclass(frozen=True, slots=True)
class RecordingDirectory:
    """The directory of a recording."""

    path: Path

    @classmethod
    def create(cls, path: Path) -> RecordingDirectory:
        """Create the directory of a new recording.

        Raises:
            SpecError: it is not empty, or cannot be created.
        """
        try:
            path.mkdir(parents=True, exist_ok=True)
            if any(path.iterdir()):
                raise SpecError(f"{path} is not empty; give a new folder to --out")
        except OSError as error:
            raise SpecError(f"cannot write a recording to {path}: {error}") from error
        return cls(path)

    @property
    def passes_path(self) -> Path:
        return self.path / "passes.jsonl"

    @property
    def page_path(self) -> Path:
        return self.path / "moe.html"

    def write(self, recording: Recording) -> None:
        content = msgspec.json.format(msgspec.json.encode(recording), indent=2) + b"\n"
        replace_file(self.path / "recording.json", content)

    def read(self) -> tuple[Recording, list[RoutedPass]]:
        """Read the recording; an incomplete last line, left by a crash, is ignored.

        Raises:
            NotFound: the directory is not a recording.
            SpecError: a file cannot be read; the message names file and line.
        """
        path = self.path / "recording.json"
        for file in (path, self.passes_path):
            if not file.is_file():
                raise NotFound(
                    f"{self.path} is not a recording: it has no {file.name}; "
                    "give a folder that `tierwise moe record` wrote"
                )
        recording = decode_json(read_bytes(path, "recording"), Recording, str(path))
        whole, _, _ = read_bytes(self.passes_path, "recording").rpartition(b"\n")
        return recording, decode_json_lines(whole, RoutedPass, str(self.passes_path))


def sampling_all(plan: Plan, tier: str) -> Plan:
    """The plan reduced to one tier, with every pass of its deployment recorded.

    Raises:
        SpecError: there is no such tier, it asks other tiers, or its engine does not report routing.
    """
    if tier not in plan.file.tiers:
        raise SpecError(f"there is no tier {tier!r}; tiers: {', '.join(plan.file.tiers)}", field="--tier")
    if others := plan.file.tiers[tier].policy.member.tiers():
        raise SpecError(f"tier {tier!r} asks other tiers; record one of them: {', '.join(others)}", field="--tier")
    wanted = plan.deployment_of(tier)
    processes = []
    for process in plan.processes:
        if wanted not in process.deployments:
            continue
        if not process.row.has_lever("experts_sampled"):
            raise SpecError(
                f"tier {tier!r} runs on {process.engine}, which does not report which experts it uses; these do: "
                f"{', '.join(with_lever('experts_sampled'))}",
                field="--tier",
            )
        processes.append(
            replace(
                process, settings=msgspec.structs.replace(process.settings, experts_sampled=1.0), deployments=(wanted,)
            )
        )
    tiers = {tier: plan.file.tiers[tier]}
    file = msgspec.structs.replace(plan.file, tiers=tiers, routes={})
    return replace(plan, file=file, tiers=tiers, processes=tuple(processes))


async def record(
    new_trace: Callable[[], Trace],
    tier: Tier,
    tasks: Sequence[Task],
    *,
    seed: int,
    concurrency: int,
    keep: Callable[[RoutedPass], None],
    on_progress: Callable[[int, int], None],
) -> tuple[int, int]:
    """Ask each task once.

    Args:
        new_trace: creates the trace of an action.
        tier: the tier; its engine must be running.
        tasks: of the workload; their checks are not used.
        seed: from which each task's seed is derived.
        concurrency: actions in flight at any moment.
        keep: called with each pass whose routing was reported.
        on_progress: called with the numbers of completed and of failed tasks.

    Returns:
        The numbers of failed actions, and of passes whose routing was not reported.
    """
    timed = _Timed(tier.deployment.engine)
    watched = replace(tier, deployment=replace(tier.deployment, engine=timed))
    gate, began = asyncio.Semaphore(concurrency), now()
    failed = unreported = done = 0

    async def ask(task: Task) -> None:
        nonlocal failed, unreported, done
        fields = task.request()
        messages = tuple(fields.pop("messages"))
        prompt = Prompt(messages=messages, fields=fields, seed=task_seed(seed, task.id))
        async with gate:
            trace, started = new_trace(), now() - began
            verifier = None if task.verifier is None else task.verifier.member
            try:
                await Action(watched, trace, verifier=verifier).solve(prompt)
            except (EngineError, TierwiseError):
                failed += 1
        for one in trace.passes:
            if one.routing is None:
                unreported += 1
            else:
                keep(_line(task, one, one.routing, started, timed.gaps_of(one.routing)))
        done += 1
        on_progress(done, failed)

    async with asyncio.TaskGroup() as group:
        for task in tasks:
            group.create_task(ask(task))
    return failed, unreported


async def record_workload(
    plan: Plan,
    workload: Workload,
    directory: RecordingDirectory,
    *,
    seed: int,
    concurrency: int,
    on_progress: Callable[[int, int], None],
) -> Recording:
    """Launch the tier of a plan from `sampling_all`, ask each task once, and write the recording.

    Args:
        plan: a plan with one tier.
        workload: the tasks.
        directory: each pass is written as it completes, and `recording.json` at the end.
        seed: from which each task's seed is derived.
        concurrency: actions in flight at any moment.
        on_progress: called with the numbers of completed and of failed tasks.
    """
    (name,) = plan.file.tiers
    async with launched(plan, uncertified=True) as service:
        await service.start()
        tier = service.router.tiers[name]
        recording = new_recording(plan, workload, name, tier.deployment)
        with directory.passes_path.open("wb") as kept:

            def keep(line: RoutedPass) -> None:
                kept.write(msgspec.json.encode(line) + b"\n")

            failed, unreported = await record(
                service.new_trace,
                tier,
                workload.tasks,
                seed=seed,
                concurrency=concurrency,
                keep=keep,
                on_progress=on_progress,
            )
    recording = msgspec.structs.replace(recording, ended=timestamp(), failed=failed, unreported=unreported)
    directory.write(recording)
    return recording


def load_of(passes: Iterable[RoutedPass]) -> Load:
    """The combined load of these passes."""
    return Load(one.routing for one in passes)


class _Timed:
    """An engine that records the times between two pieces of each answer."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        # Keyed by the routing object, which the pass keeps; the call is no key, because a budget may replace it.
        self._gaps: dict[int, list[float]] = {}

    async def start(self) -> None:
        await self._engine.start()

    async def stop(self) -> None:
        await self._engine.stop()

    def health(self) -> Health:
        return self._engine.health()

    async def stream(self, call: Call) -> AsyncGenerator[Chunk, None]:
        gaps: list[float] = []
        last = None
        async with aclosing(self._engine.stream(call)) as stream:
            async for chunk in stream:
                if chunk.is_output:
                    moment = now()
                    if last is not None:
                        gaps.append(moment - last)
                    last = moment
                if chunk.routing is not None:
                    self._gaps[id(chunk.routing)] = gaps
                yield chunk

    def gaps_of(self, routing: Routing) -> Durations:
        return Durations.of(self._gaps.pop(id(routing), ()))


def _line(task: Task, done: Pass, routing: Routing, started: float, gaps: Durations) -> RoutedPass:
    return RoutedPass(
        task=task.id,
        tags=task.tags,
        cluster=task.cluster,
        number=done.number,
        began=round(started + done.started, 6),
        first_token=done.first_token,
        seconds=done.seconds,
        gaps=gaps,
        prompt_tokens=done.usage.prompt,
        completion_tokens=done.usage.completion,
        routing=routing,
    )


def new_recording(plan: Plan, workload: Workload, tier: str, deployment: Deployment) -> Recording:
    """The recording before the first task is asked."""
    health, settings = deployment.engine.health(), plan.processes[0]
    return Recording(
        began=timestamp(),
        config=config_of(plan.path),
        workload=source_of(workload),
        tier=tier,
        deployment=deployment.name,
        engine=settings.engine,
        command=health.command,
        facts=dict(health.facts),
        tasks=len(workload.tasks),
    )
