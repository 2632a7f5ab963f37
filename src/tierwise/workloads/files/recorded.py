"""Makes a workload from recorded production actions, so that real requests can be run on any tier.

Production has no answer key. A judge or the request's own verifier grades the tasks; a recorded answer counts as
correct only if the user chooses that.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tierwise.spec.call import Completion
from tierwise.spec.errors import SpecError
from tierwise.spec.reading import Reading
from tierwise.verifiers import Exact
from tierwise.verifiers.answers import marked, spoken
from tierwise.verifiers.model_judge import Judge
from tierwise.workloads.checks import CheckChoice, parse_check
from tierwise.workloads.task import Task, read_task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tierwise.ledger.read import StoredContent
    from tierwise.workloads.files.redact import Redactor

CHECKS = "judge:TIER, agrees:TIER, recorded, request, none, regex:PATTERN, exact:TEXT, or JSON"

AGREES = (
    "The answer says the same as the reference in all that the user asked for. Other words are fine; a missing, "
    "contradicting or invented fact is not."
)
"""The rubric of `agrees:TIER`."""

_OWN = frozenset({"messages", "tools", "max_tokens", "max_completion_tokens", "tierwise"})
_NOT_KEPT = frozenset({"stream", "stream_options", "n", "seed", "model", "user", "metadata", "store"})
"""Request fields that a task does not keep: those that the bench sets, and those that identify the user."""

_NO_DIRECTORY = Path("/nonexistent")
"""The directory of image files: none, because recorded requests embed their images or refer to URLs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """Tasks made from recorded actions."""

    tasks: tuple[Task, ...]
    moments: tuple[float, ...]
    """Start times of the actions, in seconds since 1970."""
    left_out: dict[str, int]
    """Counts of actions that cannot be tasks, by reason."""


def from_ledger(kept: Sequence[StoredContent], check: str, redactor: Redactor) -> Recorded:
    """Make tasks from recorded actions, in the order of their start times.

    Args:
        kept: actions with their content.
        check: what grades every task: `judge:TIER`; `agrees:TIER`, a judge who sees the recorded answer; `recorded`,
            equality with the recorded answer; `request`, the request's verifier; `none`, for
            `tierwise tune --labels agreement`; or any check.
        redactor: redacts every text.

    Raises:
        SpecError: `check` has no such form.
    """
    grader = _Grader.read(check)
    tasks: list[Task] = []
    moments = []
    left_out: Counter[str] = Counter()
    for one in sorted(kept, key=lambda one: (one.action.started_at, one.action.id)):
        request = redactor.value(msgspec.json.decode(one.content.request))
        answers = redactor.value(msgspec.json.decode(one.content.answers))
        answer = answers[0] if answers and one.action.ending == "answered" else None
        try:
            value = task_value(
                one.action.id, one.action.model, request, grader.check(request, answer, one.action.finish)
            )
        except _UnusableAction as why:
            left_out[str(why)] += 1
            continue
        reading = Reading()
        task = read_task(value, _NO_DIRECTORY, reading)
        if task is None or reading.errors:
            left_out[f"cannot be sent again: {reading.errors[0]}"] += 1
            continue
        tasks.append(task)
        moments.append(one.action.started_at)
    return Recorded(tasks=tuple(tasks), moments=tuple(moments), left_out=dict(left_out))


class _UnusableAction(Exception):
    """Why an action cannot be a task."""


@dataclass(frozen=True, slots=True)
class _Grader:
    kind: str
    tier: str = ""
    fixed: CheckChoice | None = None

    @classmethod
    def read(cls, text: str) -> _Grader:
        if text in ("recorded", "request", "none"):
            return cls(text)
        kind, _, tier = text.partition(":")
        if kind == "agrees" and tier:
            return cls(kind, tier)
        try:
            return cls("fixed", fixed=parse_check(text))
        except SpecError as error:
            raise SpecError(f"{text!r}: {error}; allowed: {CHECKS}", field="--check") from error

    def check(self, request: dict[str, Any], answer: dict[str, Any] | None, finish: str) -> dict[str, Any] | None:
        """The check of one task, as JSON; None for none."""
        if "prompt" in request and not request["messages"]:
            raise _UnusableAction("its prompt is no conversation")
        if self.kind == "none":
            return None
        if self.fixed is not None:
            found: dict[str, Any] = msgspec.to_builtins(self.fixed)
            return found
        if self.kind == "request":
            verifier = (request.get("tierwise") or {}).get("verifier")
            if verifier is None:
                raise _UnusableAction("the request has no verifier")
            return dict(verifier)
        if answer is None or finish != "stop":
            raise _UnusableAction("it has no complete answer")
        if answer.get("tool_calls"):
            raise _UnusableAction("its answer is a tool call, which cannot be compared as text")
        text = spoken(Completion(text=str(answer.get("content") or "")))
        if self.kind == "agrees":
            if not text:
                raise _UnusableAction("its answer is empty")
            return {"judge": msgspec.to_builtins(Judge(tier=self.tier, rubric=AGREES, reference=text))}
        try:
            return {"exact": msgspec.to_builtins(Exact(equals=marked(text) or text))}
        except ValueError:
            raise _UnusableAction("its answer is empty") from None


def task_value(action: str, model: str, request: dict[str, Any], check: dict[str, Any] | None) -> dict[str, Any]:
    """A task as JSON, of a request that was answered.

    Args:
        action: its id.
        model: the tier or route that was asked.
        request: its fields, with its verifier under `tierwise`.
        check: what grades the task; None for nothing.
    """
    messages = request["messages"]
    options = {name: field for name, field in request.items() if name not in _OWN | _NOT_KEPT and field is not None}
    verifier = (request.get("tierwise") or {}).get("verifier")
    value: dict[str, Any] = {
        "id": action[:80],
        "messages": messages,
        **({} if check is None else {"check": check}),
        "tags": [model[:80]],
        "cluster": _conversation(messages),
    }
    if verifier is not None:
        value["verifier"] = verifier
    if request.get("tools"):
        value["tools"] = request["tools"]
    if (limit := request.get("max_completion_tokens") or request.get("max_tokens")) is not None:
        value["max_tokens"] = limit
    if options:
        value["options"] = options
    return value


def _conversation(messages: Sequence[dict[str, Any]]) -> str:
    """A cluster name, equal for all turns of a conversation and for requests with the same beginning."""
    first = next((number for number, message in enumerate(messages) if message.get("role") == "user"), 0)
    digest = hashlib.blake2b(msgspec.json.encode(list(messages[: first + 1])), digest_size=6)
    return f"conversation {digest.hexdigest()}"


def trace_of(moments: Sequence[float]) -> str:
    """A trace of arrivals: seconds from the first, one per line."""
    return "".join(f"{moment - moments[0]:.3f}\n" for moment in moments)
