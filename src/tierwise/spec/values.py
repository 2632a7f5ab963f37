"""Values that every request makes: frozen for the type checker, and as quick to make as any object.

A frozen dataclass sets each field through `object.__setattr__`, and takes four times as long to make.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

_Class = TypeVar("_Class")


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def frozen_value(cls: type[_Class]) -> type[_Class]:
    """`@dataclass(frozen=True, slots=True, kw_only=True)`, whose fields only the type checker keeps from changing."""
    return dataclass(slots=True, kw_only=True, unsafe_hash=True)(cls)
