"""The rows of a run, as they lie in its folder, to be held against those of another one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from tierwise.bench.design import CLUSTER
from tierwise.bench.folder import Folder
from tierwise.bench.records import Record
from tierwise.spec.errors import NotFound, SpecError
from tierwise.spec.files import decode_json_lines, read_bytes
from tierwise.spec.reading import allowed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from tierwise.bench.schedule import Mode, Variant

IMPORTED = "imported"
"""The arrival of runs that another tool made, whose records hold no times."""


class Unit(NamedTuple):
    """What is paired: a task, or one of the times that it was asked."""

    task: str
    repeat: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One row of a run, to be compared."""

    run: Path
    variant: Variant
    most_passes: int
    tasks: frozenset[str]
    """All that were planned."""
    repeats: int
    """How often each task was to be asked."""
    records: Mapping[Unit, Record]
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


def sides(path: Path) -> list[Side]:
    """The rows of a run.

    Raises:
        NotFound: the folder holds no run.
        SpecError: it cannot be read; the message names file and line.
    """
    folder = Folder(path)
    for file in (path / "manifest.json", folder.records_path):
        if not file.is_file():
            raise NotFound(
                f"{path} holds no run: there is no {file.name}; "
                "give a folder that `tierwise bench --out` or `tierwise import --out` wrote"
            )
    manifest, records = folder.read_manifest(), folder.read_records()
    if not records:
        raise SpecError(f"{folder.records_path} holds no record: nothing was measured")
    of: dict[Variant, dict[Unit, Record]] = {planned.variant: {} for planned in manifest.variants}
    for record in records:
        of.setdefault(record.variant, {})[Unit(record.task, record.repeat)] = record
    named = _clusters(folder) | {
        record.task: tag.removeprefix(CLUSTER) for record in records for tag in record.tags if tag.startswith(CLUSTER)
    }
    most = {planned.variant: planned.most_passes for planned in manifest.variants}
    return [
        Side(
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


def _clusters(folder: Folder) -> dict[str, str]:
    path = folder.tasks_path
    if not path.is_file():
        return {}
    tasks = decode_json_lines(read_bytes(path, "workload"), _Labelled, str(path))
    return {task.id: task.cluster for task in tasks if task.cluster is not None}


def choose(found: Sequence[Side], tier: str = "", mode: Mode | None = None) -> list[Side]:
    """The rows of one tier and mode, where they are named; a tier that only knows one pass is in every mode.

    Raises:
        SpecError: there is none.
    """
    tiers = [side.variant.tier for side in found]
    if tier and tier not in tiers:
        raise SpecError(f"{found[0].run} has no tier or route {tier!r}; {allowed(tier, set(tiers))}")
    chosen = [side for side in found if not tier or side.variant.tier == tier]
    if mode is not None:
        chosen = [side for side in chosen if side.variant.mode in (mode, "both")]
    if not chosen:
        names = ", ".join(side.variant.name for side in found)
        raise SpecError(f"{found[0].run} was not measured in mode {mode!r}; its rows: {names}")
    return chosen


def matched(base: Sequence[Side], other: Sequence[Side]) -> list[tuple[Side, Side]]:
    """Which row of one run belongs to which of the other: the same tier in the same mode, or the only ones there are.

    Raises:
        SpecError: no row stands in both.
    """
    if len(base) == len(other) == 1:
        return [(base[0], other[0])]
    of = {side.variant: side for side in base}
    found = [(of[side.variant], side) for side in other if side.variant in of]
    if not found:
        raise SpecError(
            f"no tier was measured in the same mode in both runs; {base[0].run}: {_names(base)}; "
            f"{other[0].run}: {_names(other)}. Name one of each"
        )
    return found


def _names(some: Iterable[Side]) -> str:
    return ", ".join(side.variant.name for side in some)
