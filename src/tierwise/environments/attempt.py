"""One attempt at a task in a sandbox of its own: build, let somebody work, run the tests, read the reward."""

from __future__ import annotations

import asyncio
import json
import shlex
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from tierwise.environments import dockerfile
from tierwise.environments.sandbox import Sandbox
from tierwise.environments.task import AgentTask
from tierwise.environments.transfer import TransferError, read, upload
from tierwise.environments.trial import reward_of
from tierwise.spec.errors import SpecError

LOGS = ("/logs/agent", "/logs/verifier", "/logs/artifacts")
"""The folders that Harbor's agents and tests write to."""

REWARDS = ("/logs/verifier/reward.json", "/logs/verifier/reward.txt")

Solver: TypeAlias = Callable[[Sandbox, AgentTask], Awaitable[None]]
"""Who works on a task: everything that it does happens through the sandbox."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """The result of one attempt.

    Args:
        reward: 1 if the tests passed, 0 if not, or between; under several names, `reward`, or else their mean.
        seconds: from the start of the sandbox to the end of the tests.
        solver_seconds: of those, the solver's.
        timed_out: the solver was stopped at the task's time limit; the tests ran nevertheless.
        cpu_seconds: of all processes in the sandbox.
        output: what the tests wrote.
    """

    reward: float
    seconds: float
    solver_seconds: float
    timed_out: bool
    cpu_seconds: float
    output: str


async def oracle(sandbox: Sandbox, task: AgentTask) -> None:
    """Run the task's own solution."""
    await upload(sandbox, task.folder / "solution", "/solution")
    command = "chmod +x /solution/solve.sh && /solution/solve.sh > /logs/agent/oracle.txt 2>&1"
    await sandbox.run(command, env=task.solution_env)


async def nop(sandbox: Sandbox, task: AgentTask) -> None:
    """Do nothing: a task that passes so tests nothing."""


async def attempt(task: AgentTask, solver: Solver) -> Attempt:
    """Try a task once.

    Raises:
        SpecError: its environment cannot be built, or its tests leave no reward: nothing is known about the solver.
        SandboxUnavailable: there is no sandbox here.
        SandboxEndedError: a limit ended it.
    """
    began = time.monotonic()
    async with Sandbox(task.limits, network=task.network, env=task.env) as sandbox:
        await prepare(sandbox, task.folder / "environment", env=task.env, workdir=task.workdir)
        started = time.monotonic()
        timed_out = False
        try:
            async with asyncio.timeout(task.agent_seconds):
                await solver(sandbox, task)
        except TimeoutError:
            timed_out = True
        worked = time.monotonic() - started
        reward, output = await verify(sandbox, task)
        return Attempt(
            reward=reward,
            seconds=time.monotonic() - began,
            solver_seconds=worked,
            timed_out=timed_out,
            cpu_seconds=sandbox.cpu_seconds,
            output=output,
        )


async def prepare(sandbox: Sandbox, environment: Path, *, env: Mapping[str, str], workdir: str | None) -> None:
    """Build a task's environment in a new sandbox.

    Args:
        sandbox: in which nothing has run.
        environment: the folder of that name of the task.
        env: which replaces what the Dockerfile sets.
        workdir: which replaces that of the Dockerfile.

    Raises:
        SpecError: it cannot be built.
    """
    await sandbox.run(f"mkdir -p {' '.join(LOGS)} && chmod 777 {' '.join(LOGS)}", cwd="/")
    file = environment / "Dockerfile"
    if file.exists():
        await dockerfile.build(sandbox, dockerfile.check(file), environment)
    sandbox.env.update(env)
    sandbox.workdir = workdir or sandbox.workdir
    await sandbox.run(f"mkdir -p {shlex.quote(sandbox.workdir)}", cwd="/")


async def verify(sandbox: Sandbox, task: AgentTask) -> tuple[float, str]:
    """Run the task's tests, which the agent has not seen; returns the reward, and what they wrote.

    Raises:
        SpecError: they left no reward.
    """
    await sandbox.run(f"rm -rf /tests {' '.join(REWARDS)}", cwd="/")
    await upload(sandbox, task.folder / "tests", "/tests")
    done = await sandbox.run(
        "chmod +x /tests/test.sh && /tests/test.sh 2>&1", env=task.verifier_env, seconds=task.verifier_seconds
    )
    for path in REWARDS:
        try:
            text = (await read(sandbox, path)).decode(errors="replace")
        except TransferError:
            continue
        return _reward(task, path, text), done.text
    raise SpecError(
        f"{task.folder}: its tests left neither {' nor '.join(REWARDS)}; they ended with {done.code} and wrote: "
        f"{done.text.strip()[-500:]}",
        field="tests",
    )


def _reward(task: AgentTask, path: str, text: str) -> float:
    try:
        said = json.loads(text)
        values = said if isinstance(said, dict) else {"reward": said}
        reward = reward_of(values)
    except ValueError:
        reward = None
    if reward is None:
        raise SpecError(f"{task.folder}: {path} holds {text.strip()[:80]!r}, which is no reward", field="tests")
    return reward
