"""Which part of a suite its settings make: what a score on it may be compared with."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from tierwise.spec.claims import WHOLE, SuitePart
from tierwise.workloads.suites.copies import telling

if TYPE_CHECKING:
    from tierwise.workloads.suites.row import SuiteRow


def part_of(name: str, settings: Any, row: SuiteRow, tasks: int) -> SuitePart:
    """The part that a suite's settings make.

    Args:
        name: the suite.
        settings: its settings.
        row: what is known about it.
        tasks: number of tasks that were made.
    """
    files = getattr(settings, "file", ())
    release = release_of(name, (files,) if isinstance(files, str) else files)
    return SuitePart(name=name, release=release, subset=_subset(settings, row, release, tasks))


def _subset(settings: Any, row: SuiteRow, release: str, tasks: int) -> str:
    since, until = getattr(settings, "since", None), getattr(settings, "until", None)
    if since is not None or until is not None:
        if until is None:
            return f"since {since}"
        return f"until {until}" if since is None else f"{since} to {until}"
    if row.name == "reasoning-gym":
        return f"{tasks} puzzles of its own seed and settings"
    years = max(1, len(release.split()))
    if tasks == row.tasks * years:
        return WHOLE
    count = getattr(settings, "count", None)
    return f"first {tasks}" if count is not None else f"{tasks} tasks of {row.tasks * years}"


def release_of(name: str, files: Iterable[str]) -> str:
    """The release that the names of a suite's files tell: years of AIME, `v6` of LiveCodeBench; else empty."""
    names = [PurePath(one.partition("@")[0]).stem for one in files]
    if name == "aime":
        years = {_year(one) for one in files}
        return "" if "" in years else " ".join(sorted(years))
    if name == "livecodebench":
        wanted = [f"test{number if number > 1 else ''}" for number in range(1, len(names) + 1)]
        return f"v{len(names)}" if sorted(names) == sorted(wanted) else ""
    return ""


def _year(path: str) -> str:
    """The year in a path: of `aime_2025.jsonl`, `hf:OWNER/aime25/test.jsonl@COMMIT`; empty without one."""
    named = path.partition("@")[0]
    for part in reversed(telling(named)):
        if (found := re.search(r"aime[-_]?(?:20)?(\d\d)(?!\d)|(?<!\d)20(\d\d)(?!\d)", part, re.IGNORECASE)) is not None:
            return f"20{found[1] or found[2]}"
    return ""
