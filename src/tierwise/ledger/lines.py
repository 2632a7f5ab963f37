"""The lines of a journal: an action as JSON, with a checksum as its first field.

    {"crc32":"1c291ca3","action":{…},"passes":[…]}

The checksum covers the bytes that follow it, so that a damaged line is not stored as something that never happened.
Lines of earlier versions lack the field; an earlier version ignores it.
"""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

import msgspec

from tierwise.ledger.rows import Entry

_BEGIN = b'{"crc32":"'
_REST = len(_BEGIN) + 8 + len(b'",')
_WITHOUT = b'{"action":'
"""How lines of earlier versions begin."""

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Entry)


@dataclass(frozen=True, slots=True)
class RejectedLine:
    """A line that cannot be stored."""

    line: bytes
    why: str


def line_of(one: Entry) -> bytes:
    """An action as a line."""
    rest = _encoder.encode(one)[1:]
    return b'%s%08x",%s\n' % (_BEGIN, crc32(rest), rest)


def parsed(line: bytes) -> Entry | RejectedLine:
    """The action of a line, or why there is none."""
    text = line.removesuffix(b"\n")
    is_whole = text == b'%s%08x",%s' % (_BEGIN, crc32(text[_REST:]), text[_REST:])
    try:
        if is_whole or text.startswith(_WITHOUT):
            return _decoder.decode(text)
        why = "it does not match its checksum: it was altered after it was written"
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        why = str(error)
    if not line.endswith(b"\n"):
        why = "it is torn: its process was stopped while writing it, before it was acknowledged"
    return RejectedLine(line, why)
