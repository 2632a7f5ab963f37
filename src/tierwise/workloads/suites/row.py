"""What is known about a suite: its size, how its scores are made, what its differences mean. A row stands beside the
loader of its suite, or in a module of its own if another harness runs it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Runner = Literal["here", "harbor", "own harness"]
"""What runs a suite: `tierwise bench` on a workload that is made here, Harbor, or the suite's own harness."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Convention:
    """How one mode of a suite is usually measured."""

    how: str
    """In words: samples, temperature, how they make one score."""
    samples: int = 1
    """Answers per task whose mean is the score."""
    temperature: float | None = None
    """None: greedy, or left to the agent."""
    source: str
    """Who measures so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteRow:
    """A suite that the field quotes."""

    name: str
    """As on the command line: `gpqa-diamond`."""
    title: str
    tasks: int
    """Number of tasks of the release that `size` names."""
    size: str
    """What the tasks are, and in which release."""
    average: Convention
    """One answer per task, or the mean of several."""
    maximum: Convention
    """Several passes that make one answer."""
    runner: Runner
    how: str
    """The command that runs it."""
    licence: str
    caveats: tuple[str, ...]
    """What its scores do not say, each with its source."""
