"""Reads events that differ from an earlier one of their stream in nothing but the text, without parsing each."""

from __future__ import annotations

import msgspec

from tierwise.engines.openai.wire import read_plain
from tierwise.spec.call import Chunk

_PROBE = "probe"
_TRIES = 3
_NEVER = 1 << 62

_texts_in = msgspec.json.Decoder(list[str]).decode


class AlikeEvents:
    """What stands before and after the text of an event that was parsed. Between the same bytes, what is the inside of
    a JSON string is a text too, and all else is as in that event.

    A server whose events differ in more than that, for instance in counts, is left alone.
    """

    __slots__ = ("_after", "_around", "_before", "_between", "_id", "_model", "_tries")

    def __init__(self) -> None:
        self._before = self._after = self._between = b""
        """Before and after a text, and between the texts of two events."""
        self._around = _NEVER
        """How long a block with an empty text is."""
        self._id = self._model = ""
        self._tries = _TRIES

    def read(self, block: bytes) -> list[Chunk] | None:
        """The chunks of a block that is nothing but such events; None for any other."""
        if len(block) < self._around or not (block.startswith(self._before) and block.endswith(self._after)):
            return None
        inside = block[len(self._before) : -len(self._after)].split(self._between)
        try:
            texts = _texts_in(b'["%b"]' % b'","'.join(inside))
        except ValueError:
            return None
        if len(texts) != len(inside):
            return None
        pass_id, model = self._id, self._model
        return [Chunk(delta={"content": text}, completion_id=pass_id, model=model) for text in texts if text]

    def note(self, event: bytes, chunk: Chunk) -> None:
        """Remember an event that was parsed, if those that follow may be like it."""
        text = chunk.delta.get("content")
        if not (self._tries and text and isinstance(text, str)):
            return
        self._tries -= 1
        if chunk.usage is not None or chunk.response is not None:
            return
        before, found, after = event.partition(b'"content":')
        space, quote, after = after.partition(b'"')
        said = msgspec.json.encode(text)[1:-1]
        if not (found and after.startswith(said)):
            return
        before, after = before + found + space + quote, after[len(said) :]
        probed = read_plain(before + _PROBE.encode() + after)
        if probed is None or probed.delta != {"content": _PROBE}:
            return
        self._before, self._after = b"data: " + before, after + b"\n\n"
        self._between = self._after + self._before
        self._around = len(self._between)
        self._id, self._model = chunk.completion_id, chunk.model
