"""Parses and validates chat requests. Unknown fields are passed on to the engine."""

from __future__ import annotations

import random
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated, Any, NamedTuple

import msgspec

from tierwise.gateway.decoding import check_body, decoded
from tierwise.gateway.headers import SESSION
from tierwise.keys.ceilings import Ceilings, ceilings_of
from tierwise.spec import limits, turns
from tierwise.spec.budget import Budget
from tierwise.spec.errors import SpecError
from tierwise.spec.prompt import BOUNDS, Prompt, WrittenMessages, draw_seed
from tierwise.spec.values import frozen_value
from tierwise.verifiers import BaseVerifier, VerifierChoice
from tierwise.verifiers.pooled import read_here, read_verifier
from tierwise.verifiers.verifier import Verifier

MOST_CHOICES = 32
MOST_TOKENS = 2**31 - 1
"""Larger limits are lowered to this: engines read 32 bits."""
SMALL_BYTES = 64 * limits.KIB
"""Larger bodies are decoded in turn."""
_OURS = frozenset({"model", "messages", "n", "seed", "stream", "tierwise"})
_STRIDE = 1_000_003  # separates the draw seeds of different choices

_WHOLE = frozenset({*BOUNDS, "n", "seed", "top_logprobs", "top_k", "min_tokens", "priority"})
"""Fields that hold integers. Some clients have only one kind of number, and write 256.0."""

Tokens = Annotated[int, msgspec.Meta(ge=-1)]
"""A limit; what -1 and 0 mean is up to the engine."""
ActionId = Annotated[str, msgspec.Meta(max_length=200, pattern=r"\A[ -~]*\Z")]
"""Printable ASCII, because it is shown in terminals and logs."""
SessionId = Annotated[str, msgspec.Meta(max_length=200, pattern=r"\A[!-~]*\Z")]
"""Printable ASCII without blanks, because it is a header too."""
Role = Annotated[str, msgspec.Meta(max_length=64, pattern=r"\A[a-z][a-z0-9_.-]*\Z")]
"""Which roles there are is up to the model's chat template: `developer`, `observation`, `control`, `ipython` …"""


class _Message(msgspec.Struct):
    role: Role
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
    action: ActionId = ""
    """The caller's id for the action, stored in the ledger: at most 200 characters of printable ASCII."""
    session: SessionId = ""
    """The caller's id for the session that the action belongs to, stored in the ledger: at most 200 characters of
    printable ASCII without blanks. The header `x-tierwise-session` says the same."""
    candidates: bool = False
    """Whether the usage includes the message of every pass."""
    drafts: bool = False
    """Whether a stream has events with drafts, which the answer may replace."""
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


