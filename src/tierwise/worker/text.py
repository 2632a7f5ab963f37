"""Converts between text and tokens: renders the chat template, and decodes answers with thinking and stop strings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2

from tierwise.spec.errors import SpecError
from tierwise.spec.json import Json
from tierwise.spec.thinking import MARKS

_UNFINISHED = "\ufffd"


@dataclass(frozen=True, slots=True, kw_only=True)
class Thinking:
    """The tokens that open and close a model's thinking."""

    begin: int
    end: int
    begin_text: str
    end_text: str

    def is_open(self, prompt: str) -> bool:
        """Whether a rendered prompt ends inside thinking, so that the model continues to think."""
        return prompt.rfind(self.begin_text) > prompt.rfind(self.end_text)


def find_thinking(tokenizer: Any) -> Thinking | None:
    """The thinking tokens of this tokenizer; None if it has none."""
    vocabulary = tokenizer.get_vocab()
    for begin, end in MARKS:
        if begin in vocabulary and end in vocabulary:
            return Thinking(begin=vocabulary[begin], end=vocabulary[end], begin_text=begin, end_text=end)
    return None


def render_prompt(tokenizer: Any, messages: Sequence[Mapping[str, Json]], variables: Mapping[str, Json]) -> str:
    """Render messages with the model's chat template, including the generation prompt.

    Args:
        tokenizer: a Transformers tokenizer with a chat template.
        messages: in the OpenAI format.
        variables: template variables, `chat_template_kwargs`.

    Raises:
        SpecError: the messages are invalid or the template rejects them; includes the template's message.
    """
    plain = [_plain(message, position) for position, message in enumerate(messages)]
    try:
        text = tokenizer.apply_chat_template(plain, add_generation_prompt=True, tokenize=False, **variables)
    except (jinja2.TemplateError, TypeError, ValueError, KeyError) as error:
        raise SpecError(f"the chat template rejects these messages: {error}", field="messages") from error
    return str(text)


def _plain(message: Mapping[str, Json], position: int) -> dict[str, Json]:
    """The message with its content as one string, as templates of text models expect."""
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(_text_of(part, position) for part in content)
    elif not isinstance(content, str) and not (content is None and message.get("tool_calls")):
        raise SpecError(f"content must be a string or a list of parts, not {content!r}", field=_at(position))
    return {**message, "content": content}


def _text_of(part: Json, position: int) -> str:
    match part:
        case {"type": "text", "text": str(text)}:
            return text
        case {"type": str(kind)}:
            raise SpecError(f"this engine supports parts of type 'text' only, not {kind!r}", field=_at(position))
        case _:
            raise SpecError("a content part needs `type` and `text`", field=_at(position))


def _at(position: int) -> str:
    return f"messages[{position}].content"


@dataclass(frozen=True, slots=True)
class DecodedText:
    """The text that one token added to an answer."""

    content: str = ""
    thinking: str = ""
    piece: str = ""
    """The token's own text, even if it is held back or not shown."""
    is_stopped: bool = False
    """Whether a stop string is complete, which ends the answer."""


class StreamDecoder:
    """Decodes an answer token by token: whole characters, thinking separated, stop strings removed.

    Args:
        tokenizer: a Transformers tokenizer.
        stops: strings that end the answer and are not shown; searched in the answer, not in the thinking.
        thinking: the thinking tokens; None for a model without.
        is_thinking: whether the prompt ends inside thinking.
        max_thinking_tokens: number of tokens after which thinking is ended; None for no limit.
    """

    def __init__(
        self,
        tokenizer: Any,
        stops: Sequence[str] = (),
        *,
        thinking: Thinking | None = None,
        is_thinking: bool = False,
        max_thinking_tokens: int | None = None,
    ) -> None:
        self.is_thinking = is_thinking
        self.thinking_tokens = 0
        self._tokenizer = tokenizer
        self._stops = stops
        self._thinking = thinking
        self._max_thinking_tokens = max_thinking_tokens
        self._tokens: list[int] = []
        self._shown = 0  # number of tokens whose text was returned
        self._context = 0  # tokens before this index do not affect the text of the next one
        self._held = ""
        self._at_mark = is_thinking  # line breaks after a thinking token are dropped

    @property
    def forced(self) -> int | None:
        """The token that must come next: the end of thinking once its limit is reached; None if free."""
        if self._thinking is None or self._max_thinking_tokens is None or not self.is_thinking:
            return None
        return self._thinking.end if self.thinking_tokens >= self._max_thinking_tokens else None

    def add(self, token: int) -> DecodedText:
        """Decode the next token."""
        if self._thinking is not None and token in (self._thinking.begin, self._thinking.end):
            self.thinking_tokens += token == self._thinking.begin or self.is_thinking
            self.is_thinking = token == self._thinking.begin
            self._tokens, self._shown, self._context = [], 0, 0
            self._at_mark = True
            return DecodedText()
        self.thinking_tokens += self.is_thinking
        piece = self._decode(token)
        shown = piece
        if self._at_mark:
            shown = piece.lstrip("\n")
            self._at_mark = not shown
        if self.is_thinking:
            return DecodedText(thinking=shown, piece=piece)
        return self._until_stop(shown, piece)

    def rest(self) -> str:
        """Text that was held back, at the end of the answer; an incomplete character becomes U+FFFD."""
        left = self._decode_all()[len(self._before()) :] if self._shown < len(self._tokens) else ""
        held, self._held = self._held, ""
        return held + ("" if self.is_thinking else left)

    def _decode(self, token: int) -> str:
        """The text that a token completes; empty while a character is incomplete.

        The tokens just before it are decoded again with it, because a tokenizer may decode a token differently at the
        start of a text (SentencePiece drops its space).
        """
        self._tokens.append(token)
        before, whole = self._before(), self._decode_all()
        if len(whole) <= len(before) or whole.endswith(_UNFINISHED):
            return ""
        self._context, self._shown = self._shown, len(self._tokens)
        return whole[len(before) :]

    def _before(self) -> str:
        return self._text(self._tokens[self._context : self._shown])

    def _decode_all(self) -> str:
        return self._text(self._tokens[self._context :])

    def _text(self, tokens: list[int]) -> str:
        return (
            str(self._tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False))
            if tokens
            else ""
        )

    def _until_stop(self, text: str, piece: str) -> DecodedText:
        whole = self._held + text
        found = [place for stop in self._stops if (place := whole.find(stop)) >= 0]
        if found:
            self._held = ""
            self._tokens, self._shown, self._context = [], 0, 0
            return DecodedText(content=whole[: min(found)], piece=piece, is_stopped=True)
        held = max((_overlap(whole, stop) for stop in self._stops), default=0)
        self._held = whole[len(whole) - held :]
        return DecodedText(content=whole[: len(whole) - held], piece=piece)


def _overlap(text: str, stop: str) -> int:
    """Length of the longest suffix of `text` that is a proper prefix of `stop`."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:size])), 0)
