"""OpenAI's completions without a chat template, for base models and for likelihoods of a given text."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from tierwise.gateway.apis.api import Request
from tierwise.gateway.decoding import decoded
from tierwise.gateway.reply import DONE, error_event, failure
from tierwise.gateway.wire import MOST_CHOICES, SMALL_BYTES, ParsedRequest, invalid, read_translated
from tierwise.spec import turns
from tierwise.spec.errors import SpecError

if TYPE_CHECKING:
    from tierwise.spec.ask import Answer
    from tierwise.spec.call import Chunk, Completion
    from tierwise.spec.errors import TierwiseError
    from tierwise.spec.json import Json

MOST_PROMPTS = 256

Token = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]
_encode = msgspec.json.Encoder().encode
_STAND_IN = [{"role": "user", "content": ""}]


class _Own(msgspec.Struct):
    """The fields that chat completions do not have, or have with another meaning."""

    prompt: str | list[str | Token | list[Token]]
    logprobs: Annotated[int, msgspec.Meta(ge=0, le=100)] | None = None
    echo: bool | None = None
    suffix: str | None = None
    best_of: int | None = None

    @property
    def raws(self) -> tuple[str | tuple[int, ...], ...]:
        """Each prompt, as text or tokens."""
        given: Any = self.prompt
        if isinstance(given, str):
            return (given,)
        if given and all(isinstance(one, int) for one in given):
            return (tuple(given),)
        return tuple(one if isinstance(one, str) else tuple(one) for one in given)


class Completions:
    """`POST /v1/completions`."""

    path = "/v1/completions"

    async def read(self, body: bytes | bytearray) -> Request:
        """Parse and validate a body.

        Raises:
            SpecError: a field is invalid, or asks for what cannot be done; the error names it.
        """
        own, value = await turns.made(lambda: _read(body), is_large=len(body) > SMALL_BYTES)
        parsed = await read_translated(value, is_large=False)
        fields = {"logprobs": own.logprobs, "echo": own.echo}
        prompt = replace(
            parsed.prompt,
            messages=(),
            raw=max(own.raws, key=lambda raw: len(_encode(raw))),  # what is put aside for each is enough for all
            fields={**parsed.prompt.fields, **{name: one for name, one in fields.items() if one is not None}},
        )
        parsed = replace(parsed, prompt=prompt, raws=own.raws, choices=parsed.choices * len(own.raws))
        return Request(parsed=parsed, writer=lambda action, created: CompletionsWriter(action, created, parsed))

    def failure(self, error: TierwiseError, usage: Json = None) -> Json:
        """An error in OpenAI's format."""
        return failure(error, usage)


def _read(body: bytes | bytearray) -> tuple[_Own, dict[str, Any]]:
    """What is its own, and the rest as the value of a chat completion."""
    value = decoded(body)
    try:
        own = msgspec.convert(value, _Own)
    except msgspec.ValidationError as error:
        raise invalid(error) from error
    if isinstance(own.prompt, list) and len(set(map(type, own.prompt))) > 1:
        raise SpecError("prompt: send texts, or tokens, or lists of tokens, and no mixture", field="prompt")
    if own.suffix:
        raise SpecError("suffix: text cannot be inserted before a suffix here; leave it out", field="suffix")
    if own.best_of not in (None, 1):
        raise SpecError("best_of: choices are not ranked here; ask for them with n", field="best_of")
    if not own.raws or not all(own.raws):
        raise SpecError("prompt: it is empty; send text or tokens", field="prompt")
    if len(own.raws) > MOST_PROMPTS:
        raise SpecError(f"prompt: {len(own.raws)} prompts; at most {MOST_PROMPTS} in one request", field="prompt")
    n = value.get("n")
    if len(own.raws) > 1 and isinstance(n, int) and n * len(own.raws) > MOST_PROMPTS:
        most = f"at most {MOST_PROMPTS} in all, and {MOST_CHOICES} of one prompt"
        raise SpecError(f"n: {n} choices of {len(own.raws)} prompts; {most}", field="n")
    if "messages" in value:
        raise SpecError(
            "messages: a completion has a prompt; send conversations to /v1/chat/completions", field="messages"
        )
    ours = _Own.__struct_fields__
    return own, {**{name: one for name, one in value.items() if name not in ours}, "messages": _STAND_IN}


@dataclass(slots=True)
class CompletionsWriter:
    """Writes one answer. Log-probabilities come with the last event of a choice."""

    action: str
    created: int
    parsed: ParsedRequest

    def chunk(self, choice: int, chunk: Chunk) -> bytes:
        """The event for a chunk of one choice."""
        text = chunk.delta.get("content")
        if not text and chunk.finish is None:
            return b""
        response = chunk.response or {}
        return self._event([_choice(choice, text if isinstance(text, str) else "", chunk.finish, response)])

    def draft(self, choice: int, number: int, tier: str, chunk: Chunk) -> bytes:  # noqa: ARG002 - one pass has none
        """There are none."""
        return b""

    def beat(self) -> bytes:
        """Nothing: every chunk would be one of an answer."""
        return b""

    def ended(self, answers: list[Answer], usage: Json) -> bytes:  # noqa: ARG002 - all of them was streamed
        """The last events of a stream: its totals if they were asked for, and `[DONE]`."""
        totals = self._event([], usage=usage) if self.parsed.wants_usage else b""
        return totals + DONE

    def failed(self, error: TierwiseError, usage: Json = None) -> bytes:
        """The event that ends a stream with an error, without `[DONE]`."""
        return error_event(error, usage)

    async def whole(self, answers: list[Answer], usage: Json) -> bytes:
        """The complete response.

        Raises:
            UnicodeEncodeError: it has a lone surrogate, which is not Unicode.
        """
        choices = [self._whole(index, answer.completion) for index, answer in enumerate(answers)]
        return _encode({**self._frame(), "choices": choices, "usage": usage})

    def _whole(self, index: int, said: Completion) -> Json:
        return _choice(index, said.text, said.finish, said.response or {})

    def _event(self, choices: list[Json], **more: Json) -> bytes:
        return b"data: %b\n\n" % _encode({**self._frame(), "choices": choices, **more})

    def _frame(self) -> dict[str, Json]:
        return {"id": self.action, "object": "text_completion", "created": self.created, "model": self.parsed.model}


def _choice(index: int, text: str, finish: str | None, response: Any) -> Json:
    choice: dict[str, Json] = {
        "index": index,
        "text": text,
        "logprobs": _legacy(response.get("logprobs")),
        "finish_reason": finish,
    }
    for name in ("stop_reason", "matched_stop"):
        if name in response:
            choice[name] = response[name]
    return choice


def _legacy(logprobs: Any) -> Json:
    """Log-probabilities in the form of this API: lists side by side. llama.cpp sends those of chat completions."""
    if not isinstance(logprobs, dict) or not isinstance(content := logprobs.get("content"), list):
        return logprobs  # type: ignore[no-any-return]
    tokens = [str(one.get("token", "")) for one in content]
    offsets = list(accumulate(map(len, tokens), initial=0))[:-1]
    top = [{str(other["token"]): other["logprob"] for other in one.get("top_logprobs") or ()} for one in content]
    return {
        "tokens": [*tokens],
        "token_logprobs": [one.get("logprob") for one in content],
        "top_logprobs": [*top],
        "text_offset": [*offsets],
    }
