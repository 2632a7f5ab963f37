"""`POST /v1/messages`: reading, writing and errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tierwise.gateway.apis.api import Request
from tierwise.gateway.apis.messages.failures import failure, status
from tierwise.gateway.apis.messages.reading import WISHES, chat_value, converted
from tierwise.gateway.apis.messages.schema import MessagesRequest
from tierwise.gateway.apis.messages.writing import MessagesWriter
from tierwise.gateway.decoding import decoded
from tierwise.gateway.wire import SMALL_BYTES, read_translated
from tierwise.spec import turns
from tierwise.spec.errors import SpecError

if TYPE_CHECKING:
    from tierwise.spec.errors import TierwiseError
    from tierwise.spec.json import Json


class Messages:
    """Anthropic's Messages API. It implements `Api` and `OwnErrors`."""

    path = "/v1/messages"

    async def read(self, body: bytes | bytearray) -> Request:
        """Parse and validate a body.

        Raises:
            SpecError: a field is invalid, unknown, or means nothing that can be kept; the error names it.
        """
        is_large = len(body) > SMALL_BYTES
        request, value = await turns.made(lambda: _read(body), is_large=is_large)
        try:
            parsed = await read_translated(value, is_large=is_large)
        except SpecError as error:
            raise _in_its_words(error) from error
        prompt = replace(parsed.prompt, optional=WISHES & parsed.prompt.fields.keys())
        parsed = replace(parsed, prompt=prompt)
        return Request(parsed=parsed, writer=lambda action, _: MessagesWriter(action, request))

    def failure(self, error: TierwiseError, usage: Json = None) -> Json:
        """An error in Anthropic's format."""
        return failure(error, usage)

    def failure_of(self, request: str) -> Callable[[TierwiseError, Json], Json]:
        """The same, with the request's id."""
        return lambda error, usage: failure(error, usage, request)

    def status(self, error: TierwiseError) -> int:
        """Anthropic's status of an error."""
        return status(error)


def _read(body: bytes | bytearray) -> tuple[MessagesRequest, dict[str, Any]]:
    request = converted(decoded(body), MessagesRequest)
    return request, chat_value(request)


_FORMAT = "response_format.json_schema"


def _in_its_words(error: SpecError) -> SpecError:
    """An error about the chat completion that was made of a request, under the name that the client knows."""
    if not error.field.startswith(_FORMAT):
        return error
    return SpecError(str(error).replace(_FORMAT, "output_config.format", 1), field="output_config.format")
