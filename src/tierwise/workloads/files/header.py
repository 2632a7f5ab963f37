"""The header of a workload: a directory's `workload.yaml`, or a file's first line, `{"workload": {…}}`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from tierwise.runners import RunnerChoice
from tierwise.spec.errors import ConfigErrors, SpecError
from tierwise.spec.files import Document, placed
from tierwise.spec.reading import Reading, allowed
from tierwise.workloads.arrival import CLOSED, read_arrival
from tierwise.workloads.checks import CheckChoice
from tierwise.workloads.suites import SuiteChoice, SuitePart
from tierwise.workloads.task import Shared, Task

if TYPE_CHECKING:
    from pathlib import Path

FILE = "workload.yaml"

_OWN = frozenset({"id", "messages"})
"""Keys that have no default."""


class SuitePin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Pins the tasks that a source made."""

    version: str
    """The version of the source's package, or the name of its file."""
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    """Hash of the task lines."""
    files: dict[str, str] = {}
    """SHA-256 of each file of the user's that the tasks were made of, by name."""


class WorkloadHeader(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The header: everything except the tasks."""

    name: Annotated[str, msgspec.Meta(max_length=200)] = ""
    description: str = ""
    """A description of the tasks and their origin."""
    arrival: str = CLOSED
    """`closed`, `poisson:RATE`, `constant:RATE` (per second) or `trace:FILE`, a file next to the workload."""
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=1000)] | None = None
    """Concurrent actions in a closed loop, unless the command line sets them."""
    warm_up: Annotated[int, msgspec.Meta(ge=0, le=100_000)] | None = None
    """Unrecorded actions at the start, unless the command line sets them."""
    defaults: dict[str, Any] = {}
    """Default values of task keys."""
    checks: dict[str, CheckChoice] = {}
    """Checks by name; a task's `check` may be one of the names."""
    runner: RunnerChoice | None = None
    """The agent that works on the tasks, unless the command line sets one."""
    source: SuiteChoice | None = None
    """The suite that makes the tasks, or has made them."""
    made: SuitePin | None = None
    """Pins the tasks that the source made; other tasks are rejected."""
    suite: SuitePart | None = None
    """The part of a suite that the tasks are, for claims about it; a `source` says so itself."""


def read_header(first: Document) -> tuple[WorkloadHeader, Shared] | None:
    """Read a file's first line as a header; None if it is a task. Errors go to the document."""
    value = first.value
    if not isinstance(value, dict) or set(value) != {"workload"}:
        return None
    header = _read(value["workload"], first)
    return (header or WorkloadHeader()), _shared(value["workload"])


def read_yaml_header(document: Document) -> tuple[WorkloadHeader | None, Shared]:
    """Read `workload.yaml`. Errors go to the document; the header is None if it is invalid."""
    header = _read(document.value, document) if document.is_readable else None
    return header, _shared(document.value)


def _read(value: Any, reading: Reading) -> WorkloadHeader | None:
    if not isinstance(value, dict):
        keys = ", ".join(WorkloadHeader.__struct_fields__)
        reading.wrong("", f"must be a mapping, not {type(value).__name__}; allowed keys: {keys}")
        return None
    header = reading.read(WorkloadHeader, value, "")
    if header is None:
        return None
    for name in header.checks:
        if name in CheckChoice.__struct_fields__:
            reading.wrong(f"checks.{name}", f"{name!r} is the name of a built-in check; use another name")
    _check_defaults(header, reading)
    if header.made is not None and header.source is None:
        reading.wrong("made", "pins the tasks of a `source`, which is missing")
    if header.suite is not None and header.source is not None:
        reading.wrong("suite", f"the source {header.source.kind} says which suite it is; remove one of the two")
    return None if reading.errors else header


def _check_defaults(header: WorkloadHeader, reading: Reading) -> None:
    """Check each default as a key of a task."""
    fields = [name for name in Task.__struct_fields__ if name not in _OWN]
    for name in header.defaults:
        if name not in fields:
            reading.wrong(f"defaults.{name}", f"is not a task key that can have a default; {allowed(name, fields)}")
    given = {name: value for name, value in header.defaults.items() if name in fields}
    if given.get("check") in header.checks:
        del given["check"]
    some_task = {"id": "any", "messages": [{"role": "user", "content": "any"}], "check": {"number": {}}}
    reading.read(Task, {**some_task, **given}, "defaults")


def _shared(value: Any) -> Shared:
    if not isinstance(value, dict):
        return Shared()
    defaults, checks = value.get("defaults"), value.get("checks")
    return Shared(
        defaults=defaults if isinstance(defaults, dict) else {}, checks=checks if isinstance(checks, dict) else {}
    )


def arrival_of(header: WorkloadHeader, base: Path, where: str, errors: list[SpecError]) -> str:
    """The arrival in the form of `--arrival`, with an absolute trace path. Errors are added to `errors`."""
    form, _, rest = header.arrival.partition(":")
    text = f"trace:{(base / rest).resolve()}" if form == "trace" and rest else header.arrival
    try:
        read_arrival(text)
    except ConfigErrors as error:
        errors += [placed(inner, f"{where}: arrival") for inner in error.errors]
    except SpecError as error:
        errors.append(SpecError(str(error), field=f"{where}: arrival"))
    return text
