"""What an API of the endpoint is: it reads requests into those that tiers answer, and writes their answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

from tierwise.spec.values import frozen_value

if TYPE_CHECKING:
    from tierwise.gateway.wire import ParsedRequest
    from tierwise.spec.ask import Answer
    from tierwise.spec.call import Chunk
    from tierwise.spec.errors import TierwiseError
    from tierwise.spec.json import Json


class Writer(Protocol):
    """Writes one answer, as one body or as server-sent events. Events are whole, and end with an empty line.

    Chunks before the first that has output (`Chunk.is_output`) belong to a pass that may yet be replaced: what is
    written for them may never be sent. So a writer begins its answer with the first output.
    """

    def chunk(self, choice: int, chunk: Chunk) -> bytes:
        """The events for a chunk of one choice; empty if there is nothing to say."""
        ...

    def draft(self, choice: int, number: int, tier: str, chunk: Chunk) -> bytes:
        """The event for a chunk of a draft, which the answer may replace; empty if the API has none."""
        ...

    def beat(self) -> bytes:
        """The events that keep a silent stream alive, besides the comment: for clients to whom a comment is nothing.
        Called every `KEEP_ALIVE_SECONDS`, also before there is output; empty if none is due.
        """
        ...

    def ended(self, answers: list[Answer], usage: Json) -> bytes:
        """The last events of a stream that succeeded.

        Args:
            answers: of all choices.
            usage: OpenAI's usage object of chat completions, with ours under `tierwise`.
        """
        ...

    def failed(self, error: TierwiseError, usage: Json = None) -> bytes:
        """The events that end a stream with an error."""
        ...

    async def whole(self, answers: list[Answer], usage: Json) -> bytes:
        """The complete response as JSON.

        Raises:
            UnicodeEncodeError: it has a lone surrogate, which is not Unicode.
        """
        ...


WriterOf: TypeAlias = Callable[[str, int], Writer]
"""Makes the writer of an answer from the id of its action and the second in which it began."""


@frozen_value
class Request:
    """A request that was read."""

    parsed: ParsedRequest
    writer: WriterOf


class Api(Protocol):
    """One API: a path that takes POST."""

    @property
    def path(self) -> str:
        """Where it is, from `/`."""
        ...

    async def read(self, body: bytes | bytearray) -> Request:
        """Parse and validate a body, whose JSON values were counted while it arrived.

        Raises:
            SpecError: it is invalid, or asks for what cannot be done; the error names the field.
        """
        ...

    def failure(self, error: TierwiseError, usage: Json = None) -> Json:
        """The body of an error; `usage` is the spending so far."""
        ...


@runtime_checkable
class OwnErrors(Protocol):
    """An API whose errors have statuses of their own and name the request."""

    def status(self, error: TierwiseError) -> int:
        """The HTTP status of an error."""
        ...

    def failure_of(self, request: str) -> Callable[[TierwiseError, Json], Json]:
        """As `Api.failure`, for the request with this id; empty if it has none yet."""
        ...
