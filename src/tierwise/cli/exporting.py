"""`tierwise export`: writes a run as logs of another tool."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tierwise.cli.options import AsJson, name_of
from tierwise.cli.output import print_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def _tools() -> Iterable[str]:
    from tierwise.runs.exporters import EXPORTERS

    return EXPORTERS


def export(
    run: Annotated[Path, typer.Argument(help="Folder of a run, from `tierwise bench` or `tierwise import`.")],
    kind: Annotated[
        str,
        typer.Option("--as", parser=name_of(_tools), metavar="TOOL", help="The tool whose log is written: {names}."),
    ],
    out: Annotated[Path, typer.Option(help="New directory for the logs.")],
    as_json: AsJson = False,
) -> None:
    """Write a run as logs of another tool, one for each row. `tierwise import` of them compares equal.

    What the tool's format has no place for is refused, or named in the documentation.

    Exit codes: 0 written, 2 invalid input, and nothing was written.
    """
    from tierwise.runs.directory import RunDirectory
    from tierwise.runs.exporters import EXPORTERS, rows_of
    from tierwise.spec.errors import SpecError
    from tierwise.workloads.files.write import check_free

    check_free(out)
    tool, rows = EXPORTERS[kind], rows_of(RunDirectory(run))
    for row in rows:
        if why := tool.check(row):
            raise SpecError(f"{run} ({row.name}) cannot be a log of {tool.label}: {why}", field="--as")
    files = {name: content for row in rows for name, content in tool.files(row).items()}
    _write(files, out)
    paths = [str(out / name) for name in files]
    if as_json:
        print_json({"files": paths})
        return
    for path in paths:
        print(path)


def _write(files: Mapping[str, bytes], out: Path) -> None:
    """Write all files or none."""
    import shutil
    import tempfile

    from tierwise.spec.errors import SpecError

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".exporting-", dir=out.parent))
    except OSError as error:
        raise SpecError(f"cannot write to {out.parent}: {error}", field="--out") from error
    try:
        for name, content in files.items():
            path = draft / "logs" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        (draft / "logs").rename(out)
    finally:
        shutil.rmtree(draft)
