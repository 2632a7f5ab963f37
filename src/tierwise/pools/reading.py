"""Reads a pool from its directory, and finds what is odd about it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tierwise import plan as planning
from tierwise.engines import row_of
from tierwise.pools.alike import has_same_settings, has_same_weights
from tierwise.pools.chains import Continuations, chained_draw
from tierwise.pools.draws import Draw, RecordedCompletion
from tierwise.pools.lost import is_lost, lost_of, ran_of
from tierwise.pools.sources import Source, recorded_sources, sources_of
from tierwise.pools.speed import Observed, Speed, measured
from tierwise.runs.draws import DrawFacts
from tierwise.runs.records import TrialOutcome
from tierwise.runs.seeds import task_seed
from tierwise.spec.ask import Verdict
from tierwise.spec.call import Call, Usage
from tierwise.spec.errors import NotFound, SpecError
from tierwise.spec.prompt import BOUNDS, Prompt
from tierwise.workloads.task import read_tasks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tierwise.plan import Plan
    from tierwise.runs.directory import Manifest, RunDirectory
    from tierwise.runs.records import TrialRecord
    from tierwise.workloads.files import Workload
    from tierwise.workloads.task import Task

_LEAST_TOKENS = 8
"""Mean completion tokens from which equal draws are not a coincidence of short answers."""
_MOST_ALIKE = 0.9
"""The share of tasks with only equal draws from which the engine is said to ignore seeds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolTask:
    """A task with its prompt and draws."""

    task: Task
    prompt: Prompt
    """As the endpoint gives it to a policy, before a tier's sampling."""
    draws: Mapping[tuple[str, bytes], Sequence[Draw]]
    """By `Source.key`; draw i is the i-th."""
    continuations: Mapping[tuple[str, str], Draw]
    """Recorded passes that saw others, by deployment and the digest of their call."""

    def first_cached(self, deployment: str) -> float:
        """The share of the prompt that its first draw found in the cache: what other prompts begin with, too."""
        used = [one.usage for (name, _), draws in self.draws.items() if name == deployment for one in draws]
        return min((one.cached / one.prompt for one in used if one.prompt), default=0.0)

    def cache_sizes(self) -> dict[str, tuple[int, int]]:
        """For each deployment, the fewest and the most cached prompt tokens of the draws."""
        of: dict[str, list[int]] = {}
        for (deployment, _), draws in self.draws.items():
            of.setdefault(deployment, []).extend(one.usage.cached for one in draws)
        return {name: (min(cached), max(cached)) for name, cached in of.items() if cached}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A pool in memory."""

    path: Path
    plan: Plan
    """Of the config file with which it was recorded."""
    manifest: Manifest
    sources: tuple[Source, ...]
    tasks: tuple[PoolTask, ...]
    speeds: Mapping[str, Speed | None]
    """By deployment; None if its records do not show one."""
    notes: tuple[str, ...]
    """What a reader of its results should know."""
    tokens: float = 0.0
    """Completion tokens that were recorded for a task, on average. What was taken over from another tier of the pool
    counts once."""

    def shares_prompt(self, deployment: str, task: PoolTask, passes: int) -> bool:
        """Whether this many draws of a task, side by side, compute its prompt once. Where the engine must be told, it
        pays only for prompts that are not short; a draw of them finds what the last pass in its slot has left.
        """
        settings = self.plan.file.deployments[deployment]
        row = row_of(settings)
        if row.prefill_pays is None:
            return True
        return row.shares_prompts(settings) and row.prefill_pays(
            Call(prompt=task.prompt), passes, task.first_cached(deployment)
        )

    def source(self, deployment: str, sampling: Mapping[str, object]) -> Source | None:
        return next(
            (one for one in self.sources if one.deployment == deployment and dict(one.sampling) == dict(sampling)), None
        )


def read_pool(
    directory: RunDirectory, *, config: Path | None = None, workload: Workload | None = None, without: str = ""
) -> Pool:
    """Read a pool.

    Args:
        directory: of the pool.
        config: a config file that must describe the same deployments and samplings, or some of them.
        workload: a workload that must be the recorded one.
        without: a tier of the config file whose draws the pool need not have.

    Raises:
        NotFound: there is no run.
        SpecError: it is a run but no pool, nothing is recorded, or config file or workload are others.
    """
    if not directory.has_manifest:
        raise NotFound(f"{directory.path} is not a pool: it has no manifest.json; `tierwise pool record` makes one")
    manifest = directory.read_manifest()
    if manifest.settings.pool is None:
        raise SpecError(f"{directory.path} is a run of `tierwise bench`, not a pool; `tierwise pool record` makes one")
    plan = planning.parse(manifest.config.text, directory.path / "recorded.yaml")
    records, tasks = directory.read_records(), read_tasks(directory.tasks_path)
    if not any(record.is_graded for record in records):
        raise SpecError(f"{directory.path} has no draws yet; continue it with --resume {directory.path}")
    if config is not None:
        _require_same_config(replace(plan, path=Path(manifest.config.path)), planning.load(config), without)
    if workload is not None and workload.sha256 != manifest.workload.sha256:
        raise SpecError(
            f"the pool was recorded with another workload (SHA-256 {manifest.workload.sha256[:8]}, {workload.path} has "
            f"{workload.sha256[:8]}); record a pool of this one, or give the recorded one: {manifest.workload.path}",
            field="--workload",
        )
    sources = tuple(recorded_sources(plan, [planned.tier for planned in manifest.variants]))
    of: defaultdict[tuple[str, str], dict[int, TrialRecord]] = defaultdict(dict)
    for record in records:
        if record.is_graded:
            of[record.task, record.tier][record.repeat] = record
    with Continuations(plan) as continuations:
        found = tuple(_task(task, sources, of, manifest.settings.seed, continuations) for task in tasks)
    return Pool(
        path=directory.path,
        plan=plan,
        manifest=manifest,
        sources=sources,
        tasks=found,
        speeds={name: _speed(name, sources, records) for name in {source.deployment for source in sources}},
        notes=tuple(_notes(manifest, sources, found, records)),
        tokens=sum(one.completion_tokens or 0 for one in records if one.taken != "tier") / max(1, len(tasks)),
    )


def used_by(plan: Plan, pool: Pool) -> Pool:
    """A pool for another config file, from `read_pool` with that file: with the sources that it uses."""
    keys = {source.key for source in sources_of(plan)}
    return replace(pool, plan=plan, sources=tuple(source for source in pool.sources if source.key in keys))


def _task(
    task: Task,
    sources: Iterable[Source],
    of: Mapping[tuple[str, str], Mapping[int, TrialRecord]],
    seed: int,
    continuations: Continuations,
) -> PoolTask:
    request = task.request()
    messages = tuple(request.pop("messages"))
    prompt = Prompt(messages=messages, fields=request, seed=task_seed(seed, task.id))
    chained = [
        (source, record)
        for source in sources
        for record in of.get((task.id, source.tier), {}).values()
        if len(record.passes or ()) > 1
    ]
    return PoolTask(
        task=task,
        prompt=prompt,
        draws={
            source.key: [
                _draw(index, record, source, task)
                for index, (_, record) in enumerate(sorted(of.get((task.id, source.tier), {}).items()))
            ]
            for source in sources
        },
        continuations=continuations.of(task, prompt, chained),
    )


def _draw(index: int, record: TrialRecord, source: Source, task: Task) -> Draw:
    facts = record.draw or DrawFacts()
    ran, passes = ran_of(record), record.passes or ()
    spent, lost = next(iter(ran or passes), None), lost_of(record)
    if spent is not None and len(ran) > 1 and lost is None:
        return chained_draw(index, spent, _bound(task, source))
    calls = tuple(record.tool_calls)
    is_calls = bool(calls) and record.answer == msgspec.json.encode(calls).decode()
    trace = facts.tokens if facts.tokens is not None and facts.tokens.is_whole else None
    completion = RecordedCompletion(
        text="" if is_calls else record.answer,
        reasoning=facts.reasoning,
        tool_calls=calls,
        finish=record.finish or "stop",
        extra=facts.extra,
    )
    counted = record if spent is None or len(passes) == 1 else spent  # the record counts passes that failed, too
    count = max(0, counted.completion_tokens or 0)
    usage = Usage(
        prompt=max(0, counted.prompt_tokens or 0),
        cached=max(0, counted.cached_tokens or 0),
        completion=count,
        reasoning=min(count, (trace.answer or 0) if trace is not None else 0),
    )
    was_cut = spent is not None and spent.outcome == "cut"
    served = Draw(
        index=index,
        completion=completion,
        usage=usage,
        tokens=trace,
        bound=count if was_cut else _bound(task, source),
        first_token=max(0.0, (spent.first_token if spent is not None else record.first_output) or 0.0),
        seconds=max(0.0, (spent.seconds if spent is not None else record.seconds) or 0.0),
        correct=None if record.outcome == TrialOutcome.UNLABELLED else record.outcome == TrialOutcome.CORRECT,
        failure=record.why if record.outcome == TrialOutcome.NO_ANSWER else "",
        has_facts=record.draw is not None,
        vote=facts.vote,
        verdict=None if facts.ok is None else Verdict(ok=facts.ok, score=facts.score or 0.0, why=facts.why),
    )
    return served if lost is None else lost.draw(served)


def _bound(task: Task, source: Source) -> int | None:
    return Prompt(messages=(), fields=task.request()).by_default(source.sampling).bound


def essence(fields: Mapping[str, object]) -> dict[str, object]:
    """The request fields that decide what is drawn. A limit only ends a draw earlier; log-probabilities show it."""
    return {name: value for name, value in fields.items() if name not in _NOT_DRAWN and value is not None}


_NOT_DRAWN = frozenset({*BOUNDS, "logprobs", "top_logprobs", "messages"})


def _speed(deployment: str, sources: Iterable[Source], records: Iterable[TrialRecord]) -> Speed | None:
    """Of each pass once: what was taken over from another tier of the pool ran as a pass of that tier."""
    tiers = {source.tier for source in sources if source.deployment == deployment}
    own = (one for one in records if one.tier in tiers and one.is_graded and one.taken != "tier")
    return measured(observed(own))


def observed(records: Iterable[TrialRecord]) -> list[Observed]:
    """When each pass of some records ran, and how many tokens it computed."""
    return [
        Observed(
            began=record.began + record.late + (done.started or 0.0),
            first_token=done.seconds if done.first_token is None else done.first_token,
            seconds=done.seconds,
            fresh=max(0, done.prompt_tokens - done.cached_tokens),
            tokens=done.completion_tokens,
        )
        for record in records
        for done in record.passes or ()
    ]


def _require_same_config(recorded: Plan, given: Plan, without: str) -> None:
    """Raises if the pool lacks draws of this config file, or has others. The file may name only a part of the pool.

    Raises:
        SpecError: names every difference.
    """
    differences = []
    for source in sources_of(recorded):
        name = source.deployment
        if name not in given.file.deployments:
            continue  # what the file does not name is not used
        if not has_same_settings(recorded, name, given, name):
            differences.append(f"deployment {name!r} has other settings")
        elif not has_same_weights(recorded, name, given, name):
            differences.append(f"deployment {name!r} has another checkpoint")
    known = {source.key for source in sources_of(recorded)}
    names = {name for name, _ in known}
    differences += [
        f"tier {source.tier!r} samples from {source.deployment!r}"
        + (" with settings that were not recorded" if source.deployment in names else ", which was not recorded")
        for source in sources_of(given, without=without)
        if source.key not in known
    ]
    if differences:
        raise SpecError(
            f"the pool was recorded with other settings than {given.path}: {'; '.join(dict.fromkeys(differences))}. "
            "Record a pool with this file, or leave --config out to use the recorded settings",
            field="--config",
        )


def _notes(
    manifest: Manifest, sources: Iterable[Source], tasks: Sequence[PoolTask], records: Iterable[TrialRecord]
) -> Iterable[str]:
    yield from _changes(manifest)
    if manifest.is_imported:
        yield "its draws are those of another tool's logs: which weights and engine made them is not known here"
    planned = manifest.settings.repeats
    for source in sources:
        drawn = [task.draws[source.key] for task in tasks]
        if missing := sum(len(draws) < planned for draws in drawn):
            yield (
                f"{source.deployment}: {missing} of {len(tasks)} tasks have fewer than the {planned} planned draws"
                + ("" if manifest.is_imported else "; resume the recording")
            )
        if source.sampling.get("temperature") != 0 and (alike := _alike(drawn)):
            yield f"{source.deployment}, recorded through tier {source.tier!r}: {alike}"
    if lost := sum(map(is_lost, records)):
        yield f"{lost} draws were lost to thinking: {_said_of_lost(tasks)}"
    if errors := sum(not record.is_graded for record in records):
        again = "" if manifest.is_imported else "; resume the recording to draw them again"
        yield f"{errors} draws ended in infrastructure errors and are left out{again}"


def _said_of_lost(tasks: Sequence[PoolTask]) -> str:
    """What a replay does with draws that were lost to thinking."""
    draws = [one for task in tasks for of in task.draws.values() for one in of]
    recovered = sum(one.served is not one for one in draws)
    said = f"a replay answers {recovered} of them again, with the passes that did when they were recorded"
    if unknown := sum(one.recoveries is None for one in draws):
        said += (
            f"; {unknown} were asked for one pass, and what has to answer with one of them is refused or left out: "
            "nothing is recorded that would answer in its place"
        )
    return said


def _changes(manifest: Manifest) -> Iterable[str]:
    """What changed between the sessions of a recording."""
    seen: dict[str, dict[str, set[str]]] = {}
    for session in manifest.sessions:
        for one in session.deployments or ():
            facts = seen.setdefault(one.name, {})
            weights = one.weights.sha256 if one.weights is not None else None
            for name, value in (("checkpoint", weights), ("command", one.command), *one.facts.items()):
                if value and name != "command":
                    facts.setdefault(name, set()).add(value)
    for name, facts in seen.items():
        for what, values in facts.items():
            if len(values) > 1:
                yield f"{name}: {what} changed between sessions ({', '.join(sorted(values))}): its draws are a mixture"


def _alike(drawn: Sequence[Sequence[Draw]]) -> str:
    """What is odd if draws of a task are equal; empty if they differ as they should."""
    several = [draws for draws in drawn if len(draws) > 1]
    if not several:
        return ""
    equal = [draws for draws in several if len({(one.completion.text, one.completion.reasoning) for one in draws}) == 1]
    mean = sum(one.count for draws in several for one in draws) / sum(map(len, several))
    if mean < _LEAST_TOKENS or len(equal) < _MOST_ALIKE * len(several):
        return ""
    return (
        f"all draws are alike on {len(equal)} of {len(several)} tasks, so its engine seems to ignore seeds: several "
        "draws are no evidence beyond the first, and agreement among them means nothing"
    )
