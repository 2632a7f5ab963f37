"""Loads a workload, its tasks and their arrival, from a JSONL file or a directory with `workload.yaml`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tierwise.spec.errors import ConfigErrors, SpecError
from tierwise.spec.files import json_document, numbered_lines, read_bytes, text_of, yaml_document
from tierwise.workloads.files.environments import has_environments, hashed, tasks_in
from tierwise.workloads.files.header import FILE, WorkloadHeader, arrival_of, read_header, read_yaml_header
from tierwise.workloads.files.small_sample import small_sample
from tierwise.workloads.task import Shared, Task, read_task

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tierwise.workloads.suites import SuitePart

__all__ = ["Task", "Workload", "WorkloadHeader", "load"]

TASKS = "tasks.jsonl"

_ADVICE = "see examples/quickstart.jsonl for an example"
_NO_TASK = "has no tasks; write one JSON object per line"

NO_HEADER = WorkloadHeader()
"""The header of a file that has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A checked workload."""

    path: Path
    sha256: str
    """Hash of the file; for a directory, or a file with images, of its header and of all tasks with their images."""
    tasks: tuple[Task, ...]
    header: WorkloadHeader = NO_HEADER
    """The contents of `workload.yaml`, or of the file's header."""
    arrival: str = "closed"
    """In the form of `--arrival`; a trace's file is an absolute path."""
    notes: tuple[str, ...] = ()
    """Caveats: the workload's limits and risks."""
    suite: SuitePart | None = None
    """The part of a suite that its tasks are; None if they are of none."""

    def first(self, limit: int | None) -> Workload:
        """The workload with its first `limit` tasks; all for None."""
        if limit is None or limit >= len(self.tasks):
            return self
        suite = None if self.suite is None else self.suite.first(limit)
        return replace(self, tasks=self.tasks[:limit], suite=suite)

    def sampled_suite(self, count: int) -> SuitePart | None:
        """The part of a suite that a random sample of its tasks is."""
        if self.suite is None or count == len(self.tasks):
            return self.suite
        return msgspec.structs.replace(self.suite, sampled=True)

    @property
    def name(self) -> str:
        return self.header.name or self.path.stem

    @property
    def base(self) -> Path:
        """The folder that paths in its tasks are relative to."""
        return self.path if self.path.is_dir() else self.path.parent

    @property
    def needs_sandbox(self) -> bool:
        """Whether grading runs or evaluates code written by a model, or tasks are worked on in an environment."""
        return any(task.environment is not None for task in self.tasks) or any(
            task.check.member.runs_code for task in self.tasks if task.check is not None
        )

    @property
    def unlabelled(self) -> tuple[Task, ...]:
        """The tasks without a check or tests: nothing says whether an answer to them is right."""
        return tuple(task for task in self.tasks if not task.is_graded)

    @property
    def judges(self) -> tuple[str, ...]:
        """The tiers that judge its tasks. The endpoint must serve them."""
        return tuple(judges_of(self.tasks))


def load(path: Path) -> Workload:
    """Read and check a workload.

    Args:
        path: a JSONL file, a directory with `workload.yaml`, or the `workload.yaml` itself; or a directory with a task
            in Harbor's format in each of its folders.

    Raises:
        NotFound: the file does not exist.
        ConfigErrors: every error, with its line and its path in the line.
    """
    if path.is_dir() and not (path / FILE).exists() and has_environments(path):
        tasks = tasks_in(path)
        return _workload(path, hashed(tasks), tasks, NO_HEADER, NO_HEADER.arrival)
    if path.is_dir() or path.name == FILE:
        return _load_folder(path if path.is_dir() else path.parent)
    raw = read_bytes(path, "workload", advice=_ADVICE)
    lines = list(numbered_lines(text_of(raw, f"workload {path}")))
    header, shared, body = NO_HEADER, Shared(), raw
    errors: list[SpecError] = []
    if lines and '"workload"' in lines[0][1]:
        first = json_document(lines[0][1], path.name, line=lines[0][0])
        if (found := read_header(first)) is not None:
            header, shared = found
            errors += first.placed()
            lines = lines[1:]
            body = raw.split(b"\n", 1)[1] if b"\n" in raw else b""
    tasks = _tasks(lines, path.name, path.parent, shared, errors)
    if not tasks and not errors:
        errors.append(SpecError(_NO_TASK, field=path.name))
    arrival = arrival_of(header, path.parent, f"{path.name}:1", errors)
    _check_pin(header, body, path.name, errors)
    if errors:
        raise ConfigErrors(errors)
    return _workload(path, _with_images(raw, tasks, lines), tasks, header, arrival)


