"""Parses and validates chat requests. Unknown fields are passed on to the engine."""

from __future__ import annotations

import math
import random
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from tierwise.spec import limits
from tierwise.spec.budget import Budget
from tierwise.spec.errors import SpecError
from tierwise.spec.prompt import Prompt, draw_seed
from tierwise.verifiers import BaseVerifier, VerifierChoice
from tierwise.verifiers.pooled import read_here, read_verifier
from tierwise.verifiers.verifier import Verifier

MOST_CHOICES = 32
MOST_TOKENS = 1_000_000
_OURS = frozenset({"model", "messages", "n", "seed", "stream", "tierwise"})
_STRIDE = 1_000_003  # separates the draw seeds of different choices

Tokens = Annotated[int, msgspec.Meta(ge=1, le=MOST_TOKENS)]


class _Message(msgspec.Struct):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[dict[str, Any]] | None = None


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _Schema(msgspec.Struct):
    schema: dict[str, Any] | bool | None = None


class _Format(msgspec.Struct):
    type: str
    json_schema: _Schema | None = None


class Extension(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `tierwise` object of a request."""

    budget: Budget = Budget()
    """Budget, which can only tighten the tier's."""
    verifier: VerifierChoice | None = None
    """Verifier of this request: tests, a schema, or an answer format; `verifiers.pooled` reads it."""
    action: Annotated[str, msgspec.Meta(max_length=200)] = ""
    """The caller's id for the action, stored in the ledger."""
    candidates: bool = False
    """Whether the usage includes the message of every pass."""
    judges: bool = False
    """Whether it judges another action's answer; its passes then have the role `judge` in ledger and usage."""


class ChatRequest(msgspec.Struct):
    """The fields of a chat completion that are validated here, with bounds common to all engines."""

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=300)]
    messages: Annotated[list[_Message], msgspec.Meta(min_length=1, max_length=limits.MESSAGES)]
    n: Annotated[int, msgspec.Meta(ge=1, le=MOST_CHOICES)] | None = None
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=5)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    presence_penalty: Annotated[float, msgspec.Meta(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, msgspec.Meta(ge=-2, le=2)] | None = None
    seed: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=100)] | None = None
    tools: list[dict[str, Any]] | None = None
    response_format: _Format | None = None
    tierwise: Extension = Extension()


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedRequest:
    """A validated request."""

    model: str
    prompt: Prompt
    choices: int
    stream: bool
    wants_usage: bool
    """Whether a stream ends with a usage event."""
    wants_logprobs: bool
    budget: Budget
    verifier: Verifier | None
    caller: str
    """The caller's id for the action."""
    wants_candidates: bool = False
    """Whether the usage includes the message of every pass."""
    judges: bool = False
    """Whether it judges another action's answer."""

    def prompt_of(self, choice: int) -> Prompt:
        """The prompt of one choice, with its own seeds."""
        return replace(self.prompt, seed=draw_seed(self.prompt.seed, choice * _STRIDE))


def read(body: bytes) -> ParsedRequest:
    """Parse and validate a request body.

    Raises:
        SpecError: it is not JSON, it is too large, or a field is invalid; the error names the field.
    """
    value, request = _request(body)
    verifier = None
    if (named := _named_verifier(value, request)) is not None:
        with _blaming(named.field):
            verifier = read_here(named.settings)
    return _parsed(value, request, verifier)


async def read_aside(body: bytes) -> ParsedRequest:
    """`read` for a server: what may take long to validate is validated in another process.

    Raises:
        SpecError: as `read`, or it takes too long.
    """
    value, request = _request(body)
    verifier = None
    if (named := _named_verifier(value, request)) is not None:
        with _blaming(named.field):
            verifier = await read_verifier(named.settings)
    return _parsed(value, request, verifier)


def _request(body: bytes) -> tuple[dict[str, Any], ChatRequest]:
    """The body, and its fields without the verifier."""
    value = _decoded(body)
    ours = value.get("tierwise")
    if isinstance(ours, dict) and "verifier" in ours:
        shown = {**value, "tierwise": {name: one for name, one in ours.items() if name != "verifier"}}
    else:
        shown = value
    try:
        return value, msgspec.convert(shown, ChatRequest)
    except msgspec.ValidationError as error:
        raise _invalid(error) from error


