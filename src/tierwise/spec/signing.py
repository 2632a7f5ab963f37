"""A SHA-256 over what a file says, stored in the file: a change after it was made shows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Protocol, TypeVar, cast

import msgspec
from msgspec.structs import FieldInfo, fields


class HasHash(Protocol):
    """A struct with a field for the hash of all its other fields."""

    @property
    def sha256(self) -> str: ...


S = TypeVar("S", bound=HasHash)


def sha256_of(value: object) -> str:
    """The SHA-256 of a value as JSON, whose sets and mappings are sorted."""
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()


def digest(one: HasHash) -> str:
    """The hash that belongs to the contents."""
    return sha256_of(msgspec.structs.replace(cast("msgspec.Struct", one), sha256=""))


def signed(one: S) -> S:
    """The same with its hash, as it is read again: with 3.0 where 3 was given."""
    read = msgspec.json.decode(msgspec.json.encode(one), type=type(one))
    return cast("S", msgspec.structs.replace(cast("msgspec.Struct", read), sha256=digest(read)))


def canonical(value: Any) -> Any:
    """Settings without those that are at a neutral default, so that a setting that a later version of Tierwise adds
    changes no hash.
    """
    if isinstance(value, msgspec.Struct):
        config = value.__struct_config__
        kind = {} if config.tag is None else {str(config.tag_field): config.tag}
        found = {field.encode_name: (getattr(value, field.name), _default(field)) for field in fields(type(value))}
        kept = {name: one for name, (one, usual) in found.items() if one != usual or usual not in _NEUTRAL}
        return kind | {name: canonical(one) for name, one in kept.items()}
    if isinstance(value, Mapping):
        return {str(name): canonical(one) for name, one in value.items()}
    return [canonical(one) for one in value] if isinstance(value, list | tuple) else value


_NEUTRAL: tuple[Any, ...] = (None, False, "", (), [], {})


def _default(field: FieldInfo) -> Any:
    return field.default_factory() if callable(field.default_factory) else field.default
