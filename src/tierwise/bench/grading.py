"""Grades answers: with the task's check in this process, or with a judge at the endpoint, whose cost is separate."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial, reduce
from operator import add
from typing import TYPE_CHECKING, Any

import msgspec

from tierwise.bench.grade import Grade
from tierwise.runs.records import JudgeSpend, TrialOutcome
from tierwise.spec.errors import TierwiseError
from tierwise.verifiers.model_judge import Nonsense
from tierwise.verifiers.pooled import judge

if TYPE_CHECKING:
    from tierwise.bench.client import ActionReply
    from tierwise.bench.judgements import Judgements
    from tierwise.spec.ask import Verdict
    from tierwise.spec.call import Completion
    from tierwise.verifiers.model_judge import Judge
    from tierwise.workloads.task import Task

SendAction = Callable[[Mapping[str, Any]], Awaitable["ActionReply"]]
"""Sends one action to the endpoint, as `Client.act` does."""

NO_CHECK = "the task has no check"

UNGRADED = "ungraded"
"""Code of an answer whose check could not be run on this machine."""

JUDGE_FAILED = "judge_failed"
"""Code of an answer whose judge failed to respond."""

JUDGE_NONSENSE = "judge_nonsense"
"""Code of an answer whose judge returned no readable verdict."""


class GradeCache:
    """The grades of one action's answer and candidates. Equal answers are graded once, so a judge is paid once.

    Args:
        task: whose check decides.
        act: sends the judge's requests to the endpoint.
        action: the action's id.
        seed: the seed of a judge's first attempt.
        judgements: of the run, so that a judge is paid once for equal answers of several actions.
    """

    def __init__(
        self, task: Task, act: SendAction, action: str, seed: int = 0, judgements: Judgements | None = None
    ) -> None:
        self._judgements = judgements
        self._task = task
        self._act = act
        self._action = action
        self._seed = seed
        self._known: dict[bytes, Grade] = {}

    @property
    def spend(self) -> JudgeSpend | None:
        """What judging has cost so far; None if no judge was asked."""
        spent = [found.judge for found in self._known.values() if found.judge is not None]
        return reduce(add, spent) if spent else None

    async def of(self, completion: Completion) -> Grade:
        """The grade of an answer."""
        key = msgspec.json.encode((completion.text, completion.tool_calls))
        if key not in self._known:
            # The first answer is judged under the action's id, later ones under that id and a number.
            action = f"{self._action}/{len(self._known)}" if self._known else self._action
            graded = partial(grade, self._task, completion, self._act, action, self._seed)
            if self._judgements is None or self._task.check is None or self._task.check.judge is None:
                self._known[key] = await graded()
            else:
                self._known[key] = await self._judgements.of(self._task.id, completion, graded)
        return self._known[key]


async def grade(task: Task, completion: Completion, act: SendAction, action: str, seed: int = 0) -> Grade:
    """Grade one answer. Failures are returned as grades, not raised.

    Args:
        task: whose check decides.
        completion: the answer.
        act: sends the judge's requests to the endpoint.
        action: the answer's id, a prefix of the ids of the judge's actions.
        seed: the seed of the judge's first attempt.
    """
    if task.check is None:
        return Grade(outcome=TrialOutcome.UNLABELLED, why=NO_CHECK)
    if task.check.judge is not None:
        return await _judged(task.check.judge, task, completion, act, action, seed)
    try:
        verdict = await judge(task.check.member, completion)
    except TierwiseError as error:  # the check could not be run, so whether the answer is correct is unknown
        return Grade(outcome=TrialOutcome.ERROR, why=f"not graded: {error}", code=UNGRADED)
    return Grade(outcome=_outcome(verdict), why=verdict.why)


def _outcome(verdict: Verdict) -> TrialOutcome:
    return TrialOutcome.CORRECT if verdict.ok else TrialOutcome.INCORRECT


async def _judged(judge: Judge, task: Task, completion: Completion, act: SendAction, action: str, seed: int) -> Grade:
    messages = judge.questions(task.messages, completion)
    replies: list[ActionReply] = []
    why, code = "", JUDGE_NONSENSE
    for attempt in range(judge.attempts):
        reply = await act(_request(judge, messages, f"{action}/judge/{attempt}", seed + attempt))
        replies.append(reply)
        if reply.failure is not None:
            why, code = f"the judge {judge.tier!r} failed: {reply.failure.message}", JUDGE_FAILED
            continue
        try:
            verdict = judge.read(reply.completion.text)
        except Nonsense as error:
            why, code = str(error), JUDGE_NONSENSE
            continue
        return Grade(outcome=_outcome(verdict), why=verdict.why, judge=_spent(judge, replies))
    return Grade(outcome=TrialOutcome.ERROR, why=why, code=code, judge=_spent(judge, replies))


def _request(judge: Judge, messages: list[dict[str, Any]], action: str, seed: int) -> dict[str, Any]:
    return {
        "model": judge.tier,
        "messages": messages,
        "max_tokens": judge.max_tokens,
        "seed": seed & 0x7FFF_FFFF,
        "stream": True,
        "stream_options": {"include_usage": True},
        "tierwise": {"action": action[-200:], "judges": True},
    }


def _spent(judge: Judge, replies: list[ActionReply]) -> JudgeSpend:
    tokens = [reply.tokens for reply in replies]
    accounts = [None if one is None else one.tierwise for one in tokens]
    dollars = [account.dollars for account in accounts if account is not None]
    reported = [one for one in tokens if one is not None]
    return JudgeSpend(
        tier=judge.tier,
        actions=len(replies),
        dollars=sum(dollars) if len(dollars) == len(replies) else None,
        prompt_tokens=sum(one.prompt_tokens for one in reported) if len(reported) == len(replies) else None,
        completion_tokens=sum(one.completion_tokens for one in reported) if len(reported) == len(replies) else None,
        seconds=sum(reply.seconds for reply in replies),
    )
