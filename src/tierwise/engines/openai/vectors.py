"""Embeddings as servers answer them: how long they are, and whether that was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tierwise.spec.call import Call, Chunk

_FLOAT_BYTES = 4


def other_size(call: Call, chunk: Chunk) -> int | None:
    """The dimensions of a vector that has others than the request asked for; None if there is none.

    llama.cpp (b11549) ignores `dimensions` without an error.
    """
    asked = call.prompt.fields.get("dimensions") if call.prompt.embeds is not None else None
    if asked is None:
        return None
    sizes = (size(one) for one in (chunk.response or {}).get("data") or ())  # type: ignore[union-attr]
    return next((found for found in sizes if found not in (None, asked)), None)


def size(one: Any) -> int | None:
    """The dimensions of one embedding, a list or the base64 of 32-bit floats; None if it is neither."""
    vector = one.get("embedding") if isinstance(one, dict) else None
    if isinstance(vector, str):
        text = vector.rstrip("=")
        return len(text) * 3 // 4 // _FLOAT_BYTES
    return len(vector) if isinstance(vector, list) else None
