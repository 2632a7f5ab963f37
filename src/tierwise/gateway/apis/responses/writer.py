"""Writes one response, as one object or as events."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from tierwise.gateway.apis.responses.objects import Frame, error_event, error_of, status_of
from tierwise.gateway.apis.responses.output import Event, Output
from tierwise.spec import turns
from tierwise.spec.call import Chunk

if TYPE_CHECKING:
    from tierwise.spec.ask import Answer
    from tierwise.spec.call import Completion
    from tierwise.spec.errors import TierwiseError
    from tierwise.spec.json import Json

_LARGE = 64 * 1024  # characters of an answer that is written in turn
_BEATS_PER_EVENT = 3  # of 5 s (`reply.KEEP_ALIVE_SECONDS`): the event has all fields of the response, with its tools

_encode = msgspec.json.Encoder().encode

Keep = Callable[[list[Any], dict[str, Any]], None]
"""Stores a response: its output items, and the object, in which it says whether it was stored."""


class ResponseWriter:
    """Writes one answer. A response is stored when it is complete, before its last bytes are written.

    Args:
        frame: of its objects.
        output: its items.
        keep: stores it.
    """

    def __init__(self, frame: Frame, output: Output, keep: Keep) -> None:
        self._frame, self._output, self._keep = frame, output, keep
        self._number = 0
        """Of the next event."""
        self._beats = 0

    def chunk(self, choice: int, chunk: Chunk) -> bytes:  # noqa: ARG002 - a response has one
        """The events for a chunk."""
        if not chunk.is_output or not (events := self._output.add(chunk)):
            return b""
        return self._begun() + self._written(events)

    def draft(self, choice: int, number: int, tier: str, chunk: Chunk) -> bytes:  # noqa: ARG002 - cannot be asked for
        """Nothing: drafts cannot be asked for."""
        return b""

    def beat(self) -> bytes:
        """The first events if they were not written yet, and every 15 s `response.in_progress` again: Codex gives up
        after 300 s without an event, and a comment is none to it.
        """
        is_due = self._beats % _BEATS_PER_EVENT == 0
        self._beats += 1
        if not is_due:
            return b""
        return self._begun() or self._written(
            [("response.in_progress", {"response": self._frame.response("in_progress", [])})]
        )

    def ended(self, answers: list[Answer], usage: Json) -> bytes:
        """The events that end the items and the response."""
        begun = self._begun()
        status, details = status_of(answers[0].completion.finish)
        events = self._output.end("completed" if details is None else "incomplete")
        done = self._final(status, details, usage)
        return begun + self._written([*events, (f"response.{status}", {"response": done})])

    def failed(self, error: TierwiseError, usage: Json = None) -> bytes:
        """The events `response.failed` and `error`; clients of OpenAI raise the second."""
        begun = self._begun()
        failed = self._frame.response("failed", self._output.items(), usage, error=error_of(error), store=False)
        return begun + self._written([("response.failed", {"response": failed}), ("error", error_event(error))])

    async def whole(self, answers: list[Answer], usage: Json) -> bytes:
        """The complete response as JSON. A large one is written in turn.

        Raises:
            UnicodeEncodeError: it has a lone surrogate, which is not Unicode.
        """
        said = answers[0].completion
        is_large = len(said.text) + len(said.reasoning) > _LARGE
        return await turns.made(lambda: self._whole(said, usage), is_large=is_large)

    def _whole(self, said: Completion, usage: Json) -> bytes:
        for chunk in _chunks(said):
            self._output.add(chunk)
        status, details = status_of(said.finish)
        self._output.end("completed" if details is None else "incomplete")
        return _encode(self._final(status, details, usage))

    def _final(self, status: str, details: Json, usage: Json) -> dict[str, Any]:
        items = self._output.items()
        done = self._frame.response(status, items, usage, incomplete_details=details)
        self._keep(items, done)
        return done

    def _begun(self) -> bytes:
        """The first events; nothing if they were written."""
        if self._number:
            return b""
        under_way = self._frame.response("in_progress", [])
        names = ("response.created", "response.in_progress")
        return self._written((name, {"response": under_way}) for name in names)

    def _written(self, events: Iterable[Event]) -> bytes:
        lines = []
        for kind, fields in events:
            data = _encode({"type": kind, "sequence_number": self._number, **fields})
            lines.append(b"event: %b\ndata: %b\n\n" % (kind.encode(), data))
            self._number += 1
        return b"".join(lines)


def _chunks(said: Completion) -> list[Chunk]:
    """A completion as chunks, in which only tokens of the text have log-probabilities."""
    tokens: list[Any] = []
    length = 0
    for token in said.logprobs[said.thought :]:
        if length >= len(said.text):
            break
        tokens.append(dict(token))
        length += len(str(token.get("token", "")))
    return [msgspec.structs.replace(chunk, logprobs={"content": tokens} if tokens else None) for chunk in said.chunks()]
