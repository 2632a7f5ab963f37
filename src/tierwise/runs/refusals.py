"""Tells requests that a server refused, which say nothing about the model, from tasks that a tier cannot answer."""

from __future__ import annotations

import re

_TASK_LIMITS = frozenset({"context_length_exceeded", "budget_exhausted", "body_too_large", "content_filter"})
"""Error codes of limits that a task reaches: the tier itself cannot answer it."""

_REFUSED = frozenset({"engine_refused", "engine_misconfigured", "invalid_value", "not_found", "model_not_found"})
"""Error codes of refused requests, whatever their status: a stream that failed after its head has none."""

_TRANSIENT = frozenset({408, 409, 423, 425, 429})
"""4xx statuses that say "later", not "no"."""

_FILTERED = re.compile(r"content[ _-]?(filter|policy|management|moderation)|responsibleai|moderation", re.IGNORECASE)
"""How Azure, OpenAI, Bedrock and others say that a filter blocked a prompt."""

_VARYING = re.compile(r"0x[0-9a-f]+|[0-9a-f]{8,}|\d+([.,]\d+)*|'[^']*'|\"[^\"]*\"", re.IGNORECASE)
"""Parts of a message that differ between requests refused for the same reason: ids, numbers, quoted text."""


def is_task_limit(status: int | None, code: str, message: str) -> bool:
    """Whether a failed action reached a limit of the tier: prompt too long, out of budget, blocked by a filter."""
    if code in _TASK_LIMITS or status == 413:
        return True
    return (status in (400, 403, 422) or code in _REFUSED) and _FILTERED.search(f"{code} {message}") is not None


def is_refusal(status: int | None, code: str, message: str) -> bool:
    """Whether the server refused the request itself: a wrong setting, field, key, model or address.

    Args:
        status: the HTTP status; None if the stream failed later, or there was no response.
        code: the endpoint's error code; empty if it gave none.
        message: the error message.
    """
    if is_task_limit(status, code, message):
        return False
    if code in _REFUSED:
        return True
    return status is not None and (300 <= status < 500 or status == 501) and status not in _TRANSIENT


def reason(status: int | None, code: str, message: str) -> str:
    """A key that is equal for failures with the same cause: the message without its numbers, ids and quoted text."""
    return f"{code or status or ''}: {_VARYING.sub('…', message)[:200]}"
