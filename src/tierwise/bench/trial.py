"""Runs one trial: sends the request, grades the answer, classifies the outcome and returns the record."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import structs

from tierwise.bench.drawing import asked, facts_of
from tierwise.bench.grade import Grade
from tierwise.bench.grading import GradeCache
from tierwise.run.recovery import LOST, is_lost
from tierwise.runs.records import CandidateMessage, Key, PassSpend, TrialOutcome, TrialRecord, tags_of
from tierwise.runs.refusals import is_task_limit
from tierwise.spec.call import Completion, Usage
from tierwise.spec.errors import SpecError, TierwiseError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tierwise.bench.client import ActionAccount, ActionFailure, ActionReply, ActionUsage, Client
    from tierwise.bench.grading import SendAction
    from tierwise.bench.judgements import Judgements
    from tierwise.bench.schedule import Trial
    from tierwise.runs.draws import PoolSettings
    from tierwise.workloads.task import Task

_WARM_UP = "warm-up"
"""The reason of a warm-up action that ended with an answer."""


async def measure(
    trial: Trial, client: Client, run: str, due: float | None = None, judgements: Judgements | None = None
) -> TrialRecord:
    """Measure one trial. Failures are in the record.

    Args:
        trial: the trial to run.
        client: the endpoint's client.
        run: the run's id, a prefix of the action's id.
        due: the scheduled `time.monotonic()` time; now by default.
        judgements: as for `measure_both`.
    """
    record, _ = await measure_both(trial, None, client, run, due, judgements=judgements)
    return record


async def measure_both(
    trial: Trial,
    single: Trial | None,
    client: Client,
    run: str,
    due: float | None = None,
    *,
    candidates: bool = False,
    pool: PoolSettings | None = None,
    judgements: Judgements | None = None,
) -> tuple[TrialRecord, TrialRecord | None]:
    """Measure one trial, and derive the same task's average-mode record from its first candidate.

    Args:
        trial: the trial to run.
        single: the average-mode trial; None if it is not needed.
        client: the endpoint's client.
        run: the run's id, a prefix of the action's id.
        due: as for `measure`.
        candidates: request every candidate's text and grade it; implied by `single`.
        pool: how its answer is recorded as a draw; None outside of a pool.
        judgements: of the run; None for those of this trial alone.

    Returns:
        The trial's record, and the average-mode record or None if the first draw did not finish or was not reported.
    """
    action = action_id(trial, run)
    late = 0.0 if due is None else time.monotonic() - due
    began = time.time() - late
    body = {**asked(pool), **request(trial, action, candidates=candidates or single is not None)}
    reply = await client.act(body, due)
    failure, tokens = reply.failure, reply.tokens
    account = None if tokens is None else tokens.tierwise
    grades = GradeCache(trial.task, client.act, action, trial.seed, judgements)
    fields = _grade_fields(await _grade(trial, reply, grades)) if failure is None else _failure_fields(failure)
    passes = None if account is None else await _grade_passes(account.passes, grades, keeps_all=pool is not None)
    record = TrialRecord(
        action=action,
        **_trial_fields(trial),
        **fields,
        status=failure.status if failure is not None else None,
        attempts=reply.attempts,
        answer=_answer_text(reply.completion),
        tool_calls=_tool_calls(reply.completion),
        finish=reply.completion.finish,
        began=began,
        late=reply.late,
        first_byte=reply.first_byte,
        first_output=reply.first_output,
        seconds=reply.seconds,
        gaps=reply.gaps,
        **_token_fields(tokens),
        **_account_fields(account),
        passes=passes,
        judge=grades.spend,
        draw=None if pool is None or failure is not None else await facts_of(trial.task, reply.completion),
    )
    if single is None or passes is None or (first := _first_draw(passes)) is None:
        return record, None
    return record, await _single_record(single, first, record, grades)


def _account_fields(account: ActionAccount | None) -> dict[str, Any]:
    """The fields of a record that say what an action cost, and how its answer was chosen."""
    if account is None:
        return {"dollars": None, "chosen_because": "", "agreement": None}
    return {
        "dollars": account.dollars,
        "chosen_because": account.why[0] if account.why else "",
        "agreement": account.agreement[0] if account.agreement else None,
    }


def _token_fields(tokens: ActionUsage | None) -> dict[str, Any]:
    """The fields of a record that count tokens."""
    if tokens is None:
        return dict.fromkeys(("prompt_tokens", "cached_tokens", "completion_tokens"))
    return {
        "prompt_tokens": tokens.prompt_tokens,
        "cached_tokens": tokens.cached_tokens,
        "completion_tokens": tokens.completion_tokens,
    }


async def _grade_passes(passes: Sequence[PassSpend], grades: GradeCache, *, keeps_all: bool = False) -> list[PassSpend]:
    """The passes of an action, with a grade for each candidate, and without the text of other passes.

    Args:
        passes: as the endpoint reported them.
        grades: of the action.
        keeps_all: keep the messages of all passes, with their thinking, as a pool does.
    """
    return [
        await _grade_pass(one, grades, keeps_all=keeps_all)
        if one.is_candidate
        else (one if keeps_all else structs.replace(one, message=None))
        for one in passes
    ]


async def _grade_pass(one: PassSpend, grades: GradeCache, *, keeps_all: bool) -> PassSpend:
    grade = await grades.of(one.completion)
    is_known = grade.outcome in (TrialOutcome.CORRECT, TrialOutcome.INCORRECT)
    solved = grade.outcome == TrialOutcome.CORRECT if is_known else None
    message = one.message or CandidateMessage()
    return structs.replace(one, solved=solved, message=message if keeps_all else _without_reasoning(message))


def _without_reasoning(message: CandidateMessage) -> CandidateMessage:
    """The part of a message that a check reads."""
    return structs.replace(message, reasoning_content=None)


def _first_draw(passes: Sequence[PassSpend]) -> PassSpend | None:
    """The pass that is equivalent to average mode; None if there is none."""
    draws = (one for one in passes if one.draw == 0 and one.is_draw and one.is_candidate)
    return next((one for one in draws if one.started is not None), None)


async def _single_record(single: Trial, first: PassSpend, whole: TrialRecord, grades: GradeCache) -> TrialRecord:
    """The record of one pass, as if it were a separate action. The whole action's record carries the judge's cost."""
    completion, waited = first.completion, first.started or 0.0
    graded = replace(await grades.of(completion), judge=None)
    return TrialRecord(
        action=whole.action,
        **_trial_fields(single),
        **_grade_fields(graded),
        answer=_answer_text(completion),
        tool_calls=_tool_calls(completion),
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


def _trial_fields(trial: Trial) -> dict[str, Any]:
    """The fields of a record that identify the trial."""
    return {
        "task": trial.task.id,
        "tags": tags_of(trial.task.tags, trial.task.cluster),
        "tier": trial.variant.tier,
        "mode": trial.variant.mode,
        "repeat": trial.repeat,
        "seed": trial.seed,
    }


def _grade_fields(grade: Grade) -> dict[str, Any]:
    """The fields of a record that hold its grade."""
    return {"outcome": grade.outcome, "why": grade.why, "code": grade.code}


def _failure_fields(failure: ActionFailure) -> dict[str, Any]:
    return {"outcome": _failure_outcome(failure), "why": failure.message, "code": failure.code}


def key_of(trial: Trial) -> Key:
    """The key of the record that this trial produces."""
    return Key(trial.task.id, trial.variant.tier, trial.variant.mode, trial.repeat)


def action_id(trial: Trial, run: str) -> str:
    """The action's id in the ledger: at most 200 characters of printable ASCII, which is what the endpoint accepts.

    If a task's id has other characters, its digest is part of the action's.
    """
    if trial.warm_up is not None:
        return f"{run}/warm-up/{trial.warm_up}"
    task = trial.task.id
    if not (task.isascii() and task.isprintable()):
        digest = hashlib.blake2b(task.encode(), digest_size=4).hexdigest()
        task = f"{task.encode('ascii', 'replace').decode()}~{digest}"
    name = f"{run}/{task}/{trial.variant.tier}/{trial.variant.mode}"
    return f"{name}/{trial.repeat}" if trial.repeat else name


def request(trial: Trial, action: str, *, candidates: bool = False) -> dict[str, Any]:
    """The request body. It omits the task's check, so the tier sees what it would see from a user."""
    extension: dict[str, Any] = {"action": action}
    if trial.variant.mode == "average":
        extension["budget"] = {"passes": 1}
    if candidates:
        extension["candidates"] = True
    if trial.task.verifier is not None:
        extension["verifier"] = msgspec.to_builtins(trial.task.verifier)
    return {
        **trial.task.request(),
        "model": trial.variant.tier,
        "seed": trial.seed,
        "stream": True,
        "stream_options": {"include_usage": True},
        "tierwise": extension,
    }


