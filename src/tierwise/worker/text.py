"""Between messages and tokens: the chat template on the way in; characters, thinking and stop texts on the way out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2

from tierwise.spec.errors import SpecError
from tierwise.spec.json import Json

_THINKING_MARKS = (("<think>", "</think>"), ("<|channel>", "<channel|>"), ("[THINK]", "[/THINK]"))
"""Tokens around thinking: Qwen, GLM, DeepSeek and Kimi; Gemma 4; Mistral."""
_UNFINISHED = "\ufffd"


@dataclass(frozen=True, slots=True, kw_only=True)
class Thinking:
    """The tokens that open and close a model's thinking."""

    begin: int
    end: int
    begin_text: str
    end_text: str

    def is_open(self, prompt: str) -> bool:
        """Whether a rendered prompt ends inside of it, so that the model goes on thinking."""
        return prompt.rfind(self.begin_text) > prompt.rfind(self.end_text)


def thinking_of(tokenizer: Any) -> Thinking | None:
    """The marks that this tokenizer has as tokens; None for a model that does not think aloud."""
    vocabulary = tokenizer.get_vocab()
    for begin, end in _THINKING_MARKS:
        if begin in vocabulary and end in vocabulary:
            return Thinking(begin=vocabulary[begin], end=vocabulary[end], begin_text=begin, end_text=end)
    return None


def rendered(tokenizer: Any, messages: Sequence[Mapping[str, Json]], told: Mapping[str, Json]) -> str:
    """The prompt as the model's chat template writes it, up to where the assistant begins.

    Args:
        tokenizer: Transformers', with a chat template.
        messages: as on the OpenAI wire.
        told: variables of the template, `chat_template_kwargs`.

    Raises:
        SpecError: the template, or we, cannot take these messages; in its own words.
    """
    plain = [_plain(message, position) for position, message in enumerate(messages)]
    try:
        text = tokenizer.apply_chat_template(plain, add_generation_prompt=True, tokenize=False, **told)
    except (jinja2.TemplateError, TypeError, ValueError, KeyError) as error:
        raise SpecError(f"the chat template does not take these messages: {error}", field="messages") from error
    return str(text)


def _plain(message: Mapping[str, Json], position: int) -> dict[str, Json]:
    """The message with its content as one text, which is what templates of text models take."""
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(_text_of(part, position) for part in content)
    elif not isinstance(content, str) and not (content is None and message.get("tool_calls")):
        raise SpecError(f"content must be a text or a list of parts, and is {content!r}", field=_at(position))
    return {**message, "content": content}


def _text_of(part: Json, position: int) -> str:
    match part:
        case {"type": "text", "text": str(text)}:
            return text
        case {"type": str(kind)}:
            raise SpecError(f"this engine takes parts of type text, and no {kind!r}", field=_at(position))
        case _:
            raise SpecError("a part of a content wants `type` and `text`", field=_at(position))


def _at(position: int) -> str:
    return f"messages[{position}].content"


@dataclass(frozen=True, slots=True)
class DecodedText:
    """What one token added to an answer."""

    content: str = ""
    thinking: str = ""
    piece: str = ""
    """The token's own text, also where it is held back or not shown."""
    is_stopped: bool = False
    """A stop text is complete: nothing follows."""


class StreamDecoder:
    """The text of one answer as its tokens come: whole characters, thinking apart, nothing of a stop text.

    Args:
        tokenizer: Transformers'.
        stops: texts that end the answer and are not shown; they are looked for in the answer and not in the thinking.
        thinking: the marks; None for a model without.
        is_thinking: whether the prompt ends inside of a thinking.
        most_thinking: tokens after which the mark that ends it is wanted.
    """

    def __init__(
        self,
        tokenizer: Any,
        stops: Sequence[str] = (),
        *,
        thinking: Thinking | None = None,
        is_thinking: bool = False,
        most_thinking: int | None = None,
    ) -> None:
        self.is_thinking = is_thinking
        self.thinking_tokens = 0
        self._tokenizer = tokenizer
        self._stops = stops
        self._thinking = thinking
        self._most_thinking = most_thinking
        self._tokens: list[int] = []
        self._shown = 0  # tokens whose text is out
        self._context = 0  # tokens before these do not change the text of the next one
        self._held = ""
        self._at_mark = is_thinking  # line breaks after a mark belong to the mark

    @property
    def forced(self) -> int | None:
        """The token that must come next: the end of a thinking that has had its tokens."""
        if self._thinking is None or self._most_thinking is None or not self.is_thinking:
            return None
        return self._thinking.end if self.thinking_tokens >= self._most_thinking else None

    def add(self, token: int) -> DecodedText:
        """One token more."""
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
        """What was held back and turned out to belong to the answer: its last words, half a character as U+FFFD."""
        left = self._decode_all()[len(self._before()) :] if self._shown < len(self._tokens) else ""
        held, self._held = self._held, ""
        return held + ("" if self.is_thinking else left)

    def _decode(self, token: int) -> str:
        """The text that a token completes: none while it ends within a character.

        A few tokens before it are decoded again with it, since a tokenizer may write a token differently at the
        beginning (SentencePiece drops its space).
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
    """Length of the longest end of `text` with which `stop` begins."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:size])), 0)
