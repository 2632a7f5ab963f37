"""The tasks that tiers are measured on, and how they arrive: a JSONL file, or a folder with `workload.yaml`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tierwise.spec.errors import ConfigErrors, NotFound, SpecError
from tierwise.workloads.checks import RUN_CODE
from tierwise.workloads.files.about import FILE, About, arrival_of, read_header, read_yaml_file
from tierwise.workloads.files.duplicate_keys import duplicate_keys
from tierwise.workloads.files.small_sample import small_sample
from tierwise.workloads.task import Shared, Task, read_task

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["About", "Task", "Workload", "load"]

TASKS = "tasks.jsonl"

NOTHING = About()
"""What a file without a header says about itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Tasks in the order of their file."""

    path: Path
    sha256: str
    """Of the file's bytes; of a folder, of its `workload.yaml` and of all tasks with their images."""
    tasks: tuple[Task, ...]
    about: About = NOTHING
    """What stands in its `workload.yaml`, or in the header of its file."""
    arrival: str = "closed"
    """In the words of `--arrival`; the file of a trace is an absolute path."""
    notes: tuple[str, ...] = ()
    """What it cannot show, and what to look out for."""

    def first(self, limit: int | None) -> Workload:
        """At most so many of its tasks."""
        return replace(self, tasks=self.tasks[:limit])

    @property
    def name(self) -> str:
        return self.about.name or self.path.stem

    @property
    def needs_sandbox(self) -> bool:
        """Whether grading runs code that a model wrote, or evaluates it as an expression."""
        return any(task.check.kind in RUN_CODE for task in self.tasks)

    @property
    def judges(self) -> tuple[str, ...]:
        """The tiers that its tasks are judged by; the endpoint must serve them."""
        return tuple(dict.fromkeys(task.check.judge.tier for task in self.tasks if task.check.judge is not None))


def load(path: Path) -> Workload:
    """Read and check a workload.

    Args:
        path: a JSONL file, a folder with `workload.yaml`, or that `workload.yaml`.

    Raises:
        NotFound: there is no such file.
        ConfigErrors: all that is wrong with it, each with its line and its path in the line.
    """
    if path.is_dir() or path.name == FILE:
        return _load_folder(path if path.is_dir() else path.parent)
    text, raw = _text(path)
    lines = list(_lines(text))
    about, errors = (NOTHING, list[SpecError]())
    shared = Shared()
    body = raw
    if lines and '"workload"' in lines[0][1]:
        found = read_header(lines[0][1], f"{path.name}:{lines[0][0]}", errors)
        if found is not None:
            errors += [_placed(error, f"{path.name}:{lines[0][0]}") for error in _given_twice(lines[0][1])]
            about, shared = found
            lines = lines[1:]
            body = raw.split(b"\n", 1)[1] if b"\n" in raw else b""
    tasks = _tasks(lines, path.name, path.parent, shared, errors)
    if not tasks and not errors:
        errors.append(SpecError("holds no task; one JSON object on each line is wanted", field=path.name))
    arrival = arrival_of(about, path.parent, f"{path.name}:1", errors)
    _check_pin(about, body, path.name, errors)
    if errors:
        raise ConfigErrors(errors)
    held = _with_images(raw, tasks, lines)
    return _workload(path, held, tasks, about, arrival)


def _load_folder(path: Path) -> Workload:
    file = path / FILE
    errors: list[SpecError] = []
    text, raw = _text(file)
    about, shared, place = read_yaml_file(text, file, errors)
    if about is None:
        raise ConfigErrors(errors)
    arrival = arrival_of(about, path, place("arrival"), errors)
    tasks: Mapping[str, Task] = {}
    if (path / TASKS).exists():
        written, body = _text(path / TASKS)
        tasks = _tasks(_lines(written), TASKS, path, shared, errors)
        _check_pin(about, body, TASKS, errors)
        if not tasks and not errors:
            errors.append(SpecError("holds no task; one JSON object on each line is wanted", field=TASKS))
    elif about.source is None:
        errors.append(SpecError(f"there is no {TASKS} beside it, and no `source` that makes tasks", field=place("")))
    elif not errors:
        try:
            made = about.source.member.make(path)
            tasks = {task.id: task for task in made.tasks}
            _check_pin(about, encoded(made.tasks), place("source"), errors)
        except SpecError as error:
            errors.append(SpecError(str(error), field=place("source")))
    if errors:
        raise ConfigErrors(errors)
    return _workload(path, raw + b"\0" + encoded(tasks.values()), tasks, about, arrival)


