"""Tasks of reasoning-gym that ask for the answer alone, which takes a small model about four tokens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tierwise.workloads.suites.reasoning_gym import PROMPT

if TYPE_CHECKING:
    from tierwise.workloads.suites.reasoning_gym import ReasoningGymSuite
    from tierwise.workloads.task import Task

ASKED = "Give the answer only."
"""Replaces the suite's instruction to write the answer between tags, which takes more tokens than these answers."""


def answered_alone(suite: ReasoningGymSuite) -> tuple[Task, ...]:
    """The tasks of a suite with `ASKED` as instruction."""
    return tuple(map(_answered_alone, suite.make(Path()).tasks))


def _answered_alone(task: Task) -> Task:
    (message,) = task.messages
    question = message["content"].removesuffix(PROMPT.format(question=""))
    return msgspec.structs.replace(task, messages=[{"role": "user", "content": f"{question}\n\n{ASKED}"}])
