"""What a runner is given, and what it reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from tierwise.environments import AgentTask
from tierwise.spec.errors import TierwiseError


class RunnerFailed(TierwiseError):
    """The harness failed, so nothing is known about the tier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One task for an agent.

    Args:
        task: its id.
        messages: the prompt, in OpenAI's format.
        environment: where the agent works, in Harbor's format; None for a task that is answered in a file.
        url: the endpoint's root.
        key: of the endpoint; empty if it needs none.
        session: which the base URL names, so that everything that the agent asks belongs to the task.
        model: the tier to ask.
        passes: that each request may spend; None for all that the tier's policy may use.
        seed: of the draw.
        seconds: time limit.
        log: the file that gets what the agent printed.
    """

    task: str
    messages: Sequence[Mapping[str, Any]]
    environment: AgentTask | None
    url: str
    key: str
    session: str
    model: str
    seed: int
    seconds: float
    log: Path
    passes: int | None = None

    @property
    def base_url(self) -> str:
        """The base URL for clients in OpenAI's format."""
        return f"{self.url}/v1/x/{self._named}"

    @property
    def anthropic_url(self) -> str:
        """The base URL for clients in Anthropic's format, which add `/v1/messages`."""
        return f"{self.url}/x/{self._named}"

    @property
    def _named(self) -> str:
        return self.session if self.passes is None else f"{self.session};passes={self.passes}"

    @property
    def limit(self) -> float:
        """Seconds that the agent may take: the smaller of the run's limit and the task's own."""
        own = self.seconds if self.environment is None else self.environment.agent_seconds
        return min(self.seconds, own)

    @property
    def instruction(self) -> str:
        """The prompt as text. Several messages stand below each other, each below its role."""
        if self.environment is not None:
            return self.environment.instruction
        texts = [(str(one.get("role", "user")), _text(one.get("content"))) for one in self.messages]
        if len(texts) == 1:
            return texts[0][1]
        return "\n\n".join(f"[{role}]\n{text}" for role, text in texts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """How an agent's work on a task ended.

    Args:
        seconds: that the agent took, without the building of its environment and the tests.
        code: of its program: 0, or 128 + a signal's number, or another code.
        timed_out: the time limit ended it.
        said: the end of what it printed.
        answer: what it wrote for the check of the task; None if nothing, or if tests grade.
        reward: that the task's tests gave; None without tests.
        tests: the end of what they printed.
    """

    seconds: float
    code: int
    timed_out: bool
    said: str
    answer: str | None = None
    reward: float | None = None
    tests: str = ""


class Runner(Protocol):
    """Lets an agent work on tasks."""

    needs_environment: ClassVar[bool]
    """Whether it can work only on tasks that have an environment."""

    def check(self) -> None:
        """Fail before anything is spent if the agent cannot run here.

        Raises:
            SpecError: what is missing, and how to get it.
        """

    def versions(self) -> dict[str, str]:
        """What the agent is on this machine: a version or a hash for each of its parts, by name.

        Raises:
            SpecError: it cannot be found out.
        """

    async def attempt(self, work: Work) -> Finished:
        """Let the agent work on one task. When this returns or raises, none of its processes is left.

        Raises:
            RunnerFailed: its program could not be run, or broke off without a result.
            SpecError: the task's environment cannot be built, or its tests leave no reward.
            TierwiseError: the sandbox is not there, or a limit ended it.
        """


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "\n".join(str(part.get("text", f"[{part.get('type')}]")) for part in parts if isinstance(part, dict))
