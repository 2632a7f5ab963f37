"""Makes tasks of shadowed traffic: what a certified route answered, and what its reference tier answered then.

A label is the request's verifier, or a `check` that somebody wrote into the line afterwards. The first is also sent
with the task, because a route may use it; the second is not, because no route will have it. Lines without a label are
left out and counted, unless what needs no labels is wanted of them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from tierwise.shadowing.answered import labels_of
from tierwise.spec.errors import SpecError
from tierwise.spec.files import decode_json_lines, read_bytes
from tierwise.spec.reading import Reading
from tierwise.workloads.files.recorded import task_value
from tierwise.workloads.task import Task, read_task

if TYPE_CHECKING:
    from pathlib import Path


class ShadowedLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line of `ledger.db.shadowed.jsonl`, as far as a task needs it."""

    action: str
    route: str
    messages: list[dict[str, Any]]
    fields: dict[str, Any] = {}
    verifier: dict[str, Any] | None = None
    """The request's; None without one, and in lines of an earlier version."""
    check: dict[str, Any] | None = None
    """What tells right from wrong, written by whoever labelled the action."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadowed:
    """Tasks of shadowed traffic."""

    tasks: tuple[Task, ...]
    left_out: dict[str, int]
    """Counts of actions that cannot be tasks, by reason."""


def read_shadowed(path: Path, *, needs_labels: bool = True) -> Shadowed:
    """Read the tasks of a file of shadowed traffic, in the order in which they were asked.

    Args:
        path: of the file.
        needs_labels: leave out lines without a label. Without that they become tasks without a check.

    Raises:
        NotFound: the file does not exist.
        SpecError: a line is not of a shadowed action; or no action has a label.
    """
    whole, _, _ = read_bytes(path, "file of shadowed traffic", field="--shadowed").rpartition(b"\n")
    tasks: dict[str, Task] = {}
    left_out: Counter[str] = Counter()
    for line in decode_json_lines(whole, ShadowedLine, str(path)):
        check = line.check or line.verifier
        if check is None and needs_labels:
            left_out["the request has no verifier, so nothing tells right from wrong"] += 1
            continue
        own = {} if line.verifier is None else {"verifier": line.verifier}
        request = {**line.fields, "messages": line.messages, "tierwise": own}
        reading = Reading()
        value = task_value(line.action, line.route, request, check)
        if labels := labels_of(line.fields):
            value = {**value, "tags": [*labels.values()]}
        task = read_task(value, path.parent, reading)
        if task is None or reading.errors:
            left_out[f"cannot be sent again: {reading.errors[0]}"] += 1
            continue
        tasks[task.id] = task
    if not tasks:
        why = "; ".join(f"{number} × {reason}" for reason, number in left_out.items()) or "the file is empty"
        raise SpecError(
            f"{path} has no task ({why}). Send requests with a verifier; or write a `check` into the lines of the "
            'file, as a task has it: `"check": {"exact": {"equals": "4"}}`; or `tierwise workload from-ledger` makes '
            "tasks that a judge grades",
            field="--shadowed",
        )
    return Shadowed(tasks=tuple(tasks.values()), left_out=dict(left_out))
