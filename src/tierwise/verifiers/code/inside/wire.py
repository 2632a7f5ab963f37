"""Plain data between two processes that do not trust each other: JSON, read into exact built-in types.

A value is itself if it is None, a bool, a float, a short int or a str; all else is a list of a tag and its parts. What
is no plain data crosses as the number of an object that stays where it is.
"""

from __future__ import annotations

import _json
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

NATIVE = {type(None), bool, int, float, str}
SHORT = 1 << 63
MOST_BYTES = 64 * 1024 * 1024
"""Of one message."""

BUILTINS = [
    "abs",
    "all",
    "any",
    "ascii",
    "bin",
    "bool",
    "bytearray",
    "bytes",
    "callable",
    "chr",
    "complex",
    "dict",
    "divmod",
    "enumerate",
    "filter",
    "float",
    "frozenset",
    "hash",
    "hex",
    "int",
    "len",
    "list",
    "map",
    "max",
    "min",
    "object",
    "oct",
    "ord",
    "pow",
    "print",
    "range",
    "repr",
    "reversed",
    "round",
    "set",
    "slice",
    "sorted",
    "str",
    "sum",
    "tuple",
    "type",
    "zip",
]
"""Built-in functions and types that cross by name."""

PLAIN_TYPES = (bool, int, float, complex, str, bytes, bytearray, tuple, list, dict, set, frozenset, range)
CONTAINERS = {"l": list, "t": tuple, "s": set, "f": frozenset}
TAGS: dict[Any, str] = {kind: tag for tag, kind in CONTAINERS.items()}
MIXED = (int, float, str, bytes, tuple, list, dict, set, frozenset)
"""Bases of the answer's own classes whose instances are that data, and an object besides."""

_DATES = "date", "datetime", "time", "timedelta"
_LIBRARY = "collections", "datetime", "decimal", "fractions", "pathlib"
"""Modules of the standard library with types that are plain data. They are looked at only once somebody has imported
them, because an import takes milliseconds in every check.
"""
_FACTORIES = {kind.__name__: kind for kind in (int, float, str, list, dict, set, tuple, bool)}
_VIEWS: dict[str, Any] = {
    "K": ({}.keys().__class__, lambda rows: dict.fromkeys(rows).keys()),
    "V": ({}.values().__class__, lambda rows: dict(enumerate(rows)).values()),
    "I": ({}.items().__class__, lambda rows: dict(rows).items()),
}
_builtins: dict[int, str] = {id(getattr(__import__("builtins"), name)): name for name in BUILTINS}


