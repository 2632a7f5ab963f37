"""The user's own copy of a suite's data: files that are found, pinned and read, and never shipped.

A row is JSON (one per line, or an array), CSV, or of Parquet (`parquet.py`), whose parts are one copy (`shards.py`).
`copies.py` finds them, and names what is no copy at all.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple, TypeVar

import msgspec

from tierwise.spec.errors import ConfigErrors, SpecError
from tierwise.spec.files import MOST_ERRORS, Document, json_document, numbered_lines, text_of
from tierwise.workloads.suites.copies import named, why_no_copy
from tierwise.workloads.suites.parquet import ParquetFile, is_parquet, opened
from tierwise.workloads.suites.row import SuiteRow
from tierwise.workloads.suites.shards import copies_in, shard_of, title_of
from tierwise.workloads.suites.suite import MadeTasks, pinned_bytes, pinned_hash
from tierwise.workloads.task import Task

T = TypeVar("T")
Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-fA-F]{64}$")]

_FEW = 3
"""From so many rows on, an error that all have is said once."""


class FromFiles(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of a suite whose data only the user has. A suite says what it is, and makes a task of a row."""

    ROW: ClassVar[SuiteRow]
    FILES: ClassVar[tuple[str, ...]]
    """Names that its files have where they are published, as patterns; with a `/` of their folders too."""
    IS_ONE_FILE: ClassVar[bool] = True
    """Whether a workload is of one file, or the parts of one split; else of several years or releases."""
    PART: ClassVar[str] = ""
    """Which rows are asked, if not all, and how to ask others."""

    file: str | tuple[str, ...]
    """The data: a file, or `hf:OWNER/DATASET/FILE@COMMIT`; several for years, releases, or parts of a split."""
    sha256: Sha256 | tuple[Sha256, ...] | None = None
    """Required hash of the file; of each, if there are several."""
    count: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Use the first `count` tasks; all by default."""

    def make(self, base: Path) -> MadeTasks:
        found = self._read(base)
        asked: list[_Asked] = []
        errors: list[SpecError] = []
        notes: list[str] = []
        for one in found:
            rows = _Rows(self, one)
            asked += rows.asked
            errors += rows.errors
            notes += self.notes_of(one.name, rows.count)
        _refuse(errors)
        notes += self._repeated(asked, found)
        return MadeTasks(
            tasks=self._chosen(asked, found),
            version=", ".join(one.name for one in found),
            notes=(*self._unpinned(found), *self.notes(len(asked)), *notes),
            files={part.name: part.sha256 for one in found for part in one.parts},
        )

    def task_of(self, row: Row) -> Task | None:
        """The task of a row; None if it is not asked, or is wrong, which its document says then."""
        raise NotImplementedError

    def notes(self, tasks: int) -> tuple[str, ...]:  # noqa: ARG002 - a suite may have none
        """Caveats of a copy that makes so many tasks."""
        return ()

    def notes_of(self, name: str, rows: int) -> tuple[str, ...]:  # noqa: ARG002 - a suite may have none
        """Caveats of a file with so many rows."""
        return ()

    def question_of(self, task: Task) -> str:
        """What a task asks, without what differs between two copies of it."""
        return str(task.messages)

    def _read(self, base: Path) -> list[Copy]:
        files = (self.file,) if isinstance(self.file, str) else self.file
        if not files:
            raise SpecError("the list names no file; give at least one", field="file")
        pins: tuple[str | None, ...]
        if self.sha256 is None:
            pins = (None,) * len(files)
        else:
            pins = (self.sha256,) if isinstance(self.sha256, str) else self.sha256
        if len(pins) != len(files):
            raise SpecError(f"{len(files)} files need {len(files)} hashes, not {len(pins)}", field="sha256")
        copies = copies_in(files, "file")
        if self.IS_ONE_FILE and len(copies) > 1:
            names = " and ".join(files[places[0]] for places in copies)
            raise SpecError(f"{self.ROW.title} is one file, not {len(copies)}: {names}; give one", field="file")
        found = [_read(one, base, pin, self.ROW.title) for one, pin in zip(files, pins, strict=True)]
        for number, one in enumerate(found):
            if one.sha256 in {other.sha256 for other in found[:number]}:
                raise SpecError(f"{one.name} has the same content as a file before it; give each once", field="file")
        return _told_apart(
            [_copy([found[place] for place in places]) for places in copies],
            [base / files[places[0]] for places in copies],
        )

    def _unpinned(self, found: list[Copy]) -> tuple[str, ...]:
        """A note with the hash of each file, if nobody pinned them."""
        if self.sha256 is not None:
            return ()
        hashes = ", ".join(f"{part.name} {part.sha256}" for one in found for part in one.parts)
        return (f"the data is not pinned; give --sha256 to identify the tasks: {hashes}",)

    def _repeated(self, asked: list[_Asked], found: list[Copy]) -> Iterator[str]:
        """A note about tasks that are asked twice.

        Raises:
            SpecError: a file has nothing that another has not.
        """
        first: dict[str, _Asked] = {}
        again: list[tuple[_Asked, _Asked]] = []
        for one in asked:
            before = first.setdefault(self.question_of(one.task), one)
            if before is not one:
                again.append((before, one))
        for file in found:
            others = [before.file for before, one in again if one.file == file.name and before.file != file.name]
            if others and len(others) == sum(one.file == file.name for one in asked):
                raise SpecError(f"every task of {file.name} is in {others[0]} too; give one of them", field="file")
        if again:
            before, one = again[0]
            yield (
                f"rows that ask what another asks: {len(again)}, the first {one.place} as {before.place}; "
                "remove them, unless your copy is published so"
            )

    def _chosen(self, asked: list[_Asked], found: list[Copy]) -> tuple[Task, ...]:
        """The first `count` tasks, which have ids of their own.

        Raises:
            SpecError: two have one id, or there are fewer.
        """
        named = ", ".join(one.name for one in found)
        seen: dict[str, str] = {}
        for one in asked:
            if (place := seen.get(one.task.id)) is not None:
                raise SpecError(
                    f"two rows make the task {one.task.id!r}: {place} and {one.place}; remove one", field="file"
                )
            seen[one.task.id] = one.place
        if not asked or (self.count or 0) > len(asked):
            why = f"{named}: {len(asked)} tasks, fewer than the {self.count or 1} requested"
            raise SpecError(f"{why}; {self.PART}" if self.PART and not asked else why, field="count")
        return tuple(one.task for one in asked[: self.count])


class _Asked(NamedTuple):
    """A task, and where its row is."""

    task: Task
    file: str
    place: str


class _Rows:
    """The tasks and errors of a copy."""

    def __init__(self, suite: FromFiles, file: Copy) -> None:
        self.count = 0
        self.asked: list[_Asked] = []
        self.errors: list[SpecError] = []
        first: list[str] = []
        columns = ""
        for row in file.rows():
            self.count += 1
            task = None if row.document.errors else suite.task_of(row)
            if row.document.errors:
                placed = row.document.placed()
                first.append(str(placed[0]))
                columns = columns or ", ".join(map(repr, row.value))
                self.errors += placed
            elif task is not None:
                self.asked.append(_Asked(task, file.name, row.document.place("")))
        if not self.count:
            raise SpecError(f"{file.name} has no rows; is the download complete?", field="file")
        if len(first) == self.count >= _FEW and len(set(first)) == 1:
            has = f", which have {columns}" if columns and columns not in first[0] else ""
            why = f"{first[0]}; so in all {self.count} rows{has}: is this a file of {suite.ROW.title}?"
            self.errors = [SpecError(why, field=self.errors[0].field)]


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a copy."""

    value: dict[str, Any]
    document: Document
    """Takes the errors of the row; it has some already if the row cannot be read."""
    source: str
    """The copy's name, without ending and part."""
    number: int
    """Its place in the copy, from 0."""

    def column(self, *names: str) -> str:
        """The text of the first of these columns that the row has; empty, with an error, if it has none."""
        lowered = {key.casefold(): value for key, value in self.value.items()}
        for name in names:
            value = lowered.get(name.casefold())
            if isinstance(value, str) and value.strip():
                return value.strip()
            if isinstance(value, int) and not isinstance(value, bool):
                return str(value)
            if isinstance(value, bytes):
                self.document.wrong("", f"the column {name!r} is binary, not text; save it as text")
                return ""
        columns = ", ".join(map(repr, self.value)) or "nothing"
        self.document.wrong("", f"has no text {' or '.join(map(repr, names))}; it has {columns}")
        return ""

    def read(self, kind: type[T]) -> T | None:
        """The row as a `kind`; None, with an error, if it is none."""
        return self.document.read(kind, self.value, "")


