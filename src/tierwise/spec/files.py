"""Reads the files that people and earlier runs wrote: YAML, JSON and JSON lines. Every error names file and line.

This is the only reader of such files. `spec/reading.py` turns the decoded values into structs; `spec/yaml.py` and
`spec/json_text.py` know the two syntaxes.
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

MOST_ERRORS = 20
"""Errors that are listed of a file of records. A file that a person wrote gets all of them."""


class Document(Reading):
    """A decoded file. What is found wrong with it is collected, and raised with the file's name and the lines."""

    def __init__(self, name: str, find_lines: Callable[[], Mapping[str, int]], value: Any = None) -> None:
        super().__init__()
        self.name = name
        self.value = value
        self._find_lines = find_lines
        self.is_readable = True
        """False where the text is not in the file's syntax; `errors` then says why."""

    @cached_property
    def lines(self) -> Mapping[str, int]:
        """The line, from 1, of each path; found only when an error has to be placed."""
        return self._find_lines()

    def convert(self, kind: type[T]) -> T | None:
        """The whole value as a `kind`; None when it is not one, which is noted."""
        return self.read(kind, self.value, "") if self.is_readable else None

    def unreadable(self, line: int | None, message: str) -> None:
        """Note that the text is not in the file's syntax."""
        self.is_readable = False
        self.lines = {} if line is None else {"": line}
        self.wrong("", message)

    def place(self, field: str) -> str:
        """`tierwise.yaml:7`: where a path, or the nearest one around it, stands."""
        while field and field not in self.lines:
            field = field[: max(field.rfind("."), field.rfind("["), 0)]
        return f"{self.name}:{self.lines[field]}" if field in self.lines else self.name

    def placed(self) -> list[SpecError]:
        """Everything that was found, each with its file and line."""
        return [placed(error, self.place(error.field)) for error in self.errors]

    def done(self) -> None:
        """Raise everything that was found."""
        if self.errors:
            raise ConfigErrors(self.placed())


def placed(error: SpecError, where: str) -> SpecError:
    """The error with the place of its field, `tierwise.yaml:7`, in front of it."""
    return SpecError(str(error), field=f"{where}: {error.field}" if error.field else where)


def read_bytes(path: Path, what: str, *, advice: str = "", field: str = "") -> bytes:
    """The content of a file.

    Args:
        path: of the file.
        what: what errors call it: `config file`.
        advice: what to do when it is missing.
        field: the option that named it, for errors.

    Raises:
        NotFound: there is no such file.
        SpecError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise NotFound(f"there is no {what} {path}{advice and f'; {advice}'}", field=field) from None
    except IsADirectoryError:
        raise SpecError(f"{what} {path} cannot be read: it is a folder, not a file", field=field) from None
    except (OSError, ValueError) as error:  # ValueError: a path with a null byte
        raise SpecError(f"{what} {path} cannot be read: {_reason(error)}", field=field) from error


def read_text(path: Path, what: str, *, advice: str = "", field: str = "") -> str:
    """The text of a UTF-8 file, without a byte-order mark; see `read_bytes`."""
    return text_of(read_bytes(path, what, advice=advice, field=field), f"{what} {path}", field=field)


def text_of(raw: bytes, called: str, *, field: str = "") -> str:
    """Bytes as text, without a byte-order mark.

    Raises:
        SpecError: they are not UTF-8; names `called` and the line.
    """
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        at = error.start + len(raw) - len(error.object)  # the codec reports places after the byte-order mark
        line = raw.count(b"\n", 0, at) + 1
        seen = "it looks like UTF-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else f"byte 0x{raw[at]:02x}"
        message = f"{called} cannot be read: line {line} is not UTF-8 ({seen}); save it as UTF-8"
        raise SpecError(message, field=field) from error


def read_yaml(path: Path, what: str, *, advice: str = "", field: str = "") -> Document:
    """A YAML file; what is wrong with its text is noted in the document. See `read_bytes` for what is raised."""
    return yaml_document(read_text(path, what, advice=advice, field=field), path.name)


def read_json(path: Path, what: str, *, advice: str = "", field: str = "") -> Document:
    """A file with one JSON value; what is wrong with its text is noted. See `read_bytes` for what is raised."""
    return json_document(read_text(path, what, advice=advice, field=field), str(path))


def yaml_document(text: str, name: str) -> Document:
    """YAML text as a document; `name` is what errors call it."""
    from tierwise.spec.yaml import NotYamlError, parse  # noqa: PLC0415 - PyYAML is needed nowhere else when serving

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
        name: what errors call it: a file or an option.
        line: the number of its first line; None where it comes from no file.
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
    """The lines that are not blank, with their numbers. Not `splitlines`: JSON strings may hold U+2028 as it is."""
    return ((number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip())


def decode_json(raw: bytes, kind: type[T], name: str) -> T:
    """The one JSON value that a program of ours wrote.

    Raises:
        ConfigErrors: all that is wrong with it, each with its line.
    """
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        document = json_document(text_of(raw, name), name)
        return document.finish(document.convert(kind))


def decode_json_lines(raw: bytes, kind: type[T], name: str) -> list[T]:
    """JSON lines that a program of ours wrote, all at once: about ten times as fast as one by one.

    Raises:
        ConfigErrors: the lines that cannot be read, up to `MOST_ERRORS` of what is wrong with them.
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
        errors[MOST_ERRORS:] = [SpecError(f"and {len(errors) - MOST_ERRORS} errors more", field=name)]
    if errors:
        raise ConfigErrors(errors)
    return values


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