def encoded(tasks: Iterable[Task]) -> bytes:
    """Tasks as they stand in a file, one on each line."""
    return msgspec.json.Encoder().encode_lines(list(tasks))


def _workload(path: Path, held: bytes, tasks: Mapping[str, Task], about: About, arrival: str) -> Workload:
    return Workload(
        path=path,
        sha256=hashlib.sha256(held).hexdigest(),
        tasks=tuple(tasks.values()),
        about=about,
        arrival=arrival,
        notes=tuple(_notes(tuple(tasks.values()))),
    )


def _with_images(raw: bytes, tasks: Mapping[str, Task], lines: list[tuple[int, str]]) -> bytes:
    """What a file stands for: its bytes, and those of its images where it has some beside it."""
    has_files = any(
        "data:" in msgspec.json.encode(task.messages).decode() and "data:" not in line
        for task, (_, line) in zip(tasks.values(), lines, strict=True)
    )
    return raw + b"\0" + encoded(tasks.values()) if has_files else raw


def _text(path: Path) -> tuple[str, bytes]:
    try:
        raw = path.read_bytes()
        return raw.decode("utf-8-sig"), raw
    except FileNotFoundError:
        raise NotFound(f"there is no workload {path}; see examples/quickstart.jsonl for one to start from") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"workload {path} cannot be read: {error}") from error


def _lines(text: str) -> Iterable[tuple[int, str]]:
    """Lines that say something, with their numbers. Not splitlines: JSON texts may hold U+2028 as it stands."""
    return ((number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip())


def _tasks(
    lines: Iterable[tuple[int, str]], name: str, base: Path, shared: Shared, errors: list[SpecError]
) -> dict[str, Task]:
    """Tasks by id; what is wrong is added to `errors`, with its line."""
    tasks: dict[str, Task] = {}
    places: dict[str, int] = {}
    for number, line in lines:
        try:
            value, repeated = msgspec.json.decode(line), _given_twice(line)
        except (msgspec.DecodeError, RecursionError) as error:
            errors.append(SpecError(f"not JSON: {error}", field=f"{name}:{number}"))
            continue
        task, wrong = read_task(value, base, shared)
        wrong += repeated
        if task is not None and task.id in tasks:
            wrong.append(SpecError(f"{task.id!r} names the task of line {places[task.id]} already", field="id"))
        errors += [_placed(error, f"{name}:{number}") for error in wrong]
        if task is not None and task.id not in tasks:
            tasks[task.id], places[task.id] = task, number
    return tasks


def _given_twice(line: str) -> list[SpecError]:
    return [
        SpecError(f"the key {key!r} stands twice in one object; keys are given once") for key in duplicate_keys(line)
    ]


def _placed(error: SpecError, where: str) -> SpecError:
    return SpecError(str(error), field=f"{where}: {error.field}" if error.field else where)


def _check_pin(about: About, body: bytes, where: str, errors: list[SpecError]) -> None:
    """Whether tasks that claim to come from a source are those that came."""
    if about.made is None:
        return
    found = hashlib.sha256(body).hexdigest()
    if found != about.made.sha256:
        named = about.source.kind if about.source is not None else "its source"
        errors.append(
            SpecError(
                f"the tasks are not those that {named} made: SHA-256 {found[:12]}… instead of "
                f"{about.made.sha256[:12]}…; make them again, or take `source` and `made` out, for they are yours now",
                field=where,
            )
        )


def _notes(tasks: tuple[Task, ...]) -> Iterable[str]:
    if note := small_sample(len(tasks)):
        yield note
    judges = dict.fromkeys(task.check.judge.tier for task in tasks if task.check.judge is not None)
    for tier in judges:
        yield f"{tier!r} judges; a judge tends to favour what it wrote itself, so do not let it judge its own tier"
    if told := sum(task.tells_its_answer for task in tasks):
        yield f"{told} tasks send their own hidden answer as `verifier`: that measures the answer key"
