"""Runs one trial with an agent: it works on the task, and what it cost is joined from the ledger by session."""

from __future__ import annotations

import math
import re
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp

from tierwise.bench.grade import Grade
from tierwise.bench.grading import GradeCache
from tierwise.bench.joining import JoinFailed, joined
from tierwise.environments import read_task
from tierwise.runners import Work
from tierwise.runs.agents import AgentWork
from tierwise.runs.records import TrialOutcome, TrialRecord, tags_of
from tierwise.spec.call import Completion
from tierwise.spec.errors import TierwiseError

if TYPE_CHECKING:
    from pathlib import Path

    from tierwise.bench.client import Client
    from tierwise.bench.judgements import Judgements
    from tierwise.bench.outage import Outage
    from tierwise.bench.schedule import Trial
    from tierwise.ledger.sessions import SessionAction
    from tierwise.runners import Finished, Runner

RUNNER_FAILED = "runner_failed"
"""The code of an error of the harness or of the task's environment."""
NOT_JOINED = "not_joined"
"""The code of an error: what the agent cost is not known."""

MOST_OUTAGES = 3
"""Outages of the endpoint after which a task is not repeated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentBench:
    """What all trials of a run with an agent share.

    Args:
        runner: lets the agent work.
        url: the endpoint's root.
        key: of the endpoint; empty if it needs none.
        base: the folder that the environments of tasks are relative to.
        logs: the folder that gets what agents print, a file for each session.
        seconds: time limit of a task.
        client: sends the requests of judges.
        outage: waits for an endpoint that is gone.
    """

    runner: Runner
    url: str
    key: str
    base: Path
    logs: Path
    seconds: float
    client: Client
    outage: Outage

    async def measure(self, trial: Trial, run: str, due: float, judgements: Judgements | None = None) -> TrialRecord:
        """Run one trial. Failures are in the record. A task that an outage of the endpoint interrupted is repeated.

        Args:
            trial: the trial to run.
            run: the run's id, a prefix of the session's.
            due: the scheduled `time.monotonic()` time.
            judgements: of the run.

        Raises:
            EndpointGone: the endpoint did not come back in time.
        """
        for _ in range(MOST_OUTAGES):
            began = time.monotonic()
            record = await self._once(trial, run, due, judgements)
            if record.code != NOT_JOINED or not await self.outage.was_gone(began):
                return record
            due = time.monotonic()
        return await self._once(trial, run, due, judgements)

    async def _once(self, trial: Trial, run: str, due: float, judgements: Judgements | None) -> TrialRecord:
        session, began = session_of(trial, run), time.monotonic()
        finished, grade, late = None, None, max(0.0, began - due)
        started = time.time()
        self.logs.mkdir(exist_ok=True)
        try:
            finished = await self.runner.attempt(self._work(trial, session))
        except TierwiseError as error:
            grade = _error(str(error), RUNNER_FAILED)
        except OSError as error:
            grade = _error(f"the agent could not be run: {error}", RUNNER_FAILED)
        actions: list[SessionAction] | None = None
        try:
            actions = await joined(self.url, self.key, session, began)
        except JoinFailed as error:
            grade = _error(str(error), NOT_JOINED)
        except (aiohttp.ClientError, OSError) as error:
            grade = _error(f"the endpoint {self.url} is gone: {error}", NOT_JOINED)
        grades = GradeCache(trial.task, self.client.act, session, trial.seed, judgements)
        if grade is None and finished is not None and actions is not None:
            grade = outcome_of(finished, actions) or await grades.of(_completion(finished))
        if grade is None:
            raise AssertionError
        return TrialRecord(
            action=session,
            task=trial.task.id,
            tags=tags_of(trial.task.tags, trial.task.cluster),
            tier=trial.variant.tier,
            mode=trial.variant.mode,
            repeat=trial.repeat,
            seed=trial.seed,
            outcome=grade.outcome,
            why=grade.why,
            code=grade.code,
            answer=(finished.answer or "") if finished is not None else "",
            began=started - late,
            late=late,
            first_output=None,
            seconds=None if finished is None else late + finished.seconds,
            judge=grades.spend,
            **_spent(actions),
            agent=None if actions is None else _agent(finished, actions),
        )

    def _work(self, trial: Trial, session: str) -> Work:
        folder = trial.task.environment
        return Work(
            task=trial.task.id,
            messages=trial.task.messages,
            environment=None if folder is None else read_task(self.base / folder),
            url=self.url,
            key=self.key,
            session=session,
            model=trial.variant.tier,
            passes=1 if trial.variant.mode == "average" else None,
            seed=trial.seed,
            seconds=self.seconds,
            log=self.logs / f"{session}.log",
        )


def session_of(trial: Trial, run: str) -> str:
    """A session for one attempt at a trial: no other attempt has it, also not after an interruption."""
    task = "warm-up" if trial.warm_up is not None else trial.task.id
    parts = [run, _plain(task)[:60], _plain(trial.variant.tier)[:60], str(trial.repeat), secrets.token_hex(3)]
    return ".".join(parts)


def outcome_of(finished: Finished, actions: list[SessionAction]) -> Grade | None:
    """The grade of a task whose work ended, by how it ended and by the task's tests; None if the check grades it."""
    limit = f"the time limit ended the agent after {finished.seconds:.0f} s"
    if finished.code != 0 and not finished.timed_out:
        return _error(f"the agent ended with exit code {finished.code}: {_last(finished.said)}", RUNNER_FAILED)
    if not actions:
        how = limit if finished.timed_out else "the agent ended"
        return _error(f"{how} without asking the endpoint: {_last(finished.said)}", RUNNER_FAILED)
    if finished.reward is not None:
        is_solved = finished.reward >= 1
        why = f"its tests gave {finished.reward:g}"
        why = f"{why}; {limit}" if finished.timed_out else why
        why = why if is_solved else f"{why}: {_last(finished.tests)}"
        return Grade(outcome=TrialOutcome.CORRECT if is_solved else TrialOutcome.INCORRECT, why=why)
    if finished.answer is not None:
        return None
    failed = next((action.error for action in reversed(actions) if action.ending == "failed"), None)
    if failed is not None and actions[-1].ending == "failed":
        return _error(f"the agent wrote no answer after its last action failed: {failed}", RUNNER_FAILED)
    if finished.timed_out:  # which may be the model's doing
        return Grade(outcome=TrialOutcome.NO_ANSWER, why=f"{limit}; no answer was written", code="budget_exhausted")
    return Grade(outcome=TrialOutcome.NO_ANSWER, why="the agent ended and wrote no answer to $OUT")


def _agent(finished: Finished | None, actions: list[SessionAction]) -> AgentWork:
    if finished is None:
        return AgentWork(actions=actions, code=-1)
    return AgentWork(actions=actions, code=finished.code, timed_out=finished.timed_out, reward=finished.reward)


def _spent(actions: list[SessionAction] | None) -> dict[str, Any]:
    """The fields of a record about tokens and dollars: sums over the session."""
    if actions is None:
        return dict.fromkeys(("prompt_tokens", "cached_tokens", "completion_tokens", "dollars"))
    return {
        "prompt_tokens": sum(action.prompt for action in actions),
        "cached_tokens": sum(action.cached for action in actions),
        "completion_tokens": sum(action.completion for action in actions),
        "dollars": math.fsum(action.dollars for action in actions),
    }


def _completion(finished: Finished) -> Completion:
    return Completion(text=finished.answer or "", finish="stop")


def _error(why: str, code: str) -> Grade:
    return Grade(outcome=TrialOutcome.ERROR, why=why, code=code)


def _last(text: str) -> str:
    """The last lines of what a program printed."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " / ".join(lines[-3:])[-500:] or "it printed nothing"


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name)
