"""Reads files written by users and by earlier runs: YAML, JSON and JSON lines. Every error names file and line.

This is the only reader of such files. `spec/reading.py` turns the decoded values into structs; `spec/yaml.py` and
`spec/json_text.py` handle the two syntaxes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from tierwise.spec.errors import ConfigErrors, NotFound, SpecError
from tierwise.spec.json_text import has_repeated_keys, paths, why_not_json
from tierwise.spec.reading import Reading

T = TypeVar("T")

MOST_YAML = 4 * 2**20
"""Maximum bytes of a YAML file; they are written by hand."""

PARQUET = b"PAR1"
"""How a Parquet file begins and ends."""

OF_PARQUET = (
    "save its rows as JSON Lines, such as by pandas.read_parquet(…).to_json(…, orient='records', lines=True); the data "
    "of a suite is read as Parquet by `tierwise workload make SUITE --file`"
)
"""What to do with Parquet that is not read."""

MOST_ERRORS = 20
"""Errors listed for a file of records. For a hand-written file all errors are listed."""


class Document(Reading):
    """A decoded file. Errors are collected and raised with file name and line."""

    def __init__(self, name: str, find_lines: Callable[[], Mapping[str, int]], value: Any = None) -> None:
        super().__init__()
        self.name = name
        self.value = value
        self._find_lines = find_lines
        self.is_readable = True
        """False if the text has a syntax error; see `errors`."""

    @cached_property
    def lines(self) -> Mapping[str, int]:
        """Line number, from 1, of each path. Computed only when an error needs it."""
        return self._find_lines()

    def convert(self, kind: type[T]) -> T | None:
        """The whole value as a `kind`; None, with errors recorded, if it does not fit."""
        return self.read(kind, self.value, "") if self.is_readable else None

    def unreadable(self, line: int | None, message: str) -> None:
        """Record a syntax error."""
        self.is_readable = False
        self.lines = {} if line is None else {"": line}
        self.wrong("", message)

    def place(self, field: str) -> str:
        """`tierwise.yaml:7`: file and line of a path, or of the nearest enclosing path."""
        while field and field not in self.lines:
            field = field[: max(field.rfind("."), field.rfind("["), 0)]
        return f"{self.name}:{self.lines[field]}" if field in self.lines else self.name

    def placed(self) -> list[SpecError]:
        """All errors, each with file and line."""
        return [placed(error, self.place(error.field)) for error in self.errors]

    def done(self) -> None:
        """Raise all errors found."""
        if self.errors:
            raise ConfigErrors(self.placed())


def placed(error: SpecError, where: str) -> SpecError:
    """The error with its field prefixed by file and line, `tierwise.yaml:7`."""
    return SpecError(str(error), field=f"{where}: {error.field}" if error.field else where)


def read_bytes(path: Path, what: str, *, advice: str = "", field: str = "", most: int | None = None) -> bytes:
    """The content of a file.

    Args:
        path: the file.
        what: its name in errors, such as `config file`.
        advice: what to do if it is missing.
        field: the option that names it, for errors.
        most: maximum bytes; None for no limit.

    Raises:
        NotFound: the file does not exist.
        SpecError: it cannot be read, or is larger.
    """
    try:
        with path.open("rb") as file:
            content = file.read(-1 if most is None else most + 1)
    except FileNotFoundError:
        raise NotFound(f"there is no {what} {path}{advice and f'; {advice}'}", field=field) from None
    except IsADirectoryError:
        raise SpecError(f"{what} {path} cannot be read: it is a folder, not a file", field=field) from None
    except (OSError, ValueError) as error:  # ValueError: a path with a null byte
        raise SpecError(f"{what} {path} cannot be read: {_reason(error)}", field=field) from error
    if most is not None and len(content) > most:
        raise SpecError(f"{what} {path} is too large; the most is {most:,} bytes", field=field)
    return content


def read_text(path: Path, what: str, *, advice: str = "", field: str = "", most: int | None = None) -> str:
    """The text of a UTF-8 file, without a byte-order mark; see `read_bytes`."""
    raw = read_bytes(path, what, advice=advice, field=field, most=most)
    return text_of(raw, f"{what} {path}", field=field)


def text_of(raw: bytes, called: str, *, field: str = "") -> str:
    """Decode UTF-8 bytes, without a byte-order mark.

    Raises:
        SpecError: they are Parquet, or not UTF-8; the message has `called` and the line.
    """
    if raw.startswith(PARQUET) and raw.endswith(PARQUET):
        raise SpecError(f"{called} is Parquet, not text; {OF_PARQUET}", field=field)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        at = error.start + len(raw) - len(error.object)  # the codec's offsets start after the byte-order mark
        line = raw.count(b"\n", 0, at) + 1
        seen = "it looks like UTF-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else f"byte 0x{raw[at]:02x}"
        message = f"{called} cannot be read: line {line} is not UTF-8 ({seen}); save it as UTF-8"
        raise SpecError(message, field=field) from error


def read_yaml(path: Path, what: str, *, advice: str = "", field: str = "") -> Document:
    """Read a YAML file. Syntax errors are recorded in the document. Raises as `read_bytes`."""
    return yaml_document(read_text(path, what, advice=advice, field=field, most=MOST_YAML), path.name)


def yaml_document(text: str, name: str) -> Document:
    """YAML text as a document; `name` is its name in errors."""
    from tierwise.spec.yaml import NotYamlError, parse  # noqa: PLC0415 - serving needs no PyYAML otherwise

    lines: dict[str, int] = {}
    document = Document(name, lambda: lines)
    try:
        document.value = parse(text, lines, document)
    except NotYamlError as error:
        document.unreadable(error.line, str(error))
    return document


def json_document(text: str, name: str, *, line: int | None = 1) -> Document:
    """JSON text as a document.

    Args:
        text: one JSON value.
        name: its name in errors: a file or an option.
        line: number of its first line; None if it does not come from a file.
    """
    first = line or 1
    document = Document(name, lambda: {} if line is None else {path: at for path, at, _ in paths(text, first)})
    if not text.strip():
        document.unreadable(None, "is empty")
        return document
    try:
        document.value = msgspec.json.decode(text)
        has_repeated = has_repeated_keys(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        at, message = why_not_json(text, error)
        if at is None and "\n" not in text:
            at = 1
        document.unreadable(None if at is None or line is None else line + at - 1, f"not JSON: {message}")
        return document
    for path, at, before in paths(text, first) if has_repeated else ():
        if before is not None:
            document.repeated(path, before, at)
    return document


def numbered_lines(text: str) -> Iterator[tuple[int, str]]:
    """Non-blank lines with their numbers. Not `splitlines`: JSON strings may contain U+2028 unescaped."""
    return ((number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip())


def decode_json(raw: bytes, kind: type[T], name: str) -> T:
    """Decode one JSON value written by Tierwise.

    Raises:
        ConfigErrors: all errors, each with its line.
    """
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        document = json_document(text_of(raw, name), name)
        return document.finish(document.convert(kind))


def decode_json_lines(raw: bytes, kind: type[T], name: str) -> list[T]:
    """Decode JSON lines written by Tierwise in one call, about ten times as fast as one by one.

    Raises:
        ConfigErrors: the lines that cannot be decoded, at most `MOST_ERRORS` errors.
    """
    try:
        return msgspec.json.Decoder(kind).decode_lines(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return _one_by_one(text_of(raw, name), kind, name)


def _one_by_one(text: str, kind: type[T], name: str) -> list[T]:
    values: list[T] = []
    errors: list[SpecError] = []
    for number, line in numbered_lines(text):
        document = json_document(line, name, line=number)
        value = document.convert(kind)
        errors += document.placed()
        if value is not None:
            values.append(value)
    if len(errors) > MOST_ERRORS:
        errors[MOST_ERRORS:] = [SpecError(f"and {len(errors) - MOST_ERRORS} more errors", field=name)]
    if errors:
        raise ConfigErrors(errors)
    return values


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
