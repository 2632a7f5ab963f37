"""One of several named things, as a user writes it in YAML: `best_of_n: {n: 4}`, or just `single`."""

from __future__ import annotations

from typing import Any

import msgspec


class OneOf(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A table with one field per member, of which exactly one is set. Subclasses are the tables."""

    def __post_init__(self) -> None:
        if len(self._set()) != 1:
            found = ", ".join(self._set()) or "nothing"
            allowed = ", ".join(self.__struct_fields__)
            raise ValueError(f"{found} is given, exactly one of these is wanted: {allowed}")

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
