"""An agent whose program runs on this machine: in a new folder, and for a task with an environment, its commands in the
sandbox.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import msgspec

from tierwise.environments import AgentTask, Sandbox, attempt
from tierwise.runners.bridge import bridged
from tierwise.runners.program import Ran, run
from tierwise.runners.work import Finished, Work

MOST_ANSWER_BYTES = 4 * 2**20
"""Read of an answer; a longer one is cut."""

Prepare: TypeAlias = Callable[[Path], tuple[Sequence[str], Mapping[str, str]]]
"""Makes the program's line and further variables, given its working folder."""

_AFTER_LIMIT = 60.0


async def work_outside(work: Work, prepare: Prepare) -> Finished:
    """Let a program work on a task.

    The folder has `instruction.md` and `messages.json`, and the answer goes to `answer.txt`. Variables name them, the
    endpoint, the model and the task; docs/agents.md lists them.

    Raises:
        As `Runner.attempt`.
    """
    with tempfile.TemporaryDirectory(prefix="tierwise-agent-", ignore_cleanup_errors=True) as made:
        folder = Path(made)
        line, more = prepare(folder)
        env = {**_variables(work, folder), **more}
        if work.environment is None:
            ran = await run(line, folder, env, work.limit, work.log)
            return _finished(ran, answer=_answer(folder / "answer.txt"))
        ran_in: list[Ran] = []

        async def solve(sandbox: Sandbox, _: AgentTask) -> None:
            async with bridged(sandbox, folder) as variables:
                ran_in.append(await run(line, folder, {**env, **variables}, work.limit, work.log))

        # The program's own limit ends it, with its processes; the attempt's only bounds what we do after that.
        tried = await attempt(replace(work.environment, agent_seconds=work.limit + _AFTER_LIMIT), solve)
        return replace(_finished(ran_in[0]), reward=tried.reward, tests=tried.output.strip()[-2000:])


def _variables(work: Work, folder: Path) -> dict[str, str]:
    instruction, messages = folder / "instruction.md", folder / "messages.json"
    instruction.write_text(work.instruction, encoding="utf-8")
    messages.write_bytes(msgspec.json.encode(work.messages))
    key = work.key or "none"  # clients refuse to start without one
    return {
        "OPENAI_BASE_URL": work.base_url,
        "OPENAI_API_BASE": work.base_url,
        "OPENAI_API_KEY": key,
        "ANTHROPIC_BASE_URL": work.anthropic_url,
        "ANTHROPIC_API_KEY": key,
        "TIERWISE_MODEL": work.model,
        "TASK": work.task,
        "SEED": str(work.seed),
        "INSTRUCTION": str(instruction),
        "MESSAGES": str(messages),
        "OUT": str(folder / "answer.txt"),
    }


def _answer(path: Path) -> str | None:
    """What was written; None if nothing was, or only blanks."""
    if path.is_symlink() or not path.is_file():
        return None
    with path.open("rb") as file:
        text = file.read(MOST_ANSWER_BYTES).decode(errors="replace")
    return text if text.strip() else None


def _finished(ran: Ran, answer: str | None = None) -> Finished:
    return Finished(seconds=ran.seconds, code=ran.code, timed_out=ran.timed_out, said=ran.said, answer=answer)
