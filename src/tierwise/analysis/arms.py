"""The rows of a run, read from its directory, to be compared with those of another one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from tierwise.runs.directory import IMPORTED, RunDirectory
from tierwise.runs.records import clusters_of
from tierwise.spec.errors import NotFound, SpecError
from tierwise.spec.files import decode_json_lines, read_bytes
from tierwise.spec.reading import allowed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from tierwise.runs.records import Mode, TierVariant, TrialRecord, Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One row of a run, to be compared."""

    run: Path
    variant: TierVariant
    most_passes: int
    tasks: frozenset[str]
    """All that were planned."""
    repeats: int
    """How often each task was to be asked."""
    records: Mapping[Unit, TrialRecord]
    clusters: Mapping[str, str]
    """Of tasks that have one."""
    is_timed: bool
    has_ended: bool
    """Whether its run came to an end, with all its tasks or without: nothing will be added by itself."""

    @property
    def name(self) -> str:
        """The run, the tier and the mode: a figure is never shown without them."""
        run, tier = self.run.name or str(self.run), self.variant.tier
        return f"{tier if run == tier else f'{run} · {tier}'} ({self.mode})"

    @property
    def mode(self) -> str:
        if not self.is_timed:
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
        NotFound: the directory holds no run.
        SpecError: it cannot be read; the message names file and line.
    """
    directory = RunDirectory(path)
    for file in (path / "manifest.json", directory.records_path):
        if not file.is_file():
            raise NotFound(
                f"{path} holds no run: there is no {file.name}; "
                "give a folder that `tierwise bench --out` or `tierwise import --out` wrote"
            )
    manifest, records = directory.read_manifest(), directory.read_records()
    if not records:
        raise SpecError(f"{directory.records_path} holds no record: nothing was measured")
    of: dict[TierVariant, dict[Unit, TrialRecord]] = {planned.variant: {} for planned in manifest.variants}
    for record in records:
        of.setdefault(record.variant, {})[record.unit] = record
    named = _clusters(directory) | clusters_of(records)
    most = {planned.variant: planned.most_passes for planned in manifest.variants}
    return [
        Arm(
            run=path,
            variant=variant,
            most_passes=most.get(variant, 1),
            tasks=frozenset(manifest.tasks) | {unit.task for unit in found},
            repeats=manifest.settings.repeats,
            records=found,
            clusters=named,
            is_timed=manifest.settings.arrival != IMPORTED,
            has_ended=manifest.ended is not None,
        )
        for variant, found in of.items()
    ]


class _Labelled(msgspec.Struct):
    """Of a task, what is needed here."""

    id: str
    cluster: str | None = None


def _clusters(directory: RunDirectory) -> dict[str, str]:
    path = directory.tasks_path
    if not path.is_file():
        return {}
    tasks = decode_json_lines(read_bytes(path, "workload"), _Labelled, str(path))
    return {task.id: task.cluster for task in tasks if task.cluster is not None}


def choose(found: Sequence[Arm], tier: str = "", mode: Mode | None = None) -> list[Arm]:
    """The rows of one tier and mode, where they are named; a tier that only knows one pass is in every mode.

    Raises:
        SpecError: there is none.
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
    """Which row of one run belongs to which of the other: the same tier in the same mode, or the only ones there are.

    Raises:
        SpecError: no row stands in both.
    """
    if len(base) == len(other) == 1:
        return [(base[0], other[0])]
    of = {arm.variant: arm for arm in base}
    found = [(of[arm.variant], arm) for arm in other if arm.variant in of]
    if not found:
        raise SpecError(
            f"no tier was measured in the same mode in both runs; {base[0].run}: {_names(base)}; "
            f"{other[0].run}: {_names(other)}. Name one of each"
        )
    return found


def _names(some: Iterable[Arm]) -> str:
    return ", ".join(arm.variant.name for arm in some)
