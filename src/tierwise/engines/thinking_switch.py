"""The request fields that turn thinking on and off, and who has set them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tierwise.spec.json import Fields
    from tierwise.spec.prompt import Prompt

ThinkingSwitch = tuple["Fields", "Fields"]
"""The chat-template variables of a family that turn thinking on, and those that turn it off (`catalog.families`)."""

_KWARGS = "chat_template_kwargs"
_USUAL = "enable_thinking"
"""The variable of most templates."""
_ASKS_TO_THINK = ("thinking", "reasoning_effort", "reasoning")
OF_THINKING = (*_ASKS_TO_THINK, "thinking_tokens")
"""The request fields that say whether and how long to think, besides the variables of a chat template."""


def switch_in(template: str) -> ThinkingSwitch | None:
    """The switch of a chat template of no known family; None if it has not the usual one."""
    return ({_USUAL: True}, {_USUAL: False}) if _USUAL in template else None


def as_fields(variables: Fields) -> Fields:
    """The request fields that set variables of the chat template."""
    return {_KWARGS: dict(variables)}


def thinking_off(switch: ThinkingSwitch | None) -> Fields | None:
    """The request fields that turn the thinking of a family off; None without a switch."""
    return None if switch is None else as_fields(switch[1])


def turned(fields: Fields, switch: ThinkingSwitch, *, on: bool) -> Fields:
    """Request fields with thinking on or off. Variables of the chat template that are set already stay as they are."""
    given = fields.get(_KWARGS)
    return {**fields, **as_fields({**switch[not on], **(given if isinstance(given, Mapping) else {})})}


def turned_off(prompt: Prompt, off: Fields) -> Prompt:
    """The prompt with thinking off. Other variables of the chat template stay as they are."""
    wanted = dict(off)
    given, variables = prompt.fields.get(_KWARGS), off.get(_KWARGS)
    if isinstance(given, Mapping) and isinstance(variables, Mapping):
        wanted[_KWARGS] = {**given, **variables}
    return prompt.without(*OF_THINKING).setting(**wanted)


def is_thinking_off(prompt: Prompt, off: Fields | None) -> bool:
    """Whether a prompt turns thinking off, by the request lever or by the fields that do so on its deployment."""
    return prompt.fields.get("thinking") is False or (
        off is not None and turned_off(prompt, off).fields == prompt.fields
    )


def asked_by_client(prompt: Prompt, off: Fields | None) -> str | None:
    """The field by which the client itself decides about thinking; None if it does not."""
    own = {name for name in prompt.fields if name not in prompt.filled and prompt.fields[name] is not None}
    if (named := next((name for name in _ASKS_TO_THINK if name in own), None)) is not None:
        return named
    given = prompt.fields.get(_KWARGS)
    if _KWARGS not in own or not isinstance(given, Mapping):
        return None
    variables = (off or {}).get(_KWARGS)
    known = {_USUAL, "thinking", *(variables if isinstance(variables, Mapping) else ())}
    return next((f"{_KWARGS}.{name}" for name in sorted(known) if name in given), None)
