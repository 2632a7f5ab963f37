"""Runs on disk, made up in a line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from fake_runs import manifest, record
from tierwise.runs.directory import RunDirectory
from tierwise.runs.records import TrialRecord


def run(path: Path, records: Iterable[TrialRecord], *, tasks: Sequence[str] = (), repeats: int = 1, rows=()) -> Path:
    """Write a run folder; its planned tasks are those of the records if none are given."""
    records = list(records)
    folder = RunDirectory.create(path)
    names = list(tasks) or list(dict.fromkeys(one.task for one in records))
    rows = rows or tuple(dict.fromkeys((one.tier, one.mode, 4 if one.mode == "max" else 1) for one in records))
    made = manifest(names, *rows)
    folder.write_manifest(
        msgspec.structs.replace(made, settings=msgspec.structs.replace(made.settings, repeats=repeats))
    )
    with folder.recorder() as recorder:
        for one in records:
            recorder.write(one)
    return path


def outcomes(letters: str, **more) -> list[TrialRecord]:
    """`+` passes, `-` fails, `?` has no check, `!` is an error, `.` was not run; the tasks are t0, t1, …"""
    words = {"+": "correct", "-": "incorrect", "?": "unlabelled", "!": "error"}
    return [record(f"t{number:04}", words[letter], **more) for number, letter in enumerate(letters) if letter in words]


def names(count: int) -> list[str]:
    return [f"t{number:04}" for number in range(count)]
