"""its-hub's best of n with its judge, as a program, because its service offers self-consistency only.

It runs in its-hub's environment and reads lines of JSON. {"endpoint", "messages", "n", "temperature", "stop",
"max_tokens", "tools", "tool_choice"} asks, and {"cancel": true} cancels what runs, as a server would whose client has
hung up. It prints a line of JSON for each.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from its_hub import BestOfN, LLMJudge, OpenAICompatibleLanguageModel
from its_hub.api.types import ChatMessage


async def answer(asked: dict[str, Any]) -> dict[str, Any]:
    model = OpenAICompatibleLanguageModel(
        asked["endpoint"],
        "none",
        "model",
        temperature=asked.get("temperature"),
        stop=asked.get("stop"),
        max_completion_tokens=asked.get("max_tokens"),
    )
    judge = LLMJudge(OpenAICompatibleLanguageModel(asked["endpoint"], "none", "model"))
    began = time.monotonic()
    result = await BestOfN(judge).ainfer(
        model,
        [ChatMessage.from_dict(message) for message in asked["messages"]],
        asked["n"],
        return_response_only=False,
        tools=asked.get("tools"),
        tool_choice=asked.get("tool_choice"),
    )
    usage = result.usage
    return {
        "text": result.the_one.get("content"),
        "seconds": time.monotonic() - began,
        "usage": usage and {"prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens},
    }


async def main() -> None:
    reader = asyncio.StreamReader(limit=1 << 24)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    running: asyncio.Task[dict[str, Any]] | None = None
    print(json.dumps({"ready": True}), flush=True)
    while line := await reader.readline():
        asked = json.loads(line)
        if asked.get("cancel"):
            if running is not None:
                running.cancel()
            continue
        running = asyncio.create_task(answer(asked))
        running.add_done_callback(tell)


def tell(done: asyncio.Task[dict[str, Any]]) -> None:
    if done.cancelled():
        said: dict[str, Any] = {"cancelled": True}
    elif error := done.exception():
        said = {"error": repr(error)}
    else:
        said = done.result()
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
