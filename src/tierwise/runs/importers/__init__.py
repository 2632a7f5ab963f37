"""Imports other tools' results as runs. Each tool has one module and one row in the table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tierwise.runs.importers import swebench
from tierwise.runs.importers.imported import Imported, ImportedResult, write
from tierwise.spec.errors import NotFound, SpecError
from tierwise.spec.files import read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

__all__ = ["IMPORTERS", "Imported", "ImportedResult", "logs", "read", "write"]

IMPORTERS: dict[str, Callable[[Path, object], Imported | None]] = {
    "swebench": swebench.read,
}
"""Importers by tool name. Each takes a path and its JSON value, and returns None for another tool's file."""


def logs(paths: Iterable[Path]) -> list[Path]:
    """The files to import: each given file, and every `.json` file in each given directory.

    Raises:
        NotFound: a path does not exist, or a directory has no `.json` file.
        SpecError: a directory is already a Tierwise run.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            if (path / "manifest.json").is_file() and (path / "records.jsonl").is_file():
                raise SpecError(f"{path} is already a Tierwise run; compare and gate read it without an import")
            inside = sorted(path.glob("*.json"))
            if not inside:
                raise NotFound(f"{path} has no .json file; give the directory or the files of another tool's results")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise NotFound(f"{path} does not exist; give a result file or a directory of them")
    return found


def read(path: Path, kind: str = "") -> Imported:
    """Read one result file. The tool is recognised by the content.

    Raises:
        ConfigErrors: it is not JSON, or repeats a key; each error names its line.
        SpecError: it belongs to no known tool, or to another tool than `kind`.
    """
    document = read_json(path, "file")
    document.done()
    value = document.value
    for name, importer in IMPORTERS.items():
        if kind in ("", name):
            imported = importer(path, value)
            if imported is not None:
                return imported
    wanted = kind or " or ".join(IMPORTERS)
    raise SpecError(
        f"{path} is not a result file of {wanted}: allowed are an object {{instance: true or false}}, a report with "
        f"`resolved_ids`, or reports by instance with `resolved`; it holds {_shape(value)}"
    )


def _shape(value: object) -> str:
    if isinstance(value, dict):
        names = ", ".join(repr(str(name)[:40]) for name in list(value)[:3])
        return f"an object with {names}, …" if value else "an empty object"
    return f"a list of {len(value)} items" if isinstance(value, list) else f"a {type(value).__name__}"
