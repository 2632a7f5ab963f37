"""The client of SGLang, which requests the routed experts of a share of passes."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from tierwise.engines.engine import PassOn
from tierwise.engines.served.client import RoutingClient
from tierwise.engines.sglang.answer import ROUTED, read_chunk, read_routing

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from typing import Unpack

    from tierwise.engines.served.client import ClientOptions
    from tierwise.engines.sglang.answer import Shape
    from tierwise.spec.call import Call, Chunk


class SglangClient(RoutingClient):
    """A client that requests routed experts in the stream.

    Args:
        name: the deployment's, for error messages.
        model: the server's name for the model.
        shape: of the model; None if unknown: then nothing is recorded.
        options: see `ClientOptions`.
    """

    def __init__(self, name: str, model: str, *, shape: Shape | None = None, **options: Unpack[ClientOptions]) -> None:
        super().__init__(name, model, read=read_chunk, **options)
        self._shape = shape

    async def blocks(
        self,
        base_url: str,
        call: Call,
        *,
        at_once: bool = False,
        pass_on: PassOn | None = None,  # noqa: ARG002 - each chunk is looked at here
    ) -> AsyncGenerator[Sequence[Chunk], None]:
        if self._shape is not None and self._is_drawn():
            fields = {**call.prompt.fields, "return_routed_experts": True}
            call = replace(call, prompt=replace(call.prompt, fields=fields))
        async with aclosing(super().blocks(base_url, call, at_once=at_once)) as blocks:
            async for chunks in blocks:
                yield [await self._counted(chunk) if ROUTED in chunk.delta else chunk for chunk in chunks]

    async def _counted(self, chunk: Chunk) -> Chunk:
        """The chunk with counts instead of the payload, which is removed even if the client requested it."""
        delta = dict(chunk.delta)
        payload = str(delta.pop(ROUTED))
        if self._shape is None:
            return msgspec.structs.replace(chunk, delta=delta)
        routing = await self._count(partial(read_routing, payload, self._shape))
        return msgspec.structs.replace(chunk, delta=delta, routing=routing)
