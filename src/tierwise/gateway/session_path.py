"""Sessions that are named by a path, for clients that take a base URL and send no header of ours, and the passes that
each request of such a client may spend.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import unquote_to_bytes

IN_PATH = b":session"
"""Where the session of a path stands among the headers of its request. No client can send a header of this name."""

PASSES_IN_PATH = b":passes"
"""Likewise, the bound on the passes of a request."""

_PREFIXES = (b"/v1/x/", b"/x/")
"""OpenAI's clients take a base URL with `/v1`, Anthropic's one without."""

_PASSES = b";passes="


class InPath(NamedTuple):
    """What a path says."""

    target: bytes
    """The path without it."""
    session: bytes
    passes: bytes = b""
    """Passes that one request may spend, as it is written; empty if the path does not say."""


def split(target: bytes) -> InPath | None:
    """What the path of a request says of its session; None if it names none.

    `/v1/x/ID/chat/completions` is `/v1/chat/completions` in the session ID, and `/x/ID/v1/messages` `/v1/messages`.
    With `ID;passes=1` the request has a budget of one pass; the name of a session has `%3Bpasses=` for `;passes=`.
    """
    for prefix in _PREFIXES:
        if target.startswith(prefix):
            session, slash, rest = target[len(prefix) :].partition(b"/")
            if not session or not slash or b"?" in session:
                return None
            name, bound, passes = session.partition(_PASSES)
            if not name or (bound and not passes):
                return None
            return InPath(prefix[: -len(b"x/")] + rest, unquote_to_bytes(name), passes)
    return None
