"""Speaks to a server that can tell the routed experts of a pass, and asks it to for a share of the passes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, TypedDict, TypeVar

from tierwise.engines.openai.client import ChatClient
from tierwise.engines.openai.wire import read_event
from tierwise.spec.errors import Garbled
from tierwise.spec.json import Fields

if TYPE_CHECKING:
    from typing import Unpack

    from tierwise.engines.openai.wire import Failure
    from tierwise.spec.call import Chunk

Read = TypeVar("Read")

# Makes the server send its own count with every chunk, so that an aborted pass is counted as far as it came.
_COUNTING: Fields = {"stream_options": {"continuous_usage_stats": True}}


class Wiring(TypedDict, total=False):
    """What such a client is given whatever the engine."""

    sampled: float
    """The share of passes that is recorded, 0 to 1; 0 where it is not given."""
    draw: Callable[[], float]
    """Gives numbers in [0, 1)."""
    api_key: str | None
    """Sent with every request."""
    silent_seconds: float
    """Without a byte for so long, a pass is given up."""
    proxy: str | None
    """URL of the proxy on the way."""
    translate: Callable[[Fields], Fields] | None
    """Puts a prompt's fields into the engine's words."""


class ServedClient(ChatClient):
    """A chat client that records routed experts of a share of the passes.

    Args:
        name: the deployment's, for blame.
        model: what the server calls it.
        read: as `ChatClient` has it.
        wiring: see there.
    """

    def __init__(
        self,
        name: str,
        model: str,
        *,
        read: Callable[[bytes], Chunk | Failure] = read_event,
        **wiring: Unpack[Wiring],
    ) -> None:
        super().__init__(
            name,
            model,
            api_key=wiring.get("api_key"),
            extras=_COUNTING,
            silent_seconds=wiring.get("silent_seconds", 600.0),
            proxy=wiring.get("proxy"),
            translate=wiring.get("translate"),
            read=read,
        )
        self._blamed = name
        self._sampled = wiring.get("sampled", 0.0)
        self._draw = wiring.get("draw", random.random)

    def _is_drawn(self) -> bool:
        """Whether the next pass is one of those that are recorded."""
        return self._draw() < self._sampled

    async def _count(self, read: Callable[[], Read]) -> Read:
        """What a reading of routed experts finds, in a thread: a long answer of a large model has millions to count.

        Raises:
            Garbled: the reading raised a ValueError.
        """
        try:
            return await asyncio.to_thread(read)
        except ValueError as error:
            raise Garbled(f"deployment {self._blamed!r} {error}", engine=self._blamed) from error
