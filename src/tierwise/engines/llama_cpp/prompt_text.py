"""What a request to llama.cpp makes of the prompt, as text: enough to see which prompts begin alike.

The tokens are known only to llama.cpp, which compares them itself. So a wrong guess here costs time and never changes
an answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tierwise.spec.prefix import common_length

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tierwise.spec.call import Call
    from tierwise.spec.json import Json

PromptText = tuple[str, ...]
"""The fields that change the whole prompt, then one text for each message."""


def prompt_text(call: Call) -> PromptText:
    """The prompt of a call; empty if its text is not valid Unicode."""
    try:
        return _json(call.prompt.prompt_fields), *(_message(message) for message in call.prompt.messages), *_raw(call)
    except UnicodeEncodeError:
        return ()


def with_answer(prompt: PromptText, answer: str) -> PromptText:
    """The prompt followed by a text answer."""
    return *prompt, _message({"role": "assistant", "content": answer})


def shared_characters(one: PromptText, other: PromptText) -> int:
    """How many characters both begin with."""
    count = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            # A head that differs is rendered first, so nothing after it is shared.
            return count + common_length(mine, theirs) if count else 0
        count += len(mine)
    return count


def _raw(call: Call) -> PromptText:
    raw = call.prompt.raw
    return () if raw is None else (raw if isinstance(raw, str) else _json(raw),)


def _message(message: Mapping[str, Json]) -> str:
    rest = {name: value for name, value in message.items() if name not in ("role", "content") and value}
    content = message.get("content")
    text = content if isinstance(content, str) else _json(content)
    return f"{message.get('role')}\n{text}{_json(rest) if rest else ''}"


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
