"""A SHA-256 over what a file says, stored in the file: a change after it was made shows."""

from __future__ import annotations

import hashlib
from typing import Protocol, TypeVar, cast

import msgspec


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
