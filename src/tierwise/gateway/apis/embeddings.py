"""OpenAI's embeddings, passed through to deployments that have them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from tierwise.gateway.apis.api import Request
from tierwise.gateway.decoding import decoded
from tierwise.gateway.reply import encoded, failure
from tierwise.gateway.wire import SMALL_BYTES, invalid, read_translated
from tierwise.spec import turns
from tierwise.spec.errors import SpecError

if TYPE_CHECKING:
    from tierwise.gateway.wire import ParsedRequest
    from tierwise.spec.ask import Answer
    from tierwise.spec.call import Chunk
    from tierwise.spec.errors import TierwiseError
    from tierwise.spec.json import Json

MOST_INPUTS = 2048
Token = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]
_encode = msgspec.json.Encoder().encode


class _Own(msgspec.Struct, forbid_unknown_fields=True):
    model: Annotated[str, msgspec.Meta(min_length=1, max_length=300)]
    input: str | Annotated[list[str | Token | list[Token]], msgspec.Meta(min_length=1)]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, msgspec.Meta(ge=1)] | None = None
    user: str | None = None
    tierwise: Any = None


class Embeddings:
    """`POST /v1/embeddings`: one pass for all inputs, with one vector for each."""

    path = "/v1/embeddings"

    async def read(self, body: bytes | bytearray) -> Request:
        """Parse and validate a body.

        Raises:
            SpecError: a field is invalid or unknown; the error names it.
        """
        value, raw = await turns.made(lambda: _read(body), is_large=len(body) > SMALL_BYTES)
        rest = {name: one for name, one in value.items() if name != "input"}
        parsed = await read_translated({**rest, "messages": [{"role": "user", "content": ""}]}, is_large=False)
        prompt = replace(parsed.prompt, messages=(), raw=raw, embeds=value["input"])
        parsed = replace(parsed, prompt=prompt, raws=(raw,))
        return Request(parsed=parsed, writer=lambda *_: EmbeddingsWriter(parsed))

    def failure(self, error: TierwiseError, usage: Json = None) -> Json:
        """An error in OpenAI's format."""
        return failure(error, usage)


def _read(body: bytes | bytearray) -> tuple[dict[str, Any], str]:
    """The request, and its input as JSON, from which what it costs at most is estimated."""
    value = decoded(body)
    try:
        own = msgspec.convert(value, _Own)
    except msgspec.ValidationError as error:
        raise invalid(error) from error
    if isinstance(own.input, list) and len(own.input) > MOST_INPUTS and not isinstance(own.input[0], int):
        raise SpecError(f"input: {len(own.input)} inputs; at most {MOST_INPUTS} in one request", field="input")
    return value, _encode(own.input).decode()


@dataclass(slots=True)
class EmbeddingsWriter:
    """Writes the vectors as the engine sent them."""

    parsed: ParsedRequest

    def chunk(self, choice: int, chunk: Chunk) -> bytes:  # noqa: ARG002 - there is no stream
        """Nothing."""
        return b""

    def draft(self, choice: int, number: int, tier: str, chunk: Chunk) -> bytes:  # noqa: ARG002 - as above
        """Nothing."""
        return b""

    def beat(self) -> bytes:
        """Nothing: there are no streams."""
        return b""

    def ended(self, answers: list[Answer], usage: Json) -> bytes:  # noqa: ARG002 - as above
        """Nothing."""
        return b""

    def failed(self, error: TierwiseError, usage: Json = None) -> bytes:
        """An error where a response had begun."""
        return encoded(failure(error, usage))

    async def whole(self, answers: list[Answer], usage: Json) -> bytes:
        """The complete response."""
        data = (answers[0].completion.response or {}).get("data")
        return _encode({"object": "list", "data": data, "model": self.parsed.model, "usage": usage})