class _Context:
    """What the scanner of the standard library wants to know; importing `json` takes longer than all else here."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}.__getitem__


_c: Any = _json
_scan = _c.make_scanner(_Context())
_write = _c.make_encoder(None, None, _json.encode_basestring_ascii, None, ": ", ", ", False, False, True)


def encoded(value: Any) -> bytes:
    """JSON; raises ValueError or RecursionError at what nests without end."""
    return "".join(_write(value, 0)).encode()


def decoded(body: bytes) -> Any:
    """The value of JSON; raises ValueError or RecursionError at what is none."""
    text = body.decode()
    try:
        value, end = _scan(text, 0)
    except StopIteration:
        raise ValueError("no JSON") from None
    if text[end:].strip():
        raise ValueError("more than one JSON value")
    return value


class CannotCross(Exception):
    """It is no plain data, and may not be used from the other side."""


class Codec:
    """Writes and reads values.

    Args:
        export: how an object that is no plain data crosses.
        resolve: what a number of the other side's, or of an object of ours, stands for.
    """

    def __init__(self, export: Callable[[Any], list[Any]], resolve: Callable[[list[Any]], Any]) -> None:
        self._export = export
        self._resolve = resolve

    def rows(self, values: Iterable[Any]) -> list[Any]:
        """Each value, written."""
        kept = list(values)
        if set(map(type, kept)) <= NATIVE and not any(type(one) is int and not -SHORT < one < SHORT for one in kept):
            return kept
        return [self.write(one) for one in kept]

    def write(self, value: Any) -> Any:
        kind = type(value)
        if kind is int:
            return value if -SHORT < value < SHORT else ["i", hex(value)]
        if kind in NATIVE:
            return value
        if kind in TAGS:
            return [TAGS[kind], self.rows(value)]
        if kind is dict:
            return ["d", self.rows(value), self.rows(value.values())]
        if kind is bytes or kind is bytearray:
            return ["b" if kind is bytes else "B", value.decode("latin-1")]
        if kind is complex:
            return ["c", value.real, value.imag]
        if kind is range:
            return ["r", *self.rows((value.start, value.stop, value.step))]
        if kind is slice:
            return ["z", *self.rows((value.start, value.stop, value.step))]
        if value is Ellipsis or value is NotImplemented:
            return ["n", repr(value)]
        for tag, (view, _) in _VIEWS.items():
            if kind is view:
                return [tag, self.rows(value)]
        if kind.__module__.partition(".")[0] in _LIBRARY and (found := self._written(value)):
            return found
        if id(value) in _builtins:
            return ["y", _builtins[id(value)]]
        return self._export(value)

    def _written(self, value: Any) -> list[Any] | None:
        kind, name = type(value), type(value).__name__
        module: Any = sys.modules.get(kind.__module__.partition(".")[0])
        if getattr(module, name, None) is not kind:
            return None
        match name:
            case "deque":
                return ["q", value.maxlen, self.rows(value)]
            case "Counter" | "OrderedDict":
                return [name[0], self.rows(value), self.rows(value.values())]
            case "defaultdict" if value.default_factory is None or value.default_factory in PLAIN_TYPES:
                factory = value.default_factory and value.default_factory.__name__
                return ["E", factory, self.rows(value), self.rows(value.values())]
            case "timedelta":
                return ["T", name, value.days, value.seconds, value.microseconds]
            case "date" | "datetime" | "time" if getattr(value, "tzinfo", None) in (None, module.timezone.utc):
                return ["T", name, value.isoformat()]
            case "Decimal":
                return ["D", str(value)]
            case "Fraction":
                return ["F", *self.rows((value.numerator, value.denominator))]
            case "PosixPath" | "PurePosixPath":
                return ["P", name, str(value)]
        return None

    def all(self, rows: Any) -> list[Any]:
        """Each value, read."""
        if type(rows) is not list:
            raise CannotCross("a list was expected")
        return rows if set(map(type, rows)) <= NATIVE else [self.read(one) for one in rows]

    def read(self, raw: Any) -> Any:
        if type(raw) is not list:
            if type(raw) in NATIVE:
                return raw
            raise CannotCross("a JSON object is no value")
        tag, *parts = raw
        if tag in CONTAINERS:
            return CONTAINERS[tag](self.all(parts[0]))
        match tag:
            case "d":
                return dict(zip(self.all(parts[0]), self.all(parts[1]), strict=True))
            case "i":
                return int(str(parts[0]), 16)
            case "b":
                return str(parts[0]).encode("latin-1")
            case "B":
                return bytearray(str(parts[0]).encode("latin-1"))
            case "c":
                return complex(float(parts[0]), float(parts[1]))
            case "r":
                return range(*self.all(parts))
            case "z":
                return slice(*self.all(parts))
            case "n":
                return NotImplemented if parts[0] == "NotImplemented" else Ellipsis
            case "K" | "V" | "I":
                return _VIEWS[tag][1](self.all(parts[0]))
            case "y" if parts[0] in BUILTINS:
                return getattr(__import__("builtins"), parts[0])
            case "q" | "C" | "O" | "E" | "T" | "D" | "F" | "P":
                return self._read(tag, parts)
        return self._resolve(raw)

    def _read(self, tag: str, parts: list[Any]) -> Any:
        if tag in ("q", "C", "O", "E"):
            return self._collection(__import__("collections"), tag, parts)
        if tag == "T" and parts[0] in _DATES:
            kind: Any = getattr(__import__("datetime"), parts[0])
            return kind(*self.all(parts[1:])) if parts[0] == "timedelta" else kind.fromisoformat(str(parts[1]))
        if tag == "D":
            return __import__("decimal").Decimal(str(parts[0]))
        if tag == "F":
            return __import__("fractions").Fraction(*self.all(parts))
        name = "PosixPath" if parts[0] == "PosixPath" else "PurePosixPath"
        return getattr(__import__("pathlib"), name)(str(parts[1]))

    def _collection(self, collections: Any, tag: str, parts: list[Any]) -> Any:
        if tag == "q":
            return collections.deque(self.all(parts[1]), parts[0])
        rows = zip(*map(self.all, parts[-2:]), strict=True)
        if tag == "E":
            return collections.defaultdict(_FACTORIES.get(str(parts[0])), rows)
        return collections.Counter(dict(rows)) if tag == "C" else collections.OrderedDict(rows)


class Ended(BaseException):
    """The other process has ended, or talks nonsense."""


class Pipe:
    """Messages in both directions: JSON with its length before it."""

    def __init__(self, source: int, sink: int) -> None:
        self._source = source
        self._sink = sink

    def send(self, message: Any) -> None:
        try:
            body = encoded(message)
        except (ValueError, RecursionError) as error:
            raise CannotCross(str(error)) from error
        if len(body) > MOST_BYTES:
            raise CannotCross(f"{len(body)} bytes are more than can cross: {MOST_BYTES}")
        body = b"%08x%b" % (len(body), body)
        view = memoryview(body)
        try:
            while view:
                view = view[os.write(self._sink, view) :]
        except OSError as error:
            raise Ended("it has ended") from error

    def receive(self) -> list[Any]:
        try:
            length = int(self._exactly(8), 16)
            if not 0 <= length <= MOST_BYTES:
                raise Ended("it talks nonsense")
            message = decoded(self._exactly(length))
        except (ValueError, RecursionError) as error:
            raise Ended("it talks nonsense") from error
        if type(message) is not list or not message:
            raise Ended("it talks nonsense")
        return message

    def _exactly(self, count: int) -> bytes:
        parts: list[bytes] = []
        while count:
            if not (found := os.read(self._source, count)):
                raise Ended("it has ended")
            parts.append(found)
            count -= len(found)
        return b"".join(parts)


def is_iterator(value: Any) -> bool:
    """Whether it hands out its items one by one."""
    return hasattr(type(value), "__next__") and hasattr(type(value), "__iter__")