async def regrade(
    task: Task, record: TrialRecord, act: SendAction | None = None, judgements: Judgements | None = None
) -> TrialRecord:
    """Grade a record's answer and candidates again, so that a corrected check needs no new answers.

    Records without an answer stay unchanged, as do those whose check is a judge when `act` is None, and those of tasks
    that tests graded in an environment, which is gone.
    """
    is_judged = task.check is not None and task.check.judge is not None
    if (is_judged and act is None) or (record.agent is not None and record.agent.reward is not None):
        return record
    grades = GradeCache(task, act or _no_judge, record.action, record.seed, judgements)
    if record.has_answer:
        record = structs.replace(record, **_grade_fields(await grades.of(record.completion)))
    keeps_all = record.draw is not None
    passes = None if record.passes is None else await _grade_passes(record.passes, grades, keeps_all=keeps_all)
    return structs.replace(record, passes=passes, judge=grades.spend or record.judge)


async def regrade_all(tasks: Sequence[Task], records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Grade every record again. Concurrency is limited, because each sandbox is a process.

    Raises:
        SpecError: a record names a task that is not in `tasks`.
    """
    known = {task.id: task for task in tasks}
    slots = asyncio.Semaphore(2 * (os.cpu_count() or 1))

    async def one(record: TrialRecord) -> TrialRecord:
        if record.task not in known:
            raise SpecError(f"a record names task {record.task!r}, which is not in the run's workload.jsonl")
        async with slots:
            return await regrade(known[record.task], record)

    return list(await asyncio.gather(*map(one, records)))


async def _no_judge(body: Mapping[str, Any]) -> ActionReply:
    raise TierwiseError(f"the judge {body['model']!r} is not available")


def has_failed(warm_up: TrialRecord) -> bool:
    """Whether a warm-up action, which is never graded, ended without an answer."""
    return warm_up.why != _WARM_UP


async def _grade(trial: Trial, reply: ActionReply, grades: GradeCache) -> Grade:
    if trial.warm_up is not None:
        return Grade(outcome=TrialOutcome.ERROR, why=_WARM_UP)
    if _is_lost(reply):
        return Grade(outcome=TrialOutcome.LOST_TO_THINKING, why="nothing but thinking")
    return await grades.of(reply.completion)


def _is_lost(reply: ActionReply) -> bool:
    """Whether an answer was lost to thinking. Thinking that is only counted may be that of another pass, so it is taken
    for the answer's only where an endpoint that reports its passes says that one was lost, or reports none.
    """
    tokens, usage = reply.tokens, Usage()
    if tokens is not None and (tokens.tierwise is None or any(one.outcome == LOST for one in tokens.tierwise.passes)):
        usage = Usage(completion=tokens.completion_tokens, reasoning=tokens.reasoning_tokens)
    return is_lost(reply.completion, usage)


def _failure_outcome(failure: ActionFailure) -> TrialOutcome:
    is_limit = is_task_limit(failure.status, failure.code, failure.message)
    return TrialOutcome.NO_ANSWER if is_limit else TrialOutcome.ERROR


def _answer_text(completion: Completion) -> str:
    """The answer's text, or the JSON of its tool calls if it has no text."""
    return completion.text or (msgspec.json.encode(completion.tool_calls).decode() if completion.tool_calls else "")


def _tool_calls(completion: Completion) -> list[dict[str, Any]]:
    return [dict(call) for call in completion.tool_calls]