def _parsed(value: dict[str, Any], request: ChatRequest, verifier: BaseVerifier | None) -> ParsedRequest:
    if verifier is not None and not verifier.is_ready:
        field = f"tierwise.verifier.{verifier.kind}"
        raise SpecError(f"{field}: has nothing to check with; give `tests`", field=field)
    fields = {name: field for name, field in value.items() if name not in _OURS}
    seed = random.getrandbits(31) if request.seed is None else request.seed
    return ParsedRequest(
        model=request.model,
        prompt=Prompt(messages=tuple(value["messages"]), fields=fields, seed=seed),
        choices=request.n or 1,
        stream=bool(request.stream),
        wants_usage=bool(request.stream_options and request.stream_options.include_usage),
        wants_logprobs=bool(request.logprobs),
        budget=request.tierwise.budget,
        verifier=verifier,
        caller=request.tierwise.action,
        wants_candidates=request.tierwise.candidates,
        judges=request.tierwise.judges,
    )


def _decoded(body: bytes) -> dict[str, Any]:
    check_body(body)
    try:
        value = _DECODER.decode(body)
    except (ValueError, msgspec.DecodeError, RecursionError) as error:
        raise SpecError(f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise SpecError(f"the body is a JSON {type(value).__name__}; send an object with `model` and `messages`")
    if body.count(b"[") + body.count(b"{") > limits.DEPTH and _is_deeper(value, limits.DEPTH):
        raise SpecError(f"the body is nested more than {limits.DEPTH} levels deep")
    return value


def _number(text: str) -> float:
    """A JSON number with a fraction or an exponent. msgspec's own reader takes 8 µs for `1e300`."""
    if math.isinf(number := float(text)):
        raise ValueError(f"the number {text[:40]} is out of range")
    return number


_DECODER = msgspec.json.Decoder(float_hook=_number)


def check_body(body: bytes) -> None:
    """Check what a body would cost to decode, in time linear in its length and without decoding it.

    Raises:
        SpecError: it has too many JSON values or escapes.
    """
    if len(body) <= limits.VALUES:
        return
    escapes = body.count(b"\\")
    if escapes > limits.ESCAPES:
        raise SpecError(
            f"the body has {escapes:,} backslashes, the limit is {limits.ESCAPES:,}; send text as UTF-8 instead of "
            r"\uXXXX escapes, and data as base64"
        )
    if len(body.translate(None, _ALL_BUT_STARTS)) > limits.VALUES and _has_too_many_values(body):
        raise SpecError(f"the body has more than {limits.VALUES:,} JSON values; send fewer messages, tools or fields")


_ALL_BUT_STARTS = bytes(set(range(256)) - set(b",[{"))
_ALL_BUT_MARKS = bytes(set(range(256)) - set(b',[{"'))


def _has_too_many_values(body: bytes) -> bool:
    """Count the commas and opening brackets outside of strings."""
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    marks = body.translate(None, _ALL_BUT_MARKS)
    if marks.count(b'"') > 4 * limits.VALUES:  # keys are strings, too
        return True
    return sum(map(len, marks.split(b'"')[::2])) > limits.VALUES


def _is_deeper(value: object, depth: int) -> bool:
    level: list[Any] = [value]
    for _ in range(depth + 1):
        level = [
            inner
            for one in level
            for inner in (one.values() if type(one) is dict else one)
            if type(inner) is dict or type(inner) is list
        ]
        if not level:
            return False
    return True


def _invalid(error: Exception, root: str = "") -> SpecError:
    what, _, where = str(error).partition(" - at `$")
    field = ".".join(filter(None, (root, where.strip(".`"), _missing(what))))
    return SpecError(f"{field}: {what}", field=field)


def _missing(message: str) -> str:
    """The field named in msgspec's `Object missing required field `x``."""
    return message.partition("missing required field `")[2].rstrip("`")


class _Named(NamedTuple):
    """A verifier as it is written in a request, and where."""

    settings: Any
    field: str


def _named_verifier(value: dict[str, Any], request: ChatRequest) -> _Named | None:
    """The request's verifier, else one for its `response_format` schema."""
    ours = value.get("tierwise")
    if isinstance(ours, dict) and (settings := ours.get("verifier")) is not None:
        return _Named(settings, "tierwise.verifier")
    asked = request.response_format
    if asked is None or asked.type != "json_schema" or asked.json_schema is None:
        return None
    schema = True if asked.json_schema.schema is None else asked.json_schema.schema
    return _Named({"json_schema": {"schema": schema}}, "response_format.json_schema")


@contextmanager
def _blaming(field: str) -> Generator[None]:
    """Turn what is wrong with a verifier into an error that names its field."""
    try:
        yield
    except (ValueError, msgspec.ValidationError) as error:
        if field == "tierwise.verifier":
            raise _invalid(error, field) from error
        message = str(error).partition(" - at `$")[0]
        raise SpecError(f"{field}: {message}", field=field) from error
