"""The user's own copy of a suite's data: files that are found, pinned and read, and never shipped.

A row is JSON (one per line, or an array) or CSV. What is no copy at all is named: a pointer of Git LFS, a page that
asks to log in, Parquet, an archive.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

import msgspec

from tierwise.spec.errors import ConfigErrors, NotFound, SpecError
from tierwise.spec.files import MOST_ERRORS, Document, json_document, numbered_lines, text_of
from tierwise.workloads.suites.row import SuiteRow
from tierwise.workloads.suites.suite import MadeTasks, pinned_bytes
from tierwise.workloads.task import Task

T = TypeVar("T")
Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-fA-F]{64}$")]

_NO_COPY = (
    (b"version https://git-lfs", "is a pointer of Git LFS, not the data; run `git lfs pull`, or download the file"),
    (b"PAR1", "is Parquet; save its rows as JSON Lines, with the same names of columns"),
    (b"PK\x03\x04", "is an archive; unpack it, and give the file that is in it"),
    (b"\x1f\x8b", "is compressed; unpack it with gunzip"),
    (b"<", "is a web page, not the data: the download may have asked to log in or to accept terms"),
)
"""How files begin that are not what a suite reads, and what to do about it."""


class FromFiles(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of a suite whose data only the user has. A suite says what it is, and makes a task of a row."""

    ROW: ClassVar[SuiteRow]
    FILES: ClassVar[tuple[str, ...]]
    """Names that its files have where they are published, as patterns."""

    file: str | tuple[str, ...]
    """The data: a file, or `hf:OWNER/DATASET/FILE@COMMIT`; several for several years or releases."""
    sha256: Sha256 | tuple[Sha256, ...] | None = None
    """Required hash of the file; of each, if there are several."""
    count: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Use the first `count` tasks; all by default."""

    def make(self, base: Path) -> MadeTasks:
        found = self._read(base)
        tasks: list[Task] = []
        errors: list[SpecError] = []
        for row in (row for one in found for row in one.rows()):
            task = None if row.document.errors else self.task_of(row)
            errors += row.document.placed()
            if task is not None:
                tasks.append(task)
        _refuse(errors)
        return MadeTasks(
            tasks=self._chosen(tasks, found),
            version=", ".join(one.name for one in found),
            notes=(*self._unpinned(found), *self.notes(len(tasks))),
            files={one.name: one.sha256 for one in found},
        )

    def task_of(self, row: Row) -> Task | None:
        """The task of a row; None if it is not asked, or is wrong, which its document says then."""
        raise NotImplementedError

    def notes(self, tasks: int) -> tuple[str, ...]:  # noqa: ARG002 - a suite may have none
        """Caveats of a copy that makes so many tasks."""
        return ()

    def _read(self, base: Path) -> list[DataFile]:
        files = (self.file,) if isinstance(self.file, str) else self.file
        pins: tuple[str | None, ...]
        if self.sha256 is None:
            pins = (None,) * len(files)
        else:
            pins = (self.sha256,) if isinstance(self.sha256, str) else self.sha256
        if len(pins) != len(files):
            raise SpecError(f"{len(files)} files need {len(files)} hashes, not {len(pins)}", field="sha256")
        found = [_read(one, base, pin, self.ROW.title) for one, pin in zip(files, pins, strict=True)]
        for number, one in enumerate(found):
            if one.sha256 in {other.sha256 for other in found[:number]}:
                raise SpecError(f"{one.name} has the same content as a file before it; give each once", field="file")
        return found

    def _unpinned(self, found: list[DataFile]) -> tuple[str, ...]:
        """A note with the hash of each file, if nobody pinned them."""
        if self.sha256 is not None:
            return ()
        hashes = ", ".join(f"{one.name} {one.sha256}" for one in found)
        return (f"the data is not pinned; give --sha256 to identify the tasks: {hashes}",)

    def _chosen(self, tasks: list[Task], found: list[DataFile]) -> tuple[Task, ...]:
        """The first `count` tasks, which have ids of their own."""
        named = ", ".join(one.name for one in found)
        seen = set[str]()
        for task in tasks:
            if task.id in seen:
                raise SpecError(f"{named}: two rows make the task {task.id!r}; remove one", field="file")
            seen.add(task.id)
        if not tasks or (self.count or 0) > len(tasks):
            raise SpecError(f"{named}: {len(tasks)} tasks, fewer than the {self.count or 1} requested", field="count")
        return tuple(tasks[: self.count])


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a file."""

    value: dict[str, Any]
    document: Document
    """Takes the errors of the row; it has some already if the row cannot be read."""
    source: str
    """The file's name, without its ending."""
    number: int
    """Its place in the file, from 0."""

    def column(self, *names: str) -> str:
        """The text of the first of these columns that the row has; empty, with an error, if it has none."""
        lowered = {key.casefold(): value for key, value in self.value.items()}
        for name in names:
            value = lowered.get(name.casefold())
            if isinstance(value, str) and value.strip():
                return value.strip()
            if isinstance(value, int) and not isinstance(value, bool):
                return str(value)
        columns = ", ".join(map(repr, self.value)) or "nothing"
        self.document.wrong("", f"has no text {' or '.join(map(repr, names))}; it has {columns}")
        return ""

    def read(self, kind: type[T]) -> T | None:
        """The row as a `kind`; None, with an error, if it is none."""
        return self.document.read(kind, self.value, "")


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file of the user's copy."""

    name: str
    content: bytes
    sha256: str

    def rows(self) -> Iterator[Row]:
        """Every row.

        Raises:
            SpecError: the file is not UTF-8, is cut off, or no table.
        """
        source = Path(self.name).stem
        for number, (value, document) in enumerate(self._values()):
            yield Row(value, document, source, number)

    def _values(self) -> Iterator[tuple[dict[str, Any], Document]]:
        text = text_of(self.content, self.name, field="file")
        if self.name.endswith(".csv"):
            yield from self._csv(text)
        elif text.lstrip().startswith("["):
            document = json_document(text, self.name)
            document.done()
            for number, value in enumerate(document.value, 1):
                yield from _mapping(value, Document(f"{self.name}: row {number}", dict))
        else:
            for number, line in numbered_lines(text):
                document = json_document(line, self.name, line=number)
                if document.errors:
                    yield {}, document
                else:
                    yield from _mapping(document.value, document)

    def _csv(self, text: str) -> Iterator[tuple[dict[str, Any], Document]]:
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        line = 1
        try:
            for row in reader:
                document = Document(self.name, lambda at=line + 1: {"": at})  # type: ignore[misc]
                line = reader.line_num
                if None in row or None in row.values():
                    document.wrong("", f"has not the {len(reader.fieldnames or ())} cells of the first line")
                    yield {}, document
                else:
                    yield dict(row), document
        except csv.Error as error:
            raise SpecError(
                f"line {line + 1} cannot be read as CSV ({error}); is it cut off?", field=self.name
            ) from error


