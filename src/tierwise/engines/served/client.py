"""Speaks to a server that can report the routed experts of a pass, and asks for them in a share of the passes."""

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


class ClientOptions(TypedDict, total=False):
    """What such a client takes whatever the engine."""

    sampled: float
    """The share of passes that is recorded, 0 to 1; 0 where it is not given."""
    draw: Callable[[], float]
    """Gives numbers in [0, 1)."""
    api_key: str | None
    """Sent with every request."""
    silent_seconds: float
    """A pass is given up after that long without a byte."""
    proxy: str | None
    """URL of the proxy on the way."""
    translate: Callable[[Fields], Fields] | None
    """Turns a prompt's fields into the engine's."""


class RoutingClient(ChatClient):
    """A chat client that records routed experts of a share of the passes.

    Args:
        name: the deployment's, for error messages.
        model: what the server calls it.
        read: as `ChatClient` has it.
        options: see there.
    """

    def __init__(
        self,
        name: str,
        model: str,
        *,
        read: Callable[[bytes], Chunk | Failure] = read_event,
        **options: Unpack[ClientOptions],
    ) -> None:
        super().__init__(
            name,
            model,
            api_key=options.get("api_key"),
            extras=_COUNTING,
            silent_seconds=options.get("silent_seconds", 600.0),
            proxy=options.get("proxy"),
            translate=options.get("translate"),
            read=read,
        )
        self._deployment = name
        self._sampled = options.get("sampled", 0.0)
        self._draw = options.get("draw", random.random)

    def _is_drawn(self) -> bool:
        """Whether the next pass is one of those that are recorded."""
        return self._draw() < self._sampled

    async def _count(self, read: Callable[[], Read]) -> Read:
        """Read routed experts in a thread: a long answer of a large model has millions to count.

        Raises:
            Garbled: the reading raised a ValueError.
        """
        try:
            return await asyncio.to_thread(read)
        except ValueError as error:
            raise Garbled(f"deployment {self._deployment!r} {error}", engine=self._deployment) from error
