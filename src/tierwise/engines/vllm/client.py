"""The client of vLLM. Passes whose routed experts are recorded are not streamed.

vLLM reports routed experts only in non-streamed responses (0.32.0, entrypoints/openai/chat_completion/protocol.py).
So a sampled pass is requested without streaming and split into chunks here: it has no time between tokens, and its
usage is unknown if it is aborted.
"""

from __future__ import annotations

from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING

from tierwise.engines.openai.failure import Failure
from tierwise.engines.served.client import RoutingClient
from tierwise.engines.vllm.answer import read_answer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from typing import Unpack

    from tierwise.engines.served.client import ClientOptions
    from tierwise.spec.call import Call, Chunk


class VllmClient(RoutingClient):
    """A client that does not stream recorded passes.

    Args:
        name: the deployment's, for error messages.
        model: the server's name for the model.
        experts: experts per layer; None if unknown: the maximum index seen plus 1.
        options: see `ClientOptions`.
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
        answer = await self._count(partial(read_answer, body, self._experts))
        if isinstance(answer, Failure):
            raise self._error(answer, base_url, call)
        for chunk in answer:
            yield chunk
