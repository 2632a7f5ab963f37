"""Runs Inspect on one task, in its own Python: its agent `react`, on the endpoint, with the tool `bash` in the sandbox.

Started by `inspect_ai.py` with its settings as JSON. Imports nothing of ours. Written for Inspect 0.3.
"""

from __future__ import annotations

import base64
import json
import os
import shlex
import socket
import sys
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import anyio.to_thread
from inspect_ai import Task
from inspect_ai import eval as evaluate
from inspect_ai.agent import AgentState, react
from inspect_ai.dataset import Sample
from inspect_ai.model import ChatMessage
from inspect_ai.tool import bash
from inspect_ai.util import ExecResult, SandboxEnvironment, sandboxenv

_SECONDS = 60
"""Time limit of one command, told to the model where it is reached."""


@sandboxenv(name="tierwise")
class TaskSandbox(SandboxEnvironment):
    """The sandbox of the task, by the socket that `SANDBOX_SOCKET` names."""

    @classmethod
    async def sample_init(cls, task_name: str, config: Any, metadata: Any) -> dict[str, SandboxEnvironment]:  # noqa: ARG003
        """It is there already."""
        return {"default": cls()}

    @classmethod
    async def sample_cleanup(cls, task_name: str, config: Any, environments: Any, interrupted: bool) -> None:
        """It goes with the task, after its tests."""

    async def exec(
        self,
        cmd: list[str],
        input: str | bytes | None = None,  # noqa: A002 - Inspect's name
        cwd: str | None = None,
        env: dict[str, str] | None = None,
        user: str | None = None,  # noqa: ARG002 - there is one user
        timeout: int | None = None,
        timeout_retry: bool = True,  # noqa: ARG002 - as above
        concurrency: bool = True,  # noqa: ARG002 - as above
    ) -> ExecResult[str]:
        """Run a command."""
        given = input.encode() if isinstance(input, str) else input or b""
        order = {
            "command": shlex.join(cmd),
            "cwd": cwd,
            "env": env or {},
            "seconds": timeout,
            "stdin": base64.b64encode(given).decode(),
        }
        said = await anyio.to_thread.run_sync(partial(_asked, order))
        if said["timed_out"]:
            raise TimeoutError(f"the command was ended after {timeout} s")
        out, err = (base64.b64decode(said[name]).decode(errors="replace") for name in ("stdout", "stderr"))
        return ExecResult(success=said["code"] == 0, returncode=said["code"], stdout=out, stderr=err)

    async def write_file(self, file: str, contents: str | bytes) -> None:
        """Write a file, and the folders that it needs."""
        name, folder = shlex.quote(file), shlex.quote(str(PurePosixPath(file).parent))
        done = await self.exec(["bash", "-c", f"mkdir -p {folder} && cat > {name}"], contents)
        if not done.success:
            raise PermissionError(done.stderr)

    async def read_file(self, file: str, text: bool = True) -> Any:
        """Read a file."""
        done = await self.exec(["base64", "-w0", file])
        if not done.success:
            raise FileNotFoundError(done.stderr)
        data = base64.b64decode(done.stdout)
        return data.decode() if text else data


def _asked(order: dict[str, Any]) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(os.environ["SANDBOX_SOCKET"])
        line.sendall(json.dumps(order).encode() + b"\n")
        said: dict[str, Any] = json.loads(line.makefile("rb").readline())
        return said


def _turns(messages: list[ChatMessage]) -> int:
    return sum(message.role == "assistant" for message in messages)


def main() -> int:
    """Work on the task that the variables name; the exit code."""
    settings = json.loads(sys.argv[1])
    is_inside = "SANDBOX_SOCKET" in os.environ
    instruction = Path(os.environ["INSTRUCTION"]).read_text(encoding="utf-8")

    async def goes_on(state: AgentState) -> bool:
        """Inspect's own limit of turns asks once more, and throws the answer away."""
        return bool(_turns(state.messages) < settings["turns"])

    task = Task(
        dataset=[Sample(id=os.environ["TASK"], input=instruction)],
        solver=react(tools=[bash(timeout=_SECONDS)] if is_inside else [], on_continue=goes_on),
        sandbox="tierwise" if is_inside else None,
        name="task",
    )
    (log,) = evaluate(
        task,
        model=f"openai-api/tierwise/{os.environ['TIERWISE_MODEL']}",
        log_dir=settings["logs"],
        display="plain",
        score=False,
        turn_limit=settings["turns"],
        max_retries=3,
    )
    sample = log.samples[0] if log.samples else None
    error = log.error or (sample.error if sample is not None else None)
    if log.status != "success" or sample is None or error is not None:
        print(f"inspect: {log.status}: {error.message if error is not None else 'no sample'}")  # noqa: T201
        return 1
    Path(os.environ["OUT"]).write_text(sample.output.completion, encoding="utf-8")
    ended = "limit turn" if _turns(sample.messages) >= settings["turns"] else "submitted"
    print(f"inspect: {'limit ' + sample.limit.type if sample.limit is not None else ended}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
