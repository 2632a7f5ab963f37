"""Imports other tools' results as runs. Each tool has one module and one row in the table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tierwise.runs.importers import (
    aiperf,
    evalscope,
    guidellm,
    harbor,
    inspect,
    livecodebench,
    lm_eval,
    nemo,
    promptfoo,
    swebench,
)
from tierwise.runs.importers.imported import Imported, ImportedResult, write
from tierwise.runs.importers.log import ImportOptions, Log
from tierwise.spec.errors import NotFound, SpecError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

__all__ = ["IMPORTERS", "ImportOptions", "Imported", "ImportedResult", "logs", "read", "write"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Importer:
    """A tool."""

    label: str
    reads: str
    """The files that it reads, in words."""
    read: Callable[[Log], list[Imported] | None]
    """The runs in a log; None if another tool wrote it."""
    is_companion: Callable[[Log], bool] = lambda _: False
    """Whether a file belongs to a log, and is none itself."""


IMPORTERS: dict[str, Importer] = {
    "harbor": Importer(
        label="Harbor",
        reads="the folder of a job, or its `result.json`",
        read=harbor.read,
        is_companion=harbor.is_companion,
    ),
    "swebench": Importer(
        label="SWE-bench",
        reads="an object {instance: true or false}, a report with `resolved_ids`, reports by instance with `resolved`",
        read=swebench.read,
        is_companion=swebench.is_companion,
    ),
    "inspect": Importer(label="Inspect", reads="a log `.eval`", read=inspect.read),
    "lm-eval": Importer(
        label="lm-eval", reads="`samples_*.jsonl`", read=lm_eval.read, is_companion=lm_eval.is_companion
    ),
    "nemo": Importer(
        label="NeMo Evaluator", reads="a bundle `eval-*.json`", read=nemo.read, is_companion=nemo.is_companion
    ),
    "promptfoo": Importer(label="promptfoo", reads="the file of `promptfoo eval -o FILE.json`", read=promptfoo.read),
    "evalscope": Importer(
        label="EvalScope",
        reads="`reviews/MODEL/*.jsonl`",
        read=evalscope.read,
        is_companion=evalscope.is_companion,
    ),
    "livecodebench": Importer(
        label="LiveCodeBench",
        reads="`*_eval_all.json`",
        read=livecodebench.read,
        is_companion=livecodebench.is_companion,
    ),
    "aiperf": Importer(
        label="AIPerf", reads="`profile_export.jsonl`", read=aiperf.read, is_companion=aiperf.is_companion
    ),
    "guidellm": Importer(label="guidellm", reads="the file of `--output kind=json`", read=guidellm.read),
}
"""Importers by tool name. A log is recognised by its content. Harbor's is the first: an agent may leave any file in a
trial, and these are told by their place."""

_SUFFIXES = (".eval", ".json", ".jsonl")


def logs(paths: Iterable[Path]) -> list[Path]:
    """The files to import: each given file, and those of each given directory and of the directories in it.

    Files that belong to a log, such as lm-eval's `results_*.json`, are read with it.

    Raises:
        NotFound: a path does not exist, or a directory has no file of results.
        SpecError: a directory is already a Tierwise run.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += _inside(path)
        elif path.is_file():
            found.append(path)
        else:
            raise NotFound(f"{path} does not exist; give a result file or a directory of them")
    return list(dict.fromkeys(found))


def _inside(folder: Path) -> list[Path]:
    if (folder / "manifest.json").is_file() and (folder / "records.jsonl").is_file():
        raise SpecError(f"{folder} is already a Tierwise run; compare and gate read it without an import")
    files = [path for path in sorted(folder.rglob("*")) if path.suffix in _SUFFIXES and path.is_file()]
    found = [path for path in files if not _is_companion(Log(path, ImportOptions()))]
    if not found:
        raise NotFound(
            f"{folder} has no {' or '.join(_SUFFIXES)} file of results; give the directory or the files of another "
            "tool's results"
        )
    return found


def _is_companion(log: Log) -> bool:
    return any(tool.is_companion(log) for tool in IMPORTERS.values())


def read(path: Path, kind: str = "", options: ImportOptions | None = None) -> list[Imported]:
    """Read one result file, which may hold several runs. The tool is recognised by the content.

    Raises:
        ConfigErrors: it is not JSON, or repeats a key; each error names its line.
        SpecError: it belongs to no known tool, or to another tool than `kind`.
    """
    log = Log(path, options or ImportOptions())
    for name, tool in IMPORTERS.items():
        if kind in ("", name):
            found = tool.read(log)
            if found is not None:
                return found
    wanted = [tool for name, tool in IMPORTERS.items() if kind in ("", name)]
    listed = "; ".join(f"{tool.label}: {tool.reads}" for tool in wanted)
    raise SpecError(f"{path} is not a result file of a known tool. Allowed are {listed}. It holds {_shape(log)}")


def _shape(log: Log) -> str:
    if log.is_zip:
        return "a zip file of something else"
    value = log.value
    if isinstance(value, dict):
        names = ", ".join(repr(str(name)[:40]) for name in list(value)[:3])
        return f"an object with {names}, …" if value else "an empty object"
    return f"a list of {len(value)} items" if isinstance(value, list) else f"a {type(value).__name__}"
