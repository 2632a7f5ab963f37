"""Reads a folder of tasks in Harbor's format as a workload: an agent works on them, and their own tests grade."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tierwise.workloads.folders import folder_sha256
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
            environment_sha256=folder_sha256(task.folder),
            tags=[str(category)] if category else [],
        )
    return found


def hashed(tasks: Mapping[str, Task]) -> bytes:
    """The names and hashes of tasks: what identifies the workload."""
    return "".join(f"{task.environment_sha256} {name}\n" for name, task in tasks.items()).encode()
