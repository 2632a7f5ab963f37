"""The header of a GGUF file: its keys and values, read without the `gguf` package, which the core does not depend on.

The format: magic, version, two counts, then `key, type, value` one after another, little-endian throughout
(github.com/ggml-org/ggml/blob/master/docs/gguf.md, version 3). Files are untrusted and may be truncated or have wrong
lengths, so bounds are checked before every read.
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
    """An array value; elements are kept only for short numeric arrays, such as per-layer settings."""

    count: int
    numbers: tuple[int | float, ...] = ()


Value: TypeAlias = "int | float | bool | str | Array"


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufHeader:
    """The metadata before the weights."""

    values: Mapping[str, Value]
    places: Mapping[str, tuple[int, str]]
    """Offset and `struct` format of each number, for changing it in place."""

    @property
    def architecture(self) -> str:
        """llama.cpp's name for the architecture, the prefix of most keys."""
        return str(self.values.get("general.architecture", ""))

    def number(self, key: str) -> int | None:
        """The integer under `ARCHITECTURE.key`, the maximum if it is per layer; None if there is none.

        A value that is not an integer gives None too: llama.cpp reports such files itself.
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
        SpecError: it is not a GGUF file, has an unsupported version, or is damaged.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(4)
            if magic != b"GGUF":
                raise SpecError(f"{path} is not a GGUF file: it begins with {magic!r} instead of b'GGUF'")
            size = min(path.stat().st_size, _LARGEST)
            with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as content:
                return _Reader(path, content).head()
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error.strerror}") from error


def parts_of(path: Path, head: GgufHeader) -> tuple[Path, ...]:
    """The files that the checkpoint is split into; only `path` if it is not split.

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
_LARGEST = 256 << 20
"""Maximum bytes of a header; the largest, with their vocabularies, have about 20 MB."""
_LONGEST_KEY = 65_535
_LONGEST_STRING = 16 << 20
"""Maximum bytes of a string; the longest chat templates have about 20 thousand."""
_MOST_ELEMENTS = 8 << 20
"""Maximum elements of all arrays together; the largest vocabularies have about 300 thousand tokens, in three arrays."""
_MOST_PAIRS = 10_000
"""Maximum keys; files have a few dozen."""
_MOST_TEXT = 64 << 20
"""Maximum bytes of all texts together: they are kept in memory."""
_KEPT = 1024
"""Maximum length of arrays whose elements are kept: more than any model's layers, less than any vocabulary."""


class _Reader:
    """Reads the header sequentially."""

    def __init__(self, path: Path, content: mmap.mmap) -> None:
        self._path = path
        self._content = content
        self._size = len(content)
        self._at = 4
        self._texts = self._elements = 0

    def head(self) -> GgufHeader:
        version = self._number("<I")
        if version not in (2, 3):
            swapped = version in (2 << 24, 3 << 24)
            reason = "is big-endian" if swapped else f"has version {version}"
            raise SpecError(f"{self._path} {reason}; supported are versions 2 and 3, little-endian; convert it again")
        self._number("<Q")  # of tensors
        pairs = int(self._number("<Q"))
        if pairs > _MOST_PAIRS:
            raise self._damaged(f"its header claims {pairs} keys, more than the maximum of {_MOST_PAIRS}")
        values: dict[str, Value] = {}
        places: dict[str, tuple[int, str]] = {}
        for _ in range(pairs):  # bounded by the end of the file, whatever count a damaged file has
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
        raise self._damaged(f"a value has the unknown type {kind}")

    def _array(self) -> Array:
        kind, count = int(self._number("<I")), int(self._number("<Q"))
        self._elements += count
        if self._elements > _MOST_ELEMENTS:
            raise self._damaged(f"its arrays have more than {_MOST_ELEMENTS} elements, the last one {count}")
        if kind == _STRING:
            self._pass_over_strings(count)
            return Array(count)
        if kind not in _NUMBERS:
            raise self._damaged(f"an array has elements of the unknown type {kind}")
        form = _NUMBERS[kind]
        start = self._take(count * struct.calcsize(form))
        if count > _KEPT:
            return Array(count)
        return Array(count, struct.unpack_from(f"<{count}{form[1]}", self._content, start))

    def _pass_over_strings(self, count: int) -> None:
        """Skip strings by their lengths, in a tight loop: a vocabulary has a quarter of a million."""
        at, size, content = self._at, self._size, self._content
        unpack = struct.Struct("<Q").unpack_from
        try:
            for _ in range(count):
                at += 8 + unpack(content, at)[0]
                if at > size:
                    raise self._ends_early()
        except (struct.error, OverflowError) as error:  # past the end of the file
            raise self._ends_early() from error
        if at > size:
            raise self._ends_early()
        self._at = at

    def _text(self, longest: int) -> str:
        length = int(self._number("<Q"))
        if length > longest:
            raise self._damaged(f"a string has a length of {length} bytes, more than the maximum of {longest}")
        self._texts += length
        if self._texts > _MOST_TEXT:
            raise self._damaged(f"its strings have more than {_MOST_TEXT} bytes together")
        start = self._take(length)
        return self._content[start : start + length].decode("utf-8", errors="replace")

    def _number(self, form: str) -> int | float | bool:
        start = self._take(struct.calcsize(form))
        value: int | float | bool = struct.unpack_from(form, self._content, start)[0]
        return value

    def _take(self, count: int) -> int:
        """Skip `count` bytes, with a bounds check; returns their offset."""
        if count > self._size - self._at:
            raise self._ends_early()
        self._at += count
        return self._at - count

    def _ends_early(self) -> SpecError:
        if self._size == _LARGEST:
            return self._damaged(f"its header has more than {_LARGEST} bytes")
        return self._damaged(f"it ends at {self._size} bytes, within its header")

    def _damaged(self, what: str) -> SpecError:
        return SpecError(f"{self._path} is damaged: {what}; pull or copy it again")
