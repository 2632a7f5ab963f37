"""Agents as runners of a workload: each task is given to a program that asks a tier as often as it wants.

A runner is one module, and one line in the table. It starts a program and never imports it; what the agent asks goes to
the endpoint under one session per task, so that the ledger knows what the task cost.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from tierwise.runners.command import Command
from tierwise.runners.harbor import Harbor
from tierwise.runners.inspect_ai import Inspect
from tierwise.runners.mini_swe_agent import MiniSweAgent
from tierwise.runners.work import Finished, Runner, RunnerFailed, Work
from tierwise.spec.choice import OneOf
from tierwise.spec.files import json_document
from tierwise.spec.reading import Reading

__all__ = [
    "Command",
    "Finished",
    "Harbor",
    "Inspect",
    "MiniSweAgent",
    "Runner",
    "RunnerChoice",
    "RunnerFailed",
    "Work",
    "parse_runner",
]


class RunnerChoice(
    OneOf,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    rename={"mini_swe_agent": "mini-swe-agent"},
):
    """One runner: `{command: "python agent.py"}`, `mini-swe-agent`."""

    command: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    """A line for the shell that works on one task."""
    mini_swe_agent: MiniSweAgent | None = None
    harbor: Harbor | None = None
    inspect: Inspect | None = None

    @property
    def member(self) -> Runner:
        chosen: Runner = Command(self.command) if self.command is not None else getattr(self, self.kind)
        return chosen

    @property
    def harness(self) -> str:
        """What published scores call it: Harbor's agent, or the runner's own name."""
        return self.kind.replace("_", "-") if self.harbor is None else self.harbor.agent


def parse_runner(text: str) -> RunnerChoice:
    """Parse `--runner`: a runner's name, `command:LINE`, or JSON, `{"command": "python agent.py"}`.

    Raises:
        SpecError: the text names no runner.
    """
    if text.startswith("{"):
        document = json_document(text, "--runner", line=None)
        return document.finish(document.convert(RunnerChoice))
    kind, colon, rest = text.partition(":")
    reading = Reading()
    value = {"command": rest.strip()} if colon and kind == "command" else text
    return reading.finish(reading.read(RunnerChoice, value, "--runner"))
