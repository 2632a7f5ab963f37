"""Recorded production actions as a workload, so that what users really asked can be asked of any tier.

Production has no answer key. So a recorded answer becomes what is right only where the user says so; otherwise a judge
decides, or the check that the request itself carried.
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
from tierwise.workloads.checks import CheckChoice, check_written
from tierwise.workloads.task import Task, read_task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tierwise.ledger.read import StoredContent
    from tierwise.workloads.files.redact import Redactor

CHECKS = "judge:TIER, agrees:TIER, recorded, request, regex:PATTERN, exact:TEXT, or JSON"

AGREES = (
    "The answer says the same as the reference in all that the user asked for. Other words are fine; a missing, "
    "contradicting or invented fact is not."
)
"""The rubric of `agrees:TIER`."""

_OWN = frozenset({"messages", "tools", "max_tokens", "max_completion_tokens", "tierwise"})
_NOT_KEPT = frozenset({"stream", "stream_options", "n", "seed", "model", "user", "metadata", "store"})
"""Fields that are not the task's: what the bench decides, and whose request it was."""

_NOWHERE = Path("/nonexistent")
"""Where images of recorded requests are looked for: they carry theirs, or an address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """Tasks made of actions."""

    tasks: tuple[Task, ...]
    moments: tuple[float, ...]
    """When each was asked, in seconds since 1970."""
    left_out: dict[str, int]
    """Actions that made no task, by the reason."""


def from_ledger(kept: Sequence[StoredContent], check: str, redactor: Redactor) -> Recorded:
    """Tasks of recorded actions, in the order in which they were asked.

    Args:
        kept: actions with their content.
        check: what grades every task: `judge:TIER`; `agrees:TIER`, a judge who sees the recorded answer; `recorded`,
            for that very answer; `request`, the verifier that the request carried; or any check.
        redactor: goes over every text before it is kept.

    Raises:
        SpecError: `check` is no such word.
    """
    grader = _Grader.read(check)
    tasks: list[Task] = []
    moments = []
    left_out: Counter[str] = Counter()
    for one in sorted(kept, key=lambda one: (one.action.started_at, one.action.id)):
        request = redactor.value(msgspec.json.decode(one.content.request))
        answers = redactor.value(msgspec.json.decode(one.content.answers))
        said = answers[0] if answers and one.action.ending == "answered" else None
        try:
            value = _task(one, request, grader.check(request, said, one.action.finish))
        except _Unfit as why:
            left_out[str(why)] += 1
            continue
        reading = Reading()
        task = read_task(value, _NOWHERE, reading)
        if task is None or reading.errors:
            left_out[f"cannot be asked again: {reading.errors[0]}"] += 1
            continue
        tasks.append(task)
        moments.append(one.action.started_at)
    return Recorded(tasks=tuple(tasks), moments=tuple(moments), left_out=dict(left_out))


class _Unfit(Exception):
    """Why an action makes no task."""


@dataclass(frozen=True, slots=True)
class _Grader:
    kind: str
    tier: str = ""
    fixed: CheckChoice | None = None

    @classmethod
    def read(cls, text: str) -> _Grader:
        if text in ("recorded", "request"):
            return cls(text)
        kind, _, tier = text.partition(":")
        if kind == "agrees" and tier:
            return cls(kind, tier)
        try:
            return cls("fixed", fixed=check_written(text))
        except SpecError as error:
            raise SpecError(f"{text!r}: {error}; allowed: {CHECKS}", field="--check") from error

    def check(self, request: dict[str, Any], said: dict[str, Any] | None, finish: str) -> dict[str, Any]:
        """The check of one task, as it stands in a file."""
        if self.fixed is not None:
            found: dict[str, Any] = msgspec.to_builtins(self.fixed)
            return found
        if self.kind == "request":
            verifier = (request.get("tierwise") or {}).get("verifier")
            if verifier is None:
                raise _Unfit("the request carried no verifier")
            return dict(verifier)
        if said is None or finish != "stop":
            raise _Unfit("it was not answered to the end")
        if said.get("tool_calls"):
            raise _Unfit("its answer is a call of a tool, which no text is equal to")
        text = spoken(Completion(text=str(said.get("content") or "")))
        if self.kind == "agrees":
            if not text:
                raise _Unfit("its answer is empty")
            return {"judge": msgspec.to_builtins(Judge(tier=self.tier, rubric=AGREES, reference=text))}
        try:
            return {"exact": msgspec.to_builtins(Exact(equals=marked(text) or text))}
        except ValueError:
            raise _Unfit("its answer is empty") from None


def _task(one: StoredContent, request: dict[str, Any], check: dict[str, Any]) -> dict[str, Any]:
    messages = request["messages"]
    options = {name: field for name, field in request.items() if name not in _OWN | _NOT_KEPT and field is not None}
    verifier = (request.get("tierwise") or {}).get("verifier")
    value: dict[str, Any] = {
        "id": one.action.id[:80],
        "messages": messages,
        "check": check,
        "tags": [one.action.model[:80]],
        "cluster": _conversation(messages),
    }
    if verifier is not None:
        value["verifier"] = verifier
    if request.get("tools"):
        value["tools"] = request["tools"]
    if (bound := request.get("max_completion_tokens") or request.get("max_tokens")) is not None:
        value["max_tokens"] = bound
    if options:
        value["options"] = options
    return value


def _conversation(messages: Sequence[dict[str, Any]]) -> str:
    """Equal for all turns of a conversation, and for requests that begin alike: their outcomes hang together."""
    first = next((number for number, message in enumerate(messages) if message.get("role") == "user"), 0)
    digest = hashlib.blake2b(msgspec.json.encode(list(messages[: first + 1])), digest_size=6)
    return f"conversation {digest.hexdigest()}"


def trace_of(moments: Sequence[float]) -> str:
    """When they were asked, as a trace: seconds from the first, one on each line."""
    return "".join(f"{moment - moments[0]:.3f}\n" for moment in moments)
