"""What SGLang sends beside OpenAI's fields: the experts that a pass went through, in `sglext`."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from tierwise.engines.openai.wire import Failure, read_event
from tierwise.engines.served.routing import counted
from tierwise.spec.call import Chunk

if TYPE_CHECKING:
    from tierwise.spec.routing import Routing

ROUTED = "sglext.routed_experts"
"""Where a chunk's delta holds the payload between `read_chunk` and the client, which takes it out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What the payload does not say of itself."""

    layers: int
    """All layers of the model, dense ones too."""
    active: int
    """Routed experts that work on a token."""
    experts: int | None
    """Of each layer; as many as were seen where it is None."""


class _Extension(msgspec.Struct):
    routed_experts: str | None = None


class _Extended(msgspec.Struct):
    sglext: _Extension | None = None


_decode = msgspec.json.Decoder(_Extended).decode


def read_chunk(event: bytes) -> Chunk | Failure:
    """One event of a stream; the one with routed experts has them, unread, in its delta.

    Raises:
        ValueError: it is not the JSON of a chat completion.
    """
    chunk = read_event(event)
    if b'"sglext"' not in event or isinstance(chunk, Failure):
        return chunk
    extension = _decode(event).sglext
    if extension is None or not extension.routed_experts:
        return chunk
    delta: dict[str, Any] = {**chunk.delta, ROUTED: extension.routed_experts}
    return Chunk(delta=delta, logprobs=chunk.logprobs, finish=chunk.finish, usage=chunk.usage)


def read_routing(text: str, shape: Shape) -> Routing | None:
    """What `routed_experts` holds: base64 of int32, tokens × layers × experts chosen (managers/detokenizer_manager.py).

    The last token is missing, since nobody has worked on it yet. A dense layer stands there as zeros.

    Returns:
        None where no token was routed.

    Raises:
        ValueError: it is not that.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"sent routed experts that are no base64: {error}") from error
    width = shape.layers * shape.active
    if len(data) % (4 * width):
        raise ValueError(
            f"sent {len(data)} bytes of routed experts, which are no whole tokens of {shape.layers} layers × "
            f"{shape.active} experts of 4 bytes"
        )
    values = memoryview(data).cast("i")
    if values and min(values) < 0:
        raise ValueError("sent routed experts with negative numbers")
    return counted(values, (len(values) // width, shape.layers, shape.active), source="sglang", experts=shape.experts)
