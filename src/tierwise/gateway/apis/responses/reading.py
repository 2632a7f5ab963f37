"""Reads objects of a request, and refuses every field that is not known, by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from tierwise.spec.errors import SpecError


def named(value: dict[str, Any], allowed: Iterable[str], where: str) -> None:
    """Check the names of an object's fields. One that is null is not there.

    Args:
        value: the object.
        allowed: the names that it may have.
        where: its path; empty for the request.

    Raises:
        SpecError: it has another field; the error names all that are allowed.
    """
    for name, given in value.items():
        if name not in allowed and given is not None:
            field = f"{where}.{name}" if where else str(name)[:100]
            raise SpecError(f"{field}: unknown field; allowed: {', '.join(sorted(allowed))}", field=field)


def read(value: Any, kind: type, where: str) -> Any:
    """An object as a struct.

    Raises:
        SpecError: it has an unknown field, lacks one, or one has the wrong type.
    """
    if not isinstance(value, dict):
        raise SpecError(f"{where}: {_type(value)} was sent; send an object", field=where)
    named(value, [one.encode_name for one in msgspec.structs.fields(kind)], where)
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        what, _, inner = str(error).partition(" - at `$")
        missing = what.partition("missing required field `")[2].rstrip("`")
        field = ".".join(filter(None, (where, inner.strip(".`"), missing)))
        raise SpecError(f"{field}: {what}", field=field) from error
    except (RecursionError, MemoryError) as error:
        raise SpecError(f"{where}: cannot be read: {error!r}", field=where) from error


def refuse(field: str, why: str) -> SpecError:
    """The error for what cannot be translated."""
    return SpecError(f"{field}: {why}", field=field)


def kind_of(value: Any, where: str, default: str = "") -> str:
    """The `type` of an object.

    Raises:
        SpecError: it is no object, or has no type.
    """
    if not isinstance(value, dict):
        raise SpecError(f"{where}: {_type(value)} was sent; send an object", field=where)
    kind = value.get("type") or default
    if not isinstance(kind, str) or not kind:
        raise SpecError(f"{where}.type: is missing; send the type of the object as a string", field=f"{where}.type")
    return kind


def _type(value: object) -> str:
    return "null" if value is None else f"a {type(value).__name__}"
