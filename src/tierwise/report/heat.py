"""A heat map of layers × experts as a PNG: one pixel for each expert, because 30,000 SVG rectangles are too many."""

from __future__ import annotations

import base64
import math
import struct
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tierwise.mixture.load import Layer

_COLD, _EVEN, _HOT = (33, 102, 172), (247, 247, 247), (178, 24, 43)
"""The ends and the middle of ColorBrewer's RdBu, which is safe for colour-blind readers."""

MOST = 4.0
"""The colour scale ends at this multiple of an equal share, and at its inverse."""


def picture(layers: Sequence[Layer]) -> str:
    """A `data:` URL of a PNG with rows of layers and columns of experts; white is an equal share, red more."""
    rows = [[_colour(count * len(layer.counts) / (layer.total or 1)) for count in layer.counts] for layer in layers]
    return "data:image/png;base64," + base64.b64encode(_png(rows)).decode()


def _colour(times: float) -> tuple[int, ...]:
    if not times:
        return _COLD
    size = max(-1.0, min(1.0, math.log(times) / math.log(MOST)))
    end = _HOT if size > 0 else _COLD
    return tuple(round(even + abs(size) * (far - even)) for even, far in zip(_EVEN, end, strict=True))


def _png(rows: Sequence[Sequence[Sequence[int]]]) -> bytes:
    """8-bit RGB pixels as a PNG file (Portable Network Graphics, third edition, W3C 2025)."""
    lines = b"".join(b"\0" + bytes(value for pixel in row for value in pixel) for row in rows)
    width, height = len(rows[0]) if rows else 0, len(rows)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunks(chunks))


def _chunks(chunks: Iterable[tuple[bytes, bytes]]) -> Iterable[bytes]:
    for kind, data in chunks:
        yield struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
