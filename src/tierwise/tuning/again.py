"""What of an earlier run of `tierwise tune` still holds for another config file or workload, and what does not.

Draws hold where what they were drawn from is the same: the deployment's settings, its checkpoint, the version of its
engine and the sampling; and what was asked and how it is graded. They are taken over into a new pool, which then has
only the rest to record. Tasks keep the part of the split that they were in, and looks at them are counted.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from tierwise import plan as planning
from tierwise.engines import row_of
from tierwise.pools.alike import has_same_settings, has_same_weights, says_the_same
from tierwise.pools.sources import recorded_sources, sources_of
from tierwise.runs import machine as machines
from tierwise.runs.directory import Planned, RunDirectory, config_of, source_of
from tierwise.runs.records import tags_of
from tierwise.tuning.looks import is_fresh, keep, parts_of, taken
from tierwise.tuning.repricing import plan_of
from tierwise.workloads.task import read_tasks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from tierwise.ledger.prices import Price
    from tierwise.plan import Plan
    from tierwise.pools.reading import Pool
    from tierwise.pools.sources import Source
    from tierwise.runs.directory import Manifest, RunSession
    from tierwise.runs.records import Mode, TrialRecord
    from tierwise.spec.deployed import Deployed
    from tierwise.tuning.record import Look, TuningRecord
    from tierwise.tuning.split import TaskSplit
    from tierwise.workloads.files import Task, Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldSource:
    """A deployment with a sampling, and what is known of it."""

    source: Source
    before: Source | None
    """Whose draws are taken over; None if none are."""
    why: str
    """Why none are; empty if they are."""
    taken: int
    """Draws that are taken over."""
    missing: int
    """Draws to record."""
    dollars: float | None
    """What they cost at the prices now, at the tokens and seconds of the earlier draws; None if there were none."""
    seconds: float | None
    """How long they take at the concurrency of the earlier recording."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What holds of an earlier run."""

    record: TuningRecord
    folder: Path
    """Of the record."""
    directory: RunDirectory
    """Of the earlier pool."""
    manifest: Manifest
    draws: int
    """Of each task and deployment."""
    renamed: Mapping[str, str]
    """The ids now of the tasks that are the same, by their ids then."""
    sources: tuple[HeldSource, ...]
    has_same_tasks: bool
    has_same_pool: bool
    """Whether the earlier pool is that of this file and workload."""
    without: str
    """A tier that only judges, and so is not recorded; empty if there is none."""
    has_same_settings: bool
    """Whether nothing but prices and routes differs in the config file."""
    before: tuple[Look, ...]
    """At the calibration tasks."""

    @property
    def kept(self) -> dict[str, int]:
        """As for `tuning.split.split`."""
        return parts_of(self.record.parts, self.renamed)

    @property
    def missing(self) -> int:
        """Draws to record."""
        return sum(one.missing for one in self.sources)

    @property
    def needs_no_test(self) -> bool:
        """Whether nothing but prices changed, and no price decides what was tested."""
        return (
            self.has_same_tasks and self.has_same_settings and not self.missing and self.record.promise.dollars is None
        )

    def looks_at(self, pool: Pool, parts: TaskSplit) -> list[Look]:
        """The earlier looks at calibration tasks; none if all of them are new."""
        ids = [pool.tasks[index].task.id for index in parts.calibration.tolist()]
        return [] if is_fresh(ids, self.record.parts, self.renamed) else list(self.before)

    def remember(self, looks: Sequence[Look]) -> None:
        """Store a look beside the earlier record, before its result is known."""
        if len(looks) > 1:
            known = {one.about for one in self.before}
            keep([*self.before, *(one for one in looks if one.about not in known)], self.folder)


def hold(
    record: TuningRecord,
    folder: Path,
    directory: RunDirectory,
    plan: Plan,
    tasks: Workload,
    draws: int,
    *,
    without: str = "",
) -> Held:
    """Compare an earlier run with a config file and a workload.

    Args:
        record: of the earlier run.
        folder: of the record.
        directory: of its pool.
        plan: the config file now.
        tasks: the workload now.
        draws: of each task and deployment; as many as then if fewer.
        without: a tier that only judges.
    """
    manifest, then = directory.read_manifest(), plan_of(record, folder)
    draws = max(draws, manifest.settings.repeats)
    earlier = read_earlier(directory)
    renamed = same_tasks(earlier, tasks.tasks)
    records = directory.read_records()
    olds = _recorded(manifest, then)
    sources = tuple(
        _held(source, olds, then, plan, manifest, records, renamed, draws * len(tasks.tasks), draws)
        for source in sources_of(plan, without=without)
    )
    has_same_tasks = list(earlier) == list(tasks.tasks)
    has_same_pool = (
        has_same_tasks
        and not any(one.missing for one in sources)
        and [one.before for one in sources] == olds == [one.source for one in sources]
        and plan.file.deployments.keys() == then.file.deployments.keys()
        and all(has_same_settings(then, name, plan, name) for name in plan.file.deployments)
    )
    return Held(
        record=record,
        folder=folder,
        directory=directory,
        manifest=manifest,
        draws=draws,
        renamed=renamed,
        sources=sources,
        has_same_tasks=has_same_tasks,
        has_same_pool=has_same_pool,
        without=without,
        has_same_settings=says_the_same(then, plan),
        before=tuple(taken(record, folder)),
    )


