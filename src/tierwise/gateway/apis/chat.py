"""OpenAI's chat completions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from tierwise.gateway.apis.api import Request
from tierwise.gateway.reply import DONE, error_event, failure
from tierwise.gateway.wire import read_aside
from tierwise.spec import turns

if TYPE_CHECKING:
    from tierwise.gateway.wire import ParsedRequest
    from tierwise.spec.ask import Answer
    from tierwise.spec.call import Chunk, Completion
    from tierwise.spec.errors import TierwiseError
    from tierwise.spec.json import Fields, Json

LARGE_TEXT = 64 * 1024
"""Characters of a choice that is written in turn."""
_PER_LOGPROB = 100  # characters of one token's record

_OF_RESPONSE = frozenset({"system_fingerprint", "service_tier"})

_PLAIN = b'%b"choices":[{"index":%d,"delta":'
_PLAIN_END = b',"finish_reason":null}]}\n\n'

_encode = msgspec.json.Encoder().encode


class ChatCompletions:
    """`POST /v1/chat/completions`."""

    path = "/v1/chat/completions"

    async def read(self, body: bytes | bytearray) -> Request:
        """Parse and validate a body.

        Raises:
            SpecError: as `wire.read`.
        """
        parsed = await read_aside(body)
        return Request(parsed=parsed, writer=lambda action, created: ChatWriter(action, created, parsed))

    def failure(self, error: TierwiseError, usage: Json = None) -> Json:
        """An error in OpenAI's format."""
        return failure(error, usage)


@dataclass(slots=True)
class ChatWriter:
    """Writes one answer, as a body or as events with common fields."""

    action: str
    created: int
    parsed: ParsedRequest
    _begun: bytes = field(init=False, default=b"")
    _plain: dict[int, bytes] = field(init=False, default_factory=dict)
    """How an event with nothing but a delta begins, by choice."""

    @property
    def _event(self) -> bytes:
        """The common prefix of all events, encoded once."""
        if not self._begun:
            self._begun = b"data: " + _encode(self._frame("chat.completion.chunk"))[:-1] + b","
        return self._begun

    def chunk(self, index: int, chunk: Chunk) -> bytes:
        """The event for a chunk of one choice."""
        delta = chunk.delta
        if "reasoning_content" in delta:
            delta = with_reasoning(delta)
        elif chunk.finish is None and chunk.response is None and not self.parsed.wants_logprobs:  # nearly every one
            plain = self._plain.get(index)
            if plain is None:
                plain = self._plain[index] = _PLAIN % (self._event, index)
            return plain + _encode(delta) + _PLAIN_END
        choice: dict[str, Any] = {"index": index, "delta": delta, "finish_reason": chunk.finish}
        if self.parsed.wants_logprobs:
            choice["logprobs"] = chunk.logprobs
        frame = b""
        if chunk.response is not None:
            of_response, of_choice = _split(chunk.response)
            choice.update(of_choice)
            frame = b"".join(b",%b:%b" % (_encode(name), _encode(value)) for name, value in of_response.items())
        return b'%b"choices":[%b]%b}\n\n' % (self._event, _encode(choice), frame)

    def draft(self, index: int, number: int, tier: str, chunk: Chunk) -> bytes:
        """The event for a chunk of a draft. Its delta is empty, so that it adds nothing to an answer."""
        delta = {name: value for name, value in chunk.delta.items() if name != "role"}
        choice = {"index": index, "delta": {}, "finish_reason": None}
        draft = {"choice": index, "pass": number, "tier": tier, "delta": delta}
        return b'%b"choices":[%b],"tierwise":{"draft":%b}}\n\n' % (self._event, _encode(choice), _encode(draft))

    def beat(self) -> bytes:
        """Nothing: every chunk would be one of an answer."""
        return b""

    def ended(self, answers: list[Answer], usage: Json) -> bytes:  # noqa: ARG002 - all of them was streamed
        """The last events of a stream: its totals if they were asked for, and `[DONE]`."""
        totals = b'%b"choices":[],"usage":%b}\n\n' % (self._event, _encode(usage)) if self.parsed.wants_usage else b""
        return totals + DONE

    def failed(self, error: TierwiseError, usage: Json = None) -> bytes:
        """The event that ends a stream with an error, without `[DONE]`."""
        return error_event(error, usage)

    async def whole(self, answers: list[Answer], usage: Json) -> bytes:
        """The complete response with all choices, as JSON. Large choices are written in turn.

        Raises:
            UnicodeEncodeError: it has a lone surrogate, which is not Unicode.
        """
        first = answers[0].completion.response if answers else None
        choices: list[Any] = []
        for index, answer in enumerate(answers):
            if _is_large(answer.completion):
                async with turns.turn():
                    choices.append(msgspec.Raw(_encode(self._choice(index, answer))))
            else:
                choices.append(self._choice(index, answer))
        return _encode({**self._frame("chat.completion"), **_split(first)[0], "choices": choices, "usage": usage})

    def _choice(self, index: int, answer: Answer) -> Json:
        said = answer.completion
        message = with_reasoning(said.message())
        choice: dict[str, Json] = {"index": index, "message": message, "finish_reason": said.finish}
        choice.update(_split(said.response)[1])
        if self.parsed.wants_logprobs:
            choice["logprobs"] = {"content": [dict(token) for token in said.logprobs]} if said.logprobs else None
        return choice

    def _frame(self, kind: str) -> dict[str, Json]:
        return {"id": self.action, "object": kind, "created": self.created, "model": self.parsed.model}


def _is_large(said: Completion) -> bool:
    """Whether a completion takes long to write."""
    if len(said.text) + len(said.reasoning) > LARGE_TEXT or len(said.logprobs) > LARGE_TEXT // _PER_LOGPROB:
        return True
    return bool(said.tool_calls) and sum(len(str(call.get("function", ""))) for call in said.tool_calls) > LARGE_TEXT


def with_reasoning(message: Fields) -> dict[str, Json]:
    """A message or delta with its thinking under both names: `reasoning_content`, and `reasoning` as vLLM sends now."""
    thought = message.get("reasoning_content")
    return {**message, "reasoning": thought} if thought else {**message}


def _split(response: Fields | None) -> tuple[dict[str, Json], dict[str, Json]]:
    """The fields of a response besides the message: those of the whole response, and those of the choice."""
    frame: dict[str, Json] = {}
    own: dict[str, Json] = {}
    for name, value in (response or {}).items():
        (frame if name in _OF_RESPONSE else own)[name] = value
    return frame, own
