"""A tagged choice as written in YAML: `best_of_n: {n: 4}`, or just `single`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar, cast

import msgspec

from tierwise.spec.plugins import plugins, unreadable


class OneOf(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A table with one field per member, of which exactly one is set. Subclasses are the tables."""

    GROUP: ClassVar[str] = ""
    """The entry-point group through which other packages add members; empty if they cannot."""

    def __post_init__(self) -> None:
        if len(self._set()) != 1:
            found = ", ".join(self._set()) or "nothing"
            allowed = ", ".join(self.__struct_fields__)
            raise ValueError(f"{found} is given; give exactly one of: {allowed}")

    def _set(self) -> list[str]:
        return [name for name in self.__struct_fields__ if getattr(self, name) is not None]

    @property
    def kind(self) -> str:
        """The name of the member that is set."""
        return self._set()[0]

    @property
    def member(self) -> Any:
        """The member itself; subclasses narrow its type."""
        return getattr(self, self.kind)


OneOfT = TypeVar("OneOfT", bound=OneOf)


def with_plugins(table: type[OneOfT], problem: Callable[[type[Any]], str]) -> type[OneOfT]:
    """The table extended with the members that plugins provide.

    Args:
        table: with the entry points' group in `GROUP`.
        problem: returns why a class cannot be a member; empty if it can.
    """
    members = plugins(table.GROUP, table.__struct_fields__, lambda _, member: unreadable(member) or problem(member))
    if not members:
        return table
    fields = [(name, member | None, None) for name, member in members.items()]
    extended: Any = msgspec.defstruct(
        table.__name__,
        fields,
        bases=(table,),
        module=table.__module__,
        namespace={"__doc__": table.__doc__},
        frozen=True,
        kw_only=True,
        forbid_unknown_fields=True,
        omit_defaults=True,
    )
    return cast("type[OneOfT]", extended)
