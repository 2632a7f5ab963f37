"""Makes a pool of imported runs: their repeats become the draws of the tiers that they stand for.

A pool needs more than a score: answers, tokens, times, and several draws of each task. What a log lacks is refused, all
of it at once, and nothing is written.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tierwise.bench.drawing import facts_of
from tierwise.ledger.prices import PriceBook
from tierwise.pools.sources import Source, sources_of
from tierwise.runs.directory import (
    IMPORTED,
    Manifest,
    Planned,
    RunDirectory,
    RunSession,
    RunSettings,
    config_of,
    new_run,
    source_of,
    timestamp,
)
from tierwise.runs.draws import PoolSettings
from tierwise.runs.machine import packages, versions
from tierwise.runs.records import PassSpend, TrialRecord, tags_of
from tierwise.spec.call import Completion, Usage
from tierwise.spec.errors import ConfigErrors, SpecError
from tierwise.spec.reading import Reading

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tierwise.plan import Plan
    from tierwise.workloads.files import Task, Workload

_SHOWN = 3
"""Ids that an error names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedDraws:
    """What becomes a pool."""

    plan: Plan
    workload: Workload
    runs: Mapping[str, RunDirectory]
    """The imported run of each tier."""
    draws: int
    """Of each task: as many as the run with the fewest has."""


def imported_draws(plan: Plan, workload: Workload, runs: Mapping[str, RunDirectory]) -> ImportedDraws:
    """Check that runs can be the draws of a config file's tiers.

    Args:
        plan: the config file.
        workload: the tasks that the logs are of, with the logs' ids.
        runs: imported runs, by the tier whose deployment and sampling they stand for.

    Raises:
        NotFound: a folder is no run.
        ConfigErrors: all that is missing, or does not fit.
    """
    reading = Reading()
    for name in runs:
        reading.known(name, plan.file.tiers, "--run", "tier")
    reading.done()
    sources = {source.key: source for source in sources_of(plan)}
    of: dict[str, RunDirectory] = {}
    errors: list[SpecError] = []
    for tier, directory in runs.items():
        source = next((one for one in sources.values() if _is_of(plan, one, tier)), None)
        if source is None:
            errors.append(SpecError(f"tier {tier!r} asks other tiers, and has no draws of its own", field="--run"))
        elif source.tier in of:
            errors.append(SpecError(f"tiers {source.tier!r} and {tier!r} are the same draws; give one", field="--run"))
        else:
            of[source.tier] = directory
            errors += _problems(plan, source, directory, workload)
    if lacking := [one.tier for one in sources.values() if one.tier not in of]:
        given = ", ".join(f"--run {tier}=DIR" for tier in lacking)
        errors.append(SpecError(f"no run has the draws of {', '.join(lacking)}; add {given}", field="--run"))
    if errors:
        raise ConfigErrors(errors)
    draws = min(directory.read_manifest().settings.repeats for directory in of.values())
    return ImportedDraws(
        plan=plan, workload=workload, runs={tier: of[tier] for tier in plan.file.tiers if tier in of}, draws=draws
    )


def _is_of(plan: Plan, source: Source, tier: str) -> bool:
    if plan.tiers[tier].policy.member.tiers():
        return False
    place = plan.runs_as[plan.deployment_of(tier)]
    return source.deployment == place and dict(source.sampling) == plan.tiers[tier].sampling.fields()


def _problems(plan: Plan, source: Source, directory: RunDirectory, workload: Workload) -> Iterator[SpecError]:
    """What a run lacks to be the draws of a tier."""
    manifest, where = directory.read_manifest(), f"{directory.path} ({source.tier})"
    if not manifest.is_imported or manifest.settings.pool is not None:
        yield SpecError(
            "is no imported run; `tierwise import` makes one of another tool's log, and `tierwise pool record` draws "
            "here",
            field=where,
        )
        return
    records = directory.read_records()
    wanted, found = [task.id for task in workload.tasks], {record.task for record in records}
    for ids, what in (
        ([name for name in dict.fromkeys(record.task for record in records) if name not in set(wanted)], "not tasks"),
        ([name for name in wanted if name not in found], "tasks without a result, and ids must be those of the log;"),
    ):
        if ids:
            yield SpecError(f"{len(ids)} ids are {what} of {workload.path}: {_some(ids)}", field=where)
    graded = [record for record in records if record.is_graded]
    for lacking, what in (
        ([one for one in graded if one.prompt_tokens is None or one.completion_tokens is None], "tokens"),
        ([one for one in graded if one.seconds is None], "times"),
        ([one for one in graded if one.is_solved and not one.answer], "answers"),
    ):
        if lacking:
            names = _some(list(dict.fromkeys(one.task for one in lacking)))
            yield SpecError(
                f"{len(lacking)} of {len(graded)} results have no {what} ({names}), and a replay needs them; the log "
                "does not have them",
                field=where,
            )
    if manifest.settings.repeats < 2 and source.sampling.get("temperature") != 0:
        yield SpecError(
            "has one draw of each task, and a policy that votes or waits for agreement needs several; repeat the "
            "samples (epochs, repeats), or give the tier temperature 0 if its answers are greedy",
            field=where,
        )
    if source.deployment not in plan.file.prices:
        yield SpecError(
            f"{plan.path.name} has no price of {source.deployment!r}, and a log's own dollars do not say what other "
            f"tokens cost; add `prices: {{{source.deployment}: {{prompt: …, completion: …}}}}`",
            field=where,
        )


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:_SHOWN]) + (", …" if len(ids) > _SHOWN else "")


