"""`tierwise tune --caps`: tiers that think are recorded with less thinking too."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tierwise.bench.bench_job import BenchJob
    from tierwise.cli.console import Console
    from tierwise.runs.directory import RunDirectory
    from tierwise.tuning.caps import Capped

CONFIG = "capped.yaml"
"""The config file with the tiers that think less, in the folder of a tuning."""
POOL = "capped"
"""Its pool, in the same folder."""
_ROUNDS = 4
"""Sessions of the recording: the later ones ask again for draws that failed, or that do not hold."""


def require_recording(given: Mapping[str, Any]) -> None:
    """Refuse --caps where nothing is recorded, or only what has changed since an earlier run.

    Args:
        given: the command's options.

    Raises:
        SpecError: says which file has the capped tiers of an earlier run.
    """
    from tierwise.spec.errors import SpecError

    if given["caps"] and (given["pool"] or given["from_"]):
        raise SpecError(
            f"is for a new recording; an earlier one with it left {CONFIG} in its --out folder: give that as the "
            "config file, without --caps",
            field="--caps",
        )


def with_less_thinking(
    console: Console, file: Path, folder: Path, job: BenchJob, *, seed: int, as_json: bool
) -> tuple[Path, RunDirectory]:
    """Record the tiers that think with less thinking, in a pool that has the draws of the file's own tiers too.

    Args:
        console: for progress.
        file: the config file.
        folder: of the tuning.
        job: that recorded the file's own tiers, to its end.
        seed: of the split: the tuning tasks choose the caps.
        as_json: whether only JSON is printed.

    Returns:
        The config file with the new tiers, and the pool; those that were given where no tier thinks.
    """
    from tierwise import plan as planning
    from tierwise.cli.execution import run
    from tierwise.runs.directory import RunDirectory
    from tierwise.spec.replacing import replace_file
    from tierwise.tuning.caps import taken_over, with_caps
    from tierwise.tuning.split import split
    from tierwise.tuning.writing import moved

    tasks, records = job.workload.tasks, job.directory.read_records()
    tuning = {tasks[index].id for index in split(tasks, seed=seed).tuning.tolist()}
    tiers = [planned.tier for planned in job.directory.read_manifest().variants]
    text = moved(file.read_text(encoding="utf-8"), file, folder)
    text, capped, notes = with_caps(planning.load(file), text, tiers, records, tuning)
    for note in notes:
        console.print(note, style="yellow")
    if not capped:
        console.print("no recorded tier thinks, so there is nothing to cap")
        return file, job.directory
    folder.mkdir(parents=True, exist_ok=True)
    given, place = folder / CONFIG, RunDirectory(folder / POOL)
    if not given.exists() or given.read_text(encoding="utf-8") != text:
        replace_file(given, text.encode())
    if not place.has_manifest:
        place.path.mkdir(parents=True, exist_ok=True)
        taken = list(taken_over(capped, records))
        place.write_records([*records, *taken])
        wanted = sum(one.cap is not None for one in capped) * len(tasks) * job.settings.repeats
        console.print(f"{len(taken)} of {wanted} draws of capped tiers are those of the tiers that think freely")
    further = replace(job, config=given, directory=place, tiers=[*tiers, *(one.name for one in capped)])
    for _ in range(_ROUNDS):
        is_whole = place.has_manifest and not place.is_unfinished and not place.errors()
        if is_whole and not _dropped(console, capped, place):
            break
        if code := run(further, as_json=as_json):
            raise typer.Exit(code)
    _add_sessions(job.directory, place)
    return given, place


def _dropped(console: Console, capped: Sequence[Capped], place: RunDirectory) -> bool:
    """Drop the draws that were taken over and do not hold; whether there were any."""
    from tierwise.tuning.caps import checked

    records = place.read_records()
    found = checked(capped, records)
    for name, why in found.stale.items():
        console.print(f"tier {name!r}: all of its draws are asked, because {why}", style="yellow")
    for note in found.notes:
        console.print(note, style="yellow")
    if found.stale:
        place.write_records([one for one in records if not (one.taken == "tier" and one.tier in found.stale)])
    return bool(found.stale)


def _add_sessions(before: RunDirectory, place: RunDirectory) -> None:
    """Add the sessions in which the file's own tiers were recorded to the manifest, once."""
    from msgspec import structs

    manifest = place.read_manifest()
    known = {one.began for one in manifest.sessions}
    if earlier := [one for one in before.read_manifest().sessions if one.began not in known]:
        place.write_manifest(structs.replace(manifest, sessions=[*earlier, *manifest.sessions]))
