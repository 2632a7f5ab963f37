"""One task: what is asked, how its answer is graded, and of what kind it is. One line of a workload holds one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from tierwise.gateway import wire
from tierwise.gateway.chat import MOST_BYTES
from tierwise.spec.errors import SpecError
from tierwise.spec.files import decode_json_lines, read_bytes
from tierwise.spec.reading import Reading
from tierwise.verifiers import VerifierChoice
from tierwise.workloads.checks import CheckChoice, lacking
from tierwise.workloads.images import inlined

if TYPE_CHECKING:
    from pathlib import Path

Tag = Annotated[str, msgspec.Meta(min_length=1, max_length=80)]

_DECIDED = frozenset({"model", "messages", "n", "seed", "stream", "stream_options", "tierwise", "tools", "max_tokens"})
"""Fields of a request that the bench decides, or that a task has a key of its own for."""


class Task(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One thing to ask, and how to tell whether the answer is right."""

    id: Annotated[str, msgspec.Meta(pattern=r"^[^\x00-\x1f\x7f]{1,80}$")]
    """Its name in every record; it stands in the ledger too, and so is short."""
    messages: list[dict[str, Any]]
    """The conversation, in OpenAI's shape. An image may be a path beside the workload; it is sent as a `data:` URL."""
    check: CheckChoice
    """Grades the answer here, in the bench; the endpoint never sees it."""
    verifier: VerifierChoice | None = None
    """What the tier's policy may check candidates with: sent with the request, as a user would send it."""
    tags: list[Tag] = []
    """Kinds of tasks, for results of their own; strata when a sample is drawn."""
    cluster: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] | None = None
    """What it shares with other tasks (a source, a repository, a conversation), so that their outcomes depend on it."""
    weight: Annotated[float, msgspec.Meta(gt=0, le=1e9)] = 1.0
    """How many tasks of the population it stands for."""
    tools: list[dict[str, Any]] = []
    """Functions that the model may call, in OpenAI's shape."""
    max_tokens: Annotated[int, msgspec.Meta(ge=1, le=wire.MOST_TOKENS)] | None = None
    """Completion tokens of one pass, at the most."""
    options: dict[str, Any] = {}
    """Any other field of the request: `temperature`, `response_format`, `stop`."""

    @property
    def tells_its_answer(self) -> bool:
        """Whether what the policy may check with is what decides, and so the right answer itself."""
        if self.verifier is None or self.verifier.kind != self.check.kind:
            return False
        return self.check.member.decisive and self.verifier.member == self.check.member

    def request(self) -> dict[str, Any]:
        """The fields of the request that the task decides; the check is not among them."""
        fields: dict[str, Any] = {**self.options, "messages": self.messages}
        if self.tools:
            fields["tools"] = self.tools
        if self.max_tokens is not None:
            fields["max_tokens"] = self.max_tokens
        return fields


class Shared(msgspec.Struct, frozen=True, kw_only=True):
    """What the tasks of a workload have in common."""

    defaults: Mapping[str, Any] = {}
    """Keys that a task has when its line does not give them."""
    checks: Mapping[str, Any] = {}
    """Checks by name; a task's `check` may be one of the names."""


NOTHING_SHARED = Shared()


def read_task(value: Any, base: Path, reading: Reading, shared: Shared = NOTHING_SHARED) -> Task | None:
    """A task; None, or with errors in `reading`, where something is wrong with it.

    Args:
        value: what stands on its line.
        base: where its images are.
        reading: notes everything that is wrong.
        shared: what stands in the workload's file.
    """
    if isinstance(value, dict):
        value = {**shared.defaults, **value}
        if isinstance(name := value.get("check"), str) and name in shared.checks:
            value["check"] = shared.checks[name]
    task = reading.read(Task, value, "")
    if task is None:
        return None
    task = msgspec.structs.replace(task, messages=inlined(task.messages, base, reading))
    _check_request(task, reading)
    for name, choice in (("check", task.check), ("verifier", task.verifier)):
        if choice is not None and not choice.member.is_ready:
            reading.wrong(f"{name}.{choice.kind}", f"brings nothing to check with; give its `{choice.member.brought}`")
    if lack := lacking(task.check):
        reading.wrong(f"check.{task.check.kind}", lack)
    return task


def read_tasks(path: Path) -> list[Task]:
    """Tasks as a run keeps them: each whole, one on each line.

    Raises:
        NotFound: they were not kept.
        SpecError: a line is no task; names file and line.
    """
    return decode_json_lines(read_bytes(path, "workload"), Task, str(path))


def _check_request(task: Task, reading: Reading) -> None:
    """Whether the endpoint would take it."""
    for name in _DECIDED.intersection(task.options):
        reading.wrong(f"options.{name}", "is not set here; `tools` and `max_tokens` are keys of the task")
    if not task.messages:
        reading.wrong("messages", "is empty; at least one message is wanted")
        return
    body = msgspec.json.encode({"model": "any", **task.request()})
    if len(body) > MOST_BYTES:
        reading.wrong("", f"the request has {len(body) / 2**20:.1f} MiB; the endpoint takes {MOST_BYTES / 2**20:.0f}")
        return
    try:
        wire.read(body)
    except SpecError as error:
        reading.wrong("", str(error))
