"""Parses what SGLang sends besides OpenAI's fields: the routed experts of a pass, in `sglext`."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from tierwise.engines.openai.failure import Failure
from tierwise.engines.openai.wire import read_event
from tierwise.engines.served.routing import counted
from tierwise.spec.call import Chunk

if TYPE_CHECKING:
    from tierwise.spec.routing import Routing

ROUTED = "sglext.routed_experts"
"""Key of a chunk's delta for the payload between `read_chunk` and the client, which removes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The dimensions of the payload, which it does not contain."""

    layers: int
    """Layers of the model, including dense ones."""
    active: int
    """Routed experts per token."""
    experts: int | None
    """Experts per layer; if None, the maximum index seen plus 1."""


class _Extension(msgspec.Struct):
    routed_experts: str | None = None


class _Extended(msgspec.Struct):
    sglext: _Extension | None = None


_decode = msgspec.json.Decoder(_Extended).decode


def read_chunk(event: bytes) -> Chunk | Failure:
    """Parse one event of a stream. Routed experts are left unparsed in the delta.

    Raises:
        ValueError: the event is not the JSON of a chat completion.
    """
    chunk = read_event(event)
    if b'"sglext"' not in event or isinstance(chunk, Failure):
        return chunk
    extension = _decode(event).sglext
    if extension is None or not extension.routed_experts:
        return chunk
    delta: dict[str, Any] = {**chunk.delta, ROUTED: extension.routed_experts}
    return msgspec.structs.replace(chunk, delta=delta)


def read_routing(text: str, shape: Shape) -> Routing | None:
    """Parse `routed_experts`: base64 of int32, tokens × layers × active experts (managers/detokenizer_manager.py).

    The last token is missing, because the model has not processed it. Dense layers are zeros.

    Returns:
        None if no token was routed.

    Raises:
        ValueError: it has another format.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"sent routed experts that are not base64: {error}") from error
    width = shape.layers * shape.active
    if len(data) % (4 * width):
        raise ValueError(
            f"sent {len(data)} bytes of routed experts, which is not a multiple of {shape.layers} layers × "
            f"{shape.active} experts of 4 bytes"
        )
    values = memoryview(data).cast("i")
    if values and min(values) < 0:
        raise ValueError("sent routed experts with negative numbers")
    return counted(values, (len(values) // width, shape.layers, shape.active), source="sglang", experts=shape.experts)
