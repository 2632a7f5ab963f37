"""Speaks to SGLang: streamed as to any server, and now and then asked which experts a pass went through."""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from tierwise.engines.http import ChatClient
from tierwise.engines.sglang.answer import ROUTED, read_chunk, read_routing
from tierwise.spec.errors import Garbled

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from tierwise.engines.sglang.answer import Shape
    from tierwise.spec.call import Call, Chunk
    from tierwise.spec.json import Fields

# Makes SGLang send its own count with every chunk, so that an aborted pass is counted as far as it came.
_COUNTING: Fields = {"stream_options": {"continuous_usage_stats": True}}


class SglangClient(ChatClient):
    """A chat client that records routed experts of a share of the passes.

    Args:
        name: the deployment's, for blame.
        model: what the server calls it.
        sampled: the share, 0 to 1.
        shape: of the model; None where it is not known, and then nothing is recorded.
        draw: gives numbers in [0, 1).
        api_key: sent with every request.
        silent_seconds: without a byte for so long, a pass is given up.
        proxy: URL of the proxy on the way.
        translate: puts a prompt's fields into SGLang's words.
    """

    def __init__(
        self,
        name: str,
        model: str,
        *,
        sampled: float = 0.0,
        shape: Shape | None = None,
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
            read=read_chunk,
        )
        self._blamed = name
        self._sampled = sampled
        self._shape = shape
        self._draw = draw

    async def stream(self, base_url: str, call: Call) -> AsyncGenerator[Chunk, None]:
        if self._shape is not None and self._draw() < self._sampled:
            fields = {**call.prompt.fields, "return_routed_experts": True}
            call = replace(call, prompt=replace(call.prompt, fields=fields))
        async with aclosing(super().stream(base_url, call)) as stream:
            async for chunk in stream:
                yield await self._counted(chunk) if ROUTED in chunk.delta else chunk

    async def _counted(self, chunk: Chunk) -> Chunk:
        """The chunk with counts instead of the payload; a client who asked for that itself does not get it either."""
        delta = dict(chunk.delta)
        payload = str(delta.pop(ROUTED))
        if self._shape is None:
            return replace(chunk, delta=delta)
        try:
            # In a thread: a long answer of a large model has millions of choices to count.
            routing = await asyncio.to_thread(read_routing, payload, self._shape)
        except ValueError as error:
            raise Garbled(f"deployment {self._blamed!r} {error}", engine=self._blamed) from error
        return replace(chunk, delta=delta, routing=routing)
