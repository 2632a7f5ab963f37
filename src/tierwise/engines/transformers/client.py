"""Request and response fields of the worker besides OpenAI's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tierwise.engines.openai import wire
from tierwise.engines.openai.failure import Failure
from tierwise.spec.routing import Routing

if TYPE_CHECKING:
    from tierwise.spec.call import Chunk
    from tierwise.spec.json import Fields

# Makes the worker send its token counts with every chunk, so that the usage of an aborted pass is known.
COUNTING: Fields = {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}

ROUTING = "tierwise_routing"
"""The field of the last chunk with the pass's `Routing`."""


class _WithRouting(msgspec.Struct):
    tierwise_routing: Routing | None = None


def read_event(event: bytes) -> Chunk | Failure:
    """As `engines.openai.wire.read_event`, with the routed experts of the pass."""
    chunk = wire.read_event(event)
    if ROUTING.encode() not in event or isinstance(chunk, Failure):
        return chunk
    return msgspec.structs.replace(chunk, routing=msgspec.json.decode(event, type=_WithRouting).tierwise_routing)
