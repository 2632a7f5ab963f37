"""Packs the pools that benchmarks and tests read: benchmarks/pools."""

from __future__ import annotations

import sys
import tarfile
import tempfile
from collections import Counter
from pathlib import Path

import msgspec

from tierwise.runs.directory import Manifest, RunDirectory
from tierwise.runs.records import TrialOutcome
from tierwise.workloads.task import read_tasks

MOST_BYTES = 5 * 2**20
"""A packed pool."""

KEPT = ("manifest.json", "records.jsonl", "workload.jsonl")
"""The files of a pool that a replay reads."""


def without_paths(manifest: Manifest) -> Manifest:
    """The manifest without what names a folder of the machine that recorded it."""
    replace = msgspec.structs.replace
    sessions = [
        replace(one, deployments=[replace(deployed, command="") for deployed in one.deployments or []])
        for one in manifest.sessions
    ]
    return replace(
        manifest,
        config=replace(manifest.config, path=Path(manifest.config.path).name),
        workload=replace(manifest.workload, path=Path(manifest.workload.path).name),
        sessions=sessions,
    )


def pack(name: str, pool: Path, target: Path) -> int:
    """Pack the tasks of a pool of which all draws are there.

    Args:
        name: of the folder in the archive.
        pool: the folder of the pool.
        target: the archive.

    Returns:
        An exit code: 2 if no task is complete, 1 if the archive is too large.
    """
    directory = RunDirectory(pool)
    manifest, records = directory.read_manifest(), directory.read_records()
    counted = Counter(record.task for record in records if record.outcome is not TrialOutcome.ERROR)
    whole = [task for task in manifest.tasks if counted[task] == manifest.settings.repeats * len(manifest.variants)]
    if not whole:
        print(f"{name} has no task with all its draws yet; record on", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as scratch:
        packed = RunDirectory.create(Path(scratch) / name)
        packed.write_manifest(without_paths(msgspec.structs.replace(manifest, tasks=whole)))
        packed.write_tasks([task for task in read_tasks(directory.tasks_path) if task.id in whole])
        packed.write_records([record for record in records if record.task in whole])
        with tarfile.open(target, "w:xz", preset=9) as archive:
            for file in KEPT:
                archive.add(packed.path / file, arcname=f"{name}/{file}")
    size = target.stat().st_size
    print(f"{target}: {len(whole)} of {len(manifest.tasks)} tasks, {size / 2**20:.2f} MiB")
    if size > MOST_BYTES:
        print(f"it has more than {MOST_BYTES / 2**20:.0f} MiB; record fewer tasks", file=sys.stderr)
    return int(size > MOST_BYTES)