def _load_folder(path: Path) -> Workload:
    raw = read_bytes(path / FILE, "workload", advice=_ADVICE)
    document = yaml_document(text_of(raw, f"workload {path / FILE}"), FILE)
    header, shared = read_yaml_header(document)
    errors = document.placed()
    if header is None:
        raise ConfigErrors(errors)
    arrival = arrival_of(header, path, document.place("arrival"), errors)
    tasks: Mapping[str, Task] = {}
    if (path / TASKS).exists():
        body = read_bytes(path / TASKS, "workload")
        written = text_of(body, f"workload {path / TASKS}")
        tasks = _tasks(numbered_lines(written), TASKS, path, shared, errors)
        _check_pin(header, body, TASKS, errors)
        if not tasks and not errors:
            errors.append(SpecError(_NO_TASK, field=TASKS))
    elif header.source is None and has_environments(path):
        tasks = tasks_in(path)
    elif header.source is None:
        missing = f"there is no {TASKS} next to it; add one, or a `source` that makes tasks"
        errors.append(SpecError(missing, field=document.place("")))
    elif not errors:
        try:
            made = header.source.member.make(path)
            tasks = {task.id: task for task in made.tasks}
            _check_pin(header, encoded(made.tasks), document.place("source"), errors)
        except SpecError as error:
            errors.append(SpecError(str(error), field=document.place("source")))
    if errors:
        raise ConfigErrors(errors)
    return _workload(path, raw + b"\0" + encoded(tasks.values()), tasks, header, arrival)


def judges_of(tasks: Iterable[Task]) -> list[str]:
    """The tiers that judge some tasks, each once."""
    judges = [task.check.judge for task in tasks if task.check is not None]
    return list(dict.fromkeys(one.tier for one in judges if one is not None))


def encoded(tasks: Iterable[Task]) -> bytes:
    """Tasks as JSON lines."""
    return msgspec.json.Encoder().encode_lines(list(tasks))


def _workload(path: Path, held: bytes, tasks: Mapping[str, Task], header: WorkloadHeader, arrival: str) -> Workload:
    return Workload(
        path=path,
        sha256=hashlib.sha256(held).hexdigest(),
        tasks=tuple(tasks.values()),
        header=header,
        arrival=arrival,
        notes=tuple(_notes(tuple(tasks.values()))),
        suite=header.suite if header.source is None else header.source.part(len(tasks)),
    )


def _with_images(raw: bytes, tasks: Mapping[str, Task], lines: list[tuple[int, str]]) -> bytes:
    """The bytes to hash: those of the file, and its tasks with images and hashes of folders if it refers to those."""
    has_files = any(task.environment is not None for task in tasks.values()) or any(
        "data:" in msgspec.json.encode(task.messages).decode() and "data:" not in line
        for task, (_, line) in zip(tasks.values(), lines, strict=True)
    )
    return raw + b"\0" + encoded(tasks.values()) if has_files else raw


def _tasks(
    lines: Iterable[tuple[int, str]], name: str, base: Path, shared: Shared, errors: list[SpecError]
) -> dict[str, Task]:
    """Tasks by id. Errors are added to `errors`, with their lines."""
    tasks: dict[str, Task] = {}
    places: dict[str, int] = {}
    for number, line in lines:
        document = json_document(line, name, line=number)
        task = read_task(document.value, base, document, shared) if document.is_readable else None
        if task is not None and task.id in tasks:
            document.wrong("id", f"{task.id!r} is already the id of the task in line {places[task.id]}")
        elif task is not None:
            tasks[task.id], places[task.id] = task, number
        errors += document.placed()
    return tasks


def _check_pin(header: WorkloadHeader, body: bytes, where: str, errors: list[SpecError]) -> None:
    """Check that tasks that declare a source are unchanged since it made them."""
    if header.made is None:
        return
    found = hashlib.sha256(body).hexdigest()
    if found != header.made.sha256:
        named = header.source.kind if header.source is not None else "its source"
        errors.append(
            SpecError(
                f"the tasks differ from those that {named} made: SHA-256 {found[:12]}…, expected "
                f"{header.made.sha256[:12]}…; make them again, or remove `source` and `made` if you edited them",
                field=where,
            )
        )


def _notes(tasks: tuple[Task, ...]) -> Iterable[str]:
    if note := small_sample(len(tasks)):
        yield note
    for tier in judges_of(tasks):
        yield f"{tier!r} is the judge; judges tend to favour their own answers, so do not let it judge its own tier"
    if without := sum(not task.is_graded for task in tasks):
        yield f"{without} tasks have no check: `tierwise tune --labels agreement` needs none, all else that grades does"
    if revealing := sum(task.reveals_answer for task in tasks):
        yield f"{revealing} tasks send their hidden answer as `verifier`, so the policy sees the answer key"
