"""Checks schemas, and values against them. Uses jsonschema (the reference implementation: maintained, small).

Schemas are untrusted, but jsonschema trusts them: it matches patterns with `re`, fetches `$ref` targets from the
network, and can follow references in 2ⁿ steps. All of these are disabled or limited here.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from contextvars import ContextVar
from fractions import Fraction
from time import thread_time
from typing import Any

import jsonschema
import msgspec
import referencing
from jsonschema.validators import extend, validator_for

from tierwise.verifiers import schema_refs
from tierwise.verifiers.answers import canonical
from tierwise.verifiers.ecma import to_re2
from tierwise.verifiers.patterns import compiled

SECONDS = 0.5
"""CPU time limit for one candidate. A typical schema takes a millisecond."""

MOST_KNOWN = 10_000
_SOUND: set[bytes] = set()  # validated schemas: one with 20 properties takes 9 ms, and every request brings its own

_deadline: ContextVar[float] = ContextVar("_deadline")


def require_sound(schema: dict[str, Any] | bool) -> None:
    """Raise unless a schema is one, and can be applied.

    Raises:
        ValueError: what is wrong with it.
    """
    kind = _dialect(schema)
    name = _name(schema)
    if name not in _SOUND:
        wrong = _first_error(kind, kind.META_SCHEMA, schema)
        if wrong is not None:
            raise ValueError(f"schema: not a JSON Schema: {wrong}")
        _check_applies(kind, schema)
        if len(_SOUND) >= MOST_KNOWN:
            _SOUND.clear()
        _SOUND.add(name)


def first_error(schema: dict[str, Any] | bool, value: Any) -> str | None:
    """The most relevant reason why a value does not match a schema; None if it does."""
    return _first_error(_dialect(schema), schema, value)


def _check_applies(kind: Any, schema: dict[str, Any] | bool) -> None:
    written = msgspec.json.encode(schema)
    if b'"unevaluatedProperties"' in written and b'"patternProperties"' in written:
        raise ValueError("schema: it can never be applied: unevaluatedProperties together with patternProperties")
    try:
        dialect = kind.META_SCHEMA.get("$schema", "") if isinstance(kind.META_SCHEMA, dict) else ""
        schema_refs.check(schema, dialect, lambda part: _first_error(kind, kind.META_SCHEMA, part))
    except ValueError as error:
        raise ValueError(f"schema: it can never be applied: {error}") from error


def _name(schema: dict[str, Any] | bool) -> bytes:
    try:
        return hashlib.sha256(msgspec.json.encode(schema)).digest()
    except RecursionError as error:
        raise ValueError("schema: not a JSON Schema: it is nested too deeply") from error
    except (msgspec.MsgspecError, TypeError, ValueError) as error:
        raise ValueError(f"schema: not a JSON Schema: {error}") from error


def _first_error(kind: Any, schema: dict[str, Any] | bool, value: Any) -> str | None:
    """The most relevant validation error of a value, or why it cannot be validated."""
    _deadline.set(thread_time() + SECONDS)
    try:
        checking = kind(schema, registry=referencing.Registry())
        error = jsonschema.exceptions.best_match(checking.iter_errors(value))
    except RecursionError:
        return "the schema cannot be applied: it refers to itself without end, or is nested too deeply"
    except Exception as failure:  # noqa: BLE001 - parts that are only referred to are not validated before use
        return f"the schema cannot be applied: {failure}"[:200]
    return None if error is None else f"{error.json_path}: {error.message}"[:200]


def _dialect(schema: dict[str, Any] | bool) -> Any:
    named = schema.get("$schema", "") if isinstance(schema, dict) else ""
    if not isinstance(named, str):
        raise ValueError(f"schema: $schema is {named!r}; give the URL of a draft")  # noqa: TRY004 - it is a value
    return _careful(validator_for({"$schema": named}, default=jsonschema.Draft202012Validator))


@functools.cache
def _careful(kind: Any) -> Any:
    """The same draft without its unsafe features."""
    careful = extend(  # type: ignore[no-untyped-call]
        kind,
        {
            "pattern": _pattern,
            "patternProperties": _pattern_properties,
            "additionalProperties": _additional_properties,
            "uniqueItems": _unique_items,
            "multipleOf": _multiple_of,
            "divisibleBy": _multiple_of,
        },
    )

    enter = careful.evolve

    def evolve(self: Any, **changes: Any) -> Any:
        """Called for every subschema: hides its `$schema`, which would select the unmodified draft."""
        _hurry()
        schema = changes.get("schema", self.schema)
        if isinstance(schema, dict):
            changes["schema"] = {name: value for name, value in schema.items() if name != "$schema"}
        return enter(self, **changes)

    careful.evolve = evolve
    return careful


def _hurry() -> None:
    if thread_time() > _deadline.get():
        raise TimeoutError(f"it takes more than {SECONDS:g} seconds")


def _matches(pattern: str, text: str) -> bool:
    _hurry()
    return compiled(_translated(pattern)).find(text) is not None


@functools.lru_cache(maxsize=256)
def _translated(pattern: str) -> str:
    return to_re2(pattern)


def _pattern(validator: Any, pattern: str, instance: object, schema: object) -> Iterator[Any]:  # noqa: ARG001
    if isinstance(instance, str) and not _matches(pattern, instance):
        yield jsonschema.ValidationError(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(
    validator: Any,
    patterns: dict[str, Any],
    instance: object,
    schema: object,  # noqa: ARG001
) -> Iterator[Any]:
    for pattern, inner in patterns.items():
        for name, value in instance.items() if isinstance(instance, dict) else ():
            if _matches(pattern, name):
                yield from validator.descend(value, inner, path=name, schema_path=pattern)


def _additional_properties(validator: Any, allowed: Any, instance: object, schema: dict[str, Any]) -> Iterator[Any]:
    for name, value in instance.items() if isinstance(instance, dict) else ():
        named = name in schema.get("properties", {})
        if not named and not any(_matches(pattern, name) for pattern in schema.get("patternProperties", {})):
            if allowed is False:
                yield jsonschema.ValidationError(f"the property {name!r} is not allowed")
            else:
                yield from validator.descend(value, allowed, path=name)


def _unique_items(validator: Any, wanted: Any, instance: object, schema: object) -> Iterator[Any]:  # noqa: ARG001
    if wanted and isinstance(instance, list) and len({canonical(item) for item in instance}) < len(instance):
        yield jsonschema.ValidationError("has items that are equal")


def _multiple_of(validator: Any, divisor: Any, instance: Any, schema: object) -> Iterator[Any]:  # noqa: ARG001
    """Exact for decimals: 19.99 is a multiple of 0.01, as it is written."""
    if validator.is_type(instance, "number") and divisor and _exact(instance) % _exact(divisor):
        yield jsonschema.ValidationError(f"{instance!r} is not a multiple of {divisor!r}")


def _exact(number: float) -> Fraction:
    return Fraction(number) if isinstance(number, int) else Fraction(repr(number))