@frozen_value
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
    session: str = ""
    """The caller's id for the session that the action belongs to."""
    wants_candidates: bool = False
    """Whether the usage includes the message of every pass."""
    wants_drafts: bool = False
    """Whether a stream has events with drafts."""
    judges: bool = False
    """Whether it judges another action's answer."""
    ceilings: Ceilings | None = None
    """What its session may use; None if the request does not say."""
    raws: tuple[str | tuple[int, ...], ...] = ()
    """Prompts without a chat template. Choices are numbered by prompt, then by choice of a prompt."""
    notes: tuple[str, ...] = ()
    """How it was changed while it was read, for the client."""

    def prompt_of(self, choice: int) -> Prompt:
        """The prompt of one choice, with its own seeds."""
        if self.raws:
            of_each = self.choices // len(self.raws)
            seed = draw_seed(self.prompt.seed, choice % of_each * _STRIDE)
            return replace(self.prompt, raw=self.raws[choice // of_each], seed=seed)
        if choice == 0:
            return self.prompt
        return replace(self.prompt, seed=draw_seed(self.prompt.seed, choice * _STRIDE))


def read(body: bytes) -> ParsedRequest:
    """Parse and validate a request body.

    Raises:
        SpecError: it is not JSON, it is too large, or a field is invalid; the error names the field.
    """
    check_body(body)
    value, request = _request(body)
    verifier = None
    if (named := _named_verifier(value, request)) is not None:
        with _blaming(named.field):
            verifier = read_here(named.settings)
    return _parsed(value, request, verifier)


async def read_aside(body: bytes | bytearray) -> ParsedRequest:
    """`read` for a server: large requests take turns, and another process validates what may take long.

    Args:
        body: its values were counted while it arrived (`decoding.ValueCounter`).

    Raises:
        SpecError: as `read`, or it takes too long.
    """
    is_large = len(body) > SMALL_BYTES
    value, request = await turns.made(lambda: _request(body), is_large=True) if is_large else _request(body)
    return await _finished(value, request, is_large=is_large)


async def read_translated(value: dict[str, Any], *, is_large: bool) -> ParsedRequest:
    """`read_aside` for a chat request that another API's request was translated into.

    Args:
        value: the fields of the chat request, which become those of the prompt.
        is_large: whether the body was large, and what follows of it takes turns.

    Raises:
        SpecError: as `read_aside`; the error names the field of the chat request.
    """
    return await _finished(value, _fields(value), is_large=is_large)


async def _finished(value: dict[str, Any], request: ChatRequest, *, is_large: bool) -> ParsedRequest:
    verifier = None
    if (named := _named_verifier(value, request)) is not None:
        with _blaming(named.field):
            verifier = await read_verifier(named.settings)
    return _parsed(value, request, verifier, is_large=is_large)


def in_session(
    asked: ParsedRequest, named: str, dollars: str = "", passes: str = "", in_path: str = ""
) -> ParsedRequest:
    """The request, in the session that its headers or its path name, if they name one, and within its ceilings.

    Args:
        asked: the request.
        named: the value of `x-tierwise-session`; empty if it was not sent.
        dollars: that of `x-tierwise-session-dollars`, likewise.
        passes: that of `x-tierwise-session-passes`, likewise.
        in_path: the session of the path; empty if it names none.

    Raises:
        SpecError: it is not an id, path, header and body name different sessions, or a ceiling is no amount.
    """
    if in_path and named != in_path:
        raise SpecError(
            f"{SESSION}: the path names the session {in_path!r} and the header {named!r}; send one", field=SESSION
        )
    found = _in_session(asked, named) if named else asked
    ceilings = ceilings_of(found.session, dollars, passes)
    return found if ceilings is None else replace(found, ceilings=ceilings)


def within_passes(asked: ParsedRequest, passes: str) -> ParsedRequest:
    """The request with the budget of passes that its path names, or with its own if that is tighter.

    Raises:
        SpecError: it is no number of passes.
    """
    try:
        bound = msgspec.convert({"passes": int(passes)}, Budget)
    except ValueError as error:
        raise SpecError(f"the path says passes={passes!r}; allowed are 1 to 1000", field="passes") from error
    return replace(asked, budget=asked.budget.within(bound))


def _in_session(asked: ParsedRequest, named: str) -> ParsedRequest:
    try:
        session = msgspec.convert(named, SessionId)
    except msgspec.ValidationError as error:
        allowed = "at most 200 characters of printable ASCII without blanks"
        raise SpecError(f"{SESSION}: allowed are {allowed}", field=SESSION) from error
    if asked.session not in ("", session):
        raise SpecError(
            f"tierwise.session: the body names {asked.session!r} and the header {SESSION}, or the path, {session!r}; "
            "send one",
            field="tierwise.session",
        )
    return replace(asked, session=session)


def _request(body: bytes | bytearray) -> tuple[dict[str, Any], ChatRequest]:
    """The body, and its fields without the verifier."""
    value = decoded(body)
    return value, _fields(value)


def _fields(value: dict[str, Any]) -> ChatRequest:
    """The fields of a chat request without the verifier."""
    _make_whole(value)
    ours = value.get("tierwise")
    if isinstance(ours, dict) and "verifier" in ours:
        shown = {**value, "tierwise": {name: one for name, one in ours.items() if name != "verifier"}}
    else:
        shown = value
    try:
        return msgspec.convert(shown, ChatRequest)
    except msgspec.ValidationError as error:
        raise invalid(error) from error
    except (RecursionError, MemoryError) as error:
        raise SpecError(f"the request cannot be read: {error!r}; send a smaller or flatter one") from error


def _parsed(
    value: dict[str, Any], request: ChatRequest, verifier: BaseVerifier | None, *, is_large: bool = False
) -> ParsedRequest:
    if verifier is not None:
        _check_verifier(verifier)
    fields = {name: field for name, field in value.items() if name not in _OURS}
    seed = random.getrandbits(31) if request.seed is None else request.seed
    return ParsedRequest(
        model=request.model,
        prompt=Prompt(
            messages=tuple(value["messages"]),
            fields=fields,
            seed=seed,
            written=WrittenMessages() if is_large else None,
        ),
        choices=request.n or 1,
        stream=bool(request.stream),
        wants_usage=bool(request.stream_options and request.stream_options.include_usage),
        wants_logprobs=bool(request.logprobs),
        budget=request.tierwise.budget,
        verifier=verifier,
        caller=request.tierwise.action,
        session=request.tierwise.session,
        wants_candidates=request.tierwise.candidates,
        wants_drafts=request.tierwise.drafts,
        judges=request.tierwise.judges,
    )


def _check_verifier(verifier: BaseVerifier) -> None:
    """That it has what it judges with, and runs code for a bounded time."""
    field = f"tierwise.verifier.{verifier.kind}"
    if not verifier.is_ready:
        raise SpecError(f"{field}: has nothing to check with; give `{verifier.brought}`", field=field)
    seconds = getattr(verifier, "seconds", 0.0)
    if verifier.runs_code and seconds > limits.CODE_SECONDS:
        field = f"{field}.seconds"
        raise SpecError(f"{field}: {seconds:g} is too long for a request; at most {limits.CODE_SECONDS:g}", field=field)


def _make_whole(value: dict[str, Any]) -> None:
    """Make whole floats of integer fields integers, and limits beyond all engines the largest that they read."""
    for name in _WHOLE & value.keys():
        number = value[name]
        if type(number) is float and number.is_integer():
            value[name] = number = int(number)
        if name in BOUNDS and type(number) is int:
            value[name] = min(number, MOST_TOKENS)


def invalid(error: Exception, root: str = "") -> SpecError:
    """The error of a request that msgspec refuses, which names the field below `root`."""
    what, _, where = str(error).partition(" - at `$")
    field = ".".join(filter(None, (root, where.strip(".`"), _named_in(what))))
    return SpecError(f"{field}: {what}", field=field)


def _named_in(message: str) -> str:
    """The field that msgspec names in `Object missing required field `x`` or `Object contains unknown field `x``."""
    _, found, field = message.partition(" field `")
    return field.rstrip("`") if found else ""


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
    except (ValueError, msgspec.ValidationError, RecursionError, MemoryError) as error:
        if field == "tierwise.verifier":
            raise invalid(error, field) from error
        message = str(error).partition(" - at `$")[0] or repr(error)
        raise SpecError(f"{field}: {message}", field=field) from error
