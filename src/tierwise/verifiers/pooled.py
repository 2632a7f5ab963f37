"""Reads verifiers and judges answers without blocking the event loop: small inputs here, large ones in the check pool.

Which is decided by size: settings and answer of a verifier that depends on nothing else (`text_cost`). A check of the
usual size takes less than a millisecond; a job of the pool costs about half of one. A small one that takes too many
steps nevertheless (`effort.py`) is given up, and repeated in the pool.
"""

from __future__ import annotations

import functools
import hashlib
import re
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, Protocol, cast

import msgspec

from tierwise.spec import limits
from tierwise.spec.ask import Checkable, Equality, Verdict
from tierwise.spec.call import Completion
from tierwise.spec.json import Json
from tierwise.verifiers import BaseVerifier, VerifierChoice, effort
from tierwise.verifiers.answers import answer_key
from tierwise.verifiers.base import rejected
from tierwise.verifiers.check_pool import CheckLimitExceeded, pool
from tierwise.verifiers.verifier import Verifier

SMALL_TEXT = 1024
"""Characters of an answer that are checked here at most."""
SMALL_SETTINGS = 1024
"""Bytes of settings, as JSON, that are read and applied here at most."""
SMALL_WORK = 1 << 17
"""Settings in bytes × answer in characters × `text_cost` of a check here, at most."""

_EXPANDS = re.compile(rb'"\$(?:ref|dynamicRef|recursiveRef)"|\\\\[pP]|\{,?\d')
"""What makes a few bytes of settings mean much work: references, classes of Unicode, and counted repetition."""

_MOST_SOUND = 10_000
_sound: dict[bytes, None] = {}
"""Digests of settings that the pool has read without an error, so that each is read there once."""


class KnownKeys(Protocol):
    """Finds the key of an answer once, for a caller who tries many settings on the same answers."""

    async def key(self, verifier: Checkable, completion: Completion) -> str | None:
        """As `key_of`."""

    async def vote(self, completion: Completion, equality: Equality) -> str | None:
        """As `vote_of`."""


known: ContextVar[KnownKeys | None] = ContextVar("known", default=None)
"""Where `key_of` and `vote_of` look first; None where every answer is new."""


# ── reading ──────────────────────────────────────────────────────────────
async def read_verifier(settings: object) -> BaseVerifier:
    """The verifier of a request, `{"number": {"equals": 12}}`. The pool reads it first if it is large.

    Raises:
        ValueError, msgspec.ValidationError: the settings are wrong, or too large; the message ends with the place if
            it is known: `- at `$.KIND``.
    """
    given, written = _bounded(settings)
    if _is_small(written):
        return _read(given)
    digest = hashlib.sha256(written).digest()
    if digest not in _sound:
        kind = _kinds().get(next(iter(given), ""))
        seconds = limits.CODE_CPU_SECONDS if kind is not None and kind.runs_code else limits.CHECK_CPU_SECONDS
        try:
            await pool.call(_try_to_read, written, seconds=seconds)
        except CheckLimitExceeded as error:
            raise ValueError(f"cannot be read: {error}; give a smaller one - at `$.{next(iter(given), '')}`") from error
        if len(_sound) >= _MOST_SOUND:
            del _sound[next(iter(_sound))]
        _sound[digest] = None
    return _trusted(given)


def read_here(settings: object) -> BaseVerifier:
    """`read_verifier` without the pool.

    Raises:
        ValueError: as `read_verifier`.
    """
    given, _ = _bounded(settings)
    return _read(given)


def _read(settings: dict[str, Any]) -> BaseVerifier:
    try:
        return msgspec.convert(settings, VerifierChoice).member
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _bounded(settings: object) -> tuple[dict[str, Any], bytes]:
    """The settings without empty members, and as JSON."""
    if not isinstance(settings, dict):
        raise ValueError('Expected `object`: give one verifier with its settings, {"number": {"equals": 12}}')  # noqa: TRY004
    given = {kind: one for kind, one in settings.items() if one is not None}
    check_sizes(given)
    return given, msgspec.json.encode(given)


def check_sizes(settings: dict[str, Any]) -> None:
    """Check the sizes of a request's verifier, before anything else reads it.

    Raises:
        ValueError: one is too large.
    """
    for kind, given in settings.items():
        whole = {"cases": given} if isinstance(given, list) else given
        for name, value in whole.items() if isinstance(whole, dict) else ():
            place = f"{kind}.{name}"
            match name, value:
                case "schema", _:
                    _bound(place, len(msgspec.json.encode(value)), limits.SCHEMA_BYTES, "bytes as JSON")
                case "tests" | "setup", str():
                    _bound(place, _bytes(value), limits.TESTS_BYTES, "bytes")
                case "cases", list():
                    _bound(place, len(msgspec.json.encode(value)), limits.TESTS_BYTES, "bytes as JSON")
                case "pattern", str():
                    _bound(place, _bytes(value), limits.PATTERN_BYTES, "bytes")
                case "options", list():
                    _bound(place, len(value), limits.OPTIONS, "options")
                    for number, option in enumerate(value):
                        if isinstance(option, str):
                            _bound(f"{place}[{number}]", len(option), limits.OPTION_CHARACTERS, "characters")
                case _, str():
                    _bound(place, len(value), limits.TEXT_CHARACTERS, "characters")
                case _:
                    _bound(place, len(msgspec.json.encode(value)), limits.SCHEMA_BYTES, "bytes as JSON")


def _bound(place: str, size: int, most: int, unit: str) -> None:
    if size > most:
        raise ValueError(f"has {size:,} {unit}; a request may have {most:,} - at `$.{place}`")


