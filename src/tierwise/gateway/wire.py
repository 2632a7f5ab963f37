"""Parses and validates chat requests. Unknown fields are passed on to the engine."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Annotated, Any

import msgspec

from tierwise.spec.budget import Budget
from tierwise.spec.errors import SpecError
from tierwise.spec.prompt import BOUNDS, Prompt, draw_seed
from tierwise.verifiers import JsonSchema, VerifierChoice
from tierwise.verifiers.verifier import Verifier

MOST_CHOICES = 32
MOST_TOKENS = 2**31 - 1
"""Larger limits are lowered to this: engines read 32 bits."""
MOST_DEPTH = 128
MOST_SECONDS = 30.0
"""CPU seconds that a request may have its verifier run code, per candidate."""
"""Maximum nesting depth, because later stages process requests recursively."""
_OURS = frozenset({"model", "messages", "n", "seed", "stream", "tierwise"})
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_STRIDE = 1_000_003  # separates the draw seeds of different choices

_WHOLE = ("max_tokens", "max_completion_tokens", "n", "seed", "top_logprobs", "top_k", "min_tokens", "priority")
"""Fields that hold integers. Some clients have only one kind of number, and write 256.0."""

Tokens = Annotated[int, msgspec.Meta(ge=-1)]
"""A limit; what -1 and 0 mean is up to the engine."""
ActionId = Annotated[str, msgspec.Meta(max_length=200, pattern=r"\A[ -~]*\Z")]
"""Printable ASCII, because it is shown in terminals and logs."""
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
    """Verifier of this request: tests, a schema, or an answer format."""
    action: ActionId = ""
    """The caller's id for the action, stored in the ledger: at most 200 characters of printable ASCII."""
    candidates: bool = False
    """Whether the usage includes the message of every pass."""
    judges: bool = False
    """Whether it judges another action's answer; its passes then have the role `judge` in ledger and usage."""


class ChatRequest(msgspec.Struct):
    """The fields of a chat completion that are validated here, with bounds common to all engines."""

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=300)]
    messages: Annotated[list[_Message], msgspec.Meta(min_length=1)]
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
        SpecError: it is not JSON, or a field is invalid; the error names the field.
    """
    try:
        value = msgspec.json.decode(body.removeprefix(_BYTE_ORDER_MARK))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, MemoryError) as error:
        raise SpecError(f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise SpecError(f"the body is a JSON {type(value).__name__}; send an object with `model` and `messages`")
    if body.count(b"[") + body.count(b"{") > MOST_DEPTH and _is_deeper(value, MOST_DEPTH):
        raise SpecError(f"the body is nested more than {MOST_DEPTH} levels deep")
    _make_whole(value)
    try:
        request = msgspec.convert(value, ChatRequest)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$")
        field = ".".join(filter(None, (where.strip(".`"), _missing(what))))
        raise SpecError(f"{field}: {what}", field=field) from error
    except (RecursionError, MemoryError) as error:
        raise SpecError(f"the request cannot be read: {error!r}; send a smaller or flatter one") from error
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
        verifier=_verifier(request),
        caller=request.tierwise.action,
        wants_candidates=request.tierwise.candidates,
        judges=request.tierwise.judges,
    )


def _make_whole(value: dict[str, Any]) -> None:
    """Make whole floats of integer fields integers, and limits beyond all engines the largest that they read."""
    for name in _WHOLE:
        if type(number := value.get(name)) is float and number.is_integer():
            value[name] = int(number)
    for name in BOUNDS:
        if type(number := value.get(name)) is int:
            value[name] = min(number, MOST_TOKENS)


def _is_deeper(value: object, depth: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return depth < 0 or any(_is_deeper(one, depth - 1) for one in inner)


def _missing(message: str) -> str:
    """The field named in msgspec's `Object missing required field `x``."""
    return message.partition("missing required field `")[2].rstrip("`")


def _check_seconds(named: VerifierChoice) -> None:
    seconds = getattr(named.member, "seconds", 0.0)
    if named.member.runs_code and seconds > MOST_SECONDS:
        field = f"tierwise.verifier.{named.kind}.seconds"
        raise SpecError(f"{field}: {seconds:g} is too long for a request; at most {MOST_SECONDS:g}", field=field)


def _verifier(request: ChatRequest) -> Verifier | None:
    """The request's verifier, else one for its `response_format` schema."""
    if (named := request.tierwise.verifier) is not None:
        if not named.member.is_ready:
            field = f"tierwise.verifier.{named.kind}"
            raise SpecError(f"{field}: has nothing to check with; give `{named.member.brought}`", field=field)
        _check_seconds(named)
        return named.member
    asked = request.response_format
    if asked is not None and asked.type == "json_schema" and asked.json_schema is not None:
        try:
            return JsonSchema(schema=True if asked.json_schema.schema is None else asked.json_schema.schema)
        except (ValueError, RecursionError, MemoryError) as error:
            field = "response_format.json_schema"
            raise SpecError(f"{field}: {str(error) or repr(error)}", field=field) from error
    return None
