"""Models for agents: they know the solutions of our terminal tasks, and give some of them."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from tierwise.testing.server import FakeServer, HttpReply, HttpRequest


class ScriptedAgentModel(FakeServer):
    """Looks around in its first turn, gives the solutions that it knows in the second, and ends in the third.

    Args:
        folder: of tasks in Harbor's format.
        knows: the names of those that it solves.

    Attributes:
        turns: requests so far, by task.
    """

    def __init__(self, folder: Path, knows: Collection[str]) -> None:
        super().__init__(prompt_tokens=17)
        self._instructions = {path.parent.name: path.read_text() for path in folder.glob("*/instruction.md")}
        self._solutions = {name: (folder / name / "solution" / "solve.sh").read_text() for name in knows}
        self.turns: dict[str, int] = {}

    def reply_to(self, number: int, request: HttpRequest) -> HttpReply:
        messages = request.body["messages"]
        said = json.dumps(messages)
        task = next(name for name, text in self._instructions.items() if json.dumps(text.strip())[1:-1] in said)
        self.turns[task] = self.turns.get(task, 0) + 1
        turn = sum(message["role"] == "assistant" for message in messages)
        return self.in_words(task, turn, messages)

    def in_words(self, task: str, turn: int, messages: Any) -> HttpReply:
        """A turn for mini-swe-agent: one command in a block."""
        match turn:
            case 0:
                command = "ls -la"
            case 1:
                command = in_a_file(self._solutions.get(task, "true\n"))
            case _:
                command = "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"
        return HttpReply(text=f"THOUGHT: turn {turn}.\n\n```mswea_bash_command\n{command}\n```")


class KeystrokesModel(ScriptedAgentModel):
    """The same for terminus-2, whose model answers with keystrokes in JSON."""

    def in_words(self, task: str, turn: int, messages: Any) -> HttpReply:
        keys: list[Mapping[str, Any]] = []
        if turn == 0:
            keys = [{"keystrokes": "ls -la\n", "duration": 0.1}]
        elif turn == 1:
            keys = [{"keystrokes": f"{in_a_file(self._solutions.get(task, 'true'))}\n", "duration": 8.0}]
        said = {"analysis": f"turn {turn}", "plan": "go on", "commands": keys, "task_complete": turn > 1}
        return HttpReply(deltas=[{"role": "assistant"}, {"content": json.dumps(said)}])


class ToolModel(ScriptedAgentModel):
    """The same for Inspect's agent, whose model calls the tools `bash` and `submit`."""

    def in_words(self, task: str, turn: int, messages: Any) -> HttpReply:
        if turn < 2:
            command = "ls -la" if turn == 0 else in_a_file(self._solutions.get(task, "true"))
            return calling("bash", {"command": command})
        return calling("submit", {"answer": "it is done"})


def calling(tool: str, arguments: Mapping[str, Any]) -> HttpReply:
    """A reply that calls a tool."""
    function: dict[str, Any] = {"name": tool, "arguments": json.dumps(arguments)}
    call: dict[str, Any] = {"index": 0, "id": "call_1", "type": "function", "function": function}
    return HttpReply(deltas=[{"role": "assistant", "tool_calls": [call]}], finish="tool_calls")


def in_a_file(script: str) -> str:
    """A command that runs a script, which may have any text in it."""
    return f"cat > /tmp/solve.sh <<'END_OF_SOLUTION'\n{script}\nEND_OF_SOLUTION\nbash /tmp/solve.sh"
