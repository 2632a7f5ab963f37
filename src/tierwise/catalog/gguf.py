"""The head of a GGUF file: its keys and values, read without the `gguf` package, which the core does not depend on.

The format: magic, version, two counts, then `key, type, value` one after another, little-endian throughout
(github.com/ggml-org/ggml/blob/master/docs/gguf.md, version 3). A file from elsewhere may be cut short or lie about
its lengths, so nothing is read before it is known to lie inside the file.
"""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from tierwise.spec.errors import SpecError


@dataclass(frozen=True, slots=True)
class Array:
    """A value of many elements; the elements are kept where they are a few numbers, as settings by layer are."""

    count: int
    numbers: tuple[int | float, ...] = ()


Value: TypeAlias = "int | float | bool | str | Array"


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufHeader:
    """What stands before the weights."""

    values: Mapping[str, Value]
    places: Mapping[str, tuple[int, str]]
    """Where each number lies in the file, and its `struct` format: what it takes to change one in place."""

    @property
    def architecture(self) -> str:
        """llama.cpp's word for the architecture, the prefix of most keys."""
        return str(self.values.get("general.architecture", ""))

    def number(self, key: str) -> int | None:
        """A whole number under `ARCHITECTURE.key`, the largest where each layer has its own; None where there is none.

        A value that is no count at all is None too: llama.cpp refuses such a file in its own words.
        """
        match self.values.get(f"{self.architecture}.{key}"):
            case int() as value if not isinstance(value, bool):
                return value
            case Array(numbers=numbers) if numbers and all(isinstance(number, int) for number in numbers):
                return int(max(numbers))
        return None


def read_head(path: Path) -> GgufHeader:
    """Read the keys and values of a GGUF file.

    Raises:
        SpecError: it is no GGUF file, one of a kind that nothing reads any more, or damaged.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(4)
            if magic != b"GGUF":
                raise SpecError(f"{path} is not a GGUF file: it begins with {magic!r} and not with b'GGUF'")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return _Reader(path, content).head()
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error.strerror}") from error


def parts_of(path: Path, head: GgufHeader) -> tuple[Path, ...]:
    """The files that the checkpoint is split into, `path` alone where it is not.

    Raises:
        SpecError: a part is missing, or `path` is not the first.
    """
    count = head.values.get("split.count", 0)
    if not isinstance(count, int) or count < 2:
        return (path,)
    name = _SHARD.fullmatch(path.name)
    if name is None:
        raise SpecError(
            f"{path} is one part of {count}; name it as `llama-gguf-split` does: NAME-00001-of-{count:05}.gguf"
        )
    if int(name["number"]) != 1:
        raise SpecError(
            f"{path} is part {int(name['number'])} of {count}; name the first: {name['stem']}-00001-of-{count:05}.gguf"
        )
    parts = tuple(path.with_name(f"{name['stem']}-{number:05}-of-{count:05}.gguf") for number in range(1, count + 1))
    if missing := [part.name for part in parts if not part.is_file()]:
        raise SpecError(
            f"{path} is split into {count} parts, and {len(missing)} are missing beside it: {', '.join(missing[:3])}"
        )
    return parts


_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-\d{5}\.gguf")

# The format's type numbers as `struct` writes them.
_NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_LONGEST_KEY = 65_535
_LONGEST_STRING = 16 << 20
"""Bytes; the longest chat templates have some 20 thousand."""
_KEPT = 1024
"""Numbers of an array that are kept: more than any model has layers, fewer than any vocabulary has tokens."""


class _Reader:
    """Walks the head from front to back."""

    def __init__(self, path: Path, content: mmap.mmap) -> None:
        self._path = path
        self._content = content
        self._size = len(content)
        self._at = 4

    def head(self) -> GgufHeader:
        version = self._number("<I")
        if version not in (2, 3):
            swapped = version in (2 << 24, 3 << 24)
            reason = "is big-endian" if swapped else f"has version {version}"
            raise SpecError(f"{self._path} {reason}; GGUF of version 2 or 3, little-endian, is read; convert it again")
        self._number("<Q")  # of tensors
        pairs = int(self._number("<Q"))
        values: dict[str, Value] = {}
        places: dict[str, tuple[int, str]] = {}
        for _ in range(pairs):  # ends at the end of the file, however many a damaged file claims
            key = self._text(_LONGEST_KEY)
            if key in values:
                raise self._damaged(f"the key {key!r} appears twice")
            kind = int(self._number("<I"))
            if kind in _NUMBERS:
                places[key] = (self._at, _NUMBERS[kind])
            values[key] = self._value(kind)
        return GgufHeader(values=values, places=places)

    def _value(self, kind: int) -> Value:
        if kind == _STRING:
            return self._text(_LONGEST_STRING)
        if kind == _ARRAY:
            return self._array()
        if kind in _NUMBERS:
            return self._number(_NUMBERS[kind])
        raise self._damaged(f"a value has the type {kind}, which GGUF does not know")

    def _array(self) -> Array:
        kind, count = int(self._number("<I")), int(self._number("<Q"))
        if kind == _STRING:
            self._pass_over_strings(count)
            return Array(count)
        if kind not in _NUMBERS:
            raise self._damaged(f"an array holds elements of the type {kind}")
        form = _NUMBERS[kind]
        start = self._take(count * struct.calcsize(form))
        if count > _KEPT:
            return Array(count)
        return Array(count, struct.unpack_from(f"<{count}{form[1]}", self._content, start))

    def _pass_over_strings(self, count: int) -> None:
        """A vocabulary is a quarter of a million strings: only their lengths are looked at, in the tightest loop."""
        at, size, content = self._at, self._size, self._content
        unpack = struct.Struct("<Q").unpack_from
        try:
            for _ in range(count):
                at += 8 + unpack(content, at)[0]
        except (struct.error, OverflowError) as error:  # past the end, and past where anything could be
            raise self._ends_early() from error
        if at > size:
            raise self._ends_early()
        self._at = at

    def _text(self, longest: int) -> str:
        length = int(self._number("<Q"))
        if length > longest:
            raise self._damaged(f"a text claims {length} bytes, more than the {longest} that are sensible")
        start = self._take(length)
        return self._content[start : start + length].decode("utf-8", errors="replace")

    def _number(self, form: str) -> int | float | bool:
        start = self._take(struct.calcsize(form))
        value: int | float | bool = struct.unpack_from(form, self._content, start)[0]
        return value

    def _take(self, count: int) -> int:
        """Step over `count` bytes that are there; returns where they begin."""
        if count > self._size - self._at:
            raise self._ends_early()
        self._at += count
        return self._at - count

    def _ends_early(self) -> SpecError:
        return self._damaged(f"it ends at {self._size} bytes, in the middle of its own description")

    def _damaged(self, what: str) -> SpecError:
        return SpecError(f"{self._path} is damaged: {what}; pull or copy it again")
