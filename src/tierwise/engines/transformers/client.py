"""What the worker sends beyond OpenAI's fields, read at our edge."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from tierwise.engines.openai import wire
from tierwise.spec.routing import Routing

if TYPE_CHECKING:
    from tierwise.engines.openai.wire import Failure
    from tierwise.spec.call import Chunk

ROUTING = "tierwise_routing"
"""The field of a last chunk that holds the pass's `Routing`."""


class _WithRouting(msgspec.Struct):
    tierwise_routing: Routing | None = None


def read_event(event: bytes) -> Chunk | Failure:
    """As `engines.wire.read_event`, with the experts that the pass went through."""
    chunk = wire.read_event(event)
    if ROUTING.encode() not in event or isinstance(chunk, wire.Failure):
        return chunk
    return replace(chunk, routing=msgspec.json.decode(event, type=_WithRouting).tierwise_routing)