def _mapping(value: Any, document: Document) -> Iterator[tuple[dict[str, Any], Document]]:
    if not isinstance(value, dict):
        document.wrong("", f"must be an object, not {type(value).__name__}")
    yield (value if isinstance(value, dict) else {}), document


def _read(given: str, base: Path, pin: str | None, title: str) -> DataFile:
    if given.startswith("hf:"):
        path, name = _from_hub(given)
    else:
        path = base / given
        name = path.name
    raw, sha256 = pinned_bytes(path, pin, title)
    for beginning, why in _NO_COPY:
        if raw[:256].lstrip().startswith(beginning):
            raise SpecError(f"{path} {why}", field="file")
    if not raw.strip():
        raise SpecError(f"{path} is empty; is the download complete?", field="file")
    return DataFile(name, raw, sha256)


def _from_hub(given: str) -> tuple[Path, str]:
    """A file of the Hub, named after its dataset too: many are named `test.jsonl`."""
    from tierwise.catalog import hub, source  # noqa: PLC0415 - only for data of the Hub

    found = source.parse_source(given, field="file")
    if not isinstance(found, source.Hub):
        raise SpecError(f"{given!r} names no file; give hf:OWNER/DATASET/FILE@COMMIT", field="file")
    return hub.dataset_file(found), f"{found.repository.partition('/')[2]}-{found.file_name}"


def found_in(folder: Path, patterns: Iterable[str], title: str) -> list[str]:
    """The files of a suite in a folder, by the names that they have where they are published.

    Raises:
        NotFound: there is none, or no such folder.
    """
    patterns = list(patterns)
    if not folder.is_dir():
        raise NotFound(f"{folder} is not a folder", field="--data-dir")
    found = sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}, key=_in_order)
    if not found:
        raise NotFound(
            f"{folder} has no file of {title}: none is named {' or '.join(patterns)}; name the file with --file",
            field="--data-dir",
        )
    return [str(path.resolve()) for path in found]


def _in_order(path: Path) -> tuple[int, str]:
    """`test.jsonl` before `test2.jsonl`, and that before `test10.jsonl`."""
    return len(path.name), path.name


def _refuse(errors: list[SpecError]) -> None:
    """Raise the first errors of a file, if there are any."""
    if errors:
        more = len(errors) - MOST_ERRORS
        rest = [SpecError(f"and {more} more rows", field="file")] if more > 0 else []
        raise ConfigErrors([*errors[:MOST_ERRORS], *rest])
