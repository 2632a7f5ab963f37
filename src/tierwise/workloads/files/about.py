"""What a workload says about itself: `workload.yaml` of a folder, or the first line of a file, `{"workload": {…}}`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from tierwise.spec.errors import ConfigErrors, SpecError
from tierwise.spec.files import Document, placed
from tierwise.spec.reading import Reading, allowed
from tierwise.workloads.arrival import CLOSED, read_arrival
from tierwise.workloads.checks import CheckChoice
from tierwise.workloads.suites import SuiteChoice
from tierwise.workloads.task import Shared, Task

if TYPE_CHECKING:
    from pathlib import Path

FILE = "workload.yaml"

_OWN = frozenset({"id", "messages"})
"""Keys that every task gives itself."""


class SuitePin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a source made, and which version of it."""

    version: str
    """Of the package that the tasks come from, or what its file was."""
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    """Of all lines of tasks."""


class About(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A workload apart from its tasks."""

    name: Annotated[str, msgspec.Meta(max_length=200)] = ""
    description: str = ""
    """What the tasks are, and where they come from."""
    arrival: str = CLOSED
    """`closed`, `poisson:RATE`, `constant:RATE` (per second) or `trace:FILE`, a file beside the workload."""
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=1000)] | None = None
    """Actions at once in a closed loop; the command line's where it is not given, here and below."""
    warm_up: Annotated[int, msgspec.Meta(ge=0, le=100_000)] | None = None
    """Actions before the first that counts."""
    defaults: dict[str, Any] = {}
    """Keys of tasks that their lines need not give."""
    checks: dict[str, CheckChoice] = {}
    """Checks by name; a task's `check` may be one of the names."""
    source: SuiteChoice | None = None
    """What makes the tasks, or has made them."""
    made: SuitePin | None = None
    """Pins what the source made: tasks that are others are refused."""


def read_header(first: Document) -> tuple[About, Shared] | None:
    """The first line of a file, where it is about the whole; None where it is a task like the others.

    What is wrong with it is noted in the line's document.
    """
    value = first.value
    if not isinstance(value, dict) or set(value) != {"workload"}:
        return None
    about = _read(value["workload"], first)
    return (about or About()), _shared(value["workload"])


def read_yaml_header(document: Document) -> tuple[About | None, Shared]:
    """`workload.yaml`, and what its tasks share; what is wrong is noted in the document."""
    about = _read(document.value, document) if document.is_readable else None
    return about, _shared(document.value)


def _read(value: Any, reading: Reading) -> About | None:
    if not isinstance(value, dict):
        reading.wrong("", f"holds a {type(value).__name__}; keys are wanted: {', '.join(About.__struct_fields__)}")
        return None
    about = reading.read(About, value, "")
    if about is None:
        return None
    for name in about.checks:
        if name in CheckChoice.__struct_fields__:
            reading.wrong(f"checks.{name}", f"{name!r} is a kind of check already; give it another name")
    _check_defaults(about, reading)
    if about.made is not None and about.source is None:
        reading.wrong("made", "pins what a `source` made, and none is given")
    return None if reading.errors else about


def _check_defaults(about: About, reading: Reading) -> None:
    """Each default as if it stood in a task."""
    fields = [name for name in Task.__struct_fields__ if name not in _OWN]
    for name in about.defaults:
        if name not in fields:
            reading.wrong(f"defaults.{name}", f"is no default; {allowed(name, fields)}")
    given = {name: value for name, value in about.defaults.items() if name in fields}
    if given.get("check") in about.checks:
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


def arrival_of(about: About, base: Path, where: str, errors: list[SpecError]) -> str:
    """How its tasks arrive, in the words of `--arrival`, once it is known that they can."""
    form, _, rest = about.arrival.partition(":")
    text = f"trace:{(base / rest).resolve()}" if form == "trace" and rest else about.arrival
    try:
        read_arrival(text)
    except ConfigErrors as error:
        errors += [placed(inner, f"{where}: arrival") for inner in error.errors]
    except SpecError as error:
        errors.append(SpecError(str(error), field=f"{where}: arrival"))
    return text
