"""Speaks to vLLM: streamed as to any server, but for the passes whose routed experts are recorded.

vLLM tells routed experts in whole answers alone (0.32.0, entrypoints/openai/chat_completion/protocol.py), so a sampled
pass is asked for unstreamed and cut into chunks here: it has no time between tokens, and counts nothing when aborted.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing
from typing import TYPE_CHECKING

from tierwise.engines.http import ChatClient
from tierwise.engines.vllm.answer import read_answer
from tierwise.spec.errors import Garbled

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from tierwise.spec.call import Call, Chunk
    from tierwise.spec.json import Fields

# Makes vLLM send its own count with every chunk, so that an aborted pass is counted as far as it came.
_COUNTING: Fields = {"stream_options": {"continuous_usage_stats": True}}


class VllmClient(ChatClient):
    """A chat client that records routed experts of a share of the passes.

    Args:
        name: the deployment's, for blame.
        model: what the server calls it.
        sampled: the share, 0 to 1.
        experts: of each layer; None where it is not known, and then as many as were seen.
        draw: gives numbers in [0, 1).
        api_key: sent with every request.
        silent_seconds: without a byte for so long, a pass is given up.
        proxy: URL of the proxy on the way.
        translate: puts a prompt's fields into vLLM's words.
    """

    def __init__(
        self,
        name: str,
        model: str,
        *,
        sampled: float = 0.0,
        experts: int | None = None,
        draw: Callable[[], float] = random.random,
        api_key: str | None = None,
        silent_seconds: float = 600.0,
        proxy: str | None = None,
        translate: Callable[[Fields], Fields] | None = None,
    ) -> None:
        super().__init__(
            name,
            model,
            api_key=api_key,
            extras=_COUNTING,
            silent_seconds=silent_seconds,
            proxy=proxy,
            translate=translate,
        )
        self._blamed = name
        self._sampled = sampled
        self._experts = experts
        self._draw = draw

    async def stream(self, base_url: str, call: Call) -> AsyncGenerator[Chunk, None]:
        if self._draw() >= self._sampled:
            async with aclosing(super().stream(base_url, call)) as stream:
                async for chunk in stream:
                    yield chunk
            return
        body = await self.whole(base_url, call)
        try:
            # In a thread: a long answer of a large model has millions of choices to count.
            chunks = await asyncio.to_thread(read_answer, body, self._experts)
        except ValueError as error:
            raise Garbled(f"deployment {self._blamed!r} {error}", engine=self._blamed) from error
        for chunk in chunks:
            yield chunk
