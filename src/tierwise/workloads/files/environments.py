"""Reads a folder of tasks in Harbor's format as a workload: an agent works on them, and their own tests grade."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from tierwise.workloads.task import Task

if TYPE_CHECKING:
    from collections.abc import Mapping


def has_environments(folder: Path) -> bool:
    """Whether folders below this one are tasks in Harbor's format."""
    return any(folder.glob("*/task.toml"))


def tasks_in(folder: Path) -> Mapping[str, Task]:
    """The tasks of a folder by id, which is the name of their folder.

    Raises:
        SpecError: one cannot run in our sandbox, or a file of it is missing or wrong.
    """
    from tierwise.environments import read_tasks  # noqa: PLC0415 - only such workloads need a sandbox's modules

    found = {}
    for task in read_tasks(folder):
        category = task.metadata.get("category")
        found[task.name] = Task(
            id=task.name,
            messages=[{"role": "user", "content": task.instruction}],
            environment=task.name,
            tags=[str(category)] if category else [],
        )
    return found


def hashed_folder(folder: Path) -> bytes:
    """The names and hashes of all files of the tasks: what identifies the workload."""
    files = sorted(path for task in folder.glob("*/task.toml") for path in task.parent.rglob("*") if path.is_file())
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.relative_to(folder).as_posix()}" for path in files]
    return "\n".join(lines).encode()
