"""Converts user input into typed values, and finds all errors in one pass."""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec.structs import FieldInfo

from tierwise.spec.choice import OneOf
from tierwise.spec.errors import ConfigErrors, SpecError
from tierwise.spec.plugins import UNIONS, why_not

T = TypeVar("T")


class Reading:
    """Collects the errors of one file or request."""

    def __init__(self) -> None:
        self.errors: list[SpecError] = []

    def wrong(self, field: str, message: str) -> None:
        """Record an error at a path."""
        self.errors.append(SpecError(message, field=field))

    def repeated(self, field: str, first: int, second: int) -> None:
        """Record a repeated key, with both lines."""
        where = "" if first == second else f", on lines {first} and {second}"
        self.wrong(field, f"appears twice{where}; give each key once")

    def known(self, name: str, names: Iterable[str], field: str, what: str, why: str = "") -> bool:
        """Whether `name` is among `names`; records an error if not, with `why` in place of the allowed names."""
        names = list(names)
        if name not in names:
            self.wrong(field, f"there is no {what} {name!r}; {why or allowed(name, names)}")
        return name in names

    def done(self) -> None:
        """Raise all errors found."""
        if self.errors:
            raise ConfigErrors(self.errors)

    def finish(self, found: T | None) -> T:
        """`found` if there are no errors; otherwise raise them all."""
        self.done()
        assert found is not None  # noqa: S101 - a value that cannot be read has an error
        return found

    def read(self, kind: type[T], value: object, field: str) -> T | None:
        """`value` as a `kind`. If it does not fit, it is read member by member, so that no error hides another.

        Returns:
            None if something is wrong; every reason is then in `errors`.
        """
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError:
            pass  # an error, or a shorthand that only the code below handles
        before = len(self.errors)
        found = self._read(kind, value, field)
        return None if len(self.errors) > before else found

    def _read(self, kind: Any, value: Any, field: str) -> Any:
        kind = self._member_of_union(kind, value, field)
        if kind is None:
            return None
        if get_origin(kind) is dict and isinstance(value, dict) and _holds_structs(kind):
            item = get_args(kind)[-1]
            for name in value:
                if not isinstance(name, str):  # YAML reads `1`, `yes` and `2024-01-01` as non-text
                    self.wrong(_path(field, name), f"the name {name!r} is not text; put it in quotes")
            return {name: self._read(item, inner, _path(field, name)) for name, inner in value.items()}
        if get_origin(kind) is list and isinstance(value, list) and _holds_structs(kind):
            item = get_args(kind)[-1]
            return [self._read(item, inner, f"{field}[{position}]") for position, inner in enumerate(value)]
        if _is_struct(kind) and issubclass(kind, OneOf) and isinstance(value, str):
            value = {value: {}}
        if _is_struct(kind) and isinstance(value, dict):
            return self._struct(kind, value, field)
        return self._plain(kind, value, field)

    def _plain(self, kind: Any, value: Any, field: str) -> Any:
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            self._refused(error, field)
            return None

    def _struct(self, kind: Any, value: dict[str, Any], field: str) -> Any:
        members, required = _members(kind)
        before = len(self.errors)
        config = kind.__struct_config__
        read = {}
        for name, inner in value.items():
            if name in members:
                member, is_plain = members[name]
                convert = self._plain if is_plain else self._read
                read[member.name] = convert(member.type, inner, _path(field, name))
            elif config.forbid_unknown_fields and name != config.tag_field:
                why = why_not(kind.GROUP, str(name)) if issubclass(kind, OneOf) else ""
                self.wrong(_path(field, name), f"unknown key; {why or allowed(str(name), members)}")
        for name in required:
            if name not in value:
                self.wrong(field, f"the key {name!r} is missing")
        if len(self.errors) > before:
            return None
        try:
            return kind(**read)
        except ValueError as error:
            self.wrong(field, str(error))
            return None

    def _member_of_union(self, kind: Any, value: Any, field: str) -> Any:
        """The type that is meant where several are allowed; None, with an error recorded, if it cannot be
        determined.
        """
        if get_origin(kind) not in (Union, types.UnionType):
            return kind
        structs = [member for member in get_args(kind) if _is_struct(member)]
        if not isinstance(value, dict | str) or not structs:
            return kind
        if len(structs) == 1:
            return structs[0] if isinstance(value, dict) or issubclass(structs[0], OneOf) else kind
        tag_field = str(structs[0].__struct_config__.tag_field)
        tags = {struct.__struct_config__.tag: struct for struct in structs}
        if not isinstance(value, dict):
            return kind
        if tag_field not in value:
            self.wrong(field, f"the key {tag_field!r} is missing; allowed: {', '.join(sorted(tags))}")
            return None
        tag = str(value[tag_field])
        why = why_not(UNIONS.get(tag_field, ""), tag)
        return tags[tag] if self.known(tag, tags, _path(field, tag_field), tag_field, why) else None

    def _refused(self, error: msgspec.ValidationError, field: str) -> None:
        what, _, where = str(error).partition(" - at `$")
        place = re.sub(r"^\.\.\.|`$", "", where)
        self.wrong(field + place, what)


def allowed(seen: str, names: Iterable[str]) -> str:
    """The end of an error message: the likely intended name, and the allowed names."""
    names = sorted(names)
    close = difflib.get_close_matches(seen, names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}allowed: {', '.join(names) or 'none, because none is declared'}"


@cache
def _members(kind: type[msgspec.Struct]) -> tuple[Mapping[str, tuple[FieldInfo, bool]], Sequence[str]]:
    """The fields of a struct by their names in a file, with whether msgspec can read each alone; and the required ones.

    Cached, because a workload needs the same ones on every line.
    """
    fields = {one.encode_name: (one, _is_plain(one.type)) for one in msgspec.structs.fields(kind)}
    return fields, [name for name, (one, _) in fields.items() if one.required]


def _path(field: str, name: object) -> str:
    return f"{field}.{name}" if field else str(name)


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _is_plain(kind: Any) -> bool:
    return not _is_struct(kind) and all(map(_is_plain, get_args(kind)))


def _holds_structs(kind: Any) -> bool:
    item = get_args(kind)[-1]
    return _is_struct(item) or any(_is_struct(member) for member in get_args(item))
