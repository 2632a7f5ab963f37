"""The tasks that tiers are measured on: a JSONL file, one task with its check on each line."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from tierwise.gateway import wire
from tierwise.spec.errors import ConfigErrors, NotFound, SpecError
from tierwise.spec.reading import Reading
from tierwise.verifiers import VerifierChoice

if TYPE_CHECKING:
    from pathlib import Path

Tag = Annotated[str, msgspec.Meta(min_length=1, max_length=80)]


class Task(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One thing to ask, and how to tell whether the answer is right."""

    id: Annotated[str, msgspec.Meta(pattern=r"^[^\x00-\x1f\x7f]{1,80}$")]
    """Its name in every record; it stands in the ledger too, and so is short."""
    messages: list[dict[str, Any]]
    """The conversation, in OpenAI's shape."""
    check: VerifierChoice
    """Grades the answer here, in the bench; the endpoint never sees it."""
    verifier: VerifierChoice | None = None
    """What the tier's policy may check candidates with: sent with the request, as a user would send it."""
    tags: list[Tag] = []
    """Kinds of tasks, for results of their own."""
    max_tokens: Annotated[int, msgspec.Meta(ge=1, le=wire.MOST_TOKENS)] | None = None
    """Completion tokens of one pass, at the most."""

    def request(self) -> dict[str, Any]:
        """The fields of the request that the task decides; the check is not among them."""
        fields: dict[str, Any] = {"messages": self.messages}
        if self.max_tokens is not None:
            fields["max_tokens"] = self.max_tokens
        return fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Tasks in the order of their file."""

    path: Path
    sha256: str
    """Of the file's bytes."""
    tasks: tuple[Task, ...]

    def first(self, limit: int | None) -> Workload:
        """At most so many of its tasks."""
        return replace(self, tasks=self.tasks[:limit])

    @property
    def needs_sandbox(self) -> bool:
        """Whether grading runs code that a model wrote."""
        return any(task.check.kind == "python_tests" for task in self.tasks)


def load(path: Path) -> Workload:
    """Read and check a workload.

    Raises:
        NotFound: there is no such file.
        ConfigErrors: all that is wrong with it, each with its line and its path in the line.
    """
    try:
        raw = path.read_bytes()
        text = raw.decode("utf-8-sig")
    except FileNotFoundError:
        raise NotFound(f"there is no workload {path}; see examples/quickstart.jsonl for one to start from") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"workload {path} cannot be read: {error}") from error
    errors: list[SpecError] = []
    tasks: dict[str, tuple[Task, int]] = {}
    for number, line in enumerate(text.split("\n"), 1):  # not splitlines: JSON texts may hold U+2028 as it stands
        if not line.strip():
            continue
        task, wrong = _read(line)
        if task is not None and task.id in tasks:
            wrong.append(SpecError(f"{task.id!r} names the task of line {tasks[task.id][1]} already", field="id"))
        errors += [_placed(error, f"{path.name}:{number}") for error in wrong]
        if task is not None:
            tasks.setdefault(task.id, (task, number))
    if not tasks and not errors:
        errors.append(SpecError("holds no task; one JSON object on each line is wanted", field=path.name))
    if errors:
        raise ConfigErrors(errors)
    return Workload(path=path, sha256=hashlib.sha256(raw).hexdigest(), tasks=tuple(task for task, _ in tasks.values()))


def _placed(error: SpecError, where: str) -> SpecError:
    return SpecError(str(error), field=f"{where}: {error.field}" if error.field else where)


def _read(line: str) -> tuple[Task | None, list[SpecError]]:
    """The task on one line, or everything that is wrong with it."""
    reading = Reading()
    try:
        value = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError) as error:
        reading.wrong("", f"not JSON: {error}")
        return None, reading.errors
    task = reading.read(Task, value, "")
    if task is None:
        return None, reading.errors
    if not task.messages:
        reading.wrong("messages", "is empty; at least one message is wanted")
    else:
        try:
            wire.read(msgspec.json.encode({"model": "any", **task.request()}))
        except SpecError as error:
            reading.wrong("", str(error))
    for name, choice in (("check", task.check), ("verifier", task.verifier)):
        if choice is not None and not choice.member.is_ready:
            reading.wrong(f"{name}.{choice.kind}", "brings nothing to check with; give its `tests`")
    return task, reading.errors
