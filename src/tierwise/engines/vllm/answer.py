"""Parses vLLM's non-streamed responses into chunks, including the routed experts of its tokens."""

from __future__ import annotations

import ast
import base64
import binascii
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec

from tierwise.engines.openai.failure import Failure
from tierwise.engines.openai.wire import json_of, read_whole
from tierwise.engines.served.routing import counted
from tierwise.spec.call import Chunk

if TYPE_CHECKING:
    from tierwise.spec.routing import Routing


class _Choice(msgspec.Struct):
    routed_experts: str | None = None


class _Answer(msgspec.Struct):
    choices: list[_Choice]


def read_answer(body: bytes, experts: int | None = None) -> list[Chunk] | Failure:
    """Convert the first choice of a response to chunks; the last chunk has the usage and the routing.

    Returns:
        A failure if the response is an error, or its finish reason says that the pass was not completed.

    Raises:
        ValueError: it is not a chat completion, or its routed experts cannot be parsed.
    """
    try:
        whole = read_whole(body)
        if isinstance(whole, Failure):
            return whole
        routed = msgspec.convert(json_of(body), type=_Answer).choices[0].routed_experts
    except ValueError as error:
        raise ValueError(f"sent an invalid chat completion: {error}") from error
    delta = {name: value for name, value in whole.delta.items() if value not in (None, [], {})}
    return [
        Chunk(delta=delta, logprobs=whole.logprobs),
        Chunk(
            finish=whole.finish,
            usage=whole.usage,
            routing=read_routing(routed, experts) if routed else None,
        ),
    ]


def read_routing(text: str, experts: int | None = None) -> Routing | None:
    """Parse `routed_experts`: base64 of a .npy file of shape tokens × layers × active experts, including dense layers.

    Dense layers are sent as zeros, which a router that chooses several experts cannot choose. They are omitted.
    The last token is missing, because the model has not processed it.

    Args:
        text: the value that vLLM sent.
        experts: experts per layer; if None, the maximum index seen plus 1.

    Returns:
        None if no token was routed.

    Raises:
        ValueError: it has another format.
    """
    try:
        array = _read_npy(base64.b64decode(text, validate=True))
    except binascii.Error as error:
        raise ValueError(f"sent routed experts that are not base64: {error}") from error
    return counted(array.values, array.shape, source="vllm", experts=experts)


@dataclass(frozen=True, slots=True)
class _Array:
    shape: tuple[int, int, int]
    values: memoryview[int]


_FORMATS: dict[str, Literal["B", "H", "i"]] = {"|u1": "B", "<u2": "H", "<i4": "i"}
"""numpy's names of the data types that vLLM sends, and memoryview's, for little-endian machines."""
_MAGIC = b"\x93NUMPY"


def _read_npy(data: bytes) -> _Array:
    """Parse a three-dimensional array of integers (format: numpy/lib/format.py, versions 1 to 3)."""
    if data[:6] != _MAGIC or len(data) < 12 or data[6] not in (1, 2, 3):
        raise ValueError("sent routed experts that are not a .npy file")
    start = 10 if data[6] == 1 else 12
    end = start + int.from_bytes(data[8:start], "little")
    try:
        header = ast.literal_eval(data[start:end].decode("latin-1").strip())
        kind, order, shape = header["descr"], header["fortran_order"], header["shape"]
        values = memoryview(data)[end:].cast(_FORMATS[kind])
    except (SyntaxError, TypeError, KeyError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"sent routed experts with an invalid header: {error}") from error
    if order or not isinstance(shape, tuple) or len(shape) != 3 or not all(isinstance(size, int) for size in shape):
        raise ValueError(f"sent routed experts of shape {shape!r} instead of tokens × layers × experts")
    if math.prod(shape) != len(values):
        raise ValueError(f"sent {len(values)} routed experts for shape {shape}")
    return _Array(shape, values)