def _recorded(manifest: Manifest, then: Plan) -> list[Source]:
    """What a pool has draws of, as far as a config file uses it."""
    recorded, keys = planning.parse(manifest.config.text, then.path), {source.key for source in sources_of(then)}
    tiers = [planned.tier for planned in manifest.variants if planned.mode != "max"]
    return [source for source in recorded_sources(recorded, tiers) if source.key in keys]


def read_earlier(directory: RunDirectory) -> list[Task]:
    """The tasks of a pool."""
    return read_tasks(directory.tasks_path)


def same_tasks(earlier: Iterable[Task], now: Iterable[Task]) -> dict[str, str]:
    """The ids now of tasks that ask the same and are graded alike, by their ids then; the same id where it can be."""
    then: defaultdict[bytes, list[str]] = defaultdict(list)
    for task in earlier:
        then[_content(task)].append(task.id)
    found: dict[str, str] = {}
    for task in sorted(now, key=lambda one: one.id not in then.get(_content(one), ())):
        ids = then.get(_content(task), [])
        if ids:
            found[ids.pop(ids.index(task.id) if task.id in ids else 0)] = task.id
    return found


def _content(task: Task) -> bytes:
    """What decides a draw and its grade."""
    return msgspec.json.encode([task.request(), task.check, task.verifier], order="deterministic")


def _held(
    source: Source,
    olds: Sequence[Source],
    then: Plan,
    plan: Plan,
    manifest: Manifest,
    records: Iterable[TrialRecord],
    renamed: Mapping[str, str],
    wanted: int,
    draws: int,
) -> HeldSource:
    before, why = _same_source(source, olds, then, plan, manifest)
    graded = [one for one in records if one.is_graded]
    kept = [
        one
        for one in graded
        if before is not None and one.tier == before.tier and one.task in renamed and one.repeat < draws
    ]
    alike = next((one for one in olds if one.deployment == source.deployment), before)
    dollars, seconds = _each([one for one in graded if alike is not None and one.tier == alike.tier], alike, then, plan)
    missing = wanted - len(kept)
    return HeldSource(
        source=source,
        before=before,
        why=why,
        taken=len(kept),
        missing=missing,
        dollars=None if dollars is None else dollars * missing,
        seconds=None if seconds is None else seconds * missing / manifest.settings.concurrency,
    )


def _same_source(
    source: Source, olds: Sequence[Source], then: Plan, plan: Plan, manifest: Manifest
) -> tuple[Source | None, str]:
    """The earlier source whose draws are draws of this one, and else what differs from the one of that name."""
    reasons: dict[str, str] = {}
    for old in olds:
        why = "; ".join(_differences(source, old, then, plan, manifest))
        if not why:
            return old, ""
        reasons.setdefault(old.deployment, why)
    return None, reasons.get(source.deployment, "it was not recorded")


def _differences(source: Source, old: Source, then: Plan, plan: Plan, manifest: Manifest) -> Iterator[str]:
    now, both = plan.file.deployments[source.deployment], (then, old.deployment, plan, source.deployment)
    if not has_same_settings(*both):
        yield "its settings changed"
    elif not has_same_weights(*both):
        yield "its checkpoint changed"
    if old.sampling != source.sampling:
        yield "its sampling changed"
    here = machines.versions()
    for package in row_of(now).packages:
        if (before := manifest.versions.get(package)) != here.get(package):
            yield f"{package} was {before or 'absent'}, and is {here.get(package, 'absent')}"


def _each(
    records: Sequence[TrialRecord], source: Source | None, then: Plan, plan: Plan
) -> tuple[float | None, float | None]:
    """Mean dollars and seconds of a draw, at the prices now."""
    spent = [one for one in records if one.dollars is not None and one.seconds is not None]
    if not spent or source is None:
        return None, None
    was, now = (book.file.prices.get(source.deployment) for book in (then, plan))
    dollars = [_repriced(one, was, now) for one in spent]
    return sum(dollars) / len(spent), sum(one.seconds or 0.0 for one in spent) / len(spent)


