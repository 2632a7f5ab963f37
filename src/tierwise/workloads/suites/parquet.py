"""Rows of Parquet files, by pyarrow (extra `[parquet]`), with the values that JSON Lines of the same rows have.

Times are texts in ISO 8601, decimals are numbers, and a null is a missing key, as Parquet has no other. Columns that
hold binary data, such as images, are not read: no suite asks for them.
"""

from __future__ import annotations

import datetime as dt
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from tierwise.spec.errors import SpecError
from tierwise.spec.files import PARQUET, Document

_ROWS = 32
"""Rows in memory at a time; one of LiveCodeBench may have several MB."""

_BUFFER = 2**20
"""Bytes of a column that are read from the file at a time."""

_UNSUPPORTED = re.compile("not supported|not built")
_COMPRESSION = re.compile("codec|compression", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ParquetFile:
    """A Parquet file on disk, as it was when its hash was computed."""

    path: Path
    state: tuple[int, ...]
    """Device, inode, bytes and time of change, as `state_of` reads them."""

    def values(self, name: str) -> Iterator[tuple[dict[str, Any], Document]]:
        """Every row, with a document that takes its errors. `bytes` stand for a column that is not read.

        Args:
            name: the file's name in errors.

        Raises:
            SpecError: it is damaged or has changed, or pyarrow is missing or cannot read it.
        """
        pyarrow = library(self.path)
        failures = (pyarrow.ArrowException, OSError, ValueError, ArithmeticError, LookupError)
        try:
            with self.path.open("rb") as file:
                self._check_unchanged(file)
                for number, value in enumerate(_rows(file, name, pyarrow), 1):
                    yield value, Document(f"{name}: row {number}", dict)
        except SpecError:
            raise
        except failures as error:
            raise SpecError(self._why(error, pyarrow), field="file") from error

    def _check_unchanged(self, file: IO[bytes]) -> None:
        if state_of(file) != self.state:
            raise SpecError(f"{self.path} changed while it was read; is its download complete?", field="file")

    def _why(self, error: Exception, pyarrow: Any) -> str:
        said = " ".join(str(error).split())[:200]
        if isinstance(error, UnicodeDecodeError):
            return f"{self.path} has text that is not UTF-8 ({said}); save it as UTF-8"
        seen = f"{self.path} cannot be read by pyarrow {pyarrow.__version__} ({said})"
        if isinstance(error, pyarrow.ArrowNotImplementedError) or _UNSUPPORTED.search(said):
            how = "it with another compression, such as zstd, or " if _COMPRESSION.search(said) else ""
            return f"{seen}; save {how}its rows as JSON Lines"
        return f"{seen}; is it damaged? Download it again, or save its rows as JSON Lines"


def is_parquet(path: Path) -> bool:
    """Whether a file begins as Parquet does; False if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(len(PARQUET)) == PARQUET
    except OSError:
        return False


def opened(file: IO[bytes], path: Path) -> ParquetFile:
    """A Parquet file whose hash was computed from `file`.

    Raises:
        SpecError: it is cut off, or pyarrow is not installed.
    """
    file.seek(-len(PARQUET), os.SEEK_END)
    if file.read() != PARQUET or file.tell() < 3 * len(PARQUET):
        raise SpecError(f"{path} is half of a Parquet file; download it again", field="file")
    library(path)
    return ParquetFile(path, state_of(file))


def state_of(file: IO[bytes]) -> tuple[int, ...]:
    """What changes with a file's content."""
    found = os.fstat(file.fileno())
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def library(path: Path) -> Any:
    """pyarrow, which is imported only when a Parquet file is read.

    Raises:
        SpecError: it is not installed.
    """
    try:
        import_module("pyarrow.parquet")
        return import_module("pyarrow")
    except ImportError as error:
        out = path.with_suffix(".jsonl").name
        command = f"import pandas; pandas.read_parquet('{path}').to_json('{out}', orient='records', lines=True)"
        raise SpecError(
            f"{path} is Parquet, which needs pyarrow ({error}): pip install 'tierwise[parquet]'; or save its rows as "
            f'JSON Lines, where pandas and pyarrow are: python -c "{command}"',
            field="file",
        ) from error


def _rows(file: IO[bytes], name: str, pyarrow: Any) -> Iterator[dict[str, Any]]:
    table = pyarrow.parquet.ParquetFile(file, buffer_size=_BUFFER, pre_buffer=False, page_checksum_verification=True)
    schema = table.schema_arrow
    columns = list(schema.names)
    if twice := sorted({one for one in columns if columns.count(one) > 1}):
        raise SpecError(f"has several columns named {', '.join(map(repr, twice))}; rename them", field=name)
    types = {field.name: field.type for field in schema}
    unread: dict[str, Any] = {one: b"" for one, kind in types.items() if _holds_binary(kind, pyarrow)}
    kept = {one: _plain_type(kind, pyarrow) for one, kind in types.items() if one not in unread}
    for batch in table.iter_batches(batch_size=_ROWS, columns=list(kept), use_threads=False):
        read = {
            one: batch.column(one).cast(kind, safe=False) if kind != types[one] else batch.column(one)
            for one, kind in kept.items()
        }
        values = [column.to_pylist() for column in read.values()]
        for row in range(batch.num_rows):
            pairs = ((one, column[row]) for one, column in zip(read, values, strict=True))
            yield {one: _plain(value) for one, value in pairs if value is not None} | unread


def _holds_binary(kind: Any, pyarrow: Any) -> bool:
    types = pyarrow.types
    if isinstance(kind, pyarrow.BaseExtensionType):
        return _holds_binary(kind.storage_type, pyarrow)
    if types.is_dictionary(kind):
        return _holds_binary(kind.value_type, pyarrow)
    if kind.num_fields:
        return any(_holds_binary(kind.field(place).type, pyarrow) for place in range(kind.num_fields))
    kinds = (types.is_binary, types.is_large_binary, types.is_binary_view, types.is_fixed_size_binary)
    return any(is_one(kind) for is_one in kinds)


def _plain_type(kind: Any, pyarrow: Any) -> Any:
    """A type that becomes values of Python without loss of its meaning: times in microseconds, zones as UTC."""
    if not pyarrow.types.is_timestamp(kind):
        return kind
    return pyarrow.timestamp("us", None if kind.tz is None else "UTC")


def _plain(value: Any) -> Any:
    """A value as JSON has it. A null within a struct is a missing key too; within a list it stays."""
    match value:
        case str() | int() | float():
            return value
        case dict():
            return {name: _plain(one) for name, one in value.items() if one is not None}
        case list() | tuple():
            return [_plain(one) for one in value]
        case dt.date() | dt.time():  # a datetime is a date
            return value.isoformat()
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case dt.timedelta():
            return value.total_seconds()
        case _:
            return value
