"""The user's request, exactly as received: opaque, so that no field is lost on its way to an engine."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from tierwise.spec.json import Fields, Json

Message = Mapping[str, Json]
"""One OpenAI chat message: role, content (text or parts), tool calls, and any other fields of the client."""

_NOTHING: Fields = MappingProxyType({})

FORM = ("response_format", "tools", "tool_choice", "parallel_tool_calls")
"""The request fields that constrain the form of an answer."""
BOUNDS = ("max_completion_tokens", "max_tokens")
"""OpenAI's current and former names for the maximum number of completion tokens of one pass."""
PROMPT_FIELDS = (
    "active_experts",
    "chat_template",
    "chat_template_kwargs",
    "documents",
    "function_call",
    "functions",
    "lora",
    "reasoning",
    "reasoning_effort",
    "thinking",
    "tool_choice",
    "tools",
)
"""The request fields that a chat template may render before the messages, and those that change what is computed for
the same tokens. Fields that change only how a prompt ends are none of them: what comes before can be shared."""

ANSWER = "Here is my answer:\n\n"
"""Begins the answer after thinking that was closed for the model. A client does not see it."""


class WrittenMessages:
    """The messages of a large request as JSON, so that its passes share one copy."""

    def __init__(self) -> None:
        self._messages: tuple[Message, ...] | None = None
        self._data = b""

    def of(self, messages: tuple[Message, ...], write: Callable[[tuple[Message, ...]], bytes]) -> bytes:
        """These messages as JSON; `write` is called if others were written last."""
        if self._messages is not messages:
            self._data = write(messages)
            self._messages = messages
        return self._data


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A conversation and every other field of the request: sampling, tools, response format, and the unknown ones."""

    messages: tuple[Message, ...]
    fields: Fields = field(default_factory=lambda: _NOTHING)
    """Named as on the OpenAI wire, without `messages`, `model`, `stream`, `n` and `seed`."""
    seed: int = 0
    """The seed from which every draw derives its own."""
    filled: frozenset[str] = field(default=frozenset(), compare=False)
    """Names of the fields that a tier set as defaults. Another tier replaces them with its own."""
    optional: frozenset[str] = field(default=frozenset(), compare=False)
    """Names of the fields that a policy prefers. If the engine refuses one, the pass runs without it."""
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), compare=False)
    """Headers of the request that are forwarded to engines: `x-request-id`, `traceparent`, `tracestate`."""
    raw: str | tuple[int, ...] | None = None
    """A prompt without a chat template, as text or tokens, in place of `messages`; None for a conversation."""
    embeds: Json = None
    """What is to be embedded, as the client sent it; `raw` is then the same as JSON. None for a completion."""
    written: WrittenMessages | None = field(default=None, compare=False, repr=False)
    """Keeps the messages of a large request as JSON."""

    def then(self, *messages: Message) -> Prompt:
        """The same request with the conversation continued."""
        return replace(self, messages=(*self.messages, *messages))

    def continuing(self, thinking: str, begun: str) -> Prompt:
        """The conversation with the model's own thinking, closed, and the beginning of its answer, which it continues.

        The thinking has both names that servers read. llama.cpp continues such a message without being told.
        """
        message = {"role": "assistant", "content": begun, "reasoning_content": thinking, "reasoning": thinking}
        return self.then(message).setting(continue_final_message=True, add_generation_prompt=False)

    def setting(self, **fields: Json) -> Prompt:
        """The same request with these fields set, overriding the client's."""
        return replace(
            self,
            fields={**self.fields, **fields},
            filled=self.filled - fields.keys(),
            optional=self.optional - fields.keys(),
        )

    def preferring(self, **fields: Json) -> Prompt:
        """The same request with these fields where nobody has set them. A null or false field counts as unset."""
        wanted = {name: value for name, value in fields.items() if not self.fields.get(name)}
        return replace(
            self,
            fields={**self.fields, **wanted},
            filled=self.filled - wanted.keys(),
            optional=self.optional | wanted.keys(),
        )

    def without(self, *names: str) -> Prompt:
        """The same request without these fields."""
        return replace(self, fields={name: value for name, value in self.fields.items() if name not in names})

    def headers_of_pass(self, number: int) -> Mapping[str, str]:
        """The headers for one pass. Its request id is unique within the action, because engines identify passes by it:
        the first pass has the client's own.
        """
        if number == 0 or not (own := self.headers.get("x-request-id")):
            return self.headers
        return {**self.headers, "x-request-id": f"{own}-{number}"}

    @property
    def is_answered_whole(self) -> bool:
        """Whether it is answered without a stream: the log-probabilities of a raw prompt come with the whole text."""
        return self.embeds is not None or (
            self.raw is not None and any(self.fields.get(name) not in (None, False) for name in ("logprobs", "echo"))
        )

    @property
    def prompt_fields(self) -> Fields:
        """The fields that tell prompts with equal messages apart. Passes that differ in others can share a prompt."""
        return {name: self.fields[name] for name in PROMPT_FIELDS if self.fields.get(name) is not None}

    @property
    def has_tools(self) -> bool:
        """Whether the engine may answer with a tool call."""
        return bool(self.fields.get("tools") or self.fields.get("functions"))

    @property
    def requires_tool(self) -> bool:
        """Whether the answer must call a tool."""
        choice = self.fields.get("tool_choice") or self.fields.get("function_call")
        return self.has_tools and (isinstance(choice, Mapping) or choice in ("required", "any"))

    def by_default(self, fields: Fields) -> Prompt:
        """The same request with a tier's fields as defaults. Null counts as unset.

        Defaults set by another tier are removed first.
        """
        if not (fields or self.filled):
            return self
        own = {name: value for name, value in self.fields.items() if name not in self.filled}
        said = {name for name, value in own.items() if value is not None}
        if said.intersection(BOUNDS):
            said.update(BOUNDS)
        filled = {name: fields[name] for name in fields if name not in said}
        return replace(self, fields={**own, **filled}, filled=frozenset(filled))

    @property
    def bound(self) -> int | None:
        """The client's limit on the completion tokens of one pass; None if unset, or negative, which engines read as no
        limit.
        """
        bounds = (self.fields.get(name) for name in BOUNDS)
        return min((bound for bound in bounds if isinstance(bound, int) and bound >= 0), default=None)

    def bounded(self, tokens: int) -> Prompt:
        """The same request with this limit, under the names that the client used."""
        names = [name for name in BOUNDS if name in self.fields] or ["max_tokens"]
        return self.setting(**dict.fromkeys(names, tokens))


def draw_seed(seed: int, draw: int) -> int:
    """The seed of draw number `draw`. The first draw has the prompt's own seed, so a single pass behaves as requested.

    Returns:
        A number below 2³¹, which every engine accepts; equal inputs give equal seeds on every machine.
    """
    if draw == 0:
        return seed
    digest = hashlib.blake2b(f"{seed}/{draw}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") & 0x7FFF_FFFF