def _repriced(record: TrialRecord, was: Price | None, now: Price | None) -> float:
    """A draw's dollars with other prices. What is not of tokens was its share of hours."""

    def tokens(price: Price) -> float:
        cached = record.cached_tokens or 0
        fresh = (record.prompt_tokens or 0) - cached
        rate = price.prompt if price.cached is None else price.cached
        return (fresh * price.prompt + cached * rate + (record.completion_tokens or 0) * price.completion) / 1e6

    hours = 0.0
    if was is not None and was.dollars_per_hour:
        hours = max(0.0, (record.dollars or 0.0) - tokens(was)) / was.dollars_per_hour
    return 0.0 if now is None else tokens(now) + hours * now.dollars_per_hour


# ── taking over ─────────────────────────────────────────────────────────


def take_over(held: Held, directory: RunDirectory, plan: Plan, tasks: Workload) -> None:
    """Write the draws that hold into the directory of a new pool; and if nothing is missing, the whole pool.

    A pool that was begun is left as it is: its own records say what is missing.
    """
    if directory.has_manifest:
        return
    directory.path.mkdir(parents=True, exist_ok=True)
    directory.write_records(list(_records(held, plan, tasks)))
    if held.missing:
        return
    directory.write_tasks(tasks.tasks)
    directory.write_manifest(
        msgspec.structs.replace(
            held.manifest,
            config=config_of(plan.path),
            workload=source_of(tasks),
            tasks=[task.id for task in tasks.tasks],
            variants=[_planned(one.source, plan) for one in held.sources],
            settings=msgspec.structs.replace(held.manifest.settings, repeats=held.draws),
            sessions=sessions_of(held),
        )
    )


def _records(held: Held, plan: Plan, tasks: Workload) -> Iterator[TrialRecord]:
    of = {task.id: task for task in tasks.tasks}
    tiers = {one.before.tier: one.source for one in held.sources if one.before is not None}
    for record in held.directory.read_records():
        source, name = tiers.get(record.tier), held.renamed.get(record.task)
        if source is None or name is None or not record.is_graded or record.repeat >= held.draws:
            continue
        yield msgspec.structs.replace(
            record,
            task=name,
            tags=tags_of(of[name].tags, of[name].cluster),
            tier=source.tier,
            mode=_planned(source, plan).mode,
            taken="tier" if record.taken == "tier" else "pool",
            passes=[msgspec.structs.replace(one, tier=source.tier) for one in record.passes or ()],
        )


def _planned(source: Source, plan: Plan) -> Planned:
    most = plan.most_passes(source.tier) or 1
    mode: Mode = "both" if most == 1 else "average"
    return Planned(tier=source.tier, mode=mode, most_passes=most)


def sessions_of(held: Held) -> list[RunSession]:
    """The sessions in which the draws were recorded that were taken over, as far as they are about those."""
    names = {one.before.deployment: one.source.deployment for one in held.sources if one.before is not None}
    return [
        msgspec.structs.replace(
            session,
            dollars=0.0,
            deployments=None
            if session.deployments is None
            else [
                msgspec.structs.replace(one, name=names[one.name]) for one in session.deployments if one.name in names
            ],
        )
        for session in held.manifest.sessions
    ]


def stale(held: Held, directory: RunDirectory) -> dict[str, str]:
    """The deployments that the engines of a new recording describe otherwise than those of the draws that were taken
    over, with what differs. Their draws are removed: the recording has to be continued.
    """
    manifest = directory.read_manifest()
    then = {one.name: one for session in sessions_of(held) for one in session.deployments or ()}
    now = {one.name: one for one in manifest.deployments or ()}
    found = {name: why for name, was in then.items() if name in now and (why := "; ".join(_reported(was, now[name])))}
    tiers = {one.source.tier for one in held.sources if one.source.deployment in found}
    records = directory.read_records()
    kept = [one for one in records if one.taken == "request" or one.tier not in tiers]
    if len(kept) == len(records):
        return {}
    directory.write_records(kept)
    return found


def _reported(was: Deployed, now: Deployed) -> Iterator[str]:
    version = was.facts.get("version"), now.facts.get("version")
    if all(version) and version[0] != version[1]:
        yield f"its engine reports version {version[1]}, and the draws are of {version[0]}"
    hashes = [None if one.weights is None else one.weights.sha256 for one in (was, now)]
    if all(hashes) and hashes[0] != hashes[1]:
        yield "it loads another checkpoint"


def with_sessions(held: Held, directory: RunDirectory) -> None:
    """Add the sessions of the draws that were taken over to a manifest, once."""
    manifest, before = directory.read_manifest(), sessions_of(held)
    known = {one.began for one in manifest.sessions}
    if new := [one for one in before if one.began not in known]:
        directory.write_manifest(msgspec.structs.replace(manifest, sessions=[*new, *manifest.sessions]))
