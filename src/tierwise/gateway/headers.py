"""The headers of a request that the endpoint reads, and those that it forwards to engines; names of its own."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Self, TypeAlias

from tierwise.gateway.session_path import IN_PATH, PASSES_IN_PATH
from tierwise.keys.ceilings import DOLLARS, PASSES
from tierwise.spec.values import frozen_value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RawHeaders: TypeAlias = "Sequence[tuple[bytes, bytes]]"
"""Headers of a message: name in lower case, and value."""


SESSION = "x-tierwise-session"
"""The header, over gRPC the metadata, with the caller's id for the session of an action."""

CERTIFICATE = "x-tierwise-certificate"
"""The header, over gRPC the metadata, that says whether the certificate of a route holds."""

DECISION = "x-tierwise-decision"
"""The header that says how a route came to the tier that answers."""

_SESSION, _DOLLARS, _PASSES = SESSION.encode(), DOLLARS.encode(), PASSES.encode()
_SESSION_OF_CLAUDE_CODE = b"x-claude-code-session-id"
_SESSIONS_OF_CODEX = (b"session-id", b"session_id")
"""Since 0.171, and before."""
_ORIGINATOR = b"originator"
_ID = re.compile(r"[!-~]{1,200}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]{1,200})?")
_TRACESTATE = re.compile(r"[ -~]{1,512}")


@frozen_value
class RequestHeaders:
    """What a request says besides its body; empty where it says nothing, or nothing that can be passed on."""

    content_type: str = ""
    content_encoding: str = ""
    request_id: str = ""
    """`x-request-id`: at most 200 printable ASCII characters without blanks; sent back, and forwarded."""
    traceparent: str = ""
    """The caller's span, as in W3C Trace Context; forwarded, with `tracestate`."""
    tracestate: str = ""
    session_dollars: str = ""
    """`x-tierwise-session-dollars`, as it was sent: `wire.in_session` validates it."""
    session_passes: str = ""
    """`x-tierwise-session-passes`, likewise."""
    session: str = ""
    """`x-tierwise-session`, else the path's, else the header of Claude Code or Codex, as it was sent: `wire.in_session`
    validates it."""
    path_session: str = ""
    """The session that the path names; `wire.in_session` refuses another one beside it."""
    path_passes: str = ""
    """Passes that the path allows each request, as it was sent: `wire.within_passes` validates it."""

    @classmethod
    def of(cls, headers: RawHeaders) -> Self:
        """Read the headers of a request. Of a repeated header the first counts."""
        found: dict[bytes, str] = {}
        for name, value in headers:
            if name in _READ and name not in found:
                found[name] = value.decode("latin-1").strip()
        traceparent = _matching(_TRACEPARENT, found.get(b"traceparent", ""))
        in_path = found.get(IN_PATH, "")
        of_client = in_path or found.get(_SESSION_OF_CLAUDE_CODE, "") or _of_codex(found)
        return cls(
            content_type=found.get(b"content-type", ""),
            content_encoding=found.get(b"content-encoding", ""),
            request_id=_matching(_ID, found.get(b"x-request-id", "")),
            session=found.get(_SESSION, "") or of_client,
            path_session=in_path,
            path_passes=found.get(PASSES_IN_PATH, ""),
            session_dollars=found.get(_DOLLARS, ""),
            session_passes=found.get(_PASSES, ""),
            traceparent=traceparent,
            tracestate=_matching(_TRACESTATE, found.get(b"tracestate", "")) if traceparent else "",
        )

    @property
    def forwarded(self) -> Mapping[str, str]:
        """The headers for the engines."""
        if not (self.request_id or self.traceparent):
            return _NO_HEADERS
        named = {"x-request-id": self.request_id, "traceparent": self.traceparent, "tracestate": self.tracestate}
        return {name: value for name, value in named.items() if value}


_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_READ = frozenset(
    {
        b"content-type",
        b"content-encoding",
        b"x-request-id",
        b"traceparent",
        b"tracestate",
        IN_PATH,
        PASSES_IN_PATH,
        _SESSION,
        _DOLLARS,
        _PASSES,
        _SESSION_OF_CLAUDE_CODE,
        *_SESSIONS_OF_CODEX,
        _ORIGINATOR,
    }
)


def _of_codex(found: Mapping[bytes, str]) -> str:
    """The session that Codex names; another client may mean something else by the same header."""
    if not found.get(_ORIGINATOR, "").startswith("codex"):
        return ""
    return next((found[name] for name in _SESSIONS_OF_CODEX if name in found), "")


def _matching(pattern: re.Pattern[str], value: str) -> str:
    return value if value and pattern.fullmatch(value) else ""
