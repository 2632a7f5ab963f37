"""One trial from its request to its record: ask the endpoint, grade what came, say which class the outcome is of."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import structs

from tierwise.bench.grading import Grade, GradeCache
from tierwise.runs.records import CandidateMessage, Key, PassSpend, TrialOutcome, TrialRecord, tags_of
from tierwise.spec.call import Completion
from tierwise.spec.errors import SpecError, TierwiseError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tierwise.bench.client import ActionFailure, ActionReply, Client
    from tierwise.bench.grading import Act
    from tierwise.bench.schedule import Trial
    from tierwise.workloads.task import Task

_NOT_FOR_THIS_TIER = frozenset(
    {"context_length_exceeded", "engine_refused", "budget_exhausted", "invalid_value", "body_too_large"}
)
"""Codes of requests that reached the tier and that it cannot answer, however often one asks."""


async def attempt(trial: Trial, client: Client, run: str, due: float | None = None) -> TrialRecord:
    """Measure one trial; whatever goes wrong is on the record.

    Args:
        trial: what to ask.
        client: of the endpoint.
        run: begins the action's id.
        due: the moment of `time.monotonic()` at which it was to begin; now when not given.
    """
    record, _ = await attempt_both(trial, None, client, run, due)
    return record


async def attempt_both(
    trial: Trial, single: Trial | None, client: Client, run: str, due: float | None = None, *, candidates: bool = False
) -> tuple[TrialRecord, TrialRecord | None]:
    """Measure one trial, and from its first candidate the same task in average mode.

    Args:
        trial: what to ask.
        single: the average-mode trial; None where it is not wanted.
        client: of the endpoint.
        run: begins the action's id.
        due: when it was to begin, as for `attempt`.
        candidates: the endpoint tells what each pass said, so every candidate is to be graded; `single` implies it.

    Returns:
        None for the second record when the first draw did not come to an end, or was not told.
    """
    action = action_id(trial, run)
    late = 0.0 if due is None else time.monotonic() - due
    began = time.time() - late
    reply = await client.act(request(trial, action, candidates=candidates or single is not None), due)
    failure, tokens = reply.failure, reply.tokens
    account = None if tokens is None else tokens.tierwise
    grades = GradeCache(trial.task, client.act, action, trial.seed)
    told = _told(await _grade(trial, reply, grades)) if failure is None else _failed(failure)
    passes = None if account is None else await _graded(account.passes, grades)
    record = TrialRecord(
        action=action,
        **_asked(trial),
        **told,
        status=failure.status if failure is not None else None,
        attempts=reply.attempts,
        answer=_said(reply.completion),
        tool_calls=_calls(reply.completion),
        finish=reply.completion.finish,
        began=began,
        late=reply.late,
        first_byte=reply.first_byte,
        first_output=reply.first_output,
        seconds=reply.seconds,
        gaps=reply.gaps,
        prompt_tokens=None if tokens is None else tokens.prompt_tokens,
        cached_tokens=None if tokens is None else tokens.cached_tokens,
        completion_tokens=None if tokens is None else tokens.completion_tokens,
        dollars=None if account is None else account.dollars,
        chosen_because=account.why[0] if account is not None and account.why else "",
        agreement=account.agreement[0] if account is not None and account.agreement else None,
        passes=passes,
        judge=grades.spend,
    )
    if single is None or passes is None or (first := _first_draw(passes)) is None:
        return record, None
    return record, await _of_candidate(single, first, record, grades)


async def _graded(passes: Sequence[PassSpend], grades: GradeCache) -> list[PassSpend]:
    """The passes of an action with what each candidate among them is worth, and without what nobody grades."""
    return [await _marked(one, grades) if one.is_candidate else structs.replace(one, message=None) for one in passes]


async def _marked(one: PassSpend, grades: GradeCache) -> PassSpend:
    found = await grades.of(one.completion)
    solved = None if found.outcome == TrialOutcome.ERROR else found.outcome == TrialOutcome.CORRECT
    return structs.replace(one, solved=solved, message=_without_reasoning(one.message or CandidateMessage()))


def _without_reasoning(said: CandidateMessage) -> CandidateMessage:
    """What a check can see."""
    return structs.replace(said, reasoning_content=None)


def _first_draw(passes: Sequence[PassSpend]) -> PassSpend | None:
    """The pass that average mode would have been."""
    draws = (one for one in passes if one.draw == 0 and one.is_draw and one.is_candidate)
    return next((one for one in draws if one.started is not None), None)


async def _of_candidate(single: Trial, first: PassSpend, whole: TrialRecord, grades: GradeCache) -> TrialRecord:
    """The record of the one pass, as if it had been asked for alone; its judge was paid with the whole action."""
    completion, waited = first.completion, first.started or 0.0
    graded = replace(await grades.of(completion), judge=None)
    return TrialRecord(
        action=whole.action,
        **_asked(single),
        **_told(graded),
        answer=_said(completion),
        tool_calls=_calls(completion),
        finish=completion.finish,
        taken="candidate",
        began=whole.began,
        late=whole.late,
        first_output=None if first.first_token is None else whole.late + waited + first.first_token,
        seconds=whole.late + waited + first.seconds,
        prompt_tokens=first.prompt_tokens,
        cached_tokens=first.cached_tokens,
        completion_tokens=first.completion_tokens,
        dollars=first.dollars,
        passes=[first],
    )


def _asked(trial: Trial) -> dict[str, Any]:
    """The fields of a record that say what was asked."""
    return {
        "task": trial.task.id,
        "tags": tags_of(trial.task.tags, trial.task.cluster),
        "tier": trial.variant.tier,
        "mode": trial.variant.mode,
        "repeat": trial.repeat,
        "seed": trial.seed,
    }


def _told(grade: Grade) -> dict[str, Any]:
    """The fields of a record that say what its answer is worth."""
    return {"outcome": grade.outcome, "why": grade.why, "code": grade.code}


def _failed(failure: ActionFailure) -> dict[str, Any]:
    return {"outcome": _blame(failure), "why": failure.message, "code": failure.code}


def key_of(trial: Trial) -> Key:
    """The key of the record that this trial ends in."""
    return Key(trial.task.id, trial.variant.tier, trial.variant.mode, trial.repeat)


def action_id(trial: Trial, run: str) -> str:
    """What the ledger calls this action; at most 200 characters, which is what the endpoint takes."""
    if trial.warm_up is not None:
        return f"{run}/warm-up/{trial.warm_up}"
    name = f"{run}/{trial.task.id}/{trial.variant.tier}/{trial.variant.mode}"
    return f"{name}/{trial.repeat}" if trial.repeat else name


def request(trial: Trial, action: str, *, candidates: bool = False) -> dict[str, Any]:
    """What is posted. The task's check is not in it: the tier sees what a user's tier would see."""
    ours: dict[str, Any] = {"action": action}
    if trial.variant.mode == "average":
        ours["budget"] = {"passes": 1}
    if candidates:
        ours["candidates"] = True
    if trial.task.verifier is not None:
        ours["verifier"] = msgspec.to_builtins(trial.task.verifier)
    return {
        **trial.task.request(),
        "model": trial.variant.tier,
        "seed": trial.seed,
        "stream": True,
        "stream_options": {"include_usage": True},
        "tierwise": ours,
    }


async def regrade(task: Task, record: TrialRecord, act: Act | None = None) -> TrialRecord:
    """The record as its answer would be graded now: checks get mended, and nobody wants to pay for answers twice.

    Its candidates are graded again too. What was not answered stays as it was, and so does what only a judge can grade
    if there is none to ask.
    """
    if task.check.judge is not None and act is None:
        return record
    grades = GradeCache(task, act or _nobody, record.action, record.seed)
    if record.has_answer:
        said = Completion(tool_calls=tuple(record.tool_calls), finish=record.finish)
        if record.answer != _said(said):
            said = replace(said, text=record.answer)
        record = structs.replace(record, **_told(await grades.of(said)))
    passes = None if record.passes is None else await _graded(record.passes, grades)
    return structs.replace(record, passes=passes, judge=grades.spend or record.judge)


async def regrade_all(tasks: Sequence[Task], records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Every record as it would be graded now, a few at once: sandboxes are processes.

    Raises:
        SpecError: a record is of no task.
    """
    known = {task.id: task for task in tasks}
    room = asyncio.Semaphore(2 * (os.cpu_count() or 1))

    async def one(record: TrialRecord) -> TrialRecord:
        if record.task not in known:
            raise SpecError(f"record {record.task!r} names no task of the run's workload.jsonl")
        async with room:
            return await regrade(known[record.task], record)

    return list(await asyncio.gather(*map(one, records)))


async def _nobody(body: Mapping[str, Any]) -> ActionReply:
    raise TierwiseError(f"there is no judge {body['model']!r} to ask")


async def _grade(trial: Trial, reply: ActionReply, grades: GradeCache) -> Grade:
    if trial.warm_up is not None:
        return Grade(outcome=TrialOutcome.ERROR, why="only warms up")
    return await grades.of(reply.completion)


def _blame(failure: ActionFailure) -> TrialOutcome:
    is_refused = failure.status in (400, 413, 422) or failure.code in _NOT_FOR_THIS_TIER
    return TrialOutcome.NO_ANSWER if is_refused else TrialOutcome.ERROR


def _said(said: Completion) -> str:
    """The answer as a reader of the report wants it."""
    return said.text or (msgspec.json.encode(said.tool_calls).decode() if said.tool_calls else "")


def _calls(said: Completion) -> list[dict[str, Any]]:
    return [dict(call) for call in said.tool_calls]
