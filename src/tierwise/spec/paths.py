"""Settings that are paths: which ones, and how they are written in a copy of a file in another folder.

A setting is declared as a path where it stands, by its type. A relative path starts at the folder of the file that has
it, so a copy elsewhere needs another spelling of it. Absolute paths, and those below `~`, stay as they are.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

FilePath = Annotated[str, msgspec.Meta(extra={"path": "file"})]
"""The path of a file."""
ProgramPath = Annotated[str, msgspec.Meta(extra={"path": "program"})]
"""The path of a program if it has a slash, else its name on PATH."""
SourcePath = Annotated[str, msgspec.Meta(extra={"path": "source"})]
"""The path of a file or folder if it begins with `file:`, else another source."""

Kind = Literal["file", "program", "source"]


@dataclass(frozen=True, slots=True)
class Place:
    """A path in a struct."""

    keys: tuple[str | int, ...]
    """Names and positions that lead to it, as they are encoded."""
    kind: Kind
    text: str
    """As it is written, with `file:`."""
    is_key: bool = False
    """Whether it is the last of the keys itself, not its value."""

    def spelled(self, other: Callable[[str], str]) -> str:
        """The same with another spelling of the path; unchanged if it is none."""
        if self.kind == "source":
            scheme, _, path = self.text.partition(":")
            return f"file:{other(path)}" if scheme == "file" and path else self.text
        if not self.text or (self.kind == "program" and os.sep not in self.text):
            return self.text
        found = other(self.text)
        return f".{os.sep}{found}" if self.kind == "program" and os.sep not in found else found


def places(value: msgspec.Struct) -> list[Place]:
    """All paths in a struct."""
    return list(_places(value, _type_of(type(value)), ()))


@cache
def _type_of(kind: type) -> Any:
    from msgspec import inspect  # noqa: PLC0415 - serving needs it only for certificates

    return inspect.type_info(kind)


def _places(value: Any, kind: Any, at: tuple[str | int, ...]) -> Iterator[Place]:
    from msgspec import inspect  # noqa: PLC0415

    match kind:
        case inspect.Metadata():
            if isinstance(value, str) and (path := _path_of(kind)):
                yield Place(at, path, value)
            else:
                yield from _places(value, kind.type, at)
        case inspect.UnionType():
            for one in kind.types:
                yield from _places(value, one, at)
        case inspect.ListType() | inspect.VarTupleType() if isinstance(value, list | tuple):
            for position, item in enumerate(value):
                yield from _places(item, kind.item_type, (*at, position))
        case inspect.DictType() if isinstance(value, Mapping):
            for name, item in value.items():
                if path := _path_of(kind.key_type):
                    yield Place((*at, name), path, name, is_key=True)
                yield from _places(item, kind.value_type, (*at, name))
        case inspect.StructType() if type(value) is kind.cls:
            for field in kind.fields:
                yield from _places(getattr(value, field.name), field.type, (*at, field.encode_name))


def _path_of(kind: Any) -> Kind | None:
    found: Kind | None = (getattr(kind, "extra", None) or {}).get("path")
    return found


def resolved(value: msgspec.Struct, base: Path) -> Any:
    """A struct as built-in types, with its paths in full, so that spellings of the same path are equal."""

    def full(path: str) -> str:
        there = base / Path(path).expanduser()
        return os.path.abspath(there.parent.resolve() / there.name)  # noqa: PTH100 - a last link may be a venv's python

    found = msgspec.to_builtins(value)
    for place in places(value):
        _put(found, place, place.spelled(full))
    return found


def without_folders(value: msgspec.Struct, encoded: Any) -> tuple[Any, dict[str, str]]:
    """What a struct says wherever its files are: each path is reduced to its last part.

    Args:
        value: the struct.
        encoded: the same as built-in types.

    Returns:
        That, and by dotted place the paths of its files as they are written.
    """
    files: dict[str, str] = {}
    for place in places(value):
        short = name = place.spelled(lambda path: Path(path).name)
        number = 1
        while place.is_key and name in _parent(encoded, place) and name != place.text:
            number += 1
            name = f"{short} {number}"
        _put(encoded, place, name)
        where = (*place.keys[:-1], name) if place.is_key else place.keys
        if place.kind == "file" and place.text:
            files[".".join(map(str, where))] = place.text
    return encoded, files


def rebased(text: str, file: msgspec.Struct, origin: Path, target: Path) -> str:
    """The text of a YAML file for a copy in another folder: relative paths lead to the same files from there, and do so
    still if all of it is moved together. Comments are kept, unless a path is written in a way that only rewriting the
    whole file can change.

    Args:
        text: of the file.
        file: what it says.
        origin: the file's folder.
        target: the copy's folder.
    """
    import yaml  # noqa: PLC0415 - serving needs no PyYAML otherwise

    changes = {place: to for place in places(file) if (to := place.spelled(_mover(origin, target))) != place.text}
    if not changes or origin.resolve() == target.resolve():
        return text
    wanted = yaml.safe_load(text)
    for place, to in changes.items():
        _put(wanted, place, to)
    changed = _rewritten(text, changes)
    try:
        is_right = yaml.safe_load(changed) == wanted
    except yaml.YAMLError:
        is_right = False
    return changed if is_right else yaml.safe_dump(wanted, sort_keys=False, allow_unicode=True)


def _mover(origin: Path, target: Path) -> Callable[[str], str]:
    home, there = origin.resolve(), target.resolve()

    def moved(path: str) -> str:
        if Path(path).is_absolute() or path.startswith("~"):
            return path
        place = home / path
        if ".." in Path(path).parts:  # through a link, it is not the folder above as it is written
            place = place.parent.resolve() / place.name
        return os.path.relpath(place, there)

    return moved


def _parent(data: Any, place: Place) -> Any:
    """The mapping or list that has a place; None if the data have it elsewhere."""
    for key in place.keys[:-1]:
        data = data[int(key)] if isinstance(data, list) else data.get(_key(data, key))
    return data


def _key(data: Mapping[Any, Any], name: str | int) -> Any:
    """The key of this name: YAML has numbers too."""
    return next((key for key in data if str(key) == str(name)), None)


def _put(data: Any, place: Place, text: str) -> None:
    within, last = _parent(data, place), place.keys[-1]
    if isinstance(within, list):
        within[int(last)] = text
    elif not place.is_key:
        within[_key(within, last)] = text
    elif last in within:  # of an alias, it was renamed already
        items = [(text if key == last else key, value) for key, value in within.items()]
        within.clear()
        within.update(items)


def _rewritten(text: str, changes: Mapping[Place, str]) -> str:
    import yaml  # noqa: PLC0415

    root = yaml.compose(text, Loader=yaml.SafeLoader)
    spans: dict[int, tuple[int, str]] = {}
    for place, to in changes.items():
        node = _node(root, place)
        if node is not None:
            start, end = node.start_mark.index, node.end_mark.index
            before = re.match(r"(?:[&!]\S*\s+)*", text[start:end])
            start += 0 if before is None else before.end()
            spans[start] = end, _scalar(to, node.style)
    for start, (end, to) in sorted(spans.items(), reverse=True):
        text = text[:start] + to + text[end:]
    return text


def _node(node: Any, place: Place) -> Any:
    """The scalar of a place; None if it is not found."""
    pair = None, node
    for key in place.keys:
        within = pair[1]
        if isinstance(key, int):
            pair = None, within.value[key]
            continue
        found = _pair(within, key)
        if found is None:
            return None
        pair = found
    node = pair[0] if place.is_key else pair[1]
    return node if isinstance(getattr(node, "value", None), str) else None


def _pair(node: Any, name: str) -> tuple[Any, Any] | None:
    """Key and value in a mapping, or in one that it merges."""
    pairs = [pair for pair in node.value if isinstance(pair, tuple)]
    merged = [one for key, value in pairs if key.value == "<<" for one in _several(value)]
    own = next(((key, value) for key, value in pairs if key.value == name), None)
    return own or next((pair for one in merged if (pair := _pair(one, name)) is not None), None)


def _several(node: Any) -> list[Any]:
    return [node] if node.value and isinstance(node.value[0], tuple) else list(node.value)


def _scalar(text: str, style: str | None) -> str:
    """As YAML, quoted as it was, or as it has to be."""
    import yaml  # noqa: PLC0415

    single, double = "'" + text.replace("'", "''") + "'", json.dumps(text, ensure_ascii=False)
    for one in {None: (text, single), "'": (single,)}.get(style, ()):
        try:
            if yaml.safe_load(f"{{a: [{one}], {one}: 1}}") == {"a": [text], text: 1} and (
                yaml.safe_load(f"a: {one}\n{one}: 1  # end") == {"a": text, text: 1}
            ):
                return one
        except yaml.YAMLError:
            continue
    return double