@dataclass(frozen=True, slots=True)
class Copy:
    """A year, release or version of a suite, as the user has it: a file, or the parts of a split of Parquet."""

    name: str
    """The file's; with several parts what they have in common, `test-*-of-00003.parquet`."""
    source: str
    """The name without ending and part."""
    parts: tuple[DataFile, ...]

    @property
    def title(self) -> str:
        """The name without part: copies of one title need other names for their tasks."""
        return f"{self.source}{Path(self.name).suffix}"

    def rows(self) -> Iterator[Row]:
        """Every row of all parts.

        Raises:
            SpecError: a file is not UTF-8, is cut off, or no table; or it is Parquet that pyarrow cannot read.
        """
        values = (one for part in self.parts for one in part.values())
        for number, (value, document) in enumerate(values):
            yield Row(value, document, self.source, number)


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file of the user's copy."""

    name: str
    content: bytes | ParquetFile
    sha256: str

    def values(self) -> Iterator[tuple[dict[str, Any], Document]]:
        """Every row, with a document that takes its errors."""
        if isinstance(self.content, ParquetFile):
            return self.content.values(self.name)
        return self._values(text_of(self.content, self.name, field="file"))

    def _values(self, text: str) -> Iterator[tuple[dict[str, Any], Document]]:
        if "\0" in text:
            at = text.count("\n", 0, text.index("\0")) + 1
            raise SpecError("has zero bytes, as half a download does; download it again", field=f"{self.name}:{at}")
        if self.name.endswith(".csv"):
            yield from self._csv(text)
        elif text.lstrip().startswith("["):
            document = json_document(text, self.name)
            if not text.rstrip().endswith("]"):
                _cut_off(document)
            document.done()
            for number, value in enumerate(document.value, 1):
                yield from _mapping(value, Document(f"{self.name}: row {number}", dict))
        else:
            last = text.count("\n") + 1  # a whole file ends with the end of a line
            for number, line in numbered_lines(text):
                document = json_document(line, self.name, line=number)
                if document.errors:
                    if number == last:
                        _cut_off(document)
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


