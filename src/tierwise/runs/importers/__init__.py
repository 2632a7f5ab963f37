"""Reads the logs of other tools into runs of ours: one tool per file, one line per tool in the table."""

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
"""By the tool's name; each is given a JSON value and says None when it is not one of its own."""


def logs(paths: Iterable[Path]) -> list[Path]:
    """The files that are meant: those named, and every `.json` in the folders named.

    Raises:
        NotFound: there is nothing at a path, or no `.json` in a folder.
        SpecError: a folder is a run of our own.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            if (path / "manifest.json").is_file() and (path / "records.jsonl").is_file():
                raise SpecError(f"{path} is a run of Tierwise already; compare and gate take it as it is")
            inside = sorted(path.glob("*.json"))
            if not inside:
                raise NotFound(f"{path} holds no .json file; give the folder or the files of another tool's results")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise NotFound(f"there is no {path} to import")
    return found


def read(path: Path, kind: str = "") -> Imported:
    """Read one log; its content says which tool wrote it.

    Raises:
        ConfigErrors: it is not JSON, or gives a key twice; each error has its line.
        SpecError: it is of no tool that we know, or of another than `kind`.
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
        f"{path} holds no results of {wanted}: an object {{instance: true or false}}, a report with `resolved_ids`, or "
        f"reports by instance with `resolved` are read; it holds {_shape(value)}"
    )


def _shape(value: object) -> str:
    if isinstance(value, dict):
        names = ", ".join(repr(str(name)[:40]) for name in list(value)[:3])
        return f"an object with {names}, …" if value else "an empty object"
    return f"a list of {len(value)}" if isinstance(value, list) else f"a {type(value).__name__}"
