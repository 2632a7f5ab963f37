"""A file of another tool: its bytes, JSON value or lines, each read once. Every error names file and line."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from tierwise.spec.errors import SpecError
from tierwise.spec.files import Document, decode_json_lines, json_document, numbered_lines, read_bytes, text_of

if TYPE_CHECKING:
    from pathlib import Path

T = TypeVar("T")

_ZIP = b"PK"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """What the user says about the logs."""

    metric: str = ""
    """The score that decides whether an answer is correct, where a log has several."""
    cluster: str = ""
    """The key of a sample's data that names its cluster."""


class Log:
    """A file that may be another tool's log."""

    def __init__(self, path: Path, options: ImportOptions) -> None:
        self.path = path
        self.options = options

    @cached_property
    def raw(self) -> bytes:
        return read_bytes(self.path, "file")

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.raw).hexdigest()

    @property
    def is_zip(self) -> bool:
        return self.raw.startswith(_ZIP)

    @property
    def is_lines(self) -> bool:
        """Whether it holds JSON lines."""
        return self.path.suffix == ".jsonl"

    @cached_property
    def value(self) -> Any:
        """The JSON value that it holds, or that of its first line; None for a zip file.

        Raises:
            ConfigErrors: it is not JSON, or repeats a key; each error names its line.
        """
        if self.is_zip:
            return None
        if self.is_lines:
            number, line = next(numbered_lines(self._text), (1, ""))
            document = json_document(line, str(self.path), line=number)
        else:
            document = self._document
        document.done()
        return document.value

    @property
    def _text(self) -> str:
        return text_of(self.raw, f"file {self.path}")

    @cached_property
    def _document(self) -> Document:
        return json_document(self._text, str(self.path))

    def has(self, *names: str) -> bool:
        """Whether its JSON value is an object with these keys."""
        return isinstance(self.value, dict) and all(name in self.value for name in names)

    def convert(self, kind: type[T]) -> T:
        """The JSON value of the whole file as a `kind`.

        Raises:
            ConfigErrors: it does not fit; each error names its line.
        """
        return self._document.finish(self._document.convert(kind))

    def lines(self, kind: type[T]) -> list[tuple[str, T]]:
        """Its lines with their places, `samples.jsonl:7`.

        Raises:
            ConfigErrors: the lines that do not fit.
        """
        values = decode_json_lines(self.raw, kind, str(self.path))
        numbers = [number for number, line in enumerate(self.raw.split(b"\n"), 1) if line.strip()]
        return [(f"{self.path}:{number}", value) for number, value in zip(numbers, values, strict=True)]

    def beside(self, name: str) -> Log:
        """Another file in its folder."""
        return Log(self.path.with_name(name), self.options)

    def choose(self, names: list[str]) -> str:
        """The score that counts, of those in the log.

        Raises:
            SpecError: there are several, and none is chosen; or the chosen one is not among them.
        """
        if self.options.metric in names or (len(names) == 1 and not self.options.metric):
            return self.options.metric or names[0]
        listed = ", ".join(names) or "none"
        seen = f"has no score {self.options.metric!r}" if self.options.metric else f"has {len(names)} scores"
        raise SpecError(f"{self.path} {seen}; name one with --metric: {listed}")
