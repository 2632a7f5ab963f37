"""A parser of server-sent events."""

from __future__ import annotations

import msgspec

_MOST_EVENT_BYTES = 64 * 1024 * 1024


class EventParser:
    """Splits a byte stream into the data of its server-sent events. Comments and other fields are skipped.

    Follows the HTML standard, and also accepts events without a blank line between them: no JSON document has `}` and
    `{` on adjacent lines.
    """

    def __init__(self) -> None:
        self.is_done = False
        """Whether `[DONE]` was received."""
        self.has_any = False
        """Whether an event was received."""
        self.foreign = b""
        """The first line that is not part of an event stream."""
        self._line: list[bytes] = []
        self._size = 0
        self._data: list[bytes] = []
        self._after_return = False

    def feed(self, block: bytes) -> list[bytes]:
        """The events that this block completes, without the closing `[DONE]`."""
        if b"\r" in block or self._after_return:
            block = self._plain(block)
        first, *more = block.split(b"\n")
        self._line.append(first)
        self._size += len(block)
        found: list[bytes] = []
        for line in more:
            self._take(b"".join(self._line), found)
            self._line, self._size = [line], len(line)
        if self._size > _MOST_EVENT_BYTES:
            raise ValueError(f"sent a line of more than {_MOST_EVENT_BYTES >> 20} MiB")
        return found

    def rest(self) -> list[bytes]:
        """The incomplete event at the end of a stream, if it can be parsed."""
        found: list[bytes] = []
        self._take(b"".join(self._line), found)
        self._flush(found)
        return [event for event in found if _is_json(event)]

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
            value = value.strip()
            if self._data and self._data[-1].endswith(b"}") and value.startswith((b"{", b"[DONE]")):
                self._flush(found)
            self._data.append(value)
        elif name == b"error":  # llama.cpp before September 2025
            self._flush(found)
            found.append(b'{"error":' + value + b"}")
        elif name not in (b"", b"event", b"id", b"retry"):
            self.foreign = self.foreign or line

    def _flush(self, found: list[bytes]) -> None:
        event = b"\n".join(self._data).strip()
        self._data.clear()
        if event == b"[DONE]":
            self.is_done = True
        elif event:
            self.has_any = True
            found.append(event)


def _is_json(text: bytes) -> bool:
    try:
        msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return False
    return True
