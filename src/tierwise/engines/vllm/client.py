"""The client of vLLM. Passes whose routed experts are recorded are not streamed.

vLLM reports routed experts only in non-streamed responses (0.32.0, entrypoints/openai/chat_completion/protocol.py).
So a sampled pass is requested without streaming and split into chunks here: it has no time between tokens, and its
usage is unknown if it is aborted.
"""

from __future__ import annotations

from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING

from tierwise.engines.engine import PassOn
from tierwise.engines.openai.failure import Failure
from tierwise.engines.served.client import RoutingClient
from tierwise.engines.vllm.answer import read_answer
from tierwise.spec.call import Call

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from typing import Unpack

    from tierwise.engines.served.client import ClientOptions
    from tierwise.spec.call import Chunk
    from tierwise.spec.prompt import Prompt


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

    async def count_tokens(self, base_url: str, prompt: Prompt) -> int:
        """The tokens of a prompt, by vLLM's page `/tokenize`, which takes what a chat completion takes."""
        call = Call(prompt=prompt)
        answer = await self._asked(base_url, "/tokenize", await self._request.encode(call, streamed=False), call)
        if not isinstance(count := answer.get("count"), int):
            raise self._garbled("sent no `count` from /tokenize")
        return count

    async def blocks(
        self, base_url: str, call: Call, *, at_once: bool = False, pass_on: PassOn | None = None
    ) -> AsyncGenerator[Sequence[Chunk], None]:
        if not self._is_drawn():
            async with aclosing(super().blocks(base_url, call, at_once=at_once, pass_on=pass_on)) as blocks:
                async for chunks in blocks:
                    yield chunks
            return
        body = await self.whole(base_url, call)
        answer = await self._count(partial(read_answer, body, self._experts))
        if isinstance(answer, Failure):
            raise self._error(answer, base_url, call)
        yield answer