async def write_pool(given: ImportedDraws, path: Path) -> RunDirectory:
    """Write the pool, whole or not at all. Further draws than the run with the fewest has are left out.

    Raises:
        SpecError: it cannot be written.
    """
    tasks = {task.id: task for task in given.workload.tasks}
    run, book = new_run(), PriceBook(given.plan.file.prices)
    records: list[TrialRecord] = []
    for tier, directory in given.runs.items():
        deployment = given.plan.runs_as[given.plan.deployment_of(tier)]
        of: defaultdict[str, list[TrialRecord]] = defaultdict(list)
        for one in sorted(directory.read_records(), key=lambda one: one.repeat):
            of[one.task].append(one)
        for name, task in tasks.items():
            records += [
                await _draw(one, task, tier, deployment, run, book) for one in of[name] if one.repeat < given.draws
            ]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".importing-", dir=path.parent))
    except OSError as error:
        raise SpecError(f"cannot write a pool to {path}: {error}") from error
    try:
        directory = RunDirectory.create(draft / path.name)
        directory.write_tasks(given.workload.tasks)
        directory.write_records(records)
        directory.write_manifest(_manifest(given, run))
        directory.path.rename(path)
    finally:
        shutil.rmtree(draft)
    return RunDirectory(path)


async def _draw(one: TrialRecord, task: Task, tier: str, deployment: str, run: str, book: PriceBook) -> TrialRecord:
    """A result of another tool as the draw of a tier: one pass. An infrastructure error stays one."""
    again = f"/{one.repeat}" if one.repeat else ""
    kept = msgspec.structs.replace(
        one,
        action=f"{run}/{one.task}/{tier}/both{again}",
        tier=tier,
        mode="both",
        tags=tags_of(task.tags, task.cluster),
    )
    if not one.is_graded:
        return kept
    usage = Usage(prompt=one.prompt_tokens or 0, cached=one.cached_tokens or 0, completion=one.completion_tokens or 0)
    seconds = one.seconds or 0.0
    spent = PassSpend(
        role="draft",
        candidate=True,
        tier=tier,
        outcome="finished",
        finish=one.finish or "stop",
        started=0.0,
        first_token=one.first_output,
        seconds=seconds,
        prompt_tokens=usage.prompt,
        cached_tokens=usage.cached,
        completion_tokens=usage.completion,
        dollars=book.price(deployment, usage, seconds).dollars,
    )
    facts = await facts_of(task, Completion(text=one.answer, finish=one.finish or "stop"))
    return msgspec.structs.replace(kept, passes=[spent], dollars=spent.dollars, draw=facts)


def _manifest(given: ImportedDraws, run: str) -> Manifest:
    began = timestamp()
    some = next(iter(given.runs.values())).read_manifest()
    return Manifest(
        run=run,
        began=began,
        ended=began,
        url="",
        config=config_of(given.plan.path),
        workload=source_of(given.workload),
        tasks=[task.id for task in given.workload.tasks],
        variants=[Planned(tier=tier, mode="both", most_passes=1) for tier in given.runs],
        settings=RunSettings(
            seed=0,
            concurrency=1,
            timeout=0.0,
            arrival=IMPORTED,
            repeats=given.draws,
            pool=PoolSettings(top_logprobs=0),
        ),
        versions=versions(),
        packages=packages(),
        machine=some.machine,
        sessions=[RunSession(began=began, ended=began)],
    )
