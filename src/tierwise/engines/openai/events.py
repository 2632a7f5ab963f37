"""A parser of server-sent events."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

MOST_BYTES = 64 * 1024 * 1024
"""The largest event, and the largest response that is not streamed."""
LARGE_BYTES = 64 * 1024
"""Larger events are read in turn."""

_BOM = b"\xef\xbb\xbf"
_DONE = b"data: [DONE]\n\n"


class Batch(NamedTuple):
    """Events that came together."""

    joined: bytes
    """With commas between them."""
    events: int
    """How many they are: brackets of JSON could join two that are broken."""
    block: bytes

    def each(self) -> list[bytes]:
        """One by one."""
        return self.block[6:-2].split(b"\n\ndata: ")


class EventParser:
    """Splits a byte stream into the data of its server-sent events. Comments and other fields are skipped.

    Follows the HTML standard, and accepts more: events need no blank line between them, because no JSON document has
    `}` and `{` on adjacent lines. Data that is no JSON object, such as a keep-alive, is skipped. A response that is a
    document instead of a stream is collected as such.
    """

    __slots__ = (
        "_after_return",
        "_data",
        "_document",
        "_head",
        "_line",
        "_name",
        "_size",
        "foreign",
        "has_any",
        "is_between",
        "is_done",
    )

    def __init__(self) -> None:
        self.is_done = False
        """Whether `[DONE]` was received. What follows it is ignored."""
        self.has_any = False
        """Whether an event was received."""
        self.foreign = b""
        """The first line that is not part of an event stream."""
        self._head: bytes | None = b""
        """The bytes before the first that is not blank; None after that."""
        self._document: list[bytes] | None = None
        self._line: list[bytes] = []
        self._size = 0
        self._name = b""
        self._data: list[bytes] = []
        self._after_return = False
        self.is_between = True
        """Whether what comes begins a line, and belongs to nothing before it."""

    @property
    def held(self) -> int:
        """Bytes of the line, or document, that is not complete yet."""
        return self._size

    @property
    def document(self) -> bytes | None:
        """The response, if it is a document instead of a stream of events."""
        return None if self._document is None else b"".join(self._document)

    def feed(self, block: bytes) -> list[bytes]:
        """The events that this block completes, without the closing `[DONE]`."""
        found = self._fed(block)
        self.is_between = not (
            self._head
            or self._size
            or self._data
            or self._name
            or self._after_return
            or self.is_done
            or self._document is not None
            or any(self._line)
        )
        return found

    def _fed(self, block: bytes) -> list[bytes]:
        if self._head is not None:
            block = self._begun(block)
        if self._document is not None:
            self._document.append(block)
            self._grow(len(block))
            return []
        if b"\r" in block or self._after_return:
            block = self._plain(block)
        first, *more = block.split(b"\n")
        self._line.append(first)
        self._grow(len(block))
        found: list[bytes] = []
        for line in more:
            self._take(b"".join(self._line), found)
            self._line, self._size = [line], len(line)
        return found

    def batch(self, block: bytes) -> Batch | None:
        """The events of a block that is nothing but whole events of one line of JSON each, as nearly all are; None for
        any other, which `feed` then reads.
        """
        if not (self.is_between and block.startswith(b"data: {")) or b"\r" in block:
            return None
        events = block if block.endswith(b"}\n\n") else block.removesuffix(_DONE)
        each = events[6:-2].split(b"\n\ndata: {")
        joined = b",{".join(each)
        if b"\n" in joined or not events.endswith(b"}\n\n"):
            return None
        self._head = None
        self.has_any = True
        if events is not block:
            self.is_done, self.is_between = True, False
        return Batch(joined, len(each), events)

    def alone(self, block: bytes) -> bytes | None:
        """The event of a block, not the first, that is nothing but one event of one line of JSON; None for any other,
        and for one that takes long to read.
        """
        if (
            self.is_between
            and block.startswith(b"data: {")
            and block.endswith(b"}\n\n")
            and block.find(b"\n") == len(block) - 2 < LARGE_BYTES
            and b"\r" not in block
        ):
            return block[6:-2]
        return None

    def rest(self) -> list[bytes]:
        """The incomplete event at the end of a stream, if it can be parsed."""
        if self.is_done:
            return []
        found: list[bytes] = []
        self._take(b"".join(self._line), found)
        self._flush(found)
        return [event for event in found if _is_json(event)]

    def _begun(self, block: bytes) -> bytes:
        """The first bytes that are not blank; empty until they come."""
        head = (self._head or b"") + block
        if _BOM.startswith(head[: len(_BOM)]) and len(head) < len(_BOM):
            self._head = head
            return b""
        begun = head.removeprefix(_BOM).lstrip()
        if not begun:
            self._head = head[-len(_BOM) :]
            return b""
        self._head = None
        if begun.startswith((b"{", b"[", b"<")):
            self._document = []
        return begun

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > MOST_BYTES:
            raise ValueError(f"sent a line of more than {MOST_BYTES >> 20} MiB")

    def _plain(self, block: bytes) -> bytes:
        """The block with all line endings as line feeds."""
        if self._after_return and block.startswith(b"\n"):
            block = block[1:]
        self._after_return = block.endswith(b"\r")
        return block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _take(self, line: bytes, found: list[bytes]) -> None:
        if not line:
            self._flush(found)
            return
        name, _, value = line.partition(b":")
        if name == b"data":
            self._add(value.strip(), found)
        elif name == b"event":
            self._name = value.strip()
        elif name == b"error":  # llama.cpp before September 2025
            self._flush(found)
            found.append(b'{"error":' + value + b"}")
        elif name not in (b"", b"id", b"retry"):
            self.foreign = self.foreign or line

    def _add(self, value: bytes, found: list[bytes]) -> None:
        """Add a line of data. It begins an event of its own where it cannot continue the one before it."""
        if self._data:
            is_object = self._data[0].startswith(b"{")
            may_end = is_object and self._data[-1].endswith(b"}")
            if (may_end and value and not value.startswith((b",", b"]", b"}"))) or (
                not is_object and value.startswith(b"{")
            ):
                self._flush(found)
        self._data.append(value)

    def _flush(self, found: list[bytes]) -> None:
        event = b"\n".join(self._data).strip()
        self._data.clear()
        name, self._name = self._name, b""
        if not event or self.is_done:
            return
        if event[:7].upper() == b"[DONE]":
            self.is_done = True
        elif name == b"error" and b'"error"' not in event:
            self.has_any = True
            words = event if _is_json(event) else msgspec.json.encode(event.decode(errors="replace"))
            found.append(b'{"error":' + words + b"}")
        elif event.startswith(b"{"):
            self.has_any = True
            found.append(event)
        else:
            self.foreign = self.foreign or event


def _is_json(text: bytes) -> bool:
    try:
        msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return False
    return True
