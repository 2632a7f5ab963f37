"""The verdicts of judges in one run: equal answers to a task get one verdict, and a judge is paid for it once.

Draws of a pool, repeats and tiers often give the same answer. Judged again, it might get another verdict, and a route
would then seem to lose on an answer that is the reference's.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from tierwise.bench.grade import Grade
from tierwise.runs.records import TrialOutcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from tierwise.runs.records import TrialRecord
    from tierwise.spec.call import Completion
    from tierwise.workloads.task import Task

_Key = tuple[str, bytes]


class Judgements:
    """What judges have said in a run.

    Args:
        tasks: of the run.
        records: of earlier sessions, whose verdicts hold.
    """

    def __init__(self, tasks: Iterable[Task] = (), records: Iterable[TrialRecord] = ()) -> None:
        self._known: dict[_Key, Grade] = {}
        self._asking: defaultdict[_Key, asyncio.Lock] = defaultdict(asyncio.Lock)
        judged = {task.id for task in tasks if task.check is not None and task.check.judge is not None}
        for one in records:
            if one.task in judged and one.outcome in (TrialOutcome.CORRECT, TrialOutcome.INCORRECT):
                self._known[_key(one.task, one.completion)] = Grade(outcome=one.outcome, why=one.why)

    async def of(self, task: str, completion: Completion, judge: Callable[[], Awaitable[Grade]]) -> Grade:
        """The verdict on an answer. Who asks second pays nothing; a judge that failed is asked again.

        Args:
            task: its id.
            completion: the answer.
            judge: asks the judge.
        """
        key = _key(task, completion)
        async with self._asking[key]:
            if key in self._known:
                return self._known[key]
            found = await judge()
            if found.outcome != TrialOutcome.ERROR:
                self._known[key] = replace(found, judge=None)
            return found


def _key(task: str, completion: Completion) -> _Key:
    return task, msgspec.json.encode((completion.text, completion.tool_calls))
