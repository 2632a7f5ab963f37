"""A small agent for `tierwise bench --runner command:…`: one command per turn, in a block, until it says DONE.

Standard library only. Works on tasks with an environment; `TURNS` is how many requests it may make (12).
"""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import urllib.request
from pathlib import Path

SYSTEM = (
    "You solve a task in a Linux terminal with bash, python3 and git, one command at a time. Write exactly one bash "
    "command in a block that begins with ```bash and ends with ```, and nothing else. You are shown what it wrote, and "
    "write the next. Each command runs in a new shell and is ended after 20 seconds; start what must go on running in "
    "the background, with nohup and &. If a command fails, write a different one. When you have seen that the task is "
    "solved, and not before, write DONE and no block."
)
_BLOCK = re.compile(r"```\w*\n(.*?)```", re.DOTALL)


class Terminal:
    """The sandbox of the task."""

    def __init__(self) -> None:
        self._line = socket.socket(socket.AF_UNIX)
        self._line.connect(os.environ["SANDBOX_SOCKET"])
        self._answers = self._line.makefile("rb")

    def run(self, command: str) -> str:
        """Run a command; what it wrote, and its exit code."""
        self._line.sendall(json.dumps({"command": f"{{ {command}\n}} 2>&1", "seconds": 20}).encode() + b"\n")
        said = json.loads(self._answers.readline())
        return f"exit code {said['code']}\n{base64.b64decode(said['stdout']).decode(errors='replace')[-2000:]}"


def ask(messages: list[dict[str, str]]) -> str:
    """One request to the tier."""
    body = {"model": os.environ["TIERWISE_MODEL"], "messages": messages, "max_tokens": 400}
    request = urllib.request.Request(
        f"{os.environ['OPENAI_BASE_URL']}/chat/completions",
        json.dumps(body).encode(),
        {"content-type": "application/json", "authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"},
    )
    with urllib.request.urlopen(request) as answer:  # as long as it takes: the task has a limit of its own
        said: str = json.load(answer)["choices"][0]["message"]["content"]
    return said


def main() -> None:
    terminal = Terminal()
    task = Path(os.environ["INSTRUCTION"]).read_text(encoding="utf-8")
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": task}]
    for _ in range(int(os.environ.get("TURNS", "12"))):
        said = ask(messages)
        messages.append({"role": "assistant", "content": said})
        if (block := _BLOCK.search(said)) is None:
            if "DONE" in said:
                return
            shown = "There is no block; write one command in a block, or DONE."
        else:
            shown = terminal.run(block[1])
        messages.append({"role": "user", "content": shown})
        print(f"{said}\n{shown}\n", flush=True)


if __name__ == "__main__":
    main()