def _bytes(text: str) -> int:
    return len(text.encode(errors="surrogatepass"))


def _try_to_read(settings: bytes) -> None:
    """In a process of the pool."""
    try:
        _member(settings)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


@functools.lru_cache(maxsize=64)
def _member(settings: bytes) -> BaseVerifier:
    return msgspec.json.decode(settings, type=VerifierChoice).member


def _trusted(settings: dict[str, Any]) -> BaseVerifier:
    """The verifier of settings that the pool has read: with all types converted, but without `__post_init__`."""
    kind, given = next(iter(settings.items()))
    if isinstance(given, list):  # the cases of `stdio` alone
        given = {"cases": given}
    verifier: BaseVerifier = msgspec.convert(given, _without_post_init(_kinds()[kind]))
    return verifier


@functools.cache
def _kinds() -> dict[str, type[BaseVerifier]]:
    found = {}
    for one in msgspec.structs.fields(VerifierChoice):
        kinds = [kind for kind in one.type.__args__ if isinstance(kind, type) and issubclass(kind, BaseVerifier)]
        found[one.encode_name] = kinds[0]
    return found


@functools.cache
def _without_post_init(kind: type[BaseVerifier]) -> type[BaseVerifier]:
    trusting: Any = msgspec.defstruct(
        kind.__name__,
        (),
        bases=(kind,),
        module=kind.__module__,
        namespace={"__post_init__": lambda _: None, "__doc__": kind.__doc__},
        frozen=True,
        kw_only=True,
        forbid_unknown_fields=True,
        omit_defaults=kind.__struct_config__.omit_defaults,
    )
    return cast("type[BaseVerifier]", trusting)


# ── judging ──────────────────────────────────────────────────────────────
async def judge(verifier: Verifier, completion: Completion) -> Verdict:
    """A verifier's verdict on an answer. An answer that is too long, or too much work to check, is rejected."""
    if len(completion.text) > limits.ANSWER_CHARACTERS:
        most = limits.ANSWER_CHARACTERS
        return rejected(f"the answer has {len(completion.text):,} characters; verifiers read up to {most:,}")
    settings = _job_of(verifier, completion)
    if settings is None:
        if not getattr(verifier, "text_cost", 0):
            return await verifier.verify(completion)
        try:
            with effort.bounded():
                return await verifier.verify(completion)
        except effort.TooMuchWork:
            settings = _written(verifier)
    try:
        found = await pool.call(_judge, settings, _bare(completion))
    except CheckLimitExceeded as error:
        return rejected(f"the check was stopped: {error}")
    if isinstance(found, str):  # what remains of the answer is short
        return await verifier.verify(Completion(text=found))
    return msgspec.convert(found, Verdict)


async def key_of(verifier: Checkable, completion: Completion) -> str | None:
    """A verifier's canonical form of an answer; None without an answer, or if it is too much work to find."""
    if (found := known.get()) is not None:
        return await found.key(verifier, completion)
    if len(completion.text) > limits.ANSWER_CHARACTERS:
        return None
    settings = _job_of(verifier, completion)
    if settings is None:
        if not getattr(verifier, "text_cost", 0):
            return verifier.key(completion)
        try:
            with effort.bounded():
                return verifier.key(completion)
        except effort.TooMuchWork:
            settings = _written(verifier)
    try:
        return _text(await pool.call(_key, settings, _bare(completion)))
    except CheckLimitExceeded:
        return None


async def vote_of(completion: Completion, equality: Equality) -> str | None:
    """`answers.answer_key`; None also if the answer is too long, or too much work to read."""
    if (found := known.get()) is not None:
        return await found.vote(completion, equality)
    size = len(completion.text) + sum(len(str(call.get("function", ""))) for call in completion.tool_calls)
    if size <= SMALL_TEXT:
        with suppress(effort.TooMuchWork), effort.bounded():
            return answer_key(completion, equality)
    if size > limits.ANSWER_CHARACTERS:
        return None
    try:
        return _text(await pool.call(answer_key, _bare(completion), equality))
    except CheckLimitExceeded:
        return None


def _job_of(verifier: Checkable, completion: Completion) -> bytes | None:
    """The settings for a job of the pool; None if the check is small, or must be made here."""
    cost = getattr(verifier, "text_cost", 0)
    if not cost:
        return None
    written = _written(verifier)
    text = len(completion.text)
    if text <= SMALL_TEXT and _is_small(written) and text * len(written) * cost <= SMALL_WORK:
        return None
    return written


def _written(verifier: Checkable) -> bytes:
    return msgspec.json.encode({verifier.kind: verifier})


def _is_small(settings: bytes) -> bool:
    return len(settings) <= SMALL_SETTINGS and _EXPANDS.search(settings) is None


def _bare(completion: Completion) -> Completion:
    """What a check of a text may look at."""
    return Completion(text=completion.text, tool_calls=completion.tool_calls, finish=completion.finish)


def _judge(settings: bytes, completion: Completion) -> Json:
    """In a process of the pool: the verdict, or a short text that gives the same verdict, but not without waiting."""
    verifier = _member(settings)
    if (short := verifier.waits_for(completion)) is not None:
        return short
    found: Json = msgspec.to_builtins(_finished(verifier.verify(completion)))
    return found


def _key(settings: bytes, completion: Completion) -> str | None:
    """In a process of the pool."""
    return _member(settings).key(completion)


def _finished(coroutine: Any) -> Verdict:
    """The result of a coroutine that waits for nothing, as a check of a text does."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        verdict: Verdict = done.value
        return verdict
    raise TypeError("a verifier with `text_cost` waited for something")


def _text(value: Json) -> str | None:
    return value if isinstance(value, str) else None
