"""Hashes what a task asks and how it is graded, so that two runs can be checked for the same tasks."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec

from tierwise.spec.files import decode_json_lines, read_bytes

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

PARTS = ("messages", "check", "verifier", "tools", "max_tokens", "options", "environment_sha256")
"""The keys of a task that can change its answer or its grade. Tags, clusters and weights cannot."""

TaskHashes = dict[str, bytes]
"""The hash of each part of a task."""

_Lines = list[dict[str, msgspec.Raw]]


def task_hashes(path: Path) -> dict[str, TaskHashes]:
    """The hashes of a run's tasks as they were written, by task id.

    Equal hashes mean equal tasks. Different ones may still be the same task, written by another version: see
    `canonical_hashes`. Empty if there is no `workload.jsonl`, as in imported runs.

    Raises:
        SpecError: a line is not JSON; the message names file and line.
    """
    return {_id(line): {part: _hash(line.get(part)) for part in PARTS} for line in _lines(path)}


def canonical_hashes(path: Path, tasks: Collection[str]) -> dict[str, TaskHashes]:
    """The hashes of some tasks, independent of the order of keys and of whether defaults were written.

    Args:
        path: the run's `workload.jsonl`.
        tasks: their ids.
    """
    return {name: _canonical(line) for line in _lines(path) if (name := _id(line)) in tasks}


def different_parts(first: TaskHashes, second: TaskHashes) -> list[str]:
    """The keys of a task that differ between two runs."""
    return [part for part in PARTS if first[part] != second[part]]


def _lines(path: Path) -> _Lines:
    if not path.is_file():
        return []
    return decode_json_lines(read_bytes(path, "workload"), dict[str, msgspec.Raw], str(path))


def _id(line: dict[str, msgspec.Raw]) -> str:
    return str(msgspec.json.decode(line.get("id", b'""')))


def _canonical(line: dict[str, msgspec.Raw]) -> TaskHashes:
    from tierwise.workloads.task import Task  # noqa: PLC0415 - comparing equal runs needs no verifier

    values: dict[str, Any] = {name: msgspec.json.decode(text) for name, text in line.items()}
    try:
        task = msgspec.convert(values, Task)
    except msgspec.ValidationError:  # a task of another version
        return {part: _hash(_encoded(values.get(part))) for part in PARTS}
    return {part: _hash(_encoded(getattr(task, part))) for part in PARTS}


def _encoded(value: Any) -> bytes:
    return msgspec.json.encode(value, order="sorted")


def _hash(text: msgspec.Raw | bytes | None) -> bytes:
    return hashlib.blake2b(b"null" if text is None else bytes(text), digest_size=16).digest()
