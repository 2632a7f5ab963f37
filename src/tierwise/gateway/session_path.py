"""Sessions that are named by a path, for clients that take a base URL and send no header of ours."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

IN_PATH = b":session"
"""Where the session of a path stands among the headers of its request. No client can send a header of this name."""

_PREFIXES = (b"/v1/x/", b"/x/")
"""OpenAI's clients take a base URL with `/v1`, Anthropic's one without."""


def split(target: bytes) -> tuple[bytes, bytes] | None:
    """The target of a request without its session, and the session; None if it names none.

    `/v1/x/ID/chat/completions` is `/v1/chat/completions` in the session ID, and `/x/ID/v1/messages` `/v1/messages`.
    """
    for prefix in _PREFIXES:
        if target.startswith(prefix):
            session, slash, rest = target[len(prefix) :].partition(b"/")
            if not session or not slash or b"?" in session:
                return None
            return prefix[: -len(b"x/")] + rest, unquote_to_bytes(session)
    return None
