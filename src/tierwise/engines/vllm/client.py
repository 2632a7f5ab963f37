"""Speaks to vLLM: streamed as to any server, but for the passes whose routed experts are recorded.

vLLM tells routed experts in whole answers alone (0.32.0, entrypoints/openai/chat_completion/protocol.py), so a sampled
pass is asked for unstreamed and cut into chunks here: it has no time between tokens, and counts nothing when aborted.
"""

from __future__ import annotations

from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING

from tierwise.engines.served.client import RoutingClient
from tierwise.engines.vllm.answer import read_answer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from typing import Unpack

    from tierwise.engines.served.client import ClientOptions
    from tierwise.spec.call import Call, Chunk


class VllmClient(RoutingClient):
    """A client that has recorded passes answered whole.

    Args:
        name: the deployment's, for error messages.
        model: what the server calls it.
        experts: of each layer; None where it is not known, and then as many as were seen.
        options: see there.
    """

    def __init__(self, name: str, model: str, *, experts: int | None = None, **options: Unpack[ClientOptions]) -> None:
        super().__init__(name, model, **options)
        self._experts = experts

    async def stream(self, base_url: str, call: Call) -> AsyncGenerator[Chunk, None]:
        if not self._is_drawn():
            async with aclosing(super().stream(base_url, call)) as stream:
                async for chunk in stream:
                    yield chunk
            return
        body = await self.whole(base_url, call)
        for chunk in await self._count(partial(read_answer, body, self._experts)):
            yield chunk
