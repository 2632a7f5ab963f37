"""Where an agent works: a sandbox that lives as long as its task, tasks in Harbor's format, Harbor's environment.

`inside.py` is the part that runs inside. Isolation is that of `verifiers/sandbox`, by Linux namespaces; its files are
in memory, and everything goes when it ends.
"""

from pathlib import Path

from tierwise.environments.attempt import Attempt, Solver, attempt, nop, oracle
from tierwise.environments.sandbox import Ended, Limits, Sandbox, SandboxEndedError
from tierwise.environments.task import AgentTask, read_task, read_tasks

TASKS = Path(__file__).with_name("tasks")
"""Our own suite of terminal tasks: a folder of tasks in Harbor's format."""

__all__ = [
    "TASKS",
    "AgentTask",
    "Attempt",
    "Ended",
    "Limits",
    "Sandbox",
    "SandboxEndedError",
    "Solver",
    "attempt",
    "nop",
    "oracle",
    "read_task",
    "read_tasks",
]
