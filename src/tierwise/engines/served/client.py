"""A chat client for servers that can report the routed experts of a pass; requests them for a share of passes."""

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

    from tierwise.engines.openai.failure import Failure
    from tierwise.spec.call import Chunk

Read = TypeVar("Read")

# Makes the server send its token counts with every chunk, so that the usage of an aborted pass is known.
_COUNTING: Fields = {"stream_options": {"continuous_usage_stats": True}}


class ClientOptions(TypedDict, total=False):
    """Options of the client that are the same for all engines."""

    sampled: float
    """Share of passes to record, 0 to 1; default 0."""
    draw: Callable[[], float]
    """Returns random numbers in [0, 1)."""
    api_key: str | None
    """API key, sent with every request."""
    silent_seconds: float
    """A pass is aborted after this long without a byte."""
    proxy: str | None
    """URL of the proxy."""
    translate: Callable[[Fields], Fields] | None
    """Converts a prompt's fields to the engine's."""
    thinking_off: Fields | None
    """The request fields that turn thinking off; None if no switch is known."""


class RoutingClient(ChatClient):
    """A chat client that records the routed experts of a share of passes.

    Args:
        name: the deployment's, for error messages.
        model: the server's name for the model.
        read: as for `ChatClient`.
        options: see `ClientOptions`.
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
            thinking_off=options.get("thinking_off"),
            read=read,
        )
        self._deployment = name
        self._sampled = options.get("sampled", 0.0)
        self._draw = options.get("draw", random.random)

    def _is_drawn(self) -> bool:
        """Whether to record the next pass."""
        return self._draw() < self._sampled

    async def _count(self, read: Callable[[], Read]) -> Read:
        """Parse routed experts in a thread: a long answer of a large model has millions.

        Raises:
            Garbled: the parser raised a ValueError.
        """
        try:
            return await asyncio.to_thread(read)
        except ValueError as error:
            raise Garbled(f"deployment {self._deployment!r} {error}", engine=self._deployment) from error
