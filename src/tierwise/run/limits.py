"""Lowers a client's `max_tokens` to what a deployment holds. Agents send the largest answer of the largest model."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from tierwise.spec.prompt import BOUNDS

if TYPE_CHECKING:
    from tierwise.engines.engine import Deployment
    from tierwise.spec.call import Call

_BYTES_PER_TOKEN = 2  # fewer than in any usual text, so that a prompt is rather thought too long
_TEMPLATE_TOKENS = 64
_SPEAKS_OF_LIMIT = re.compile(r"max_(completion_|new_)?tokens|\b(in|for) the completion\b", re.IGNORECASE)


def within_context(call: Call, deployment: Deployment) -> tuple[Call, str]:
    """The call with a limit that the deployment's context can hold.

    Several engines refuse a limit that does not fit beside the prompt. Its tokens are not known here: a short prompt
    gets what surely remains, and for a long one the limit is left out, so that the engine stops where its context ends.

    Returns:
        The call, and what was lowered for the trace; empty if nothing was.
    """
    context = deployment.context
    if context is None or (bound := call.prompt.bound) is None or bound < context:
        return call, ""
    room = context - _TEMPLATE_TOKENS - _size(call) // _BYTES_PER_TOKEN
    prompt = call.prompt.bounded(room) if room >= context / 4 else call.prompt.without(*BOUNDS)
    lowered = f"from {bound} to what the context of {deployment.name} holds, {context} tokens with the prompt"
    return replace(call, prompt=prompt), f"{_name(call)} was lowered {lowered}"


def without_limit(call: Call, refusal: str) -> tuple[Call, str] | None:
    """The call without its limit, if the engine refused it because prompt and limit together do not fit.

    Returns:
        The call and what was lowered; None if the refusal is about something else.
    """
    if call.prompt.bound is None or not _SPEAKS_OF_LIMIT.search(refusal):
        return None
    why = f"{_name(call)} was lowered from {call.prompt.bound} to what fits beside the prompt"
    return replace(call, prompt=call.prompt.without(*BOUNDS)), why


def _size(call: Call) -> int:
    """Bytes of what becomes the prompt."""
    parts = [dict(message) for message in call.prompt.messages]
    return len(msgspec.json.encode([parts, call.prompt.fields.get("tools")]))


def _name(call: Call) -> str:
    return next((name for name in BOUNDS if name in call.prompt.fields), BOUNDS[0])