def _cut_off(document: Document) -> None:
    """Say of an error that the file ends with it."""
    document.errors[:] = [
        SpecError(f"{one}; the file ends there: is the download complete?", field=one.field) for one in document.errors
    ]


def _read(given: str, base: Path, pin: str | None, title: str) -> DataFile:
    if given.startswith("hf:"):
        path, name = _from_hub(given)
    else:
        path = base / given
        name = named(path)
    if is_parquet(path):
        with path.open("rb") as file:
            sha256 = pinned_hash(file, path, pin, title)
            return DataFile(name, opened(file, path), sha256)
    raw, sha256 = pinned_bytes(path, pin, title)
    if why := why_no_copy(raw):
        raise SpecError(f"{path} {why}", field="file")
    return DataFile(name, raw, sha256)


def _copy(parts: list[DataFile]) -> Copy:
    shard = shard_of(parts[0].name)
    name = shard.pattern if shard is not None and shard.count > 1 else parts[0].name
    return Copy(name, title_of(parts[0].name), tuple(parts))


def _told_apart(copies: list[Copy], paths: list[Path]) -> list[Copy]:
    """Copies with names of their own: those of one name are named after their folders too.

    Raises:
        SpecError: two have one name, and their folders as well.
    """
    often = Counter(one.title for one in copies)
    found = [
        _prefixed(one, f"{_folder(path.absolute())}-") if often[one.title] > 1 else one
        for one, path in zip(copies, paths, strict=True)
    ]
    name, most = Counter(one.title for one in found).most_common(1)[0]
    if most > 1:
        raise SpecError(f"two files are named {name}, which is part of the tasks' ids; rename one", field="file")
    return found


def _prefixed(copy: Copy, before: str) -> Copy:
    parts = tuple(replace(part, name=before + part.name) for part in copy.parts)
    return Copy(before + copy.name, before + copy.source, parts)


def _folder(path: Path) -> str:
    """The name of a file's folder; of the one above where it is `data`, as in most datasets of the Hub."""
    parent = path.parent
    return (parent.parent if parent.name == "data" else parent).name


def _from_hub(given: str) -> tuple[Path, str]:
    """A file of the Hub, named after its dataset too: many are named `test.jsonl`."""
    from tierwise.catalog import hub, source  # noqa: PLC0415 - only for data of the Hub

    found = source.parse_source(given, field="file")
    if not isinstance(found, source.Hub):
        raise SpecError(f"{given!r} names no file; give hf:OWNER/DATASET/FILE@COMMIT", field="file")
    return hub.dataset_file(found), f"{found.repository.partition('/')[2]}-{found.file_name}"


def _refuse(errors: list[SpecError]) -> None:
    """Raise the first errors of a file, if there are any."""
    if errors:
        more = len(errors) - MOST_ERRORS
        rest = [SpecError(f"and {more} more rows", field="file")] if more > 0 else []
        raise ConfigErrors([*errors[:MOST_ERRORS], *rest])
