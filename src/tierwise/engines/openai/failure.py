"""Parses the errors of OpenAI-compatible servers, in all common shapes, and maps them to Tierwise errors."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import msgspec

from tierwise.spec.errors import Broken, EngineError, Misconfigured, Overloaded, Refused, TimedOut, TooLong

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tierwise.spec.json import Json

MOST_RETRY_SECONDS = 3600.0
"""The longest wait that is passed on."""

_TOO_LONG = re.compile(
    r"context[ _-](length|size|window|limit)|exceed_context|n_ctx"
    r"|maximum (allowed )?(model|input|prompt|sequence) length"
    r"|(prompt|input|request|messages?|length) (is |are |was |were )?too (long|large)|prompt_too_long"
    r"|`inputs` (must have less than|tokens \+ `max_new_tokens` must be <=) \d+"
    r"|too many (input |prompt )?tokens|exceeds? the (configured )?limit of|reduce the length",
    re.IGNORECASE,
)
"""Messages of llama.cpp, vLLM, SGLang, TGI and hosted servers for a prompt that does not fit."""

_NOT_FOR_THIS_MODEL = re.compile(r"(image|audio|video) input is not supported", re.IGNORECASE)
"""llama.cpp reports this as its own failure (500), but the request is at fault."""

_OUR_SETTINGS = re.compile(
    r"api[ _-]?key|model_not_found|invalid_api_key|(no such|unknown|invalid) model\b"
    r"|model \S+ (was |is )?(not found|does not exist|not available)|model .{0,80} does not exist",
    re.IGNORECASE,
)
"""Messages of servers that refuse a request because of the key or the model in our settings."""

_STATUSES = {
    "rate_limit": 429,
    "overloaded": 429,
    "unavailable": 503,
    "timeout": 504,
    "context_length": 400,
    "invalid_request": 400,
    "bad_request": 400,
    "badrequest": 400,
    "authentication": 401,
    "permission": 403,
    "not_found": 404,
}
"""Parts of the types and codes of errors inside a stream, which have no HTTP status, and their status."""

_ADVICE = {
    401: "name the variable that holds the right key under `api_key_env`",
    403: "name the variable that holds the right key under `api_key_env`",
    404: "check `url` and `model`",
    405: "check `url`",
    407: "check the proxy in HTTPS_PROXY or HTTP_PROXY",
}
"""What to do about a status."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An error from a server."""

    status: int
    message: str
    name: str = ""
    """Its code and type, if given."""
    retry_after: float | None = None
    """Seconds, at most `MOST_RETRY_SECONDS`."""
    ended_as: str = ""
    """The finish reason of a pass that the server did not complete; there is no status then."""
    param: str = ""
    """The request field that it is about, if given."""

    @property
    def kind(self) -> type[EngineError]:
        """The class of the corresponding Tierwise error."""
        match self.status:
            case 429 | 503 | 529:
                return Overloaded
            case 408 | 504:
                return TimedOut
            case 400 | 413 | 422 if _TOO_LONG.search(f"{self.name} {self.message}"):
                return TooLong
            case 400 | 422 if _OUR_SETTINGS.search(f"{self.name} {self.message}"):
                return Misconfigured
            case 400 | 413 | 415 | 422:
                return Refused
            case 401 | 402 | 403 | 404 | 405 | 407 | 409 | 410 | 421 | 426:
                return Misconfigured
            case status if 300 <= status < 400:
                return Misconfigured
            case 500 if _NOT_FOR_THIS_MODEL.search(self.message):
                return Refused
            case _:
                return Broken

    def blame(self, engine: str, *, hint: str = "") -> EngineError:
        """The corresponding Tierwise error.

        Args:
            engine: the deployment's name.
            hint: what to do about a configuration error; by its status if empty.
        """
        kind = self.kind
        if kind in (TooLong, Refused):
            text = self.message
        elif self.ended_as:
            text = f"deployment {engine!r} ended its answer with finish reason {self.ended_as!r}: {self.message}"
        else:
            text = f"deployment {engine!r} answered {self.status}: {self.message}"
        if kind is Misconfigured and (advice := hint or _ADVICE.get(self.status, "")):
            text = f"{text}; {advice}"
        return kind(text, engine=engine, retry_after=self.retry_after)


def read_failure(status: int, body: bytes, headers: Mapping[str, str]) -> Failure:
    """The message in an error body of any common shape, or else the body's text."""
    try:
        value = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        value = None
    return Failure(
        status=status,
        message=_message(value) or body.decode(errors="replace").strip()[:500] or "no reason given",
        name=_field_of(value, "code", "type"),
        retry_after=read_retry_after(headers),
        param=_field_of(value, "param"),
    )


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from `retry-after-ms`, or from `Retry-After` in seconds or as a date; at most an hour.

    None if there is none that can be read.
    """
    lower = {name.lower(): value.strip() for name, value in headers.items()}
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        if re.fullmatch(r"[0-9]{1,400}(\.[0-9]{0,400})?", said := lower.get(name, "")):
            return min(float(said[:300]) * unit, MOST_RETRY_SECONDS)
    try:
        moment = parsedate_to_datetime(lower.get("retry-after", "")).timestamp()
    except (ValueError, TypeError, OverflowError, OSError):
        return None
    return min(max(moment - time.time(), 0.0), MOST_RETRY_SECONDS)


def status_inside(error: Json) -> int:
    """The HTTP status of an error inside a stream, from its code or type."""
    match error:
        case {"code": int(status)} | {"status": int(status)} if not isinstance(status, bool) and 300 <= status < 600:
            return status
        case {"code": str(text)} if text.isdecimal() and 300 <= int(text[:4]) < 600:
            return int(text[:4])
        case _:
            named = _field_of(error, "code", "type").lower()
            return next((status for name, status in _STATUSES.items() if name in named), 500)


def _message(value: Json) -> str:
    match value:
        case {"error": {"message": str(text)}} | {"message": str(text)} | {"error": str(text)} | {"detail": str(text)}:
            return text[:_MOST_WORDS]
        case {"error": dict() | list() as inner} | {"detail": list() as inner}:
            return msgspec.json.encode(inner).decode()[:500]
        case _:
            return ""


_MOST_WORDS = 2000
"""Characters of a server's message."""


def _field_of(value: Json, *names: str) -> str:
    """Fields of the error object, as text."""
    match value:
        case {"error": dict() as inner}:
            return _field_of(inner, *names)
        case dict():
            return " ".join(str(value[name])[:100] for name in names if value.get(name))
        case _:
            return ""
