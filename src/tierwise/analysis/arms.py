"""The rows of a run, read from its directory, for a comparison with those of another run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from tierwise.runs.directory import RunDirectory
from tierwise.runs.records import MAX_ERROR_SHARE, clusters_of
from tierwise.spec.errors import NotFound, SpecError
from tierwise.spec.files import decode_json_lines, read_bytes
from tierwise.spec.reading import allowed
from tierwise.workloads.content import task_hashes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from tierwise.runs.records import Mode, TierVariant, TrialRecord, Unit
    from tierwise.workloads.content import TaskHashes


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One row of a run in a comparison."""

    run: Path
    variant: TierVariant
    most_passes: int
    tasks: frozenset[str]
    """All planned tasks."""
    repeats: int
    """How often each task was to be asked."""
    records: Mapping[Unit, TrialRecord]
    clusters: Mapping[str, str]
    """The cluster of each task that has one."""
    workload: str
    """SHA-256 of the workload's file; empty in imported runs."""
    contents: Mapping[str, TaskHashes]
    """What each task asks and how it is graded, as hashes; empty in imported runs."""
    is_imported: bool
    is_timed: bool
    """Whether its answers have seconds; those of some imported runs have none."""
    has_ended: bool
    """Whether the run has ended, completely or not: no records will be added."""
    runner: str = ""
    """The agent that worked on the tasks; empty if each was one action."""
    harness: Mapping[str, str] = field(default_factory=dict)
    """Versions and hashes of the agent; empty if there was none, and in runs of earlier versions."""

    @property
    def name(self) -> str:
        """The run, the tier and the mode, which every figure is shown with."""
        run, tier = self.run.name or str(self.run), self.variant.tier
        return f"{tier if run == tier else f'{run} · {tier}'} ({self.mode})"

    @property
    def mode(self) -> str:
        if self.is_imported:
            return "imported"
        match self.variant.mode:
            case "average":
                return "average: 1 pass"
            case "max":
                return f"max: ≤ {self.most_passes} passes"
            case "both":
                return "always 1 pass"


def arms(path: Path) -> list[Arm]:
    """The rows of a run.

    Raises:
        NotFound: the directory is not a run.
        SpecError: it cannot be read; the message names file and line.
    """
    directory = RunDirectory(path)
    for file in (path / "manifest.json", directory.records_path):
        if not file.is_file():
            raise NotFound(
                f"{path} is not a run: it has no {file.name}; "
                "give a folder that `tierwise bench --out` or `tierwise import --out` wrote"
            )
    manifest, records = directory.read_manifest(), directory.read_records()
    if not records:
        raise SpecError(f"{directory.records_path} has no records: nothing was measured")
    by_variant: dict[TierVariant, dict[Unit, TrialRecord]] = {planned.variant: {} for planned in manifest.variants}
    for record in records:
        by_variant.setdefault(record.variant, {})[record.unit] = record
    named = _clusters(directory) | clusters_of(records)
    contents = task_hashes(directory.tasks_path)
    most_passes = {planned.variant: planned.most_passes for planned in manifest.variants}
    return [
        Arm(
            run=path,
            variant=variant,
            most_passes=most_passes.get(variant, 1),
            tasks=frozenset(manifest.tasks) | {unit.task for unit in found},
            repeats=manifest.settings.repeats,
            records=found,
            clusters=named,
            workload=manifest.workload.sha256,
            contents=contents,
            is_imported=manifest.is_imported,
            is_timed=not manifest.is_imported or _has_times(found.values()),
            has_ended=manifest.ended is not None,
            runner=manifest.settings.runner,
            harness=manifest.harness,
        )
        for variant, found in by_variant.items()
    ]


def _has_times(records: Iterable[TrialRecord]) -> bool:
    """Whether the answers have times, but for so few that those cannot hide a difference."""
    times = [record.seconds for record in records if record.was_served]
    return sum(time is None for time in times) <= MAX_ERROR_SHARE * len(times) and any(times)


class _Labelled(msgspec.Struct):
    """The fields of a task that are needed here."""

    id: str
    cluster: str | None = None


def _clusters(directory: RunDirectory) -> dict[str, str]:
    path = directory.tasks_path
    if not path.is_file():
        return {}
    tasks = decode_json_lines(read_bytes(path, "workload"), _Labelled, str(path))
    return {task.id: task.cluster for task in tasks if task.cluster is not None}


def choose(found: Sequence[Arm], tier: str = "", mode: Mode | None = None) -> list[Arm]:
    """The rows of one tier and mode, if given; a tier with one pass is in every mode.

    Raises:
        SpecError: there are none.
    """
    tiers = [arm.variant.tier for arm in found]
    if tier and tier not in tiers:
        raise SpecError(f"{found[0].run} has no tier or route {tier!r}; {allowed(tier, set(tiers))}")
    chosen = [arm for arm in found if not tier or arm.variant.tier == tier]
    if mode is not None:
        chosen = [arm for arm in chosen if arm.variant.mode in (mode, "both")]
    if not chosen:
        names = ", ".join(arm.variant.name for arm in found)
        raise SpecError(f"{found[0].run} was not measured in mode {mode!r}; its rows: {names}")
    return chosen


def matched(base: Sequence[Arm], other: Sequence[Arm]) -> list[tuple[Arm, Arm]]:
    """The rows to compare: the same tier in the same mode, or the only row of each run.

    Raises:
        SpecError: no row is in both.
    """
    if len(base) == len(other) == 1:
        return [(base[0], other[0])]
    of_base = {arm.variant: arm for arm in base}
    found = [(of_base[arm.variant], arm) for arm in other if arm.variant in of_base]
    if not found:
        raise SpecError(
            f"no tier was measured in the same mode in both runs. {base[0].run}: {_names(base)}; "
            f"{other[0].run}: {_names(other)}. Name one row of each"
        )
    return found


def _names(some: Iterable[Arm]) -> str:
    return ", ".join(arm.variant.name for arm in some)
