"""A scripted server that calls tools as a model would, and refuses what llama.cpp refuses. Prints its URL. Argument:
seconds for which it is silent before each answer.

It answers a request that has tools with one call: of `get_weather`, else of the first tool that writes a file. When the
conversation holds the tool's result, it answers with the text of that result.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
from dataclasses import replace
from typing import Any

from tierwise.testing.server import FakeServer, HttpReply, HttpRequest, serve

ARGUMENTS = {
    "get_weather": {"city": "Oslo"},
    "Write": {"file_path": "{folder}/hello.txt", "content": "17 degrees\n"},
    "write": {"filePath": "hello.txt", "content": "17 degrees\n"},
    "exec_command": {"cmd": "echo 17 degrees > hello.txt"},
    "bash": {"command": "echo 17 degrees > hello.txt", "description": "Write hello.txt"},
}
FOLDER = re.compile(r"in the folder (\S+)\.")
"""Where a task says that its file belongs; Claude Code's tool takes absolute paths only."""
EDIT = "hello.txt\n```\n17 degrees\n```\n"
"""What aider, which uses no tools, reads as a new file in its `whole` format."""


class ToolCaller(FakeServer):
    """Calls one tool, then reports its result."""

    def __init__(self, silent_seconds: float) -> None:
        super().__init__()
        self._silent_seconds = silent_seconds

    def reply_to(self, number: int, request: HttpRequest) -> HttpReply:
        return replace(self._said(number, request), waits=self._silent_seconds)

    def _said(self, number: int, request: HttpRequest) -> HttpReply:
        body = request.body if isinstance(request.body, dict) else {}
        tools = [tool["function"]["name"] for tool in body.get("tools") or []]
        if tools and body.get("logprobs") and body.get("stream"):
            return refusal("logprobs is not supported with tools + stream")
        results = [text_of(message.get("content")) for message in body["messages"] if message["role"] == "tool"]
        name = next((name for name in ARGUMENTS if name in tools), None)
        folder = next(
            (found[1] for message in body["messages"] if (found := FOLDER.search(text_of(message.get("content"))))), ""
        )
        if results or name is None:
            asks_for_file = any("hello.txt" in text_of(message.get("content")) for message in body["messages"])
            return HttpReply(text=EDIT if asks_for_file and not tools else f"The tool says: 17 degrees. {results[-1:]}")
        return HttpReply(deltas=tuple(pieces(name, f"call_{number}", folder)), finish="tool_calls")


def pieces(name: str, call: str, folder: str) -> list[dict[str, Any]]:
    """A tool call in three deltas, as servers send it; `folder` is where it writes a file."""
    text = json.dumps(ARGUMENTS[name]).replace("{folder}", folder)
    middle = len(text) // 2
    first = {"index": 0, "id": call, "type": "function", "function": {"name": name, "arguments": ""}}
    rest = [{"index": 0, "function": {"arguments": part}} for part in (text[:middle], text[middle:])]
    return [{"tool_calls": [piece]} for piece in (first, *rest)]


def text_of(content: Any) -> str:
    """Message content as text."""
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content if isinstance(part, dict))
    return content or ""


def refusal(message: str) -> HttpReply:
    """A 400 with an OpenAI error."""
    return HttpReply(status=400, body=json.dumps({"error": {"message": message, "code": 400}}).encode())


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(ToolCaller(float(sys.argv[1]))))
